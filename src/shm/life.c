#include "shm/life.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>

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

/* A mutex of another kind, which only a stray write makes, could do anything
 * in the C library. */
static bool
is_intact(const struct rv__life *life)
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
    if (!is_intact(life)) {
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
rv__life_bury(struct rv__life *life, uint32_t pid, uint32_t tid)
{
#ifdef __GLIBC__
    int word = __atomic_load_n(&life->mutex.__data.__lock, __ATOMIC_RELAXED);
    if (tid == 0 || ((uint32_t)word & FUTEX_TID_MASK) != tid
        || rv_thread_exists((pid_t)pid, (pid_t)tid)) {
        return false;
    }
    int dead = (int)(((uint32_t)word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
    return __atomic_compare_exchange_n(&life->mutex.__data.__lock, &word, dead,
                                       false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
#else
    (void)life, (void)pid, (void)tid;
    return false;
#endif
}

void
rv__life_settle(struct rv__life *life)
{
    pthread_mutex_consistent(&life->mutex);
}

void
rv__life_release(struct rv__life *life)
{
    pthread_mutex_unlock(&life->mutex);
}
