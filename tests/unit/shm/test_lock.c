#include "shm_test.h"

#include <sched.h>

#include "os/futex.h"
#include "shm/log.h"

enum { N_PROCESSES = 3, N_ROUNDS = 20000 };

static void
count(struct rv_zone *zone, int n)
{
    struct things *things = things_of(zone);
    for (int i = 0; i < n; i++) {
        begin(zone, &things->locks[0], 2);
        ck_assert_uint_eq(things->words[0], things->words[1]);
        rv_tx_set64(zone, &things->words[0], things->words[0] + 1);
        rv_tx_set64(zone, &things->words[1], things->words[1] + 1);
        ck_assert_int_eq(rv_tx_commit(zone), 0);
    }
}

static void
exclude(bool is_exchange)
{
    int fd = make_zone(0, is_exchange);
    struct rv_zone *zone = attach_zone(fd);
    ck_assert_int_eq(zone->is_exchange, is_exchange);
    pid_t pids[N_PROCESSES];
    for (int i = 0; i < N_PROCESSES; i++) {
        pids[i] = start_member(fd, count, N_ROUNDS);
    }
    for (int i = 0; i < N_PROCESSES; i++) {
        ck_assert_int_eq(end_of(pids[i]), 0);
    }
    ck_assert_uint_eq(things_of(zone)->words[0], N_PROCESSES * N_ROUNDS);
    ck_assert_uint_eq(things_of(zone)->locks[0].word, 0);
    ck_assert_uint_eq(things_of(zone)->locks[0].waiters, 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}

START_TEST(processes_exclude_each_other)
{
    exclude(false);
}
END_TEST

START_TEST(processes_exclude_each_other_by_exchange)
{
    exclude(true);
}
END_TEST

enum point { HOLDING, CHANGED, CHANGED_TWICE, ABORTED, COMMITTED };

static void
die_at(struct rv_zone *zone, int point)
{
    struct things *things = things_of(zone);
    begin(zone, &things->locks[0], 8);
    for (int i = 0; i < point && point < ABORTED; i++) {
        rv_tx_set64(zone, &things->words[0], things->words[0] + 1);
        rv_tx_set8(zone, &things->bytes[i], 1);
    }
    if (point >= ABORTED) {
        rv_tx_set64(zone, &things->words[0], 9);
    }
    if (point == ABORTED) {
        rv_tx_abort(zone);
    } else if (point == COMMITTED) {
        rv_tx_commit(zone);
    }
    die();
}

START_TEST(the_next_holder_sees_old_or_new)
{
    for (int point = HOLDING; point <= COMMITTED; point++) {
        int fd = make_zone(0, false);
        struct rv_zone *zone = attach_zone(fd);
        struct things *things = things_of(zone);
        run_victim(fd, die_at, point);
        uint32_t died = point < ABORTED ? FUTEX_OWNER_DIED : 0;
        ck_assert_uint_eq(things->locks[0].word & FUTEX_OWNER_DIED, died);
        begin(zone, &things->locks[0], 1);
        ck_assert_uint_eq(things->words[0], point == COMMITTED ? 9 : 0);
        ck_assert_uint_eq(things->bytes[0], 0);
        rv_tx_set64(zone, &things->words[1], 1);
        ck_assert_int_eq(rv_tx_commit(zone), 0);
        ck_assert_uint_eq(things->locks[0].word, 0);
        rv_zone_detach(&zone);
        rv_fd_close(&fd);
    }
}
END_TEST

START_TEST(trying_recovers_too)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    run_victim(fd, die_at, CHANGED_TWICE);
    ck_assert_uint_eq(things_of(zone)->words[0], 2);
    ck_assert_int_eq(rv_tx_try_begin(zone, &things_of(zone)->locks[0], 0), 0);
    ck_assert_uint_eq(things_of(zone)->words[0], 0);
    rv_tx_commit(zone);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* Takes the lock once words[0] has the value, and sees that it keeps it. */
static void
take_and_look(struct rv_zone *zone, int value)
{
    struct things *things = things_of(zone);
    const uint64_t *word = &things->words[0];
    while (__atomic_load_n(word, __ATOMIC_RELAXED) != (uint64_t)value) {
        sched_yield();
    }
    begin(zone, &things->locks[0], 1);
    ck_assert_uint_eq(*word, (uint64_t)value);
    rv_tx_commit(zone);
}

/* A living member whose number is still in the lock from before must not be
 * undone, whatever it does now. */
START_TEST(a_former_owner_is_left_alone)
{
    int fd = make_zone(0, false);
    struct rv_zone *former = attach_zone(fd);
    struct things *things = things_of(former);
    begin(former, &things->locks[0], 1);
    rv_tx_commit(former);
    pid_t pid = fork();
    if (pid == 0) {
        struct rv_zone *victim = attach_zone(fd);
        struct things *its = things_of(victim);
        rv__lock_take(victim, &its->locks[0]); /* Dies before it says who. */
        die();
    }
    end_of(pid);
    ck_assert_uint_ne(things->locks[0].word & FUTEX_OWNER_DIED, 0);
    pid = start_member(fd, take_and_look, 5);
    begin(former, &things->locks[1], 1);
    rv_tx_set64(former, &things->words[0], 5);
    ck_assert_int_eq(end_of(pid), 0);
    ck_assert_int_eq(rv_tx_commit(former), 0);
    ck_assert_uint_eq(things->words[0], 5);
    rv_zone_detach(&former);
    rv_fd_close(&fd);
}
END_TEST

/* Takes the lock once somebody else has it. */
static void
take_once(struct rv_zone *zone, int value)
{
    struct things *things = things_of(zone);
    while (__atomic_load_n(&things->locks[0].word, __ATOMIC_RELAXED) == 0) {
        sched_yield();
    }
    begin(zone, &things->locks[0], 1);
    rv_tx_set64(zone, &things->words[1], (uint64_t)value);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
}

/* Until 'word' of the lock, which somebody will change, has waiters. */
static void
await_waiters(struct rv_lock *lock, uint32_t n)
{
    while (
        __atomic_load_n(&lock->waiters, __ATOMIC_RELAXED) < n
        || !(__atomic_load_n(&lock->word, __ATOMIC_RELAXED) & FUTEX_WAITERS)) {
        sched_yield();
    }
}

START_TEST(a_sleeper_is_woken_by_release_and_by_death)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    pid_t pid = start_member(fd, take_once, 1);
    begin(zone, &things->locks[0], 0);
    await_waiters(&things->locks[0], 1);
    rv_tx_commit(zone);
    ck_assert_int_eq(end_of(pid), 0);
    ck_assert_uint_eq(things->words[1], 1);

    pid_t holder = fork();
    if (holder == 0) {
        struct rv_zone *its = attach_zone(fd);
        begin(its, &things_of(its)->locks[0], 1);
        rv_tx_set64(its, &things_of(its)->words[2], 1);
        pause();
    }
    while (__atomic_load_n(&things->words[2], __ATOMIC_RELAXED) == 0) {
        sched_yield();
    }
    pid = start_member(fd, take_once, 2);
    await_waiters(&things->locks[0], 1);
    kill(holder, SIGKILL);
    end_of(holder);
    ck_assert_int_eq(end_of(pid), 0);
    ck_assert_uint_eq(things->words[1], 2);
    ck_assert_uint_eq(things->words[2], 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(a_dead_waiter_is_forgotten)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    pid_t pid = start_member(fd, take_once, 1);
    begin(zone, &things->locks[0], 0);
    await_waiters(&things->locks[0], 1);
    kill(pid, SIGKILL);
    end_of(pid);
    rv_tx_commit(zone);
    ck_assert_uint_eq(things->locks[0].waiters, 1);
    for (int i = 0; i < 20; i++) {
        begin(zone, &things->locks[0], 0);
        rv_tx_commit(zone);
    }
    ck_assert_uint_eq(things->locks[0].waiters, 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* The count may have been healed just before its waiter slept. */
START_TEST(an_uncounted_sleeper_finds_its_way)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    pid_t pid = start_member(fd, take_once, 1);
    begin(zone, &things->locks[0], 0);
    await_waiters(&things->locks[0], 1);
    __atomic_store_n(&things->locks[0].waiters, 0, __ATOMIC_RELAXED);
    await_waiters(&things->locks[0], 1);
    __atomic_store_n(&things->locks[0].waiters, 0, __ATOMIC_RELAXED);
    rv_tx_commit(zone);
    ck_assert_int_eq(end_of(pid), 0);
    ck_assert_uint_eq(things->locks[0].waiters, 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(a_word_of_nobody_is_taken)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    things->locks[0].word = 0x3ffffffe;
    begin(zone, &things->locks[0], 0);
    rv_tx_commit(zone);
    ck_assert_uint_eq(things->locks[0].word, 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* Comes back at once after each release, until everybody had some turns. */
static void
hoard(struct rv_zone *zone, int slot)
{
    const uint64_t *turns = things_of(zone)->words;
    while (RV_MIN(turns[0], RV_MIN(turns[1], turns[2])) < 20) {
        begin(zone, &things_of(zone)->locks[0], 1);
        for (int i = 0; i < 2000; i++) {
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
        }
        uint64_t *mine = &things_of(zone)->words[slot];
        rv_tx_set64(zone, mine, *mine + 1);
        rv_tx_commit(zone);
    }
}

START_TEST(nobody_starves)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    pid_t pids[N_PROCESSES];
    for (int i = 0; i < N_PROCESSES; i++) {
        pids[i] = start_member(fd, hoard, i);
    }
    for (int i = 0; i < N_PROCESSES; i++) {
        ck_assert_int_eq(end_of(pids[i]), 0);
    }
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(processes_exclude_each_other),
        RV_TEST(processes_exclude_each_other_by_exchange),
        RV_TEST(the_next_holder_sees_old_or_new),
        RV_TEST(trying_recovers_too),
        RV_TEST(a_former_owner_is_left_alone),
        RV_TEST(a_sleeper_is_woken_by_release_and_by_death),
        RV_TEST(a_dead_waiter_is_forgotten),
        RV_TEST(an_uncounted_sleeper_finds_its_way),
        RV_TEST(a_word_of_nobody_is_taken),
        RV_TEST(nobody_starves),
    };
    return rv_test_run("lock", tests, RV_ARRAY_SIZE(tests));
}
