/* Memory from a zone: objects and page runs that no death loses.
 *
 * Room: shm.  Threads: that of the handle.  Blocks: where it says that it
 * takes locks.  Source: Bonwick, "Magazines and Vmem" (2001) for objects,
 * Masmano, "TLSF" (2004) for runs of pages.
 *
 * What is allocated is written, as an offset, into a place of the zone, in
 * the transaction that takes it from the free memory; freeing takes it back
 * from there.  So at every instant each byte is either free, in a member's
 * hands (from where the next who notices its death takes it back), or where
 * a place says.
 *
 *     // by itself: a transaction of its own, on nobody's lock
 *     rc = rv_slab_alloc(zone, sizeof *session, &mine->session);
 *     session = rv_zone_at(zone, mine->session, sizeof *session);
 *     rv_slab_free(zone, &mine->session);
 *
 *     // within a transaction: what it needs is fetched before
 *     rc = rv_slab_reserve(zone, sizeof *node, 1, 1);
 *     rc = rc ? rc : rv_tx_begin(zone, &list->lock, 2 * RV_SLAB_WORDS);
 *     if (rc) {
 *         return rc;
 *     }
 *     rv_slab_free(zone, &list->oldest);
 *     rv_slab_alloc(zone, sizeof *node, &list->oldest);
 *     ... fill the node, which nobody sees yet ...
 *     rc = rv_tx_commit(zone);
 *
 *     // the first memory of a zone, as a root
 *     uint64_t offset;
 *     rc = rv_slab_reserve(zone, sizeof *list, 1, 0);
 *     rc = rc ? rc : rv_tx_begin(zone, rv_zone_root_lock(zone),
 *                                RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS);
 *     if (!rc && rv_slab_take(zone, sizeof *list, &offset) == 0) {
 *         memset(rv_zone_at(zone, offset, sizeof *list), 0, sizeof *list);
 *         rc = rv_zone_root_set(zone, "list", LIST_V1, offset);
 *     }
 *     rc = rc ? rc : rv_tx_commit(zone);
 *
 * Memory comes as it is, not zeroed.  What was freed in a transaction is not
 * given out again within the same one, for an abort must find it unchanged.
 *
 * Up to 4096 bytes: 28 sizes, of 16 to 128 by 16, then four to each doubling;
 * an object lies at a multiple of 16.  Above: runs of pages.  All operations
 * take constant time; those within a member's reserves take no lock.
 *
 * Wrong: to allocate by itself into a place that others change, too.  That
 * needs their lock, hence a transaction.
 * Wrong: to free an offset that still stands elsewhere.  Freeing twice is
 * found out, unless the memory was given out again in between, or two members
 * do so at the same instant.
 */
#ifndef REEVE_SLAB_H
#define REEVE_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"

RV_BEGIN_DECLARATIONS

struct rv_zone;

enum {
    RV_SLAB_WORDS = 4, /* What an allocation or a free adds to a transaction,
                        * at most. */
    RV_SLAB_CLASSES = 28,
    RV_SLAB_OBJECT_MAX_BYTES = 4096, /* Above it: a run of pages. */
    RV_SLAB_ALIGNMENT_MAX_BYTES = 4096,
    RV_SLAB_RESERVE_OBJECTS = 32, /* Allocations of a size, or frees. */
    RV_SLAB_RESERVE_RUNS = 8,     /* Allocations of runs, of all sizes. */
};

/* Fetches what one transaction needs: afterwards 'n_allocs' allocations of
 * 'bytes' and 'n_frees' frees of any size succeed in it.  Replaces what was
 * reserved before; what a transaction leaves serves the next ones.  Mostly it
 * finds all at hand and takes no lock.
 *   -E2BIG    more than RV_SLAB_RESERVE_*
 *   -ENOMEM   there is not so much; nothing is reserved
 *   -EINVAL   0 bytes
 *   -EDEADLK  in a transaction;  -EROFS, -ECHILD: as rv_tx_begin
 *   -EUCLEAN  the zone is damaged */
int rv_slab_reserve(struct rv_zone *zone, size_t bytes, uint32_t n_allocs,
                    uint32_t n_frees) RV_MUST_CHECK;

/* As rv_slab_reserve, for one more size, beside what was reserved since the
 * last rv_slab_reserve; 'n_frees' counts for itself.  On failure the reserves
 * from before stay. */
int rv_slab_reserve_more(struct rv_zone *zone, size_t bytes, uint32_t n_allocs,
                         uint32_t n_frees) RV_MUST_CHECK;

/* Allocates at least 'bytes' and sets '*place', which lies in the zone and is
 * 0, to their offset, which is a multiple of 16 (of a run: of 4096, counted
 * from the heap's beginning).  In an open transaction it is part of that, and
 * takes from the reserves; after a failure the commit will fail, too.
 * Without one it takes effect by itself, and may take locks.
 *   -ENOMEM   there is no such memory, or in a transaction none was reserved
 *   -EEXIST   '*place' is not 0
 *   -EINVAL   0 bytes
 *   -EUCLEAN  the zone is damaged
 *   as rv_tx_begin and rv_tx_set64 */
int rv_slab_alloc(struct rv_zone *zone, size_t bytes, uint64_t *place)
    RV_MUST_CHECK;

/* In an open transaction (else -EPERM): as rv_slab_alloc, but the offset goes
 * to '*offsetp', which is not in the zone; the caller sets it, in whatever
 * form, in the same transaction, or it is lost. */
int rv_slab_take(struct rv_zone *zone, size_t bytes, uint64_t *offsetp)
    RV_MUST_CHECK;

/* As rv_slab_alloc, at a multiple of 'alignment', a power of two up to 4096
 * (else -EINVAL).  For a transaction, reserve rv_slab_aligned_bytes(). */
int rv_slab_alloc_aligned(struct rv_zone *zone, size_t bytes, size_t alignment,
                          uint64_t *place) RV_MUST_CHECK;

/* What 'bytes' at 'alignment' (as above) really take.  0: out of range. */
size_t rv_slab_aligned_bytes(size_t bytes, size_t alignment);

/* Frees what '*place' names and sets it to 0, in the open transaction or by
 * itself, as rv_slab_alloc.  0 in '*place' is fine.
 *   -EALREADY  it is free already
 *   -EFAULT    nothing begins there, perhaps not any more
 *   -ENOBUFS   in a transaction, and no free was reserved
 *   -EUCLEAN   the zone is damaged
 *   as rv_tx_begin and rv_tx_set64 */
int rv_slab_free(struct rv_zone *zone, uint64_t *place);

/* In an open transaction (else -EPERM): as rv_slab_free of what is at
 * 'offset'; the caller erases it where it stands, in the same transaction. */
int rv_slab_drop(struct rv_zone *zone, uint64_t offset);

/* The bytes that can be used at 'offset', which was allocated and not freed;
 * 0: it was not. */
size_t rv_slab_size(const struct rv_zone *zone, uint64_t offset);

/* Gives all that the member has in its hands back to all, so that others can
 * use it and pages join; for before a long rest.  Reserves end.  Detaching
 * does so.  Takes locks.  -EDEADLK, -EROFS, -ECHILD, -EUCLEAN. */
int rv_slab_flush(struct rv_zone *zone);

/* Takes the pages from 'size_bytes' of the heap on out of use, so that the
 * zone can be made smaller, or gives them back when 'size_bytes' is the heap's
 * size or more.  Takes locks.  -EBUSY: not all are free, and '*usedp' is the
 * offset of the first that is not; nothing changed.  -EINVAL: not whole pages.
 * Else as rv_slab_flush.
 *
 * What was taken out stays so, whatever size the zone has later, until it is
 * given back: shrink the zone, then call this with its new size.  When another
 * gives it back in between, rv_zone_shrink refuses. */
int rv_slab_trim_tail(struct rv_zone *zone, uint64_t size_bytes,
                      uint64_t *usedp) RV_MUST_CHECK;

/* Of the objects of a size. */
struct rv_slab_class_stats {
    uint32_t size_bytes;
    uint32_t n_chunks;      /* Runs of pages cut into them, */
    uint32_t n_chunk_pages; /* of so many pages each. */
    uint64_t n_used;
    uint64_t n_held; /* In members' hands, the dead's included. */
    uint64_t n_free;
};

struct rv_slab_stats {
    struct rv_slab_class_stats classes[RV_SLAB_CLASSES];
    uint64_t n_pages;
    uint64_t n_free_pages;
    uint64_t largest_run_pages; /* Of the free ones. */
    uint64_t n_used_runs, n_used_run_pages;
    uint64_t n_held_runs, n_held_run_pages; /* In members' hands. */
    uint64_t used_bytes; /* Of objects and runs, as rv_slab_size. */
    uint64_t n_allocs, n_frees, n_failures; /* Since the zone was made. */
};

/* Adds it all up.  Takes no lock, also for read-only handles: exact while
 * nobody works, and about right otherwise. */
void rv_slab_get_stats(const struct rv_zone *zone,
                       struct rv_slab_stats *stats);

enum rv_slab_run_kind {
    RV_SLAB_RUN_FREE,
    RV_SLAB_RUN_WHOLE,   /* Allocated whole, or in a member's hands. */
    RV_SLAB_RUN_OBJECTS, /* Cut into objects. */
};

/* Pages that belong together. */
struct rv_slab_run {
    enum rv_slab_run_kind kind;
    uint64_t n_pages;      /* At least 1. */
    uint32_t object_bytes; /* The rest is 0 but for objects. */
    uint32_t n_objects;
    uint32_t n_free; /* Neither used nor in a member's hands. */
};

/* Describes the run that begins with 'page', counted from the heap's
 * beginning; 'page' + 'n_pages' is where the next one begins.  Takes no lock,
 * as rv_slab_get_stats.  -ERANGE: the heap has no such page. */
int rv_slab_get_run(const struct rv_zone *zone, uint64_t page,
                    struct rv_slab_run *run);

/* Walks all that the slab keeps: every page and object is accounted for
 * exactly once.  Takes no lock, also for read-only handles; reads only, never
 * crashes and ends on any bytes.  Exact while no transaction is open, nor one
 * of a dead member to be undone (rv_zone_heal): otherwise it may take what is
 * under way for damage.  -EUCLEAN and a sentence. */
int rv_slab_check(const struct rv_zone *zone, struct rv_error *error)
    RV_MUST_CHECK;

RV_END_DECLARATIONS

#endif
