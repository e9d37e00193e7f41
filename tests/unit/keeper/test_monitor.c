/* The monitor's policy: whole lives of a daemon without a process. */
#include <signal.h>

#include "harness.h"
#include "keeper/monitor.h"

struct life {
    struct rv__monitor monitor;
    struct rv__monitor_policy policy;
    int64_t now_ms;
};

static struct life
begin(void)
{
    struct life life = {
        .policy = {.min_backoff_ms = 10,
                   .max_backoff_ms = 30000,
                   .stable_ms = 10000},
        .now_ms = 1000,
    };
    rv__monitor_init(&life.monitor, life.now_ms);
    return life;
}

static enum rv__monitor_action
take(struct life *life, const struct rv__monitor_event *event)
{
    /* No jitter: the whole delay. */
    return rv__monitor_step(&life->monitor, &life->policy, event, life->now_ms,
                            0);
}

static enum rv__monitor_action
happens(struct life *life, enum rv__monitor_event_type type)
{
    struct rv__monitor_event event = {.type = type, .pid = 7};
    return take(life, &event);
}

static enum rv__monitor_action
dies(struct life *life, bool is_signal, int value)
{
    struct rv__monitor_event event = {
        .type = RV__MONITOR_ENDED,
        .end = {.is_signal = is_signal, .value = value},
    };
    return take(life, &event);
}

static enum rv__monitor_action
receives(struct life *life, int signal)
{
    struct rv__monitor_event event = {.type = RV__MONITOR_SIGNALLED,
                                      .signal = signal};
    return take(life, &event);
}

/* Starts one that is due and says it is complete. */
static enum rv__monitor_action
starts(struct life *life)
{
    ck_assert_int_eq(happens(life, RV__MONITOR_DUE), RV__MONITOR_START);
    ck_assert_int_eq(happens(life, RV__MONITOR_FORKED), RV__MONITOR_NOTHING);
    ck_assert_int_eq(life->monitor.phase, RV__MONITOR_STARTING);
    enum rv__monitor_action action = happens(life, RV__MONITOR_READY);
    ck_assert_int_eq(life->monitor.phase, RV__MONITOR_RUNNING);
    return action;
}

static int64_t
delay(const struct life *life)
{
    return rv__monitor_timeout(&life->monitor, life->now_ms);
}

START_TEST(announces_once)
{
    struct life life = begin();
    ck_assert_int_eq(delay(&life), 0);
    ck_assert_int_eq(starts(&life), RV__MONITOR_ANNOUNCE);
    ck_assert_int_eq(delay(&life), -1);
    ck_assert_int_eq(happens(&life, RV__MONITOR_READY), RV__MONITOR_NOTHING);
    ck_assert_int_eq(happens(&life, RV__MONITOR_DUE), RV__MONITOR_NOTHING);
    ck_assert_int_eq(dies(&life, true, SIGKILL), RV__MONITOR_CRASHED);
    ck_assert_int_eq(starts(&life), RV__MONITOR_NOTHING);
}
END_TEST

START_TEST(first_start_must_succeed)
{
    static const struct {
        bool is_signal;
        int value;
    } ends[] = {{false, 0}, {false, 3}, {true, SIGTERM}, {true, SIGKILL}};
    for (size_t i = 0; i < RV_ARRAY_SIZE(ends); i++) {
        struct life life = begin();
        happens(&life, RV__MONITOR_DUE);
        happens(&life, RV__MONITOR_FORKED);
        ck_assert_int_eq(dies(&life, ends[i].is_signal, ends[i].value),
                         RV__MONITOR_FAIL);
        ck_assert_int_eq(life.monitor.phase, RV__MONITOR_OVER);
        ck_assert_int_eq(life.monitor.last_pid, 7);
    }
}
END_TEST

START_TEST(which_deaths_are_wanted)
{
    for (int signal = 1; signal < SIGRTMIN; signal++) {
        bool is_wanted =
            signal == SIGTERM || signal == SIGINT || signal == SIGHUP;
        struct life life = begin();
        starts(&life);
        ck_assert_int_eq(dies(&life, true, signal),
                         is_wanted ? RV__MONITOR_LEAVE : RV__MONITOR_CRASHED);
    }
    for (int status = 0; status < 256; status++) {
        struct life life = begin();
        starts(&life);
        ck_assert_int_eq(dies(&life, false, status),
                         status ? RV__MONITOR_CRASHED : RV__MONITOR_LEAVE);
    }
}
END_TEST

/* At once, then 10, 20, 40 ... 30,000 ms, and never an end of it. */
START_TEST(backs_off)
{
    struct life life = begin();
    int64_t expected = 0;
    starts(&life);
    for (unsigned int i = 1; i <= 1000; i++) {
        ck_assert_int_eq(dies(&life, true, SIGSEGV), RV__MONITOR_CRASHED);
        ck_assert_int_eq(delay(&life), expected);
        ck_assert_uint_eq(life.monitor.n_crashes, i);
        life.now_ms += expected;
        starts(&life);
        life.now_ms += 9999;
        expected = RV_MIN(RV_MAX(expected * 2, 10), 30000);
    }
}
END_TEST

START_TEST(stable_life_forgives)
{
    struct life life = begin();
    starts(&life);
    for (int i = 0; i < 10; i++) {
        dies(&life, false, 1);
        life.now_ms += delay(&life);
        starts(&life);
    }
    life.now_ms += 10000;
    dies(&life, false, 1);
    ck_assert_int_eq(delay(&life), 0);
    ck_assert_uint_eq(life.monitor.n_crashes, 11);
    /* A long start that fails is no stable life. */
    happens(&life, RV__MONITOR_DUE);
    happens(&life, RV__MONITOR_FORKED);
    life.now_ms += 100000;
    dies(&life, false, 1);
    ck_assert_int_eq(delay(&life), 10);
}
END_TEST

START_TEST(failed_restart_is_tried_again)
{
    struct life life = begin();
    starts(&life);
    dies(&life, true, SIGKILL);
    happens(&life, RV__MONITOR_DUE);
    ck_assert_int_eq(happens(&life, RV__MONITOR_NOT_FORKED),
                     RV__MONITOR_NOTHING);
    ck_assert_int_eq(delay(&life), 10);
    ck_assert_int_eq(happens(&life, RV__MONITOR_DUE), RV__MONITOR_NOTHING);
    life.now_ms += 10;
    happens(&life, RV__MONITOR_DUE);
    happens(&life, RV__MONITOR_FORKED);
    ck_assert_int_eq(dies(&life, false, 1), RV__MONITOR_CRASHED);
    ck_assert_int_eq(delay(&life), 20);
}
END_TEST

START_TEST(first_fork_that_fails_waits)
{
    struct life life = begin();
    happens(&life, RV__MONITOR_DUE);
    happens(&life, RV__MONITOR_NOT_FORKED);
    ck_assert_int_eq(delay(&life), 10);
    life.now_ms += 10;
    ck_assert_int_eq(starts(&life), RV__MONITOR_ANNOUNCE);
}
END_TEST

START_TEST(forwards)
{
    struct life life = begin();
    starts(&life);
    ck_assert_int_eq(receives(&life, SIGUSR1), RV__MONITOR_FORWARD);
    ck_assert_int_eq(receives(&life, SIGHUP), RV__MONITOR_FORWARD);
    /* Reloading is no end. */
    ck_assert_int_eq(dies(&life, false, 1), RV__MONITOR_CRASHED);
    ck_assert_int_eq(receives(&life, SIGUSR1), RV__MONITOR_NOTHING);
    starts(&life);
    ck_assert_int_eq(receives(&life, SIGQUIT), RV__MONITOR_FORWARD);
    ck_assert_int_eq(dies(&life, true, SIGKILL), RV__MONITOR_LEAVE);
}
END_TEST

START_TEST(stops_between_two_daemons)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT};
    for (size_t i = 0; i < RV_ARRAY_SIZE(signals); i++) {
        struct life life = begin();
        starts(&life);
        dies(&life, false, 1);
        ck_assert_int_eq(receives(&life, signals[i]), RV__MONITOR_LEAVE);
        ck_assert_int_eq(happens(&life, RV__MONITOR_DUE), RV__MONITOR_NOTHING);
    }
}
END_TEST

START_TEST(remembers_the_core)
{
    struct life life = begin();
    struct rv__monitor_event event = {
        .type = RV__MONITOR_ENDED,
        .end = {true, true, SIGABRT},
    };
    char text[RV__MONITOR_TEXT];
    starts(&life);
    ck_assert_str_eq(rv__monitor_text(&life.monitor, text), "healthy");
    take(&life, &event);
    ck_assert_str_eq(rv__monitor_text(&life.monitor, text),
                     "1 crashes: pid 7 died, killed (Aborted), core dumped");
    starts(&life);
    dies(&life, true, SIGSEGV);
    ck_assert(life.monitor.had_core);
    ck_assert_str_eq(rv__monitor_text(&life.monitor, text),
                     "2 crashes: pid 7 died, killed (Segmentation fault)");
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(announces_once),
        RV_TEST(first_start_must_succeed),
        RV_TEST(which_deaths_are_wanted),
        RV_TEST(backs_off),
        RV_TEST(stable_life_forgives),
        RV_TEST(failed_restart_is_tried_again),
        RV_TEST(first_fork_that_fails_waits),
        RV_TEST(forwards),
        RV_TEST(stops_between_two_daemons),
        RV_TEST(remembers_the_core),
    };
    return rv_test_run("monitor", tests, RV_ARRAY_SIZE(tests));
}
