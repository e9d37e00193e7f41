/* Reading without locks; dict.h says why that works. */
#include "shm/dict.h"

#include <errno.h>
#include <stdlib.h>

#include "base/siphash.h"

enum {
    NEXT = 1, /* It is not this entry. */
    PATIENT_TRIES = 32,
    TRIES = 10000,
};

/* What a reader looks for, and what it found. */
struct search {
    struct rv_dict *dict;
    struct rv__sight sight;
    const void *key;
    uint32_t key_length;
    uint64_t hash;
    char *buffer;
    size_t size;

    /* Of the entry. */
    uint8_t type;
    uint32_t flags;
    uint32_t length;
    uint64_t number;
    uint64_t expires_ms;
};

/* Copies what is wanted of an entry, which has 'room' bytes at most.  False:
 * it says it has more. */
static bool
copy_entry(struct search *search, struct rv__entry *entry, uint64_t room)
{
    search->type = __atomic_load_n(&entry->type, __ATOMIC_RELAXED);
    search->flags = __atomic_load_n(&entry->flags, __ATOMIC_RELAXED);
    search->length = __atomic_load_n(&entry->length, __ATOMIC_RELAXED);
    search->number = __atomic_load_n(&entry->number, __ATOMIC_RELAXED);
    search->expires_ms = __atomic_load_n(&entry->expires_ms, __ATOMIC_RELAXED);
    if (search->type == RV_DICT_BYTES && search->length <= search->size) {
        uint64_t begin = sizeof *entry + search->key_length;
        if (__builtin_expect(begin + search->length > room, 0)) {
            return false;
        }
        rv__copy(search->buffer, (char *)entry + begin, search->length);
    }
    return true;
}

/* What becomes of an entry that ends beyond the heap, with this key, as far
 * as it is known: a larger heap shall be noticed, and one too near to the end
 * may be right, but is another's. */
static int
read_beyond(const struct rv_dict *dict, uint64_t offset)
{
    uint64_t before = rv__dict_room(dict, offset);
    rv__zone_refresh_size(dict->zone);
    uint64_t room = rv__dict_room(dict, offset);
    return room == before && room >= sizeof(struct rv__entry) ? NEXT : -EAGAIN;
}

/* Reads the entry that may be the one.  0, NEXT, or -EAGAIN: it changed, or
 * is none. */
static int
read_entry(struct search *search)
{
    const struct rv_dict *dict = search->dict;
    uint64_t offset = rv__ref_offset(search->sight.ref);
    uint64_t room = rv__dict_room(dict, offset);
    if (__builtin_expect(sizeof(struct rv__entry) + search->key_length > room,
                         0)) {
        return read_beyond(dict, offset);
    }
    struct rv__entry *entry = rv__dict_at(dict, offset);
    search->sight.version = __atomic_load_n(&entry->version, __ATOMIC_ACQUIRE);
    if (__builtin_expect(
            !rv__ref_fits(search->sight.ref, search->sight.version), 0)) {
        return -EAGAIN;
    }
    bool is_it =
        __atomic_load_n(&entry->key_length, __ATOMIC_RELAXED)
            == search->key_length
        && rv__equal(search->key, rv__entry_key(entry), search->key_length);
    bool is_sane = !is_it || copy_entry(search, entry, room);
    if (__builtin_expect(!rv__sight_counts(&search->sight, entry) || !is_sane,
                         0)) {
        return -EAGAIN;
    }
    return is_it ? 0 : NEXT;
}

static int
search_table(struct search *search, const struct rv__table *table)
{
    uint32_t tag = rv__hash_tag(search->hash);
    uint32_t home = (uint32_t)search->hash & table->mask;
    for (uint32_t d = 0; d < RV__DICT_PROBES && d <= table->mask; d++) {
        struct rv__bucket *bucket = &table->buckets[(home + d) & table->mask];
        uint32_t slots = rv__bucket_match(bucket, tag);
        for (; slots; slots &= slots - 1) {
            search->sight.slot = &bucket->refs[__builtin_ctz(slots)];
            search->sight.ref =
                __atomic_load_n(search->sight.slot, __ATOMIC_ACQUIRE);
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
static int
try_read(struct search *search)
{
    struct rv__table table;
    search->sight.table_word =
        __atomic_load_n(&search->sight.shard->table, __ATOMIC_ACQUIRE);
    if (__builtin_expect(
            !rv__table_open(search->dict, search->sight.table_word, &table),
            0)) {
        return -EAGAIN;
    }
    int rc = table.buckets ? search_table(search, &table) : -ENOENT;
    if (rc == -ENOENT) {
        rv__load_fence();
        if (__atomic_load_n(&search->sight.shard->table, __ATOMIC_RELAXED)
            != search->sight.table_word) {
            return -EAGAIN;
        }
    }
    return rc;
}

/* Where the key changes faster than it is read, or the zone is damaged: goes
 * on, and takes the lock when nobody has it. */
static int
read_patiently(struct search *search)
{
    struct rv_zone *zone = search->dict->zone;
    struct rv_lock *lock =
        &search->dict->shards[search->sight.shard - search->dict->shards].lock;
    for (int i = 0; i < TRIES; i++) {
        int rc = try_read(search);
        if (rc != -EAGAIN) {
            return rc;
        }
        rv__zone_refresh_size(zone); /* Perhaps the entry ends beyond it. */
        if (i >= PATIENT_TRIES && rv_tx_try_begin(zone, lock, 0) == 0) {
            rc = try_read(search);
            rv_tx_abort(zone);
            return rc == -EAGAIN ? -EUCLEAN : rc;
        }
    }
    return -EAGAIN;
}

/* Why nothing can be read. */
static inline int
refusal(const struct rv_dict *dict)
{
    return dict->zone->base ? -E2BIG : -ECHILD;
}

static void
search_init(struct search *search, struct rv_dict *dict, const void *key,
            size_t key_length, uint64_t hash, void *buffer, size_t size)
{
    *search = (struct search){
        .dict = dict,
        .sight.shard = &dict->shards[rv__shard_index(dict, hash)],
        .key = key,
        .key_length = (uint32_t)key_length,
        .hash = hash,
        .buffer = buffer,
        .size = size,
    };
}

/* Finds a key, dead or alive; its value goes to 'buffer' if it fits. */
static int
read_key(struct search *search, struct rv_dict *dict, const void *key,
         size_t key_length, void *buffer, size_t size)
{
    if (!rv__dict_can_get(dict, key_length)) {
        return refusal(dict);
    }
    search_init(search, dict, key, key_length,
                rv_siphash13(dict->hash_key, key, key_length), buffer, size);
    return read_patiently(search);
}

static inline bool
is_dead(const struct search *search)
{
    return rv__is_flushed(search->sight.shard, search->sight.version)
           || rv__has_expired(search->dict, search->expires_ms);
}

void
rv__dict_touch(const struct rv_dict *dict, uint64_t *slot, uint64_t ref)
{
    if (!(ref & RV__REF_TOUCHED) && dict->zone->tid) {
        __atomic_compare_exchange_n(slot, &ref, ref | RV__REF_TOUCHED, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

static inline int
give(const struct search *search, struct rv_dict_value *value)
{
    if (__builtin_expect(search->type == RV__DICT_LIST, 0)) {
        return -EPROTOTYPE;
    }
    if (search->type == RV_DICT_BYTES) {
        if (__builtin_expect(search->length > search->size, 0)) {
            value->length = search->length;
            return -EMSGSIZE;
        }
        *value = (struct rv_dict_value){.type = RV_DICT_BYTES,
                                        .flags = search->flags,
                                        .bytes = search->buffer,
                                        .length = search->length};
        return 0;
    }
    struct rv__content content = {.type = search->type,
                                  .flags = search->flags,
                                  .number = search->number};
    rv__content_give(&content, NULL, value);
    return 0;
}

int
rv__dict_get_patiently(struct rv_dict *dict, const void *key,
                       size_t key_length, void *buffer, size_t size,
                       struct rv_dict_value *value)
{
    struct search search;
    int rc = read_key(&search, dict, key, key_length, buffer, size);
    if (!rc && is_dead(&search)) {
        rc = -ENOENT;
    }
    if (rc) {
        dict->n_misses++;
        return rc;
    }
    dict->n_hits++;
    rv__dict_touch(dict, search.sight.slot, search.sight.ref);
    return give(&search, value);
}

int
rv_dict_get_stale(struct rv_dict *dict, const void *key, size_t key_length,
                  void *buffer, size_t size, struct rv_dict_value *value,
                  bool *is_stalep)
{
    struct search search;
    int rc = read_key(&search, dict, key, key_length, buffer, size);
    if (rc) {
        dict->n_misses++;
        return rc;
    }
    dict->n_hits++;
    bool is_stale = is_dead(&search);
    if (!is_stale) {
        rv__dict_touch(dict, search.sight.slot, search.sight.ref);
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
    char unwanted; /* The value, of which nothing is copied. */
    int rc = read_key(&search, dict, key, key_length, &unwanted, 0);
    if (rc) {
        return rc;
    }
    uint64_t expires_ms = search.expires_ms;
    int64_t left_ms =
        expires_ms
            ? (int64_t)(expires_ms - (uint64_t)dict->now_ms(dict->context))
            : 0;
    if (rv__is_flushed(search.sight.shard, search.sight.version)
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
    char unwanted; /* The value, of which nothing is copied. */
    int rc = read_key(&search, dict, key, key_length, &unwanted, 0);
    if (rc == -ENOENT || (!rc && is_dead(&search))) {
        *np = 0;
        return 0;
    }
    if (!rc && search.type != RV__DICT_LIST) {
        rc = -EPROTOTYPE;
    }
    if (!rc) {
        *np = search.number;
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
    if (copies->memory && copies->capacity - copies->n >= n) {
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
    search->sight.ref = __atomic_load_n(search->sight.slot, __ATOMIC_ACQUIRE);
    if (!search->sight.ref) {
        return 0;
    }
    uint64_t offset = rv__ref_offset(search->sight.ref);
    if (!rv__dict_is_inside(dict, offset, sizeof(struct rv__entry))) {
        return -EAGAIN;
    }
    struct rv__entry *entry = rv__dict_at(dict, offset);
    search->sight.version = __atomic_load_n(&entry->version, __ATOMIC_ACQUIRE);
    length = __atomic_load_n(&entry->key_length, __ATOMIC_RELAXED);
    search->expires_ms = __atomic_load_n(&entry->expires_ms, __ATOMIC_RELAXED);
    if (!rv__ref_fits(search->sight.ref, search->sight.version)
        || !rv__dict_is_inside(dict, offset, sizeof *entry + length)) {
        return -EAGAIN;
    }
    /* More than the heap has, by far, comes of references to one entry. */
    int rc = copies->n / 2 > dict->zone->n_heap
                 ? -EUCLEAN
                 : grow_copies(copies, sizeof length + length);
    if (rc) {
        return rc;
    }
    char *to = copies->memory + copies->n;
    memcpy(to, &length, sizeof length);
    rv__copy(to + sizeof length, rv__entry_key(entry), length);
    if (!rv__sight_counts(&search->sight, entry)) {
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
            && __atomic_load_n(&search->sight.shard->table, __ATOMIC_RELAXED)
                   != search->sight.table_word) {
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
    search->sight.table_word =
        __atomic_load_n(&search->sight.shard->table, __ATOMIC_ACQUIRE);
    copies->n = 0;
    if (!rv__table_open(search->dict, search->sight.table_word, &table)) {
        return -EUCLEAN;
    }
    for (uint32_t b = 0; table.buckets && b <= table.mask; b++) {
        for (uint32_t i = 0; i < RV__DICT_SLOTS; i++) {
            search->sight.slot = table.buckets[b].refs + i;
            int rc = copy_slot(search, copies);
            if (rc) {
                return rc;
            }
        }
    }
    return __atomic_load_n(&search->sight.shard->table, __ATOMIC_ACQUIRE)
                   == search->sight.table_word
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
        struct search search = {.dict = dict, .sight.shard = &dict->shards[i]};
        rc = -EAGAIN;
        for (int n = 0; n < TRIES && rc == -EAGAIN; n++) {
            rc = copy_shard(&search, &copies);
        }
        rc = rc ? rc : visit_copies(&copies, &left, visit, context);
    }
    free(copies.memory);
    return rc;
}
