#include "shm/move.h"

/* What a log tells of a move, once nothing in it leads astray. */
struct told {
    struct rv__magazine *magazine;
    uint32_t thing;
    uint64_t *place;
};

/* A move that cannot have been logged is left out: a stray write made it. */
static bool
read_move(const struct rv_zone *zone, struct rv__log *log, bool is_out,
          struct told *told)
{
    size_t before = offsetof(struct rv__member, log);
    struct rv__member *member =
        (struct rv__member *)(void *)((char *)log - before);
    uint64_t offset = log->move.where >> RV__MOVE_CLASS_BITS;
    uint32_t size_class = (uint32_t)(log->move.where & RV__MOVE_CLASS);
    uint32_t i = (uint32_t)(log->move.word & RV__MAGAZINE_COUNT) - is_out;
    if (size_class >= RV_SLAB_CLASSES || i >= RV__MAGAZINE_ITEMS
        || offset - zone->mutable_begin >= zone->n_mutable
        || offset % sizeof(uint64_t) != 0) {
        return false;
    }
    told->magazine = rv__move_magazine(member, size_class);
    told->thing = told->magazine->items[i];
    told->place = (uint64_t *)(void *)(zone->base + offset);
    return told->thing < zone->slab.n_things;
}

void
rv__move_undo(const struct rv_zone *zone, struct rv__log *log, uint64_t head)
{
    struct told told;
    bool is_out = head == RV__HEAD_OUT;
    if (!read_move(zone, log, is_out, &told)) {
        return;
    }
    uint64_t offset = zone->slab.heap + (uint64_t)told.thing * RV__THING_BYTES;
    __atomic_store_n(told.place, is_out ? 0 : offset, __ATOMIC_RELEASE);
    __atomic_store_n(&zone->slab.states[told.thing],
                     is_out ? RV__THING_HELD : RV__THING_USED,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&told.magazine->word, log->move.word, __ATOMIC_RELAXED);
}
