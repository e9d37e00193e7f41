/* Makes a zone's heap shorter.  The file keeps its length, for a memfd of a
 * zone is sealed against more; what lies behind the heap becomes a hole, and
 * so do the states of the objects that were there: zeros say nothing.
 *
 * First the size, then the holes: whoever is killed in between leaves memory
 * that is in use for nothing, until the next who shrinks, and no hole in what
 * is in use. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "shm/format.h"

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
    int rc = write_size(fd, size_bytes);
    if (rc) {
        return rv_error_errno(error, rc, "size");
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
