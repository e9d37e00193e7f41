/* Members' slots: taking, giving back, and adopting those of the dead.
 *
 * Room: shm.
 */
#ifndef RV_SHM_MEMBER_H
#define RV_SHM_MEMBER_H

#include "shm/handle.h"

/* Takes a slot for 'zone', whose base, mapping, tid, pid, pid_namespace and
 * robust are set, and sets its member and index.  May wait for the lock that a dead member held.
 * -EAGAIN: none is free; -EXDEV: a living member is of another pid namespace.
 */
int rv__member_take(struct rv_zone *zone) RV_MUST_CHECK;

/* Gives the slot of 'zone' back; no transaction is open. */
void rv__member_release(struct rv_zone *zone);

/* Puts slot 'index' in order and frees it, if its member died: 1, else 0.
 * Never in a transaction; may wait for locks. */
int rv__member_heal(struct rv_zone *zone, uint32_t index);

/* Whether some slot is that of thread 'tid', alive. */
bool rv__member_is_living(struct rv_zone *zone, uint32_t tid);

#endif
