#include "os/boot.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "os/fd.h"

/* FNV-1a of the text, a random identifier. */
uint64_t
rv_boot_number(bool *is_machinesp)
{
    struct statfs status;
    unsigned char text[64];
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    *is_machinesp =
        n > 0 && !fstatfs(fd, &status) && status.f_type == PROC_SUPER_MAGIC;
    rv_fd_close(&fd);
    for (ssize_t i = 0; i < n; i++) {
        hash = (hash ^ text[i]) * UINT64_C(0x100000001b3);
    }
    return n > 0 ? hash | 1 : 0;
}
