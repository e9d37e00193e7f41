/* Reading a zone's header without mapping it.
 *
 * Room: shm.
 */
#ifndef RV_SHM_FORMAT_H
#define RV_SHM_FORMAT_H

#include "shm/layout.h"

/* Reads and checks the header of 'fd' and its length, as rv_zone_read_info
 * does. */
int rv__zone_read(int fd, struct rv__header *header,
                  struct rv__geometry *geometry, struct rv_error *error)
    RV_MUST_CHECK;

#endif
