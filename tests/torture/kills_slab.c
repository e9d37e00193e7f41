/* Memory comes and goes, and all of it is where a place says.  Memory that is
 * allocated in a transaction bears a stamp at both ends. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "kills.h"
#include "reeve/slab.h"
#include "steps_watch.h"

enum { N_PLACES = 12, N_OWN = 3 };

struct shelf {
    struct rv_lock lock;
    uint64_t places[N_PLACES];
};

struct store {
    struct shelf shelves[N_GROUPS];
    uint64_t own[MAX_WORKERS][N_OWN];
};

static struct store *
store_of(const struct rv_zone *zone)
{
    return find_root(zone, "store", sizeof(struct store));
}

static void
setup(struct rv_zone *zone)
{
    make_root(zone, "store", sizeof(struct store));
}

static size_t
draw_size(struct worker *worker)
{
    size_t most = (size_t)16 << watch_random(&worker->random, 10);
    return 16 + watch_random(&worker->random, most);
}

/* ------------------------------------------------------------------- stamps */

static void
stamp(struct rv_zone *zone, uint64_t offset)
{
    size_t n = rv_slab_size(zone, offset);
    char *memory = rv_zone_at(zone, offset, n);
    if (!memory || n < sizeof offset) {
        find_wrong("memory at %" PRIu64 " has %zu bytes", offset, n);
    }
    memcpy(memory + n - sizeof offset, &offset, sizeof offset);
    memcpy(memory, &offset, sizeof offset);
}

static void
check_stamp(const struct rv_zone *zone, uint64_t offset)
{
    size_t n = rv_slab_size(zone, offset);
    const char *memory = rv_zone_at(zone, offset, n);
    if (!memory || n < sizeof offset
        || memcmp(memory, &offset, sizeof offset) != 0
        || memcmp(memory + n - sizeof offset, &offset, sizeof offset) != 0) {
        find_wrong("memory at %" PRIu64 ", %zu bytes, was written over",
                   offset, n);
    }
}

/* --------------------------------------------------------------- operations */

static void
must(int rc, const char *what)
{
    if (rc) {
        find_wrong("%s: %d", what, rc);
    }
}

/* Frees a place, and allocates there if there is memory to be had. */
static void
replace(struct worker *worker)
{
    struct rv_zone *zone = worker->zone;
    struct store *store = store_of(zone);
    struct shelf *shelf =
        &store->shelves[watch_random(&worker->random, N_GROUPS)];
    uint64_t *place = &shelf->places[watch_random(&worker->random, N_PLACES)];
    size_t bytes = draw_size(worker);
    int rc = rv_slab_reserve(zone, bytes, 1, 1);
    bool is_scarce = rc == -ENOMEM;
    if (is_scarce) {
        rc = rv_slab_reserve(zone, 16, 0, 1);
    }
    must(rc, "reserve");
    must(rv_tx_begin(zone, &shelf->lock, 2 * RV_SLAB_WORDS), "begin");
    if (*place) {
        check_stamp(zone, *place);
    }
    must(rv_slab_free(zone, place), "free");
    if (!is_scarce && watch_random(&worker->random, 4)) {
        must(rv_slab_alloc(zone, bytes, place), "alloc");
        stamp(zone, *place);
    }
    if (watch_random(&worker->random, 8) == 0) {
        rv_tx_abort(zone);
    } else {
        must(rv_tx_commit(zone), "commit");
    }
}

static void
work_alone(struct worker *worker)
{
    struct store *store = store_of(worker->zone);
    uint64_t *place =
        &store->own[worker->index][watch_random(&worker->random, N_OWN)];
    if (*place) {
        must(rv_slab_free(worker->zone, place), "free alone");
        return;
    }
    int rc = rv_slab_alloc(worker->zone, draw_size(worker), place);
    must(rc == -ENOMEM ? 0 : rc, "alloc alone");
}

static void
operate(struct worker *worker)
{
    uint64_t kind = watch_random(&worker->random, 64);
    if (kind == 0) {
        must(rv_slab_flush(worker->zone), "flush");
    } else if (kind < 24) {
        work_alone(worker);
    } else {
        replace(worker);
    }
}

/* -------------------------------------------------------------------- audit */

static uint64_t
size_at(const struct rv_zone *zone, uint64_t offset)
{
    size_t n = offset ? rv_slab_size(zone, offset) : 0;
    if (offset && !n) {
        find_wrong("a place names %" PRIu64 ", where nothing is", offset);
    }
    return n;
}

static void
audit(struct rv_zone *zone, struct diary *diaries)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    const struct store *store = store_of(zone);
    (void)diaries;
    if (rv_slab_check(zone, &error)) {
        find_wrong("slab: %s", error.text);
    }
    uint64_t sum = size_at(zone, rv_zone_offset(zone, store));
    for (size_t i = 0; i < N_GROUPS; i++) {
        for (size_t j = 0; j < N_PLACES; j++) {
            uint64_t offset = store->shelves[i].places[j];
            sum += size_at(zone, offset);
            if (offset) {
                check_stamp(zone, offset);
            }
        }
    }
    for (size_t i = 0; i < MAX_WORKERS; i++) {
        for (size_t j = 0; j < N_OWN; j++) {
            sum += size_at(zone, store->own[i][j]);
        }
    }
    rv_slab_get_stats(zone, &stats);
    if (stats.used_bytes != sum) {
        find_wrong("%" PRIu64 " bytes are used, the places name %" PRIu64,
                   stats.used_bytes, sum);
    }
}

const struct kill_workload slab_workload = {.name = "slab",
                                            .heap_bytes = 640 << 10,
                                            .setup = setup,
                                            .operate = operate,
                                            .audit = audit};
