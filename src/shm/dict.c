/* Opening, and what is about the whole of a dict. */
#include "shm/dict.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/siphash.h"
#include "shm/epoch.h"

/* ----------------------------------------------------------------- opening */

static size_t
root_bytes(uint32_t n_shards)
{
    return rv_slab_aligned_bytes(sizeof(struct rv__dict_root)
                                     + n_shards * sizeof(struct rv__shard),
                                 sizeof(struct rv__bucket));
}

/* A shard each 64 KiB: then a table stays so small that its growth holds a
 * lock for microseconds. */
static uint32_t
default_shards(const struct rv_zone *zone)
{
    uint64_t n = zone->mapping->info.max_size_bytes >> 16;
    uint32_t n_shards = RV__SHARDS_MIN;
    while (n_shards < n && n_shards < RV_DICT_SHARDS_MAX) {
        n_shards *= 2;
    }
    return n_shards;
}

static bool
is_shards(uint32_t n)
{
    return n && n <= RV_DICT_SHARDS_MAX && (n & (n - 1)) == 0;
}

/* Sets what follows from the root at 'offset', which is checked. */
static int
open_root(struct rv_zone *zone, uint64_t offset, struct rv_dict *dict)
{
    const struct rv__dict_root *root =
        offset % sizeof(struct rv__bucket) == 0
            ? rv_zone_at(zone, offset, sizeof *root)
            : NULL;
    if (!root || root->magic != RV__DICT_TYPE || !is_shards(root->n_shards)
        || rv_slab_size(zone, offset) < root_bytes(root->n_shards)) {
        return -EUCLEAN;
    }
    *dict =
        (struct rv_dict){.zone = zone,
                         .root = offset,
                         .hash_key = {root->hash_key[0], root->hash_key[1]},
                         .shard_mask = root->n_shards - 1,
                         .now_ms = rv__epoch_now_ms,
                         .context = &zone->mapping->epoch_ms};
    dict->shards =
        (struct rv__shard *)(void *)(zone->base + offset + sizeof *root);
    return 0;
}

int
rv__dict_find(struct rv_zone *zone, const char *name, struct rv_dict *dict)
{
    uint64_t type, offset;
    int rc = rv_zone_root_get(zone, name, &type, &offset);
    if (!rc && type != RV__DICT_TYPE) {
        rc = -EPROTOTYPE;
    }
    return rc ? rc : open_root(zone, offset, dict);
}

/* In a transaction on the root lock. */
static int
make_root(struct rv_zone *zone, const char *name, uint32_t n_shards,
          const uint64_t hash_key[2])
{
    uint64_t offset = 0;
    size_t n_bytes = root_bytes(n_shards);
    int rc = rv_slab_take(zone, n_bytes, &offset);
    if (rc) {
        return rc;
    }
    struct rv__dict_root *root = rv_zone_at(zone, offset, n_bytes);
    rv__clear(root, n_bytes);
    root->hash_key[0] = hash_key[0];
    root->hash_key[1] = hash_key[1];
    root->n_shards = n_shards;
    root->magic = RV__DICT_TYPE;
    return rv_zone_root_set(zone, name, RV__DICT_TYPE, offset);
}

/* Finds the dict under the root lock; with 'n_shards' it is made if there is
 * none. */
static int
find_or_make(struct rv_zone *zone, const char *name, uint32_t n_shards,
             struct rv_dict *dict)
{
    uint64_t hash_key[2];
    int rc = 0;
    if (n_shards) {
        if (getrandom(hash_key, sizeof hash_key, 0)
            != (ssize_t)sizeof hash_key) {
            return -EIO;
        }
        rc = rv_slab_reserve(zone, root_bytes(n_shards), 1, 0);
    }
    rc = rc ? rc
            : rv_tx_begin(zone, rv_zone_root_lock(zone),
                          RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS);
    if (rc) {
        return rc;
    }
    rc = rv__dict_find(zone, name, dict);
    if (rc == -ENOENT && n_shards) {
        rc = make_root(zone, name, n_shards, hash_key);
        rc = rc ? rc : rv__dict_find(zone, name, dict);
    }
    if (rc) {
        rv_tx_abort(zone);
        return rc;
    }
    return rv_tx_commit(zone);
}

static int
open_name(struct rv_zone *zone, const char *name, uint32_t n_shards,
          struct rv_dict *dict)
{
    if (!zone->base) {
        return -ECHILD;
    }
    size_t length = strlen(name);
    if (length == 0 || length >= RV_ZONE_ROOT_NAME_BYTES
        || (n_shards && !is_shards(n_shards))) {
        return -EINVAL;
    }
    if (!zone->tid) {
        return rv__dict_find(zone, name, dict);
    }
    int rc = find_or_make(zone, name, 0, dict);
    if (rc == -ENOENT) {
        rc = find_or_make(zone, name,
                          n_shards ? n_shards : default_shards(zone), dict);
    }
    return rc;
}

int
rv_dict_open(struct rv_zone *zone, const char *name,
             const struct rv_dict_settings *settings, struct rv_dict **dictp,
             struct rv_error *error)
{
    struct rv_dict *dict = malloc(sizeof *dict);
    if (!dict) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    int rc = open_name(zone, name, settings ? settings->n_shards : 0, dict);
    if (rc) {
        free(dict);
        return rv_error_errno(error, rc, "dict \"%s\"", name);
    }
    if (settings && settings->now_ms) {
        dict->now_ms = settings->now_ms;
        dict->context = settings->context;
    }
    *dictp = dict;
    return 0;
}

void
rv_dict_close(struct rv_dict **dictp)
{
    free(*dictp);
    *dictp = NULL;
}

/* -------------------------------------------------------------- operations */

int
rv__op_init(struct rv__dict_op *op, struct rv_dict *dict, const void *key,
            size_t key_length)
{
    if (__builtin_expect(key_length > RV_DICT_KEY_MAX_BYTES, 0)) {
        return -E2BIG;
    }
    if (__builtin_expect(!dict->zone->base, 0)) {
        return -ECHILD;
    }
    op->dict = dict;
    op->key = key;
    op->key_length = (uint32_t)key_length;
    op->is_safe = false;
    op->is_forcible = false;
    op->hash = rv_siphash13(dict->hash_key, key, key_length);
    op->shard = &dict->shards[rv__shard_index(dict, op->hash)];
    return 0;
}

int
rv__content_init(struct rv__content *content,
                 const struct rv_dict_value *value)
{
    *content = (struct rv__content){.type = (uint8_t)value->type,
                                    .flags = value->flags};
    switch (value->type) {
    case RV_DICT_BYTES:
        if (value->length > RV_DICT_VALUE_MAX_BYTES) {
            return -E2BIG;
        }
        content->bytes = value->bytes;
        content->length = (uint32_t)value->length;
        return 0;
    case RV_DICT_INTEGER:
        content->number = (uint64_t)value->integer;
        return 0;
    case RV_DICT_REAL:
        memcpy(&content->number, &value->real, sizeof content->number);
        return 0;
    case RV_DICT_BOOLEAN:
        content->number = value->boolean;
        return 0;
    default:
        return -EINVAL;
    }
}

/* --------------------------------------------------------------- the whole */

int
rv_dict_flush_all(struct rv_dict *dict)
{
    for (uint32_t i = 0; i <= dict->shard_mask; i++) {
        struct rv__shard *shard = &dict->shards[i];
        int rc = rv_tx_begin(dict->zone, &shard->lock, 2);
        if (rc) {
            return rc;
        }
        rv__tx_set32(dict->zone, &shard->n_flushed, shard->n_entries);
        rv__tx_set64(dict->zone, &shard->floor, shard->versions);
        rc = rv_tx_commit(dict->zone);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

uint64_t
rv_dict_capacity(const struct rv_dict *dict)
{
    return dict->zone->base ? rv_zone_size_bytes(dict->zone) : 0;
}

uint64_t
rv_dict_free_space(const struct rv_dict *dict)
{
    return dict->zone->base
               ? (uint64_t)rv__pages_n_free(dict->zone) * RV_ZONE_PAGE_BYTES
               : 0;
}

void
rv_dict_get_stats(const struct rv_dict *dict, struct rv_dict_stats *stats)
{
    *stats = (struct rv_dict_stats){.n_hits = dict->n_hits,
                                    .n_misses = dict->n_misses,
                                    .n_shards = dict->shard_mask + 1};
    for (uint32_t i = 0; i <= dict->shard_mask && dict->zone->base; i++) {
        const struct rv__shard *shard = &dict->shards[i];
        stats->n_entries +=
            __atomic_load_n(&shard->n_entries, __ATOMIC_RELAXED);
        stats->n_evicted +=
            __atomic_load_n(&shard->n_evicted, __ATOMIC_RELAXED);
        stats->n_expired +=
            __atomic_load_n(&shard->n_expired, __ATOMIC_RELAXED);
    }
}
