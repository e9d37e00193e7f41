/* Elements go from all to all, and the director knows of each where it is.
 *
 * Beside the zone there is a record of each element: whether its push was
 * begun and reported done, who has it in hand, whether its acknowledgement was
 * begun and reported done.  What was pushed is in the queue, or in the hand of
 * a worker that lives, or was acknowledged; and after that nobody sees it
 * again.  Two that have the same one in hand find out: each takes its own name
 * out of the record when it is done.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kills.h"
#include "reeve/slab.h"
#include "shm/queue.h"
#include "steps_watch.h"

enum {
    N_RECORDS = 1024, /* Of a worker; more than the queue has. */
    CAPACITY = 200,
    MAX_HELD = 3,
    FILLING_MAX_BYTES = 300,
    WAIT_MS = 5,
    WAITS_EVERY = 2048, /* Who sleeps does not die within a transaction. */
};

/* Of a worker's element of that number, modulo N_RECORDS. */
struct record {
    uint64_t number;
    uint32_t holder; /* Who has it in hand; 0: nobody. */
    uint8_t is_begun, is_pushed;
    uint8_t is_ending, is_ended; /* Its acknowledgement. */
    uint32_t seen_in;            /* The audit. */
};

/* What is pushed. */
struct parcel {
    uint64_t number;
    uint32_t worker;
    uint32_t length;
    uint8_t filling[FILLING_MAX_BYTES];
};

struct ledger {
    struct record records[MAX_WORKERS][N_RECORDS];
    uint32_t n_names; /* Of those who ever worked. */
};

struct context {
    struct rv_queue *queue;
    uint32_t name;
    uint32_t n_held;
    struct rv_queue_element held[MAX_HELD];
    uint64_t last_first; /* Of the elements that nobody had before. */
};

/* What a worker notes: its name, how many it pushed and acknowledged. */
enum { NOTE_NUMBER, NOTE_NAME };
enum { GROUP_PUSHES, GROUP_ENDS };

static struct ledger *the_ledger;

static struct rv_queue *
open_queue(struct rv_zone *zone)
{
    static const struct rv_queue_settings settings = {
        .capacity = CAPACITY, .element_max_bytes = sizeof(struct parcel)};
    struct rv_queue *queue;
    struct rv_error error;
    if (rv_queue_open(zone, "queue", &settings, &queue, &error)) {
        find_wrong("%s", error.text);
    }
    return queue;
}

static void
setup(struct rv_zone *zone)
{
    struct rv_queue *queue = open_queue(zone);
    rv_queue_close(&queue);
    the_ledger = mmap(NULL, sizeof *the_ledger, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (the_ledger == MAP_FAILED) {
        find_wrong("mmap");
    }
}

static void
begin(struct worker *worker)
{
    struct context *context = calloc(1, sizeof *context);
    if (!context) {
        find_wrong("memory");
    }
    context->queue = open_queue(worker->zone);
    context->name =
        __atomic_add_fetch(&the_ledger->n_names, 1, __ATOMIC_SEQ_CST);
    note(&worker->diary->notes[NOTE_NAME], context->name);
    worker->context = context;
}

static struct record *
record_of(uint32_t worker, uint64_t number)
{
    return &the_ledger->records[worker][number % N_RECORDS];
}

static void
mark(uint8_t *flag, uint8_t value)
{
    __atomic_store_n(flag, value, __ATOMIC_SEQ_CST);
}

static bool
is_marked(const uint8_t *flag)
{
    return __atomic_load_n(flag, __ATOMIC_SEQ_CST) != 0;
}

/* ------------------------------------------------------------------ pushing */

static size_t
pack(struct worker *worker, uint64_t number, struct parcel *parcel)
{
    uint32_t length =
        (uint32_t)watch_random(&worker->random, FILLING_MAX_BYTES + 1);
    parcel->number = number;
    parcel->worker = worker->index;
    parcel->length = length;
    memset(parcel->filling, (int)(number & 0xff), length);
    return offsetof(struct parcel, filling) + length;
}

static void
note_push(struct worker *worker, struct record *record, int rc)
{
    struct diary *diary = worker->diary;
    if (rc == 0) {
        mark(&record->is_pushed, 1);
        note(&diary->done[GROUP_PUSHES], diary->done[GROUP_PUSHES] + 1);
        return;
    }
    if (rc != -EAGAIN && rc != -ENOMEM && rc != -ETIMEDOUT) {
        find_wrong("push: %d", rc);
    }
    mark(&record->is_begun, 0);
    note(&diary->started[GROUP_PUSHES], diary->started[GROUP_PUSHES] - 1);
}

/* Nothing, while the element that had the record before is not gone. */
static void
push(struct worker *worker)
{
    const struct context *context = worker->context;
    struct diary *diary = worker->diary;
    struct parcel parcel;
    uint64_t number = diary->notes[NOTE_NUMBER] + 1;
    struct record *record = record_of(worker->index, number);
    if (is_marked(&record->is_begun) && !is_marked(&record->is_ended)) {
        return;
    }
    mark(&record->is_begun, 0);
    mark(&record->is_pushed, 0);
    mark(&record->is_ending, 0);
    mark(&record->is_ended, 0);
    note(&record->number, number);
    note(&diary->notes[NOTE_NUMBER], number);
    note(&diary->started[GROUP_PUSHES], diary->started[GROUP_PUSHES] + 1);
    mark(&record->is_begun, 1);
    size_t n = pack(worker, number, &parcel);
    int rc = watch_random(&worker->random, WAITS_EVERY)
                 ? rv_queue_push(context->queue, &parcel, n)
                 : rv_queue_push_block(context->queue, &parcel, n, WAIT_MS);
    note_push(worker, record, rc);
}

/* ------------------------------------------------------------------- taking */

/* Checks the bytes of an element; its record. */
static struct record *
check_parcel(const void *bytes, size_t n_bytes)
{
    const struct parcel *parcel = bytes;
    size_t n = offsetof(struct parcel, filling);
    if (n_bytes < n || n_bytes != n + parcel->length
        || parcel->worker >= MAX_WORKERS) {
        find_wrong("an element of %zu bytes", n_bytes);
    }
    if (!is_filled(parcel->filling, (int)(parcel->number & 0xff),
                   parcel->length)) {
        find_wrong("element %" PRIu64 " of worker %" PRIu32 " is torn",
                   parcel->number, parcel->worker);
    }
    struct record *record = record_of(parcel->worker, parcel->number);
    if (record->number != parcel->number || !is_marked(&record->is_begun)
        || is_marked(&record->is_ended)) {
        find_wrong("element %" PRIu64 " of worker %" PRIu32
                   " is there (record: %" PRIu64 ", begun %d, ended %d)",
                   parcel->number, parcel->worker, record->number,
                   record->is_begun, record->is_ended);
    }
    return record;
}

/* What nobody had before comes in the order in which it was pushed. */
static void
check_order(struct context *context, const struct rv_queue_element *element)
{
    if (element->n_deliveries != 1) {
        return;
    }
    if (element->number <= context->last_first) {
        find_wrong("push %" PRIu64 " came after push %" PRIu64,
                   element->number, context->last_first);
    }
    context->last_first = element->number;
}

static void
take(struct worker *worker)
{
    struct context *context = worker->context;
    struct rv_queue_element *element = &context->held[context->n_held];
    int rc = watch_random(&worker->random, WAITS_EVERY)
                 ? rv_queue_take(context->queue, element)
                 : rv_queue_take_block(context->queue, WAIT_MS, element);
    if (rc == -EAGAIN || rc == -ETIMEDOUT) {
        return;
    }
    if (rc) {
        find_wrong("take: %d", rc);
    }
    struct record *record = check_parcel(element->bytes, element->length);
    check_order(context, element);
    mark(&record->is_ending, 0); /* It was not, as it is there. */
    __atomic_store_n(&record->holder, context->name, __ATOMIC_SEQ_CST);
    context->n_held++;
}

/* ------------------------------------------------------------------- ending */

static void
acknowledge(struct worker *worker, const struct rv_queue_element *element,
            struct record *record)
{
    const struct context *context = worker->context;
    struct diary *diary = worker->diary;
    mark(&record->is_ending, 1);
    note(&diary->started[GROUP_ENDS], diary->started[GROUP_ENDS] + 1);
    int rc = rv_queue_ack(context->queue, element);
    if (rc) {
        find_wrong("ack: %d", rc);
    }
    note(&diary->done[GROUP_ENDS], diary->done[GROUP_ENDS] + 1);
    mark(&record->is_ended, 1);
}

/* Ends one of those in hand, in one of three ways. */
static void
end_one(struct worker *worker)
{
    struct context *context = worker->context;
    uint64_t at = watch_random(&worker->random, context->n_held);
    struct rv_queue_element element = context->held[at];
    struct record *record = check_parcel(element.bytes, element.length);
    uint32_t name = context->name;
    context->held[at] = context->held[--context->n_held];
    if (!__atomic_compare_exchange_n(&record->holder, &name, 0, false,
                                     __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        find_wrong("element %" PRIu64 " is also with %" PRIu32, element.number,
                   name);
    }
    uint64_t way = watch_random(&worker->random, 8);
    if (way > 1) {
        acknowledge(worker, &element, record);
        return;
    }
    int rc = way == 0 ? rv_queue_nack(context->queue, &element)
                      : rv_queue_requeue(context->queue, &element);
    if (rc) {
        find_wrong("give back: %d", rc);
    }
}

static void
operate(struct worker *worker)
{
    const struct context *context = worker->context;
    uint64_t kind = watch_random(&worker->random, 64);
    if (kind == 0) {
        int rc = rv_queue_heal(context->queue);
        if (rc < 0) {
            find_wrong("heal: %d", rc);
        }
    } else if (kind < 31) {
        push(worker);
    } else if (context->n_held == MAX_HELD || (context->n_held && kind & 1)) {
        end_one(worker);
    } else {
        take(worker);
    }
}

/* -------------------------------------------------------------------- audit */

static bool
is_alive(const struct diary *diaries, uint32_t name)
{
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        if (diaries[i].is_living && diaries[i].notes[NOTE_NAME] == name) {
            return true;
        }
    }
    return false;
}

/* Notes that the element at 'offset' is there. */
static const struct rv__element *
see(const struct rv_queue *queue, uint64_t offset, uint32_t number,
    struct record **recordp)
{
    const struct rv__element *element = rv__element_at(queue, offset);
    if (!element) {
        find_wrong("no element is at %" PRIu64, offset);
    }
    struct record *record = check_parcel(element + 1, element->length);
    if (record->seen_in == number) {
        find_wrong("element %" PRIu64 " is there twice", element->number);
    }
    record->seen_in = number;
    record->is_pushed = 1;
    record->is_ending = 0;
    *recordp = record;
    return element;
}

static void
audit_ready(const struct rv_queue *queue, const struct diary *diaries,
            uint32_t number)
{
    struct record *record;
    uint64_t last = 0;
    uint64_t offset = queue->root->first;
    while (offset) {
        const struct rv__element *element =
            see(queue, offset, number, &record);
        if (record->holder && is_alive(diaries, record->holder)) {
            find_wrong("element %" PRIu64 " is ready, and with %" PRIu32,
                       element->number, record->holder);
        }
        record->holder = 0;
        if (element->n_deliveries == 0 && element->number <= last) {
            find_wrong("push %" PRIu64 " stands behind push %" PRIu64,
                       element->number, last);
        }
        last = element->n_deliveries ? last : element->number;
        offset = element->next;
    }
}

static void
audit_taken(const struct rv_queue *queue, const struct diary *diaries,
            uint32_t number)
{
    struct record *record;
    for (uint32_t i = 0; i < queue->n_members; i++) {
        uint64_t offset = queue->root->taken[i].first;
        while (offset) {
            const struct rv__element *element =
                see(queue, offset, number, &record);
            if (!is_alive(diaries, record->holder)) {
                find_wrong("element %" PRIu64 " is taken, but by no living "
                           "one (%" PRIu32 ")",
                           element->number, record->holder);
            }
            offset = element->next;
        }
    }
}

/* Of an element that is not there. */
static void
audit_absent(struct record *record, const struct diary *diaries,
             uint32_t worker)
{
    if (record->holder && is_alive(diaries, record->holder)) {
        find_wrong("element %" PRIu64 " of worker %" PRIu32 " is with %" PRIu32
                   ", but not taken",
                   record->number, worker, record->holder);
    }
    if (record->is_pushed && !record->is_ended && !record->is_ending) {
        find_wrong("element %" PRIu64 " of worker %" PRIu32 " is lost",
                   record->number, worker);
    }
    record->is_begun = 0;
    record->holder = 0;
}

/* The queue's own count, which is since the beginning. */
static void
check_count(const struct diary *diaries, uint32_t group, uint64_t *before,
            uint64_t now, const char *what)
{
    uint64_t started = *before;
    uint64_t done = *before;
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        started += diaries[i].started[group];
        done += diaries[i].done[group];
    }
    if (now < done || now > started) {
        find_wrong("%" PRIu64 " were %s, when %" PRIu64
                   " were done and %" PRIu64 " begun",
                   now, what, done, started);
    }
    *before = now;
}

static void
audit_counts(const struct rv_queue *queue, struct diary *diaries)
{
    static uint64_t n_pushed, n_ended;
    struct rv_queue_stats stats;
    rv_queue_get_stats(queue, &stats);
    check_count(diaries, GROUP_PUSHES, &n_pushed, stats.n_pushed, "pushed");
    check_count(diaries, GROUP_ENDS, &n_ended, stats.n_acknowledged,
                "acknowledged");
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        memset(diaries[i].started, 0, sizeof diaries[i].started);
        memset(diaries[i].done, 0, sizeof diaries[i].done);
    }
}

static void
audit_memory(struct rv_zone *zone, const struct rv_queue *queue)
{
    struct rv_error error;
    struct rv_slab_stats stats;
    uint64_t bytes = 0;
    if (rv__queue_audit(queue, &bytes, &error)
        || rv_slab_check(zone, &error)) {
        find_wrong("%s", error.text);
    }
    bytes += rv_slab_size(zone, rv_zone_offset(zone, queue->root));
    rv_slab_get_stats(zone, &stats);
    if (stats.used_bytes != bytes) {
        find_wrong("%" PRIu64 " bytes are used, the queue has %" PRIu64,
                   stats.used_bytes, bytes);
    }
}

static void
audit(struct rv_zone *zone, struct diary *diaries)
{
    static struct rv_queue *queue;
    static uint32_t number;
    if (!queue) {
        queue = open_queue(zone);
    }
    int rc = rv_queue_heal(queue);
    if (rc < 0) {
        find_wrong("heal: %d", rc);
    }
    number++;
    audit_memory(zone, queue);
    audit_ready(queue, diaries, number);
    audit_taken(queue, diaries, number);
    audit_counts(queue, diaries);
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        for (uint32_t k = 0; k < N_RECORDS; k++) {
            struct record *record = &the_ledger->records[i][k];
            if (record->is_begun && record->seen_in != number) {
                audit_absent(record, diaries, i);
            }
        }
    }
}

static void
report(struct rv_zone *zone)
{
    struct rv_queue_stats stats;
    struct rv_queue *queue = open_queue(zone);
    rv_queue_get_stats(queue, &stats);
    printf("kills: queue: %" PRIu64 " pushed, %" PRIu64
           " acknowledged, %" PRIu64 " given back, %" PRIu64
           " recovered, %" PRIu64 " found it full\n",
           stats.n_pushed, stats.n_acknowledged, stats.n_returned,
           stats.n_recovered, stats.n_refused);
    rv_queue_close(&queue);
}

const struct kill_workload queue_workload = {.name = "queue",
                                             .heap_bytes = 512 << 10,
                                             .setup = setup,
                                             .begin = begin,
                                             .operate = operate,
                                             .audit = audit,
                                             .report = report};
