#include "shm/log.h"

#include "shm/move.h"

static bool
is_change_valid(const struct rv_zone *zone, uint64_t offset, uint64_t width)
{
    return (width == 1 || width == 4 || width == 8) && offset % width == 0
           && offset - zone->mutable_begin < zone->n_mutable;
}

/* A change that cannot have been logged is left out: a stray write made it,
 * and must not make this member write anywhere. */
static void
undo_change(const struct rv_zone *zone, const struct rv__change *change)
{
    uint64_t offset = change->where >> RV__WHERE_SHIFT;
    uint64_t width = change->where & RV__WHERE_WIDTH;
    if (!is_change_valid(zone, offset, width)) {
        return;
    }
    void *place = zone->base + offset;
    if (width == 1) {
        __atomic_store_n((uint8_t *)place, (uint8_t)change->old,
                         __ATOMIC_RELEASE);
    } else if (width == 4) {
        __atomic_store_n((uint32_t *)place, (uint32_t)change->old,
                         __ATOMIC_RELEASE);
    } else {
        __atomic_store_n((uint64_t *)place, change->old, __ATOMIC_RELEASE);
    }
}

void
rv__log_undo(struct rv_zone *zone, struct rv__log *log)
{
    uint64_t head = __atomic_load_n(&log->head, __ATOMIC_RELAXED);
    uint64_t n = RV_MIN(head & RV__HEAD_COUNT, (uint64_t)RV_TX_WORDS_MAX);
    rv__zone_refresh_size(zone);
    if (rv__log_is_move(head)) {
        rv__move_undo(zone, log, head);
        n = 0;
    }
    while (n) {
        undo_change(zone, &log->changes[--n]);
    }
    rv__barrier();
    __atomic_store_n(&log->head, 0, __ATOMIC_RELAXED);
    rv__barrier();
}

void
rv__log_recover(struct rv_zone *zone, struct rv_lock *lock)
{
    uint32_t owner = __atomic_load_n(&lock->owner, __ATOMIC_RELAXED);
    if (owner == 0 || owner > zone->mapping->geometry.n_members) {
        return;
    }
    struct rv__log *log = &rv__member_of(zone, owner - 1)->log;
    uint64_t head = __atomic_load_n(&log->head, __ATOMIC_ACQUIRE);
    if (head >> RV__HEAD_SHIFT == rv__offset_of(zone, lock)
        && head & RV__HEAD_COUNT) {
        rv__log_undo(zone, log);
    }
}
