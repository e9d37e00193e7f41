/* What transcripts (tests/fsm) and the simulation (tests/sim) do not show of
 * the pool: its interface at the edges. */
#include <stdio.h>

#include "harness.h"
#include "pool/pool.h"

static const struct rv_pool_policy policy = {
    .n_workers = 2,
    .start_timeout_ms = 1000,
    .drain_timeout_ms = 500,
    .backoff_min_ms = 100,
    .backoff_max_ms = 1000,
    .window_ms = 60000,
};

static struct rv_pool *
make_pool(int n_slots, int n_workers)
{
    struct rv_pool *pool = NULL;
    struct rv_pool_spec spec = {.name = "web", .policy = policy};
    spec.policy.n_workers = n_workers;
    ck_assert_int_eq(rv_pool_create(n_slots, 1, &pool), 0);
    ck_assert_int_eq(rv_pool_configure(pool, &spec, 1, RV_POOL_AT_ONCE), 0);
    return pool;
}

static int
count_actions(struct rv_pool *pool, enum rv_pool_action_type type)
{
    struct rv_pool_action action;
    int n = 0;
    while (rv_pool_next_action(pool, &action)) {
        n += action.type == type;
    }
    return n;
}

START_TEST(empty_pool)
{
    struct rv_pool *pool = NULL;
    struct rv_pool_action action;
    ck_assert_int_eq(rv_pool_create(1, 1, &pool), 0);
    ck_assert(rv_pool_is_empty(pool));
    ck_assert_int_eq(rv_pool_deadline(pool), RV_POOL_NEVER);
    ck_assert_int_eq(rv_pool_find_service(pool, "web"), -1);
    rv_pool_reconcile(pool, 0);
    rv_pool_check(pool);
    ck_assert(!rv_pool_next_action(pool, &action));
    rv_pool_destroy(pool);
    rv_pool_destroy(NULL);
}
END_TEST

START_TEST(states_have_names)
{
    for (int i = 0; i < RV_POOL_N_STATES; i++) {
        ck_assert_ptr_nonnull(rv_pool_state_name((enum rv_pool_state)i));
    }
    ck_assert_str_eq(rv_pool_state_name(RV_POOL_DRAINING), "draining");
}
END_TEST

START_TEST(actions_come_once_and_in_order)
{
    struct rv_pool *pool = make_pool(8, 3);
    struct rv_pool_action action;
    rv_pool_reconcile(pool, 0);
    for (int i = 0; i < 3; i++) {
        ck_assert(rv_pool_next_action(pool, &action));
        ck_assert_int_eq(action.type, RV_POOL_START);
        ck_assert_int_eq(rv_pool_worker(pool, action.slot)->index, i);
    }
    ck_assert(!rv_pool_next_action(pool, &action));
    rv_pool_reconcile(pool, 0);
    ck_assert(!rv_pool_next_action(pool, &action));
    rv_pool_destroy(pool);
}
END_TEST

/* More actions than the queue first holds, a few taken at a time. */
START_TEST(thousand_workers)
{
    struct rv_pool *pool = make_pool(4096, 1000);
    struct rv_pool_counts counts;
    rv_pool_reconcile(pool, 0);
    ck_assert_int_eq(count_actions(pool, RV_POOL_START), 1000);
    for (int slot = 0; slot < 1000; slot++) {
        rv_pool_ready(pool, slot, 0);
    }
    rv_pool_reconcile(pool, 0);
    rv_pool_count(pool, 0, &counts);
    ck_assert_int_eq(counts.ready, 1000);
    rv_pool_stop(pool, RV_POOL_STOP_GRACEFUL, RV_POOL_NEVER);
    rv_pool_reconcile(pool, 0);
    ck_assert_int_eq(count_actions(pool, RV_POOL_DRAIN), 1000);
    rv_pool_check(pool);
    rv_pool_destroy(pool);
}
END_TEST

/* A service may want more workers than there are slots. */
START_TEST(more_wanted_than_slots)
{
    struct rv_pool *pool = make_pool(2, 500);
    rv_pool_reconcile(pool, 0);
    rv_pool_check(pool);
    ck_assert_int_eq(count_actions(pool, RV_POOL_START), 2);
    struct rv_pool_spec spec = {
        .name = "web", .policy = policy, .is_changed = true};
    spec.policy.n_workers = 900;
    ck_assert_int_eq(rv_pool_configure(pool, &spec, 1, RV_POOL_ROLL), 0);
    rv_pool_reconcile(pool, 0);
    rv_pool_check(pool);
    ck_assert_int_eq(count_actions(pool, RV_POOL_ROLL_BACK), 1);
    rv_pool_destroy(pool);
}
END_TEST

/* What the registry does not say of an adopted worker is worked out. */
START_TEST(adopts_without_deadlines)
{
    struct rv_pool *pool = make_pool(8, 2);
    const struct {
        enum rv_pool_state state;
        int64_t deadline_ms;
    } rows[] = {
        {RV_POOL_STARTING, 100 + 1000},
        {RV_POOL_DRAINING, 200 + 500},
        {RV_POOL_STOPPING, 200 + 50},
        {RV_POOL_READY, RV_POOL_NEVER},
    };
    for (int i = 0; i < (int)RV_ARRAY_SIZE(rows); i++) {
        struct rv_pool_worker worker = {
            .state = rows[i].state,
            .generation = 1,
            .index = i,
            .started_ms = 100,
            .since_ms = 200,
        };
        rv_pool_adopt(pool, i, &worker);
        ck_assert_int_eq(rv_pool_worker(pool, i)->deadline_ms,
                         rows[i].deadline_ms);
    }
    rv_pool_check(pool);
    rv_pool_destroy(pool);
}
END_TEST

START_TEST(services_come_and_go)
{
    struct rv_pool *pool = make_pool(8, 0);
    struct rv_pool_spec specs[12];
    char names[12][16];
    for (int i = 0; i < 12; i++) {
        snprintf(names[i], sizeof names[i], "s%d", i);
        specs[i] = (struct rv_pool_spec){.name = names[i], .policy = policy};
        specs[i].policy.n_workers = 0;
    }
    ck_assert_int_eq(rv_pool_configure(pool, specs, 12, RV_POOL_ROLL), 0);
    rv_pool_reconcile(pool, 0);
    ck_assert_int_eq(count_actions(pool, RV_POOL_FORGET), 1);
    ck_assert_int_eq(rv_pool_find_service(pool, "web"), -1);
    int last = rv_pool_find_service(pool, "s11");
    ck_assert_str_eq(rv_pool_service(pool, last)->name, "s11");
    ck_assert_ptr_null(rv_pool_service(pool, 0));
    rv_pool_destroy(pool);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(empty_pool),
        RV_TEST(states_have_names),
        RV_TEST(actions_come_once_and_in_order),
        RV_TEST(thousand_workers),
        RV_TEST(more_wanted_than_slots),
        RV_TEST(adopts_without_deadlines),
        RV_TEST(services_come_and_go),
    };
    return rv_test_run("pool", tests, RV_ARRAY_SIZE(tests));
}
