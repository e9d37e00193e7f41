/* Members' slots: taking, giving back, and adopting those of the dead.
 *
 * Room: shm.
 */
#ifndef RV_SHM_MEMBER_H
#define RV_SHM_MEMBER_H

#include "shm/handle.h"

/* Takes a slot for 'zone', whose base, mapping, tid, pid, pid_namespace and
 * robust are set, and sets its member and index.  May wait for the lock that a
 * dead member held.
 * -EAGAIN: none is free; -EXDEV: a living member is of another pid namespace.
 */
int rv__member_take(struct rv_zone *zone) RV_MUST_CHECK;

/* Gives the slot of 'zone' back; no transaction is open.  False: what is
 * mapped must stay so, as rv__life_release says. */
bool rv__member_release(struct rv_zone *zone);

/* Puts slot 'index' in order and frees it, if its member died: 1, else 0.
 * Never in a transaction; may wait for locks. */
int rv__member_heal(struct rv_zone *zone, uint32_t index);

/* Puts the slots in order whose members the kernel has marked as dead, with no
 * system call and no look at the others; how many, or an error as
 * rv_zone_heal. */
int rv__member_heal_marked(struct rv_zone *zone);

/* Has the members of former boots of the machine count as dead, and so the
 * locks that they held.  'zone' need not be a member's; the caller sees to it
 * that no other process does the same meanwhile.  It may be done again after a
 * death in the middle of it. */
void rv__member_end_former(struct rv_zone *zone);

/* Whether some slot is that of thread 'tid', alive. */
bool rv__member_is_living(struct rv_zone *zone, uint32_t tid);

#endif
