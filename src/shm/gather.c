#include "shm/gather.h"

#include <string.h>

#include "shm/limbo.h"

void
rv__slab_open(struct rv_zone *zone)
{
    const struct rv__geometry *geometry = &zone->mapping->geometry;
    struct rv__slab_view *view = &zone->slab;
    view->max_pages =
        (uint32_t)(geometry->max_size_bytes / RV_ZONE_PAGE_BYTES);
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

int
rv__slab_gather(struct rv_zone *zone)
{
    int rc = rv_zone_heal(zone);
    return rc < 0 ? rc : rv__slab_return(zone, true);
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
