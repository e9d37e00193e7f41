/* Metrics: counters, gauges and histograms that processes share.
 *
 * Room: shm.  Threads: that of the zone's handle.  Blocks: the first opening
 * of a name waits for a lock; counting and reading wait for nobody.  Source:
 * the types of the OpenMetrics text format 1.0; the buckets are those of
 * HdrHistogram.
 *
 *     struct rv_metrics *metrics;
 *     rc = rv_metrics_open(zone, "web", &metrics, &error);
 *
 *     struct rv_counter requests;
 *     rc = rv_counter_open(metrics, "requests", &requests);
 *     rv_counter_add(&requests, 1);
 *
 *     struct rv_histogram latency;
 *     rc = rv_histogram_open(metrics, "latency_us", NULL, &latency);
 *     rv_histogram_record(&latency, 1250);
 *
 *     // whoever exports them, also with a read-only handle
 *     struct rv_metric metric = {.offset = 0};
 *     while (rv_metrics_next(metrics, &metric) == 0) {
 *         if (metric.type == RV_METRIC_COUNTER) {
 *             print(metric.name, rv_metric_read_counter(&metric));
 *         }
 *     }
 *     rv_metrics_close(&metrics);
 *
 * Counters and histograms are striped: each member has memory of its own for
 * them, which it alone changes, by plain stores; a reading adds all up.  What
 * a member counted stays counted when it dies or detaches, and whoever has
 * its slot next goes on in its memory.  A death loses nothing: an addition, a
 * record, happened wholly or not at all.
 *
 * The memory: a counter has 8 bytes for each member slot that ever opened a
 * counter, a histogram its buckets for each that opened it.  Names and their
 * memory stay as long as the zone.
 *
 * Limits: counters and sums count modulo 2^64, gauges modulo 2^64 around 0:
 * beyond the last number comes the first.
 *
 * Wrong: to use a counter, gauge or histogram in another thread than the one
 * that opened it, in a child of fork, or after its zone was detached.  (The
 * struct rv_metrics may be closed before.)
 */
#ifndef REEVE_METRIC_H
#define REEVE_METRIC_H

#include <stddef.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"

RV_BEGIN_DECLARATIONS

struct rv_zone;
struct rv_metrics;

enum {
    RV_METRIC_NAME_BYTES = 128, /* With the final NUL. */
    RV_METRICS_MAX = 4096,      /* In one struct rv_metrics. */
    RV_HISTOGRAM_BITS_DEFAULT = 4,
    RV_HISTOGRAM_BITS_MAX = 10,
};

enum rv_metric_type {
    RV_METRIC_COUNTER = 1,
    RV_METRIC_GAUGE,
    RV_METRIC_HISTOGRAM,
};

/* Opens the metrics 'name' (1 to 31 bytes) of 'zone', which stays attached as
 * long; makes them, with none in it, if there are none.  The caller owns
 * '*metricsp'.  -EINVAL, -ENOMEM, -ENOSPC: the zone has no more names;
 * -EPROTOTYPE: the name is that of something else; -ENOENT: there are none
 * and the handle is read-only; -EUCLEAN. */
int rv_metrics_open(struct rv_zone *zone, const char *name,
                    struct rv_metrics **metricsp, struct rv_error *error)
    RV_MUST_CHECK;

/* Frees the handle and sets '*metricsp' to NULL; the metrics stay. */
void rv_metrics_close(struct rv_metrics **metricsp);

/* ---------------------------------------------------------------- counting */

/* A counter as one member sees it.  'place' is the library's. */
struct rv_counter {
    uint64_t *place;
};

struct rv_gauge {
    int64_t *place;
};

struct rv_histogram {
    void *stripe;
    uint64_t max_value;
    uint32_t bits;
};

/* How to make a histogram.  Zero: the default. */
struct rv_histogram_settings {
    uint64_t max_value; /* Larger ones are put into the last bucket; the
                         * largest number there is. */
    uint32_t bits;      /* Of precision: each doubling has 2^bits buckets. */
};

/* Opens the counter 'name' (1 to 127 bytes); makes it, at 0, if there is
 * none.
 *   -EINVAL      the name, or settings out of range
 *   -EPROTOTYPE  it is there, and is a metric of another type
 *   -ENOSPC      there are RV_METRICS_MAX already
 *   -ENOMEM      the zone is full
 *   -EDEADLK     a transaction is open;  -EROFS, -ECHILD as rv_tx_begin
 *   -EUCLEAN     the zone is damaged */
int rv_counter_open(struct rv_metrics *metrics, const char *name,
                    struct rv_counter *counter) RV_MUST_CHECK;

/* As rv_counter_open. */
int rv_gauge_open(struct rv_metrics *metrics, const char *name,
                  struct rv_gauge *gauge) RV_MUST_CHECK;

/* As rv_counter_open; 'settings' (NULL: all default) are for making it, and
 * one that is there keeps its own. */
int rv_histogram_open(struct rv_metrics *metrics, const char *name,
                      const struct rv_histogram_settings *settings,
                      struct rv_histogram *histogram) RV_MUST_CHECK;

/* Adds 'n'. */
static inline void
rv_counter_add(const struct rv_counter *counter, uint64_t n)
{
    __atomic_store_n(counter->place, *counter->place + n, __ATOMIC_RELAXED);
}

/* A gauge is one number for all members: the last set counts, and additions
 * of several members add up. */
static inline void
rv_gauge_set(const struct rv_gauge *gauge, int64_t value)
{
    __atomic_store_n(gauge->place, value, __ATOMIC_RELAXED);
}

static inline void
rv_gauge_add(const struct rv_gauge *gauge, int64_t n)
{
    __atomic_fetch_add(gauge->place, n, __ATOMIC_RELAXED);
}

/* Counts 'value'. */
void rv_histogram_record(const struct rv_histogram *histogram, uint64_t value);

/* ----------------------------------------------------------------- reading */

/* A metric to be read.  From 'metrics' on it is the library's; zero before
 * the first rv_metrics_next. */
struct rv_metric {
    enum rv_metric_type type;
    char name[RV_METRIC_NAME_BYTES];
    const struct rv_metrics *metrics;
    uint64_t offset;
    uint32_t n_before; /* So that each walk ends. */
};

/* Finds a metric by its name.  -ENOENT. */
int rv_metrics_find(const struct rv_metrics *metrics, const char *name,
                    struct rv_metric *metric) RV_MUST_CHECK;

/* The metric after '*metric' in the order in which they were made, or the
 * first.  -ENOENT: that was the last, or the zone is damaged and there would
 * be more than RV_METRICS_MAX. */
int rv_metrics_next(const struct rv_metrics *metrics, struct rv_metric *metric)
    RV_MUST_CHECK;

/* The value; 0 when the metric is of another type. */
uint64_t rv_metric_read_counter(const struct rv_metric *metric);
int64_t rv_metric_read_gauge(const struct rv_metric *metric);

/* What was recorded so far.  While others record, 'count' and 'sum' may
 * differ by what they record just then. */
struct rv_histogram_reading {
    uint64_t count, sum;
    uint64_t min, max; /* 0 when nothing was recorded. */
    uint32_t bits;
    uint32_t n_buckets;
    uint64_t *counts; /* In each bucket; goes with the reading. */
};

/* Reads a histogram; the caller frees '*readingp' by free(3).  -ENOENT: the
 * metric is none; -ENOMEM. */
int rv_metric_read_histogram(const struct rv_metric *metric,
                             struct rv_histogram_reading **readingp)
    RV_MUST_CHECK;

/* A value that a part 'q' (0 to 1) of what was recorded is not above: the
 * middle of its bucket, so below 2^bits exactly, and above within a relative
 * error of 2^-(bits + 1) (3.2 % by default), as long as values are not above
 * max_value.  0 when nothing was recorded. */
uint64_t rv_histogram_quantile(const struct rv_histogram_reading *reading,
                               double q);

/* The least and the largest value that bucket 'i' counts; the last bucket
 * also counts all above. */
void rv_histogram_bucket(const struct rv_histogram_reading *reading,
                         uint32_t i, uint64_t *leastp, uint64_t *largestp);

/* Walks all metrics: each is whole, found, and has its memory.  Takes no
 * lock, also for read-only handles; reads only, never crashes and ends on any
 * bytes.  Exact while none is being made.  -EUCLEAN and a sentence. */
int rv_metrics_check(const struct rv_metrics *metrics, struct rv_error *error)
    RV_MUST_CHECK;

RV_END_DECLARATIONS

#endif
