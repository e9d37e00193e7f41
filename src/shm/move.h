/* Moves: the private transactions of the slab's short ways.
 *
 * Room: shm.  Blocks: never.
 *
 * An object that goes from a magazine to a place, or back, always changes the
 * same three words: the magazine's, the object's state, and the place.  So the
 * log need not list them: its head says that there is a move, and which way,
 * and two words beside it what the rest follows from.
 *
 *     log.move = {the magazine's word, place and class};  head = OUT or IN;
 *     word = ...;  state = ...;  place = ...;             head = 0
 *
 * The object is the item that the old word counts last, or for one that comes
 * in, the one above: written before the head, and nobody's until then.  The
 * rest of what was is known: on the way out the place was 0 and the object
 * held, on the way in the place had its offset and it was used.
 */
#ifndef RV_SHM_MOVE_H
#define RV_SHM_MOVE_H

#include "shm/log.h"

enum {
    RV__MOVE_CLASS_BITS = 5, /* Below the place's offset in 'where'. */
    RV__MOVE_CLASS = (1 << RV__MOVE_CLASS_BITS) - 1,
};

_Static_assert(RV_SLAB_CLASSES <= RV__MOVE_CLASS + 1, "a class fits");

/* The member of 'zone' when it can begin a private transaction that changes
 * the word at 'offset', or NULL. */
static inline struct rv__member *
rv__move_member(const struct rv_zone *zone, uint64_t offset)
{
    struct rv__member *member = zone->idle;
    bool can = member && !rv__lock_is_pending(zone)
               && offset - zone->mutable_begin < zone->n_mutable
               && offset % sizeof(uint64_t) == 0;
    return __builtin_expect(can, 1) ? member : NULL;
}

static inline struct rv__magazine *
rv__move_magazine(struct rv__member *member, uint32_t size_class)
{
    struct rv__hands *hands = (struct rv__hands *)(void *)member->magazines;
    struct rv__magazine *magazine = &hands->magazines[size_class];
    /* The compiler is to keep it, not to compute it for each use anew. */
    __asm__("" : "+r"(magazine));
    return magazine;
}

/* Notes the move; from here on a death undoes it. */
static inline void
rv__move_begin(struct rv__log *log, uint64_t head, uint64_t word,
               uint64_t offset, uint32_t size_class)
{
    __atomic_store_n(&log->move.word, word, __ATOMIC_RELAXED);
    __atomic_store_n(&log->move.where,
                     offset << RV__MOVE_CLASS_BITS | size_class,
                     __ATOMIC_RELAXED);
    rv__barrier();
    __atomic_store_n(&log->head, head, __ATOMIC_RELAXED);
    rv__barrier();
}

static inline void
rv__move_commit(struct rv__log *log)
{
    rv__barrier();
    __atomic_store_n(&log->head, 0, __ATOMIC_RELAXED);
    rv__barrier();
}

/* The last of the magazine's objects, 'thing', goes to 'place', which is 0 and
 * lies at 'offset'; 'word' is the magazine's. */
static inline void
rv__move_out(const struct rv_zone *zone, struct rv__member *member,
             struct rv__magazine *magazine, uint32_t size_class, uint64_t word,
             uint32_t thing, uint64_t *place, uint64_t offset)
{
    rv__move_begin(&member->log, RV__HEAD_OUT, word, offset, size_class);
    __atomic_store_n(&magazine->word, word + RV__MAGAZINE_ALLOC - 1,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&zone->slab.states[thing], RV__THING_USED,
                     __ATOMIC_RELAXED);
    __atomic_store_n(place,
                     zone->slab.heap + (uint64_t)thing * RV__THING_BYTES,
                     __ATOMIC_RELEASE);
    rv__move_commit(&member->log);
}

/* The used object 'thing', whose offset is in 'place', goes to the magazine,
 * which has room. */
static inline void
rv__move_in(const struct rv_zone *zone, struct rv__member *member,
            struct rv__magazine *magazine, uint32_t size_class, uint64_t word,
            uint32_t thing, uint64_t *place, uint64_t offset)
{
    __atomic_store_n(&magazine->items[word & RV__MAGAZINE_COUNT], thing,
                     __ATOMIC_RELAXED);
    rv__barrier();
    rv__move_begin(&member->log, RV__HEAD_IN, word, offset, size_class);
    __atomic_store_n(&magazine->word, word + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&zone->slab.states[thing], RV__THING_HELD,
                     __ATOMIC_RELAXED);
    __atomic_store_n(place, 0, __ATOMIC_RELEASE);
    rv__move_commit(&member->log);
}

/* Puts back what the move that 'log', with 'head', tells of has changed; the
 * caller holds the life word of its member. */
void rv__move_undo(const struct rv_zone *zone, struct rv__log *log,
                   uint64_t head);

#endif
