/* Transactions: changes of a zone that happen wholly or not at all.
 *
 * Room: shm.  Threads: that of the handle.  Blocks: rv_tx_begin, while
 * another member holds the lock.  Source: get_robust_list(2), futex(2),
 * membarrier(2), and Documentation/robust-futexes.txt of Linux.
 *
 *     struct account { struct rv_lock lock; uint64_t from, to; };
 *
 *     rc = rv_tx_begin(zone, &account->lock, 2);
 *     if (rc) {
 *         return rc;
 *     }
 *     rv_tx_set64(zone, &account->from, account->from - 5);
 *     rv_tx_set64(zone, &account->to, account->to + 5);
 *     rc = rv_tx_commit(zone);     // says also whether a set failed
 *
 * Before a word changes its old value goes to the member's undo log.  A member
 * that dies at any instruction before the commit's one store changed nothing:
 * whoever takes the lock next puts the old values back first, and sees them.
 *
 * The rules:
 * - A transaction holds one lock, or none: then it may change only what no
 *   other member changes ("private").  A thread has one open transaction at a
 *   time, over all its zones.  So there is no order of locks to keep, and no
 *   deadlock.
 * - What the lock guards changes only by rv_tx_set*.  Memory that nobody else
 *   can reach yet may be written directly, before the set that shows it.
 * - Reading under the lock is plain reading.  Without it readers must expect
 *   values of open transactions.
 *
 * Wrong: to return, longjmp or be cancelled out of an open transaction.
 * Wrong: to lock or unlock a robust pthread mutex, or to exec, in one.
 * Wrong: to fork in one.  The transaction remains the parent's; the child's
 * commit is refused (-EPERM), as is all that it does with the handle
 * (-ECHILD).  If a lock is held, the thread that forked cannot even attach
 * anew in the child (-EDEADLK): it still looks as if it held that lock.
 * Wrong: to begin a private transaction on words that a predecessor left,
 * before it is known whether that one died in the middle.  No lock says so,
 * hence nothing was undone: rv_zone_heal first.
 * Wrong: transactions in a signal handler.
 * Wrong: to free memory with a lock in it that somebody may wait for.
 */
#ifndef REEVE_TX_H
#define REEVE_TX_H

#include <stdint.h>

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

struct rv_zone;

/* A lock; lives in a zone, at a multiple of 8, best of 64.  All zero is free,
 * and it needs no end.  Nothing in it is for others to touch. */
struct rv_lock {
    uint32_t word;    /* Thread id of the holder, as the kernel wants it. */
    uint32_t waiters; /* That sleep or are about to; a dead one may stay
                       * counted for a while. */
    uint32_t owner;   /* Slot of the last holder, plus 1; by the holder. */
    uint32_t starving_until_ms; /* Advice to let a sleeper go first. */
    uint32_t reserved[12];      /* So that a lock has a cache line. */
};

/* The most words a transaction can change. */
enum { RV_TX_WORDS_MAX = 240 };

/* Begins a transaction of at most 'n_words' sets, and takes 'lock', which
 * lies in the zone; NULL: a private transaction.  May sleep until the lock is
 * free; what a dead holder left is undone first.  On failure nothing is held
 * or changed:
 *   -E2BIG    'n_words' is above RV_TX_WORDS_MAX
 *   -EDEADLK  the thread has an open transaction, in this zone or another
 *   -EFAULT   'lock' is not in the zone, or not at a multiple of 8
 *   -EROFS    the handle is read-only
 *   -ECHILD   the handle is the parent's */
int rv_tx_begin(struct rv_zone *zone, struct rv_lock *lock, uint32_t n_words)
    RV_MUST_CHECK;

/* As rv_tx_begin, but never waits: -EBUSY when another holds the lock. */
int rv_tx_try_begin(struct rv_zone *zone, struct rv_lock *lock,
                    uint32_t n_words) RV_MUST_CHECK;

/* Sets the word at 'place', which is aligned to its width.  -E2BIG beyond the
 * words that were asked for, -EFAULT outside of what the zone may change,
 * -EPERM without a transaction.  After a failure nothing changed, and the
 * commit will fail with the same error; so results may go unchecked until
 * then. */
int rv_tx_set8(struct rv_zone *zone, uint8_t *place, uint8_t value);
int rv_tx_set32(struct rv_zone *zone, uint32_t *place, uint32_t value);
int rv_tx_set64(struct rv_zone *zone, uint64_t *place, uint64_t value);

/* Makes all sets since the begin permanent and releases the lock.  When one
 * of them failed it aborts instead, and returns that failure.  -EPERM without
 * a transaction. */
int rv_tx_commit(struct rv_zone *zone);

/* Puts all old values back and releases the lock.  Without a transaction
 * nothing happens. */
void rv_tx_abort(struct rv_zone *zone);

RV_END_DECLARATIONS

#endif
