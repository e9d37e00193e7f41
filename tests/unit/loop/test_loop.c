#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/backoff.h"
#include "harness.h"
#include "reeve/loop.h"

struct pipe_ends {
    int read_fd, write_fd;
};

static struct pipe_ends
make_pipe(void)
{
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    return (struct pipe_ends){fds[0], fds[1]};
}

static void
close_pipe(struct pipe_ends *ends)
{
    close(ends->read_fd);
    close(ends->write_fd);
}

static void
put_byte(const struct pipe_ends *ends)
{
    ck_assert_int_eq(write(ends->write_fd, "x", 1), 1);
}

/* ---- Descriptors ---- */

static void
count_call(struct rv_io *io, uint32_t events)
{
    ck_assert_uint_ne(events, 0);
    ++*(int *)io->context;
}

START_TEST(readable)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    struct pipe_ends ends = make_pipe();
    int n = 0;
    struct rv_io io;
    rv_io_init(&io, count_call, &n);
    ck_assert_int_eq(rv_io_start(&loop, &io, ends.read_fd, EPOLLIN), 0);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(n, 0);
    put_byte(&ends);
    ck_assert_int_eq(rv_loop_run_once(&loop, -1), 0);
    ck_assert_int_eq(rv_loop_run_once(&loop, -1), 0);
    ck_assert_msg(n == 2, "sources are level-triggered");
    rv_io_set_events(&io, 0);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(n, 2);
    rv_io_set_events(&io, EPOLLIN);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(n, 3);
    rv_io_stop(&io);
    rv_io_stop(&io);
    ck_assert_int_eq(io.fd, -1);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(n, 3);
    close_pipe(&ends);
    rv_loop_deinit(&loop);
    rv_loop_deinit(&loop);
}
END_TEST

START_TEST(refuses_what_cannot_be_watched)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    struct rv_io io;
    rv_io_init(&io, count_call, NULL);
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(rv_io_start(&loop, &io, fd, EPOLLIN), -EPERM);
    ck_assert_int_eq(io.fd, -1);
    close(fd);
    ck_assert_int_eq(rv_io_start(&loop, &io, fd, EPOLLIN), -EBADF);
    rv_io_stop(&io);
    rv_loop_deinit(&loop);
}
END_TEST

/* Of several sources that are ready in one turn, the first that runs stops
 * and frees them all, itself included. */
struct crowd {
    struct rv_io *ios[8];
    int n_calls;
};

static void
free_all(struct rv_io *io, uint32_t events)
{
    (void)events;
    struct crowd *crowd = io->context;
    crowd->n_calls++;
    for (size_t i = 0; i < RV_ARRAY_SIZE(crowd->ios); i++) {
        rv_io_stop(crowd->ios[i]);
        free(crowd->ios[i]);
        crowd->ios[i] = NULL;
    }
}

START_TEST(callback_frees_itself_and_all_others)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    struct crowd crowd = {.n_calls = 0};
    struct pipe_ends ends[RV_ARRAY_SIZE(crowd.ios)];
    for (size_t i = 0; i < RV_ARRAY_SIZE(crowd.ios); i++) {
        ends[i] = make_pipe();
        put_byte(&ends[i]);
        crowd.ios[i] = malloc(sizeof *crowd.ios[i]);
        ck_assert_ptr_nonnull(crowd.ios[i]);
        rv_io_init(crowd.ios[i], free_all, &crowd);
        ck_assert_int_eq(
            rv_io_start(&loop, crowd.ios[i], ends[i].read_fd, EPOLLIN), 0);
    }
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(crowd.n_calls, 1);
    for (size_t i = 0; i < RV_ARRAY_SIZE(crowd.ios); i++) {
        close_pipe(&ends[i]);
    }
    rv_loop_deinit(&loop);
}
END_TEST

/* ---- Timers ---- */

struct ticks {
    int n;
    int64_t last_ms;
    bool is_sorted;
};

static void
tick(struct rv_timer *timer)
{
    struct ticks *ticks = timer->context;
    ck_assert_ptr_null(timer->loop);
    ticks->n++;
    ticks->is_sorted = ticks->is_sorted && timer->when_ms >= ticks->last_ms;
    ticks->last_ms = timer->when_ms;
}

START_TEST(clock_stops_and_warps)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    rv_loop_clock_stop(&loop);
    int64_t start_ms = rv_loop_now(&loop);
    struct ticks ticks = {.is_sorted = true};
    struct rv_timer timer;
    rv_timer_init(&timer, tick, &ticks);
    ck_assert_int_eq(rv_timer_start(&loop, &timer, start_ms + 1000), 0);
    rv_loop_clock_warp(&loop, 999);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(rv_loop_now(&loop), start_ms + 999);
    ck_assert_int_eq(ticks.n, 0);
    rv_loop_clock_stop(&loop);
    ck_assert_int_eq(rv_loop_now(&loop), start_ms + 999);
    rv_loop_clock_warp(&loop, 1);
    ck_assert_int_eq(rv_loop_run_once(&loop, -1), 0);
    ck_assert_int_eq(ticks.n, 1);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(ticks.n, 1);
    rv_loop_deinit(&loop);
}
END_TEST

START_TEST(timer_ends_the_wait)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    struct ticks ticks = {.is_sorted = true};
    struct rv_timer timer;
    rv_timer_init(&timer, tick, &ticks);
    int64_t when_ms = rv_loop_now(&loop) + 10;
    ck_assert_int_eq(rv_timer_start(&loop, &timer, when_ms), 0);
    while (!ticks.n) {
        ck_assert_int_eq(rv_loop_run_once(&loop, -1), 0);
    }
    ck_assert_int_ge(rv_loop_now(&loop), when_ms);
    rv_loop_deinit(&loop);
}
END_TEST

START_TEST(timers_move_and_stop)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    rv_loop_clock_stop(&loop);
    int64_t now_ms = rv_loop_now(&loop);
    struct ticks ticks = {.is_sorted = true};
    struct rv_timer timers[3];
    for (int i = 0; i < 3; i++) {
        rv_timer_init(&timers[i], tick, &ticks);
        ck_assert_int_eq(rv_timer_start(&loop, &timers[i], now_ms + i), 0);
    }
    ck_assert_int_eq(rv_timer_start(&loop, &timers[0], now_ms + 100), 0);
    rv_timer_stop(&timers[1]);
    rv_timer_stop(&timers[1]);
    rv_loop_clock_warp(&loop, 99);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(ticks.n, 1);
    rv_loop_clock_warp(&loop, 1);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(ticks.n, 2);
    ck_assert(ticks.is_sorted);
    rv_loop_deinit(&loop);
}
END_TEST

/* Started, moved and stopped at random: they run in order, each once. */
START_TEST(many_timers_run_in_order)
{
    enum { N = 2000 };
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    rv_loop_clock_stop(&loop);
    uint64_t random = 42;
    struct ticks ticks = {.is_sorted = true};
    struct rv_timer *timers = calloc(N, sizeof *timers);
    ck_assert_ptr_nonnull(timers);
    int64_t now_ms = rv_loop_now(&loop);
    for (int i = 0; i < N; i++) {
        rv_timer_init(&timers[i], tick, &ticks);
    }
    int n_started = 0;
    for (int i = 0; i < 4 * N; i++) {
        struct rv_timer *timer = &timers[rv_random(&random) % N];
        int64_t when_ms = now_ms + 1 + (int64_t)(rv_random(&random) % 5000);
        n_started += !timer->loop;
        if (rv_random(&random) % 4) {
            ck_assert_int_eq(rv_timer_start(&loop, timer, when_ms), 0);
        } else {
            rv_timer_stop(timer);
            n_started--;
        }
    }
    for (int i = 0; i < 50; i++) {
        rv_loop_clock_warp(&loop, 100);
        ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
        ck_assert_int_le(ticks.last_ms, now_ms + 100 * (i + 1));
    }
    ck_assert_int_eq(ticks.n, n_started);
    ck_assert(ticks.is_sorted);
    free(timers);
    rv_loop_deinit(&loop);
}
END_TEST

static void
start_again(struct rv_timer *timer)
{
    struct rv_loop **loopp = timer->context;
    ck_assert_int_eq(rv_timer_start(*loopp, timer, timer->when_ms), 0);
}

/* A timer that starts itself anew in the past does not keep the loop. */
START_TEST(timer_starts_itself_again)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    rv_loop_clock_stop(&loop);
    struct rv_loop *context = &loop;
    struct rv_timer timer;
    rv_timer_init(&timer, start_again, &context);
    ck_assert_int_eq(rv_timer_start(&loop, &timer, rv_loop_now(&loop)), 0);
    struct pipe_ends ends = make_pipe();
    put_byte(&ends);
    int n = 0;
    struct rv_io io;
    rv_io_init(&io, count_call, &n);
    ck_assert_int_eq(rv_io_start(&loop, &io, ends.read_fd, EPOLLIN), 0);
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(rv_loop_run_once(&loop, -1), 0);
        ck_assert_int_eq(n, i);
        ck_assert_ptr_eq(timer.loop, &loop);
    }
    rv_timer_stop(&timer);
    rv_io_stop(&io);
    close_pipe(&ends);
    rv_loop_deinit(&loop);
}
END_TEST

struct family {
    struct rv_timer *timers[5];
    int n_calls;
};

static void
free_family(struct rv_timer *timer)
{
    struct family *family = timer->context;
    family->n_calls++;
    for (size_t i = 0; i < RV_ARRAY_SIZE(family->timers); i++) {
        rv_timer_stop(family->timers[i]);
        free(family->timers[i]);
    }
}

START_TEST(timer_frees_itself_and_all_others)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    struct family family = {.n_calls = 0};
    for (size_t i = 0; i < RV_ARRAY_SIZE(family.timers); i++) {
        family.timers[i] = malloc(sizeof *family.timers[i]);
        ck_assert_ptr_nonnull(family.timers[i]);
        rv_timer_init(family.timers[i], free_family, &family);
        ck_assert_int_eq(rv_timer_start(&loop, family.timers[i], 0), 0);
    }
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(family.n_calls, 1);
    rv_loop_deinit(&loop);
}
END_TEST

/* A timer may start another that is due already: it waits for the next turn
 * at most. */
static void
start_other(struct rv_timer *timer)
{
    struct rv_timer *other = timer->context;
    ck_assert_int_eq(rv_timer_start(other->context, other, 0), 0);
}

static void
forget_loop(struct rv_timer *timer)
{
    timer->context = NULL;
}

START_TEST(timer_starts_another)
{
    struct rv_loop loop;
    ck_assert_int_eq(rv_loop_init(&loop), 0);
    struct rv_timer first;
    struct rv_timer second;
    rv_timer_init(&second, forget_loop, &loop);
    rv_timer_init(&first, start_other, &second);
    ck_assert_int_eq(rv_timer_start(&loop, &first, 0), 0);
    ck_assert_int_eq(rv_loop_run_once(&loop, 0), 0);
    ck_assert_int_eq(rv_loop_run_once(&loop, -1), 0);
    ck_assert_ptr_null(second.context);
    rv_loop_deinit(&loop);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(readable),
        RV_TEST(refuses_what_cannot_be_watched),
        RV_TEST(callback_frees_itself_and_all_others),
        RV_TEST(clock_stops_and_warps),
        RV_TEST(timer_ends_the_wait),
        RV_TEST(timers_move_and_stop),
        RV_TEST(many_timers_run_in_order),
        RV_TEST(timer_starts_itself_again),
        RV_TEST(timer_frees_itself_and_all_others),
        RV_TEST(timer_starts_another),
    };
    return rv_test_run("loop", tests, RV_ARRAY_SIZE(tests));
}
