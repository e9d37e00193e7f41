/* The event loop: descriptors, timers, and a clock that a test can stop.
 *
 * Room: loop.  Runs in: master, command line.  Threads: one a loop.
 * Blocks: rv_loop_run_once(), and only as long as 'timeout_ms' says; and
 * rv_loop_run_until_signal_block().
 * Source: epoll(7); life of sources after Wayland's and dbus-broker's loops.
 *
 * Sources live in the caller's storage and are level-triggered.  A callback
 * may stop or free any source, its own included: events already fetched for a
 * stopped source are dropped.
 *
 *     struct rv_io io;
 *     rv_io_init(&io, on_readable, self);
 *     rv_io_start(&loop, &io, fd, EPOLLIN);
 *     ...
 *     rv_io_stop(&io);      // before close(fd), always
 *     close(fd);
 *
 * Wrong: close(fd) first.  The kernel keeps the registration alive as long as
 * any duplicate of the descriptor is open (in a worker, say), and the loop
 * would be woken for a source that is gone.
 */
#ifndef REEVE_LOOP_H
#define REEVE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "reeve/base.h"
#include "reeve/list.h"

RV_BEGIN_DECLARATIONS

struct rv_loop;
struct rv_io;
struct rv_timer;

typedef void rv_io_callback(struct rv_io *, uint32_t events);
typedef void rv_timer_callback(struct rv_timer *);

struct rv_io {
    struct rv_loop *loop; /* NULL while stopped. */
    rv_io_callback *callback;
    void *context; /* The caller's. */
    int fd;        /* Borrowed; -1 while stopped. */
    uint32_t events;
};

struct rv_timer {
    struct rv_loop *loop; /* NULL while stopped. */
    rv_timer_callback *callback;
    void *context;   /* The caller's. */
    int64_t when_ms; /* On the loop's clock. */
    size_t position; /* In the heap. */
};

struct rv_loop {
    int epoll_fd;
    struct rv_timer **timers; /* Heap, the earliest first. */
    size_t n_timers, timers_capacity;
    struct epoll_event *ready; /* Of the turn under way. */
    int n_ready;
    int64_t now_ms;    /* Read once a turn. */
    int64_t offset_ms; /* Added by warps. */
    int64_t stopped_ms;
    bool is_stopped;   /* The clock, not the loop. */
    bool is_in_timers; /* A timer's callback runs. */
};

/* Opens the loop.  -EMFILE, -ENFILE, -ENOMEM as epoll_create1(2). */
int rv_loop_init(struct rv_loop *loop);

/* Closes the loop; all sources must be stopped.  Idempotent. */
void rv_loop_deinit(struct rv_loop *loop);

/* Waits at most 'timeout_ms' (-1: until something happens) and runs what is
 * due.  Returns 0, or the negative errno of epoll_wait (never -EINTR). */
int rv_loop_run_once(struct rv_loop *loop, int timeout_ms);

/* Runs turns until a SIGTERM or SIGINT comes, for programs that have nothing
 * else to do; returns its number.  A negative errno as of rv_loop_run_once,
 * signalfd(2) or rv_io_start.  Blocks.
 *
 * Both signals are held back until then by rv_loop_hold_signals(), which
 * should be called before anybody learns that the program runs, and before
 * threads start; and they still are afterwards, so that a second one does not
 * cut the end short. */
int rv_loop_run_until_signal_block(struct rv_loop *loop) RV_MUST_CHECK;
void rv_loop_hold_signals(void);

/* Milliseconds of a monotonic clock, as of the start of this turn. */
int64_t rv_loop_now(const struct rv_loop *loop);

/* Stops the loop's clock at the current time, or moves a clock forward by
 * 'ms'; timers that become due run in the next turn.  For tests. */
void rv_loop_clock_stop(struct rv_loop *loop);
void rv_loop_clock_warp(struct rv_loop *loop, int64_t ms);

void rv_io_init(struct rv_io *io, rv_io_callback *callback, void *context);

/* Watches 'fd', which stays the caller's.  'events' as epoll_ctl(2); EPOLLERR
 * and EPOLLHUP come in any case.  -ENOMEM, -ENOSPC, or -EPERM for a regular
 * file. */
int rv_io_start(struct rv_loop *loop, struct rv_io *io, int fd,
                uint32_t events) RV_MUST_CHECK;

/* Changes what a started source waits for. */
void rv_io_set_events(struct rv_io *io, uint32_t events);

/* Idempotent. */
void rv_io_stop(struct rv_io *io);

void rv_timer_init(struct rv_timer *timer, rv_timer_callback *callback,
                   void *context);

/* Calls the timer's callback once when the loop's clock reaches 'when_ms';
 * starting a started timer moves it.  Within a timer's callback the earliest
 * time is one millisecond from now.  -ENOMEM. */
int rv_timer_start(struct rv_loop *loop, struct rv_timer *timer,
                   int64_t when_ms);

/* Idempotent. */
void rv_timer_stop(struct rv_timer *timer);

RV_END_DECLARATIONS

#endif
