/* test-dict: workers that use a dict of a zone all the time, and complain.
 *
 *     services:
 *       web:   {command: [reeve-test, test-dict, z, 20000], zones: [z],
 *               ready: notify, workers: 3}
 *       audit: {command: [reeve-test, test-dict, z, 20000, audit],
 *               zones: [z], ready: notify, listen: 8080}
 *
 * Once in the zone's life the workers fill the dict that is called as the
 * zone, with the keys k0, k1, ...  Each value carries its key and a checksum.
 * From then on they get, set and increment until SIGTERM.  Nothing of that
 * may ever fail, evict, or find a value that is not whole.  What they did
 * stands on a board in the zone, so that it outlives them.
 *
 * The auditor serves one connection at a time, and answers each line:
 *
 *     count      operations, failures, and how many died in a write, so far
 *     audit      keys that are whole, missing, wrong
 *     more N     makes it N keys, without evicting
 *     check      walks all structures; while no worker runs
 */
#include "reeve-test.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "os/notify.h"
#include "reeve/dict.h"
#include "reeve/slab.h"
#include "reeve/tx.h"
#include "reeve/zone.h"

enum {
    LISTEN_FD = 3,
    BOARD_TYPE = 2,
    PLACES = 64,
    BATCH = 2000,
    COUNTERS = 16,
    KEY_BYTES = 16,
    VALUE_BYTES = 256,
    PAD_BYTES = 120,
};

/* Of a worker's number, whichever process has that.  Plain words, not changed
 * by transactions: they tell what a transaction would hide. */
struct place {
    uint64_t n_operations, n_failures;
    uint64_t n_interrupted; /* Predecessors that died in a write. */
    uint64_t is_writing;
};

struct board {
    uint64_t n_keys; /* 0: not filled yet. */
    struct place places[PLACES];
};

struct worker {
    struct rv_zone *zone;
    struct rv_dict *dict;
    struct board *board;
    struct place *place;
    uint64_t random;
    uint64_t n_wanted;
};

/* -------------------------------------------------------------- the board */

static struct board *
find_board(struct rv_zone *zone)
{
    uint64_t type, offset;
    if (rv_zone_root_get(zone, "board", &type, &offset)
        || type != BOARD_TYPE) {
        return NULL;
    }
    return rv_zone_at(zone, offset, sizeof(struct board));
}

static int
create_board(struct rv_zone *zone)
{
    uint64_t offset = 0;
    int rc = rv_slab_reserve(zone, sizeof(struct board), 1, 0);
    rc = rc ? rc
            : rv_tx_begin(zone, rv_zone_root_lock(zone),
                          RV_SLAB_WORDS + RV_ZONE_ROOT_WORDS);
    if (rc) {
        return rc;
    }
    if (find_board(zone)) {
        rv_tx_abort(zone);
        return 0;
    }
    rc = rv_slab_take(zone, sizeof(struct board), &offset);
    if (!rc) {
        memset(rv_zone_at(zone, offset, sizeof(struct board)), 0,
               sizeof(struct board));
        rc = rv_zone_root_set(zone, "board", BOARD_TYPE, offset);
    }
    int committed = rv_tx_commit(zone);
    return rc ? rc : committed;
}

static void
add_to(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static uint64_t
load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void
complain(struct worker *worker, const char *what, uint64_t key, int rc)
{
    add_to(&worker->place->n_failures);
    fprintf(stderr, "test-dict: FAILED to %s k%" PRIu64 ": %s\n", what, key,
            rc < 0 ? strerrorname_np(-rc)
            : rc   ? "evicted"
                   : "not whole");
}

/* ----------------------------------------------------------------- values */

static uint64_t
draw(struct worker *worker)
{
    uint64_t x = worker->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* FNV-1a. */
static uint64_t
checksum(const char *text, size_t n)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* "KEY SEED PADDING CHECKSUM", the last one of all before it; its length. */
static size_t
make_value(uint64_t key, uint64_t seed, char text[VALUE_BYTES])
{
    char pad[PAD_BYTES];
    size_t n_pad = seed % PAD_BYTES;
    memset(pad, 'a' + (int)(seed % 26), n_pad);
    int n = snprintf(text, VALUE_BYTES, "k%" PRIu64 " %016" PRIx64 " %.*s ",
                     key, seed, (int)n_pad, pad);
    n += snprintf(text + n, VALUE_BYTES - (size_t)n, "%016" PRIx64,
                  checksum(text, (size_t)n));
    return (size_t)n;
}

static bool
is_whole(uint64_t key, const char *text, size_t n)
{
    char wanted[VALUE_BYTES], again[VALUE_BYTES];
    char *seed = memchr(text, ' ', n);
    if (!seed || n >= VALUE_BYTES) {
        return false;
    }
    memcpy(again, text, n);
    again[n] = '\0';
    size_t n_wanted =
        make_value(key, strtoull(again + (seed - text), NULL, 16), wanted);
    return n == n_wanted && !memcmp(text, wanted, n);
}

/* ------------------------------------------------------------- operations */

static size_t
key_text(uint64_t key, char text[KEY_BYTES])
{
    return (size_t)snprintf(text, KEY_BYTES, "k%" PRIu64, key);
}

/* 0: it is whole. */
static int
get(struct worker *worker, uint64_t n)
{
    char key[KEY_BYTES], bytes[VALUE_BYTES];
    struct rv_dict_value value;
    int rc = rv_dict_get(worker->dict, key, key_text(n, key), bytes,
                         sizeof bytes, &value);
    bool is_fine = !rc && value.type == RV_DICT_BYTES
                   && is_whole(n, value.bytes, value.length);
    return rc ? rc : is_fine ? 0 : -EBADMSG;
}

typedef int store(struct rv_dict *dict, const void *key, size_t key_length,
                  const struct rv_dict_value *value, int64_t ttl_ms);

static int
put(struct worker *worker, uint64_t n, store *how)
{
    char key[KEY_BYTES], bytes[VALUE_BYTES];
    size_t n_bytes = make_value(n, draw(worker), bytes);
    struct rv_dict_value value = rv_dict_bytes(bytes, n_bytes);
    __atomic_store_n(&worker->place->is_writing, 1, __ATOMIC_RELAXED);
    int rc = how(worker->dict, key, key_text(n, key), &value, 0);
    __atomic_store_n(&worker->place->is_writing, 0, __ATOMIC_RELAXED);
    return rc;
}

static int
increment(struct worker *worker, uint64_t n)
{
    char key[KEY_BYTES];
    struct rv_dict_value one = rv_dict_integer(1), none = rv_dict_integer(0);
    int length = snprintf(key, sizeof key, "hits%" PRIu64, n);
    return rv_dict_incr(worker->dict, key, (size_t)length, &one, &none, 0,
                        NULL);
}

/* Three of eight operations read. */
static void
work(struct worker *worker)
{
    uint64_t kind = draw(worker) % 8;
    uint64_t n = draw(worker) % load(&worker->board->n_keys);
    int rc;
    if (kind < 3) {
        rc = get(worker, n);
    } else if (kind < 7) {
        rc = put(worker, n, rv_dict_set);
    } else {
        rc = increment(worker, n % COUNTERS);
    }
    if (rc) {
        complain(worker, kind < 3 ? "get" : kind < 7 ? "set" : "count", n, rc);
    }
    add_to(&worker->place->n_operations);
}

/* Adds what is missing up to 'n_keys'. */
static int
fill(struct worker *worker, uint64_t n_keys)
{
    for (uint64_t i = load(&worker->board->n_keys); i < n_keys; i++) {
        int rc = put(worker, i, rv_dict_safe_add);
        if (rc && rc != -EEXIST) {
            complain(worker, "add", i, rc);
            return rc;
        }
    }
    __atomic_store_n(&worker->board->n_keys, n_keys, __ATOMIC_RELAXED);
    return 0;
}

/* Until SIGTERM; a moment's rest after each batch leaves the processor to
 * whoever else is there. */
static int
run_worker(struct worker *worker)
{
    struct timespec rest = {.tv_nsec = 1000000};
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    if (__atomic_exchange_n(&worker->place->is_writing, 0, __ATOMIC_RELAXED)) {
        add_to(&worker->place->n_interrupted);
    }
    if (!load(&worker->board->n_keys) && fill(worker, worker->n_wanted)) {
        return EXIT_FAILURE;
    }
    rv_notify_send("READY=1\n");
    while (sigtimedwait(&term, NULL, &rest) < 0) {
        for (int i = 0; i < BATCH; i++) {
            work(worker);
        }
    }
    rv_dict_close(&worker->dict);
    return rv_zone_detach(&worker->zone) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---------------------------------------------------------------- auditor */

static void
answer_count(const struct worker *worker, FILE *client)
{
    struct place sum = {.n_operations = 0};
    for (size_t i = 0; i < PLACES; i++) {
        const struct place *place = &worker->board->places[i];
        sum.n_operations += load(&place->n_operations);
        sum.n_failures += load(&place->n_failures);
        sum.n_interrupted += load(&place->n_interrupted);
    }
    fprintf(client, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", sum.n_operations,
            sum.n_failures, sum.n_interrupted);
}

static void
answer_audit(struct worker *worker, FILE *client)
{
    uint64_t n_whole = 0, n_missing = 0, n_wrong = 0;
    uint64_t n_keys = load(&worker->board->n_keys);
    for (uint64_t i = 0; i < n_keys; i++) {
        int rc = get(worker, i);
        n_whole += rc == 0;
        n_missing += rc == -ENOENT;
        n_wrong += rc && rc != -ENOENT;
    }
    fprintf(client, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", n_whole,
            n_missing, n_wrong);
}

static void
answer_check(struct worker *worker, FILE *client)
{
    struct rv_error error = {.text = "cannot heal"};
    int rc = rv_zone_heal(worker->zone);
    rc = rc < 0 ? rc : rv_zone_check(worker->zone, &error);
    rc = rc ? rc : rv_slab_check(worker->zone, &error);
    rc = rc ? rc : rv_dict_check(worker->dict, &error);
    fprintf(client, "%s\n", rc ? error.text : "OK");
}

static void
answer(struct worker *worker, char *line, FILE *client)
{
    int64_t n = 0;
    line[strcspn(line, "\n")] = '\0';
    if (!strcmp(line, "count")) {
        answer_count(worker, client);
    } else if (!strcmp(line, "audit")) {
        answer_audit(worker, client);
    } else if (!strcmp(line, "check")) {
        answer_check(worker, client);
    } else if (!strncmp(line, "more ", 5)
               && !rv_str_parse_integer(line + 5, &n) && n > 0) {
        int rc = fill(worker, (uint64_t)n);
        fprintf(client, "%s\n", rc ? strerrorname_np(-rc) : "OK");
    } else {
        fprintf(client, "what?\n");
    }
    fflush(client);
}

static int
run_auditor(struct worker *worker)
{
    char line[64];
    rv_notify_send("READY=1\n");
    for (;;) {
        int fd = accept(LISTEN_FD, NULL, NULL);
        FILE *requests = fd < 0 ? NULL : fdopen(fd, "r");
        FILE *client = requests ? fdopen(dup(fd), "w") : NULL;
        if (!client) {
            reeve_test_fatal_of("test-dict", errno, "accept");
        }
        while (fgets(line, sizeof line, requests)) {
            answer(worker, line, client);
        }
        fclose(client);
        fclose(requests);
    }
}

int
test_dict(int argc, char **argv)
{
    struct worker worker = {.random = (uint64_t)getpid() << 32};
    struct rv_error error;
    int64_t n_keys, number;
    const char *index = getenv("REEVE_WORKER");
    if (rv_str_parse_integer(argv[2], &n_keys) || n_keys <= 0 || !index
        || rv_str_parse_integer(index, &number) || number >= PLACES) {
        reeve_test_fatal_of("test-dict", 0, "keys, or REEVE_WORKER");
    }
    worker.n_wanted = (uint64_t)n_keys;
    if (rv_zone_attach_by_name(argv[1], NULL, &worker.zone, &error)
        || rv_dict_open(worker.zone, argv[1], NULL, &worker.dict, &error)) {
        reeve_test_fatal_of("test-dict", 0, "%s", error.text);
    }
    int rc = create_board(worker.zone);
    worker.board = find_board(worker.zone);
    if (rc || !worker.board) {
        reeve_test_fatal_of("test-dict", rc ? -rc : ENOENT, "board");
    }
    /* The auditor has the last place for itself. */
    worker.place = &worker.board->places[argc > 3 ? PLACES - 1 : number];
    return argc > 3 ? run_auditor(&worker) : run_worker(&worker);
}
