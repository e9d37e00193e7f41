#include "shm_test.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/process.h"
#include "reeve/slab.h"
#include "shm/log.h"
#include "shm/member.h"
#include "shm/move.h"

static void
die_idle(struct rv_zone *zone, int argument)
{
    (void)zone;
    (void)argument;
    die();
}

static void
die_private(struct rv_zone *zone, int argument)
{
    begin(zone, NULL, 1);
    rv_tx_set64(zone, &things_of(zone)->words[0], (uint64_t)argument);
    die();
}

static void
die_holding(struct rv_zone *zone, int argument)
{
    begin(zone, &things_of(zone)->locks[0], 1);
    rv_tx_set64(zone, &things_of(zone)->words[0], (uint64_t)argument);
    die();
}

START_TEST(a_dead_members_slot_is_taken_over)
{
    void (*const deaths[])(struct rv_zone *, int) = {die_idle, die_private,
                                                     die_holding};
    for (size_t i = 0; i < RV_ARRAY_SIZE(deaths); i++) {
        int fd = make_zone(1, false);
        run_victim(fd, deaths[i], 7);
        struct rv_zone *zone = attach_zone(fd);
        struct things *things = things_of(zone);
        ck_assert_uint_eq(things->words[0], 0);
        ck_assert_uint_eq(things->locks[0].word, 0);
        ck_assert_uint_eq(zone->member->log.head, 0);
        ck_assert_uint_eq(zone->member->n_attached, 2);
        begin(zone, &things->locks[0], 1);
        rv_tx_set64(zone, &things->words[0], 8);
        ck_assert_int_eq(rv_tx_commit(zone), 0);
        rv_zone_detach(&zone);
        rv_fd_close(&fd);
    }
}
END_TEST

START_TEST(healing_frees_the_slots_of_the_dead)
{
    int fd = make_zone(4, false);
    struct rv_zone *zone = attach_zone(fd);
    ck_assert_int_eq(rv_zone_heal(zone), 0);
    run_victim(fd, die_holding, 6);
    run_victim(fd, die_private, 7);
    ck_assert_int_eq(rv_zone_heal(zone), 1);
    ck_assert_uint_eq(things_of(zone)->words[0], 0);
    ck_assert_int_eq(rv_zone_heal(zone), 0);
    for (uint32_t i = 0; i < 4; i++) {
        const struct rv__member *member = rv__member_of(zone, i);
        ck_assert(member == zone->member || member->tid == 0);
    }
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* The lock has been given to somebody else since, or was recovered: a log
 * without changes must not touch it. */
START_TEST(an_empty_log_names_no_lock)
{
    int fd = make_zone(2, false);
    struct rv_zone *zone = attach_zone(fd);
    struct things *things = things_of(zone);
    struct rv__log *log = &rv__member_of(zone, 1)->log;
    run_victim(fd, die_idle, 0);
    log->head = rv__offset_of(zone, &things->locks[0]) << RV__HEAD_SHIFT;
    things->locks[0].word = 12345;
    ck_assert_int_eq(rv_zone_heal(zone), 1);
    ck_assert_uint_eq(things->locks[0].word, 12345);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* Holds the life word of a dead member, whose log is not undone yet. */
static void
die_adopting(struct rv_zone *zone, int fd)
{
    run_victim(fd, die_private, 7);
    if (rv__life_try(rv__life_of(zone, 2)) == RV__LIFE_WAS_DEAD) {
        die();
    }
}

START_TEST(a_dead_adopter_is_adopted)
{
    int fd = make_zone(3, false);
    struct rv_zone *zone = attach_zone(fd);
    run_victim(fd, die_adopting, fd);
    ck_assert_uint_eq(things_of(zone)->words[0], 7);
    ck_assert_int_eq(rv_zone_heal(zone), 2);
    ck_assert_uint_eq(things_of(zone)->words[0], 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(a_slot_dead_twice)
{
    int fd = make_zone(2, false);
    struct rv_zone *zone = attach_zone(fd);
    run_victim(fd, die_private, 7);
    run_victim(fd, die_private, 8);
    ck_assert_uint_eq(things_of(zone)->words[0], 8);
    ck_assert_int_eq(rv_zone_heal(zone), 1);
    ck_assert_uint_eq(things_of(zone)->words[0], 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* Changes that no member logs are not undone, whatever the log says. */
START_TEST(a_scribbled_log_harms_nobody)
{
    int fd = make_zone(2, false);
    struct rv_zone *zone = attach_zone(fd);
    struct rv__log *log = &rv__member_of(zone, 1)->log;
    run_victim(fd, die_idle, 0);
    log->changes[0] = (struct rv__change){UINT64_MAX, 1};
    log->changes[1] = (struct rv__change){8, 1};
    log->changes[2] = (struct rv__change){0x1238, 1};
    log->head = 0xffff;
    ck_assert_int_eq(rv_zone_heal(zone), 1);
    ck_assert_uint_eq(log->head, 0);
    ck_assert_int_eq(rv_zone_check(zone, NULL), 0);
    const struct rv__move moves[] = {
        {UINT64_MAX, UINT64_MAX},
        {1, 0x1238 << RV__MOVE_CLASS_BITS | RV__MOVE_CLASS},
        {1, UINT64_MAX << RV__MOVE_CLASS_BITS},
        {1, rv__offset_of(zone, things_of(zone)) << RV__MOVE_CLASS_BITS}};
    for (size_t i = 0; i < 2 * RV_ARRAY_SIZE(moves); i++) {
        struct rv__magazine *magazine =
            rv__move_magazine(rv__member_of(zone, 1), 0);
        run_victim(fd, die_idle, 0);
        log->move = moves[i / 2];
        magazine->items[0] = UINT32_MAX;
        magazine->items[1] = UINT32_MAX;
        log->head = i % 2 ? RV__HEAD_OUT : RV__HEAD_IN;
        ck_assert_int_eq(rv_zone_heal(zone), 1);
        ck_assert_uint_eq(log->head, 0);
        ck_assert_int_eq(rv_zone_check(zone, NULL), 0);
        ck_assert_int_eq(rv_slab_check(zone, NULL), 0);
    }
    run_victim(fd, die_idle, 0);
    log->head = UINT64_MAX;
    ck_assert_int_eq(rv_zone_heal(zone), 1);
    ck_assert_uint_eq(log->head, 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* Whether the process has become tail(1). */
static bool
is_tail(pid_t pid)
{
    char path[64], name[16] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "re");
    bool is_read = file && fgets(name, sizeof name, file);
    if (file) {
        fclose(file);
    }
    return is_read && !strcmp(name, "tail\n");
}

static void *
exec_holding(void *fdp)
{
    struct rv_zone *zone = attach_zone(*(int *)fdp);
    begin(zone, &things_of(zone)->locks[0], 1);
    rv_tx_set64(zone, &things_of(zone)->words[0], 9);
    execlp("tail", "tail", "-f", "/dev/null", (char *)NULL);
    abort();
}

/* The kernel does not mark what a thread other than the first had. */
START_TEST(a_thread_that_called_exec_is_dead)
{
    int fd = make_zone(2, false);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, exec_holding, &fd);
        pause();
    }
    struct rv_zone *zone = attach_zone(fd);
    const struct things *things = things_of(zone);
    while (rv_process_start_time(pid) && !is_tail(pid)) {
        sched_yield();
    }
    begin(zone, &things_of(zone)->locks[0], 0);
    ck_assert_uint_eq(things->words[0], 0);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    ck_assert_int_eq(rv_zone_heal(zone), 1);
    kill(pid, SIGKILL);
    end_of(pid);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* What is left of one that the kernel missed says nothing of who has its
 * number now. */
START_TEST(a_number_that_was_used_again_is_a_living_ones)
{
    int fd = make_zone(2, false);
    struct rv_zone *left = attach_zone(fd);
    struct rv_zone *zone = attach_zone(fd);
    ck_assert_uint_lt(left->index, zone->index);
    left->member->pid = 1;
    ck_assert(rv__member_is_living(zone, zone->tid));
    zone->member->pid = 1;
    ck_assert(!rv__member_is_living(zone, zone->tid));
    rv_zone_detach(&zone);
    rv_zone_detach(&left);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(a_living_member_of_another_namespace)
{
    int fd = make_zone(4, false);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_zone *second = NULL;
    zone->member->pid_namespace++;
    ck_assert_int_eq(rv_zone_attach(fd, NULL, &second, NULL), -EXDEV);
    rv_zone_detach(&zone);
    zone = attach_zone(fd);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* It has the slot, and has not said yet who it is: what stands there is of the
 * last one, which was of another namespace. */
START_TEST(a_newcomer_is_no_stranger)
{
    int fd = make_zone(3, false);
    struct rv_zone *zone = attach_zone(fd);
    struct rv__life *life = rv__life_of(zone, 1);
    rv__member_of(zone, 1)->pid_namespace = zone->pid_namespace + 1;
    ck_assert_int_eq(rv__life_try(life), 0);
    struct rv_zone *second = attach_zone(fd);
    ck_assert_uint_eq(second->index, 2);
    ck_assert_int_eq(rv_zone_attach(fd, NULL, &(struct rv_zone *){NULL}, NULL),
                     -EAGAIN);
    rv__life_release(life);
    ck_assert_int_eq(rv_zone_detach(&second), 0);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(a_dead_members_slot_is_taken_over),
        RV_TEST(healing_frees_the_slots_of_the_dead),
        RV_TEST(an_empty_log_names_no_lock),
        RV_TEST(a_dead_adopter_is_adopted),
        RV_TEST(a_slot_dead_twice),
        RV_TEST(a_scribbled_log_harms_nobody),
        RV_TEST(a_thread_that_called_exec_is_dead),
        RV_TEST(a_number_that_was_used_again_is_a_living_ones),
        RV_TEST(a_living_member_of_another_namespace),
        RV_TEST(a_newcomer_is_no_stranger),
    };
    return rv_test_run("member", tests, RV_ARRAY_SIZE(tests));
}
