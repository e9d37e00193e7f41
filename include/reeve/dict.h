/* Dicts: keys and values that processes share, with expiry and eviction.
 *
 * Room: shm.  Threads: that of the zone's handle.  Blocks: calls that change
 * the dict may wait for the lock of a shard; rv_dict_get, _get_stale, _ttl,
 * _llen and _keys wait for nobody, not even for a writer that was stopped or
 * killed.  Source: the lua_shared_dict of OpenResty's lua-nginx-module, whose
 * calls these are, for C.
 *
 *     struct rv_dict *dict;
 *     rc = rv_dict_open(zone, "sessions", NULL, &dict, &error);
 *
 *     struct rv_dict_value value = rv_dict_bytes("alice", 5);
 *     rc = rv_dict_set(dict, "id7", 3, &value, 30000);   // for 30 seconds
 *     if (rc == RV_DICT_FORCIBLE) {
 *         ... stored, but keys that had not expired went for it ...
 *     }
 *
 *     char buffer[64];
 *     rc = rv_dict_get(dict, "id7", 3, buffer, sizeof buffer, &value);
 *
 *     struct rv_dict_value one = rv_dict_integer(1);
 *     struct rv_dict_value none = rv_dict_integer(0), sum;
 *     rc = rv_dict_incr(dict, "hits", 4, &one, &none, 0, &sum);
 *     rv_dict_close(&dict);
 *
 * Each call happens wholly or not at all, whenever its process dies, and no
 * call that fails loses the value that was there.  What a call of another
 * process has done is seen at once, an instant before it can no longer be
 * undone: if that process is killed in this instant, the value before it
 * comes back.
 *
 * A key is 0 to 65,535 bytes of any kind.  A value is bytes, a 64-bit
 * integer, a double, a truth value, or a list of those; with each key go 32
 * bits of flags, the user's own, which incr, expire and pushes leave alone.
 *
 * A time to live is in milliseconds; 0: for ever, and so is what would end
 * later than time can tell; below 0: -EINVAL.  An expired key is gone for all
 * calls but rv_dict_get_stale, and its memory is used again when writers come
 * across it, or by rv_dict_flush_expired.  Time goes on while the machine
 * sleeps, and evenly whatever is done to its clock; in a zone in a file also
 * while the machine is off, as its clock says after the boot.
 *
 * When the zone is full, calls that store evict: first what expired, then
 * what was not read since the clock hand came by last.  They go on until the
 * new value fits or there is nothing left to evict, and never evict the key
 * they store.
 *
 * What another member has in its hands (slab.h) nobody can evict, nor the
 * pages that it lies in.  While less than a sixteenth of the pages is free,
 * that is up to two objects of each size between calls, and what the call that
 * it is in freed.  A member that made no call since pages became few may still
 * have up to 62 of each size that it used; rv_slab_flush gives them back.  So
 * in a zone so small that the others' hands can fill it, -ENOMEM may come
 * although everything was evicted: as a rule, have 64 KiB a member on top of
 * the data, and flush before a long rest.
 *
 * Errors that several calls have, beside those of rv_tx_begin:
 *     -ENOENT      there is no such key, or it has expired
 *     -E2BIG       the key is longer than 65,535 bytes, or the value longer
 *                  than RV_DICT_VALUE_MAX_BYTES
 *     -ENOMEM      no memory, also after evicting (or without, for safe_*)
 *     -EMSGSIZE    the buffer is too small; value->length says what it needs
 *     -EPROTOTYPE  a list where there must be none, or the other way round
 *     -EUCLEAN     the zone is damaged
 *
 * Wrong: to call a writer in an open transaction (-EDEADLK).
 * Wrong: to keep a dict longer than the zone's handle.
 */
#ifndef REEVE_DICT_H
#define REEVE_DICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"

RV_BEGIN_DECLARATIONS

struct rv_zone;
struct rv_dict;

enum {
    RV_DICT_FORCIBLE = 1, /* Stored, and keys that lived were evicted. */
    RV_DICT_KEY_MAX_BYTES = 65535,
    RV_DICT_VALUE_MAX_BYTES = 1 << 30,
    RV_DICT_SHARDS_MAX = 4096,
};

enum rv_dict_type {
    RV_DICT_BYTES = 1,
    RV_DICT_INTEGER,
    RV_DICT_REAL,
    RV_DICT_BOOLEAN,
};

struct rv_dict_value {
    enum rv_dict_type type;
    uint32_t flags;
    const void *bytes; /* RV_DICT_BYTES: borrowed; what was read lies in the
                        * caller's buffer. */
    size_t length;     /* Of them. */
    int64_t integer;
    double real;
    bool boolean;
};

/* Values to store, with flags 0. */
static inline struct rv_dict_value
rv_dict_bytes(const void *bytes, size_t length)
{
    struct rv_dict_value value = {RV_DICT_BYTES, 0, bytes, length, 0, 0, 0};
    return value;
}

static inline struct rv_dict_value
rv_dict_integer(int64_t integer)
{
    struct rv_dict_value value = {RV_DICT_INTEGER, 0, NULL, 0, integer, 0, 0};
    return value;
}

static inline struct rv_dict_value
rv_dict_real(double real)
{
    struct rv_dict_value value = {RV_DICT_REAL, 0, NULL, 0, 0, real, 0};
    return value;
}

static inline struct rv_dict_value
rv_dict_boolean(bool boolean)
{
    struct rv_dict_value value = {RV_DICT_BOOLEAN, 0, NULL, 0, 0, 0, boolean};
    return value;
}

/* How to open.  NULL in place of this: all default. */
struct rv_dict_settings {
    uint32_t n_shards; /* Locks, a power of two up to RV_DICT_SHARDS_MAX, when
                        * the dict is made; 0: by the zone's maximal size. */
    int64_t (*now_ms)(void *context); /* NULL: the zone's.  All that use a
                                       * dict must have one clock, which is
                                       * above 0. */
    void *context;
};

/* Opens the dict 'name' (1 to 31 bytes) of 'zone', which stays attached as
 * long; makes it if there is none.  The caller owns '*dictp'.  -EINVAL,
 * -ENOMEM, -ENOSPC: the zone has no more names; -EPROTOTYPE: the name is that
 * of something else; -ENOENT: there is none and the handle is read-only;
 * -EUCLEAN. */
int rv_dict_open(struct rv_zone *zone, const char *name,
                 const struct rv_dict_settings *settings,
                 struct rv_dict **dictp, struct rv_error *error) RV_MUST_CHECK;

/* Frees the handle and sets '*dictp' to NULL; the dict stays. */
void rv_dict_close(struct rv_dict **dictp);

/* ----------------------------------------------------------------- reading */

/* Reads the value of a key; bytes go to 'buffer' of 'size' bytes, which is
 * scribbled on also when the call fails.  -ENOENT, -EMSGSIZE, -EPROTOTYPE,
 * -E2BIG, -ECHILD; -EAGAIN: the value, a long one, was replaced during each
 * of ten thousand tries. */
int rv_dict_get(struct rv_dict *dict, const void *key, size_t key_length,
                void *buffer, size_t size, struct rv_dict_value *value);

/* One of many gets: what rv_dict_get is given, and gives. */
struct rv_dict_get {
    const void *key;
    size_t key_length;
    void *buffer; /* Each has its own. */
    size_t size;
    struct rv_dict_value value;
    int rc; /* What rv_dict_get would return. */
};

/* Does 'n' gets, in any order, each by itself and none waiting for a lock;
 * returns how many found their key.  Where the keys are many more than the
 * processor's caches hold it takes a third of the time, for the processor
 * waits for the memory of sixteen keys at once. */
size_t rv_dict_get_many(struct rv_dict *dict, struct rv_dict_get *gets,
                        size_t n);

/* As rv_dict_get, but also reads what expired and is still there; then
 * '*is_stalep' is true. */
int rv_dict_get_stale(struct rv_dict *dict, const void *key, size_t key_length,
                      void *buffer, size_t size, struct rv_dict_value *value,
                      bool *is_stalep);

/* How long a key lives yet; 0: for ever. */
int rv_dict_ttl(struct rv_dict *dict, const void *key, size_t key_length,
                int64_t *ttl_msp);

/* The length of a list; 0 when there is no such key.  -EPROTOTYPE. */
int rv_dict_llen(struct rv_dict *dict, const void *key, size_t key_length,
                 uint64_t *np);

/* Calls 'visit' with up to 'max' keys (0: all) that have not expired, until
 * it returns anything but 0, and returns that.  A key that is there all the
 * time is visited once, one that is deleted and set again meanwhile perhaps
 * twice.  Holds no lock, so that 'visit' may do whatever it likes.  -ENOMEM:
 * for a copy of the keys of a shard. */
int rv_dict_keys(struct rv_dict *dict, uint64_t max,
                 int (*visit)(void *context, const void *key,
                              size_t key_length),
                 void *context);

/* ----------------------------------------------------------------- writing */

/* Stores a value, whatever was there; NULL deletes the key.  0 or
 * RV_DICT_FORCIBLE; -ENOMEM, -E2BIG, -EINVAL. */
int rv_dict_set(struct rv_dict *dict, const void *key, size_t key_length,
                const struct rv_dict_value *value, int64_t ttl_ms);

/* As rv_dict_set, but never evicts. */
int rv_dict_safe_set(struct rv_dict *dict, const void *key, size_t key_length,
                     const struct rv_dict_value *value, int64_t ttl_ms);

/* As rv_dict_set, but only where nothing is: else -EEXIST. */
int rv_dict_add(struct rv_dict *dict, const void *key, size_t key_length,
                const struct rv_dict_value *value, int64_t ttl_ms);

/* As rv_dict_add, but never evicts. */
int rv_dict_safe_add(struct rv_dict *dict, const void *key, size_t key_length,
                     const struct rv_dict_value *value, int64_t ttl_ms);

/* As rv_dict_set, but only where something is: else -ENOENT. */
int rv_dict_replace(struct rv_dict *dict, const void *key, size_t key_length,
                    const struct rv_dict_value *value, int64_t ttl_ms);

/* Deletes a key, a list with all it holds.  0, also when there is none. */
int rv_dict_delete(struct rv_dict *dict, const void *key, size_t key_length);

/* Adds 'delta', a number, to the number at 'key', and sets '*sum' (NULL: not
 * wanted) to what it is then.  An integer with an integer stays one, and
 * -EOVERFLOW leaves it as it was; all else is a double.  Where there is no
 * such key 'init' is stored plus 'delta', for 'init_ttl_ms'; NULL: -ENOENT.
 * 0 or RV_DICT_FORCIBLE; -EINVAL: not a number, -EPROTOTYPE: a list. */
int rv_dict_incr(struct rv_dict *dict, const void *key, size_t key_length,
                 const struct rv_dict_value *delta,
                 const struct rv_dict_value *init, int64_t init_ttl_ms,
                 struct rv_dict_value *sum);

/* Lets a key live 'ttl_ms' from now on.  -ENOENT. */
int rv_dict_expire(struct rv_dict *dict, const void *key, size_t key_length,
                   int64_t ttl_ms);

/* ------------------------------------------------------------------- lists */

/* Adds a value (its flags are not kept) at the beginning, or the end, of a
 * list, which is made, without end of life, where there is no such key; sets
 * '*np' (NULL: not wanted) to the list's length.  0 or RV_DICT_FORCIBLE;
 * -EPROTOTYPE: another value is there. */
int rv_dict_lpush(struct rv_dict *dict, const void *key, size_t key_length,
                  const struct rv_dict_value *value, uint64_t *np);
int rv_dict_rpush(struct rv_dict *dict, const void *key, size_t key_length,
                  const struct rv_dict_value *value, uint64_t *np);

/* Takes the first, or the last, value of a list; the list goes with its last
 * one.  As rv_dict_get; when that fails nothing is taken. */
int rv_dict_lpop(struct rv_dict *dict, const void *key, size_t key_length,
                 void *buffer, size_t size, struct rv_dict_value *value);
int rv_dict_rpop(struct rv_dict *dict, const void *key, size_t key_length,
                 void *buffer, size_t size, struct rv_dict_value *value);

/* --------------------------------------------------------------- the whole */

/* Makes all keys expire now, shard by shard; frees nothing. */
int rv_dict_flush_all(struct rv_dict *dict);

/* Frees up to 'max' (0: all) expired keys, a few at a time under a lock;
 * returns how many, at most INT_MAX. */
int rv_dict_flush_expired(struct rv_dict *dict, uint64_t max);

/* Bytes of the zone, and of its pages that nothing uses: what is free within
 * pages comes on top. */
uint64_t rv_dict_capacity(const struct rv_dict *dict);
uint64_t rv_dict_free_space(const struct rv_dict *dict);

struct rv_dict_stats {
    uint64_t n_entries; /* The expired that are still there included. */
    uint64_t n_evicted; /* Before their time, */
    uint64_t n_expired; /* and of time, by all who use the dict; */
    uint64_t n_hits;    /* these two by this handle: counting them for all */
    uint64_t n_misses;  /* would make readers write what they share. */
    uint32_t n_shards;
};

/* Adds it up without locks. */
void rv_dict_get_stats(const struct rv_dict *dict,
                       struct rv_dict_stats *stats);

/* Walks every entry and list: each is whole, in its place, found by its key,
 * and counted.  Reads only, never crashes and ends on any bytes.  Exact while
 * nobody changes the dict and no dead member's transaction waits to be undone
 * (rv_zone_heal): otherwise it may take what is under way for damage.
 * -EUCLEAN and a sentence; -ENOMEM. */
int rv_dict_check(const struct rv_dict *dict, struct rv_error *error)
    RV_MUST_CHECK;

RV_END_DECLARATIONS

#endif
