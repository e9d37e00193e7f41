/* Design
 *
 * A table of fixed size, so that the handler needs no memory and no lock.  An
 * entry belongs to the process whose pid is its owner; to any other (a child
 * that has a copy of the table) it is free.  The owner is written last when an
 * entry is made and first when it goes, so that a handler, in this thread or
 * another, sees whole entries only.
 *
 * The signal is blocked while its handler runs, and raise() leaves it pending
 * until the handler returns: the process dies, and dumps core, at the very
 * instruction that was interrupted. */
#include "os/fatal_signal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    IN_WORK = -1, /* As an owner: someone fills the entry in. */
    STACK_BYTES = 32768,
};

struct entry {
    _Atomic(pid_t) owner; /* 0: free. */
    dev_t device;
    ino_t inode;
    char path[RV_FATAL_SIGNAL_PATH];
};

/* Signals that end a process unless it does something about them. */
static const int deadly[] = {
    SIGHUP,  SIGINT,    SIGQUIT, SIGILL,    SIGTRAP, SIGABRT, SIGBUS,  SIGFPE,
    SIGUSR1, SIGSEGV,   SIGUSR2, SIGPIPE,   SIGALRM, SIGTERM, SIGXCPU, SIGXFSZ,
    SIGPROF, SIGVTALRM, SIGIO,   SIGSTKFLT, SIGSYS,  SIGPWR,
};

/* Dispositions of signals are the process's; so is what they lead to. */
static struct {
    atomic_bool is_ready;
    struct entry *shared; /* Instead of 'entries', if not NULL. */
    struct entry entries[RV_FATAL_SIGNAL_FILES];
    char stack[STACK_BYTES]; /* For an overflow of the stack itself. */
} the_fatal_signals;

static struct entry *
entries(void)
{
    return the_fatal_signals.shared ? the_fatal_signals.shared
                                    : the_fatal_signals.entries;
}

static void
unlink_entry(const struct entry *entry)
{
    struct stat now;
    if (!lstat(entry->path, &now) && now.st_dev == entry->device
        && now.st_ino == entry->inode) {
        unlink(entry->path);
    }
}

void
rv_fatal_signal_unlink_files(void)
{
    rv__fatal_signal_unlink_files_of(getpid());
}

void
rv__fatal_signal_unlink_files_of(pid_t self)
{
    for (size_t i = 0; i < RV_FATAL_SIGNAL_FILES; i++) {
        struct entry *entry = &entries()[i];
        pid_t owner = self;
        if (atomic_load(&entry->owner) == self) {
            unlink_entry(entry);
            atomic_compare_exchange_strong(&entry->owner, &owner, 0);
        }
    }
}

static void
on_signal(int signal)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    int saved_errno = errno;
    rv_fatal_signal_unlink_files();
    if (getpid() == 1) {
        /* The first process of a container survives a default signal. */
        _exit(128 + signal);
    }
    sigaction(signal, &action, NULL);
    raise(signal);
    errno = saved_errno;
}

int
rv__fatal_signal_share(void)
{
    if (the_fatal_signals.shared) {
        return 0;
    }
    void *shared =
        mmap(NULL, sizeof the_fatal_signals.entries, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return -errno;
    }
    memcpy(shared, the_fatal_signals.entries,
           sizeof the_fatal_signals.entries);
    the_fatal_signals.shared = shared;
    return 0;
}

/* A thread that has no other stack for handlers gets ours. */
static void
provide_stack(void)
{
    stack_t stack;
    if (!sigaltstack(NULL, &stack) && stack.ss_flags == SS_DISABLE) {
        stack = (stack_t){.ss_sp = the_fatal_signals.stack,
                          .ss_size = sizeof the_fatal_signals.stack};
        sigaltstack(&stack, NULL);
    }
}

void
rv_fatal_signal_init(void)
{
    if (atomic_exchange(&the_fatal_signals.is_ready, true)) {
        return;
    }
    provide_stack();
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = SA_ONSTACK | SA_RESTART};
    /* One at a time: another deadly signal waits until the files are gone. */
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < RV_ARRAY_SIZE(deadly); i++) {
        struct sigaction old;
        if (!sigaction(deadly[i], NULL, &old) && !(old.sa_flags & SA_SIGINFO)
            && old.sa_handler == SIG_DFL) {
            sigaction(deadly[i], &action, NULL);
        }
    }
}

static struct entry *
find(const char *path)
{
    pid_t self = getpid();
    for (size_t i = 0; i < RV_FATAL_SIGNAL_FILES; i++) {
        struct entry *entry = &entries()[i];
        if (atomic_load(&entry->owner) == self && !strcmp(entry->path, path)) {
            return entry;
        }
    }
    return NULL;
}

/* Whether an entry may be taken: nobody's, or of a process that is gone.  In
 * a table of our own, the entries of others are a copy of a parent's. */
static bool
is_free(pid_t owner)
{
    if (owner == 0 || owner == IN_WORK) {
        return owner == 0;
    }
    return the_fatal_signals.shared ? kill(owner, 0) && errno == ESRCH
                                    : owner != getpid();
}

static struct entry *
claim(void)
{
    for (size_t i = 0; i < RV_FATAL_SIGNAL_FILES; i++) {
        struct entry *entry = &entries()[i];
        pid_t owner = atomic_load(&entry->owner);
        if (is_free(owner)
            && atomic_compare_exchange_strong(&entry->owner, &owner,
                                              IN_WORK)) {
            return entry;
        }
    }
    return NULL;
}

int
rv_fatal_signal_add_file(const char *path)
{
    struct stat file;
    size_t n = strlen(path);
    if (path[0] != '/') {
        return -EINVAL;
    }
    if (n >= RV_FATAL_SIGNAL_PATH) {
        return -ENAMETOOLONG;
    }
    if (lstat(path, &file)) {
        return -errno;
    }
    rv_fatal_signal_init();
    rv_fatal_signal_remove_file(path);
    struct entry *entry = claim();
    if (!entry) {
        return -ENOSPC;
    }
    entry->device = file.st_dev;
    entry->inode = file.st_ino;
    memcpy(entry->path, path, n + 1);
    atomic_store(&entry->owner, getpid());
    return 0;
}

void
rv_fatal_signal_remove_file(const char *path)
{
    struct entry *entry = find(path);
    if (entry) {
        atomic_store(&entry->owner, 0);
    }
}
