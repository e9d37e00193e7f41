/* Death at every store of a queue: elements that are pushed, taken,
 * acknowledged and given back by the victim, while another member has taken
 * some, and leaves with them now and then.
 *
 * At the end of each recovery nobody but the bystander has anything.  Then
 * the ready elements are those from before the operation or from after it, in
 * their order, and every byte is accounted for. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "hooks.h"
#include "reeve/slab.h"
#include "shm/member.h"
#include "shm/queue.h"
#include "stores.h"

enum { CAPACITY = 10, HEAP_PAGES = 24, ELEMENT_MAX_BYTES = 5000 };

struct entry {
    uint64_t number;
    uint32_t n_deliveries;
};

struct entries {
    struct entry at[CAPACITY];
    uint32_t n;
};

/* What is in the queue; of what is taken the oldest is first. */
struct model {
    struct entries ready, mine, others;
    uint64_t n_pushed, n_returned;
    uint64_t n_recovered; /* Without what 'mine' comes to, by a death. */
};

static const char bytes[ELEMENT_MAX_BYTES] = "work";
static struct model before, after;
static struct rv_queue_element mine[CAPACITY], others[CAPACITY];
static struct rv_queue queue, bystanders_queue;
static unsigned int n_recoveries;

static void
must(struct stores *stores, int rc, const char *what)
{
    if (rc < 0) {
        stores_fail(stores, "%s: %d", what, rc);
    }
}

/* A handle without memory of its own. */
static struct rv_queue
handle_of(struct stores *stores, struct rv_zone *zone)
{
    uint64_t type, offset;
    must(stores, rv_zone_root_get(zone, "jobs", &type, &offset), "root");
    struct rv__queue_root *root = (void *)(zone->base + offset);
    return (struct rv_queue){.zone = zone,
                             .root = root,
                             .element_max_bytes = root->element_max_bytes,
                             .capacity = root->capacity,
                             .n_members = zone->mapping->geometry.n_members,
                             .look_ms = INT64_MAX};
}

static void
insert(struct entries *entries, uint32_t i, struct entry entry)
{
    memmove(&entries->at[i + 1], &entries->at[i],
            (entries->n - i) * sizeof entry);
    entries->at[i] = entry;
    entries->n++;
}

static struct entry
take_out(struct entries *entries, uint32_t i)
{
    struct entry entry = entries->at[i];
    entries->n--;
    memmove(&entries->at[i], &entries->at[i + 1],
            (entries->n - i) * sizeof entry);
    return entry;
}

/* Takes handle 'i' out of those in the order of 'entries'. */
static struct rv_queue_element
take_handle(struct rv_queue_element *handles, uint32_t n, uint32_t i)
{
    struct rv_queue_element handle = handles[i];
    memmove(&handles[i], &handles[i + 1], (n - 1 - i) * sizeof handle);
    return handle;
}

static uint64_t
count(const struct model *model)
{
    return (uint64_t)model->ready.n + model->mine.n + model->others.n;
}

/* -------------------------------------------------------------- operations */

static int
push(struct stores *stores, struct rv_queue *to)
{
    static const size_t sizes[] = {0, 21, 300, ELEMENT_MAX_BYTES};
    return rv_queue_push(to, bytes,
                         sizes[stores_random(stores, RV_ARRAY_SIZE(sizes))]);
}

static void
add_pushed(struct model *model)
{
    struct entry entry = {.number = ++model->n_pushed};
    insert(&model->ready, model->ready.n, entry);
}

static void
run_push(struct stores *stores)
{
    bool is_full = count(&before) == CAPACITY;
    uint64_t n_refused = queue.root->n_refused;
    if (!is_full) {
        add_pushed(&after);
    }
    stores_begin(stores);
    int rc = push(stores, &queue);
    stores_end(stores);
    if (rc == -ENOMEM) {
        after = before;
        return;
    }
    must(stores, rc == -EAGAIN && is_full ? 0 : rc, "push");
    if (queue.root->n_refused != n_refused + is_full) {
        stores_fail(stores, "a refusal is not counted");
    }
}

static void
run_take(struct stores *stores)
{
    bool is_empty = before.ready.n == 0;
    struct rv_queue_element element;
    if (!is_empty) {
        struct entry entry = take_out(&after.ready, 0);
        entry.n_deliveries++;
        insert(&after.mine, after.mine.n, entry);
    }
    stores_begin(stores);
    int rc = rv_queue_take(&queue, &element);
    stores_end(stores);
    if (is_empty) {
        must(stores, rc == -EAGAIN ? 0 : -EUCLEAN, "take of nothing");
        return;
    }
    must(stores, rc, "take");
    mine[before.mine.n] = element;
}

/* Ends the taking of one of the victim's. */
static void
run_end(struct stores *stores, uint64_t kind)
{
    if (before.mine.n == 0) {
        run_take(stores);
        return;
    }
    uint32_t i = (uint32_t)stores_random(stores, before.mine.n);
    struct rv_queue_element element = take_handle(mine, before.mine.n, i);
    struct entry entry = take_out(&after.mine, i);
    if (kind) {
        insert(&after.ready, kind == 1 ? 0 : after.ready.n, entry);
        after.n_returned++;
    }
    stores_begin(stores);
    int rc = kind == 0   ? rv_queue_ack(&queue, &element)
             : kind == 1 ? rv_queue_nack(&queue, &element)
                         : rv_queue_requeue(&queue, &element);
    stores_end(stores);
    must(stores, rc, "end");
    rc = rv_queue_ack(&queue, &element);
    must(stores, rc == -ENOENT ? 0 : -EUCLEAN, "end of what has ended");
}

/* The bystander leaves with what it has, and another comes to its slot; the
 * victim, which has nothing itself, makes that ready. */
static void
run_heal(struct stores *stores)
{
    struct rv_zone *zone = bystanders_queue.zone;
    uint64_t *n_attached = &rv__member_of(zone, zone->index)->n_attached;
    uint32_t n = before.others.n;
    hook_store(n_attached, sizeof *n_attached);
    ++*n_attached;
    while (before.others.n) {
        insert(&before.ready, 0,
               take_out(&before.others, before.others.n - 1));
    }
    before.n_recovered += n;
    after = before;
    stores_begin(stores);
    int rc = rv_queue_heal(&queue);
    stores_end(stores);
    must(stores, rc == (int)n ? 0 : -EUCLEAN, "heal");
}

/* The bystander pushes, takes or acknowledges. */
static void
play_bystander(struct stores *stores)
{
    int rc;
    uint32_t n = before.others.n;
    switch (stores_random(stores, 3)) {
    case 0:
        rc = push(stores, &bystanders_queue);
        must(stores, rc == -EAGAIN || rc == -ENOMEM ? 0 : rc,
             "bystander's push");
        if (rc == 0) {
            add_pushed(&before);
        }
        break;
    case 1:
        if (before.ready.n) {
            must(stores, rv_queue_take(&bystanders_queue, &others[n]),
                 "bystander's take");
            insert(&before.others, n, take_out(&before.ready, 0));
            before.others.at[n].n_deliveries++;
        }
        break;
    default:
        if (n) {
            uint32_t i = (uint32_t)stores_random(stores, n);
            struct rv_queue_element element = take_handle(others, n, i);
            take_out(&before.others, i);
            must(stores, rv_queue_ack(&bystanders_queue, &element),
                 "bystander's ack");
        }
    }
}

static void
operate(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    (void)zone;
    (void)bystander;
    before = after;
    if (stores_random(stores, 2)) {
        play_bystander(stores);
    }
    after = before;
    uint64_t kind = stores_random(stores, 10);
    if (kind == 9 && before.mine.n == 0) {
        run_heal(stores);
    } else if (kind < 3) {
        run_push(stores);
    } else if (kind < 6) {
        run_take(stores);
    } else {
        run_end(stores, kind % 3);
    }
}

/* ----------------------------------------------------------------- recovery */

/* Of those who live the bystander alone has elements. */
static void
check_taken(struct stores *stores, const struct rv_queue *handle)
{
    if (handle->root->n_taken != before.others.n) {
        stores_fail(stores, "%" PRIu64 " elements are taken",
                    handle->root->n_taken);
    }
}

/* A member comes and takes the dead one's slot, but not what that one had
 * taken. */
static void
arrive(struct stores *stores, const struct rv_zone *zone)
{
    struct rv_zone arrived = *zone;
    must(stores, rv__member_take(&arrived), "arrival after a death");
    struct rv_queue handle = handle_of(stores, &arrived);
    must(stores, rv_queue_heal(&handle), "heal by an arrival");
    check_taken(stores, &handle);
    rv__member_release(&arrived);
}

static void
recover(struct stores *stores, struct rv_zone *zone)
{
    struct rv_queue handle = handle_of(stores, zone);
    switch (n_recoveries++ % 3) {
    case 0:
        break;
    case 1:
        must(stores, rv_queue_heal(&handle), "heal of the queue");
        break;
    default:
        arrive(stores, zone);
    }
    must(stores, rv_zone_heal(zone), "heal");
    must(stores, rv_queue_heal(&handle), "heal of the queue");
}

static void
audit(struct stores *stores, const struct rv_queue *handle)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    uint64_t n_bytes = 0;
    const struct rv_zone *zone = handle->zone;
    if (rv_slab_check(zone, &error)
        || rv__queue_audit(handle, &n_bytes, &error)) {
        stores_fail(stores, "check: %s", error.text);
    }
    n_bytes += rv_slab_size(zone, rv_zone_offset(zone, handle->root));
    rv_slab_get_stats(zone, &stats);
    if (stats.used_bytes != n_bytes) {
        stores_fail(stores,
                    "%" PRIu64 " bytes are used, the queue has %" PRIu64,
                    stats.used_bytes, n_bytes);
    }
}

/* Whether the ready elements are those of 'model', the victim being dead. */
static bool
is_as(const struct rv_queue *handle, const struct model *model)
{
    struct entries expected = model->mine;
    for (uint32_t i = 0; i < model->ready.n; i++) {
        insert(&expected, expected.n, model->ready.at[i]);
    }
    uint64_t offset = handle->root->first;
    for (uint32_t i = 0; i < expected.n; i++) {
        const struct rv__element *element = rv__element_at(handle, offset);
        if (!element || element->number != expected.at[i].number
            || element->n_deliveries != expected.at[i].n_deliveries
            || element->length > ELEMENT_MAX_BYTES
            || memcmp(element + 1, bytes, element->length) != 0) {
            return false;
        }
        offset = element->next;
    }
    const struct rv__queue_root *root = handle->root;
    return offset == 0 && root->n_pushed == model->n_pushed
           && root->n_returned == model->n_returned
           && root->n_recovered == model->n_recovered + model->mine.n;
}

static int
judge(struct stores *stores, const struct rv_zone *zone)
{
    struct rv_zone borrowed = *zone;
    struct rv_queue handle = handle_of(stores, &borrowed);
    audit(stores, &handle);
    check_taken(stores, &handle);
    if (is_as(&handle, &after)) {
        return !is_as(&handle, &before);
    }
    if (!is_as(&handle, &before)) {
        stores_fail(stores, "neither as before nor as after the operation");
    }
    return 0;
}

static void
setup(struct stores *stores, struct rv_zone *zone, struct rv_zone *bystander)
{
    struct rv_queue_settings settings = {
        .capacity = CAPACITY, .element_max_bytes = ELEMENT_MAX_BYTES};
    struct rv_queue *opened = NULL;
    struct rv_error error;
    must(stores, rv_queue_open(zone, "jobs", &settings, &opened, &error),
         "open");
    rv_queue_close(&opened);
    queue = handle_of(stores, zone);
    bystanders_queue = handle_of(stores, bystander);
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
        .nest_every = 499};
    return stores_main(argc, argv, &workload);
}
