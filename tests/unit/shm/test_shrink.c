/* Making a zone shorter while others take its pages back into use.  What
 * happens between two steps of rv_zone_shrink is made to happen there: its
 * calls of pwrite(2) and pread(2) come here first. */
#include <sys/syscall.h>

#include "shm/shelf.h"
#include "slab_test.h"

enum { MIB = 1 << 20, RUN_BYTES = 3 << 20 };

/* What to do before the next read or write of so many bytes at 'at'. */
static struct interruption {
    off_t at;
    size_t n_bytes;
    void (*act)(void *context);
    void *context;
} interruption;

static void
interrupt(size_t n, off_t at)
{
    struct interruption now = interruption;
    if (now.act && at == now.at && n == now.n_bytes) {
        interruption.act = NULL;
        now.act(now.context);
    }
}

ssize_t
pwrite(int fd, const void *data, size_t n, off_t at)
{
    interrupt(n, at);
    return syscall(SYS_pwrite64, fd, data, n, at);
}

/* A zone of 4 MiB whose pages from the first MiB on are out of use. */
struct tail {
    int fd;
    struct rv_zone *zone;
    struct places *places;
};

static struct tail
make_tail(void)
{
    uint64_t used;
    struct tail tail = {.fd = make_slab_zone(4 * MIB, 8 * MIB)};
    tail.zone = attach_zone(tail.fd);
    tail.places = make_places(tail.zone);
    ck_assert_int_eq(rv_slab_trim_tail(tail.zone, MIB, &used), 0);
    return tail;
}

static void
end_tail(struct tail *tail)
{
    struct rv_error error = {.code = 0};
    int rc = rv_zone_check_all(tail->zone, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    ck_assert_int_eq(rv_zone_detach(&tail->zone), 0);
    rv_fd_close(&tail->fd);
}

/* What another one does who makes the zone bigger again. */
static void
give_back(void *context)
{
    struct tail *tail = context;
    uint64_t used;
    uint64_t size = rv_zone_size_bytes(tail->zone);
    ck_assert_int_eq(rv_slab_trim_tail(tail->zone, size, &used), 0);
}

static void
use(void *context)
{
    struct tail *tail = context;
    give_back(context);
    ck_assert_int_eq(
        rv_slab_alloc(tail->zone, RUN_BYTES, &tail->places->at[0]), 0);
    memset(rv_zone_at(tail->zone, tail->places->at[0], RUN_BYTES), 'x',
           RUN_BYTES);
}

static void
expect_used(const struct tail *tail)
{
    const char *bytes = rv_zone_at(tail->zone, tail->places->at[0], RUN_BYTES);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_int_eq(bytes[0], 'x');
    ck_assert_int_eq(memcmp(bytes, bytes + 1, RUN_BYTES - 1), 0);
}

static void
expect_refusal(const struct tail *tail)
{
    struct rv_error error = {.code = 0};
    ck_assert_int_eq(rv_zone_shrink(tail->fd, MIB, &error), -EBUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "use"));
    ck_assert_uint_eq(rv_zone_size_bytes(tail->zone), 4 * MIB);
}

START_TEST(pages_in_use_stay)
{
    struct tail tail = make_tail();
    use(&tail);
    expect_refusal(&tail);
    expect_used(&tail);
    end_tail(&tail);
}
END_TEST

/* Free, but nothing keeps them so. */
START_TEST(pages_that_may_be_used_stay)
{
    struct tail tail = make_tail();
    uint64_t used;
    give_back(&tail);
    expect_refusal(&tail);
    ck_assert_int_eq(rv_slab_trim_tail(tail.zone, 2 * MIB, &used), 0);
    expect_refusal(&tail);
    end_tail(&tail);
}
END_TEST

/* Between the look and the new size; from then on nobody takes them. */
static void
shrink_interrupted(void (*act)(void *context), struct tail *tail)
{
    interruption =
        (struct interruption){.at = offsetof(struct rv__header, size_bytes),
                              .n_bytes = 2 * sizeof(uint64_t),
                              .act = act,
                              .context = tail};
    expect_refusal(tail);
    ck_assert_ptr_null(interruption.act);
}

START_TEST(pages_that_come_into_use_meanwhile_stay)
{
    struct tail tail = make_tail();
    shrink_interrupted(use, &tail);
    expect_used(&tail);
    end_tail(&tail);
    tail = make_tail();
    shrink_interrupted(give_back, &tail);
    use(&tail);
    expect_used(&tail);
    end_tail(&tail);
}
END_TEST

/* Two who shrink, and a bigger zone in between: the shorter heap is free. */
START_TEST(what_is_out_of_use_goes)
{
    struct rv_error error = {.code = 0};
    struct tail tail = make_tail();
    ck_assert_int_eq(rv_zone_shrink(tail.fd, 3 * MIB, &error), 0);
    ck_assert_int_eq(rv_zone_grow(tail.fd, 8 * MIB, &error), 0);
    ck_assert_int_eq(rv_zone_shrink(tail.fd, 2 * MIB, &error), 0);
    ck_assert_int_eq(rv_zone_shrink(tail.fd, MIB, &error), 0);
    ck_assert_uint_eq(rv_zone_size_bytes(tail.zone), MIB);
    give_back(&tail);
    /* Its own size again finishes what was killed half done. */
    ck_assert_int_eq(rv_zone_shrink(tail.fd, MIB, &error), 0);
    end_tail(&tail);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(pages_in_use_stay),
        RV_TEST(pages_that_may_be_used_stay),
        RV_TEST(pages_that_come_into_use_meanwhile_stay),
        RV_TEST(what_is_out_of_use_goes),
    };
    return rv_test_run("shrink", tests, RV_ARRAY_SIZE(tests));
}
