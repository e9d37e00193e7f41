#include "reeve/slab.h"

#include <string.h>

#include "shm/limbo.h"

enum { SCAN_MAX = 256 };

static uint32_t
load(const uint32_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

/* The longest run of the last list that is not empty. */
static uint32_t
largest_run(const struct rv_zone *zone)
{
    const struct rv__page_map *map = &rv__slab_of(zone)->map;
    uint32_t bin = RV__BINS;
    uint32_t longest = 0;
    while (bin > 0 && !load(&map->bins[bin - 1])) {
        bin--;
    }
    uint32_t link = bin ? load(&map->bins[bin - 1]) : 0;
    for (int i = 0; i < SCAN_MAX && link - 1 < zone->slab.max_pages; i++) {
        longest = RV_MAX(longest, rv__tag_n(rv__page_tag(zone, link - 1)));
        link = load(&zone->slab.pages[link - 1].next);
    }
    return longest;
}

static void
add_pages(const struct rv_zone *zone, struct rv_slab_stats *stats)
{
    const struct rv__page_map *map = &rv__slab_of(zone)->map;
    uint32_t n_known = load(&map->n_pages);
    stats->n_pages = rv__pages_available(zone);
    stats->n_free_pages = rv__pages_n_free(zone);
    stats->largest_run_pages = largest_run(zone);
    if (stats->n_pages > n_known) {
        stats->largest_run_pages =
            RV_MAX(stats->largest_run_pages, stats->n_pages - n_known);
    }
}

/* What lies in a magazine of runs, or of whatever, counts as held. */
static void
add_things(const struct rv_zone *zone, const struct rv__magazine *magazine,
           struct rv_slab_stats *stats)
{
    uint32_t n =
        RV_MIN(rv__magazine_count(magazine), (uint32_t)RV__MAGAZINE_ITEMS);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t thing = load(&magazine->items[i]);
        if (rv__is_run(zone, thing, 0)) {
            stats->n_held_runs++;
            stats->n_held_run_pages +=
                rv__tag_n(rv__page_tag(zone, thing >> 8));
        } else if (thing >> 8 < zone->slab.max_pages) {
            uint64_t tag = rv__page_tag(zone, thing >> 8);
            uint32_t size_class = rv__tag_class(tag);
            if (size_class < RV_SLAB_CLASSES) {
                stats->classes[size_class].n_held++;
            }
        }
    }
}

static void
add_hands(const struct rv_zone *zone, const struct rv__hands *hands,
          struct rv_slab_stats *stats)
{
    for (uint32_t i = 0; i < RV__MAGAZINES; i++) {
        const struct rv__magazine *magazine = &hands->magazines[i];
        uint64_t word = __atomic_load_n(&magazine->word, __ATOMIC_RELAXED);
        stats->n_allocs += word / RV__MAGAZINE_ALLOC;
        if (i < RV_SLAB_CLASSES) {
            stats->classes[i].n_held += word & RV__MAGAZINE_COUNT;
        }
    }
    stats->n_failures += __atomic_load_n(&hands->n_failures, __ATOMIC_RELAXED);
    add_things(zone, &hands->magazines[RV__MAGAZINE_RUNS], stats);
    add_things(zone, &hands->magazines[RV__MAGAZINE_LIMBO], stats);
}

/* 'part' of 'whole' that is left, none when others are just moving it. */
static uint64_t
rest(uint64_t whole, uint64_t part)
{
    return whole > part ? whole - part : 0;
}

/* The objects of a class, whose held ones are counted. */
static void
add_class(const struct rv_zone *zone, uint32_t i, struct rv_slab_stats *stats)
{
    const struct rv__shelf *shelf = &rv__slab_of(zone)->shelves[i];
    const struct rv__class *sizes = &rv__classes[i];
    struct rv_slab_class_stats *row = &stats->classes[i];
    row->size_bytes = sizes->units * (uint32_t)RV__UNIT_BYTES;
    row->n_chunk_pages = sizes->n_pages;
    row->n_chunks = load(&shelf->n_chunks);
    row->n_free = __atomic_load_n(&shelf->n_free, __ATOMIC_RELAXED);
    row->n_used = rest((uint64_t)row->n_chunks * sizes->n_objects,
                       row->n_free + row->n_held);
    stats->used_bytes += row->n_used * row->size_bytes;
}

/* Runs in use: what is neither free, nor a chunk, nor held. */
static void
add_runs(const struct rv_zone *zone, struct rv_slab_stats *stats)
{
    const struct rv__page_map *map = &rv__slab_of(zone)->map;
    uint64_t n = rest(load(&map->n_runs), stats->n_held_runs);
    uint64_t n_pages =
        rest(stats->n_pages, stats->n_free_pages + stats->n_held_run_pages);
    for (uint32_t i = 0; i < RV_SLAB_CLASSES; i++) {
        const struct rv_slab_class_stats *row = &stats->classes[i];
        n = rest(n, row->n_chunks);
        n_pages = rest(n_pages, (uint64_t)row->n_chunks * row->n_chunk_pages);
    }
    stats->n_used_runs = n;
    stats->n_used_run_pages = n_pages;
    stats->used_bytes += n_pages * RV_ZONE_PAGE_BYTES;
}

void
rv_slab_get_stats(const struct rv_zone *zone, struct rv_slab_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    if (!zone->base) {
        return;
    }
    add_pages(zone, stats);
    for (uint32_t i = 0; i < zone->mapping->geometry.n_members; i++) {
        add_hands(zone, rv__hands_of(zone, i), stats);
    }
    uint64_t n_used = 0;
    for (uint32_t i = 0; i < RV_SLAB_CLASSES; i++) {
        add_class(zone, i, stats);
        n_used += stats->classes[i].n_used;
    }
    add_runs(zone, stats);
    stats->n_frees = rest(stats->n_allocs, n_used + stats->n_used_runs);
}
