/* The page map: which pages of the heap are free, in runs.
 *
 * Room: shm.  Source: Masmano et al., "TLSF: a New Dynamic Memory Allocator
 * for Real-Time Systems" (2004); Knuth, volume 1, 2.5, "boundary tags".
 *
 * A descriptor each page.  Of a run only the first page's says what it is,
 * and of a free one the last page's, too, so that the run behind it finds its
 * beginning; of a chunk each page knows how far its first one is, so that an
 * object finds its chunk.  All other descriptors are zero, also those of pages
 * that the map has not taken up yet.
 *
 * Free runs lie in lists by length: one for each up to 31 pages, then 16 to
 * each doubling.  A bitmap says which are not empty, and any run of the first
 * such list that is long enough will do.
 *
 * All of it is written under the page map's lock, by transactions; but the
 * descriptors of a chunk belong to its shelf.
 */
#ifndef RV_SHM_PAGES_H
#define RV_SHM_PAGES_H

#include "shm/log.h"

enum rv__page_kind {
    RV__PAGE_INSIDE, /* Of a run; or not taken up yet. */
    RV__PAGE_FREE,   /* First of a free run of 'n' pages. */
    RV__PAGE_TAIL,   /* Last of a free run of 'n' > 1 pages. */
    RV__PAGE_RUN,    /* First of 'n' pages in use. */
    RV__PAGE_CHUNK,  /* First of 'n' pages of objects. */
    RV__PAGE_PART,   /* Another of a chunk's. */
};

/* The rest of a descriptor; the tags lie together, before all of these, as
 * each free needs one. */
struct rv__page {
    uint32_t next, prev; /* In its list; pages plus 1, 0: none. */
    uint32_t n_free;     /* Of a chunk: free objects. */
    uint32_t reserved;
};

_Static_assert(sizeof(uint64_t) + sizeof(struct rv__page)
                   <= RV__DESCRIPTOR_BYTES,
               "layout");

enum {
    RV__BIN_BITS = 4, /* 16 lists to each doubling. */
    RV__BINS = 336,   /* For runs of up to 2^24 - 1 pages. */
    RV__BIN_WORDS = (RV__BINS + 63) / 64,
};

struct rv__page_map {
    struct rv_lock lock;
    uint32_t n_pages;     /* Taken up so far. */
    uint32_t limit_pages; /* Not to go beyond; 0: none. */
    uint32_t n_free;      /* Pages in free runs. */
    uint32_t n_runs;      /* Runs and chunks in use. */
    uint64_t filled[RV__BIN_WORDS];
    uint32_t bins[RV__BINS]; /* Pages plus 1. */
    uint32_t reserved[16];
};

/* A tag in one word, so that it changes in one set. */
static inline uint64_t
rv__tag(enum rv__page_kind kind, uint32_t n)
{
    return (uint64_t)n << 32 | kind;
}

/* The tag of the page that is 'behind' pages behind the first of a chunk of
 * 'n'. */
static inline uint64_t
rv__tag_of_chunk(uint32_t n, uint32_t size_class, uint32_t stripe,
                 uint32_t behind)
{
    return rv__tag(behind ? RV__PAGE_PART : RV__PAGE_CHUNK, n) | behind << 24
           | stripe << 16 | size_class << 8;
}

static inline uint32_t
rv__tag_kind(uint64_t tag)
{
    return tag & 255;
}

/* Whether the page is one of objects.  It looks at one bit, for speed; kinds
 * that do not exist may pass. */
static inline bool
rv__tag_is_chunk(uint64_t tag)
{
    return tag & RV__PAGE_CHUNK;
}

_Static_assert(RV__PAGE_CHUNK == 4 && RV__PAGE_PART == 5, "one bit for both");

static inline uint32_t
rv__tag_class(uint64_t tag)
{
    return tag >> 8 & 255;
}

static inline uint32_t
rv__tag_stripe(uint64_t tag)
{
    return tag >> 16 & 255;
}

static inline uint32_t
rv__tag_behind(uint64_t tag)
{
    return tag >> 24 & 255;
}

static inline uint32_t
rv__tag_n(uint64_t tag)
{
    return (uint32_t)(tag >> 32);
}

static inline uint64_t
rv__page_tag(const struct rv_zone *zone, uint32_t page)
{
    return __atomic_load_n(&zone->slab.tags[page], __ATOMIC_RELAXED);
}

static inline void
rv__page_set_tag(struct rv_zone *zone, uint32_t page, uint64_t tag)
{
    rv__tx_set64(zone, &zone->slab.tags[page], tag);
}

/* The list of free runs of 'n_pages'. */
static inline uint32_t
rv__bin_of(uint32_t n_pages)
{
    uint32_t log = 31 - (uint32_t)__builtin_clz(n_pages | 1 << RV__BIN_BITS);
    uint32_t above = log - RV__BIN_BITS;
    return (above << RV__BIN_BITS) + (n_pages >> above);
}

/* How many pages the map can have at the heap's present size. */
uint32_t rv__pages_available(const struct rv_zone *zone);

/* Free pages, those that were not taken up yet included; without the lock,
 * about so many. */
uint32_t rv__pages_n_free(const struct rv_zone *zone);

/* Whether less than one in 'part' pages is free. */
bool rv__pages_are_few(const struct rv_zone *zone, uint32_t part);

/* The following are for a transaction on the page map's lock, with
 * RV__PAGES_WORDS words left.  What fails of them for damage (-EUCLEAN) makes
 * the commit fail. */
enum { RV__PAGES_WORDS = 48 };

/* Takes a run of 'n_pages' out of the free ones.  -ENOMEM: there is none. */
int rv__pages_take(struct rv_zone *zone, uint32_t n_pages, uint32_t *pagep);

/* Gives the run that begins with 'page' back. */
void rv__pages_give(struct rv_zone *zone, uint32_t page);

/* Takes the free pages from 'n_pages' on out of the map; 0: the limit ends.
 * -EBUSY: '*usedp' is not free. */
int rv__pages_limit(struct rv_zone *zone, uint32_t n_pages, uint32_t *usedp);

/* Puts 'page' first into, and takes it out of, the list with 'head': the
 * bins, and the shelves' lists, under their locks. */
void rv__pages_link(struct rv_zone *zone, uint32_t *head, uint32_t page);
void rv__pages_unlink(struct rv_zone *zone, uint32_t *head, uint32_t page);

#endif
