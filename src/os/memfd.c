#include "os/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

int
rv_memfd_open(const char *name, int *fdp)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    *fdp = fd;
    return 0;
}

int
rv_memfd_seal_size(int fd)
{
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) ? -errno : 0;
}
