/* What members that are gone had taken comes back.
 *
 * Whether one is gone is read off its slot: nobody has it, or another
 * incarnation does.  A slot that still looks taken is tried: if its member
 * died, the slot is put in order, and so becomes free. */
#include <limits.h>

#include "shm/member.h"
#include "shm/queue.h"

/* Elements that may come to a slot's list while it is emptied, by others who
 * come and die. */
enum { SLACK = 1000 };

static bool
is_gone(const struct rv_zone *zone, uint32_t index, uint64_t incarnation)
{
    const struct rv__member *member = rv__member_of(zone, index);
    return __atomic_load_n(&member->tid, __ATOMIC_RELAXED) == 0
           || rv__incarnation_of(zone, index) != incarnation;
}

/* As is_gone, after a look at whether it died.  Never in a transaction. */
static bool
is_gone_by_now(struct rv_zone *zone, uint32_t index, uint64_t incarnation)
{
    if (!is_gone(zone, index, incarnation)) {
        rv__member_heal(zone, index);
    }
    return is_gone(zone, index, incarnation);
}

/* Makes the last element that a member took ready, if the member is gone; 1,
 * or 0: there is none. */
static int
recover_one(struct rv_queue *queue, uint32_t index)
{
    struct rv_zone *zone = queue->zone;
    struct rv__queue_root *root = queue->root;
    const struct rv__taken *taken = &root->taken[index];
    int rc = rv__tx_begin(zone, &root->lock, RV__QUEUE_WORDS);
    if (rc) {
        return rc;
    }
    uint64_t offset = taken->first;
    if (!offset || !is_gone(zone, index, taken->incarnation)) {
        rv_tx_abort(zone);
        return 0;
    }
    rv__queue_unlink(queue, index, offset);
    rv__queue_put_first(queue, offset);
    rv__queue_count(queue, &root->n_recovered, 1);
    rc = rv__tx_commit(zone);
    if (rc) {
        return rc;
    }
    rv__queue_signal(&root->arrivals);
    return 1;
}

/* Makes ready all that a member had taken, if it is gone; how many. */
static int
recover(struct rv_queue *queue, uint32_t index)
{
    const struct rv__taken *taken = &queue->root->taken[index];
    uint64_t n_max =
        rv_zone_size_bytes(queue->zone) / sizeof(struct rv__element);
    n_max =
        RV_MIN(RV_MIN(queue->capacity, n_max), (uint64_t)INT_MAX / 2) + SLACK;
    int n = 0;
    if (!__atomic_load_n(&taken->first, __ATOMIC_RELAXED)) {
        return 0;
    }
    uint64_t incarnation =
        __atomic_load_n(&taken->incarnation, __ATOMIC_RELAXED);
    if (!is_gone_by_now(queue->zone, index, incarnation)) {
        return 0;
    }
    int rc;
    while ((rc = recover_one(queue, index)) > 0) {
        if ((uint64_t)++n > n_max) {
            return -EUCLEAN; /* It goes round in a circle. */
        }
    }
    return rc < 0 ? rc : n;
}

int
rv__queue_collect(struct rv_queue *queue)
{
    int n = 0;
    const uint64_t *n_taken = &queue->root->n_taken;
    if (!__atomic_load_n(n_taken, __ATOMIC_RELAXED)) {
        return 0;
    }
    for (uint32_t i = 0; i < queue->n_members; i++) {
        int rc = recover(queue, i);
        if (rc < 0) {
            return rc;
        }
        n = rc > INT_MAX - n ? INT_MAX : n + rc;
    }
    return n;
}

int
rv_queue_heal(struct rv_queue *queue)
{
    int rc = rv__queue_refusal(queue);
    /* Who died while it changed the lists left them half changed, and they are
     * looked at without the lock. */
    rc = rc ? rc : rv__tx_begin(queue->zone, &queue->root->lock, 0);
    rc = rc ? rc : rv__tx_commit(queue->zone);
    return rc ? rc : rv__queue_collect(queue);
}
