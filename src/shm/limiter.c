/* Design
 *
 * A rate is one integer of the dict: when the bucket will be empty.  It lives
 * as long as that is to come, for an empty bucket is as good as none.
 *
 * Slots are bytes of the dict: who has how many, a record each member.  A
 * member is its slot of the zone and the incarnation of that (as in queue.h),
 * so that what the dead had is seen without asking, once their slot is put in
 * order; when all slots are taken, it is looked who died.
 */
#include "shm/limiter.h"

#include <errno.h>
#include <stdlib.h>

#include "shm/dict.h"
#include "shm/member.h"

enum { NS_PER_MS = 1000000 };

/* What a change of a key is about. */
struct change {
    struct rv__dict_op op;
    /* In the transaction: what to store, from what is there (NULL: nothing
     * that lives); of no type: the key goes.  0, or an error that ends it. */
    int (*compute)(struct change *change, const struct rv__entry *entry,
                   struct rv__content *content);
    size_t reserved_bytes; /* For an entry of just this size; 0: none. */

    /* Rates. */
    const struct rv_rate_limit *limit;
    uint64_t now_ns;
    uint64_t delay_ns;

    /* Slots. */
    struct holder *holders;
    uint32_t n_holders;
    uint32_t max_slots;
};

/* One that has slots; as it lies in the dict. */
struct holder {
    uint32_t index;
    uint32_t n_slots;
    uint64_t incarnation;
};

/* ----------------------------------------------------------------- changing */

/* In the transaction: a number takes the place of a number. */
static bool
can_overwrite(const struct rv__entry *entry, const struct rv__content *content)
{
    return entry && entry->type == RV_DICT_INTEGER
           && content->type == RV_DICT_INTEGER && entry->expires_ms
           && content->expires_ms;
}

static int
overwrite(struct rv__dict_op *op, const struct rv__content *content)
{
    struct rv_zone *zone = op->dict->zone;
    rv__tx_set64(zone, &op->entry->number, content->number);
    rv__tx_set64(zone, &op->entry->expires_ms, content->expires_ms);
    return rv__op_commit(op);
}

static int
put(struct change *change, const struct rv__content *content)
{
    struct rv__dict_op *op = &change->op;
    struct rv__entry *entry = NULL;
    bool is_new = !op->entry;
    size_t bytes =
        rv__entry_size(content->type, op->key_length, content->length);
    int rc = bytes == change->reserved_bytes ? rv__op_put(op, content, &entry)
                                             : -ENOBUFS;
    if (rc) {
        change->reserved_bytes = bytes;
        return rv__op_abort(op, rc);
    }
    rv__shard_tidy(op->dict, op->shard, &op->table);
    rc = rv__op_commit(op);
    if (!rc && is_new) {
        rv__op_grow_in_time(op);
    }
    return rc;
}

static int
drop(struct change *change)
{
    struct rv__dict_op *op = &change->op;
    if (!change->reserved_bytes) {
        change->reserved_bytes = sizeof(struct rv__entry);
        return rv__op_abort(op, -ENOBUFS); /* For the frees it comes with. */
    }
    if (op->entry) {
        rv__op_remove(op);
    }
    return rv__op_commit(op);
}

/* -EAGAIN: the table has no room; -ENOBUFS: 'reserved_bytes' must be. */
static int
try_change(struct change *change)
{
    struct rv__dict_op *op = &change->op;
    struct rv__content content = {.type = RV__NOT_A_TYPE};
    int rc = rv__op_begin(op);
    if (rc) {
        return rc;
    }
    const struct rv__entry *entry = rv__op_is_alive(op) ? op->entry : NULL;
    rc = change->compute(change, entry, &content);
    if (rc) {
        return rv__op_abort(op, rc);
    }
    if (content.type == RV__NOT_A_TYPE) {
        return drop(change);
    }
    return can_overwrite(entry, &content) ? overwrite(op, &content)
                                          : put(change, &content);
}

static int
change_key(struct change *change)
{
    for (;;) {
        int rc = try_change(change);
        if (rc != -EAGAIN && rc != -ENOBUFS) {
            return rc;
        }
        rc = rc == -EAGAIN ? rv__op_make_room(&change->op) : 0;
        rc = rc ? rc : rv__op_reserve(&change->op, change->reserved_bytes, 0);
        if (rc < 0) {
            return rc;
        }
    }
}

/* -------------------------------------------------------------------- rates */

static bool
is_valid(const struct rv_rate_limit *limit)
{
    return limit->per_second > 0
           && limit->per_second <= RV_LIMITER_PER_SECOND_MAX
           && limit->burst >= 0;
}

/* How long a request takes; not longer than 30 years. */
static uint64_t
interval_ns(const struct rv_rate_limit *limit)
{
    double ns = 1e9 / limit->per_second;
    return ns < 1e18 ? (uint64_t)ns : (uint64_t)1e18;
}

int
rv__limiter_step(uint64_t *free_ns, const struct rv_rate_limit *limit,
                 uint64_t now_ns, uint64_t *delay_nsp)
{
    uint64_t interval = interval_ns(limit);
    uint64_t wait_ns = *free_ns > now_ns ? *free_ns - now_ns : 0;
    uint64_t room_ns = UINT64_MAX - now_ns;
    if ((double)wait_ns > limit->burst * (double)interval || interval > room_ns
        || wait_ns > room_ns - interval) {
        return -EBUSY;
    }
    *delay_nsp = wait_ns;
    *free_ns = now_ns + wait_ns + interval;
    return 0;
}

static int
compute_rate(struct change *change, const struct rv__entry *entry,
             struct rv__content *content)
{
    const struct rv_dict *dict = change->op.dict;
    uint64_t free_ns = entry ? entry->number : 0;
    if (entry && entry->type != RV_DICT_INTEGER) {
        return -EPROTOTYPE;
    }
    int rc = rv__limiter_step(&free_ns, change->limit, change->now_ns,
                              &change->delay_ns);
    if (rc) {
        return rc;
    }
    int64_t ttl_ms = (int64_t)((free_ns - change->now_ns) / NS_PER_MS) + 1;
    *content =
        (struct rv__content){.type = RV_DICT_INTEGER,
                             .number = free_ns,
                             .expires_ms = rv__end_of_life(dict, ttl_ms)};
    return 0;
}

int
rv_limiter_request_at(struct rv_dict *dict, const void *key, size_t key_length,
                      const struct rv_rate_limit *limit, uint64_t now_ns,
                      uint64_t *delay_nsp)
{
    struct change change = {
        .compute = compute_rate, .limit = limit, .now_ns = now_ns};
    if (!is_valid(limit)) {
        return -EINVAL;
    }
    int rc = rv__op_init(&change.op, dict, key, key_length);
    rc = rc ? rc : change_key(&change);
    if (!rc && delay_nsp) {
        *delay_nsp = change.delay_ns;
    }
    return rc;
}

int
rv_limiter_request(struct rv_dict *dict, const void *key, size_t key_length,
                   const struct rv_rate_limit *limit, uint64_t *delay_nsp)
{
    uint64_t now_ns = (uint64_t)dict->now_ms(dict->context) * NS_PER_MS;
    return rv_limiter_request_at(dict, key, key_length, limit, now_ns,
                                 delay_nsp);
}

/* -------------------------------------------------------------------- slots */

static uint64_t
incarnation_of(const struct rv_zone *zone, uint32_t index)
{
    return __atomic_load_n(&rv__member_of(zone, index)->n_attached,
                           __ATOMIC_RELAXED);
}

/* Whether the member has its slot of the zone, as far as that tells. */
static bool
is_there(const struct rv_zone *zone, const struct holder *holder)
{
    return holder->index < zone->mapping->geometry.n_members
           && __atomic_load_n(&rv__member_of(zone, holder->index)->tid,
                              __ATOMIC_RELAXED)
           && incarnation_of(zone, holder->index) == holder->incarnation;
}

/* In the transaction: copies who has slots, but those who are gone. */
static int
read_holders(struct change *change, const struct rv__entry *entry)
{
    const struct rv_zone *zone = change->op.dict->zone;
    change->n_holders = 0;
    if (!entry) {
        return 0;
    }
    if (entry->type != RV_DICT_BYTES
        || entry->length % sizeof(struct holder)) {
        return -EPROTOTYPE;
    }
    const char *bytes = (const char *)(entry + 1) + entry->key_length;
    uint32_t n = entry->length / sizeof(struct holder);
    for (uint32_t i = 0; i < n; i++) {
        struct holder holder;
        memcpy(&holder, bytes + i * sizeof holder, sizeof holder);
        if (is_there(zone, &holder)
            && change->n_holders < zone->mapping->geometry.n_members) {
            change->holders[change->n_holders++] = holder;
        }
    }
    return 0;
}

static uint64_t
count_slots(const struct change *change)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < change->n_holders; i++) {
        n += change->holders[i].n_slots;
    }
    return n;
}

/* The record of the calling member, or NULL. */
static struct holder *
find_own(struct change *change)
{
    uint32_t index = change->op.dict->zone->index;
    for (uint32_t i = 0; i < change->n_holders; i++) {
        if (change->holders[i].index == index) {
            return &change->holders[i];
        }
    }
    return NULL;
}

static void
give_holders(const struct change *change, struct rv__content *content)
{
    *content = (struct rv__content){
        .type = RV_DICT_BYTES,
        .bytes = change->holders,
        .length = change->n_holders * (uint32_t)sizeof(struct holder)};
}

static int
compute_acquire(struct change *change, const struct rv__entry *entry,
                struct rv__content *content)
{
    const struct rv_zone *zone = change->op.dict->zone;
    int rc = read_holders(change, entry);
    if (rc) {
        return rc;
    }
    if (count_slots(change) >= change->max_slots) {
        return -EBUSY;
    }
    struct holder *own = find_own(change);
    if (!own) {
        own = &change->holders[change->n_holders++];
        *own =
            (struct holder){.index = zone->index,
                            .incarnation = incarnation_of(zone, zone->index)};
    }
    own->n_slots++;
    give_holders(change, content);
    return 0;
}

static int
compute_release(struct change *change, const struct rv__entry *entry,
                struct rv__content *content)
{
    int rc = read_holders(change, entry);
    struct holder *own = rc ? NULL : find_own(change);
    if (!own) {
        return rc ? rc : -ENOENT;
    }
    if (--own->n_slots == 0) {
        *own = change->holders[--change->n_holders];
    }
    if (change->n_holders) {
        give_holders(change, content);
    }
    return 0;
}

/* A change of slots; its holders are to be freed. */
static int
change_init(struct change *change, struct rv_dict *dict, const void *key,
            size_t key_length)
{
    int rc = rv__op_init(&change->op, dict, key, key_length);
    if (rc) {
        return rc;
    }
    /* One more than members: somebody may just have lost his slot. */
    size_t n = dict->zone->mapping->geometry.n_members + 1;
    change->holders = calloc(n, sizeof *change->holders);
    return change->holders ? 0 : -ENOMEM;
}

/* Looks who of those that have slots died.  Whether somebody did. */
static bool
heal_holders(struct change *change)
{
    struct rv_zone *zone = change->op.dict->zone;
    bool is_healed = false;
    for (uint32_t i = 0; i < change->n_holders; i++) {
        const struct holder *holder = &change->holders[i];
        rv__member_heal(zone, holder->index);
        is_healed = is_healed || !is_there(zone, holder);
    }
    return is_healed;
}

int
rv_limiter_acquire(struct rv_dict *dict, const void *key, size_t key_length,
                   uint32_t max_slots)
{
    struct change change = {.compute = compute_acquire,
                            .max_slots = max_slots};
    if (max_slots == 0) {
        return -EINVAL;
    }
    int rc = change_init(&change, dict, key, key_length);
    if (rc) {
        return rc;
    }
    do {
        rc = change_key(&change);
    } while (rc == -EBUSY && heal_holders(&change));
    free(change.holders);
    return rc;
}

int
rv_limiter_release(struct rv_dict *dict, const void *key, size_t key_length)
{
    struct change change = {.compute = compute_release};
    int rc = change_init(&change, dict, key, key_length);
    if (rc) {
        return rc;
    }
    rc = change_key(&change);
    free(change.holders);
    return rc;
}

int
rv_limiter_count(struct rv_dict *dict, const void *key, size_t key_length,
                 uint64_t *np)
{
    struct rv_dict_value value;
    const struct rv_zone *zone = dict->zone;
    if (!zone->base) {
        return -ECHILD;
    }
    size_t n_bytes =
        (zone->mapping->geometry.n_members + 1) * sizeof(struct holder);
    struct holder *holders = malloc(n_bytes);
    if (!holders) {
        return -ENOMEM;
    }
    int rc = rv_dict_get(dict, key, key_length, holders, n_bytes, &value);
    if (!rc && value.type != RV_DICT_BYTES) {
        rc = -EPROTOTYPE;
    }
    uint64_t n = 0;
    for (size_t i = 0; !rc && i < value.length / sizeof *holders; i++) {
        n += is_there(zone, &holders[i]) ? holders[i].n_slots : 0;
    }
    free(holders);
    if (!rc) {
        *np = n;
    }
    return rc;
}
