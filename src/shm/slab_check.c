/* Design
 *
 * One walk over the page map meets every page once, and in chunks the state
 * of every object.  What it counted is then compared with the lists, the
 * counters, and the hands: a thing that is HELD must be in just one pair of
 * hands.  To see that without memory for all of them, both sides add up a
 * hash of each; equal sums of equally many hashes mean the same things.
 *
 * Nothing that is read leads outside of the mapping, and each loop ends after
 * as many steps as there are pages, or items.  The walk does not look into
 * the middle of long runs, nor at the states of pages that are not in chunks,
 * for to read the sparse pages of a file would fill them.
 */
#include "reeve/slab.h"

#include <inttypes.h>

#include "shm/limbo.h"

enum { EDGE_PAGES = 64 }; /* Of a run, of which each page is looked at. */

/* What the walk met. */
struct audit {
    const struct rv_zone *zone;
    struct rv_error *error;
    uint32_t n_pages;
    uint32_t n_free_pages, n_free_runs, n_runs;
    uint32_t n_in_bin[RV__BINS];
    struct {
        uint32_t n_chunks, n_with_free;
        uint64_t n_free;
    } classes[RV_SLAB_CLASSES];
    uint64_t n_held, held_sum;
    bool is_after_free; /* The last run was free. */
};

/* Spreads a number over 64 bits (the finalizer of splitmix64). */
static uint64_t
hash(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint32_t
load(const uint32_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static uint8_t
state_of(const struct rv_zone *zone, uint32_t thing)
{
    return __atomic_load_n(&zone->slab.states[thing], __ATOMIC_RELAXED);
}

static int
page_error(const struct audit *audit, uint32_t page, const char *what)
{
    return rv_error_set(audit->error, -EUCLEAN,
                        "page %" PRIu32 " (tag %" PRIx64 "): %s", page,
                        rv__page_tag(audit->zone, page), what);
}

static void
count_held(struct audit *audit, uint32_t thing)
{
    audit->n_held++;
    audit->held_sum += hash(thing);
}

/* --------------------------------------------------------------- the walk */

/* Whether the pages between the first and the last of a run say nothing. */
static int
check_inside(const struct audit *audit, uint32_t page, uint32_t n)
{
    for (uint32_t i = 1; i + 1 < n; i++) {
        if (i == EDGE_PAGES && n > 2 * EDGE_PAGES) {
            i = n - EDGE_PAGES;
        }
        if (rv__page_tag(audit->zone, page + i)) {
            return page_error(audit, page + i, "inside of a run");
        }
    }
    return 0;
}

static int
check_free(struct audit *audit, uint32_t page, uint32_t n)
{
    uint64_t tail = rv__tag(RV__PAGE_TAIL, n);
    if (audit->is_after_free) {
        return page_error(audit, page, "free beside free");
    }
    if (n > 1 && rv__page_tag(audit->zone, page + n - 1) != tail) {
        return page_error(audit, page + n - 1, "not the end of a free run");
    }
    audit->n_in_bin[rv__bin_of(n)]++;
    audit->n_free_runs++;
    audit->n_free_pages += n;
    return check_inside(audit, page, n);
}

static int
check_run(struct audit *audit, uint32_t page, uint32_t n)
{
    uint8_t state = state_of(audit->zone, page << 8);
    if (state != RV__THING_HELD && state != RV__THING_USED) {
        return page_error(audit, page, "a run neither held nor used");
    }
    if (n > 1 && rv__page_tag(audit->zone, page + n - 1)) {
        return page_error(audit, page + n - 1, "at the end of a run");
    }
    if (state == RV__THING_HELD) {
        count_held(audit, page << 8);
    }
    audit->n_runs++;
    return check_inside(audit, page, n);
}

/* Counts the objects of a chunk by their states; where no object begins there
 * is none. */
static int
check_objects(struct audit *audit, uint32_t page, uint64_t tag)
{
    uint32_t size_class = rv__tag_class(tag);
    uint32_t n_free = 0;
    for (uint32_t i = 0; i < rv__tag_n(tag) * RV__PAGE_UNITS; i++) {
        uint32_t thing = page * RV__PAGE_UNITS + i;
        uint8_t state = state_of(audit->zone, thing);
        bool is_object = i % rv__classes[size_class].units == 0
                         && i / rv__classes[size_class].units
                                < rv__classes[size_class].n_objects;
        if (state > (is_object ? RV__THING_USED : RV__THING_FREE)) {
            return page_error(audit, page, "an object's state");
        }
        if (state == RV__THING_HELD) {
            count_held(audit, thing);
        }
        n_free += is_object && state == RV__THING_FREE;
    }
    if (n_free != load(&audit->zone->slab.pages[page].n_free)) {
        return page_error(audit, page, "number of free objects");
    }
    audit->classes[size_class].n_free += n_free;
    audit->classes[size_class].n_with_free += n_free > 0;
    return 0;
}

static int
check_chunk(struct audit *audit, uint32_t page, uint64_t tag)
{
    uint32_t size_class = rv__tag_class(tag);
    if (size_class >= RV_SLAB_CLASSES || rv__tag_stripe(tag) >= RV__STRIPES
        || rv__tag_behind(tag)
        || rv__tag_n(tag) != rv__classes[size_class].n_pages) {
        return page_error(audit, page, "not a chunk of any size");
    }
    for (uint32_t i = 1; i < rv__classes[size_class].n_pages; i++) {
        if (rv__page_tag(audit->zone, page + i)
            != rv__tag_of_chunk(rv__tag_n(tag), size_class,
                                rv__tag_stripe(tag), i)) {
            return page_error(audit, page + i, "not part of its chunk");
        }
    }
    audit->n_runs++;
    audit->classes[size_class].n_chunks++;
    return check_objects(audit, page, tag);
}

/* Checks what begins with 'page', and gives its length. */
static int
check_page(struct audit *audit, uint32_t page, uint32_t *np)
{
    uint64_t tag = rv__page_tag(audit->zone, page);
    uint32_t n = rv__tag_n(tag);
    int rc;
    if (n == 0 || n > audit->n_pages - page) {
        return page_error(audit, page, "length");
    }
    switch (rv__tag_kind(tag)) {
    case RV__PAGE_FREE:
        rc = check_free(audit, page, n);
        break;
    case RV__PAGE_RUN:
        rc = check_run(audit, page, n);
        break;
    case RV__PAGE_CHUNK:
        rc = check_chunk(audit, page, tag);
        break;
    default:
        return page_error(audit, page, "nothing begins here");
    }
    audit->is_after_free = rv__tag_kind(tag) == RV__PAGE_FREE;
    *np = n;
    return rc;
}

static int
walk(struct audit *audit)
{
    uint32_t n = 0;
    int rc = 0;
    for (uint32_t page = 0; page < audit->n_pages && !rc; page += n) {
        rc = check_page(audit, page, &n);
    }
    return rc;
}

/* ------------------------------------------------------------------ lists */

/* Checks the links of a list of 'n' pages: a bin's, or that of a stripe, of
 * which 'n' is only the most there can be; gives how many there are. */
static int
check_list(const struct audit *audit, uint32_t head, uint32_t n,
           bool (*belongs)(const struct audit *, uint32_t page, uint32_t list),
           uint32_t list, uint32_t *np)
{
    uint32_t before = 0;
    uint32_t i = 0;
    for (uint32_t link = head; link; i++) {
        if (link - 1 >= audit->n_pages || i >= n
            || !belongs(audit, link - 1, list)) {
            return rv_error_set(audit->error, -EUCLEAN,
                                "list %" PRIu32 " leads to page %" PRIu32,
                                list, link - 1);
        }
        const struct rv__page *page = &audit->zone->slab.pages[link - 1];
        if (load(&page->prev) != before) {
            return page_error(audit, link - 1, "its link backwards");
        }
        before = link;
        link = load(&page->next);
    }
    *np += i;
    return 0;
}

static bool
is_of_bin(const struct audit *audit, uint32_t page, uint32_t bin)
{
    uint64_t tag = rv__page_tag(audit->zone, page);
    return rv__tag_kind(tag) == RV__PAGE_FREE && rv__tag_n(tag)
           && rv__tag_n(tag) < 1 << 24 && rv__bin_of(rv__tag_n(tag)) == bin;
}

static int
check_bins(const struct audit *audit)
{
    const struct rv__page_map *map = &rv__slab_of(audit->zone)->map;
    uint32_t n_listed = 0;
    int rc = 0;
    for (uint32_t i = 0; i < RV__BINS && !rc; i++) {
        uint32_t head = load(&map->bins[i]);
        uint64_t word =
            __atomic_load_n(&map->filled[i / 64], __ATOMIC_RELAXED);
        if ((word >> i % 64 & 1) != (head != 0)) {
            return rv_error_set(audit->error, -EUCLEAN,
                                "list %" PRIu32 ": its bit is wrong", i);
        }
        rc = check_list(audit, head, audit->n_in_bin[i], is_of_bin, i,
                        &n_listed);
    }
    if (!rc && n_listed != audit->n_free_runs) {
        rc = rv_error_set(audit->error, -EUCLEAN,
                          "%" PRIu32 " free runs, %" PRIu32 " in lists",
                          audit->n_free_runs, n_listed);
    }
    return rc;
}

/* 'list' is class * RV__STRIPES + stripe. */
static bool
is_of_stripe(const struct audit *audit, uint32_t page, uint32_t list)
{
    uint64_t tag = rv__page_tag(audit->zone, page);
    return rv__tag_kind(tag) == RV__PAGE_CHUNK
           && rv__tag_class(tag) == list / RV__STRIPES
           && rv__tag_stripe(tag) == list % RV__STRIPES
           && load(&audit->zone->slab.pages[page].n_free);
}

static int
check_spare(const struct audit *audit, uint32_t size_class, uint32_t spare)
{
    uint64_t tag = spare && spare - 1 < audit->n_pages
                       ? rv__page_tag(audit->zone, spare - 1)
                       : 0;
    if (!spare
        || (rv__tag_kind(tag) == RV__PAGE_CHUNK
            && rv__tag_class(tag) == size_class
            && load(&audit->zone->slab.pages[spare - 1].n_free)
                   == rv__classes[size_class].n_objects)) {
        return 0;
    }
    return rv_error_set(audit->error, -EUCLEAN,
                        "class %" PRIu32 ": page %" PRIu32
                        " is not its spare chunk",
                        size_class, spare - 1);
}

static int
check_shelf(const struct audit *audit, uint32_t size_class)
{
    const struct rv__shelf *shelf =
        &rv__slab_of(audit->zone)->shelves[size_class];
    uint32_t n_with_free = audit->classes[size_class].n_with_free;
    uint32_t n_listed = 0;
    int rc = check_spare(audit, size_class, load(&shelf->spare));
    for (uint32_t i = 0; i < RV__STRIPES && !rc; i++) {
        rc = check_list(audit, load(&shelf->stripes[i]), n_with_free,
                        is_of_stripe, size_class * RV__STRIPES + i, &n_listed);
    }
    if (!rc
        && (n_listed != n_with_free
            || load(&shelf->n_chunks) != audit->classes[size_class].n_chunks
            || __atomic_load_n(&shelf->n_free, __ATOMIC_RELAXED)
                   != audit->classes[size_class].n_free)) {
        rc = rv_error_set(audit->error, -EUCLEAN,
                          "class %" PRIu32 ": its counters", size_class);
    }
    return rc;
}

/* ------------------------------------------------------------------ hands */

/* Whether 'thing' is one that magazine 'which' can have. */
static bool
is_of_magazine(const struct audit *audit, uint32_t thing, uint32_t which)
{
    uint32_t page = thing >> 8;
    if (page >= audit->n_pages
        || state_of(audit->zone, thing) != RV__THING_HELD) {
        return false;
    }
    uint64_t tag = rv__page_tag(audit->zone, page);
    bool is_run = rv__tag_kind(tag) == RV__PAGE_RUN && !(thing & 255);
    bool is_object = rv__tag_kind(tag) >= RV__PAGE_CHUNK;
    return which == RV__MAGAZINE_LIMBO ? is_run || is_object
           : which == RV__MAGAZINE_RUNS
               ? is_run
               : is_object && rv__tag_class(tag) == which;
}

static int
check_magazine(struct audit *audit, uint32_t member, uint32_t which)
{
    const struct rv__hands *hands = rv__hands_of(audit->zone, member);
    const struct rv__magazine *magazine = &hands->magazines[which];
    uint32_t n = rv__magazine_count(magazine);
    bool is_sane = n <= RV__MAGAZINE_ITEMS;
    for (uint32_t i = 0; i < n && is_sane; i++) {
        uint32_t thing = load(&magazine->items[i]);
        is_sane = is_of_magazine(audit, thing, which);
        audit->n_held--;
        audit->held_sum -= hash(thing);
    }
    if (!is_sane) {
        return rv_error_set(audit->error, -EUCLEAN,
                            "member %" PRIu32 ", magazine %" PRIu32
                            ": it holds what is not held",
                            member, which);
    }
    return 0;
}

static int
check_hands(struct audit *audit)
{
    uint32_t n_members = audit->zone->mapping->geometry.n_members;
    int rc = 0;
    for (uint32_t i = 0; i < n_members && !rc; i++) {
        for (uint32_t which = 0; which < RV__MAGAZINES && !rc; which++) {
            rc = check_magazine(audit, i, which);
        }
    }
    if (!rc && (audit->n_held || audit->held_sum)) {
        rc = rv_error_set(audit->error, -EUCLEAN,
                          "%" PRId64 " things too many are held, or others",
                          (int64_t)audit->n_held);
    }
    return rc;
}

/* -------------------------------------------------------------------- all */

static int
check_map(const struct audit *audit)
{
    const struct rv__page_map *map = &rv__slab_of(audit->zone)->map;
    if (load(&map->n_free) != audit->n_free_pages
        || load(&map->n_runs) != audit->n_runs) {
        return rv_error_set(audit->error, -EUCLEAN, "page map: its counters");
    }
    return 0;
}

int
rv_slab_check(const struct rv_zone *zone, struct rv_error *error)
{
    struct audit audit = {.zone = zone, .error = error};
    if (!zone->base) {
        return rv_error_set(error, -ECHILD, "the handle is the parent's");
    }
    audit.n_pages = load(&rv__slab_of(zone)->map.n_pages);
    if (audit.n_pages > rv_zone_size_bytes(zone) / RV_ZONE_PAGE_BYTES) {
        return rv_error_set(error, -EUCLEAN,
                            "page map: %" PRIu32 " pages are beyond the heap",
                            audit.n_pages);
    }
    int rc = walk(&audit);
    rc = rc ? rc : check_map(&audit);
    rc = rc ? rc : check_bins(&audit);
    for (uint32_t i = 0; i < RV_SLAB_CLASSES && !rc; i++) {
        rc = check_shelf(&audit, i);
    }
    return rc ? rc : check_hands(&audit);
}
