/* The load of `tests/torture/peers` for stores that C drives; load.c has the
 * program, one other file the store.
 *
 * Each worker opens the store after fork(2) and then only calls it.  What the
 * store must not answer ends the run: wrong() says it to the director.
 */
#ifndef TORTURE_PEERS_LOAD_H
#define TORTURE_PEERS_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOAD_VALUE_BYTES = 4096 }; /* No value is longer. */

/* How a call ended that stores. */
enum load_answer { LOAD_DONE, LOAD_REFUSED /* No memory for it. */ };

/* Looks at what lies at 'key', a text; NULL: a number or a list. */
typedef void load_visit(const char *key, const char *value, size_t length);

/* In the parent of the workers, which keeps it.  'variant' may be "". */
struct store *store_create(const char *folder, const char *variant);

/* In a worker, first of all. */
void store_open(struct store *store);

/* The length of the value, now in 'buffer' of LOAD_VALUE_BYTES; -1: there is
 * none. */
long store_get(struct store *store, const char *key, char *buffer);

enum load_answer store_set(struct store *store, const char *key,
                           const char *value, size_t length);

void store_delete(struct store *store, const char *key);

/* Adds one to the number at 'key', of which there may be none yet. */
enum load_answer store_incr(struct store *store, const char *key);

/* Adds a value at the beginning of a list, and takes the last one from it
 * into 'buffer'; the length of that, -1: none was taken.  A store without
 * lists has nothing at 'key', and does nothing. */
enum load_answer store_push(struct store *store, const char *key,
                            const char *value, size_t length, uint64_t *np);
long store_pop(struct store *store, const char *key, char *buffer);

/* While nobody else uses the store: checks it, and visits every key. */
void store_audit(struct store *store, load_visit *visit);

/* Says to the director what is wrong, and waits for the end. */
_Noreturn void wrong(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

#endif
