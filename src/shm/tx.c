#include "reeve/tx.h"

#include <errno.h>

#include "shm/log.h"

int
rv__tx_refusal(const struct rv_zone *zone, const struct rv_lock *lock,
               uint32_t n_words)
{
    if (!zone->base) {
        return -ECHILD;
    }
    if (!zone->tid) {
        return -EROFS;
    }
    if (n_words > RV_TX_WORDS_MAX) {
        return -E2BIG;
    }
    if (zone->is_open || rv__lock_is_pending(zone)) {
        return -EDEADLK;
    }
    if (lock && !rv__tx_can_lock(zone, rv__offset_of(zone, lock))) {
        return -EFAULT;
    }
    return 0;
}

int
rv__tx_fail(struct rv_zone *zone, int code)
{
    if (!zone->failure) {
        zone->failure = code;
    }
    return code;
}

int
rv__tx_set_refusal(struct rv_zone *zone, uint64_t offset, uint32_t width)
{
    if (!zone->is_open) {
        return -EPERM;
    }
    if (!zone->n_words_left) {
        return rv__tx_fail(zone, -E2BIG);
    }
    rv__zone_refresh_size(zone);
    return rv__tx_can_set(zone, offset, width) ? 0
                                               : rv__tx_fail(zone, -EFAULT);
}

void
rv__tx_undo(struct rv_zone *zone)
{
    rv__log_undo(zone, &zone->member->log);
}

int
rv__tx_refuse_commit(struct rv_zone *zone)
{
    if (!zone->is_open) {
        return -EPERM;
    }
    int failure = zone->failure;
    rv_tx_abort(zone);
    return failure;
}

int
rv_tx_begin(struct rv_zone *zone, struct rv_lock *lock, uint32_t n_words)
{
    return rv__tx_begin(zone, lock, n_words);
}

int
rv_tx_try_begin(struct rv_zone *zone, struct rv_lock *lock, uint32_t n_words)
{
    rv__zone_refresh_size(zone);
    int rc = rv__tx_refusal(zone, lock, n_words);
    if (rc) {
        return rc;
    }
    if (lock) {
        rc = rv__lock_try(zone, lock);
        if (rc < 0) {
            return rc;
        }
        if (rc == RV__LOCK_OWNER_DIED) {
            rv__log_recover(zone, lock);
        }
    }
    rv__tx_enter(zone, lock, n_words);
    return 0;
}

int
rv_tx_set8(struct rv_zone *zone, uint8_t *place, uint8_t value)
{
    return rv__tx_set8(zone, place, value);
}

int
rv_tx_set32(struct rv_zone *zone, uint32_t *place, uint32_t value)
{
    return rv__tx_set32(zone, place, value);
}

int
rv_tx_set64(struct rv_zone *zone, uint64_t *place, uint64_t value)
{
    return rv__tx_set64(zone, place, value);
}

int
rv_tx_commit(struct rv_zone *zone)
{
    return rv__tx_commit(zone);
}

void
rv_tx_abort(struct rv_zone *zone)
{
    if (zone->is_open) {
        rv__tx_undo(zone);
        rv__tx_leave(zone);
    }
}
