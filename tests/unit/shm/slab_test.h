/* What the tests of the slab share: bigger zones, and places for offsets. */
#ifndef RV_TEST_SLAB_H
#define RV_TEST_SLAB_H

#include <stdlib.h>

#include "reeve/slab.h"
#include "shm_test.h"

enum { N_PLACES = 2048 };

/* The root "places" of these zones; the rest of the heap is the slab's. */
struct places {
    struct rv_lock lock;
    uint64_t at[N_PLACES];
};

static inline int
make_slab_zone(uint64_t size_bytes, uint64_t max_size_bytes)
{
    struct rv_zone_settings settings = {.name = "slab",
                                        .size_bytes = size_bytes,
                                        .max_size_bytes = max_size_bytes,
                                        .n_members = 8};
    struct rv_error error = {.code = 0};
    int fd = -1;
    int rc = rv_zone_create(&settings, &fd, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return fd;
}

static inline void
expect_sound(const struct rv_zone *zone)
{
    struct rv_error error = {.code = 0};
    int rc = rv_slab_check(zone, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
}

static inline struct places *
places_of(const struct rv_zone *zone)
{
    uint64_t type, offset;
    ck_assert_int_eq(rv_zone_root_get(zone, "places", &type, &offset), 0);
    return rv_zone_at(zone, offset, sizeof(struct places));
}

static inline struct places *
make_places(struct rv_zone *zone)
{
    uint64_t offset = 0;
    size_t n_bytes = sizeof(struct places);
    ck_assert_int_eq(rv_slab_reserve(zone, n_bytes, 1, 0), 0);
    begin(zone, rv_zone_root_lock(zone), RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS);
    ck_assert_int_eq(rv_slab_take(zone, n_bytes, &offset), 0);
    memset(rv_zone_at(zone, offset, n_bytes), 0, n_bytes);
    ck_assert_int_eq(rv_zone_root_set(zone, "places", 1, offset), 0);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    return rv_zone_at(zone, offset, n_bytes);
}

static inline uint64_t
random_below(uint64_t *seed, uint64_t n)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed % n;
}

/* A size between 1 and about 'max', small ones as likely as large ones. */
static inline size_t
random_size(uint64_t *seed, size_t max)
{
    size_t top = max >> random_below(seed, 11);
    return 1 + (size_t)random_below(seed, RV_MAX(top, (size_t)16));
}

/* Bytes that the used places name, and whether each names something. */
static inline uint64_t
bytes_at(const struct rv_zone *zone, const struct places *places)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < N_PLACES; i++) {
        if (places->at[i]) {
            size_t n = rv_slab_size(zone, places->at[i]);
            ck_assert_uint_ne(n, 0);
            sum += n;
        }
    }
    return sum;
}

/* The audit: sound, and all that is used is what places name. */
static inline void
expect_nothing_lost(const struct rv_zone *zone)
{
    struct rv_slab_stats stats;
    const struct places *places = places_of(zone);
    uint64_t own = (sizeof *places + 4095) / 4096 * 4096;
    expect_sound(zone);
    rv_slab_get_stats(zone, &stats);
    ck_assert_uint_eq(stats.used_bytes, own + bytes_at(zone, places));
}

#endif
