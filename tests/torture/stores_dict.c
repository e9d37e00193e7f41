/* Death at every store of the dict: all calls that write, on a few keys in a
 * zone so small that tables grow and shards evict, while another member has
 * memory in its hands.
 *
 * After each recovery the key of the operation is as before it or as after
 * it, no other key is changed (it may be gone if it was dead, or evicted),
 * and every byte of the zone is accounted for. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/siphash.h"
#include "hooks.h"
#include "shm/dict.h"
#include "shm/member.h"
#include "stores.h"

enum {
    N_KEYS = 40,
    N_LISTS = 6,    /* The keys that lists are pushed to. */
    N_CROWDED = 20, /* The first keys belong to one bucket of one shard. */
    N_SHARDS = 2,
    CROWD_MASK = 7, /* Of the largest table, and the bucket is its last. */
    NAME_STEP = 100,
    HEAP_PAGES = 44,
    HUGE_BYTES = 40 * RV_ZONE_PAGE_BYTES, /* More than can be free. */
    MAX_NODES = 24
};

/* What is to be seen of a key. */
struct state {
    bool is_there, is_dead;
    uint8_t type;
    uint32_t flags;
    uint64_t number, expires_ms;
    uint64_t bytes; /* A hash of them. */
    uint32_t n_nodes;
    uint64_t nodes[MAX_NODES]; /* Hashes. */
};

enum verb {
    SET,
    SAFE_SET,
    ADD,
    REPLACE,
    DELETE,
    INCR,
    EXPIRE,
    LPUSH,
    RPUSH,
    LPOP,
    RPOP,
    FLUSH_EXPIRED,
    FLUSH_ALL,
    N_VERBS
};

struct operation {
    enum verb verb;
    uint32_t key;
    struct rv_dict_value value;
    int64_t ttl_ms;
};

static char payload[4096 + HUGE_BYTES];
static struct rv_dict_settings settings;
static int64_t now_ms = 1000;
static struct rv_dict *victims, *bystanders;
static uint32_t names[N_KEYS]; /* Numbers, equal to the index % NAME_STEP. */
static struct state before[N_KEYS], after;
static struct operation operation;
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

/* Whole words, so that they are not copied byte by byte, a crash state each;
 * some are long. */
static size_t
key_of(uint32_t i, char key[80])
{
    return (size_t)snprintf(key, 80, "%0*" PRIu32, i % 5 ? 8 : 56, names[i]);
}

static uint32_t
index_of(const char *key, size_t n)
{
    uint32_t i = 0;
    for (size_t k = 0; k < n; k++) {
        i = i * 10 + (uint32_t)(key[k] - '0');
    }
    return i % NAME_STEP;
}

/* Whether the key belongs where it is crowded: more keys than a bucket takes,
 * so that they come by it, into the next ones and around the table's end. */
static bool
is_crowded(uint32_t i)
{
    char key[80];
    size_t n = key_of(i, key);
    uint64_t hash = rv_siphash13(victims->hash_key, key, n);
    return rv__shard_index(victims, hash) == 0
           && (hash & CROWD_MASK) == CROWD_MASK;
}

static void
name_keys(void)
{
    for (uint32_t i = 0; i < N_KEYS; i++) {
        names[i] = i;
        while (i < N_CROWDED && !is_crowded(i)) {
            names[i] += NAME_STEP;
        }
    }
}

/* A handle on the stack that writes nothing, for any level's zone. */
static void
open_reader(struct stores *stores, const struct rv_zone *zone,
            struct rv_zone *quiet, struct rv_dict *dict)
{
    *quiet = *zone;
    quiet->tid = 0;
    must(stores, rv__dict_find(quiet, "dict", dict), "the dict");
    dict->now_ms = now;
}

/* ------------------------------------------------------------------ states */

static uint64_t
hash_of(const void *bytes, size_t n)
{
    static const uint64_t key[2] = {1, 2};
    return rv_siphash13(key, bytes, n);
}

static uint64_t
hash_node(uint8_t type, uint64_t number, const void *bytes, uint32_t length)
{
    uint64_t parts[3] = {type, number, hash_of(bytes, length)};
    return hash_of(parts, sizeof parts);
}

static void
read_nodes(const struct rv_dict *dict, struct rv__entry *entry,
           struct state *state)
{
    uint64_t offset = rv__entry_ends(entry)->first;
    while (offset && state->n_nodes < MAX_NODES) {
        const struct rv__node *node = rv__dict_at(dict, offset);
        state->nodes[state->n_nodes++] =
            hash_node(node->type, node->number, node + 1, node->length);
        offset = node->next;
    }
}

static void
read_entry(const struct rv_dict *dict, const struct rv__shard *shard,
           struct rv__entry *entry, struct state *state)
{
    state->is_there = true;
    state->is_dead = rv__entry_is_dead(dict, shard, entry);
    state->type = entry->type;
    state->flags = entry->flags;
    state->number = entry->number;
    state->expires_ms = entry->expires_ms;
    state->bytes = hash_of(rv__entry_bytes(entry), entry->length);
    if (entry->type == RV__DICT_LIST) {
        read_nodes(dict, entry, state);
    }
}

/* Reads all keys without the search that is on trial. */
static void
read_states(struct stores *stores, const struct rv_dict *dict,
            struct state states[N_KEYS])
{
    memset(states, 0, N_KEYS * sizeof *states);
    for (uint32_t s = 0; s < N_SHARDS; s++) {
        struct rv__table table;
        const struct rv__shard *shard = &dict->shards[s];
        if (!rv__table_open(dict, shard->table, &table) || !table.buckets) {
            continue;
        }
        for (uint32_t k = 0; k < (table.mask + 1) * RV__DICT_SLOTS; k++) {
            uint64_t ref =
                table.buckets[k / RV__DICT_SLOTS].refs[k % RV__DICT_SLOTS];
            struct rv__entry *entry = ref ? rv__entry_at(dict, ref) : NULL;
            if (entry) {
                uint32_t i = index_of(rv__entry_key(entry), entry->key_length);
                if (i >= N_KEYS || states[i].is_there) {
                    stores_fail(stores, "a key that is none, or twice");
                }
                read_entry(dict, shard, entry, &states[i]);
            }
        }
    }
}

static bool
is_same(const struct state *a, const struct state *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void
expect_value(struct state *state, const struct rv_dict_value *value,
             int64_t ttl_ms)
{
    struct rv__content content;
    int rc = rv__content_init(&content, value);
    memset(state, 0, sizeof *state);
    state->is_there = rc == 0;
    state->type = content.type;
    state->flags = content.flags;
    state->number = content.number;
    state->bytes = hash_of(content.bytes, content.length);
    state->expires_ms = ttl_ms ? (uint64_t)(now_ms + ttl_ms) : 0;
}

static void
expect_sum(struct state *state, bool is_alive)
{
    if (!is_alive) {
        struct rv_dict_value sum = rv_dict_integer(operation.value.integer);
        expect_value(state, &sum, operation.ttl_ms);
    } else if (state->type == RV_DICT_INTEGER) {
        state->number += (uint64_t)operation.value.integer;
    } else if (state->type == RV_DICT_REAL) {
        double real;
        memcpy(&real, &state->number, sizeof real);
        real += (double)operation.value.integer;
        memcpy(&state->number, &real, sizeof real);
    }
}

static void
expect_push(struct state *state, bool is_alive, bool is_first)
{
    struct rv__content content;
    if (is_alive && state->type != RV__DICT_LIST) {
        return;
    }
    if (!is_alive) {
        memset(state, 0, sizeof *state);
        state->is_there = true;
        state->type = RV__DICT_LIST;
        state->bytes = hash_of("", 0);
    }
    if (rv__content_init(&content, &operation.value)) {
        return;
    }
    uint64_t hash =
        hash_node(content.type, content.number, content.bytes, content.length);
    if (is_first) {
        memmove(&state->nodes[1], &state->nodes[0],
                state->n_nodes * sizeof hash);
    }
    state->nodes[is_first ? 0 : state->n_nodes] = hash;
    state->n_nodes++;
    state->number++;
}

static void
expect_pop(struct state *state, bool is_alive, bool is_first)
{
    if (!is_alive || state->type != RV__DICT_LIST) {
        return;
    }
    state->n_nodes--;
    state->number--;
    if (is_first) {
        memmove(&state->nodes[0], &state->nodes[1],
                state->n_nodes * sizeof state->nodes[0]);
    }
    state->nodes[state->n_nodes] = 0;
    if (state->n_nodes == 0) {
        memset(state, 0, sizeof *state);
    }
}

/* What the key should be when the operation succeeds. */
static void
expect(struct state *state)
{
    bool is_alive = state->is_there && !state->is_dead;
    switch (operation.verb) {
    case SET:
    case SAFE_SET:
        expect_value(state, &operation.value, operation.ttl_ms);
        break;
    case ADD:
    case REPLACE:
        if (is_alive == (operation.verb == REPLACE)) {
            expect_value(state, &operation.value, operation.ttl_ms);
        }
        break;
    case DELETE:
        memset(state, 0, sizeof *state);
        break;
    case INCR:
        expect_sum(state, is_alive);
        break;
    case EXPIRE:
        if (is_alive) {
            state->expires_ms =
                operation.ttl_ms ? (uint64_t)(now_ms + operation.ttl_ms) : 0;
        }
        break;
    case LPUSH:
    case RPUSH:
        expect_push(state, is_alive, operation.verb == LPUSH);
        break;
    case LPOP:
    case RPOP:
        expect_pop(state, is_alive, operation.verb == LPOP);
        break;
    case FLUSH_ALL:
    case FLUSH_EXPIRED:
    case N_VERBS:
        break;
    }
}

/* -------------------------------------------------------------- operations */

static struct rv_dict_value
draw_value(struct stores *stores)
{
    static const size_t sizes[] = {0,   8,   24,  40,  80,   104, 200,
                                   304, 304, 504, 800, 1504, 5000};
    struct rv_dict_value value;
    switch (stores_random(stores, 6)) {
    case 0:
        value = rv_dict_integer((int64_t)stores_random(stores, 1000));
        break;
    case 1:
        value = rv_dict_real((double)stores_random(stores, 1000) / 4);
        break;
    case 2:
        value = rv_dict_boolean(stores_random(stores, 2));
        break;
    default:
        value =
            rv_dict_bytes(payload + 8 * stores_random(stores, 375),
                          sizes[stores_random(stores, RV_ARRAY_SIZE(sizes))]);
    }
    value.flags = (uint32_t)stores_random(stores, 4);
    return value;
}

static void
draw_operation(struct stores *stores)
{
    operation.key = (uint32_t)stores_random(stores, N_KEYS);
    operation.value = draw_value(stores);
    operation.verb = (enum verb)stores_random(stores, N_VERBS);
    bool is_mortal =
        stores_random(stores, operation.verb == EXPIRE ? 2 : 4) == 0;
    operation.ttl_ms = is_mortal ? 1 + (int64_t)stores_random(stores, 50) : 0;
    if (operation.verb == FLUSH_ALL && stores_random(stores, 8)) {
        operation.verb = SET;
    }
    bool is_push = operation.verb == LPUSH || operation.verb == RPUSH;
    if (is_push || operation.verb == LPOP || operation.verb == RPOP) {
        operation.key %= N_LISTS; /* So that they become long. */
        operation.value.flags = 0;
        operation.value.length %= 500;
        if (is_push && before[operation.key].n_nodes + 1 >= MAX_NODES) {
            operation.verb = DELETE;
        }
    }
    if (operation.verb == INCR) {
        operation.value =
            rv_dict_integer(1 + (int64_t)stores_random(stores, 1000));
    }
    if (stores_random(stores, 160) == 0) { /* All goes for it, and in vain. */
        operation.verb = SET;
        operation.value = rv_dict_bytes(payload, HUGE_BYTES);
    }
}

static int
run_list(struct rv_dict *dict, const char *key, size_t n)
{
    static char buffer[8192];
    struct rv_dict_value value;
    switch ((int)operation.verb) {
    case LPUSH:
        return rv_dict_lpush(dict, key, n, &operation.value, NULL);
    case RPUSH:
        return rv_dict_rpush(dict, key, n, &operation.value, NULL);
    case LPOP:
        return rv_dict_lpop(dict, key, n, buffer, sizeof buffer, &value);
    default:
        return rv_dict_rpop(dict, key, n, buffer, sizeof buffer, &value);
    }
}

static int
run(struct rv_dict *dict)
{
    char key[80];
    size_t n = key_of(operation.key, key);
    const struct rv_dict_value *value = &operation.value;
    struct rv_dict_value none = rv_dict_integer(0);
    int64_t ttl_ms = operation.ttl_ms;
    switch ((int)operation.verb) {
    case SET:
        return rv_dict_set(dict, key, n, value, ttl_ms);
    case SAFE_SET:
        return rv_dict_safe_set(dict, key, n, value, ttl_ms);
    case ADD:
        return rv_dict_add(dict, key, n, value, ttl_ms);
    case REPLACE:
        return rv_dict_replace(dict, key, n, value, ttl_ms);
    case DELETE:
        return rv_dict_delete(dict, key, n);
    case INCR:
        return rv_dict_incr(dict, key, n, value, &none, ttl_ms, NULL);
    case EXPIRE:
        return rv_dict_expire(dict, key, n, ttl_ms);
    case FLUSH_EXPIRED:
        return rv_dict_flush_expired(dict, 5);
    case FLUSH_ALL:
        return rv_dict_flush_all(dict);
    default:
        return run_list(dict, key, n);
    }
}

static bool
may_evict(void)
{
    return operation.verb == SET || operation.verb == ADD
           || operation.verb == REPLACE || operation.verb == INCR
           || operation.verb == LPUSH || operation.verb == RPUSH;
}

/* A key that the operation did not name. */
static void
check_other(struct stores *stores, uint32_t i, const struct state *state)
{
    struct state old = before[i];
    if (!state->is_there) {
        if (old.is_there && !old.is_dead && !may_evict()) {
            stores_fail(stores, "verb %u lost key %" PRIu32, operation.verb,
                        i);
        }
        return;
    }
    if (operation.verb == FLUSH_ALL) {
        old.is_dead = state->is_dead;
    }
    if (!is_same(state, &old)) {
        stores_fail(stores, "verb %u on key %" PRIu32 " changed key %" PRIu32,
                    operation.verb, operation.key, i);
    }
}

static void
check_result(struct stores *stores, int rc)
{
    static struct state states[N_KEYS];
    static const int allowed[] = {-ENOMEM, -EEXIST, -ENOENT, -EPROTOTYPE,
                                  -EINVAL};
    bool is_known = rc >= 0;
    for (size_t i = 0; i < RV_ARRAY_SIZE(allowed); i++) {
        is_known = is_known || rc == allowed[i];
    }
    read_states(stores, victims, states);
    const struct state *state = &states[operation.key];
    if (!is_known) {
        stores_fail(stores, "verb %u: %d", operation.verb, rc);
    }
    if (operation.verb < FLUSH_EXPIRED
        && !is_same(state, rc < 0 ? &before[operation.key] : &after)) {
        stores_fail(stores, "verb %u returned %d, and the key is not so",
                    operation.verb, rc);
    }
}

/* What went in a call is given back when it returns, however that went; and
 * so are the nodes of lists that went before, if it has done something. */
static void
check_leftovers(struct stores *stores, const struct rv_zone *zone,
                const struct rv_dict *dict, int rc)
{
    char key[80];
    size_t n = key_of(operation.key, key);
    uint64_t hash = rv_siphash13(dict->hash_key, key, n);
    if (rv__limbo_count(zone)) {
        stores_fail(stores, "verb %u left something in the limbo",
                    operation.verb);
    }
    if (rc >= 0 && operation.verb < FLUSH_EXPIRED
        && dict->shards[rv__shard_index(dict, hash)].garbage) {
        stores_fail(stores, "verb %u left garbage", operation.verb);
    }
}

/* Removes a list as if death came right behind the commit: its nodes stay
 * garbage. */
static void
leave_garbage(struct stores *stores, struct rv_zone *zone)
{
    struct rv__dict_op op;
    char key[80];
    size_t n = key_of((uint32_t)stores_random(stores, N_LISTS), key);
    must(stores, rv__op_init(&op, bystanders, key, n), "the key");
    must(stores, rv_slab_reserve(zone, 16, 0, RV__DICT_FREES), "frees");
    must(stores, rv__op_begin(&op), "the list");
    if (op.entry && op.entry->type == RV__DICT_LIST) {
        rv__op_remove(&op);
    }
    must(stores, rv_tx_commit(zone), "the garbage");
}

static void
operate(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    now_ms += (int64_t)stores_random(stores, 8);
    if (stores_random(stores, 4) == 0) {
        draw_operation(stores);
        int rc = run(bystanders);
        if (rc == -EUCLEAN) {
            stores_fail(stores, "bystander: damaged");
        }
        check_leftovers(stores, bystander, bystanders, rc);
    } else if (stores_random(stores, 8) == 0) {
        leave_garbage(stores, bystander);
    }
    read_states(stores, victims, before);
    draw_operation(stores);
    after = before[operation.key];
    expect(&after);
    stores_begin(stores);
    int rc = run(victims);
    stores_end(stores);
    check_result(stores, rc);
    check_leftovers(stores, zone, victims, rc);
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
audit(struct stores *stores, const struct rv_dict *dict)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    uint64_t bytes;
    if (rv__dict_audit(dict, &bytes, &error)) {
        stores_fail(stores, "verb %u: check: %s", operation.verb, error.text);
    }
    if (rv_slab_check(dict->zone, &error)) {
        stores_fail(stores, "verb %u: slab: %s", operation.verb, error.text);
    }
    rv_slab_get_stats(dict->zone, &stats);
    if (stats.used_bytes != bytes) {
        stores_fail(stores,
                    "verb %u: %" PRIu64
                    " bytes are used, the dict has %" PRIu64,
                    operation.verb, stats.used_bytes, bytes);
    }
}

static int
judge(struct stores *stores, const struct rv_zone *zone)
{
    static struct state states[N_KEYS];
    struct rv_zone quiet;
    struct rv_dict dict;
    open_reader(stores, zone, &quiet, &dict);
    audit(stores, &dict);
    read_states(stores, &dict, states);
    for (uint32_t i = 0; i < N_KEYS; i++) {
        if (i != operation.key || operation.verb >= FLUSH_EXPIRED) {
            check_other(stores, i, &states[i]);
        }
    }
    const struct state *state = &states[operation.key];
    if (operation.verb >= FLUSH_EXPIRED) {
        return 0;
    }
    if (is_same(state, &after)) {
        return 1;
    }
    if (!is_same(state, &before[operation.key])
        && (state->is_there || !before[operation.key].is_dead)) {
        stores_fail(stores, "verb %u: neither as before nor as after",
                    operation.verb);
    }
    return 0;
}

/* So that a seed has the same keys meet each time. */
static void
set_hash_key(void)
{
    struct rv__dict_root *root = rv__dict_at(victims, victims->root);
    for (uint32_t i = 0; i < 2; i++) {
        hook_store(&root->hash_key[i], sizeof root->hash_key[i]);
        root->hash_key[i] = i + 1;
        victims->hash_key[i] = i + 1;
    }
}

static void
setup(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    struct rv_error error;
    settings.n_shards = N_SHARDS;
    settings.now_ms = now;
    for (size_t i = 0; i < sizeof payload; i++) {
        payload[i] = (char)(i * 7 + i / 256);
    }
    if (rv_dict_open(zone, "dict", &settings, &victims, &error)) {
        stores_fail(stores, "%s", error.text);
    }
    set_hash_key();
    name_keys();
    if (rv_dict_open(bystander, "dict", &settings, &bystanders, &error)) {
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
        .nest_every = 1999};
    return stores_main(argc, argv, &workload);
}
