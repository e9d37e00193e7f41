/* Design
 *
 * A run is taken from the front of a free one, so that what is free gathers
 * at the end of the heap, from where the zone may shrink.
 *
 * Search: the lengths in a list of long runs differ by up to a sixteenth, so
 * the search begins with the first list all of whose runs are long enough.
 * When there is none, the list that holds runs about as long is looked through
 * a little, before memory is said to be short.
 *
 * The heap grows without the map's knowledge.  Whoever finds no run looks
 * whether pages came, and gives them back, as if they had been in use.
 *
 * Numbers that come from the zone are checked before they lead anywhere: a
 * stray write may cost an error, never an access outside of the map.
 */
#include "shm/pages.h"

#include "shm/shelf.h"

enum { SCAN_MAX = 256 };

static struct rv__page_map *
map_of(const struct rv_zone *zone)
{
    return &rv__slab_of(zone)->map;
}

static struct rv__page *
at(const struct rv_zone *zone, uint32_t page)
{
    return &zone->slab.pages[page];
}

/* Whether 'link', a page plus 1, leads to a descriptor. */
static bool
is_link(const struct rv_zone *zone, uint32_t link)
{
    return link - 1 < zone->slab.max_pages;
}

/* ------------------------------------------------------------------ lists */

void
rv__pages_link(struct rv_zone *zone, uint32_t *head, uint32_t page)
{
    uint32_t first = *head;
    if (first && !is_link(zone, first)) {
        rv__tx_fail(zone, -EUCLEAN);
        return;
    }
    rv__tx_set32(zone, &at(zone, page)->next, first);
    rv__tx_set32(zone, &at(zone, page)->prev, 0);
    if (first) {
        rv__tx_set32(zone, &at(zone, first - 1)->prev, page + 1);
    }
    rv__tx_set32(zone, head, page + 1);
}

void
rv__pages_unlink(struct rv_zone *zone, uint32_t *head, uint32_t page)
{
    uint32_t next = at(zone, page)->next;
    uint32_t prev = at(zone, page)->prev;
    if ((next && !is_link(zone, next)) || (prev && !is_link(zone, prev))) {
        rv__tx_fail(zone, -EUCLEAN);
        return;
    }
    rv__tx_set32(zone, prev ? &at(zone, prev - 1)->next : head, next);
    if (next) {
        rv__tx_set32(zone, &at(zone, next - 1)->prev, prev);
    }
}

/* -------------------------------------------------------------- free runs */

static void
set_filled(struct rv_zone *zone, uint32_t bin, bool is_filled)
{
    uint64_t *word = &map_of(zone)->filled[bin / 64];
    uint64_t bit = UINT64_C(1) << bin % 64;
    uint64_t value = is_filled ? *word | bit : *word & ~bit;
    if (value != *word) {
        rv__tx_set64(zone, word, value);
    }
}

/* Makes 'n' pages from 'page' on, which say nothing yet, a free run. */
static void
insert(struct rv_zone *zone, uint32_t page, uint32_t n)
{
    uint32_t bin = rv__bin_of(n);
    rv__page_set_tag(zone, page, rv__tag(RV__PAGE_FREE, n));
    if (n > 1) {
        rv__page_set_tag(zone, page + n - 1, rv__tag(RV__PAGE_TAIL, n));
    }
    rv__pages_link(zone, &map_of(zone)->bins[bin], page);
    set_filled(zone, bin, true);
}

/* Takes the free run of 'n' pages out of its list; they say nothing then. */
static void
extract(struct rv_zone *zone, uint32_t page, uint32_t n)
{
    uint32_t bin = rv__bin_of(n);
    uint32_t *head = &map_of(zone)->bins[bin];
    rv__pages_unlink(zone, head, page);
    if (!*head) {
        set_filled(zone, bin, false);
    }
    rv__page_set_tag(zone, page, 0);
    if (n > 1) {
        rv__page_set_tag(zone, page + n - 1, 0);
    }
}

/* The length of the free run that begins with 'page'; 0: none does. */
static uint32_t
free_run_at(const struct rv_zone *zone, uint32_t page)
{
    uint32_t n_pages = RV_MIN(map_of(zone)->n_pages, zone->slab.max_pages);
    if (page >= n_pages) {
        return 0;
    }
    uint64_t tag = rv__page_tag(zone, page);
    uint32_t n = rv__tag_n(tag);
    return rv__tag_kind(tag) == RV__PAGE_FREE && n <= n_pages - page ? n : 0;
}

/* The length of the free run that ends before 'page'; 0: none does. */
static uint32_t
free_run_before(const struct rv_zone *zone, uint32_t page)
{
    if (page == 0 || page > zone->slab.max_pages) {
        return 0;
    }
    uint64_t tag = rv__page_tag(zone, page - 1);
    uint32_t kind = rv__tag_kind(tag);
    uint32_t n = rv__tag_n(tag);
    if ((kind != RV__PAGE_FREE && kind != RV__PAGE_TAIL) || n > page) {
        return 0;
    }
    return free_run_at(zone, page - n) == n ? n : 0;
}

/* ----------------------------------------------------------------- search */

/* The first list from 'bin' on that is not empty; RV__BINS: all are. */
static uint32_t
first_filled(const struct rv_zone *zone, uint32_t bin)
{
    const uint64_t *filled = map_of(zone)->filled;
    uint64_t ahead = ~UINT64_C(0) << bin % 64;
    for (uint32_t i = bin / 64; i < RV__BIN_WORDS; i++) {
        uint64_t word = filled[i] & ahead;
        if (word) {
            return i * 64 + (uint32_t)__builtin_ctzll(word);
        }
        ahead = ~UINT64_C(0);
    }
    return RV__BINS;
}

/* A run of 'n' pages or more in the list 'bin', as a link; 0: not found. */
static uint32_t
scan(const struct rv_zone *zone, uint32_t bin, uint32_t n)
{
    uint32_t link = map_of(zone)->bins[bin];
    for (int i = 0; i < SCAN_MAX && is_link(zone, link); i++) {
        if (free_run_at(zone, link - 1) >= n) {
            return link;
        }
        link = at(zone, link - 1)->next;
    }
    return 0;
}

static uint32_t
find(const struct rv_zone *zone, uint32_t n)
{
    uint32_t exact = rv__bin_of(n);
    uint32_t width = exact >> RV__BIN_BITS ? (exact >> RV__BIN_BITS) - 1 : 0;
    uint32_t bin = rv__bin_of(n + (UINT32_C(1) << width) - 1);
    bin = bin < RV__BINS ? first_filled(zone, bin) : RV__BINS;
    return scan(zone, bin < RV__BINS ? bin : exact, n);
}

/* ------------------------------------------------------------ growing */

uint32_t
rv__pages_available(const struct rv_zone *zone)
{
    uint64_t n_pages = rv_zone_size_bytes(zone) / RV_ZONE_PAGE_BYTES;
    uint32_t limit =
        __atomic_load_n(&map_of(zone)->limit_pages, __ATOMIC_RELAXED);
    uint32_t n = (uint32_t)RV_MIN(n_pages, (uint64_t)zone->slab.max_pages);
    return limit ? RV_MIN(n, limit) : n;
}

/* Of 'n' that there are. */
static inline uint32_t
count_free(const struct rv__page_map *map, uint32_t n)
{
    uint32_t known = __atomic_load_n(&map->n_pages, __ATOMIC_RELAXED);
    uint32_t n_free = __atomic_load_n(&map->n_free, __ATOMIC_RELAXED);
    return n > known ? n_free + (n - known) : n_free;
}

uint32_t
rv__pages_n_free(const struct rv_zone *zone)
{
    return count_free(map_of(zone), rv__pages_available(zone));
}

bool
rv__pages_are_few(const struct rv_zone *zone, uint32_t part)
{
    uint32_t n = rv__pages_available(zone);
    return count_free(map_of(zone), n) < n / part;
}

/* Takes up the pages that came since.  False: none did. */
static bool
take_up(struct rv_zone *zone)
{
    struct rv__page_map *map = map_of(zone);
    uint32_t known = map->n_pages;
    uint32_t n = rv__pages_available(zone);
    if (n <= known) {
        return false;
    }
    rv__page_set_tag(zone, known, rv__tag(RV__PAGE_RUN, n - known));
    rv__tx_set32(zone, &map->n_pages, n);
    rv__tx_set32(zone, &map->n_runs, map->n_runs + 1);
    rv__pages_give(zone, known);
    return true;
}

/* ------------------------------------------------------------- operations */

int
rv__pages_take(struct rv_zone *zone, uint32_t n_pages, uint32_t *pagep)
{
    struct rv__page_map *map = map_of(zone);
    uint32_t link = find(zone, n_pages);
    if (!link && take_up(zone)) {
        link = find(zone, n_pages);
    }
    if (!link) {
        return -ENOMEM;
    }
    uint32_t page = link - 1;
    uint32_t n = free_run_at(zone, page);
    extract(zone, page, n);
    if (n > n_pages) {
        insert(zone, page + n_pages, n - n_pages);
    }
    rv__page_set_tag(zone, page, rv__tag(RV__PAGE_RUN, n_pages));
    rv__tx_set32(zone, &map->n_free, map->n_free - n_pages);
    rv__tx_set32(zone, &map->n_runs, map->n_runs + 1);
    *pagep = page;
    return zone->failure;
}

void
rv__pages_give(struct rv_zone *zone, uint32_t page)
{
    struct rv__page_map *map = map_of(zone);
    uint32_t known = RV_MIN(map->n_pages, zone->slab.max_pages);
    uint64_t tag = page < known ? rv__page_tag(zone, page) : 0;
    uint32_t n = rv__tag_n(tag);
    if (rv__tag_kind(tag) != RV__PAGE_RUN || n == 0 || n > known - page) {
        rv__tx_fail(zone, -EUCLEAN);
        return;
    }
    uint32_t before = free_run_before(zone, page);
    uint32_t behind = free_run_at(zone, page + n);
    rv__page_set_tag(zone, page, 0);
    if (before) {
        extract(zone, page - before, before);
    }
    if (behind) {
        extract(zone, page + n, behind);
    }
    insert(zone, page - before, before + n + behind);
    rv__tx_set32(zone, &map->n_free, map->n_free + n);
    rv__tx_set32(zone, &map->n_runs, map->n_runs - 1);
}

/* The first page from 'page' on that is not free, when not all are. */
static uint32_t
first_used(const struct rv_zone *zone, uint32_t page)
{
    uint32_t head = page;
    while (head && rv__tag_kind(rv__page_tag(zone, head)) == RV__PAGE_INSIDE) {
        head--;
    }
    uint64_t tag = rv__page_tag(zone, head);
    if (rv__tag_kind(tag) == RV__PAGE_TAIL) {
        return head + 1;
    }
    uint32_t n = free_run_at(zone, head);
    return n ? head + n : page;
}

int
rv__pages_limit(struct rv_zone *zone, uint32_t n_pages, uint32_t *usedp)
{
    struct rv__page_map *map = map_of(zone);
    uint32_t known = map->n_pages;
    if (n_pages && n_pages < known) {
        uint32_t n = free_run_before(zone, known);
        if (known - n > n_pages) {
            *usedp = first_used(zone, n_pages);
            return -EBUSY;
        }
        extract(zone, known - n, n);
        if (n > known - n_pages) {
            insert(zone, known - n, n - (known - n_pages));
        }
        rv__tx_set32(zone, &map->n_free, map->n_free - (known - n_pages));
        rv__tx_set32(zone, &map->n_pages, n_pages);
    }
    rv__tx_set32(zone, &map->limit_pages, n_pages);
    return 0;
}
