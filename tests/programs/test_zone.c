/* test-zone: a worker that works in a zone, as its clients say.
 *
 *     services: {web: {command: [reeve-test, test-zone, sessions],
 *                      zones: [sessions], listen: 8080, ready: notify}}
 *
 * It serves one connection at a time, greets with its pid, and answers each
 * line with one:
 *
 *     add N      N transactions that add 1 to two numbers
 *     spin       the same for ever, behind an answer
 *     get        both numbers, and how much was filled
 *     fill BYTES blocks of 64 KiB until there are so many bytes of them
 *     empty      frees the blocks
 *     dict       counts in the dict that is called as the zone
 *     size       bytes of heap
 *     protect    how the kernel answers to writable mappings of the zone
 *     queue      pushes into, takes from and acknowledges in a queue
 *     metrics    counts, and reads all there is
 *     hold       begins a transaction on the roots' lock, for ever
 *     heal       puts the slots of the dead in order
 *     scribble-AREA SEED  writes over a part of the zone (zone_scribble.h)
 */
#include "reeve-test.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "os/notify.h"
#include "reeve/dict.h"
#include "reeve/metric.h"
#include "reeve/queue.h"
#include "reeve/slab.h"
#include "reeve/tx.h"
#include "reeve/zone.h"
#include "zone_scribble.h"

enum { LISTEN_FD = 3, BLOCK_BYTES = 65536, ROOT_TYPE = 1 };

struct shared {
    struct rv_lock lock;
    uint64_t a, b; /* Equal, but within a transaction. */
    uint64_t first_block;
    uint64_t filled_bytes;
};

struct block {
    uint64_t next;
};

struct worker {
    struct rv_zone *zone;
    struct shared *shared;
    bool is_read_only;
    int zone_fd;
};

static struct shared *
find_shared(struct rv_zone *zone)
{
    uint64_t type, offset;
    if (rv_zone_root_get(zone, "shared", &type, &offset)
        || type != ROOT_TYPE) {
        return NULL;
    }
    return rv_zone_at(zone, offset, sizeof(struct shared));
}

/* Makes what the first worker makes; the others find it. */
static int
create_shared(struct rv_zone *zone)
{
    uint64_t offset = 0;
    int rc = rv_slab_reserve(zone, sizeof(struct shared), 1, 0);
    rc = rc ? rc
            : rv_tx_begin(zone, rv_zone_root_lock(zone),
                          RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS);
    if (rc) {
        return rc;
    }
    if (find_shared(zone)) {
        rv_tx_abort(zone);
        return 0;
    }
    rc = rv_slab_take(zone, sizeof(struct shared), &offset);
    if (!rc) {
        memset(rv_zone_at(zone, offset, sizeof(struct shared)), 0,
               sizeof(struct shared));
        rc = rv_zone_root_set(zone, "shared", ROOT_TYPE, offset);
    }
    int committed = rv_tx_commit(zone);
    return rc ? rc : committed;
}

static int
add_one(struct worker *worker)
{
    struct shared *shared = worker->shared;
    int rc = rv_tx_begin(worker->zone, &shared->lock, 2);
    if (rc) {
        return rc;
    }
    rv_tx_set64(worker->zone, &shared->a, shared->a + 1);
    rv_tx_set64(worker->zone, &shared->b, shared->b + 1);
    return rv_tx_commit(worker->zone);
}

static int
add_block(struct worker *worker)
{
    struct rv_zone *zone = worker->zone;
    struct shared *shared = worker->shared;
    uint64_t offset = 0;
    int rc = rv_slab_reserve(zone, BLOCK_BYTES, 1, 0);
    rc = rc ? rc : rv_tx_begin(zone, &shared->lock, RV_SLAB_WORDS + 2);
    if (rc) {
        return rc;
    }
    rc = rv_slab_take(zone, BLOCK_BYTES, &offset);
    if (!rc) {
        struct block *block = rv_zone_at(zone, offset, BLOCK_BYTES);
        memset(block, 'x', BLOCK_BYTES);
        block->next = shared->first_block;
        rv_tx_set64(zone, &shared->first_block, offset);
        rv_tx_set64(zone, &shared->filled_bytes,
                    shared->filled_bytes + BLOCK_BYTES);
    }
    int committed = rv_tx_commit(zone);
    return rc ? rc : committed;
}

static int
drop_block(struct worker *worker)
{
    struct rv_zone *zone = worker->zone;
    struct shared *shared = worker->shared;
    int rc = rv_slab_reserve(zone, BLOCK_BYTES, 0, 1);
    rc = rc ? rc : rv_tx_begin(zone, &shared->lock, RV_SLAB_WORDS + 2);
    if (rc) {
        return rc;
    }
    const struct block *block =
        rv_zone_at(zone, shared->first_block, BLOCK_BYTES);
    rc = block ? rv_slab_drop(zone, shared->first_block) : -EUCLEAN;
    if (!rc) {
        rv_tx_set64(zone, &shared->first_block, block->next);
        rv_tx_set64(zone, &shared->filled_bytes,
                    shared->filled_bytes - BLOCK_BYTES);
    }
    int committed = rv_tx_commit(zone);
    return rc ? rc : committed;
}

static int
empty(struct worker *worker)
{
    int rc = 0;
    while (!rc && worker->shared->first_block) {
        rc = drop_block(worker);
    }
    return rc ? rc : rv_slab_flush(worker->zone);
}

/* Whether the kernel lets the zone be mapped for writing, and a mapping for
 * reading be made one for writing. */
static void
answer_protect(const struct worker *worker, FILE *client)
{
    void *page = mmap(NULL, RV_ZONE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_SHARED, worker->zone_fd, 0);
    int mapped = page == MAP_FAILED ? errno : 0;
    page = mmap(NULL, RV_ZONE_PAGE_BYTES, PROT_READ, MAP_SHARED,
                worker->zone_fd, 0);
    int protected =
        mprotect(page, RV_ZONE_PAGE_BYTES, PROT_READ | PROT_WRITE) ? errno : 0;
    ssize_t n = pwrite(worker->zone_fd, "", 1, 0);
    int written = n < 0 ? errno : 0;
    fprintf(client, "%s %s %s\n", mapped ? strerrorname_np(mapped) : "OK",
            protected ? strerrorname_np(protected) : "OK",
            written ? strerrorname_np(written) : "OK");
}

static void
answer_get(struct worker *worker, FILE *client)
{
    const struct shared *shared = worker->shared;
    int rc = worker->is_read_only
                 ? 0
                 : rv_tx_begin(worker->zone, &worker->shared->lock, 0);
    if (rc) {
        fprintf(client, "%s\n", strerror(-rc));
        return;
    }
    fprintf(client, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", shared->a,
            shared->b, shared->filled_bytes);
    if (!worker->is_read_only) {
        rv_tx_abort(worker->zone);
    }
}

static int
count_in_dict(struct worker *worker)
{
    struct rv_zone_info info;
    struct rv_dict *dict;
    struct rv_error error;
    struct rv_dict_value one = rv_dict_integer(1), none = rv_dict_integer(0);
    rv_zone_get_info(worker->zone, &info);
    int rc = rv_dict_open(worker->zone, info.name, NULL, &dict, &error);
    if (!rc) {
        rc = rv_dict_incr(dict, "hits", 4, &one, &none, 0, NULL);
        rv_dict_close(&dict);
    }
    return rc;
}

static int
use_queue(struct worker *worker)
{
    struct rv_queue *queue;
    struct rv_error error;
    struct rv_queue_element element;
    int rc = rv_queue_open(worker->zone, "queue", NULL, &queue, &error);
    if (rc) {
        return rc;
    }
    rc = rv_queue_push(queue, "one", 3);
    rc = rc ? rc : rv_queue_take(queue, &element);
    rc = rc ? rc : rv_queue_ack(queue, &element);
    rv_queue_close(&queue);
    return rc;
}

static int
use_metrics(struct worker *worker)
{
    struct rv_metrics *metrics;
    struct rv_error error;
    struct rv_counter counter;
    struct rv_metric metric = {.offset = 0};
    int rc = rv_metrics_open(worker->zone, "metrics", &metrics, &error);
    if (rc) {
        return rc;
    }
    rc = rv_counter_open(metrics, "uses", &counter);
    if (!rc) {
        rv_counter_add(&counter, 1);
    }
    while (rv_metrics_next(metrics, &metric) == 0) {
        (void)rv_metric_read_counter(&metric);
    }
    rv_metrics_close(&metrics);
    return rc;
}

static int
change(struct worker *worker, const char *verb, int64_t n)
{
    static const char scribble[] = "scribble-";
    int rc = 0;
    if (!strcmp(verb, "add")) {
        for (int64_t i = 0; !rc && i < n; i++) {
            rc = add_one(worker);
        }
    } else if (!strcmp(verb, "fill")) {
        while (!rc && worker->shared->filled_bytes < (uint64_t)n) {
            rc = add_block(worker);
        }
    } else if (!strcmp(verb, "empty")) {
        rc = empty(worker);
    } else if (!strcmp(verb, "dict")) {
        rc = count_in_dict(worker);
    } else if (!strcmp(verb, "queue")) {
        rc = use_queue(worker);
    } else if (!strcmp(verb, "metrics")) {
        rc = use_metrics(worker);
    } else if (!strcmp(verb, "hold")) {
        rc = rv_tx_begin(worker->zone, rv_zone_root_lock(worker->zone), 0);
    } else if (!strcmp(verb, "heal")) {
        rc = rv_zone_heal(worker->zone);
        rc = rc < 0 ? rc : 0;
    } else if (!strncmp(verb, scribble, sizeof scribble - 1)) {
        rc = zone_scribble(worker->zone, verb + sizeof scribble - 1,
                           (uint64_t)n);
    } else {
        rc = -ENOSYS;
    }
    return rc;
}

static void
answer(struct worker *worker, char *line, FILE *client)
{
    int64_t n = 0;
    line[strcspn(line, "\n")] = '\0';
    char *number = strchr(line, ' ');
    if (number) {
        *number++ = '\0';
        rv_str_parse_integer(number, &n);
    }
    if (!strcmp(line, "get")) {
        answer_get(worker, client);
    } else if (!strcmp(line, "size")) {
        fprintf(client, "%" PRIu64 "\n", rv_zone_size_bytes(worker->zone));
    } else if (!strcmp(line, "protect")) {
        answer_protect(worker, client);
    } else if (!strcmp(line, "spin")) {
        fprintf(client, "spinning\n");
        fflush(client);
        while (!add_one(worker)) {
        }
    } else {
        int rc = change(worker, line, n);
        fprintf(client, "%s\n", rc ? strerrorname_np(-rc) : "OK");
    }
    fflush(client);
}

static void
serve(struct worker *worker)
{
    int fd = accept(LISTEN_FD, NULL, NULL);
    FILE *requests = fd < 0 ? NULL : fdopen(fd, "r");
    FILE *client = requests ? fdopen(dup(fd), "w") : NULL;
    char line[256];
    if (!client) {
        reeve_test_fatal_of("test-zone", errno, "accept");
    }
    fprintf(client, "%d\n", (int)getpid());
    fflush(client);
    while (fgets(line, sizeof line, requests)) {
        answer(worker, line, client);
    }
    fclose(client);
    fclose(requests);
}

/* The descriptor that REEVE_ZONES says. */
static int
fd_of(const char *name)
{
    char pattern[128];
    int fd = -1;
    const char *zones = getenv("REEVE_ZONES");
    snprintf(pattern, sizeof pattern, "%s=", name);
    const char *found = zones ? strstr(zones, pattern) : NULL;
    if (found) {
        sscanf(found + strlen(pattern), "%d", &fd);
    }
    return fd;
}

int
test_zone(int argc, char **argv)
{
    struct rv_error error;
    struct worker worker = {.is_read_only = argc > 2,
                            .zone_fd = fd_of(argv[1])};
    struct rv_zone_options options = {.is_read_only = worker.is_read_only};
    if (rv_zone_attach_by_name(argv[1], &options, &worker.zone, &error)) {
        reeve_test_fatal_of("test-zone", 0, "%s", error.text);
    }
    int rc = worker.is_read_only ? 0 : create_shared(worker.zone);
    worker.shared = find_shared(worker.zone);
    if (rc || !worker.shared) {
        reeve_test_fatal_of("test-zone", rc ? -rc : ENOENT, "shared");
    }
    rv_notify_send("READY=1\n");
    for (;;) {
        serve(&worker);
    }
}
