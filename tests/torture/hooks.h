/* The runtime of -fsanitize=thread, replaced: a call before each store.
 *
 * Code that was compiled with -fsanitize=thread calls a function before each
 * load and store and in place of each atomic operation.  Linked with these
 * functions it does nothing with the loads, and tells of each store just
 * before it happens.  What memcpy and its like do goes unnoticed.
 */
#ifndef RV_TORTURE_HOOKS_H
#define RV_TORTURE_HOOKS_H

#include <stddef.h>

/* Called before 'n' bytes at 'place' are stored. */
void hook_store(const void *place, size_t n);

#endif
