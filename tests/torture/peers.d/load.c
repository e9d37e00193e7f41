/* See load.h; tests/torture/peers starts it and says what the load is.
 *
 *     torture-peer-STORE FOLDER WORKERS SEED [VARIANT]
 *
 * The parent forks the workers, and a new one for each that dies, after it
 * has said on stderr how it died.
 */
#include "load.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MAX_WORKERS = 8,
    BATCH = 10, /* Operations between two looks at the board. */
    N_VALUES = 2000,
    N_NUMBERS = 64,
    N_LISTS = 16,
    LIST_MAX = 16,
    TEXT_BYTES = 8192,
    KEY_BYTES = 16,
    POLYNOMIAL = 0x6db88320, /* Of CRC-32, but for its highest bit. */
};

/* One place of the board, 64 bytes, that the director reads. */
struct place {
    uint64_t pid;
    uint64_t n_operations; /* Of all workers of this place. */
    uint64_t n_refused;
    uint64_t has_done; /* The last request that it has done. */
    uint64_t rest[4];
};

struct board {
    uint64_t request; /* 0: work; even: rest; odd: the first one audits. */
    uint64_t rest[7];
    struct place places[MAX_WORKERS];
};

struct worker {
    struct store *store;
    const struct board *board;
    struct place *place;
    unsigned int number;
    uint64_t random;
    uint32_t crc[256];
    char text[TEXT_BYTES];
    char value[LOAD_VALUE_BYTES];
    char buffer[LOAD_VALUE_BYTES];
};

/* wrong() appends to it. */
static int wrong_fd = -1;

/* For visits, which have no other way to it. */
static const struct worker *me;

static _Noreturn void
die(const char *what)
{
    perror(what);
    exit(1);
}

_Noreturn void
wrong(const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    size_t length = n < (int)sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[length++] = '\n';
    if (write(wrong_fd, line, length) != (ssize_t)length) {
        _exit(9);
    }
    for (;;) {
        pause();
    }
}

static uint64_t
any(struct worker *worker, uint64_t below)
{
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return (worker->random >> 11) % below;
}

/* ------------------------------------------------------------------- values */

static void
fill_crc(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) {
            c = c & 1 ? (c >> 1) ^ (UINT32_C(0x80000000) | POLYNOMIAL)
                      : c >> 1;
        }
        table[i] = c;
    }
}

static uint32_t
crc32_of(const uint32_t table[256], uint32_t c, const char *bytes, size_t n)
{
    c = ~c;
    for (size_t i = 0; i < n; i++) {
        c = table[(c ^ (unsigned char)bytes[i]) & 255] ^ (c >> 8);
    }
    return ~c;
}

/* "KEY CHECKSUM BODY": the checksum is that of the key and the body. */
static size_t
make_value(struct worker *worker, const char *key, size_t longest)
{
    size_t n = 1 + any(worker, longest);
    const char *body = worker->text + any(worker, TEXT_BYTES - n);
    uint32_t sum = crc32_of(worker->crc, 0, key, strlen(key));
    sum = crc32_of(worker->crc, sum, body, n);
    int head =
        snprintf(worker->value, sizeof worker->value, "%s %08x ", key, sum);
    memcpy(worker->value + head, body, n);
    return (size_t)head + n;
}

static void
check_value(const char *key, const char *value, size_t length)
{
    size_t n = strlen(key);
    if (length < n + 11 || memcmp(value, key, n) != 0 || value[n] != ' ') {
        wrong("corrupt value: %s has %.*s", key,
              (int)(length < 20 ? length : 20), value);
    }
    char digits[9] = "";
    memcpy(digits, value + n + 1, 8);
    uint32_t sum = crc32_of(me->crc, 0, key, n);
    sum = crc32_of(me->crc, sum, value + n + 10, length - n - 10);
    if (strtoul(digits, NULL, 16) != sum) {
        wrong("corrupt value: the checksum of %s, %zu bytes, is wrong", key,
              length);
    }
}

static void
visit(const char *key, const char *value, size_t length)
{
    if (key[0] == 'v') {
        if (!value) {
            wrong("corrupt value: %s is no text", key);
        }
        check_value(key, value, length);
    }
}

/* --------------------------------------------------------------- operations */

static const char *
make_key(char key[KEY_BYTES], char kind, uint64_t number)
{
    snprintf(key, KEY_BYTES, "%c%04u", kind, (unsigned int)number);
    return key;
}

static void
note(struct worker *worker, enum load_answer answer)
{
    worker->place->n_refused += answer == LOAD_REFUSED;
}

static void
use_list(struct worker *worker)
{
    char key[KEY_BYTES];
    uint64_t n = 0;
    make_key(key, 'l', any(worker, N_LISTS));
    if (any(worker, 2)) {
        size_t length = make_value(worker, key, 300);
        note(worker,
             store_push(worker->store, key, worker->value, length, &n));
        if (n <= LIST_MAX) {
            return;
        }
    }
    long length = store_pop(worker->store, key, worker->buffer);
    if (length >= 0) {
        check_value(key, worker->buffer, (size_t)length);
    }
}

static void
operate(struct worker *worker)
{
    char key[KEY_BYTES];
    uint64_t kind = any(worker, 100);
    make_key(key, 'v', any(worker, N_VALUES));
    if (kind < 30) {
        long n = store_get(worker->store, key, worker->buffer);
        if (n >= 0) {
            check_value(key, worker->buffer, (size_t)n);
        }
    } else if (kind < 65) {
        size_t length = make_value(worker, key, 3000);
        note(worker, store_set(worker->store, key, worker->value, length));
    } else if (kind < 80) {
        store_delete(worker->store, key);
    } else if (kind < 90) {
        make_key(key, 'n', any(worker, N_NUMBERS));
        note(worker, store_incr(worker->store, key));
    } else {
        use_list(worker);
    }
}

/* ------------------------------------------------------------------ workers */

static void
answer_request(struct worker *worker)
{
    uint64_t request;
    while ((request =
                __atomic_load_n(&worker->board->request, __ATOMIC_ACQUIRE))) {
        if (request != worker->place->has_done) {
            if (request % 2 && worker->number == 0) {
                store_audit(worker->store, visit);
            }
            __atomic_store_n(&worker->place->has_done, request,
                             __ATOMIC_RELEASE);
        }
        poll(NULL, 0, 1);
    }
}

static void
fill_worker(struct worker *worker, uint64_t seed)
{
    /* The first steps of this generator from a small seed are no chance. */
    worker->random = (seed * MAX_WORKERS + worker->number + 1)
                     * UINT64_C(0x9e3779b97f4a7c15);
    worker->random ^= worker->place->n_operations << 20;
    worker->random += worker->random == 0;
    for (int i = 0; i < 20; i++) {
        any(worker, 2);
    }
    fill_crc(worker->crc);
    for (int i = 0; i < TEXT_BYTES; i++) {
        worker->text[i] = (char)('a' + any(worker, 26));
    }
}

static _Noreturn void
work(struct worker *worker, uint64_t seed)
{
    fill_worker(worker, seed);
    me = worker;
    store_open(worker->store);
    worker->place->has_done = 0;
    __atomic_store_n(&worker->place->pid, (uint64_t)getpid(),
                     __ATOMIC_RELEASE);
    for (;;) {
        answer_request(worker);
        for (int i = 0; i < BATCH; i++) {
            operate(worker);
        }
        worker->place->n_operations += BATCH;
    }
}

static pid_t
start(struct store *store, struct board *board, unsigned int number,
      uint64_t seed)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        static struct worker worker;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(0);
        }
        worker.store = store;
        worker.board = board;
        worker.place = &board->places[number];
        worker.number = number;
        work(&worker, seed);
    }
    return pid;
}

static struct board *
map_board(const char *folder)
{
    char path[256];
    snprintf(path, sizeof path, "%s/board", folder);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *board = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
                       MAP_SHARED, fd, 0);
    if (fd < 0 || board == MAP_FAILED) {
        die(path);
    }
    close(fd);
    snprintf(path, sizeof path, "%s/wrong", folder);
    wrong_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (wrong_fd < 0) {
        die(path);
    }
    return board;
}

static void
tell(pid_t pid, int status)
{
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "worker %d died by signal %d\n", (int)pid,
                WTERMSIG(status));
    } else {
        fprintf(stderr, "worker %d ended with status %d\n", (int)pid,
                WEXITSTATUS(status));
    }
}

int
main(int argc, char **argv)
{
    pid_t pids[MAX_WORKERS];
    unsigned long n = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (n < 1 || n > MAX_WORKERS) {
        fputs("usage: FOLDER WORKERS SEED [VARIANT]\n", stderr);
        return 64;
    }
    uint64_t seed = strtoull(argv[3], NULL, 10);
    struct board *board = map_board(argv[1]);
    struct store *store = store_create(argv[1], argc > 4 ? argv[4] : "");
    for (unsigned int i = 0; i < n; i++) {
        pids[i] = start(store, board, i, seed);
    }
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0) {
            die("waitpid");
        }
        tell(pid, status);
        for (unsigned int i = 0; i < n; i++) {
            if (pids[i] == pid) {
                pids[i] = start(store, board, i, seed);
            }
        }
    }
}
