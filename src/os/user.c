#include "os/user.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int
rv_user_find_block(const char *name, const char *group, struct rv_user *user,
                   struct rv_error *error)
{
    struct rv_user found = {.uid = geteuid(), .gid = getegid(), .name = NULL};
    const struct passwd *entry = name ? getpwnam(name) : NULL;
    if (name && !entry) {
        return rv_error_set(error, -ENOENT, "there is no user \"%s\"", name);
    }
    if (entry) {
        found.uid = entry->pw_uid;
        found.gid = entry->pw_gid;
    }
    const struct group *members = group ? getgrnam(group) : NULL;
    if (group && !members) {
        return rv_error_set(error, -ENOENT, "there is no group \"%s\"", group);
    }
    if (members) {
        found.gid = members->gr_gid;
    }
    if (name && !(found.name = strdup(name))) {
        return rv_error_errno(error, -ENOMEM, "user \"%s\"", name);
    }
    *user = found;
    return 0;
}

int
rv_user_parse_block(const char *text, struct rv_user *user,
                    struct rv_error *error)
{
    const char *colon = strchrnul(text, ':');
    const char *group = *colon && colon[1] ? colon + 1 : NULL;
    char *name = strndup(text, (size_t)(colon - text));
    if (!name) {
        return rv_error_errno(error, -ENOMEM, "user \"%s\"", text);
    }
    int rc = rv_user_find_block(*name ? name : NULL, group, user, error);
    free(name);
    return rc;
}

void
rv_user_deinit(struct rv_user *user)
{
    free(user->name);
    user->name = NULL;
}

/* Reduces the capabilities to 'keep': the kernel's two words of 32 bits. */
static int
set_capabilities(uint64_t keep)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
        .pid = 0,
    };
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &header, sets)) {
        return -errno;
    }
    for (int i = 0; i < 2; i++) {
        sets[i].permitted &= (uint32_t)(keep >> (32 * i));
        sets[i].effective = sets[i].permitted;
        sets[i].inheritable = 0;
    }
    return syscall(SYS_capset, &header, sets) ? -errno : 0;
}

static int
set_groups(const struct rv_user *user)
{
    int rc =
        user->name ? initgroups(user->name, user->gid) : setgroups(0, NULL);
    return rc || setgid(user->gid) ? -errno : 0;
}

int
rv_user_become(const struct rv_user *user, uint64_t keep,
               struct rv_error *error)
{
    int rc = set_groups(user);
    if (rc) {
        return rv_error_errno(error, rc, "cannot switch to group %u",
                              (unsigned int)user->gid);
    }
    if (keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)) {
        return rv_error_errno(error, -errno, "cannot keep capabilities");
    }
    if (setuid(user->uid)) {
        return rv_error_errno(error, -errno, "cannot switch to user %s",
                              user->name ? user->name : "of the start");
    }
    rc = keep && user->uid ? set_capabilities(keep) : 0;
    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
    return rc ? rv_error_errno(error, rc, "cannot keep capabilities") : 0;
}
