#include "shm/limbo.h"

static struct rv_lock *
map_lock(const struct rv_zone *zone)
{
    return &rv__slab_of(zone)->map.lock;
}

/* In a transaction on the page map's lock: gives a run from hands back. */
static void
give_run(struct rv_zone *zone, uint32_t thing)
{
    rv__tx_set8(zone, &zone->slab.states[thing], RV__THING_FREE);
    rv__pages_give(zone, thing >> 8);
}

/* --------------------------------------------------------------- draining */

enum { OF_THE_MAP = RV_SLAB_CLASSES, OF_NOBODY };

/* Which lock it takes to give 'thing' back: that of a class, OF_THE_MAP, or
 * OF_NOBODY, when it is neither object nor run. */
static uint32_t
home_of(const struct rv_zone *zone, uint32_t thing)
{
    uint32_t page = thing >> 8;
    if (page >= zone->slab.max_pages) {
        return OF_NOBODY;
    }
    uint64_t tag = rv__page_tag(zone, page);
    switch (rv__tag_kind(tag)) {
    case RV__PAGE_RUN:
        return OF_THE_MAP;
    case RV__PAGE_CHUNK:
    case RV__PAGE_PART:
        return RV_MIN(rv__tag_class(tag), (uint32_t)OF_NOBODY);
    default:
        return OF_NOBODY;
    }
}

/* The home of the last thing in the caller's limbo, which is not empty. */
static uint32_t
next_home(const struct rv_zone *zone)
{
    const struct rv__magazine *limbo =
        &zone->slab.hands->magazines[RV__MAGAZINE_LIMBO];
    uint32_t n = rv__magazine_count(limbo);
    return n <= RV__MAGAZINE_ITEMS ? home_of(zone, limbo->items[n - 1])
                                   : (uint32_t)OF_NOBODY;
}

static void
drain_one(struct rv_zone *zone, uint32_t home)
{
    uint32_t thing = rv__hands_pop(zone, zone->slab.hands, RV__MAGAZINE_LIMBO);
    if (zone->failure) {
        return;
    }
    if (home == OF_THE_MAP) {
        give_run(zone, thing);
    } else {
        rv__shelf_put(zone, home, thing);
    }
}

/* One transaction: what lies last in the limbo and has the same home. */
static int
drain_batch(struct rv_zone *zone)
{
    uint32_t home = next_home(zone);
    if (home == OF_NOBODY) {
        return -EUCLEAN;
    }
    struct rv__slab *slab = rv__slab_of(zone);
    struct rv_lock *lock =
        home == OF_THE_MAP ? &slab->map.lock : &slab->shelves[home].lock;
    int rc = rv__tx_begin(zone, lock, RV_TX_WORDS_MAX);
    if (rc) {
        return rc;
    }
    do {
        drain_one(zone, home);
    } while (!zone->failure && zone->n_words_left >= RV__PAGES_WORDS
             && rv__limbo_count(zone) && next_home(zone) == home);
    return rv__tx_commit(zone);
}

int
rv__limbo_drain(struct rv_zone *zone)
{
    int rc = 0;
    while (!rc && rv__limbo_count(zone)) {
        rc = drain_batch(zone);
    }
    return rc;
}

/* ------------------------------------------------------------------- runs */

int
rv__limbo_fetch_run(struct rv_zone *zone, uint32_t n_pages)
{
    uint32_t page = 0;
    int rc = rv__tx_begin(zone, map_lock(zone), RV_TX_WORDS_MAX);
    if (rc) {
        return rc;
    }
    rc = rv__pages_take(zone, n_pages, &page);
    if (!rc) {
        rv__tx_set8(zone, &zone->slab.states[page << 8], RV__THING_HELD);
        rv__hands_push(zone, RV__MAGAZINE_RUNS, page << 8);
    }
    int committed = rv__tx_commit(zone);
    return committed ? committed : rc;
}

int
rv__limbo_return_runs(struct rv_zone *zone, uint32_t n_keep)
{
    struct rv__magazine *runs =
        &zone->slab.hands->magazines[RV__MAGAZINE_RUNS];
    uint32_t i =
        RV_MIN(rv__magazine_count(runs), (uint32_t)RV__MAGAZINE_ITEMS);
    int rc = 0;
    while (i-- > 0 && !rc) {
        uint32_t thing = runs->items[i];
        if (n_keep && rv__is_run(zone, thing, n_keep)) {
            continue;
        }
        if (!rv__is_run(zone, thing, 0)) {
            return -EUCLEAN;
        }
        rc = rv__tx_begin(zone, map_lock(zone), RV_TX_WORDS_MAX);
        if (rc) {
            return rc;
        }
        uint32_t last =
            rv__hands_pop(zone, zone->slab.hands, RV__MAGAZINE_RUNS);
        rv__tx_set32(zone, &runs->items[i], last);
        give_run(zone, thing);
        rc = rv__tx_commit(zone);
    }
    return rc;
}

/* --------------------------------------------------------------- adopting */

/* One transaction; whether more is to be done: 1, 0, or an error. */
static int
adopt_batch(struct rv_zone *zone, struct rv__hands *hands, uint32_t which)
{
    const struct rv__magazine *magazine = &hands->magazines[which];
    int rc = rv__tx_begin(zone, map_lock(zone), RV_TX_WORDS_MAX);
    if (rc) {
        return rc;
    }
    while (rv__magazine_count(magazine) && rv__limbo_has_room(zone)
           && zone->n_words_left >= RV__PAGES_WORDS && !zone->failure) {
        uint32_t thing = rv__hands_pop(zone, hands, which);
        if (home_of(zone, thing) == OF_THE_MAP) {
            give_run(zone, thing);
        } else {
            rv__hands_push(zone, RV__MAGAZINE_LIMBO, thing);
        }
    }
    rc = rv__tx_commit(zone);
    return rc ? rc : rv__magazine_count(magazine) > 0;
}

int
rv__limbo_adopt(struct rv_zone *zone, struct rv__hands *hands)
{
    int rc = 0;
    for (uint32_t which = RV__MAGAZINE_RUNS; which < RV__MAGAZINES && !rc;
         which++) {
        do {
            rc = rv__limbo_drain(zone);
            rc = rc ? rc : adopt_batch(zone, hands, which);
        } while (rc > 0);
    }
    return rc ? rc : rv__limbo_drain(zone);
}
