/* Writing over parts of a zone, as a worker gone wild does. */
#ifndef RV_ZONE_SCRIBBLE_H
#define RV_ZONE_SCRIBBLE_H

#include "reeve/zone.h"

/* Fills the 'area' of the zone with random bytes from 'seed': "header",
 * "roots", "map", "lives", "members", "pages", "states", "heap" or "dict";
 * what is the calling member's own stays, and so do 8 of each 9 bytes.
 * -EINVAL: no such area; -ENOENT: the zone has no dict. */
int zone_scribble(struct rv_zone *zone, const char *area, uint64_t seed);

#endif
