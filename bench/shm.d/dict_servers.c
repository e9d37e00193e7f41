/* Sides that are servers at a unix socket: redis and memcached. */
#include "dict.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { REQUEST_BYTES = 128, REPLIES_BYTES = 4096 };

/* Writes the request of an operation; returns its length. */
typedef int request_fn(const struct state *state, enum operation operation,
                       const char *key, char *request);

/* How many lines a reply to it has. */
typedef unsigned int lines_fn(enum operation operation);

static void
server_prepare(struct state *state)
{
    (void)state;
}

static void
server_open(struct state *state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", state->address);
    state->connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(state->connection, (struct sockaddr *)&address,
                sizeof address)) {
        bench_die("cannot connect to %s", state->address);
    }
}

static void
send_all(const struct state *state, const char *bytes, size_t n)
{
    while (n) {
        ssize_t n_sent = write(state->connection, bytes, n);
        if (n_sent <= 0) {
            bench_die("the server hung up");
        }
        bytes += n_sent;
        n -= (size_t)n_sent;
    }
}

/* Not inlined: its callers have a large buffer already. */
static __attribute__((noinline)) void
read_lines(const struct state *state, unsigned int n)
{
    char bytes[REPLIES_BYTES];
    while (n) {
        ssize_t n_read = read(state->connection, bytes, sizeof bytes);
        if (n_read <= 0 || bytes[0] == '-') {
            bench_die("the server failed");
        }
        for (ssize_t i = 0; i < n_read; i++) {
            n -= bytes[i] == '\n';
        }
    }
}

/* 'depth' requests at once, and their replies. */
static void
batch(struct state *state, enum operation operation, request_fn *request,
      lines_fn *lines)
{
    char bytes[MAX_DEPTH * REQUEST_BYTES];
    size_t n = 0;
    for (unsigned int i = 0; i < state->depth; i++) {
        size_t which = any_key(state);
        n += (size_t)request(state, operation,
                             operation == MISS ? state->misses[which]
                                               : state->keys[which],
                             bytes + n);
    }
    send_all(state, bytes, n);
    read_lines(state, lines(operation) * state->depth);
}

/* A request that stores the number 0. */
typedef int zero_fn(const char *key, char *request);

static void
fill(struct state *state, request_fn *request, zero_fn *zero, bool numbers)
{
    char bytes[FILL_DEPTH * REQUEST_BYTES];
    for (unsigned int i = 0; i < state->n_keys; i += FILL_DEPTH) {
        size_t n = 0;
        for (unsigned int k = i; k < i + FILL_DEPTH; k++) {
            char *end = bytes + n;
            n += (size_t)(numbers ? zero(state->keys[k], end)
                                  : request(state, SET, state->keys[k], end));
        }
        send_all(state, bytes, n);
        read_lines(state, FILL_DEPTH);
    }
}

#define SERVER_SLICE(NAME, WORD, OPERATION)                  \
  static void NAME##_##WORD##_slice(void *context)           \
  {                                                          \
    batch(context, OPERATION, NAME##_request, NAME##_lines); \
  }
#define SERVER_SLICES(NAME)      \
  SERVER_SLICE(NAME, get, GET)   \
  SERVER_SLICE(NAME, miss, MISS) \
  SERVER_SLICE(NAME, set, SET)   \
  SERVER_SLICE(NAME, incr, INCR)

/* ------------------------------------------------------------------- redis */

static int
redis_request(const struct state *state, enum operation operation,
              const char *key, char *request)
{
    switch (operation) {
    case SET:
        return snprintf(request, REQUEST_BYTES,
                        "*3\r\n$3\r\nSET\r\n$16\r\n%.16s\r\n$64\r\n%.64s\r\n",
                        key, state->value);
    case INCR:
        return snprintf(request, REQUEST_BYTES,
                        "*2\r\n$4\r\nINCR\r\n$16\r\n%.16s\r\n", key);
    case GET:
    case MISS:
    case MANY:
    case N_OPERATIONS:
        break;
    }
    return snprintf(request, REQUEST_BYTES,
                    "*2\r\n$3\r\nGET\r\n$16\r\n%.16s\r\n", key);
}

static unsigned int
redis_lines(enum operation operation)
{
    return operation == GET ? 2 : 1;
}

static int
redis_zero(const char *key, char *request)
{
    return snprintf(request, REQUEST_BYTES,
                    "*3\r\n$3\r\nSET\r\n$16\r\n%.16s\r\n$1\r\n0\r\n", key);
}

static void
redis_fill(struct state *state, bool numbers)
{
    fill(state, redis_request, redis_zero, numbers);
}

SERVER_SLICES(redis)

const struct side side_redis = {"redis",    server_prepare,   server_open,
                                redis_fill, SLICES_OF(redis), true};

/* --------------------------------------------------------------- memcached */

static int
memcached_request(const struct state *state, enum operation operation,
                  const char *key, char *request)
{
    switch (operation) {
    case SET:
        return snprintf(request, REQUEST_BYTES,
                        "set %.16s 0 0 64\r\n%.64s\r\n", key, state->value);
    case INCR:
        return snprintf(request, REQUEST_BYTES, "incr %.16s 1\r\n", key);
    case GET:
    case MISS:
    case MANY:
    case N_OPERATIONS:
        break;
    }
    return snprintf(request, REQUEST_BYTES, "get %.16s\r\n", key);
}

static unsigned int
memcached_lines(enum operation operation)
{
    return operation == GET ? 3 : 1;
}

static int
memcached_zero(const char *key, char *request)
{
    return snprintf(request, REQUEST_BYTES, "set %.16s 0 0 1\r\n0\r\n", key);
}

static void
memcached_fill(struct state *state, bool numbers)
{
    fill(state, memcached_request, memcached_zero, numbers);
}

SERVER_SLICES(memcached)

const struct side side_memcached = {"memcached",          server_prepare,
                                    server_open,          memcached_fill,
                                    SLICES_OF(memcached), true};
