/* What a zone knows of boots of the machine: the time in it, by which its
 * dicts expire, and that members of former boots are dead.
 *
 * Room: shm.  Source: clock_gettime(2), fcntl(2).
 *
 * No clock of the system will do.  CLOCK_BOOTTIME begins anew with each boot,
 * and a zone in a file may live longer than one; CLOCK_REALTIME is set, now
 * forward, now back.  So the time in a zone is CLOCK_BOOTTIME plus an epoch
 * that stands in its header: the real time at which the machine booted, as the
 * first member that came since then found it.  It goes evenly while the
 * machine runs, and as real time does from one boot to the next.
 *
 * An epoch is never below the one before, for the real time may be wrong after
 * a boot, too: the time in a zone goes back to the boot before at most.
 *
 * The first member also ends those of former boots (rv__member_end_former),
 * of which no kernel says that they died.  It holds a lock on the file
 * meanwhile, an advisory one of fcntl(2) that ends with its holder, and those
 * who attach at that time wait for it.
 */
#ifndef RV_SHM_EPOCH_H
#define RV_SHM_EPOCH_H

#include "reeve/error.h"
#include "shm/handle.h"

/* The one byte of the file that the lock is on, far behind its end. */
#define RV__EPOCH_LOCK_AT (INT64_C(1) << 62)

/* Has the epoch, and which boot it is, at hand for all handles of 'mapping',
 * that of 'fd' (borrowed), before the first of them is made.  What the first
 * member of a boot does is done when it returns, by the caller if need be; a
 * read-only handle that comes before goes by what that will set.  Blocks at
 * most some 2 s, while another process has the lock, and then -EBUSY; as
 * fcntl(2). */
int rv__epoch_open(struct rv__mapping *mapping, int fd, struct rv_error *error)
    RV_MUST_CHECK;

/* Milliseconds in the zone, of whose mapping 'epoch_ms' is given. */
int64_t rv__epoch_now_ms(void *epoch_ms);

#endif
