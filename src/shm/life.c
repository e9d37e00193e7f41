#include "shm/life.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/process.h"

int
rv__life_init(struct rv__life *life)
{
    pthread_mutexattr_t attributes;
    memset(life, 0, sizeof *life);
    int rc = pthread_mutexattr_init(&attributes);
    if (rc) {
        return -rc;
    }
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    rc = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (!rc) {
        rc = pthread_mutex_init(&life->mutex, &attributes);
    }
    pthread_mutexattr_destroy(&attributes);
    return -rc;
}

/* Robust mutexes that a thread holds are in a list of the C library's, whose
 * links lie in the mutexes, and so in memory that others may write over.  To
 * unlock follows them, and must not follow a stray one. */
#ifdef __GLIBC__

/* The word at an address that may be none; 'otherwise' when nobody may ask. */
static uintptr_t
peek(uintptr_t address, uintptr_t otherwise)
{
    uintptr_t word = 0;
    struct iovec to = {&word, sizeof word};
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): that is what it is. */
    struct iovec from = {(void *)address, sizeof word};
    ssize_t n = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    return n < 0 && errno != EFAULT ? otherwise : word;
}

/* Whether both neighbours in the list say that the word is between them.
 * Links name 'next' fields; their lowest bit is a flag. */
static bool
is_linked(const struct rv__life *life)
{
    const __pthread_list_t *list = &life->mutex.__data.__list;
    const uintptr_t flag = 1;
    uintptr_t me = (uintptr_t)&list->__next;
    uintptr_t next = (uintptr_t)list->__next & ~flag;
    uintptr_t previous = (uintptr_t)list->__prev & ~flag;
    size_t back = offsetof(__pthread_list_t, __next)
                  - offsetof(__pthread_list_t, __prev);
    return (peek(next - back, me) & ~flag) == me
           && (peek(previous, me) & ~flag) == me;
}

/* Makes the word say that the caller holds it, which its list knows. */
static void
mend(struct rv__life *life)
{
    struct rv__life fresh;
    int tid = gettid();
    if (rv__life_init(&fresh) == 0
        && life->mutex.__data.__kind != fresh.mutex.__data.__kind) {
        life->mutex.__data.__kind = fresh.mutex.__data.__kind;
    }
    int word = __atomic_load_n(&life->mutex.__data.__lock, __ATOMIC_RELAXED);
    if ((word & FUTEX_TID_MASK) != tid) {
        __atomic_store_n(&life->mutex.__data.__lock, tid, __ATOMIC_RELAXED);
    }
    if (life->mutex.__data.__owner != tid) {
        life->mutex.__data.__owner = tid;
    }
}
#endif

/* A mutex of another kind, which only a stray write makes, could do anything
 * in the C library. */
bool
rv__life_is_intact(const struct rv__life *life)
{
#ifdef __GLIBC__
    struct rv__life fresh;
    return rv__life_init(&fresh) == 0
           && fresh.mutex.__data.__kind == life->mutex.__data.__kind;
#else
    return life != NULL;
#endif
}

int
rv__life_try(struct rv__life *life)
{
    if (!rv__life_is_intact(life)) {
        return -EUCLEAN;
    }
    switch (pthread_mutex_trylock(&life->mutex)) {
    case 0:
        return 0;
    case EOWNERDEAD:
        return RV__LIFE_WAS_DEAD;
    case EBUSY:
        return -EBUSY;
    default:
        return -EUCLEAN;
    }
}

bool
rv__life_is_dead(const struct rv__life *life)
{
#ifdef __GLIBC__
    int word = __atomic_load_n(&life->mutex.__data.__lock, __ATOMIC_RELAXED);
    return (uint32_t)word & FUTEX_OWNER_DIED;
#else
    return life != NULL; /* Unknown; who tries it finds out. */
#endif
}

bool
rv__life_end(struct rv__life *life, uint32_t tid)
{
#ifdef __GLIBC__
    int word = __atomic_load_n(&life->mutex.__data.__lock, __ATOMIC_RELAXED);
    int dead = (int)(((uint32_t)word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
    return tid && ((uint32_t)word & FUTEX_TID_MASK) == tid
           && __atomic_compare_exchange_n(&life->mutex.__data.__lock, &word,
                                          dead, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED);
#else
    (void)life, (void)tid;
    return false;
#endif
}

bool
rv__life_bury(struct rv__life *life, uint32_t pid, uint32_t tid)
{
    return tid && rv__life_is_of(life, tid)
           && !rv_thread_exists((pid_t)pid, (pid_t)tid)
           && rv__life_end(life, tid);
}

bool
rv__life_is_of(const struct rv__life *life, uint32_t tid)
{
#ifdef __GLIBC__
    int word = __atomic_load_n(&life->mutex.__data.__lock, __ATOMIC_RELAXED);
    return ((uint32_t)word & FUTEX_TID_MASK) == tid;
#else
    (void)life, (void)tid;
    return true;
#endif
}

void
rv__life_settle(struct rv__life *life)
{
    pthread_mutex_consistent(&life->mutex);
}

bool
rv__life_release(struct rv__life *life)
{
#ifdef __GLIBC__
    if (!is_linked(life)) {
        return false;
    }
    mend(life);
#endif
    return pthread_mutex_unlock(&life->mutex) == 0;
}
