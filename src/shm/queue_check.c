#include <inttypes.h>
#include <string.h>

#include "reeve/slab.h"
#include "shm/queue.h"

/* A walk through the queue. */
struct walk {
    const struct rv_queue *queue;
    struct rv_error *error;
    uint64_t n_left;  /* Elements that there can be yet. */
    uint64_t n_bytes; /* Of the slab, so far. */
};

static uint64_t
load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* Looks at one element; gives the next of its list. */
static int
check_element(struct walk *walk, uint64_t offset, uint32_t taker,
              uint64_t *nextp)
{
    const struct rv_queue *queue = walk->queue;
    const struct rv__element *element = rv__element_at(queue, offset);
    size_t size = element ? rv_slab_size(queue->zone, offset) : 0;
    if (size < sizeof *element
        || load(&element->length) > size - sizeof *element
        || load(&element->length) > queue->element_max_bytes) {
        return rv_error_set(walk->error, -EUCLEAN,
                            "no element is at offset %" PRIu64, offset);
    }
    uint64_t number = load(&element->number);
    uint32_t is = __atomic_load_n(&element->taker, __ATOMIC_RELAXED);
    if (number == 0 || number > load(&queue->root->n_pushed) || is != taker) {
        return rv_error_set(walk->error, -EUCLEAN,
                            "element %" PRIu64 " at %" PRIu64
                            " is in the list of %" PRIu32 ", not of %" PRIu32,
                            number, offset, taker, is);
    }
    if (walk->n_left == 0) {
        return rv_error_set(walk->error, -EUCLEAN,
                            "there are more elements than can be");
    }
    walk->n_left--;
    walk->n_bytes += size;
    *nextp = load(&element->next);
    return 0;
}

static int
check_ready(struct walk *walk, uint64_t *np)
{
    const struct rv__queue_root *root = walk->queue->root;
    uint64_t last = 0;
    uint64_t offset = load(&root->first);
    while (offset) {
        uint64_t next = 0;
        int rc = check_element(walk, offset, 0, &next);
        if (rc) {
            return rc;
        }
        ++*np;
        last = offset;
        offset = next;
    }
    if (last != load(&root->last)) {
        return rv_error_set(walk->error, -EUCLEAN,
                            "the last element is at %" PRIu64
                            ", not at %" PRIu64,
                            last, load(&root->last));
    }
    return 0;
}

static int
check_taken(struct walk *walk, uint32_t index, uint64_t *np)
{
    uint64_t previous = 0;
    uint64_t offset = load(&walk->queue->root->taken[index].first);
    while (offset) {
        uint64_t next = 0;
        int rc = check_element(walk, offset, index + 1, &next);
        if (rc) {
            return rc;
        }
        const struct rv__element *element =
            rv__element_at(walk->queue, offset);
        if (load(&element->previous) != previous) {
            return rv_error_set(walk->error, -EUCLEAN,
                                "element at %" PRIu64 ": its list is broken",
                                offset);
        }
        ++*np;
        previous = offset;
        offset = next;
    }
    return 0;
}

static int
check_count(const struct walk *walk, const char *what, uint64_t n,
            uint64_t expected)
{
    return n == expected ? 0
                         : rv_error_set(walk->error, -EUCLEAN,
                                        "%" PRIu64 " elements are %s, not"
                                        " %" PRIu64,
                                        n, what, expected);
}

int
rv__queue_audit(const struct rv_queue *queue, uint64_t *bytesp,
                struct rv_error *error)
{
    if (!queue->zone->base) {
        return rv_error_set(error, -ECHILD, "the handle is the parent's");
    }
    const struct rv__queue_root *root = queue->root;
    uint64_t n_ready = 0;
    uint64_t n_taken = 0;
    struct walk walk = {.queue = queue,
                        .error = error,
                        .n_left = rv_zone_size_bytes(queue->zone)
                                  / sizeof(struct rv__element)};
    int rc = check_ready(&walk, &n_ready);
    for (uint32_t i = 0; i < queue->n_members && !rc; i++) {
        rc = check_taken(&walk, i, &n_taken);
    }
    rc = rc ? rc : check_count(&walk, "ready", n_ready, load(&root->n_ready));
    rc = rc ? rc : check_count(&walk, "taken", n_taken, load(&root->n_taken));
    if (!rc && n_ready + n_taken > queue->capacity) {
        rc = rv_error_set(error, -EUCLEAN, "there are more than %" PRIu64,
                          queue->capacity);
    }
    *bytesp = walk.n_bytes;
    return rc;
}

int
rv_queue_check(const struct rv_queue *queue, struct rv_error *error)
{
    uint64_t n_bytes = 0;
    return rv__queue_audit(queue, &n_bytes, error);
}

void
rv_queue_get_stats(const struct rv_queue *queue, struct rv_queue_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    if (!queue->zone->base) {
        return;
    }
    const struct rv__queue_root *root = queue->root;
    stats->capacity = queue->capacity;
    stats->element_max_bytes = queue->element_max_bytes;
    stats->n_ready = load(&root->n_ready);
    stats->n_taken = load(&root->n_taken);
    stats->n_pushed = load(&root->n_pushed);
    uint64_t n = stats->n_ready + stats->n_taken;
    stats->n_acknowledged = stats->n_pushed > n ? stats->n_pushed - n : 0;
    stats->n_returned = load(&root->n_returned);
    stats->n_recovered = load(&root->n_recovered);
    stats->n_refused = load(&root->n_refused);
}
