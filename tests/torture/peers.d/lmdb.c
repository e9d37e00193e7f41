/* LMDB under the load of load.c; with the variant "check" each worker asks for
 * dead readers when it starts, as LMDB's manual advises. */
#include <lmdb.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

/* LMDB evicts nothing and copies what it writes: many times the load. */
#define MAP_BYTES ((size_t)64 << 20)

struct store {
    char path[256];
    bool does_check;
    MDB_env *environment;
    MDB_dbi table;
};

static void
must(const char *call, int rc)
{
    if (rc) {
        wrong("%s: %s", call, mdb_strerror(rc));
    }
}

struct store *
store_create(const char *folder, const char *variant)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store) {
        exit(1);
    }
    snprintf(store->path, sizeof store->path, "%s/db", folder);
    store->does_check = strcmp(variant, "check") == 0;
    return store;
}

void
store_open(struct store *store)
{
    MDB_txn *txn;
    int n_dead;
    must("mdb_env_create", mdb_env_create(&store->environment));
    must("mdb_env_set_mapsize",
         mdb_env_set_mapsize(store->environment, MAP_BYTES));
    must("mdb_env_open", mdb_env_open(store->environment, store->path,
                                      MDB_NOSUBDIR | MDB_NOSYNC
                                          | MDB_NOMETASYNC | MDB_WRITEMAP,
                                      0600));
    if (store->does_check) {
        must("mdb_reader_check",
             mdb_reader_check(store->environment, &n_dead));
    }
    must("mdb_txn_begin", mdb_txn_begin(store->environment, NULL, 0, &txn));
    must("mdb_dbi_open", mdb_dbi_open(txn, NULL, MDB_CREATE, &store->table));
    must("mdb_txn_commit", mdb_txn_commit(txn));
}

static MDB_val
value_of(const void *bytes, size_t n)
{
    MDB_val value = {n, (void *)(uintptr_t)bytes};
    return value;
}

long
store_get(struct store *store, const char *name, char *buffer)
{
    MDB_val key = value_of(name, strlen(name)), value;
    MDB_txn *txn;
    long length = -1;
    must("mdb_txn_begin to read",
         mdb_txn_begin(store->environment, NULL, MDB_RDONLY, &txn));
    int rc = mdb_get(txn, store->table, &key, &value);
    if (rc == 0) {
        if (value.mv_size > LOAD_VALUE_BYTES) {
            wrong("corrupt value: %s has %zu bytes", name, value.mv_size);
        }
        memcpy(buffer, value.mv_data, value.mv_size);
        length = (long)value.mv_size;
    } else if (rc != MDB_NOTFOUND) {
        must("mdb_get", rc);
    }
    mdb_txn_abort(txn);
    return length;
}

enum load_answer
store_set(struct store *store, const char *name, const char *bytes,
          size_t length)
{
    MDB_val key = value_of(name, strlen(name));
    MDB_val value = value_of(bytes, length);
    MDB_txn *txn;
    must("mdb_txn_begin", mdb_txn_begin(store->environment, NULL, 0, &txn));
    must("mdb_put", mdb_put(txn, store->table, &key, &value, 0));
    must("mdb_txn_commit", mdb_txn_commit(txn));
    return LOAD_DONE;
}

void
store_delete(struct store *store, const char *name)
{
    MDB_val key = value_of(name, strlen(name));
    MDB_txn *txn;
    must("mdb_txn_begin", mdb_txn_begin(store->environment, NULL, 0, &txn));
    int rc = mdb_del(txn, store->table, &key, NULL);
    if (rc != MDB_NOTFOUND) {
        must("mdb_del", rc);
    }
    must("mdb_txn_commit", mdb_txn_commit(txn));
}

enum load_answer
store_incr(struct store *store, const char *name)
{
    MDB_val key = value_of(name, strlen(name)), value;
    uint64_t number = 0;
    MDB_txn *txn;
    must("mdb_txn_begin", mdb_txn_begin(store->environment, NULL, 0, &txn));
    int rc = mdb_get(txn, store->table, &key, &value);
    if (rc == 0) {
        if (value.mv_size != sizeof number) {
            wrong("corrupt value: %s is no number", name);
        }
        memcpy(&number, value.mv_data, sizeof number);
    } else if (rc != MDB_NOTFOUND) {
        must("mdb_get", rc);
    }
    number++;
    value = value_of(&number, sizeof number);
    must("mdb_put", mdb_put(txn, store->table, &key, &value, 0));
    must("mdb_txn_commit", mdb_txn_commit(txn));
    return LOAD_DONE;
}

enum load_answer
store_push(struct store *store, const char *key, const char *value,
           size_t length, uint64_t *np)
{
    (void)key;
    (void)np;
    return store_set(store, "list", value, length);
}

long
store_pop(struct store *store, const char *key, char *buffer)
{
    (void)store;
    (void)key;
    (void)buffer;
    return -1;
}

/* A walk of all that one transaction sees. */
void
store_audit(struct store *store, load_visit *visit)
{
    MDB_val key, value;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_stat stat;
    size_t n = 0;
    int rc;
    must("mdb_txn_begin to read",
         mdb_txn_begin(store->environment, NULL, MDB_RDONLY, &txn));
    must("mdb_stat", mdb_stat(txn, store->table, &stat));
    must("mdb_cursor_open", mdb_cursor_open(txn, store->table, &cursor));
    while (!(rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        char name[32] = "";
        if (key.mv_size >= sizeof name) {
            wrong("corrupt key of %zu bytes", key.mv_size);
        }
        memcpy(name, key.mv_data, key.mv_size);
        visit(name, value.mv_data, value.mv_size);
        n++;
    }
    if (rc != MDB_NOTFOUND || n != stat.ms_entries) {
        wrong("audit: %s; %zu keys of %zu", mdb_strerror(rc), n,
              stat.ms_entries);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
}
