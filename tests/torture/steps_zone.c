/* The zone that each playing of a scene begins with. */
#include <string.h>

#include "os/fd.h"
#include "reeve/slab.h"
#include "shm/handle.h"
#include "steps.h"
#include "steps_watch.h"

/* The things, a few of their places in use. */
static void
fill(struct rv_zone *zone)
{
    static const size_t sizes[] = {100, 480, 8000};
    uint64_t offset = 0;
    must_be(rv_slab_reserve(zone, sizeof(struct things), 1, 0), 0, "reserve");
    must_be(rv_tx_begin(zone, rv_zone_root_lock(zone),
                        RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS),
            0, "begin");
    must_be(rv_slab_take(zone, sizeof(struct things), &offset), 0, "take");
    memset(rv_zone_at(zone, offset, sizeof(struct things)), 0,
           sizeof(struct things));
    must_be(rv_zone_root_set(zone, "things", 1, offset), 0, "root_set");
    must_be(rv_tx_commit(zone), 0, "commit");
    struct things *things = find_things(zone);
    for (uint64_t i = 0; i < N_WORDS; i++) {
        things->words[i] = (i + 1) * UINT64_C(0x1122334455667788);
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(sizes); i++) {
        must_be(rv_slab_alloc(zone, sizes[i], &things->places[i]), 0, "alloc");
    }
}

int
steps_make_zone(const struct kind *kind, bool is_exchange)
{
    struct rv_zone_settings settings = {
        .name = "torture",
        .size_bytes = (uint64_t)HEAP_PAGES * RV_ZONE_PAGE_BYTES,
        .max_size_bytes = (uint64_t)MAX_HEAP_PAGES * RV_ZONE_PAGE_BYTES,
        .n_members = N_MEMBERS,
        .is_exchange = is_exchange};
    struct rv_zone *zone = NULL;
    struct rv_error error;
    int fd = -1;
    if (rv_zone_create(&settings, &fd, &error)
        || rv_zone_attach(fd, NULL, &zone, &error)) {
        watch_fail("zone: %s", error.text);
    }
    fill(zone);
    if (kind && kind->fill) {
        kind->fill(zone);
    }
    must_be(rv_zone_detach(&zone), 0, "detach");
    return fd;
}
