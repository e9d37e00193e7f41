/* What metrics keep in the zone, and what their files share.
 *
 * Room: shm.
 *
 *     root: first --> metric --> metric ...      in the order of making
 *             metric --> block: a place each slot --> stripe of that member
 *
 * Counters share blocks, 64 to one, and so their stripes: member 3 has eight
 * cache lines for 64 counters, which no other member writes.  A histogram has
 * a block for itself.  A gauge is a word beside its name.
 *
 * A record in a histogram is several stores, and must not be torn by a death.
 * So all but the bucket is written twice, in turns, and one store, that of
 * the number of records, says which of the two counts.  That one also says
 * which bucket is to have which count, so that the store of the bucket can be
 * done again: by the next member in the slot, and by readers for themselves.
 */
#ifndef RV_SHM_METRIC_H
#define RV_SHM_METRIC_H

#include "reeve/metric.h"
#include "shm/log.h"

#define RV__METRICS_TYPE UINT64_C(0x31697274656d7672) /* "rvmetri1" */
#define RV__METRIC_MAGIC UINT64_C(0x9d1f6b0a75c3e842)

enum {
    RV__BLOCK_COUNTERS = 64,
    RV__STRIPE_WORDS_MAX = 1 << 20,
    /* A transaction that makes a metric: two allocations, then the block and
     * its use, the link, the last, the number. */
    RV__METRIC_WORDS = 16,
};

struct rv__metrics_root {
    uint64_t magic;
    uint64_t reserved[7];

    struct rv_lock lock;

    /* Under the lock, by transactions. */
    uint64_t first, last;
    uint64_t n_metrics;
    uint64_t block;  /* Where the next counters go; 0: none yet. */
    uint64_t n_used; /* Words of it. */
    uint64_t reserved_words[3];
};

/* Written before it can be found, and then not any more, but for 'next', by
 * transactions on the lock, and 'gauge'. */
struct rv__metric {
    uint64_t magic; /* RV__METRIC_MAGIC xor its offset. */
    uint64_t next;
    char name[RV_METRIC_NAME_BYTES];
    uint64_t max_value; /* Of histograms. */
    uint64_t block;
    uint32_t word; /* Of the stripes. */
    uint32_t type;
    uint32_t bits;
    uint32_t reserved;
    uint64_t reserved_words[2];
    int64_t gauge; /* By everybody, atomically. */
    uint64_t reserved_line[7];
};

_Static_assert(sizeof(struct rv__metric) == 256, "four cache lines");

/* Stripes of 'n_words' for all members; a place is set once, by its member,
 * in a private transaction. */
struct rv__block {
    uint64_t magic; /* RV__METRIC_MAGIC xor its offset. */
    uint64_t n_words;
    uint64_t places[]; /* By slot. */
};

/* What a record changes besides a bucket. */
struct rv__half {
    uint64_t sum;
    uint64_t max;
    uint64_t min_complement; /* So that zero is none. */
    uint64_t bucket;
    uint64_t bucket_count; /* That it has, or is to have. */
};

struct rv__stripe {
    uint64_t n_records; /* Odd or even says which half counts. */
    uint64_t reserved;
    struct rv__half halves[2];
    uint64_t counts[];
};

struct rv_metrics {
    struct rv_zone *zone;
    struct rv__metrics_root *root;
    uint32_t n_members;
};

static inline uint64_t
rv__metric_load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* ----------------------------------------------------------------- buckets */

/* Values below 2^bits have a bucket each, and each doubling above 2^bits of
 * them. */
static inline uint32_t
rv__bucket_of(uint64_t value, uint32_t bits)
{
    if (value >> bits == 0) {
        return (uint32_t)value;
    }
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - bits;
    return (shift << bits) + (uint32_t)(value >> shift);
}

static inline uint64_t
rv__bucket_least(uint32_t bucket, uint32_t bits)
{
    uint32_t doubling = bucket >> bits;
    uint64_t within = bucket & ((UINT32_C(1) << bits) - 1);
    return doubling == 0 ? within
                         : (within + (UINT64_C(1) << bits)) << (doubling - 1);
}

static inline uint64_t
rv__bucket_largest(uint32_t bucket, uint32_t bits)
{
    uint32_t doubling = bucket >> bits;
    uint64_t width = doubling == 0 ? 1 : UINT64_C(1) << (doubling - 1);
    return rv__bucket_least(bucket, bits) + (width - 1);
}

/* Words of a histogram's stripes. */
static inline uint64_t
rv__stripe_words(uint64_t max_value, uint32_t bits)
{
    return sizeof(struct rv__stripe) / sizeof(uint64_t) + 1
           + rv__bucket_of(max_value, bits);
}

/* ------------------------------------------------------------------ places */

/* The metric at 'offset', NULL: there is none. */
static inline struct rv__metric *
rv__metric_at(const struct rv_metrics *metrics, uint64_t offset)
{
    struct rv__metric *metric =
        offset % 8 ? NULL : rv_zone_at(metrics->zone, offset, sizeof *metric);
    return metric
                   && rv__metric_load(&metric->magic)
                          == (RV__METRIC_MAGIC ^ offset)
               ? metric
               : NULL;
}

static inline struct rv__block *
rv__block_at(const struct rv_metrics *metrics, uint64_t offset)
{
    size_t n_bytes =
        sizeof(struct rv__block) + metrics->n_members * sizeof(uint64_t);
    struct rv__block *block =
        offset % 8 ? NULL : rv_zone_at(metrics->zone, offset, n_bytes);
    return block
                   && rv__metric_load(&block->magic)
                          == (RV__METRIC_MAGIC ^ offset)
                   && block->n_words <= RV__STRIPE_WORDS_MAX
               ? block
               : NULL;
}

/* What the member with slot 'index' has of 'metric': 'n_words' from its word
 * on; NULL: nothing. */
static inline uint64_t *
rv__stripe_at(const struct rv_metrics *metrics,
              const struct rv__metric *metric, uint32_t index,
              uint64_t n_words)
{
    const struct rv__block *block = rv__block_at(metrics, metric->block);
    if (!block || metric->word + n_words > block->n_words) {
        return NULL;
    }
    uint64_t *words =
        rv_zone_at(metrics->zone, rv__metric_load(&block->places[index]),
                   (size_t)block->n_words * sizeof(uint64_t));
    return words && (uintptr_t)words % sizeof *words == 0
               ? words + metric->word
               : NULL;
}

/* As rv_metrics_check, and sums up what the metrics have of the slab. */
int rv__metrics_audit(const struct rv_metrics *metrics, uint64_t *bytesp,
                      struct rv_error *error);

#endif
