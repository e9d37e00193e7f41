/* The lock of zones beside others.
 *
 *     bench-shm-lock pair SIDE MS          ns of a free lock and its unlock
 *     bench-shm-lock contend SIDE N MS     locks of N processes in MS each
 *     bench-shm-lock death SIDE MIB        us from kill -9 of the holder until
 *                                          the next has the lock
 *
 * SIDE: bare (an exchange and a store, the least a lock can do), plain and
 * robust (pthread mutexes between processes), shmtx (the scheme of nginx),
 * reeve (the lock itself), tx (an empty transaction on it).  Under each lock
 * a counter is incremented.  The holder that dies has MIB of memory; death
 * knows robust, reeve, and signal: a parent that unlocks when it reaped.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "reeve/tx.h"
#include "shm/log.h"

enum { SLICE = 4000, SPIN_LIMIT = 2048 };

/* The scheme of nginx: a word with the holder's pid, a count of those that
 * sleep, a semaphore. */
struct shmtx {
    uint64_t word;
    int64_t n_waiting;
    sem_t semaphore;
};

/* All locks, in a zone, each in lines of its own. */
struct locks {
    struct rv_lock reeve;
    uint32_t bare __attribute__((aligned(64)));
    struct shmtx shmtx __attribute__((aligned(64)));
    pthread_mutex_t plain __attribute__((aligned(64)));
    pthread_mutex_t robust __attribute__((aligned(64)));
    uint64_t counter __attribute__((aligned(64)));
    uint64_t owned_ns __attribute__((aligned(64)));
    bool is_held, is_waiting;
};

struct state {
    int fd;
    struct bench_shared *shared;
    struct rv_zone *zone;
    struct locks *locks;
    uint64_t pid;
    const struct side *side;
    size_t n_bytes; /* Of the one who dies. */
};

static bool
shmtx_try(struct state *state)
{
    struct shmtx *shmtx = &state->locks->shmtx;
    uint64_t expected = 0;
    return __atomic_load_n(&shmtx->word, __ATOMIC_RELAXED) == 0
           && __atomic_compare_exchange_n(&shmtx->word, &expected, state->pid,
                                          false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED);
}

static void
shmtx_take_slowly(struct state *state)
{
    struct shmtx *shmtx = &state->locks->shmtx;
    for (;;) {
        for (int n = 1; n < SPIN_LIMIT; n *= 2) {
            for (int i = 0; i < n; i++) {
                __builtin_ia32_pause();
            }
            if (shmtx_try(state)) {
                return;
            }
        }
        __atomic_fetch_add(&shmtx->n_waiting, 1, __ATOMIC_SEQ_CST);
        if (shmtx_try(state)) {
            __atomic_fetch_sub(&shmtx->n_waiting, 1, __ATOMIC_SEQ_CST);
            return;
        }
        while (sem_wait(&shmtx->semaphore) && errno == EINTR) {
        }
        if (shmtx_try(state)) {
            return;
        }
    }
}

static inline void
shmtx_take(struct state *state)
{
    if (!shmtx_try(state)) {
        shmtx_take_slowly(state);
    }
}

static void
shmtx_wake(struct shmtx *shmtx)
{
    int64_t n = __atomic_load_n(&shmtx->n_waiting, __ATOMIC_SEQ_CST);
    while (n > 0) {
        if (__atomic_compare_exchange_n(&shmtx->n_waiting, &n, n - 1, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            sem_post(&shmtx->semaphore);
            return;
        }
    }
}

static inline void
shmtx_release(struct shmtx *shmtx, uint64_t pid)
{
    if (__atomic_compare_exchange_n(&shmtx->word, &pid, 0, false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        shmtx_wake(shmtx);
    }
}

static inline void
robust_take(struct locks *locks)
{
    if (__builtin_expect(pthread_mutex_lock(&locks->robust) == EOWNERDEAD,
                         0)) {
        pthread_mutex_consistent(&locks->robust);
    }
}

static inline void
reeve_take(struct state *state, struct rv_lock *lock)
{
    if (__builtin_expect(rv__lock_take(state->zone, lock), 0)) {
        rv__log_recover(state->zone, lock);
    }
}

static inline void
tx_take(struct state *state, struct rv_lock *lock)
{
    if (rv_tx_begin(state->zone, lock, 0)) {
        bench_die("no transaction");
    }
}

/* A side: SLICE times its lock, and one time each half of it. */
#define SIDE(NAME, TAKE, RELEASE)                            \
  static void NAME##_slice(void *context)                    \
  {                                                          \
    struct state *state = context;                           \
    struct locks *locks = state->locks;                      \
    for (int i = 0; i < SLICE; i++) {                        \
      TAKE;                                                  \
      (*(volatile uint64_t *)&locks->counter)++;             \
      RELEASE;                                               \
    }                                                        \
  }                                                          \
  static void NAME##_once(struct state *state, bool is_take) \
  {                                                          \
    struct locks *locks = state->locks;                      \
    if (is_take) {                                           \
      TAKE;                                                  \
    } else {                                                 \
      RELEASE;                                               \
    }                                                        \
  }

SIDE(bare, __atomic_exchange_n(&locks->bare, 1, __ATOMIC_SEQ_CST),
     __atomic_store_n(&locks->bare, 0, __ATOMIC_RELEASE))
SIDE(plain, pthread_mutex_lock(&locks->plain),
     pthread_mutex_unlock(&locks->plain))
SIDE(robust, robust_take(locks), pthread_mutex_unlock(&locks->robust))
SIDE(shmtx, shmtx_take(state), shmtx_release(&locks->shmtx, state->pid))
SIDE(reeve, reeve_take(state, &locks->reeve),
     rv__lock_release(state->zone, &locks->reeve))
SIDE(tx, tx_take(state, &locks->reeve), rv_tx_commit(state->zone))

static const struct side {
    const char *name;
    void (*slice)(void *context);
    void (*once)(struct state *state, bool is_take);
} sides[] = {
    {"bare", bare_slice, bare_once},
    {"plain", plain_slice, plain_once},
    {"robust", robust_slice, robust_once},
    {"shmtx", shmtx_slice, shmtx_once},
    {"signal", shmtx_slice, shmtx_once},
    {"reeve", reeve_slice, reeve_once},
    {"tx", tx_slice, tx_once},
};

static const struct side *
find_side(const char *name)
{
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        if (strcmp(name, sides[i].name) == 0) {
            return &sides[i];
        }
    }
    bench_die("no such side: %s", name);
}

static void
attach(struct state *state)
{
    state->zone = bench_attach(state->fd);
    state->locks = rv_zone_at(state->zone, rv_zone_heap_begin(state->zone),
                              sizeof *state->locks);
    state->pid = (uint64_t)getpid();
}

static void
prepare(struct state *state)
{
    state->shared = bench_share(sizeof *state->shared);
    state->fd = bench_zone(1 << 20);
    attach(state);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&state->locks->plain, &attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&state->locks->robust, &attributes);
    sem_init(&state->locks->shmtx.semaphore, 1, 0);
}

static void
measure_pair(void *context, unsigned int who)
{
    struct state *state = context;
    attach(state);
    state->shared->results[who][0] = bench_slices(
        state->side->slice, state, SLICE, (unsigned int)state->n_bytes);
}

static void
measure_contended(void *context, unsigned int who)
{
    struct state *state = context;
    double n = 0;
    attach(state);
    while (!__atomic_load_n(&state->shared->is_over, __ATOMIC_RELAXED)) {
        state->side->slice(state);
        n += SLICE;
    }
    state->shared->results[who][0] = n;
}

/* --------------------------------------------------------------- the death */

static bool *
wait_for(bool *flag)
{
    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
        struct timespec time = {0, 100000};
        nanosleep(&time, NULL);
    }
    return flag;
}

static void
hold(struct state *state)
{
    attach(state);
    bench_pin(0);
    char *memory = mmap(NULL, state->n_bytes + 1, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, state->n_bytes + 1);
    state->side->once(state, true);
    __atomic_store_n(&state->locks->is_held, true, __ATOMIC_RELEASE);
    pause();
}

static void
take_next(struct state *state)
{
    attach(state);
    bench_pin(1);
    __atomic_store_n(&state->locks->is_waiting, true, __ATOMIC_RELEASE);
    state->side->once(state, true);
    state->locks->owned_ns = bench_now_ns();
    state->side->once(state, false);
}

static pid_t
start(struct state *state, void (*work)(struct state *state))
{
    pid_t pid = fork();
    if (pid == 0) {
        work(state);
        _exit(0);
    }
    return pid;
}

static double
measure_death(struct state *state)
{
    pid_t holder = start(state, hold);
    wait_for(&state->locks->is_held);
    pid_t next = start(state, take_next);
    wait_for(&state->locks->is_waiting);
    /* It spins first; this is to find it asleep. */
    struct timespec time = {0, 3000000};
    nanosleep(&time, NULL);
    uint64_t killed = bench_now_ns();
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    if (strcmp(state->side->name, "signal") == 0) {
        shmtx_release(&state->locks->shmtx, (uint64_t)holder);
    }
    waitpid(next, NULL, 0);
    return (double)(state->locks->owned_ns - killed) / 1e3;
}

int
main(int argc, char **argv)
{
    struct state state = {0};
    if (argc < 4) {
        bench_die("usage: see the head of lock.c");
    }
    prepare(&state);
    state.side = find_side(argv[2]);
    unsigned int number = (unsigned int)bench_number(argv[3]);
    if (strcmp(argv[1], "death") == 0) {
        state.n_bytes = (size_t)number << 20;
        printf("{\"us\": %.1f}\n", measure_death(&state));
        return 0;
    }
    bool is_pair = strcmp(argv[1], "pair") == 0;
    unsigned int ms =
        is_pair ? number : (unsigned int)bench_number(argv[argc - 1]);
    unsigned int n = is_pair ? 1 : number;
    state.n_bytes = ms;
    bench_fork(state.shared, n, is_pair ? 0 : ms,
               is_pair ? measure_pair : measure_contended, &state);
    printf("{");
    bench_print(state.shared, is_pair ? "ns" : "n", n, 0);
    printf("}\n");
    return 0;
}
