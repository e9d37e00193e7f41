/* What the slab keeps in the zone, and in a handle.
 *
 * Room: shm.
 *
 * A "thing" is an object or a run of pages in use.  It is named by where it
 * begins, in units of 16 bytes of the heap: 256 a page, so that (thing >> 8)
 * is its page, and 32 bits are enough.  That is also the index of its state,
 * one of 256 a page, so that a free finds it without knowing the size of the
 * object; states of units in which nothing begins are 0.  (Numbered without
 * gaps the states of a chunk would take less memory, but a free would have to
 * divide, which takes longer.)
 *
 *     the page map    knows which pages are free, in runs     (pages.h)
 *     28 shelves      know the chunks of a size               (shelf.h)
 *     hands           hold things that are neither free nor used, a member's
 *
 *                take                fetch                alloc
 *     page map ------> hands: runs  ------> shelf ------> hands ------> place
 *              <------ hands: limbo <------       <------       <------
 *                give                put back             free
 *
 * Each arrow is one transaction on one lock: the page map's, the shelf's, or
 * the caller's or none for the last.  A thing's state follows: FREE on a
 * shelf, HELD in hands, USED.
 */
#ifndef RV_SHM_HANDS_H
#define RV_SHM_HANDS_H

#include <stdint.h>

#include "reeve/slab.h"
#include "shm/layout.h"

enum {
    RV__THING_FREE = 0,
    RV__THING_HELD = 1,
    RV__THING_USED = 2,
};

enum { RV__THING_BYTES = 16 }; /* What a thing's name counts. */

enum {
    RV__MAGAZINE_ITEMS = 62,
    RV__MAGAZINE_SCARCE = 2,    /* Items that stay when pages are scarce. */
    RV__MAGAZINE_COUNT = 255,   /* The bits of 'word' that count items. */
    RV__MAGAZINE_ALLOC = 1 << 8 /* What an allocation adds to 'word'. */
};

/* Things of a kind that a member holds.  One word counts the items and all
 * allocations ever made from here, by whoever had the slot: frees need no
 * count, for those are the allocations that are not in use. */
struct rv__magazine {
    uint64_t word; /* Allocations << 8 | items. */
    uint32_t items[RV__MAGAZINE_ITEMS];
};

/* Magazines that hold no objects of a size: runs that were fetched, and what
 * goes back as soon as a lock can be taken. */
enum {
    RV__MAGAZINE_RUNS = RV_SLAB_CLASSES,
    RV__MAGAZINE_LIMBO,
    RV__MAGAZINES,
};

/* What a member holds, in its slot.  Changed by the member in any transaction
 * of its; after its death by the one who holds its life word: a magazine of
 * objects under the lock of their shelf, the others under that of the page
 * map, and never read before that lock is held, so that an adopter that dies
 * on the way can be adopted in turn. */
struct rv__hands {
    struct rv__magazine magazines[RV__MAGAZINES];
    uint64_t n_failures; /* Not by transactions. */
};

_Static_assert(sizeof(struct rv__magazine) == 256, "whole cache lines");
_Static_assert(sizeof(struct rv__hands)
                   <= sizeof(((struct rv__member *)0)->magazines),
               "layout");

struct rv__page;

/* What a handle knows of the slab, so that the short ways are short. */
struct rv__slab_view {
    struct rv__hands *hands; /* The member's; NULL when read-only. */
    uint64_t *tags;          /* Of pages, see pages.h. */
    struct rv__page *pages;
    uint8_t *states;
    uint64_t heap;
    uint32_t max_pages;
    uint32_t n_things; /* Those of 'max_pages'. */

    /* Things that stay in the hands when memory is short: the reserves. */
    uint8_t n_kept[RV_SLAB_CLASSES];
    uint8_t n_kept_runs;

    /* Sizes, a bit each, of which the hands may have more than a member should
     * keep when pages are scarce. */
    uint32_t surplus;

    /* Not before then are all members looked for anew, when memory is short.
     */
    int64_t search_ms;

    /* Objects on top of a magazine that the transaction of that number freed,
     * and must not give out. */
    uint8_t n_fresh[RV_SLAB_CLASSES];
    uint32_t fresh_in[RV_SLAB_CLASSES];
};

static inline uint32_t
rv__magazine_count(const struct rv__magazine *magazine)
{
    uint64_t word = __atomic_load_n(&magazine->word, __ATOMIC_RELAXED);
    return (uint32_t)(word & RV__MAGAZINE_COUNT);
}

#endif
