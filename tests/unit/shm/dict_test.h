/* What the tests of the dict share: a zone with a dict in it, whose clock the
 * test turns. */
#ifndef RV_TEST_DICT_H
#define RV_TEST_DICT_H

#include <limits.h>
#include <stdio.h>

#include "reeve/dict.h"
#include "shm/dict.h"
#include "slab_test.h"

struct fixture {
    int fd;
    struct rv_zone *zone;
    struct rv_dict *dict;
    int64_t now_ms;
};

static inline int64_t
fixture_now(void *context)
{
    return *(int64_t *)context;
}

static inline struct rv_dict *
open_dict(struct rv_zone *zone, uint32_t n_shards, int64_t *now_ms)
{
    struct rv_dict_settings settings = {.n_shards = n_shards,
                                        .now_ms = now_ms ? fixture_now : NULL,
                                        .context = now_ms};
    struct rv_dict *dict = NULL;
    struct rv_error error = {.code = 0};
    int rc = rv_dict_open(zone, "dict", &settings, &dict, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return dict;
}

static inline void
set_up(struct fixture *f, uint64_t size_bytes, uint32_t n_shards)
{
    f->now_ms = 1000000;
    f->fd = make_slab_zone(size_bytes, size_bytes);
    f->zone = attach_zone(f->fd);
    f->dict = open_dict(f->zone, n_shards, &f->now_ms);
}

/* The dict is sound, and all that is used of the zone is the dict's. */
static inline void
audit(const struct rv_zone *zone, const struct rv_dict *dict)
{
    struct rv_error error = {.code = 0};
    struct rv_slab_stats stats;
    uint64_t bytes = 0;
    int rc = rv__dict_audit(dict, &bytes, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    expect_sound(zone);
    rv_slab_get_stats(zone, &stats);
    ck_assert_uint_eq(stats.used_bytes, bytes);
}

static inline void
tear_down(struct fixture *f)
{
    audit(f->zone, f->dict);
    rv_dict_close(&f->dict);
    ck_assert_int_eq(rv_zone_detach(&f->zone), 0);
    rv_fd_close(&f->fd);
}

static inline int
set_text(struct rv_dict *dict, const char *key, const char *text,
         int64_t ttl_ms)
{
    struct rv_dict_value value = rv_dict_bytes(text, strlen(text));
    return rv_dict_set(dict, key, strlen(key), &value, ttl_ms);
}

static inline int
set_integer(struct rv_dict *dict, const char *key, int64_t n)
{
    struct rv_dict_value value = rv_dict_integer(n);
    return rv_dict_set(dict, key, strlen(key), &value, 0);
}

static inline int
get(struct rv_dict *dict, const char *key, struct rv_dict_value *value)
{
    static char buffer[8192];
    return rv_dict_get(dict, key, strlen(key), buffer, sizeof buffer, value);
}

static inline void
expect_text(struct rv_dict *dict, const char *key, const char *text)
{
    struct rv_dict_value value;
    ck_assert_int_eq(get(dict, key, &value), 0);
    ck_assert_int_eq(value.type, RV_DICT_BYTES);
    ck_assert_uint_eq(value.length, strlen(text));
    ck_assert_int_eq(memcmp(value.bytes, text, value.length), 0);
}

static inline void
expect_integer(struct rv_dict *dict, const char *key, int64_t n)
{
    struct rv_dict_value value;
    ck_assert_int_eq(get(dict, key, &value), 0);
    ck_assert_int_eq(value.type, RV_DICT_INTEGER);
    ck_assert_int_eq(value.integer, n);
}

static inline void
expect_none(struct rv_dict *dict, const char *key)
{
    struct rv_dict_value value;
    ck_assert_int_eq(get(dict, key, &value), -ENOENT);
}

#endif
