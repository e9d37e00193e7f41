/* Sides in memory that processes share: reeve, and the limit. */
#include "dict.h"

#include "reeve/dict.h"

enum { ZONE_BYTES = 64 << 20, N_SLOTS = 1 << 18 };

/* ------------------------------------------------------------------- reeve */

static void
reeve_prepare(struct state *state)
{
    state->fd = bench_zone(ZONE_BYTES);
}

static void
reeve_open(struct state *state)
{
    struct rv_error error;
    state->zone = bench_attach(state->fd);
    if (rv_dict_open(state->zone, "bench", NULL, &state->dict, &error)) {
        bench_die("%s", error.text);
    }
}

static inline bool
reeve_get(struct state *state, const char *key)
{
    struct rv_dict_value value;
    return rv_dict_get(state->dict, key, KEY_BYTES, state->buffer, VALUE_BYTES,
                       &value)
           == 0;
}

static inline void
reeve_set(struct state *state, const char *key)
{
    struct rv_dict_value value = rv_dict_bytes(state->value, VALUE_BYTES);
    if (rv_dict_set(state->dict, key, KEY_BYTES, &value, 0)) {
        bench_die("set failed");
    }
}

static inline void
reeve_incr(struct state *state, const char *key)
{
    struct rv_dict_value one = rv_dict_integer(1);
    struct rv_dict_value sum;
    if (rv_dict_incr(state->dict, key, KEY_BYTES, &one, NULL, 0, &sum)) {
        bench_die("incr failed");
    }
}

static void
reeve_fill(struct state *state, bool numbers)
{
    struct rv_dict_value zero = rv_dict_integer(0);
    for (unsigned int i = 0; i < state->n_keys; i++) {
        if (!numbers) {
            reeve_set(state, state->keys[i]);
        } else if (rv_dict_set(state->dict, state->keys[i], KEY_BYTES, &zero,
                               0)) {
            bench_die("set failed");
        }
    }
}

SLICES(reeve)

static void
reeve_many_slice(void *context)
{
    struct state *state = context;
    struct rv_dict_get gets[MANY_KEYS];
    char buffers[MANY_KEYS][VALUE_BYTES];
    for (int i = 0; i < SLICE / MANY_KEYS; i++) {
        for (int k = 0; k < MANY_KEYS; k++) {
            gets[k] = (struct rv_dict_get){.key = state->keys[any_key(state)],
                                           .key_length = KEY_BYTES,
                                           .buffer = buffers[k],
                                           .size = VALUE_BYTES};
        }
        if (rv_dict_get_many(state->dict, gets, MANY_KEYS) != MANY_KEYS) {
            bench_die("a key is missing");
        }
    }
}

const struct side side_reeve = {.name = "reeve",
                                .prepare = reeve_prepare,
                                .open = reeve_open,
                                .fill = reeve_fill,
                                .slices = {[GET] = reeve_get_slice,
                                           [MISS] = reeve_miss_slice,
                                           [SET] = reeve_set_slice,
                                           [MANY] = reeve_many_slice,
                                           [INCR] = reeve_incr_slice}};

/* ----------------------------------------------- the limit: no lock at all */

struct slot {
    char key[KEY_BYTES];
    char value[VALUE_BYTES];
    uint32_t hash; /* 0: empty. */
    uint32_t rest[11];
};

static void
table_prepare(struct state *state)
{
    state->slots = bench_share(N_SLOTS * sizeof *state->slots);
}

static void
table_open(struct state *state)
{
    (void)state;
}

static inline uint64_t
hash_of(const char *key)
{
    uint64_t words[2];
    memcpy(words, key, sizeof words);
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(words[0] ^ 0xa0761d6478bd642fu)
                   * (words[1] ^ 0xe7037ed1a0b428dbu);
    product = (wide)((uint64_t)product ^ (uint64_t)(product >> 64))
              * 0x9e3779b97f4a7c15u;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The slot of a key, or the empty one where it would be. */
static inline struct slot *
find(struct state *state, const char *key, uint32_t *hashp)
{
    uint64_t hash = hash_of(key);
    uint32_t mark = (uint32_t)(hash >> 32) | 1;
    size_t i = hash & (N_SLOTS - 1);
    *hashp = mark;
    while (state->slots[i].hash
           && (state->slots[i].hash != mark
               || memcmp(state->slots[i].key, key, KEY_BYTES) != 0)) {
        i = (i + 1) & (N_SLOTS - 1);
    }
    return &state->slots[i];
}

static inline bool
table_get(struct state *state, const char *key)
{
    uint32_t hash;
    const struct slot *slot = find(state, key, &hash);
    if (!slot->hash) {
        return false;
    }
    memcpy(state->buffer, slot->value, VALUE_BYTES);
    return true;
}

static inline void
table_set(struct state *state, const char *key)
{
    uint32_t hash;
    struct slot *slot = find(state, key, &hash);
    memcpy(slot->key, key, KEY_BYTES);
    memcpy(slot->value, state->value, VALUE_BYTES);
    slot->hash = hash;
}

static inline void
table_incr(struct state *state, const char *key)
{
    uint32_t hash;
    ++*(uint64_t *)(void *)find(state, key, &hash)->value;
}

static void
table_fill(struct state *state, bool numbers)
{
    for (unsigned int i = 0; i < state->n_keys && !numbers; i++) {
        table_set(state, state->keys[i]);
    }
}

SLICES(table)

const struct side side_table = {"table",    table_prepare,    table_open,
                                table_fill, SLICES_OF(table), false};
