/* Two streams that are connected to each other, for the tests of streams. */
#ifndef RV_TEST_NET_PAIR_H
#define RV_TEST_NET_PAIR_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "reeve/stream.h"

enum { PAIR_WAIT_MS = 30000 };

struct pair {
    struct rv_pstream *listener;
    struct rv_stream *client;
    struct rv_stream *server;
};

static inline void
pair_add(struct pollfd *pollfd, const struct rv_stream *stream,
         unsigned int what)
{
    *pollfd = (struct pollfd){.fd = -1};
    if (stream) {
        pollfd->fd = rv_stream_fd(stream);
        pollfd->events = (short)rv_stream_events(stream, what);
    }
}

/* Waits until one of the streams (or NULL) is ready for what it is asked. */
static inline void
pair_wait(const struct rv_stream *a, unsigned int what_a,
          const struct rv_stream *b, unsigned int what_b)
{
    struct pollfd pollfds[2];
    pair_add(&pollfds[0], a, what_a);
    pair_add(&pollfds[1], b, what_b);
    if ((a && rv_stream_is_ready(a, what_a))
        || (b && rv_stream_is_ready(b, what_b))) {
        return;
    }
    ck_assert_int_gt(poll(pollfds, 2, PAIR_WAIT_MS), 0);
}

static inline struct rv_stream *
pair_accept(struct rv_pstream *listener)
{
    struct pollfd pollfd = {.fd = rv_pstream_fd(listener), .events = POLLIN};
    struct rv_stream *stream = NULL;
    ck_assert_int_eq(poll(&pollfd, 1, PAIR_WAIT_MS), 1);
    ck_assert_int_eq(rv_pstream_accept(listener, &stream), 0);
    return stream;
}

/* Drives both to the end of their connecting; what became of it is told by
 * rv_stream_connect. */
static inline void
pair_connect(struct pair *pair)
{
    for (;;) {
        bool a = rv_stream_connect(pair->client) == -EAGAIN;
        if (!pair->server && pair->listener) {
            struct pollfd pollfd = {.fd = rv_pstream_fd(pair->listener),
                                    .events = POLLIN};
            if (poll(&pollfd, 1, a ? 50 : PAIR_WAIT_MS) == 1) {
                pair->server = pair_accept(pair->listener);
            }
            continue;
        }
        bool b = rv_stream_connect(pair->server) == -EAGAIN;
        if (!a && !b) {
            return;
        }
        pair_wait(a ? pair->client : NULL, RV_STREAM_CONNECT,
                  b ? pair->server : NULL, RV_STREAM_CONNECT);
    }
}

static inline void
pair_listen(struct pair *pair, const char *name,
            const struct rv_stream_options *options)
{
    struct rv_error error;
    *pair = (struct pair){.listener = NULL};
    int rc = rv_pstream_open(name, options, &pair->listener, &error);
    ck_assert_msg(!rc, "%s", error.text);
}

static inline void
pair_dial(struct pair *pair, const char *name,
          const struct rv_stream_options *options)
{
    struct rv_error error;
    int rc = rv_stream_open(name, options, &pair->client, &error);
    ck_assert_msg(!rc, "%s", error.text);
}

static inline void
pair_close(struct pair *pair)
{
    rv_stream_close(pair->client);
    rv_stream_close(pair->server);
    rv_pstream_close(pair->listener);
}

/* Fails the test, with the reasons, unless both are connected. */
static inline void
pair_check_connected(const struct pair *pair)
{
    ck_assert_msg(rv_stream_state(pair->client) == RV_STREAM_CONNECTED
                      && rv_stream_state(pair->server) == RV_STREAM_CONNECTED,
                  "client: %s; server: %s", rv_stream_reason(pair->client),
                  rv_stream_reason(pair->server));
}

/* Receives one piece, waiting for it. */
static inline ssize_t
pair_receive(struct rv_stream *stream, void *data, size_t n)
{
    for (;;) {
        ssize_t got = rv_stream_recv(stream, data, n);
        if (got != -EAGAIN) {
            return got;
        }
        pair_wait(stream, RV_STREAM_RECV, NULL, 0);
    }
}

static inline void
pair_check_message(struct rv_stream *from, struct rv_stream *to,
                   const char *text)
{
    char got[64] = "";
    ssize_t n = (ssize_t)strlen(text);
    ck_assert_int_eq(rv_stream_send(from, text, (size_t)n), n);
    ck_assert_int_eq(pair_receive(to, got, sizeof got - 1), n);
    ck_assert_str_eq(got, text);
}

/* Both directions, then the end. */
static inline void
pair_check_works(struct pair *pair)
{
    pair_check_connected(pair);
    pair_check_message(pair->client, pair->server, "ping");
    pair_check_message(pair->server, pair->client, "pong");
    char byte;
    ck_assert_int_eq(rv_stream_recv(pair->client, &byte, 1), -EAGAIN);
    ck_assert_int_eq(rv_stream_shutdown(pair->client), 0);
    ck_assert_int_eq(pair_receive(pair->server, &byte, 1), 0);
    ck_assert_int_eq(pair_receive(pair->server, &byte, 1), 0);
}

static inline unsigned char
pair_byte(size_t i)
{
    return (unsigned char)((i * 2654435761U) >> 13);
}

/* Sends 'n_bytes' from one to the other in pieces of 'piece' while the other
 * reads no faster than it comes, so that sends come short and fail with
 * -EAGAIN. */
static inline void
pair_check_large(struct rv_stream *from, struct rv_stream *to, size_t n_bytes,
                 size_t piece)
{
    size_t sent = 0, received = 0, n_full = 0;
    unsigned char *bytes = malloc(n_bytes);
    unsigned char *got = malloc(piece);
    ck_assert(bytes && got);
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = pair_byte(i);
    }
    while (received < n_bytes) {
        while (sent < n_bytes) {
            ssize_t n = rv_stream_send(from, bytes + sent,
                                       RV_MIN(piece, n_bytes - sent));
            if (n == -EAGAIN) {
                n_full++;
                break;
            }
            ck_assert_msg(n > 0, "%s", rv_stream_reason(from));
            sent += (size_t)n;
        }
        ssize_t n = pair_receive(to, got, piece);
        ck_assert_msg(n > 0, "%zd: %s", n, rv_stream_reason(to));
        ck_assert_mem_eq(got, bytes + received, (size_t)n);
        received += (size_t)n;
    }
    ck_assert_uint_gt(n_full, 0);
    free(bytes);
    free(got);
}

#endif
