#include "steps_copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shm/handle.h"
#include "steps_trace.h"

enum { MAX_ENTRIES = 64 };

/* -------------------------------------------------------------------- images */

static size_t
file_bytes(int fd)
{
    struct stat status;
    if (fstat(fd, &status)) {
        trace_die("fstat");
    }
    return (size_t)status.st_size;
}

static void
resize(struct zone_image *image, size_t n)
{
    if (image->n != n) {
        image->bytes = realloc(image->bytes, n);
        image->n = n;
        if (!image->bytes) {
            trace_die("realloc");
        }
    }
}

void
image_read(struct zone_image *image, int fd)
{
    resize(image, file_bytes(fd));
    if (pread(fd, image->bytes, image->n, 0) != (ssize_t)image->n) {
        trace_die("pread");
    }
}

static bool
is_zero(const char *page)
{
    static const char zeros[RV_ZONE_PAGE_BYTES];
    return memcmp(page, zeros, sizeof zeros) == 0;
}

int
image_open(const struct zone_image *image)
{
    int fd = memfd_create("torture", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)image->n)) {
        trace_die("memfd_create");
    }
    for (size_t at = 0; at < image->n; at += RV_ZONE_PAGE_BYTES) {
        if (!is_zero(image->bytes + at)
            && pwrite(fd, image->bytes + at, RV_ZONE_PAGE_BYTES, (off_t)at)
                   != RV_ZONE_PAGE_BYTES) {
            trace_die("pwrite");
        }
    }
    return fd;
}

/* -------------------------------------------------------------------- deaths */

static bool
peek(pid_t pid, uint64_t address, void *place, size_t n)
{
    struct iovec here = {place, n};
    struct iovec there = {(void *)(uintptr_t)address, n}; // NOLINT
    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)n;
}

/* Where the zone's file is mapped; the last mapping of it, if any. */
static uint64_t
find_mapping(pid_t pid, size_t *np)
{
    char path[64];
    char line[512];
    uint64_t found = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        uint64_t begin, end;
        if (strstr(line, "memfd:torture")
            && sscanf(line, "%" SCNx64 "-%" SCNx64, &begin, &end) == 2) {
            found = begin;
            *np = (size_t)(end - begin);
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

/* The word of a list's entry at 'node', of thread 'tid', becomes dead. */
static void
mark_dead(struct zone_image *image, uint64_t node, uint32_t tid)
{
    uint32_t word;
    if (node > image->n - sizeof word) {
        return;
    }
    memcpy(&word, image->bytes + node, sizeof word);
    if ((word & FUTEX_TID_MASK) == tid) {
        word = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        memcpy(image->bytes + node, &word, sizeof word);
    }
}

static void
bury(struct copier *copier, uint64_t head_address, pid_t victim)
{
    size_t n_mapped = 0;
    uint64_t base = find_mapping(victim, &n_mapped);
    uint64_t bias = base - (uint64_t)copier->head.futex_offset;
    uint64_t pending = (uintptr_t)copier->head.list_op_pending & ~UINT64_C(1);
    uint64_t entry = (uintptr_t)copier->head.list.next;
    for (int i = 0; i < MAX_ENTRIES && entry != head_address; i++) {
        uint64_t next = 0;
        uint64_t node = entry & ~UINT64_C(1);
        if (node != pending) {
            mark_dead(&copier->image, node - bias, (uint32_t)victim);
        }
        if (!peek(victim, node, &next, sizeof next)) {
            break;
        }
        entry = next;
    }
    if (pending) {
        mark_dead(&copier->image, pending - bias, (uint32_t)victim);
    }
}

bool
copier_look(struct copier *copier, int fd, const struct rv_zone *zone,
            pid_t victim)
{
    struct robust_list_head *place = NULL;
    struct robust_list_head head;
    size_t n = file_bytes(fd);
    if (syscall(SYS_get_robust_list, victim, &place, &(size_t){0})
        || !peek(victim, (uintptr_t)place, &head, sizeof head)) {
        trace_die("get_robust_list");
    }
    if (n == copier->last.n && memcmp(&head, &copier->head, sizeof head) == 0
        && memcmp(zone->base, copier->last.bytes, n) == 0) {
        return false;
    }
    resize(&copier->last, n);
    resize(&copier->image, n);
    memcpy(copier->last.bytes, zone->base, n);
    memcpy(copier->image.bytes, zone->base, n);
    copier->head = head;
    copier->n_copies++;
    bury(copier, (uintptr_t)place, victim);
    return true;
}

void
copier_free(struct copier *copier)
{
    free(copier->last.bytes);
    free(copier->image.bytes);
}
