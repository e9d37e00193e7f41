/* The slab and the life of members: beginning, scarcity, death.
 *
 * Room: shm.  Blocks: for locks.
 */
#ifndef RV_SHM_GATHER_H
#define RV_SHM_GATHER_H

#include "shm/handle.h"

/* Makes the handle know the slab; again when its member is set. */
void rv__slab_open(struct rv_zone *zone);

/* Gives what the caller has in its hands back, but the reserves, when it is
 * to 'keep' them; and the spare chunks of all sizes. */
int rv__slab_return(struct rv_zone *zone, bool keep);

/* Memory is short: returns what the caller can spare, and heals the dead.  1:
 * something came of it, so that another try may succeed; 0: nothing did; or an
 * error.  Cheap while nothing does.  Of the dead it finds those at once that
 * the kernel has marked, the others once a second. */
int rv__slab_gather(struct rv_zone *zone);

/* Gives back what a dead member had in its hands.  The caller holds its life
 * word, and its log is settled.  An error is one for which others will find
 * the same; then the hands stay as they are. */
int rv__slab_adopt(struct rv_zone *zone, struct rv__member *member);

/* For a thread that takes a dead member's slot, its hands included, and has
 * none yet: undoes what an adopter that died left of them, by taking each of
 * the slab's locks once. */
void rv__slab_settle(struct rv_zone *zone);

#endif
