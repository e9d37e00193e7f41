/* A stream that connects in a loop whose clock is stopped. */
#ifndef RV_TEST_NET_CONNECTING_H
#define RV_TEST_NET_CONNECTING_H

#include <errno.h>

#include "net/pair.h"
#include "reeve/loop.h"

struct connecting {
    struct rv_loop loop;
    struct rv_io io;
    struct rv_stream *stream;
    int rc; /* -EAGAIN while it goes on. */
};

static inline void
connecting_on_event(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct connecting *c = io->context;
    c->rc = rv_stream_connect(c->stream);
    ck_assert_int_eq(
        rv_stream_watch(c->stream, &c->loop, &c->io, RV_STREAM_CONNECT), 0);
}

static inline void
connecting_start(struct connecting *c, struct rv_stream *stream)
{
    *c = (struct connecting){.stream = stream, .rc = -EAGAIN};
    ck_assert_int_eq(rv_loop_init(&c->loop), 0);
    rv_loop_clock_stop(&c->loop);
    rv_io_init(&c->io, connecting_on_event, c);
    ck_assert_int_eq(
        rv_stream_watch(stream, &c->loop, &c->io, RV_STREAM_CONNECT), 0);
}

/* Runs until the stream fails with 'code'; closes the loop. */
static inline void
connecting_run_to(struct connecting *c, int code)
{
    while (c->rc == -EAGAIN) {
        ck_assert_int_eq(rv_loop_run_once(&c->loop, PAIR_WAIT_MS), 0);
    }
    ck_assert_int_eq(c->rc, code);
    rv_io_stop(&c->io);
    rv_loop_deinit(&c->loop);
}

#endif
