/* What the stores harness plays of the kernel and of the C library. */
#ifndef RV_TORTURE_KERNEL_SIM_H
#define RV_TORTURE_KERNEL_SIM_H

#include "shm/life.h"

/* The life word of the harness: one store changes it. */
struct life_sim {
    uint32_t holder;     /* A thread id, or LIFE_SIM_DEAD. */
    uint32_t is_settled; /* Unless its former holder died. */
};

#define LIFE_SIM_DEAD UINT32_C(0x40000000)

/* The thread that runs now, and where the kernel finds its pending slot; of
 * the harness. */
uint32_t sim_thread_id(void);
struct robust_list_head *sim_robust_list(void);

/* A sleep, with nobody left to wake it, or a misuse of a life word. */
void sim_fail(const char *what) RV_NORETURN;

#endif
