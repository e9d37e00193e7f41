/* The slab beside other allocators.
 *
 *     bench-shm-slab pair SIDE LIVE N MS
 *         ns of a free and an alloc of 16 to 4096 bytes, as many of each
 *         doubling, with LIVE objects a process, in N processes.
 *     bench-shm-slab fragment
 *         ns of an alloc of 5,000 bytes in a zone whose free pages are single
 *         but for some pairs, and of one when these are gone, which fails.
 *
 * SIDE: reeve, or malloc, whichever the process has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "reeve/slab.h"
#include "reeve/tx.h"

enum {
    MAX_LIVE = 16384,
    SIZES = 65536,
    SLICE = 2000,
    FRAGMENT_MIB = 64,
    FRAGMENT_BYTES = 512, /* Eight to a page, so pages become free singly. */
    PAIRS = 16,
    ODD_BYTES = 5000,
    FRAGMENT_SLICE = 200,
    FRAGMENT_MS = 50,
};

struct state {
    struct bench_shared *shared;
    int fd;
    unsigned int n_live, n, ms;
    uint64_t random;
    struct rv_zone *zone;
    char *base;       /* What offsets count from. */
    uint64_t *places; /* In the zone. */
    void **pointers;
    uint16_t sizes[SIZES];
    bool is_reeve;
};

static void
fill_sizes(struct state *state)
{
    uint64_t seed = 99;
    for (int i = 0; i < SIZES; i++) {
        uint32_t log = 4 + (uint32_t)(bench_random(&seed) % 8);
        uint32_t rest = (uint32_t)(bench_random(&seed) >> 20) % (1u << log);
        state->sizes[i] = (uint16_t)((1u << log) + rest);
    }
}

/* Places for the offsets of 'n' objects, as a root of the zone. */
static uint64_t *
make_places(struct rv_zone *zone, unsigned int who, size_t n)
{
    char name[16];
    uint64_t offset = 0;
    size_t bytes = n * sizeof offset;
    snprintf(name, sizeof name, "places%u", who);
    int rc = rv_slab_reserve(zone, bytes, 1, 0);
    rc = rc ? rc
            : rv_tx_begin(zone, rv_zone_root_lock(zone),
                          RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS);
    rc = rc ? rc : rv_slab_take(zone, bytes, &offset);
    rc = rc ? rc : rv_zone_root_set(zone, name, 1, offset);
    rc = rc ? rc : rv_tx_commit(zone);
    if (rc) {
        bench_die("no places: %d", rc);
    }
    uint64_t *places = rv_zone_at(zone, offset, bytes);
    memset(places, 0, bytes);
    return places;
}

static inline void
replace_reeve(struct state *state, size_t i, size_t bytes)
{
    if (rv_slab_free(state->zone, &state->places[i])
        || rv_slab_alloc(state->zone, bytes, &state->places[i])) {
        bench_die("the slab failed");
    }
    *(uint64_t *)(void *)(state->base + state->places[i]) = bytes;
}

static inline void
replace_malloc(struct state *state, size_t i, size_t bytes)
{
    free(state->pointers[i]);
    state->pointers[i] = malloc(bytes);
    if (!state->pointers[i]) {
        bench_die("malloc failed");
    }
    *(uint64_t *)state->pointers[i] = bytes;
}

#define SLICES(NAME)                                                \
  static void NAME##_slice(void *context)                           \
  {                                                                 \
    struct state *state = context;                                  \
    for (int n = 0; n < SLICE; n++) {                               \
      uint64_t random = bench_random(&state->random);               \
      size_t bytes = state->sizes[random >> 40 & (SIZES - 1)];      \
      replace_##NAME(state, (random >> 10) % state->n_live, bytes); \
    }                                                               \
  }

SLICES(reeve)
SLICES(malloc)

static void
measure_pair(void *context, unsigned int who)
{
    struct state *state = context;
    state->random = 12345 + who;
    if (state->is_reeve) {
        state->zone = bench_attach(state->fd);
        uint64_t begin = rv_zone_heap_begin(state->zone);
        state->base = (char *)rv_zone_at(state->zone, begin, 1) - begin;
        state->places = make_places(state->zone, who, MAX_LIVE);
    }
    for (size_t i = 0; i < state->n_live; i++) {
        uint64_t random = bench_random(&state->random);
        size_t bytes = state->sizes[random >> 40 & (SIZES - 1)];
        if (state->is_reeve) {
            replace_reeve(state, i, bytes);
        } else {
            replace_malloc(state, i, bytes);
        }
    }
    bench_meet(state->shared, state->n);
    state->shared->results[who][0] = bench_slices(
        state->is_reeve ? reeve_slice : malloc_slice, state, SLICE, state->ms);
}

/* ---------------------------------------------------------- fragmentation */

/* Fills the zone with objects of FRAGMENT_BYTES; how many. */
static size_t
fill(struct state *state, size_t max)
{
    size_t n = 0;
    while (n < max
           && rv_slab_alloc(state->zone, FRAGMENT_BYTES, &state->places[n])
                  == 0) {
        n++;
    }
    return n;
}

/* Frees the objects of each page with an even number, and of PAIRS more, so
 * that these lie in threes. */
static void
free_every_other_page(struct state *state, size_t n)
{
    uint64_t begin = rv_zone_heap_begin(state->zone);
    for (size_t i = 0; i < n; i++) {
        uint64_t page = (state->places[i] - begin) / RV_ZONE_PAGE_BYTES;
        if ((page % 2 == 0 || (page % 512 == 255))
            && rv_slab_free(state->zone, &state->places[i])) {
            bench_die("the slab failed");
        }
    }
    if (rv_slab_flush(state->zone)) {
        bench_die("the slab failed");
    }
}

static void
failing_slice(void *context)
{
    struct state *state = context;
    for (int n = 0; n < FRAGMENT_SLICE; n++) {
        if (rv_slab_alloc(state->zone, ODD_BYTES,
                          &state->places[state->n_live])
            == 0) {
            bench_die("5,000 bytes: what does not fit fitted");
        }
    }
}

static void
fragment(struct state *state)
{
    state->fd = bench_zone((uint64_t)FRAGMENT_MIB << 20);
    state->zone = bench_attach(state->fd);
    size_t max = ((size_t)FRAGMENT_MIB << 20) / FRAGMENT_BYTES;
    state->random = 7;
    state->places = make_places(state->zone, 0, max);
    size_t n = fill(state, max);
    free_every_other_page(state, n);
    /* The objects that are left keep their pages; their places serve. */
    memset(state->places, 0, n * sizeof *state->places);
    struct rv_slab_stats stats;
    rv_slab_get_stats(state->zone, &stats);
    double took[4 * PAIRS];
    for (int rc = 0; rc == 0 && state->n_live < 4 * PAIRS;) {
        uint64_t start = bench_now_ns();
        rc = rv_slab_alloc(state->zone, ODD_BYTES,
                           &state->places[state->n_live]);
        took[state->n_live] = (double)(bench_now_ns() - start);
        state->n_live += rc == 0;
    }
    double failed =
        bench_slices(failing_slice, state, FRAGMENT_SLICE, FRAGMENT_MS);
    printf("{\"ns\": [%.1f], \"failing_ns\": [%.1f], \"free_pages\": %lu, "
           "\"fitting\": %u}\n",
           bench_median(took, state->n_live), failed,
           (unsigned long)stats.n_free_pages, state->n_live);
}

int
main(int argc, char **argv)
{
    struct state *state = calloc(1, sizeof *state);
    if (!state || argc < 2) {
        bench_die("usage: see the head of slab.c");
    }
    if (strcmp(argv[1], "fragment") == 0) {
        fragment(state);
        return 0;
    }
    if (argc != 6) {
        bench_die("usage: see the head of slab.c");
    }
    state->is_reeve = strcmp(argv[2], "reeve") == 0;
    state->n_live = (unsigned int)bench_number(argv[3]) % MAX_LIVE;
    state->n = (unsigned int)bench_number(argv[4]) % BENCH_PROCESSES;
    state->ms = (unsigned int)bench_number(argv[5]);
    state->shared = bench_share(sizeof *state->shared);
    state->pointers = calloc(MAX_LIVE, sizeof *state->pointers);
    fill_sizes(state);
    if (state->is_reeve) {
        state->fd = bench_zone((uint64_t)FRAGMENT_MIB << 20);
    }
    bench_fork(state->shared, state->n, 0, measure_pair, state);
    printf("{");
    bench_print(state->shared, "ns", state->n, 0);
    printf("}\n");
    return 0;
}
