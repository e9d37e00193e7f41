/* What moves between a member's hands and the page map.
 *
 * Room: shm.  Blocks: for locks, where it says that it takes them.
 *
 * The limbo is where things go that a transaction frees and that need a lock
 * to be given back, which it cannot take: the caller drains it afterwards.
 */
#ifndef RV_SHM_LIMBO_H
#define RV_SHM_LIMBO_H

#include "shm/shelf.h"

/* Whether 'thing' is a run in use, of 'n_pages' (0: of any length). */
static inline bool
rv__is_run(const struct rv_zone *zone, uint32_t thing, uint32_t n_pages)
{
    if ((thing & 255) || thing >> 8 >= zone->slab.max_pages) {
        return false;
    }
    uint64_t tag = rv__page_tag(zone, thing >> 8);
    return rv__tag_kind(tag) == RV__PAGE_RUN
           && rv__tag_n(tag) <= zone->slab.max_pages - (thing >> 8)
           && (n_pages == 0 || rv__tag_n(tag) == n_pages);
}

/* The hands of the member with slot 'index', living or not. */
static inline struct rv__hands *
rv__hands_of(const struct rv_zone *zone, uint32_t index)
{
    struct rv__member *member = rv__member_of(zone, index);
    return (struct rv__hands *)(void *)member->magazines;
}

/* In a transaction, one word: takes the last thing out of a magazine. */
static inline uint32_t
rv__hands_pop(struct rv_zone *zone, struct rv__hands *hands, uint32_t which)
{
    struct rv__magazine *magazine = &hands->magazines[which];
    uint32_t n = rv__magazine_count(magazine);
    if (n == 0 || n > RV__MAGAZINE_ITEMS) {
        rv__tx_fail(zone, -EUCLEAN);
        return 0;
    }
    rv__tx_set64(zone, &magazine->word, magazine->word - 1);
    return magazine->items[n - 1];
}

/* In a transaction, two words: adds a thing to a magazine of the caller's.
 * -ENOBUFS: it is full. */
static inline int
rv__hands_push(struct rv_zone *zone, uint32_t which, uint32_t thing)
{
    struct rv__magazine *magazine = &zone->slab.hands->magazines[which];
    uint32_t n = rv__magazine_count(magazine);
    if (n >= RV__MAGAZINE_ITEMS) {
        return rv__tx_fail(zone, -ENOBUFS);
    }
    rv__tx_set32(zone, &magazine->items[n], thing);
    return rv__tx_set64(zone, &magazine->word, magazine->word + 1);
}

static inline uint32_t
rv__limbo_count(const struct rv_zone *zone)
{
    const struct rv__hands *hands = zone->slab.hands;
    return rv__magazine_count(&hands->magazines[RV__MAGAZINE_LIMBO]);
}

static inline bool
rv__limbo_has_room(const struct rv_zone *zone)
{
    return rv__limbo_count(zone) < RV__MAGAZINE_ITEMS;
}

/* Gives all in the caller's limbo back, to the page map and the shelves. */
int rv__limbo_drain(struct rv_zone *zone);

/* Adds a run of 'n_pages' to those in the caller's hands.  -ENOMEM,
 * -ENOBUFS: they are full. */
int rv__limbo_fetch_run(struct rv_zone *zone, uint32_t n_pages);

/* Gives the caller's runs back, but those of 'n_keep' pages (0: all). */
int rv__limbo_return_runs(struct rv_zone *zone, uint32_t n_keep);

/* Gives the runs and the limbo of a dead member back, or moves them to the
 * caller's limbo. */
int rv__limbo_adopt(struct rv_zone *zone, struct rv__hands *hands);

#endif
