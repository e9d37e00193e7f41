/* Death at every store of limiters: requests at rates, and slots that the
 * victim and a bystander take and give back; the bystander leaves with its
 * slots now and then.
 *
 * After each recovery the key of the operation is as before it or as after
 * it, no other key is changed, and every byte is accounted for. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "hooks.h"
#include "reeve/slab.h"
#include "shm/dict.h"
#include "shm/limiter.h"
#include "shm/member.h"
#include "stores.h"

enum {
    N_RATES = 16,
    N_SLOT_KEYS = 3,
    N_KEYS = N_RATES + N_SLOT_KEYS,
    MAX_SLOTS = 3,
    N_SHARDS = 2,
    HEAP_PAGES = 32,
    RECORD_WORDS = 2, /* A record of who has slots. */
    MAX_RECORDS = 16,
};

/* What is to be seen of a key: of a rate the number and when it ends, else
 * who has slots. */
struct state {
    bool is_there, is_dead;
    uint64_t number;
    int64_t end_ms;
    uint32_t n_own, n_others;
};

static const struct rv_rate_limit limit = {.per_second = 1000, .burst = 5};
static int64_t now_ms = 1000;
static struct rv_dict *victims, *bystanders;
static uint32_t bystanders_index;
static struct state before[N_KEYS], after;
static uint32_t key; /* Of the operation. */
static unsigned int n_recoveries;

static int64_t
now(void *context)
{
    (void)context;
    return now_ms;
}

static void
must(struct stores *stores, int rc, const char *what)
{
    if (rc < 0) {
        stores_fail(stores, "%s: %d", what, rc);
    }
}

/* Whole words, so that they are not copied byte by byte. */
static size_t
name_key(uint32_t i, char name[16])
{
    return (size_t)snprintf(name, 16, "key %04" PRIu32, i);
}

/* ------------------------------------------------------------------ states */

/* Counts the slots of those who are still who they were. */
static void
read_slots(const struct rv_zone *zone, const uint64_t *records, size_t n,
           struct state *state)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t record[RECORD_WORDS];
        memcpy(record, records + i * RECORD_WORDS, sizeof record);
        uint32_t index = (uint32_t)record[0];
        uint32_t n_slots = (uint32_t)(record[0] >> 32);
        if (index == bystanders_index
            && record[1] == rv__member_of(zone, index)->n_attached) {
            state->n_others += n_slots;
        } else if (index != bystanders_index) {
            state->n_own += n_slots;
        }
    }
}

/* When what lives there ends, by the clock of the test. */
static int64_t
read_end(struct stores *stores, struct rv_dict *dict, const char *name,
         size_t n)
{
    int64_t ttl_ms = 0;
    int rc = rv_dict_ttl(dict, name, n, &ttl_ms);
    must(stores, rc == -ENOENT ? 0 : rc, "ttl");
    return now_ms + ttl_ms;
}

static void
read_states(struct stores *stores, const struct rv_zone *zone,
            struct state states[N_KEYS])
{
    uint64_t records[MAX_RECORDS * RECORD_WORDS];
    struct rv_zone quiet = *zone;
    struct rv_dict dict;
    char name[16];
    quiet.tid = 0; /* It touches nothing. */
    must(stores, rv__dict_find(&quiet, "dict", &dict), "the dict");
    dict.now_ms = now;
    memset(states, 0, N_KEYS * sizeof *states);
    for (uint32_t i = 0; i < N_KEYS; i++) {
        struct rv_dict_value value;
        size_t n = name_key(i, name);
        int rc = rv_dict_get_stale(&dict, name, n, records, sizeof records,
                                   &value, &states[i].is_dead);
        if (rc == -ENOENT) {
            continue;
        }
        must(stores, rc, "get");
        states[i].is_there = true;
        if (value.type == RV_DICT_INTEGER) {
            states[i].number = (uint64_t)value.integer;
            states[i].end_ms = read_end(stores, &dict, name, n);
        } else {
            read_slots(zone, records, value.length / (8 * RECORD_WORDS),
                       &states[i]);
        }
    }
}

/* What is dead may be gone as well. */
static bool
is_same(const struct state *a, const struct state *b)
{
    bool is_gone = !a->is_there || a->is_dead;
    if (is_gone || !b->is_there || b->is_dead) {
        return is_gone == (!b->is_there || b->is_dead);
    }
    return a->number == b->number && a->end_ms == b->end_ms
           && a->n_own == b->n_own && a->n_others == b->n_others;
}

/* -------------------------------------------------------------- operations */

static void
run_request(struct stores *stores)
{
    char name[16];
    size_t n = name_key(key, name);
    uint64_t now_ns = (uint64_t)now_ms * 1000000;
    uint64_t delay_ns;
    after.number = after.is_there && !after.is_dead ? after.number : 0;
    int expected = rv__limiter_step(&after.number, &limit, now_ns, &delay_ns);
    if (expected) {
        after = before[key];
    } else {
        after.is_there = true;
        after.is_dead = false;
        after.end_ms = (int64_t)(after.number / 1000000) + 1;
    }
    stores_begin(stores);
    int rc = rv_limiter_request_at(victims, name, n, &limit, now_ns, NULL);
    stores_end(stores);
    must(stores, rc == expected ? 0 : -EUCLEAN, "request");
}

static void
run_acquire(struct stores *stores)
{
    char name[16];
    size_t n = name_key(key, name);
    int expected = 0;
    if (after.n_own + after.n_others >= MAX_SLOTS) {
        expected = -EBUSY;
    } else {
        after.is_there = true;
        after.n_own++;
    }
    stores_begin(stores);
    int rc = rv_limiter_acquire(victims, name, n, MAX_SLOTS);
    stores_end(stores);
    must(stores, rc == expected ? 0 : -EUCLEAN, "acquire");
}

static void
run_release(struct stores *stores)
{
    char name[16];
    size_t n = name_key(key, name);
    int expected = 0;
    if (after.n_own == 0) {
        expected = -ENOENT;
    } else {
        after.n_own--;
        after.is_there = after.n_own + after.n_others != 0;
    }
    stores_begin(stores);
    int rc = rv_limiter_release(victims, name, n);
    stores_end(stores);
    must(stores, rc == expected ? 0 : -EUCLEAN, "release");
}

/* The bystander takes or gives back, or leaves and another comes. */
static void
play_bystander(struct stores *stores)
{
    char name[16];
    size_t n =
        name_key(N_RATES + (uint32_t)stores_random(stores, N_SLOT_KEYS), name);
    uint64_t *n_attached =
        &rv__member_of(bystanders->zone, bystanders_index)->n_attached;
    int rc;
    switch (stores_random(stores, 5)) {
    case 0:
        hook_store(n_attached, sizeof *n_attached);
        ++*n_attached;
        break;
    case 1:
        rc = rv_limiter_release(bystanders, name, n);
        must(stores, rc == -ENOENT ? 0 : rc, "bystander's release");
        break;
    default:
        rc = rv_limiter_acquire(bystanders, name, n, MAX_SLOTS);
        must(stores, rc == -EBUSY ? 0 : rc, "bystander's acquire");
    }
}

static void
operate(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    struct state states[N_KEYS];
    (void)bystander;
    now_ms += (int64_t)stores_random(stores, 3);
    if (stores_random(stores, 2)) {
        play_bystander(stores);
    }
    bool is_rate = stores_random(stores, 2);
    key = is_rate ? (uint32_t)stores_random(stores, N_RATES)
                  : N_RATES + (uint32_t)stores_random(stores, N_SLOT_KEYS);
    read_states(stores, zone, before);
    after = before[key];
    if (is_rate) {
        run_request(stores);
    } else if (stores_random(stores, 2)) {
        run_acquire(stores);
    } else {
        run_release(stores);
    }
    read_states(stores, zone, states);
    if (!is_same(&states[key], &after)) {
        stores_fail(stores, "key %" PRIu32 " is not as it should be", key);
    }
}

/* ----------------------------------------------------------------- recovery */

static void
take_locks(struct stores *stores, struct rv_zone *zone)
{
    struct rv_dict dict;
    must(stores, rv__dict_find(zone, "dict", &dict), "the dict");
    for (uint32_t i = 0; i < N_SHARDS; i++) {
        must(stores, rv_tx_begin(zone, &dict.shards[i].lock, 0),
             "begin after a death");
        must(stores, rv_tx_commit(zone), "commit after a death");
    }
}

static void
recover(struct stores *stores, struct rv_zone *zone)
{
    struct rv_zone arrived = *zone;
    switch (n_recoveries++ % 3) {
    case 0:
        take_locks(stores, zone);
        break;
    case 1:
        break;
    default:
        must(stores, rv__member_take(&arrived), "arrival after a death");
        rv__member_release(&arrived);
    }
    must(stores, rv_zone_heal(zone), "heal");
    take_locks(stores, zone);
}

static void
audit(struct stores *stores, const struct rv_zone *zone)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    struct rv_zone quiet = *zone;
    struct rv_dict dict;
    uint64_t n_bytes;
    must(stores, rv__dict_find(&quiet, "dict", &dict), "the dict");
    if (rv__dict_audit(&dict, &n_bytes, &error)
        || rv_slab_check(zone, &error)) {
        stores_fail(stores, "check: %s", error.text);
    }
    rv_slab_get_stats(zone, &stats);
    if (stats.used_bytes != n_bytes) {
        stores_fail(stores,
                    "%" PRIu64 " bytes are used, the dict has %" PRIu64,
                    stats.used_bytes, n_bytes);
    }
}

static int
judge(struct stores *stores, const struct rv_zone *zone)
{
    struct state states[N_KEYS];
    audit(stores, zone);
    read_states(stores, zone, states);
    for (uint32_t i = 0; i < N_KEYS; i++) {
        if (i != key && !is_same(&states[i], &before[i])) {
            stores_fail(stores, "key %" PRIu32 " changed, not %" PRIu32, i,
                        key);
        }
    }
    if (is_same(&states[key], &before[key])) {
        return is_same(&before[key], &after);
    }
    if (!is_same(&states[key], &after)) {
        stores_fail(stores, "neither as before nor as after the operation");
    }
    return 1;
}

static void
setup(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    struct rv_dict_settings settings = {.n_shards = N_SHARDS, .now_ms = now};
    struct rv_error error;
    bystanders_index = bystander->index;
    if (rv_dict_open(zone, "dict", &settings, &victims, &error)
        || rv_dict_open(bystander, "dict", &settings, &bystanders, &error)) {
        stores_fail(stores, "%s", error.text);
    }
}

int
main(int argc, char **argv)
{
    static const struct workload workload = {
        .setup = setup,
        .operate = operate,
        .recover = recover,
        .judge = judge,
        .heap_bytes = HEAP_PAGES * RV_ZONE_PAGE_BYTES,
        .nest_every = 499};
    return stores_main(argc, argv, &workload);
}
