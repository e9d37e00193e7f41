/* The descriptor store: name -> descriptor.
 *
 * Room: keeper.  Blocks: never.  Allocates: never; the table is part of the
 * caller's storage and, being zero, costs no memory before it is used.
 */
#ifndef RV_KEEPER_STORE_H
#define RV_KEEPER_STORE_H

#include "reeve/base.h"
#include "keeper/protocol.h"

enum { RV_STORE_ENTRIES = 65536 * 3, RV_STORE_CHAINS = 4096 };

/* Numbers of entries are one too high, so that 0 means none. */
struct rv_store {
    uint32_t chains[RV_STORE_CHAINS];
    uint32_t first_free; /* Freed entries, linked by 'next'. */
    uint32_t n_used;     /* Entries ever used, from the first on. */
    struct rv_store_entry {
        int fd_plus_1; /* 0: free. */
        uint32_t next;
        char name[RV_KEEPER_NAME];
    } entries[RV_STORE_ENTRIES];
};

/* Stores 'fd' and owns it; what had the name before is closed.  On failure the
 * caller still owns 'fd': -EINVAL (name empty or too long), -ENOSPC. */
int rv_store_put(struct rv_store *store, const char *name, int fd);

/* Closes the descriptor of that name.  -ENOENT. */
int rv_store_drop(struct rv_store *store, const char *name);

/* The next entry in use from number '*position' on (start with 0), or NULL;
 * moves '*position' past it.  Its descriptor stays the store's. */
const struct rv_store_entry *rv_store_next(const struct rv_store *store,
                                           uint32_t *position);

/* Closes everything. */
void rv_store_clear(struct rv_store *store);

#endif
