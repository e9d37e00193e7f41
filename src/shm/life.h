/* Life words: how members learn that another died.
 *
 * Room: shm.  Blocks: never.  Source: pthread_mutexattr_setrobust(3).
 *
 * A member's thread holds its life word, a robust process-shared mutex, as
 * long as it takes part.  When the thread ends, of whatever, the kernel marks
 * the word, and the next who tries it gets it.
 */
#ifndef RV_SHM_LIFE_H
#define RV_SHM_LIFE_H

#include <pthread.h>
#include <stdbool.h>

#include "reeve/base.h"
#include "shm/layout.h"

struct rv__life {
    pthread_mutex_t mutex;
    unsigned char reserved[RV__LIFE_BYTES - sizeof(pthread_mutex_t)];
};

_Static_assert(sizeof(struct rv__life) == RV__LIFE_BYTES, "layout");

/* A life word that nobody holds, as format writes it. */
int rv__life_init(struct rv__life *life) RV_MUST_CHECK;

enum { RV__LIFE_WAS_DEAD = 1 };

/* Takes the word.  0: it was free; RV__LIFE_WAS_DEAD: its holder died, and
 * remains dead to others until rv__life_settle; -EBUSY: its holder lives;
 * -EUCLEAN: the word is damaged. */
int rv__life_try(struct rv__life *life) RV_MUST_CHECK;

/* Whether the kernel has marked the word: its holder died, and nobody has
 * settled it.  Only looks. */
bool rv__life_is_dead(const struct rv__life *life);

/* Marks the word as the kernel does when its holder dies, if the thread 'tid'
 * of process 'pid' holds it by its word, but is there no more; whether it was
 * so.  The kernel itself misses one end: a thread other than its process's
 * first that calls execve(2) takes over the first one's number before the
 * kernel looks for what it holds, and so finds nothing. */
bool rv__life_bury(struct rv__life *life, uint32_t pid, uint32_t tid);

/* Marks the word so if the thread 'tid' holds it by its word, whether there is
 * such a thread now or not, as when the one meant was there in another boot of
 * the machine; whether it was so. */
bool rv__life_end(struct rv__life *life, uint32_t tid);

/* Whether the word is one that rv__life_init made, whoever holds it. */
bool rv__life_is_intact(const struct rv__life *life);

/* Whether the thread 'tid' holds the word, by what the word says. */
bool rv__life_is_of(const struct rv__life *life, uint32_t tid);

/* What the dead holder left is in order now. */
void rv__life_settle(struct rv__life *life);

/* Gives the word back; by the thread that took it, after settling.  False: it
 * cannot be, for a stray write broke it out of the C library's list of what
 * the thread holds; its memory must stay mapped as long as the thread is. */
bool rv__life_release(struct rv__life *life);

#endif
