/* What is expected of a zone after a death. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/siphash.h"
#include "reeve/slab.h"
#include "shm/handle.h"
#include "steps.h"
#include "steps_watch.h"

enum {
    SPARE = N_PLACES - 1,
    AS_AFTER = 100,
    OBJECT_BYTES = 100,
    RUN_BYTES = 9000,
};

_Static_assert(N_FACTS + 1 < AS_AFTER, "it is more than all facts");

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

/* What is true of a zone of any kind. */
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
check(struct rv_zone *zone, const struct kind *kind)
{
    struct rv_error error;
    struct view view;
    const struct things *things = find_things(zone);
    if (rv_zone_check(zone, &error) || rv_slab_check(zone, &error)) {
        watch_fail("check: %s", error.text);
    }
    look(zone, &view);
    uint64_t sum = rv_slab_size(zone, rv_zone_offset(zone, things));
    sum += kind ? kind->audit(zone) : 0;
    for (size_t i = 0; i < N_PLACES; i++) {
        if (view.places[i] && !view.sizes[i]) {
            watch_fail("place %zu names nothing", i);
        }
        sum += view.sizes[i];
    }
    if (sum != view.used_bytes) {
        watch_fail("%" PRIu64 " bytes are used, %" PRIu64 " are accounted for",
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

/* Has an object in the spare place, if there is memory. */
static void
use(struct rv_zone *zone, struct things *things, size_t bytes)
{
    int rc = rv_slab_alloc(zone, bytes, &things->places[SPARE]);
    if (rc && rc != -ENOMEM) {
        watch_fail("alloc after a death: %d", rc);
    }
}

/* The same with a run that is in the hands, if one is, for which no lock of
 * the slab is taken. */
static void
use_run(struct rv_zone *zone, struct things *things)
{
    int rc = rv_slab_reserve(zone, RUN_BYTES, 1, 0);
    if (rc == -ENOMEM) {
        return;
    }
    rc = rc ? rc : rv_tx_begin(zone, NULL, RV_SLAB_WORDS);
    if (rc) {
        watch_fail("reserve after a death: %d", rc);
    }
    rc = rv_slab_alloc(zone, RUN_BYTES, &things->places[SPARE]);
    rc = rc ? rc : rv_tx_commit(zone);
    if (rc) {
        watch_fail("alloc of a run after a death: %d", rc);
    }
}

static void
leave(struct rv_zone *zone, struct things *things)
{
    int rc = rv_slab_free(zone, &things->places[SPARE]);
    if (rc) {
        watch_fail("free after a death: %d", rc);
    }
}

/* Life goes on: memory comes and goes. */
static void
go_on(struct rv_zone *zone, const struct kind *kind, struct things *things)
{
    static const size_t sizes[] = {OBJECT_BYTES, RUN_BYTES};
    for (size_t i = 0; i < RV_ARRAY_SIZE(sizes); i++) {
        use(zone, things, sizes[i]);
        leave(zone, things);
    }
    check(zone, kind);
}

/* Puts the zone in order.  In some turns the first that is done is to use what
 * came with the slot, which may be that of the dead: an object, or a run. */
static void
heal(struct rv_zone *zone, const struct kind *kind, uint64_t turn)
{
    struct things *things = find_things(zone);
    if (turn % 8 < 2) {
        use(zone, things, OBJECT_BYTES);
    } else if (turn % 4 < 2) {
        use_run(zone, things);
    }
    if (turn % 2) {
        take_locks(zone, things);
    }
    int rc = rv_zone_heal(zone);
    if (rc < 0) {
        watch_fail("heal: %d", rc);
    }
    take_locks(zone, things);
    if (kind && kind->recover) {
        kind->recover(zone);
    }
    check_free(zone, things);
    if (things->places[SPARE]) {
        check(zone, kind);
        leave(zone, things);
    }
}

void
steps_recover(struct rv_zone *zone, const struct kind *kind, uint64_t turn,
              struct view *view)
{
    heal(zone, kind, turn);
    check(zone, kind);
    look(zone, view);
    if (kind) {
        kind->look(zone, view->facts);
    }
    go_on(zone, kind, find_things(zone));
}

/* ----------------------------------------------------------------- verdicts */

uint64_t
fact_of(const void *bytes, size_t n)
{
    static const uint64_t key[2] = {1, 2};
    return rv_siphash13(key, bytes, n);
}

void
steps_print(const char *name, const struct view *view)
{
    const uint64_t *words = (const uint64_t *)(const void *)view;
    printf("  %-7s", name);
    for (size_t i = 0; i < sizeof *view / sizeof *words; i++) {
        printf(" %" PRIx64, words[i]);
    }
    printf("\n");
}

/* How many facts are as after the scene, 1 added; 0: some are otherwise. */
static int
count_new(const struct view *before, const struct view *after,
          const struct view *view)
{
    int n = 1;
    for (size_t i = 0; i < N_FACTS; i++) {
        if (view->facts[i] != before->facts[i]) {
            if (view->facts[i] != after->facts[i]) {
                return 0;
            }
            n++;
        }
    }
    return n;
}

int
steps_judge(const struct scene *scene, const struct view *before,
            const struct view *after, const struct view *view)
{
    if (memcmp(view, before, sizeof *view) == 0) {
        return 0;
    }
    if (memcmp(view, after, sizeof *view) == 0) {
        return AS_AFTER;
    }
    int n = scene->is_gradual ? count_new(before, after, view) : 0;
    if (n == 0) {
        steps_print("before", before);
        steps_print("after", after);
        steps_print("now", view);
        watch_fail("neither as before nor as after");
    }
    return n;
}
