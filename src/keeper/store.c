#include "keeper/store.h"

#include <errno.h>
#include <string.h>

#include "os/fd.h"

static uint32_t *
chain_of(struct rv_store *store, const char *name)
{
    uint32_t hash = UINT32_C(2166136261); /* FNV-1a. */
    for (const char *p = name; *p; p++) {
        hash = (hash ^ (unsigned char)*p) * UINT32_C(16777619);
    }
    return &store->chains[hash % RV_STORE_CHAINS];
}

/* Where the number of the entry of that name stands, or the chain's end. */
static uint32_t *
find(struct rv_store *store, const char *name)
{
    uint32_t *link = chain_of(store, name);
    while (*link && strcmp(store->entries[*link - 1].name, name)) {
        link = &store->entries[*link - 1].next;
    }
    return link;
}

static uint32_t
take_entry(struct rv_store *store)
{
    uint32_t number = store->first_free;
    if (number) {
        store->first_free = store->entries[number - 1].next;
    } else if (store->n_used < RV_STORE_ENTRIES) {
        number = ++store->n_used;
    }
    return number;
}

int
rv_store_put(struct rv_store *store, const char *name, int fd)
{
    if (!*name || strlen(name) >= RV_KEEPER_NAME) {
        return -EINVAL;
    }
    uint32_t *link = find(store, name);
    if (!*link) {
        uint32_t number = take_entry(store);
        if (!number) {
            return -ENOSPC;
        }
        struct rv_store_entry *entry = &store->entries[number - 1];
        entry->next = 0;
        memcpy(entry->name, name, strlen(name) + 1);
        *link = number;
    } else {
        int old = store->entries[*link - 1].fd_plus_1 - 1;
        rv_fd_close(&old);
    }
    store->entries[*link - 1].fd_plus_1 = fd + 1;
    return 0;
}

int
rv_store_drop(struct rv_store *store, const char *name)
{
    uint32_t *link = find(store, name);
    uint32_t number = *link;
    if (!number) {
        return -ENOENT;
    }
    struct rv_store_entry *entry = &store->entries[number - 1];
    int fd = entry->fd_plus_1 - 1;
    rv_fd_close(&fd);
    *link = entry->next;
    entry->fd_plus_1 = 0;
    entry->name[0] = '\0';
    entry->next = store->first_free;
    store->first_free = number;
    return 0;
}

const struct rv_store_entry *
rv_store_next(const struct rv_store *store, uint32_t *position)
{
    while (*position < store->n_used) {
        const struct rv_store_entry *entry = &store->entries[(*position)++];
        if (entry->fd_plus_1) {
            return entry;
        }
    }
    return NULL;
}

void
rv_store_clear(struct rv_store *store)
{
    uint32_t position = 0;
    const struct rv_store_entry *entry;
    while ((entry = rv_store_next(store, &position))) {
        int fd = entry->fd_plus_1 - 1;
        rv_fd_close(&fd);
    }
    memset(store->chains, 0, sizeof store->chains);
    memset(store->entries, 0, store->n_used * sizeof store->entries[0]);
    store->first_free = store->n_used = 0;
}
