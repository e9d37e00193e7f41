#include <stdlib.h>
#include <string.h>

#include "shm/metric.h"

enum { MAX_TRIES = 100 };

/* ----------------------------------------------------------------- finding */

/* What the user sees of the metric at 'offset'. */
static int
give(const struct rv_metrics *metrics, uint64_t offset,
     struct rv_metric *metric)
{
    const struct rv__metric *found = rv__metric_at(metrics, offset);
    if (!found) {
        return -ENOENT;
    }
    metric->type = (enum rv_metric_type)found->type;
    memcpy(metric->name, found->name, sizeof metric->name);
    metric->name[sizeof metric->name - 1] = '\0';
    metric->metrics = metrics;
    metric->offset = offset;
    metric->n_before++;
    return 0;
}

int
rv_metrics_next(const struct rv_metrics *metrics, struct rv_metric *metric)
{
    /* Links in a circle, which only stray writes make, have an end, too. */
    if (!metrics->zone->base || metric->n_before >= RV_METRICS_MAX) {
        return -ENOENT;
    }
    const uint64_t *link = &metrics->root->first;
    if (metric->offset) {
        const struct rv__metric *last = rv__metric_at(metrics, metric->offset);
        if (!last) {
            return -ENOENT;
        }
        link = &last->next;
    }
    return give(metrics, rv__metric_load(link), metric);
}

int
rv_metrics_find(const struct rv_metrics *metrics, const char *name,
                struct rv_metric *metric)
{
    struct rv_metric at = {.offset = 0};
    for (uint32_t i = 0; i < RV_METRICS_MAX; i++) {
        int rc = rv_metrics_next(metrics, &at);
        if (rc) {
            return rc;
        }
        if (strcmp(at.name, name) == 0) {
            *metric = at;
            return 0;
        }
    }
    return -ENOENT;
}

/* The metric, if it still is one and of that type. */
static const struct rv__metric *
metric_of(const struct rv_metric *metric, enum rv_metric_type type)
{
    const struct rv__metric *found =
        metric->metrics && metric->metrics->zone->base
            ? rv__metric_at(metric->metrics, metric->offset)
            : NULL;
    return found && found->type == type ? found : NULL;
}

/* ----------------------------------------------------------------- reading */

uint64_t
rv_metric_read_counter(const struct rv_metric *metric)
{
    const struct rv_metrics *metrics = metric->metrics;
    const struct rv__metric *found = metric_of(metric, RV_METRIC_COUNTER);
    uint64_t sum = 0;
    for (uint32_t i = 0; found && i < metrics->n_members; i++) {
        const uint64_t *word = rv__stripe_at(metrics, found, i, 1);
        sum += word ? rv__metric_load(word) : 0;
    }
    return sum;
}

int64_t
rv_metric_read_gauge(const struct rv_metric *metric)
{
    const struct rv__metric *found = metric_of(metric, RV_METRIC_GAUGE);
    return found ? __atomic_load_n(&found->gauge, __ATOMIC_RELAXED) : 0;
}

/* The half that counts; after so many tries perhaps one that just changes. */
static struct rv__half
read_half(const struct rv__stripe *stripe)
{
    struct rv__half copy = {.sum = 0};
    for (int i = 0; i < MAX_TRIES; i++) {
        uint64_t n = rv__metric_load(&stripe->n_records);
        const struct rv__half *half = &stripe->halves[n & 1];
        copy.sum = rv__metric_load(&half->sum);
        copy.max = rv__metric_load(&half->max);
        copy.min_complement = rv__metric_load(&half->min_complement);
        copy.bucket = rv__metric_load(&half->bucket);
        copy.bucket_count = rv__metric_load(&half->bucket_count);
        if (rv__metric_load(&stripe->n_records) == n) {
            break;
        }
    }
    return copy;
}

/* What bucket 'i' has, or is to have. */
static uint64_t
read_bucket(const struct rv__stripe *stripe, const struct rv__half *half,
            uint32_t i)
{
    uint64_t count = rv__metric_load(&stripe->counts[i]);
    bool is_late = half->bucket == i && half->bucket_count == count + 1;
    return count + is_late;
}

static void
add_stripe(struct rv_histogram_reading *reading,
           const struct rv__stripe *stripe)
{
    if (rv__metric_load(&stripe->n_records) == 0) {
        return;
    }
    struct rv__half half = read_half(stripe);
    for (uint32_t i = 0; i < reading->n_buckets; i++) {
        uint64_t count = read_bucket(stripe, &half, i);
        reading->counts[i] += count;
        reading->count += count;
    }
    reading->sum += half.sum;
    reading->max = RV_MAX(reading->max, half.max);
    reading->min = RV_MIN(reading->min, ~half.min_complement);
}

int
rv_metric_read_histogram(const struct rv_metric *metric,
                         struct rv_histogram_reading **readingp)
{
    const struct rv_metrics *metrics = metric->metrics;
    const struct rv__metric *found = metric_of(metric, RV_METRIC_HISTOGRAM);
    uint32_t bits = found ? found->bits : 0;
    if (bits == 0 || bits > RV_HISTOGRAM_BITS_MAX) {
        return -ENOENT;
    }
    uint64_t max_value = found->max_value;
    uint32_t n = rv__bucket_of(max_value, bits) + 1;
    struct rv_histogram_reading *reading =
        calloc(1, sizeof *reading + n * sizeof reading->counts[0]);
    if (!reading) {
        return -ENOMEM;
    }
    reading->counts = (uint64_t *)(reading + 1);
    reading->bits = bits;
    reading->n_buckets = n;
    reading->min = UINT64_MAX;
    for (uint32_t i = 0; i < metrics->n_members; i++) {
        const uint64_t *words = rv__stripe_at(
            metrics, found, i, rv__stripe_words(max_value, bits));
        if (words) {
            add_stripe(reading,
                       (const struct rv__stripe *)(const void *)words);
        }
    }
    reading->min = reading->count ? reading->min : 0;
    *readingp = reading;
    return 0;
}

void
rv_histogram_bucket(const struct rv_histogram_reading *reading, uint32_t i,
                    uint64_t *leastp, uint64_t *largestp)
{
    *leastp = rv__bucket_least(i, reading->bits);
    *largestp = rv__bucket_largest(i, reading->bits);
}

uint64_t
rv_histogram_quantile(const struct rv_histogram_reading *reading, double q)
{
    q = q > 0 ? RV_MIN(q, 1.0) : 0;
    double rank = q * (double)reading->count;
    uint64_t n_below = 0;
    for (uint32_t i = 0; i < reading->n_buckets; i++) {
        n_below += reading->counts[i];
        if (n_below && (double)n_below >= rank) {
            uint64_t least = rv__bucket_least(i, reading->bits);
            uint64_t largest = rv__bucket_largest(i, reading->bits);
            uint64_t middle = least + (largest - least) / 2;
            return RV_MAX(RV_MIN(middle, reading->max), reading->min);
        }
    }
    return reading->max;
}
