/* Design
 *
 * The question is shared by its owner and its thread, and freed by whichever
 * leaves last.  'lock' covers what both touch.  The descriptor belongs to the
 * owner: the thread writes to it only while the owner is there, under the
 * lock, so that it never meets a descriptor closed and opened anew.
 *
 * The thread holds every signal back, so that the owner's handlers and
 * signalfd see them, and nothing of the owner's but the question.
 *
 * Threads are counted, for a name server that does not answer would pile them
 * up: nothing can interrupt them, so those of questions given up count too.
 * The count stands beside the pid it is of, in one word: a child of fork has
 * the word, but none of the threads.
 */
#include "net/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "os/fd.h"
#include "reeve/stream.h"

enum {
    STACK_BYTES = 1 << 20, /* Name service modules are hungry. */
    MAX_ADDRESSES = 16,
};

/* Of this process: its pid in the upper half, its threads in the lower. */
static _Atomic uint64_t the_lookups;

struct rv__resolve {
    pthread_mutex_t lock;
    int fd;          /* Of the owner; -1 once it has left. */
    bool is_done;    /* The thread has left. */
    int gai_code;    /* Of getaddrinfo; valid once done. */
    int system_code; /* The errno of EAI_SYSTEM. */
    struct addrinfo *answer;
    char service[8];
    char host[]; /* Read by the thread without the lock: never changes. */
};

/* Takes a place among the threads under way; false if there is none. */
static bool
enter(void)
{
    uint64_t pid = (uint64_t)(uint32_t)getpid() << 32;
    uint64_t old = atomic_load(&the_lookups);
    uint64_t new;
    do {
        uint32_t n = old >> 32 == pid >> 32 ? (uint32_t)old : 0;
        if (n >= RV_STREAM_MAX_LOOKUPS) {
            return false;
        }
        new = pid | (n + 1);
    } while (!atomic_compare_exchange_weak(&the_lookups, &old, new));
    return true;
}

static void
leave(void)
{
    atomic_fetch_sub(&the_lookups, 1);
}

static void
destroy(struct rv__resolve *resolve)
{
    if (resolve->answer) {
        freeaddrinfo(resolve->answer);
    }
    pthread_mutex_destroy(&resolve->lock);
    free(resolve);
}

static void *
run_thread(void *resolve_)
{
    struct rv__resolve *resolve = resolve_;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV};
    struct addrinfo *answer = NULL;
    int code = getaddrinfo(resolve->host, resolve->service, &hints, &answer);
    int system_code = errno;
    leave(); /* What is left to do takes no time. */

    pthread_mutex_lock(&resolve->lock);
    resolve->gai_code = code;
    resolve->system_code = system_code;
    resolve->answer = code ? NULL : answer;
    resolve->is_done = true;
    bool is_left = resolve->fd < 0;
    if (!is_left) {
        uint64_t one = 1;
        ssize_t n = write(resolve->fd, &one, sizeof one);
        RV_ASSERT(n == sizeof one);
    }
    pthread_mutex_unlock(&resolve->lock);
    if (is_left) {
        destroy(resolve);
    }
    return NULL;
}

static int
start_thread(struct rv__resolve *resolve)
{
    pthread_attr_t attributes;
    int rc = pthread_attr_init(&attributes);
    if (rc) {
        return -rc;
    }
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t thread;
    rc = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (!rc) {
        rc = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    }
    if (!rc) {
        rc = enter()
                 ? pthread_create(&thread, &attributes, run_thread, resolve)
                 : EBUSY;
        if (rc && rc != EBUSY) {
            leave();
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    /* For callers of streams EAGAIN is no failure. */
    return rc == EAGAIN ? -EBUSY : -rc;
}

int
rv__resolve_start(const char *host, uint16_t port,
                  struct rv__resolve **resolvep)
{
    size_t length = strlen(host);
    struct rv__resolve *resolve = calloc(1, sizeof *resolve + length + 1);
    if (!resolve) {
        return -ENOMEM;
    }
    memcpy(resolve->host, host, length + 1);
    snprintf(resolve->service, sizeof resolve->service, "%u", port);
    pthread_mutex_init(&resolve->lock, NULL);
    resolve->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = resolve->fd < 0 ? -errno : start_thread(resolve);
    if (rc) {
        rv_fd_close(&resolve->fd);
        destroy(resolve);
        return rc;
    }
    *resolvep = resolve;
    return 0;
}

int
rv__resolve_fd(const struct rv__resolve *resolve)
{
    return resolve->fd;
}

static int
explain(const struct rv__resolve *resolve, struct rv_error *error)
{
    switch (resolve->gai_code) {
    case EAI_SYSTEM:
        return rv_error_errno(error, -resolve->system_code,
                              "cannot resolve \"%s\"", resolve->host);
    case EAI_AGAIN:
        return rv_error_set(error, -EHOSTUNREACH,
                            "cannot resolve \"%s\": no name server answered",
                            resolve->host);
    case EAI_MEMORY:
        return rv_error_errno(error, -ENOMEM, "cannot resolve \"%s\"",
                              resolve->host);
    default:
        return rv_error_set(error, -ENOENT, "cannot resolve \"%s\": %s",
                            resolve->host, gai_strerror(resolve->gai_code));
    }
}

static int
take_answer(const struct rv__resolve *resolve, struct rv_address **addressesp,
            size_t *np, struct rv_error *error)
{
    struct rv_address *addresses = calloc(MAX_ADDRESSES, sizeof *addresses);
    size_t n = 0;
    if (!addresses) {
        return rv_error_errno(error, -ENOMEM, "cannot resolve \"%s\"",
                              resolve->host);
    }
    for (const struct addrinfo *info = resolve->answer;
         info && n < MAX_ADDRESSES; info = info->ai_next) {
        if (info->ai_addrlen <= sizeof addresses->u) {
            addresses[n].type = SOCK_STREAM;
            addresses[n].length = info->ai_addrlen;
            memcpy(&addresses[n].u, info->ai_addr, info->ai_addrlen);
            n++;
        }
    }
    if (!n) {
        free(addresses);
        return rv_error_set(error, -ENOENT,
                            "cannot resolve \"%s\": it has no address",
                            resolve->host);
    }
    *addressesp = addresses;
    *np = n;
    return 0;
}

int
rv__resolve_take(struct rv__resolve *resolve, struct rv_address **addressesp,
                 size_t *np, struct rv_error *error)
{
    pthread_mutex_lock(&resolve->lock);
    bool is_done = resolve->is_done;
    pthread_mutex_unlock(&resolve->lock);
    if (!is_done) {
        return -EAGAIN;
    }
    return resolve->gai_code ? explain(resolve, error)
                             : take_answer(resolve, addressesp, np, error);
}

void
rv__resolve_wake(struct rv__resolve *resolve)
{
    uint64_t one = 1;
    ssize_t n = write(resolve->fd, &one, sizeof one);
    RV_ASSERT(n == sizeof one);
}

void
rv__resolve_stop(struct rv__resolve *resolve)
{
    if (!resolve) {
        return;
    }
    pthread_mutex_lock(&resolve->lock);
    rv_fd_close(&resolve->fd);
    bool is_done = resolve->is_done;
    pthread_mutex_unlock(&resolve->lock);
    if (is_done) {
        destroy(resolve);
    }
}
