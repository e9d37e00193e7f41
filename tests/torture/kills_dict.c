/* Two dicts in a zone that is too small.
 *
 * In `kept` each worker has keys of its own, that nobody evicts, and goes with
 * each through states 1, 2, 3, ...: what a state says is in the dict, or that
 * nothing is.  So after a death it is known what must be there.  Counters are
 * there as well, a worker's own, and some of all.
 *
 * In `cache` everybody does everything with the same keys; what is read must
 * be a value of that key, and whole.  It takes all memory there is.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kills.h"
#include "shm/dict.h"
#include "steps_watch.h"

enum {
    N_OWN = 4,        /* Of the groups; the others are counters. */
    N_COMMON = 4,     /* Counters of all: half of the notes each. */
    N_KEYS = 2500,    /* Of the cache. */
    N_LONG_KEYS = 97, /* One of so many is long. */
    LONG_KEY_BYTES = 3000,
    VALUE_MAX_BYTES = 16384,
    TTL_MAX_MS = 400,
    FLUSH_ALL_EVERY = 256,
    ABSENT_EVERY = 5, /* States in which there is nothing. */
    NUMBER_SHIFT = 40 /* Above it, in numbers, is the key. */
};

/* At the beginning of each value of bytes, and its end. */
struct stamp {
    uint64_t id;
    uint64_t number;
    uint64_t length;
};

struct context {
    struct rv_dict *kept, *cache;
    char key[LONG_KEY_BYTES + 32];
    uint64_t buffer[VALUE_MAX_BYTES / 8]; /* Aligned for stamps. */
};

/* ------------------------------------------------------------------- values */

static void
make_bytes(struct context *context, uint64_t id, uint64_t number,
           size_t length, struct rv_dict_value *value)
{
    struct stamp stamp = {id, number, length};
    char *bytes = (char *)context->buffer;
    memset(bytes, (int)(number & 0xff), length);
    memcpy(bytes, &stamp, sizeof stamp);
    memcpy(bytes + length - sizeof number, &number, sizeof number);
    *value = rv_dict_bytes(bytes, length);
}

static void
check_filling(const struct rv_dict_value *value, const struct stamp *stamp)
{
    const char *bytes = value->bytes;
    size_t end = value->length - sizeof stamp->number;
    if (memcmp(bytes + end, &stamp->number, sizeof stamp->number) != 0
        || !is_filled(bytes + sizeof *stamp, (int)(stamp->number & 0xff),
                      end - sizeof *stamp)) {
        find_wrong("value %" PRIu64 " of key %" PRIu64 ", %zu bytes, is torn",
                   stamp->number, stamp->id, value->length);
    }
}

/* Checks that the value is one of this key; returns its number. */
static uint64_t
check_bytes(const struct rv_dict_value *value, uint64_t id)
{
    struct stamp stamp;
    if (value->length < sizeof stamp + sizeof stamp.number) {
        find_wrong("key %" PRIu64 " has a value of %zu bytes", id,
                   value->length);
    }
    memcpy(&stamp, value->bytes, sizeof stamp);
    if (stamp.id != id || stamp.length != value->length) {
        find_wrong("key %" PRIu64 " has a value of key %" PRIu64
                   ", of %zu bytes in place of %" PRIu64,
                   id, stamp.id, value->length, stamp.length);
    }
    check_filling(value, &stamp);
    return stamp.number;
}

static void
check_value(const struct rv_dict_value *value, uint64_t id)
{
    uint64_t number = 0;
    if (value->type == RV_DICT_BYTES) {
        check_bytes(value, id);
        return;
    }
    if (value->type == RV_DICT_BOOLEAN) {
        return;
    }
    number = value->type == RV_DICT_INTEGER ? (uint64_t)value->integer
                                            : (uint64_t)value->real;
    if (number >> NUMBER_SHIFT != id) {
        find_wrong("key %" PRIu64 " has number %#" PRIx64, id, number);
    }
}

/* Mostly small, seldom whole pages. */
static size_t
draw_length(struct worker *worker)
{
    uint64_t most = UINT64_C(32) << watch_random(&worker->random, 9);
    if (watch_random(&worker->random, 64)) {
        most = RV_MIN(most, 1024);
    }
    return sizeof(struct stamp) + sizeof(uint64_t)
           + watch_random(&worker->random, most);
}

static void
draw_value(struct worker *worker, uint64_t id, struct rv_dict_value *value)
{
    uint64_t number = watch_random(&worker->random, 1 << 20);
    uint64_t with_id = id << NUMBER_SHIFT | number;
    switch (watch_random(&worker->random, 12)) {
    case 0:
        *value = rv_dict_integer((int64_t)with_id);
        break;
    case 1:
        *value = rv_dict_real((double)with_id);
        break;
    case 2:
        *value = rv_dict_boolean(true);
        break;
    default:
        make_bytes(worker->context, id, number, draw_length(worker), value);
    }
    value->flags = (uint32_t)id;
}

/* Between two calls some of what comes first is in the zone for a moment. */
static int64_t
draw_ttl(struct worker *worker)
{
    return watch_random(&worker->random, 6)
               ? 0
               : 1 + (int64_t)watch_random(&worker->random, TTL_MAX_MS);
}

/* The result must be among those, which end with a 1: no error is. */
static void
check_result(int rc, const char *what, const int *errors)
{
    for (; *errors != 1; errors++) {
        if (rc == *errors) {
            return;
        }
    }
    if (rc < 0 || rc > 1) {
        find_wrong("%s: %d", what, rc);
    }
}

#define CHECK(RC, WHAT, ...) \
  check_result(RC, WHAT, (const int[]){__VA_ARGS__, 1})

/* ------------------------------------------------------------------ opening */

static void
open_dicts(struct rv_zone *zone, struct context *context)
{
    static const struct rv_dict_settings few = {.n_shards = 16};
    struct rv_error error;
    if (rv_dict_open(zone, "kept", &few, &context->kept, &error)
        || rv_dict_open(zone, "cache", NULL, &context->cache, &error)) {
        find_wrong("%s", error.text);
    }
}

/* "PREFIX-N"; its length.  By hand, for who formats text does not die within
 * a transaction. */
static size_t
name(char *key, const char *prefix, uint64_t n)
{
    size_t length = strlen(prefix);
    char digits[24];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    memcpy(key, prefix, length);
    key[length++] = '-';
    memcpy(key + length, digits + i, sizeof digits - i);
    length += sizeof digits - i;
    key[length] = '\0';
    return length;
}

/* What stands for the key in values of kept. */
static uint64_t
id_of_own(uint32_t index, uint32_t group)
{
    return (uint64_t)index * N_GROUPS + group;
}

static size_t
name_own(struct context *context, uint32_t index, uint32_t group)
{
    return name(context->key, group < N_OWN ? "own" : "counter",
                id_of_own(index, group));
}

static size_t
name_common(struct context *context, uint64_t i)
{
    return name(context->key, "common", i);
}

static void
setup(struct rv_zone *zone)
{
    struct rv_dict_value zero = rv_dict_integer(0);
    struct context *context = calloc(1, sizeof *context);
    if (!context) {
        find_wrong("memory");
    }
    open_dicts(zone, context);
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        for (uint32_t g = N_OWN; g < N_GROUPS; g++) {
            size_t n = name_own(context, i, g);
            int rc = rv_dict_set(context->kept, context->key, n, &zero, 0);
            CHECK(rc, "set at the start", 0);
        }
    }
    for (uint64_t i = 0; i < N_COMMON; i++) {
        size_t n = name_common(context, i);
        int rc = rv_dict_set(context->kept, context->key, n, &zero, 0);
        CHECK(rc, "set at the start", 0);
    }
    rv_dict_close(&context->kept);
    rv_dict_close(&context->cache);
    free(context);
}

/* --------------------------------------------------------------------- kept */

static bool
is_absent_in(uint64_t state)
{
    return state % ABSENT_EVERY == 0;
}

static size_t
length_in(uint64_t state)
{
    return sizeof(struct stamp) + sizeof(uint64_t) + state * 37 % 700;
}

/* Whether the dict has what is to be there in that state. */
static bool
is_in_state(struct context *context, uint32_t index, uint32_t g,
            uint64_t state)
{
    struct rv_dict_value value = {.type = RV_DICT_BYTES};
    size_t n = name_own(context, index, g);
    int rc = rv_dict_get(context->kept, context->key, n, context->buffer,
                         sizeof context->buffer, &value);
    if (rc && rc != -ENOENT) {
        find_wrong("get of %s: %d", context->key, rc);
    }
    if (g >= N_OWN) {
        return !rc && value.type == RV_DICT_INTEGER
               && value.integer == (int64_t)state;
    }
    if (rc) {
        return is_absent_in(state);
    }
    return check_bytes(&value, id_of_own(index, g)) == state
           && value.length == length_in(state)
           && value.flags == (uint32_t)state;
}

/* What became of the last thing that the worker, or who was there before,
 * began. */
static void
settle(struct context *context, uint32_t index, struct diary *diary,
       uint32_t g)
{
    bool is_new = is_in_state(context, index, g, diary->started[g]);
    if (!is_new && !is_in_state(context, index, g, diary->done[g])) {
        find_wrong("key %" PRIu32 " of worker %" PRIu32
                   " is neither in state %" PRIu64 " nor %" PRIu64,
                   g, index, diary->done[g], diary->started[g]);
    }
    if (is_new) {
        note(&diary->done[g], diary->started[g]);
    } else {
        note(&diary->started[g], diary->done[g]);
    }
}

/* Takes the lock that whoever was there before may have died with, so that
 * what it left undone is undone. */
static void
pass_lock(struct context *context, uint32_t index, uint32_t g)
{
    size_t n = name_own(context, index, g);
    CHECK(rv_dict_expire(context->kept, context->key, n, 0), "expire",
          -ENOENT);
}

static void
begin(struct worker *worker)
{
    struct context *context = calloc(1, sizeof *context);
    if (!context) {
        find_wrong("memory");
    }
    open_dicts(worker->zone, context);
    worker->context = context;
    for (uint32_t g = 0; g < N_GROUPS; g++) {
        pass_lock(context, worker->index, g);
        settle(context, worker->index, worker->diary, g);
    }
}

static int
enter_state(struct worker *worker, uint32_t g, uint64_t state)
{
    struct context *context = worker->context;
    struct rv_dict_value value;
    size_t n = name_own(context, worker->index, g);
    if (is_absent_in(state)) {
        return watch_random(&worker->random, 2)
                   ? rv_dict_delete(context->kept, context->key, n)
                   : rv_dict_safe_set(context->kept, context->key, n, NULL, 0);
    }
    make_bytes(context, id_of_own(worker->index, g), state, length_in(state),
               &value);
    value.flags = (uint32_t)state;
    int64_t ttl_ms = state % 3 ? 0 : 3600000;
    if (is_absent_in(state - 1)) {
        return rv_dict_safe_add(context->kept, context->key, n, &value,
                                ttl_ms);
    }
    return rv_dict_safe_set(context->kept, context->key, n, &value, ttl_ms);
}

/* Makes some room, in the cache. */
static void delete_some(struct worker *worker);

static void
go_on(struct worker *worker)
{
    struct diary *diary = worker->diary;
    uint32_t g = (uint32_t)watch_random(&worker->random, N_OWN);
    uint64_t state = diary->done[g];
    if (watch_random(&worker->random, 8) == 0
        && !is_in_state(worker->context, worker->index, g, state)) {
        find_wrong("key %" PRIu32 " of worker %" PRIu32
                   " is not in state %" PRIu64,
                   g, worker->index, state);
    }
    note(&diary->started[g], state + 1);
    int rc = enter_state(worker, g, state + 1);
    CHECK(rc, "safe_set", -ENOMEM);
    note(rc ? &diary->started[g] : &diary->done[g], rc ? state : state + 1);
    if (rc) {
        delete_some(worker);
    }
}

static void
count_own(struct worker *worker)
{
    struct context *context = worker->context;
    struct diary *diary = worker->diary;
    struct rv_dict_value one = rv_dict_integer(1);
    struct rv_dict_value sum;
    uint32_t g =
        N_OWN + (uint32_t)watch_random(&worker->random, N_GROUPS - N_OWN);
    uint64_t n = diary->done[g] + 1;
    size_t length = name_own(context, worker->index, g);
    note(&diary->started[g], n);
    int rc =
        rv_dict_incr(context->kept, context->key, length, &one, NULL, 0, &sum);
    if (rc || sum.type != RV_DICT_INTEGER || sum.integer != (int64_t)n) {
        find_wrong("incr of %s: %d, %" PRId64 " in place of %" PRIu64,
                   context->key, rc, sum.integer, n);
    }
    note(&diary->done[g], n);
}

static void
count_common(struct worker *worker)
{
    struct context *context = worker->context;
    struct rv_dict_value one = rv_dict_integer(1);
    uint64_t i = watch_random(&worker->random, N_COMMON);
    uint64_t *notes = &worker->diary->notes[2 * i];
    size_t n = name_common(context, i);
    note(&notes[0], notes[0] + 1);
    int rc = rv_dict_incr(context->kept, context->key, n, &one, NULL, 0, NULL);
    CHECK(rc, "incr of all", 0);
    note(&notes[1], notes[1] + 1);
}

/* -------------------------------------------------------------------- cache */

static size_t
name_key(struct context *context, uint64_t id)
{
    size_t n = name(context->key, "key", id);
    if (id % N_LONG_KEYS == 0) {
        memset(context->key + n, '.', LONG_KEY_BYTES);
        n += LONG_KEY_BYTES;
    }
    return n;
}

static void
store(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    struct rv_dict_value value;
    const void *key = context->key;
    size_t n = name_key(context, id);
    int64_t ttl_ms = draw_ttl(worker);
    draw_value(worker, id, &value);
    switch (watch_random(&worker->random, 8)) {
    case 0:
        CHECK(rv_dict_safe_set(context->cache, key, n, &value, ttl_ms),
              "safe_set", -ENOMEM);
        break;
    case 1:
        CHECK(rv_dict_add(context->cache, key, n, &value, ttl_ms), "add",
              -ENOMEM, -EEXIST);
        break;
    case 2:
        CHECK(rv_dict_safe_add(context->cache, key, n, &value, ttl_ms),
              "safe_add", -ENOMEM, -EEXIST);
        break;
    case 3:
        CHECK(rv_dict_replace(context->cache, key, n, &value, ttl_ms),
              "replace", -ENOMEM, -ENOENT);
        break;
    default:
        CHECK(rv_dict_set(context->cache, key, n, &value, ttl_ms), "set",
              -ENOMEM);
    }
}

static void
read_key(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    struct rv_dict_value value = {.type = RV_DICT_BYTES};
    bool is_stale;
    size_t n = name_key(context, id);
    int rc = watch_random(&worker->random, 4)
                 ? rv_dict_get(context->cache, context->key, n,
                               context->buffer, sizeof context->buffer, &value)
                 : rv_dict_get_stale(context->cache, context->key, n,
                                     context->buffer, sizeof context->buffer,
                                     &value, &is_stale);
    CHECK(rc, "get", -ENOENT, -EPROTOTYPE);
    if (!rc) {
        check_value(&value, id);
    }
}

static void
look_at_life(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    int64_t ttl_ms = 0;
    size_t n = name_key(context, id);
    int rc = rv_dict_ttl(context->cache, context->key, n, &ttl_ms);
    CHECK(rc, "ttl", -ENOENT);
    if (!rc && (ttl_ms < 0 || ttl_ms > TTL_MAX_MS)) {
        find_wrong("key %" PRIu64 " lives %" PRId64 " ms", id, ttl_ms);
    }
}

static void
look_at_length(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    uint64_t length;
    size_t n = name_key(context, id);
    CHECK(rv_dict_llen(context->cache, context->key, n, &length), "llen",
          -EPROTOTYPE);
}

static void
increment(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    struct rv_dict_value delta = watch_random(&worker->random, 4)
                                     ? rv_dict_integer(1)
                                     : rv_dict_real(1);
    struct rv_dict_value init = rv_dict_integer((int64_t)(id << NUMBER_SHIFT));
    struct rv_dict_value sum = {.type = RV_DICT_BOOLEAN};
    size_t n = name_key(context, id);
    const struct rv_dict_value *given =
        watch_random(&worker->random, 2) ? &init : NULL;
    int rc = rv_dict_incr(context->cache, context->key, n, &delta, given,
                          draw_ttl(worker), &sum);
    CHECK(rc, "incr", -ENOMEM, -ENOENT, -EINVAL, -EPROTOTYPE);
    if (rc >= 0) {
        check_value(&sum, id);
    }
}

static void
push(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    struct rv_dict_value value;
    size_t n = name_key(context, id);
    draw_value(worker, id, &value);
    int rc =
        watch_random(&worker->random, 2)
            ? rv_dict_lpush(context->cache, context->key, n, &value, NULL)
            : rv_dict_rpush(context->cache, context->key, n, &value, NULL);
    CHECK(rc, "push", -ENOMEM, -EPROTOTYPE);
}

static void
pop(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    struct rv_dict_value value = {.type = RV_DICT_BYTES};
    size_t n = name_key(context, id);
    int rc =
        watch_random(&worker->random, 2)
            ? rv_dict_lpop(context->cache, context->key, n, context->buffer,
                           sizeof context->buffer, &value)
            : rv_dict_rpop(context->cache, context->key, n, context->buffer,
                           sizeof context->buffer, &value);
    CHECK(rc, "pop", -ENOENT, -EPROTOTYPE);
    if (!rc) {
        check_value(&value, id);
    }
}

static void
delete_key(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    size_t n = name_key(context, id);
    CHECK(rv_dict_delete(context->cache, context->key, n), "delete", 0);
}

static void
delete_some(struct worker *worker)
{
    for (int i = 0; i < 8; i++) {
        delete_key(worker, watch_random(&worker->random, N_KEYS));
    }
}

static void
expire(struct worker *worker, uint64_t id)
{
    struct context *context = worker->context;
    size_t n = name_key(context, id);
    CHECK(rv_dict_expire(context->cache, context->key, n, draw_ttl(worker)),
          "expire", -ENOENT);
}

static int
check_key(void *argument, const void *key, size_t key_length)
{
    struct context *context = argument;
    char number[32] = "";
    if (key_length > 4) {
        memcpy(number, (const char *)key + 4,
               RV_MIN(key_length - 4, sizeof number - 1));
    }
    uint64_t id = strtoull(number, NULL, 10);
    if (id >= N_KEYS || name_key(context, id) != key_length
        || memcmp(context->key, key, key_length) != 0) {
        find_wrong("there is a key that nobody set, %zu bytes", key_length);
    }
    return 0;
}

static void
flush(struct worker *worker)
{
    struct context *context = worker->context;
    int rc = rv_dict_flush_expired(context->cache, 100);
    if (rc < 0) {
        find_wrong("flush_expired: %d", rc);
    }
    if (watch_random(&worker->random, FLUSH_ALL_EVERY) == 0) {
        CHECK(rv_dict_flush_all(context->cache), "flush_all", 0);
    }
}

/* --------------------------------------------------------------- operations */

static void
read_something(struct worker *worker)
{
    struct context *context = worker->context;
    uint64_t id = watch_random(&worker->random, N_KEYS);
    uint64_t kind = watch_random(&worker->random, 4096);
    if (kind == 0) {
        CHECK(rv_dict_keys(context->cache, 0, check_key, context), "keys", 0);
    } else if (kind < 100) {
        look_at_life(worker, id);
    } else if (kind < 200) {
        look_at_length(worker, id);
    } else {
        read_key(worker, id);
    }
}

static void
work_on_lists(struct worker *worker, uint64_t id)
{
    if (watch_random(&worker->random, 2)) {
        push(worker, id);
    } else {
        pop(worker, id);
    }
}

static void
write_cache(struct worker *worker)
{
    /* Lists on few keys, so that they have some length. */
    uint64_t id = watch_random(&worker->random, N_KEYS);
    switch (watch_random(&worker->random, 16)) {
    case 0:
    case 1:
        delete_key(worker, id);
        break;
    case 2:
        expire(worker, id);
        break;
    case 3:
    case 4:
        increment(worker, id);
        break;
    case 5:
    case 6:
    case 7:
        work_on_lists(worker, id % 64);
        break;
    default:
        store(worker, id);
    }
}

static void
operate(struct worker *worker)
{
    uint64_t kind = watch_random(&worker->random, 1024);
    if (is_reader(worker->index) || kind < 100) {
        read_something(worker);
    } else if (kind < 400) {
        go_on(worker);
    } else if (kind < 500) {
        count_own(worker);
    } else if (kind < 560) {
        count_common(worker);
    } else if (kind < 562) {
        flush(worker);
    } else {
        write_cache(worker);
    }
}

/* -------------------------------------------------------------------- audit */

/* Not below what was reported done, nor above what was begun, since the last
 * audit. */
static void
check_common(struct context *context, struct diary *diaries, uint64_t i)
{
    static uint64_t before[N_COMMON];
    struct rv_dict_value value;
    uint64_t started = before[i];
    uint64_t done = before[i];
    size_t n = name_common(context, i);
    for (uint32_t w = 0; w < MAX_WORKERS; w++) {
        started += diaries[w].notes[2 * i];
        done += diaries[w].notes[2 * i + 1];
        diaries[w].notes[2 * i] = 0;
        diaries[w].notes[2 * i + 1] = 0;
    }
    int rc = rv_dict_get(context->kept, context->key, n, NULL, 0, &value);
    if (rc || value.type != RV_DICT_INTEGER || (uint64_t)value.integer < done
        || (uint64_t)value.integer > started) {
        find_wrong("get of %s: %d, %" PRId64 ", when %" PRIu64
                   " were done and %" PRIu64 " begun",
                   context->key, rc, value.integer, done, started);
    }
    before[i] = (uint64_t)value.integer;
}

static void
check_memory(struct rv_zone *zone, const struct context *context)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    uint64_t kept_bytes = 0;
    uint64_t cache_bytes = 0;
    if (rv__dict_audit(context->kept, &kept_bytes, &error)
        || rv__dict_audit(context->cache, &cache_bytes, &error)
        || rv_slab_check(zone, &error)) {
        find_wrong("%s", error.text);
    }
    rv_slab_get_stats(zone, &stats);
    if (stats.used_bytes != kept_bytes + cache_bytes) {
        find_wrong("%" PRIu64 " bytes are used, the dicts have %" PRIu64
                   " and %" PRIu64,
                   stats.used_bytes, kept_bytes, cache_bytes);
    }
}

static void
check_worker(struct context *context, struct diary *diary, uint32_t index)
{
    for (uint32_t g = 0; g < N_GROUPS; g++) {
        if (diary->is_living && diary->started[g] != diary->done[g]) {
            find_wrong("worker %" PRIu32 " rests in an operation", index);
        }
        settle(context, index, diary, g);
    }
}

static void
audit(struct rv_zone *zone, struct diary *diaries)
{
    static struct context context;
    if (!context.kept) {
        open_dicts(zone, &context);
    }
    check_memory(zone, &context);
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        check_worker(&context, &diaries[i], i);
    }
    for (uint64_t i = 0; i < N_COMMON; i++) {
        check_common(&context, diaries, i);
    }
    CHECK(rv_dict_keys(context.cache, 0, check_key, &context), "keys", 0);
}

static void
report(struct rv_zone *zone)
{
    struct rv_dict_stats stats;
    struct rv_slab_stats slab;
    struct rv_error error;
    struct rv_dict *cache;
    if (rv_dict_open(zone, "cache", NULL, &cache, &error)) {
        find_wrong("%s", error.text);
    }
    rv_dict_get_stats(cache, &stats);
    rv_slab_get_stats(zone, &slab);
    printf("kills: dict: %" PRIu64 " entries at the end, %" PRIu64
           " evicted, %" PRIu64 " expired; %" PRIu64 " of %" PRIu64
           " pages free\n",
           stats.n_entries, stats.n_evicted, stats.n_expired,
           slab.n_free_pages, slab.n_pages);
    rv_dict_close(&cache);
}

const struct kill_workload dict_workload = {.name = "dict",
                                            .heap_bytes = 1280 << 10,
                                            .has_readers = true,
                                            .setup = setup,
                                            .begin = begin,
                                            .operate = operate,
                                            .audit = audit,
                                            .report = report};
