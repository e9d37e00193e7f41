/* What a zone costs whose size is MIB.
 *
 *     bench-shm-zone attach SIDE MIB MS    us to attach it, and to leave it
 *     bench-shm-zone adopt MIB             us to take back what a member had
 *                                          that was killed, and its slot
 *
 * SIDE: reeve, or map, which maps as much and unmaps it.  Who dies had
 * objects of every size at hand.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "reeve/slab.h"

enum { SLICE = 10 };

struct state {
    int fd;
    size_t n_bytes;
    unsigned int ms;
    struct bench_shared *shared;
    void (*slice)(void *context);
};

static void
reeve_slice(void *context)
{
    struct state *state = context;
    for (int i = 0; i < SLICE; i++) {
        struct rv_zone *zone = bench_attach(state->fd);
        rv_zone_detach(&zone);
    }
}

static void
map_slice(void *context)
{
    struct state *state = context;
    for (int i = 0; i < SLICE; i++) {
        char *memory = mmap(NULL, state->n_bytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED, state->fd, 0);
        if (memory == MAP_FAILED) {
            bench_die("mmap failed");
        }
        *(volatile char *)memory;
        munmap(memory, state->n_bytes);
    }
}

static void
measure(void *context, unsigned int who)
{
    struct state *state = context;
    state->shared->results[who][0] =
        bench_slices(state->slice, state, SLICE, state->ms) / 1e3;
}

static void
attach(struct state *state)
{
    bench_fork(state->shared, 1, 0, measure, state);
    printf("{\"us\": %.3f}\n", state->shared->results[0][0]);
}

/* Fills its hands, says so, and waits for its end. */
static void
hold(struct state *state)
{
    struct rv_zone *zone = bench_attach(state->fd);
    for (size_t size = 16; size <= RV_SLAB_OBJECT_MAX_BYTES; size *= 2) {
        if (rv_slab_reserve(zone, size, RV_SLAB_RESERVE_OBJECTS, 0)) {
            bench_die("no memory");
        }
    }
    bench_meet(state->shared, 2);
    pause();
}

static void
adopt(struct state *state)
{
    struct rv_zone *zone = bench_attach(state->fd);
    pid_t pid = fork();
    if (pid == 0) {
        hold(state);
    }
    bench_meet(state->shared, 2);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    uint64_t before = bench_now_ns();
    int n = rv_zone_heal(zone);
    uint64_t took = bench_now_ns() - before;
    if (n != 1) {
        bench_die("%d were healed", n);
    }
    printf("{\"us\": %.3f}\n", (double)took / 1e3);
    rv_zone_detach(&zone);
}

int
main(int argc, char **argv)
{
    struct state state = {0};
    if (argc == 5 && strcmp(argv[1], "attach") == 0) {
        state.slice = strcmp(argv[2], "map") == 0 ? map_slice : reeve_slice;
        state.ms = (unsigned int)bench_number(argv[4]);
    } else if (argc != 3 || strcmp(argv[1], "adopt") != 0) {
        bench_die("usage: see the head of zone.c");
    }
    state.n_bytes = (size_t)bench_number(argv[state.slice ? 3 : 2]) << 20;
    state.fd = bench_zone(state.n_bytes);
    state.shared = bench_share(sizeof *state.shared);
    if (state.slice) {
        attach(&state);
    } else {
        adopt(&state);
    }
    return 0;
}
