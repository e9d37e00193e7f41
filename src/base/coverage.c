#include "reeve/coverage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { N_PERIODS = RV_COVERAGE_PERIODS * RV_COVERAGE_MINUTES };

/* All counters that are known, and where in the hour the averages are. */
static struct {
    struct rv_coverage *first; /* Pushed to by any thread. */
    /* Of whoever folds or shows: protects the rest, and the averages. */
    bool is_locked;
    int64_t next_ms; /* When the period under way ends; 0: not begun. */
    size_t index;    /* Of the period under way, within the hour. */
} the_coverage;

static bool
try_lock(void)
{
    return !__atomic_exchange_n(&the_coverage.is_locked, true,
                                __ATOMIC_ACQUIRE);
}

static void
unlock(void)
{
    __atomic_store_n(&the_coverage.is_locked, false, __ATOMIC_RELEASE);
}

static struct rv_coverage *
first(void)
{
    return __atomic_load_n(&the_coverage.first, __ATOMIC_ACQUIRE);
}

static uint64_t
total_of(const struct rv_coverage *counter)
{
    return __atomic_load_n(&counter->total, __ATOMIC_RELAXED);
}

void
rv_coverage_register(struct rv_coverage *counter)
{
    if (__atomic_exchange_n(&counter->is_known, true, __ATOMIC_RELAXED)) {
        return;
    }
    counter->next = first();
    while (!__atomic_compare_exchange_n(&the_coverage.first, &counter->next,
                                        counter, false, __ATOMIC_RELEASE,
                                        __ATOMIC_ACQUIRE)) {
    }
}

static void
end_period(struct rv_coverage *counter, size_t index, uint64_t count)
{
    size_t period = index % RV_COVERAGE_PERIODS;
    size_t minute = index / RV_COVERAGE_PERIODS;
    counter->periods[period] = count;
    if (!period) {
        counter->minutes[minute] = 0;
    }
    counter->minutes[minute] += count;
}

static void
fold(struct rv_coverage *counter, int64_t n_periods)
{
    uint64_t total = total_of(counter);
    uint64_t count = total - counter->folded;
    counter->folded = total;
    if (n_periods > N_PERIODS) {
        memset(counter->periods, 0, sizeof counter->periods);
        memset(counter->minutes, 0, sizeof counter->minutes);
        return;
    }
    for (size_t i = 0; i < (size_t)n_periods; i++) {
        end_period(counter, (the_coverage.index + i) % N_PERIODS,
                   i ? 0 : count);
    }
}

static void
fold_all(int64_t now_ms)
{
    int64_t n = (now_ms - the_coverage.next_ms) / RV_COVERAGE_PERIOD_MS + 1;
    struct rv_coverage *counter;
    for (counter = first(); counter; counter = counter->next) {
        fold(counter, n);
    }
    the_coverage.index =
        (the_coverage.index + (size_t)(n % N_PERIODS)) % N_PERIODS;
    __atomic_store_n(&the_coverage.next_ms,
                     the_coverage.next_ms + n * RV_COVERAGE_PERIOD_MS,
                     __ATOMIC_RELAXED);
}

void
rv_coverage_run(int64_t now_ms)
{
    if (now_ms < __atomic_load_n(&the_coverage.next_ms, __ATOMIC_RELAXED)
        || !try_lock()) {
        return;
    }
    if (!the_coverage.next_ms) {
        __atomic_store_n(&the_coverage.next_ms, now_ms + RV_COVERAGE_PERIOD_MS,
                         __ATOMIC_RELAXED);
    } else if (now_ms >= the_coverage.next_ms) {
        fold_all(now_ms);
    }
    unlock();
}

/* What is shown of a counter, taken at one time: others go on counting. */
struct row {
    const struct rv_coverage *counter;
    uint64_t total;
};

/* The most frequent first, then by name. */
static int
compare(const void *a_, const void *b_)
{
    const struct row *a = a_, *b = b_;
    if (a->total != b->total) {
        return a->total < b->total ? 1 : -1;
    }
    return strcmp(a->counter->name, b->counter->name);
}

/* The known counters, sorted, for the caller to free; NULL without memory or
 * without counters. */
static struct row *
sort_rows(size_t *np)
{
    const struct rv_coverage *start = first();
    const struct rv_coverage *counter;
    size_t n = 0;
    for (counter = start; counter; counter = counter->next) {
        n++;
    }
    struct row *rows = n ? calloc(n, sizeof *rows) : NULL;
    size_t i = 0;
    for (counter = rows ? start : NULL; counter; counter = counter->next) {
        rows[i++] = (struct row){counter, total_of(counter)};
    }
    if (rows) {
        qsort(rows, n, sizeof *rows, compare);
    }
    *np = rows ? n : 0;
    return rows;
}

static void
hash_bytes(uint32_t *hash, const void *data, size_t n)
{
    const unsigned char *byte = data;
    for (; n; n--, byte++) {
        *hash = (*hash ^ *byte) * 16777619u; /* FNV-1a. */
    }
}

/* Equal for equal orders of the same events, so that two reports can be seen
 * to be alike. */
static uint32_t
hash_order(const struct row *rows, size_t n)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n && rows[i].total; i++) {
        const char *name = rows[i].counter->name;
        unsigned char is_tie = i && rows[i - 1].total == rows[i].total;
        hash_bytes(&hash, &is_tie, 1);
        hash_bytes(&hash, name, strlen(name) + 1);
    }
    return hash;
}

static double
sum(const uint64_t *counts, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += counts[i];
    }
    return (double)total;
}

static void
show_row(const struct row *row, struct rv_buf *text)
{
    const struct rv_coverage *counter = row->counter;
    size_t last = (the_coverage.index + N_PERIODS - 1) % RV_COVERAGE_PERIODS;
    rv_buf_printf(
        text, "%-24s %5.1f/sec %9.3f/sec %13.4f/sec   total: %" PRIu64 "\n",
        counter->name,
        (double)counter->periods[last] * 1000 / RV_COVERAGE_PERIOD_MS,
        sum(counter->periods, RV_COVERAGE_PERIODS) / 60,
        sum(counter->minutes, RV_COVERAGE_MINUTES) / 3600, row->total);
}

void
rv_coverage_show(struct rv_buf *text)
{
    size_t n, n_hit = 0;
    struct row *rows = sort_rows(&n);
    rv_buf_printf(text,
                  "Event coverage, avg rate over last: %d seconds, last "
                  "minute, last hour,  hash=%08" PRIx32 ":\n",
                  RV_COVERAGE_PERIOD_MS / 1000, hash_order(rows, n));
    while (!try_lock()) {
        /* Another thread folds, which takes microseconds. */
    }
    for (; n_hit < n && rows[n_hit].total; n_hit++) {
        show_row(&rows[n_hit], text);
    }
    unlock();
    rv_buf_printf(text, "%zu events never hit\n", n - n_hit);
    free(rows);
}

int
rv_coverage_read(const char *name, uint64_t *totalp)
{
    const struct rv_coverage *counter = first();
    for (; counter; counter = counter->next) {
        if (!strcmp(counter->name, name)) {
            *totalp = total_of(counter);
            return 0;
        }
    }
    return -ENOENT;
}
