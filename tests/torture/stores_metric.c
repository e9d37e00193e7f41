/* Death at every store of metrics: making them, giving a member its memory,
 * and recording in histograms.  After each recovery the totals are those from
 * before the operation or from after it, and every byte is accounted for. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/slab.h"
#include "shm/member.h"
#include "shm/metric.h"
#include "stores.h"

enum { HEAP_PAGES = 40, N_NAMES = 150, BITS = 3, MAX_VALUE = 100000 };

/* Of a histogram, all members together; but for the bucket of zeros, which
 * those who arrive record. */
struct totals {
    uint64_t count, sum, max, buckets;
};

static const struct rv_histogram_settings settings = {.max_value = MAX_VALUE,
                                                      .bits = BITS};
static struct totals before, after;
static uint64_t n_before; /* Metrics. */
static struct rv_metrics metrics;
static unsigned int n_recoveries;

static void
must(struct stores *stores, int rc, const char *what)
{
    if (rc < 0) {
        stores_fail(stores, "%s: %d", what, rc);
    }
}

static struct rv_metrics
handle_of(struct stores *stores, struct rv_zone *zone)
{
    uint64_t type, offset;
    must(stores, rv_zone_root_get(zone, "metrics", &type, &offset), "root");
    return (struct rv_metrics){.zone = zone,
                               .root = (void *)(zone->base + offset),
                               .n_members = zone->mapping->geometry.n_members};
}

static void
run_open(struct stores *stores)
{
    struct rv_counter counter;
    struct rv_gauge gauge;
    struct rv_histogram histogram;
    char name[16];
    uint64_t i = stores_random(stores, N_NAMES);
    snprintf(name, sizeof name, "name %" PRIu64, i);
    stores_begin(stores);
    int rc = i % 16 == 0
                 ? rv_histogram_open(&metrics, name, &settings, &histogram)
             : i % 16 == 1 ? rv_gauge_open(&metrics, name, &gauge)
                           : rv_counter_open(&metrics, name, &counter);
    stores_end(stores);
    must(stores, rc == -ENOMEM ? 0 : rc, "open");
}

static void
run_record(struct stores *stores)
{
    struct rv_histogram histogram;
    uint64_t value =
        1
        + (stores_random(stores, 2 * MAX_VALUE) >> stores_random(stores, 17));
    must(stores, rv_histogram_open(&metrics, "h", &settings, &histogram),
         "open");
    after.count++;
    after.sum += value;
    after.max = RV_MAX(after.max, value);
    after.buckets += rv__bucket_of(RV_MIN(value, (uint64_t)MAX_VALUE), BITS);
    stores_begin(stores);
    rv_histogram_record(&histogram, value);
    stores_end(stores);
}

static void
operate(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    (void)zone;
    (void)bystander;
    before = after;
    n_before = metrics.root->n_metrics;
    if (stores_random(stores, 3)) {
        run_record(stores);
    } else {
        run_open(stores);
    }
}

/* ----------------------------------------------------------------- recovery */

/* A member comes to the dead one's slot, and goes on in its memory. */
static void
arrive(struct stores *stores, const struct rv_zone *zone)
{
    struct rv_zone arrived = *zone;
    struct rv_histogram histogram;
    must(stores, rv__member_take(&arrived), "arrival after a death");
    struct rv_metrics handle = handle_of(stores, &arrived);
    must(stores, rv_histogram_open(&handle, "h", &settings, &histogram),
         "open by an arrival");
    rv_histogram_record(&histogram, 0);
    rv_histogram_record(&histogram, 0);
    rv__member_release(&arrived);
}

static void
recover(struct stores *stores, struct rv_zone *zone)
{
    struct rv_metrics handle = handle_of(stores, zone);
    if (n_recoveries++ % 2) {
        arrive(stores, zone);
    }
    must(stores, rv_zone_heal(zone), "heal");
    must(stores, rv_tx_begin(zone, &handle.root->lock, 0), "begin");
    must(stores, rv_tx_commit(zone), "commit");
}

static void
audit(struct stores *stores, const struct rv_metrics *handle)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    uint64_t n_bytes = 0;
    const struct rv_zone *zone = handle->zone;
    if (rv_slab_check(zone, &error)
        || rv__metrics_audit(handle, &n_bytes, &error)) {
        stores_fail(stores, "check: %s", error.text);
    }
    n_bytes += rv_slab_size(zone, rv_zone_offset(zone, handle->root));
    rv_slab_get_stats(zone, &stats);
    if (stats.used_bytes != n_bytes) {
        stores_fail(stores,
                    "%" PRIu64 " bytes are used, the metrics have %" PRIu64,
                    stats.used_bytes, n_bytes);
    }
}

static struct totals
read_totals(struct stores *stores, const struct rv_metrics *handle)
{
    struct rv_metric metric;
    struct rv_histogram_reading *reading = NULL;
    must(stores, rv_metrics_find(handle, "h", &metric), "find");
    must(stores, rv_metric_read_histogram(&metric, &reading), "read");
    struct totals totals = {.count = reading->count - reading->counts[0],
                            .sum = reading->sum,
                            .max = reading->max};
    for (uint32_t i = 0; i < reading->n_buckets; i++) {
        totals.buckets += i * reading->counts[i];
    }
    free(reading);
    return totals;
}

static int
judge(struct stores *stores, const struct rv_zone *zone)
{
    struct rv_zone borrowed = *zone;
    struct rv_metrics handle = handle_of(stores, &borrowed);
    audit(stores, &handle);
    uint64_t n_new = handle.root->n_metrics - n_before;
    struct totals totals = read_totals(stores, &handle);
    if (memcmp(&totals, &after, sizeof totals) == 0 && n_new <= 1) {
        return n_new == 1 || memcmp(&before, &after, sizeof before) != 0;
    }
    if (memcmp(&totals, &before, sizeof totals) != 0 || n_new) {
        stores_fail(stores, "neither as before nor as after the operation");
    }
    return 0;
}

static void
setup(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    struct rv_metrics *opened = NULL;
    struct rv_histogram histogram;
    struct rv_error error;
    (void)bystander;
    must(stores, rv_metrics_open(zone, "metrics", &opened, &error), "open");
    must(stores, rv_histogram_open(opened, "h", &settings, &histogram),
         "open");
    rv_metrics_close(&opened);
    metrics = handle_of(stores, zone);
}

int
main(int argc, char **argv)
{
    static const struct workload workload = {
        .setup = setup,
        .operate = operate,
        .recover = recover,
        .judge = judge,
        .heap_bytes = HEAP_PAGES * RV_ZONE_PAGE_BYTES,
        .nest_every = 499};
    return stores_main(argc, argv, &workload);
}
