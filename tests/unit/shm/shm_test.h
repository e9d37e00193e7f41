/* What the tests of this room share: small zones, and children that die. */
#ifndef RV_TEST_SHM_H
#define RV_TEST_SHM_H

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "os/fd.h"
#include "reeve/tx.h"
#include "reeve/zone.h"
#include "shm/handle.h"

/* What the heap of these zones begins with. */
struct things {
    struct rv_lock locks[2];
    uint64_t words[64];
    uint8_t bytes[64];
};

static inline int
make_zone(uint32_t n_members, bool is_exchange)
{
    struct rv_zone_settings settings = {.name = "test",
                                        .tag = "v1",
                                        .size_bytes = 1 << 16,
                                        .max_size_bytes = 1 << 20,
                                        .n_members = n_members,
                                        .is_exchange = is_exchange};
    struct rv_error error = {.code = 0};
    int fd = -1;
    int rc = rv_zone_create(&settings, &fd, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return fd;
}

static inline struct rv_zone *
attach_zone(int fd)
{
    struct rv_zone *zone = NULL;
    struct rv_error error = {.code = 0};
    int rc = rv_zone_attach(fd, NULL, &zone, &error);
    ck_assert_msg(rc == 0, "%s", error.text);
    return zone;
}

static inline struct things *
things_of(const struct rv_zone *zone)
{
    return rv_zone_at(zone, rv_zone_heap_begin(zone), sizeof(struct things));
}

static inline void
begin(struct rv_zone *zone, struct rv_lock *lock, uint32_t n_words)
{
    ck_assert_int_eq(rv_tx_begin(zone, lock, n_words), 0);
}

/* Runs 'work' in a child that has attached the zone; returns its pid. */
static inline pid_t
start_member(int fd, void (*work)(struct rv_zone *zone, int argument),
             int argument)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct rv_zone *zone = attach_zone(fd);
        work(zone, argument);
        _exit(rv_zone_detach(&zone) ? 1 : 0);
    }
    return pid;
}

static inline int
end_of(pid_t pid)
{
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static inline void
die(void)
{
    kill(getpid(), SIGKILL);
    pause();
}

/* Runs 'work', which kills itself. */
static inline void
run_victim(int fd, void (*work)(struct rv_zone *zone, int argument),
           int argument)
{
    int status = end_of(start_member(fd, work, argument));
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
}

#endif
