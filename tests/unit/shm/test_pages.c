/* Runs of pages: against a plain array of what should be free. */
#include "shm/pages.h"
#include "shm/shelf.h"
#include "slab_test.h"

enum { N_PAGES = 600 };

static struct rv__page_map *
map_of(struct rv_zone *zone)
{
    return &rv__slab_of(zone)->map;
}

static void
begin_map(struct rv_zone *zone)
{
    begin(zone, &map_of(zone)->lock, RV_TX_WORDS_MAX);
}

/* Takes a run; its first page, or -1. */
static int
take(struct rv_zone *zone, uint32_t n)
{
    uint32_t page = 0;
    begin_map(zone);
    int rc = rv__pages_take(zone, n, &page);
    if (!rc) {
        rv_tx_set8(zone, &zone->slab.states[page << 8], RV__THING_USED);
    }
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    ck_assert(rc == 0 || rc == -ENOMEM);
    return rc ? -1 : (int)page;
}

static void
give(struct rv_zone *zone, uint32_t page)
{
    begin_map(zone);
    rv_tx_set8(zone, &zone->slab.states[page << 8], RV__THING_FREE);
    rv__pages_give(zone, page);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
}

static struct rv_zone *
open_pages(int *fdp, uint32_t n_pages, uint32_t max_pages)
{
    *fdp = make_slab_zone(n_pages * 4096, max_pages * 4096);
    return attach_zone(*fdp);
}

static void
close_pages(struct rv_zone *zone, int fd)
{
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}

START_TEST(lists_cover_all_lengths)
{
    uint32_t last = rv__bin_of(1);
    ck_assert_uint_eq(last, 1);
    for (uint32_t n = 2; n < 1 << 24; n += n < 5000 ? 1 : n / 37) {
        uint32_t bin = rv__bin_of(n);
        ck_assert_uint_ge(bin, last);
        ck_assert_uint_lt(bin, RV__BINS);
        ck_assert_uint_le(bin, n);
        if (n < 32) {
            ck_assert_uint_eq(bin, n);
        }
        last = bin;
    }
    ck_assert_uint_eq(rv__bin_of((1 << 24) - 1), RV__BINS - 1);
}
END_TEST

START_TEST(classes_cover_all_sizes)
{
    for (uint32_t bytes = 1; bytes <= 4096; bytes++) {
        uint32_t i = rv__class_of(bytes);
        ck_assert_uint_lt(i, RV_SLAB_CLASSES);
        ck_assert_uint_ge(rv__classes[i].units * 16U, bytes);
        if (i > 0) {
            ck_assert_uint_lt(rv__classes[i - 1].units * 16U, bytes);
        }
    }
    for (uint32_t i = 0; i < RV_SLAB_CLASSES; i++) {
        const struct rv__class *c = &rv__classes[i];
        ck_assert_uint_ge(c->n_objects, 8);
        ck_assert_uint_le(c->n_objects, 256);
        ck_assert_uint_le(c->n_pages, RV__CHUNK_PAGES);
        ck_assert_uint_le((uint32_t)c->n_objects * c->units,
                          (uint32_t)c->n_pages * RV__PAGE_UNITS);
    }
}
END_TEST

START_TEST(runs_are_apart_and_join_again)
{
    int owner[N_PAGES] = {0}; /* 0: free; else length of the run there. */
    int first[N_PAGES] = {0};
    uint64_t seed = 99;
    int fd;
    struct rv_zone *zone = open_pages(&fd, N_PAGES, N_PAGES);
    for (int round = 0; round < 30000; round++) {
        uint32_t at = (uint32_t)random_below(&seed, N_PAGES);
        if (first[at]) {
            for (int i = 0; i < first[at]; i++) {
                owner[at + (uint32_t)i] = 0;
            }
            first[at] = 0;
            give(zone, at);
            continue;
        }
        uint32_t n = 1 + (uint32_t)random_below(&seed, 1U << round % 7);
        int page = take(zone, n);
        for (uint32_t i = 0; page >= 0 && i < n; i++) {
            ck_assert_int_eq(owner[(uint32_t)page + i], 0);
            owner[(uint32_t)page + i] = 1;
        }
        if (page >= 0) {
            first[page] = (int)n;
        }
        if (round % 1000 == 0) {
            expect_sound(zone);
        }
    }
    for (uint32_t at = 0; at < N_PAGES; at++) {
        if (first[at]) {
            give(zone, at);
        }
    }
    expect_sound(zone);
    ck_assert_uint_eq(map_of(zone)->n_free, N_PAGES);
    ck_assert_int_eq(take(zone, N_PAGES), 0);
    ck_assert_int_eq(take(zone, 1), -1);
    close_pages(zone, fd);
}
END_TEST

/* Fills the zone with runs of 'n' and gives every second of them back. */
static void
fragment(struct rv_zone *zone, uint32_t n)
{
    while (take(zone, n) >= 0) {
    }
    for (uint32_t at = 0; at + n <= N_PAGES; at += 2 * n) {
        give(zone, at);
    }
}

START_TEST(what_fits_is_found)
{
    for (uint32_t n = 1; n < 70; n++) {
        int fd;
        struct rv_zone *zone = open_pages(&fd, N_PAGES, N_PAGES);
        fragment(zone, n);
        uint32_t n_free = map_of(zone)->n_free;
        ck_assert_int_ge(take(zone, n), 0);
        ck_assert_uint_eq(map_of(zone)->n_free, n_free - n);
        ck_assert_int_eq(take(zone, 2 * n + N_PAGES % n), -1);
        close_pages(zone, fd);
    }
}
END_TEST

START_TEST(an_abort_leaves_all_as_it_was)
{
    int fd;
    struct rv_zone *zone = open_pages(&fd, N_PAGES, N_PAGES);
    uint32_t page = 0;
    int used = take(zone, 3);
    ck_assert_int_ge(used, 0);
    struct rv__page_map before = *map_of(zone);
    begin_map(zone);
    ck_assert_int_eq(rv__pages_take(zone, 7, &page), 0);
    ck_assert_int_eq(rv__pages_take(zone, 70, &page), 0);
    rv__pages_give(zone, (uint32_t)used);
    rv_tx_abort(zone);
    before.lock = map_of(zone)->lock;
    ck_assert_int_eq(memcmp(&before, map_of(zone), sizeof before), 0);
    expect_sound(zone);
    close_pages(zone, fd);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    int fd;
    struct rv_zone *zone = open_pages(&fd, N_PAGES, N_PAGES);
    int page = take(zone, 4);
    const uint32_t wrong[] = {(uint32_t)page + 1, (uint32_t)page + 4,
                              N_PAGES - 1};
    for (size_t i = 0; i < RV_ARRAY_SIZE(wrong); i++) {
        begin_map(zone);
        rv__pages_give(zone, wrong[i]);
        ck_assert_int_eq(rv_tx_commit(zone), -EUCLEAN);
        expect_sound(zone);
    }
    close_pages(zone, fd);
}
END_TEST

START_TEST(new_pages_join_the_last_ones)
{
    struct rv_error error;
    int fd;
    struct rv_zone *zone = open_pages(&fd, 100, N_PAGES);
    ck_assert_int_eq(take(zone, 90), 0);
    ck_assert_int_eq(take(zone, 11), -1);
    ck_assert_int_eq(rv_zone_grow(fd, N_PAGES * 4096, &error), 0);
    ck_assert_int_eq(take(zone, N_PAGES - 90), 90);
    ck_assert_uint_eq(map_of(zone)->n_free, 0);
    expect_sound(zone);
    close_pages(zone, fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(lists_cover_all_lengths),
        RV_TEST(classes_cover_all_sizes),
        RV_TEST(runs_are_apart_and_join_again),
        RV_TEST(what_fits_is_found),
        RV_TEST(an_abort_leaves_all_as_it_was),
        RV_TEST(nonsense_is_refused),
        RV_TEST(new_pages_join_the_last_ones),
    };
    return rv_test_run("pages", tests, RV_ARRAY_SIZE(tests));
}
