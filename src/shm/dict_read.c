/* Reading without locks; dict.h says why that works. */
#include "shm/dict.h"

#include <errno.h>
#include <stdlib.h>

enum {
    NEXT = 1, /* It is not this entry. */
    PATIENT_TRIES = 32,
    TRIES = 10000,
};

/* What a reader looks for, and what it found. */
struct search {
    struct rv_dict *dict;
    const struct rv__shard *shard;
    const void *key;
    uint32_t key_length;
    uint64_t hash;
    uint64_t table_word;
    uint64_t *slot;
    uint64_t ref;
    uint64_t version;
    char *buffer;
    size_t size;
    struct rv__content content;
};

/* Whether all that was read since the version was, is of one entry, which is
 * in the dict. */
static inline bool
is_unchanged(const struct search *search, const struct rv__entry *entry)
{
    rv__load_fence();
    bool same_table = __atomic_load_n(&search->shard->table, __ATOMIC_RELAXED)
                      == search->table_word;
    bool same_ref =
        ((__atomic_load_n(search->slot, __ATOMIC_RELAXED) ^ search->ref)
         | RV__REF_TOUCHED)
        == RV__REF_TOUCHED;
    rv__load_fence();
    return same_table && same_ref
           && __atomic_load_n(&entry->version, __ATOMIC_RELAXED)
                  == search->version;
}

/* Copies what is wanted of an entry.  False: its lengths lead nowhere. */
static inline bool
copy_entry(struct search *search, struct rv__entry *entry)
{
    struct rv__content *content = &search->content;
    content->type = __atomic_load_n(&entry->type, __ATOMIC_RELAXED);
    content->flags = __atomic_load_n(&entry->flags, __ATOMIC_RELAXED);
    content->length = __atomic_load_n(&entry->length, __ATOMIC_RELAXED);
    content->number = __atomic_load_n(&entry->number, __ATOMIC_RELAXED);
    content->expires_ms =
        __atomic_load_n(&entry->expires_ms, __ATOMIC_RELAXED);
    if (content->type == RV_DICT_BYTES && content->length <= search->size) {
        uint64_t begin =
            rv__ref_offset(search->ref) + sizeof *entry + search->key_length;
        if (!rv__dict_is_inside(search->dict, begin, content->length)) {
            return false;
        }
        rv__copy(search->buffer, rv__dict_at(search->dict, begin),
                 content->length);
    }
    return true;
}

/* Reads the entry that may be the one.  0, NEXT, or -EAGAIN: it changed, or
 * is none. */
static inline int
read_entry(struct search *search)
{
    const struct rv_dict *dict = search->dict;
    uint64_t offset = rv__ref_offset(search->ref);
    if (__builtin_expect(
            !rv__dict_is_inside(dict, offset,
                                sizeof(struct rv__entry) + search->key_length),
            0)) {
        /* Too near the end for this key, which may be right. */
        return rv__dict_is_inside(dict, offset, sizeof(struct rv__entry))
                   ? NEXT
                   : -EAGAIN;
    }
    struct rv__entry *entry = rv__dict_at(dict, offset);
    search->version = __atomic_load_n(&entry->version, __ATOMIC_ACQUIRE);
    if (__builtin_expect(!rv__ref_fits(search->ref, search->version), 0)) {
        return -EAGAIN;
    }
    bool is_it =
        __atomic_load_n(&entry->key_length, __ATOMIC_RELAXED)
            == search->key_length
        && rv__equal(search->key, rv__entry_key(entry), search->key_length);
    bool is_sane = !is_it || copy_entry(search, entry);
    if (__builtin_expect(!is_unchanged(search, entry) || !is_sane, 0)) {
        return -EAGAIN;
    }
    return is_it ? 0 : NEXT;
}

static inline int
search_table(struct search *search, const struct rv__table *table)
{
    uint32_t tag = rv__hash_tag(search->hash);
    uint32_t home = (uint32_t)search->hash & table->mask;
    for (uint32_t d = 0; d < RV__DICT_PROBES && d <= table->mask; d++) {
        struct rv__bucket *bucket = &table->buckets[(home + d) & table->mask];
        uint32_t slots = rv__bucket_match(bucket, tag);
        for (; slots; slots &= slots - 1) {
            search->slot = &bucket->refs[__builtin_ctz(slots)];
            search->ref = __atomic_load_n(search->slot, __ATOMIC_ACQUIRE);
            int rc = read_entry(search);
            if (rc != NEXT) {
                return rc;
            }
        }
        if (__atomic_load_n(&bucket->n_passed, __ATOMIC_RELAXED) == 0) {
            break;
        }
    }
    return -ENOENT;
}

/* 0, -ENOENT, -EAGAIN. */
static inline int
try_read(struct search *search)
{
    struct rv__table table;
    search->table_word =
        __atomic_load_n(&search->shard->table, __ATOMIC_ACQUIRE);
    if (__builtin_expect(
            !rv__table_open(search->dict, search->table_word, &table), 0)) {
        return -EAGAIN;
    }
    int rc = table.buckets ? search_table(search, &table) : -ENOENT;
    if (rc == -ENOENT) {
        rv__load_fence();
        if (__atomic_load_n(&search->shard->table, __ATOMIC_RELAXED)
            != search->table_word) {
            return -EAGAIN;
        }
    }
    return rc;
}

/* The key changes faster than it is read, or the zone is damaged: goes on,
 * and takes the lock when nobody has it. */
static __attribute__((noinline)) int
read_patiently(struct search *search)
{
    struct rv_zone *zone = search->dict->zone;
    struct rv_lock *lock =
        &search->dict->shards[search->shard - search->dict->shards].lock;
    for (int i = 0; i < TRIES; i++) {
        int rc = try_read(search);
        if (rc != -EAGAIN) {
            return rc;
        }
        if (i >= PATIENT_TRIES && rv_tx_try_begin(zone, lock, 0) == 0) {
            rc = try_read(search);
            rv_tx_abort(zone);
            return rc == -EAGAIN ? -EUCLEAN : rc;
        }
    }
    return -EAGAIN;
}

/* Finds the key, dead or alive. */
static inline int
read_key(struct search *search, struct rv_dict *dict, const void *key,
         size_t key_length)
{
    struct rv__dict_op op;
    int rc = rv__op_init(&op, dict, key, key_length);
    if (__builtin_expect(rc, 0)) {
        return rc;
    }
    search->dict = dict;
    search->shard = op.shard;
    search->key = key;
    search->key_length = op.key_length;
    search->hash = op.hash;
    rc = try_read(search);
    return __builtin_expect(rc == -EAGAIN, 0) ? read_patiently(search) : rc;
}

static inline bool
is_dead(const struct search *search)
{
    return rv__is_flushed(search->shard, search->version)
           || rv__has_expired(search->dict, search->content.expires_ms);
}

/* So that the clock hand passes the entry by once. */
static inline void
touch(const struct search *search)
{
    if (__builtin_expect(!(search->ref & RV__REF_TOUCHED), 0)
        && search->dict->zone->tid) {
        uint64_t ref = search->ref;
        __atomic_compare_exchange_n(search->slot, &ref, ref | RV__REF_TOUCHED,
                                    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

static inline int
give(const struct search *search, struct rv_dict_value *value)
{
    if (search->content.type == RV__DICT_LIST) {
        return -EPROTOTYPE;
    }
    if (search->content.type == RV_DICT_BYTES
        && search->content.length > search->size) {
        value->length = search->content.length;
        return -EMSGSIZE;
    }
    rv__content_give(&search->content, search->buffer, value);
    return 0;
}

int
rv_dict_get(struct rv_dict *dict, const void *key, size_t key_length,
            void *buffer, size_t size, struct rv_dict_value *value)
{
    struct search search;
    search.buffer = buffer;
    search.size = size;
    int rc = read_key(&search, dict, key, key_length);
    if (!rc && is_dead(&search)) {
        rc = -ENOENT;
    }
    if (rc) {
        dict->n_misses++;
        return rc;
    }
    dict->n_hits++;
    touch(&search);
    return give(&search, value);
}

int
rv_dict_get_stale(struct rv_dict *dict, const void *key, size_t key_length,
                  void *buffer, size_t size, struct rv_dict_value *value,
                  bool *is_stalep)
{
    struct search search;
    search.buffer = buffer;
    search.size = size;
    int rc = read_key(&search, dict, key, key_length);
    if (rc) {
        dict->n_misses++;
        return rc;
    }
    dict->n_hits++;
    bool is_stale = is_dead(&search);
    if (!is_stale) {
        touch(&search);
    }
    rc = give(&search, value);
    if (!rc) {
        *is_stalep = is_stale;
    }
    return rc;
}

int
rv_dict_ttl(struct rv_dict *dict, const void *key, size_t key_length,
            int64_t *ttl_msp)
{
    struct search search;
    search.buffer = NULL;
    search.size = 0;
    int rc = read_key(&search, dict, key, key_length);
    if (rc) {
        return rc;
    }
    uint64_t expires_ms = search.content.expires_ms;
    int64_t left_ms =
        expires_ms ? (int64_t)expires_ms - dict->now_ms(dict->context) : 0;
    if (rv__is_flushed(search.shard, search.version)
        || (expires_ms && left_ms <= 0)) {
        return -ENOENT;
    }
    *ttl_msp = left_ms;
    return 0;
}

int
rv_dict_llen(struct rv_dict *dict, const void *key, size_t key_length,
             uint64_t *np)
{
    struct search search;
    search.buffer = NULL;
    search.size = 0;
    int rc = read_key(&search, dict, key, key_length);
    if (rc == -ENOENT || (!rc && is_dead(&search))) {
        *np = 0;
        return 0;
    }
    if (!rc && search.content.type != RV__DICT_LIST) {
        rc = -EPROTOTYPE;
    }
    if (!rc) {
        *np = search.content.number;
    }
    return rc;
}

/* -------------------------------------------------------------------- keys */

/* Copies of keys, each after its length. */
struct key_copies {
    char *memory;
    size_t n, capacity;
};

static int
grow_copies(struct key_copies *copies, size_t n)
{
    if (copies->capacity - copies->n >= n) {
        return 0;
    }
    size_t capacity = 2 * copies->capacity + n;
    char *memory = realloc(copies->memory, capacity);
    if (!memory) {
        return -ENOMEM;
    }
    copies->memory = memory;
    copies->capacity = capacity;
    return 0;
}

/* Adds the key behind 'slot', if there is one that lives.  -EAGAIN. */
static int
copy_key(struct search *search, struct key_copies *copies)
{
    const struct rv_dict *dict = search->dict;
    uint32_t length;
    search->ref = __atomic_load_n(search->slot, __ATOMIC_ACQUIRE);
    if (!search->ref) {
        return 0;
    }
    uint64_t offset = rv__ref_offset(search->ref);
    if (!rv__dict_is_inside(dict, offset, sizeof(struct rv__entry))) {
        return -EAGAIN;
    }
    struct rv__entry *entry = rv__dict_at(dict, offset);
    search->version = __atomic_load_n(&entry->version, __ATOMIC_ACQUIRE);
    length = __atomic_load_n(&entry->key_length, __ATOMIC_RELAXED);
    search->content.expires_ms =
        __atomic_load_n(&entry->expires_ms, __ATOMIC_RELAXED);
    if (!rv__ref_fits(search->ref, search->version)
        || !rv__dict_is_inside(dict, offset, sizeof *entry + length)) {
        return -EAGAIN;
    }
    int rc = grow_copies(copies, sizeof length + length);
    if (rc) {
        return rc;
    }
    char *to = copies->memory + copies->n;
    memcpy(to, &length, sizeof length);
    rv__copy(to + sizeof length, rv__entry_key(entry), length);
    if (!is_unchanged(search, entry)) {
        return -EAGAIN;
    }
    if (!is_dead(search)) {
        copies->n += sizeof length + length;
    }
    return 0;
}

static int
copy_slot(struct search *search, struct key_copies *copies)
{
    int rc = -EAGAIN;
    for (int i = 0; i < TRIES && rc == -EAGAIN; i++) {
        rc = copy_key(search, copies);
        if (rc == -EAGAIN
            && __atomic_load_n(&search->shard->table, __ATOMIC_RELAXED)
                   != search->table_word) {
            return rc;
        }
    }
    return rc == -EAGAIN ? -EUCLEAN : rc;
}

/* All keys of a shard, from one table.  -EAGAIN: it got another. */
static int
copy_shard(struct search *search, struct key_copies *copies)
{
    struct rv__table table;
    search->table_word =
        __atomic_load_n(&search->shard->table, __ATOMIC_ACQUIRE);
    copies->n = 0;
    if (!rv__table_open(search->dict, search->table_word, &table)) {
        return -EUCLEAN;
    }
    for (uint32_t b = 0; table.buckets && b <= table.mask; b++) {
        for (uint32_t i = 0; i < RV__DICT_SLOTS; i++) {
            search->slot = &table.buckets[b].refs[i];
            int rc = copy_slot(search, copies);
            if (rc) {
                return rc;
            }
        }
    }
    return __atomic_load_n(&search->shard->table, __ATOMIC_ACQUIRE)
                   == search->table_word
               ? 0
               : -EAGAIN;
}

static int
visit_copies(const struct key_copies *copies, uint64_t *leftp,
             int (*visit)(void *context, const void *key, size_t key_length),
             void *context)
{
    for (size_t at = 0; at < copies->n && *leftp;) {
        uint32_t length;
        memcpy(&length, copies->memory + at, sizeof length);
        at += sizeof length;
        int rc = visit(context, copies->memory + at, length);
        if (rc) {
            return rc;
        }
        at += length;
        --*leftp;
    }
    return 0;
}

int
rv_dict_keys(struct rv_dict *dict, uint64_t max,
             int (*visit)(void *context, const void *key, size_t key_length),
             void *context)
{
    struct key_copies copies = {.memory = NULL};
    uint64_t left = max ? max : UINT64_MAX;
    int rc = dict->zone->base ? 0 : -ECHILD;
    for (uint32_t i = 0; i <= dict->shard_mask && left && !rc; i++) {
        struct search search = {.dict = dict, .shard = &dict->shards[i]};
        rc = -EAGAIN;
        for (int n = 0; n < TRIES && rc == -EAGAIN; n++) {
            rc = copy_shard(&search, &copies);
        }
        rc = rc ? rc : visit_copies(&copies, &left, visit, context);
    }
    free(copies.memory);
    return rc;
}
