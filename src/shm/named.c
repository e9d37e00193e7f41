#include "shm/named.h"

#include <errno.h>
#include <string.h>

#include "reeve/slab.h"
#include "shm/log.h"

void
rv__fill(void *place, const void *bytes, size_t n)
{
    uint64_t *words = place;
    const char *from = bytes;
    for (size_t i = 0; i < n; i += sizeof *words) {
        uint64_t word = 0;
        memcpy(&word, from + i, RV_MIN(n - i, sizeof word));
        __atomic_store_n(words++, word, __ATOMIC_RELAXED);
    }
}

void
rv__fill_zeros(void *words, size_t n)
{
    for (size_t i = 0; i < n / sizeof(uint64_t); i++) {
        __atomic_store_n((uint64_t *)words + i, 0, __ATOMIC_RELAXED);
    }
}

/* What the root of that name says; -ENOENT: nothing. */
static int
find(const struct rv_zone *zone, const char *name,
     const struct rv__named *named, void **structurep)
{
    uint64_t type = 0;
    uint64_t offset = 0;
    int rc = rv_zone_root_get(zone, name, &type, &offset);
    if (rc) {
        return rc;
    }
    if (type != named->type) {
        return -EPROTOTYPE;
    }
    const uint64_t *place = rv_zone_at(zone, offset, named->n_bytes);
    if (!place || offset % 64 != 0
        || __atomic_load_n(place, __ATOMIC_ACQUIRE) != named->type) {
        return -EUCLEAN;
    }
    *structurep = (void *)(uintptr_t)place;
    return 0;
}

/* In a transaction on the root lock. */
static int
make(struct rv_zone *zone, const char *name, const struct rv__named *named,
     void **structurep)
{
    size_t n_bytes = rv_slab_aligned_bytes(named->n_bytes, 64);
    uint64_t offset = 0;
    int rc = rv_slab_take(zone, n_bytes, &offset);
    if (rc) {
        return rc;
    }
    void *structure = zone->base + offset;
    rv__fill_zeros(structure, n_bytes);
    if (named->init) {
        named->init(structure, named->context);
    }
    __atomic_store_n((uint64_t *)structure, named->type, __ATOMIC_RELEASE);
    rc = rv_zone_root_set(zone, name, named->type, offset);
    if (!rc) {
        *structurep = structure;
    }
    return rc;
}

static int
find_or_make(struct rv_zone *zone, const char *name,
             const struct rv__named *named, void **structurep)
{
    size_t n_bytes = rv_slab_aligned_bytes(named->n_bytes, 64);
    int rc = rv_slab_reserve(zone, n_bytes, 1, 0);
    rc = rc ? rc
            : rv_tx_begin(zone, rv_zone_root_lock(zone),
                          RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS);
    if (rc) {
        return rc;
    }
    rc = find(zone, name, named, structurep);
    if (rc == -ENOENT) {
        rc = make(zone, name, named, structurep);
    }
    if (rc) {
        rv_tx_abort(zone);
        return rc;
    }
    return rv_tx_commit(zone);
}

static int
explain(int rc, const char *name, struct rv_error *error)
{
    switch (rc) {
    case -EPROTOTYPE:
        return rv_error_set(error, rc, "\"%s\" is something else", name);
    case -ENOENT:
        return rv_error_set(error, rc, "there is no \"%s\"", name);
    case -ENOSPC:
        return rv_error_set(error, rc, "\"%s\": all %d names are used", name,
                            RV_ZONE_ROOTS);
    case -EUCLEAN:
        return rv_error_set(error, rc, "\"%s\" is damaged", name);
    default:
        return rv_error_errno(error, rc, "\"%s\"", name);
    }
}

int
rv__named_open(struct rv_zone *zone, const char *name,
               const struct rv__named *named, void **structurep,
               struct rv_error *error)
{
    size_t length = strlen(name);
    if (length == 0 || length >= RV_ZONE_ROOT_NAME_BYTES) {
        return rv_error_set(error, -EINVAL, "a name of %zu bytes", length);
    }
    int rc = zone->base ? find(zone, name, named, structurep) : -ECHILD;
    if (rc == -ENOENT && zone->member) {
        rc = find_or_make(zone, name, named, structurep);
    }
    return rc ? explain(rc, name, error) : 0;
}
