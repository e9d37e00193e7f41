/* The side LMDB: without syncing, in a map that is written; an operation is a
 * transaction, as it is for the others. */
#include "dict.h"

#include <lmdb.h>

enum { MAP_BYTES = 256 << 20 };

/* One process has one environment; dict.h need not know of it. */
static struct {
    MDB_env *environment;
    MDB_dbi table;
    MDB_txn *reader;
} lmdb;

static void
must(int rc)
{
    if (rc) {
        bench_die("lmdb: %s", mdb_strerror(rc));
    }
}

static void
lmdb_prepare(struct state *state)
{
    (void)state;
}

static void
lmdb_open(struct state *state)
{
    MDB_txn *txn;
    must(mdb_env_create(&lmdb.environment));
    must(mdb_env_set_mapsize(lmdb.environment, MAP_BYTES));
    must(mdb_env_open(lmdb.environment, state->address,
                      MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP
                          | MDB_NOTLS,
                      0600));
    must(mdb_txn_begin(lmdb.environment, NULL, 0, &txn));
    must(mdb_dbi_open(txn, NULL, MDB_CREATE, &lmdb.table));
    must(mdb_txn_commit(txn));
    must(mdb_txn_begin(lmdb.environment, NULL, MDB_RDONLY, &lmdb.reader));
    mdb_txn_reset(lmdb.reader);
}

static MDB_val
value_of(const void *bytes, size_t n)
{
    MDB_val value = {n, (void *)(uintptr_t)bytes};
    return value;
}

static inline bool
lmdb_get(struct state *state, const char *bytes)
{
    MDB_val key = value_of(bytes, KEY_BYTES), value;
    must(mdb_txn_renew(lmdb.reader));
    int rc = mdb_get(lmdb.reader, lmdb.table, &key, &value);
    if (rc == 0) {
        memcpy(state->buffer, value.mv_data, VALUE_BYTES);
    }
    mdb_txn_reset(lmdb.reader);
    return rc == 0;
}

static inline void
lmdb_set(struct state *state, const char *bytes)
{
    MDB_val key = value_of(bytes, KEY_BYTES);
    MDB_val value = value_of(state->value, VALUE_BYTES);
    MDB_txn *txn;
    must(mdb_txn_begin(lmdb.environment, NULL, 0, &txn));
    must(mdb_put(txn, lmdb.table, &key, &value, 0));
    must(mdb_txn_commit(txn));
}

static inline void
lmdb_incr(struct state *state, const char *bytes)
{
    MDB_val key = value_of(bytes, KEY_BYTES), value;
    uint64_t number;
    MDB_txn *txn;
    (void)state;
    must(mdb_txn_begin(lmdb.environment, NULL, 0, &txn));
    must(mdb_get(txn, lmdb.table, &key, &value));
    memcpy(&number, value.mv_data, sizeof number);
    number++;
    value = value_of(&number, sizeof number);
    must(mdb_put(txn, lmdb.table, &key, &value, 0));
    must(mdb_txn_commit(txn));
}

static void
lmdb_fill(struct state *state, bool numbers)
{
    uint64_t zero = 0;
    MDB_txn *txn;
    must(mdb_txn_begin(lmdb.environment, NULL, 0, &txn));
    for (unsigned int i = 0; i < state->n_keys; i++) {
        MDB_val key = value_of(state->keys[i], KEY_BYTES);
        MDB_val value = numbers ? value_of(&zero, sizeof zero)
                                : value_of(state->value, VALUE_BYTES);
        must(mdb_put(txn, lmdb.table, &key, &value, 0));
    }
    must(mdb_txn_commit(txn));
}

SLICES(lmdb)

const struct side side_lmdb = {"lmdb",    lmdb_prepare,    lmdb_open,
                               lmdb_fill, SLICES_OF(lmdb), false};
