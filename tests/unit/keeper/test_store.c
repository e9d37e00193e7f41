#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "keeper/store.h"

static struct rv_store *
create(void)
{
    struct rv_store *store = calloc(1, sizeof *store);
    ck_assert_ptr_nonnull(store);
    return store;
}

static void
destroy(struct rv_store *store)
{
    rv_store_clear(store);
    free(store);
}

static int
any_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static bool
is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int
count(const struct rv_store *store)
{
    uint32_t position = 0;
    int n = 0;
    while (rv_store_next(store, &position)) {
        n++;
    }
    return n;
}

START_TEST(puts_lists_and_drops)
{
    struct rv_store *store = create();
    int a = any_fd(), b = any_fd();
    uint32_t position = 0;
    ck_assert_int_eq(count(store), 0);
    ck_assert_int_eq(rv_store_put(store, "listen/a", a), 0);
    ck_assert_int_eq(rv_store_put(store, "listen/b", b), 0);
    ck_assert_int_eq(count(store), 2);
    const struct rv_store_entry *entry = rv_store_next(store, &position);
    ck_assert_str_eq(entry->name, "listen/a");
    ck_assert_int_eq(entry->fd_plus_1 - 1, a);
    ck_assert_int_eq(rv_store_drop(store, "listen/a"), 0);
    ck_assert(!is_open(a) && is_open(b));
    ck_assert_int_eq(rv_store_drop(store, "listen/a"), -ENOENT);
    ck_assert_int_eq(rv_store_drop(store, ""), -ENOENT);
    ck_assert_int_eq(count(store), 1);
    rv_store_clear(store);
    ck_assert(!is_open(b));
    ck_assert_int_eq(count(store), 0);
    destroy(store);
}
END_TEST

START_TEST(replacing_closes_the_old)
{
    struct rv_store *store = create();
    int a = any_fd(), b = any_fd();
    ck_assert_int_eq(rv_store_put(store, "state", a), 0);
    ck_assert_int_eq(rv_store_put(store, "state", b), 0);
    ck_assert(!is_open(a) && is_open(b));
    ck_assert_int_eq(count(store), 1);
    destroy(store);
}
END_TEST

START_TEST(names_have_limits)
{
    struct rv_store *store = create();
    char name[RV_KEEPER_NAME + 1];
    int fd = any_fd();
    memset(name, 'x', sizeof name);
    name[RV_KEEPER_NAME] = '\0';
    ck_assert_int_eq(rv_store_put(store, "", fd), -EINVAL);
    ck_assert_int_eq(rv_store_put(store, name, fd), -EINVAL);
    ck_assert(is_open(fd));
    name[RV_KEEPER_NAME - 1] = '\0';
    ck_assert_int_eq(rv_store_put(store, name, fd), 0);
    ck_assert_int_eq(rv_store_drop(store, name), 0);
    ck_assert(!is_open(fd));
    destroy(store);
}
END_TEST

/* Numbers stand in for descriptors here: far above all that are open, so that
 * closing them closes nothing. */
enum { FAKE_FD = 1 << 24 };

static void
number_name(char name[32], int i)
{
    snprintf(name, 32, "notify/%d/0", i);
}

START_TEST(holds_many_and_says_when_it_is_full)
{
    struct rv_store *store = create();
    char name[32];
    for (int i = 0; i < RV_STORE_ENTRIES; i++) {
        number_name(name, i);
        ck_assert_int_eq(rv_store_put(store, name, FAKE_FD + i), 0);
    }
    ck_assert_int_eq(rv_store_put(store, "one more", FAKE_FD), -ENOSPC);
    /* Replacing needs no room. */
    ck_assert_int_eq(rv_store_put(store, name, FAKE_FD), 0);
    for (int i = 0; i < RV_STORE_ENTRIES; i += 3) {
        number_name(name, i);
        ck_assert_int_eq(rv_store_drop(store, name), 0);
    }
    ck_assert_int_eq(count(store), RV_STORE_ENTRIES / 3 * 2);
    ck_assert_int_eq(rv_store_put(store, "one more", FAKE_FD), 0);
    number_name(name, 1);
    ck_assert_int_eq(rv_store_drop(store, name), 0);
    destroy(store);
}
END_TEST

/* Random puts and drops, against a plain table. */
START_TEST(agrees_with_a_plain_table)
{
    enum { NAMES = 200, STEPS = 20000 };
    struct rv_store *store = create();
    bool has[NAMES] = {false};
    int n = 0;
    uint32_t random = 12345;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525 + 1013904223;
        int i = (int)(random >> 8) % NAMES;
        char name[32];
        number_name(name, i);
        if (random >> 31) {
            ck_assert_int_eq(rv_store_put(store, name, FAKE_FD + i), 0);
            n += !has[i];
            has[i] = true;
        } else {
            ck_assert_int_eq(rv_store_drop(store, name), has[i] ? 0 : -ENOENT);
            n -= has[i];
            has[i] = false;
        }
    }
    ck_assert_int_eq(count(store), n);
    ck_assert_uint_le(store->n_used, NAMES);
    destroy(store);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(puts_lists_and_drops),
        RV_TEST(replacing_closes_the_old),
        RV_TEST(names_have_limits),
        RV_TEST(holds_many_and_says_when_it_is_full),
        RV_TEST(agrees_with_a_plain_table),
    };
    return rv_test_run("store", tests, RV_ARRAY_SIZE(tests));
}
