/* Metrics and limiters: nothing that was counted is lost, nothing counts
 * twice, and a record is whole.
 *
 * A rate is asked at one and the same time over and over, so that its delay
 * says how many requests there were.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kills.h"
#include "reeve/limiter.h"
#include "reeve/slab.h"
#include "shm/dict.h"
#include "shm/metric.h"
#include "steps_watch.h"

enum {
    BITS = 8, /* Of the histogram: each value below 256 has its bucket. */
    N_VALUES = 1 << BITS,
    N_SLOT_KEYS = 4,
    MAX_SLOTS = 6,
    N_NAMES = 300,
    FIRST_REQUESTS = 5000, /* So that the rate does not expire. */
    NS_PER_S = 1000000000,
};

/* What is counted, each a group of the diary.  Notes are slots held. */
enum { COUNTER, OTHER_COUNTER, GAUGE, RECORDS, SUM, REQUESTS, N_COUNTED };

static const struct rv_rate_limit limit = {.per_second = 1, .burst = 1e8};
static const struct rv_histogram_settings histogram_settings = {
    .max_value = N_VALUES - 1, .bits = BITS};

struct context {
    struct rv_metrics *metrics;
    struct rv_dict *limits;
    struct rv_counter counters[2];
    struct rv_gauge gauge;
    struct rv_histogram histogram;
};

static void
must(int rc, const char *what)
{
    if (rc) {
        find_wrong("%s: %d", what, rc);
    }
}

static void
open_all(struct rv_zone *zone, struct context *context)
{
    struct rv_error error;
    if (rv_metrics_open(zone, "metrics", &context->metrics, &error)
        || rv_dict_open(zone, "limits", NULL, &context->limits, &error)) {
        find_wrong("%s", error.text);
    }
    must(rv_counter_open(context->metrics, "a", &context->counters[0]),
         "counter_open");
    must(rv_counter_open(context->metrics, "b", &context->counters[1]),
         "counter_open");
    must(rv_gauge_open(context->metrics, "gauge", &context->gauge),
         "gauge_open");
    must(rv_histogram_open(context->metrics, "histogram", &histogram_settings,
                           &context->histogram),
         "histogram_open");
}

static void
close_all(struct context *context)
{
    rv_metrics_close(&context->metrics);
    rv_dict_close(&context->limits);
}

static int
request(const struct context *context, uint64_t *delay_nsp)
{
    return rv_limiter_request_at(context->limits, "rate", 4, &limit, NS_PER_S,
                                 delay_nsp);
}

static void
setup(struct rv_zone *zone)
{
    struct context context;
    open_all(zone, &context);
    for (int i = 0; i < FIRST_REQUESTS; i++) {
        must(request(&context, NULL), "request at the start");
    }
    close_all(&context);
}

static void
begin(struct worker *worker)
{
    struct context *context = calloc(1, sizeof *context);
    if (!context) {
        find_wrong("memory");
    }
    open_all(worker->zone, context);
    memset(worker->diary->notes, 0, sizeof worker->diary->notes);
    worker->context = context;
}

/* --------------------------------------------------------------- operations */

static void
note_begin(struct worker *worker, uint32_t group, uint64_t n)
{
    uint64_t *place = &worker->diary->started[group];
    note(place, *place + n);
}

static void
note_end(struct worker *worker, uint32_t group, uint64_t n)
{
    uint64_t *place = &worker->diary->done[group];
    note(place, *place + n);
}

static void
count(struct worker *worker, uint32_t which)
{
    const struct context *context = worker->context;
    uint64_t n = 1 + watch_random(&worker->random, 3);
    note_begin(worker, COUNTER + which, n);
    rv_counter_add(&context->counters[which], n);
    note_end(worker, COUNTER + which, n);
}

static void
move_gauge(struct worker *worker)
{
    const struct context *context = worker->context;
    note_begin(worker, GAUGE, 1);
    rv_gauge_add(&context->gauge, 1);
    note_end(worker, GAUGE, 1);
}

static void
record(struct worker *worker)
{
    const struct context *context = worker->context;
    uint64_t value = watch_random(&worker->random, N_VALUES);
    note_begin(worker, RECORDS, 1);
    note_begin(worker, SUM, value);
    rv_histogram_record(&context->histogram, value);
    note_end(worker, SUM, value);
    note_end(worker, RECORDS, 1);
}

/* Makes a metric, or finds it. */
static void
open_another(struct worker *worker)
{
    const struct context *context = worker->context;
    char name[32];
    uint64_t number = watch_random(&worker->random, N_NAMES);
    struct rv_counter counter;
    struct rv_gauge gauge;
    snprintf(name, sizeof name, "other-%" PRIu64, number);
    int rc = number % 2 ? rv_counter_open(context->metrics, name, &counter)
                        : rv_gauge_open(context->metrics, name, &gauge);
    must(rc, "open of another");
}

static void
ask(struct worker *worker)
{
    uint64_t delay_ns = 0;
    note_begin(worker, REQUESTS, 1);
    must(request(worker->context, &delay_ns), "request");
    note_end(worker, REQUESTS, 1);
    if (delay_ns % NS_PER_S != 0) {
        find_wrong("a delay of %" PRIu64 " ns", delay_ns);
    }
}

static int
name_slots(char key[16], uint64_t i)
{
    return snprintf(key, 16, "slots-%" PRIu64, i);
}

/* What a living worker has is exact in its diary when it rests; so that needs
 * no second number. */
static void
use_slots(struct worker *worker)
{
    const struct context *context = worker->context;
    char key[16];
    uint64_t i = watch_random(&worker->random, N_SLOT_KEYS);
    uint64_t *n_held = &worker->diary->notes[i];
    size_t n = (size_t)name_slots(key, i);
    if (*n_held && watch_random(&worker->random, 2)) {
        must(rv_limiter_release(context->limits, key, n), "release");
        note(n_held, *n_held - 1);
        return;
    }
    int rc = rv_limiter_acquire(context->limits, key, n, MAX_SLOTS);
    if (rc == 0) {
        note(n_held, *n_held + 1);
    } else if (rc != -EBUSY) {
        find_wrong("acquire: %d", rc);
    }
}

/* By a reader.  While others record, only this much holds. */
static void
read_all(const struct context *context)
{
    struct rv_metric metric = {.offset = 0};
    uint64_t n = 0;
    while (rv_metrics_next(context->metrics, &metric) == 0) {
        n++;
        struct rv_histogram_reading *reading;
        if (metric.type != RV_METRIC_HISTOGRAM) {
            rv_metric_read_counter(&metric);
            continue;
        }
        must(rv_metric_read_histogram(&metric, &reading), "read_histogram");
        if (reading->max >= N_VALUES || reading->n_buckets != N_VALUES) {
            find_wrong("a record of %" PRIu64, reading->max);
        }
        free(reading);
    }
    if (n < 4) {
        find_wrong("there are %" PRIu64 " metrics", n);
    }
}

static void
operate(struct worker *worker)
{
    uint64_t kind = watch_random(&worker->random, 1024);
    if (is_reader(worker->index) || kind == 0) {
        read_all(worker->context);
    } else if (kind < 250) {
        count(worker, (uint32_t)kind % 2);
    } else if (kind < 320) {
        move_gauge(worker);
    } else if (kind < 600) {
        record(worker);
    } else if (kind < 610) {
        open_another(worker);
    } else if (kind < 800) {
        ask(worker);
    } else {
        use_slots(worker);
    }
}

/* -------------------------------------------------------------------- audit */

static void
check_counted(struct diary *diaries, uint32_t group, uint64_t now)
{
    static uint64_t before[N_COUNTED];
    uint64_t started = before[group];
    uint64_t done = before[group];
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        started += diaries[i].started[group];
        done += diaries[i].done[group];
        diaries[i].started[group] = 0;
        diaries[i].done[group] = 0;
    }
    if (now < done || now > started) {
        find_wrong("number %" PRIu32 " is %" PRIu64 ", when %" PRIu64
                   " were done and %" PRIu64 " begun",
                   group, now, done, started);
    }
    before[group] = now;
}

static uint64_t
read_counter(const struct context *context, const char *name)
{
    struct rv_metric metric;
    must(rv_metrics_find(context->metrics, name, &metric), name);
    return rv_metric_read_counter(&metric);
}

/* Every value has a bucket, so the sum must be that of the buckets. */
static void
audit_histogram(const struct context *context, struct diary *diaries)
{
    struct rv_metric metric;
    struct rv_histogram_reading *reading;
    uint64_t sum = 0;
    must(rv_metrics_find(context->metrics, "histogram", &metric), "histogram");
    must(rv_metric_read_histogram(&metric, &reading), "read_histogram");
    for (uint32_t i = 0; i < reading->n_buckets; i++) {
        sum += reading->counts[i] * i;
    }
    if (sum != reading->sum) {
        find_wrong("records have the sum %" PRIu64 ", their buckets %" PRIu64,
                   reading->sum, sum);
    }
    check_counted(diaries, RECORDS, reading->count);
    check_counted(diaries, SUM, reading->sum);
    free(reading);
}

static void
audit_metrics(const struct context *context, struct diary *diaries)
{
    struct rv_metric gauge;
    must(rv_metrics_find(context->metrics, "gauge", &gauge), "gauge");
    check_counted(diaries, COUNTER, read_counter(context, "a"));
    check_counted(diaries, OTHER_COUNTER, read_counter(context, "b"));
    check_counted(diaries, GAUGE, (uint64_t)rv_metric_read_gauge(&gauge));
    audit_histogram(context, diaries);
}

/* The probe is a request itself. */
static void
audit_rate(const struct context *context, struct diary *diaries)
{
    static uint64_t n_probes;
    uint64_t delay_ns = 0;
    must(request(context, &delay_ns), "request of the audit");
    check_counted(diaries, REQUESTS,
                  delay_ns / NS_PER_S - FIRST_REQUESTS - n_probes);
    n_probes++;
}

static void
audit_slots(const struct context *context, const struct diary *diaries)
{
    for (uint64_t k = 0; k < N_SLOT_KEYS; k++) {
        char key[16];
        uint64_t n = 0;
        uint64_t expected = 0;
        size_t length = (size_t)name_slots(key, k);
        int rc = rv_limiter_count(context->limits, key, length, &n);
        for (uint32_t i = 0; i < MAX_WORKERS; i++) {
            expected += diaries[i].is_living ? diaries[i].notes[k] : 0;
        }
        if ((rc && rc != -ENOENT) || n != expected || n > MAX_SLOTS) {
            find_wrong("%s: %d, %" PRIu64 " are taken, by the diaries "
                       "%" PRIu64,
                       key, rc, n, expected);
        }
    }
}

static void
audit_memory(struct rv_zone *zone, const struct context *context)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    uint64_t metric_bytes = 0;
    uint64_t dict_bytes = 0;
    if (rv__metrics_audit(context->metrics, &metric_bytes, &error)
        || rv__dict_audit(context->limits, &dict_bytes, &error)
        || rv_slab_check(zone, &error)) {
        find_wrong("%s", error.text);
    }
    metric_bytes +=
        rv_slab_size(zone, rv_zone_offset(zone, context->metrics->root));
    rv_slab_get_stats(zone, &stats);
    if (stats.used_bytes != metric_bytes + dict_bytes) {
        find_wrong("%" PRIu64 " bytes are used, metrics have %" PRIu64
                   ", limits %" PRIu64,
                   stats.used_bytes, metric_bytes, dict_bytes);
    }
}

static void
audit(struct rv_zone *zone, struct diary *diaries)
{
    static struct context context;
    if (!context.metrics) {
        open_all(zone, &context);
    }
    audit_memory(zone, &context);
    audit_metrics(&context, diaries);
    audit_slots(&context, diaries);
    audit_rate(&context, diaries);
}

const struct kill_workload metric_workload = {.name = "metric",
                                              .heap_bytes = 2 << 20,
                                              .has_readers = true,
                                              .setup = setup,
                                              .begin = begin,
                                              .operate = operate,
                                              .audit = audit};
