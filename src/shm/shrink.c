/* Makes a zone's heap shorter.  The file keeps its length, for a memfd of a
 * zone is sealed against more; what lies behind the heap becomes a hole.
 *
 * First the size, then the hole: whoever is killed in between leaves memory
 * that is in use for nothing, and no hole in what is in use. */
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
    uint64_t begin = geometry->heap + size_bytes;
    if (present > size_bytes
        && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t)begin, (off_t)(present - size_bytes))) {
        /* Some file systems know no holes: the memory stays. */
        rc = errno == EOPNOTSUPP ? 0 : -errno;
    }
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
