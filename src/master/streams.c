/* What a worker writes: a pipe a stream, split into lines, passed on to an
 * output, with the last lines kept for when it fails. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/fd.h"

enum {
    READS_PER_TURN = 4, /* Of a worker's output. */
    READ_BYTES = 4096,
};

static void
keep_tail(struct rv__worker *worker, const char *line, size_t length)
{
    struct rv_buf *tail = &worker->tail;
    length = RV_MIN(length, tail->maximum / 2);
    if (tail->length + length + 1 > tail->maximum) {
        size_t n = tail->length + length + 1 - tail->maximum;
        const char *newline = memchr(tail->data + n, '\n', tail->length - n);
        rv_buf_consume(tail, newline ? (size_t)(newline - tail->data) + 1
                                     : tail->length);
    }
    size_t start = tail->length;
    rv_buf_put(tail, line, length);
    rv_buf_put(tail, "\n", 1);
    /* It goes into messages, which a zero would end and an escape disturb. */
    for (size_t i = start; i + 1 < tail->length; i++) {
        unsigned char c = (unsigned char)tail->data[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            tail->data[i] = '?';
        }
    }
}

static void
write_line(struct rv__stream *stream, const char *line, size_t length)
{
    struct rv__worker *worker = stream->worker;
    keep_tail(worker, line, length);
    rv__output_line(stream->output, worker->name, line, length);
}

/* Writes whole lines and keeps what is left; a line that grows too long is
 * written in pieces. */
static void
split_lines(struct rv__stream *stream)
{
    struct rv_buf *buf = &stream->line;
    size_t start = 0;
    char *newline;
    while (
        start < buf->length
        && (newline = memchr(buf->data + start, '\n', buf->length - start))) {
        size_t end = (size_t)(newline - buf->data);
        write_line(stream, buf->data + start, end - start);
        start = end + 1;
    }
    rv_buf_consume(buf, start);
    if (buf->length >= RV__LINE_BYTES) {
        write_line(stream, buf->data, buf->length);
        rv_buf_clear(buf);
    }
    if (!buf->length) {
        rv_buf_deinit(buf);
    }
}

/* 1: there may be more; 0: none now; -1: the end. */
static int
read_stream(struct rv__stream *stream)
{
    char piece[READ_BYTES];
    ssize_t n = read(stream->fd, piece, sizeof piece);
    if (n < 0) {
        return errno == EINTR ? 1 : errno == EAGAIN ? 0 : -1;
    }
    if (n == 0) {
        return -1;
    }
    rv_buf_put(&stream->line, piece, (size_t)n);
    split_lines(stream);
    return 1;
}

void
rv__worker_entry_name(const struct rv__worker *worker, const char *kind, int i,
                      char name[RV_KEEPER_NAME])
{
    snprintf(name, RV_KEEPER_NAME, "%s/%d/%d", kind, worker->slot, i);
}

void
rv__stream_close(struct rv__stream *stream, bool forget)
{
    if (stream->fd < 0) {
        return;
    }
    if (stream->line.length) {
        write_line(stream, stream->line.data, stream->line.length);
    }
    rv_buf_deinit(&stream->line);
    rv_io_stop(&stream->io);
    rv_fd_close(&stream->fd);
    rv__output_put(stream->output);
    stream->output = NULL;
    if (forget) {
        char name[RV_KEEPER_NAME];
        int i = (int)(stream - stream->worker->streams);
        rv__worker_entry_name(stream->worker, "log", i, name);
        rv__master_drop(stream->worker->master, name);
    }
}

static void
on_output(struct rv_io *io, uint32_t events)
{
    struct rv__stream *stream = io->context;
    (void)events;
    for (int i = 0; i < READS_PER_TURN; i++) {
        if (rv__output_is_full(stream->output)) {
            rv_io_set_events(&stream->io, 0);
            return;
        }
        int more = read_stream(stream);
        if (more < 0) {
            rv__stream_close(stream, true);
            return;
        }
        if (!more) {
            return;
        }
    }
}

/* Reads what a worker that ended left behind, within reason. */
void
rv__streams_drain(struct rv__worker *worker)
{
    for (int i = 0; i < RV__N_STREAMS; i++) {
        struct rv__stream *stream = &worker->streams[i];
        for (int k = 0; stream->fd >= 0 && k < 64; k++) {
            if (read_stream(stream) <= 0) {
                break;
            }
        }
    }
}

static int
watch_stream(struct rv__worker *worker, int i, int fd,
             const struct rv_conf_output_to *to)
{
    struct rv__stream *stream = &worker->streams[i];
    int rc = rv__output_get(worker->master, to->path, &stream->output);
    if (rc) {
        return rc;
    }
    stream->fd = fd;
    rv_buf_init(&stream->line, RV__LINE_BYTES * 2);
    rc = rv_io_start(&worker->master->loop, &stream->io, fd, EPOLLIN);
    if (rc) {
        rv__output_put(stream->output);
        stream->output = NULL;
        stream->fd = -1;
    }
    return rc;
}

bool
rv__streams_are_one(const struct rv_conf_service *service)
{
    const struct rv_conf_output_to *out = &service->out, *err = &service->err;
    return out->kind == err->kind
           && (out->kind != RV_CONF_OUTPUT_FILE
               || !strcmp(out->path, err->path));
}

/* Opens the pipe for stream 'i'; the caller owns the child's end. */
int
rv__stream_open(struct rv__worker *worker, int i,
                const struct rv_conf_output_to *to, int *child_fdp)
{
    int fds[2];
    if (to->kind == RV_CONF_OUTPUT_NULL) {
        return 0;
    }
    if (pipe2(fds, O_CLOEXEC)) {
        return -errno;
    }
    int rc = rv_fd_set_nonblocking(fds[0], true);
    if (!rc) {
        rc = watch_stream(worker, i, fds[0], to);
    }
    if (rc) {
        rv_fd_close(&fds[0]);
        rv_fd_close(&fds[1]);
        return rc;
    }
    char name[RV_KEEPER_NAME];
    rv__worker_entry_name(worker, "log", i, name);
    rv__master_put(worker->master, name, fds[0]);
    *child_fdp = fds[1];
    return 0;
}

void
rv__stream_init(struct rv__stream *stream, struct rv__worker *worker)
{
    stream->worker = worker;
    stream->fd = -1;
    rv_io_init(&stream->io, on_output, stream);
}

void
rv__streams_adopt(struct rv__worker *worker)
{
    const struct rv_conf_output_to *to[RV__N_STREAMS] = {
        &worker->service->out, &worker->service->err};
    char name[RV_KEEPER_NAME];
    for (int i = 0; i < RV__N_STREAMS; i++) {
        rv__worker_entry_name(worker, "log", i, name);
        int fd = rv__master_take_entry(worker->master, name);
        if (fd >= 0 && watch_stream(worker, i, fd, to[i])) {
            rv_fd_close(&fd);
        }
    }
    rv__worker_entry_name(worker, "notify", 0, name);
    worker->notify_fd = rv__master_take_entry(worker->master, name);
    if (worker->notify_fd >= 0) {
        rv_notify_name(worker->notify_fd, worker->notify_name);
    }
}
