#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "reeve/unixctl.h"
#include "reeve/unixctl_client.h"

/* A server that opens its socket by name, in a folder of its own. */
struct fixture {
    char folder[64];
    struct rv_loop loop;
    struct rv_unixctl_server server;
    struct rv_unixctl_options options;
    struct rv_error error;
};

static void
start(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/test_unixctl.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->folder));
    ck_assert_int_eq(rv_loop_init(&f->loop), 0);
    ck_assert_int_eq(rv_unixctl_server_init(&f->server), 0);
    f->options.rundir = f->folder;
    f->options.program = "exampled";
}

static void
finish(struct fixture *f)
{
    rv_unixctl_server_deinit(&f->server);
    rv_loop_deinit(&f->loop);
    ck_assert_msg(rmdir(f->folder) == 0, "%s is not empty", f->folder);
}

/* Opens; the result. */
static int
open_name(struct fixture *f, const char *name)
{
    f->error.text[0] = '\0';
    return rv_unixctl_server_open(&f->server, &f->loop, name, &f->options,
                                  &f->error);
}

/* Writes the path of a file in the folder. */
static const char *
in_folder(const struct fixture *f, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", f->folder, name);
    return path;
}

static bool
is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Asks for the version over a connected 'fd', which it closes. */
static void
check_version(struct fixture *f, int fd)
{
    static const char request[] =
        "{\"id\":1,\"method\":\"version\",\"params\":[]}";
    char answer[512];
    ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL),
                     (ssize_t)strlen(request));
    ssize_t n = -1;
    for (int i = 0; i < 1000 && n < 0; i++) {
        ck_assert_int_eq(rv_loop_run_once(&f->loop, 10), 0);
        n = recv(fd, answer, sizeof answer - 1, MSG_DONTWAIT);
    }
    ck_assert_int_gt(n, 0);
    answer[n] = '\0';
    /* Unless set it is the name of the process. */
    ck_assert_ptr_nonnull(strstr(answer, program_invocation_short_name));
    ck_assert_ptr_nonnull(strstr(answer, " (reeve) "));
    close(fd);
}

static void
check_serves(struct fixture *f, const char *path)
{
    struct rv_unixctl_client client;
    ck_assert_int_eq(
        rv_unixctl_client_open_block(&client, path, 20000, &f->error), 0);
    check_version(f, client.fd);
    client.fd = -1;
    rv_unixctl_client_close(&client);
}

/* Makes a unix socket's file at 'path', listened on while '*fd' is open. */
static int
listen_on(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const void *any = &address;
    ck_assert_int_eq(bind(fd, any, sizeof address), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

START_TEST(default_name_has_program_and_pid)
{
    struct fixture f;
    char name[64], path[128];
    struct stat info;
    start(&f);
    snprintf(name, sizeof name, "exampled.%d.ctl", (int)getpid());
    in_folder(&f, name, path);
    ck_assert_int_eq(open_name(&f, NULL), 0);
    ck_assert_str_eq(rv_unixctl_server_path(&f.server), path);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode, S_IFSOCK | 0600);
    check_serves(&f, path);
    rv_unixctl_server_stop(&f.server);
    ck_assert(!is_there(path));
    ck_assert_ptr_null(rv_unixctl_server_path(&f.server));
    finish(&f);
}
END_TEST

START_TEST(missing_runtime_folder_is_made)
{
    struct fixture f;
    char folder[128];
    start(&f);
    f.options.rundir = in_folder(&f, "run", folder);
    ck_assert_int_eq(open_name(&f, NULL), 0);
    check_serves(&f, rv_unixctl_server_path(&f.server));
    rv_unixctl_server_stop(&f.server);
    ck_assert_int_eq(rmdir(folder), 0);
    finish(&f);
}
END_TEST

START_TEST(names_in_other_forms)
{
    static const char *const forms[] = {"x.ctl", "punix:x.ctl", "%s/x.ctl",
                                        "punix:%s/x.ctl"};
    struct fixture f;
    char path[128], name[256];
    start(&f);
    in_folder(&f, "x.ctl", path);
    f.options.mode = 0660;
    for (size_t i = 0; i < RV_ARRAY_SIZE(forms); i++) {
        const char *folder = strchr(forms[i], '%');
        struct stat info;
        snprintf(name, sizeof name, "%.*s%s%s",
                 folder ? (int)(folder - forms[i]) : (int)strlen(forms[i]),
                 forms[i], folder ? f.folder : "", folder ? "/x.ctl" : "");
        ck_assert_int_eq(open_name(&f, name), 0);
        ck_assert_str_eq(rv_unixctl_server_path(&f.server), path);
        ck_assert_int_eq(stat(path, &info), 0);
        ck_assert_uint_eq(info.st_mode & 0777, 0660);
        check_serves(&f, path);
        rv_unixctl_server_stop(&f.server);
        ck_assert(!is_there(path));
    }
    finish(&f);
}
END_TEST

START_TEST(relative_folder_survives_a_change_of_folder)
{
    struct fixture f;
    char path[128];
    start(&f);
    ck_assert_int_eq(chdir(f.folder), 0);
    f.options.rundir = ".";
    ck_assert_int_eq(open_name(&f, "x.ctl"), 0);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_str_eq(rv_unixctl_server_path(&f.server),
                     in_folder(&f, "x.ctl", path));
    rv_unixctl_server_stop(&f.server);
    ck_assert(!is_there(path));
    finish(&f);
}
END_TEST

START_TEST(none_opens_nothing)
{
    struct fixture f;
    start(&f);
    ck_assert_int_eq(open_name(&f, "none"), 0);
    ck_assert_ptr_null(rv_unixctl_server_path(&f.server));
    ck_assert(rv_unixctl_server_is_idle(&f.server));
    finish(&f);
}
END_TEST

START_TEST(socket_of_the_living_is_not_stolen)
{
    struct fixture f;
    char path[128];
    start(&f);
    int fd = listen_on(in_folder(&f, "x.ctl", path));
    ck_assert_int_eq(open_name(&f, "x.ctl"), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(f.error.text, path));
    ck_assert_ptr_nonnull(strstr(f.error.text, "another process listens"));
    ck_assert(is_there(path));
    ck_assert_ptr_null(rv_unixctl_server_path(&f.server));
    /* It was left behind. */
    close(fd);
    ck_assert_int_eq(open_name(&f, "x.ctl"), 0);
    check_serves(&f, path);
    finish(&f);
}
END_TEST

START_TEST(other_files_stay)
{
    struct fixture f;
    char path[128];
    start(&f);
    in_folder(&f, "x.ctl", path);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ck_assert_int_eq(open_name(&f, "x.ctl"), -EADDRINUSE);
    ck_assert(is_there(path));
    ck_assert_int_eq(unlink(path), 0);
    /* One that came to the place of ours. */
    ck_assert_int_eq(open_name(&f, "x.ctl"), 0);
    ck_assert_int_eq(unlink(path), 0);
    int fd = listen_on(path);
    rv_unixctl_server_stop(&f.server);
    ck_assert(is_there(path));
    close(fd);
    ck_assert_int_eq(unlink(path), 0);
    finish(&f);
}
END_TEST

START_TEST(missing_folder_is_an_error)
{
    struct fixture f;
    char path[128];
    start(&f);
    ck_assert_int_eq(open_name(&f, in_folder(&f, "no/x.ctl", path)), -ENOENT);
    ck_assert_ptr_nonnull(strstr(f.error.text, path));
    finish(&f);
}
END_TEST

START_TEST(network_has_to_be_allowed)
{
    struct fixture f;
    start(&f);
    ck_assert_int_eq(open_name(&f, "ptcp:0:127.0.0.1"), -EPERM);
    ck_assert_ptr_nonnull(strstr(f.error.text, "no network"));
    f.options.allows_network = true;
    ck_assert_int_eq(open_name(&f, "ptcp:0:127.0.0.1"), 0);
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    void *any = &address;
    ck_assert_int_eq(getsockname(f.server.listener.fd, any, &length), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, any, length), 0);
    check_version(&f, fd);
    finish(&f);
}
END_TEST

START_TEST(inherited_network_socket_has_to_be_allowed_too)
{
    struct fixture f;
    char name[32];
    struct sockaddr_storage address = {.ss_family = AF_INET};
    socklen_t length = sizeof address;
    void *any = &address;
    start(&f);
    int listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(listen(listen_fd, 1), 0);
    ck_assert_int_eq(getsockname(listen_fd, any, &length), 0);
    snprintf(name, sizeof name, "pfd:%d", listen_fd);
    ck_assert_int_eq(open_name(&f, name), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert(connect(fd, any, length) == 0 || errno == EINPROGRESS);
    char byte;
    ssize_t n = -1;
    for (int i = 0; i < 1000 && n < 0; i++) {
        ck_assert_int_eq(rv_loop_run_once(&f.loop, 10), 0);
        n = recv(fd, &byte, 1, 0);
        ck_assert(n >= 0 || errno == EAGAIN || errno == ENOTCONN);
    }
    ck_assert_int_eq(n, 0);
    close(fd);
    finish(&f);
}
END_TEST

START_TEST(options_may_be_absent)
{
    struct fixture f;
    char path[128];
    start(&f);
    ck_assert_int_eq(setenv("REEVE_RUNDIR", f.folder, 1), 0);
    ck_assert_int_eq(
        rv_unixctl_server_open(&f.server, &f.loop, "x.ctl", NULL, NULL), 0);
    check_serves(&f, in_folder(&f, "x.ctl", path));
    rv_unixctl_server_stop(&f.server);
    /* And again, as a stopped server may be. */
    ck_assert_int_eq(
        rv_unixctl_server_open(&f.server, &f.loop, NULL, NULL, NULL), 0);
    ck_assert_ptr_nonnull(strstr(rv_unixctl_server_path(&f.server),
                                 program_invocation_short_name));
    finish(&f);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(default_name_has_program_and_pid),
        RV_TEST(missing_runtime_folder_is_made),
        RV_TEST(names_in_other_forms),
        RV_TEST(relative_folder_survives_a_change_of_folder),
        RV_TEST(none_opens_nothing),
        RV_TEST(socket_of_the_living_is_not_stolen),
        RV_TEST(other_files_stay),
        RV_TEST(missing_folder_is_an_error),
        RV_TEST(network_has_to_be_allowed),
        RV_TEST(inherited_network_socket_has_to_be_allowed_too),
        RV_TEST(options_may_be_absent),
    };
    return rv_test_run("unixctl_listen", tests, RV_ARRAY_SIZE(tests));
}
