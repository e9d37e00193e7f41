/* Objects of a zone: each is given out once, comes back, and is never lost. */
#include <sched.h>

#include "shm/shelf.h"
#include "slab_test.h"

enum { ZONE_BYTES = 8 << 20 };

static void
close_zone(struct rv_zone *zone, int fd)
{
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}

START_TEST(objects_are_apart_and_aligned)
{
    int fd = make_slab_zone(ZONE_BYTES, ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    for (size_t bytes = 1; bytes <= N_PLACES; bytes++) {
        uint64_t *place = &places->at[bytes - 1];
        ck_assert_int_eq(rv_slab_alloc(zone, 2 * bytes, place), 0);
        size_t size = rv_slab_size(zone, *place);
        ck_assert_uint_ge(size, 2 * bytes);
        ck_assert_uint_le(size, 2 * bytes + RV_MAX(15, bytes / 2));
        ck_assert_uint_eq((*place - rv_zone_heap_begin(zone)) % 16, 0);
        memset(rv_zone_at(zone, *place, size), (int)bytes & 255, size);
    }
    expect_nothing_lost(zone);
    for (size_t bytes = 1; bytes <= N_PLACES; bytes++) {
        uint64_t *place = &places->at[bytes - 1];
        const uint8_t *memory = rv_zone_at(zone, *place, 2 * bytes);
        size_t i = 0;
        while (i < 2 * bytes && memory[i] == (bytes & 255)) {
            i++;
        }
        ck_assert_uint_eq(i, 2 * bytes);
        ck_assert_int_eq(rv_slab_free(zone, place), 0);
        ck_assert_uint_eq(*place, 0);
    }
    expect_nothing_lost(zone);
    close_zone(zone, fd);
}
END_TEST

START_TEST(all_pages_come_back)
{
    struct rv_slab_stats stats;
    uint64_t seed = 5;
    int fd = make_slab_zone(ZONE_BYTES, ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    for (int i = 0; i < 200000; i++) {
        uint64_t *place = &places->at[random_below(&seed, N_PLACES)];
        int rc = *place
                     ? rv_slab_free(zone, place)
                     : rv_slab_alloc(zone, random_size(&seed, 20000), place);
        ck_assert(rc == 0 || rc == -ENOMEM);
    }
    expect_nothing_lost(zone);
    for (size_t i = 0; i < N_PLACES; i++) {
        ck_assert_int_eq(rv_slab_free(zone, &places->at[i]), 0);
    }
    ck_assert_int_eq(rv_slab_flush(zone), 0);
    expect_nothing_lost(zone);
    rv_slab_get_stats(zone, &stats);
    uint64_t own = (sizeof *places + 4095) / 4096;
    ck_assert_uint_eq(stats.n_pages, ZONE_BYTES / 4096);
    ck_assert_uint_eq(stats.n_free_pages, stats.n_pages - own);
    ck_assert_uint_eq(stats.largest_run_pages, stats.n_pages - own);
    ck_assert_uint_eq(stats.n_allocs - stats.n_frees, 1);
    close_zone(zone, fd);
}
END_TEST

START_TEST(alignment_is_kept)
{
    int fd = make_slab_zone(ZONE_BYTES, ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    size_t i = 0;
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        for (size_t bytes = 1; bytes <= 9000; bytes = bytes * 3 + 1) {
            uint64_t *place = &places->at[i++];
            ck_assert_int_eq(
                rv_slab_alloc_aligned(zone, bytes, alignment, place), 0);
            uint64_t at = *place - rv_zone_heap_begin(zone);
            ck_assert_uint_eq(at % alignment, 0);
            ck_assert_uint_eq(rv_slab_size(zone, *place),
                              rv_slab_aligned_bytes(bytes, alignment));
        }
    }
    uint64_t *place = &places->at[i];
    ck_assert_int_eq(rv_slab_alloc_aligned(zone, 8, 3, place), -EINVAL);
    ck_assert_int_eq(rv_slab_alloc_aligned(zone, 8, 8192, place), -EINVAL);
    ck_assert_int_eq(rv_slab_alloc_aligned(zone, 0, 8, place), -EINVAL);
    expect_nothing_lost(zone);
    close_zone(zone, fd);
}
END_TEST

START_TEST(misuse_is_refused)
{
    int fd = make_slab_zone(ZONE_BYTES, ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    uint64_t *place = places->at;
    ck_assert_int_eq(rv_slab_free(zone, place), 0);
    ck_assert_int_eq(rv_slab_alloc(zone, 0, place), -EINVAL);
    ck_assert_int_eq(rv_slab_alloc(zone, SIZE_MAX, place), -ENOMEM);
    ck_assert_int_eq(rv_slab_alloc(zone, ZONE_BYTES, place), -ENOMEM);
    ck_assert_int_eq(rv_slab_alloc(zone, 1000, place), 0);
    ck_assert_int_eq(rv_slab_alloc(zone, 1000, place), -EEXIST);
    place[1] = place[0];
    ck_assert_int_eq(rv_slab_free(zone, &place[0]), 0);
    ck_assert_int_eq(rv_slab_free(zone, &place[1]), -EALREADY);
    ck_assert_uint_ne(place[1], 0);
    ck_assert_int_eq(rv_slab_flush(zone), 0);
    ck_assert_int_lt(rv_slab_free(zone, &place[1]), 0);
    ck_assert_uint_ne(place[1], 0);
    ck_assert_int_eq(rv_slab_alloc(zone, 1000, &place[0]), 0);
    ck_assert_int_eq(rv_slab_alloc(zone, 5000, &place[2]), 0);
    uint64_t beyond = rv_zone_heap_end(zone);
    const uint64_t wrong[] = {
        place[0] + 16, place[0] + 1,  place[2] + 4096, place[2] + 16, 1,
        beyond,        beyond + 4096, UINT64_MAX};
    for (size_t i = 0; i < RV_ARRAY_SIZE(wrong); i++) {
        place[3] = wrong[i];
        ck_assert_int_eq(rv_slab_free(zone, &place[3]), -EFAULT);
        ck_assert_uint_eq(rv_slab_size(zone, wrong[i]), 0);
    }
    memset(place, 0, 4 * sizeof *place);
    expect_sound(zone);
    close_zone(zone, fd);
}
END_TEST

START_TEST(transactions_abort_whole)
{
    static const size_t sizes[] = {64, 4096, 9000};
    int fd = make_slab_zone(ZONE_BYTES, ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    for (size_t i = 0; i < RV_ARRAY_SIZE(sizes); i++) {
        uint64_t *place = &places->at[3 * i];
        ck_assert_int_eq(rv_slab_alloc(zone, sizes[i], &place[0]), 0);
        uint64_t old = place[0];
        ck_assert_int_eq(rv_slab_reserve(zone, sizes[i], 2, 1), 0);
        begin(zone, &places->lock, 4 * RV_SLAB_WORDS);
        ck_assert_int_eq(rv_slab_free(zone, &place[0]), 0);
        ck_assert_int_eq(rv_slab_alloc(zone, sizes[i], &place[1]), 0);
        ck_assert_int_eq(rv_slab_alloc(zone, sizes[i], &place[2]), 0);
        ck_assert_uint_ne(place[1], old);
        ck_assert_uint_ne(place[2], old);
        ck_assert_uint_ne(place[1], place[2]);
        rv_tx_abort(zone);
        ck_assert_uint_eq(place[0], old);
        ck_assert_uint_eq(place[1] | place[2], 0);
        expect_nothing_lost(zone);
    }
    close_zone(zone, fd);
}
END_TEST

START_TEST(transactions_take_what_was_reserved)
{
    int fd = make_slab_zone(ZONE_BYTES, ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    ck_assert_int_eq(rv_slab_reserve(zone, 100, 33, 0), -E2BIG);
    ck_assert_int_eq(rv_slab_reserve(zone, 100, 0, 33), -E2BIG);
    ck_assert_int_eq(rv_slab_reserve(zone, 0, 1, 0), -EINVAL);
    ck_assert_int_eq(rv_slab_reserve(zone, 9000, 9, 0), -E2BIG);
    ck_assert_int_eq(rv_slab_reserve(zone, ZONE_BYTES, 1, 0), -ENOMEM);
    ck_assert_int_eq(rv_slab_flush(zone), 0);
    begin(zone, &places->lock, 200);
    ck_assert_int_eq(rv_slab_reserve(zone, 100, 1, 0), -EDEADLK);
    ck_assert_int_eq(rv_slab_alloc(zone, 100, &places->at[0]), -ENOMEM);
    ck_assert_int_eq(rv_tx_commit(zone), -ENOMEM);
    ck_assert_int_eq(rv_slab_reserve(zone, 100, 32, 32), 0);
    ck_assert_int_eq(rv_slab_reserve_more(zone, 2000, 2, 0), 0);
    ck_assert_int_eq(rv_slab_reserve_more(zone, 9000, 5, 0), 0);
    ck_assert_int_eq(rv_slab_reserve_more(zone, 30000, 3, 0), 0);
    ck_assert_int_eq(rv_slab_reserve_more(zone, 50000, 1, 0), -E2BIG);
    begin(zone, &places->lock, 200);
    for (size_t i = 0; i < 42; i++) {
        size_t bytes = i < 32 ? 100 : i < 34 ? 2000 : i < 39 ? 9000 : 30000;
        ck_assert_int_eq(rv_slab_alloc(zone, bytes, &places->at[i]), 0);
    }
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    ck_assert_int_eq(rv_slab_reserve(zone, 100, 0, 32), 0);
    begin(zone, &places->lock, 200);
    for (size_t i = 10; i < 42; i++) {
        ck_assert_int_eq(rv_slab_free(zone, &places->at[i]), 0);
    }
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    expect_nothing_lost(zone);
    close_zone(zone, fd);
}
END_TEST

START_TEST(full_zone_is_used_to_the_last_page)
{
    enum { N_PAGES = 256 };
    int fd = make_slab_zone(N_PAGES * 4096, N_PAGES * 4096);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    struct rv_slab_stats stats;
    size_t n = 0;
    while (rv_slab_alloc(zone, 8192, &places->at[n]) == 0) {
        n++;
    }
    ck_assert_uint_eq(n, (N_PAGES - (sizeof *places + 4095) / 4096) / 2);
    rv_slab_get_stats(zone, &stats);
    ck_assert_uint_le(stats.n_free_pages, 1);
    ck_assert_uint_ge(stats.n_failures, 1);
    /* Objects of one size, all freed, must not keep those of another out. */
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(rv_slab_free(zone, &places->at[i]), 0);
    }
    for (size_t bytes = 16; bytes <= 4096; bytes *= 2) {
        for (n = 0; n < N_PLACES
                    && rv_slab_alloc(zone, bytes, &places->at[n]) == 0;) {
            n++;
        }
        ck_assert(n == N_PLACES || n * bytes >= 900 * 1000);
        expect_nothing_lost(zone);
        while (n > 0) {
            ck_assert_int_eq(rv_slab_free(zone, &places->at[--n]), 0);
        }
    }
    close_zone(zone, fd);
}
END_TEST

static void
hoard(struct rv_zone *zone, int n)
{
    struct places *places = places_of(zone);
    for (int i = 0; i < n; i++) {
        RV_ASSERT(rv_slab_alloc(zone, 4096, &places->at[i]) == 0);
    }
    for (int i = 0; i < n; i++) {
        RV_ASSERT(rv_slab_free(zone, &places->at[i]) == 0);
    }
    RV_ASSERT(rv_slab_reserve(zone, 40 * 4096, 2, 0) == 0);
    die();
}

START_TEST(what_the_dead_held_is_used_before_memory_is_short)
{
    struct rv_slab_stats stats;
    int fd = make_slab_zone(1 << 20, 1 << 20);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    run_victim(fd, hoard, 30);
    rv_slab_get_stats(zone, &stats);
    ck_assert_uint_eq(stats.n_held_runs, 2);
    ck_assert_uint_gt(stats.classes[RV_SLAB_CLASSES - 1].n_held, 0);
    ck_assert_uint_lt(stats.n_free_pages, 200);
    ck_assert_int_eq(rv_slab_alloc(zone, 240 * 4096, &places->at[0]), 0);
    expect_nothing_lost(zone);
    close_zone(zone, fd);
}
END_TEST

/* Allocates 20 objects of 64 bytes, frees them in a transaction, reserves one;
 * returns how many are held then. */
static uint64_t
held_after_frees(struct rv_zone *zone, struct places *places)
{
    enum { N = 20 };
    struct rv_slab_stats stats;
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(rv_slab_alloc(zone, 64, &places->at[i]), 0);
    }
    ck_assert_int_eq(rv_slab_reserve(zone, 64, 0, N), 0);
    begin(zone, &places->lock, N * (RV_SLAB_WORDS + 1));
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(rv_slab_free(zone, &places->at[i]), 0);
    }
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    ck_assert_int_eq(rv_slab_reserve(zone, 64, 1, 0), 0);
    rv_slab_get_stats(zone, &stats);
    ck_assert_uint_eq(stats.classes[3].size_bytes, 64);
    return stats.classes[3].n_held;
}

START_TEST(members_keep_little_while_pages_are_scarce)
{
    int fd = make_slab_zone(64 * 4096, 64 * 4096);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    ck_assert_uint_ge(held_after_frees(zone, places), 20);
    size_t n_free = 64 - (sizeof *places + 4095) / 4096 - 1;
    ck_assert_int_eq(
        rv_slab_alloc(zone, (n_free - 3) * 4096, &places->at[100]), 0);
    ck_assert_uint_le(held_after_frees(zone, places), 2);
    ck_assert_int_eq(rv_slab_free(zone, &places->at[100]), 0);
    ck_assert_uint_ge(held_after_frees(zone, places), 20);
    expect_nothing_lost(zone);
    close_zone(zone, fd);
}
END_TEST

START_TEST(heap_grows_in_use)
{
    struct rv_slab_stats stats;
    int fd = make_slab_zone(1 << 20, 4 << 20);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    size_t n = 0;
    while (rv_slab_alloc(zone, 3000, &places->at[n]) == 0) {
        n++;
    }
    struct rv_error error;
    ck_assert_int_eq(rv_zone_grow(fd, 4 << 20, &error), 0);
    rv_slab_get_stats(zone, &stats);
    ck_assert_uint_ge(stats.n_free_pages, 768);
    ck_assert_uint_eq(stats.largest_run_pages, 768);
    ck_assert_int_eq(rv_slab_alloc(zone, 3000, &places->at[n]), 0);
    ck_assert_int_eq(rv_slab_alloc(zone, 2 << 20, &places->at[n + 1]), 0);
    expect_nothing_lost(zone);
    close_zone(zone, fd);
}
END_TEST

START_TEST(a_free_tail_goes_out_of_use)
{
    uint64_t used = 0;
    int fd = make_slab_zone(1 << 20, 1 << 20);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    for (size_t i = 0; i < 8; i++) {
        ck_assert_int_eq(rv_slab_alloc(zone, 25 * 4096, &places->at[i]), 0);
    }
    for (size_t i = 0; i < 8; i += i == 3 ? 2 : 1) {
        ck_assert_int_eq(rv_slab_free(zone, &places->at[i]), 0);
    }
    uint64_t block = places->at[4];
    ck_assert_int_eq(rv_slab_trim_tail(zone, 4096, &used), -EBUSY);
    ck_assert_int_eq(rv_slab_trim_tail(zone, 64 << 10, &used), -EBUSY);
    ck_assert_uint_eq(used, block);
    ck_assert_int_eq(rv_slab_trim_tail(zone, 129 * 4096, &used), -EBUSY);
    ck_assert_uint_eq(used, rv_zone_heap_begin(zone) + 129 * 4096);
    ck_assert_int_eq(rv_slab_trim_tail(zone, 100, &used), -EINVAL);
    ck_assert_int_eq(rv_slab_trim_tail(zone, 150 * 4096, &used), 0);
    expect_nothing_lost(zone);
    ck_assert_int_eq(rv_slab_alloc(zone, 110 * 4096, &places->at[0]), -ENOMEM);
    ck_assert_int_eq(rv_slab_trim_tail(zone, 1 << 20, &used), 0);
    ck_assert_int_eq(rv_slab_alloc(zone, 110 * 4096, &places->at[0]), 0);
    expect_nothing_lost(zone);
    close_zone(zone, fd);
}
END_TEST

START_TEST(read_only_handles_see_it)
{
    static const struct rv_zone_options options = {.is_read_only = true};
    struct rv_slab_stats stats;
    struct rv_error error;
    struct rv_zone *reader = NULL;
    int fd = make_slab_zone(ZONE_BYTES, ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    ck_assert_int_eq(rv_slab_alloc(zone, 100, &places->at[0]), 0);
    ck_assert_int_eq(rv_zone_attach(fd, &options, &reader, &error), 0);
    expect_nothing_lost(reader);
    rv_slab_get_stats(reader, &stats);
    ck_assert_uint_eq(stats.n_allocs, 2);
    struct places *seen = places_of(reader);
    ck_assert_int_eq(rv_slab_alloc(reader, 100, &seen->at[1]), -EROFS);
    ck_assert_int_eq(rv_slab_free(reader, &seen->at[0]), -EROFS);
    ck_assert_int_eq(rv_slab_reserve(reader, 100, 1, 0), -EROFS);
    ck_assert_int_eq(rv_slab_flush(reader), -EROFS);
    rv_zone_detach(&reader);
    close_zone(zone, fd);
}
END_TEST

/* Works on places of its own, in all ways, until it is killed. */
static void
churn(struct rv_zone *zone, int argument)
{
    enum { OWN = N_PLACES / 4 };
    struct places *places = places_of(zone);
    uint64_t *mine = &places->at[argument % 4 * OWN];
    uint64_t seed = 88172645463325252U + (uint64_t)argument * 7919U;
    for (;;) {
        uint64_t *place = &mine[random_below(&seed, OWN)];
        uint64_t *other = &mine[random_below(&seed, OWN)];
        size_t bytes = random_size(&seed, 40000);
        if (random_below(&seed, 2)) {
            int rc = *place ? rv_slab_free(zone, place)
                            : rv_slab_alloc(zone, bytes, place);
            RV_ASSERT(rc == 0 || rc == -ENOMEM);
        } else if (rv_slab_reserve(zone, bytes, 1, 2) == 0) {
            RV_ASSERT(rv_tx_begin(zone, &places->lock, 12) == 0);
            RV_ASSERT(rv_slab_free(zone, other) == 0);
            RV_ASSERT(rv_slab_free(zone, place) == 0);
            RV_ASSERT(rv_slab_alloc(zone, bytes, place) == 0);
            RV_ASSERT(rv_tx_commit(zone) == 0);
        }
    }
}

/* Until the members have made 'n' more. */
static void
await_allocations(const struct rv_zone *zone, uint64_t n)
{
    struct rv_slab_stats stats;
    rv_slab_get_stats(zone, &stats);
    uint64_t end = stats.n_allocs + n;
    while (stats.n_allocs < end) {
        sched_yield();
        rv_slab_get_stats(zone, &stats);
    }
}

/* All die; what they had comes back, and no byte is missing. */
static void
audit_deaths(struct rv_zone *zone, const pid_t *pids, int n)
{
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(kill(pids[i], SIGKILL), 0);
        ck_assert(WIFSIGNALED(end_of(pids[i])));
    }
    ck_assert_int_ge(rv_zone_heal(zone), 1);
    begin(zone, &places_of(zone)->lock, 0);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    expect_nothing_lost(zone);
}

START_TEST(no_death_loses_a_byte)
{
    enum { N_MEMBERS = 3, N_ROUNDS = 20, N_KILLS = 6 };
    pid_t pids[N_MEMBERS];
    uint64_t seed = 42;
    int fd = make_slab_zone(4 << 20, 4 << 20);
    struct rv_zone *zone = attach_zone(fd);
    make_places(zone);
    for (int round = 0; round < N_ROUNDS; round++) {
        for (int i = 0; i < N_MEMBERS; i++) {
            pids[i] = start_member(fd, churn, round * 4 + i);
        }
        for (int n = 0; n < N_KILLS; n++) {
            int i = (int)random_below(&seed, N_MEMBERS);
            await_allocations(zone, random_below(&seed, 2000));
            ck_assert_int_eq(kill(pids[i], SIGKILL), 0);
            ck_assert(WIFSIGNALED(end_of(pids[i])));
            pids[i] = start_member(fd, churn, round * 4 + i);
        }
        audit_deaths(zone, pids, N_MEMBERS);
    }
    close_zone(zone, fd);
}
END_TEST

/* Whoever meets a lock of a thread that is none waits long before it takes
 * it; that is not what is looked at here. */
static void
free_locks(struct rv_zone *zone)
{
    struct rv__slab *slab = rv__slab_of(zone);
    memset(&slab->map.lock, 0, sizeof slab->map.lock);
    for (size_t i = 0; i < RV_SLAB_CLASSES; i++) {
        memset(&slab->shelves[i].lock, 0, sizeof slab->shelves[i].lock);
    }
}

/* Whatever bytes the slab's parts have: no crash, no hang. */
START_TEST(garbage_is_survived)
{
    uint64_t seed = 7;
    for (int round = 0; round < 60; round++) {
        int fd = make_slab_zone(1 << 20, 1 << 20);
        struct rv_zone *zone = attach_zone(fd);
        struct places *places = make_places(zone);
        for (size_t i = 0; i < 300; i++) {
            size_t bytes = random_size(&seed, 9000);
            ck_assert_int_eq(rv_slab_alloc(zone, bytes, &places->at[i]), 0);
        }
        const struct rv__geometry *g = &zone->mapping->geometry;
        const uint64_t parts[][2] = {
            {offsetof(struct rv__header, slab), 6000},
            {g->pages, 256 * 32},
            {g->states, 256 * 256},
            {(uint64_t)(zone->member->magazines - (unsigned char *)zone->base),
             30 * 256}};
        const uint64_t *part = parts[round % 4];
        for (int i = 0; i < 200; i++) {
            uint64_t at = part[0] + random_below(&seed, part[1]);
            zone->base[at] = (char)random_below(&seed, 256);
        }
        free_locks(zone);
        struct rv_error error;
        struct rv_slab_stats stats;
        ck_assert_int_ne(rv_slab_check(zone, &error), 0);
        rv_slab_get_stats(zone, &stats);
        for (size_t i = 0; i < 300; i++) {
            rv_slab_free(zone, &places->at[i]);
            (void)!rv_slab_alloc(zone, random_size(&seed, 9000),
                                 &places->at[i + 300]);
        }
        rv_slab_flush(zone);
        rv_zone_detach(&zone);
        rv_fd_close(&fd);
    }
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(objects_are_apart_and_aligned),
        RV_TEST(all_pages_come_back),
        RV_TEST(alignment_is_kept),
        RV_TEST(misuse_is_refused),
        RV_TEST(transactions_abort_whole),
        RV_TEST(transactions_take_what_was_reserved),
        RV_TEST(full_zone_is_used_to_the_last_page),
        RV_TEST(what_the_dead_held_is_used_before_memory_is_short),
        RV_TEST(members_keep_little_while_pages_are_scarce),
        RV_TEST(heap_grows_in_use),
        RV_TEST(a_free_tail_goes_out_of_use),
        RV_TEST(read_only_handles_see_it),
        RV_TEST(no_death_loses_a_byte),
        RV_TEST(garbage_is_survived),
    };
    return rv_test_run("slab", tests, RV_ARRAY_SIZE(tests));
}
