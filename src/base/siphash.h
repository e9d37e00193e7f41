/* A hash that those who choose the keys cannot steer.
 *
 * Room: base.  Pure.  Source: Aumasson and Bernstein, "SipHash: a fast
 * short-input PRF" (2012), with one round a word and three at the end.
 *
 *     uint64_t key[2];                    // secret, from getrandom(2)
 *     hash = rv_siphash13(key, name, strlen(name));
 */
#ifndef RV_BASE_SIPHASH_H
#define RV_BASE_SIPHASH_H

#include "reeve/base.h"

uint64_t rv_siphash13(const uint64_t key[2], const void *bytes, size_t n);

#endif
