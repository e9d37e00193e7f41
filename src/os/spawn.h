/* Starting another program.
 *
 * Room: os.  Blocks: until the program is executed, a fraction of a
 * millisecond but for a slow file system.  Source: posix_spawn(3).
 *
 * No memory is copied, however large the caller is; the errors of exec come
 * back as the return value and leave no process behind.
 *
 *     const char *const arguments[] = {"sort", "-u", NULL};
 *     struct rv_spawn spawn = {.arguments = arguments, .fds = {in, out, -1}};
 *     rc = rv_spawn_start(&spawn, &pid, &pidfd, &error);
 */
#ifndef RV_OS_SPAWN_H
#define RV_OS_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/error.h"

struct rv_spawn {
    const char *const *arguments;   /* The first is searched in PATH; NULL. */
    const char *const *environment; /* NULL: ours. */
    const char *directory;          /* NULL: ours. */
    int fds[3];     /* Borrowed: what becomes 0, 1 and 2; -1: /dev/null. */
    bool own_group; /* A process group of its own, with its pid. */
};

/* Starts the program with these three descriptors and no others, all signals
 * at their defaults and unblocked.  The caller owns '*pidfdp' and has to
 * collect the child.  -ENOENT, -EACCES, -ENOEXEC ... with a sentence. */
int rv_spawn_start(const struct rv_spawn *spawn, pid_t *pidp, int *pidfdp,
                   struct rv_error *error) RV_MUST_CHECK;

#endif
