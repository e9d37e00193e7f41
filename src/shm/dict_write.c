/* Storing single values. */
#include "shm/dict.h"

#include <errno.h>

enum mode { ANY, IF_ABSENT, IF_PRESENT };

/* Whether the mode lets the transaction's entry be replaced. */
static int
refusal(const struct rv__dict_op *op, enum mode mode)
{
    if (mode == ANY) {
        return 0;
    }
    bool is_alive = rv__op_is_alive(op);
    if (mode == IF_ABSENT) {
        return is_alive ? -EEXIST : 0;
    }
    return is_alive ? 0 : -ENOENT;
}

/* What is refused anyway shall not evict others first. */
static int
ask_first(struct rv__dict_op *op, enum mode mode)
{
    int rc = rv__op_begin(op);
    return rc ? rc : rv__op_abort(op, refusal(op, mode));
}

/* Reserves for an entry, with or without evicting. */
static int
reserve(struct rv__dict_op *op, enum mode mode, size_t bytes)
{
    bool is_safe = op->is_safe;
    op->is_safe = is_safe || mode != ANY;
    int rc = rv__op_reserve(op, bytes, 0);
    op->is_safe = is_safe;
    if (__builtin_expect(rc == -ENOMEM, 0) && mode != ANY) {
        rc = ask_first(op, mode);
        rc = rc ? rc : rv__op_reserve(op, bytes, 0);
    }
    return rc;
}

/* One try; -EAGAIN: the table has no room. */
static int
try_store(struct rv__dict_op *op, enum mode mode,
          const struct rv__content *content)
{
    struct rv__entry *entry;
    int rc = rv__op_begin(op);
    if (rc) {
        return rc;
    }
    bool is_new = !op->entry;
    rc = refusal(op, mode);
    rc = rc ? rc : rv__op_put(op, content, &entry);
    if (__builtin_expect(rc, 0)) {
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
store(struct rv__dict_op *op, enum mode mode,
      const struct rv__content *content)
{
    size_t bytes =
        rv__entry_size(content->type, op->key_length, content->length);
    for (;;) {
        int rc = reserve(op, mode, bytes);
        rc = rc ? rc : try_store(op, mode, content);
        if (__builtin_expect(rc != -EAGAIN, 1)) {
            return rc ? rc : op->is_forcible;
        }
        rc = rv__op_make_room(op);
        if (rc) {
            return rc;
        }
    }
}

static int
store_value(struct rv_dict *dict, const void *key, size_t key_length,
            const struct rv_dict_value *value, int64_t ttl_ms, enum mode mode,
            bool is_safe)
{
    struct rv__dict_op op;
    struct rv__content content;
    int rc = rv__op_init(&op, dict, key, key_length);
    rc = rc ? rc : rv__content_init(&content, value);
    if (rc) {
        return rc;
    }
    if (ttl_ms < 0) {
        return -EINVAL;
    }
    op.is_safe = is_safe;
    content.expires_ms = rv__end_of_life(dict, ttl_ms);
    rv__op_prefetch(&op);
    return store(&op, mode, &content);
}

int
rv_dict_set(struct rv_dict *dict, const void *key, size_t key_length,
            const struct rv_dict_value *value, int64_t ttl_ms)
{
    return value
               ? store_value(dict, key, key_length, value, ttl_ms, ANY, false)
               : rv_dict_delete(dict, key, key_length);
}

int
rv_dict_safe_set(struct rv_dict *dict, const void *key, size_t key_length,
                 const struct rv_dict_value *value, int64_t ttl_ms)
{
    return value ? store_value(dict, key, key_length, value, ttl_ms, ANY, true)
                 : rv_dict_delete(dict, key, key_length);
}

int
rv_dict_add(struct rv_dict *dict, const void *key, size_t key_length,
            const struct rv_dict_value *value, int64_t ttl_ms)
{
    return store_value(dict, key, key_length, value, ttl_ms, IF_ABSENT, false);
}

int
rv_dict_safe_add(struct rv_dict *dict, const void *key, size_t key_length,
                 const struct rv_dict_value *value, int64_t ttl_ms)
{
    return store_value(dict, key, key_length, value, ttl_ms, IF_ABSENT, true);
}

int
rv_dict_replace(struct rv_dict *dict, const void *key, size_t key_length,
                const struct rv_dict_value *value, int64_t ttl_ms)
{
    return store_value(dict, key, key_length, value, ttl_ms, IF_PRESENT,
                       false);
}

int
rv_dict_delete(struct rv_dict *dict, const void *key, size_t key_length)
{
    struct rv__dict_op op;
    int rc = rv__op_init(&op, dict, key, key_length);
    rc = rc ? rc : rv_slab_reserve(dict->zone, 16, 0, RV__DICT_FREES);
    rc = rc ? rc : rv__op_begin(&op);
    if (rc) {
        return rc;
    }
    if (op.entry) {
        rv__op_remove(&op);
    }
    rv__shard_tidy(dict, op.shard, &op.table);
    return rv__op_commit(&op);
}

int
rv_dict_expire(struct rv_dict *dict, const void *key, size_t key_length,
               int64_t ttl_ms)
{
    struct rv__dict_op op;
    int rc = rv__op_init(&op, dict, key, key_length);
    if (!rc && ttl_ms < 0) {
        rc = -EINVAL;
    }
    rc = rc ? rc : rv__op_begin(&op);
    if (rc) {
        return rc;
    }
    if (!rv__op_is_alive(&op)) {
        return rv__op_abort(&op, -ENOENT);
    }
    uint64_t expires_ms = rv__end_of_life(dict, ttl_ms);
    bool was_mortal = op.entry->expires_ms != 0;
    uint32_t n = op.shard->n_mortal - was_mortal + (expires_ms != 0);
    rv__tx_set32(dict->zone, &op.shard->n_mortal, n);
    rv__tx_set64(dict->zone, &op.entry->expires_ms, expires_ms);
    return rv__op_commit(&op);
}

/* ----------------------------------------------------------------- numbers */

/* 'content', a number, plus 'delta'. */
static int
add_numbers(struct rv__content *content, const struct rv__content *delta)
{
    double a, b;
    if ((content->type != RV_DICT_INTEGER && content->type != RV_DICT_REAL)
        || (delta->type != RV_DICT_INTEGER && delta->type != RV_DICT_REAL)) {
        return content->type == RV__DICT_LIST ? -EPROTOTYPE : -EINVAL;
    }
    if (content->type == RV_DICT_INTEGER && delta->type == RV_DICT_INTEGER) {
        int64_t sum;
        if (__builtin_add_overflow((int64_t)content->number,
                                   (int64_t)delta->number, &sum)) {
            return -EOVERFLOW;
        }
        content->number = (uint64_t)sum;
        return 0;
    }
    memcpy(&a, &content->number, sizeof a);
    memcpy(&b, &delta->number, sizeof b);
    a = content->type == RV_DICT_REAL ? a : (double)(int64_t)content->number;
    b = delta->type == RV_DICT_REAL ? b : (double)(int64_t)delta->number;
    a += b;
    memcpy(&content->number, &a, sizeof a);
    content->type = RV_DICT_REAL;
    return 0;
}

/* What an increment adds, and begins with. */
struct increment {
    struct rv__content delta;
    struct rv__content init;
    bool has_init;
    bool is_reserved; /* For an entry. */
    int64_t init_ttl_ms;
};

/* In the transaction: what the number will be. */
static int
compute(const struct rv__dict_op *op, bool is_alive,
        const struct increment *increment, struct rv__content *content)
{
    const struct rv__entry *entry = op->entry;
    if (is_alive) {
        *content = (struct rv__content){.type = entry->type,
                                        .flags = entry->flags,
                                        .number = entry->number,
                                        .expires_ms = entry->expires_ms};
    } else if (increment->has_init) {
        *content = increment->init;
        content->expires_ms =
            rv__end_of_life(op->dict, increment->init_ttl_ms);
    } else {
        return -ENOENT;
    }
    return add_numbers(content, &increment->delta);
}

/* One try; -EAGAIN: the table has no room; -ENOBUFS: an entry must be
 * reserved. */
static int
try_increment(struct rv__dict_op *op, const struct increment *increment,
              struct rv__content *content)
{
    int rc = rv__op_begin(op);
    if (rc) {
        return rc;
    }
    bool is_new = !op->entry;
    bool is_alive = rv__op_is_alive(op);
    rc = compute(op, is_alive, increment, content);
    if (rc) {
        return rv__op_abort(op, rc);
    }
    if (is_alive && op->entry->type == content->type) {
        rv__tx_set64(op->dict->zone, &op->entry->number, content->number);
        return rv__op_commit(op);
    }
    struct rv__entry *entry;
    rc = increment->is_reserved ? rv__op_put(op, content, &entry) : -ENOBUFS;
    if (rc) {
        return rv__op_abort(op, rc);
    }
    rc = rv__op_commit(op);
    if (!rc && is_new) {
        rv__op_grow_in_time(op);
    }
    return rc;
}

static int
increment_key(struct rv__dict_op *op, struct increment *increment,
              struct rv__content *content)
{
    for (;;) {
        int rc = try_increment(op, increment, content);
        if (rc == -EAGAIN) {
            rc = rv__op_make_room(op);
        } else if (rc != -ENOBUFS) {
            return rc ? rc : op->is_forcible;
        } else {
            rc = 0;
        }
        rc = rc ? rc
                : rv__op_reserve(
                    op, rv__entry_size(RV_DICT_INTEGER, op->key_length, 0), 0);
        if (rc) {
            return rc;
        }
        increment->is_reserved = true;
    }
}

int
rv_dict_incr(struct rv_dict *dict, const void *key, size_t key_length,
             const struct rv_dict_value *delta,
             const struct rv_dict_value *init, int64_t init_ttl_ms,
             struct rv_dict_value *sum)
{
    struct rv__dict_op op;
    struct increment increment = {.has_init = init,
                                  .init_ttl_ms = init_ttl_ms};
    struct rv__content content = {.type = RV__NOT_A_TYPE};
    int rc = rv__op_init(&op, dict, key, key_length);
    if (!rc) {
        rv__op_prefetch(&op);
    }
    rc = rc ? rc : rv__content_init(&increment.delta, delta);
    if (!rc && init) {
        rc = rv__content_init(&increment.init, init);
    }
    if (!rc && init_ttl_ms < 0) {
        rc = -EINVAL;
    }
    rc = rc ? rc : increment_key(&op, &increment, &content);
    if (rc >= 0 && sum) {
        rv__content_give(&content, NULL, sum);
    }
    return rc;
}
