/* What a dict keeps in the zone, and what its files share.
 *
 * Room: shm.  Blocks: for the locks of shards, where it says so.
 *
 *     root: magic, hash key, shards
 *       shard: lock | table, floor | counters          a cache line each
 *         table: buckets of 7 references, a cache line each
 *           reference: where | tag of the hash | sequence | touched
 *             entry: version, expiry, number, ..., key, value
 *               list entry: first and last node
 *
 * A reader takes no lock.  It finds a reference whose tag fits, reads the
 * entry, and then looks whether the table, the reference and the version in
 * the entry are still what they were; if not it begins again.  So:
 *
 * - One store of a reference shows, replaces or removes an entry, one store
 *   of a shard's 'table' replaces all its references.
 * - Versions are never used twice in a shard, not even after a death: their
 *   counter is not undone.  A reference and a table carry the low bits of one
 *   as their sequence.
 * - A fresh entry's version is 0 until all else of it is written.
 * - A reader follows no offset out of the heap, and writes nothing but the
 *   'touched' bit, by a compare and exchange of the whole reference: were the
 *   table freed meanwhile, what lies there is not that reference, or is
 *   nobody's.
 *
 * The clock hand of a shard takes the touched bits away; what it finds
 * without is evicted.
 */
#ifndef RV_SHM_DICT_H
#define RV_SHM_DICT_H

#include <string.h>
#ifdef __SSE2__
#  include <emmintrin.h>
#endif

#include "reeve/dict.h"
#include "reeve/slab.h"
#include "shm/limbo.h"
#include "shm/log.h"

/* Late readers read what others write by then, and throw it away.  For tools
 * that watch races these accesses are atomic ones. */
#if defined(__SANITIZE_THREAD__)
#  define RV__WATCHED 1
#elif defined(__has_feature)
#  if __has_feature(thread_sanitizer)
#    define RV__WATCHED 1
#  endif
#endif

#define RV__DICT_TYPE  UINT64_C(0x0131746369647672) /* "rvdict1", version 1 */
#define RV__NEVER_TTL  INT64_MAX
#define RV__NOT_A_TYPE 0

enum {
    RV__DICT_LIST = RV_DICT_BOOLEAN + 1, /* The one more type of entries. */
    RV__DICT_SLOTS = 7,
    RV__DICT_PROBES = 16, /* Buckets that an entry can be in. */
    RV__DICT_FREES = 32,  /* That each transaction may make. */
    RV__DICT_LOG_MAX = 26,
    RV__SHARD_BITS = 12,
    RV__SHARDS_MIN = 16,
    /* Words that removing an entry may take: the reference, the marks of the
     * buckets it passed, three counters, two for a list's nodes, the free. */
    RV__UNLINK_WORDS = 1 + RV__DICT_PROBES + 3 + 2 + RV_SLAB_WORDS,
};

/* 'n_passed' entries were put into later buckets, because this one, which
 * they belong to or came by, was full: a search that comes here goes on. */
struct rv__bucket {
    uint64_t refs[RV__DICT_SLOTS];
    uint32_t n_passed;
    uint32_t reserved;
};

struct rv__shard {
    struct rv_lock lock;

    /* For readers, and seldom written. */
    uint64_t table; /* Offset / 16 << 32 | sequence << 16 | log2(buckets). */
    uint64_t floor; /* Entries of versions up to this were flushed. */
    uint64_t reserved[6];

    /* Under the lock.  Not undone: versions, hands, statistics. */
    uint64_t versions; /* So many were used. */
    uint64_t garbage;  /* Nodes of lists that are no more. */
    uint32_t n_entries;
    uint32_t n_mortal;  /* Entries that expire some day. */
    uint32_t n_flushed; /* Entries up to the floor. */
    uint32_t hand;      /* Slot where eviction goes on. */
    uint32_t sweep;     /* Bucket where the search for the expired does. */
    uint32_t reserved_32;
    uint64_t n_evicted;
    uint64_t n_expired;
    uint64_t reserved_64;
};

struct rv__dict_root {
    uint64_t magic;
    uint64_t hash_key[2];
    uint32_t n_shards;
    uint32_t reserved[9];
    struct rv__shard shards[];
};

struct rv__entry {
    uint64_t version;    /* Counter << 12 | shard; 0: not yet an entry. */
    uint64_t expires_ms; /* 0: never. */
    uint64_t number;     /* Integer, bits of a double, truth, list's length. */
    uint32_t hash;       /* Its low half. */
    uint32_t flags;
    uint32_t length; /* Of the value's bytes. */
    uint16_t key_length;
    uint8_t type;
    uint8_t reserved;
    /* The key follows, then the value; of a list, its ends, aligned. */
};

/* The ends of a list, and the links of its nodes: offsets, 0: none. */
struct rv__ends {
    uint64_t first, last;
};

struct rv__node {
    uint64_t next, previous;
    uint64_t number;
    uint32_t length;
    uint8_t type;
    uint8_t reserved[3];
    /* Bytes follow. */
};

_Static_assert(sizeof(struct rv__bucket) == 64, "a cache line");
_Static_assert(sizeof(struct rv__shard) == 192, "three cache lines");
_Static_assert(sizeof(struct rv__dict_root) == 64, "shards are aligned");
_Static_assert(sizeof(struct rv__entry) == 40, "layout");
_Static_assert(sizeof(struct rv__node) == 32, "layout");

struct rv_dict {
    struct rv_zone *zone;
    struct rv__shard *shards;
    uint64_t root; /* Offset. */
    uint64_t hash_key[2];
    uint32_t shard_mask;
    int64_t (*now_ms)(void *context);
    void *context;
    uint64_t n_hits, n_misses;
};

/* Makes 'dict' a handle of the dict 'name' without allocating, and without a
 * lock; as rv_dict_open.  Nothing is to be closed. */
int rv__dict_find(struct rv_zone *zone, const char *name,
                  struct rv_dict *dict);

/* As rv_dict_check, and sums up what the dict has of the slab. */
int rv__dict_audit(const struct rv_dict *dict, uint64_t *bytesp,
                   struct rv_error *error);

/* ------------------------------------------------------------------ places */

/* How many bytes of the heap, as large as it was when last asked, there are
 * from 'offset' on; 0: that is not in it. */
static inline uint64_t
rv__dict_room(const struct rv_dict *dict, uint64_t offset)
{
    uint64_t at = offset - dict->zone->heap;
    return at < dict->zone->n_heap ? dict->zone->n_heap - at : 0;
}

/* Whether 'n' bytes at 'offset' lie in the heap. */
static inline bool
rv__dict_is_inside(const struct rv_dict *dict, uint64_t offset, uint64_t n)
{
    if (__builtin_expect(n - 1 < rv__dict_room(dict, offset), 1)) {
        return true;
    }
    rv__zone_refresh_size(dict->zone);
    return n <= rv__dict_room(dict, offset);
}

static inline void *
rv__dict_at(const struct rv_dict *dict, uint64_t offset)
{
    return dict->zone->base + offset;
}

struct rv__table {
    struct rv__bucket *buckets; /* NULL: there is none. */
    uint32_t mask;
};

/* The table that a shard's word names.  False: none can be there. */
static inline bool
rv__table_open(const struct rv_dict *dict, uint64_t word,
               struct rv__table *table)
{
    uint64_t offset = word >> 32 << 4;
    uint32_t log = (uint32_t)word & 0xffff;
    table->buckets = NULL;
    table->mask = 0;
    if (word == 0) {
        return true;
    }
    if (log > RV__DICT_LOG_MAX || offset % sizeof(struct rv__bucket) != 0
        || !rv__dict_is_inside(dict, offset,
                               sizeof(struct rv__bucket) << log)) {
        return false;
    }
    table->buckets = rv__dict_at(dict, offset);
    table->mask = (1U << log) - 1;
    return true;
}

/* Whether a key of this length can be looked for: not when it is too long, or
 * in a child of fork(2). */
static inline bool
rv__dict_can_get(const struct rv_dict *dict, size_t key_length)
{
    return key_length <= RV_DICT_KEY_MAX_BYTES && dict->zone->base;
}

/* As rv_dict_get, of a key that can be looked for, and whose hash is known. */
int rv__dict_get_hashed(struct rv_dict *dict, const void *key,
                        size_t key_length, uint64_t hash, void *buffer,
                        size_t size, struct rv_dict_value *value);

/* Has the clock hand pass the entry behind 'slot' by once, if that still is
 * 'ref'. */
void rv__dict_touch(const struct rv_dict *dict, uint64_t *slot, uint64_t ref);

/* As rv_dict_get, for whatever there is and happens. */
int rv__dict_get_patiently(struct rv_dict *dict, const void *key,
                           size_t key_length, void *buffer, size_t size,
                           struct rv_dict_value *value);

/* ------------------------------------------------------------- references */

enum { RV__REF_TOUCHED = 1, RV__REF_TAG_SHIFT = 17, RV__REF_UNIT_SHIFT = 32 };

static inline uint32_t
rv__ref_tag(uint64_t ref)
{
    return (uint32_t)ref >> RV__REF_TAG_SHIFT;
}

/* The slots of a bucket whose references carry 'tag', a bit each.  Without a
 * branch, for which slot it is cannot be predicted, and what follows a wrong
 * prediction does not begin before the bucket has come from memory.  It is a
 * hint: who follows a slot loads its reference anew. */
#if defined(__SSE2__) && !defined(RV__WATCHED)
static inline uint32_t
rv__bucket_match(const struct rv__bucket *bucket, uint32_t tag)
{
    const __m128 *pairs = (const __m128 *)(const void *)bucket;
    enum { EVEN = _MM_SHUFFLE(2, 0, 2, 0) }; /* The low halves of two pairs */
    __m128 low = _mm_shuffle_ps(pairs[0], pairs[1], EVEN); /* of references. */
    __m128 high = _mm_shuffle_ps(pairs[2], pairs[3], EVEN);
    __m128i wanted = _mm_set1_epi32((int)tag);
    __m128i is_low = _mm_cmpeq_epi32(
        _mm_srli_epi32(_mm_castps_si128(low), RV__REF_TAG_SHIFT), wanted);
    __m128i is_high = _mm_cmpeq_epi32(
        _mm_srli_epi32(_mm_castps_si128(high), RV__REF_TAG_SHIFT), wanted);
    int bytes = _mm_movemask_epi8(_mm_packs_epi16(
        _mm_packs_epi32(is_low, is_high), _mm_setzero_si128()));
    return (uint32_t)bytes & ((1U << RV__DICT_SLOTS) - 1);
}
#else
static inline uint32_t
rv__bucket_match(const struct rv__bucket *bucket, uint32_t tag)
{
    uint32_t slots = 0;
#  pragma GCC unroll 7
    for (uint32_t i = 0; i < RV__DICT_SLOTS; i++) {
        uint64_t ref = __atomic_load_n(&bucket->refs[i], __ATOMIC_RELAXED);
        slots |= (uint32_t)(rv__ref_tag(ref) == tag) << i;
    }
    return slots;
}
#endif

static inline uint64_t
rv__ref_offset(uint64_t ref)
{
    return ref >> RV__REF_UNIT_SHIFT << 4;
}

/* Whether an entry of this version can be behind 'ref'. */
static inline bool
rv__ref_fits(uint64_t ref, uint64_t version)
{
    return version
           && ((version >> RV__SHARD_BITS) & 0xffff) == ((ref >> 1) & 0xffff);
}

/* 15 bits, never 0, that neither choose the shard nor the bucket. */
static inline uint32_t
rv__hash_tag(uint64_t hash)
{
    uint32_t tag = (uint32_t)(hash >> 32) & 0x7fff;
    return tag ? tag : 1;
}

static inline uint64_t
rv__ref_make(uint64_t offset, uint64_t hash, uint64_t version)
{
    return offset >> 4 << RV__REF_UNIT_SHIFT
           | (uint64_t)rv__hash_tag(hash) << RV__REF_TAG_SHIFT
           | ((version >> RV__SHARD_BITS) & 0xffff) << 1 | RV__REF_TOUCHED;
}

static inline uint32_t
rv__shard_index(const struct rv_dict *dict, uint64_t hash)
{
    return (uint32_t)(hash >> (64 - RV__SHARD_BITS)) & dict->shard_mask;
}

/* ----------------------------------------------------------------- entries */

static inline char *
rv__entry_key(struct rv__entry *entry)
{
    return (char *)(entry + 1);
}

static inline char *
rv__entry_bytes(struct rv__entry *entry)
{
    return (char *)(entry + 1) + entry->key_length;
}

static inline uint64_t
rv__ends_at(uint32_t key_length)
{
    return (sizeof(struct rv__entry) + key_length + 7) & ~UINT64_C(7);
}

static inline struct rv__ends *
rv__entry_ends(struct rv__entry *entry)
{
    char *at = (char *)entry + rv__ends_at(entry->key_length);
    return (struct rv__ends *)(void *)at;
}

static inline size_t
rv__entry_size(uint8_t type, uint32_t key_length, uint32_t length)
{
    return type == RV__DICT_LIST
               ? rv__ends_at(key_length) + sizeof(struct rv__ends)
               : sizeof(struct rv__entry) + key_length + length;
}

/* The entry behind a reference; NULL where none can be. */
static inline struct rv__entry *
rv__entry_at(const struct rv_dict *dict, uint64_t ref)
{
    uint64_t offset = rv__ref_offset(ref);
    if (__builtin_expect(
            !rv__dict_is_inside(dict, offset, sizeof(struct rv__entry)), 0)) {
        return NULL;
    }
    struct rv__entry *entry = rv__dict_at(dict, offset);
    return rv__dict_is_inside(
               dict, offset,
               rv__entry_size(entry->type, entry->key_length, entry->length))
               ? entry
               : NULL;
}

static inline bool
rv__is_flushed(const struct rv__shard *shard, uint64_t version)
{
    return version >> RV__SHARD_BITS
           <= __atomic_load_n(&shard->floor, __ATOMIC_RELAXED);
}

static inline bool
rv__has_expired(const struct rv_dict *dict, uint64_t expires_ms)
{
    return expires_ms && expires_ms <= (uint64_t)dict->now_ms(dict->context);
}

static inline bool
rv__entry_is_dead(const struct rv_dict *dict, const struct rv__shard *shard,
                  const struct rv__entry *entry)
{
    return rv__is_flushed(shard, entry->version)
           || rv__has_expired(dict, entry->expires_ms);
}

/* When what begins to live now ends; 0: never. */
static inline uint64_t
rv__end_of_life(const struct rv_dict *dict, int64_t ttl_ms)
{
    if (ttl_ms == 0) {
        return 0;
    }
    int64_t now_ms = dict->now_ms(dict->context);
    return ttl_ms > INT64_MAX - now_ms ? 0 : (uint64_t)(now_ms + ttl_ms);
}

/* ------------------------------------------- memory that changes underneath */

/* Loads stay on their side of it. */
static inline void
rv__load_fence(void)
{
#ifdef RV__WATCHED
    rv__barrier(); /* Such tools know no fences. */
#else
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

/* Stores stay on their side of it. */
static inline void
rv__store_fence(void)
{
#ifdef RV__WATCHED
    rv__barrier();
#else
    __atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

#ifdef RV__WATCHED
static inline void
rv__copy(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n;) {
        char *d = (char *)to + i;
        const char *s = (const char *)from + i;
        if (n - i >= 8 && ((uintptr_t)d & 7) == 0 && ((uintptr_t)s & 7) == 0) {
            uint64_t word = __atomic_load_n((const uint64_t *)(const void *)s,
                                            __ATOMIC_RELAXED);
            __atomic_store_n((uint64_t *)(void *)d, word, __ATOMIC_RELAXED);
            i += 8;
        } else {
            __atomic_store_n(d, __atomic_load_n(s, __ATOMIC_RELAXED),
                             __ATOMIC_RELAXED);
            i++;
        }
    }
}

static inline bool
rv__equal(const void *mine, const void *shared, size_t n)
{
    const char *a = mine;
    const char *b = shared;
    for (size_t i = 0; i < n; i++) {
        if (a[i] != __atomic_load_n(b + i, __ATOMIC_RELAXED)) {
            return false;
        }
    }
    return true;
}

static inline void
rv__clear(void *words, size_t n)
{
    for (size_t i = 0; i < n / 8; i++) {
        __atomic_store_n((uint64_t *)words + i, 0, __ATOMIC_RELAXED);
    }
}
#else
static inline void
rv__copy(void *to, const void *from, size_t n)
{
    if (n) { /* Of nothing the place may be NULL. */
        memcpy(to, from, n);
    }
}

/* Short ones, as most keys are, without a call. */
static inline bool
rv__equal(const void *mine, const void *shared, size_t n)
{
    uint64_t a[2], b[2];
    if (n - sizeof *a > sizeof *a) {
        return n == 0 || memcmp(mine, shared, n) == 0;
    }
    memcpy(a, mine, sizeof *a);
    memcpy(b, shared, sizeof *b);
    memcpy(a + 1, (const char *)mine + n - sizeof *a, sizeof *a);
    memcpy(b + 1, (const char *)shared + n - sizeof *b, sizeof *b);
    return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
}

/* Zeroes 'n' bytes, whole words. */
static inline void
rv__clear(void *words, size_t n)
{
    memset(words, 0, n);
}
#endif

/* Where a reader found an entry, which counts if it is still there. */
struct rv__sight {
    const struct rv__shard *shard;
    uint64_t table_word;
    uint64_t *slot;
    uint64_t ref;
    uint64_t version;
};

/* Whether all that was read since the version was, is of one entry, which is
 * in the dict. */
static inline bool
rv__sight_counts(const struct rv__sight *sight, const struct rv__entry *entry)
{
    rv__load_fence();
    uint64_t word = __atomic_load_n(&sight->shard->table, __ATOMIC_RELAXED);
    uint64_t ref = __atomic_load_n(sight->slot, __ATOMIC_RELAXED);
    rv__load_fence();
    uint64_t version = __atomic_load_n(&entry->version, __ATOMIC_RELAXED);
    return ((word ^ sight->table_word)
            | ((ref ^ sight->ref) & ~(uint64_t)RV__REF_TOUCHED)
            | (version ^ sight->version))
           == 0;
}

/* -------------------------------------------------------------- operations */

/* One call of a writer. */
struct rv__dict_op {
    struct rv_dict *dict;
    struct rv__shard *shard;
    const void *key;
    uint32_t key_length;
    bool is_safe;     /* Never evict. */
    bool is_forcible; /* Evicted what lived. */
    uint64_t hash;

    /* In its transaction: */
    struct rv__table table;
    struct rv__entry *entry; /* Of the key; NULL: none. */
    uint64_t *slot;          /* Its reference. */
    uint32_t bucket;         /* Where that is. */
};

/* What goes into an entry or a node. */
struct rv__content {
    uint8_t type;
    uint32_t flags;
    uint32_t length;
    const void *bytes;
    uint64_t number;
    uint64_t expires_ms;
};

/* Fills the first part of 'op'.  -E2BIG, -ECHILD. */
int rv__op_init(struct rv__dict_op *op, struct rv_dict *dict, const void *key,
                size_t key_length);

/* -EINVAL, -E2BIG: not a value. */
int rv__content_init(struct rv__content *content,
                     const struct rv_dict_value *value);

/* What was found goes to the user; bytes are in his buffer. */
static inline void
rv__content_give(const struct rv__content *content, const void *buffer,
                 struct rv_dict_value *value)
{
    *value = (struct rv_dict_value){.type = (enum rv_dict_type)content->type,
                                    .flags = content->flags};
    if (content->type == RV_DICT_BYTES) {
        value->bytes = buffer;
        value->length = content->length;
    } else if (content->type == RV_DICT_INTEGER) {
        value->integer = (int64_t)content->number;
    } else if (content->type == RV_DICT_REAL) {
        memcpy(&value->real, &content->number, sizeof value->real);
    } else {
        value->boolean = content->number != 0;
    }
}

/* Has what the transaction will touch come from memory meanwhile. */
void rv__op_prefetch(const struct rv__dict_op *op);

/* Begins the transaction of 'op' on its shard, and finds the entry. */
int rv__op_begin(struct rv__dict_op *op);

/* Commits, or aborts and returns 'rc'; then gives back what waits for that. */
int rv__op_commit(struct rv__dict_op *op);
int rv__op_abort(struct rv__dict_op *op, int rc);

/* In the transaction: whether the key is there and alive. */
static inline bool
rv__op_is_alive(const struct rv__dict_op *op)
{
    return op->entry && !rv__entry_is_dead(op->dict, op->shard, op->entry);
}

/* In the transaction: makes an entry of 'content', which takes the place of
 * the one that is there.  Needs an allocation of its size.  -EAGAIN: the
 * table has no room; abort, rv__op_make_room, and begin again. */
int rv__op_put(struct rv__dict_op *op, const struct rv__content *content,
               struct rv__entry **entryp);

/* In the transaction: removes the entry. */
void rv__op_remove(struct rv__dict_op *op);

/* Outside of transactions: has room in the table for one more. */
int rv__op_make_room(struct rv__dict_op *op);

/* After the commit of an rv__op_put: grows the table when it is time. */
void rv__op_grow_in_time(struct rv__dict_op *op);

/* Outside of transactions: reserves an entry of 'bytes' and, if not 0, a node
 * of 'node_bytes', and evicts for that if the operation may. */
int rv__op_reserve(struct rv__dict_op *op, size_t bytes, size_t node_bytes);

/* ----------------------------------------------------------------- removal */

/* In a transaction on the shard: removes the entry in slot 'i' of a bucket,
 * with RV__UNLINK_WORDS and a free. */
void rv__shard_unlink(struct rv_dict *dict, struct rv__shard *shard,
                      const struct rv__table *table, uint32_t bucket,
                      uint32_t i);

/* In a transaction on the shard: removes up to two dead entries where the
 * sweep goes on, and frees up to four nodes of garbage. */
void rv__shard_tidy(struct rv_dict *dict, struct rv__shard *shard,
                    const struct rv__table *table);

/* In a transaction on the shard: the nodes of a list become garbage. */
void rv__shard_discard(struct rv_dict *dict, struct rv__shard *shard,
                       struct rv__entry *list);

/* Outside of transactions: frees the garbage, a few nodes at a time. */
int rv__shard_drain(struct rv_dict *dict, struct rv__shard *shard);

/* Outside of transactions: evicts up to 8 entries that the clock hand finds,
 * within one turn of it, or until one of 'bytes' went; spares the key of 'op'.
 * Returns how many. */
int rv__shard_evict(struct rv__dict_op *op, struct rv__shard *shard,
                    size_t bytes);

#endif
