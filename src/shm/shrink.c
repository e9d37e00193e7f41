/* Makes a zone's heap shorter.  The file keeps its length, for a memfd of a
 * zone is sealed against more; what lies behind the heap becomes a hole, and
 * so do the states of the objects that were there: zeros say nothing.
 *
 * First the size, then the holes: whoever is killed in between leaves memory
 * that is in use for nothing, until the next who shrinks, and no hole in what
 * is in use; or, if another gave the pages back just then, a size that is too
 * short for what they hold by now, which growing to the old one mends.
 *
 * Somebody took those pages out of use before (rv_slab_trim_tail), and another
 * may give them back at any time: one who makes the zone bigger, say.  No lock
 * keeps them apart, for whoever owns the file waits for nobody.  Instead the
 * limit up to which members take pages is looked at once more after the size
 * is stored.  If it still stands, none of the pages is in use, nor will be:
 * who lifts it later gives members no more than the size that they see then,
 * which is the new one.  If it does not, the old size is put back.  The look
 * before that spares members the sight of a size that is not to be. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "shm/format.h"
#include "shm/shelf.h"

static int
write_size(int fd, uint64_t size_bytes)
{
    const uint64_t words[] = {size_bytes, ~size_bytes};
    ssize_t n;
    do {
        n = pwrite(fd, words, sizeof words,
                   offsetof(struct rv__header, size_bytes));
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n == (ssize_t)sizeof words ? 0 : -EIO;
}

static int
punch(int fd, uint64_t begin, uint64_t end)
{
    if (begin < end
        && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t)begin, (off_t)(end - begin))) {
        /* Some file systems know no holes: the memory stays. */
        return errno == EOPNOTSUPP ? 0 : -errno;
    }
    return 0;
}

/* The pages behind the first 'n', and the states of the objects in them. */
static int
punch_behind(int fd, uint64_t n, const struct rv__geometry *geometry)
{
    uint64_t states = geometry->states + n * RV__STATES_BYTES;
    uint64_t pages = geometry->heap + n * RV_ZONE_PAGE_BYTES;
    int rc = punch(fd, states, geometry->heap);
    return rc ? rc : punch(fd, pages, geometry->end);
}

/* Whether members take no page from the first 'n' on: -EBUSY. */
static int
check_limit(int fd, uint64_t n, struct rv_error *error)
{
    struct rv__page_map map;
    off_t at = (off_t)(offsetof(struct rv__header, slab)
                       + offsetof(struct rv__slab, map));
    if (pread(fd, &map, sizeof map, at) != (ssize_t)sizeof map) {
        return rv_error_set(error, -EIO, "cannot read the page map");
    }
    if (!map.limit_pages || map.limit_pages > n || map.n_pages > n) {
        return rv_error_set(error, -EBUSY,
                            "the pages that would go are in use, or may come "
                            "into use: another resizes it, too; try again");
    }
    return 0;
}

/* Stores the shorter size, unless a page behind it may be in use. */
static int
set_size(int fd, uint64_t present, uint64_t size_bytes, struct rv_error *error)
{
    uint64_t n = size_bytes / RV_ZONE_PAGE_BYTES;
    int rc = check_limit(fd, n, error);
    if (rc) {
        return rc;
    }
    rc = write_size(fd, size_bytes);
    if (rc) {
        return rv_error_errno(error, rc, "size");
    }
    __sync_synchronize(); /* Who lifts it does so before it sees the size. */
    rc = check_limit(fd, n, error);
    if (rc && write_size(fd, present)) {
        rv_error_wrap(error, "the size is lost");
    }
    return rc;
}

static int
shrink(int fd, uint64_t present, uint64_t size_bytes,
       const struct rv__geometry *geometry, struct rv_error *error)
{
    if (!size_bytes || size_bytes > present) {
        return rv_error_set(error, -ERANGE,
                            "size %" PRIu64 ": the zone has %" PRIu64
                            " bytes, and does not grow by shrinking",
                            size_bytes, present);
    }
    int rc = size_bytes < present ? set_size(fd, present, size_bytes, error)
                                  : 0; /* Only the holes. */
    if (rc) {
        return rc;
    }
    rc = punch_behind(fd, size_bytes / RV_ZONE_PAGE_BYTES, geometry);
    return rc ? rv_error_errno(error, rc, "hole") : 0;
}

int
rv_zone_shrink(int fd, uint64_t size_bytes, struct rv_error *error)
{
    struct rv__header *header = rv__header_create();
    if (!header) {
        return rv_error_set(error, -ENOMEM, "out of memory");
    }
    struct rv__geometry geometry;
    int rc = rv__zone_read(fd, header, &geometry, error);
    if (!rc) {
        uint64_t pages = size_bytes / RV_ZONE_PAGE_BYTES
                         + (size_bytes % RV_ZONE_PAGE_BYTES != 0);
        rc = shrink(fd, header->size_bytes, pages * RV_ZONE_PAGE_BYTES,
                    &geometry, error);
    }
    free(header);
    return rc;
}
