/* Members of another boot of the machine, whose thread ids are by now those of
 * others.  No test boots a machine: members live and stand still, and the zone
 * is made to say that they came in another boot. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "shm/epoch.h"
#include "shm/member.h"
#include "shm/shelf.h"
#include "slab_test.h"

enum { N_MEMBERS = 8 };

/* Writes 'value' where member 'index' says something, at 'offset' in it. */
static void
write_of_member(int fd, uint32_t index, size_t offset, uint64_t value)
{
    struct rv_zone_options options = {.is_read_only = true};
    struct rv_zone *zone = NULL;
    ck_assert_int_eq(rv_zone_attach(fd, &options, &zone, NULL), 0);
    off_t at = (off_t)(zone->mapping->geometry.members
                       + index * sizeof(struct rv__member) + offset);
    ck_assert_int_eq(pwrite(fd, &value, sizeof value, at), sizeof value);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
}

/* Now the members that there are came in another boot. */
static void
boot(int fd, uint32_t n_members)
{
    struct rv_zone_options options = {.is_read_only = true};
    struct rv_zone *zone = NULL;
    ck_assert_int_eq(rv_zone_attach(fd, &options, &zone, NULL), 0);
    uint64_t number = rv__header_of(zone)->boot + 2;
    ck_assert_int_eq(pwrite(fd, &number, 8, offsetof(struct rv__header, boot)),
                     8);
    for (uint32_t i = 0; i < n_members; i++) {
        if (rv__member_of(zone, i)->boot) {
            write_of_member(fd, i, offsetof(struct rv__member, boot), number);
        }
    }
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
}

/* What a member does before it stands still. */
typedef void work_function(struct rv_zone *zone);

static struct {
    work_function *work;
    int socket;
    int fd;
} still;

static void
stand_still(struct rv_zone *zone, int argument)
{
    char byte = (char)argument;
    still.work(zone);
    ck_assert_int_eq(write(still.socket, &byte, 1), 1);
    for (;;) {
        pause();
    }
}

/* A member that lives, and has done 'work'. */
static pid_t
start_still(int fd, work_function *work)
{
    char byte;
    int sockets[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    still.work = work;
    still.socket = sockets[1];
    still.fd = fd;
    pid_t pid = start_member(fd, stand_still, 0);
    rv_fd_close(&sockets[1]);
    ck_assert_int_eq(read(sockets[0], &byte, 1), 1);
    rv_fd_close(&sockets[0]);
    return pid;
}

static void
end_still(pid_t pid)
{
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    end_of(pid);
}

static void
be_idle(struct rv_zone *zone)
{
    (void)zone;
}

static void
change(struct rv_zone *zone)
{
    begin(zone, &things_of(zone)->locks[0], 1);
    rv_tx_set64(zone, &things_of(zone)->words[0], 7);
}

static void
change_privately(struct rv_zone *zone)
{
    begin(zone, NULL, 1);
    rv_tx_set64(zone, &things_of(zone)->words[0], 7);
}

static void
hold_root_lock(struct rv_zone *zone)
{
    begin(zone, rv_zone_root_lock(zone), 0);
}

static void
hold_page_lock(struct rv_zone *zone)
{
    begin(zone, &rv__slab_of(zone)->map.lock, 0);
}

/* All locks can be taken, and nothing is left of what was not committed. */
static void
expect_order(struct rv_zone *zone)
{
    struct things *things = things_of(zone);
    struct rv_lock *const locks[] = {&things->locks[0],
                                     rv_zone_root_lock(zone),
                                     &rv__slab_of(zone)->map.lock};
    for (size_t i = 0; i < RV_ARRAY_SIZE(locks); i++) {
        begin(zone, locks[i], 0);
        ck_assert_uint_eq(things->words[0], 0);
        ck_assert_int_eq(rv_tx_commit(zone), 0);
    }
}

START_TEST(members_of_another_boot_are_dead)
{
    work_function *const works[] = {be_idle, change, change_privately,
                                    hold_root_lock, hold_page_lock};
    for (size_t i = 0; i < RV_ARRAY_SIZE(works); i++) {
        int fd = make_zone(1, false);
        pid_t pid = start_still(fd, works[i]);
        ck_assert_int_eq(
            rv_zone_attach(fd, NULL, &(struct rv_zone *){NULL}, NULL),
            -EAGAIN);
        boot(fd, 1);
        struct rv_zone *zone = attach_zone(fd);
        expect_order(zone);
        ck_assert_uint_eq(zone->member->n_attached, 2);
        end_still(pid); /* The kernel sees that nothing is its any more. */
        expect_order(zone);
        ck_assert(rv__member_is_living(zone, zone->tid));
        ck_assert_int_eq(rv_zone_detach(&zone), 0);
        rv_fd_close(&fd);
    }
}
END_TEST

/* The thread becomes a member of its own boot, too, and holds no lock in it. */
static void
come_again(struct rv_zone *zone, int fd)
{
    zone->robust->list_op_pending = NULL;
    boot(fd, N_MEMBERS);
    attach_zone(fd);
}

static void
change_and_come_again(struct rv_zone *zone)
{
    change(zone);
    come_again(zone, still.fd);
}

static void
hold_roots_and_come_again(struct rv_zone *zone)
{
    hold_root_lock(zone);
    come_again(zone, still.fd);
}

static void
hold_pages_and_come_again(struct rv_zone *zone)
{
    hold_page_lock(zone);
    come_again(zone, still.fd);
}

/* The number in the locks is that of a member that lives, and that holds none
 * of them: nobody waits until it ends. */
START_TEST(a_former_holder_has_a_living_members_number)
{
    work_function *const works[] = {change_and_come_again,
                                    hold_roots_and_come_again,
                                    hold_pages_and_come_again};
    for (size_t i = 0; i < RV_ARRAY_SIZE(works); i++) {
        int fd = make_zone(N_MEMBERS, false);
        pid_t pid = start_still(fd, works[i]);
        struct rv_zone *zone = attach_zone(fd);
        ck_assert(rv__member_is_living(zone, (uint32_t)pid));
        expect_order(zone);
        end_still(pid);
        ck_assert_int_eq(rv_zone_heal(zone), 1);
        ck_assert_int_eq(rv_zone_detach(&zone), 0);
        rv_fd_close(&fd);
    }
}
END_TEST

START_TEST(another_boots_namespaces_are_gone)
{
    int fd = make_zone(4, false);
    struct rv_zone *zone = attach_zone(fd);
    uint64_t namespace = zone->member->pid_namespace + 1;
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    pid_t pid = start_still(fd, change);
    write_of_member(fd, 0, offsetof(struct rv__member, pid_namespace),
                    namespace);
    ck_assert_int_eq(rv_zone_attach(fd, NULL, &zone, NULL), -EXDEV);
    boot(fd, 4);
    zone = attach_zone(fd);
    expect_order(zone);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    end_still(pid);
    rv_fd_close(&fd);
}
END_TEST

/* One that came in this boot lives, whatever the header says; so does one
 * that could not tell which boot it is. */
START_TEST(members_of_this_boot_live)
{
    int fd = make_zone(2, false);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_zone *second = attach_zone(fd);
    uint64_t of_this = zone->member->boot;
    ck_assert_uint_ne(of_this, 0);
    second->member->boot = 0;
    rv__header_of(zone)->boot += 2;
    ck_assert_int_eq(rv_zone_attach(fd, NULL, &(struct rv_zone *){NULL}, NULL),
                     -EAGAIN);
    ck_assert_uint_eq(rv__header_of(zone)->boot, of_this);
    ck_assert_int_eq(rv_zone_heal(zone), 0);
    ck_assert(rv__member_is_living(zone, zone->tid));
    ck_assert_int_eq(rv_zone_detach(&second), 0);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

/* Attaches when all do, and stays. */
static void
attach_first(int fd, int socket)
{
    char byte = 0;
    ck_assert_int_eq(read(socket, &byte, 1), 1);
    struct rv_zone *zone = attach_zone(fd);
    ck_assert_int_eq(write(socket, &byte, 1), 1);
    ck_assert_int_eq(read(socket, &byte, 1), 1);
    ck_assert(rv__member_is_living(zone, zone->tid));
    expect_order(zone);
    begin(zone, &things_of(zone)->locks[0], 1);
    rv_tx_set64(zone, &things_of(zone)->words[1],
                things_of(zone)->words[1] + 1);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    ck_assert_int_eq(write(socket, &byte, 1), 1);
    for (;;) {
        pause();
    }
}

static void
exchange_bytes(const int *sockets)
{
    char byte = 0;
    for (size_t i = 0; i < N_MEMBERS; i++) {
        ck_assert_int_eq(write(sockets[i], &byte, 1), 1);
    }
    for (size_t i = 0; i < N_MEMBERS; i++) {
        ck_assert_int_eq(read(sockets[i], &byte, 1), 1);
    }
}

/* As many as there are slots, each of which a former one has. */
static void
race(int fd, pid_t *pids)
{
    int sockets[N_MEMBERS], pair[2];
    for (size_t i = 0; i < N_MEMBERS; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        pids[i] = fork();
        if (pids[i] == 0) {
            attach_first(fd, pair[1]);
        }
        sockets[i] = pair[0];
        rv_fd_close(&pair[1]);
    }
    exchange_bytes(sockets);
    exchange_bytes(sockets);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        rv_fd_close(&sockets[i]);
    }
}

/* Boot after boot; the members of each live until the next ones came. */
START_TEST(many_come_first)
{
    enum { BOOTS = 20 };
    int fd = make_zone(N_MEMBERS, false);
    pid_t pids[N_MEMBERS], next[N_MEMBERS];
    for (size_t i = 0; i < N_MEMBERS; i++) {
        pids[i] = start_still(fd, i == 0   ? change
                                  : i == 1 ? hold_page_lock
                                           : be_idle);
    }
    for (int i = 0; i < BOOTS; i++) {
        boot(fd, N_MEMBERS);
        race(fd, next);
        for (size_t k = 0; k < N_MEMBERS; k++) {
            end_still(pids[k]);
            pids[k] = next[k];
        }
    }
    for (size_t i = 0; i < N_MEMBERS; i++) {
        end_still(pids[i]);
    }
    struct rv_zone *zone = attach_zone(fd);
    ck_assert_uint_eq(things_of(zone)->words[1], (uint64_t)BOOTS * N_MEMBERS);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(a_first_one_that_does_not_finish)
{
    int fd = make_zone(2, false);
    struct rv_error error = {.code = 0};
    struct rv_zone *zone = NULL;
    struct flock lock = {
        .l_type = F_WRLCK, .l_start = RV__EPOCH_LOCK_AT, .l_len = 1};
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    pid_t former = start_still(fd, change);
    boot(fd, 2);
    int own_fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(fcntl(own_fd, F_OFD_SETLK, &lock), 0);
    ck_assert_int_eq(rv_zone_attach(fd, NULL, &zone, &error), -EBUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "boot"));
    ck_assert_ptr_null(zone);
    rv_fd_close(&own_fd); /* As by its death. */
    zone = attach_zone(fd);
    expect_order(zone);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    end_still(former);
    rv_fd_close(&fd);
}
END_TEST

/* A worker of another user, which gets the file open. */
START_TEST(one_that_may_not_open_the_file)
{
    int fd = make_zone(1, false);
    if (geteuid() == 0) {
        ck_assert_int_eq(fchmod(fd, 0600), 0);
        pid_t former = start_still(fd, change);
        boot(fd, 1);
        pid_t pid = fork();
        if (pid == 0) {
            ck_assert_int_eq(setuid(65534), 0);
            struct rv_zone *zone = attach_zone(fd);
            expect_order(zone);
            _exit(rv_zone_detach(&zone) ? 1 : 0);
        }
        ck_assert_int_eq(end_of(pid), 0);
        end_still(former);
    }
    rv_fd_close(&fd);
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(members_of_another_boot_are_dead),
        RV_TEST(a_former_holder_has_a_living_members_number),
        RV_TEST(another_boots_namespaces_are_gone),
        RV_TEST(members_of_this_boot_live),
        RV_TEST(many_come_first),
        RV_TEST(a_first_one_that_does_not_finish),
        RV_TEST(one_that_may_not_open_the_file),
    };
    return rv_test_run("boot", tests, RV_ARRAY_SIZE(tests));
}
