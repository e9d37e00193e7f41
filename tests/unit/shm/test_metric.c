/* Metrics: each call and error; members that come, go and die. */
#include <stdio.h>

#include "reeve/metric.h"
#include "shm/metric.h"
#include "slab_test.h"

enum { METRIC_ZONE_BYTES = 2 << 20 };

static struct rv_metrics *
open_metrics(struct rv_zone *zone)
{
    struct rv_metrics *metrics = NULL;
    struct rv_error error = {.code = 0};
    int rc = rv_metrics_open(zone, "web", &metrics, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return metrics;
}

static struct rv_counter
counter_of(struct rv_metrics *metrics, const char *name)
{
    struct rv_counter counter;
    ck_assert_int_eq(rv_counter_open(metrics, name, &counter), 0);
    return counter;
}

static struct rv_histogram
histogram_of(struct rv_metrics *metrics, const char *name)
{
    struct rv_histogram histogram;
    ck_assert_int_eq(rv_histogram_open(metrics, name, NULL, &histogram), 0);
    return histogram;
}

static struct rv_metric
metric_of(struct rv_metrics *metrics, const char *name)
{
    struct rv_metric metric;
    ck_assert_int_eq(rv_metrics_find(metrics, name, &metric), 0);
    return metric;
}

static uint64_t
count_of(struct rv_metrics *metrics, const char *name)
{
    struct rv_metric metric = metric_of(metrics, name);
    return rv_metric_read_counter(&metric);
}

static struct rv_histogram_reading *
reading_of(struct rv_metrics *metrics, const char *name)
{
    struct rv_metric metric = metric_of(metrics, name);
    struct rv_histogram_reading *reading = NULL;
    ck_assert_int_eq(rv_metric_read_histogram(&metric, &reading), 0);
    return reading;
}

/* Every byte in use is the metrics'. */
static void
expect_whole(struct rv_metrics *metrics)
{
    struct rv_error error = {.code = 0};
    struct rv_slab_stats stats;
    uint64_t n_bytes = 0;
    struct rv_zone *zone = metrics->zone;
    int rc = rv__metrics_audit(metrics, &n_bytes, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    ck_assert_int_eq(rv_metrics_check(metrics, &error), 0);
    ck_assert_int_eq(rv_zone_check(zone, &error), 0);
    expect_sound(zone);
    rv_slab_get_stats(zone, &stats);
    n_bytes += rv_slab_size(zone, rv_zone_offset(zone, metrics->root));
    ck_assert_uint_eq(stats.used_bytes, n_bytes);
}

static void
close_all(struct rv_metrics *metrics, struct rv_zone *zone, int fd)
{
    expect_whole(metrics);
    rv_metrics_close(&metrics);
    ck_assert_ptr_null(metrics);
    rv_metrics_close(&metrics);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}

START_TEST(counters_count)
{
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    char name[32];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "counter %d", i);
        struct rv_counter counter = counter_of(metrics, name);
        rv_counter_add(&counter, (uint64_t)i);
        struct rv_counter again = counter_of(metrics, name);
        rv_counter_add(&again, 1);
    }
    struct rv_metric metric = {.offset = 0};
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(rv_metrics_next(metrics, &metric), 0);
        snprintf(name, sizeof name, "counter %d", i);
        ck_assert_str_eq(metric.name, name);
        ck_assert_int_eq(metric.type, RV_METRIC_COUNTER);
        ck_assert_uint_eq(rv_metric_read_counter(&metric), (uint64_t)i + 1);
    }
    ck_assert_int_eq(rv_metrics_next(metrics, &metric), -ENOENT);
    close_all(metrics, zone, fd);
}
END_TEST

START_TEST(counters_wrap)
{
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_counter counter = counter_of(metrics, "c");
    struct rv_gauge gauge;
    rv_counter_add(&counter, UINT64_MAX);
    ck_assert_uint_eq(count_of(metrics, "c"), UINT64_MAX);
    rv_counter_add(&counter, 3);
    ck_assert_uint_eq(count_of(metrics, "c"), 2);
    ck_assert_int_eq(rv_gauge_open(metrics, "g", &gauge), 0);
    struct rv_metric metric = metric_of(metrics, "g");
    rv_gauge_set(&gauge, INT64_MAX);
    rv_gauge_add(&gauge, 1);
    ck_assert(rv_metric_read_gauge(&metric) == INT64_MIN);
    rv_gauge_add(&gauge, -1);
    ck_assert(rv_metric_read_gauge(&metric) == INT64_MAX);
    struct rv_histogram histogram = histogram_of(metrics, "h");
    rv_histogram_record(&histogram, UINT64_MAX);
    rv_histogram_record(&histogram, 3);
    struct rv_histogram_reading *reading = reading_of(metrics, "h");
    ck_assert_uint_eq(reading->sum, 2);
    ck_assert_uint_eq(reading->max, UINT64_MAX);
    ck_assert_uint_eq(reading->min, 3);
    free(reading);
    close_all(metrics, zone, fd);
}
END_TEST

START_TEST(buckets_join)
{
    for (uint32_t bits = 1; bits <= RV_HISTOGRAM_BITS_MAX; bits++) {
        uint32_t last = rv__bucket_of(UINT64_MAX, bits);
        uint64_t next = 0;
        for (uint32_t i = 0; i <= last; i++) {
            uint64_t least = rv__bucket_least(i, bits);
            uint64_t largest = rv__bucket_largest(i, bits);
            ck_assert_uint_eq(least, next);
            ck_assert_uint_ge(largest, least);
            ck_assert_uint_eq(rv__bucket_of(least, bits), i);
            ck_assert_uint_eq(rv__bucket_of(largest, bits), i);
            ck_assert_uint_le(largest - least, least >> bits);
            next = largest + 1;
        }
        ck_assert_uint_eq(next, 0);
    }
}
END_TEST

static int
compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

START_TEST(quantiles_are_near)
{
    enum { N = 10001 };
    static uint64_t values[N];
    uint64_t seed = 3;
    uint64_t sum = 0;
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_histogram histogram = histogram_of(metrics, "latency");
    struct rv_histogram_reading *reading = reading_of(metrics, "latency");
    ck_assert_uint_eq(reading->count + reading->sum + reading->min, 0);
    ck_assert_uint_eq(rv_histogram_quantile(reading, 0.5), 0);
    free(reading);
    for (size_t i = 0; i < N; i++) {
        values[i] =
            random_below(&seed, UINT64_C(1) << 50) >> random_below(&seed, 50);
        sum += values[i];
        rv_histogram_record(&histogram, values[i]);
    }
    qsort(values, N, sizeof values[0], compare);
    reading = reading_of(metrics, "latency");
    ck_assert_uint_eq(reading->count, N);
    ck_assert_uint_eq(reading->sum, sum);
    ck_assert_uint_eq(reading->min, values[0]);
    ck_assert_uint_eq(reading->max, values[N - 1]);
    ck_assert_uint_eq(rv_histogram_quantile(reading, 0), values[0]);
    ck_assert_uint_eq(rv_histogram_quantile(reading, 2),
                      RV_MIN(rv_histogram_quantile(reading, 1), reading->max));
    for (size_t i = 1; i < N; i++) {
        double q = ((double)i - 0.5) / N;
        uint64_t near = rv_histogram_quantile(reading, q);
        double exact = (double)values[i - 1];
        double error = (double)near - exact;
        error = error < 0 ? -error : error;
        ck_assert_msg(error <= exact / 32, "q %f: %f, not %f", q, (double)near,
                      exact);
    }
    free(reading);
    close_all(metrics, zone, fd);
}
END_TEST

START_TEST(large_values_share_the_last_bucket)
{
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_histogram_settings settings = {.max_value = 1000, .bits = 2};
    struct rv_histogram histogram;
    ck_assert_int_eq(rv_histogram_open(metrics, "h", &settings, &histogram),
                     0);
    rv_histogram_record(&histogram, 999);
    rv_histogram_record(&histogram, UINT64_C(1) << 60);
    struct rv_histogram_reading *reading = reading_of(metrics, "h");
    uint64_t least, largest;
    uint32_t last = reading->n_buckets - 1;
    rv_histogram_bucket(reading, last, &least, &largest);
    ck_assert_uint_le(least, 1000);
    ck_assert_uint_ge(largest, 1000);
    ck_assert_uint_eq(reading->counts[last], 2);
    ck_assert_uint_eq(reading->sum, 999 + (UINT64_C(1) << 60));
    free(reading);
    close_all(metrics, zone, fd);
}
END_TEST

START_TEST(misuse_is_refused)
{
    char name[RV_METRIC_NAME_BYTES + 1];
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_histogram_settings settings = {.bits = 11};
    struct rv_counter counter = counter_of(metrics, "c");
    struct rv_gauge gauge;
    struct rv_histogram histogram;
    struct rv_histogram_reading *reading = NULL;
    struct rv_metric metric;
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    ck_assert_int_eq(rv_counter_open(metrics, name, &counter), -EINVAL);
    ck_assert_int_eq(rv_counter_open(metrics, "", &counter), -EINVAL);
    ck_assert_int_eq(rv_counter_open(metrics, name + 1, &counter), 0);
    ck_assert_int_eq(rv_metrics_find(metrics, name + 1, &metric), 0);
    ck_assert_int_eq(rv_metrics_find(metrics, name, &metric), -ENOENT);
    ck_assert_int_eq(rv_gauge_open(metrics, "c", &gauge), -EPROTOTYPE);
    ck_assert_int_eq(rv_histogram_open(metrics, "h", &settings, &histogram),
                     -EINVAL);
    metric = metric_of(metrics, "c");
    ck_assert_int_eq(rv_metric_read_histogram(&metric, &reading), -ENOENT);
    ck_assert_int_eq(rv_metric_read_gauge(&metric), 0);
    begin(zone, NULL, 1);
    ck_assert_int_eq(rv_gauge_open(metrics, "g", &gauge), -EDEADLK);
    rv_tx_abort(zone);
    expect_whole(metrics);

    struct rv_zone_options options = {.is_read_only = true};
    struct rv_zone *reader = NULL;
    struct rv_error error;
    struct rv_metrics *others = NULL;
    rv_counter_add(&counter, 5);
    ck_assert_int_eq(rv_zone_attach(fd, &options, &reader, &error), 0);
    ck_assert_int_eq(rv_metrics_open(reader, "x", &others, &error), -ENOENT);
    ck_assert_int_eq(rv_metrics_open(reader, "web", &others, &error), 0);
    ck_assert_int_eq(rv_counter_open(others, "c", &counter), -EROFS);
    ck_assert_uint_eq(count_of(others, name + 1), 5);
    ck_assert_int_eq(rv_metrics_check(others, &error), 0);
    rv_metrics_close(&others);
    ck_assert_int_eq(rv_zone_detach(&reader), 0);
    close_all(metrics, zone, fd);
}
END_TEST

START_TEST(there_is_an_end)
{
    char name[32];
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_gauge gauge;
    for (int i = 0; i < RV_METRICS_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        ck_assert_int_eq(rv_gauge_open(metrics, name, &gauge), 0);
    }
    ck_assert_int_eq(rv_gauge_open(metrics, "more", &gauge), -ENOSPC);
    ck_assert_int_eq(rv_gauge_open(metrics, "7", &gauge), 0);
    close_all(metrics, zone, fd);

    fd = make_slab_zone(1 << 14, 1 << 14);
    zone = attach_zone(fd);
    metrics = open_metrics(zone);
    int rc;
    int n = 0;
    do {
        struct rv_histogram histogram;
        snprintf(name, sizeof name, "%d", n++);
        rc = rv_histogram_open(metrics, name, NULL, &histogram);
    } while (rc == 0);
    ck_assert_int_eq(rc, -ENOMEM);
    close_all(metrics, zone, fd);
}
END_TEST

/* ------------------------------------------------------------------ members */

enum { N_ADDS = 10000 };

static void
count(struct rv_zone *zone, int value)
{
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_counter counter = counter_of(metrics, "c");
    struct rv_histogram histogram = histogram_of(metrics, "h");
    struct rv_gauge gauge;
    ck_assert_int_eq(rv_gauge_open(metrics, "g", &gauge), 0);
    for (int i = 0; i < N_ADDS; i++) {
        rv_counter_add(&counter, 1);
        rv_gauge_add(&gauge, 1);
        rv_histogram_record(&histogram, (uint64_t)value);
    }
    rv_metrics_close(&metrics);
}

static void
count_and_die(struct rv_zone *zone, int value)
{
    count(zone, value);
    die();
}

START_TEST(members_add_up)
{
    pid_t pids[3];
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            pids[i] = start_member(fd, i ? count : count_and_die, 1 + i);
        }
        for (int i = 0; i < 3; i++) {
            ck_assert(WIFSIGNALED(end_of(pids[i])) == (i == 0));
        }
    }
    struct rv_metric gauge = metric_of(metrics, "g");
    ck_assert_uint_eq(count_of(metrics, "c"), 6 * N_ADDS);
    ck_assert_int_eq(rv_metric_read_gauge(&gauge), 6 * N_ADDS);
    struct rv_histogram_reading *reading = reading_of(metrics, "h");
    ck_assert_uint_eq(reading->count, 6 * N_ADDS);
    ck_assert_uint_eq(reading->sum, 2 * (1 + 2 + 3) * N_ADDS);
    ck_assert_uint_eq(reading->counts[2], 2 * N_ADDS);
    free(reading);
    close_all(metrics, zone, fd);
}
END_TEST

/* Dies between the number of records and the bucket's count. */
static void
die_in_a_record(struct rv_zone *zone, int value)
{
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_histogram histogram = histogram_of(metrics, "h");
    struct rv__stripe *stripe = histogram.stripe;
    rv_histogram_record(&histogram, (uint64_t)value);
    stripe->counts[value]--;
    die();
}

START_TEST(torn_records_are_mended)
{
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    for (uint64_t i = 1; i <= 3; i++) {
        run_victim(fd, die_in_a_record, 5);
        struct rv_histogram_reading *reading = reading_of(metrics, "h");
        ck_assert_uint_eq(reading->count, i);
        ck_assert_uint_eq(reading->counts[5], i);
        ck_assert_uint_eq(reading->sum, 5 * i);
        free(reading);
    }
    close_all(metrics, zone, fd);
}
END_TEST

START_TEST(damage_is_found_and_survived)
{
    uint64_t seed = 9;
    int fd = make_slab_zone(METRIC_ZONE_BYTES, METRIC_ZONE_BYTES);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_error error;
    counter_of(metrics, "a");
    histogram_of(metrics, "b");
    struct rv__metric *second = rv__metric_at(metrics, metrics->root->last);
    ck_assert_ptr_nonnull(second);
    uint64_t *const words[] = {&metrics->root->first, &metrics->root->last,
                               &metrics->root->n_metrics, &second->next,
                               &second->block};
    for (size_t i = 0; i < RV_ARRAY_SIZE(words); i++) {
        uint64_t right = *words[i];
        for (int j = 0; j < 500; j++) {
            uint64_t wrong =
                random_below(&seed, UINT64_MAX) >> random_below(&seed, 64);
            *words[i] = wrong;
            int rc = rv_metrics_check(metrics, &error);
            ck_assert_int_eq(rc, wrong == right ? 0 : -EUCLEAN);
            struct rv_metric metric = {.offset = 0};
            for (int n = 0; n < 5 && !rv_metrics_next(metrics, &metric); n++) {
                struct rv_histogram_reading *reading = NULL;
                (void)rv_metric_read_counter(&metric);
                if (rv_metric_read_histogram(&metric, &reading) == 0) {
                    free(reading);
                }
            }
        }
        *words[i] = right;
    }
    close_all(metrics, zone, fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(counters_count),
        RV_TEST(counters_wrap),
        RV_TEST(buckets_join),
        RV_TEST(quantiles_are_near),
        RV_TEST(large_values_share_the_last_bucket),
        RV_TEST(misuse_is_refused),
        RV_TEST(there_is_an_end),
        RV_TEST(members_add_up),
        RV_TEST(torn_records_are_mended),
        RV_TEST(damage_is_found_and_survived),
    };
    return rv_test_run("metric", tests, RV_ARRAY_SIZE(tests));
}
