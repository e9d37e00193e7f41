/* Zones that another process made, found by name; their size down and up. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "slab_test.h"

/* A zone of 1 MiB, and its descriptor's number in REEVE_ZONES. */
static int
pass_zone(const char *before, const char *behind)
{
    char text[128];
    int fd = make_zone(4, false);
    snprintf(text, sizeof text, "%stest=%d%s", before, fd, behind);
    ck_assert_int_eq(setenv("REEVE_ZONES", text, 1), 0);
    return fd;
}

static void
expect_found(const char *before, const char *behind)
{
    struct rv_zone *zone = NULL;
    struct rv_error error = {.code = 0};
    int fd = pass_zone(before, behind);
    int rc = rv_zone_attach_by_name("test", NULL, &zone, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    /* Still open, for others. */
    zone = attach_zone(fd);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}

START_TEST(finds_by_name)
{
    expect_found("", "");
    expect_found("a=1,", "");
    expect_found("tes=1,atest=1,", ",tests=1");
    expect_found("test2=1,", ",b=");
}
END_TEST

static void
expect_refused(const char *zones, int code)
{
    struct rv_zone *zone = NULL;
    struct rv_error error = {.code = 0};
    if (zones) {
        setenv("REEVE_ZONES", zones, 1);
    } else {
        unsetenv("REEVE_ZONES");
    }
    int rc = rv_zone_attach_by_name("test", NULL, &zone, &error);
    ck_assert_msg(rc == code, "%s: %d %s", zones, rc, error.text);
    ck_assert_ptr_null(zone);
    ck_assert_str_ne(error.text, "");
}

START_TEST(refuses_other_names)
{
    expect_refused(NULL, -ENOENT);
    expect_refused("", -ENOENT);
    expect_refused("tes=3,testt=4", -ENOENT);
    expect_refused("test", -ENOENT);
    expect_refused("test=", -EINVAL);
    expect_refused("test=x", -EINVAL);
    expect_refused("test=-1", -EINVAL);
    expect_refused("test=4294967296", -EINVAL);
    expect_refused("test=11111111111111111111", -EINVAL);
    expect_refused("test=999", -EBADF);
    expect_refused(",,=,test,=3", -ENOENT);
}
END_TEST

START_TEST(refuses_the_zone_of_another_name)
{
    char text[32];
    struct rv_zone *zone = NULL;
    struct rv_error error = {.code = 0};
    int fd = make_zone(4, false);
    snprintf(text, sizeof text, "other=%d", fd);
    setenv("REEVE_ZONES", text, 1);
    ck_assert_int_eq(rv_zone_attach_by_name("other", NULL, &zone, &error),
                     -EEXIST);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(read_only_descriptors)
{
    char path[64], text[64];
    struct rv_zone *zone = NULL;
    struct rv_error error = {.code = 0};
    struct rv_zone_options options = {.is_read_only = true};
    int fd = make_zone(4, false);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(text, sizeof text, "test=%d", reader);
    setenv("REEVE_ZONES", text, 1);
    ck_assert_int_eq(rv_zone_attach_by_name("test", NULL, &zone, &error),
                     -EACCES);
    ck_assert_str_eq(error.text, "zone \"test\" is only for reading");
    int rc = rv_zone_attach_by_name("test", &options, &zone, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&reader);
    rv_fd_close(&fd);
}
END_TEST

static uint64_t
memory_of(int fd)
{
    struct stat status;
    ck_assert_int_eq(fstat(fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static struct rv_zone_info
info_of(int fd)
{
    struct rv_zone_info info;
    struct rv_error error = {.code = 0};
    int rc = rv_zone_read_info(fd, &info, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return info;
}

START_TEST(shrinks_and_grows)
{
    struct rv_error error = {.code = 0};
    uint64_t used;
    int fd = make_zone(4, false);
    ck_assert_int_eq(rv_zone_grow(fd, 1 << 20, &error), 0);
    struct rv_zone *zone = attach_zone(fd);
    uint64_t tail = rv_zone_heap_begin(zone) + (1 << 16);
    memset(rv_zone_at(zone, tail, (1 << 20) - (1 << 16)), 'x',
           (1 << 20) - (1 << 16));
    ck_assert_int_eq(rv_slab_trim_tail(zone, 1 << 16, &used), 0);
    uint64_t before = memory_of(fd);
    ck_assert_int_eq(rv_zone_shrink(fd, (1 << 16) - 1, &error), 0);
    ck_assert_uint_eq(info_of(fd).size_bytes, 1 << 16);
    ck_assert_uint_eq(rv_zone_size_bytes(zone), 1 << 16);
    ck_assert_ptr_null(rv_zone_at(zone, tail, 1));
    ck_assert_uint_eq(before - memory_of(fd), (1 << 20) - (1 << 16));
    ck_assert_int_eq(rv_zone_shrink(fd, (1 << 16) + 1, &error), -ERANGE);
    ck_assert_int_eq(rv_zone_shrink(fd, 0, &error), -ERANGE);
    ck_assert_int_eq(rv_zone_shrink(fd, UINT64_MAX, &error), -ERANGE);
    ck_assert_int_eq(rv_zone_grow(fd, 1 << 17, &error), 0);
    const char *again = rv_zone_at(zone, tail, 1 << 16);
    ck_assert_ptr_nonnull(again);
    ck_assert_int_eq(again[0], 0);
    ck_assert_int_eq(rv_zone_check(zone, &error), 0);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

/* They take memory only while there are such pages. */
START_TEST(shrinking_forgets_the_states_of_objects)
{
    struct rv_error error = {.code = 0};
    uint64_t used;
    int fd = make_slab_zone(1 << 20, 64 << 20);
    struct rv_zone *zone = attach_zone(fd);
    struct places *places = make_places(zone);
    uint64_t before = memory_of(fd);
    ck_assert_int_eq(rv_zone_grow(fd, 64 << 20, &error), 0);
    for (size_t i = 0; i < N_PLACES; i++) {
        ck_assert_int_eq(rv_slab_alloc(zone, 1 << 14, &places->at[i]), 0);
    }
    ck_assert_uint_gt(memory_of(fd) - before, 2 << 20);
    for (size_t i = 0; i < N_PLACES; i++) {
        ck_assert_int_eq(rv_slab_free(zone, &places->at[i]), 0);
    }
    ck_assert_int_eq(rv_slab_trim_tail(zone, 1 << 20, &used), 0);
    ck_assert_int_eq(rv_zone_shrink(fd, 1 << 20, &error), 0);
    ck_assert_uint_lt(memory_of(fd) - before, 1 << 19);
    /* They come back as ones that nobody knows. */
    ck_assert_int_eq(rv_zone_grow(fd, 64 << 20, &error), 0);
    ck_assert_int_eq(rv_slab_trim_tail(zone, 64 << 20, &used), 0);
    for (size_t i = 0; i < N_PLACES; i++) {
        ck_assert_int_eq(rv_slab_alloc(zone, 1 << 14, &places->at[i]), 0);
    }
    expect_nothing_lost(zone);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(shrinks_nothing_but_zones)
{
    struct rv_error error = {.code = 0};
    int fd = -1;
    ck_assert_int_eq(rv_memfd_create("x", "x", 1, &fd), 0);
    ck_assert_int_eq(rv_zone_shrink(fd, 4096, &error), -EUCLEAN);
    rv_fd_close(&fd);
}
END_TEST

/* A large run, objects of a size, and what is free, in the heap's order. */
START_TEST(runs)
{
    struct rv_error error = {.code = 0};
    struct rv_slab_run run;
    int fd = make_zone(4, false);
    struct rv_zone *zone = attach_zone(fd);
    uint64_t n_pages = 0, n_whole = 0, n_objects = 0;
    ck_assert_int_eq(rv_slab_get_run(zone, 0, &run), 0);
    ck_assert_int_eq(run.kind, RV_SLAB_RUN_FREE);
    ck_assert_uint_eq(run.n_pages, 16);
    ck_assert_int_eq(rv_slab_get_run(zone, 16, &run), -ERANGE);
    ck_assert_int_eq(rv_slab_reserve(zone, 3 * 4096, 1, 0), 0);
    ck_assert_int_eq(rv_slab_reserve_more(zone, 100, 1, 0), 0);
    while (!rv_slab_get_run(zone, n_pages, &run)) {
        ck_assert_uint_ge(run.n_pages, 1);
        n_whole += run.kind == RV_SLAB_RUN_WHOLE ? run.n_pages : 0;
        if (run.kind == RV_SLAB_RUN_OBJECTS) {
            ck_assert_uint_eq(run.object_bytes, 112);
            ck_assert_uint_lt(run.n_free, run.n_objects);
            n_objects += run.n_objects;
        }
        n_pages += run.n_pages;
    }
    ck_assert_uint_eq(n_pages, 16);
    ck_assert_uint_eq(n_whole, 3);
    ck_assert_uint_ge(n_objects, 8);
    ck_assert_int_eq(rv_slab_check(zone, &error), 0);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(finds_by_name),
        RV_TEST(refuses_other_names),
        RV_TEST(refuses_the_zone_of_another_name),
        RV_TEST(read_only_descriptors),
        RV_TEST(shrinks_and_grows),
        RV_TEST(shrinking_forgets_the_states_of_objects),
        RV_TEST(shrinks_nothing_but_zones),
        RV_TEST(runs),
    };
    return rv_test_run("environment", tests, RV_ARRAY_SIZE(tests));
}
