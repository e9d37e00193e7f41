#include <errno.h>
#include <string.h>

#include "shm/log.h"

struct rv_lock *
rv_zone_root_lock(struct rv_zone *zone)
{
    return &rv__header_of(zone)->root_lock;
}

/* The name as it would lie in the table, or -EINVAL. */
static int
pad_name(const char *name, char padded[RV_ZONE_ROOT_NAME_BYTES])
{
    size_t length = strlen(name);
    if (length == 0 || length >= RV_ZONE_ROOT_NAME_BYTES) {
        return -EINVAL;
    }
    memset(padded, 0, RV_ZONE_ROOT_NAME_BYTES);
    memcpy(padded, name, length);
    return 0;
}

/* The entry of this name; NULL if none. */
static struct rv__root *
find(const struct rv_zone *zone, const char padded[RV_ZONE_ROOT_NAME_BYTES])
{
    struct rv__root *roots = rv__header_of(zone)->roots;
    for (size_t i = 0; i < RV_ZONE_ROOTS; i++) {
        if (memcmp(roots[i].name, padded, RV_ZONE_ROOT_NAME_BYTES) == 0) {
            return &roots[i];
        }
    }
    return NULL;
}

int
rv_zone_root_get(const struct rv_zone *zone, const char *name, uint64_t *typep,
                 uint64_t *offsetp)
{
    char padded[RV_ZONE_ROOT_NAME_BYTES];
    if (!zone->base || pad_name(name, padded)) {
        return -ENOENT;
    }
    const struct rv__root *root = find(zone, padded);
    uint64_t offset =
        root ? __atomic_load_n(&root->offset, __ATOMIC_ACQUIRE) : 0;
    if (!rv_zone_at(zone, offset, 1)) {
        return -ENOENT;
    }
    *typep = __atomic_load_n(&root->type, __ATOMIC_RELAXED);
    *offsetp = offset;
    return 0;
}

static int
set_name(struct rv_zone *zone, struct rv__root *root,
         const char padded[RV_ZONE_ROOT_NAME_BYTES])
{
    int rc = 0;
    for (size_t i = 0; i < RV_ZONE_ROOT_NAME_BYTES && !rc; i += 8) {
        uint64_t word;
        memcpy(&word, padded + i, sizeof word);
        rc = rv__tx_set64(zone, (uint64_t *)(void *)(root->name + i), word);
    }
    return rc;
}

int
rv_zone_root_set(struct rv_zone *zone, const char *name, uint64_t type,
                 uint64_t offset)
{
    static const char none[RV_ZONE_ROOT_NAME_BYTES];
    char padded[RV_ZONE_ROOT_NAME_BYTES];
    if (!zone->is_open || zone->lock != rv_zone_root_lock(zone)) {
        return -EPERM;
    }
    if (pad_name(name, padded)) {
        return -EINVAL;
    }
    if (offset && !rv_zone_at(zone, offset, 1)) {
        return -EFAULT;
    }
    struct rv__root *root = find(zone, padded);
    int rc = 0;
    if (!root) {
        root = find(zone, none);
        rc = root ? set_name(zone, root, padded) : -ENOSPC;
    }
    if (!rc) {
        rc = rv__tx_set64(zone, &root->type, type);
    }
    return rc ? rc : rv__tx_set64(zone, &root->offset, offset);
}
