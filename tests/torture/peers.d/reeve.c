/* reeve's dict under the load of load.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "reeve/dict.h"
#include "reeve/slab.h"
#include "reeve/zone.h"

enum { ZONE_BYTES = 2 << 20 }; /* Less than the load would fill. */

struct store {
    int fd;
    struct rv_zone *zone;
    struct rv_dict *dict;
    load_visit *visit; /* During an audit. */
    uint64_t n_visited;
};

struct store *
store_create(const char *folder, const char *variant)
{
    struct rv_zone_settings settings = {.name = "peers",
                                        .size_bytes = ZONE_BYTES};
    struct rv_error error;
    struct store *store = calloc(1, sizeof *store);
    (void)folder;
    (void)variant;
    if (!store || rv_zone_create(&settings, &store->fd, &error)) {
        fprintf(stderr, "no zone\n");
        exit(1);
    }
    return store;
}

void
store_open(struct store *store)
{
    struct rv_error error;
    if (rv_zone_attach(store->fd, NULL, &store->zone, &error)
        || rv_dict_open(store->zone, "peers", NULL, &store->dict, &error)) {
        wrong("open: %s", error.text);
    }
}

static enum load_answer
answer(const char *call, int rc)
{
    if (rc == -ENOMEM) {
        return LOAD_REFUSED;
    }
    if (rc < 0) {
        wrong("%s: %s", call, strerror(-rc));
    }
    return LOAD_DONE;
}

/* The length of what was read, or -1; all but -ENOENT is wrong. */
static long
length_of(const char *call, int rc, const struct rv_dict_value *value)
{
    if (rc == -ENOENT) {
        return -1;
    }
    if (rc < 0 || value->type != RV_DICT_BYTES) {
        wrong("%s: %s, type %d", call, strerror(-rc), (int)value->type);
    }
    return (long)value->length;
}

long
store_get(struct store *store, const char *key, char *buffer)
{
    struct rv_dict_value value = {.type = RV_DICT_BYTES};
    int rc = rv_dict_get(store->dict, key, strlen(key), buffer,
                         LOAD_VALUE_BYTES, &value);
    return length_of("get", rc, &value);
}

enum load_answer
store_set(struct store *store, const char *key, const char *value,
          size_t length)
{
    struct rv_dict_value bytes = rv_dict_bytes(value, length);
    return answer("set",
                  rv_dict_set(store->dict, key, strlen(key), &bytes, 0));
}

void
store_delete(struct store *store, const char *key)
{
    int rc = rv_dict_delete(store->dict, key, strlen(key));
    if (rc < 0) {
        wrong("delete: %s", strerror(-rc));
    }
}

enum load_answer
store_incr(struct store *store, const char *key)
{
    struct rv_dict_value one = rv_dict_integer(1), none = rv_dict_integer(0);
    struct rv_dict_value sum = none;
    int rc = rv_dict_incr(store->dict, key, strlen(key), &one, &none, 0, &sum);
    if (rc >= 0 && (sum.type != RV_DICT_INTEGER || sum.integer < 1)) {
        wrong("corrupt value: %s is %lld", key, (long long)sum.integer);
    }
    return answer("incr", rc);
}

enum load_answer
store_push(struct store *store, const char *key, const char *value,
           size_t length, uint64_t *np)
{
    struct rv_dict_value bytes = rv_dict_bytes(value, length);
    return answer("lpush",
                  rv_dict_lpush(store->dict, key, strlen(key), &bytes, np));
}

long
store_pop(struct store *store, const char *key, char *buffer)
{
    struct rv_dict_value value = {.type = RV_DICT_BYTES};
    int rc = rv_dict_rpop(store->dict, key, strlen(key), buffer,
                          LOAD_VALUE_BYTES, &value);
    return length_of("rpop", rc, &value);
}

static int
visit_key(void *context, const void *bytes, size_t length)
{
    struct store *store = context;
    struct rv_dict_value value;
    char key[32] = "", buffer[LOAD_VALUE_BYTES];
    if (length >= sizeof key) {
        wrong("corrupt key of %zu bytes", length);
    }
    memcpy(key, bytes, length);
    store->n_visited++;
    if (key[0] == 'l') {
        uint64_t n = 0;
        if (rv_dict_llen(store->dict, key, length, &n) || n == 0) {
            wrong("corrupt list: %s", key);
        }
        store->visit(key, NULL, 0);
        return 0;
    }
    int rc =
        rv_dict_get(store->dict, key, length, buffer, sizeof buffer, &value);
    if (rc) {
        wrong("audit: %s: %s", key, strerror(-rc));
    }
    store->visit(key, value.type == RV_DICT_BYTES ? buffer : NULL,
                 value.length);
    return 0;
}

void
store_audit(struct store *store, load_visit *visit)
{
    struct rv_dict_stats stats;
    struct rv_error error;
    int rc = rv_zone_heal(store->zone);
    if (rc < 0) {
        wrong("heal: %s", strerror(-rc));
    }
    if (rv_zone_check(store->zone, &error)
        || rv_slab_check(store->zone, &error)
        || rv_dict_check(store->dict, &error)) {
        wrong("audit: %s", error.text);
    }
    store->visit = visit;
    store->n_visited = 0;
    rc = rv_dict_keys(store->dict, 0, visit_key, store);
    rv_dict_get_stats(store->dict, &stats);
    if (rc || store->n_visited != stats.n_entries) {
        wrong("audit: %s; %llu keys of %llu", strerror(-rc),
              (unsigned long long)store->n_visited,
              (unsigned long long)stats.n_entries);
    }
}
