/* Many processes at one dict: nothing is torn, lost or waited for. */
#include <sched.h>
#include <sys/mman.h>

#include "dict_test.h"
#include "os/clock.h"

enum { N_KEYS = 400, VALUE_MAX_BYTES = 1200 };

/* What parent and children tell each other. */
struct board {
    uint32_t n_ready; /* All atomic. */
    uint32_t is_over;
    uint64_t n_operations[8];
    uint64_t n_reads;
};

static struct board *board;

static void
make_board(void)
{
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(board, MAP_FAILED);
}

static void
drop_board(void)
{
    munmap(board, sizeof *board);
}

static bool
is_over(void)
{
    return __atomic_load_n(&board->is_over, __ATOMIC_ACQUIRE);
}

static uint64_t
count_of(const uint64_t *place)
{
    return __atomic_load_n(place, __ATOMIC_ACQUIRE);
}

/* A value that says what it is: its key, then a byte all over. */
static size_t
describe(uint64_t *seed, uint32_t key, char *bytes)
{
    size_t n = sizeof key + (size_t)random_below(seed, VALUE_MAX_BYTES);
    memcpy(bytes, &key, sizeof key);
    memset(bytes + sizeof key, (int)random_below(seed, 256), n - sizeof key);
    return n;
}

static bool
is_whole(uint32_t key, const struct rv_dict_value *value)
{
    const char *bytes = value->bytes;
    if (value->type == RV_DICT_INTEGER) {
        return value->integer % N_KEYS == key;
    }
    if (value->type != RV_DICT_BYTES || value->length < sizeof key
        || memcmp(bytes, &key, sizeof key) != 0
        || value->flags != value->length) {
        return false;
    }
    for (size_t i = sizeof key; i < value->length; i++) {
        if (bytes[i] != bytes[sizeof key]) {
            return false;
        }
    }
    return true;
}

/* Ends the process, which the parent sees, when something is not as it
 * should be. */
static void
expect_that(bool is_so, int status)
{
    if (!is_so) {
        _exit(status);
    }
}

static void
read_one(struct rv_dict *dict, uint32_t key)
{
    char buffer[VALUE_MAX_BYTES + 8];
    struct rv_dict_value value;
    int rc =
        rv_dict_get(dict, &key, sizeof key, buffer, sizeof buffer, &value);
    expect_that(rc == 0 || rc == -ENOENT || rc == -EPROTOTYPE, 10);
    expect_that(rc || is_whole(key, &value), 11);
}

static void
write_one(struct rv_dict *dict, uint64_t *seed, uint32_t key)
{
    char bytes[VALUE_MAX_BYTES + 8];
    size_t n = describe(seed, key, bytes);
    struct rv_dict_value value = rv_dict_bytes(bytes, n);
    value.flags = (uint32_t)n;
    int64_t ttl_ms = random_below(seed, 4) ? 0 : 1;
    int rc = rv_dict_set(dict, &key, sizeof key, &value, ttl_ms);
    expect_that(rc >= 0, 12);
}

static void
work_on_list(struct rv_dict *dict, uint64_t *seed, uint32_t key)
{
    char bytes[VALUE_MAX_BYTES + 8];
    size_t n = describe(seed, key, bytes);
    struct rv_dict_value value = rv_dict_bytes(bytes, n);
    key += N_KEYS;
    int rc = random_below(seed, 2)
                 ? rv_dict_lpush(dict, &key, sizeof key, &value, NULL)
                 : rv_dict_rpop(dict, &key, sizeof key, bytes, sizeof bytes,
                                &value);
    key -= N_KEYS;
    expect_that(rc >= 0 || rc == -ENOENT, 13);
    value.flags = (uint32_t)value.length;
    expect_that(rc < 0 || is_whole(key, &value), 14);
}

static void
work_once(struct rv_dict *dict, uint64_t *seed)
{
    uint32_t key = (uint32_t)random_below(seed, N_KEYS);
    struct rv_dict_value value = rv_dict_integer(key);
    struct rv_dict_value step = rv_dict_integer(N_KEYS);
    uint64_t what = random_below(seed, 1000);
    int rc = 0;
    if (what < 400) {
        read_one(dict, key);
    } else if (what < 700) {
        write_one(dict, seed, key);
    } else if (what < 800) {
        rc = rv_dict_delete(dict, &key, sizeof key);
    } else if (what < 850) {
        rc = rv_dict_add(dict, &key, sizeof key, &value, 0);
    } else if (what < 900) {
        rc = rv_dict_incr(dict, &key, sizeof key, &step, NULL, 0, NULL);
    } else if (what < 950) {
        work_on_list(dict, seed, key);
    } else if (what < 998) {
        rc = rv_dict_expire(dict, &key, sizeof key, 1);
    } else if (what == 998) {
        rc = rv_dict_flush_expired(dict, 10);
    } else {
        rc = rv_dict_flush_all(dict);
    }
    expect_that(rc >= 0 || rc == -ENOENT || rc == -EEXIST || rc == -EINVAL,
                15);
}

/* Works until it is over, or killed. */
static void
work(struct rv_zone *zone, int number)
{
    struct rv_dict *dict = open_dict(zone, 16, NULL);
    uint64_t seed = (uint64_t)number * 7919 + (uint64_t)getpid();
    uint64_t *n = &board->n_operations[number];
    __atomic_fetch_add(&board->n_ready, 1, __ATOMIC_RELEASE);
    while (!is_over()) {
        work_once(dict, &seed);
        __atomic_fetch_add(n, 1, __ATOMIC_RELEASE);
    }
    rv_dict_close(&dict);
}

/* Waits until a worker did 'n' operations more.  One that ended by itself
 * does none: then its status says why. */
static void
wait_for_work(pid_t pid, int number, uint64_t n)
{
    int64_t end_ms = rv_clock_ms() + 60000;
    uint64_t until = count_of(&board->n_operations[number]) + n;
    while (count_of(&board->n_operations[number]) < until) {
        siginfo_t info = {.si_pid = 0};
        ck_assert_int_eq(
            waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
        ck_assert_msg(info.si_pid == 0, "worker %d ended: status %d", number,
                      info.si_status);
        ck_assert_int_lt(rv_clock_ms(), end_ms);
        sched_yield();
    }
}

/* In a zone with more room than the keys need, or in one with less, where
 * they evict. */
static void
run_together(uint64_t size_bytes)
{
    enum { N = 4 };
    struct rv_dict_stats stats;
    pid_t pids[N];
    struct fixture f;
    make_board();
    set_up(&f, size_bytes, 16);
    for (int i = 0; i < N; i++) {
        pids[i] = start_member(f.fd, work, i);
    }
    for (int i = 0; i < N; i++) {
        wait_for_work(pids[i], i, 20000);
    }
    __atomic_store_n(&board->is_over, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(end_of(pids[i]), 0);
    }
    rv_dict_get_stats(f.dict, &stats);
    ck_assert_uint_ge(stats.n_expired, 1);
    ck_assert_int_eq(stats.n_evicted > 0, size_bytes < 600000);
    tear_down(&f);
    drop_board();
}

START_TEST(four_processes_tear_nothing)
{
    run_together(8 << 20);
}
END_TEST

START_TEST(four_processes_evict)
{
    run_together(400000);
}
END_TEST

/* Each adds to the same numbers; the tables grow under them. */
static void
count_up(struct rv_zone *zone, int number)
{
    struct rv_dict *dict = open_dict(zone, 16, NULL);
    struct rv_dict_value one = rv_dict_integer(1);
    struct rv_dict_value none = rv_dict_integer(0);
    (void)number;
    for (uint32_t i = 0; i < 60000; i++) {
        uint32_t key = i % 6000;
        expect_that(rv_dict_incr(dict, &key, sizeof key, &one, &none, 0, NULL)
                        == 0,
                    20);
    }
    rv_dict_close(&dict);
}

START_TEST(no_increment_is_lost)
{
    enum { N = 3 };
    pid_t pids[N];
    struct fixture f;
    set_up(&f, 8 << 20, 16);
    for (int i = 0; i < N; i++) {
        pids[i] = start_member(f.fd, count_up, i);
    }
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(end_of(pids[i]), 0);
    }
    for (uint32_t key = 0; key < 6000; key++) {
        struct rv_dict_value value;
        ck_assert_int_eq(
            rv_dict_get(f.dict, &key, sizeof key, NULL, 0, &value), 0);
        ck_assert_int_eq(value.integer, N * 10);
    }
    tear_down(&f);
}
END_TEST

/* After each death all is sound, and nothing of the zone is lost. */
START_TEST(death_of_writers_loses_nothing)
{
    enum { N = 3, N_KILLS = 100 };
    uint64_t seed = 99;
    pid_t pids[N];
    struct fixture f;
    make_board();
    set_up(&f, 600000, 16);
    for (int round = 0; round < N_KILLS; round++) {
        board->is_over = 0;
        board->n_ready = 0;
        for (int i = 0; i < N; i++) {
            pids[i] = start_member(f.fd, work, i);
        }
        wait_for_work(pids[0], 0, 1 + random_below(&seed, 300));
        ck_assert_int_eq(kill(pids[0], SIGKILL), 0);
        int status = end_of(pids[0]);
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                      "round %d: status %x", round, (unsigned int)status);
        wait_for_work(pids[1], 1, 20);
        __atomic_store_n(&board->is_over, 1, __ATOMIC_RELEASE);
        for (int i = 1; i < N; i++) {
            ck_assert_int_eq(end_of(pids[i]), 0);
        }
        ck_assert_int_ge(rv_zone_heal(f.zone), 0);
        audit(f.zone, f.dict);
    }
    tear_down(&f);
    drop_board();
}
END_TEST

/* Writers may stand still wherever they are: readers do not wait. */
START_TEST(a_stopped_writer_stops_no_reader)
{
    enum { N_STOPS = 100 };
    uint64_t seed = 7;
    struct fixture f;
    make_board();
    set_up(&f, 600000, 16);
    pid_t pid = start_member(f.fd, work, 0);
    for (int round = 0; round < N_STOPS; round++) {
        int status = 0;
        wait_for_work(pid, 0, 1 + random_below(&seed, 200));
        ck_assert_int_eq(kill(pid, SIGSTOP), 0);
        ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
        ck_assert(WIFSTOPPED(status));
        /* The alarm of the harness ends a test that waits. */
        for (uint32_t key = 0; key < N_KEYS; key++) {
            char buffer[VALUE_MAX_BYTES + 8];
            struct rv_dict_value value;
            uint64_t n;
            int rc = rv_dict_get(f.dict, &key, sizeof key, buffer,
                                 sizeof buffer, &value);
            ck_assert(rc == 0 || rc == -ENOENT);
            ck_assert(rc || is_whole(key, &value));
            uint32_t list = key + N_KEYS;
            ck_assert_int_eq(rv_dict_llen(f.dict, &list, sizeof list, &n), 0);
        }
        ck_assert_int_eq(kill(pid, SIGCONT), 0);
    }
    __atomic_store_n(&board->is_over, 1, __ATOMIC_RELEASE);
    ck_assert_int_eq(end_of(pid), 0);
    tear_down(&f);
    drop_board();
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(four_processes_tear_nothing),
        RV_TEST(four_processes_evict),
        RV_TEST(no_increment_is_lost),
        RV_TEST(death_of_writers_loses_nothing),
        RV_TEST(a_stopped_writer_stops_no_reader),
    };
    return rv_test_run("dict-load", tests, RV_ARRAY_SIZE(tests));
}
