#include "common.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FEWEST_SLICES = 5, MAX_SLICES = 65536 };

void
bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

unsigned long
bench_number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end) {
        bench_die("not a number: %s", text);
    }
    return value;
}

uint64_t
bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void *
bench_share(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        bench_die("mmap of %zu bytes failed", bytes);
    }
    return memory;
}

void
bench_pin(unsigned int which)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof all, &all);
    which %= (unsigned int)CPU_COUNT(&all);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all) && which-- == 0) {
            CPU_SET(i, &one);
            break;
        }
    }
    sched_setaffinity(0, sizeof one, &one);
}

void
bench_meet(struct bench_shared *shared, unsigned int n)
{
    unsigned int mine =
        __atomic_fetch_add(&shared->n_arrived, 1, __ATOMIC_SEQ_CST);
    unsigned int all = (mine / n + 1) * n;
    while (__atomic_load_n(&shared->n_arrived, __ATOMIC_SEQ_CST) < all) {
        sched_yield();
    }
}

static void
wait_all(const pid_t *pids, unsigned int n)
{
    bool failed = false;
    for (unsigned int i = 0; i < n; i++) {
        int status = 0;
        waitpid(pids[i], &status, 0);
        failed |= status != 0;
    }
    if (failed) {
        bench_die("a process failed");
    }
}

void
bench_fork(struct bench_shared *shared, unsigned int n, unsigned int until_ms,
           void (*work)(void *context, unsigned int who), void *context)
{
    pid_t pids[BENCH_PROCESSES];
    shared->is_over = false;
    for (unsigned int i = 0; i < n; i++) {
        pids[i] = fork();
        if (pids[i] < 0) {
            bench_die("fork failed");
        }
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            bench_pin(i);
            work(context, i);
            _exit(0);
        }
    }
    if (until_ms) {
        struct timespec time = {until_ms / 1000,
                                (long)(until_ms % 1000) * 1000000};
        nanosleep(&time, NULL);
        __atomic_store_n(&shared->is_over, true, __ATOMIC_RELAXED);
    }
    wait_all(pids, n);
}

static int
compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

double
bench_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return n ? values[n / 2] : 0;
}

double
bench_slices(void (*slice)(void *context), void *context, unsigned int n_each,
             unsigned int ms)
{
    double *took = malloc(MAX_SLICES * sizeof *took);
    unsigned int n = 0;
    if (!took) {
        bench_die("no memory");
    }
    uint64_t start = bench_now_ns();
    uint64_t begin = start + (uint64_t)ms * 200000;
    uint64_t end = begin + (uint64_t)ms * 1000000;
    for (uint64_t now = start;
         (now < end || n < FEWEST_SLICES) && n < MAX_SLICES;) {
        uint64_t before = now;
        slice(context);
        now = bench_now_ns();
        if (before >= begin) {
            took[n++] = (double)(now - before);
        }
    }
    double median = bench_median(took, n);
    free(took);
    return median / n_each;
}

void
bench_print(const struct bench_shared *shared, const char *name,
            unsigned int n, unsigned int which)
{
    printf("\"%s\": [", name);
    for (unsigned int i = 0; i < n; i++) {
        printf("%s%.3f", i ? ", " : "", shared->results[i][which]);
    }
    printf("]");
}

struct rv_zone *
bench_attach(int fd)
{
    struct rv_zone *zone;
    struct rv_error error;
    if (rv_zone_attach(fd, NULL, &zone, &error)) {
        bench_die("%s", error.text);
    }
    return zone;
}

int
bench_zone(uint64_t size_bytes)
{
    struct rv_zone_settings settings = {.name = "bench",
                                        .size_bytes = size_bytes,
                                        .n_members = 2 * BENCH_PROCESSES};
    struct rv_error error;
    int fd;
    if (rv_zone_create(&settings, &fd, &error)) {
        bench_die("%s", error.text);
    }
    return fd;
}
