/* The time in a zone, over boots of the machine and over clocks that are set.
 * No test boots a machine: the header of a zone that nobody has attached is
 * made to say that it was another boot, at another time. */
#include <stddef.h>
#include <sys/socket.h>

#include "dict_test.h"
#include "os/boot.h"

enum { SECOND_MS = 1000, HOUR_MS = 3600 * SECOND_MS };

static void
change_word(int fd, size_t at, uint64_t delta)
{
    uint64_t word;
    ck_assert_int_eq(pread(fd, &word, sizeof word, (off_t)at), sizeof word);
    word += delta;
    ck_assert_int_eq(pwrite(fd, &word, sizeof word, (off_t)at), sizeof word);
}

/* The last boot was another one than this. */
static void
boot(int fd)
{
    change_word(fd, offsetof(struct rv__header, boot), 2);
}

/* Sets back, or forward, what time it was then. */
static void
warp(int fd, int64_t ms)
{
    change_word(fd, offsetof(struct rv__header, epoch_ms), (uint64_t)ms);
}

static void
store(int fd, const char *key, int64_t ttl_ms)
{
    struct rv_zone *zone = attach_zone(fd);
    struct rv_dict *dict = open_dict(zone, 0, NULL);
    struct rv_dict_value value = rv_dict_integer(1);
    ck_assert_int_eq(rv_dict_set(dict, key, strlen(key), &value, ttl_ms), 0);
    rv_dict_close(&dict);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
}

static int64_t
ttl(int fd, const char *key, bool is_read_only)
{
    struct rv_zone_options options = {.is_read_only = is_read_only};
    struct rv_error error = {.code = 0};
    struct rv_zone *zone = NULL;
    int64_t ttl_ms = -1;
    int rc = rv_zone_attach(fd, &options, &zone, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    struct rv_dict *dict = open_dict(zone, 0, NULL);
    rc = rv_dict_ttl(dict, key, strlen(key), &ttl_ms);
    rv_dict_close(&dict);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    return rc ? rc : ttl_ms;
}

/* About so many; a slow machine may have taken some off. */
static void
expect_left(int64_t ttl_ms, int64_t left_ms)
{
    ck_assert_int_le(ttl_ms, left_ms + SECOND_MS);
    ck_assert_int_gt(ttl_ms, left_ms - 60 * SECOND_MS);
}

/* A zone in which it is an hour ago. */
static int
make_old_zone(void)
{
    int fd = make_slab_zone(1 << 18, 1 << 18);
    store(fd, "first", 0);
    warp(fd, -HOUR_MS);
    return fd;
}

START_TEST(a_boot_takes_its_time_off)
{
    int fd = make_old_zone();
    store(fd, "short", 30 * 60 * SECOND_MS);
    store(fd, "long", 2 * HOUR_MS);
    store(fd, "ever", 0);
    expect_left(ttl(fd, "short", false), 30 * 60 * SECOND_MS);
    boot(fd);
    /* Whoever comes first; the second one finds what the first one set. */
    for (int i = 0; i < 3; i++) {
        bool is_read_only = i == 0;
        ck_assert_int_eq(ttl(fd, "short", is_read_only), -ENOENT);
        expect_left(ttl(fd, "long", is_read_only), HOUR_MS);
        ck_assert_int_eq(ttl(fd, "ever", is_read_only), 0);
    }
    rv_fd_close(&fd);
}
END_TEST

/* Within a boot nobody asks for the real time again. */
START_TEST(it_is_set_once_a_boot)
{
    int fd = make_old_zone();
    store(fd, "key", 30 * 60 * SECOND_MS);
    for (int i = 0; i < 3; i++) {
        expect_left(ttl(fd, "key", i == 1), 30 * 60 * SECOND_MS);
    }
    rv_fd_close(&fd);
}
END_TEST

/* After this boot the real time is a day before what it was. */
START_TEST(it_does_not_go_back)
{
    int fd = make_slab_zone(1 << 18, 1 << 18);
    store(fd, "first", 0);
    warp(fd, 24 * HOUR_MS);
    store(fd, "key", HOUR_MS);
    boot(fd);
    ck_assert_int_le(ttl(fd, "key", false), HOUR_MS);
    expect_left(ttl(fd, "key", false), HOUR_MS);
    rv_fd_close(&fd);
}
END_TEST

static uint64_t
this_boot(void)
{
    bool is_machines;
    return rv_boot_number(&is_machines);
}

/* Holds the root lock from one byte through the socket to another. */
static void
hold_root_lock(struct rv_zone *zone, int socket)
{
    char byte = 0;
    begin(zone, rv_zone_root_lock(zone), 0);
    ck_assert_int_eq(write(socket, &byte, 1), 1);
    ck_assert_int_eq(read(socket, &byte, 1), 1);
    rv_tx_abort(zone);
}

START_TEST(nobody_waits_for_it)
{
    int sockets[2];
    char byte = 0;
    int fd = make_old_zone();
    store(fd, "key", 30 * 60 * SECOND_MS);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    pid_t holder = start_member(fd, hold_root_lock, sockets[1]);
    ck_assert_int_eq(read(sockets[0], &byte, 1), 1);
    boot(fd);
    struct rv_zone *zone = attach_zone(fd);
    ck_assert_uint_eq(rv__header_of(zone)->boot, this_boot());
    ck_assert_uint_eq(zone->mapping->epoch_ms, rv__header_of(zone)->epoch_ms);
    ck_assert_int_eq(write(sockets[0], &byte, 1), 1);
    ck_assert_int_eq(end_of(holder), 0);
    ck_assert_int_eq(ttl(fd, "key", false), -ENOENT);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&sockets[0]);
    rv_fd_close(&sockets[1]);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(boots_have_numbers)
{
    ck_assert_uint_ne(this_boot(), 0);
    ck_assert_uint_eq(this_boot(), this_boot());
}
END_TEST

/* Nothing an epoch can be does harm. */
START_TEST(any_epoch)
{
    static const uint64_t epochs[] = {1, INT64_MAX, UINT64_MAX,
                                      (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < RV_ARRAY_SIZE(epochs); i++) {
        int fd = make_slab_zone(1 << 18, 1 << 18);
        store(fd, "key", 0);
        ck_assert_int_eq(
            pwrite(fd, &epochs[i], 8, offsetof(struct rv__header, epoch_ms)),
            8);
        store(fd, "other", INT64_MAX);
        store(fd, "third", HOUR_MS);
        ttl(fd, "third", false);
        ck_assert_int_eq(ttl(fd, "key", false), 0);
        rv_fd_close(&fd);
    }
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(a_boot_takes_its_time_off), RV_TEST(it_is_set_once_a_boot),
        RV_TEST(it_does_not_go_back),       RV_TEST(nobody_waits_for_it),
        RV_TEST(boots_have_numbers),        RV_TEST(any_epoch),
    };
    return rv_test_run("epoch", tests, RV_ARRAY_SIZE(tests));
}
