#include "shm/queue.h"

#include <stdlib.h>
#include <time.h>

#include "reeve/slab.h"
#include "shm/named.h"

static void
init(void *structure, const void *context)
{
    const struct rv_queue_settings *settings = context;
    struct rv__queue_root *root = structure;
    root->capacity =
        settings->capacity ? settings->capacity : RV_QUEUE_CAPACITY_DEFAULT;
    root->element_max_bytes = settings->element_max_bytes
                                  ? settings->element_max_bytes
                                  : RV_QUEUE_ELEMENT_BYTES_DEFAULT;
}

static int
open_queue(struct rv_queue *queue, const char *name,
           const struct rv_queue_settings *settings, struct rv_error *error)
{
    struct rv_zone *zone = queue->zone;
    if (!zone->base) {
        return rv_error_set(error, -ECHILD, "the handle is the parent's");
    }
    queue->n_members = zone->mapping->geometry.n_members;
    struct rv__named named = {.type = RV__QUEUE_TYPE,
                              .n_bytes = sizeof *queue->root
                                         + queue->n_members
                                               * sizeof queue->root->taken[0],
                              .init = init,
                              .context = settings};
    void *structure = NULL;
    int rc = rv__named_open(zone, name, &named, &structure, error);
    if (rc) {
        return rc;
    }
    queue->root = structure;
    queue->capacity = queue->root->capacity;
    queue->element_max_bytes = queue->root->element_max_bytes;
    if (queue->element_max_bytes > RV_QUEUE_ELEMENT_BYTES_MAX) {
        return rv_error_set(error, -EUCLEAN, "queue \"%s\" is damaged", name);
    }
    return 0;
}

int
rv_queue_open(struct rv_zone *zone, const char *name,
              const struct rv_queue_settings *settings,
              struct rv_queue **queuep, struct rv_error *error)
{
    static const struct rv_queue_settings defaults = {.capacity = 0};
    settings = settings ? settings : &defaults;
    if (settings->element_max_bytes > RV_QUEUE_ELEMENT_BYTES_MAX) {
        return rv_error_set(error, -EINVAL, "elements may have up to %d bytes",
                            RV_QUEUE_ELEMENT_BYTES_MAX);
    }
    struct rv_queue *queue = calloc(1, sizeof *queue);
    if (!queue) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    queue->zone = zone;
    int rc = open_queue(queue, name, settings, error);
    if (rc) {
        free(queue);
        return rc;
    }
    *queuep = queue;
    return 0;
}

void
rv_queue_close(struct rv_queue **queuep)
{
    free(*queuep);
    *queuep = NULL;
}

/* ------------------------------------------------------------------- lists */

/* In a transaction: the element there; NULL, and the commit will fail. */
static struct rv__element *
element_of(struct rv_queue *queue, uint64_t offset)
{
    struct rv__element *element = rv__element_at(queue, offset);
    if (!element) {
        rv__tx_fail(queue->zone, -EUCLEAN);
    }
    return element;
}

/* In a transaction: the last of the ready is 'offset' from now on. */
static void
append(struct rv_queue *queue, uint64_t offset)
{
    struct rv__queue_root *root = queue->root;
    uint64_t *link = &root->first;
    if (root->last) {
        struct rv__element *last = element_of(queue, root->last);
        if (!last) {
            return;
        }
        link = &last->next;
    }
    rv__tx_set64(queue->zone, link, offset);
    rv__tx_set64(queue->zone, &root->last, offset);
}

void
rv__queue_put_last(struct rv_queue *queue, uint64_t offset)
{
    struct rv__element *element = element_of(queue, offset);
    if (element) {
        rv__tx_set64(queue->zone, &element->next, 0);
        rv__tx_set32(queue->zone, &element->taker, 0);
        append(queue, offset);
        rv__queue_count(queue, &queue->root->n_ready, 1);
    }
}

void
rv__queue_put_first(struct rv_queue *queue, uint64_t offset)
{
    struct rv__queue_root *root = queue->root;
    struct rv__element *element = element_of(queue, offset);
    if (!element) {
        return;
    }
    rv__tx_set64(queue->zone, &element->next, root->first);
    rv__tx_set32(queue->zone, &element->taker, 0);
    rv__tx_set64(queue->zone, &root->first, offset);
    if (!root->last) {
        rv__tx_set64(queue->zone, &root->last, offset);
    }
    rv__queue_count(queue, &root->n_ready, 1);
}

/* In a transaction: the first of the ready is not ready any more. */
static void
pop_first(struct rv_queue *queue, const struct rv__element *element)
{
    struct rv__queue_root *root = queue->root;
    rv__tx_set64(queue->zone, &root->first, element->next);
    if (!element->next) {
        rv__tx_set64(queue->zone, &root->last, 0);
    }
    rv__queue_count(queue, &root->n_ready, -1);
}

/* In a transaction: the element is the caller's from now on. */
static void
link_taken(struct rv_queue *queue, uint64_t offset,
           struct rv__element *element)
{
    struct rv_zone *zone = queue->zone;
    struct rv__taken *mine = &queue->root->taken[zone->index];
    uint64_t incarnation = rv__incarnation_of(zone, zone->index);
    if (mine->first) {
        struct rv__element *next = element_of(queue, mine->first);
        if (!next) {
            return;
        }
        rv__tx_set64(zone, &next->previous, offset);
    }
    rv__tx_set64(zone, &element->next, mine->first);
    rv__tx_set64(zone, &element->previous, 0);
    rv__tx_set32(zone, &element->taker, zone->index + 1);
    rv__tx_set64(zone, &mine->first, offset);
    if (mine->incarnation != incarnation) {
        rv__tx_set64(zone, &mine->incarnation, incarnation);
    }
    rv__queue_count(queue, &queue->root->n_taken, 1);
}

void
rv__queue_unlink(struct rv_queue *queue, uint32_t index, uint64_t offset)
{
    struct rv_zone *zone = queue->zone;
    const struct rv__element *element = element_of(queue, offset);
    if (!element) {
        return;
    }
    uint64_t *link = &queue->root->taken[index].first;
    if (element->previous) {
        struct rv__element *previous = element_of(queue, element->previous);
        if (!previous) {
            return;
        }
        link = &previous->next;
    }
    if (element->next) {
        struct rv__element *next = element_of(queue, element->next);
        if (!next) {
            return;
        }
        rv__tx_set64(zone, &next->previous, element->previous);
    }
    rv__tx_set64(zone, link, element->next);
    rv__queue_count(queue, &queue->root->n_taken, -1);
}

/* ----------------------------------------------------------------- pushing */

static bool
is_full(const struct rv_queue *queue)
{
    const struct rv__queue_root *root = queue->root;
    return root->n_ready + root->n_taken >= queue->capacity;
}

/* In the transaction: makes the element, which nobody sees until it is
 * linked. */
static int
add(struct rv_queue *queue, const void *bytes, size_t length)
{
    struct rv__queue_root *root = queue->root;
    uint64_t offset = 0;
    if (is_full(queue)) {
        __atomic_store_n(&root->n_refused, root->n_refused + 1,
                         __ATOMIC_RELAXED);
        return -EAGAIN;
    }
    int rc = rv_slab_take(queue->zone, sizeof(struct rv__element) + length,
                          &offset);
    if (rc) {
        return rc;
    }
    struct rv__element *element = element_of(queue, offset);
    if (!element) {
        return -EUCLEAN;
    }
    struct rv__element fresh = {.number = root->n_pushed + 1,
                                .length = length};
    rv__fill(element, &fresh, sizeof fresh);
    rv__fill(element + 1, bytes, length);
    append(queue, offset);
    rv__queue_count(queue, &root->n_ready, 1);
    rv__queue_count(queue, &root->n_pushed, 1);
    return 0;
}

int
rv_queue_push(struct rv_queue *queue, const void *bytes, size_t length)
{
    struct rv_zone *zone = queue->zone;
    if (length > queue->element_max_bytes) {
        return -EMSGSIZE;
    }
    int rc = rv_slab_reserve(zone, sizeof(struct rv__element) + length, 1, 0);
    rc = rc ? rc : rv__tx_begin(zone, &queue->root->lock, RV__QUEUE_WORDS);
    if (rc) {
        return rc;
    }
    rc = add(queue, bytes, length);
    if (rc) {
        rv_tx_abort(zone);
        return rc;
    }
    rc = rv__tx_commit(zone);
    if (!rc) {
        rv__queue_signal(&queue->root->arrivals);
    }
    return rc;
}

/* ------------------------------------------------------------------ taking */

/* In the transaction.  -ESTALE: the list of the caller's slot is that of a
 * former member. */
static int
take_first(struct rv_queue *queue, struct rv_queue_element *taken)
{
    struct rv_zone *zone = queue->zone;
    const struct rv__taken *mine = &queue->root->taken[zone->index];
    uint64_t offset = queue->root->first;
    if (!offset) {
        return -EAGAIN;
    }
    if (mine->first
        && mine->incarnation != rv__incarnation_of(zone, zone->index)) {
        return -ESTALE;
    }
    struct rv__element *element = element_of(queue, offset);
    if (!element || element->length > queue->element_max_bytes
        || !rv_zone_at(zone, offset, sizeof *element + element->length)) {
        return -EUCLEAN;
    }
    pop_first(queue, element);
    link_taken(queue, offset, element);
    if (element->n_deliveries != UINT32_MAX) {
        rv__tx_set32(zone, &element->n_deliveries, element->n_deliveries + 1);
    }
    *taken = (struct rv_queue_element){.bytes = element + 1,
                                       .length = element->length,
                                       .number = element->number,
                                       .n_deliveries = element->n_deliveries,
                                       .offset = offset};
    return 0;
}

static int
take_once(struct rv_queue *queue, struct rv_queue_element *element)
{
    struct rv_zone *zone = queue->zone;
    struct rv_queue_element taken;
    int rc = rv__tx_begin(zone, &queue->root->lock, RV__QUEUE_WORDS);
    if (rc) {
        return rc;
    }
    rc = take_first(queue, &taken);
    if (rc) {
        rv_tx_abort(zone);
        return rc;
    }
    rc = rv__tx_commit(zone);
    if (!rc) {
        *element = taken;
    }
    return rc;
}

/* Whether it is time to look for the dead, though there is something to be
 * taken. */
static bool
is_due(struct rv_queue *queue)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (now_ms < queue->look_ms) {
        return false;
    }
    queue->look_ms = now_ms + RV__QUEUE_LOOK_MS;
    return true;
}

int
rv_queue_take(struct rv_queue *queue, struct rv_queue_element *element)
{
    int rc = rv__queue_refusal(queue);
    if (!rc && is_due(queue)) {
        rc = rv__queue_collect(queue);
    }
    if (rc < 0) {
        return rc;
    }
    do {
        rc = take_once(queue, element);
        if (rc != -EAGAIN && rc != -ESTALE) {
            return rc;
        }
        rc = rv__queue_collect(queue);
    } while (rc > 0);
    return rc ? rc : -EAGAIN;
}

/* ------------------------------------------------------------- giving back */

/* In the transaction: whether the caller has the element. */
static bool
is_mine(struct rv_queue *queue, const struct rv_queue_element *taken)
{
    const struct rv_zone *zone = queue->zone;
    const struct rv__taken *mine = &queue->root->taken[zone->index];
    const struct rv__element *element = rv__element_at(queue, taken->offset);
    return element && mine->first
           && mine->incarnation == rv__incarnation_of(zone, zone->index)
           && element->number == taken->number
           && element->taker == zone->index + 1;
}

/* Begins what ends the taking of an element, which is unlinked. */
static int
begin_end(struct rv_queue *queue, const struct rv_queue_element *taken)
{
    struct rv_zone *zone = queue->zone;
    int rc = rv__queue_refusal(queue);
    rc = rc ? rc : rv__tx_begin(zone, &queue->root->lock, RV__QUEUE_WORDS);
    if (rc) {
        return rc;
    }
    if (!is_mine(queue, taken)) {
        rv_tx_abort(zone);
        return -ENOENT;
    }
    rv__queue_unlink(queue, zone->index, taken->offset);
    return 0;
}

int
rv_queue_ack(struct rv_queue *queue, const struct rv_queue_element *element)
{
    struct rv_zone *zone = queue->zone;
    int rc = rv_slab_reserve(zone, sizeof(struct rv__element), 0, 1);
    rc = rc ? rc : begin_end(queue, element);
    if (rc) {
        return rc;
    }
    struct rv__element *gone = element_of(queue, element->offset);
    if (gone) {
        rv__tx_set64(zone, &gone->number, 0);
        rv_slab_drop(zone, element->offset);
    }
    rc = rv__tx_commit(zone);
    if (!rc) {
        rv__queue_signal(&queue->root->departures);
    }
    return rc;
}

static int
give_back(struct rv_queue *queue, const struct rv_queue_element *element,
          void (*put)(struct rv_queue *queue, uint64_t offset))
{
    int rc = begin_end(queue, element);
    if (rc) {
        return rc;
    }
    put(queue, element->offset);
    rv__queue_count(queue, &queue->root->n_returned, 1);
    rc = rv__tx_commit(queue->zone);
    if (!rc) {
        rv__queue_signal(&queue->root->arrivals);
    }
    return rc;
}

int
rv_queue_nack(struct rv_queue *queue, const struct rv_queue_element *element)
{
    return give_back(queue, element, rv__queue_put_first);
}

int
rv_queue_requeue(struct rv_queue *queue,
                 const struct rv_queue_element *element)
{
    return give_back(queue, element, rv__queue_put_last);
}
