/* Which run of the machine this is.
 *
 * Room: os.  Blocks: never.  Source: random(4), boot_id.
 */
#ifndef RV_OS_BOOT_H
#define RV_OS_BOOT_H

#include <stdbool.h>
#include <stdint.h>

/* A number that is the same for all processes from one boot of the machine to
 * the next, and then another; 0 where /proc does not tell.
 *
 * '*is_machinesp' is whether it is the kernel's.  Some run containers with a
 * file of their own in its place (systemd-nspawn does), and then two numbers
 * may be of one boot. */
uint64_t rv_boot_number(bool *is_machinesp);

#endif
