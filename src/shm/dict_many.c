/* Reading many keys at a time.
 *
 * A get of what is not in the processor's caches waits for memory twice, for
 * the bucket and then for the entry, and for nothing else.  Here the waits of
 * a group of keys are one: what each step needs is asked for in the step
 * before, for the whole group. */
#include "shm/dict.h"

#include "base/siphash.h"

enum {
    GROUP = 16, /* As many as the processor can wait for at a time. */
    LINE_BYTES = 64,
};

/* On its way to a key. */
struct step {
    uint64_t hash;
    const struct rv__shard *shard;
    const struct rv__bucket *bucket; /* NULL: none is known. */
};

static void
ask_for_shard(const struct rv_dict *dict, const struct rv_dict_get *get,
              struct step *step)
{
    step->hash = rv_siphash13(dict->hash_key, get->key, get->key_length);
    step->shard = &dict->shards[rv__shard_index(dict, step->hash)];
    __builtin_prefetch(&step->shard->table);
}

static void
ask_for_bucket(const struct rv_dict *dict, struct step *step)
{
    struct rv__table table;
    uint64_t word = __atomic_load_n(&step->shard->table, __ATOMIC_ACQUIRE);
    step->bucket = NULL;
    if (rv__table_open(dict, word, &table) && table.buckets) {
        step->bucket = table.buckets + ((uint32_t)step->hash & table.mask);
        __builtin_prefetch(step->bucket);
    }
}

static void
ask_for_entry(const struct rv_dict *dict, const struct step *step)
{
    uint32_t slots =
        step->bucket ? rv__bucket_match(step->bucket, rv__hash_tag(step->hash))
                     : 0;
    if (slots) {
        const uint64_t *slot = &step->bucket->refs[__builtin_ctz(slots)];
        uint64_t ref = __atomic_load_n(slot, __ATOMIC_RELAXED);
        const char *entry = dict->zone->base + rv__ref_offset(ref);
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + LINE_BYTES);
    }
}

static size_t
get_group(struct rv_dict *dict, struct rv_dict_get *gets, size_t n)
{
    struct step steps[GROUP];
    size_t n_found = 0;
    for (size_t i = 0; i < n; i++) {
        ask_for_shard(dict, &gets[i], &steps[i]);
    }
    for (size_t i = 0; i < n; i++) {
        ask_for_bucket(dict, &steps[i]);
    }
    for (size_t i = 0; i < n; i++) {
        ask_for_entry(dict, &steps[i]);
    }
    for (size_t i = 0; i < n; i++) {
        struct rv_dict_get *get = &gets[i];
        get->rc =
            rv__dict_get_hashed(dict, get->key, get->key_length, steps[i].hash,
                                get->buffer, get->size, &get->value);
        n_found += get->rc == 0;
    }
    return n_found;
}

size_t
rv_dict_get_many(struct rv_dict *dict, struct rv_dict_get *gets, size_t n)
{
    size_t n_found = 0;
    size_t n_group;
    for (size_t at = 0; at < n; at += n_group) {
        n_group = 0;
        while (n_group < RV_MIN(n - at, (size_t)GROUP)
               && rv__dict_can_get(dict, gets[at + n_group].key_length)) {
            n_group++;
        }
        n_found += get_group(dict, gets + at, n_group);
        if (n_group == 0) {
            struct rv_dict_get *get = &gets[at];
            get->rc = rv_dict_get(dict, get->key, get->key_length, get->buffer,
                                  get->size, &get->value);
            n_group = 1;
        }
    }
    return n_found;
}
