/* Where lines go.
 *
 * The master must not wait for whoever reads its output.  Regular files never
 * make it wait (as poll(2) means it); pipes and terminals are only written to
 * when they say that they take something, and at most PIPE_BUF bytes then.
 * What has to wait queues up to a limit.  At the limit the master stops
 * reading from its workers, who then wait in their own write(), as they would
 * without it; its own lines are dropped and counted. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reeve/log.h"
#include "os/fd.h"

#define RV_LOG_THIS RV_LOG_MASTER

/* A line of the log, each byte of its message escaped. */
enum { LOG_LINE_BYTES = 16384 };

#define LOG_TIME "%D{%Y-%m-%dT%H:%M:%S.###Z}"

static void
attach(struct rv__output *output, int fd)
{
    struct stat info;
    output->fd = fd;
    output->is_file = fd < 0 || fstat(fd, &info) || S_ISREG(info.st_mode)
                      || S_ISCHR(info.st_mode);
    if (fd >= 0 && isatty(fd)) {
        output->is_file = false;
        output->may_colour = true;
    }
}

static bool
is_writable(const struct rv__output *output)
{
    struct pollfd writable = {output->fd, POLLOUT, 0};
    return output->is_file || poll(&writable, 1, 0) == 1;
}

static void
note_result(struct rv__output *output, int rc)
{
    int before = output->error;
    /* Set first: where the log is what fails, the line about it fails too,
     * and then only those who ask for it (`reeve logs`) see it. */
    output->error = rc;
    if (rc && rc != before) {
        rv_log_err("cannot write to %s: %s; its lines are dropped until it "
                   "works again",
                   output->path ? output->path : "standard output",
                   strerror(-rc));
    } else if (!rc && before) {
        rv_log_warn("writing to %s works again",
                    output->path ? output->path : "standard output");
    }
}

/* Writes what it can of the queue.  A broken output loses its lines: keeping
 * them would only use up memory until it stops workers that do no wrong. */
static void
flush_queue(struct rv__output *output)
{
    while (output->queue.length && is_writable(output)) {
        size_t n = output->is_file ? output->queue.length
                                   : RV_MIN(output->queue.length, PIPE_BUF);
        ssize_t written = write(output->fd, output->queue.data, n);
        if (written < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        int rc = written < 0 ? -errno : 0;
        rv_buf_consume(&output->queue, rc ? n : (size_t)written);
        output->n_dropped += rc != 0;
        note_result(output, rc);
        if (rc) {
            break;
        }
    }
}

static void
watch_streams(struct rv__master *master, const struct rv__output *output)
{
    for (int slot = 0; slot < master->max_workers; slot++) {
        struct rv__worker *worker = master->workers[slot];
        for (int i = 0; worker && i < RV__N_STREAMS; i++) {
            struct rv__stream *stream = &worker->streams[i];
            if (stream->output == output && stream->io.loop) {
                rv_io_set_events(&stream->io, EPOLLIN);
            }
        }
    }
}

static void
on_writable(struct rv_io *io, uint32_t events)
{
    struct rv__output *output = io->context;
    (void)events;
    bool was_full = rv__output_is_full(output);
    flush_queue(output);
    if (!output->queue.length) {
        rv_io_stop(&output->io);
    }
    if (was_full && !rv__output_is_full(output)) {
        watch_streams(output->master, output);
    }
}

static void
push(struct rv__output *output)
{
    flush_queue(output);
    if (output->queue.length && !output->io.loop) {
        if (rv_io_start(&output->master->loop, &output->io, output->fd,
                        EPOLLOUT)) {
            rv_buf_clear(&output->queue);
        }
    }
}

bool
rv__output_is_full(const struct rv__output *output)
{
    return output->queue.length > RV__OUTPUT_BYTES / 2;
}

static void
write_text(struct rv__output *output, const char *text, size_t length)
{
    if (rv_buf_put(&output->queue, text, length)) {
        output->n_dropped++;
        output->queue.failed = false;
    }
    push(output);
}

/* Keeps the last lines; when full, the oldest quarter goes at once. */
static void
remember(struct rv__master *master, const char *text, size_t length)
{
    struct rv_buf *ring = &master->ring;
    if (length > ring->maximum) {
        return;
    }
    if (ring->length + length > ring->maximum) {
        size_t n =
            RV_MAX(ring->maximum / 4, ring->length + length - ring->maximum);
        n = RV_MIN(n, ring->length);
        const char *newline = memchr(ring->data + n, '\n', ring->length - n);
        rv_buf_consume(ring, newline ? (size_t)(newline - ring->data) + 1
                                     : ring->length);
    }
    if (rv_buf_put(ring, text, length)) {
        ring->failed = false;
        return;
    }
    /* It is handed out as text, which a zero would end. */
    master->ring_end += length;
    char *zero = ring->data + ring->length - length;
    char *end = ring->data + ring->length;
    while ((zero = memchr(zero, '\0', (size_t)(end - zero)))) {
        *zero++ = ' ';
    }
}

void
rv__output_line(struct rv__output *output, const char *name, const char *line,
                size_t length)
{
    struct rv__master *master = output->master;
    struct rv_buf text;
    rv_buf_init(&text, RV__LINE_BYTES * 2 + 256);
    rv_buf_printf(&text, "%s | ", name);
    size_t prefix = text.length;
    rv_buf_put(&text, line, length);
    rv_buf_puts(&text, "\n");
    if (!text.failed) {
        remember(master, text.data, text.length);
        bool has_prefix =
            output->may_colour && !master->conf->conf->log_prefix_off;
        size_t skip = has_prefix ? 0 : prefix;
        write_text(output, text.data + skip, text.length - skip);
    }
    rv_buf_deinit(&text);
}

/* Which destination of the log the output for it is. */
static enum rv_log_destination
log_destination(const struct rv__master *master)
{
    const struct rv__output *output = master->log_output;
    return output && output->path ? RV_LOG_FILE : RV_LOG_CONSOLE;
}

static void
format_line(const struct rv__master *master, const struct rv_log_line *line,
            struct rv_buf *text)
{
    struct rv_log_line own = *line;
    bool is_json = master->conf && master->conf->conf->log_json;
    own.is_coloured = master->log_output->may_colour && !is_json;
    if (!rv_buf_reserve(text, LOG_LINE_BYTES)) {
        text->length =
            rv_log_format(rv_log_get_pattern(log_destination(master)), &own,
                          text->data, LOG_LINE_BYTES);
        rv_buf_puts(text, "\n");
    }
}

/* The log's sink: what reeve itself has to say. */
static void
log_sink(const struct rv_log_line *line, void *context)
{
    struct rv__master *master = context;
    struct rv_buf text;
    rv_buf_init(&text, LOG_LINE_BYTES + 1);
    format_line(master, line, &text);
    if (!text.failed) {
        remember(master, text.data, text.length);
    }
    /* Who runs `reeve start` wants to see what went wrong, no more. */
    bool is_quiet = master->options.is_daemon && master->is_starting
                    && line->level > RV_LOG_WARN;
    if (!text.failed && !is_quiet) {
        write_text(master->log_output, text.data, text.length);
    }
    rv_buf_deinit(&text);
}

static struct rv__output *
create_output(struct rv__master *master, const char *path, int fd)
{
    struct rv__output *output = calloc(1, sizeof *output);
    if (!output) {
        return NULL;
    }
    output->master = master;
    output->path = path ? strdup(path) : NULL;
    if (path && !output->path) {
        free(output);
        return NULL;
    }
    output->n_users = 1;
    rv_buf_init(&output->queue, RV__OUTPUT_BYTES);
    rv_io_init(&output->io, on_writable, output);
    rv_list_push_back(&master->outputs, &output->node);
    attach(output, fd);
    return output;
}

static int
open_file(const char *path)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
    return open(path, flags | O_NONBLOCK, 0640);
}

static struct rv__output *
find_output(struct rv__master *master, const char *path)
{
    struct rv_list *node;
    if (!path) {
        return master->standard_output;
    }
    RV_LIST_FOR_EACH (node, &master->outputs) {
        struct rv__output *output =
            RV_CONTAINER_OF(node, struct rv__output, node);
        if (output->path && !strcmp(output->path, path)) {
            return output;
        }
    }
    return NULL;
}

int
rv__output_get(struct rv__master *master, const char *path,
               struct rv__output **outputp)
{
    struct rv__output *output = find_output(master, path);
    if (output) {
        output->n_users++;
        *outputp = output;
        return 0;
    }
    int fd = open_file(path);
    if (fd < 0) {
        return -errno;
    }
    output = create_output(master, path, fd);
    if (!output) {
        rv_fd_close(&fd);
        return -ENOMEM;
    }
    *outputp = output;
    return 0;
}

void
rv__output_put(struct rv__output *output)
{
    if (!output || --output->n_users) {
        return;
    }
    flush_queue(output);
    rv_io_stop(&output->io);
    rv_list_remove(&output->node);
    if (output->path) {
        rv_fd_close(&output->fd);
    }
    rv_buf_deinit(&output->queue);
    free(output->path);
    free(output);
}

static void
reopen_all(struct rv__master *master)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->outputs) {
        struct rv__output *output =
            RV_CONTAINER_OF(node, struct rv__output, node);
        int fd = output->path ? open_file(output->path) : -1;
        if (fd < 0) {
            if (output->path) {
                rv_log_err("cannot reopen %s: %s; the old file stays in use",
                           output->path, strerror(errno));
            }
            continue;
        }
        flush_queue(output);
        rv_io_stop(&output->io);
        rv_fd_close(&output->fd);
        attach(output, fd);
    }
}

/* Whoever asks is told when the log's own file does not open again; all
 * others say so in the log. */
static int
reopen_log(void *context)
{
    struct rv__master *master = context;
    struct rv__output *output = master->log_output;
    int fd = open_file(output->path);
    if (fd < 0) {
        return -errno;
    }
    if (output->fd < 0) {
        attach(output, fd);
    } else {
        rv_fd_close(&fd);
    }
    reopen_all(master);
    return 0;
}

/* Lets go of the log's file, unless workers write to it too. */
static void
close_log(void *context)
{
    struct rv__master *master = context;
    struct rv__output *output = master->log_output;
    if (output->path && output->n_users == 1) {
        flush_queue(output);
        rv_io_stop(&output->io);
        rv_buf_clear(&output->queue);
        rv_fd_close(&output->fd);
    }
}

/* The log is the destination "file" or "console", whichever it goes to; the
 * other one is closed. */
static void
attach_log(struct rv__master *master)
{
    struct rv_log_outlet outlet = {.write = log_sink, .context = master};
    if (log_destination(master) == RV_LOG_CONSOLE) {
        rv_log_set_outlet(RV_LOG_CONSOLE, &outlet);
        return;
    }
    outlet.reopen = reopen_log;
    outlet.close = close_log;
    rv_log_set_outlet(RV_LOG_FILE, &outlet);
    rv_log_set_outlet(RV_LOG_CONSOLE, NULL);
    rv_log_close(RV_LOG_CONSOLE);
}

int
rv__output_init(struct rv__master *master, struct rv_error *error)
{
    rv_list_init(&master->outputs);
    rv_buf_init(&master->ring, 65536);
    master->standard_output = create_output(master, NULL, STDOUT_FILENO);
    master->log_output = create_output(master, NULL, STDERR_FILENO);
    if (!master->standard_output || !master->log_output) {
        return rv_error_errno(error, -ENOMEM, "output");
    }
    rv_log_register(RV_LOG_MASTER);
    rv_log_register(RV_LOG_POOL);
    rv_log_register(RV_LOG_WORKER);
    rv__output_set_format(false);
    attach_log(master);
    return 0;
}

void
rv__output_set_format(bool is_json)
{
    const char *pattern =
        is_json ? "{\"time\":\"" LOG_TIME "\",\"level\":\"%l\","
                  "\"module\":\"%c\",\"pid\":%P,\"message\":\"%j\"}"
                : LOG_TIME " %-4l %c: %m";
    struct rv_error error;
    if (rv_log_set_pattern(RV_LOG_CONSOLE, pattern, &error)
        || rv_log_set_pattern(RV_LOG_FILE, pattern, &error)) {
        rv_log_err("%s", error.text);
    }
}

int
rv__output_set_log(struct rv__master *master, const char *path,
                   struct rv_error *error)
{
    struct rv__output *old = master->log_output;
    if (!path || (old->path && !strcmp(old->path, path))) {
        return 0;
    }
    struct rv__output *output = NULL;
    int rc = rv__output_get(master, path, &output);
    if (rc) {
        return rv_error_errno(error, rc, "log file %s", path);
    }
    master->log_output = output;
    if (!old->path) {
        attach_log(master);
    }
    rv__output_put(old);
    return 0;
}

const char *
rv__log_path(struct rv__master *master)
{
    const struct rv_conf *conf = master->conf->conf;
    if (conf->log_file || !master->options.is_daemon) {
        return conf->log_file;
    }
    bool is_system = !strcmp(master->rundir, "/run/reeve");
    if (is_system && mkdir("/var/log/reeve", 0750) && errno != EEXIST) {
        is_system = false;
    }
    snprintf(master->log_path, sizeof master->log_path, "%s/%s.log",
             is_system ? "/var/log/reeve" : master->rundir, conf->name);
    return master->log_path;
}

void
rv__output_deinit(struct rv__master *master)
{
    rv_log_set_outlet(RV_LOG_FILE, NULL);
    rv_log_set_sink(NULL, NULL);
    rv__output_put(master->log_output);
    rv__output_put(master->standard_output);
    master->log_output = master->standard_output = NULL;
    rv_buf_deinit(&master->ring);
}

void
rv__output_reopen(struct rv__master *master)
{
    if (rv_log_reopen(RV_LOG_FILE)) {
        reopen_all(master);
    }
}

void
rv__output_detach(struct rv__master *master)
{
    struct rv__output *output = master->standard_output;
    const char *path = master->log_output->path;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd <= 2; fd++) {
        dup2(null, fd);
    }
    rv_fd_close(&null);
    rv_io_stop(&output->io);
    rv_buf_clear(&output->queue);
    output->may_colour = false;
    int fd = path ? open_file(path) : -1;
    output->path = fd >= 0 ? strdup(path) : NULL;
    attach(output, output->path ? fd : STDOUT_FILENO);
}
