/* The tables of shards, as their writers see them. */
#include "shm/dict.h"

#include <errno.h>

/* ----------------------------------------------------------------- finding */

static inline bool
is_entry(const struct rv__dict_op *op, struct rv__entry *entry)
{
    return entry && entry->hash == (uint32_t)op->hash
           && entry->key_length == op->key_length
           && rv__equal(op->key, entry + 1, op->key_length);
}

static void
find(struct rv__dict_op *op)
{
    const struct rv__table *table = &op->table;
    uint32_t tag = rv__hash_tag(op->hash);
    uint32_t home = (uint32_t)op->hash & table->mask;
    for (uint32_t d = 0; d < RV__DICT_PROBES && d <= table->mask; d++) {
        op->bucket = (home + d) & table->mask;
        struct rv__bucket *bucket = &table->buckets[op->bucket];
        uint32_t slots = rv__bucket_match(bucket, tag);
        for (; slots; slots &= slots - 1) {
            uint64_t *slot = &bucket->refs[__builtin_ctz(slots)];
            struct rv__entry *entry = rv__entry_at(op->dict, *slot);
            if (is_entry(op, entry)) {
                op->slot = slot;
                op->entry = entry;
                return;
            }
        }
        if (bucket->n_passed == 0) {
            return;
        }
    }
}

/* What a free of the object at 'offset' will look at. */
static inline void
ask_for_state(const struct rv__slab_view *view, uint64_t offset)
{
    uint64_t thing = (offset - view->heap) / RV__UNIT_BYTES;
    __builtin_prefetch(view->states + thing, 1);
    __builtin_prefetch(view->tags + thing / RV__PAGE_UNITS);
}

void
rv__op_prefetch(const struct rv__dict_op *op)
{
    struct rv__table table;
    __builtin_prefetch(&op->shard->lock, 1);
    __builtin_prefetch(&op->shard->versions, 1);
    uint64_t word = __atomic_load_n(&op->shard->table, __ATOMIC_ACQUIRE);
    if (!rv__table_open(op->dict, word, &table) || !table.buckets) {
        return;
    }
    const struct rv__bucket *bucket =
        &table.buckets[(uint32_t)op->hash & table.mask];
    uint32_t slots = rv__bucket_match(bucket, rv__hash_tag(op->hash));
    if (slots) {
        uint64_t ref = __atomic_load_n(&bucket->refs[__builtin_ctz(slots)],
                                       __ATOMIC_RELAXED);
        uint64_t offset = rv__ref_offset(ref);
        __builtin_prefetch(op->dict->zone->base + offset, 1);
        ask_for_state(&op->dict->zone->slab, offset);
    }
}

int
rv__op_begin(struct rv__dict_op *op)
{
    struct rv_zone *zone = op->dict->zone;
    int rc = rv__tx_begin(zone, &op->shard->lock, RV_TX_WORDS_MAX);
    if (__builtin_expect(rc, 0)) {
        return rc;
    }
    op->entry = NULL;
    op->slot = NULL;
    if (!rv__table_open(op->dict, op->shard->table, &op->table)) {
        return rv__op_abort(op, -EUCLEAN);
    }
    if (op->table.buckets) {
        find(op);
    }
    return 0;
}

int
rv__op_commit(struct rv__dict_op *op)
{
    struct rv_zone *zone = op->dict->zone;
    int rc = rv__tx_commit(zone);
    if (__builtin_expect(!rc && rv__limbo_count(zone), 0)) {
        rc = rv__limbo_drain(zone);
    }
    if (__builtin_expect(!rc && op->shard->garbage, 0)) {
        rc = rv__shard_drain(op->dict, op->shard);
    }
    return rc;
}

int
rv__op_abort(struct rv__dict_op *op, int rc)
{
    rv_tx_abort(op->dict->zone);
    return rc;
}

/* ---------------------------------------------------------------- changing */

/* The next version of the shard, which stays used whatever happens. */
static inline uint64_t
take_version(const struct rv_dict *dict, struct rv__shard *shard)
{
    uint64_t n = shard->versions + 1;
    __atomic_store_n(&shard->versions, n, __ATOMIC_RELAXED);
    rv__barrier();
    return n << RV__SHARD_BITS | (uint64_t)(shard - dict->shards);
}

/* A free slot where an entry of 'hash' can be, and how many buckets it comes
 * by on the way; NULL: there is none. */
static uint64_t *
find_room(const struct rv__table *table, uint32_t hash, uint32_t *n_passedp)
{
    for (uint32_t d = 0; d < RV__DICT_PROBES && d <= table->mask; d++) {
        uint64_t *refs = table->buckets[(hash + d) & table->mask].refs;
        for (uint32_t i = 0; i < RV__DICT_SLOTS; i++) {
            if (!refs[i]) {
                *n_passedp = d;
                return &refs[i];
            }
        }
    }
    return NULL;
}

static void
fill(struct rv__dict_op *op, struct rv__entry *entry, uint64_t version,
     const struct rv__content *content)
{
    __atomic_store_n(&entry->version, 0, __ATOMIC_RELAXED);
    rv__store_fence();
    __atomic_store_n(&entry->expires_ms, content->expires_ms,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&entry->number, content->number, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->hash, (uint32_t)op->hash, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->flags, content->flags, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->length, content->length, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->key_length, (uint16_t)op->key_length,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&entry->type, content->type, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->reserved, 0, __ATOMIC_RELAXED);
    if (op->key_length) {
        rv__copy(entry + 1, op->key, op->key_length);
    }
    if (content->type == RV__DICT_LIST) {
        rv__clear(rv__entry_ends(entry), sizeof(struct rv__ends));
    } else if (content->length) {
        rv__copy((char *)(entry + 1) + op->key_length, content->bytes,
                 content->length);
    }
    __atomic_store_n(&entry->version, version, __ATOMIC_RELEASE);
}

static void
add32(struct rv_zone *zone, uint32_t *place, uint32_t n)
{
    if (n) {
        rv__tx_set32(zone, place, *place + n);
    }
}

/* Counts an entry out, or 'n' 1: in. */
static void
count(struct rv_zone *zone, struct rv__shard *shard,
      const struct rv__entry *entry, uint32_t n)
{
    add32(zone, &shard->n_mortal, entry->expires_ms ? n : 0);
    add32(zone, &shard->n_flushed,
          rv__is_flushed(shard, entry->version) ? n : 0);
}

/* The entry at 'offset' takes the place of the one that is there. */
static void
exchange(struct rv__dict_op *op, const struct rv__entry *entry, uint64_t ref)
{
    struct rv_zone *zone = op->dict->zone;
    if (op->entry->type == RV__DICT_LIST) {
        rv__shard_discard(op->dict, op->shard, op->entry);
    }
    count(zone, op->shard, op->entry, UINT32_MAX);
    count(zone, op->shard, entry, 1);
    rv_slab_drop(zone, rv__offset_of(zone, op->entry));
    rv__tx_set64(zone, op->slot, ref);
}

int
rv__op_put(struct rv__dict_op *op, const struct rv__content *content,
           struct rv__entry **entryp)
{
    struct rv_zone *zone = op->dict->zone;
    uint32_t n_passed = 0;
    uint64_t offset = 0;
    if (!op->slot) {
        if (!op->table.buckets) {
            return -EAGAIN;
        }
        op->slot = find_room(&op->table, (uint32_t)op->hash, &n_passed);
        if (!op->slot) {
            return -EAGAIN;
        }
    }
    int rc = rv_slab_take(
        zone, rv__entry_size(content->type, op->key_length, content->length),
        &offset);
    if (rc) {
        return rc;
    }
    struct rv__entry *entry = rv__dict_at(op->dict, offset);
    uint64_t version = take_version(op->dict, op->shard);
    fill(op, entry, version, content);
    uint64_t ref = rv__ref_make(offset, op->hash, version);
    *entryp = entry;
    if (op->entry) {
        exchange(op, entry, ref);
        return zone->failure;
    }
    for (uint32_t d = 0; d < n_passed; d++) {
        uint32_t b = ((uint32_t)op->hash + d) & op->table.mask;
        add32(zone, &op->table.buckets[b].n_passed, 1);
    }
    count(zone, op->shard, entry, 1);
    add32(zone, &op->shard->n_entries, 1);
    rv__tx_set64(zone, op->slot, ref);
    return zone->failure;
}

void
rv__shard_unlink(struct rv_dict *dict, struct rv__shard *shard,
                 const struct rv__table *table, uint32_t bucket, uint32_t i)
{
    struct rv_zone *zone = dict->zone;
    uint64_t *slot = &table->buckets[bucket].refs[i];
    struct rv__entry *entry = rv__entry_at(dict, *slot);
    if (!entry) {
        rv__tx_fail(zone, -EUCLEAN);
        return;
    }
    rv__tx_set64(zone, slot, 0);
    for (uint32_t b = entry->hash & table->mask; b != bucket;
         b = (b + 1) & table->mask) {
        if (zone->failure) {
            return;
        }
        add32(zone, &table->buckets[b].n_passed, UINT32_MAX);
    }
    count(zone, shard, entry, UINT32_MAX);
    add32(zone, &shard->n_entries, UINT32_MAX);
    if (entry->type == RV__DICT_LIST) {
        rv__shard_discard(dict, shard, entry);
    }
    rv_slab_drop(zone, rv__offset_of(zone, entry));
}

void
rv__op_remove(struct rv__dict_op *op)
{
    uint64_t *refs = op->table.buckets[op->bucket].refs;
    rv__shard_unlink(op->dict, op->shard, &op->table, op->bucket,
                     (uint32_t)(op->slot - refs));
    op->entry = NULL;
    op->slot = NULL;
}

/* ----------------------------------------------------------------- growing */

static size_t
table_bytes(uint32_t log)
{
    return rv_slab_aligned_bytes(sizeof(struct rv__bucket) << log,
                                 sizeof(struct rv__bucket));
}

/* Puts all references of 'old' into 'fresh', which nobody sees yet.  False:
 * they do not fit. */
static bool
move_refs(const struct rv_dict *dict, const struct rv__table *old,
          const struct rv__table *fresh)
{
    for (uint32_t i = 0; old->buckets && i <= old->mask; i++) {
        const uint64_t *refs = old->buckets[i].refs;
        for (uint32_t k = 0; k < RV__DICT_SLOTS; k++) {
            if (refs[k]) {
                struct rv__entry *entry = rv__entry_at(dict, refs[k]);
                __builtin_prefetch(entry);
            }
        }
        for (uint32_t k = 0; k < RV__DICT_SLOTS; k++) {
            uint64_t ref = __atomic_load_n(&refs[k], __ATOMIC_RELAXED);
            struct rv__entry *entry = ref ? rv__entry_at(dict, ref) : NULL;
            if (!entry) {
                continue;
            }
            uint32_t n_passed = 0;
            uint64_t *slot = find_room(fresh, entry->hash, &n_passed);
            if (!slot) {
                return false;
            }
            __atomic_store_n(slot, ref, __ATOMIC_RELAXED);
            for (uint32_t d = 0; d < n_passed; d++) {
                uint32_t *place =
                    &fresh->buckets[(entry->hash + d) & fresh->mask].n_passed;
                __atomic_store_n(place, *place + 1, __ATOMIC_RELAXED);
            }
        }
    }
    return true;
}

/* In a transaction on the shard: a table of 1 << 'log' buckets takes the place
 * of the present one.  -EAGAIN: that is too small. */
static int
replace_table(struct rv_dict *dict, struct rv__shard *shard, uint32_t log)
{
    struct rv_zone *zone = dict->zone;
    struct rv__table old, fresh;
    uint64_t offset = 0;
    if (!rv__table_open(dict, shard->table, &old)) {
        return -EUCLEAN;
    }
    int rc = rv_slab_take(zone, table_bytes(log), &offset);
    if (rc) {
        return rc;
    }
    uint64_t sequence = take_version(dict, shard) >> RV__SHARD_BITS;
    uint64_t word = offset >> 4 << 32 | (sequence & 0xffff) << 16 | log;
    if (!rv__table_open(dict, word, &fresh) || !fresh.buckets) {
        return -EUCLEAN;
    }
    rv__store_fence();
    rv__clear(fresh.buckets, sizeof(struct rv__bucket) << log);
    if (!move_refs(dict, &old, &fresh)) {
        return -EAGAIN;
    }
    if (old.buckets) {
        rv_slab_drop(zone, rv__offset_of(zone, old.buckets));
    }
    return rv__tx_set64(zone, &shard->table, word);
}

/* The table of the shard becomes one of 1 << 'log' buckets, if it is smaller
 * by then. */
static int
grow(struct rv__dict_op *op, uint32_t log)
{
    struct rv_zone *zone = op->dict->zone;
    struct rv__shard *shard = op->shard;
    if (log > RV__DICT_LOG_MAX) {
        return -ENOMEM;
    }
    int rc = rv_slab_reserve(zone, table_bytes(log), 1, 1);
    rc = rc ? rc : rv__tx_begin(zone, &shard->lock, RV_TX_WORDS_MAX);
    if (rc) {
        return rc;
    }
    if (shard->table && (shard->table & 0xffff) >= log) {
        return rv__op_commit(op);
    }
    rc = replace_table(op->dict, shard, log);
    return rc ? rv__op_abort(op, rc) : rv__op_commit(op);
}

static uint32_t
next_log(const struct rv__shard *shard)
{
    uint64_t word = __atomic_load_n(&shard->table, __ATOMIC_RELAXED);
    return word ? ((uint32_t)word & 0xffff) + 1 : 0;
}

int
rv__op_make_room(struct rv__dict_op *op)
{
    uint32_t log = next_log(op->shard);
    int rc;
    do {
        rc = grow(op, log++);
    } while (rc == -EAGAIN);
    if (rc == -ENOMEM && log == 1) {
        rc = rv__op_reserve(op, table_bytes(0), 0);
        rc = rc ? rc : grow(op, 0);
    } else if (rc == -ENOMEM && !op->is_safe) {
        /* A full table in a full zone serves on, if it may lose an entry.  The
         * hand's first turn may just take the touched bits away. */
        int n = rv__shard_evict(op, op->shard, SIZE_MAX);
        n = n ? n : rv__shard_evict(op, op->shard, SIZE_MAX);
        rc = n > 0 ? 0 : RV_MIN(n, rc);
    }
    return rc;
}

void
rv__op_grow_in_time(struct rv__dict_op *op)
{
    const struct rv__shard *shard = op->shard;
    uint32_t log = next_log(shard);
    uint32_t full = log ? 5U << (log - 1) : 0;
    uint32_t n = __atomic_load_n(&shard->n_entries, __ATOMIC_RELAXED);
    /* In a zone without memory not each call shall look for some. */
    if (__builtin_expect(n > full, 0)
        && (n == full + 1 || shard->versions % 64 == 0)) {
        int rc = grow(op, log);
        (void)rc; /* Then later. */
    }
}
