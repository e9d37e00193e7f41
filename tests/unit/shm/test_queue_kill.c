/* Producers and consumers of a queue are killed at any time, and others come
 * in their place, while a ledger outside of the zone proves that nothing is
 * lost, nothing is with two at a time, and nothing comes again after it was
 * acknowledged.
 *
 * Who is to be killed is marked in the ledger before the signal: an element
 * may come from a marked one, and from nobody else who did not give it back.
 */
#include <sched.h>
#include <sys/mman.h>

#include "reeve/queue.h"
#include "shm/queue.h"
#include "slab_test.h"

enum {
    N_WORKERS = 5, /* Two push, the others take. */
    N_PRODUCERS = 2,
    N_KILLS = 200,
    N_SERIALS = N_WORKERS + N_KILLS + 1,
    N_JOBS = 2000000,
    CAPACITY = 40,
    PATIENCE_MS = 20,
};

struct ledger {
    uint32_t n_steps; /* So that the one who kills sees progress. */
    uint32_t is_over;
    uint32_t n_wrong;
    uint32_t n_jobs; /* Numbers that producers took. */
    uint8_t is_doomed[N_SERIALS];
    uint8_t is_pushed[N_JOBS]; /* And the producer knows. */
    uint8_t is_delivered[N_JOBS];
    uint8_t is_ending[N_JOBS]; /* An acknowledgement began, */
    uint8_t n_ended[N_JOBS];   /* and succeeded. */
    uint16_t holder[N_JOBS];   /* Serial of the consumer; 0: nobody. */
};

static struct ledger *ledger;

static uint32_t
load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void
step(void)
{
    __atomic_fetch_add(&ledger->n_steps, 1, __ATOMIC_SEQ_CST);
}

static void
wrong_unless(bool is_right)
{
    if (!is_right) {
        __atomic_fetch_add(&ledger->n_wrong, 1, __ATOMIC_SEQ_CST);
        _exit(1);
    }
}

static struct rv_queue *
open_jobs(struct rv_zone *zone)
{
    struct rv_queue_settings settings = {.capacity = CAPACITY};
    struct rv_queue *queue = NULL;
    struct rv_error error = {.code = 0};
    int rc = rv_queue_open(zone, "jobs", &settings, &queue, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return queue;
}

/* A job is its number, many times. */
static void
produce(struct rv_queue *queue)
{
    uint32_t words[64];
    while (!load(&ledger->is_over)) {
        uint32_t job =
            __atomic_fetch_add(&ledger->n_jobs, 1, __ATOMIC_RELAXED);
        if (job >= N_JOBS) {
            return;
        }
        for (size_t i = 0; i < RV_ARRAY_SIZE(words); i++) {
            words[i] = job;
        }
        size_t n = sizeof words[0] * (1 + job % RV_ARRAY_SIZE(words));
        int rc;
        do {
            rc = rv_queue_push_block(queue, words, n, PATIENCE_MS);
        } while (rc == -ETIMEDOUT && !load(&ledger->is_over));
        wrong_unless(rc == 0 || rc == -ETIMEDOUT);
        __atomic_store_n(&ledger->is_pushed[job], rc == 0, __ATOMIC_SEQ_CST);
        step();
    }
}

static uint32_t
job_of(const struct rv_queue_element *element)
{
    const uint32_t *words = element->bytes;
    uint32_t job = words[0];
    wrong_unless(job < N_JOBS && element->length == 4 * (1 + job % 64));
    for (size_t i = 0; i < element->length / 4; i++) {
        wrong_unless(words[i] == job);
    }
    return job;
}

/* Notes that the job came to 'serial', and from whom. */
static void
receive(uint32_t job, uint16_t serial)
{
    uint16_t from =
        __atomic_exchange_n(&ledger->holder[job], serial, __ATOMIC_SEQ_CST);
    wrong_unless(
        from == 0
        || __atomic_load_n(&ledger->is_doomed[from], __ATOMIC_SEQ_CST));
    wrong_unless(ledger->n_ended[job] == 0);
    __atomic_store_n(&ledger->is_delivered[job], 1, __ATOMIC_SEQ_CST);
}

static void
release(uint32_t job)
{
    __atomic_store_n(&ledger->holder[job], 0, __ATOMIC_SEQ_CST);
}

static void
finish(struct rv_queue *queue, const struct rv_queue_element *element)
{
    uint32_t job = job_of(element);
    __atomic_store_n(&ledger->is_ending[job], 1, __ATOMIC_SEQ_CST);
    wrong_unless(rv_queue_ack(queue, element) == 0);
    uint8_t n = __atomic_fetch_add(&ledger->n_ended[job], 1, __ATOMIC_SEQ_CST);
    wrong_unless(n == 0);
    release(job);
}

/* Takes up to three jobs at a time, and ends them in one way or another. */
static void
consume(struct rv_queue *queue, uint16_t serial)
{
    uint64_t seed = serial;
    while (!load(&ledger->is_over)) {
        struct rv_queue_element elements[3];
        size_t n = 0;
        size_t n_wanted = 1 + (size_t)random_below(&seed, 3);
        while (n < n_wanted) {
            int rc = rv_queue_take_block(queue, PATIENCE_MS, &elements[n]);
            if (rc == -ETIMEDOUT) {
                break;
            }
            wrong_unless(rc == 0);
            receive(job_of(&elements[n++]), serial);
        }
        while (n > 0) {
            uint64_t kind = random_below(&seed, 8);
            const struct rv_queue_element *element = &elements[--n];
            if (kind >= 2) {
                finish(queue, element);
                step();
                continue;
            }
            release(job_of(element));
            int rc = kind ? rv_queue_nack(queue, element)
                          : rv_queue_requeue(queue, element);
            wrong_unless(rc == 0);
        }
    }
}

/* Starts a worker of the kind of its place, numbered. */
static pid_t
start_worker(int fd, int place, uint16_t serial)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct rv_zone *zone = attach_zone(fd);
        struct rv_queue *queue = open_jobs(zone);
        if (place < N_PRODUCERS) {
            produce(queue);
        } else {
            consume(queue, serial);
        }
        rv_queue_close(&queue);
        _exit(rv_zone_detach(&zone) ? 1 : 0);
    }
    return pid;
}

/* Waits until others did some steps. */
static void
wait_steps(uint32_t n)
{
    uint32_t start = load(&ledger->n_steps);
    while (load(&ledger->n_steps) - start < n && !load(&ledger->n_wrong)) {
        sched_yield();
    }
}

/* Takes and ends what is left. */
static void
drain(struct rv_queue *queue)
{
    struct rv_queue_element element;
    int rc;
    while ((rc = rv_queue_take(queue, &element)) == 0) {
        receive(job_of(&element), N_SERIALS - 1);
        finish(queue, &element);
    }
    ck_assert_int_eq(rc, -EAGAIN);
}

static void
settle_accounts(struct rv_zone *zone, struct rv_queue *queue)
{
    struct rv_queue_stats stats;
    struct rv_slab_stats memory;
    struct rv_error error = {.code = 0};
    uint64_t n_ended = 0;
    uint64_t n_unsure = 0;
    for (uint32_t i = 0; i < N_JOBS; i++) {
        n_ended += ledger->n_ended[i];
        if (ledger->is_pushed[i]) {
            ck_assert_int_eq(ledger->is_delivered[i], 1);
            ck_assert_int_eq(ledger->is_ending[i], 1);
        }
        n_unsure += ledger->is_ending[i] && !ledger->n_ended[i];
    }
    rv_queue_get_stats(queue, &stats);
    ck_assert_uint_eq(stats.n_ready + stats.n_taken, 0);
    ck_assert_uint_ge(stats.n_acknowledged, n_ended);
    ck_assert_uint_eq(stats.n_acknowledged, n_ended + n_unsure);
    ck_assert_uint_gt(stats.n_recovered, 0);
    ck_assert_int_eq(rv_queue_check(queue, &error), 0);
    ck_assert_int_eq(rv_zone_check(zone, &error), 0);
    expect_sound(zone);
    rv_slab_get_stats(zone, &memory);
    uint64_t root = rv_zone_offset(zone, queue->root);
    ck_assert_uint_eq(memory.used_bytes, rv_slab_size(zone, root));
}

START_TEST(the_ledger_agrees)
{
    pid_t pids[N_WORKERS];
    uint16_t serials[N_WORKERS];
    uint64_t seed = 77;
    uint16_t serial = 0;
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(ledger != MAP_FAILED);
    int fd = make_slab_zone(1 << 20, 1 << 20);
    for (int i = 0; i < N_WORKERS; i++) {
        serials[i] = ++serial;
        pids[i] = start_worker(fd, i, serials[i]);
    }
    for (int i = 0; i < N_KILLS; i++) {
        wait_steps((uint32_t)random_below(&seed, 60));
        size_t victim = (size_t)random_below(&seed, N_WORKERS);
        __atomic_store_n(&ledger->is_doomed[serials[victim]], 1,
                         __ATOMIC_SEQ_CST);
        kill(pids[victim], SIGKILL);
        ck_assert(WIFSIGNALED(end_of(pids[victim])));
        serials[victim] = ++serial;
        pids[victim] = start_worker(fd, (int)victim, serials[victim]);
        ck_assert_uint_eq(load(&ledger->n_wrong), 0);
        ck_assert_uint_lt(load(&ledger->n_jobs), N_JOBS);
    }
    __atomic_store_n(&ledger->is_over, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < N_WORKERS; i++) {
        ck_assert_int_eq(end_of(pids[i]), 0);
    }
    struct rv_zone *zone = attach_zone(fd);
    struct rv_queue *queue = open_jobs(zone);
    ck_assert_int_ge(rv_zone_heal(zone), 0);
    drain(queue);
    settle_accounts(zone, queue);
    rv_queue_close(&queue);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
    munmap(ledger, sizeof *ledger);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {RV_TEST(the_ledger_agrees)};
    return rv_test_run("queue_kill", tests, RV_ARRAY_SIZE(tests));
}
