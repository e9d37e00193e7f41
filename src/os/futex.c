#include "os/futex.h"

#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
rv_futex_wait_block(uint32_t *word, uint32_t expected, int timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000,
                               timeout_ms % 1000 * 1000000L};
    return syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0)
               ? -errno
               : 0;
}

int
rv_futex_wake(uint32_t *word, int n)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
    return woken < 0 ? 0 : (int)woken;
}

int
rv_robust_list_get(struct robust_list_head **headp)
{
    struct robust_list_head *head = NULL;
    size_t length = 0;
    if (syscall(SYS_get_robust_list, 0, &head, &length)) {
        return -errno;
    }
    if (!head || length != sizeof *head) {
        return -ENOSYS;
    }
    *headp = head;
    return 0;
}

static int
membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) ? -errno : 0;
}

int
rv_membarrier_register(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

int
rv_membarrier(void)
{
    return membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}
