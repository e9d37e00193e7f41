/* Futexes, the robust list of a thread, and membarrier.
 *
 * Room: os.  Source: futex(2), get_robust_list(2), membarrier(2).
 */
#ifndef RV_OS_FUTEX_H
#define RV_OS_FUTEX_H

#include <linux/futex.h>
#include <stdint.h>

#include "reeve/base.h"

/* Sleeps while '*word' is 'expected', at most 'timeout_ms'; other processes
 * may wake it.  0 when woken (perhaps for nothing), -EAGAIN when the word is
 * another, -ETIMEDOUT, -EINTR. */
int rv_futex_wait_block(uint32_t *word, uint32_t expected, int timeout_ms);

/* Wakes up to 'n' sleepers; returns how many there were. */
int rv_futex_wake(uint32_t *word, int n);

/* The calling thread's head, in which the kernel looks for futexes to mark
 * when the thread ends.  It belongs to the C library; its 'list_op_pending'
 * is free for others while no robust pthread mutex is being worked on. */
int rv_robust_list_get(struct robust_list_head **headp) RV_MUST_CHECK;

/* Makes this process one that rv_membarrier reaches. */
int rv_membarrier_register(void) RV_MUST_CHECK;

/* A full memory barrier on every thread of all processes that registered. */
int rv_membarrier(void);

#endif
