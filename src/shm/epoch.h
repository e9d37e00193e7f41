/* The time in a zone, by which its dicts expire.
 *
 * Room: shm.  Blocks: never.  Source: clock_gettime(2).
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
 */
#ifndef RV_SHM_EPOCH_H
#define RV_SHM_EPOCH_H

#include "shm/handle.h"

/* Has the epoch of 'zone' at hand for all handles of its mapping.  The first
 * member since the boot sets it; a read-only handle, or one that finds the
 * root lock taken, that comes before goes by what the member is about to set.
 */
void rv__epoch_open(struct rv_zone *zone);

/* Milliseconds in the zone, of whose mapping 'epoch_ms' is given. */
int64_t rv__epoch_now_ms(void *epoch_ms);

#endif
