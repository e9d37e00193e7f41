/* Death at every store of the slab: objects and runs that are allocated,
 * freed and replaced, by themselves or in transactions, with all that this
 * brings along (chunks that come and go, scarcity), while another member has
 * things in its hands, and perhaps a transaction open.
 *
 * After each recovery every byte is accounted for: the slab is sound, and
 * what is used is what the places name. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "hooks.h"
#include "reeve/slab.h"
#include "reeve/tx.h"
#include "shm/member.h"
#include "stores.h"

enum {
    N_PLACES = 12,
    HEAP_PAGES = 40,
    N_STEPS = 2,
    N_SCRATCH = 8,
    SMALL_BYTES = 16,
    N_SMALL = RV__MAGAZINE_ITEMS,
};

/* The root "places".  The second half of 'at' is the bystander's. */
struct places {
    struct rv_lock lock, bystanders_lock;
    uint64_t at[N_PLACES];
    uint64_t scratch[N_SCRATCH]; /* Of those that arrive after a death, by
                                  * the slot of who plays them. */
    uint64_t small[N_SMALL];     /* 0 whenever somebody may die. */
};

/* What an operation does to a place: frees it, then allocates 'bytes'. */
struct step {
    uint32_t place;
    size_t bytes; /* 0: only frees. */
};

static uint64_t before[N_PLACES]; /* The places before the operation. */
static struct step steps[N_STEPS];
static uint32_t n_steps; /* 0: the operation is to change no place. */
static bool is_bystander_open;
static unsigned int n_recoveries;

static struct places *
places_of(struct stores *stores, const struct rv_zone *zone)
{
    uint64_t type, offset;
    if (rv_zone_root_get(zone, "places", &type, &offset)) {
        stores_fail(stores, "the root is gone");
    }
    return rv_zone_at(zone, offset, sizeof(struct places));
}

static void
must(struct stores *stores, int rc, const char *what)
{
    if (rc < 0) {
        stores_fail(stores, "%s: %d", what, rc);
    }
}

static size_t
draw_size(struct stores *stores)
{
    static const size_t sizes[] = {16, 100, 480, 700, 2000, 4096, 5000, 9000};
    return sizes[stores_random(stores, RV_ARRAY_SIZE(sizes))];
}

/* -------------------------------------------------------------- operations */

/* By itself: frees the place, or allocates into it. */
static void
run_alone(struct stores *stores, struct rv_zone *zone)
{
    struct places *places = places_of(stores, zone);
    struct step *step = &steps[0];
    uint64_t *place = &places->at[step->place];
    n_steps = 1;
    step->bytes = *place ? 0 : step->bytes;
    stores_begin(stores);
    int rc = *place ? rv_slab_free(zone, place)
                    : rv_slab_alloc(zone, step->bytes, place);
    stores_end(stores);
    must(stores, rc == -ENOMEM ? 0 : rc, "alone");
}

/* In a transaction: frees and allocates at one or two places. */
static void
run_within(struct stores *stores, struct rv_zone *zone, bool is_commit)
{
    struct places *places = places_of(stores, zone);
    n_steps = is_commit ? N_STEPS : 0;
    stores_begin(stores);
    int rc = rv_slab_reserve(zone, steps[0].bytes, 1, 2);
    rc = rc ? rc : rv_slab_reserve_more(zone, steps[1].bytes, 2, 2);
    if (!rc) {
        must(stores, rv_tx_begin(zone, &places->lock, 4 * RV_SLAB_WORDS),
             "begin");
        for (uint32_t i = 0; i < N_STEPS; i++) {
            uint64_t *place = &places->at[steps[i].place];
            must(stores, rv_slab_free(zone, place), "free");
            must(stores, rv_slab_alloc(zone, steps[i].bytes, place), "alloc");
        }
        if (is_commit) {
            must(stores, rv_tx_commit(zone), "commit");
        } else {
            rv_tx_abort(zone);
        }
    }
    stores_end(stores);
    must(stores, rc == -ENOMEM ? 0 : rc, "reserve");
}

static void
run_flush(struct stores *stores, struct rv_zone *zone)
{
    n_steps = 0;
    stores_begin(stores);
    int rc = rv_slab_flush(zone);
    stores_end(stores);
    must(stores, rc, "flush");
}

/* Takes free pages at the end out of use, or has all in use again. */
static void
run_trim(struct stores *stores, struct rv_zone *zone)
{
    uint64_t used = 0;
    uint64_t n_pages = HEAP_PAGES / 2 + stores_random(stores, HEAP_PAGES);
    n_steps = 0;
    stores_begin(stores);
    int rc = rv_slab_trim_tail(zone, n_pages * RV_ZONE_PAGE_BYTES, &used);
    stores_end(stores);
    must(stores, rc == -EBUSY ? 0 : rc, "trim");
}

static void
start_bystander(struct stores *stores, struct rv_zone *zone)
{
    struct places *places = places_of(stores, zone);
    uint64_t *place =
        &places->at[N_PLACES / 2 + stores_random(stores, N_PLACES / 2)];
    size_t bytes = draw_size(stores);
    int rc = rv_slab_reserve(zone, bytes, 1, 1);
    must(stores, rc == -ENOMEM ? 0 : rc, "bystander's reserve");
    if (rc) {
        must(stores, rv_slab_free(zone, place), "bystander's free");
        return;
    }
    must(stores,
         rv_tx_begin(zone, &places->bystanders_lock, 2 * RV_SLAB_WORDS),
         "bystander's begin");
    must(stores, rv_slab_free(zone, place), "bystander's free");
    must(stores, rv_slab_alloc(zone, bytes, place), "bystander's alloc");
    is_bystander_open = true;
}

static void
finish_bystander(struct stores *stores, struct rv_zone *zone)
{
    if (!is_bystander_open) {
        return;
    }
    if (stores_random(stores, 2)) {
        must(stores, rv_tx_commit(zone), "bystander's commit");
    } else {
        rv_tx_abort(zone);
    }
    is_bystander_open = false;
}

/* Has a small object at the places of the steps, and the member's hands full
 * of such. */
static void
fill_hands(struct stores *stores, struct rv_zone *zone)
{
    struct places *places = places_of(stores, zone);
    int rc = 0;
    for (uint32_t i = 0; i < N_STEPS && !rc; i++) {
        uint64_t *place = &places->at[steps[i].place];
        must(stores, rv_slab_free(zone, place), "free before");
        rc = rv_slab_alloc(zone, SMALL_BYTES, place);
    }
    for (uint32_t i = 0; i < N_SMALL && !rc; i++) {
        rc = rv_slab_alloc(zone, SMALL_BYTES, &places->small[i]);
    }
    must(stores, rc == -ENOMEM ? 0 : rc, "alloc before");
    for (uint32_t i = 0; i < N_SMALL; i++) {
        must(stores, rv_slab_free(zone, &places->small[i]), "free before");
    }
}

static void
operate(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    if (stores_random(stores, 4) == 0) {
        start_bystander(stores, bystander);
    }
    steps[0].place = (uint32_t)stores_random(stores, N_PLACES / 4);
    steps[1].place = steps[0].place + N_PLACES / 4;
    steps[0].bytes = draw_size(stores);
    steps[1].bytes = draw_size(stores);
    if (stores_random(stores, 4) == 0) {
        fill_hands(stores, zone);
    }
    memcpy(before, places_of(stores, zone)->at, sizeof before);
    switch (stores_random(stores, 9)) {
    case 0:
        run_flush(stores, zone);
        break;
    case 8:
        run_trim(stores, zone);
        break;
    case 1:
        run_within(stores, zone, false);
        break;
    case 2:
    case 3:
        run_within(stores, zone, true);
        break;
    default:
        run_alone(stores, zone);
    }
    finish_bystander(stores, bystander);
}

/* ----------------------------------------------------------------- recovery */

static void
take_lock(struct stores *stores, struct rv_zone *zone)
{
    struct places *places = places_of(stores, zone);
    must(stores, rv_tx_begin(zone, &places->lock, 0), "begin after a death");
    must(stores, rv_tx_commit(zone), "commit after a death");
}

/* A member comes, takes the dead one's slot with all that is in it, and uses
 * that at once; what it has then may stay in use for a while. */
static void
arrive(struct stores *stores, const struct rv_zone *zone, bool is_to_stay)
{
    struct rv_zone arrived = *zone;
    uint64_t *scratch = &places_of(stores, zone)->scratch[zone->index];
    must(stores, rv__member_take(&arrived), "arrival after a death");
    int rc = rv_slab_alloc(&arrived, RV_MAX(steps[0].bytes, 16), scratch);
    must(stores, rc == -ENOMEM ? 0 : rc, "alloc of an arrival");
    if (!is_to_stay) {
        must(stores, rv_slab_free(&arrived, scratch), "free of an arrival");
    }
    rv__member_release(&arrived);
}

static void
free_scratch(struct stores *stores, struct rv_zone *zone)
{
    struct places *places = places_of(stores, zone);
    for (uint32_t i = 0; i < N_SCRATCH; i++) {
        must(stores, rv_slab_free(zone, &places->scratch[i]),
             "free of what an arrival left");
    }
}

static void
recover(struct stores *stores, struct rv_zone *zone)
{
    switch (n_recoveries++ % 3) {
    case 0:
        take_lock(stores, zone);
        break;
    case 1:
        break;
    default:
        arrive(stores, zone, n_recoveries % 2);
    }
    must(stores, rv_zone_heal(zone), "heal");
    free_scratch(stores, zone);
    take_lock(stores, zone);
}

/* Every byte is accounted for. */
static void
audit(struct stores *stores, const struct rv_zone *zone)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    const struct places *places = places_of(stores, zone);
    uint64_t sum =
        rv_slab_size(zone, (uint64_t)((const char *)places - zone->base));
    if (rv_slab_check(zone, &error)) {
        stores_fail(stores, "check: %s", error.text);
    }
    for (uint32_t i = 0; i < N_SCRATCH; i++) {
        must(stores, places->scratch[i] ? -EUCLEAN : 0, "a scratch place");
    }
    for (uint32_t i = 0; i < N_PLACES; i++) {
        size_t n = places->at[i] ? rv_slab_size(zone, places->at[i]) : 0;
        if (places->at[i] && n == 0) {
            stores_fail(stores, "place %" PRIu32 " names nothing", i);
        }
        sum += n;
    }
    rv_slab_get_stats(zone, &stats);
    if (stats.used_bytes != sum) {
        stores_fail(stores, "%" PRIu64 " bytes are used, places name %" PRIu64,
                    stats.used_bytes, sum);
    }
}

/* Whether the place of 'step' is as after it. */
static bool
is_done(const struct rv_zone *zone, const struct step *step, uint64_t now)
{
    if (step->bytes == 0) {
        return now == 0;
    }
    return now && now != before[step->place]
           && rv_slab_size(zone, now) == rv_slab_aligned_bytes(step->bytes, 1);
}

static int
judge(struct stores *stores, const struct rv_zone *zone)
{
    const struct places *places = places_of(stores, zone);
    uint64_t expected[N_PLACES];
    audit(stores, zone);
    memcpy(expected, before, sizeof before);
    /* The bystander's are as it set them, also when it has not committed. */
    for (uint32_t i = N_PLACES / 2; i < N_PLACES; i++) {
        expected[i] = places->at[i];
    }
    if (memcmp(expected, places->at, sizeof expected) == 0) {
        return n_steps == 0;
    }
    for (uint32_t i = 0; i < n_steps; i++) {
        uint64_t now = places->at[steps[i].place];
        if (is_done(zone, &steps[i], now)) {
            expected[steps[i].place] = now;
        }
    }
    if (n_steps == 0 || memcmp(expected, places->at, sizeof expected) != 0
        || expected[steps[0].place] == before[steps[0].place]
        || expected[steps[n_steps - 1].place]
               == before[steps[n_steps - 1].place]) {
        stores_fail(stores, "neither as before nor as after the operation");
    }
    return 1;
}

static void
setup(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    uint64_t offset = 0;
    (void)bystander;
    must(stores, rv_slab_reserve(zone, sizeof(struct places), 1, 0),
         "reserve");
    must(stores,
         rv_tx_begin(zone, rv_zone_root_lock(zone),
                     RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS),
         "begin");
    must(stores, rv_slab_take(zone, sizeof(struct places), &offset), "take");
    hook_store(zone->base + offset, sizeof(struct places));
    memset(zone->base + offset, 0, sizeof(struct places));
    must(stores, rv_zone_root_set(zone, "places", 1, offset), "root");
    must(stores, rv_tx_commit(zone), "commit");
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
