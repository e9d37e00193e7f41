/* Walking a dict without trusting it, while others may work: what is read
 * decides only once where to read next. */
#include "shm/dict.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/siphash.h"

/* What the walk of a shard found, to be compared with what it says. */
struct tally {
    const struct rv_dict *dict;
    const struct rv__shard *shard;
    struct rv__table table;
    uint32_t *n_passed; /* By bucket. */
    char *key;          /* Room for the longest. */
    uint32_t n_entries, n_mortal, n_flushed;
    uint64_t bytes;
    uint64_t n_nodes_left; /* So that a walk along links ends. */
    struct rv_error *error;
};

static uint64_t
load64(const uint64_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static uint32_t
load32(const uint32_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static uint32_t
shard_number(const struct tally *tally)
{
    return (uint32_t)(tally->shard - tally->dict->shards);
}

static int
damage(const struct tally *tally, uint64_t offset, const char *what)
{
    return rv_error_set(tally->error, -EUCLEAN,
                        "dict: shard %" PRIu32 ", offset %" PRIu64 ": %s",
                        shard_number(tally), offset, what);
}

/* ------------------------------------------------------------------- lists */

static int
check_node(struct tally *tally, uint64_t offset, const struct rv__node *node)
{
    uint8_t type = __atomic_load_n(&node->type, __ATOMIC_RELAXED);
    uint32_t length = load32(&node->length);
    if (type < RV_DICT_BYTES || type > RV_DICT_BOOLEAN
        || (type != RV_DICT_BYTES && length)) {
        return damage(tally, offset, "a node of no type");
    }
    size_t bytes = rv_slab_size(tally->dict->zone, offset);
    if (bytes < sizeof *node + length) {
        return damage(tally, offset, "a node that is not allocated");
    }
    tally->bytes += bytes;
    return 0;
}

/* Walks from 'offset' on; 'lastp' NULL: of garbage, whose backward links say
 * nothing. */
static int
check_nodes(struct tally *tally, uint64_t offset, uint64_t *np,
            uint64_t *lastp)
{
    uint64_t previous = 0;
    for (*np = 0; offset; ++*np) {
        if (tally->n_nodes_left-- == 0) {
            tally->n_nodes_left = 0;
            return damage(tally, offset, "links in a circle");
        }
        const struct rv__node *node =
            offset % 16 == 0
                    && rv__dict_is_inside(tally->dict, offset, sizeof *node)
                ? rv__dict_at(tally->dict, offset)
                : NULL;
        if (!node) {
            return damage(tally, offset, "a link out of the heap");
        }
        int rc = check_node(tally, offset, node);
        if (!rc && lastp && load64(&node->previous) != previous) {
            rc = damage(tally, offset, "a wrong backward link");
        }
        if (rc) {
            return rc;
        }
        previous = offset;
        offset = load64(&node->next);
    }
    if (lastp) {
        *lastp = previous;
    }
    return 0;
}

/* 'entry' is a copy. */
static int
check_list(struct tally *tally, uint64_t offset, const struct rv__entry *entry)
{
    uint64_t at = offset + rv__ends_at(entry->key_length);
    const struct rv__ends *ends = rv__dict_at(tally->dict, at);
    uint64_t n = 0;
    uint64_t last = 0;
    int rc = check_nodes(tally, load64(&ends->first), &n, &last);
    if (!rc && (n == 0 || n != entry->number || last != load64(&ends->last))) {
        rc = damage(tally, offset, "a list of another length");
    }
    return rc;
}

/* ----------------------------------------------------------------- entries */

/* Copies what an entry says of itself.  False: none can be there. */
static bool
copy_entry(const struct rv_dict *dict, uint64_t ref, struct rv__entry *copy)
{
    uint64_t offset = rv__ref_offset(ref);
    if (!rv__dict_is_inside(dict, offset, sizeof *copy)) {
        return false;
    }
    rv__copy(copy, rv__dict_at(dict, offset), sizeof *copy);
    return rv__dict_is_inside(
        dict, offset,
        rv__entry_size(copy->type, copy->key_length, copy->length));
}

static const struct rv__entry *
entry_of(const struct tally *tally, uint64_t ref)
{
    return rv__dict_at(tally->dict, rv__ref_offset(ref));
}

/* Whether another entry has the key. */
static bool
has_key(const struct tally *tally, uint64_t ref, uint32_t key_length)
{
    struct rv__entry copy;
    return copy_entry(tally->dict, ref, &copy) && copy.key_length == key_length
           && rv__equal(tally->key, entry_of(tally, ref) + 1, key_length);
}

/* Whether the first slot that a search for the entry's key comes to is
 * 'slot'. */
static bool
is_found_at(const struct tally *tally, const struct rv__entry *entry,
            const uint64_t *slot, uint64_t ref)
{
    const struct rv__table *table = &tally->table;
    for (uint32_t d = 0; d < RV__DICT_PROBES && d <= table->mask; d++) {
        const struct rv__bucket *bucket =
            &table->buckets[(entry->hash + d) & table->mask];
        for (uint32_t i = 0; i < RV__DICT_SLOTS; i++) {
            uint64_t other = load64(&bucket->refs[i]);
            if (&bucket->refs[i] == slot) {
                return true;
            }
            if (rv__ref_tag(other) == rv__ref_tag(ref)
                && has_key(tally, other, entry->key_length)) {
                return false;
            }
        }
        if (load32(&bucket->n_passed) == 0) {
            return false;
        }
    }
    return false;
}

static int
check_fields(const struct tally *tally, uint64_t ref,
             const struct rv__entry *entry)
{
    const struct rv_dict *dict = tally->dict;
    uint64_t offset = rv__ref_offset(ref);
    rv__copy(tally->key, entry_of(tally, ref) + 1, entry->key_length);
    uint64_t hash =
        rv_siphash13(dict->hash_key, tally->key, entry->key_length);
    uint64_t shard = entry->version & ((1U << RV__SHARD_BITS) - 1);
    if (!rv__ref_fits(ref, entry->version) || shard != shard_number(tally)
        || entry->version >> RV__SHARD_BITS
               > load64(&tally->shard->versions)) {
        return damage(tally, offset, "a wrong version");
    }
    if (entry->hash != (uint32_t)hash || rv__ref_tag(ref) != rv__hash_tag(hash)
        || rv__shard_index(dict, hash) != shard_number(tally)) {
        return damage(tally, offset, "a wrong hash");
    }
    if (entry->type < RV_DICT_BYTES || entry->type > RV__DICT_LIST
        || (entry->type != RV_DICT_BYTES && entry->length)) {
        return damage(tally, offset, "an entry of no type");
    }
    return 0;
}

static int
check_entry(struct tally *tally, uint32_t bucket, const uint64_t *slot,
            uint64_t ref)
{
    struct rv__entry entry;
    uint64_t offset = rv__ref_offset(ref);
    size_t bytes = rv_slab_size(tally->dict->zone, offset);
    if (!copy_entry(tally->dict, ref, &entry)
        || bytes
               < rv__entry_size(entry.type, entry.key_length, entry.length)) {
        return damage(tally, offset, "an entry that is not allocated");
    }
    tally->bytes += bytes;
    tally->n_entries++;
    tally->n_mortal += entry.expires_ms != 0;
    tally->n_flushed += rv__is_flushed(tally->shard, entry.version);
    uint32_t b = entry.hash & tally->table.mask;
    for (uint32_t d = 0; b != bucket && d < RV__DICT_PROBES; d++) {
        tally->n_passed[b]++;
        b = (b + 1) & tally->table.mask;
    }
    int rc = check_fields(tally, ref, &entry);
    if (!rc && !is_found_at(tally, &entry, slot, ref)) {
        rc = damage(tally, offset, "an entry that is not found by its key");
    }
    if (!rc && entry.type == RV__DICT_LIST) {
        rc = check_list(tally, offset, &entry);
    }
    return rc;
}

/* ------------------------------------------------------------------ shards */

static int
check_buckets(struct tally *tally)
{
    int rc = 0;
    for (uint32_t b = 0; b <= tally->table.mask && !rc; b++) {
        const struct rv__bucket *bucket = &tally->table.buckets[b];
        for (uint32_t i = 0; i < RV__DICT_SLOTS && !rc; i++) {
            uint64_t ref = load64(&bucket->refs[i]);
            if (ref) {
                rc = check_entry(tally, b, &bucket->refs[i], ref);
            }
        }
    }
    for (uint32_t b = 0; b <= tally->table.mask && !rc; b++) {
        if (load32(&tally->table.buckets[b].n_passed) != tally->n_passed[b]) {
            rc = damage(tally, b, "a wrong count of entries that came by");
        }
    }
    return rc;
}

static int
check_table(struct tally *tally)
{
    const struct rv_zone *zone = tally->dict->zone;
    if (!tally->table.buckets) {
        return 0;
    }
    uint64_t offset = rv__offset_of(zone, tally->table.buckets);
    size_t n_buckets = (size_t)tally->table.mask + 1;
    size_t bytes = rv_slab_size(zone, offset);
    if (bytes < n_buckets * sizeof(struct rv__bucket)) {
        return damage(tally, offset, "a table that is not allocated");
    }
    tally->bytes += bytes;
    tally->n_passed = calloc(n_buckets, sizeof *tally->n_passed);
    if (!tally->n_passed) {
        return rv_error_set(tally->error, -ENOMEM, "out of memory");
    }
    int rc = check_buckets(tally);
    free(tally->n_passed);
    return rc;
}

static int
check_shard(struct tally *tally)
{
    const struct rv__shard *shard = tally->shard;
    uint64_t n;
    uint64_t word = load64(&shard->table);
    if (!rv__table_open(tally->dict, word, &tally->table)) {
        return damage(tally, word, "a table that cannot be");
    }
    int rc = check_table(tally);
    rc = rc ? rc : check_nodes(tally, load64(&shard->garbage), &n, NULL);
    if (!rc
        && (tally->n_entries != load32(&shard->n_entries)
            || tally->n_mortal != load32(&shard->n_mortal)
            || tally->n_flushed != load32(&shard->n_flushed))) {
        rc = damage(tally, word, "entries are counted wrongly");
    }
    return rc;
}

int
rv__dict_audit(const struct rv_dict *dict, uint64_t *bytesp,
               struct rv_error *error)
{
    const struct rv_zone *zone = dict->zone;
    if (!zone->base) {
        return rv_error_set(error, -ECHILD, "the handle is the parent's");
    }
    struct tally tally = {.dict = dict,
                          .bytes = rv_slab_size(zone, dict->root),
                          .n_nodes_left = rv_zone_size_bytes(zone)
                                          / sizeof(struct rv__node),
                          .error = error};
    const struct rv__dict_root *root = rv__dict_at(dict, dict->root);
    if (tally.bytes == 0 || root->magic != RV__DICT_TYPE
        || root->n_shards != dict->shard_mask + 1) {
        return rv_error_set(error, -EUCLEAN, "dict: its root is damaged");
    }
    tally.key = malloc(RV_DICT_KEY_MAX_BYTES);
    int rc = tally.key ? 0 : rv_error_set(error, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i <= dict->shard_mask && !rc; i++) {
        tally.shard = &dict->shards[i];
        tally.n_entries = 0;
        tally.n_mortal = 0;
        tally.n_flushed = 0;
        rc = check_shard(&tally);
    }
    free(tally.key);
    if (!rc) {
        *bytesp = tally.bytes;
    }
    return rc;
}

int
rv_dict_check(const struct rv_dict *dict, struct rv_error *error)
{
    uint64_t bytes;
    return rv__dict_audit(dict, &bytes, error);
}
