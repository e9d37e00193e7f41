/* Design
 *
 * Once a boot: the lock, the dead, the epoch, and last the number of the boot,
 * which tells all others that the rest is done.  Whoever is killed before that
 * leaves it to the next, who does it all again, which changes nothing.
 *
 * The lock belongs to an open file description, so it needs one of its own:
 * the one that 'fd' names is often shared by all workers of a service.  Who
 * may not open the file anew, a worker of another user, takes one that belongs
 * to the process instead; the two exclude each other.  It does not exclude
 * threads of that one process: what they do here twice is the same, and a slot
 * that one of them took says so before it says whose it is. */
#include "shm/epoch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "os/boot.h"
#include "os/fd.h"
#include "shm/dict.h"
#include "shm/member.h"

enum { TRIES = 1000, PAUSE_MS = 2 };

static uint64_t
clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* What follows 'last', the epoch of an earlier boot; 0: there was none. */
static uint64_t
next_epoch(uint64_t last)
{
    uint64_t epoch = clock_ms(CLOCK_REALTIME) - clock_ms(CLOCK_BOOTTIME);
    return epoch < last ? last : epoch;
}

/* A description of the file that only the caller has; -1: it may not. */
static int
open_own(int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
}

static int
set_lock(int own_fd, int fd, short type)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = RV__EPOCH_LOCK_AT,
                         .l_len = 1};
    int rc = own_fd >= 0 ? fcntl(own_fd, F_OFD_SETLK, &lock)
                         : fcntl(fd, F_SETLK, &lock);
    return rc == 0 ? 0 : errno == EACCES ? -EAGAIN : -errno;
}

static int
lock_block(int own_fd, int fd)
{
    struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    int rc = set_lock(own_fd, fd, F_WRLCK);
    for (int i = 0; rc == -EAGAIN && i < TRIES; i++) {
        nanosleep(&pause, NULL);
        rc = set_lock(own_fd, fd, F_WRLCK);
    }
    return rc;
}

/* What is done once a boot, by whoever has the lock. */
static void
enter(struct rv__mapping *mapping, uint64_t boot)
{
    struct rv_zone zone = {.base = mapping->base,
                           .mapping = mapping,
                           .mutable_begin =
                               offsetof(struct rv__header, root_lock)};
    struct rv__header *header = rv__header_of(&zone);
    if (mapping->boot) {
        rv__member_end_former(&zone);
    }
    __atomic_store_n(&header->epoch_ms, next_epoch(header->epoch_ms),
                     __ATOMIC_RELAXED);
    __atomic_store_n(&header->boot, boot, __ATOMIC_RELEASE);
}

static bool
is_of(const struct rv__mapping *mapping, uint64_t boot)
{
    const struct rv__header *header = (const void *)mapping->base;
    return __atomic_load_n(&header->boot, __ATOMIC_ACQUIRE) == boot;
}

static int
enter_block(struct rv__mapping *mapping, int fd, uint64_t boot,
            struct rv_error *error)
{
    int own_fd = open_own(fd);
    int rc = lock_block(own_fd, fd);
    if (!rc && !is_of(mapping, boot)) {
        enter(mapping, boot);
    }
    if (!rc) {
        set_lock(own_fd, fd, F_UNLCK);
    }
    rv_fd_close(&own_fd);
    if (rc == -EAGAIN) {
        return rv_error_set(error, -EBUSY,
                            "another process has the lock under which the "
                            "first after a boot attaches; try again");
    }
    return rc ? rv_error_errno(error, rc, "lock of the file") : 0;
}

int
rv__epoch_open(struct rv__mapping *mapping, int fd, struct rv_error *error)
{
    const struct rv__header *header = (const void *)mapping->base;
    bool is_machines = false;
    uint64_t boot = rv_boot_number(&is_machines);
    mapping->boot = is_machines ? boot : 0;
    if (boot && !mapping->is_read_only && !is_of(mapping, boot)) {
        int rc = enter_block(mapping, fd, boot, error);
        if (rc) {
            return rc;
        }
    }
    mapping->epoch_ms = boot == 0 || is_of(mapping, boot)
                            ? header->epoch_ms
                            : next_epoch(header->epoch_ms);
    return 0;
}

int64_t
rv__epoch_now_ms(void *epoch_ms)
{
    const uint64_t *epoch = epoch_ms;
    uint64_t now_ms = *epoch + clock_ms(CLOCK_BOOTTIME);
    return (int64_t)(now_ms & INT64_MAX); /* Of a damaged zone, too. */
}
