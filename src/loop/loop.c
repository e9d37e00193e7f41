/* epoll keeps what is registered, so that a turn costs what is ready and not
 * what is open.  A stopped source may still stand in the array of events that
 * this turn fetched; rv_io_stop() strikes it out there. */
#include "reeve/loop.h"
#include "reeve/coverage.h"
#include "os/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_PER_TURN = 64 };

RV_COVERAGE_DEFINE(loop_event);
RV_COVERAGE_DEFINE(loop_timer);
RV_COVERAGE_DEFINE(loop_turn);

static void
read_clock(struct rv_loop *loop)
{
    loop->now_ms = loop->offset_ms
                   + (loop->is_stopped ? loop->stopped_ms : rv_clock_ms());
}

int
rv_loop_init(struct rv_loop *loop)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        return -errno;
    }
    *loop = (struct rv_loop){.epoll_fd = epoll_fd};
    read_clock(loop);
    RV_COVERAGE_REGISTER(loop_event);
    RV_COVERAGE_REGISTER(loop_timer);
    RV_COVERAGE_REGISTER(loop_turn);
    return 0;
}

void
rv_loop_deinit(struct rv_loop *loop)
{
    if (loop->epoll_fd >= 0) {
        close(loop->epoll_fd);
    }
    free(loop->timers);
    *loop = (struct rv_loop){.epoll_fd = -1};
}

int64_t
rv_loop_now(const struct rv_loop *loop)
{
    return loop->now_ms;
}

void
rv_loop_clock_stop(struct rv_loop *loop)
{
    if (!loop->is_stopped) {
        loop->stopped_ms = rv_clock_ms();
        loop->is_stopped = true;
    }
    read_clock(loop);
}

void
rv_loop_clock_warp(struct rv_loop *loop, int64_t ms)
{
    loop->offset_ms += ms;
}

void
rv_io_init(struct rv_io *io, rv_io_callback *callback, void *context)
{
    *io = (struct rv_io){.callback = callback, .context = context, .fd = -1};
}

int
rv_io_start(struct rv_loop *loop, struct rv_io *io, int fd, uint32_t events)
{
    RV_ASSERT(!io->loop);
    struct epoll_event event = {.events = events, .data.ptr = io};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        return -errno;
    }
    io->loop = loop;
    io->fd = fd;
    io->events = events;
    return 0;
}

void
rv_io_set_events(struct rv_io *io, uint32_t events)
{
    RV_ASSERT(io->loop);
    if (events != io->events) {
        struct epoll_event event = {.events = events, .data.ptr = io};
        int rc = epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &event);
        RV_ASSERT(!rc);
        io->events = events;
    }
}

void
rv_io_stop(struct rv_io *io)
{
    if (!io->loop) {
        return;
    }
    epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    for (int i = 0; i < io->loop->n_ready; i++) {
        if (io->loop->ready[i].data.ptr == io) {
            io->loop->ready[i].data.ptr = NULL;
        }
    }
    io->loop = NULL;
    io->fd = -1;
}

/* The heap: timers[i] is not later than timers[2i+1] and timers[2i+2]. */

static void
heap_set(struct rv_loop *loop, size_t position, struct rv_timer *timer)
{
    loop->timers[position] = timer;
    timer->position = position;
}

static void
heap_up(struct rv_loop *loop, struct rv_timer *timer)
{
    size_t i = timer->position;
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (loop->timers[parent]->when_ms <= timer->when_ms) {
            break;
        }
        heap_set(loop, i, loop->timers[parent]);
        i = parent;
    }
    heap_set(loop, i, timer);
}

static void
heap_down(struct rv_loop *loop, struct rv_timer *timer)
{
    size_t i = timer->position;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= loop->n_timers) {
            break;
        }
        if (child + 1 < loop->n_timers
            && loop->timers[child + 1]->when_ms
                   < loop->timers[child]->when_ms) {
            child++;
        }
        if (timer->when_ms <= loop->timers[child]->when_ms) {
            break;
        }
        heap_set(loop, i, loop->timers[child]);
        i = child;
    }
    heap_set(loop, i, timer);
}

static int
heap_grow(struct rv_loop *loop)
{
    if (loop->n_timers < loop->timers_capacity) {
        return 0;
    }
    size_t capacity = RV_MAX(16, loop->timers_capacity * 2);
    struct rv_timer **timers =
        realloc(loop->timers, capacity * sizeof *timers);
    if (!timers) {
        return -ENOMEM;
    }
    loop->timers = timers;
    loop->timers_capacity = capacity;
    return 0;
}

void
rv_timer_init(struct rv_timer *timer, rv_timer_callback *callback,
              void *context)
{
    *timer = (struct rv_timer){.callback = callback, .context = context};
}

int
rv_timer_start(struct rv_loop *loop, struct rv_timer *timer, int64_t when_ms)
{
    if (!timer->loop) {
        int rc = heap_grow(loop);
        if (rc) {
            return rc;
        }
        timer->loop = loop;
        timer->position = loop->n_timers++;
        loop->timers[timer->position] = timer;
    }
    timer->when_ms =
        loop->is_in_timers ? RV_MAX(when_ms, loop->now_ms + 1) : when_ms;
    heap_up(loop, timer);
    heap_down(loop, timer);
    return 0;
}

void
rv_timer_stop(struct rv_timer *timer)
{
    struct rv_loop *loop = timer->loop;
    if (!loop) {
        return;
    }
    struct rv_timer *last = loop->timers[--loop->n_timers];
    if (last != timer) {
        heap_set(loop, timer->position, last);
        heap_up(loop, last);
        heap_down(loop, last);
    }
    timer->loop = NULL;
}

/* Runs the timers that are due.  One that a callback starts for a time already
 * past becomes due a millisecond later (rv_timer_start), so that no timer can
 * keep the loop from its descriptors or from other timers. */
static void
run_timers(struct rv_loop *loop)
{
    loop->is_in_timers = true;
    while (loop->n_timers && loop->timers[0]->when_ms <= loop->now_ms) {
        struct rv_timer *timer = loop->timers[0];
        rv_timer_stop(timer);
        RV_COVERAGE_INC(loop_timer);
        timer->callback(timer);
    }
    loop->is_in_timers = false;
}

static int
wait_ms(const struct rv_loop *loop, int timeout_ms)
{
    if (!loop->n_timers) {
        return timeout_ms;
    }
    int64_t left_ms = loop->timers[0]->when_ms - loop->now_ms;
    if (left_ms <= 0) {
        return 0;
    }
    if (loop->is_stopped) {
        return timeout_ms;
    }
    if (timeout_ms >= 0) {
        left_ms = RV_MIN(left_ms, timeout_ms);
    }
    return (int)RV_MIN(left_ms, 1 << 30);
}

int
rv_loop_run_once(struct rv_loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];

    read_clock(loop);
    int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN,
                       wait_ms(loop, timeout_ms));
    if (n < 0 && errno != EINTR) {
        return -errno;
    }
    read_clock(loop);
    rv_coverage_run(loop->now_ms);
    loop->ready = events;
    loop->n_ready = RV_MAX(n, 0);
    RV_COVERAGE_INC(loop_turn);
    RV_COVERAGE_ADD(loop_event, (uint64_t)loop->n_ready);
    for (int i = 0; i < loop->n_ready; i++) {
        struct rv_io *io = events[i].data.ptr;
        if (io) {
            io->callback(io, events[i].events);
        }
    }
    loop->ready = NULL;
    loop->n_ready = 0;
    run_timers(loop);
    return 0;
}
