/* Design
 *
 * The short way of an allocation: the last object of the member's magazine
 * goes to the place, in one transaction of three words and no lock (move.h).
 * All else serves to have an object there, and room for what is freed.
 *
 * What a transaction freed may not be given out in it: an abort, or a death,
 * brings the place back, and the object must still be what it was.  So the
 * handle counts how many objects on top of a magazine are that fresh, and an
 * allocation takes the one below them.  Freed runs wait in the limbo anyway.
 */
#include "reeve/slab.h"

#include <string.h>

#include "shm/gather.h"
#include "shm/limbo.h"
#include "shm/move.h"

/* A thing by its parts, as they are found behind an offset. */
struct found {
    uint32_t thing;
    uint32_t size_class; /* RV__MAGAZINE_RUNS: a run. */
};

static struct rv__magazine *
magazine_of(const struct rv_zone *zone, uint32_t which)
{
    return &zone->slab.hands->magazines[which];
}

static uint32_t
count_of(const struct rv_zone *zone, uint32_t which)
{
    return rv__magazine_count(magazine_of(zone, which));
}

static uint32_t
pages_for(size_t bytes)
{
    return (uint32_t)((bytes + RV_ZONE_PAGE_BYTES - 1) / RV_ZONE_PAGE_BYTES);
}

/* Whether so many bytes can be at all. */
static bool
is_size(const struct rv_zone *zone, size_t bytes)
{
    return bytes <= (size_t)zone->slab.max_pages * RV_ZONE_PAGE_BYTES;
}

/* Objects on top of the magazine that the open transaction freed. */
static uint32_t
n_fresh(const struct rv_zone *zone, uint32_t size_class)
{
    const struct rv__slab_view *view = &zone->slab;
    return view->fresh_in[size_class] == zone->number
               ? view->n_fresh[size_class]
               : 0;
}

/* By the member alone, but others read it. */
static void
count_failure(struct rv__hands *hands)
{
    uint64_t n = __atomic_load_n(&hands->n_failures, __ATOMIC_RELAXED);
    __atomic_store_n(&hands->n_failures, n + 1, __ATOMIC_RELAXED);
}

static int
fail(struct rv_zone *zone, int code)
{
    if (zone->slab.hands) {
        count_failure(zone->slab.hands);
    }
    return zone->is_open ? rv__tx_fail(zone, code) : code;
}

/* ------------------------------------------------------------- allocating */

/* In a transaction, three words or less: takes item 'i' out of a magazine, to
 * be used. */
static inline void
hand_out(struct rv_zone *zone, uint32_t which, uint32_t i)
{
    struct rv__magazine *magazine = magazine_of(zone, which);
    uint32_t thing = magazine->items[i];
    uint32_t last = rv__magazine_count(magazine) - 1;
    if (i != last) {
        rv__tx_set32(zone, &magazine->items[i], magazine->items[last]);
    }
    rv__tx_set64(zone, &magazine->word,
                 magazine->word + RV__MAGAZINE_ALLOC - 1);
    rv__tx_set8(zone, &zone->slab.states[thing], RV__THING_USED);
}

static inline uint64_t
offset_of(const struct rv_zone *zone, uint32_t thing)
{
    return zone->slab.heap + (uint64_t)thing * RV__UNIT_BYTES;
}

/* Whether the heap has 'bytes' from where 'thing' begins. */
static bool
has_bytes(struct rv_zone *zone, uint32_t thing, size_t bytes)
{
    uint64_t end = (uint64_t)thing * RV__UNIT_BYTES + bytes;
    if (__builtin_expect(end > zone->n_heap, 0)) {
        rv__zone_refresh_size(zone);
    }
    return end <= zone->n_heap;
}

/* In a transaction: an object from those in the hands. */
static inline int
take_object(struct rv_zone *zone, uint32_t size_class, uint64_t *offsetp)
{
    uint32_t n = count_of(zone, size_class);
    uint32_t fresh = n_fresh(zone, size_class);
    if (__builtin_expect(n <= fresh || n > RV__MAGAZINE_ITEMS, 0)) {
        return fail(zone, -ENOMEM);
    }
    uint32_t i = n - 1 - fresh;
    uint32_t thing = magazine_of(zone, size_class)->items[i];
    size_t bytes = (size_t)rv__classes[size_class].units * RV__UNIT_BYTES;
    if (__builtin_expect(!has_bytes(zone, thing, bytes), 0)) {
        return fail(zone, -EUCLEAN);
    }
    hand_out(zone, size_class, i);
    *offsetp = offset_of(zone, thing);
    return zone->failure;
}

/* In a transaction: a run of just so many pages, from those in the hands. */
static int
take_run(struct rv_zone *zone, uint32_t n_pages, uint64_t *offsetp)
{
    const struct rv__magazine *runs = magazine_of(zone, RV__MAGAZINE_RUNS);
    uint32_t n =
        RV_MIN(rv__magazine_count(runs), (uint32_t)RV__MAGAZINE_ITEMS);
    for (uint32_t i = n; i-- > 0;) {
        uint32_t thing = runs->items[i];
        if (rv__is_run(zone, thing, n_pages)
            && has_bytes(zone, thing, (size_t)n_pages * RV_ZONE_PAGE_BYTES)) {
            hand_out(zone, RV__MAGAZINE_RUNS, i);
            *offsetp = offset_of(zone, thing);
            return zone->failure;
        }
    }
    return fail(zone, -ENOMEM);
}

static inline int
take(struct rv_zone *zone, size_t bytes, uint64_t *offsetp)
{
    if (__builtin_expect(bytes - 1 < RV_SLAB_OBJECT_MAX_BYTES, 1)) {
        return take_object(zone, rv__class_of(bytes), offsetp);
    }
    if (bytes == 0 || !is_size(zone, bytes)) {
        return fail(zone, bytes ? -ENOMEM : -EINVAL);
    }
    return take_run(zone, pages_for(bytes), offsetp);
}

int
rv_slab_take(struct rv_zone *zone, size_t bytes, uint64_t *offsetp)
{
    return zone->is_open ? take(zone, bytes, offsetp) : -EPERM;
}

/* Has 'n' objects in the hands, and if it must fetch, some for later. */
static int
fetch_objects(struct rv_zone *zone, uint32_t size_class, uint32_t n)
{
    uint32_t share = rv__shelf_share(zone, size_class);
    int rc = rv__shelf_fetch(zone, size_class, RV_MAX(n, share));
    if (rc == -ENOMEM && count_of(zone, size_class) < n) {
        int gathered = rv__slab_gather(zone);
        rc = gathered > 0    ? rv__shelf_fetch(zone, size_class, n)
             : gathered == 0 ? -ENOMEM
                             : gathered;
    }
    if (count_of(zone, size_class) > RV__MAGAZINE_SCARCE) {
        zone->slab.surplus |= 1U << size_class;
    }
    return rc == -ENOMEM && count_of(zone, size_class) >= n ? 0 : rc;
}

static int
fetch_run(struct rv_zone *zone, uint32_t n_pages)
{
    int rc = rv__limbo_fetch_run(zone, n_pages);
    if (rc == -ENOMEM) {
        int gathered = rv__slab_gather(zone);
        rc = gathered > 0    ? rv__limbo_fetch_run(zone, n_pages)
             : gathered == 0 ? -ENOMEM
                             : gathered;
    }
    return rc;
}

/* Whether a transaction of the slab's own can begin. */
static int
refusal(const struct rv_zone *zone)
{
    return zone->tid && !zone->is_open ? 0 : rv__tx_refusal(zone, NULL, 0);
}

/* Has what an allocation of 'bytes' needs in the hands. */
static inline int
fetch(struct rv_zone *zone, size_t bytes)
{
    if (__builtin_expect(bytes - 1 < RV_SLAB_OBJECT_MAX_BYTES, 1)) {
        uint32_t size_class = rv__class_of(bytes);
        return __builtin_expect(count_of(zone, size_class) != 0, 1)
                   ? 0
                   : fetch_objects(zone, size_class, 1);
    }
    if (bytes == 0 || !is_size(zone, bytes)) {
        return bytes ? -ENOMEM : -EINVAL;
    }
    return fetch_run(zone, pages_for(bytes));
}

/* Everything but the short way. */
static __attribute__((noinline)) int
alloc_anyhow(struct rv_zone *zone, size_t bytes, uint64_t *place)
{
    bool is_alone = !zone->is_open;
    uint64_t offset = 0;
    if (__builtin_expect(!zone->tid, 0)) {
        return refusal(zone);
    }
    if (__builtin_expect(__atomic_load_n(place, __ATOMIC_RELAXED) != 0, 0)) {
        return fail(zone, -EEXIST);
    }
    if (is_alone) {
        int rc = fetch(zone, bytes);
        rc = rc ? rc : rv__tx_begin(zone, NULL, RV_SLAB_WORDS);
        if (__builtin_expect(rc, 0)) {
            return fail(zone, rc);
        }
    }
    int rc = take(zone, bytes, &offset);
    rc = rc ? rc : rv__tx_set64(zone, place, offset);
    return is_alone ? rv__tx_commit(zone) : rc;
}

int
rv_slab_alloc(struct rv_zone *zone, size_t bytes, uint64_t *place)
{
    uint64_t at = rv__offset_of(zone, place);
    struct rv__member *member = rv__move_member(zone, at);
    if (__builtin_expect(bytes - 1 >= RV_SLAB_OBJECT_MAX_BYTES, 0) || !member
        || __builtin_expect(__atomic_load_n(place, __ATOMIC_RELAXED) != 0,
                            0)) {
        return alloc_anyhow(zone, bytes, place);
    }
    uint32_t size_class = rv__class_of(bytes);
    struct rv__magazine *magazine = rv__move_magazine(member, size_class);
    uint64_t word = __atomic_load_n(&magazine->word, __ATOMIC_RELAXED);
    uint32_t i = (uint32_t)(word & RV__MAGAZINE_COUNT) - 1;
    if (__builtin_expect(i >= RV__MAGAZINE_ITEMS, 0)
        || __builtin_expect(magazine->items[i] >= zone->slab.n_things, 0)) {
        return alloc_anyhow(zone, bytes, place);
    }
    rv__move_out(zone, member, magazine, size_class, word, magazine->items[i],
                 place, at);
    return 0;
}

size_t
rv_slab_aligned_bytes(size_t bytes, size_t alignment)
{
    if (bytes == 0 || alignment == 0 || alignment & (alignment - 1)
        || alignment > RV_SLAB_ALIGNMENT_MAX_BYTES
        || bytes > RV_ZONE_SIZE_MAX_BYTES) {
        return 0;
    }
    if (bytes > RV_SLAB_OBJECT_MAX_BYTES) {
        return (size_t)pages_for(bytes) * RV_ZONE_PAGE_BYTES;
    }
    uint32_t size_class = rv__class_of(RV_MAX(bytes, alignment));
    size_t size;
    do {
        size = (size_t)rv__classes[size_class++].units * RV__UNIT_BYTES;
    } while (size & (alignment - 1));
    return size;
}

int
rv_slab_alloc_aligned(struct rv_zone *zone, size_t bytes, size_t alignment,
                      uint64_t *place)
{
    size_t size = rv_slab_aligned_bytes(bytes, alignment);
    return size ? rv_slab_alloc(zone, size, place) : fail(zone, -EINVAL);
}

/* ---------------------------------------------------------------- finding */

/* Why nothing used begins where 'thing' would, in a page with 'tag'. */
static __attribute__((noinline)) int
why_not_used(const struct rv_zone *zone, uint32_t thing, uint64_t tag)
{
    uint32_t kind = rv__tag_kind(tag);
    bool can_begin =
        kind >= RV__PAGE_CHUNK
            ? rv__is_object(thing, tag)
            : thing % RV__PAGE_UNITS == 0
                  && (kind == RV__PAGE_RUN || kind == RV__PAGE_FREE);
    uint8_t state =
        __atomic_load_n(&zone->slab.states[thing], __ATOMIC_RELAXED);
    if (state >= RV__THING_USED) {
        return -EUCLEAN;
    }
    return can_begin ? -EALREADY : -EFAULT;
}

/* The name of what begins at 'offset'; n_things or more: nothing can.  What is
 * no multiple of a unit becomes very large. */
static inline uint64_t
thing_at(const struct rv_zone *zone, uint64_t offset)
{
    uint64_t at = offset - zone->slab.heap;
    return at / RV__UNIT_BYTES | at << (64 - RV__UNIT_BITS);
}

/* What is used and begins at 'offset'. */
static inline __attribute__((always_inline)) int
find_used(const struct rv_zone *zone, uint64_t offset, struct found *found)
{
    uint64_t thing = thing_at(zone, offset);
    if (__builtin_expect(thing >= zone->slab.n_things, 0)) {
        return -EFAULT;
    }
    found->thing = (uint32_t)thing;
    uint64_t tag = rv__page_tag(zone, found->thing / RV__PAGE_UNITS);
    uint8_t state =
        __atomic_load_n(&zone->slab.states[thing], __ATOMIC_RELAXED);
    bool is_run = rv__tag_kind(tag) == RV__PAGE_RUN;
    found->size_class = is_run ? RV__MAGAZINE_RUNS : rv__tag_class(tag);
    if (__builtin_expect(state != RV__THING_USED, 0)
        || __builtin_expect(!is_run
                                && (rv__tag_kind(tag) < RV__PAGE_CHUNK
                                    || found->size_class >= RV_SLAB_CLASSES),
                            0)) {
        return why_not_used(zone, found->thing, tag);
    }
    return 0;
}

size_t
rv_slab_size(const struct rv_zone *zone, uint64_t offset)
{
    struct found found;
    if (!zone->base || find_used(zone, offset, &found)) {
        return 0;
    }
    uint64_t tag = rv__page_tag(zone, found.thing / RV__PAGE_UNITS);
    size_t bytes =
        found.size_class == RV__MAGAZINE_RUNS
            ? (size_t)rv__tag_n(tag) * RV_ZONE_PAGE_BYTES
            : (size_t)rv__classes[found.size_class].units * RV__UNIT_BYTES;
    return rv_zone_at(zone, offset, bytes) ? bytes : 0;
}

/* ---------------------------------------------------------------- freeing */

/* In a transaction, three words: moves a used thing into a magazine. */
static inline int
take_in(struct rv_zone *zone, uint32_t which, uint32_t thing)
{
    rv__tx_set8(zone, &zone->slab.states[thing], RV__THING_HELD);
    return rv__hands_push(zone, which, thing);
}

/* In a transaction of the caller's: into the magazine, or the limbo. */
static int
drop(struct rv_zone *zone, const struct found *found)
{
    struct rv__slab_view *view = &zone->slab;
    uint32_t size_class = found->size_class;
    if (size_class == RV__MAGAZINE_RUNS
        || count_of(zone, size_class) >= RV__MAGAZINE_ITEMS) {
        return take_in(zone, RV__MAGAZINE_LIMBO, found->thing);
    }
    view->n_fresh[size_class] = (uint8_t)(n_fresh(zone, size_class) + 1);
    view->fresh_in[size_class] = zone->number;
    if (count_of(zone, size_class) >= RV__MAGAZINE_SCARCE) {
        view->surplus |= 1U << size_class;
    }
    return take_in(zone, size_class, found->thing);
}

int
rv_slab_drop(struct rv_zone *zone, uint64_t offset)
{
    struct found found;
    if (!zone->is_open) {
        return -EPERM;
    }
    int rc = find_used(zone, offset, &found);
    return rc ? rv__tx_fail(zone, rc) : drop(zone, &found);
}

static int
free_run_alone(struct rv_zone *zone, uint32_t thing, uint64_t *place)
{
    int rc = rv__limbo_drain(zone);
    rc = rc ? rc : rv__tx_begin(zone, NULL, RV_SLAB_WORDS);
    if (rc) {
        return rc;
    }
    take_in(zone, RV__MAGAZINE_LIMBO, thing);
    rv__tx_set64(zone, place, 0);
    rc = rv__tx_commit(zone);
    return rc ? rc : rv__limbo_drain(zone);
}

/* Has room for an object in the magazine, then goes the short way. */
static int
free_object_alone(struct rv_zone *zone, const struct found *found,
                  uint64_t *place)
{
    uint32_t size_class = found->size_class;
    uint32_t n_keep = rv__classes[size_class].n_keep;
    int rc =
        rv__shelf_put_back(zone, zone->slab.hands, size_class, n_keep / 2);
    rc = rc ? rc : rv__tx_begin(zone, NULL, RV_SLAB_WORDS);
    if (rc) {
        return rc;
    }
    take_in(zone, size_class, found->thing);
    rv__tx_set64(zone, place, 0);
    return rv__tx_commit(zone);
}

/* Everything but the short way. */
static __attribute__((noinline)) int
free_anyhow(struct rv_zone *zone, uint64_t *place)
{
    struct found found;
    if (!zone->tid) {
        return refusal(zone);
    }
    uint64_t offset = __atomic_load_n(place, __ATOMIC_RELAXED);
    if (!offset) {
        return 0;
    }
    int rc = find_used(zone, offset, &found);
    if (rc) {
        return zone->is_open ? rv__tx_fail(zone, rc) : rc;
    }
    if (zone->is_open) {
        rc = drop(zone, &found);
        return rc ? rc : rv__tx_set64(zone, place, 0);
    }
    return found.size_class == RV__MAGAZINE_RUNS
               ? free_run_alone(zone, found.thing, place)
               : free_object_alone(zone, &found, place);
}

/* The class of the used object 'thing', or RV_SLAB_CLASSES or more: there may
 * be none, or a run. */
static inline uint32_t
class_of_used(const struct rv_zone *zone, uint64_t thing)
{
    uint64_t tag = rv__page_tag(zone, (uint32_t)thing / RV__PAGE_UNITS);
    uint8_t state =
        __atomic_load_n(&zone->slab.states[thing], __ATOMIC_RELAXED);
    bool is_used = state == RV__THING_USED && rv__tag_is_chunk(tag);
    return __builtin_expect(is_used, 1) ? rv__tag_class(tag) : UINT32_MAX;
}

int
rv_slab_free(struct rv_zone *zone, uint64_t *place)
{
    uint64_t at = rv__offset_of(zone, place);
    struct rv__member *member = rv__move_member(zone, at);
    if (!member) {
        return free_anyhow(zone, place);
    }
    uint64_t thing = thing_at(zone, __atomic_load_n(place, __ATOMIC_RELAXED));
    if (__builtin_expect(thing >= zone->slab.n_things, 0)) {
        return free_anyhow(zone, place);
    }
    uint32_t size_class = class_of_used(zone, thing);
    if (__builtin_expect(size_class >= RV_SLAB_CLASSES, 0)) {
        return free_anyhow(zone, place);
    }
    struct rv__magazine *magazine = rv__move_magazine(member, size_class);
    uint64_t word = __atomic_load_n(&magazine->word, __ATOMIC_RELAXED);
    if (__builtin_expect((word & RV__MAGAZINE_COUNT)
                             >= rv__classes[size_class].n_keep,
                         0)) {
        return free_anyhow(zone, place);
    }
    rv__move_in(zone, member, magazine, size_class, word, (uint32_t)thing,
                place, at);
    return 0;
}

/* -------------------------------------------------------------- reserving */

static int
reserve_objects(struct rv_zone *zone, uint32_t size_class, uint32_t n)
{
    if (n > RV_SLAB_RESERVE_OBJECTS) {
        return -E2BIG;
    }
    int rc = 0;
    if (count_of(zone, size_class) < n) {
        rc = fetch_objects(zone, size_class, n);
    } else if (count_of(zone, size_class) >= RV__MAGAZINE_ITEMS) {
        rc = rv__shelf_put_back(zone, zone->slab.hands, size_class,
                                rv__classes[size_class].n_keep / 2);
    }
    uint8_t *kept = &zone->slab.n_kept[size_class];
    if (!rc) {
        *kept = (uint8_t)RV_MAX(*kept, n);
    }
    return rc;
}

static uint32_t
count_runs(const struct rv_zone *zone, uint32_t n_pages)
{
    const struct rv__magazine *runs = magazine_of(zone, RV__MAGAZINE_RUNS);
    uint32_t all =
        RV_MIN(rv__magazine_count(runs), (uint32_t)RV__MAGAZINE_ITEMS);
    uint32_t n = 0;
    for (uint32_t i = 0; i < all; i++) {
        n += rv__is_run(zone, runs->items[i], n_pages);
    }
    return n;
}

static int
reserve_runs(struct rv_zone *zone, size_t bytes, uint32_t n)
{
    struct rv__slab_view *view = &zone->slab;
    uint32_t n_pages = pages_for(bytes);
    if (!is_size(zone, bytes)) {
        return -ENOMEM;
    }
    uint32_t had = count_runs(zone, n_pages);
    if (n > RV_SLAB_RESERVE_RUNS
        || count_of(zone, RV__MAGAZINE_RUNS) - had + n
               > RV_SLAB_RESERVE_RUNS) {
        return -E2BIG;
    }
    int rc = 0;
    uint8_t kept = view->n_kept_runs;
    view->n_kept_runs =
        1; /* What there is stays, also when memory is short. */
    while (!rc && count_runs(zone, n_pages) < n) {
        rc = fetch_run(zone, n_pages);
    }
    if (rc) {
        view->n_kept_runs = kept;
    }
    return rc;
}

static int
reserve(struct rv_zone *zone, size_t bytes, uint32_t n_allocs,
        uint32_t n_frees)
{
    if (bytes == 0) {
        return -EINVAL;
    }
    if (n_frees > RV_SLAB_RESERVE_OBJECTS) {
        return -E2BIG;
    }
    int rc = rv__limbo_count(zone) ? rv__limbo_drain(zone) : 0;
    if (rc) {
        return rc;
    }
    return bytes <= RV_SLAB_OBJECT_MAX_BYTES
               ? reserve_objects(zone, rv__class_of(bytes), n_allocs)
               : reserve_runs(zone, bytes, n_allocs);
}

static void
forget(struct rv_zone *zone)
{
    memset(zone->slab.n_kept, 0, sizeof zone->slab.n_kept);
    zone->slab.n_kept_runs = 0;
}

/* Puts back what was fetched for later, or freed, as others may need it. */
static int
return_surplus(struct rv_zone *zone)
{
    struct rv__slab_view *view = &zone->slab;
    int rc = 0;
    while (view->surplus && !rc) {
        uint32_t size_class = (uint32_t)__builtin_ctz(view->surplus);
        view->surplus &= view->surplus - 1;
        if (count_of(zone, size_class) > RV__MAGAZINE_SCARCE) {
            rc = rv__shelf_put_back(zone, view->hands, size_class,
                                    RV__MAGAZINE_SCARCE);
        }
    }
    return rc;
}

int
rv_slab_reserve(struct rv_zone *zone, size_t bytes, uint32_t n_allocs,
                uint32_t n_frees)
{
    int rc = refusal(zone);
    if (rc) {
        return rc;
    }
    forget(zone);
    if (count_of(zone, RV__MAGAZINE_RUNS)) {
        bool is_run = bytes > RV_SLAB_OBJECT_MAX_BYTES && is_size(zone, bytes);
        rc = rv__limbo_return_runs(zone,
                                   is_run ? pages_for(bytes) : UINT32_MAX);
    }
    if (!rc && zone->slab.surplus && rv__shelf_is_scarce(zone)) {
        rc = return_surplus(zone);
    }
    rc = rc ? rc : reserve(zone, bytes, n_allocs, n_frees);
    if (rc) {
        count_failure(zone->slab.hands);
    }
    return rc;
}

int
rv_slab_reserve_more(struct rv_zone *zone, size_t bytes, uint32_t n_allocs,
                     uint32_t n_frees)
{
    int rc = refusal(zone);
    rc = rc ? rc : reserve(zone, bytes, n_allocs, n_frees);
    return rc;
}

int
rv_slab_flush(struct rv_zone *zone)
{
    int rc = refusal(zone);
    return rc ? rc : rv__slab_return(zone, false);
}

/* --------------------------------------------------------------- trimming */

static int
limit_pages(struct rv_zone *zone, uint32_t n_pages, uint32_t *usedp)
{
    int rc = rv__tx_begin(zone, &rv__slab_of(zone)->map.lock, RV_TX_WORDS_MAX);
    if (rc) {
        return rc;
    }
    rc = rv__pages_limit(zone, n_pages, usedp);
    int committed = rv__tx_commit(zone);
    return committed ? committed : rc;
}

int
rv_slab_trim_tail(struct rv_zone *zone, uint64_t size_bytes, uint64_t *usedp)
{
    int rc = refusal(zone);
    if (rc) {
        return rc;
    }
    if (size_bytes == 0 || size_bytes % RV_ZONE_PAGE_BYTES) {
        return -EINVAL;
    }
    uint64_t n_pages = size_bytes / RV_ZONE_PAGE_BYTES;
    bool ends = size_bytes >= rv_zone_size_bytes(zone);
    uint32_t used = 0;
    rc = rv_zone_heal(zone);
    rc = rc < 0 ? rc : rv__slab_return(zone, false);
    rc = rc ? rc : limit_pages(zone, ends ? 0 : (uint32_t)n_pages, &used);
    if (rc == -EBUSY) {
        *usedp = zone->slab.heap + (uint64_t)used * RV_ZONE_PAGE_BYTES;
    }
    return rc;
}
