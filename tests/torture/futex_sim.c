/* In place of os/futex.c: nobody sleeps, for nobody would wake him. */
#include "os/futex.h"

#include "kernel_sim.h"

int
rv_futex_wait_block(uint32_t *word, uint32_t expected, int timeout_ms)
{
    (void)word;
    (void)expected;
    (void)timeout_ms;
    sim_fail("a lock that nobody alive holds is waited for");
}

int
rv_futex_wake(uint32_t *word, int n)
{
    (void)word;
    (void)n;
    return 0;
}

int
rv_robust_list_get(struct robust_list_head **headp)
{
    *headp = sim_robust_list();
    return 0;
}

int
rv_membarrier_register(void)
{
    return 0;
}

int
rv_membarrier(void)
{
    return 0;
}
