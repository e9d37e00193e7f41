/* What lies where, for people to look at. */
#include <errno.h>

#include "shm/handle.h"
#include "shm/shelf.h"

/* Of a chunk, whose descriptor belongs to its shelf. */
static void
describe_chunk(const struct rv_zone *zone, uint32_t page, uint64_t tag,
               struct rv_slab_run *run)
{
    uint32_t size_class = rv__tag_class(tag);
    if (size_class >= RV_SLAB_CLASSES) {
        return;
    }
    const struct rv__class *sizes = &rv__classes[size_class];
    uint32_t n_free =
        __atomic_load_n(&zone->slab.pages[page].n_free, __ATOMIC_RELAXED);
    run->kind = RV_SLAB_RUN_OBJECTS;
    run->object_bytes = sizes->units * (uint32_t)RV__UNIT_BYTES;
    run->n_objects = sizes->n_objects;
    run->n_free = RV_MIN(n_free, run->n_objects);
}

int
rv_slab_get_run(const struct rv_zone *zone, uint64_t page,
                struct rv_slab_run *run)
{
    uint64_t n_pages = rv_zone_size_bytes(zone) / RV_ZONE_PAGE_BYTES;
    if (page >= n_pages) {
        return -ERANGE;
    }
    *run = (struct rv_slab_run){.kind = RV_SLAB_RUN_FREE,
                                .n_pages = n_pages - page};
    const struct rv__page_map *map = &rv__slab_of(zone)->map;
    if (page >= __atomic_load_n(&map->n_pages, __ATOMIC_RELAXED)) {
        return 0; /* Not taken up yet. */
    }
    uint64_t tag = rv__page_tag(zone, (uint32_t)page);
    uint32_t n = rv__tag_n(tag);
    run->n_pages = n ? RV_MIN(n, n_pages - page) : 1;
    if (rv__tag_kind(tag) == RV__PAGE_CHUNK) {
        describe_chunk(zone, (uint32_t)page, tag, run);
    } else if (rv__tag_kind(tag) != RV__PAGE_FREE) {
        run->kind = RV_SLAB_RUN_WHOLE;
    }
    return 0;
}
