/* Which run of the machine this is.
 *
 * Room: os.  Blocks: never.  Source: random(4), boot_id.
 */
#ifndef RV_OS_BOOT_H
#define RV_OS_BOOT_H

#include <stdint.h>

/* A number that is the same for all processes from one boot of the machine to
 * the next, and then another; 0 where /proc does not tell. */
uint64_t rv_boot_number(void);

#endif
