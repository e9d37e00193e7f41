/* Scenes of dicts, and of limiters, which are kept in one.
 *
 * The dict has one shard, so that all keys meet.  Its clock stands where the
 * scene puts it; the judge's shows JUDGED_MS.  Keys are looked at by the
 * calls that users have, lists are taken apart. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/siphash.h"
#include "reeve/limiter.h"
#include "reeve/slab.h"
#include "shm/dict.h"
#include "steps.h"
#include "steps_watch.h"

enum {
    BEGIN_MS = 1000,
    JUDGED_MS = 1005,
    SHORT_MS = 10,   /* Lives at JUDGED_MS. */
    LATER_MS = 5000, /* Then what is short is dead. */
    N_FILLERS = 36,
    N_GROWING = 14, /* Twice what a bucket takes, and all belong to one. */
    CROWD_MASK = 3,
    FILLER_BYTES = 3000,
    HUGE_BYTES = 22 * RV_ZONE_PAGE_BYTES, /* More than can be free. */
};

static const char *const keys[] = {"bytes", "number", "short", "list",
                                   "one",   "fresh",  "rate",  "slots"};

_Static_assert(RV_ARRAY_SIZE(keys) + N_FILLERS <= N_FACTS, "all are seen");

static char payload[16 << 10];
static const char huge[HUGE_BYTES];
static int64_t clock_ms;
static struct rv_dict dict; /* Of this process. */
static char names[N_FILLERS][12];

static int64_t
now(void *context)
{
    (void)context;
    return clock_ms;
}

static bool
find_dict(struct rv_zone *zone, struct rv_dict *found)
{
    int rc = rv__dict_find(zone, "dict", found);
    found->now_ms = now;
    if (rc && rc != -ENOENT) {
        watch_fail("the dict: %d", rc);
    }
    return rc == 0;
}

/* Whether a key belongs where it is to be crowded. */
static bool
is_crowded(const struct rv_dict *found, const char *key)
{
    uint64_t hash = rv_siphash13(found->hash_key, key, strlen(key));
    return (hash & CROWD_MASK) == CROWD_MASK;
}

static void
name_fillers(const struct rv_dict *found)
{
    uint32_t number = 0;
    for (uint32_t i = 0; i < N_FILLERS; i++) {
        do {
            snprintf(names[i], sizeof names[i], "f%" PRIu32, number++);
        } while (i < N_GROWING && !is_crowded(found, names[i]));
    }
}

static void
enter(struct rv_zone *zone)
{
    clock_ms = BEGIN_MS;
    memset(payload, 'x', sizeof payload);
    if (find_dict(zone, &dict)) {
        name_fillers(&dict);
    }
}

/* ------------------------------------------------------------ short calls */

static void
set_to(const char *key, const struct rv_dict_value *value, int64_t ttl_ms)
{
    must_be(rv_dict_set(&dict, key, strlen(key), value, ttl_ms), 0, "set");
}

static void
set_bytes(const char *key, size_t n, int64_t ttl_ms)
{
    struct rv_dict_value value = rv_dict_bytes(payload, n);
    set_to(key, &value, ttl_ms);
}

static void
push_number(const char *key, int64_t number)
{
    struct rv_dict_value value = rv_dict_integer(number);
    must_be(rv_dict_rpush(&dict, key, strlen(key), &value, NULL), 0, "rpush");
}

static void
remove_key(const char *key)
{
    must_be(rv_dict_delete(&dict, key, strlen(key)), 0, "delete");
}

static void
pop(const char *key, bool is_first)
{
    char buffer[64];
    struct rv_dict_value value;
    size_t n = strlen(key);
    must_be(is_first ? rv_dict_lpop(&dict, key, n, buffer, 64, &value)
                     : rv_dict_rpop(&dict, key, n, buffer, 64, &value),
            0, "pop");
}

static void
add_to(const char *key, const struct rv_dict_value *n)
{
    struct rv_dict_value none = rv_dict_integer(0);
    must_be(rv_dict_incr(&dict, key, strlen(key), n, &none, 0, NULL), 0,
            "incr");
}

static void
make_dict(struct rv_zone *zone)
{
    struct rv_dict_settings settings = {.n_shards = 1};
    struct rv_dict *opened = NULL;
    struct rv_error error;
    if (rv_dict_open(zone, "dict", &settings, &opened, &error)) {
        watch_fail("dict: %s", error.text);
    }
    rv_dict_close(&opened);
}

static void
fill(struct rv_zone *zone)
{
    struct rv_dict_value number = rv_dict_integer(5);
    make_dict(zone);
    enter(zone);
    set_bytes("bytes", 24, 0);
    set_to("number", &number, 0);
    set_bytes("short", 60, SHORT_MS);
    for (int64_t i = 0; i < 7; i++) {
        push_number("list", i);
    }
    push_number("one", 1);
}

/* -------------------------------------------------------------- judgement */

static void
recover(struct rv_zone *zone)
{
    struct rv_dict found;
    if (find_dict(zone, &found)) {
        struct rv_lock *lock = &found.shards[0].lock;
        must_be(rv_tx_begin(zone, lock, 0), 0, "begin");
        must_be(rv_tx_commit(zone), 0, "commit");
    }
}

static uint64_t
audit(struct rv_zone *zone)
{
    struct rv_dict found;
    struct rv_error error;
    uint64_t n_bytes = 0;
    if (find_dict(zone, &found) && rv__dict_audit(&found, &n_bytes, &error)) {
        watch_fail("check: %s", error.text);
    }
    return n_bytes;
}

/* What is to be seen of a key that is no list. */
static uint64_t
look_at_value(struct rv_dict *found, const char *key, size_t n, int *rcp)
{
    static char buffer[sizeof payload];
    struct rv_dict_value value = {.length = 0};
    bool is_stale = false;
    int64_t ttl_ms = -1;
    int rc = rv_dict_get_stale(found, key, n, buffer, sizeof buffer, &value,
                               &is_stale);
    int ttl_rc = rv_dict_ttl(found, key, n, &ttl_ms);
    uint64_t real;
    memcpy(&real, &value.real, sizeof real);
    uint64_t parts[] = {(uint64_t)rc,
                        value.type,
                        value.flags,
                        fact_of(buffer, rc ? 0 : value.length),
                        (uint64_t)value.integer,
                        real,
                        value.boolean,
                        is_stale,
                        (uint64_t)ttl_rc,
                        (uint64_t)ttl_ms};
    *rcp = rc;
    return rc == -ENOENT ? 0 : fact_of(parts, sizeof parts);
}

/* Takes the list apart, from both ends in turn. */
static uint64_t
look_at_list(struct rv_dict *found, const char *key, size_t n)
{
    static char buffer[sizeof payload];
    struct rv_dict_value value;
    uint64_t length = 0;
    int rc = rv_dict_llen(found, key, n, &length);
    uint64_t sum = length;
    for (uint64_t i = 0; !rc && i < length; i++) {
        rc = i % 2
                 ? rv_dict_rpop(found, key, n, buffer, sizeof buffer, &value)
                 : rv_dict_lpop(found, key, n, buffer, sizeof buffer, &value);
        if (rc) {
            watch_fail("pop %" PRIu64 " of %" PRIu64 ": %d", i, length, rc);
        }
        sum =
            31 * sum + (uint64_t)value.integer + fact_of(buffer, value.length);
    }
    return sum;
}

static uint64_t
look_at_key(struct rv_dict *found, const char *key)
{
    int rc;
    uint64_t fact = look_at_value(found, key, strlen(key), &rc);
    return rc == -EPROTOTYPE ? fact + look_at_list(found, key, strlen(key))
                             : fact;
}

static void
look(struct rv_zone *zone, uint64_t facts[N_FACTS])
{
    struct rv_dict found;
    size_t n = RV_ARRAY_SIZE(keys);
    clock_ms = JUDGED_MS;
    if (!find_dict(zone, &found)) {
        return;
    }
    name_fillers(&found);
    for (size_t i = 0; i < n; i++) {
        facts[i] = look_at_key(&found, keys[i]);
    }
    for (uint32_t i = 0; i < N_FILLERS; i++) {
        facts[n + i] = look_at_key(&found, names[i]);
    }
    facts[N_FACTS - 1] = 1; /* It is there. */
}

static const struct kind kind = {.fill = fill,
                                 .enter = enter,
                                 .recover = recover,
                                 .audit = audit,
                                 .look = look};

static const struct kind kind_of_none = {
    .recover = recover, .audit = audit, .look = look};

/* -------------------------------------------------------------------- acts */

/* What is made next lies where something else was. */
static void
leave_traces(struct actor *actor)
{
    uint64_t *place = &actor->things->places[N_PLACES - 2];
    for (size_t bytes = 64; bytes <= 1024; bytes += 64) {
        must_be(rv_slab_alloc(actor->zone, bytes, place), 0, "alloc");
        memset(rv_zone_at(actor->zone, *place, bytes), 'x', bytes);
        must_be(rv_slab_free(actor->zone, place), 0, "free");
    }
}

static void
open_new(struct actor *actor)
{
    make_dict(actor->zone);
}

static void
set_new(struct actor *actor)
{
    (void)actor;
    set_bytes("fresh", 100, 50);
}

static void
set_same_size(struct actor *actor)
{
    (void)actor;
    payload[3] = 'y';
    set_bytes("bytes", 24, 0);
}

static void
set_other_size(struct actor *actor)
{
    (void)actor;
    set_bytes("bytes", 900, 0);
}

static void
set_run(struct actor *actor)
{
    (void)actor;
    set_bytes("bytes", 9000, 0);
}

static void
set_safely(struct actor *actor)
{
    (void)actor;
    struct rv_dict_value value = rv_dict_boolean(true);
    must_be(rv_dict_safe_set(&dict, "short", 5, &value, 0), 0, "safe_set");
}

static void
set_over_list(struct actor *actor)
{
    (void)actor;
    set_bytes("list", 10, 0);
}

static void
add(struct actor *actor)
{
    (void)actor;
    struct rv_dict_value value = rv_dict_bytes(payload, 30);
    must_be(rv_dict_add(&dict, "fresh", 5, &value, 0), 0, "add");
}

static void
add_present(struct actor *actor)
{
    (void)actor;
    struct rv_dict_value value = rv_dict_bytes(payload, 30);
    must_be(rv_dict_add(&dict, "bytes", 5, &value, 0), -EEXIST, "add");
}

static void
replace(struct actor *actor)
{
    (void)actor;
    struct rv_dict_value value = rv_dict_real(0.5);
    must_be(rv_dict_replace(&dict, "number", 6, &value, 0), 0, "replace");
}

static void
delete_value(struct actor *actor)
{
    (void)actor;
    remove_key("bytes");
}

static void
delete_list(struct actor *actor)
{
    (void)actor;
    remove_key("list");
}

static void
increment(struct actor *actor)
{
    (void)actor;
    struct rv_dict_value one = rv_dict_integer(1);
    add_to("number", &one);
}

static void
increment_new(struct actor *actor)
{
    (void)actor;
    struct rv_dict_value one = rv_dict_integer(1);
    add_to("fresh", &one);
}

static void
increment_by_real(struct actor *actor)
{
    (void)actor;
    struct rv_dict_value half = rv_dict_real(0.5);
    add_to("number", &half);
}

static void
expire(struct actor *actor)
{
    (void)actor;
    must_be(rv_dict_expire(&dict, "bytes", 5, 100), 0, "expire");
}

static void
push_first(struct actor *actor)
{
    (void)actor;
    struct rv_dict_value value = rv_dict_integer(77);
    must_be(rv_dict_lpush(&dict, "list", 4, &value, NULL), 0, "lpush");
}

static void
push_new(struct actor *actor)
{
    (void)actor;
    push_number("fresh", 9);
}

static void
pop_last(struct actor *actor)
{
    (void)actor;
    pop("list", false);
}

static void
pop_only(struct actor *actor)
{
    (void)actor;
    pop("one", true);
}

static void
get(struct actor *actor)
{
    char buffer[64];
    struct rv_dict_value value;
    (void)actor;
    must_be(rv_dict_get(&dict, "bytes", 5, buffer, 64, &value), 0, "get");
}

static void
grow(struct actor *actor)
{
    (void)actor;
    for (uint32_t i = 0; i < N_GROWING; i++) {
        set_bytes(names[i], 10, 0);
    }
}

/* One that is not where it belongs. */
static void
delete_crowded(struct actor *actor)
{
    (void)actor;
    remove_key(names[N_GROWING - 1]);
}

/* The list goes, and its nodes stay, as if death came in between. */
static void
leave_garbage(struct actor *actor)
{
    struct rv__dict_op op;
    must_be(rv__op_init(&op, &dict, "list", 4), 0, "the key");
    must_be(rv_slab_reserve(actor->zone, 16, 0, RV__DICT_FREES), 0, "frees");
    must_be(rv__op_begin(&op), 0, "begin");
    rv__op_remove(&op);
    must_be(rv_tx_commit(actor->zone), 0, "commit");
}

static void
delete_beside_garbage(struct actor *actor)
{
    (void)actor;
    remove_key("one");
}

/* Until there is no memory for one more. */
static void
fill_up(struct actor *actor)
{
    struct rv_dict_value value = rv_dict_bytes(payload, FILLER_BYTES);
    int rc = 0;
    (void)actor;
    for (uint32_t i = 0; i < N_FILLERS && rc == 0; i++) {
        rc = rv_dict_safe_set(&dict, names[i], strlen(names[i]), &value, 0);
    }
    must_be(rc, -ENOMEM, "safe_set");
}

static void
set_forcibly(struct actor *actor)
{
    struct rv_dict_value value = rv_dict_bytes(payload, FILLER_BYTES);
    (void)actor;
    must_be(rv_dict_set(&dict, "fresh", 5, &value, 0), 1, "set");
}

static void
push_forcibly(struct actor *actor)
{
    struct rv_dict_value value = rv_dict_bytes(payload, FILLER_BYTES);
    (void)actor;
    must_be(rv_dict_lpush(&dict, "fresh", 5, &value, NULL), 1, "lpush");
}

/* All go for it, and the table, and in vain. */
static void
set_huge(struct actor *actor)
{
    struct rv_dict_value value = rv_dict_bytes(huge, sizeof huge);
    /* Who lacks memory looks for the dead once a second, and this may take
     * longer than that: each performance shall be the same. */
    actor->zone->slab.search_ms = INT64_MAX;
    must_be(rv_dict_set(&dict, "fresh", 5, &value, 0), -ENOMEM, "set");
}

/* Some live for a short time, and that is over. */
static void
let_expire(struct actor *actor)
{
    (void)actor;
    for (uint32_t i = 0; i < N_GROWING; i++) {
        set_bytes(names[i], 10, i % 3 ? SHORT_MS : 0);
    }
    clock_ms = LATER_MS;
}

static void
flush_expired(struct actor *actor)
{
    (void)actor;
    must_be(rv_dict_flush_expired(&dict, 0) > 3, true, "flush_expired");
}

static void
flush_all(struct actor *actor)
{
    (void)actor;
    must_be(rv_dict_flush_all(&dict), 0, "flush_all");
}

/* The dead go by and by, as others come. */
static void
set_among_dead(struct actor *actor)
{
    (void)actor;
    set_bytes("fresh", 10, 0);
    remove_key("bytes");
}

const struct scene dict_scenes[] = {
    {"dict-open", .kind = &kind_of_none, .prepare = leave_traces,
     .act = open_new, .has_effect = true, .is_alone = true},
    {"dict-set-new", .kind = &kind, .act = set_new, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"dict-set-same", .kind = &kind, .act = set_same_size, .has_effect = true,
     .is_alone = true},
    {"dict-set-other", .kind = &kind, .act = set_other_size,
     .has_effect = true, .is_alone = true},
    {"dict-set-run", .kind = &kind, .act = set_run, .has_effect = true,
     .is_alone = true},
    {"dict-set-run-over", .kind = &kind, .prepare = set_run,
     .act = set_same_size, .has_effect = true, .is_alone = true},
    {"dict-safe-set", .kind = &kind, .act = set_safely, .has_effect = true,
     .is_alone = true},
    {"dict-set-over-list", .kind = &kind, .act = set_over_list,
     .has_effect = true, .is_alone = true, .is_gradual = true},
    {"dict-add", .kind = &kind, .act = add, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"dict-add-not", .kind = &kind, .act = add_present, .is_alone = true},
    {"dict-replace", .kind = &kind, .act = replace, .has_effect = true,
     .is_alone = true},
    {"dict-delete", .kind = &kind, .act = delete_value, .has_effect = true,
     .is_alone = true},
    {"dict-delete-list", .kind = &kind, .act = delete_list, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"dict-incr", .kind = &kind, .act = increment, .has_effect = true,
     .is_alone = true},
    {"dict-incr-new", .kind = &kind, .act = increment_new, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"dict-incr-real", .kind = &kind, .act = increment_by_real,
     .has_effect = true, .is_alone = true},
    {"dict-expire", .kind = &kind, .act = expire, .has_effect = true,
     .is_alone = true},
    {"dict-lpush", .kind = &kind, .act = push_first, .has_effect = true,
     .is_alone = true},
    {"dict-rpush-new", .kind = &kind, .act = push_new, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"dict-rpop", .kind = &kind, .act = pop_last, .has_effect = true,
     .is_alone = true},
    {"dict-lpop-only", .kind = &kind, .act = pop_only, .has_effect = true,
     .is_alone = true},
    {"dict-get", .kind = &kind, .act = get, .is_alone = true},
    {"dict-grow", .kind = &kind, .act = grow, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"dict-delete-crowded", .kind = &kind, .prepare = grow,
     .act = delete_crowded, .has_effect = true, .is_alone = true},
    {"dict-delete-garbage", .kind = &kind, .prepare = leave_garbage,
     .act = delete_beside_garbage, .has_effect = true, .is_alone = true,
     .is_gradual = true},
    {"dict-evict", .kind = &kind, .prepare = fill_up, .act = set_forcibly,
     .has_effect = true, .is_alone = true, .is_gradual = true},
    {"dict-evict-push", .kind = &kind, .prepare = fill_up,
     .act = push_forcibly, .has_effect = true, .is_alone = true,
     .is_gradual = true},
    {"dict-evict-all", .kind = &kind, .act = set_huge, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"dict-flush-expired", .kind = &kind, .prepare = let_expire,
     .act = flush_expired, .has_effect = true, .is_alone = true,
     .is_gradual = true},
    {"dict-flush-all", .kind = &kind, .act = flush_all, .has_effect = true,
     .is_alone = true},
    {"dict-tidy", .kind = &kind, .prepare = let_expire, .act = set_among_dead,
     .has_effect = true, .is_alone = true, .is_gradual = true},
    {.name = NULL},
};

/* ----------------------------------------------------------------- limiters */

static const struct rv_rate_limit limit = {.per_second = 10, .burst = 3};

static void
request(struct actor *actor)
{
    (void)actor;
    must_be(rv_limiter_request_at(&dict, "rate", 4, &limit,
                                  UINT64_C(1000000) * BEGIN_MS, NULL),
            0, "request");
}

static void
request_too_much(struct actor *actor)
{
    struct rv_rate_limit none = {.per_second = 10, .burst = 0};
    (void)actor;
    must_be(rv_limiter_request_at(&dict, "rate", 4, &none,
                                  UINT64_C(1000000) * BEGIN_MS, NULL),
            -EBUSY, "request");
}

static void
acquire(struct actor *actor)
{
    (void)actor;
    must_be(rv_limiter_acquire(&dict, "slots", 5, 2), 0, "acquire");
}

static void
acquire_two(struct actor *actor)
{
    acquire(actor);
    acquire(actor);
}

static void
acquire_in_vain(struct actor *actor)
{
    (void)actor;
    must_be(rv_limiter_acquire(&dict, "slots", 5, 2), -EBUSY, "acquire");
}

static void
release(struct actor *actor)
{
    (void)actor;
    must_be(rv_limiter_release(&dict, "slots", 5), 0, "release");
}

static void
enter_and_acquire(struct actor *actor)
{
    enter(actor->zone);
    acquire_two(actor);
}

static void
lose_holder(struct stage *stage)
{
    run_member(stage, enter_and_acquire, true);
}

const struct scene limiter_scenes[] = {
    {"limiter-new", .kind = &kind, .act = request, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"limiter-again", .kind = &kind, .prepare = request, .act = request,
     .has_effect = true, .is_alone = true},
    {"limiter-refuse", .kind = &kind, .prepare = request,
     .act = request_too_much, .is_alone = true},
    {"limiter-acquire", .kind = &kind, .act = acquire, .has_effect = true,
     .is_alone = true, .is_gradual = true},
    {"limiter-acquire-more", .kind = &kind, .prepare = acquire, .act = acquire,
     .has_effect = true, .is_alone = true},
    {"limiter-acquire-not", .kind = &kind, .prepare = acquire_two,
     .act = acquire_in_vain, .is_alone = true},
    {"limiter-acquire-lost", .kind = &kind, .join = lose_holder,
     .act = acquire, .has_effect = true, .is_alone = true},
    {"limiter-release", .kind = &kind, .prepare = acquire_two, .act = release,
     .has_effect = true, .is_alone = true},
    {"limiter-release-last", .kind = &kind, .prepare = acquire, .act = release,
     .has_effect = true, .is_alone = true},
    {.name = NULL},
};
