#include "keeper/monitor.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>

#include "base/backoff.h"

void
rv__monitor_init(struct rv__monitor *monitor, int64_t now_ms)
{
    *monitor = (struct rv__monitor){
        .phase = RV__MONITOR_WAITING,
        .start_at_ms = now_ms,
    };
}

static void
wait_for_next(struct rv__monitor *monitor,
              const struct rv__monitor_policy *policy, int64_t now_ms,
              uint64_t random)
{
    monitor->phase = RV__MONITOR_WAITING;
    monitor->pid = 0;
    monitor->start_at_ms =
        now_ms
        + rv_backoff_ms(policy->min_backoff_ms, policy->max_backoff_ms,
                        monitor->n_failures, random);
}

/* Whether someone asked for this end. */
static bool
is_wanted(const struct rv__monitor *monitor, const struct rv_process_end *end)
{
    if (monitor->is_stopping) {
        return true;
    }
    if (!end->is_signal) {
        /* A daemon that leaves in peace while it starts again has not been
         * asked to, but it has decided so. */
        return end->value == 0;
    }
    return end->value == SIGTERM || end->value == SIGINT
           || end->value == SIGHUP;
}

static enum rv__monitor_action
ended(struct rv__monitor *monitor, const struct rv__monitor_policy *policy,
      const struct rv_process_end *end, int64_t now_ms, uint64_t random)
{
    bool was_stable = monitor->phase == RV__MONITOR_RUNNING
                      && now_ms - monitor->started_ms >= policy->stable_ms;
    monitor->last_pid = monitor->pid;
    monitor->last_end = *end;
    if (!monitor->was_ready || is_wanted(monitor, end)) {
        monitor->phase = RV__MONITOR_OVER;
        monitor->pid = 0;
        return monitor->was_ready ? RV__MONITOR_LEAVE : RV__MONITOR_FAIL;
    }
    monitor->n_crashes++;
    monitor->n_failures = was_stable ? 1 : monitor->n_failures + 1;
    monitor->had_core = monitor->had_core || end->is_core_dumped;
    wait_for_next(monitor, policy, now_ms, random);
    return RV__MONITOR_CRASHED;
}

static enum rv__monitor_action
signalled(struct rv__monitor *monitor, int signal)
{
    if (signal == SIGTERM || signal == SIGINT || signal == SIGQUIT) {
        monitor->is_stopping = true;
    }
    if (monitor->phase != RV__MONITOR_WAITING) {
        return RV__MONITOR_FORWARD;
    }
    if (!monitor->is_stopping) {
        /* The next daemon begins anew anyway. */
        return RV__MONITOR_NOTHING;
    }
    monitor->phase = RV__MONITOR_OVER;
    return RV__MONITOR_LEAVE;
}

static enum rv__monitor_action
ready(struct rv__monitor *monitor)
{
    bool is_first = !monitor->was_ready;
    monitor->phase = RV__MONITOR_RUNNING;
    monitor->was_ready = true;
    return is_first ? RV__MONITOR_ANNOUNCE : RV__MONITOR_NOTHING;
}

enum rv__monitor_action
rv__monitor_step(struct rv__monitor *monitor,
                 const struct rv__monitor_policy *policy,
                 const struct rv__monitor_event *event, int64_t now_ms,
                 uint64_t random)
{
    switch (event->type) {
    case RV__MONITOR_FORKED:
        monitor->phase = RV__MONITOR_STARTING;
        monitor->pid = event->pid;
        monitor->started_ms = now_ms;
        return RV__MONITOR_NOTHING;
    case RV__MONITOR_NOT_FORKED:
        monitor->n_failures = RV_MAX(monitor->n_failures, 1) + 1;
        wait_for_next(monitor, policy, now_ms, random);
        return RV__MONITOR_NOTHING;
    case RV__MONITOR_READY:
        return monitor->phase == RV__MONITOR_STARTING ? ready(monitor)
                                                      : RV__MONITOR_NOTHING;
    case RV__MONITOR_ENDED:
        return ended(monitor, policy, &event->end, now_ms, random);
    case RV__MONITOR_SIGNALLED:
        return signalled(monitor, event->signal);
    case RV__MONITOR_DUE:
        return monitor->phase == RV__MONITOR_WAITING
                       && now_ms >= monitor->start_at_ms
                   ? RV__MONITOR_START
                   : RV__MONITOR_NOTHING;
    }
    return RV__MONITOR_NOTHING;
}

int
rv__monitor_timeout(const struct rv__monitor *monitor, int64_t now_ms)
{
    if (monitor->phase != RV__MONITOR_WAITING) {
        return -1;
    }
    int64_t left_ms = RV_MAX(monitor->start_at_ms - now_ms, 0);
    return (int)RV_MIN(left_ms, INT_MAX);
}

const char *
rv__monitor_text(const struct rv__monitor *monitor,
                 char text[RV__MONITOR_TEXT])
{
    char end[RV_PROCESS_END_TEXT];
    if (!monitor->n_crashes) {
        snprintf(text, RV__MONITOR_TEXT, "healthy");
    } else {
        snprintf(text, RV__MONITOR_TEXT, "%u crashes: pid %d died, %s",
                 monitor->n_crashes, (int)monitor->last_pid,
                 rv_process_end_text(&monitor->last_end, end));
    }
    return text;
}
