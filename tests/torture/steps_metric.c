/* Scenes of metrics. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/slab.h"
#include "shm/metric.h"
#include "steps.h"
#include "steps_watch.h"

static const struct rv_histogram_settings settings = {.max_value = 1000,
                                                      .bits = 2};

/* Of this process. */
static struct rv_metrics *metrics;
static struct rv_counter counter;
static struct rv_gauge gauge;
static struct rv_histogram histogram;

static struct rv_metrics *
open_metrics(struct rv_zone *zone)
{
    struct rv_metrics *opened = NULL;
    struct rv_error error;
    if (rv_metrics_open(zone, "metrics", &opened, &error)) {
        watch_fail("metrics: %s", error.text);
    }
    return opened;
}

static void
enter(struct rv_zone *zone)
{
    rv_metrics_close(&metrics);
    metrics = open_metrics(zone);
}

static void
open_some(struct actor *actor)
{
    (void)actor;
    must_be(rv_counter_open(metrics, "counter", &counter), 0, "counter");
    must_be(rv_gauge_open(metrics, "gauge", &gauge), 0, "gauge");
    must_be(rv_histogram_open(metrics, "histogram", &settings, &histogram), 0,
            "histogram");
}

static void
count_some(struct actor *actor)
{
    (void)actor;
    rv_counter_add(&counter, 3);
    rv_gauge_add(&gauge, -2);
    rv_histogram_record(&histogram, 40);
    rv_histogram_record(&histogram, 700);
}

static void
fill(struct rv_zone *zone)
{
    enter(zone);
    open_some(NULL);
    count_some(NULL);
    rv_metrics_close(&metrics);
}

/* -------------------------------------------------------------- judgement */

static bool
is_there(const struct rv_zone *zone)
{
    uint64_t type, offset;
    return rv_zone_root_get(zone, "metrics", &type, &offset) == 0;
}

static uint64_t
audit(struct rv_zone *zone)
{
    struct rv_error error;
    uint64_t n_bytes = 0;
    if (!is_there(zone)) {
        return 0;
    }
    struct rv_metrics *opened = open_metrics(zone);
    if (rv__metrics_audit(opened, &n_bytes, &error)) {
        watch_fail("check: %s", error.text);
    }
    n_bytes += rv_slab_size(zone, rv_zone_offset(zone, opened->root));
    rv_metrics_close(&opened);
    return n_bytes;
}

static uint64_t
look_at_histogram(const struct rv_metric *metric)
{
    struct rv_histogram_reading *reading = NULL;
    must_be(rv_metric_read_histogram(metric, &reading), 0, "read");
    uint64_t parts[] = {
        reading->count, reading->sum, reading->max, reading->min,
        fact_of(reading->counts, reading->n_buckets * sizeof(uint64_t))};
    free(reading);
    return fact_of(parts, sizeof parts);
}

static void
look(struct rv_zone *zone, uint64_t facts[N_FACTS])
{
    static const char *const names[] = {"counter", "histogram", "gauge",
                                        "fresh", "fresh histogram"};
    struct rv_metric metric;
    if (!is_there(zone)) {
        return;
    }
    struct rv_metrics *opened = open_metrics(zone);
    for (size_t i = 0; i < RV_ARRAY_SIZE(names); i++) {
        if (rv_metrics_find(opened, names[i], &metric)) {
            continue;
        }
        facts[i] = 1
                   + (metric.type == RV_METRIC_COUNTER
                          ? rv_metric_read_counter(&metric)
                      : metric.type == RV_METRIC_GAUGE
                          ? (uint64_t)rv_metric_read_gauge(&metric)
                          : look_at_histogram(&metric));
    }
    facts[N_FACTS - 1] = 1; /* They are there. */
    rv_metrics_close(&opened);
}

static const struct kind kind = {
    .fill = fill, .enter = enter, .audit = audit, .look = look};

static const struct kind kind_of_none = {.audit = audit, .look = look};

/* -------------------------------------------------------------------- acts */

static void
open_new(struct actor *actor)
{
    metrics = open_metrics(actor->zone);
}

static void
open_counter(struct actor *actor)
{
    (void)actor;
    must_be(rv_counter_open(metrics, "fresh", &counter), 0, "counter");
}

static void
open_gauge(struct actor *actor)
{
    (void)actor;
    must_be(rv_gauge_open(metrics, "fresh", &gauge), 0, "gauge");
}

static void
open_histogram(struct actor *actor)
{
    (void)actor;
    must_be(
        rv_histogram_open(metrics, "fresh histogram", &settings, &histogram),
        0, "histogram");
}

static void
add(struct actor *actor)
{
    (void)actor;
    rv_counter_add(&counter, 5);
}

static void
add_to_gauge(struct actor *actor)
{
    (void)actor;
    rv_gauge_add(&gauge, 5);
}

static void
record(struct actor *actor)
{
    (void)actor;
    rv_histogram_record(&histogram, 900);
}

/* Leaves with the last record half written down, perhaps; who comes to the
 * slot goes on from there. */
static void
record_and_leave(struct actor *actor)
{
    record(actor);
    must_be(rv_zone_detach(&actor->zone), 0, "detach");
}

/* The members' parts stay in their slots: the sums are as before. */
static void
open_and_count(struct actor *actor)
{
    enter(actor->zone);
    open_some(actor);
    count_some(actor);
}

static void
lose_counting(struct stage *stage)
{
    run_member(stage, open_and_count, true);
}

static void
open_all_and_record(struct actor *actor)
{
    open_some(actor);
    record(actor);
}

const struct scene metric_scenes[] = {
    {"metric-open-all", .kind = &kind_of_none, .act = open_new,
     .has_effect = true, .is_alone = true},
    {"metric-open-counter", .kind = &kind, .act = open_counter,
     .has_effect = true, .is_alone = true, .is_gradual = true},
    {"metric-open-gauge", .kind = &kind, .act = open_gauge, .has_effect = true,
     .is_alone = true},
    {"metric-open-histogram", .kind = &kind, .act = open_histogram,
     .has_effect = true, .is_alone = true, .is_gradual = true},
    {"metric-add", .kind = &kind, .prepare = open_some, .act = add,
     .has_effect = true, .is_alone = true},
    {"metric-gauge", .kind = &kind, .prepare = open_some, .act = add_to_gauge,
     .has_effect = true, .is_alone = true},
    {"metric-record", .kind = &kind, .prepare = open_some, .act = record,
     .has_effect = true, .is_alone = true},
    {"metric-leave", .kind = &kind, .prepare = open_some,
     .act = record_and_leave, .has_effect = true, .is_alone = true},
    {"metric-inherit", .kind = &kind, .stage = lose_counting,
     .act = open_all_and_record, .has_effect = true, .is_alone = true,
     .is_gradual = true},
    {.name = NULL},
};
