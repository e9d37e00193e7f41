/* Design
 *
 * Whoever owns the file of a zone (mostly the master) makes it, reads what it
 * says and lets it grow by pread, pwrite and ftruncate alone: it maps nothing
 * that others may write, and waits for nobody.
 *
 * The header is the last thing that is written, so that an unfinished file
 * begins with zeros and is refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/fd.h"
#include "os/futex.h"
#include "os/memfd.h"
#include "shm/format.h"
#include "shm/life.h"

static uint64_t
whole_pages(uint64_t bytes)
{
    return (bytes + RV_ZONE_PAGE_BYTES - 1) / RV_ZONE_PAGE_BYTES
           * RV_ZONE_PAGE_BYTES;
}

/* All of 'n' bytes at 'offset', or a negative errno. */
static int
write_at(int fd, const void *data, size_t n, uint64_t offset)
{
    const char *bytes = data;
    while (n) {
        ssize_t written = pwrite(fd, bytes, n, (off_t)offset);
        if (written < 0 && errno != EINTR) {
            return -errno;
        }
        if (written > 0) {
            bytes += written;
            n -= (size_t)written;
            offset += (uint64_t)written;
        }
    }
    return 0;
}

static int
set_text(char *text, size_t n, const char *from, const char *what,
         struct rv_error *error)
{
    size_t length = strlen(from);
    if (length >= n) {
        return rv_error_set(error, -EINVAL, "%s: %zu bytes, at most %zu", what,
                            length, n - 1);
    }
    memcpy(text, from, length);
    return 0;
}

static int
check_settings(const struct rv_zone_settings *s, struct rv_error *error)
{
    if (!s->name || !s->name[0]) {
        return rv_error_set(error, -EINVAL, "the zone has no name");
    }
    if (!s->size_bytes || s->size_bytes > RV_ZONE_SIZE_MAX_BYTES
        || s->max_size_bytes > RV_ZONE_SIZE_MAX_BYTES
        || (s->max_size_bytes && s->max_size_bytes < s->size_bytes)) {
        return rv_error_set(error, -EINVAL,
                            "size %" PRIu64 " and maximal size %" PRIu64
                            ": 1 to %" PRIu64 " bytes, the second not smaller",
                            s->size_bytes, s->max_size_bytes,
                            RV_ZONE_SIZE_MAX_BYTES);
    }
    if (s->n_members > RV_ZONE_MEMBERS_MAX) {
        return rv_error_set(error, -EINVAL, "%" PRIu32 " members, at most %d",
                            s->n_members, RV_ZONE_MEMBERS_MAX);
    }
    return 0;
}

static void
set_geometry(struct rv__header *h, const struct rv__geometry *g)
{
    h->magic = RV__ZONE_MAGIC;
    h->layout_version = RV__LAYOUT_VERSION;
    h->page_bytes = RV_ZONE_PAGE_BYTES;
    h->header_bytes = RV__HEADER_BYTES;
    h->member_bytes = RV__MEMBER_BYTES;
    h->n_members = g->n_members;
    h->max_size_bytes = g->max_size_bytes;
    h->lives = g->lives;
    h->members = g->members;
    h->pages = g->pages;
    h->states = g->states;
    h->heap = g->heap;
    h->end = g->end;
}

static int
fill_header(struct rv__header *h, const struct rv_zone_settings *s,
            struct rv__geometry *g, struct rv_error *error)
{
    int rc = set_text(h->name, sizeof h->name, s->name, "name", error);
    if (!rc && s->tag) {
        rc = set_text(h->tag, sizeof h->tag, s->tag, "tag", error);
    }
    if (rc) {
        return rc;
    }
    rv__geometry_init(
        g, whole_pages(s->max_size_bytes ? s->max_size_bytes : s->size_bytes),
        s->n_members ? s->n_members : RV_ZONE_MEMBERS_DEFAULT);
    set_geometry(h, g);
    if (s->is_exchange || rv_membarrier_register()) {
        h->flags = RV__FLAG_EXCHANGE;
    }
    if (getrandom(&h->identity, sizeof h->identity, 0)
        != (ssize_t)sizeof h->identity) {
        return rv_error_errno(error, -errno, "random identity");
    }
    h->checksum = rv__header_checksum(h);
    h->size_bytes = whole_pages(s->size_bytes);
    h->size_complement = ~h->size_bytes;
    return 0;
}

static int
write_lives(int fd, const struct rv__geometry *g, struct rv_error *error)
{
    struct rv__life *lives = calloc(g->n_members, sizeof *lives);
    if (!lives) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    int rc = 0;
    for (uint32_t i = 0; i < g->n_members && !rc; i++) {
        rc = rv__life_init(&lives[i]);
    }
    if (!rc) {
        rc = write_at(fd, lives, g->n_members * sizeof *lives, g->lives);
    }
    free(lives);
    return rc ? rv_error_errno(error, rc, "life words") : 0;
}

static int
check_empty(int fd, struct rv_error *error)
{
    struct stat status;
    if (fstat(fd, &status)) {
        return rv_error_errno(error, -errno, "fstat");
    }
    if (!S_ISREG(status.st_mode) || status.st_size) {
        return rv_error_set(error, -EEXIST,
                            "not an empty file: nothing is overwritten");
    }
    return 0;
}

/* Writes what 'header' and 'geometry' say into an empty file. */
static int
write_zone(int fd, const struct rv__header *header,
           const struct rv__geometry *geometry, struct rv_error *error)
{
    uint64_t bytes = geometry->heap + header->size_bytes;
    if (ftruncate(fd, (off_t)bytes)) {
        return rv_error_errno(error, -errno, "%" PRIu64 " bytes", bytes);
    }
    int rc = write_lives(fd, geometry, error);
    if (!rc) {
        rc = write_at(fd, header, offsetof(struct rv__header, root_lock), 0);
        rc = rc ? rv_error_errno(error, rc, "header") : 0;
    }
    return rc;
}

int
rv_zone_format(int fd, const struct rv_zone_settings *settings,
               struct rv_error *error)
{
    int rc = check_settings(settings, error);
    if (!rc) {
        rc = check_empty(fd, error);
    }
    if (rc) {
        return rc;
    }
    struct rv__header *header = rv__header_create();
    if (!header) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    struct rv__geometry geometry = {0};
    rc = fill_header(header, settings, &geometry, error);
    if (!rc) {
        rc = write_zone(fd, header, &geometry, error);
    }
    free(header);
    return rc;
}

int
rv_zone_create(const struct rv_zone_settings *settings, int *fdp,
               struct rv_error *error)
{
    int rc = check_settings(settings, error);
    if (rc) {
        return rc;
    }
    char name[RV_ZONE_NAME_BYTES + 16] = "reeve-zone-";
    strncat(name, settings->name, RV_ZONE_NAME_BYTES - 1);
    int fd = -1;
    rc = rv_memfd_open(name, &fd);
    if (rc) {
        return rv_error_errno(error, rc, "memfd_create");
    }
    rc = rv_zone_format(fd, settings, error);
    if (!rc) {
        rc = rv_memfd_seal_size(fd);
        rc = rc ? rv_error_errno(error, rc, "seals") : 0;
    }
    if (rc) {
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    return 0;
}

/* Reads the checked header; but for the size, which may be torn. */
static int
read_header(int fd, struct rv__header *header, struct rv__geometry *geometry,
            uint64_t *file_bytesp, struct rv_error *error)
{
    struct stat status;
    ssize_t n = pread(fd, header, sizeof *header, 0);
    if (n < 0 || fstat(fd, &status)) {
        return rv_error_errno(error, -errno, "cannot read the zone");
    }
    if ((size_t)n < sizeof *header) {
        return rv_error_set(error, -EUCLEAN,
                            "not a zone: it has %zd bytes, not even a header",
                            n);
    }
    *file_bytesp = (uint64_t)status.st_size;
    return rv__header_check(header, geometry, error);
}

int
rv__zone_read(int fd, struct rv__header *header, struct rv__geometry *geometry,
              struct rv_error *error)
{
    uint64_t file_bytes = 0;
    int rc = read_header(fd, header, geometry, &file_bytes, error);
    if (rc) {
        return rc;
    }
    uint64_t size = header->size_bytes;
    if (!rv__size_is_valid(size, header->size_complement, geometry)) {
        return rv_error_set(error, -EUCLEAN,
                            "damaged: its two sizes disagree, or cannot be: "
                            "%" PRIu64 " and %" PRIu64,
                            size, ~header->size_complement);
    }
    if (file_bytes < geometry->heap + size) {
        return rv_error_set(error, -EUCLEAN,
                            "short: the file has %" PRIu64
                            " bytes, and should have %" PRIu64,
                            file_bytes, geometry->heap + size);
    }
    return 0;
}

int
rv_zone_read_info(int fd, struct rv_zone_info *info, struct rv_error *error)
{
    struct rv__header *header = rv__header_create();
    if (!header) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    struct rv__geometry geometry = {0};
    int rc = rv__zone_read(fd, header, &geometry, error);
    if (!rc) {
        rv__info_init(info, header, &geometry);
    }
    free(header);
    return rc;
}

/* The size that 'header' and the file agree on.  While the words of the size
 * are torn the file's length tells, for it is always made longer first. */
static uint64_t
present_size(const struct rv__header *header,
             const struct rv__geometry *geometry, uint64_t file_bytes)
{
    if (rv__size_is_valid(header->size_bytes, header->size_complement,
                          geometry)) {
        return header->size_bytes;
    }
    return file_bytes < geometry->heap ? 0 : file_bytes - geometry->heap;
}

static int
grow(int fd, const struct rv__header *header,
     const struct rv__geometry *geometry, uint64_t file_bytes,
     uint64_t size_bytes, struct rv_error *error)
{
    uint64_t present = present_size(header, geometry, file_bytes);
    if (size_bytes < present || size_bytes > geometry->max_size_bytes
        || !size_bytes) {
        return rv_error_set(error, -ERANGE,
                            "size %" PRIu64 ": the zone has %" PRIu64
                            " bytes, may have %" PRIu64
                            ", and does not shrink by growing",
                            size_bytes, present, geometry->max_size_bytes);
    }
    uint64_t bytes = geometry->heap + size_bytes;
    if (file_bytes < bytes && ftruncate(fd, (off_t)bytes)) {
        return rv_error_errno(error, -errno, "%" PRIu64 " bytes", bytes);
    }
    const uint64_t words[] = {size_bytes, ~size_bytes};
    int rc = write_at(fd, words, sizeof words,
                      offsetof(struct rv__header, size_bytes));
    return rc ? rv_error_errno(error, rc, "size") : 0;
}

int
rv_zone_grow(int fd, uint64_t size_bytes, struct rv_error *error)
{
    struct rv__header *header = rv__header_create();
    if (!header) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    struct rv__geometry geometry = {0};
    uint64_t file_bytes = 0;
    int rc = read_header(fd, header, &geometry, &file_bytes, error);
    if (!rc) {
        uint64_t wanted = size_bytes > RV_ZONE_SIZE_MAX_BYTES
                              ? size_bytes
                              : whole_pages(size_bytes);
        rc = grow(fd, header, &geometry, file_bytes, wanted, error);
    }
    free(header);
    return rc;
}
