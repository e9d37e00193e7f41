/* Death at every store of metrics: making them, giving a member its memory,
 * and recording in histograms; and of the names by which structures of any
 * kind are found.  After each recovery the totals and the names are those from
 * before the operation or from after it, and every byte is accounted for. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks.h"
#include "reeve/slab.h"
#include "shm/member.h"
#include "shm/metric.h"
#include "shm/named.h"
#include "stores.h"

enum {
    HEAP_PAGES = 40,
    N_NAMES = 150,
    BITS = 3,
    MAX_VALUE = 100000,
    STRUCTURE_BYTES = 300,
    SOIL = 0x5a, /* What a structure is full of when it goes. */
    TYPE = 77,   /* Of it. */
};

/* The offset of a root when the structure lies anywhere. */
#define ANYWHERE UINT64_MAX

/* Of a histogram, all members together; but for the bucket of zeros, which
 * those who arrive record. */
struct totals {
    uint64_t count, sum, max, min, buckets;
    uint64_t n_zeros;
};

static const struct rv_histogram_settings settings = {.max_value = MAX_VALUE,
                                                      .bits = BITS};
static const char structure_name[] = "a structure with a name";
static struct totals before, after;
static struct rv__root roots_before[RV_ZONE_ROOTS], roots_after[RV_ZONE_ROOTS];
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
note_record(struct totals *totals, uint64_t value)
{
    totals->min = totals->count ? RV_MIN(totals->min, value) : value;
    totals->count++;
    totals->sum += value;
    totals->max = RV_MAX(totals->max, value);
    totals->buckets += rv__bucket_of(RV_MIN(value, (uint64_t)MAX_VALUE), BITS);
}

static uint64_t
draw_value(struct stores *stores)
{
    return 1
           + (stores_random(stores, 2 * MAX_VALUE)
              >> stores_random(stores, 17));
}

/* The last of several records of a handle, for to open one settles what the
 * records before have left. */
static void
run_record(struct stores *stores)
{
    struct rv_histogram histogram;
    must(stores, rv_histogram_open(&metrics, "h", &settings, &histogram),
         "open");
    for (uint64_t i = stores_random(stores, 3); i > 0; i--) {
        uint64_t value = draw_value(stores);
        rv_histogram_record(&histogram, value);
        note_record(&before, value);
    }
    uint64_t value = draw_value(stores);
    after = before;
    note_record(&after, value);
    stores_begin(stores);
    rv_histogram_record(&histogram, value);
    stores_end(stores);
}

/* ------------------------------------------------------------------- names */

/* The root of that name, else the first without one, which gets it. */
static struct rv__root *
name_root(struct rv__root roots[RV_ZONE_ROOTS], const char *name)
{
    struct rv__root *unnamed = NULL;
    for (int i = 0; i < RV_ZONE_ROOTS; i++) {
        if (strcmp(roots[i].name, name) == 0) {
            return &roots[i];
        }
        if (!unnamed && !roots[i].name[0]) {
            unnamed = &roots[i];
        }
    }
    memcpy(unnamed->name, name, strlen(name));
    return unnamed;
}

/* The structure goes, and with it sometimes the name, which nobody but this
 * test takes back. */
static void
remove_structure(struct stores *stores, struct rv_zone *zone, void *structure)
{
    struct rv__root *root =
        name_root(rv__header_of(zone)->roots, structure_name);
    hook_store(structure, STRUCTURE_BYTES);
    memset(structure, SOIL, STRUCTURE_BYTES);
    must(stores, rv_slab_reserve(zone, STRUCTURE_BYTES, 0, 1), "reserve");
    must(stores,
         rv_tx_begin(zone, rv_zone_root_lock(zone),
                     RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS),
         "begin");
    must(stores, rv_zone_root_set(zone, structure_name, TYPE, 0), "root");
    must(stores, rv_slab_drop(zone, rv_zone_offset(zone, structure)), "drop");
    must(stores, rv_tx_commit(zone), "commit");
    if (stores_random(stores, 2)) {
        hook_store(root, sizeof *root);
        memset(root, 0, sizeof *root);
    }
}

static void
run_structure(struct stores *stores, struct rv_zone *zone)
{
    static const struct rv__named named = {.type = TYPE,
                                           .n_bytes = STRUCTURE_BYTES};
    struct rv_error error;
    void *structure;
    struct rv__root *root = name_root(roots_after, structure_name);
    root->type = TYPE;
    root->offset = ANYWHERE;
    stores_begin(stores);
    int rc = rv__named_open(zone, structure_name, &named, &structure, &error);
    stores_end(stores);
    must(stores, rc == -ENOMEM ? 0 : rc, "structure");
    if (rc == 0) {
        remove_structure(stores, zone, structure);
    }
}

/* A name comes to mean something else. */
static void
run_root(struct stores *stores, struct rv_zone *zone)
{
    static const char name[] = "anything";
    struct rv__root *root = name_root(roots_after, name);
    root->type = TYPE + 1 + stores_random(stores, 1000);
    root->offset = rv_zone_heap_begin(zone) + 8 * stores_random(stores, 1000);
    stores_begin(stores);
    must(stores,
         rv_tx_begin(zone, rv_zone_root_lock(zone), RV_ZONE_ROOT_WORDS),
         "begin");
    must(stores, rv_zone_root_set(zone, name, root->type, root->offset),
         "root");
    must(stores, rv_tx_commit(zone), "commit");
    stores_end(stores);
}

static bool
are_roots(struct stores *stores, const struct rv_zone *zone,
          const struct rv__root expected[RV_ZONE_ROOTS])
{
    for (size_t i = 0; i < RV_ZONE_ROOTS; i++) {
        struct rv__root root = rv__header_of(zone)->roots[i];
        if (expected[i].offset == ANYWHERE && root.offset) {
            static const uint64_t words[] = {TYPE, 0, 0, 0};
            const char *place = zone->base + root.offset;
            if (memcmp(place, words, sizeof words) != 0
                || place[STRUCTURE_BYTES - 1]) {
                stores_fail(stores, "a structure is not empty");
            }
            root.offset = ANYWHERE;
        }
        if (memcmp(&root, &expected[i], sizeof root) != 0) {
            return false;
        }
    }
    return true;
}

static void
operate(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    (void)bystander;
    before = after;
    n_before = metrics.root->n_metrics;
    memcpy(roots_before, rv__header_of(zone)->roots, sizeof roots_before);
    memcpy(roots_after, roots_before, sizeof roots_after);
    switch (stores_random(stores, 12)) {
    case 0:
        run_structure(stores, zone);
        break;
    case 1:
        run_root(stores, zone);
        break;
    case 2:
    case 3:
    case 4:
        run_open(stores);
        break;
    default:
        run_record(stores);
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
    must(stores, rv_tx_begin(zone, rv_zone_root_lock(zone), 0), "begin");
    must(stores, rv_tx_commit(zone), "commit");
}

static void
audit(struct stores *stores, const struct rv_metrics *handle)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    uint64_t n_bytes = 0;
    uint64_t type, offset;
    const struct rv_zone *zone = handle->zone;
    if (rv_slab_check(zone, &error)
        || rv__metrics_audit(handle, &n_bytes, &error)) {
        stores_fail(stores, "check: %s", error.text);
    }
    n_bytes += rv_slab_size(zone, rv_zone_offset(zone, handle->root));
    if (rv_zone_root_get(zone, structure_name, &type, &offset) == 0) {
        n_bytes += rv_slab_size(zone, offset);
    }
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
                            .max = reading->max,
                            .min = reading->min,
                            .n_zeros = reading->counts[0]};
    for (uint32_t i = 0; i < reading->n_buckets; i++) {
        totals.buckets += i * reading->counts[i];
    }
    free(reading);
    return totals;
}

/* The zeros are the least of all, if there are any. */
static bool
are_totals(const struct totals *totals, const struct totals *expected)
{
    return totals->count == expected->count && totals->sum == expected->sum
           && totals->max == expected->max
           && (totals->min == expected->min || totals->n_zeros)
           && totals->buckets == expected->buckets;
}

static int
judge(struct stores *stores, const struct rv_zone *zone)
{
    struct rv_zone borrowed = *zone;
    struct rv_metrics handle = handle_of(stores, &borrowed);
    audit(stores, &handle);
    uint64_t n_new = handle.root->n_metrics - n_before;
    struct totals totals = read_totals(stores, &handle);
    if (are_totals(&totals, &before) && n_new == 0
        && are_roots(stores, zone, roots_before)) {
        return 0;
    }
    if (!are_totals(&totals, &after) || n_new > 1
        || !are_roots(stores, zone, roots_after)) {
        stores_fail(stores, "neither as before nor as after the operation");
    }
    return 1;
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
