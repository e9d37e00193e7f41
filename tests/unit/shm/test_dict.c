/* Every call of the dict, and every error. */
#include "dict_test.h"

#include <math.h>

#include "base/siphash.h"

enum { ZONE_BYTES = 4 << 20 };

START_TEST(values_come_back_as_they_were)
{
    struct fixture f;
    struct rv_dict_value value;
    char buffer[16];
    set_up(&f, ZONE_BYTES, 0);
    ck_assert_int_eq(set_text(f.dict, "text", "hello", 0), 0);
    ck_assert_int_eq(set_text(f.dict, "", "the empty key", 0), 0);
    ck_assert_int_eq(set_text(f.dict, "empty", "", 0), 0);
    ck_assert_int_eq(set_integer(f.dict, "int", INT64_MIN), 0);
    value = rv_dict_real(-0.5);
    value.flags = UINT32_MAX;
    ck_assert_int_eq(rv_dict_set(f.dict, "real", 4, &value, 0), 0);
    value = rv_dict_boolean(true);
    ck_assert_int_eq(rv_dict_set(f.dict, "truth", 5, &value, 0), 0);
    expect_text(f.dict, "text", "hello");
    expect_text(f.dict, "", "the empty key");
    expect_text(f.dict, "empty", "");
    expect_integer(f.dict, "int", INT64_MIN);
    ck_assert_int_eq(rv_dict_get(f.dict, "real", 4, NULL, 0, &value), 0);
    ck_assert_int_eq(value.type, RV_DICT_REAL);
    ck_assert_double_eq(value.real, -0.5);
    ck_assert_uint_eq(value.flags, UINT32_MAX);
    ck_assert_int_eq(rv_dict_get(f.dict, "truth", 5, NULL, 0, &value), 0);
    ck_assert_int_eq(value.type, RV_DICT_BOOLEAN);
    ck_assert(value.boolean);
    expect_none(f.dict, "tex");
    ck_assert_int_eq(rv_dict_get(f.dict, "text", 4, buffer, 4, &value),
                     -EMSGSIZE);
    ck_assert_uint_eq(value.length, 5);
    ck_assert_int_eq(rv_dict_get(f.dict, "text", 4, buffer, 5, &value), 0);
    ck_assert_ptr_eq(value.bytes, buffer);
    tear_down(&f);
}
END_TEST

START_TEST(a_set_replaces_values_of_all_sizes)
{
    struct fixture f;
    static char bytes[300000], buffer[300000];
    struct rv_dict_value value;
    set_up(&f, ZONE_BYTES, 0);
    for (size_t n = 0; n <= sizeof bytes; n = n * 2 + 1) {
        memset(bytes, (int)(n % 251), n);
        value = rv_dict_bytes(bytes, n);
        value.flags = (uint32_t)n;
        ck_assert_int_eq(rv_dict_set(f.dict, "key", 3, &value, 0), 0);
        ck_assert_int_eq(
            rv_dict_get(f.dict, "key", 3, buffer, sizeof buffer, &value), 0);
        ck_assert_uint_eq(value.length, n);
        ck_assert_uint_eq(value.flags, n);
        ck_assert_int_eq(memcmp(buffer, bytes, n), 0);
        audit(f.zone, f.dict);
    }
    ck_assert_int_eq(set_integer(f.dict, "key", 7), 0);
    expect_integer(f.dict, "key", 7);
    ck_assert_int_eq(rv_dict_set(f.dict, "key", 3, NULL, 0), 0);
    expect_none(f.dict, "key");
    tear_down(&f);
}
END_TEST

START_TEST(keys_have_a_longest_length)
{
    struct fixture f;
    static char key[RV_DICT_KEY_MAX_BYTES + 1];
    struct rv_dict_value value = rv_dict_integer(1);
    size_t most = RV_DICT_KEY_MAX_BYTES;
    set_up(&f, ZONE_BYTES, 0);
    memset(key, 'k', sizeof key);
    ck_assert_int_eq(rv_dict_set(f.dict, key, most, &value, 0), 0);
    ck_assert_int_eq(rv_dict_set(f.dict, key, most - 1, &value, 0), 0);
    ck_assert_int_eq(rv_dict_get(f.dict, key, most, NULL, 0, &value), 0);
    ck_assert_int_eq(rv_dict_set(f.dict, key, most + 1, &value, 0), -E2BIG);
    ck_assert_int_eq(rv_dict_get(f.dict, key, most + 1, NULL, 0, &value),
                     -E2BIG);
    ck_assert_int_eq(rv_dict_delete(f.dict, key, most + 1), -E2BIG);
    ck_assert_int_eq(rv_dict_incr(f.dict, key, most, &value, NULL, 0, &value),
                     0);
    value = rv_dict_bytes(key, (size_t)RV_DICT_VALUE_MAX_BYTES + 1);
    ck_assert_int_eq(rv_dict_set(f.dict, "key", 3, &value, 0), -E2BIG);
    value.type = (enum rv_dict_type)5;
    ck_assert_int_eq(rv_dict_set(f.dict, "key", 3, &value, 0), -EINVAL);
    tear_down(&f);
}
END_TEST

START_TEST(add_and_replace_ask_first)
{
    struct fixture f;
    struct rv_dict_value value = rv_dict_integer(1);
    set_up(&f, ZONE_BYTES, 0);
    ck_assert_int_eq(rv_dict_replace(f.dict, "k", 1, &value, 0), -ENOENT);
    ck_assert_int_eq(rv_dict_add(f.dict, "k", 1, &value, 100), 0);
    value.integer = 2;
    ck_assert_int_eq(rv_dict_add(f.dict, "k", 1, &value, 0), -EEXIST);
    ck_assert_int_eq(rv_dict_safe_add(f.dict, "k", 1, &value, 0), -EEXIST);
    expect_integer(f.dict, "k", 1);
    ck_assert_int_eq(rv_dict_replace(f.dict, "k", 1, &value, 100), 0);
    expect_integer(f.dict, "k", 2);
    f.now_ms += 100;
    ck_assert_int_eq(rv_dict_replace(f.dict, "k", 1, &value, 0), -ENOENT);
    ck_assert_int_eq(rv_dict_safe_add(f.dict, "k", 1, &value, 0), 0);
    ck_assert_int_eq(rv_dict_safe_set(f.dict, "k", 1, &value, 0), 0);
    expect_integer(f.dict, "k", 2);
    ck_assert_int_eq(rv_dict_delete(f.dict, "k", 1), 0);
    ck_assert_int_eq(rv_dict_delete(f.dict, "k", 1), 0);
    expect_none(f.dict, "k");
    tear_down(&f);
}
END_TEST

START_TEST(time_ends_keys)
{
    struct fixture f;
    int64_t ttl_ms = -1;
    struct rv_dict_value value;
    bool is_stale = true;
    char buffer[8];
    set_up(&f, ZONE_BYTES, 0);
    ck_assert_int_eq(set_text(f.dict, "k", "v", 50), 0);
    ck_assert_int_eq(set_text(f.dict, "ever", "v", INT64_MAX), 0);
    ck_assert_int_eq(rv_dict_ttl(f.dict, "k", 1, &ttl_ms), 0);
    ck_assert_int_eq(ttl_ms, 50);
    ck_assert_int_eq(rv_dict_ttl(f.dict, "ever", 4, &ttl_ms), 0);
    ck_assert_int_eq(ttl_ms, 0);
    ck_assert_int_eq(
        rv_dict_get_stale(f.dict, "k", 1, buffer, 8, &value, &is_stale), 0);
    ck_assert(!is_stale);
    ck_assert_int_eq(rv_dict_expire(f.dict, "k", 1, 80), 0);
    f.now_ms += 79;
    expect_text(f.dict, "k", "v");
    f.now_ms += 1;
    expect_none(f.dict, "k");
    ck_assert_int_eq(
        rv_dict_get_stale(f.dict, "k", 1, buffer, 8, &value, &is_stale), 0);
    ck_assert(is_stale);
    ck_assert_int_eq(rv_dict_ttl(f.dict, "k", 1, &ttl_ms), -ENOENT);
    ck_assert_int_eq(rv_dict_expire(f.dict, "k", 1, 80), -ENOENT);
    ck_assert_int_eq(rv_dict_expire(f.dict, "none", 4, 80), -ENOENT);
    ck_assert_int_eq(rv_dict_expire(f.dict, "ever", 4, -1), -EINVAL);
    ck_assert_int_eq(set_text(f.dict, "k", "v", -1), -EINVAL);
    ck_assert_int_eq(rv_dict_expire(f.dict, "ever", 4, 10), 0);
    ck_assert_int_eq(rv_dict_expire(f.dict, "ever", 4, 0), 0);
    f.now_ms += 1000000;
    expect_text(f.dict, "ever", "v");
    tear_down(&f);
}
END_TEST

START_TEST(numbers_are_added_to)
{
    struct fixture f;
    struct rv_dict_value one = rv_dict_integer(1), sum;
    struct rv_dict_value half = rv_dict_real(0.5);
    struct rv_dict_value ten = rv_dict_integer(10);
    struct rv_dict_value text = rv_dict_bytes("x", 1);
    int64_t ttl_ms = -1;
    set_up(&f, ZONE_BYTES, 0);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &one, NULL, 0, &sum),
                     -ENOENT);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &one, &ten, 500, &sum), 0);
    ck_assert_int_eq(sum.integer, 11);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &one, &ten, 900, &sum), 0);
    ck_assert_int_eq(sum.integer, 12);
    ck_assert_int_eq(rv_dict_ttl(f.dict, "n", 1, &ttl_ms), 0);
    ck_assert_int_eq(ttl_ms, 500);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &half, NULL, 0, &sum), 0);
    ck_assert_int_eq(sum.type, RV_DICT_REAL);
    ck_assert_double_eq(sum.real, 12.5);
    ck_assert_int_eq(rv_dict_ttl(f.dict, "n", 1, &ttl_ms), 0);
    ck_assert_int_eq(ttl_ms, 500);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &one, NULL, 0, NULL), 0);
    ck_assert_int_eq(get(f.dict, "n", &sum), 0);
    ck_assert_double_eq(sum.real, 13.5);
    f.now_ms += 500;
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &one, NULL, 0, &sum),
                     -ENOENT);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &one, &half, 0, &sum), 0);
    ck_assert_double_eq(sum.real, 1.5);
    ck_assert_int_eq(set_integer(f.dict, "top", INT64_MAX), 0);
    ck_assert_int_eq(rv_dict_incr(f.dict, "top", 3, &one, NULL, 0, &sum),
                     -EOVERFLOW);
    expect_integer(f.dict, "top", INT64_MAX);
    ck_assert_int_eq(rv_dict_incr(f.dict, "top", 3, &half, NULL, 0, &sum), 0);
    ck_assert_double_eq(sum.real, 0x1p63);
    ck_assert_int_eq(set_text(f.dict, "text", "1", 0), 0);
    ck_assert_int_eq(rv_dict_incr(f.dict, "text", 4, &one, NULL, 0, &sum),
                     -EINVAL);
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &text, NULL, 0, &sum),
                     -EINVAL);
    ck_assert_int_eq(rv_dict_incr(f.dict, "new", 3, &one, &text, 0, &sum),
                     -EINVAL);
    expect_none(f.dict, "new");
    ck_assert_int_eq(rv_dict_incr(f.dict, "n", 1, &one, &one, -1, &sum),
                     -EINVAL);
    tear_down(&f);
}
END_TEST

static void
expect_pop(struct rv_dict *dict, bool is_first, const char *text)
{
    char buffer[64];
    struct rv_dict_value value;
    int rc = is_first ? rv_dict_lpop(dict, "list", 4, buffer, 64, &value)
                      : rv_dict_rpop(dict, "list", 4, buffer, 64, &value);
    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(value.type, RV_DICT_BYTES);
    ck_assert_uint_eq(value.length, strlen(text));
    ck_assert_int_eq(memcmp(buffer, text, value.length), 0);
}

START_TEST(lists_have_two_ends)
{
    struct fixture f;
    struct rv_dict_value a = rv_dict_bytes("a", 1);
    struct rv_dict_value b = rv_dict_bytes("bb", 2);
    struct rv_dict_value n = rv_dict_integer(7), value;
    char buffer[64];
    uint64_t length = 99;
    set_up(&f, ZONE_BYTES, 0);
    ck_assert_int_eq(rv_dict_llen(f.dict, "list", 4, &length), 0);
    ck_assert_uint_eq(length, 0);
    ck_assert_int_eq(rv_dict_lpush(f.dict, "list", 4, &a, &length), 0);
    ck_assert_int_eq(rv_dict_lpush(f.dict, "list", 4, &b, NULL), 0);
    ck_assert_int_eq(rv_dict_rpush(f.dict, "list", 4, &n, &length), 0);
    ck_assert_uint_eq(length, 3);
    audit(f.zone, f.dict);
    ck_assert_int_eq(rv_dict_get(f.dict, "list", 4, buffer, 64, &value),
                     -EPROTOTYPE);
    ck_assert_int_eq(rv_dict_incr(f.dict, "list", 4, &n, NULL, 0, &value),
                     -EPROTOTYPE);
    ck_assert_int_eq(rv_dict_lpop(f.dict, "list", 4, buffer, 1, &value),
                     -EMSGSIZE);
    ck_assert_uint_eq(value.length, 2);
    expect_pop(f.dict, true, "bb");
    ck_assert_int_eq(rv_dict_rpop(f.dict, "list", 4, buffer, 64, &value), 0);
    ck_assert_int_eq(value.type, RV_DICT_INTEGER);
    ck_assert_int_eq(value.integer, 7);
    ck_assert_int_eq(rv_dict_llen(f.dict, "list", 4, &length), 0);
    ck_assert_uint_eq(length, 1);
    expect_pop(f.dict, false, "a");
    ck_assert_int_eq(rv_dict_rpop(f.dict, "list", 4, buffer, 64, &value),
                     -ENOENT);
    ck_assert_int_eq(set_integer(f.dict, "list", 1), 0);
    ck_assert_int_eq(rv_dict_rpop(f.dict, "list", 4, buffer, 64, &value),
                     -EPROTOTYPE);
    ck_assert_int_eq(rv_dict_rpush(f.dict, "list", 4, &a, &length),
                     -EPROTOTYPE);
    ck_assert_int_eq(rv_dict_llen(f.dict, "list", 4, &length), -EPROTOTYPE);
    tear_down(&f);
}
END_TEST

START_TEST(long_lists_go_whole)
{
    struct fixture f;
    struct rv_dict_value value = rv_dict_bytes("0123456789", 10);
    struct rv_dict_value n = rv_dict_integer(7);
    uint64_t length;
    set_up(&f, ZONE_BYTES, 0);
    uint64_t before = rv_dict_free_space(f.dict);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 5000; i++) {
            ck_assert_int_eq(rv_dict_rpush(f.dict, "list", 4, &value, NULL),
                             0);
        }
        ck_assert_uint_lt(rv_dict_free_space(f.dict), before);
        audit(f.zone, f.dict);
        if (round == 0) {
            ck_assert_int_eq(rv_dict_delete(f.dict, "list", 4), 0);
        } else if (round == 1) {
            ck_assert_int_eq(rv_dict_set(f.dict, "list", 4, &n, 0), 0);
            ck_assert_int_eq(rv_dict_delete(f.dict, "list", 4), 0);
        } else if (round == 2) {
            ck_assert_int_eq(rv_dict_expire(f.dict, "list", 4, 1), 0);
            f.now_ms++;
            ck_assert_int_eq(rv_dict_llen(f.dict, "list", 4, &length), 0);
            ck_assert_uint_eq(length, 0);
            ck_assert_int_eq(rv_dict_lpush(f.dict, "list", 4, &n, &length), 0);
            ck_assert_uint_eq(length, 1);
            ck_assert_int_eq(rv_dict_delete(f.dict, "list", 4), 0);
        } else {
            ck_assert_int_eq(rv_dict_flush_all(f.dict), 0);
            ck_assert_int_eq(rv_dict_flush_expired(f.dict, 0), 1);
        }
        audit(f.zone, f.dict);
        ck_assert_int_eq(rv_slab_flush(f.zone), 0);
        ck_assert_uint_ge(rv_dict_free_space(f.dict) + 65536, before);
    }
    tear_down(&f);
}
END_TEST

static int
count_keys(void *context, const void *key, size_t key_length)
{
    int *n = context;
    ck_assert_uint_eq(key_length, 8);
    ck_assert_int_eq(memcmp(key, "key", 3), 0);
    return ++*n == 1000000 ? 17 : 0;
}

static void
set_many(struct rv_dict *dict, int n, int64_t ttl_ms)
{
    char key[16];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "key%05d", i);
        ck_assert_int_eq(set_text(dict, key, key, ttl_ms), 0);
    }
}

START_TEST(tables_grow_and_keys_are_listed)
{
    struct fixture f;
    char key[16];
    enum { N = 20000 };
    set_up(&f, ZONE_BYTES, 1);
    set_many(f.dict, N, 0);
    set_many(f.dict, N / 2, 10);
    audit(f.zone, f.dict);
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "key%05d", i);
        expect_text(f.dict, key, key);
    }
    int n = 0;
    ck_assert_int_eq(rv_dict_keys(f.dict, 0, count_keys, &n), 0);
    ck_assert_int_eq(n, N);
    n = 0;
    ck_assert_int_eq(rv_dict_keys(f.dict, 100, count_keys, &n), 0);
    ck_assert_int_eq(n, 100);
    n = 999999;
    ck_assert_int_eq(rv_dict_keys(f.dict, 0, count_keys, &n), 17);
    f.now_ms += 10;
    n = 0;
    ck_assert_int_eq(rv_dict_keys(f.dict, 0, count_keys, &n), 0);
    ck_assert_int_eq(n, N / 2);
    ck_assert_int_eq(rv_dict_flush_expired(f.dict, 7), 7);
    ck_assert_int_eq(rv_dict_flush_expired(f.dict, 0), N / 2 - 7);
    ck_assert_int_eq(rv_dict_flush_expired(f.dict, 0), 0);
    audit(f.zone, f.dict);
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "key%05d", i);
        ck_assert_int_eq(rv_dict_delete(f.dict, key, 8), 0);
    }
    struct rv_dict_stats stats;
    rv_dict_get_stats(f.dict, &stats);
    ck_assert_uint_eq(stats.n_entries, 0);
    ck_assert_uint_eq(stats.n_evicted, 0);
    ck_assert_uint_eq(stats.n_expired, N / 2);
    ck_assert_uint_eq(stats.n_hits, N);
    ck_assert_uint_eq(stats.n_shards, 1);
    tear_down(&f);
}
END_TEST

/* Makes ten keys that belong to the last of two buckets, which takes seven. */
static void
crowd(struct fixture *f, char keys[10][16])
{
    int number = 0;
    for (int i = 0; i < 10; i++) {
        uint64_t hash;
        do {
            snprintf(keys[i], 16, "key%05d", number++);
            hash = rv_siphash13(f->dict->hash_key, keys[i], 8);
        } while ((hash & 1) == 0);
        ck_assert_int_eq(set_integer(f->dict, keys[i], i), 0);
    }
}

START_TEST(keys_go_on_from_a_full_bucket)
{
    struct fixture f;
    char keys[10][16];
    struct rv_dict_value value;
    struct rv__table table;
    set_up(&f, 1 << 18, 1);
    crowd(&f, keys);
    ck_assert(rv__table_open(f.dict, f.dict->shards[0].table, &table));
    ck_assert_uint_eq(table.mask, 1);
    ck_assert_uint_eq(table.buckets[1].n_passed, 3);
    ck_assert_uint_eq(table.buckets[0].n_passed, 0);
    ck_assert_int_eq(rv_dict_delete(f.dict, keys[2], 8), 0);
    ck_assert_uint_eq(table.buckets[1].n_passed, 3);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(get(f.dict, keys[i], &value), i == 2 ? -ENOENT : 0);
    }
    ck_assert_int_eq(rv_dict_delete(f.dict, keys[9], 8), 0);
    ck_assert_uint_eq(table.buckets[1].n_passed, 2);
    audit(f.zone, f.dict);
    tear_down(&f);
}
END_TEST

START_TEST(a_wrong_count_of_those_who_went_on_is_noticed)
{
    struct fixture f;
    struct rv_error error;
    char keys[10][16];
    struct rv__table table;
    set_up(&f, 1 << 18, 1);
    crowd(&f, keys);
    ck_assert(rv__table_open(f.dict, f.dict->shards[0].table, &table));
    for (uint32_t n = 0; n < 5; n++) {
        table.buckets[1].n_passed = n;
        ck_assert_int_eq(rv_dict_check(f.dict, &error), n == 3 ? 0 : -EUCLEAN);
    }
    table.buckets[1].n_passed = 3;
    table.buckets[0].n_passed = 1;
    ck_assert_int_eq(rv_dict_check(f.dict, &error), -EUCLEAN);
    table.buckets[0].n_passed = 0;
    tear_down(&f);
}
END_TEST

START_TEST(nobody_knows_the_key_of_the_hash)
{
    struct fixture f, other;
    set_up(&f, 1 << 18, 1);
    set_up(&other, 1 << 18, 1);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_ne(f.dict->hash_key[i], 0);
        ck_assert_uint_ne(f.dict->hash_key[i], other.dict->hash_key[i]);
    }
    tear_down(&other);
    tear_down(&f);
}
END_TEST

START_TEST(flush_all_makes_all_stale)
{
    struct fixture f;
    struct rv_dict_value value;
    bool is_stale = false;
    char buffer[16];
    set_up(&f, ZONE_BYTES, 0);
    set_many(f.dict, 1000, 0);
    ck_assert_int_eq(rv_dict_flush_all(f.dict), 0);
    audit(f.zone, f.dict);
    expect_none(f.dict, "key00007");
    ck_assert_int_eq(rv_dict_expire(f.dict, "key00007", 8, 0), -ENOENT);
    ck_assert_int_eq(rv_dict_get_stale(f.dict, "key00007", 8, buffer, 16,
                                       &value, &is_stale),
                     0);
    ck_assert(is_stale);
    ck_assert_int_eq(set_text(f.dict, "key00007", "new", 0), 0);
    expect_text(f.dict, "key00007", "new");
    int n = 0;
    ck_assert_int_eq(rv_dict_keys(f.dict, 0, count_keys, &n), 0);
    ck_assert_int_eq(n, 1);
    int flushed = rv_dict_flush_expired(f.dict, 0);
    ck_assert_int_ge(flushed, 900);
    expect_text(f.dict, "key00007", "new");
    ck_assert_int_eq(rv_dict_get_stale(f.dict, "key00008", 8, buffer, 16,
                                       &value, &is_stale),
                     -ENOENT);
    tear_down(&f);
}
END_TEST

START_TEST(writers_sweep_the_dead)
{
    struct fixture f;
    struct rv_dict_stats stats;
    set_up(&f, ZONE_BYTES, 16);
    set_many(f.dict, 5000, 10);
    f.now_ms += 10;
    for (int i = 0; i < 40000; i++) {
        ck_assert_int_eq(set_integer(f.dict, "other", i), 0);
        char key[16];
        snprintf(key, sizeof key, "oth%05d", i % 100);
        ck_assert_int_eq(set_integer(f.dict, key, i), 0);
    }
    rv_dict_get_stats(f.dict, &stats);
    ck_assert_uint_eq(stats.n_entries, 101);
    ck_assert_uint_eq(stats.n_expired, 5000);
    tear_down(&f);
}
END_TEST

START_TEST(a_full_dict_evicts_what_was_not_read)
{
    struct fixture f;
    struct rv_dict_stats stats;
    char key[16];
    int n_forcible = 0;
    int n_kept = 0;
    static char bytes[400];
    struct rv_dict_value value = rv_dict_bytes(bytes, sizeof bytes);
    set_up(&f, 1 << 20, 16);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "key%05d", i);
        int rc = rv_dict_set(f.dict, key, 8, &value, 0);
        ck_assert_int_ge(rc, 0);
        n_forcible += rc == RV_DICT_FORCIBLE;
        for (int k = 0; k < 100 && i % 20 == 0; k++) {
            snprintf(key, sizeof key, "key%05d", k);
            struct rv_dict_value kept;
            int found = get(f.dict, key, &kept);
            ck_assert(found == 0 || found == -ENOENT);
        }
    }
    rv_dict_get_stats(f.dict, &stats);
    ck_assert_int_gt(n_forcible, 10000);
    ck_assert_uint_ge(stats.n_evicted, (uint64_t)n_forcible);
    ck_assert_uint_ge(stats.n_entries * 512, 900 * 1024);
    for (int k = 0; k < 100; k++) {
        struct rv_dict_value kept;
        snprintf(key, sizeof key, "key%05d", k);
        n_kept += get(f.dict, key, &kept) == 0;
    }
    /* The key of the hash is random, and so is who shares a shard. */
    ck_assert_int_ge(n_kept, 90);
    expect_none(f.dict, "key00500");
    tear_down(&f);
}
END_TEST

/* Where lua_shared_dict says "no memory" in a nearly empty zone. */
START_TEST(a_value_fits_whatever_was_there_before)
{
    struct fixture f;
    char key[16];
    static char bytes[200000];
    set_up(&f, 1 << 20, 16);
    for (size_t n = 16; n < sizeof bytes; n = n * 3) {
        struct rv_dict_value value = rv_dict_bytes(bytes, n);
        for (int i = 0; i < 200; i++) {
            snprintf(key, sizeof key, "%zu.%d", n, i);
            ck_assert_int_ge(rv_dict_set(f.dict, key, strlen(key), &value, 0),
                             0);
        }
        audit(f.zone, f.dict);
    }
    struct rv_dict_value small = rv_dict_bytes(bytes, 100);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "s%d", i);
        ck_assert_int_ge(rv_dict_set(f.dict, key, strlen(key), &small, 0), 0);
    }
    struct rv_dict_value large = rv_dict_bytes(bytes, sizeof bytes);
    ck_assert_int_eq(rv_dict_set(f.dict, "large", 5, &large, 0),
                     RV_DICT_FORCIBLE);
    tear_down(&f);
}
END_TEST

START_TEST(a_failed_set_keeps_the_old_value)
{
    struct fixture f;
    char key[16];
    static char bytes[2 << 20];
    set_up(&f, 1 << 20, 16);
    ck_assert_int_eq(set_text(f.dict, "old", "value", 0), 0);
    struct rv_dict_value huge = rv_dict_bytes(bytes, sizeof bytes);
    ck_assert_int_eq(rv_dict_set(f.dict, "old", 3, &huge, 0), -ENOMEM);
    expect_text(f.dict, "old", "value");
    /* Smaller than the zone, but no run of it is left whatever goes. */
    struct rv_dict_value large = rv_dict_bytes(bytes, (1 << 20) - 5000);
    ck_assert_int_eq(rv_dict_set(f.dict, "old", 3, &large, 0), -ENOMEM);
    expect_text(f.dict, "old", "value");
    /* safe_* never evict. */
    struct rv_dict_value value = rv_dict_bytes(bytes, 4000);
    int rc = 0;
    int n = 0;
    for (; n < 1000 && rc == 0; n++) {
        snprintf(key, sizeof key, "key%05d", n);
        rc = rv_dict_safe_set(f.dict, key, 8, &value, 0);
    }
    ck_assert_int_eq(rc, -ENOMEM);
    ck_assert_int_gt(n, 200);
    ck_assert_int_eq(rv_dict_safe_set(f.dict, "key00003", 8, &large, 0),
                     -ENOMEM);
    ck_assert_int_eq(rv_dict_safe_add(f.dict, "none", 4, &value, 0), -ENOMEM);
    ck_assert_int_eq(rv_dict_safe_add(f.dict, "old", 3, &value, 0), -EEXIST);
    ck_assert_int_eq(rv_dict_add(f.dict, "old", 3, &value, 0), -EEXIST);
    ck_assert_int_eq(rv_dict_replace(f.dict, "none", 4, &value, 0), -ENOENT);
    struct rv_dict_stats stats;
    rv_dict_get_stats(f.dict, &stats);
    expect_text(f.dict, "old", "value");
    for (int i = 0; i < n - 1; i++) {
        struct rv_dict_value found;
        snprintf(key, sizeof key, "key%05d", i);
        ck_assert_int_eq(get(f.dict, key, &found), 0);
    }
    tear_down(&f);
}
END_TEST

START_TEST(many_are_read_at_once)
{
    enum { N = 50 };
    struct fixture f;
    static struct rv_dict_get gets[N];
    static char keys[N][24], buffers[N][24];
    static char long_key[RV_DICT_KEY_MAX_BYTES + 1];
    set_up(&f, ZONE_BYTES, 1);
    for (int i = 0; i < N; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "key of %d", i);
        gets[i] = (struct rv_dict_get){.key = keys[i],
                                       .key_length = (size_t)n,
                                       .buffer = buffers[i],
                                       .size = sizeof buffers[i],
                                       .rc = 1};
        if (i % 3) {
            ck_assert_int_eq(set_text(f.dict, keys[i], keys[i], 0), 0);
        }
    }
    gets[4].size = 1;
    gets[20].key = long_key;
    gets[20].key_length = sizeof long_key;
    ck_assert_uint_eq(rv_dict_get_many(f.dict, gets, N), 31);
    for (int i = 0; i < N; i++) {
        int wanted = i == 4 ? -EMSGSIZE : i == 20 ? -E2BIG : -ENOENT;
        bool is_found = i % 3 && i != 4 && i != 20;
        ck_assert_int_eq(gets[i].rc, is_found ? 0 : wanted);
        if (is_found) {
            ck_assert_uint_eq(gets[i].value.length, strlen(keys[i]));
            ck_assert_int_eq(memcmp(buffers[i], keys[i], gets[i].value.length),
                             0);
        }
    }
    ck_assert_uint_eq(rv_dict_get_many(f.dict, gets, 0), 0);
    tear_down(&f);
}
END_TEST

START_TEST(a_dict_is_opened_by_name)
{
    struct fixture f;
    struct rv_dict *other = NULL;
    struct rv_zone *reader = NULL;
    struct rv_dict_value value;
    struct rv_zone_options options = {.is_read_only = true};
    struct rv_dict_settings odd = {.n_shards = 3};
    set_up(&f, ZONE_BYTES, 32);
    ck_assert_int_eq(set_text(f.dict, "k", "v", 0), 0);
    ck_assert_int_eq(rv_zone_attach(f.fd, &options, &reader, NULL), 0);
    ck_assert_int_eq(rv_dict_open(reader, "none", NULL, &other, NULL),
                     -ENOENT);
    ck_assert_int_eq(rv_dict_open(reader, "dict", NULL, &other, NULL), 0);
    expect_text(other, "k", "v");
    ck_assert_int_eq(set_text(other, "k", "v", 0), -EROFS);
    ck_assert_int_eq(rv_dict_delete(other, "k", 1), -EROFS);
    value = rv_dict_integer(1);
    ck_assert_int_eq(rv_dict_lpush(other, "l", 1, &value, NULL), -EROFS);
    ck_assert_int_eq(rv_dict_flush_all(other), -EROFS);
    rv_dict_close(&other);
    rv_dict_close(&other);
    ck_assert_int_eq(rv_zone_detach(&reader), 0);
    ck_assert_int_eq(rv_dict_open(f.zone, "", NULL, &other, NULL), -EINVAL);
    ck_assert_int_eq(rv_dict_open(f.zone, "odd", &odd, &other, NULL), -EINVAL);
    begin(f.zone, rv_zone_root_lock(f.zone), RV_ZONE_ROOT_WORDS);
    ck_assert_int_eq(rv_dict_open(f.zone, "dict", NULL, &other, NULL),
                     -EDEADLK);
    ck_assert_int_eq(set_text(f.dict, "k", "v", 0), -EDEADLK);
    expect_text(f.dict, "k", "v");
    ck_assert_int_eq(
        rv_zone_root_set(f.zone, "alien", 1, rv_zone_heap_begin(f.zone)), 0);
    ck_assert_int_eq(rv_tx_commit(f.zone), 0);
    ck_assert_int_eq(rv_dict_open(f.zone, "alien", NULL, &other, NULL),
                     -EPROTOTYPE);
    ck_assert_int_eq(rv_dict_open(f.zone, "dict", NULL, &other, NULL), 0);
    struct rv_dict_stats stats;
    rv_dict_get_stats(other, &stats);
    ck_assert_uint_eq(stats.n_shards, 32);
    ck_assert_uint_eq(rv_dict_capacity(other), ZONE_BYTES);
    rv_dict_close(&other);
    tear_down(&f);
}
END_TEST

START_TEST(a_child_is_refused)
{
    struct fixture f;
    set_up(&f, ZONE_BYTES, 0);
    ck_assert_int_eq(set_text(f.dict, "k", "v", 0), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct rv_dict_value value;
        _exit(get(f.dict, "k", &value) == -ECHILD
                      && set_text(f.dict, "k", "v", 0) == -ECHILD
                      && rv_dict_check(f.dict, NULL) == -ECHILD
                      && rv_dict_flush_expired(f.dict, 0) == -ECHILD
                  ? 0
                  : 1);
    }
    ck_assert_int_eq(end_of(pid), 0);
    tear_down(&f);
}
END_TEST

static int
touch_key(void *context, const void *key, size_t key_length)
{
    unsigned int *sum = context;
    for (size_t i = 0; i < key_length; i++) {
        *sum += ((const unsigned char *)key)[i];
    }
    return 0;
}

/* Whatever the bytes: reading, listing and checking end, and say so. */
START_TEST(damage_is_survived)
{
    uint64_t seed = 11;
    for (int round = 0; round < 60; round++) {
        struct fixture f;
        struct rv_error error;
        char key[16];
        struct rv_dict_value value;
        unsigned int sum = 0;
        set_up(&f, 1 << 18, 16);
        set_many(f.dict, 300, 0);
        value = rv_dict_bytes("x", 1);
        for (int i = 0; i < 20; i++) {
            ck_assert_int_eq(rv_dict_rpush(f.dict, "l", 1, &value, NULL), 0);
        }
        char *heap = f.zone->base + rv_zone_heap_begin(f.zone);
        uint64_t from = random_below(&seed, 40000);
        for (int i = 0; i < 1 << (round % 12); i++) {
            uint64_t word = random_below(&seed, UINT64_MAX);
            word = random_below(&seed, 2) ? word : word >> 40;
            memcpy(heap + from + random_below(&seed, 40000), &word, 8);
        }
        int rc = rv_dict_check(f.dict, &error);
        ck_assert(rc == 0 || rc == -EUCLEAN || rc == -ENOMEM);
        for (int i = 0; i < 300; i++) {
            snprintf(key, sizeof key, "key%05d", i);
            rc = get(f.dict, key, &value);
            ck_assert(rc <= 0);
        }
        rc = rv_dict_keys(f.dict, 0, touch_key, &sum);
        ck_assert(rc <= 0);
        rv_dict_close(&f.dict);
        ck_assert_int_eq(rv_zone_detach(&f.zone), 0);
        rv_fd_close(&f.fd);
    }
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(values_come_back_as_they_were),
        RV_TEST(a_set_replaces_values_of_all_sizes),
        RV_TEST(keys_have_a_longest_length),
        RV_TEST(add_and_replace_ask_first),
        RV_TEST(time_ends_keys),
        RV_TEST(numbers_are_added_to),
        RV_TEST(lists_have_two_ends),
        RV_TEST(long_lists_go_whole),
        RV_TEST(tables_grow_and_keys_are_listed),
        RV_TEST(keys_go_on_from_a_full_bucket),
        RV_TEST(a_wrong_count_of_those_who_went_on_is_noticed),
        RV_TEST(nobody_knows_the_key_of_the_hash),
        RV_TEST(flush_all_makes_all_stale),
        RV_TEST(writers_sweep_the_dead),
        RV_TEST(a_full_dict_evicts_what_was_not_read),
        RV_TEST(a_value_fits_whatever_was_there_before),
        RV_TEST(a_failed_set_keeps_the_old_value),
        RV_TEST(many_are_read_at_once),
        RV_TEST(a_dict_is_opened_by_name),
        RV_TEST(a_child_is_refused),
        RV_TEST(damage_is_survived),
    };
    return rv_test_run("dict", tests, RV_ARRAY_SIZE(tests));
}
