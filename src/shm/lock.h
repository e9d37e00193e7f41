/* The robust lock.
 *
 * Room: shm.  Source: Documentation/robust-futexes.txt; the kernel's
 * exit_robust_list() and handle_futex_death().
 *
 * A word in the form the kernel knows: 0, or the holder's thread id, perhaps
 * with FUTEX_WAITERS; FUTEX_OWNER_DIED once the holder died.  The kernel finds
 * it by the one 'list_op_pending' of the dying thread, which names the lock
 * from before it is taken until after it is released; there is no list.
 *
 *     take:     pending = lock; word: 0 -> tid; what the lock guards ...
 *     release:  word = 0, a plain store; who waits?  wake one; pending = none
 *
 * The plain store is what makes a release cheap, and nothing orders it before
 * the look at the waiters.  So a waiter counts itself and then has every
 * member pass a full barrier by membarrier(2): each of them has either seen
 * the count, or its store is visible to the waiter.  In zones that are to do
 * without membarrier the release is an exchange.
 *
 * A release may wipe FUTEX_WAITERS from the word, a dead waiter stays
 * counted, a wake-up may die with the woken: all this costs time, never the
 * lock, because sleepers sleep with a timeout and look again.
 */
#ifndef RV_SHM_LOCK_H
#define RV_SHM_LOCK_H

#include "shm/handle.h"

enum { RV__LOCK_OWNER_DIED = 1 };

/* All but the one compare and exchange of an uncontended lock. */
int rv__lock_take_block(struct rv_zone *zone, struct rv_lock *lock);
void rv__lock_release_waited(struct rv_zone *zone, struct rv_lock *lock);

/* Takes the word of 'lock', which was 'word' and names a holder, away from a
 * holder that is nobody, or the caller itself: it is that of a dead one then. */
void rv__lock_suspect(struct rv_zone *zone, struct rv_lock *lock,
                      uint32_t word);

static inline void
rv__lock_set_pending(struct rv_zone *zone, struct rv_lock *lock)
{
    char *node = (char *)&lock->word + zone->node_bias;
    __atomic_store_n(&zone->robust->list_op_pending,
                     (struct robust_list *)(void *)node, __ATOMIC_RELAXED);
}

static inline void
rv__lock_clear_pending(struct rv_zone *zone)
{
    __atomic_store_n(&zone->robust->list_op_pending, NULL, __ATOMIC_RELAXED);
}

/* Whether this thread holds a lock, in whatever zone. */
static inline bool
rv__lock_is_pending(const struct rv_zone *zone)
{
    return __atomic_load_n(&zone->robust->list_op_pending, __ATOMIC_RELAXED);
}

static inline bool
rv__lock_try_free(struct rv_zone *zone, struct rv_lock *lock)
{
    uint32_t expected = 0;
    return __atomic_compare_exchange_n(&lock->word, &expected, zone->tid,
                                       false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

/* Takes 'lock', which no lock of this thread may be pending for.  0, or
 * RV__LOCK_OWNER_DIED: the caller must recover what the lock guards. */
static inline int
rv__lock_take(struct rv_zone *zone, struct rv_lock *lock)
{
    rv__lock_set_pending(zone, lock);
    rv__barrier();
    if (__builtin_expect(rv__lock_try_free(zone, lock), 1)) {
        return 0;
    }
    return rv__lock_take_block(zone, lock);
}

/* As rv__lock_take, or -EBUSY at once. */
int rv__lock_try(struct rv_zone *zone, struct rv_lock *lock);

static inline void
rv__lock_release(struct rv_zone *zone, struct rv_lock *lock)
{
    if (__builtin_expect(zone->is_exchange, 0)) {
        __atomic_exchange_n(&lock->word, 0, __ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
    }
    rv__barrier();
    if (__builtin_expect(__atomic_load_n(&lock->waiters, __ATOMIC_RELAXED),
                         0)) {
        rv__lock_release_waited(zone, lock);
        return;
    }
    rv__lock_clear_pending(zone);
}

#endif
