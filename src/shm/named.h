/* Structures that are found by a root, and made by whoever comes first.
 *
 * Room: shm.  Blocks: for the root lock, when it makes one.
 */
#ifndef RV_SHM_NAMED_H
#define RV_SHM_NAMED_H

#include "reeve/error.h"
#include "shm/handle.h"

/* What makes a structure; its memory is zeroed, and nobody else's yet. */
struct rv__named {
    uint64_t type;  /* That of the root, and the structure's first word. */
    size_t n_bytes; /* It is given a multiple of 64 bytes as its place. */
    void (*init)(void *structure, const void *context);
    const void *context;
};

/* The structure of the root 'name', borrowed.  -EINVAL: the name;
 * -EPROTOTYPE: it is something else; -ENOENT: none and read-only; -EUCLEAN:
 * it is none, or does not have 'n_bytes'; -ENOMEM, -ENOSPC, -ECHILD. */
int rv__named_open(struct rv_zone *zone, const char *name,
                   const struct rv__named *named, void **structurep,
                   struct rv_error *error) RV_MUST_CHECK;

/* Copies to memory of a zone that nobody else can reach yet. */
void rv__fill(void *place, const void *bytes, size_t n);

/* Zeroes such memory, whole words. */
void rv__fill_zeros(void *words, size_t n);

#endif
