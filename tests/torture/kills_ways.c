/* Ways to die.
 *
 * SIGKILL at once; after a while under SIGSTOP; by execve(2) in a signal
 * handler of any thread, the process living on as another program; for want
 * of memory; and, with threads, one thread alone.  Some are stopped and only
 * go on, and meanwhile those that read must work on.  A few get a gigabyte of
 * memory first, which the kernel frees after it told the others.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kills_director.h"
#include "os/fd.h"
#include "shm/log.h"
#include "steps_watch.h"

/* Of so many strikes, that many are of a kind; the rest is SIGKILL. */
enum {
    STRIKES = 2048,
    SHORT_STOPS = 128,
    LONG_STOPS = 1,
    EXECS = 64,
    THREAD_ENDS = 128,
    STARVATIONS = 2,
    BIG_ONES = 8, /* Until there were as many as are wanted. */
    SHORT_STOP_US = 3000,
    LONG_STOP_US = 1000000,
    READERS_STEPS = 8,
    WATCHED_EVERY = 6, /* Stops during which readers are looked at. */
};

#define BIG_BYTES    ((size_t)1 << 30)
#define CGROUP_BYTES "8388608"
#define HUNGRY_BYTES ((size_t)64 << 20)

/* Of a worker. */
static struct shared *my_shared;

/* ------------------------------------------------------------- by handlers */

static void
become_another(int signal_number)
{
    static const char *const args[] = {"kills", "--gone", NULL};
    (void)signal_number;
    execve("/proc/self/exe", (char *const *)(uintptr_t)args, NULL);
    _exit(9);
}

static void
end_thread(int signal_number)
{
    (void)signal_number;
    syscall(SYS_exit, 0);
}

static void
grow_big(int signal_number)
{
    (void)signal_number;
    mmap(NULL, BIG_BYTES, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    __atomic_add_fetch(&my_shared->n_big, 1, __ATOMIC_SEQ_CST);
}

/* Takes memory until the kernel kills the process for it. */
static void
starve(int signal_number)
{
    (void)signal_number;
    mmap(NULL, HUNGRY_BYTES, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    kill(getpid(), SIGKILL);
}

void
prepare_to_end(struct shared *shared)
{
    my_shared = shared;
    signal(SIGUSR1, become_another);
    signal(SIGUSR2, end_thread);
    signal(SIGHUP, grow_big);
    signal(SIGTERM, starve);
}

/* ----------------------------------------------------------- by the director */

/* To die, too, it must run. */
static void
hurry(struct director *director, uint32_t process)
{
    for (uint32_t i = 0; i < director->options.n_threads; i++) {
        uint32_t tid = diary_of(director, process, i)->tid;
        if (tid) {
            setpriority(PRIO_PROCESS, tid, -20);
        }
    }
    setpriority(PRIO_PROCESS, (id_t)director->pids[process], -20);
    director->is_dying[process] = true;
}

void
end_process(struct director *director, uint32_t process)
{
    kill(director->pids[process], SIGKILL);
    hurry(director, process);
}

void
let_time_pass(struct director *director, uint64_t most_us)
{
    uint64_t us = watch_random(&director->random, most_us);
    struct timespec timeout = {.tv_nsec = (long)us * 1000};
    ppoll(NULL, 0, &timeout, NULL);
}

void
wait_a_moment(void)
{
    struct timespec timeout = {.tv_nsec = 50000};
    ppoll(NULL, 0, &timeout, NULL);
}

static bool
is_ready(const struct director *director, uint32_t process)
{
    for (uint32_t i = 0; i < director->options.n_threads; i++) {
        const struct diary *diary = diary_of(director, process, i);
        if (__atomic_load_n(&diary->tid, __ATOMIC_SEQ_CST) == 0) {
            return false;
        }
    }
    return true;
}

static bool
is_another(pid_t pid)
{
    char path[64];
    char text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n == sizeof "kills\0--gone" && strcmp(text + 6, "--gone") == 0;
}

/* A thread that has not ended: any. */
static const struct diary *
choose_thread(struct director *director, uint32_t process)
{
    const struct diary *diary;
    do {
        uint64_t i =
            watch_random(&director->random, director->options.n_threads);
        diary = diary_of(director, process, (uint32_t)i);
    } while (diary->rests_in == RESTS_FOR_EVER);
    return diary;
}

/* Its process lives on as another program; sooner or later that ends, too. */
static void
make_another(struct director *director, uint32_t process)
{
    pid_t pid = director->pids[process];
    uint32_t at = director->n_gone++ % MAX_GONE;
    tgkill(pid, (pid_t)choose_thread(director, process)->tid, SIGUSR1);
    while (!is_another(pid)) {
        wait_a_moment();
    }
    if (director->gone[at]) {
        kill(director->gone[at], SIGKILL);
        waitpid(director->gone[at], NULL, 0);
    }
    director->gone[at] = pid;
    director->pids[process] = 0;
    the_watch.pids[process] = 0;
    director->totals.n_execs++;
}

/* The first thread goes on. */
static void
end_one_thread(struct director *director, uint32_t process)
{
    uint64_t n = director->options.n_threads - 1;
    uint32_t i = 1 + (uint32_t)watch_random(&director->random, n);
    struct diary *diary = diary_of(director, process, i);
    if (diary->rests_in == RESTS_FOR_EVER) {
        return;
    }
    while (tgkill(director->pids[process], (pid_t)diary->tid, SIGUSR2) == 0) {
        wait_a_moment();
    }
    diary->rests_in = RESTS_FOR_EVER;
    director->totals.n_thread_deaths++;
}

/* -------------------------------------------------------------------- stops */

/* A reader that works now, and what it has done so far. */
struct pace {
    const struct diary *diary;
    uint64_t n_operations;
};

static uint64_t
operations_of(const struct diary *diary)
{
    return __atomic_load_n(&diary->n_operations, __ATOMIC_RELAXED);
}

/* All readers that are ready, but those of the process that is stopped. */
static uint32_t
find_readers(const struct director *director, uint32_t stopped,
             struct pace paces[MAX_WORKERS])
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < MAX_PLACES; p++) {
        if (p == stopped || !is_reader(p * MAX_THREADS) || !director->pids[p]
            || director->is_dying[p] || !is_ready(director, p)) {
            continue;
        }
        for (uint32_t i = 0; i < director->options.n_threads; i++) {
            const struct diary *diary = diary_of(director, p, i);
            if (diary->rests_in != RESTS_FOR_EVER) {
                paces[n++] = (struct pace){diary, operations_of(diary)};
            }
        }
    }
    return n;
}

/* Whatever the stopped process holds, readers go on; if one does not, that is
 * a hang. */
static void
watch_readers(const struct director *director, uint32_t stopped)
{
    struct pace paces[MAX_WORKERS];
    if (!director->options.workload->has_readers) {
        return;
    }
    the_watch.stage = "readers beside a stopped process";
    uint32_t n = find_readers(director, stopped, paces);
    for (uint32_t i = 0; i < n;) {
        uint64_t n_steps =
            operations_of(paces[i].diary) - paces[i].n_operations;
        if (n_steps >= READERS_STEPS) {
            i++;
            continue;
        }
        check_wrong(director);
        wait_a_moment();
    }
    the_watch.stage = NULL;
}

static void
await_stop(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) {
        watch_fail("process %d did not stop", (int)pid);
    }
}

/* Whether a death now would leave something to be undone. */
static bool
is_in_transaction(const struct director *director, pid_t pid)
{
    const struct rv_zone *zone = director->zone;
    for (uint32_t i = 0; i < zone->mapping->geometry.n_members; i++) {
        const struct rv__member *member = rv__member_of(zone, i);
        if (member->pid == (uint32_t)pid && member->tid
            && member->log.head & RV__HEAD_COUNT) {
            return true;
        }
    }
    return false;
}

/* The others may need what it holds.  Whether it is to die now. */
static bool
stop(struct director *director, uint32_t process, uint64_t most_us)
{
    pid_t pid = director->pids[process];
    kill(pid, SIGSTOP);
    if (watch_random(&director->random, WATCHED_EVERY) == 0) {
        await_stop(pid);
        director->totals.n_caught += is_in_transaction(director, pid);
        watch_readers(director, process);
        director->totals.n_watched++;
    }
    let_time_pass(director, most_us);
    director->totals.n_stops++;
    director->totals.n_long_stops += most_us == LONG_STOP_US;
    if (watch_random(&director->random, 2)) {
        kill(pid, SIGCONT);
        return false;
    }
    return true;
}

/* ------------------------------------------------------------------- memory */

static bool
write_file(const char *folder, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool is_written =
        fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    rv_fd_close(&fd);
    return is_written;
}

void
make_cgroup(struct director *director)
{
    static const struct {
        const char *folder, *limit;
    } tries[] = {
        {"/sys/fs/cgroup/memory/reeve-kills", "memory.limit_in_bytes"},
        {"/sys/fs/cgroup/reeve-kills", "memory.max"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(tries) && !director->cgroup; i++) {
        bool is_made = mkdir(tries[i].folder, 0700) == 0 || errno == EEXIST;
        if (is_made
            && write_file(tries[i].folder, tries[i].limit, CGROUP_BYTES)) {
            director->cgroup = tries[i].folder;
        } else if (is_made) {
            rmdir(tries[i].folder);
        }
    }
    if (!director->cgroup) {
        printf("kills: no cgroup with a limit of memory can be made, so "
               "nobody dies for want of memory\n");
    }
}

void
remove_cgroup(struct director *director)
{
    if (director->cgroup) {
        rmdir(director->cgroup); /* Not while others use it. */
        director->cgroup = NULL;
    }
}

/* False: it could not be put among the starving, and lives. */
static bool
make_starve(struct director *director, uint32_t process)
{
    char text[16];
    snprintf(text, sizeof text, "%d", (int)director->pids[process]);
    if (!director->cgroup
        || !write_file(director->cgroup, "cgroup.procs", text)) {
        return false;
    }
    const struct diary *diary = choose_thread(director, process);
    tgkill(director->pids[process], (pid_t)diary->tid, SIGTERM);
    hurry(director, process);
    director->totals.n_starved++;
    return true;
}

static void
make_big(struct director *director, uint32_t process)
{
    const uint32_t *n_big = &director->shared->n_big;
    uint32_t n = __atomic_load_n(n_big, __ATOMIC_SEQ_CST);
    const struct diary *diary = choose_thread(director, process);
    tgkill(director->pids[process], (pid_t)diary->tid, SIGHUP);
    while (__atomic_load_n(n_big, __ATOMIC_SEQ_CST) == n) {
        check_wrong(director);
        wait_a_moment();
    }
    director->totals.n_big++;
}

/* ------------------------------------------------------------------- strikes */

/* Whether 'n' of the STRIKES, which '*drawp' goes through, are meant. */
static bool
is_drawn(uint64_t *drawp, uint64_t n)
{
    bool is_it = *drawp < n;
    *drawp -= n;
    return is_it;
}

bool
strike(struct director *director, uint32_t process)
{
    const struct options *options = &director->options;
    bool is_able = is_ready(director, process);
    uint64_t draw = watch_random(&director->random, STRIKES);
    if (is_drawn(&draw, SHORT_STOPS)) {
        if (!stop(director, process, SHORT_STOP_US)) {
            return false;
        }
    } else if (is_drawn(&draw, LONG_STOPS)) {
        if (!stop(director, process, LONG_STOP_US)) {
            return false;
        }
    } else if (is_drawn(&draw, EXECS) && is_able) {
        make_another(director, process);
        return true;
    } else if (is_drawn(&draw, THREAD_ENDS) && is_able
               && options->n_threads > 1) {
        end_one_thread(director, process);
        return false;
    } else if (is_drawn(&draw, STARVATIONS) && is_able) {
        if (make_starve(director, process)) {
            return true;
        }
    } else if (is_drawn(&draw, BIG_ONES) && is_able
               && director->totals.n_big < options->n_big) {
        make_big(director, process);
    }
    end_process(director, process);
    return true;
}
