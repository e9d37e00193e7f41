/* Design
 *
 * Taking: spin with doubling pauses, as long as a critical section may well
 * take, then sleep.  Doubling matters: whoever looks at the word rarely lets
 * the holder work.
 *
 * Sleeping: the word must carry FUTEX_WAITERS when it is slept on, for then
 * the kernel wakes a sleeper when the holder dies; in the holder's release
 * the counter 'waiters' does, which the holder cannot wipe.  Who got the lock
 * after it slept keeps the flag, as others may sleep.
 *
 * Who wakes a sleeper counts it out, so that the releases until it runs, which
 * may be thousands, need not call the kernel.  It spins again then, and counts
 * itself anew before it sleeps again.
 *
 * The counter may be too high (a waiter died, or who woke it, or the kernel
 * woke it for a dead holder) or, after it was healed, too low (a waiter had
 * counted but did not sleep yet).  Too high costs a system call a release,
 * until enough of them woke nobody; too low costs the sleeper its timeout,
 * after which it counts itself anew.
 *
 * A word that names no living member is garbage or comes from a thread whose
 * death the kernel did not see; who slept for long finds out and takes it as
 * from a dead one.
 */
#include "shm/lock.h"

#include <errno.h>
#include <sched.h>

#include "os/clock.h"
#include "os/futex.h"
#include "shm/member.h"

enum {
    SPIN_ROUNDS = 11, /* The last pauses 1024 times, some 10 to 40 us. */
    SLEEP_MS = 50,
    STARVING_AFTER_MS = 5,
    STARVING_FOR_MS = 10,
    SUSPECT_AFTER_MS = 200,
    POLITE_PAUSES = 4096,
    FRUITLESS_WAKES = 16,
};

static inline void
pause_processor(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool
is_held(uint32_t word)
{
    return (word & FUTEX_TID_MASK) != 0 && !(word & FUTEX_OWNER_DIED);
}

/* Takes the lock whose word was seen as 'word', not held; 'flag' stays on. */
static bool
try_take(struct rv_zone *zone, struct rv_lock *lock, uint32_t word,
         uint32_t flag, int *result)
{
    uint32_t mine = zone->tid | flag | (word & FUTEX_WAITERS);
    if (!__atomic_compare_exchange_n(&lock->word, &word, mine, false,
                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return false;
    }
    *result = word & FUTEX_OWNER_DIED ? RV__LOCK_OWNER_DIED : 0;
    return true;
}

static bool
spin(struct rv_zone *zone, struct rv_lock *lock, uint32_t flag, int *result)
{
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        uint32_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);
        if (!is_held(word) && try_take(zone, lock, word, flag, result)) {
            return true;
        }
        for (int i = 0; i < 1 << round; i++) {
            pause_processor();
        }
    }
    return false;
}

/* Announces a sleeper.  Afterwards a release either sees it, or its store of
 * the word is seen by the sleeper. */
static void
count_in(const struct rv_zone *zone, struct rv_lock *lock)
{
    __atomic_fetch_add(&lock->waiters, 1, __ATOMIC_SEQ_CST);
    if (!zone->is_exchange) {
        rv_membarrier();
    }
}

/* Not below 0, for a release may have healed the count. */
static void
count_out(struct rv_lock *lock)
{
    uint32_t n = __atomic_load_n(&lock->waiters, __ATOMIC_RELAXED);
    while (n
           && !__atomic_compare_exchange_n(&lock->waiters, &n, n - 1, false,
                                           __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED)) {
    }
}

void
rv__lock_suspect(struct rv_zone *zone, struct rv_lock *lock, uint32_t word)
{
    uint32_t tid = word & FUTEX_TID_MASK;
    if (tid == zone->tid || !rv__member_is_living(zone, tid)) {
        __atomic_compare_exchange_n(&lock->word, &word,
                                    (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED,
                                    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

/* Sleeps once, the word being 'word', held.  Whether it was woken, and so
 * counted out. */
static bool
sleep_block(struct rv_zone *zone, struct rv_lock *lock, uint32_t word,
            int64_t waited_ms)
{
    if (!(word & FUTEX_WAITERS)
        && !__atomic_compare_exchange_n(&lock->word, &word,
                                        word | FUTEX_WAITERS, false,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        return false;
    }
    if (waited_ms >= STARVING_AFTER_MS) {
        __atomic_store_n(&lock->starving_until_ms,
                         (uint32_t)(rv_clock_ms() + STARVING_FOR_MS),
                         __ATOMIC_RELAXED);
    }
    word |= FUTEX_WAITERS;
    int rc = rv_futex_wait_block(&lock->word, word, SLEEP_MS);
    if (rc == -ETIMEDOUT && waited_ms >= SUSPECT_AFTER_MS) {
        rv__lock_suspect(zone, lock, word);
    }
    return rc == 0;
}

/* Counts itself and sleeps until it is woken, or has the lock, which is
 * whether. */
static bool
wait_block(struct rv_zone *zone, struct rv_lock *lock, int64_t start_ms,
           int *result)
{
    count_in(zone, lock);
    for (;;) {
        uint32_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);
        if (!is_held(word)) {
            if (try_take(zone, lock, word, FUTEX_WAITERS, result)) {
                count_out(lock);
                return true;
            }
            continue;
        }
        if (__atomic_load_n(&lock->waiters, __ATOMIC_RELAXED) == 0) {
            count_in(zone, lock);
            continue;
        }
        if (sleep_block(zone, lock, word, rv_clock_ms() - start_ms)) {
            return false;
        }
    }
}

int
rv__lock_take_block(struct rv_zone *zone, struct rv_lock *lock)
{
    int result = 0;
    if (spin(zone, lock, 0, &result)) {
        return result;
    }
    int64_t start_ms = rv_clock_ms();
    while (!wait_block(zone, lock, start_ms, &result)
           && !spin(zone, lock, FUTEX_WAITERS, &result)) {
    }
    return result;
}

int
rv__lock_try(struct rv_zone *zone, struct rv_lock *lock)
{
    int result = -EBUSY;
    rv__lock_set_pending(zone, lock);
    rv__barrier();
    uint32_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);
    if (is_held(word) || !try_take(zone, lock, word, 0, &result)) {
        rv__lock_clear_pending(zone);
    }
    return result;
}

/* Lets one who starves take the free lock before this thread comes back. */
static void
be_polite(struct rv_lock *lock)
{
    uint32_t until =
        __atomic_load_n(&lock->starving_until_ms, __ATOMIC_RELAXED);
    uint32_t left = until - (uint32_t)rv_clock_ms();
    if (left == 0 || left > STARVING_FOR_MS) {
        return;
    }
    sched_yield();
    for (int i = 0; i < POLITE_PAUSES; i++) {
        if (__atomic_load_n(&lock->word, __ATOMIC_RELAXED)) {
            return;
        }
        pause_processor();
    }
}

void
rv__lock_release_waited(struct rv_zone *zone, struct rv_lock *lock)
{
    uint32_t n = __atomic_load_n(&lock->waiters, __ATOMIC_RELAXED);
    bool is_fruitless = rv_futex_wake(&lock->word, 1) == 0;
    if (!is_fruitless) {
        count_out(lock);
        zone->n_fruitless_wakes = 0;
    } else if (++zone->n_fruitless_wakes >= FRUITLESS_WAKES) {
        zone->n_fruitless_wakes = 0;
        __atomic_compare_exchange_n(&lock->waiters, &n, 0, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
    rv__barrier();
    rv__lock_clear_pending(zone);
    if (!is_fruitless) {
        be_polite(lock);
    }
}
