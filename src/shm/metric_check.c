#include <inttypes.h>
#include <string.h>

#include "reeve/slab.h"
#include "shm/metric.h"

/* A walk through the metrics. */
struct walk {
    const struct rv_metrics *metrics;
    struct rv_error *error;
    uint64_t n_bytes; /* Of the slab, so far. */
};

/* Whether something of 'n_bytes' is in use at 'offset'; adds it up. */
static int
check_memory(struct walk *walk, uint64_t offset, uint64_t n_bytes)
{
    size_t size = rv_slab_size(walk->metrics->zone, offset);
    if (size < n_bytes) {
        return rv_error_set(walk->error, -EUCLEAN,
                            "no %" PRIu64 " bytes are at offset %" PRIu64,
                            n_bytes, offset);
    }
    walk->n_bytes += size;
    return 0;
}

/* The block of a metric, and all its stripes. */
static int
check_block(struct walk *walk, const struct rv__metric *metric)
{
    const struct rv_metrics *metrics = walk->metrics;
    const struct rv__block *block = rv__block_at(metrics, metric->block);
    if (!block) {
        return rv_error_set(walk->error, -EUCLEAN,
                            "no block is at offset %" PRIu64, metric->block);
    }
    int rc =
        check_memory(walk, metric->block,
                     sizeof *block + metrics->n_members * sizeof(uint64_t));
    for (uint32_t i = 0; i < metrics->n_members && !rc; i++) {
        uint64_t place = rv__metric_load(&block->places[i]);
        rc = place
                 ? check_memory(walk, place, block->n_words * sizeof(uint64_t))
                 : 0;
    }
    return rc;
}

/* How many words of the stripes are the metric's; 0: there is no such. */
static uint64_t
words_of(const struct rv__metric *metric)
{
    if (metric->type == RV_METRIC_COUNTER) {
        return 1;
    }
    return metric->type == RV_METRIC_HISTOGRAM && metric->bits
                   && metric->bits <= RV_HISTOGRAM_BITS_MAX
               ? rv__stripe_words(metric->max_value, metric->bits)
               : 0;
}

static int
check_stripes(struct walk *walk, const struct rv__metric *metric)
{
    const struct rv__block *block = rv__block_at(walk->metrics, metric->block);
    uint64_t n_words = words_of(metric);
    if (n_words == 0 || !block || metric->word + n_words > block->n_words) {
        return rv_error_set(walk->error, -EUCLEAN, "metric %.*s has no place",
                            RV_METRIC_NAME_BYTES - 1, metric->name);
    }
    return metric->word == 0 ? check_block(walk, metric) : 0;
}

static int
check_metric(struct walk *walk, uint64_t offset, uint64_t *nextp)
{
    const struct rv__metric *metric = rv__metric_at(walk->metrics, offset);
    if (!metric || !metric->name[0]
        || !memchr(metric->name, 0, sizeof metric->name)) {
        return rv_error_set(walk->error, -EUCLEAN,
                            "no metric is at offset %" PRIu64, offset);
    }
    int rc = check_memory(walk, offset, sizeof *metric);
    if (!rc && metric->type != RV_METRIC_GAUGE) {
        rc = check_stripes(walk, metric);
    }
    *nextp = rv__metric_load(&metric->next);
    return rc;
}

/* Where the next counter goes. */
static int
check_next(struct walk *walk)
{
    const struct rv__metrics_root *root = walk->metrics->root;
    uint64_t offset = rv__metric_load(&root->block);
    uint64_t n_used = rv__metric_load(&root->n_used);
    const struct rv__block *block = rv__block_at(walk->metrics, offset);
    if (n_used > RV__BLOCK_COUNTERS || (n_used != 0) != (offset != 0)
        || (offset
            && (!block || block->n_words != RV__BLOCK_COUNTERS
                || !rv_slab_size(walk->metrics->zone, offset)))) {
        return rv_error_set(walk->error, -EUCLEAN,
                            "the next counter is to be number %" PRIu64
                            " of a block at offset %" PRIu64,
                            n_used, offset);
    }
    return 0;
}

int
rv__metrics_audit(const struct rv_metrics *metrics, uint64_t *bytesp,
                  struct rv_error *error)
{
    if (!metrics->zone->base) {
        return rv_error_set(error, -ECHILD, "the handle is the parent's");
    }
    struct walk walk = {.metrics = metrics, .error = error};
    uint64_t n = 0;
    uint64_t last = 0;
    uint64_t offset = rv__metric_load(&metrics->root->first);
    while (offset && n <= RV_METRICS_MAX) {
        uint64_t next = 0;
        int rc = check_metric(&walk, offset, &next);
        if (rc) {
            return rc;
        }
        n++;
        last = offset;
        offset = next;
    }
    if (n != rv__metric_load(&metrics->root->n_metrics)
        || last != rv__metric_load(&metrics->root->last)) {
        return rv_error_set(error, -EUCLEAN,
                            "there are %" PRIu64 " metrics, the last at"
                            " %" PRIu64,
                            n, last);
    }
    *bytesp = walk.n_bytes;
    return check_next(&walk);
}

int
rv_metrics_check(const struct rv_metrics *metrics, struct rv_error *error)
{
    uint64_t n_bytes = 0;
    return rv__metrics_audit(metrics, &n_bytes, error);
}
