#include "net/dial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/resolve.h"
#include "net/socket.h"
#include "os/fd.h"

struct rv__dial {
    struct rv__resolve *resolve; /* Under way, or NULL; owns the fd then. */
    struct rv_address *addresses;
    size_t n_addresses;
    size_t next; /* Index of the address to try next. */
    int dscp;
};

/* Tries addresses until one does not fail at once; 'code' is the failure of
 * the one before.  -EAGAIN, or the last failure; the stream has no descriptor
 * when this is called, nor after a failure. */
static int
try_next(struct rv_stream *stream, int code)
{
    struct rv__dial *dial = stream->dial;
    while (dial->next < dial->n_addresses) {
        code = rv__socket_connect(&dial->addresses[dial->next++], dial->dscp,
                                  &stream->fd);
        if (!code) {
            if (dial->next < dial->n_addresses) {
                rv__socket_set_impatient(stream->fd);
            }
            return -EAGAIN;
        }
    }
    return code;
}

static void
destroy(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    if (dial) {
        rv__resolve_stop(dial->resolve);
        free(dial->addresses);
        free(dial);
        stream->dial = NULL;
    }
}

void
rv__dial_stop(struct rv_stream *stream)
{
    rv__stream_unwatch(stream);
    if (stream->dial && stream->dial->resolve) {
        stream->fd = -1; /* The lookup closes it. */
    }
    rv_fd_close(&stream->fd);
    destroy(stream);
}

static int
start(struct rv_stream *stream, const struct rv_stream_name *name,
      struct rv_error *error)
{
    struct rv__dial *dial = stream->dial;
    int rc;
    if (!name->is_numeric) {
        rc = rv__resolve_start(name->host, name->port, &dial->resolve);
        if (rc) {
            return rv_error_errno(error, rc, "%s: cannot resolve \"%s\"",
                                  stream->name, name->host);
        }
        stream->fd = rv__resolve_fd(dial->resolve);
        return 0;
    }
    dial->addresses = malloc(sizeof *dial->addresses);
    if (!dial->addresses) {
        return rv_error_errno(error, -ENOMEM, "%s", stream->name);
    }
    dial->addresses[0] = name->address;
    dial->n_addresses = 1;
    rc = try_next(stream, 0);
    return rc == -EAGAIN ? 0
                         : rv_error_errno(error, rc, "cannot connect to %s",
                                          stream->name);
}

int
rv__dial_start(struct rv_stream *stream, const struct rv_stream_name *name,
               int dscp, struct rv_error *error)
{
    stream->dial = calloc(1, sizeof *stream->dial);
    if (!stream->dial) {
        return rv_error_errno(error, -ENOMEM, "%s", stream->name);
    }
    stream->dial->dscp = dscp;
    int rc = start(stream, name, error);
    if (rc) {
        rv__dial_stop(stream);
    }
    return rc;
}

/* Takes the answer of the lookup and tries its first address. */
static int
end_lookup(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    struct rv_error error;
    int rc = rv__resolve_take(dial->resolve, &dial->addresses,
                              &dial->n_addresses, &error);
    if (rc == -EAGAIN) {
        return rc;
    }
    if (rc) {
        /* The descriptor stays, readable, until the stream is closed. */
        return rv__stream_fail(stream, rc, "%s", error.text);
    }
    rv__stream_unwatch(stream);
    stream->fd = -1;
    rv__resolve_stop(dial->resolve);
    dial->resolve = NULL;
    rc = try_next(stream, -ENOENT);
    return rc == -EAGAIN ? rc
                         : rv__stream_fail(stream, rc, "%s", strerror(-rc));
}

int
rv__dial_run(struct rv_stream *stream)
{
    struct rv__dial *dial = stream->dial;
    if (dial->resolve) {
        int rc = end_lookup(stream);
        if (rc != -EAGAIN || dial->resolve) {
            return rc;
        }
    }
    for (;;) {
        int rc = rv__socket_check(stream->fd);
        if (!rc) {
            destroy(stream);
            return 0;
        }
        if (rc == -EAGAIN) {
            return rc;
        }
        if (dial->next == dial->n_addresses) {
            /* The last socket stays, so that there is something to watch. */
            return rv__stream_fail(
                stream, rc, "%s%s", strerror(-rc),
                dial->n_addresses > 1 ? " (as all its addresses)" : "");
        }
        rv__stream_unwatch(stream);
        rv_fd_close(&stream->fd);
        rc = try_next(stream, rc);
        if (rc != -EAGAIN) {
            return rv__stream_fail(stream, rc, "%s", strerror(-rc));
        }
    }
}

bool
rv__dial_is_resolving(const struct rv__dial *dial)
{
    return dial->resolve != NULL;
}
