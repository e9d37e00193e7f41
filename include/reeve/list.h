/* Doubly linked list, intrusive and circular.
 *
 * Room: base.  Blocks: never.
 *
 * A list is a node that points to itself while empty.  A node outside any
 * list points to itself as well, so rv_list_remove() may be called twice.
 *
 *     struct item { struct rv_list node; int value; };
 *     struct rv_list items;
 *     rv_list_init(&items);
 *     rv_list_push_back(&items, &item->node);
 *     struct rv_list *node;
 *     RV_LIST_FOR_EACH (node, &items) {
 *         struct item *item = RV_CONTAINER_OF(node, struct item, node);
 *     }
 */
#ifndef REEVE_LIST_H
#define REEVE_LIST_H

#include <stdbool.h>

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

struct rv_list {
    struct rv_list *next, *previous;
};

static inline void
rv_list_init(struct rv_list *list)
{
    list->next = list->previous = list;
}

static inline bool
rv_list_is_empty(const struct rv_list *list)
{
    return list->next == list;
}

static inline void
rv_list_push_back(struct rv_list *list, struct rv_list *node)
{
    node->previous = list->previous;
    node->next = list;
    list->previous->next = node;
    list->previous = node;
}

/* Takes 'node' out of its list, if it is in one. */
static inline void
rv_list_remove(struct rv_list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    rv_list_init(node);
}

/* Walks 'LIST'; the current node must stay in it. */
#define RV_LIST_FOR_EACH(NODE, LIST) \
  for ((NODE) = (LIST)->next; (NODE) != (LIST); (NODE) = (NODE)->next)

/* Walks 'LIST'; the current node, and it alone, may be removed. */
#define RV_LIST_FOR_EACH_SAFE(NODE, NEXT, LIST)                        \
  for ((NODE) = (LIST)->next, (NEXT) = (NODE)->next; (NODE) != (LIST); \
       (NODE) = (NEXT), (NEXT) = (NODE)->next)

RV_END_DECLARATIONS

#endif
