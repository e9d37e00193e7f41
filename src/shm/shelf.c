/* Design
 *
 * Fetching and putting back move many objects in one transaction, as many as
 * its words allow, so that a lock is taken once for many allocations.
 *
 * A new chunk comes in two transactions, for it needs two locks: the page
 * map's, which puts a run into the caller's hands, and the shelf's, which
 * takes it from there.  An empty chunk goes back the same way, through the
 * limbo.  One empty chunk stays, so that a size in the balance does not move
 * pages at each turn.
 *
 * What lies in the hands of a living member nobody else can have: four members
 * that keep half a magazine of each size hold more than a small zone has.  So
 * where pages are scarce a member fetches a small share of what is free, and
 * soon puts back what it does not need.
 *
 * New chunk or somebody else's stripe?  While a quarter of the pages is free
 * a new one, so that members keep apart; then what there is.
 */
#include "shm/shelf.h"

#include "shm/limbo.h"

/* clang-format off */
#define KEEP(BYTES) ((BYTES) <= 1024 ? 62 : 62 * 1024 / (BYTES) < 32 \
                                                ? 32 : 62 * 1024 / (BYTES))
#define CLASS(BYTES, PAGES)                                             \
    {(BYTES) / RV__UNIT_BYTES, (PAGES) * RV_ZONE_PAGE_BYTES / (BYTES),  \
     PAGES, KEEP(BYTES)}
/* clang-format on */

const struct rv__class rv__classes[RV_SLAB_CLASSES] = {
    CLASS(16, 1),   CLASS(32, 1),   CLASS(48, 1),   CLASS(64, 1),
    CLASS(80, 1),   CLASS(96, 1),   CLASS(112, 1),  CLASS(128, 1),
    CLASS(160, 1),  CLASS(192, 1),  CLASS(224, 1),  CLASS(256, 1),
    CLASS(320, 1),  CLASS(384, 1),  CLASS(448, 1),  CLASS(512, 1),
    CLASS(640, 2),  CLASS(768, 2),  CLASS(896, 2),  CLASS(1024, 2),
    CLASS(1280, 3), CLASS(1536, 3), CLASS(1792, 4), CLASS(2048, 4),
    CLASS(2560, 5), CLASS(3072, 6), CLASS(3584, 7), CLASS(4096, 8),
};

/* clang-format off */
#define TWICE(...) __VA_ARGS__, __VA_ARGS__
#define X4(CLASS) TWICE(TWICE(CLASS))
#define X8(CLASS) TWICE(X4(CLASS))
#define X16(CLASS) TWICE(X8(CLASS))
#define X32(CLASS) TWICE(X16(CLASS))

const uint8_t rv__class_of_units[RV__PAGE_UNITS] = {
    0, 1, 2, 3, 4, 5, 6, 7,
    TWICE(8), TWICE(9), TWICE(10), TWICE(11),
    X4(12), X4(13), X4(14), X4(15),
    X8(16), X8(17), X8(18), X8(19),
    X16(20), X16(21), X16(22), X16(23),
    X32(24), X32(25), X32(26), X32(27),
};
/* clang-format on */

static struct rv__shelf *
shelf_of(const struct rv_zone *zone, uint32_t size_class)
{
    return &rv__slab_of(zone)->shelves[size_class];
}

static int
begin(struct rv_zone *zone, uint32_t size_class)
{
    return rv__tx_begin(zone, &shelf_of(zone, size_class)->lock,
                        RV_TX_WORDS_MAX);
}

static void
set_state(struct rv_zone *zone, uint32_t thing, uint8_t state)
{
    rv__tx_set8(zone, &zone->slab.states[thing], state);
}

/* Whether 'page' is the first of a chunk of the class. */
static bool
is_chunk(const struct rv_zone *zone, uint32_t page, uint32_t size_class)
{
    if ((uint64_t)page + rv__classes[size_class].n_pages
        > zone->slab.max_pages) {
        return false;
    }
    uint64_t tag = rv__page_tag(zone, page);
    return rv__tag_kind(tag) == RV__PAGE_CHUNK
           && rv__tag_class(tag) == size_class
           && rv__tag_stripe(tag) < RV__STRIPES;
}

/* The stripe that the chunk lies in while some of it is free. */
static uint32_t *
stripe_of(const struct rv_zone *zone, uint32_t page)
{
    uint64_t tag = rv__page_tag(zone, page);
    struct rv__shelf *shelf = shelf_of(zone, rv__tag_class(tag));
    return &shelf->stripes[rv__tag_stripe(tag)];
}

/* -------------------------------------------------------------- counting */

/* Adds 'change' to the free objects of a chunk, and keeps the stripe and the
 * spare chunk true. */
static void
count_free(struct rv_zone *zone, uint32_t page, uint32_t size_class,
           int change)
{
    struct rv__shelf *shelf = shelf_of(zone, size_class);
    struct rv__page *chunk = &zone->slab.pages[page];
    uint32_t all = rv__classes[size_class].n_objects;
    uint32_t before = chunk->n_free;
    uint32_t after = before + (uint32_t)change;
    if (before > all || after > all) {
        rv__tx_fail(zone, -EUCLEAN);
        return;
    }
    rv__tx_set32(zone, &chunk->n_free, after);
    if (before == 0 && after) {
        rv__pages_link(zone, stripe_of(zone, page), page);
    } else if (before && after == 0) {
        rv__pages_unlink(zone, stripe_of(zone, page), page);
    }
    if (after == all && !shelf->spare) {
        rv__tx_set32(zone, &shelf->spare, page + 1);
    } else if (before == all && shelf->spare == page + 1) {
        rv__tx_set32(zone, &shelf->spare, 0);
    }
}

static void
count_shelf(struct rv_zone *zone, uint32_t size_class, uint64_t change)
{
    struct rv__shelf *shelf = shelf_of(zone, size_class);
    rv__tx_set64(zone, &shelf->n_free, shelf->n_free + change);
}

/* ----------------------------------------------------------------- chunks */

/* Makes the pages say that they are a chunk, or a run again. */
static void
tag_as_chunk(struct rv_zone *zone, uint32_t page, uint32_t size_class,
             uint32_t stripe)
{
    uint32_t n = rv__classes[size_class].n_pages;
    for (uint32_t i = 0; i < n; i++) {
        rv__page_set_tag(zone, page + i,
                         rv__tag_of_chunk(n, size_class, stripe, i));
    }
}

static void
tag_as_run(struct rv_zone *zone, uint32_t page, uint32_t n)
{
    rv__page_set_tag(zone, page, rv__tag(RV__PAGE_RUN, n));
    for (uint32_t i = 1; i < n; i++) {
        rv__page_set_tag(zone, page + i, 0);
    }
}

/* Makes the last run in the caller's hands a chunk of free objects. */
static void
add_chunk(struct rv_zone *zone, uint32_t size_class)
{
    struct rv__shelf *shelf = shelf_of(zone, size_class);
    const struct rv__class *sizes = &rv__classes[size_class];
    uint32_t thing = rv__hands_pop(zone, zone->slab.hands, RV__MAGAZINE_RUNS);
    uint32_t page = thing >> 8;
    if (zone->failure || !rv__is_run(zone, thing, sizes->n_pages)) {
        rv__tx_fail(zone, -EUCLEAN);
        return;
    }
    set_state(zone, thing, RV__THING_FREE);
    tag_as_chunk(zone, page, size_class, zone->index % RV__STRIPES);
    rv__tx_set32(zone, &zone->slab.pages[page].n_free, 0);
    rv__tx_set32(zone, &shelf->n_chunks, shelf->n_chunks + 1);
    count_free(zone, page, size_class, sizes->n_objects);
    count_shelf(zone, size_class, sizes->n_objects);
}

/* Moves a chunk, all of whose objects are free, to the caller's limbo. */
static void
remove_chunk(struct rv_zone *zone, uint32_t page, uint32_t size_class)
{
    struct rv__shelf *shelf = shelf_of(zone, size_class);
    const struct rv__class *sizes = &rv__classes[size_class];
    count_shelf(zone, size_class, -(uint64_t)sizes->n_objects);
    count_free(zone, page, size_class, -sizes->n_objects);
    rv__tx_set32(zone, &shelf->n_chunks, shelf->n_chunks - 1);
    tag_as_run(zone, page, sizes->n_pages);
    set_state(zone, page << 8, RV__THING_HELD);
    rv__hands_push(zone, RV__MAGAZINE_LIMBO, page << 8);
}

/* --------------------------------------------------------------- fetching */

/* Whether pages are so few that members share chunks. */
static bool
is_tight(const struct rv_zone *zone)
{
    return rv__pages_are_few(zone, 4);
}

bool
rv__shelf_is_scarce(const struct rv_zone *zone)
{
    return rv__pages_are_few(zone, 16);
}

uint32_t
rv__shelf_share(const struct rv_zone *zone, uint32_t size_class)
{
    uint32_t half = rv__classes[size_class].n_keep / 2U;
    if (!rv__shelf_is_scarce(zone)) {
        return half;
    }
    uint64_t n_free =
        __atomic_load_n(&shelf_of(zone, size_class)->n_free, __ATOMIC_RELAXED);
    return (uint32_t)RV_MIN(n_free / 8, (uint64_t)half);
}

/* A chunk with free objects: page plus 1, 0: none. */
static uint32_t
find_chunk(const struct rv_zone *zone, uint32_t size_class, bool of_any)
{
    const struct rv__shelf *shelf = shelf_of(zone, size_class);
    uint32_t n_stripes = of_any ? RV__STRIPES : 1;
    for (uint32_t i = 0; i < n_stripes; i++) {
        uint32_t link = shelf->stripes[(zone->index + i) % RV__STRIPES];
        if (link) {
            return link;
        }
    }
    return 0;
}

/* Holds up to 'n' free objects of the chunk, at items[] of the caller's
 * magazine; returns how many. */
static uint32_t
hold_free(struct rv_zone *zone, uint32_t page, uint32_t size_class, uint32_t n,
          uint32_t *items)
{
    const struct rv__class *sizes = &rv__classes[size_class];
    uint32_t thing = page * RV__PAGE_UNITS;
    uint32_t n_held = 0;
    for (uint32_t i = 0; i < sizes->n_objects && n_held < n; i++) {
        if (__atomic_load_n(&zone->slab.states[thing], __ATOMIC_RELAXED)
            == RV__THING_FREE) {
            set_state(zone, thing, RV__THING_HELD);
            __atomic_store_n(&items[n_held++], thing, __ATOMIC_RELAXED);
        }
        thing += sizes->units;
    }
    return n_held;
}

/* Moves up to 'n' objects of one chunk into the magazine; how many. */
static uint32_t
fetch_of_chunk(struct rv_zone *zone, uint32_t page, uint32_t size_class,
               uint32_t n)
{
    struct rv__magazine *magazine = &zone->slab.hands->magazines[size_class];
    uint32_t count = rv__magazine_count(magazine);
    if (!is_chunk(zone, page, size_class)) {
        rv__tx_fail(zone, -EUCLEAN);
        return 0;
    }
    /* Items above the count are nobody's, and need no log. */
    uint32_t n_held =
        hold_free(zone, page, size_class, n, &magazine->items[count]);
    if (n_held == 0) {
        rv__tx_fail(zone, -EUCLEAN);
        return 0;
    }
    rv__tx_set64(zone, &magazine->word, magazine->word + n_held);
    count_free(zone, page, size_class, -(int)n_held);
    return n_held;
}

/* One transaction: objects of the chunks there are; how many, or an error. */
static int
fetch_batch(struct rv_zone *zone, uint32_t size_class, uint32_t n, bool of_any)
{
    int rc = begin(zone, size_class);
    if (rc) {
        return rc;
    }
    uint32_t n_fetched = 0;
    while (n_fetched < n && zone->n_words_left > RV__SHELF_WORDS + n) {
        uint32_t link = find_chunk(zone, size_class, of_any);
        if (!link || zone->failure) {
            break;
        }
        n_fetched += fetch_of_chunk(zone, link - 1, size_class, n - n_fetched);
    }
    if (n_fetched) {
        count_shelf(zone, size_class, -(uint64_t)n_fetched);
    }
    rc = rv__tx_commit(zone);
    return rc ? rc : (int)n_fetched;
}

static int
fetch_chunk(struct rv_zone *zone, uint32_t size_class)
{
    int rc = rv__limbo_fetch_run(zone, rv__classes[size_class].n_pages);
    if (rc) {
        return rc;
    }
    rc = begin(zone, size_class);
    if (rc) {
        return rc;
    }
    add_chunk(zone, size_class);
    return rv__tx_commit(zone);
}

/* Fetches some more, from the best source; how many, or an error.  0: others
 * took the new chunk, or gave it back as one that nobody needs. */
static int
fetch_some(struct rv_zone *zone, uint32_t size_class, uint32_t n)
{
    int rc = fetch_batch(zone, size_class, n, is_tight(zone));
    if (rc) {
        return rc;
    }
    int added = fetch_chunk(zone, size_class);
    if (added && added != -ENOMEM) {
        return added;
    }
    rc = fetch_batch(zone, size_class, n, true);
    return rc ? rc : added;
}

int
rv__shelf_fetch(struct rv_zone *zone, uint32_t size_class, uint32_t n)
{
    const struct rv__magazine *magazine =
        &zone->slab.hands->magazines[size_class];
    while (rv__magazine_count(magazine) < n) {
        int rc =
            fetch_some(zone, size_class, n - rv__magazine_count(magazine));
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* ----------------------------------------------------------- putting back */

/* The first page of the chunk that has the object 'thing' of the class, or
 * UINT32_MAX: there is none. */
static uint32_t
chunk_of(const struct rv_zone *zone, uint32_t thing, uint32_t size_class)
{
    uint32_t page = thing / RV__PAGE_UNITS;
    if (page >= zone->slab.max_pages) {
        return UINT32_MAX;
    }
    uint64_t tag = rv__page_tag(zone, page);
    bool is_object = rv__tag_kind(tag) >= RV__PAGE_CHUNK
                     && rv__is_object(thing, tag)
                     && rv__tag_behind(tag) <= page;
    page -= rv__tag_behind(tag);
    return is_object && is_chunk(zone, page, size_class) ? page : UINT32_MAX;
}

void
rv__shelf_put(struct rv_zone *zone, uint32_t size_class, uint32_t thing)
{
    struct rv__shelf *shelf = shelf_of(zone, size_class);
    const struct rv__class *sizes = &rv__classes[size_class];
    uint32_t page = chunk_of(zone, thing, size_class);
    if (page == UINT32_MAX || zone->slab.states[thing] != RV__THING_HELD) {
        rv__tx_fail(zone, -EUCLEAN);
        return;
    }
    set_state(zone, thing, RV__THING_FREE);
    count_free(zone, page, size_class, 1);
    count_shelf(zone, size_class, 1);
    if (zone->slab.pages[page].n_free == sizes->n_objects
        && shelf->spare != page + 1 && rv__limbo_has_room(zone)) {
        remove_chunk(zone, page, size_class);
    }
}

/* One transaction; whether more is to be done: 1, 0, or an error. */
static int
put_back_batch(struct rv_zone *zone, struct rv__hands *hands,
               uint32_t size_class, uint32_t n_keep)
{
    const struct rv__magazine *magazine = &hands->magazines[size_class];
    int rc = begin(zone, size_class);
    if (rc) {
        return rc;
    }
    while (rv__magazine_count(magazine) > n_keep
           && zone->n_words_left >= RV__SHELF_WORDS && !zone->failure) {
        uint32_t thing = rv__hands_pop(zone, hands, size_class);
        rv__shelf_put(zone, size_class, thing);
    }
    rc = rv__tx_commit(zone);
    return rc ? rc : rv__magazine_count(magazine) > n_keep;
}

int
rv__shelf_put_back(struct rv_zone *zone, struct rv__hands *hands,
                   uint32_t size_class, uint32_t n_keep)
{
    int rc;
    do {
        rc = put_back_batch(zone, hands, size_class, n_keep);
        int drained = rv__limbo_drain(zone);
        rc = rc < 0 || drained == 0 ? rc : drained;
    } while (rc > 0);
    return rc;
}

int
rv__shelf_clear(struct rv_zone *zone, uint32_t size_class)
{
    const struct rv__shelf *shelf = shelf_of(zone, size_class);
    if (!__atomic_load_n(&shelf->spare, __ATOMIC_RELAXED)) {
        return 0;
    }
    int rc = begin(zone, size_class);
    if (rc) {
        return rc;
    }
    uint32_t link = shelf->spare;
    if (link && !is_chunk(zone, link - 1, size_class)) {
        rv__tx_fail(zone, -EUCLEAN);
    } else if (link && rv__limbo_has_room(zone)) {
        remove_chunk(zone, link - 1, size_class);
    }
    return rv__tx_commit(zone);
}
