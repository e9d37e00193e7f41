#include "shm/metric.h"

#include <stdlib.h>
#include <string.h>

#include "reeve/slab.h"
#include "shm/named.h"

/* What is to be opened. */
struct wanted {
    char name[RV_METRIC_NAME_BYTES]; /* Padded with zeros. */
    enum rv_metric_type type;
    uint64_t max_value;
    uint32_t bits;
};

int
rv_metrics_open(struct rv_zone *zone, const char *name,
                struct rv_metrics **metricsp, struct rv_error *error)
{
    struct rv__named named = {.type = RV__METRICS_TYPE,
                              .n_bytes = sizeof(struct rv__metrics_root)};
    void *structure = NULL;
    int rc = rv__named_open(zone, name, &named, &structure, error);
    if (rc) {
        return rc;
    }
    struct rv_metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    metrics->zone = zone;
    metrics->root = structure;
    metrics->n_members = zone->mapping->geometry.n_members;
    *metricsp = metrics;
    return 0;
}

void
rv_metrics_close(struct rv_metrics **metricsp)
{
    free(*metricsp);
    *metricsp = NULL;
}

static size_t
block_bytes(const struct rv_metrics *metrics)
{
    return sizeof(struct rv__block) + metrics->n_members * sizeof(uint64_t);
}

/* The metric of this name, or NULL. */
static struct rv__metric *
find(const struct rv_metrics *metrics, const char name[RV_METRIC_NAME_BYTES])
{
    uint64_t offset = rv__metric_load(&metrics->root->first);
    for (uint32_t i = 0; i < RV_METRICS_MAX && offset; i++) {
        struct rv__metric *metric = rv__metric_at(metrics, offset);
        if (!metric) {
            break;
        }
        if (memcmp(metric->name, name, RV_METRIC_NAME_BYTES) == 0) {
            return metric;
        }
        offset = rv__metric_load(&metric->next);
    }
    return NULL;
}

static int
pad_name(const char *name, char padded[RV_METRIC_NAME_BYTES])
{
    size_t length = strlen(name);
    if (length == 0 || length >= RV_METRIC_NAME_BYTES) {
        return -EINVAL;
    }
    memset(padded, 0, RV_METRIC_NAME_BYTES);
    memcpy(padded, name, length);
    return 0;
}

/* ------------------------------------------------------------------ making */

/* In the transaction: a block for stripes of 'n_words'. */
static int
make_block(struct rv_metrics *metrics, uint64_t n_words, uint64_t *offsetp)
{
    size_t n_bytes = block_bytes(metrics);
    int rc = rv_slab_take(metrics->zone, n_bytes, offsetp);
    if (rc) {
        return rc;
    }
    struct rv__block *block = (void *)(metrics->zone->base + *offsetp);
    rv__fill_zeros(block, n_bytes);
    block->n_words = n_words;
    __atomic_store_n(&block->magic, RV__METRIC_MAGIC ^ *offsetp,
                     __ATOMIC_RELEASE);
    return 0;
}

/* In the transaction: finds the metric, not linked yet, its place. */
static int
place(struct rv_metrics *metrics, struct rv__metric *metric)
{
    struct rv_zone *zone = metrics->zone;
    struct rv__metrics_root *root = metrics->root;
    if (metric->type == RV_METRIC_GAUGE) {
        return 0;
    }
    if (metric->type == RV_METRIC_HISTOGRAM) {
        return make_block(metrics,
                          rv__stripe_words(metric->max_value, metric->bits),
                          &metric->block);
    }
    uint64_t block = root->block;
    uint64_t n_used = root->n_used;
    if (!block || n_used >= RV__BLOCK_COUNTERS) {
        int rc = make_block(metrics, RV__BLOCK_COUNTERS, &block);
        if (rc) {
            return rc;
        }
        rv__tx_set64(zone, &root->block, block);
        n_used = 0;
    }
    metric->block = block;
    metric->word = (uint32_t)n_used;
    return rv__tx_set64(zone, &root->n_used, n_used + 1);
}

/* In the transaction: shows the metric as the last one. */
static int
append(struct rv_metrics *metrics, uint64_t offset)
{
    struct rv_zone *zone = metrics->zone;
    struct rv__metrics_root *root = metrics->root;
    uint64_t *link = &root->first;
    if (root->last) {
        struct rv__metric *last = rv__metric_at(metrics, root->last);
        if (!last) {
            return -EUCLEAN;
        }
        link = &last->next;
    }
    rv__tx_set64(zone, &root->n_metrics, root->n_metrics + 1);
    rv__tx_set64(zone, &root->last, offset);
    return rv__tx_set64(zone, link, offset);
}

/* In the transaction: makes the metric, which is not there. */
static int
make(struct rv_metrics *metrics, const struct wanted *wanted)
{
    uint64_t offset = 0;
    if (metrics->root->n_metrics >= RV_METRICS_MAX) {
        return -ENOSPC;
    }
    int rc = rv_slab_take(metrics->zone, sizeof(struct rv__metric), &offset);
    if (rc) {
        return rc;
    }
    struct rv__metric *metric = (void *)(metrics->zone->base + offset);
    rv__fill_zeros(metric, sizeof *metric);
    rv__fill(metric->name, wanted->name, sizeof metric->name);
    metric->type = wanted->type;
    metric->max_value = wanted->max_value;
    metric->bits = wanted->bits;
    rc = place(metrics, metric);
    __atomic_store_n(&metric->magic, RV__METRIC_MAGIC ^ offset,
                     __ATOMIC_RELEASE);
    return rc ? rc : append(metrics, offset);
}

/* Reserves two metrics, for a block may be of their size. */
static int
find_or_make(struct rv_metrics *metrics, const struct wanted *wanted)
{
    struct rv_zone *zone = metrics->zone;
    int rc = rv_slab_reserve(zone, sizeof(struct rv__metric), 2, 0);
    rc = rc ? rc : rv_slab_reserve_more(zone, block_bytes(metrics), 1, 0);
    rc = rc ? rc : rv_tx_begin(zone, &metrics->root->lock, RV__METRIC_WORDS);
    if (rc) {
        return rc;
    }
    rc = find(metrics, wanted->name) ? 0 : make(metrics, wanted);
    if (rc) {
        rv_tx_abort(zone);
        return rc;
    }
    return rv_tx_commit(zone);
}

/* ------------------------------------------------------------------ opening */

static int
open_metric(struct rv_metrics *metrics, const struct wanted *wanted,
            struct rv__metric **metricp)
{
    const struct rv_zone *zone = metrics->zone;
    int rc = zone->tid && !zone->is_open ? 0 : rv__tx_refusal(zone, NULL, 0);
    if (rc) {
        return rc;
    }
    struct rv__metric *metric = find(metrics, wanted->name);
    if (!metric) {
        rc = find_or_make(metrics, wanted);
        metric = rc ? NULL : find(metrics, wanted->name);
    }
    if (!metric) {
        return rc ? rc : -EUCLEAN;
    }
    if (metric->type != wanted->type) {
        return -EPROTOTYPE;
    }
    *metricp = metric;
    return 0;
}

/* Gives the caller's slot memory in the block, if it has none. */
static int
make_stripe(struct rv_metrics *metrics, struct rv__block *block)
{
    struct rv_zone *zone = metrics->zone;
    uint64_t *place = &block->places[zone->index];
    size_t n_bytes = (size_t)block->n_words * sizeof(uint64_t);
    n_bytes = rv_slab_aligned_bytes(n_bytes, 64);
    uint64_t offset = 0;
    int rc = rv_slab_reserve(zone, n_bytes, 1, 0);
    rc = rc ? rc : rv_tx_begin(zone, NULL, RV_SLAB_WORDS + 1);
    if (rc) {
        return rc;
    }
    if (rv_slab_take(zone, n_bytes, &offset) == 0) {
        rv__fill_zeros(zone->base + offset, n_bytes);
        rv__tx_set64(zone, place, offset);
    }
    return rv_tx_commit(zone);
}

/* The caller's 'n_words' of a metric. */
static int
open_stripe(struct rv_metrics *metrics, const struct rv__metric *metric,
            uint64_t n_words, uint64_t **wordsp)
{
    struct rv_zone *zone = metrics->zone;
    struct rv__block *block = rv__block_at(metrics, metric->block);
    if (!block) {
        return -EUCLEAN;
    }
    int rc = block->places[zone->index] ? 0 : make_stripe(metrics, block);
    if (rc) {
        return rc;
    }
    *wordsp = rv__stripe_at(metrics, metric, zone->index, n_words);
    return *wordsp ? 0 : -EUCLEAN;
}

int
rv_counter_open(struct rv_metrics *metrics, const char *name,
                struct rv_counter *counter)
{
    struct wanted wanted = {.type = RV_METRIC_COUNTER};
    struct rv__metric *metric = NULL;
    int rc = pad_name(name, wanted.name);
    rc = rc ? rc : open_metric(metrics, &wanted, &metric);
    return rc ? rc : open_stripe(metrics, metric, 1, &counter->place);
}

int
rv_gauge_open(struct rv_metrics *metrics, const char *name,
              struct rv_gauge *gauge)
{
    struct wanted wanted = {.type = RV_METRIC_GAUGE};
    struct rv__metric *metric = NULL;
    int rc = pad_name(name, wanted.name);
    rc = rc ? rc : open_metric(metrics, &wanted, &metric);
    if (!rc) {
        gauge->place = &metric->gauge;
    }
    return rc;
}

static void
store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* A former member of the slot may have died between its last record and the
 * bucket's store. */
static void
settle(struct rv__stripe *stripe)
{
    const struct rv__half *half = &stripe->halves[stripe->n_records & 1];
    if (stripe->n_records) {
        store(&stripe->counts[half->bucket], half->bucket_count);
    }
}

int
rv_histogram_open(struct rv_metrics *metrics, const char *name,
                  const struct rv_histogram_settings *settings,
                  struct rv_histogram *histogram)
{
    static const struct rv_histogram_settings defaults = {.bits = 0};
    settings = settings ? settings : &defaults;
    struct wanted wanted = {
        .type = RV_METRIC_HISTOGRAM,
        .max_value = settings->max_value ? settings->max_value : UINT64_MAX,
        .bits = settings->bits ? settings->bits : RV_HISTOGRAM_BITS_DEFAULT};
    struct rv__metric *metric = NULL;
    uint64_t *words = NULL;
    int rc = wanted.bits > RV_HISTOGRAM_BITS_MAX ? -EINVAL
                                                 : pad_name(name, wanted.name);
    rc = rc ? rc : open_metric(metrics, &wanted, &metric);
    if (rc) {
        return rc;
    }
    struct rv_histogram opened = {.max_value = metric->max_value,
                                  .bits = metric->bits};
    if (opened.bits == 0 || opened.bits > RV_HISTOGRAM_BITS_MAX) {
        return -EUCLEAN;
    }
    uint64_t n_words = rv__stripe_words(opened.max_value, opened.bits);
    rc = open_stripe(metrics, metric, n_words, &words);
    if (rc) {
        return rc;
    }
    struct rv__stripe *stripe = (void *)words;
    opened.stripe = stripe;
    if (stripe->halves[stripe->n_records & 1].bucket
        > rv__bucket_of(opened.max_value, opened.bits)) {
        return -EUCLEAN;
    }
    settle(stripe);
    *histogram = opened;
    return 0;
}

/* Release everywhere, for readers look at a half between two looks at the
 * number of records. */
void
rv_histogram_record(const struct rv_histogram *histogram, uint64_t value)
{
    struct rv__stripe *stripe = histogram->stripe;
    uint64_t n = stripe->n_records;
    const struct rv__half *old = &stripe->halves[n & 1];
    struct rv__half *new = &stripe->halves[(n + 1) & 1];
    uint32_t bucket =
        rv__bucket_of(RV_MIN(value, histogram->max_value), histogram->bits);
    uint64_t count = stripe->counts[bucket] + 1;
    store(&new->sum, old->sum + value);
    store(&new->max, RV_MAX(old->max, value));
    store(&new->min_complement, RV_MAX(old->min_complement, ~value));
    store(&new->bucket, bucket);
    store(&new->bucket_count, count);
    rv__barrier();
    store(&stripe->n_records, n + 1);
    rv__barrier();
    store(&stripe->counts[bucket], count);
    rv__barrier();
}
