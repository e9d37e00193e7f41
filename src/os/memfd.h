/* Memory files that grow and never shrink.
 *
 * Room: os.  Source: memfd_create(2), fcntl(2).
 */
#ifndef RV_OS_MEMFD_H
#define RV_OS_MEMFD_H

#include "reeve/base.h"

/* Creates an empty memory file that may be sealed; the caller owns '*fdp'. */
int rv_memfd_open(const char *name, int *fdp) RV_MUST_CHECK;

/* From now on nobody shrinks the file, and nobody adds a seal that would stop
 * it from growing or being written. */
int rv_memfd_seal_size(int fd) RV_MUST_CHECK;

#endif
