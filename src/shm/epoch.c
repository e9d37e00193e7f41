#include "shm/epoch.h"

#include <time.h>

#include "os/boot.h"
#include "reeve/tx.h"
#include "shm/dict.h"

enum { EPOCH_WORDS = 2 };

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

/* The number of the boot is stored last, and readers look at it first: it says
 * that the epoch is the one of this boot. */
static uint64_t
set_epoch(struct rv_zone *zone, uint64_t boot)
{
    struct rv__header *header = rv__header_of(zone);
    uint64_t epoch = next_epoch(header->epoch_ms);
    if (!zone->tid || rv_tx_try_begin(zone, &header->root_lock, EPOCH_WORDS)) {
        return epoch;
    }
    if (header->boot == boot) {
        epoch = header->epoch_ms;
    } else {
        rv_tx_set64(zone, &header->epoch_ms, epoch);
        rv__store_fence();
        rv_tx_set64(zone, &header->boot, boot);
    }
    rv_tx_commit(zone);
    return epoch;
}

void
rv__epoch_open(struct rv_zone *zone)
{
    const struct rv__header *header = rv__header_of(zone);
    uint64_t boot = rv_boot_number();
    uint64_t known = __atomic_load_n(&header->boot, __ATOMIC_ACQUIRE);
    zone->mapping->epoch_ms =
        known == boot || boot == 0 ? header->epoch_ms : set_epoch(zone, boot);
}

int64_t
rv__epoch_now_ms(void *epoch_ms)
{
    const uint64_t *epoch = epoch_ms;
    uint64_t now_ms = *epoch + clock_ms(CLOCK_BOOTTIME);
    return (int64_t)(now_ms & INT64_MAX); /* Of a damaged zone, too. */
}
