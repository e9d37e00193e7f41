/* Scenes of members, locks and transactions. */
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "reeve/slab.h"
#include "steps.h"

/* ------------------------------------------------------------- transactions */

static void
change(struct actor *actor)
{
    struct rv_zone *zone = actor->zone;
    struct things *things = actor->things;
    rv_tx_set64(zone, &things->words[0], things->words[0] + 1);
    rv_tx_set32(zone, (uint32_t *)&things->words[1], 7);
    rv_tx_set8(zone, (uint8_t *)&things->words[2], 9);
    rv_tx_set64(zone, &things->words[0], things->words[0] + 1);
    rv_tx_set64(zone, &things->words[7], things->words[0]);
}

static void
begin(struct actor *actor)
{
    must_be(rv_tx_begin(actor->zone, &actor->things->locks[0], 6), 0, "begin");
}

static void
begin_and_change(struct actor *actor)
{
    begin(actor);
    change(actor);
}

static void
commit(struct actor *actor)
{
    must_be(rv_tx_commit(actor->zone), 0, "commit");
}

static void
transact(struct actor *actor)
{
    begin_and_change(actor);
    commit(actor);
}

static void
abort_all(struct actor *actor)
{
    begin_and_change(actor);
    rv_tx_abort(actor->zone);
}

static void
set_too_much(struct actor *actor)
{
    must_be(rv_tx_begin(actor->zone, &actor->things->locks[0], 1), 0, "begin");
    change(actor);
    must_be(rv_tx_commit(actor->zone), -E2BIG, "commit");
}

static void
try_it(struct actor *actor)
{
    must_be(rv_tx_try_begin(actor->zone, &actor->things->locks[0], 6), 0,
            "try_begin");
    change(actor);
    commit(actor);
}

static void
try_in_vain(struct actor *actor)
{
    must_be(rv_tx_try_begin(actor->zone, &actor->things->locks[0], 6), -EBUSY,
            "try_begin");
}

static void
transact_in_private(struct actor *actor)
{
    must_be(rv_tx_begin(actor->zone, NULL, 6), 0, "begin");
    change(actor);
    commit(actor);
}

static void
abort_in_private(struct actor *actor)
{
    must_be(rv_tx_begin(actor->zone, NULL, 6), 0, "begin");
    change(actor);
    rv_tx_abort(actor->zone);
}

static void
set_root(struct actor *actor)
{
    struct rv_zone *zone = actor->zone;
    must_be(rv_tx_begin(zone, rv_zone_root_lock(zone), 2 * RV_ZONE_ROOT_WORDS),
            0, "begin");
    must_be(
        rv_zone_root_set(zone, "root", 5, rv_zone_offset(zone, actor->things)),
        0, "root_set");
    commit(actor);
}

/* ------------------------------------------------------------------ members */

static void
attach(struct actor *actor)
{
    struct rv_error error;
    must_be(rv_zone_attach(actor->fd, NULL, &actor->zone, &error), 0,
            "attach");
}

static void
attach_read_only(struct actor *actor)
{
    struct rv_zone_options options = {.is_read_only = true};
    struct rv_error error;
    uint64_t type, offset;
    must_be(rv_zone_attach(actor->fd, &options, &actor->zone, &error), 0,
            "attach");
    must_be(rv_zone_root_get(actor->zone, "things", &type, &offset), 0, "get");
    must_be(rv_zone_detach(&actor->zone), 0, "detach");
}

static void
detach(struct actor *actor)
{
    must_be(rv_zone_detach(&actor->zone), 0, "detach");
}

static void
join(struct actor *actor)
{
    struct rv_zone *other = NULL;
    struct rv_error error;
    must_be(rv_zone_join(actor->zone, &other, &error), 0, "join");
    must_be(rv_zone_detach(&actor->zone), 0, "detach");
    must_be(rv_zone_detach(&other), 0, "detach of the other");
}

static void
heal_one(struct actor *actor)
{
    must_be(rv_zone_heal(actor->zone), 1, "heal");
}

static void
heal_none(struct actor *actor)
{
    must_be(rv_zone_heal(actor->zone), 0, "heal");
}

static void
grow(struct actor *actor)
{
    struct rv_error error;
    uint64_t size_bytes = (uint64_t)MAX_HEAP_PAGES * RV_ZONE_PAGE_BYTES;
    must_be(rv_zone_grow(actor->fd, size_bytes, &error), 0, "grow");
}

static void
begin_in_private(struct actor *actor)
{
    must_be(rv_tx_begin(actor->zone, NULL, 6), 0, "begin");
    change(actor);
}

static void
lose_member(struct stage *stage)
{
    run_member(stage, begin_and_change, true);
}

static void
lose_private_member(struct stage *stage)
{
    run_member(stage, begin_in_private, true);
}

/* A thread with two slots; one transaction is open, memory is in the hands of
 * both. */
static void
join_and_change(struct actor *actor)
{
    struct rv_zone *other = NULL;
    struct rv_error error;
    must_be(rv_zone_join(actor->zone, &other, &error), 0, "join");
    must_be(rv_slab_reserve(other, 100, 1, 1), 0, "reserve");
    must_be(rv_slab_reserve(actor->zone, 9000, 1, 1), 0, "reserve");
    begin_and_change(actor);
}

static void
lose_two_members(struct stage *stage)
{
    run_member(stage, join_and_change, true);
}

static void
heal_two(struct actor *actor)
{
    must_be(rv_zone_heal(actor->zone), 2, "heal");
}

/* --------------------------------------------------------------- in company */

static void
hold(struct stage *stage)
{
    must_be(rv_tx_begin(stage->zone, &stage->things->locks[0], 1), 0, "begin");
    rv_tx_set64(stage->zone, &stage->things->others_word, 1);
}

static void
let_go(struct stage *stage)
{
    must_be(rv_tx_commit(stage->zone), 0, "commit");
}

/* Whether or not the victim came so far as to sleep. */
static void
let_go_at_last(struct stage *stage)
{
    int rc = rv_tx_commit(stage->zone);
    must_be(rc == -EPERM ? 0 : rc, 0, "commit");
}

static void
set_others_word(struct actor *actor)
{
    rv_tx_set64(actor->zone, &actor->things->others_word, 1);
    commit(actor);
}

static void
wait_and_set(struct actor *actor)
{
    begin(actor);
    set_others_word(actor);
}

/* Holds the lock until somebody kills it. */
static void
hold_for_ever(struct actor *actor)
{
    begin_and_change(actor);
    pause();
}

static void
start_holder(struct stage *stage)
{
    start_helper(stage, hold_for_ever);
}

static void
start_waiter(struct stage *stage)
{
    start_helper(stage, wait_and_set);
}

const struct scene tx_scenes[] = {
    {"commit", .act = transact, .has_effect = true, .is_alone = true},
    {"abort", .act = abort_all, .is_alone = true},
    {"too-much", .act = set_too_much, .is_alone = true},
    {"try", .act = try_it, .has_effect = true, .is_alone = true},
    {"private", .act = transact_in_private, .has_effect = true,
     .is_alone = true},
    {"private-abort", .act = abort_in_private, .is_alone = true},
    {"root", .act = set_root, .has_effect = true, .is_alone = true},
    {"attach", .act = attach, .is_stranger = true, .is_alone = true},
    {"reader", .act = attach_read_only, .is_stranger = true, .is_alone = true},
    {"detach", .act = detach, .is_alone = true},
    {"detach-open", .prepare = begin_and_change, .act = detach,
     .is_alone = true},
    {"join", .act = join, .is_alone = true},
    {"heal-none", .act = heal_none, .is_alone = true},
    {"heal", .join = lose_member, .act = heal_one, .is_alone = true},
    {"heal-private", .join = lose_private_member, .act = heal_one,
     .is_alone = true},
    {"heal-two", .join = lose_two_members, .act = heal_two, .is_alone = true},
    {"adopt", .stage = lose_member, .act = attach, .is_stranger = true,
     .is_alone = true},
    {"recover", .join = lose_member, .act = transact, .has_effect = true,
     .is_alone = true},
    {"grow", .act = grow, .is_stranger = true, .has_effect = true,
     .is_alone = true},
    {"busy", .join = hold, .act = try_in_vain, .finish = let_go},
    {"sleep", .join = hold, .act = transact, .has_effect = true,
     .unblock = let_go, .finish = let_go_at_last},
    {"sleep-by-a-death", .stage = start_holder, .act = transact,
     .has_effect = true, .unblock = kill_helper, .finish = kill_helper},
    {"wake", .prepare = begin_and_change, .join = start_waiter, .act = commit,
     .has_effect = true, .finish = join_helper},
    {"wake-by-abort", .prepare = begin_and_change, .join = start_waiter,
     .act = detach, .finish = join_helper},
    {.name = NULL},
};
