#include "shm_test.h"

#include "shm/log.h"

START_TEST(commit_and_abort)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    uint32_t *half = (void *)&things->words[9];
    begin(zone, &things->locks[0], 3);
    ck_assert_int_eq(rv_tx_set64(zone, &things->words[1], UINT64_MAX), 0);
    ck_assert_int_eq(rv_tx_set32(zone, half, 0x01020304), 0);
    ck_assert_int_eq(rv_tx_set8(zone, &things->bytes[5], 0xee), 0);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    begin(zone, &things->locks[0], 5);
    rv_tx_set64(zone, &things->words[1], 1);
    rv_tx_set64(zone, &things->words[1], 2);
    rv_tx_set32(zone, half, 0);
    rv_tx_set32(zone, half + 1, 0);
    rv_tx_set8(zone, &things->bytes[5], 0);
    rv_tx_abort(zone);
    ck_assert_uint_eq(things->words[1], UINT64_MAX);
    ck_assert_uint_eq(*half, 0x01020304);
    ck_assert_uint_eq(things->bytes[5], 0xee);
    ck_assert_uint_eq(things->locks[0].word, 0);
    ck_assert_uint_eq(zone->member->log.head, 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(too_many_words_change_nothing)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    ck_assert_int_eq(rv_tx_begin(zone, &things->locks[0], RV_TX_WORDS_MAX + 1),
                     -E2BIG);
    ck_assert_uint_eq(things->locks[0].word, 0);
    begin(zone, &things->locks[0], RV_TX_WORDS_MAX);
    for (int i = 0; i < RV_TX_WORDS_MAX; i++) {
        uint64_t *word = &things->words[i % 64];
        ck_assert_int_eq(rv_tx_set64(zone, word, *word + 1), 0);
    }
    ck_assert_int_eq(rv_tx_set64(zone, &things->words[0], 9), -E2BIG);
    ck_assert_uint_ne(things->words[0], 9);
    ck_assert_int_eq(rv_tx_commit(zone), -E2BIG);
    for (int i = 0; i < 64; i++) {
        ck_assert_uint_eq(things->words[i], 0);
    }
    ck_assert_uint_eq(things->locks[0].word, 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(places_that_are_none)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    struct rv_lock mine = {.word = 0};
    uint64_t outside = 5;
    ck_assert_int_eq(rv_tx_begin(zone, &mine, 0), -EFAULT);
    ck_assert_int_eq(rv_tx_begin(zone, (void *)(things->bytes + 4), 0),
                     -EFAULT);
    ck_assert_int_eq(rv_tx_begin(zone, (void *)zone->base, 0), -EFAULT);

    begin(zone, &things->locks[0], 9);
    rv_tx_set64(zone, &things->words[0], 1);
    ck_assert_int_eq(rv_tx_set64(zone, &outside, 1), -EFAULT);
    ck_assert_uint_eq(outside, 5);
    ck_assert_int_eq(rv_tx_set64(zone, (void *)(things->bytes + 1), 1),
                     -EFAULT);
    uint64_t *end = (void *)(zone->base + rv_zone_heap_end(zone));
    ck_assert_int_eq(rv_tx_set64(zone, end, 1), -EFAULT);
    ck_assert_int_eq(rv_tx_set64(zone, (void *)zone->base, 1), -EFAULT);
    ck_assert_int_eq(rv_tx_commit(zone), -EFAULT);
    ck_assert_uint_eq(things->words[0], 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(nothing_nests)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_zone *other = attach_zone(fd);
    struct rv_zone *third = NULL;
    struct things *things = things_of(zone);
    begin(zone, &things->locks[0], 1);
    ck_assert_int_eq(rv_tx_begin(zone, &things->locks[1], 1), -EDEADLK);
    ck_assert_int_eq(rv_tx_begin(zone, NULL, 1), -EDEADLK);
    ck_assert_int_eq(rv_tx_begin(other, &things_of(other)->locks[1], 1),
                     -EDEADLK);
    ck_assert_int_eq(rv_tx_try_begin(other, NULL, 1), -EDEADLK);
    ck_assert_int_eq(rv_zone_heal(zone), -EDEADLK);
    ck_assert_int_eq(rv_zone_attach(fd, NULL, &third, NULL), -EDEADLK);
    ck_assert_int_eq(rv_zone_detach(&other), -EDEADLK);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    begin(zone, NULL, 1);
    ck_assert_int_eq(rv_tx_begin(zone, &things->locks[1], 1), -EDEADLK);
    rv_tx_abort(zone);
    rv_zone_detach(&other);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(without_a_transaction)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    ck_assert_int_eq(rv_tx_set64(zone, &things->words[0], 1), -EPERM);
    ck_assert_uint_eq(things->words[0], 0);
    ck_assert_int_eq(rv_tx_commit(zone), -EPERM);
    rv_tx_abort(zone);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(private_ones_take_no_lock)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    begin(zone, NULL, 2);
    ck_assert_ptr_null(zone->robust->list_op_pending);
    rv_tx_set64(zone, &things->words[0], 1);
    rv_tx_abort(zone);
    ck_assert_uint_eq(things->words[0], 0);
    begin(zone, NULL, 2);
    rv_tx_set64(zone, &things->words[0], 1);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    ck_assert_uint_eq(things->words[0], 1);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(trying_never_waits)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    things->locks[0].word = 1; /* Process 1 is no member, but lives. */
    ck_assert_int_eq(rv_tx_try_begin(zone, &things->locks[0], 1), -EBUSY);
    ck_assert_ptr_null(zone->robust->list_op_pending);
    things->locks[0].word = 0;
    ck_assert_int_eq(rv_tx_try_begin(zone, &things->locks[0], 1), 0);
    rv_tx_set64(zone, &things->words[0], 1);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    ck_assert_int_eq(rv_tx_try_begin(zone, NULL, RV_TX_WORDS_MAX + 1), -E2BIG);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(detaching_aborts)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_zone *other = attach_zone(fd);
    begin(zone, &things_of(zone)->locks[0], 1);
    rv_tx_set64(zone, &things_of(zone)->words[0], 1);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    ck_assert_uint_eq(things_of(other)->words[0], 0);
    ck_assert_uint_eq(things_of(other)->locks[0].word, 0);
    rv_zone_detach(&other);
    rv_fd_close(&fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(commit_and_abort),      RV_TEST(too_many_words_change_nothing),
        RV_TEST(places_that_are_none),  RV_TEST(nothing_nests),
        RV_TEST(without_a_transaction), RV_TEST(private_ones_take_no_lock),
        RV_TEST(trying_never_waits),    RV_TEST(detaching_aborts),
    };
    return rv_test_run("tx", tests, RV_ARRAY_SIZE(tests));
}
