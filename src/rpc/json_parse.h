/* A fast path for what peers send: JSON text to values of jansson.
 *
 * Room: rpc, for its own files only.  Blocks: never.  Source: RFC 8259; the
 * measure of every answer is json_loadb(3) of jansson, which goes byte by
 * byte and copies strings twice.
 *
 *     json_t *value = rv__json_parse(bytes, n);
 *     if (!value) {
 *         value = json_loadb(bytes, n, JSON_DECODE_ANY, &problem);
 *     }
 */
#ifndef RV_RPC_JSON_PARSE_H
#define RV_RPC_JSON_PARSE_H

#include <stddef.h>

#include <jansson.h>

/* Parses 'n' bytes that are one value with white space around it.  Gives a
 * new reference, equal to what json_loadb would give with JSON_DECODE_ANY; or
 * NULL for text that is wrong, that is unusual (escapes by number, more than
 * 1,000 brackets within brackets), or without memory, which is for json_loadb
 * to judge. */
json_t *rv__json_parse(const char *bytes, size_t n);

#endif
