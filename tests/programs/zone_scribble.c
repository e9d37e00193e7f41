#include "zone_scribble.h"

#include <errno.h>
#include <string.h>

#include "shm/dict.h"

struct area {
    uint64_t begin, end;
};

static uint64_t
next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* The tables of the dict that is called as the zone, whose buckets they are.
 */
static int
find_tables(struct rv_zone *zone, struct area *area, uint32_t shard)
{
    struct rv_zone_info info;
    struct rv_dict dict;
    struct rv__table table;
    rv_zone_get_info(zone, &info);
    if (rv__dict_find(zone, info.name, &dict) || shard > dict.shard_mask
        || !rv__table_open(&dict, dict.shards[shard].table, &table)) {
        return -ENOENT;
    }
    area->begin = table.buckets ? rv__offset_of(zone, table.buckets) : 0;
    area->end =
        table.buckets
            ? area->begin + (table.mask + 1) * sizeof(struct rv__bucket)
            : 0;
    return 0;
}

static int
find_area(const struct rv_zone *zone, const char *name, struct area *area)
{
    const struct rv__geometry *g = &zone->mapping->geometry;
    uint64_t size = rv_zone_size_bytes(zone);
    const struct {
        const char *name;
        struct area area;
    } areas[] = {
        {"header", {0, offsetof(struct rv__header, size_bytes)}},
        {"roots",
         {offsetof(struct rv__header, root_lock),
          offsetof(struct rv__header, slab)}},
        {"map", {offsetof(struct rv__header, slab), g->lives}},
        {"lives", {g->lives, g->members}},
        {"members", {g->members, g->pages}},
        {"pages", {g->pages, g->states}},
        {"states", {g->states, g->heap}},
        {"heap", {g->heap, g->heap + size}},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(areas); i++) {
        if (strcmp(areas[i].name, name) == 0) {
            *area = areas[i].area;
            return 0;
        }
    }
    return -EINVAL;
}

static bool
is_own(const struct rv_zone *zone, uint64_t at)
{
    uint64_t life = rv__offset_of(zone, rv__life_of(zone, zone->index));
    uint64_t slot = rv__offset_of(zone, rv__member_of(zone, zone->index));
    return at - life < sizeof(struct rv__life)
           || at - slot < sizeof(struct rv__member);
}

static void
scribble(const struct rv_zone *zone, const struct area *area, uint64_t *seed)
{
    for (uint64_t at = area->begin; at < area->end;
         at += 1 + next_random(seed) % 17) {
        if (!is_own(zone, at)) {
            zone->base[at] = (char)next_random(seed);
        }
    }
}

int
zone_scribble(struct rv_zone *zone, const char *area, uint64_t seed)
{
    struct area found = {0, 0};
    seed = seed * 2 + 1;
    if (strcmp(area, "dict") != 0) {
        int rc = find_area(zone, area, &found);
        if (!rc) {
            scribble(zone, &found, &seed);
        }
        return rc;
    }
    int rc = 0;
    for (uint32_t i = 0; !rc; i++) {
        rc = find_tables(zone, &found, i);
        if (!rc) {
            scribble(zone, &found, &seed);
        }
        rc = i && rc ? 1 : rc; /* After the last shard. */
    }
    return rc < 0 ? rc : 0;
}
