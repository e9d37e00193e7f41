/* Shelves: the chunks of a size of objects, and what is free of them.
 *
 * Room: shm.  Blocks: for locks.  Source: Bonwick, "Magazines and Vmem"
 * (2001), the depot; Berger et al., "Hoard" (2000), for why members should
 * not share chunks.
 *
 * A chunk is a run of pages that holds 8 to 256 objects of a size.  Those of
 * which some are free lie in lists, called stripes; a member fetches from the
 * stripe of its own first.  It matters, because the states of a chunk's
 * objects are written at each allocation and share cache lines: where members
 * mix in a chunk, they wait for each other's lines.
 */
#ifndef RV_SHM_SHELF_H
#define RV_SHM_SHELF_H

#include "shm/pages.h"

enum { RV__STRIPES = 8 };

struct rv__shelf {
    struct rv_lock lock;
    uint32_t stripes[RV__STRIPES]; /* Chunks with free objects; page plus 1. */
    uint32_t n_chunks;
    uint32_t spare;  /* A chunk of which all objects are free, kept for the
                      * next who needs one; page plus 1. */
    uint64_t n_free; /* Objects. */
    uint32_t reserved[4];
};

_Static_assert(sizeof(struct rv__shelf) == 128, "whole cache lines");

/* The slab's part of the header. */
struct rv__slab {
    struct rv__page_map map;
    struct rv__shelf shelves[RV_SLAB_CLASSES] __attribute__((aligned(64)));
};

_Static_assert(sizeof(struct rv__slab)
                   <= sizeof(((struct rv__header *)0)->slab),
               "layout");

static inline struct rv__slab *
rv__slab_of(const struct rv_zone *zone)
{
    return (struct rv__slab *)(void *)rv__header_of(zone)->slab;
}

/* ------------------------------------------------------------------ sizes */

/* What follows from a size. */
struct rv__class {
    uint16_t units;     /* Of 16 bytes an object. */
    uint16_t n_objects; /* A chunk. */
    uint16_t n_pages;   /* A chunk. */
    uint16_t n_keep;    /* A member keeps up to so many. */
};

enum {
    RV__UNIT_BITS = 4,
    RV__UNIT_BYTES = 1 << RV__UNIT_BITS,
    RV__PAGE_UNITS = RV_ZONE_PAGE_BYTES / RV__UNIT_BYTES,
    RV__CHUNK_PAGES = 8, /* At most. */
};

extern const struct rv__class rv__classes[RV_SLAB_CLASSES];

/* Whether an object can begin at 'thing', which lies in a page with 'tag', one
 * of a chunk's. */
static inline bool
rv__is_object(uint32_t thing, uint64_t tag)
{
    if (rv__tag_class(tag) >= RV_SLAB_CLASSES) {
        return false;
    }
    const struct rv__class *sizes = &rv__classes[rv__tag_class(tag)];
    uint32_t units =
        rv__tag_behind(tag) * RV__PAGE_UNITS + thing % RV__PAGE_UNITS;
    return units % sizes->units == 0
           && units / sizes->units < sizes->n_objects;
}

/* The class of 1 to 4096 bytes: linear up to 128, then four a doubling.  A
 * table, for to find the highest bit takes longer on many processors. */
extern const uint8_t rv__class_of_units[RV__PAGE_UNITS];

static inline uint32_t
rv__class_of(size_t bytes)
{
    return rv__class_of_units[(bytes - 1) / RV__UNIT_BYTES];
}

/* ------------------------------------------------------------ transactions */

/* Whether pages are so few that members should keep nothing for later. */
bool rv__shelf_is_scarce(const struct rv_zone *zone);

/* How many objects a member that must fetch one should fetch, perhaps 0. */
uint32_t rv__shelf_share(const struct rv_zone *zone, uint32_t size_class);

/* Moves objects of a class into the caller's magazine until it holds 'n';
 * takes pages when it must.  -ENOMEM: there are not so many; those that there
 * were stay in the magazine. */
int rv__shelf_fetch(struct rv_zone *zone, uint32_t size_class, uint32_t n);

/* Puts objects back from the magazine in 'hands', the caller's or those of a
 * dead member that it adopts, until 'n_keep' are left. */
int rv__shelf_put_back(struct rv_zone *zone, struct rv__hands *hands,
                       uint32_t size_class, uint32_t n_keep);

/* In a transaction on the shelf's lock with RV__SHELF_WORDS words left: makes
 * the object free.  A chunk that nobody needs moves to the caller's limbo. */
enum { RV__SHELF_WORDS = 32 };
void rv__shelf_put(struct rv_zone *zone, uint32_t size_class, uint32_t thing);

/* Moves the spare chunk to the caller's limbo. */
int rv__shelf_clear(struct rv_zone *zone, uint32_t size_class);

#endif
