/* In place of shm/life.c, and compiled with the hooks: taking and giving back
 * a life word is one store here, as it is for those who look on. */
#include <errno.h>
#include <string.h>

#include "kernel_sim.h"

_Static_assert(sizeof(struct life_sim) == sizeof(uint64_t), "one store");

static void
store(struct rv__life *life, uint32_t holder, uint32_t is_settled)
{
    struct life_sim word = {holder, is_settled};
    uint64_t value;
    memcpy(&value, &word, sizeof value);
    __atomic_store_n((uint64_t *)(void *)life, value, __ATOMIC_RELAXED);
}

int
rv__life_init(struct rv__life *life)
{
    memset(life, 0, sizeof *life);
    return 0;
}

int
rv__life_try(struct rv__life *life)
{
    const struct life_sim *word = (const void *)life;
    uint32_t holder = word->holder;
    if (holder && holder != LIFE_SIM_DEAD) {
        return -EBUSY;
    }
    store(life, sim_thread_id(), holder == 0);
    return holder ? RV__LIFE_WAS_DEAD : 0;
}

bool
rv__life_is_dead(const struct rv__life *life)
{
    const struct life_sim *word = (const void *)life;
    return word->holder == LIFE_SIM_DEAD;
}

bool
rv__life_bury(struct rv__life *life RV_UNUSED, uint32_t pid RV_UNUSED,
              uint32_t tid RV_UNUSED)
{
    return false; /* No simulated thread calls exec. */
}

bool
rv__life_end(struct rv__life *life RV_UNUSED, uint32_t tid RV_UNUSED)
{
    sim_fail("a boot of the machine, of which there is one");
}

bool
rv__life_is_intact(const struct rv__life *life RV_UNUSED)
{
    return true;
}

bool
rv__life_is_of(const struct rv__life *life, uint32_t tid)
{
    return ((const struct life_sim *)(const void *)life)->holder == tid;
}

void
rv__life_settle(struct rv__life *life)
{
    store(life, sim_thread_id(), 1);
}

bool
rv__life_release(struct rv__life *life)
{
    const struct life_sim *word = (const void *)life;
    if (word->holder != sim_thread_id() || !word->is_settled) {
        sim_fail("a life word is released by another, or unsettled");
    }
    store(life, 0, 0);
    return true;
}
