#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shm/log.h"

/* Of a copy, for what is compared must not change meanwhile; of what format
 * wrote, for the rest is checked elsewhere. */
static int
check_header(const struct rv_zone *zone, struct rv_error *error)
{
    struct rv__header *header = rv__header_create();
    if (!header) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    struct rv__geometry geometry;
    memcpy(header, zone->base, offsetof(struct rv__header, size_bytes));
    int rc = rv__header_check(header, &geometry, error);
    if (!rc && header->identity != zone->mapping->info.identity) {
        rc = rv_error_set(error, -EUCLEAN, "the zone became another");
    }
    free(header);
    return rc;
}

static int
check_root(const struct rv_zone *zone, const struct rv__root *root,
           struct rv_error *error)
{
    uint64_t offset = __atomic_load_n(&root->offset, __ATOMIC_RELAXED);
    if (!memchr(root->name, 0, sizeof root->name)
        || (offset && (!root->name[0] || !rv_zone_at(zone, offset, 1)))) {
        return rv_error_set(error, -EUCLEAN, "root %.*s: offset %" PRIu64,
                            (int)sizeof root->name, root->name, offset);
    }
    return 0;
}

static int
check_member(const struct rv_zone *zone, uint32_t index,
             struct rv_error *error)
{
    const struct rv__member *member = rv__member_of(zone, index);
    if (!rv__life_is_intact(rv__life_of(zone, index))) {
        return rv_error_set(error, -EUCLEAN,
                            "member %" PRIu32 ": its life word is damaged",
                            index);
    }
    uint64_t head = __atomic_load_n(&member->log.head, __ATOMIC_RELAXED);
    uint64_t lock = head >> RV__HEAD_SHIFT;
    if (((head & RV__HEAD_COUNT) > RV_TX_WORDS_MAX && !rv__log_is_move(head))
        || (lock && !rv__tx_can_lock(zone, lock))) {
        return rv_error_set(error, -EUCLEAN,
                            "member %" PRIu32 ": its log begins with %" PRIx64,
                            index, head);
    }
    return 0;
}

int
rv_zone_check(const struct rv_zone *zone, struct rv_error *error)
{
    if (!zone->base) {
        return rv_error_set(error, -ECHILD, "the handle is the parent's");
    }
    int rc = check_header(zone, error);
    for (size_t i = 0; i < RV_ZONE_ROOTS && !rc; i++) {
        rc = check_root(zone, &rv__header_of(zone)->roots[i], error);
    }
    for (uint32_t i = 0; i < zone->mapping->geometry.n_members && !rc; i++) {
        rc = check_member(zone, i, error);
    }
    return rc;
}
