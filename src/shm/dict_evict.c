/* What goes: the dead, the evicted, and the nodes of lists that are no more.
 */
#include "shm/dict.h"

#include <errno.h>
#include <limits.h>

enum {
    BATCH = 8,
    SWEEP_MAX = 2,
    GARBAGE_TIDY = 4,
    GARBAGE_DRAIN = 16,
    ROUNDS_MAX = 4096,
    PATIENCE_MAX = 256,
    RESTARTS_MAX = 16,
};

/* ----------------------------------------------------------------- garbage */

static struct rv__node *
node_at(const struct rv_dict *dict, uint64_t offset)
{
    return offset % 16 == 0
                   && rv__dict_is_inside(dict, offset, sizeof(struct rv__node))
               ? rv__dict_at(dict, offset)
               : NULL;
}

void
rv__shard_discard(struct rv_dict *dict, struct rv__shard *shard,
                  struct rv__entry *list)
{
    struct rv_zone *zone = dict->zone;
    const struct rv__ends *ends = rv__entry_ends(list);
    if (!ends->first) {
        return;
    }
    struct rv__node *last = node_at(dict, ends->last);
    if (!last) {
        rv__tx_fail(zone, -EUCLEAN);
        return;
    }
    rv__tx_set64(zone, &last->next, shard->garbage);
    rv__tx_set64(zone, &shard->garbage, ends->first);
}

/* In a transaction on the shard, 1 + RV_SLAB_WORDS words and a free a node. */
static void
free_garbage(struct rv_dict *dict, struct rv__shard *shard, int n)
{
    struct rv_zone *zone = dict->zone;
    for (; n > 0 && shard->garbage && !zone->failure; n--) {
        const struct rv__node *node = node_at(dict, shard->garbage);
        uint64_t offset = shard->garbage;
        if (!node) {
            rv__tx_fail(zone, -EUCLEAN);
            return;
        }
        rv__tx_set64(zone, &shard->garbage, node->next);
        rv_slab_drop(zone, offset);
    }
}

/* Begins a transaction that only frees. */
static int
begin_frees(struct rv_dict *dict, struct rv__shard *shard,
            struct rv__table *table)
{
    struct rv_zone *zone = dict->zone;
    int rc = rv_slab_reserve(zone, 16, 0, RV__DICT_FREES);
    rc = rc ? rc : rv__tx_begin(zone, &shard->lock, RV_TX_WORDS_MAX);
    if (!rc && !rv__table_open(dict, shard->table, table)) {
        rv_tx_abort(zone);
        rc = -EUCLEAN;
    }
    return rc;
}

static int
commit_frees(struct rv_zone *zone)
{
    int rc = rv__tx_commit(zone);
    return !rc && rv__limbo_count(zone) ? rv__limbo_drain(zone) : rc;
}

int
rv__shard_drain(struct rv_dict *dict, struct rv__shard *shard)
{
    struct rv__table table;
    int rc = 0;
    while (!rc && __atomic_load_n(&shard->garbage, __ATOMIC_RELAXED)) {
        rc = begin_frees(dict, shard, &table);
        if (!rc) {
            free_garbage(dict, shard, GARBAGE_DRAIN);
            rc = commit_frees(dict->zone);
        }
    }
    return rc;
}

/* ---------------------------------------------------------------- the dead */

/* In a transaction on the shard: removes what is dead in a bucket, up to
 * 'max'; returns how many. */
static uint32_t
sweep_bucket(struct rv_dict *dict, struct rv__shard *shard,
             const struct rv__table *table, uint32_t bucket, uint64_t max)
{
    uint32_t n = 0;
    const uint64_t *refs = table->buckets[bucket].refs;
    for (uint32_t i = 0; i < RV__DICT_SLOTS && n < max; i++) {
        struct rv__entry *entry = refs[i] ? rv__entry_at(dict, refs[i]) : NULL;
        if (entry && rv__entry_is_dead(dict, shard, entry)
            && !dict->zone->failure) {
            rv__shard_unlink(dict, shard, table, bucket, i);
            n++;
        }
    }
    __atomic_store_n(&shard->n_expired, shard->n_expired + n,
                     __ATOMIC_RELAXED);
    return n;
}

void
rv__shard_tidy(struct rv_dict *dict, struct rv__shard *shard,
               const struct rv__table *table)
{
    if (__builtin_expect((shard->n_mortal | shard->n_flushed) != 0, 0)
        && table->buckets) {
        uint32_t bucket = shard->sweep & table->mask;
        if (sweep_bucket(dict, shard, table, bucket, SWEEP_MAX) < SWEEP_MAX) {
            __atomic_store_n(&shard->sweep, bucket + 1, __ATOMIC_RELAXED);
        }
    }
    if (__builtin_expect(shard->garbage != 0, 0)) {
        free_garbage(dict, shard, GARBAGE_TIDY);
    }
}

/* Sweeps bucket '*bucketp', and goes on to the next, or begins again when
 * the table is another one than that of '*wordp'.  Returns how many went. */
static int
sweep_step(struct rv_dict *dict, struct rv__shard *shard, uint64_t *wordp,
           uint32_t *bucketp, uint64_t max)
{
    struct rv__table table;
    uint32_t n = 0;
    int rc = begin_frees(dict, shard, &table);
    if (rc) {
        return rc;
    }
    if (shard->table != *wordp) {
        *wordp = shard->table;
        *bucketp = 0;
    }
    if (table.buckets) {
        n = sweep_bucket(dict, shard, &table, *bucketp, max);
        *bucketp += n < max;
    }
    rc = commit_frees(dict->zone);
    rc = rc ? rc : rv__shard_drain(dict, shard);
    return rc ? rc : (int)n;
}

/* As rv_dict_flush_expired, of a shard. */
static int
sweep_shard(struct rv_dict *dict, struct rv__shard *shard, uint64_t max,
            uint64_t *np)
{
    uint64_t word = 0;
    uint32_t bucket = 0;
    uint32_t n_buckets;
    int n_restarts = 0;
    do {
        if (!__atomic_load_n(&shard->n_mortal, __ATOMIC_RELAXED)
            && !__atomic_load_n(&shard->n_flushed, __ATOMIC_RELAXED)) {
            return 0;
        }
        uint64_t before = word;
        int rc = sweep_step(dict, shard, &word, &bucket, max - *np);
        if (rc < 0) {
            return rc;
        }
        *np += (uint64_t)rc;
        n_restarts += before != word;
        n_buckets = word ? 1U << (word & 0xffff) : 0;
    } while (bucket < n_buckets && *np < max && n_restarts < RESTARTS_MAX);
    return 0;
}

int
rv_dict_flush_expired(struct rv_dict *dict, uint64_t max)
{
    uint64_t n = 0;
    uint64_t most = max && max < INT_MAX ? max : INT_MAX;
    for (uint32_t i = 0; i <= dict->shard_mask && n < most; i++) {
        int rc = dict->zone->base
                     ? sweep_shard(dict, &dict->shards[i], most, &n)
                     : -ECHILD;
        if (rc) {
            return rc;
        }
    }
    return (int)n;
}

/* ---------------------------------------------------------------- evicting */

static bool
is_spared(const struct rv__dict_op *op, struct rv__entry *entry)
{
    return entry->hash == (uint32_t)op->hash
           && entry->key_length == op->key_length
           && rv__equal(op->key, rv__entry_key(entry), op->key_length);
}

/* In a transaction on the shard: evicts what is in a slot, unless the hand
 * passes it by.  Returns the bytes that are free then. */
static size_t
evict_slot(struct rv__dict_op *op, struct rv__shard *shard,
           const struct rv__table *table, uint32_t at)
{
    struct rv_dict *dict = op->dict;
    uint32_t bucket = at / RV__DICT_SLOTS;
    uint32_t i = at % RV__DICT_SLOTS;
    uint64_t *slot = &table->buckets[bucket].refs[i];
    uint64_t ref = __atomic_load_n(slot, __ATOMIC_RELAXED);
    struct rv__entry *entry = ref ? rv__entry_at(dict, ref) : NULL;
    if (!entry || is_spared(op, entry)) {
        return 0;
    }
    bool is_dead = rv__entry_is_dead(dict, shard, entry);
    if (!is_dead && ref & RV__REF_TOUCHED) {
        __atomic_store_n(slot, ref & ~(uint64_t)RV__REF_TOUCHED,
                         __ATOMIC_RELAXED);
        return 0;
    }
    size_t bytes = rv_slab_size(dict->zone, rv__ref_offset(ref));
    uint64_t *n = is_dead ? &shard->n_expired : &shard->n_evicted;
    rv__shard_unlink(dict, shard, table, bucket, i);
    __atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
    op->is_forcible = op->is_forcible || !is_dead;
    return bytes;
}

/* In a transaction on the shard: as rv__shard_evict. */
static int
turn_hand(struct rv__dict_op *op, struct rv__shard *shard,
          const struct rv__table *table, size_t wanted)
{
    const struct rv_zone *zone = op->dict->zone;
    uint32_t n_slots = (table->mask + 1) * RV__DICT_SLOTS;
    uint32_t hand = shard->hand % n_slots;
    int n = 0;
    for (uint32_t i = 0; i < n_slots && n < BATCH && !zone->failure
                         && zone->n_words_left >= RV__UNLINK_WORDS;
         i++) {
        size_t bytes = evict_slot(op, shard, table, hand);
        hand = hand + 1 < n_slots ? hand + 1 : 0;
        n += bytes != 0;
        if (bytes && bytes == wanted) {
            break;
        }
    }
    __atomic_store_n(&shard->hand, hand, __ATOMIC_RELAXED);
    return n;
}

int
rv__shard_evict(struct rv__dict_op *op, struct rv__shard *shard, size_t bytes)
{
    struct rv__table table;
    size_t wanted = rv_slab_aligned_bytes(bytes, 1);
    int rc = begin_frees(op->dict, shard, &table);
    if (rc) {
        return rc;
    }
    int n = table.buckets ? turn_hand(op, shard, &table, wanted) : 0;
    rc = commit_frees(op->dict->zone);
    rc = rc ? rc : rv__shard_drain(op->dict, shard);
    return rc ? rc : n;
}

static int
reserve(struct rv__dict_op *op, size_t bytes, size_t node_bytes)
{
    struct rv_zone *zone = op->dict->zone;
    int rc = rv_slab_reserve(zone, bytes, 1, RV__DICT_FREES);
    if (!rc && node_bytes) {
        /* Of one size with the entry, two of it are needed. */
        bool is_same = rv_slab_aligned_bytes(bytes, 1)
                       == rv_slab_aligned_bytes(node_bytes, 1);
        rc = rv_slab_reserve_more(zone, node_bytes, is_same ? 2 : 1,
                                  RV__DICT_FREES);
    }
    return rc;
}

/* Frees the table of a shard that has no entries; whether there was one. */
static int
drop_table(struct rv_dict *dict, struct rv__shard *shard)
{
    struct rv_zone *zone = dict->zone;
    struct rv__table table;
    if (!__atomic_load_n(&shard->table, __ATOMIC_RELAXED)
        || __atomic_load_n(&shard->n_entries, __ATOMIC_RELAXED)) {
        return 0;
    }
    int rc = begin_frees(dict, shard, &table);
    if (rc) {
        return rc;
    }
    bool is_idle = table.buckets && shard->n_entries == 0;
    if (is_idle) {
        rv_slab_drop(zone, rv__offset_of(zone, table.buckets));
        rv__tx_set64(zone, &shard->table, 0);
    }
    rc = commit_frees(zone);
    return rc ? rc : is_idle;
}

/* Tables lie where they were once needed, and may part the memory that all
 * the evictions gained.  Returns how many went, or an error. */
static int
drop_tables(struct rv_dict *dict)
{
    int n = 0;
    for (uint32_t i = 0; i <= dict->shard_mask; i++) {
        int rc = drop_table(dict, &dict->shards[i]);
        if (rc < 0) {
            return rc;
        }
        n += rc;
    }
    return n;
}

/* How far a call is with its evictions. */
struct progress {
    int since;    /* Entries that went since it last tried to reserve; */
    int patience; /* after so many it tries again. */
    int n_idle;   /* Rounds in which nothing went. */
};

/* Evicts a few in each shard in turn, the operation's first, and reserves now
 * and then.  0; -ENOMEM: go on; another error. */
static int
evict_round(struct rv__dict_op *op, size_t bytes, size_t node_bytes,
            struct progress *progress)
{
    struct rv_dict *dict = op->dict;
    uint32_t first = (uint32_t)(op->shard - dict->shards);
    progress->n_idle++;
    for (uint32_t i = 0; i <= dict->shard_mask; i++) {
        int n =
            rv__shard_evict(op, &dict->shards[(first + i) & dict->shard_mask],
                            RV_MAX(bytes, node_bytes));
        if (n < 0) {
            return n;
        }
        progress->n_idle = n ? 0 : progress->n_idle;
        progress->since += n;
        if (progress->since >= progress->patience
            || (progress->n_idle == 0 && i == dict->shard_mask)) {
            int rc = reserve(op, bytes, node_bytes);
            if (rc != -ENOMEM) {
                return rc;
            }
            progress->since = 0;
            progress->patience =
                RV_MIN(2 * progress->patience, (int)PATIENCE_MAX);
        }
    }
    return -ENOMEM;
}

/* Evicts until the reserve succeeds.  The hands may first have to take all
 * touched bits away, hence the second round in which nothing goes is the last;
 * unless tables go then. */
static int
evict_and_reserve(struct rv__dict_op *op, size_t bytes, size_t node_bytes)
{
    struct progress progress = {.patience = 1};
    for (int round = 0; round < ROUNDS_MAX && progress.n_idle < 2; round++) {
        int rc = evict_round(op, bytes, node_bytes, &progress);
        if (rc == -ENOMEM && progress.n_idle == 2) {
            int n = drop_tables(op->dict);
            rc = n < 0 ? n : rc;
            if (n > 0) {
                progress.n_idle = 0;
                rc = reserve(op, bytes, node_bytes);
            }
        }
        if (rc != -ENOMEM) {
            return rc;
        }
    }
    return -ENOMEM;
}

int
rv__op_reserve(struct rv__dict_op *op, size_t bytes, size_t node_bytes)
{
    int rc = reserve(op, bytes, node_bytes);
    if (__builtin_expect(rc == -ENOMEM, 0) && !op->is_safe
        && bytes + node_bytes < rv_zone_size_bytes(op->dict->zone)) {
        rc = evict_and_reserve(op, bytes, node_bytes);
    }
    return rc;
}
