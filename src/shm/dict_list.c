/* Lists: an entry with the ends of a chain of nodes, all under the lock of
 * their shard. */
#include "shm/dict.h"

#include <errno.h>

static struct rv__node *
node_at(const struct rv_dict *dict, uint64_t offset)
{
    return offset % 16 == 0
                   && rv__dict_is_inside(dict, offset, sizeof(struct rv__node))
               ? rv__dict_at(dict, offset)
               : NULL;
}

/* ----------------------------------------------------------------- pushing */

static void
fill_node(struct rv__node *node, const struct rv__content *content)
{
    __atomic_store_n(&node->next, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&node->previous, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&node->number, content->number, __ATOMIC_RELAXED);
    __atomic_store_n(&node->length, content->length, __ATOMIC_RELAXED);
    __atomic_store_n(&node->type, content->type, __ATOMIC_RELAXED);
    if (content->length) {
        rv__copy(node + 1, content->bytes, content->length);
    }
}

/* In the transaction: a node of 'content' goes to an end of the list. */
static int
add_node(struct rv__dict_op *op, struct rv__entry *list,
         const struct rv__content *content, bool is_first)
{
    struct rv_zone *zone = op->dict->zone;
    struct rv__ends *ends = rv__entry_ends(list);
    uint64_t *near = is_first ? &ends->first : &ends->last;
    uint64_t *far = is_first ? &ends->last : &ends->first;
    uint64_t offset = 0;
    int rc =
        rv_slab_take(zone, sizeof(struct rv__node) + content->length, &offset);
    if (rc) {
        return rc;
    }
    struct rv__node *node = rv__dict_at(op->dict, offset);
    fill_node(node, content);
    if (*near) {
        struct rv__node *neighbour = node_at(op->dict, *near);
        if (!neighbour) {
            return -EUCLEAN;
        }
        __atomic_store_n(is_first ? &node->next : &node->previous, *near,
                         __ATOMIC_RELAXED);
        rv__tx_set64(zone, is_first ? &neighbour->previous : &neighbour->next,
                     offset);
    } else {
        rv__tx_set64(zone, far, offset);
    }
    rv__tx_set64(zone, near, offset);
    return rv__tx_set64(zone, &list->number, list->number + 1);
}

/* One try; -EAGAIN: the table has no room. */
static int
try_push(struct rv__dict_op *op, const struct rv__content *content,
         bool is_first, uint64_t *np)
{
    static const struct rv__content empty = {.type = RV__DICT_LIST};
    int rc = rv__op_begin(op);
    if (rc) {
        return rc;
    }
    bool is_new = !op->entry;
    struct rv__entry *list = op->entry;
    if (!rv__op_is_alive(op)) {
        rc = rv__op_put(op, &empty, &list);
    } else if (list->type != RV__DICT_LIST) {
        rc = -EPROTOTYPE;
    }
    rc = rc ? rc : add_node(op, list, content, is_first);
    if (rc) {
        return rv__op_abort(op, rc);
    }
    *np = list->number;
    rv__shard_tidy(op->dict, op->shard, &op->table);
    rc = rv__op_commit(op);
    if (!rc && is_new) {
        rv__op_grow_in_time(op);
    }
    return rc;
}

/* What is refused anyway shall not evict others first. */
static int
ask_first(struct rv__dict_op *op)
{
    int rc = rv__op_begin(op);
    if (rc) {
        return rc;
    }
    bool is_other = rv__op_is_alive(op) && op->entry->type != RV__DICT_LIST;
    return rv__op_abort(op, is_other ? -EPROTOTYPE : 0);
}

static int
push(struct rv_dict *dict, const void *key, size_t key_length,
     const struct rv_dict_value *value, bool is_first, uint64_t *np)
{
    struct rv__dict_op op;
    struct rv__content content;
    uint64_t n = 0;
    int rc = rv__op_init(&op, dict, key, key_length);
    rc = rc ? rc : rv__content_init(&content, value);
    rc = rc ? rc : ask_first(&op);
    if (rc) {
        return rc;
    }
    size_t bytes = rv__entry_size(RV__DICT_LIST, op.key_length, 0);
    do {
        rc = rv__op_reserve(&op, bytes,
                            sizeof(struct rv__node) + content.length);
        rc = rc ? rc : try_push(&op, &content, is_first, &n);
    } while (rc == -EAGAIN && (rc = rv__op_make_room(&op)) == 0);
    if (!rc && np) {
        *np = n;
    }
    return rc ? rc : op.is_forcible;
}

int
rv_dict_lpush(struct rv_dict *dict, const void *key, size_t key_length,
              const struct rv_dict_value *value, uint64_t *np)
{
    return push(dict, key, key_length, value, true, np);
}

int
rv_dict_rpush(struct rv_dict *dict, const void *key, size_t key_length,
              const struct rv_dict_value *value, uint64_t *np)
{
    return push(dict, key, key_length, value, false, np);
}

/* ----------------------------------------------------------------- popping */

/* Copies the value of a node to the user's. */
static int
give_node(const struct rv_dict *dict, uint64_t offset,
          const struct rv__node *node, void *buffer, size_t size,
          struct rv_dict_value *value)
{
    struct rv__content content = {
        .type = node->type, .length = node->length, .number = node->number};
    if (content.length > size) {
        value->length = content.length;
        return -EMSGSIZE;
    }
    if (!rv__dict_is_inside(dict, offset, sizeof *node + content.length)) {
        return -EUCLEAN;
    }
    if (content.length) {
        memcpy(buffer, node + 1, content.length);
    }
    rv__content_give(&content, buffer, value);
    return 0;
}

/* In the transaction: takes the node at an end out of the list. */
static int
remove_node(struct rv__dict_op *op, struct rv__node *node, bool is_first)
{
    struct rv_zone *zone = op->dict->zone;
    struct rv__ends *ends = rv__entry_ends(op->entry);
    uint64_t *near = is_first ? &ends->first : &ends->last;
    uint64_t offset = *near;
    uint64_t next = is_first ? node->next : node->previous;
    if (next) {
        struct rv__node *neighbour = node_at(op->dict, next);
        if (!neighbour) {
            return -EUCLEAN;
        }
        rv__tx_set64(zone, is_first ? &neighbour->previous : &neighbour->next,
                     0);
        rv__tx_set64(zone, near, next);
        rv__tx_set64(zone, &op->entry->number, op->entry->number - 1);
    } else {
        rv__tx_set64(zone, &ends->first, 0);
        rv__op_remove(op);
    }
    return rv_slab_drop(zone, offset);
}

static int
pop(struct rv_dict *dict, const void *key, size_t key_length, void *buffer,
    size_t size, struct rv_dict_value *value, bool is_first)
{
    struct rv__dict_op op;
    struct rv_dict_value found;
    int rc = rv__op_init(&op, dict, key, key_length);
    rc = rc ? rc : rv_slab_reserve(dict->zone, 16, 0, RV__DICT_FREES);
    rc = rc ? rc : rv__op_begin(&op);
    if (rc) {
        return rc;
    }
    if (!rv__op_is_alive(&op)) {
        return rv__op_abort(&op, -ENOENT);
    }
    if (op.entry->type != RV__DICT_LIST) {
        return rv__op_abort(&op, -EPROTOTYPE);
    }
    const struct rv__ends *ends = rv__entry_ends(op.entry);
    uint64_t offset = is_first ? ends->first : ends->last;
    struct rv__node *node = node_at(dict, offset);
    found.length = 0;
    rc = node ? give_node(dict, offset, node, buffer, size, &found) : -EUCLEAN;
    if (rc == -EMSGSIZE) {
        value->length = found.length;
    }
    rc = rc ? rc : remove_node(&op, node, is_first);
    if (rc) {
        return rv__op_abort(&op, rc);
    }
    rv__shard_tidy(dict, op.shard, &op.table);
    rc = rv__op_commit(&op);
    if (!rc) {
        *value = found;
    }
    return rc;
}

int
rv_dict_lpop(struct rv_dict *dict, const void *key, size_t key_length,
             void *buffer, size_t size, struct rv_dict_value *value)
{
    return pop(dict, key, key_length, buffer, size, value, true);
}

int
rv_dict_rpop(struct rv_dict *dict, const void *key, size_t key_length,
             void *buffer, size_t size, struct rv_dict_value *value)
{
    return pop(dict, key, key_length, buffer, size, value, false);
}
