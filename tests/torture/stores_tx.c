/* Death at every store of transactions: 1 to 12 sets of all widths under one
 * of several locks or under none, committed or aborted, while another member
 * has a transaction of its own open.  Locks are taken or tried. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "hooks.h"
#include "reeve/tx.h"
#include "shm/member.h"
#include "stores.h"

enum { N_LOCKS = 4, N_GROUPS = N_LOCKS + 1, N_WORDS = 12 };

/* The heap.  The words of the last group are under no lock, and the
 * victim's; the bystander has words of its own. */
struct things {
    struct rv_lock locks[N_LOCKS];
    uint64_t groups[N_GROUPS][N_WORDS];
    uint64_t bystander[N_WORDS];
};

/* What these words should be. */
struct values {
    uint64_t groups[N_GROUPS][N_WORDS];
    uint64_t bystander[N_WORDS];
};

struct set {
    uint32_t width, at; /* In bytes. */
    uint64_t value;
};

static struct values before, after;
static int bystanders_group; /* -1: it has no transaction open. */
static unsigned int n_recoveries;

static struct things *
things_of(const struct rv_zone *zone)
{
    return rv_zone_at(zone, rv_zone_heap_begin(zone), sizeof(struct things));
}

static struct rv_lock *
lock_of(const struct rv_zone *zone, int group)
{
    return group < N_LOCKS ? &things_of(zone)->locks[group] : NULL;
}

static void
must(struct stores *stores, int rc, const char *what)
{
    if (rc) {
        stores_fail(stores, "%s: %d", what, rc);
    }
}

static struct set
draw_set(struct stores *stores)
{
    static const uint32_t widths[] = {1, 4, 8};
    struct set set = {.width = widths[stores_random(stores, 3)]};
    uint64_t n = N_WORDS * sizeof(uint64_t) / set.width;
    set.at = (uint32_t)stores_random(stores, n) * set.width;
    set.value = stores_random(stores, UINT64_C(1) << 40) << 8
                | stores_random(stores, 256);
    return set;
}

static void
apply_set(struct rv_zone *zone, uint64_t *words, const struct set *set)
{
    char *place = (char *)words + set->at;
    if (set->width == 1) {
        rv_tx_set8(zone, (uint8_t *)place, (uint8_t)set->value);
    } else if (set->width == 4) {
        rv_tx_set32(zone, (uint32_t *)(void *)place, (uint32_t)set->value);
    } else {
        rv_tx_set64(zone, (uint64_t *)(void *)place, set->value);
    }
}

static void
apply_to_values(uint64_t *words, const struct set *set)
{
    memcpy((char *)words + set->at, &set->value, set->width);
}

static void
start_bystander(struct stores *stores, struct rv_zone *zone)
{
    bystanders_group = (int)stores_random(stores, N_GROUPS);
    must(stores, rv_tx_begin(zone, lock_of(zone, bystanders_group), 3),
         "bystander's begin");
    for (int i = 0; i < 3; i++) {
        struct set set = draw_set(stores);
        apply_set(zone, things_of(zone)->bystander, &set);
        apply_to_values(before.bystander, &set);
    }
}

static void
finish_bystander(struct stores *stores, struct rv_zone *zone)
{
    if (stores_random(stores, 2)) {
        must(stores, rv_tx_commit(zone), "bystander's commit");
    } else {
        rv_tx_abort(zone);
    }
    memcpy(before.bystander, things_of(zone)->bystander,
           sizeof before.bystander);
    bystanders_group = -1;
}

static void
run_transaction(struct stores *stores, struct rv_zone *zone, int group)
{
    struct set sets[N_WORDS];
    uint32_t n = 1 + (uint32_t)stores_random(stores, N_WORDS);
    bool is_commit = stores_random(stores, 4) != 0;
    after = before;
    for (uint32_t i = 0; i < n; i++) {
        sets[i] = draw_set(stores);
        if (is_commit) {
            apply_to_values(after.groups[group], &sets[i]);
        }
    }
    int (*begin)(struct rv_zone *, struct rv_lock *, uint32_t) =
        stores_random(stores, 4) ? rv_tx_begin : rv_tx_try_begin;
    stores_begin(stores);
    must(stores, begin(zone, lock_of(zone, group), n), "begin");
    for (uint32_t i = 0; i < n; i++) {
        apply_set(zone, things_of(zone)->groups[group], &sets[i]);
    }
    if (is_commit) {
        must(stores, rv_tx_commit(zone), "commit");
    } else {
        rv_tx_abort(zone);
    }
    stores_end(stores);
}

/* The lock is the bystander's. */
static void
run_in_vain(struct stores *stores, struct rv_zone *zone)
{
    after = before;
    stores_begin(stores);
    int rc = rv_tx_try_begin(zone, lock_of(zone, bystanders_group), 1);
    stores_end(stores);
    must(stores, rc == -EBUSY ? 0 : -EUCLEAN, "begin while it is held");
}

static bool
is_as(const struct rv_zone *zone, const struct values *values)
{
    const struct things *things = things_of(zone);
    return memcmp(things->groups, values->groups, sizeof values->groups) == 0
           && memcmp(things->bystander, values->bystander,
                     sizeof values->bystander)
                  == 0;
}

static void
operate(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    if (stores_random(stores, 2)) {
        start_bystander(stores, bystander);
    }
    int group;
    do {
        group = (int)stores_random(stores, N_GROUPS);
    } while (group == bystanders_group && group < N_LOCKS);
    if (bystanders_group >= 0 && bystanders_group < N_LOCKS
        && stores_random(stores, 8) == 0) {
        run_in_vain(stores, zone);
    }
    run_transaction(stores, zone, group);
    before = after;
    if (!is_as(zone, &after)) {
        stores_fail(stores, "the operation did something else");
    }
    if (bystanders_group >= 0) {
        finish_bystander(stores, bystander);
    }
}

static void
take_locks(struct stores *stores, struct rv_zone *zone)
{
    for (int i = 0; i < N_LOCKS; i++) {
        if (i != bystanders_group) {
            must(stores, rv_tx_begin(zone, lock_of(zone, i), 0),
                 "begin after a death");
            must(stores, rv_tx_commit(zone), "commit after a death");
        }
    }
}

/* The thread takes a slot once more, uses it, and gives it back. */
static void
arrive(struct stores *stores, struct rv_zone *zone)
{
    struct rv_zone arrived = *zone;
    must(stores, rv__member_take(&arrived), "arrival after a death");
    take_locks(stores, &arrived);
    rv__member_release(&arrived);
}

/* The three ways in which a death is come across: locks, healing, and the
 * arrival of a member.  Each is the first in its turn. */
static void
recover(struct stores *stores, struct rv_zone *zone)
{
    unsigned int turn = n_recoveries++ % 3;
    if (turn == 0) {
        take_locks(stores, zone);
    } else if (turn == 1) {
        arrive(stores, zone);
    }
    int rc = rv_zone_heal(zone);
    must(stores, RV_MIN(rc, 0), "heal");
    take_locks(stores, zone);
    if (turn == 2) {
        arrive(stores, zone);
    }
}

static int
judge(struct stores *stores, const struct rv_zone *zone)
{
    /* An abort, or a commit that changes nothing, has one state only. */
    if (is_as(zone, &before)) {
        return memcmp(&before, &after, sizeof before) == 0;
    }
    if (is_as(zone, &after)) {
        return 1;
    }
    stores_fail(stores, "neither as before nor as after the transaction");
}

static void
setup(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    struct things *things = things_of(zone);
    (void)stores;
    (void)bystander;
    hook_store(things, sizeof *things);
    memset(things, 0, sizeof *things);
    bystanders_group = -1;
}

int
main(int argc, char **argv)
{
    static const struct workload workload = {.setup = setup,
                                             .operate = operate,
                                             .recover = recover,
                                             .judge = judge};
    return stores_main(argc, argv, &workload);
}
