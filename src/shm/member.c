/* Design
 *
 * Who holds a slot's life word may write the slot.  A member holds its own
 * for life; when it died, whoever tries the word first becomes the adopter,
 * and holds it while it puts the slot in order.  An adopter that dies leaves
 * the word dead again, and the slot is adopted by the next.
 *
 * The adopter writes its thread id into the slot before it takes any lock, so
 * that a holder of a lock is always found among the slots (lock.c relies on
 * that when it suspects a word).
 *
 * A log with changes and a lock: its member died holding that lock, and
 * nobody recovered it yet.  Taking the lock recovers it, whoever does it.  The
 * adopter does so with its bare hands, not by a transaction, for it has no log
 * but the one in question.  A log without changes needs no lock, and must not
 * take one: the memory of the lock it last named may long be something else.
 *
 * A thread id says nothing after the machine booted: another thread may have
 * it.  The kernel marks nothing when power fails, so the first who attaches in
 * a boot does (epoch.c), for all slots at once and before anybody takes one:
 * the life words first, then the locks.  Which lock a member held is known
 * when its log has changes, or when it is one of the zone's own.  Any other is
 * suspected by who waits for it (lock.c); only one whose holder's number a
 * living member has now is waited for until that member ends.
 */
#include "shm/member.h"

#include <errno.h>
#include <string.h>

#include "shm/gather.h"
#include "shm/log.h"
#include "shm/shelf.h"

/* Whether a lock can lie at 'offset'.  What looks like one where members keep
 * their own would be waited for until they end. */
static bool
is_lock(const struct rv_zone *zone, uint64_t offset)
{
    const struct rv__geometry *geometry = &zone->mapping->geometry;
    return rv__tx_can_lock(zone, offset)
           && (offset < geometry->lives || offset >= geometry->heap);
}

/* Undoes what the log of a slot whose life word the caller holds has left. */
static void
settle_log(struct rv_zone *zone, struct rv__member *member)
{
    uint64_t head = __atomic_load_n(&member->log.head, __ATOMIC_ACQUIRE);
    uint64_t offset = head >> RV__HEAD_SHIFT;
    if ((head & RV__HEAD_COUNT) == 0) {
        return;
    }
    if (offset == 0) {
        rv__log_undo(zone, &member->log);
        return;
    }
    rv__zone_refresh_size(zone);
    if (is_lock(zone, offset)) {
        struct rv_lock *lock = (struct rv_lock *)(void *)(zone->base + offset);
        if (rv__lock_take(zone, lock)) {
            rv__log_recover(zone, lock);
        }
        rv__lock_release(zone, lock);
    }
    /* Still there only if stray writes made it: nobody's to undo. */
    if (__atomic_load_n(&member->log.head, __ATOMIC_RELAXED) == head) {
        __atomic_store_n(&member->log.head, 0, __ATOMIC_RELAXED);
    }
}

static void
mark_taken(const struct rv_zone *zone, struct rv__member *member)
{
    __atomic_store_n(&member->boot, zone->mapping->boot, __ATOMIC_RELAXED);
    __atomic_store_n(&member->pid_namespace, zone->pid_namespace,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&member->pid, zone->pid, __ATOMIC_RELAXED);
    __atomic_store_n(&member->tid, zone->tid, __ATOMIC_RELEASE);
    rv__barrier();
}

static void
mark_free(struct rv__member *member)
{
    __atomic_store_n(&member->tid, 0, __ATOMIC_RELAXED);
    rv__barrier();
}

/* Puts the slot of a dead member in order; its life word is held, and will
 * still be. */
static void
adopt(struct rv_zone *zone, uint32_t index)
{
    struct rv__member *member = rv__member_of(zone, index);
    mark_taken(zone, member);
    settle_log(zone, member);
    if (zone->member) {
        rv__slab_adopt(zone, member);
    } else {
        rv__slab_settle(zone); /* The slot will be the caller's. */
    }
    rv__life_settle(rv__life_of(zone, index));
}

/* Whether the member of slot 'index' ended in the one way that the kernel
 * does not see; its life word says so afterwards.  Of another namespace's
 * threads nothing is known. */
static bool
bury(struct rv_zone *zone, uint32_t index)
{
    const struct rv__member *member = rv__member_of(zone, index);
    /* In the order that mark_taken has it the other way round: a process, or a
     * namespace, that a new holder's thread is not of would bury that one
     * alive. */
    uint32_t tid = __atomic_load_n(&member->tid, __ATOMIC_ACQUIRE);
    uint32_t pid = __atomic_load_n(&member->pid, __ATOMIC_RELAXED);
    uint64_t namespace =
        __atomic_load_n(&member->pid_namespace, __ATOMIC_RELAXED);
    return namespace && namespace == zone->pid_namespace
           && rv__life_bury(rv__life_of(zone, index), pid, tid);
}

/* As rv__life_try, and it knows better than a life word that lies. */
static int
try_life(struct rv_zone *zone, uint32_t index)
{
    int rc = rv__life_try(rv__life_of(zone, index));
    if (rc == -EBUSY && bury(zone, index)) {
        rc = rv__life_try(rv__life_of(zone, index));
    }
    return rc;
}

/* Whether who has slot 'index' is certainly of another pid namespace.  What a
 * slot says is what its last member left there until the next one has said
 * who it is. */
static bool
is_foreign(const struct rv_zone *zone, uint32_t index)
{
    const struct rv__member *member = rv__member_of(zone, index);
    uint32_t tid = __atomic_load_n(&member->tid, __ATOMIC_ACQUIRE);
    uint64_t namespace =
        __atomic_load_n(&member->pid_namespace, __ATOMIC_RELAXED);
    return tid && rv__life_is_of(rv__life_of(zone, index), tid) && namespace
           && zone->pid_namespace && namespace != zone->pid_namespace;
}

/* Tries to make slot 'index' that of 'zone'. */
static int
take(struct rv_zone *zone, uint32_t index)
{
    struct rv__member *member = rv__member_of(zone, index);
    int rc = try_life(zone, index);
    if (rc == -EBUSY) {
        return is_foreign(zone, index) ? -EXDEV : -EBUSY;
    }
    if (rc < 0) {
        return -EBUSY; /* Damaged: nobody can use it. */
    }
    if (rc == RV__LIFE_WAS_DEAD) {
        adopt(zone, index);
    } else {
        mark_taken(zone, member);
    }
    __atomic_store_n(&member->n_attached, member->n_attached + 1,
                     __ATOMIC_RELAXED);
    zone->member = member;
    zone->idle = member;
    zone->index = index;
    rv__slab_open(zone);
    return 0;
}

int
rv__member_take(struct rv_zone *zone)
{
    for (uint32_t i = 0; i < zone->mapping->geometry.n_members; i++) {
        int rc = take(zone, i);
        if (rc != -EBUSY) {
            return rc;
        }
    }
    return -EAGAIN;
}

bool
rv__member_release(struct rv_zone *zone)
{
    rv__slab_return(zone, false);
    mark_free(zone->member);
    bool is_released = rv__life_release(rv__life_of(zone, zone->index));
    zone->member = NULL;
    zone->idle = NULL;
    return is_released;
}

bool
rv__member_is_living(struct rv_zone *zone, uint32_t tid)
{
    for (uint32_t i = 0; i < zone->mapping->geometry.n_members; i++) {
        const struct rv__member *member = rv__member_of(zone, i);
        if (__atomic_load_n(&member->tid, __ATOMIC_RELAXED) == tid
            && rv__life_is_of(rv__life_of(zone, i), tid) && !bury(zone, i)) {
            return true; /* Else another thread may have the number by now. */
        }
    }
    return false;
}

/* Whether nobody has slot 'index', and nobody died in it. */
static bool
is_vacant(const struct rv_zone *zone, uint32_t index)
{
    const struct rv__life *life = rv__life_of(zone, index);
    return rv__life_is_of(life, 0) && !rv__life_is_dead(life);
}

/* Whether a member of another boot has slot 'index', or had it when it died.
 * Vacant slots are not looked at: that would cost their memory. */
static bool
is_former(const struct rv_zone *zone, uint32_t index)
{
    if (is_vacant(zone, index)) {
        return false;
    }
    uint64_t boot =
        __atomic_load_n(&rv__member_of(zone, index)->boot, __ATOMIC_RELAXED);
    return boot && boot != zone->mapping->boot;
}

/* Makes the lock that of a dead one, if no living member holds it. */
static void
end_hold(struct rv_zone *zone, struct rv_lock *lock)
{
    uint32_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);
    if (word & FUTEX_TID_MASK) {
        rv__lock_suspect(zone, lock, word);
    }
}

static void
end_hold_of_log(struct rv_zone *zone, const struct rv__log *log)
{
    uint64_t head = __atomic_load_n(&log->head, __ATOMIC_RELAXED);
    uint64_t offset = head >> RV__HEAD_SHIFT;
    if (head & RV__HEAD_COUNT && offset && is_lock(zone, offset)) {
        end_hold(zone, (struct rv_lock *)(void *)(zone->base + offset));
    }
}

void
rv__member_end_former(struct rv_zone *zone)
{
    uint32_t n = zone->mapping->geometry.n_members;
    bool has_former = false;
    for (uint32_t i = 0; i < n; i++) {
        if (is_vacant(zone, i)) {
            continue;
        }
        /* Before the boot: who takes the slot meanwhile says both. */
        uint32_t tid =
            __atomic_load_n(&rv__member_of(zone, i)->tid, __ATOMIC_ACQUIRE);
        if (is_former(zone, i)) {
            has_former = true;
            rv__life_end(rv__life_of(zone, i), tid);
        }
    }
    if (!has_former) {
        return;
    }
    rv__zone_refresh_size(zone);
    struct rv__slab *slab = rv__slab_of(zone);
    end_hold(zone, &rv__header_of(zone)->root_lock);
    end_hold(zone, &slab->map.lock);
    for (uint32_t i = 0; i < RV_SLAB_CLASSES; i++) {
        end_hold(zone, &slab->shelves[i].lock);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (is_former(zone, i)) {
            end_hold_of_log(zone, &rv__member_of(zone, i)->log);
        }
    }
}

int
rv__member_heal(struct rv_zone *zone, uint32_t index)
{
    struct rv__member *member = rv__member_of(zone, index);
    if (member == zone->member || is_vacant(zone, index)) {
        return 0;
    }
    int rc = try_life(zone, index);
    if (rc < 0) {
        return 0;
    }
    if (rc == RV__LIFE_WAS_DEAD) {
        adopt(zone, index);
    }
    mark_free(member);
    rv__life_release(rv__life_of(zone, index));
    return rc == RV__LIFE_WAS_DEAD;
}

int
rv__member_heal_marked(struct rv_zone *zone)
{
    int rc = rv__tx_refusal(zone, NULL, 0);
    int n = 0;
    uint32_t n_members = rc ? 0 : zone->mapping->geometry.n_members;
    for (uint32_t i = 0; i < n_members; i++) {
        if (__builtin_expect(rv__life_is_dead(rv__life_of(zone, i)), 0)) {
            n += rv__member_heal(zone, i);
        }
    }
    return rc ? rc : n;
}

int
rv_zone_heal(struct rv_zone *zone)
{
    rv__zone_refresh_size(zone);
    int rc = rv__tx_refusal(zone, NULL, 0);
    if (rc) {
        return rc;
    }
    int n = 0;
    for (uint32_t i = 0; i < zone->mapping->geometry.n_members; i++) {
        n += rv__member_heal(zone, i);
    }
    return n;
}
