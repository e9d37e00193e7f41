/* The short way of a get.
 *
 * How many gets a second there are is decided by how many of them the
 * processor has under way while each waits for memory, and it has as many as
 * some 400 instructions hold.  So what nearly every get does is here, in as
 * few as possible: the first fitting reference of the key's own bucket is an
 * entry with the key, which lives, has a plain value, and does not change
 * meanwhile.  What begins or turns out otherwise begins anew in dict_read.c;
 * what is to be looked at, and why that is enough, says dict.h. */
#include "shm/dict.h"

#include <errno.h>

#include "base/siphash.h"

enum { LOOK_CLOSER = 1 };

/* One function, or it would take twice as long. */
#define RV_INLINE inline __attribute__((always_inline))

struct glance {
    struct rv__sight sight;
    struct rv__entry *entry;
    uint64_t room; /* Bytes that it may have. */
};

/* Copies values of the usual sizes without a call. */
static RV_INLINE void
copy_value(char *to, const char *from, size_t n)
{
#ifndef RV__WATCHED
    enum { HALF = 32 };
    if (n - HALF <= HALF) { /* As two halves, which overlap. */
        memcpy(to, from, HALF);
        memcpy(to + n - HALF, from + n - HALF, HALF);
        return;
    }
#endif
    rv__copy(to, from, n);
}

/* The bucket of a hash; NULL: look closer.  The offset of a table that can be
 * has zeros where this one's lowest bits are left out. */
static RV_INLINE struct rv__bucket *
find_bucket(const struct rv_dict *dict, uint64_t hash, struct glance *glance)
{
    glance->sight.shard = &dict->shards[rv__shard_index(dict, hash)];
    uint64_t word =
        __atomic_load_n(&glance->sight.shard->table, __ATOMIC_ACQUIRE);
    glance->sight.table_word = word;
    uint32_t log = (uint32_t)word & 0xffff;
    if (__builtin_expect(log > RV__DICT_LOG_MAX, 0)) {
        return NULL;
    }
    uint32_t index = (uint32_t)hash & ((1U << log) - 1);
    uint64_t offset = ((word >> 34) + index) * sizeof(struct rv__bucket);
    if (__builtin_expect(offset - dict->zone->heap >= dict->zone->n_heap, 0)) {
        return NULL;
    }
    return rv__dict_at(dict, offset);
}

/* Finds the entry of the first reference in 'slots' of a bucket, if it has the
 * key.  False: look closer. */
static RV_INLINE bool
find_entry(const struct rv_dict *dict, struct rv__bucket *bucket,
           uint32_t slots, const void *key, size_t key_length,
           struct glance *glance)
{
    glance->sight.slot = &bucket->refs[__builtin_ctz(slots)];
    glance->sight.ref = __atomic_load_n(glance->sight.slot, __ATOMIC_ACQUIRE);
    uint64_t offset = rv__ref_offset(glance->sight.ref);
    glance->room = rv__dict_room(dict, offset);
    if (__builtin_expect(glance->room < sizeof(struct rv__entry) + key_length,
                         0)) {
        return false;
    }
    struct rv__entry *entry = rv__dict_at(dict, offset);
    glance->entry = entry;
    glance->sight.version = __atomic_load_n(&entry->version, __ATOMIC_ACQUIRE);
    return rv__ref_fits(glance->sight.ref, glance->sight.version)
           && __atomic_load_n(&entry->key_length, __ATOMIC_RELAXED)
                  == key_length
           && rv__equal(key, rv__entry_key(entry), key_length);
}

/* What the entry holds goes to 'content', and its bytes to 'buffer', before
 * it is known that it counts.  False: look closer. */
static RV_INLINE bool
copy_content(const struct glance *glance, size_t key_length, void *buffer,
             size_t size, struct rv__content *content)
{
    struct rv__entry *entry = glance->entry;
    *content = (struct rv__content){
        .type = __atomic_load_n(&entry->type, __ATOMIC_RELAXED),
        .flags = __atomic_load_n(&entry->flags, __ATOMIC_RELAXED),
        .expires_ms = __atomic_load_n(&entry->expires_ms, __ATOMIC_RELAXED)};
    if (content->type != RV_DICT_BYTES) {
        content->number = __atomic_load_n(&entry->number, __ATOMIC_RELAXED);
        return content->type <= RV_DICT_BOOLEAN;
    }
    uint32_t length = __atomic_load_n(&entry->length, __ATOMIC_RELAXED);
    if (__builtin_expect(length > size
                             || sizeof *entry + key_length + length
                                    > glance->room,
                         0)) {
        return false;
    }
    content->length = length;
    copy_value(buffer, rv__entry_key(entry) + key_length, length);
    return true;
}

/* That a bucket has no reference of this kind, and none went on from it, is
 * all there is to know of a key that is not there. */
static RV_INLINE int
miss(const struct rv__bucket *bucket, const struct glance *glance)
{
    if (__atomic_load_n(&bucket->n_passed, __ATOMIC_RELAXED)) {
        return LOOK_CLOSER;
    }
    rv__load_fence();
    uint64_t word =
        __atomic_load_n(&glance->sight.shard->table, __ATOMIC_RELAXED);
    return word == glance->sight.table_word ? -ENOENT : LOOK_CLOSER;
}

static RV_INLINE int
look(const struct rv_dict *dict, const void *key, size_t key_length,
     uint64_t hash, void *buffer, size_t size, struct rv_dict_value *value)
{
    struct glance glance;
    struct rv__content content;
    struct rv__bucket *bucket = find_bucket(dict, hash, &glance);
    if (__builtin_expect(!bucket, 0)) {
        return LOOK_CLOSER;
    }
    uint32_t slots = rv__bucket_match(bucket, rv__hash_tag(hash));
    if (!slots) {
        return miss(bucket, &glance);
    }
    if (!find_entry(dict, bucket, slots, key, key_length, &glance)
        || !copy_content(&glance, key_length, buffer, size, &content)
        || __builtin_expect(!rv__sight_counts(&glance.sight, glance.entry), 0)
        || rv__is_flushed(glance.sight.shard, glance.sight.version)
        || (content.expires_ms && rv__has_expired(dict, content.expires_ms))) {
        return LOOK_CLOSER;
    }
    if (__builtin_expect(!(glance.sight.ref & RV__REF_TOUCHED), 0)) {
        rv__dict_touch(dict, glance.sight.slot, glance.sight.ref);
    }
    rv__content_give(&content, buffer, value);
    return 0;
}

static RV_INLINE int
get(struct rv_dict *dict, const void *key, size_t key_length, uint64_t hash,
    void *buffer, size_t size, struct rv_dict_value *value)
{
    int rc = look(dict, key, key_length, hash, buffer, size, value);
    if (__builtin_expect(rc == LOOK_CLOSER, 0)) {
        return rv__dict_get_patiently(dict, key, key_length, buffer, size,
                                      value);
    }
    dict->n_hits += rc == 0;
    dict->n_misses += rc != 0;
    return rc;
}

int
rv__dict_get_hashed(struct rv_dict *dict, const void *key, size_t key_length,
                    uint64_t hash, void *buffer, size_t size,
                    struct rv_dict_value *value)
{
    return get(dict, key, key_length, hash, buffer, size, value);
}

int
rv_dict_get(struct rv_dict *dict, const void *key, size_t key_length,
            void *buffer, size_t size, struct rv_dict_value *value)
{
    if (__builtin_expect(!rv__dict_can_get(dict, key_length), 0)) {
        return rv__dict_get_patiently(dict, key, key_length, buffer, size,
                                      value);
    }
    uint64_t hash = rv_siphash13(dict->hash_key, key, key_length);
    return get(dict, key, key_length, hash, buffer, size, value);
}
