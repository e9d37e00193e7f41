/* The zones that fuzz_zone.c writes into, and the world they are in.
 *
 * One zone has some of everything in it; of the other three members died in
 * transactions.  Whoever attaches them maps them amidst memory that nobody may
 * touch.  Clock, futexes and random numbers are played, so that a wait for a
 * holder who never was costs no time, and each run makes the same zones.
 */
#ifndef RV_FUZZ_ZONE_WORLD_H
#define RV_FUZZ_ZONE_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/futex.h"
#include "os/process.h"
#include "reeve/limiter.h"
#include "shm/dict.h"
#include "shm/metric.h"
#include "shm/queue.h"

enum {
    N_MEMBERS = 5,
    N_DEAD = 3,
    SIZE_BYTES = 128 << 10,
    MAX_BYTES = 256 << 10,
    N_AREAS_MAX = 160,
    EDIT_BYTES = 8,
    SLEEPS_MAX = 20000,
};

struct area {
    uint64_t offset, n_bytes;
};

static struct {
    int fd;      /* The zone's. */
    int file_fd; /* For inputs that are the file. */
    char *file;  /* The zone's, mapped. */
    uint64_t n_bytes;
    uint64_t members;               /* Where their slots are. */
    unsigned char *clean, *wounded; /* What it can begin with. */
    struct area areas[N_AREAS_MAX];
    size_t n_areas;

    char *arena; /* Where the zone is mapped by who attaches it. */
    size_t arena_bytes;
    size_t mapped_bytes;

    bool is_running;
    int64_t now_ms;
    int n_sleeps;
} fuzz = {.fd = -1, .file_fd = -1};

/* ------------------------------------------------------ the world around it */

/* A zone is mapped amidst an arena that nobody may touch, which is larger
 * than any offset. */
enum { ARENA_SHIFT = 37 };
#define ARENA_BEFORE ((size_t)1 << 32)

void *
mmap(void *address, size_t n_bytes, int protection, int flags, int fd,
     off_t offset)
{
    bool is_zone = fd >= 0 && (fd == fuzz.fd || fd == fuzz.file_fd);
    if (is_zone && fuzz.is_running) {
        RV_ASSERT(fuzz.mapped_bytes == 0
                  && n_bytes < fuzz.arena_bytes - 2 * ARENA_BEFORE);
        fuzz.mapped_bytes = n_bytes;
        address = fuzz.arena + ARENA_BEFORE;
        flags |= MAP_FIXED | MAP_POPULATE;
    }
    long rc =
        syscall(SYS_mmap, address, n_bytes, protection, flags, fd, offset);
    return (void *)rc; // NOLINT(performance-no-int-to-ptr): it is one.
}

#ifndef __USE_FILE_OFFSET64 /* Where it is, both have this name. */
void *
mmap64(void *address, size_t n_bytes, int protection, int flags, int fd,
       off64_t offset)
{
    return mmap(address, n_bytes, protection, flags, fd, offset);
}
#endif

int
munmap(void *address, size_t n_bytes)
{
    if (fuzz.arena && address == fuzz.arena + ARENA_BEFORE) {
        RV_ASSERT(n_bytes == fuzz.mapped_bytes);
        fuzz.mapped_bytes = 0;
        return mmap(address, n_bytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                    -1,
                    0) == MAP_FAILED
                   ? -1
                   : 0;
    }
    return (int)syscall(SYS_munmap, address, n_bytes);
}

/* What stays mapped because the thread's list of robust mutexes is broken goes
 * now, and the list with it. */
static void
forget_mapping(void)
{
    struct robust_list_head *head;
    size_t n_bytes;
    if (fuzz.mapped_bytes) {
        RV_ASSERT(syscall(SYS_get_robust_list, 0, &head, &n_bytes) == 0);
        head->list.next = &head->list;
        RV_ASSERT(munmap(fuzz.arena + ARENA_BEFORE, fuzz.mapped_bytes) == 0);
    }
}

int
clock_gettime(clockid_t clock, struct timespec *time)
{
    if (!fuzz.is_running || clock == CLOCK_REALTIME) {
        return (int)syscall(SYS_clock_gettime, clock, time);
    }
    time->tv_sec = fuzz.now_ms / 1000;
    time->tv_nsec = fuzz.now_ms % 1000 * 1000000L;
    return 0;
}

/* So that each run makes the same zones. */
ssize_t
getrandom(void *bytes, size_t n_bytes, unsigned int flags RV_UNUSED)
{
    memset(bytes, 0x5a, n_bytes);
    return (ssize_t)n_bytes;
}

/* Whether the thread is one that holds a slot, by all that can be known. */
static bool
is_member(uint32_t tid)
{
    for (uint32_t i = 0; i < N_MEMBERS; i++) {
        const struct rv__member *member =
            (const void *)(fuzz.file + fuzz.members + i * sizeof *member);
        if (member->tid == tid
            && rv_thread_exists((pid_t)member->pid, (pid_t)tid)) {
            return true;
        }
    }
    return false;
}

int
rv_futex_wait_block(uint32_t *word, uint32_t expected, int timeout_ms)
{
    if (*word != expected) {
        return -EAGAIN;
    }
    fuzz.now_ms += timeout_ms;
    if (++fuzz.n_sleeps % 1000 == 0 && is_member(expected & FUTEX_TID_MASK)) {
        *word = 0; /* A living holder releases it some day. */
    }
    RV_ASSERT(fuzz.n_sleeps < SLEEPS_MAX);
    return -ETIMEDOUT;
}

int
rv_futex_wake(uint32_t *word RV_UNUSED, int n RV_UNUSED)
{
    return 0;
}

int
rv_robust_list_get(struct robust_list_head **headp)
{
    size_t n_bytes;
    return syscall(SYS_get_robust_list, 0, headp, &n_bytes) ? -errno : 0;
}

int
rv_membarrier_register(void)
{
    return 0;
}

int
rv_membarrier(void)
{
    return 0;
}

static int64_t
now_ms(void *context RV_UNUSED)
{
    return fuzz.now_ms;
}

/* --------------------------------------------------------- a zone to begin */

static struct rv_zone *
attach(int fd, bool is_read_only)
{
    struct rv_zone_options options = {.is_read_only = is_read_only};
    struct rv_zone *zone = NULL;
    struct rv_error error;
    return rv_zone_attach(fd, &options, &zone, &error) ? NULL : zone;
}

static struct rv_dict *
open_dict(struct rv_zone *zone, const char *name)
{
    struct rv_dict_settings settings = {.n_shards = 2, .now_ms = now_ms};
    struct rv_dict *dict = NULL;
    struct rv_error error;
    return rv_dict_open(zone, name, &settings, &dict, &error) ? NULL : dict;
}

static struct rv_queue *
open_queue(struct rv_zone *zone)
{
    struct rv_queue_settings settings = {.capacity = 8,
                                         .element_max_bytes = 6000};
    struct rv_queue *queue = NULL;
    struct rv_error error;
    return rv_queue_open(zone, "queue", &settings, &queue, &error) ? NULL
                                                                   : queue;
}

static struct rv_metrics *
open_metrics(struct rv_zone *zone)
{
    struct rv_metrics *metrics = NULL;
    struct rv_error error;
    return rv_metrics_open(zone, "metrics", &metrics, &error) ? NULL : metrics;
}

static void
set(struct rv_dict *dict, const char *key, size_t n_bytes, int64_t ttl_ms)
{
    static char bytes[5000];
    struct rv_dict_value value = rv_dict_bytes(bytes, n_bytes);
    int rc = rv_dict_set(dict, key, strlen(key), &value, ttl_ms);
    RV_ASSERT(rc == 0);
}

static void
fill_dict(struct rv_zone *zone)
{
    struct rv_dict *dict = open_dict(zone, "dict");
    struct rv_dict_value one = rv_dict_integer(1), sum;
    struct rv_dict_value real = rv_dict_real(0.5);
    struct rv_dict_value text = rv_dict_bytes("abc", 3);
    char key[8];
    RV_ASSERT(rv_dict_set(dict, "n", 1, &one, 0) == 0);
    RV_ASSERT(rv_dict_incr(dict, "r", 1, &one, &real, 0, &sum) == 0);
    for (int i = 0; i < 4; i++) {
        RV_ASSERT(rv_dict_rpush(dict, "l", 1, &text, NULL) == 0);
    }
    for (int i = 0; i < 24; i++) {
        snprintf(key, sizeof key, "k%d", i);
        set(dict, key, (size_t)i * 3, i % 3 ? 0 : 1000 + i);
    }
    set(dict, "run", 5000, 0);
    rv_dict_close(&dict);
}

static void
fill_limits(struct rv_zone *zone)
{
    struct rv_rate_limit limit = {.per_second = 10, .burst = 2};
    struct rv_dict *dict = open_dict(zone, "limits");
    RV_ASSERT(rv_limiter_request(dict, "r", 1, &limit, NULL) == 0);
    RV_ASSERT(rv_limiter_acquire(dict, "s", 1, 3) == 0);
    rv_dict_close(&dict);
}

static void
fill_queue(struct rv_zone *zone)
{
    struct rv_queue *queue = open_queue(zone);
    struct rv_queue_element element;
    for (int i = 0; i < 6; i++) {
        RV_ASSERT(rv_queue_push(queue, "0123456789", (size_t)i) == 0);
    }
    for (int i = 0; i < 3; i++) {
        RV_ASSERT(rv_queue_take(queue, &element) == 0);
    }
    rv_queue_close(&queue);
}

static void
fill_metrics(struct rv_zone *zone)
{
    struct rv_histogram_settings settings = {.max_value = 1000, .bits = 2};
    struct rv_metrics *metrics = open_metrics(zone);
    struct rv_counter counter;
    struct rv_gauge gauge;
    struct rv_histogram histogram;
    RV_ASSERT(rv_counter_open(metrics, "c", &counter) == 0);
    RV_ASSERT(rv_counter_open(metrics, "d", &counter) == 0);
    RV_ASSERT(rv_gauge_open(metrics, "g", &gauge) == 0);
    RV_ASSERT(rv_histogram_open(metrics, "h", &settings, &histogram) == 0);
    rv_counter_add(&counter, 3);
    rv_histogram_record(&histogram, 17);
    rv_metrics_close(&metrics);
}

static void
fill(struct rv_zone *zone)
{
    fill_dict(zone);
    fill_limits(zone);
    fill_queue(zone);
    fill_metrics(zone);
}

/* ------------------------------------------------------- where things lie */

static void
add_area(uint64_t offset, uint64_t n_bytes)
{
    RV_ASSERT(fuzz.n_areas < N_AREAS_MAX && n_bytes
              && offset + n_bytes <= fuzz.n_bytes);
    fuzz.areas[fuzz.n_areas++] = (struct area){offset, n_bytes};
}

static void
add_thing(const struct rv_zone *zone, const void *place, uint64_t n_bytes)
{
    add_area(rv__offset_of(zone, place), n_bytes);
}

static void
add_sections(const struct rv_zone *zone)
{
    const struct rv__geometry *g = &zone->mapping->geometry;
    fuzz.members = g->members;
    const struct rv__header *header = rv__header_of(zone);
    const struct rv__slab *slab = rv__slab_of(zone);
    add_area(0, fuzz.n_bytes);
    add_area(0, offsetof(struct rv__header, checksum));
    add_thing(zone, &header->size_bytes, 16);
    add_thing(zone, &header->root_lock, 64);
    add_thing(zone, header->roots, 6 * sizeof header->roots[0]);
    add_thing(zone, &slab->map.lock, 64 + 16 + sizeof slab->map.filled);
    add_thing(zone, slab->map.bins, 40 * sizeof slab->map.bins[0]);
    add_thing(zone, slab->shelves, sizeof slab->shelves);
    add_area(g->lives, N_MEMBERS * sizeof(struct rv__life));
    for (uint32_t i = 0; i < N_MEMBERS; i++) {
        const struct rv__member *member = rv__member_of(zone, i);
        add_thing(zone, member, 64 + 64);
        add_thing(zone, member->log.changes, 12 * sizeof(struct rv__change));
        add_thing(zone, member->magazines, sizeof(struct rv__hands));
    }
    add_area(g->pages, sizeof(uint64_t) * SIZE_BYTES / RV_ZONE_PAGE_BYTES);
    add_thing(zone, zone->slab.pages,
              sizeof(struct rv__page) * SIZE_BYTES / RV_ZONE_PAGE_BYTES);
    add_area(g->states, SIZE_BYTES / 16);
    add_area(g->heap, SIZE_BYTES);
}

/* An entry, and of a list the nodes. */
static void
add_entry(const struct rv_dict *dict, uint64_t ref)
{
    const struct rv_zone *zone = dict->zone;
    struct rv__entry *entry = rv__entry_at(dict, ref);
    RV_ASSERT(entry);
    add_thing(zone, entry, sizeof *entry + entry->key_length + 16);
    if (entry->type == RV__DICT_LIST) {
        uint64_t offset = rv__entry_ends(entry)->first;
        add_thing(zone, rv__entry_ends(entry), sizeof(struct rv__ends));
        while (offset) {
            add_area(offset, sizeof(struct rv__node));
            offset = ((struct rv__node *)rv__dict_at(dict, offset))->next;
        }
    }
}

static void
add_dict(struct rv_zone *zone, const char *name)
{
    struct rv_dict *dict = open_dict(zone, name);
    add_area(dict->root, sizeof(struct rv__dict_root));
    for (uint32_t i = 0; i <= dict->shard_mask; i++) {
        struct rv__table table;
        add_thing(zone, &dict->shards[i], sizeof dict->shards[i]);
        RV_ASSERT(rv__table_open(dict, dict->shards[i].table, &table));
        if (!table.buckets) {
            continue;
        }
        add_thing(zone, table.buckets,
                  (table.mask + 1) * sizeof(struct rv__bucket));
        for (uint32_t k = 0; k < (table.mask + 1) * RV__DICT_SLOTS; k++) {
            uint64_t ref =
                table.buckets[k / RV__DICT_SLOTS].refs[k % RV__DICT_SLOTS];
            if (ref) {
                add_entry(dict, ref);
            }
        }
    }
    rv_dict_close(&dict);
}

static void
add_queue(struct rv_zone *zone)
{
    struct rv_queue *queue = open_queue(zone);
    const struct rv__queue_root *root = queue->root;
    add_thing(zone, root, sizeof *root);
    add_thing(zone, root->taken, N_MEMBERS * sizeof root->taken[0]);
    uint64_t lists[] = {root->first, root->taken[0].first};
    for (size_t i = 0; i < RV_ARRAY_SIZE(lists); i++) {
        uint64_t at = lists[i];
        while (at) {
            const struct rv__element *element = rv__element_at(queue, at);
            RV_ASSERT(element);
            add_thing(zone, element, sizeof *element);
            at = element->next;
        }
    }
    rv_queue_close(&queue);
}

static void
add_metrics(struct rv_zone *zone)
{
    struct rv_metrics *metrics = open_metrics(zone);
    add_thing(zone, metrics->root, sizeof *metrics->root);
    uint64_t offset = metrics->root->first;
    while (offset) {
        const struct rv__metric *metric = rv__metric_at(metrics, offset);
        add_area(offset, sizeof *metric);
        const struct rv__block *block = rv__block_at(metrics, metric->block);
        if (block) {
            add_area(metric->block, sizeof *block + N_MEMBERS * 8);
            add_area(block->places[0], block->n_words * 8);
        }
        offset = metric->next;
    }
    rv_metrics_close(&metrics);
}

/* ------------------------------------------------------------ dead members */

/* Makes as if the member in slot 'i' of the image had died. */
static void
kill_member(unsigned char *image, const struct rv_zone *zone, uint32_t i,
            const struct rv_lock *lock)
{
    uint64_t life = rv__offset_of(zone, rv__life_of(zone, i));
    uint64_t slot = rv__offset_of(zone, rv__member_of(zone, i));
    const uint32_t died = FUTEX_OWNER_DIED;
    uint32_t tid = FUTEX_TID_MASK - i;
    struct rv__life fresh;
    RV_ASSERT(rv__life_init(&fresh) == 0);
    memcpy(image + life, &fresh, sizeof fresh);
    memcpy(image + life, &died, sizeof died);
    memcpy(image + slot, &tid, sizeof tid);
    memcpy(image + slot + sizeof tid, &tid, sizeof tid);
    if (lock) {
        memcpy(image + rv__offset_of(zone, lock), &died, sizeof died);
    }
}

/* Three members, each in a transaction: on a shard, on the queue, private. */
static void
make_wounded(void)
{
    struct rv_zone *zones[N_DEAD];
    struct rv_dict *dict = NULL;
    struct rv_queue *queue = NULL;
    for (int i = 0; i < N_DEAD; i++) {
        zones[i] = attach(fuzz.fd, false);
        RV_ASSERT(zones[i]);
        dict = open_dict(zones[i], "dict");
        set(dict, "d", 40 + 60 * (size_t)i, 0);
        rv_dict_close(&dict);
    }
    dict = open_dict(zones[0], "dict");
    queue = open_queue(zones[1]);
    RV_ASSERT(rv_slab_reserve(zones[2], 5000, 2, 2) == 0);
    struct rv_lock *locks[] = {&dict->shards[0].lock, &queue->root->lock,
                               NULL};
    struct rv__queue_root *root = rv_zone_at(
        zones[2], rv__offset_of(zones[1], queue->root), sizeof *root);
    RV_ASSERT(root);
    uint64_t *words[] = {&dict->shards[0].table, &queue->root->first,
                         &root->reserved[0]};
    for (int i = 0; i < N_DEAD; i++) {
        rv__lock_clear_pending(zones[0]); /* It is three threads. */
        RV_ASSERT(rv_tx_begin(zones[i], locks[i], 20) == 0);
        rv_tx_set64(zones[i], words[i], 0);
        rv_tx_set64(zones[i], words[i] + 1, 7);
    }
    RV_ASSERT(rv_slab_alloc(zones[2], 5000, words[2]) == 0);
    memcpy(fuzz.wounded, fuzz.file, fuzz.n_bytes);
    for (int i = 0; i < N_DEAD; i++) {
        kill_member(fuzz.wounded, zones[i], (uint32_t)i, locks[i]);
        rv_tx_abort(zones[i]);
    }
    rv_dict_close(&dict);
    rv_queue_close(&queue);
    for (int i = 0; i < N_DEAD; i++) {
        RV_ASSERT(rv_zone_detach(&zones[i]) == 0);
    }
}

static void
make_clean(void)
{
    struct rv_zone *zone = attach(fuzz.fd, false);
    RV_ASSERT(zone);
    fill(zone);
    add_sections(zone);
    add_dict(zone, "dict");
    add_dict(zone, "limits");
    add_queue(zone);
    add_metrics(zone);
    RV_ASSERT(rv_zone_detach(&zone) == 0);
    memcpy(fuzz.clean, fuzz.file, fuzz.n_bytes);
}

static void
make_zones(void)
{
    struct rv_zone_settings settings = {.name = "fuzz",
                                        .size_bytes = SIZE_BYTES,
                                        .max_size_bytes = MAX_BYTES,
                                        .n_members = N_MEMBERS};
    struct rv_zone_info info;
    struct rv_error error;
    fuzz.now_ms = 1000000;
    fuzz.arena_bytes = (size_t)1 << ARENA_SHIFT;
    fuzz.arena = mmap(NULL, fuzz.arena_bytes, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    RV_ASSERT(fuzz.arena != MAP_FAILED);
    RV_ASSERT(rv_zone_create(&settings, &fuzz.fd, &error) == 0);
    fuzz.file_fd = memfd_create("fuzz", MFD_CLOEXEC);
    RV_ASSERT(fuzz.file_fd >= 0);
    RV_ASSERT(rv_zone_read_info(fuzz.fd, &info, &error) == 0);
    fuzz.n_bytes = info.file_bytes - MAX_BYTES + SIZE_BYTES;
    fuzz.file = mmap(NULL, fuzz.n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                     fuzz.fd, 0);
    RV_ASSERT(fuzz.file != MAP_FAILED);
    fuzz.clean = malloc(fuzz.n_bytes);
    fuzz.wounded = malloc(fuzz.n_bytes);
    RV_ASSERT(fuzz.clean && fuzz.wounded);
    make_clean();
    make_wounded();
}

#endif
