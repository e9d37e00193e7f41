/* What is expected of a zone after a death. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "reeve/slab.h"
#include "shm/handle.h"
#include "steps.h"
#include "steps_watch.h"

enum { SPARE = N_PLACES - 1 };

void
must_be(int rc, int expected, const char *what)
{
    if (rc != expected) {
        printf("FAILED: %s of process %d: %d, not %d\n", what, (int)getpid(),
               rc, expected);
        fflush(stdout);
        _exit(3);
    }
}

struct things *
find_things(const struct rv_zone *zone)
{
    uint64_t type, offset;
    if (rv_zone_root_get(zone, "things", &type, &offset)) {
        watch_fail("the root is gone");
    }
    return rv_zone_at(zone, offset, sizeof(struct things));
}

static void
look(const struct rv_zone *zone, struct view *view)
{
    const struct things *things = find_things(zone);
    struct rv_slab_stats stats;
    memset(view, 0, sizeof *view);
    memcpy(view->words, things->words, sizeof view->words);
    memcpy(view->places, things->places, sizeof view->places);
    for (size_t i = 0; i < N_PLACES; i++) {
        view->sizes[i] =
            things->places[i] ? rv_slab_size(zone, things->places[i]) : 0;
    }
    view->others_word = things->others_word;
    rv_zone_root_get(zone, "root", &view->root_type, &view->root);
    view->size_bytes = rv_zone_size_bytes(zone);
    rv_slab_get_stats(zone, &stats);
    view->used_bytes = stats.used_bytes;
}

static void
check(const struct rv_zone *zone)
{
    struct rv_error error;
    struct view view;
    const struct things *things = find_things(zone);
    if (rv_zone_check(zone, &error) || rv_slab_check(zone, &error)) {
        watch_fail("check: %s", error.text);
    }
    look(zone, &view);
    uint64_t sum = rv_slab_size(zone, rv_zone_offset(zone, things));
    for (size_t i = 0; i < N_PLACES; i++) {
        if (view.places[i] && !view.sizes[i]) {
            watch_fail("place %zu names nothing", i);
        }
        sum += view.sizes[i];
    }
    if (sum != view.used_bytes) {
        watch_fail("%" PRIu64 " bytes are used, the places name %" PRIu64,
                   view.used_bytes, sum);
    }
}

/* Slots are free but for those of this process, and no lock is held. */
static void
check_free(struct rv_zone *zone, const struct things *things)
{
    const struct rv_lock *locks[] = {&things->locks[0], &things->locks[1],
                                     rv_zone_root_lock(zone)};
    for (size_t i = 0; i < RV_ARRAY_SIZE(locks); i++) {
        if (locks[i]->word) {
            watch_fail("lock %zu is held: %#" PRIx32, i, locks[i]->word);
        }
    }
    for (uint32_t i = 0; i < N_MEMBERS; i++) {
        const struct rv__member *member = rv__member_of(zone, i);
        if (member->log.head || (member->tid && member->tid != zone->tid)) {
            watch_fail("slot %" PRIu32 " of the dead is not free", i);
        }
    }
}

static void
take_locks(struct rv_zone *zone, struct things *things)
{
    struct rv_lock *locks[] = {&things->locks[0], &things->locks[1],
                               rv_zone_root_lock(zone)};
    for (size_t i = 0; i < RV_ARRAY_SIZE(locks); i++) {
        if (rv_tx_begin(zone, locks[i], 0) || rv_tx_commit(zone)) {
            watch_fail("lock %zu cannot be taken", i);
        }
    }
}

/* Life goes on: memory comes and goes. */
static void
go_on(struct rv_zone *zone, struct things *things)
{
    static const size_t sizes[] = {100, 9000};
    uint64_t *place = &things->places[SPARE];
    for (size_t i = 0; i < RV_ARRAY_SIZE(sizes); i++) {
        int rc = rv_slab_alloc(zone, sizes[i], place);
        if (rc && rc != -ENOMEM) {
            watch_fail("alloc after a death: %d", rc);
        }
        rc = rv_slab_free(zone, place);
        if (rc) {
            watch_fail("free after a death: %d", rc);
        }
    }
    check(zone);
}

void
steps_recover(struct rv_zone *zone, uint64_t turn, struct view *view)
{
    struct things *things = find_things(zone);
    if (turn % 2) {
        take_locks(zone, things);
    }
    int rc = rv_zone_heal(zone);
    if (rc < 0) {
        watch_fail("heal: %d", rc);
    }
    take_locks(zone, things);
    check_free(zone, things);
    check(zone);
    look(zone, view);
    go_on(zone, things);
}
