/* The undo log of a member, and transactions written out in place.
 *
 * Room: shm.  Blocks: rv__tx_begin, for the lock.
 *
 * What reeve/tx.h declares, as inline functions for the structures of this
 * room.  The order of the stores is the whole of it:
 *
 *     begin:   take the lock; owner = me
 *     set:     change[n] = {place, old};  head = {lock, n + 1};  place = new
 *     commit:  head = 0;  release the lock
 *
 * Whoever takes a lock whose holder died looks at the owner's log.  If its
 * head names that lock, and changes, they are undone backwards; then head = 0.
 * If not, the dead one had changed nothing: it died before it wrote itself
 * down as the owner, before its first change, or after its commit.  A death
 * during recovery leaves the owner and the log as they are, so it is done
 * again by the next; old values are written twice, which changes nothing.
 */
#ifndef RV_SHM_LOG_H
#define RV_SHM_LOG_H

#include <errno.h>

#include "shm/lock.h"

enum {
    RV__HEAD_SHIFT = 16,
    RV__HEAD_COUNT = (1 << RV__HEAD_SHIFT) - 1,
    RV__HEAD_OUT = RV__HEAD_COUNT - 1, /* Moves, see move.h. */
    RV__HEAD_IN = RV__HEAD_COUNT - 2,
    RV__WHERE_SHIFT = 4,
    RV__WHERE_WIDTH = (1 << RV__WHERE_SHIFT) - 1,
};

/* Undoes what the dead holder of 'lock' left; the caller holds 'lock' now and
 * has not written itself down as its owner. */
void rv__log_recover(struct rv_zone *zone, struct rv_lock *lock);

/* Undoes the changes of 'log' and empties it.  The caller holds the lock that
 * its head names, or the life word of its member if it names none. */
void rv__log_undo(struct rv_zone *zone, struct rv__log *log);

/* Whether a log with this head tells of a move. */
static inline bool
rv__log_is_move(uint64_t head)
{
    return head == RV__HEAD_OUT || head == RV__HEAD_IN;
}

/* Why no transaction can begin, a negative errno, or 0. */
int rv__tx_refusal(const struct rv_zone *zone, const struct rv_lock *lock,
                   uint32_t n_words);

/* Notes why a set of the open transaction failed; returns that. */
int rv__tx_fail(struct rv_zone *zone, int code);

/* Why nothing can be set at 'offset', or 0 when it can by now. */
int rv__tx_set_refusal(struct rv_zone *zone, uint64_t offset, uint32_t width);

static inline uint64_t
rv__offset_of(const struct rv_zone *zone, const void *place)
{
    return (uint64_t)((uintptr_t)place - (uintptr_t)zone->base);
}

static inline bool
rv__tx_can_set(const struct rv_zone *zone, uint64_t offset, uint32_t width)
{
    return zone->is_open && zone->n_words_left
           && offset - zone->mutable_begin < zone->n_mutable
           && offset % width == 0;
}

/* Whether a lock may lie at 'offset'. */
static inline bool
rv__tx_can_lock(const struct rv_zone *zone, uint64_t offset)
{
    return offset - zone->mutable_begin
               <= zone->n_mutable - sizeof(struct rv_lock)
           && offset % 8 == 0;
}

/* The lock is held: makes the transaction.  The first change's head follows
 * the owner's number over the barrier in rv__log_change. */
static inline void
rv__tx_enter(struct rv_zone *zone, struct rv_lock *lock, uint32_t n_words)
{
    zone->head = 0;
    if (lock) {
        __atomic_store_n(&lock->owner, zone->index + 1, __ATOMIC_RELAXED);
        zone->head = rv__offset_of(zone, lock) << RV__HEAD_SHIFT;
    }
    zone->lock = lock;
    zone->n_words_left = n_words;
    zone->failure = 0;
    zone->number++;
    zone->idle = NULL;
    zone->is_open = true;
}

static inline bool
rv__tx_can_begin(const struct rv_zone *zone, const struct rv_lock *lock,
                 uint32_t n_words)
{
    return zone->idle && n_words <= RV_TX_WORDS_MAX
           && !rv__lock_is_pending(zone)
           && (!lock || rv__tx_can_lock(zone, rv__offset_of(zone, lock)));
}

static inline int
rv__tx_begin(struct rv_zone *zone, struct rv_lock *lock, uint32_t n_words)
{
    if (__builtin_expect(!rv__tx_can_begin(zone, lock, n_words), 0)) {
        rv__zone_refresh_size(zone);
        int rc = rv__tx_refusal(zone, lock, n_words);
        if (rc) {
            return rc;
        }
    }
    if (lock && __builtin_expect(rv__lock_take(zone, lock), 0)) {
        rv__log_recover(zone, lock);
    }
    rv__tx_enter(zone, lock, n_words);
    return 0;
}

/* 0 when the open transaction can set 'width' bytes at 'place'. */
static inline int
rv__tx_admit(struct rv_zone *zone, const void *place, uint32_t width)
{
    uint64_t offset = rv__offset_of(zone, place);
    if (__builtin_expect(!rv__tx_can_set(zone, offset, width), 0)) {
        return rv__tx_set_refusal(zone, offset, width);
    }
    return 0;
}

/* Notes in the log that 'width' bytes at 'place' were 'old'. */
static inline void
rv__log_change(struct rv_zone *zone, const void *place, uint32_t width,
               uint64_t old)
{
    struct rv__log *log = &zone->member->log;
    struct rv__change *change = &log->changes[zone->head++ & RV__HEAD_COUNT];
    zone->n_words_left--;
    change->where = rv__offset_of(zone, place) << RV__WHERE_SHIFT | width;
    change->old = old;
    rv__barrier();
    __atomic_store_n(&log->head, zone->head, __ATOMIC_RELAXED);
}

static inline int
rv__tx_set8(struct rv_zone *zone, uint8_t *place, uint8_t value)
{
    int rc = rv__tx_admit(zone, place, sizeof value);
    if (rc) {
        return rc;
    }
    rv__log_change(zone, place, sizeof value,
                   __atomic_load_n(place, __ATOMIC_RELAXED));
    rv__barrier();
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
    return 0;
}

static inline int
rv__tx_set32(struct rv_zone *zone, uint32_t *place, uint32_t value)
{
    int rc = rv__tx_admit(zone, place, sizeof value);
    if (rc) {
        return rc;
    }
    rv__log_change(zone, place, sizeof value,
                   __atomic_load_n(place, __ATOMIC_RELAXED));
    rv__barrier();
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
    return 0;
}

static inline int
rv__tx_set64(struct rv_zone *zone, uint64_t *place, uint64_t value)
{
    int rc = rv__tx_admit(zone, place, sizeof value);
    if (rc) {
        return rc;
    }
    rv__log_change(zone, place, sizeof value,
                   __atomic_load_n(place, __ATOMIC_RELAXED));
    rv__barrier();
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
    return 0;
}

/* Ends the transaction whose log is empty or committed. */
static inline void
rv__tx_leave(struct rv_zone *zone)
{
    zone->is_open = false;
    zone->idle = zone->member;
    if (zone->lock) {
        rv__lock_release(zone, zone->lock);
    }
}

/* Puts the old values back; the lock stays. */
void rv__tx_undo(struct rv_zone *zone);

/* What a commit does when it cannot: aborts, and returns why. */
int rv__tx_refuse_commit(struct rv_zone *zone);

static inline int
rv__tx_commit(struct rv_zone *zone)
{
    if (__builtin_expect(!zone->is_open || zone->failure, 0)) {
        return rv__tx_refuse_commit(zone);
    }
    rv__barrier();
    __atomic_store_n(&zone->member->log.head, 0, __ATOMIC_RELAXED);
    rv__barrier();
    rv__tx_leave(zone);
    return 0;
}

#endif
