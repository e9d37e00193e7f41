/* Dicts beside other ways to share keys.
 *
 *     bench-shm-dict rate SIDE N MS KEYS [ADDRESS [DEPTH]]
 *         ns of a get, a get of what is not there, a set and an incr, and of
 *         one of sixteen gets in one call where SIDE has that, in each of N
 *         processes, MS milliseconds each; KEYS keys of 16 bytes with values
 *         of 64, at random.
 *     bench-shm-dict stopped STOPS
 *         ns of gets while a writer of the same keys is stopped: the median,
 *         the 99.9th percentile and the longest.
 *     bench-shm-dict stall keys|flush|idle MS
 *         us that a set took, the 99.99th percentile and the longest, while
 *         another process lists all keys, or frees expired ones, or does
 *         nothing.
 *
 * SIDE: reeve, table (open addressing without any lock, the limit), lmdb
 * (ADDRESS is a file), redis, memcached (a unix socket).
 */
#include "dict.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reeve/dict.h"

enum {
    HOT_KEYS = 8,
    MAX_NS = 1 << 20,
    STOP_US = 500,
    FLUSH_KEYS = 20000,
    SUSPECT_NS = 5000, /* Perhaps the processor was another's meanwhile. */
};

static const struct side *const sides[] = {
    &side_reeve, &side_table, &side_redis, &side_memcached,
#ifdef BENCH_LMDB
    &side_lmdb,
#endif
};

static const char *const operation_names[] = {"get", "miss", "set", "many",
                                              "incr"};

static void
fill_keys(struct state *state)
{
    char text[KEY_BYTES + 1];
    for (unsigned int i = 0; i < state->n_keys; i++) {
        snprintf(text, sizeof text, "key-%012u", i);
        memcpy(state->keys[i], text, KEY_BYTES);
        snprintf(text, sizeof text, "not-%012u", i);
        memcpy(state->misses[i], text, KEY_BYTES);
    }
    memset(state->value, 'v', sizeof state->value);
}

static void
swap_keys(char a[KEY_BYTES], char b[KEY_BYTES])
{
    char c[KEY_BYTES];
    memcpy(c, a, KEY_BYTES);
    memcpy(a, b, KEY_BYTES);
    memcpy(b, c, KEY_BYTES);
}

static void
shuffle_keys(struct state *state)
{
    uint64_t random = 12345;
    for (size_t i = state->n_keys - 1; i > 0; i--) {
        size_t k = bench_random(&random) % (i + 1);
        swap_keys(state->keys[i], state->keys[k]);
        swap_keys(state->misses[i], state->misses[k]);
    }
}

static void
measure(void *context, unsigned int who)
{
    struct state *state = context;
    state->next = who * state->n_keys / state->n;
    state->side->open(state);
    unsigned int n_each = state->side->is_server ? state->depth : SLICE;
    for (int i = (int)state->first; i <= (int)state->last; i++) {
        if (!state->side->slices[i]) {
            continue;
        }
        bench_meet(state->shared, state->n);
        state->shared->results[who][i] =
            bench_slices(state->side->slices[i], state, n_each, state->ms);
    }
}

static void
fill_bytes(void *context, unsigned int who)
{
    struct state *state = context;
    (void)who;
    state->side->open(state);
    state->side->fill(state, false);
}

static void
fill_numbers(void *context, unsigned int who)
{
    struct state *state = context;
    (void)who;
    state->side->open(state);
    state->side->fill(state, true);
}

static void
rate(struct state *state)
{
    state->side->prepare(state);
    bench_fork(state->shared, 1, 0, fill_bytes, state);
    shuffle_keys(state);
    state->shared->n_arrived = 0;
    state->first = GET;
    state->last = MANY;
    bench_fork(state->shared, state->n, 0, measure, state);
    fill_keys(state);
    bench_fork(state->shared, 1, 0, fill_numbers, state);
    shuffle_keys(state);
    state->first = state->last = INCR;
    bench_fork(state->shared, state->n, 0, measure, state);
    for (unsigned int i = 0; i < N_OPERATIONS; i++) {
        if (state->side->slices[i]) {
            printf("%s", i ? ", " : "{");
            bench_print(state->shared, operation_names[i], state->n, i);
        }
    }
    printf("}\n");
}

/* --------------------------------------------------------- stopped writers */

/* Shared by the three of `stopped`, and of `stall`. */
struct watch {
    bool is_on; /* The writer is stopped, or the lister at work. */
    bool is_over;
    uint32_t histogram[MAX_NS]; /* Of ns; the last: more. */
    uint64_t longest_ns;
};

static bool
is_set(const bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void
set_flag(bool *flag, bool value)
{
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static void
pause_us(unsigned int us)
{
    struct timespec time = {0, (long)us * 1000};
    nanosleep(&time, NULL);
}

static pid_t
start(struct state *state, struct watch *watch, unsigned int processor,
      void (*work)(struct state *state, struct watch *watch))
{
    pid_t pid = fork();
    if (pid == 0) {
        bench_pin(processor);
        state->side->open(state);
        work(state, watch);
        _exit(0);
    }
    return pid;
}

static void
read_hot(struct state *state, struct watch *watch)
{
    struct rv_dict_value value;
    for (unsigned int i = 0; !is_set(&watch->is_over); i++) {
        uint64_t before = bench_now_ns();
        int rc = rv_dict_get(state->dict, state->keys[i % HOT_KEYS], KEY_BYTES,
                             state->buffer, VALUE_BYTES, &value);
        uint64_t took = bench_now_ns() - before;
        if (rc) {
            bench_die("get: %d", rc);
        }
        if (is_set(&watch->is_on)) {
            watch->histogram[took < MAX_NS ? took : MAX_NS - 1]++;
            watch->longest_ns =
                took > watch->longest_ns ? took : watch->longest_ns;
        }
    }
}

static void
write_hot(struct state *state, struct watch *watch)
{
    struct rv_dict_value value = rv_dict_bytes(state->value, VALUE_BYTES);
    for (unsigned int i = 0; !is_set(&watch->is_over); i++) {
        if (rv_dict_set(state->dict, state->keys[i % HOT_KEYS], KEY_BYTES,
                        &value, 0)) {
            bench_die("set failed");
        }
    }
}

static unsigned int
percentile(const struct watch *watch, double share)
{
    uint64_t all = 0, n = 0;
    unsigned int i = 0;
    for (unsigned int k = 0; k < MAX_NS; k++) {
        all += watch->histogram[k];
    }
    while (i < MAX_NS - 1
           && (double)(n += watch->histogram[i]) < share * (double)all) {
        i++;
    }
    return i;
}

static void
stopped(struct state *state, unsigned int n_stops)
{
    struct watch *watch = bench_share(sizeof *watch);
    state->side->prepare(state);
    bench_fork(state->shared, 1, 0, fill_bytes, state);
    pid_t writer = start(state, watch, 0, write_hot);
    pid_t reader = start(state, watch, 1, read_hot);
    uint64_t random = 77;
    for (unsigned int i = 0; i < n_stops; i++) {
        int status;
        pause_us(100 + (unsigned int)(bench_random(&random) % 500));
        kill(writer, SIGSTOP);
        waitpid(writer, &status, WUNTRACED);
        set_flag(&watch->is_on, true);
        pause_us(STOP_US);
        set_flag(&watch->is_on, false);
        kill(writer, SIGCONT);
    }
    set_flag(&watch->is_over, true);
    waitpid(writer, NULL, 0);
    waitpid(reader, NULL, 0);
    printf("{\"median_ns\": %u, \"p999_ns\": %u, \"longest_us\": %.1f}\n",
           percentile(watch, 0.5), percentile(watch, 0.999),
           (double)watch->longest_ns / 1e3);
}

/* ----------------------------------------------------------- long holders */

static int
ignore_key(void *context, const void *key, size_t key_length)
{
    (void)context;
    (void)key;
    return key_length == 0;
}

static void
list_keys(struct state *state, struct watch *watch)
{
    while (!is_set(&watch->is_over)) {
        set_flag(&watch->is_on, true);
        if (rv_dict_keys(state->dict, 0, ignore_key, NULL)) {
            bench_die("keys failed");
        }
        set_flag(&watch->is_on, false);
    }
}

static void
flush_keys(struct state *state, struct watch *watch)
{
    struct rv_dict_value value = rv_dict_bytes(state->value, VALUE_BYTES);
    while (!is_set(&watch->is_over)) {
        for (int i = 0; i < FLUSH_KEYS; i++) {
            if (rv_dict_set(state->dict, state->misses[i], KEY_BYTES, &value,
                            1)) {
                bench_die("set failed");
            }
        }
        pause_us(2000);
        set_flag(&watch->is_on, true);
        if (rv_dict_flush_expired(state->dict, 0) < 0) {
            bench_die("flush_expired failed");
        }
        set_flag(&watch->is_on, false);
    }
}

static void
do_nothing(struct state *state, struct watch *watch)
{
    (void)state;
    set_flag(&watch->is_on, true);
    while (!is_set(&watch->is_over)) {
        pause_us(1000);
    }
}

/* How often something else had the caller's processor. */
static long
count_switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
}

/* Sets, and notes how long they took; but not those in which the caller lost
 * its processor. */
static void
write_all(struct state *state, struct watch *watch)
{
    struct rv_dict_value value = rv_dict_bytes(state->value, VALUE_BYTES);
    long switches = count_switches();
    while (!is_set(&watch->is_over)) {
        bool was_on = is_set(&watch->is_on);
        uint64_t before = bench_now_ns();
        if (rv_dict_set(state->dict, state->keys[any_key(state)], KEY_BYTES,
                        &value, 0)) {
            bench_die("set failed");
        }
        uint64_t took = bench_now_ns() - before;
        if (took >= SUSPECT_NS) {
            long now = count_switches();
            was_on = was_on && now == switches;
            switches = now;
        }
        if (was_on) {
            watch->histogram[took < MAX_NS ? took : MAX_NS - 1]++;
            watch->longest_ns =
                took > watch->longest_ns ? took : watch->longest_ns;
        }
    }
}

static void
stall(struct state *state, const char *what, unsigned int ms)
{
    struct watch *watch = bench_share(sizeof *watch);
    state->side->prepare(state);
    bench_fork(state->shared, 1, 0, fill_bytes, state);
    shuffle_keys(state);
    pid_t other = start(state, watch, 0,
                        strcmp(what, "keys") == 0    ? list_keys
                        : strcmp(what, "flush") == 0 ? flush_keys
                                                     : do_nothing);
    pid_t writer = start(state, watch, 1, write_all);
    pause_us(ms * 1000 % 1000000);
    set_flag(&watch->is_over, true);
    waitpid(other, NULL, 0);
    waitpid(writer, NULL, 0);
    printf("{\"p9999_us\": %.1f, \"longest_us\": %.1f}\n",
           percentile(watch, 0.9999) / 1e3, (double)watch->longest_ns / 1e3);
}

static void
choose_side(struct state *state, const char *name)
{
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        if (strcmp(name, sides[i]->name) == 0) {
            state->side = sides[i];
            return;
        }
    }
    bench_die("no such side: %s", name);
}

static void
rate_of(struct state *state, int argc, char **argv)
{
    choose_side(state, argv[2]);
    state->n = (unsigned int)bench_number(argv[3]) % BENCH_PROCESSES;
    state->ms = (unsigned int)bench_number(argv[4]);
    state->n_keys = (unsigned int)bench_number(argv[5]);
    if (state->n == 0 || state->n_keys == 0 || state->n_keys > N_KEYS
        || state->n_keys % FILL_DEPTH) {
        bench_die("usage: see the head of dict.c");
    }
    state->address = argc > 6 ? argv[6] : "";
    state->depth =
        argc > 7 ? (unsigned int)bench_number(argv[7]) % MAX_DEPTH : 1;
    fill_keys(state);
    rate(state);
}

int
main(int argc, char **argv)
{
    struct state *state = calloc(1, sizeof *state);
    if (!state || argc < 3) {
        bench_die("usage: see the head of dict.c");
    }
    state->shared = bench_share(sizeof *state->shared);
    state->side = &side_reeve;
    state->n_keys = N_KEYS;
    if (strcmp(argv[1], "rate") == 0 && argc >= 6) {
        rate_of(state, argc, argv);
    } else if (strcmp(argv[1], "stopped") == 0) {
        fill_keys(state);
        stopped(state, (unsigned int)bench_number(argv[2]));
    } else if (strcmp(argv[1], "stall") == 0 && argc == 4) {
        fill_keys(state);
        stall(state, argv[2], (unsigned int)bench_number(argv[3]));
    } else {
        bench_die("usage: see the head of dict.c");
    }
    return 0;
}
