/* Scenes of queues. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "reeve/slab.h"
#include "shm/queue.h"
#include "steps.h"
#include "steps_watch.h"

enum { CAPACITY = 5, ELEMENT_MAX_BYTES = 5000, N_SHOWN = 8 };

static const char bytes[ELEMENT_MAX_BYTES] = "work";

/* Of this process: the director's or the victim's; and its last element. */
static struct rv_queue *queue;
static struct rv_queue_element element;

/* Whether the director has done its part. */
static bool is_done;

static struct rv_queue *
open_queue(struct rv_zone *zone)
{
    struct rv_queue_settings settings = {
        .capacity = CAPACITY, .element_max_bytes = ELEMENT_MAX_BYTES};
    struct rv_queue *opened = NULL;
    struct rv_error error;
    if (rv_queue_open(zone, "jobs", &settings, &opened, &error)) {
        watch_fail("queue: %s", error.text);
    }
    opened->look_ms = INT64_MAX; /* So that no clock has a say. */
    return opened;
}

static void
enter(struct rv_zone *zone)
{
    rv_queue_close(&queue);
    queue = open_queue(zone);
    is_done = false;
}

static void
push_bytes(size_t n)
{
    must_be(rv_queue_push(queue, bytes, n), 0, "push");
}

static void
take_one(void)
{
    must_be(rv_queue_take(queue, &element), 0, "take");
}

/* Two elements are ready. */
static void
fill(struct rv_zone *zone)
{
    enter(zone);
    push_bytes(21);
    push_bytes(300);
    rv_queue_close(&queue);
}

/* -------------------------------------------------------------- judgement */

static bool
is_there(const struct rv_zone *zone)
{
    uint64_t type, offset;
    return rv_zone_root_get(zone, "jobs", &type, &offset) == 0;
}

static void
recover(struct rv_zone *zone)
{
    if (is_there(zone)) {
        struct rv_queue *opened = open_queue(zone);
        int rc = rv_queue_heal(opened);
        if (rc < 0) {
            watch_fail("heal of the queue: %d", rc);
        }
        must_be(rv_tx_begin(zone, &opened->root->lock, 0), 0, "begin");
        must_be(rv_tx_commit(zone), 0, "commit");
        rv_queue_close(&opened);
    }
}

static uint64_t
audit(struct rv_zone *zone)
{
    struct rv_error error;
    uint64_t n_bytes = 0;
    if (!is_there(zone)) {
        return 0;
    }
    struct rv_queue *opened = open_queue(zone);
    if (rv__queue_audit(opened, &n_bytes, &error)) {
        watch_fail("check: %s", error.text);
    }
    n_bytes += rv_slab_size(zone, rv_zone_offset(zone, opened->root));
    rv_queue_close(&opened);
    return n_bytes;
}

static void
look(struct rv_zone *zone, uint64_t facts[N_FACTS])
{
    if (!is_there(zone)) {
        return;
    }
    struct rv_queue *opened = open_queue(zone);
    facts[N_SHOWN] = opened->root->n_pushed;
    facts[N_SHOWN + 1] = opened->root->n_taken;
    facts[N_SHOWN + 2] = 1;
    struct rv_queue_element one;
    for (size_t i = 0; i < N_SHOWN && rv_queue_take(opened, &one) == 0; i++) {
        uint64_t parts[] = {one.number, one.n_deliveries,
                            fact_of(one.bytes, one.length)};
        facts[i] = fact_of(parts, sizeof parts);
    }
    rv_queue_close(&opened);
}

static const struct kind kind = {.fill = fill,
                                 .enter = enter,
                                 .recover = recover,
                                 .audit = audit,
                                 .look = look};

static const struct kind kind_of_none = {
    .recover = recover, .audit = audit, .look = look};

/* ------------------------------------------------------------------ alone */

static void
open_new(struct actor *actor)
{
    queue = open_queue(actor->zone);
}

static void
push(struct actor *actor)
{
    (void)actor;
    push_bytes(100);
}

static void
push_long(struct actor *actor)
{
    (void)actor;
    push_bytes(ELEMENT_MAX_BYTES);
}

static void
push_in_vain(struct actor *actor)
{
    (void)actor;
    must_be(rv_queue_push(queue, bytes, 21), -EAGAIN, "push");
}

static void
fill_up(struct actor *actor)
{
    (void)actor;
    while (rv_queue_push(queue, bytes, 21) == 0) {
    }
}

static void
take(struct actor *actor)
{
    (void)actor;
    take_one();
}

static void
take_two(struct actor *actor)
{
    (void)actor;
    take_one();
    take_one();
}

static void
take_in_vain(struct actor *actor)
{
    (void)actor;
    must_be(rv_queue_take(queue, &element), -EAGAIN, "take");
}

/* As if it had been done long ago. */
static void
work_off(struct actor *actor)
{
    (void)actor;
    while (rv_queue_take(queue, &element) == 0) {
        must_be(rv_queue_ack(queue, &element), 0, "ack");
    }
}

static void
ack(struct actor *actor)
{
    (void)actor;
    must_be(rv_queue_ack(queue, &element), 0, "ack");
}

static void
nack(struct actor *actor)
{
    (void)actor;
    must_be(rv_queue_nack(queue, &element), 0, "nack");
}

static void
requeue(struct actor *actor)
{
    (void)actor;
    must_be(rv_queue_requeue(queue, &element), 0, "requeue");
}

/* Leaves with what it has taken. */
static void
leave(struct actor *actor)
{
    rv_queue_close(&queue);
    must_be(rv_zone_detach(&actor->zone), 0, "detach");
}

static void
heal(struct actor *actor)
{
    (void)actor;
    must_be(rv_queue_heal(queue), 2, "heal");
}

/* --------------------------------------------------------------- in company */

static void
enter_and_take_two(struct actor *actor)
{
    enter(actor->zone);
    take_two(actor);
}

static void
lose_consumer(struct stage *stage)
{
    run_member(stage, enter_and_take_two, true);
}

/* A consumer that goes as it should, but for what it has taken. */
static void
see_consumer_off(struct stage *stage)
{
    run_member(stage, enter_and_take_two, false);
}

static void
wait_and_take(struct actor *actor)
{
    (void)actor;
    must_be(rv_queue_take_block(queue, -1, &element), 0, "take_block");
}

static void
wait_and_push(struct actor *actor)
{
    (void)actor;
    must_be(rv_queue_push_block(queue, bytes, 100, -1), 0, "push_block");
}

static void
enter_and_wait(struct actor *actor)
{
    enter(actor->zone);
    wait_and_take(actor);
}

static void
bring(struct stage *stage)
{
    (void)stage;
    if (!is_done) {
        is_done = true;
        push_bytes(30);
    }
}

static void
make_room(struct stage *stage)
{
    (void)stage;
    if (!is_done) {
        is_done = true;
        take_one();
        must_be(rv_queue_ack(queue, &element), 0, "ack");
    }
}

static void
start_waiter(struct stage *stage)
{
    start_helper(stage, enter_and_wait);
}

/* Unless the victim came to it, which is not to be said before what it left
 * undone is undone. */
static void
bring_and_join(struct stage *stage)
{
    must_be(rv_tx_begin(stage->zone, &queue->root->lock, 0), 0, "begin");
    must_be(rv_tx_commit(stage->zone), 0, "commit");
    if (queue->root->n_pushed == 2) {
        push_bytes(30);
    }
    join_helper(stage);
}

const struct scene queue_scenes[] = {
    {"queue-open", .kind = &kind_of_none, .act = open_new, .has_effect = true,
     .is_alone = true},
    {"queue-push", .kind = &kind, .act = push, .has_effect = true,
     .is_alone = true},
    {"queue-push-long", .kind = &kind, .act = push_long, .has_effect = true,
     .is_alone = true},
    {"queue-push-first", .kind = &kind, .prepare = work_off, .act = push,
     .has_effect = true, .is_alone = true},
    {"queue-push-full", .kind = &kind, .prepare = fill_up, .act = push_in_vain,
     .is_alone = true},
    {"queue-take", .kind = &kind, .act = take, .has_effect = true,
     .is_alone = true},
    {"queue-take-more", .kind = &kind, .prepare = take, .act = take,
     .has_effect = true, .is_alone = true},
    {"queue-take-none", .kind = &kind, .prepare = work_off,
     .act = take_in_vain, .is_alone = true},
    {"queue-ack", .kind = &kind, .prepare = take_two, .act = ack,
     .has_effect = true, .is_alone = true},
    {"queue-nack", .kind = &kind, .prepare = take, .act = nack,
     .is_alone = true},
    {"queue-requeue", .kind = &kind, .prepare = take, .act = requeue,
     .has_effect = true, .is_alone = true},
    {"queue-leave", .kind = &kind, .prepare = take_two, .act = leave,
     .is_alone = true},
    {"queue-heal", .kind = &kind, .join = lose_consumer, .act = heal,
     .is_alone = true},
    {"queue-heal-left", .kind = &kind, .join = see_consumer_off, .act = heal,
     .is_alone = true},
    {"queue-redeliver", .kind = &kind, .join = lose_consumer, .act = take,
     .has_effect = true, .is_alone = true},
    {"queue-wait-take", .kind = &kind, .prepare = work_off,
     .act = wait_and_take, .has_effect = true, .unblock = bring,
     .finish = bring},
    {"queue-wait-push", .kind = &kind, .prepare = fill_up,
     .act = wait_and_push, .has_effect = true, .unblock = make_room,
     .finish = make_room},
    {"queue-wake", .kind = &kind, .prepare = work_off, .join = start_waiter,
     .act = push, .has_effect = true, .finish = bring_and_join},
    {.name = NULL},
};
