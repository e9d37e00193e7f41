/* nginx's slab under the load of slab.c, as a module of the packaged server.
 *
 *     bench_slab 64m;
 *
 * When the configuration has been read, the environment's BENCH_SLAB says what
 * to do, "pair LIVE N MS" or "fragment"; the figures are printed as one JSON
 * object, and the server exits.  The load is that of slab.c, down to its
 * random numbers.
 */
#include <ngx_config.h>
#include <ngx_core.h>

#include <sched.h>
#include <sys/wait.h>

enum {
    MAX_LIVE = 16384,
    MAX_PAGES = 32768,
    FEWEST_SLICES = 5,
    MAX_SLICES = 65536,
    SIZES = 65536,
    SLICE = 2000,
    ODD_BYTES = 5000,
    PAGE_BYTES = 4096,
    FRAGMENT_SLICE = 200,
    FRAGMENT_MS = 50,
};

struct bench_shared {
    ngx_atomic_t n_arrived;
    double ns[8];
};

struct bench_state {
    ngx_slab_pool_t *pool;
    unsigned int n_live, n, ms;
    uint64_t random;
    void *places[MAX_PAGES];
    uint16_t sizes[SIZES];
    double took[MAX_SLICES];
};

static ngx_shm_zone_t *bench_zone;

static uint64_t
bench_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t
bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
bench_fill_sizes(struct bench_state *state)
{
    uint64_t seed = 99;
    for (int i = 0; i < SIZES; i++) {
        uint32_t log = 4 + (uint32_t)(bench_random(&seed) % 8);
        uint32_t rest = (uint32_t)(bench_random(&seed) >> 20) % (1u << log);
        state->sizes[i] = (uint16_t)((1u << log) + rest);
    }
}

static int
bench_compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* As bench_slices of common.c. */
static double
bench_slices(struct bench_state *state,
             void (*slice)(struct bench_state *state), unsigned int n_each,
             unsigned int ms)
{
    unsigned int n = 0;
    uint64_t start = bench_now_ns();
    uint64_t begin = start + (uint64_t)ms * 200000;
    uint64_t end = begin + (uint64_t)ms * 1000000;
    for (uint64_t now = start;
         (now < end || n < FEWEST_SLICES) && n < MAX_SLICES;) {
        uint64_t before = now;
        slice(state);
        now = bench_now_ns();
        if (before >= begin) {
            state->took[n++] = (double)(now - before);
        }
    }
    qsort(state->took, n, sizeof *state->took, bench_compare);
    return state->took[n / 2] / n_each;
}

static void
bench_replace(struct bench_state *state, size_t i, size_t bytes)
{
    if (state->places[i]) {
        ngx_slab_free(state->pool, state->places[i]);
    }
    state->places[i] = ngx_slab_alloc(state->pool, bytes);
    if (!state->places[i]) {
        fprintf(stderr, "the slab is full\n");
        exit(1);
    }
    *(uint64_t *)state->places[i] = bytes;
}

static void
bench_pair_slice(struct bench_state *state)
{
    for (int n = 0; n < SLICE; n++) {
        uint64_t random = bench_random(&state->random);
        size_t bytes = state->sizes[random >> 40 & (SIZES - 1)];
        bench_replace(state, (random >> 10) % state->n_live, bytes);
    }
}

static void
bench_work(struct bench_state *state, struct bench_shared *shared,
           unsigned int who)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(who, &set);
    sched_setaffinity(0, sizeof set, &set);
    ngx_pid = ngx_getpid(); /* What the pool's lock names its holder by. */
    state->random = 12345 + who;
    for (size_t i = 0; i < state->n_live; i++) {
        uint64_t random = bench_random(&state->random);
        bench_replace(state, i, state->sizes[random >> 40 & (SIZES - 1)]);
    }
    ngx_atomic_fetch_add(&shared->n_arrived, 1);
    while (shared->n_arrived < state->n) {
        sched_yield();
    }
    shared->ns[who] = bench_slices(state, bench_pair_slice, SLICE, state->ms);
}

static void
bench_pair(struct bench_state *state)
{
    struct bench_shared *shared = ngx_slab_calloc(state->pool, sizeof *shared);
    for (unsigned int i = 0; i < state->n; i++) {
        if (fork() == 0) {
            bench_work(state, shared, i);
            _exit(0);
        }
    }
    printf("{\"ns\": [");
    while (wait(NULL) > 0) {
    }
    for (unsigned int i = 0; i < state->n; i++) {
        printf("%s%.3f", i ? ", " : "", shared->ns[i]);
    }
    printf("]}\n");
}

static void
bench_failing_slice(struct bench_state *state)
{
    for (int n = 0; n < FRAGMENT_SLICE / 20; n++) {
        if (ngx_slab_alloc(state->pool, ODD_BYTES)) {
            fprintf(stderr, "what does not fit fitted\n");
            exit(1);
        }
    }
}

/* Single pages are free but for 16 pairs, which the list has last: the pool
 * puts what becomes free first, and takes the first that fits. */
static void
bench_fragment(struct bench_state *state)
{
    size_t n = 0;
    state->pool->log_nomem = 0;
    while (n < MAX_PAGES
           && (state->places[n] = ngx_slab_alloc(state->pool, PAGE_BYTES))) {
        n++;
    }
    size_t n_first = 3 * 16;
    for (size_t i = 0; i < n_first; i++) {
        if (i % 3) {
            ngx_slab_free(state->pool, state->places[i]);
        }
    }
    for (size_t i = n_first; i < n; i += 2) {
        ngx_slab_free(state->pool, state->places[i]);
    }
    size_t n_free = state->pool->pfree;
    for (void *got = state->pool; got; state->n_live += got != NULL) {
        uint64_t start = bench_now_ns();
        got = ngx_slab_alloc(state->pool, ODD_BYTES);
        state->took[state->n_live] = (double)(bench_now_ns() - start);
    }
    qsort(state->took, state->n_live, sizeof *state->took, bench_compare);
    double took = state->took[state->n_live / 2];
    double failed = bench_slices(state, bench_failing_slice,
                                 FRAGMENT_SLICE / 20, FRAGMENT_MS);
    printf("{\"ns\": [%.1f], \"failing_ns\": [%.1f], \"free_pages\": %lu, "
           "\"fitting\": %u}\n",
           took, failed, (unsigned long)n_free, state->n_live);
}

static ngx_int_t
bench_init_module(ngx_cycle_t *cycle)
{
    const char *what = getenv("BENCH_SLAB");
    struct bench_state *state = calloc(1, sizeof *state);
    if (!what || !state || !bench_zone) {
        return NGX_ERROR;
    }
    (void)cycle;
    state->pool = (ngx_slab_pool_t *)bench_zone->shm.addr;
    state->random = 7;
    bench_fill_sizes(state);
    if (sscanf(what, "pair %u %u %u", &state->n_live, &state->n, &state->ms)
        == 3) {
        bench_pair(state);
    } else {
        bench_fragment(state);
    }
    fflush(stdout);
    exit(0);
}

static ngx_int_t
bench_init_zone(ngx_shm_zone_t *zone, void *old)
{
    (void)zone;
    (void)old;
    return NGX_OK;
}

static char *bench_read_size(ngx_conf_t *conf, ngx_command_t *command,
                             void *unused);

static ngx_command_t bench_commands[] = {
    {ngx_string("bench_slab"),
     NGX_MAIN_CONF | NGX_DIRECT_CONF | NGX_CONF_TAKE1, bench_read_size, 0, 0,
     NULL},
    ngx_null_command,
};

static ngx_core_module_t bench_context = {
    ngx_string("bench_slab"),
    NULL,
    NULL,
};

ngx_module_t ngx_bench_slab_module = {
    NGX_MODULE_V1,  &bench_context,
    bench_commands, NGX_CORE_MODULE,
    NULL,           bench_init_module,
    NULL,           NULL,
    NULL,           NULL,
    NULL,           NGX_MODULE_V1_PADDING,
};

static char *
bench_read_size(ngx_conf_t *conf, ngx_command_t *command, void *unused)
{
    ngx_str_t *words = conf->args->elts;
    ngx_str_t name = ngx_string("bench_slab");
    ssize_t size = ngx_parse_size(&words[1]);
    (void)command;
    (void)unused;
    if (size == NGX_ERROR) {
        return "is no size";
    }
    bench_zone = ngx_shared_memory_add(conf, &name, (size_t)size,
                                       &ngx_bench_slab_module);
    if (!bench_zone) {
        return NGX_CONF_ERROR;
    }
    bench_zone->init = bench_init_zone;
    return NGX_CONF_OK;
}
