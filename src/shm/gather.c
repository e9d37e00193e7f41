#include "shm/gather.h"

#include <string.h>

#include "os/clock.h"
#include "shm/limbo.h"
#include "shm/member.h"

enum { SEARCH_EVERY_MS = 1000 };

void
rv__slab_open(struct rv_zone *zone)
{
    const struct rv__geometry *geometry = &zone->mapping->geometry;
    struct rv__slab_view *view = &zone->slab;
    view->max_pages =
        (uint32_t)(geometry->max_size_bytes / RV_ZONE_PAGE_BYTES);
    view->n_things = view->max_pages * (RV_ZONE_PAGE_BYTES / RV__THING_BYTES);
    view->tags = (uint64_t *)(void *)(zone->base + geometry->pages);
    view->pages = (struct rv__page *)(void *)(view->tags + view->max_pages);
    view->states = (uint8_t *)zone->base + geometry->states;
    view->heap = geometry->heap;
    view->hands = zone->member
                      ? (struct rv__hands *)(void *)zone->member->magazines
                      : NULL;
}

int
rv__slab_return(struct rv_zone *zone, bool keep)
{
    struct rv__slab_view *view = &zone->slab;
    int rc = 0;
    if (!keep) {
        memset(view->n_kept, 0, sizeof view->n_kept);
        view->n_kept_runs = 0;
    }
    for (uint32_t i = 0; i < RV_SLAB_CLASSES && !rc; i++) {
        if (rv__magazine_count(&view->hands->magazines[i]) > view->n_kept[i]) {
            rc = rv__shelf_put_back(zone, view->hands, i, view->n_kept[i]);
        }
        rc = rc ? rc : rv__shelf_clear(zone, i);
        rc = rc ? rc : rv__limbo_drain(zone);
    }
    if (!rc && !view->n_kept_runs) {
        rc = rv__limbo_return_runs(zone, 0);
    }
    return rc;
}

/* Whether rv__slab_return has anything to give. */
static bool
can_return(const struct rv_zone *zone)
{
    const struct rv__slab_view *view = &zone->slab;
    const struct rv__magazine *magazines = view->hands->magazines;
    const struct rv__shelf *shelves = rv__slab_of(zone)->shelves;
    bool can = rv__limbo_count(zone) > 0
               || (!view->n_kept_runs
                   && rv__magazine_count(&magazines[RV__MAGAZINE_RUNS]));
    for (uint32_t i = 0; i < RV_SLAB_CLASSES && !can; i++) {
        can = rv__magazine_count(&magazines[i]) > view->n_kept[i]
              || __atomic_load_n(&shelves[i].spare, __ATOMIC_RELAXED);
    }
    return can;
}

static int
heal(struct rv_zone *zone)
{
    int64_t now_ms = rv_clock_ms();
    if (now_ms < zone->slab.search_ms) {
        return rv__member_heal_marked(zone);
    }
    zone->slab.search_ms = now_ms + SEARCH_EVERY_MS;
    return rv_zone_heal(zone);
}

int
rv__slab_gather(struct rv_zone *zone)
{
    int n = heal(zone);
    if (n < 0 || !can_return(zone)) {
        return n > 0 ? 1 : n;
    }
    int rc = rv__slab_return(zone, true);
    return rc ? rc : 1;
}

int
rv__slab_adopt(struct rv_zone *zone, struct rv__member *member)
{
    struct rv__hands *hands = (struct rv__hands *)(void *)member->magazines;
    int rc = 0;
    for (uint32_t i = 0; i < RV_SLAB_CLASSES && !rc; i++) {
        rc = rv__shelf_put_back(zone, hands, i, 0);
    }
    return rc ? rc : rv__limbo_adopt(zone, hands);
}

static void
pass(struct rv_zone *zone, struct rv_lock *lock)
{
    if (rv__lock_take(zone, lock)) {
        rv__log_recover(zone, lock);
    }
    rv__lock_release(zone, lock);
}

void
rv__slab_settle(struct rv_zone *zone)
{
    struct rv__slab *slab = rv__slab_of(zone);
    pass(zone, &slab->map.lock);
    for (uint32_t i = 0; i < RV_SLAB_CLASSES; i++) {
        pass(zone, &slab->shelves[i].lock);
    }
}
