#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "os/memfd.h"
#include "shm_test.h"

START_TEST(tells_what_it_is)
{
    int fd = make_zone(5, false);
    struct rv_zone_info info;
    ck_assert_int_eq(rv_zone_read_info(fd, &info, NULL), 0);
    ck_assert_str_eq(info.name, "test");
    ck_assert_str_eq(info.tag, "v1");
    ck_assert_uint_eq(info.size_bytes, 1 << 16);
    ck_assert_uint_eq(info.max_size_bytes, 1 << 20);
    ck_assert_uint_eq(info.n_members, 5);

    struct rv_zone *zone = attach_zone(fd);
    struct rv_zone_info attached;
    rv_zone_get_info(zone, &attached);
    ck_assert_uint_eq(attached.identity, info.identity);
    ck_assert_str_eq(attached.tag, "v1");
    ck_assert_uint_eq(rv_zone_size_bytes(zone), 1 << 16);
    ck_assert_uint_eq(info.file_bytes,
                      rv_zone_heap_begin(zone) + info.max_size_bytes);
    ck_assert_int_eq(rv_zone_check(zone, NULL), 0);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(untouched_bytes_cost_nothing)
{
    struct rv_zone_settings settings = {.name = "large",
                                        .size_bytes = 1 << 30,
                                        .max_size_bytes = UINT64_C(8) << 30,
                                        .n_members = 1024};
    int fd = -1;
    ck_assert_int_eq(rv_zone_create(&settings, &fd, NULL), 0);
    struct rv_zone *zone = attach_zone(fd);
    struct stat status;
    ck_assert_int_eq(fstat(fd, &status), 0);
    ck_assert_int_lt(status.st_blocks * 512, 256 * 1024);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(nobody_shrinks_or_seals_it)
{
    int fd = make_zone(0, false);
    ck_assert_int_eq(ftruncate(fd, 4096), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), -1);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(places_are_bounded)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    uint64_t begin_at = rv_zone_heap_begin(zone);
    uint64_t end = rv_zone_heap_end(zone);
    ck_assert_ptr_null(rv_zone_at(zone, 0, 1));
    ck_assert_ptr_null(rv_zone_at(zone, begin_at - 1, 1));
    ck_assert_ptr_null(rv_zone_at(zone, end, 0));
    ck_assert_ptr_null(rv_zone_at(zone, end - 8, 9));
    ck_assert_ptr_null(rv_zone_at(zone, UINT64_MAX, 2));
    ck_assert_ptr_null(rv_zone_at(zone, begin_at, SIZE_MAX));
    void *last = rv_zone_at(zone, end - 8, 8);
    ck_assert_ptr_nonnull(last);
    ck_assert_uint_eq(rv_zone_offset(zone, last), end - 8);
    ck_assert_uint_eq(rv_zone_offset(zone, &fd), 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

static void
expect_refusal(const struct rv_zone_settings *settings, int code)
{
    struct rv_error error = {.code = 0};
    int fd = -1;
    ck_assert_int_eq(rv_zone_create(settings, &fd, &error), code);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(error.code, code);
}

START_TEST(settings_out_of_range)
{
    char text[70] = "";
    memset(text, 'x', 64);
    struct rv_zone_settings settings = {.name = "x", .size_bytes = 4096};
    settings.name = "";
    expect_refusal(&settings, -EINVAL);
    settings.name = text;
    expect_refusal(&settings, -EINVAL);
    settings.name = "x";
    settings.tag = text;
    expect_refusal(&settings, -EINVAL);
    settings.tag = NULL;
    settings.size_bytes = 0;
    expect_refusal(&settings, -EINVAL);
    settings.size_bytes = 8192;
    settings.max_size_bytes = 4096;
    expect_refusal(&settings, -EINVAL);
    settings.max_size_bytes = UINT64_MAX;
    expect_refusal(&settings, -EINVAL);
    settings.max_size_bytes = 0;
    settings.n_members = RV_ZONE_MEMBERS_MAX + 1;
    expect_refusal(&settings, -EINVAL);
}
END_TEST

START_TEST(a_file_with_content_is_not_overwritten)
{
    struct rv_zone_settings settings = {.name = "x", .size_bytes = 4096};
    int fd = -1;
    ck_assert_int_eq(rv_memfd_open("x", &fd), 0);
    ck_assert_int_eq(ftruncate(fd, 1), 0);
    ck_assert_int_eq(rv_zone_format(fd, &settings, NULL), -EEXIST);
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    ck_assert_int_eq(rv_zone_format(fd, &settings, NULL), 0);
    struct rv_zone *zone = attach_zone(fd);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(name_and_tag_can_be_demanded)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = NULL;
    struct rv_error error;
    struct rv_zone_options options = {.name = "other"};
    ck_assert_int_eq(rv_zone_attach(fd, &options, &zone, &error), -EEXIST);
    ck_assert_str_eq(error.text, "the zone is \"test\", not \"other\"");
    options = (struct rv_zone_options){.name = "test", .tag = "v2"};
    ck_assert_int_eq(rv_zone_attach(fd, &options, &zone, &error), -EEXIST);
    ck_assert_str_eq(error.text, "zone \"test\" has tag \"v1\", not \"v2\"");
    options.tag = "v1";
    ck_assert_int_eq(rv_zone_attach(fd, &options, &zone, &error), 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

static void
expect_unattachable(int fd, int code, const char *what)
{
    struct rv_error error = {.code = 0};
    struct rv_zone *zone = NULL;
    ck_assert_int_eq(rv_zone_attach(fd, NULL, &zone, &error), code);
    ck_assert_ptr_null(zone);
    ck_assert_msg(strstr(error.text, what), "\"%s\" lacks \"%s\"", error.text,
                  what);
}

START_TEST(foreign_files)
{
    int fd = -1;
    char text[] = "something";
    ck_assert_int_eq(rv_memfd_open("x", &fd), 0);
    expect_unattachable(fd, -EUCLEAN, "not even a header");
    ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
    expect_unattachable(fd, -EUCLEAN, "begins with zeros");
    ck_assert_int_eq(pwrite(fd, text, sizeof text, 0), sizeof text);
    expect_unattachable(fd, -EUCLEAN, "begins otherwise");
    rv_fd_close(&fd);
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    expect_unattachable(fd, -EUCLEAN, "not even a header");
    rv_fd_close(&fd);
    expect_unattachable(-1, -EBADF, "cannot read");
}
END_TEST

START_TEST(short_files)
{
    int whole = make_zone(0, false);
    char start[offsetof(struct rv__header, root_lock)];
    ck_assert_int_eq(pread(whole, start, sizeof start, 0), sizeof start);
    int fd = -1;
    ck_assert_int_eq(rv_memfd_open("x", &fd), 0);
    ck_assert_int_eq(ftruncate(fd, RV__HEADER_BYTES), 0);
    ck_assert_int_eq(pwrite(fd, start, sizeof start, 0), sizeof start);
    expect_unattachable(fd, -EUCLEAN, "short: ");
    rv_fd_close(&fd);
    rv_fd_close(&whole);
}
END_TEST

struct field {
    size_t offset, size;
    const char *what;
};

#define FIELD(NAME, WHAT)                            \
  {                                                  \
    offsetof(struct rv__header, NAME),               \
        sizeof(((struct rv__header *)0)->NAME), WHAT \
  }

START_TEST(each_field_of_the_header_is_checked)
{
    static const struct field fields[] = {
        FIELD(magic, "begins otherwise"),
        FIELD(page_bytes, "page size"),
        FIELD(header_bytes, "header size"),
        FIELD(member_bytes, "member's slot"),
        FIELD(flags, "flags"),
        FIELD(lives, "life words"),
        FIELD(members, "start of the members"),
        FIELD(pages, "page map"),
        FIELD(states, "states"),
        FIELD(heap, "heap"),
        FIELD(end, "end"),
        FIELD(identity, "checksum"),
        FIELD(name, "checksum"),
        FIELD(tag, "checksum"),
        FIELD(checksum, "checksum"),
        FIELD(n_members, "damaged: "),
        FIELD(max_size_bytes, "damaged: "),
        FIELD(size_bytes, "two sizes"),
        FIELD(size_complement, "two sizes"),
    };
    int fd = make_zone(0, false);
    for (size_t i = 0; i < RV_ARRAY_SIZE(fields); i++) {
        for (size_t at = 0; at < fields[i].size; at++) {
            off_t offset = (off_t)(fields[i].offset + at);
            unsigned char byte, other;
            ck_assert_int_eq(pread(fd, &byte, 1, offset), 1);
            other = byte ^ 0x42;
            ck_assert_int_eq(pwrite(fd, &other, 1, offset), 1);
            expect_unattachable(fd, -EUCLEAN, fields[i].what);
            ck_assert_int_eq(pwrite(fd, &byte, 1, offset), 1);
        }
    }
    uint32_t version = 2;
    pwrite(fd, &version, sizeof version,
           offsetof(struct rv__header, layout_version));
    expect_unattachable(fd, -EPROTONOSUPPORT, "layout version 2, not 1");
    rv_fd_close(&fd);
}
END_TEST

/* Fills 'n' bytes from a small generator. */
static void
fill(unsigned char *bytes, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (unsigned char)(seed >> 24);
    }
}

/* Behind a good header: whatever lies there is no reason to crash. */
START_TEST(garbage_behind_the_header)
{
    for (uint32_t seed = 1; seed <= 20; seed++) {
        int fd = make_zone(4, false);
        struct rv_zone *zone = attach_zone(fd);
        uint64_t heap = rv_zone_heap_begin(zone);
        rv_zone_detach(&zone);
        size_t start = offsetof(struct rv__header, root_lock);
        size_t n = (size_t)heap - start;
        unsigned char *bytes = malloc(n);
        fill(bytes, n, seed);
        ck_assert_int_eq(pwrite(fd, bytes, n, (off_t)start), (ssize_t)n);
        free(bytes);
        expect_unattachable(fd, -EAGAIN, "members are in use");
        struct rv_zone_options options = {.is_read_only = true};
        ck_assert_int_eq(rv_zone_attach(fd, &options, &zone, NULL), 0);
        ck_assert_int_eq(rv_zone_check(zone, NULL), -EUCLEAN);
        rv_zone_detach(&zone);
        rv_fd_close(&fd);
    }
}
END_TEST

START_TEST(members_are_used_up)
{
    int fd = make_zone(2, false);
    struct rv_zone *first = attach_zone(fd);
    struct rv_zone *second = attach_zone(fd);
    expect_unattachable(fd, -EAGAIN, "all 2 members are in use");
    ck_assert_int_eq(rv_zone_detach(&first), 0);
    first = attach_zone(fd);
    rv_zone_detach(&first);
    rv_zone_detach(&second);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(detach_is_idempotent)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    rv_fd_close(&fd);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    ck_assert_ptr_null(zone);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
}
END_TEST

static void
write_in_child(struct rv_zone *zone, int argument)
{
    struct things *things = things_of(zone);
    begin(zone, &things->locks[0], 1);
    rv_tx_set64(zone, &things->words[0], (uint64_t)argument);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
}

START_TEST(processes_see_each_other)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    ck_assert_int_eq(end_of(start_member(fd, write_in_child, 42)), 0);
    ck_assert_uint_eq(things_of(zone)->words[0], 42);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(a_child_cannot_use_its_parents_handle)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    pid_t pid = fork();
    if (pid == 0) {
        struct rv_zone *joined = NULL;
        bool is_right = rv_tx_begin(zone, NULL, 0) == -ECHILD
                        && rv_zone_heal(zone) == -ECHILD
                        && rv_zone_check(zone, NULL) == -ECHILD
                        && rv_zone_join(zone, &joined, NULL) == -ECHILD
                        && rv_zone_size_bytes(zone) == 0
                        && rv_tx_commit(zone) == -EPERM
                        && rv_zone_detach(&zone) == 0 && !zone;
        _exit(is_right ? 0 : 1);
    }
    ck_assert_int_eq(end_of(pid), 0);
    begin(zone, NULL, 0);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

/* Whether a child of the open transaction has none, and what attaching anew
 * in it gives. */
static void
expect_after_fork(struct rv_zone *zone, int fd, int code)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rv_error error = {.code = 0};
        struct rv_zone *own = NULL;
        bool is_right = rv_tx_commit(zone) == -EPERM
                        && rv_tx_begin(zone, NULL, 0) == -ECHILD
                        && rv_zone_attach(fd, NULL, &own, &error) == code
                        && rv_zone_detach(&own) == 0
                        && rv_zone_detach(&zone) == 0;
        _exit(is_right ? 0 : 1);
    }
    ck_assert_int_eq(end_of(pid), 0);
    ck_assert_int_eq(rv_tx_commit(zone), 0);
}

START_TEST(a_fork_leaves_the_transaction_to_the_parent)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    begin(zone, &things_of(zone)->locks[0], 0);
    expect_after_fork(zone, fd, -EDEADLK);
    begin(zone, NULL, 0);
    expect_after_fork(zone, fd, 0);
    ck_assert_int_eq(rv_zone_detach(&zone), 0);
    rv_fd_close(&fd);
}
END_TEST

enum { N_THREADS = 4, N_ROUNDS = 2000 };

static void *
count_in_thread(void *argument)
{
    struct rv_zone *zone = NULL;
    if (rv_zone_join(argument, &zone, NULL)) {
        return argument;
    }
    struct things *things = things_of(zone);
    for (int i = 0; i < N_ROUNDS; i++) {
        if (rv_tx_begin(zone, &things->locks[0], 2)) {
            return argument;
        }
        rv_tx_set64(zone, &things->words[0], things->words[0] + 1);
        rv_tx_set64(zone, &things->words[1], things->words[1] + 1);
        rv_tx_commit(zone);
    }
    rv_zone_detach(&zone);
    return NULL;
}

START_TEST(threads_share_a_mapping)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        pthread_create(&threads[i], NULL, count_in_thread, zone);
    }
    for (int i = 0; i < N_THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    ck_assert_uint_eq(things_of(zone)->words[0], N_THREADS * N_ROUNDS);
    ck_assert_uint_eq(things_of(zone)->words[1], N_THREADS * N_ROUNDS);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

static void *
detach_in_thread(void *argument)
{
    struct rv_zone *zone = argument;
    return (void *)(intptr_t)rv_zone_detach(&zone);
}

START_TEST(another_thread_may_not_detach)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, detach_in_thread, zone);
    pthread_join(thread, &result);
    ck_assert_int_eq((int)(intptr_t)result, -EPERM);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(read_only)
{
    int fd = make_zone(1, false);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_zone *reader = NULL;
    struct rv_zone_options options = {.is_read_only = true};
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int read_only_fd = open(path, O_RDONLY | O_CLOEXEC);
    expect_unattachable(read_only_fd, -EACCES, "mmap");
    ck_assert_int_eq(rv_zone_attach(read_only_fd, &options, &reader, NULL), 0);
    begin(zone, &things_of(zone)->locks[0], 1);
    rv_tx_set64(zone, &things_of(zone)->words[0], 7);
    rv_tx_commit(zone);
    ck_assert_uint_eq(things_of(reader)->words[0], 7);
    ck_assert_int_eq(rv_tx_begin(reader, NULL, 0), -EROFS);
    ck_assert_int_eq(rv_zone_heal(reader), -EROFS);
    ck_assert_int_eq(rv_zone_check(reader, NULL), 0);
    ck_assert_int_eq(rv_zone_detach(&reader), 0);
    rv_zone_detach(&zone);
    rv_fd_close(&read_only_fd);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(grows_under_its_members)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    uint64_t old_end = rv_zone_heap_end(zone);
    ck_assert_ptr_null(rv_zone_at(zone, old_end, 8));
    ck_assert_int_eq(rv_zone_grow(fd, (1 << 17) - 5, NULL), 0);
    ck_assert_uint_eq(rv_zone_size_bytes(zone), 1 << 17);
    uint64_t *place = rv_zone_at(zone, old_end, 8);
    ck_assert_ptr_nonnull(place);
    begin(zone, &things_of(zone)->locks[0], 1);
    ck_assert_int_eq(rv_tx_set64(zone, place, 1), 0);
    ck_assert_int_eq(rv_tx_commit(zone), 0);

    ck_assert_int_eq(rv_zone_grow(fd, 1 << 16, NULL), -ERANGE);
    ck_assert_int_eq(rv_zone_grow(fd, (1 << 20) + 1, NULL), -ERANGE);
    ck_assert_int_eq(rv_zone_grow(fd, UINT64_MAX, NULL), -ERANGE);
    ck_assert_uint_eq(rv_zone_size_bytes(zone), 1 << 17);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(a_torn_size_is_not_believed_and_can_be_repaired)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    uint64_t wrong = 1 << 19;
    off_t at = offsetof(struct rv__header, size_bytes);
    ck_assert_int_eq(pwrite(fd, &wrong, sizeof wrong, at), sizeof wrong);
    ck_assert_uint_eq(rv_zone_size_bytes(zone), 1 << 16);
    expect_unattachable(fd, -EUCLEAN, "two sizes");
    ck_assert_int_eq(rv_zone_grow(fd, 1 << 16, NULL), 0);
    struct rv_zone *second = attach_zone(fd);
    rv_zone_detach(&second);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

static int
set_root(struct rv_zone *zone, const char *name, uint64_t offset)
{
    begin(zone, rv_zone_root_lock(zone), RV_ZONE_ROOT_WORDS);
    int rc = rv_zone_root_set(zone, name, 99, offset);
    if (rc) {
        rv_tx_abort(zone);
        return rc;
    }
    return rv_tx_commit(zone);
}

START_TEST(roots)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    uint64_t heap = rv_zone_heap_begin(zone);
    uint64_t type = 0, offset = 0;
    ck_assert_int_eq(rv_zone_root_get(zone, "a", &type, &offset), -ENOENT);
    ck_assert_int_eq(rv_zone_root_get(zone, "", &type, &offset), -ENOENT);
    ck_assert_int_eq(rv_zone_root_set(zone, "a", 1, heap), -EPERM);
    ck_assert_int_eq(set_root(zone, "a", heap), 0);
    ck_assert_int_eq(rv_zone_root_get(zone, "a", &type, &offset), 0);
    ck_assert_uint_eq(type, 99);
    ck_assert_uint_eq(offset, heap);
    ck_assert_int_eq(set_root(zone, "", heap), -EINVAL);
    ck_assert_int_eq(set_root(zone, "12345678901234567890123456789012", heap),
                     -EINVAL);
    ck_assert_int_eq(set_root(zone, "b", heap - 1), -EFAULT);
    ck_assert_int_eq(set_root(zone, "a", 0), 0);
    ck_assert_int_eq(rv_zone_root_get(zone, "a", &type, &offset), -ENOENT);
    for (int i = 1; i < RV_ZONE_ROOTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "r%d", i);
        ck_assert_int_eq(set_root(zone, name, heap + (uint64_t)i), 0);
    }
    ck_assert_int_eq(set_root(zone, "z", heap), -ENOSPC);
    ck_assert_int_eq(set_root(zone, "a", heap), 0);
    ck_assert_int_eq(rv_zone_check(zone, NULL), 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

START_TEST(check_finds_what_was_scribbled)
{
    int fd = make_zone(0, false);
    struct rv_zone *zone = attach_zone(fd);
    struct rv_error error;
    rv__header_of(zone)->roots[3].offset = 1;
    ck_assert_int_eq(rv_zone_check(zone, &error), -EUCLEAN);
    rv__header_of(zone)->roots[3].offset = 0;
    rv__member_of(zone, 7)->log.head = 0xffff;
    ck_assert_int_eq(rv_zone_check(zone, &error), -EUCLEAN);
    ck_assert_msg(strstr(error.text, "member 7"), "%s", error.text);
    rv__member_of(zone, 7)->log.head = 0;
    rv__header_of(zone)->identity++;
    ck_assert_int_eq(rv_zone_check(zone, &error), -EUCLEAN);
    rv__header_of(zone)->identity--;
    ck_assert_int_eq(rv_zone_check(zone, &error), 0);
    rv_zone_detach(&zone);
    rv_fd_close(&fd);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(tells_what_it_is),
        RV_TEST(untouched_bytes_cost_nothing),
        RV_TEST(nobody_shrinks_or_seals_it),
        RV_TEST(places_are_bounded),
        RV_TEST(settings_out_of_range),
        RV_TEST(a_file_with_content_is_not_overwritten),
        RV_TEST(name_and_tag_can_be_demanded),
        RV_TEST(foreign_files),
        RV_TEST(short_files),
        RV_TEST(each_field_of_the_header_is_checked),
        RV_TEST(garbage_behind_the_header),
        RV_TEST(members_are_used_up),
        RV_TEST(detach_is_idempotent),
        RV_TEST(processes_see_each_other),
        RV_TEST(a_child_cannot_use_its_parents_handle),
        RV_TEST(a_fork_leaves_the_transaction_to_the_parent),
        RV_TEST(threads_share_a_mapping),
        RV_TEST(another_thread_may_not_detach),
        RV_TEST(read_only),
        RV_TEST(grows_under_its_members),
        RV_TEST(a_torn_size_is_not_believed_and_can_be_repaired),
        RV_TEST(roots),
        RV_TEST(check_finds_what_was_scribbled),
    };
    return rv_test_run("zone", tests, RV_ARRAY_SIZE(tests));
}
