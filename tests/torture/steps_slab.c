/* Scenes of the slab. */
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "reeve/slab.h"
#include "steps.h"

enum { FIRST_EMPTY = 3, SMALL = 100, OTHER = 480, RUN = 9000 };

static void
alloc(struct actor *actor, size_t bytes, int place)
{
    must_be(rv_slab_alloc(actor->zone, bytes, &actor->things->places[place]),
            0, "alloc");
}

static void
free_at(struct actor *actor, int place)
{
    must_be(rv_slab_free(actor->zone, &actor->things->places[place]), 0,
            "free");
}

static void
alloc_object(struct actor *actor)
{
    alloc(actor, SMALL, FIRST_EMPTY);
}

/* A size of which there is no chunk yet. */
static void
alloc_chunk(struct actor *actor)
{
    alloc(actor, 2000, FIRST_EMPTY);
}

static void
alloc_run(struct actor *actor)
{
    alloc(actor, RUN, FIRST_EMPTY);
}

static void
alloc_aligned(struct actor *actor)
{
    must_be(rv_slab_alloc_aligned(actor->zone, 700, 1024,
                                  &actor->things->places[FIRST_EMPTY]),
            0, "alloc_aligned");
}

static void
alloc_too_much(struct actor *actor)
{
    size_t bytes = (size_t)MAX_HEAP_PAGES * RV_ZONE_PAGE_BYTES;
    must_be(
        rv_slab_alloc(actor->zone, bytes, &actor->things->places[FIRST_EMPTY]),
        -ENOMEM, "alloc");
}

static void
free_object(struct actor *actor)
{
    free_at(actor, 0);
}

static void
free_run(struct actor *actor)
{
    free_at(actor, 2);
}

static void
free_last(struct actor *actor)
{
    free_at(actor, FIRST_EMPTY);
}

/* Things of several sizes, in hands and in use. */
static void
work(struct actor *actor)
{
    alloc(actor, SMALL, 3);
    alloc(actor, 40, 4);
    alloc(actor, RUN, 5);
    alloc(actor, 2000, 6);
    free_at(actor, 3);
    free_at(actor, 4);
    free_at(actor, 5);
    free_at(actor, 6);
    must_be(rv_slab_reserve(actor->zone, RUN, 2, 1), 0, "reserve");
}

static void
reserve(struct actor *actor)
{
    must_be(rv_slab_reserve(actor->zone, SMALL, 4, 4), 0, "reserve");
    must_be(rv_slab_reserve_more(actor->zone, RUN, 1, 1), 0, "reserve_more");
}

static void
replace(struct actor *actor)
{
    struct rv_zone *zone = actor->zone;
    reserve(actor);
    must_be(rv_tx_begin(zone, &actor->things->locks[1], 4 * RV_SLAB_WORDS), 0,
            "begin");
    free_at(actor, 0);
    alloc(actor, SMALL, 0);
    free_at(actor, 2);
    alloc(actor, RUN, 2);
    must_be(rv_tx_commit(zone), 0, "commit");
}

static void
replace_not(struct actor *actor)
{
    struct rv_zone *zone = actor->zone;
    reserve(actor);
    must_be(rv_tx_begin(zone, &actor->things->locks[1], 2 * RV_SLAB_WORDS), 0,
            "begin");
    free_at(actor, 1);
    alloc(actor, RUN, 1);
    rv_tx_abort(zone);
}

static void
replace_half(struct actor *actor)
{
    reserve(actor);
    must_be(
        rv_tx_begin(actor->zone, &actor->things->locks[1], 2 * RV_SLAB_WORDS),
        0, "begin");
    free_at(actor, 1);
    alloc(actor, RUN, 1);
}

static void
flush(struct actor *actor)
{
    must_be(rv_slab_flush(actor->zone), 0, "flush");
}

static void
detach(struct actor *actor)
{
    must_be(rv_zone_detach(&actor->zone), 0, "detach");
}

static void
heal(struct actor *actor)
{
    must_be(rv_zone_heal(actor->zone), 1, "heal");
}

static void
attach(struct actor *actor)
{
    struct rv_error error;
    must_be(rv_zone_attach(actor->fd, NULL, &actor->zone, &error), 0,
            "attach");
}

static void
trim(struct actor *actor)
{
    uint64_t used;
    must_be(rv_slab_trim_tail(actor->zone,
                              (HEAP_PAGES - 4) * (uint64_t)RV_ZONE_PAGE_BYTES,
                              &used),
            0, "trim");
}

static void
grow(struct actor *actor)
{
    struct rv_error error;
    uint64_t size_bytes = (uint64_t)MAX_HEAP_PAGES * RV_ZONE_PAGE_BYTES;
    must_be(rv_zone_grow(actor->fd, size_bytes, &error), 0, "grow");
}

static void
lose_worker(struct stage *stage)
{
    run_member(stage, work, true);
}

static void
lose_replacer(struct stage *stage)
{
    run_member(stage, replace_half, true);
}

/* Has things in its hands until somebody kills it. */
static void
work_for_ever(struct actor *actor)
{
    work(actor);
    pause();
}

static void
start_worker(struct stage *stage)
{
    start_helper(stage, work_for_ever);
}

const struct scene slab_scenes[] = {
    {"alloc", .act = alloc_object, .has_effect = true, .is_alone = true},
    {"alloc-held", .prepare = work, .act = alloc_object, .has_effect = true,
     .is_alone = true},
    {"alloc-chunk", .act = alloc_chunk, .has_effect = true, .is_alone = true},
    {"alloc-run", .act = alloc_run, .has_effect = true, .is_alone = true},
    {"alloc-aligned", .act = alloc_aligned, .has_effect = true,
     .is_alone = true},
    {"alloc-too-much", .prepare = work, .act = alloc_too_much,
     .is_alone = true},
    {"alloc-grown", .prepare = grow, .act = alloc_run, .has_effect = true,
     .is_alone = true},
    {"free", .act = free_object, .has_effect = true, .is_alone = true},
    {"free-run", .act = free_run, .has_effect = true, .is_alone = true},
    {"free-last", .prepare = alloc_chunk, .act = free_last, .has_effect = true,
     .is_alone = true},
    {"reserve", .act = reserve, .is_alone = true},
    {"replace", .act = replace, .has_effect = true, .is_alone = true},
    {"replace-not", .act = replace_not, .is_alone = true},
    {"flush", .prepare = work, .act = flush, .is_alone = true},
    {"detach-full", .prepare = work, .act = detach, .is_alone = true},
    {"heal-full", .join = lose_worker, .act = heal, .is_alone = true},
    /* The adopted slot comes before the victim's, so that who comes next takes
     * it, and not the victim's, whose log may be about what is in it. */
    {"heal-inherited", .stage = start_worker, .join = kill_helper, .act = heal,
     .is_alone = true},
    {"adopt-full", .stage = lose_worker, .act = attach, .is_stranger = true,
     .is_alone = true},
    {"alloc-adopted", .join = lose_replacer, .act = alloc_run,
     .has_effect = true, .is_alone = true},
    {"trim", .prepare = work, .act = trim, .is_alone = true},
    {.name = NULL},
};
