#include "steps_watch.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/handle.h"

/* Where the program counter is among the registers. */
#if defined(__aarch64__)
enum { WATCH_PC = 32 };
#else
enum { WATCH_PC = 16 };
#endif

struct watch the_watch;

static unsigned int the_seconds;
static bool is_over;

uint64_t
watch_random(uint64_t *state, uint64_t below)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (x * UINT64_C(0x2545f4914f6cdd1d) >> 16) % below;
}

uint64_t
watch_seed(uint64_t seed)
{
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15);
    return state ? state : 1;
}

/* ---------------------------------------------------------------- processes */

static void
read_proc(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

/* Where 'address' of process 'pid' lies in a mapped file. */
static bool
find_in_file(pid_t pid, uint64_t address, uint64_t *offsetp)
{
    char path[64];
    char line[512];
    bool is_found = false;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && !is_found && fgets(line, sizeof line, file)) {
        uint64_t begin, end, offset;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &begin, &end,
                   &offset)
                == 3
            && begin <= address && address < end && strstr(line, "memfd:")) {
            *offsetp = address - begin + offset;
            is_found = true;
        }
    }
    if (file) {
        fclose(file);
    }
    return is_found;
}

static void
describe_lock(uint64_t offset)
{
    const struct rv_zone *zone = the_watch.zone;
    if (!zone || offset + sizeof(struct rv_lock) > rv_zone_heap_end(zone)) {
        return;
    }
    const struct rv_lock *lock = (const void *)(zone->base + offset);
    printf("  lock at %#" PRIx64 ": word %#" PRIx32 " (thread %" PRIu32
           "), %" PRIu32 " waiters, last of slot %" PRId32 "\n",
           offset, lock->word, lock->word & FUTEX_TID_MASK, lock->waiters,
           (int32_t)lock->owner - 1);
}

/* Where a thread's code runs, in the program file.  It is stopped for that,
 * and, if it was about to end, cannot be buried any more. */
static void
describe_place(pid_t tid)
{
    uint64_t registers[64] = {0};
    struct iovec io = {registers, sizeof registers};
    char line[512] = "";
    uint64_t base = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps && fgets(line, sizeof line, maps)) {
        sscanf(line, "%" SCNx64, &base);
    }
    if (maps) {
        fclose(maps);
    }
    if (ptrace(PTRACE_SEIZE, tid, NULL, NULL)) {
        return;
    }
    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
    struct timespec moment = {.tv_nsec = 1000000};
    for (int i = 0; i < 100 && waitpid(tid, NULL, __WALL | WNOHANG) == 0;
         i++) {
        ppoll(NULL, 0, &moment, NULL);
    }
    if (ptrace(PTRACE_GETREGSET, tid, (void *)(uintptr_t)NT_PRSTATUS, &io)
        == 0) {
        uint64_t pc = registers[WATCH_PC];
        printf("      at %#" PRIx64 ", in the program %#" PRIx64 "\n", pc,
               pc - base);
    }
    ptrace(PTRACE_DETACH, tid, NULL, NULL);
}

static void
describe_thread(pid_t pid, const char *tid)
{
    char name[64];
    char stat[512];
    char call[256];
    char channel[64];
    uint64_t address = 0;
    uint64_t offset = 0;
    snprintf(name, sizeof name, "task/%.16s/stat", tid);
    read_proc(pid, name, stat, sizeof stat);
    snprintf(name, sizeof name, "task/%.16s/syscall", tid);
    read_proc(pid, name, call, sizeof call);
    snprintf(name, sizeof name, "task/%.16s/wchan", tid);
    read_proc(pid, name, channel, sizeof channel);
    const char *state = strrchr(stat, ')');
    printf("  process %d, thread %s: state %.1s, in the kernel: %s (%s)\n",
           (int)pid, tid, state && state[1] ? state + 2 : "?", call, channel);
    if (sscanf(call, "%*d %" SCNx64, &address) == 1
        && find_in_file(pid, address, &offset)) {
        describe_lock(offset);
    }
    if (is_over) {
        describe_place((pid_t)strtol(tid, NULL, 10));
    }
}

static void
describe_process(pid_t pid)
{
    char path[64];
    const struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *folder = opendir(path);
    while (folder && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            describe_thread(pid, entry->d_name);
        }
    }
    if (folder) {
        closedir(folder);
    }
}

static void
describe_member(const struct rv_zone *zone, uint32_t index)
{
    const struct rv__member *member = rv__member_of(zone, index);
    const struct rv__life *life = rv__life_of(zone, index);
    uint32_t word;
    memcpy(&word, life, sizeof word);
    uint64_t head = member->log.head;
    if (!member->tid && !word && !head) {
        return;
    }
    printf("  slot %" PRIu32 ": thread %" PRIu32 " of process %" PRIu32
           ", life word %#" PRIx32 ", log of %" PRIu64
           " changes under the lock at %#" PRIx64 "\n",
           index, member->tid, member->pid, word, head & 0xffff, head >> 16);
    if (head >> 16) {
        describe_lock(head >> 16);
    }
}

void
watch_describe(void)
{
    const struct rv_zone *zone = the_watch.zone;
    if (zone && zone->base) {
        for (uint32_t i = 0; i < zone->mapping->geometry.n_members; i++) {
            describe_member(zone, i);
        }
        printf("  the root lock:\n");
        describe_lock(offsetof(struct rv__header, root_lock));
    }
    if (the_watch.describe) {
        the_watch.describe();
    }
    for (size_t i = 0; i < WATCH_PROCESSES; i++) {
        if (the_watch.pids[i]) {
            describe_process(the_watch.pids[i]);
        }
    }
}

/* --------------------------------------------------------------------- hangs */

static void
end(void)
{
    for (size_t i = 0; i < WATCH_PROCESSES; i++) {
        if (the_watch.pids[i] > 0) {
            kill(the_watch.pids[i], SIGKILL);
        }
    }
    fflush(stdout);
    _exit(1);
}

void
watch_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("FAILED: %s, number %" PRIu64 "%s%s: ",
           the_watch.what ? the_watch.what : "start", the_watch.number,
           the_watch.stage ? ", " : "",
           the_watch.stage ? the_watch.stage : "");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    is_over = true;
    watch_describe();
    end();
    _exit(1);
}

/* Not safe in a signal handler by the letter; but the program hangs, and this
 * is its end. */
static void
bark(int signal_number)
{
    (void)signal_number;
    watch_fail("HANG: no progress for %u seconds", the_seconds);
}

void
watch_start(unsigned int seconds)
{
    struct sigaction action = {.sa_handler = bark};
    the_seconds = seconds;
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}

void
watch_progress(void)
{
    alarm(the_seconds);
}
