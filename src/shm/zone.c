/* Design
 *
 * A handle is a page of its own that a fork wipes, and so is the mapping that
 * the handles of a process share; the mapped zone is not inherited at all.
 * Thus a child can neither write with its parent's thread id nor free what
 * it has a copy of.
 *
 * The zone is mapped up to its maximal size at once.  Behind the end of the
 * file that memory raises SIGBUS, but nothing behind the present size is ever
 * handed out, and it never shrinks.
 */
#include "reeve/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/futex.h"
#include "shm/epoch.h"
#include "shm/format.h"
#include "shm/gather.h"
#include "shm/log.h"
#include "shm/member.h"

/* Zeroed memory of its own pages, wiped in children. */
static void *
take_page(size_t n_bytes)
{
    void *page = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return NULL;
    }
    if (madvise(page, n_bytes, MADV_WIPEONFORK)) {
        munmap(page, n_bytes);
        return NULL;
    }
    return page;
}

static void
unref_mapping(struct rv__mapping *mapping)
{
    if (__atomic_sub_fetch(&mapping->n_handles, 1, __ATOMIC_ACQ_REL) == 0) {
        munmap(mapping->base, mapping->n_bytes);
        munmap(mapping, sizeof *mapping);
    }
}

static int
check_identity(const struct rv_zone_info *info,
               const struct rv_zone_options *options, struct rv_error *error)
{
    if (options->name && strcmp(options->name, info->name) != 0) {
        return rv_error_set(error, -EEXIST, "the zone is \"%s\", not \"%s\"",
                            info->name, options->name);
    }
    if (options->tag && strcmp(options->tag, info->tag) != 0) {
        return rv_error_set(error, -EEXIST,
                            "zone \"%s\" has tag \"%s\", not \"%s\"",
                            info->name, info->tag, options->tag);
    }
    return 0;
}

static int
map(int fd, struct rv__mapping *mapping, struct rv_error *error)
{
    int protection = PROT_READ | (mapping->is_read_only ? 0 : PROT_WRITE);
    size_t n_bytes = (size_t)mapping->geometry.end;
    void *base = mmap(NULL, n_bytes, protection, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return rv_error_errno(error, -errno, "mmap of %zu bytes", n_bytes);
    }
    if (madvise(base, n_bytes, MADV_DONTFORK)) {
        int rc = -errno;
        munmap(base, n_bytes);
        return rv_error_errno(error, rc, "madvise");
    }
    mapping->base = base;
    mapping->n_bytes = n_bytes;
    return 0;
}

/* Reads, checks and maps; one reference is the caller's. */
static int
open_mapping(int fd, const struct rv_zone_options *options,
             struct rv__mapping *mapping, struct rv_error *error)
{
    struct rv__header *header = rv__header_create();
    if (!header) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    mapping->is_read_only = options->is_read_only;
    mapping->n_handles = 1;
    int rc = rv__zone_read(fd, header, &mapping->geometry, error);
    if (!rc) {
        rv__info_init(&mapping->info, header, &mapping->geometry);
        mapping->size_bytes = header->size_bytes;
        rc = check_identity(&mapping->info, options, error);
    }
    free(header);
    return rc ? rc : map(fd, mapping, error);
}

/* 0 when unknown. */
static uint64_t
pid_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) ? 0 : status.st_ino;
}

/* What a member's thread needs of the kernel. */
static int
prepare_thread(struct rv_zone *zone, struct rv_error *error)
{
    int rc = rv_robust_list_get(&zone->robust);
    if (rc) {
        return rv_error_errno(error, -EOPNOTSUPP, "get_robust_list");
    }
    if (rv__lock_is_pending(zone)) {
        return rv_error_set(error, -EDEADLK,
                            "the thread has an open transaction");
    }
    if (!zone->is_exchange && rv_membarrier_register()) {
        return rv_error_set(error, -EOPNOTSUPP,
                            "membarrier is refused, and the zone was not made "
                            "to do without it");
    }
    zone->node_bias = -zone->robust->futex_offset;
    zone->tid = (uint32_t)gettid();
    zone->pid = (uint32_t)getpid();
    zone->pid_namespace = pid_namespace();
    return 0;
}

static int
become_member(struct rv_zone *zone, struct rv_error *error)
{
    int rc = prepare_thread(zone, error);
    if (rc) {
        return rc;
    }
    rc = rv__member_take(zone);
    if (rc == -EAGAIN) {
        return rv_error_set(error, rc, "all %" PRIu32 " members are in use",
                            zone->mapping->geometry.n_members);
    }
    if (rc) {
        return rv_error_set(error, rc,
                            "a living member is of another pid namespace");
    }
    return 0;
}

/* A handle over 'mapping', whose reference it takes when it succeeds. */
static int
open_handle(struct rv__mapping *mapping, struct rv_zone **zonep,
            struct rv_error *error)
{
    struct rv_zone *zone = take_page(sizeof *zone);
    if (!zone) {
        return rv_error_errno(error, -errno, "handle");
    }
    zone->mapping = mapping;
    zone->base = mapping->base;
    zone->is_exchange = mapping->geometry.is_exchange;
    zone->mutable_begin = offsetof(struct rv__header, root_lock);
    rv__zone_refresh_size(zone);
    rv__slab_open(zone);
    int rc = mapping->is_read_only ? 0 : become_member(zone, error);
    if (rc) {
        munmap(zone, sizeof *zone);
        return rc;
    }
    *zonep = zone;
    return 0;
}

int
rv_zone_attach(int fd, const struct rv_zone_options *options,
               struct rv_zone **zonep, struct rv_error *error)
{
    static const struct rv_zone_options defaults = {.name = NULL};
    struct rv__mapping *mapping = take_page(sizeof *mapping);
    if (!mapping) {
        return rv_error_errno(error, -errno, "mapping");
    }
    int rc = open_mapping(fd, options ? options : &defaults, mapping, error);
    if (rc) {
        munmap(mapping, sizeof *mapping);
        return rc;
    }
    rc = rv__epoch_open(mapping, fd, error);
    rc = rc ? rc : open_handle(mapping, zonep, error);
    if (rc) {
        unref_mapping(mapping);
    }
    return rc;
}

int
rv_zone_join(const struct rv_zone *zone, struct rv_zone **zonep,
             struct rv_error *error)
{
    if (!zone->base) {
        return rv_error_set(error, -ECHILD, "the handle is the parent's");
    }
    struct rv__mapping *mapping = zone->mapping;
    __atomic_add_fetch(&mapping->n_handles, 1, __ATOMIC_RELAXED);
    int rc = open_handle(mapping, zonep, error);
    if (rc) {
        unref_mapping(mapping);
    }
    return rc;
}

int
rv_zone_detach(struct rv_zone **zonep)
{
    struct rv_zone *zone = *zonep;
    bool is_unused = true; /* What is mapped, by this thread. */
    if (!zone) {
        return 0;
    }
    if (zone->tid) {
        if (zone->tid != (uint32_t)gettid()) {
            return -EPERM;
        }
        rv_tx_abort(zone);
        if (rv__lock_is_pending(zone)) {
            return -EDEADLK;
        }
        is_unused = rv__member_release(zone);
    }
    if (zone->mapping && is_unused) {
        unref_mapping(zone->mapping);
    }
    munmap(zone, sizeof *zone);
    *zonep = NULL;
    return 0;
}

/* The size by the header if its words agree, else the last that did. */
static uint64_t
present_size(const struct rv_zone *zone)
{
    struct rv__mapping *mapping = zone->mapping;
    const struct rv__header *header = rv__header_of(zone);
    uint64_t last = __atomic_load_n(&mapping->size_bytes, __ATOMIC_RELAXED);
    uint64_t size = __atomic_load_n(&header->size_bytes, __ATOMIC_RELAXED);
    uint64_t complement =
        __atomic_load_n(&header->size_complement, __ATOMIC_RELAXED);
    if (size == last
        || !rv__size_is_valid(size, complement, &mapping->geometry)) {
        return last;
    }
    __atomic_store_n(&mapping->size_bytes, size, __ATOMIC_RELAXED);
    return size;
}

void
rv__zone_refresh_size(struct rv_zone *zone)
{
    if (zone->base) {
        zone->heap = zone->mapping->geometry.heap;
        zone->n_heap = present_size(zone);
        zone->n_mutable = zone->heap + zone->n_heap - zone->mutable_begin;
    }
}

uint64_t
rv_zone_size_bytes(const struct rv_zone *zone)
{
    return zone->base ? present_size(zone) : 0;
}

void
rv_zone_get_info(const struct rv_zone *zone, struct rv_zone_info *info)
{
    if (!zone->base) {
        memset(info, 0, sizeof *info);
        return;
    }
    *info = zone->mapping->info;
    info->size_bytes = present_size(zone);
}

uint64_t
rv_zone_heap_begin(const struct rv_zone *zone)
{
    return zone->base ? zone->mapping->geometry.heap : 0;
}

uint64_t
rv_zone_heap_end(const struct rv_zone *zone)
{
    return rv_zone_heap_begin(zone) + rv_zone_size_bytes(zone);
}

void *
rv_zone_at(const struct rv_zone *zone, uint64_t offset, size_t n_bytes)
{
    uint64_t begin = rv_zone_heap_begin(zone);
    uint64_t size = rv_zone_size_bytes(zone);
    if (offset < begin || offset - begin >= size
        || n_bytes > size - (offset - begin)) {
        return NULL;
    }
    return zone->base + offset;
}

uint64_t
rv_zone_offset(const struct rv_zone *zone, const void *place)
{
    uint64_t offset = rv__offset_of(zone, place);
    return rv_zone_at(zone, offset, 1) ? offset : 0;
}
