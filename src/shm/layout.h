/* What lies where in a zone's file.
 *
 * Room: shm.
 *
 *     0          header: format, size, roots; then the slab's own pages
 *     lives      a life word each member, 64 bytes apart
 *     members    a slot each member: undo log, magazines
 *     pages      a descriptor each page of the heap, for the maximal size
 *     states     a byte each object, 256 each page, for the maximal size
 *     heap       pages, up to the present size; the end of the file
 *
 * Every start is a multiple of a page and follows from two numbers of the
 * header, the maximal size and the number of members, so that each field can
 * be checked.  All bytes that format does not write are zero, which is an
 * empty state of everything.
 */
#ifndef RV_SHM_LAYOUT_H
#define RV_SHM_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"
#include "reeve/tx.h"
#include "reeve/zone.h"

/* "rvzone" between bytes that text transfers spoil. */
#define RV__ZONE_MAGIC UINT64_C(0x0a656e6f7a767289)

enum {
    RV__LAYOUT_VERSION = 1,
    RV__HEADER_BYTES = 4 * RV_ZONE_PAGE_BYTES,
    RV__LIFE_BYTES = 64,
    RV__MEMBER_BYTES = 4 * RV_ZONE_PAGE_BYTES,
    RV__DESCRIPTOR_BYTES = 32,
    RV__STATES_BYTES = RV_ZONE_PAGE_BYTES / 16,
    RV__FLAG_EXCHANGE = 1,
};

/* A name under which a structure is found.  The name is written once and
 * keeps its place; 'offset' 0: not there.  By transactions on the root lock;
 * readers without it look at 'offset' before the rest. */
struct rv__root {
    char name[RV_ZONE_ROOT_NAME_BYTES];
    uint64_t type;
    uint64_t offset;
};

struct rv__header {
    /* Written once, by format; checked by everybody who attaches, and not
     * read again. */
    uint64_t magic;
    uint32_t layout_version;
    uint32_t page_bytes;
    uint32_t header_bytes;
    uint32_t member_bytes;
    uint32_t n_members;
    uint32_t flags;
    uint64_t max_size_bytes;
    uint64_t lives, members, pages, states, heap, end;
    uint64_t identity;
    char name[RV_ZONE_NAME_BYTES];
    char tag[RV_ZONE_TAG_BYTES];
    uint64_t checksum; /* Of all above. */

    /* Written by whoever grows the zone, in one pwrite, which is not promised
     * to be one store: believed while each is the other's complement. */
    uint64_t size_bytes;
    uint64_t size_complement;

    /* Under 'root_lock', by transactions. */
    struct rv_lock root_lock __attribute__((aligned(64)));
    struct rv__root roots[RV_ZONE_ROOTS];

    /* By the first member of a boot, which holds the lock of epoch.h. */
    uint64_t boot; /* Of the machine, that 'epoch_ms' is for. */
    uint64_t epoch_ms;

    /* The slab's, which begins with zeros. */
    unsigned char slab[3 * RV_ZONE_PAGE_BYTES]
        __attribute__((aligned(RV_ZONE_PAGE_BYTES)));
};

_Static_assert(sizeof(struct rv_lock) == 64, "a lock is a cache line");
_Static_assert(sizeof(struct rv__header) == RV__HEADER_BYTES, "layout");
_Static_assert(sizeof(struct rv__root) == 8 * RV_ZONE_ROOT_WORDS, "layout");

/* One set of a transaction: where, and what was there. */
struct rv__change {
    uint64_t where; /* Offset << 4 | width in bytes. */
    uint64_t old;
};

/* What a private transaction of the slab's changes, in a form of its own, see
 * move.h. */
struct rv__move {
    uint64_t word;  /* Of the magazine, as it was. */
    uint64_t where; /* Offset of the place << 5 | class. */
};

/* An undo log.  'head' is (offset of the lock << 16 | number of changes) in
 * one word, because whoever recovers the lock must see both at one instant:
 * a slot belongs to the dead holder of lock L just when its head says L and
 * more than 0 changes, for a living one says so only while it holds L.  Head
 * 0 is the commit; a head without changes says nothing.  Two heads, which no
 * number of changes can be, say that 'move' is to be undone. */
struct rv__log {
    uint64_t head;
    struct rv__move move;
    uint64_t reserved[5];
    struct rv__change changes[RV_TX_WORDS_MAX];
};

/* A member's slot.  Written by the member, which holds its life word, and
 * after its death by the one who does then; the log also by whoever recovers
 * the lock that its head names. */
struct rv__member {
    uint32_t tid; /* 0: the slot is free. */
    uint32_t pid;
    uint64_t pid_namespace; /* 0: unknown. */
    uint64_t n_attached;    /* How often the slot was taken. */
    uint64_t boot;          /* In which 'tid' is; 0: unknown. */
    uint64_t reserved[4];
    struct rv__log log __attribute__((aligned(64)));

    /* The slab's, which begins with zeros. */
    unsigned char magazines[3 * RV_ZONE_PAGE_BYTES]
        __attribute__((aligned(RV_ZONE_PAGE_BYTES)));
};

_Static_assert(sizeof(struct rv__member) == RV__MEMBER_BYTES, "layout");

/* Header fields once they are checked: nobody trusts the mapped ones later,
 * for any member may have written over them. */
struct rv__geometry {
    uint64_t max_size_bytes;
    uint64_t lives, members, pages, states, heap, end;
    uint32_t n_members;
    bool is_exchange;
};

/* All starts, from two numbers that are in range. */
void rv__geometry_init(struct rv__geometry *geometry, uint64_t max_size_bytes,
                       uint32_t n_members);

/* Memory for a copy of a header, aligned as one and zeroed, to be freed by
 * free(3); NULL when there is none. */
struct rv__header *rv__header_create(void) RV_MUST_CHECK;

/* The checksum that belongs in 'header'. */
uint64_t rv__header_checksum(const struct rv__header *header);

/* Checks what format wrote, and gives what follows from it.  -EUCLEAN,
 * -EPROTONOSUPPORT, with the field that is wrong. */
int rv__header_check(const struct rv__header *header,
                     struct rv__geometry *geometry, struct rv_error *error)
    RV_MUST_CHECK;

/* Whether the two words of the size agree on one that can be. */
bool rv__size_is_valid(uint64_t size_bytes, uint64_t complement,
                       const struct rv__geometry *geometry);

/* Fills 'info' from a checked header. */
void rv__info_init(struct rv_zone_info *info, const struct rv__header *header,
                   const struct rv__geometry *geometry);

#endif
