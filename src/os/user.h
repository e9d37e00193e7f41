/* Users and groups: from names to numbers, and becoming someone else.
 *
 * Room: os.  Blocks: rv_user_find_block(), as long as the name service does.
 * Source: getpwnam(3), setuid(2), credentials(7), capabilities(7).
 *
 *     struct rv_user user;
 *     rc = rv_user_find_block("nobody", NULL, &user, &error);
 *     rc = rv_user_become(&user, 0, &error);
 *     rv_user_deinit(&user);
 */
#ifndef RV_OS_USER_H
#define RV_OS_USER_H

#include <stdint.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/error.h"

struct rv_user {
    uid_t uid;
    gid_t gid;
    char *name; /* Owned; NULL: no user was named. */
};

/* Looks up 'name' (NULL: who we are) and 'group' (NULL: the user's own).
 * -ENOENT with a sentence for an unknown name, -ENOMEM. */
int rv_user_find_block(const char *name, const char *group,
                       struct rv_user *user, struct rv_error *error)
    RV_MUST_CHECK;

/* As rv_user_find_block, of the text USER[:GROUP] or :GROUP. */
int rv_user_parse_block(const char *text, struct rv_user *user,
                        struct rv_error *error) RV_MUST_CHECK;

/* Frees.  Idempotent. */
void rv_user_deinit(struct rv_user *user);

/* Becomes 'user' for good, with all its groups, in a process with one thread;
 * of the capabilities that it has it keeps those in 'keep' (bits as in
 * capabilities(7)) and loses the others.  After a failure the process is
 * neither one nor the other and should end.  Errors as setuid(2). */
int rv_user_become(const struct rv_user *user, uint64_t keep,
                   struct rv_error *error) RV_MUST_CHECK;

#endif
