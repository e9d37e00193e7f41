#include "shm/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* 'start' plus 'n' things of 'bytes' each, at the next page. */
static uint64_t
behind(uint64_t start, uint64_t n, uint64_t bytes)
{
    uint64_t end = start + n * bytes + RV_ZONE_PAGE_BYTES - 1;
    return end / RV_ZONE_PAGE_BYTES * RV_ZONE_PAGE_BYTES;
}

void
rv__geometry_init(struct rv__geometry *g, uint64_t max_size_bytes,
                  uint32_t n_members)
{
    uint64_t n_pages = max_size_bytes / RV_ZONE_PAGE_BYTES;
    *g = (struct rv__geometry){.max_size_bytes = max_size_bytes,
                               .n_members = n_members};
    g->lives = RV__HEADER_BYTES;
    g->members = behind(g->lives, n_members, RV__LIFE_BYTES);
    g->pages = behind(g->members, n_members, RV__MEMBER_BYTES);
    g->states = behind(g->pages, n_pages, RV__DESCRIPTOR_BYTES);
    g->heap = behind(g->states, n_pages, RV__STATES_BYTES);
    g->end = g->heap + max_size_bytes;
}

struct rv__header *
rv__header_create(void)
{
    void *header =
        aligned_alloc(_Alignof(struct rv__header), sizeof(struct rv__header));
    if (header) {
        memset(header, 0, sizeof(struct rv__header));
    }
    return header;
}

/* FNV-1a: against accidents, not against malice. */
uint64_t
rv__header_checksum(const struct rv__header *header)
{
    const unsigned char *bytes = (const void *)header;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct rv__header, checksum); i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static int
check_kind(const struct rv__header *h, struct rv_error *error)
{
    if (h->magic != RV__ZONE_MAGIC) {
        return rv_error_set(error, -EUCLEAN,
                            h->magic ? "not a zone: it begins otherwise"
                                     : "not a zone: it begins with zeros, as "
                                       "one that was not finished does");
    }
    if (h->layout_version != RV__LAYOUT_VERSION) {
        return rv_error_set(error, -EPROTONOSUPPORT,
                            "layout version %" PRIu32 ", not %d",
                            h->layout_version, RV__LAYOUT_VERSION);
    }
    return 0;
}

static int
check_ranges(const struct rv__header *h, struct rv_error *error)
{
    if (h->n_members < 1 || h->n_members > RV_ZONE_MEMBERS_MAX) {
        return rv_error_set(error, -EUCLEAN,
                            "damaged: number of members %" PRIu32,
                            h->n_members);
    }
    if (h->max_size_bytes < RV_ZONE_PAGE_BYTES
        || h->max_size_bytes > RV_ZONE_SIZE_MAX_BYTES
        || h->max_size_bytes % RV_ZONE_PAGE_BYTES) {
        return rv_error_set(error, -EUCLEAN, "damaged: maximal size %" PRIu64,
                            h->max_size_bytes);
    }
    if (h->flags & ~(uint32_t)RV__FLAG_EXCHANGE) {
        return rv_error_set(error, -EUCLEAN, "damaged: flags %" PRIx32,
                            h->flags);
    }
    return 0;
}

/* Each of these follows from something else. */
static int
check_derived(const struct rv__header *h, const struct rv__geometry *g,
              struct rv_error *error)
{
    const struct {
        const char *what;
        uint64_t is, should;
    } fields[] = {
        {"page size", h->page_bytes, RV_ZONE_PAGE_BYTES},
        {"header size", h->header_bytes, RV__HEADER_BYTES},
        {"size of a member's slot", h->member_bytes, RV__MEMBER_BYTES},
        {"start of the life words", h->lives, g->lives},
        {"start of the members", h->members, g->members},
        {"start of the page map", h->pages, g->pages},
        {"start of the states", h->states, g->states},
        {"start of the heap", h->heap, g->heap},
        {"end", h->end, g->end},
        {"checksum", h->checksum, rv__header_checksum(h)},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(fields); i++) {
        if (fields[i].is != fields[i].should) {
            return rv_error_set(
                error, -EUCLEAN, "damaged: %s %" PRIu64 ", not %" PRIu64,
                fields[i].what, fields[i].is, fields[i].should);
        }
    }
    return 0;
}

static int
check_texts(const struct rv__header *h, struct rv_error *error)
{
    if (!h->name[0] || !memchr(h->name, 0, sizeof h->name)
        || !memchr(h->tag, 0, sizeof h->tag)) {
        return rv_error_set(error, -EUCLEAN, "damaged: name or tag");
    }
    return 0;
}

int
rv__header_check(const struct rv__header *header,
                 struct rv__geometry *geometry, struct rv_error *error)
{
    struct rv__geometry g = {0};
    int rc = check_kind(header, error);
    if (!rc) {
        rc = check_ranges(header, error);
    }
    if (!rc) {
        rv__geometry_init(&g, header->max_size_bytes, header->n_members);
        rc = check_derived(header, &g, error);
    }
    if (!rc) {
        rc = check_texts(header, error);
    }
    if (!rc) {
        g.is_exchange = header->flags & RV__FLAG_EXCHANGE;
        *geometry = g;
    }
    return rc;
}

bool
rv__size_is_valid(uint64_t size_bytes, uint64_t complement,
                  const struct rv__geometry *geometry)
{
    return size_bytes == ~complement && size_bytes
           && size_bytes <= geometry->max_size_bytes
           && size_bytes % RV_ZONE_PAGE_BYTES == 0;
}

void
rv__info_init(struct rv_zone_info *info, const struct rv__header *header,
              const struct rv__geometry *geometry)
{
    *info = (struct rv_zone_info){
        .size_bytes = header->size_bytes,
        .max_size_bytes = geometry->max_size_bytes,
        .file_bytes = geometry->end,
        .n_members = geometry->n_members,
        .is_exchange = geometry->is_exchange,
        .identity = header->identity,
    };
    memcpy(info->name, header->name, sizeof info->name);
    memcpy(info->tag, header->tag, sizeof info->tag);
}
