#include "reeve/unixctl_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "net/socket.h"
#include "reeve/jsonrpc.h"
#include "os/clock.h"

enum {
    READ_BYTES = 4096,
    /* An answer may be longer than what reeve itself sends. */
    ANSWER_MAX = 64 * 1024 * 1024,
    REQUEST_MAX = 16 * 1024 * 1024,
    ANSWER_DEPTH = 256,
    /* Between attempts at a socket whose queue of connections is full. */
    CONNECT_PAUSE_MS = 5,
    PIDFILE_MAX = 32,
};

/* Deadlines: milliseconds of CLOCK_MONOTONIC; -1 is never. */

static int64_t
deadline_after(int timeout_ms)
{
    return timeout_ms < 0 ? -1 : rv_clock_ms() + timeout_ms;
}

/* What is left until 'deadline_ms', for poll(2). */
static int
left_ms(int64_t deadline_ms)
{
    if (deadline_ms < 0) {
        return -1;
    }
    int64_t left = deadline_ms - rv_clock_ms();
    return left < 0 ? 0 : (int)RV_MIN(left, INT32_MAX);
}

/* Waits until 'fd' is ready for 'events'.  -ETIMEDOUT at the deadline. */
static int
wait_fd_block(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd pollfd = {.fd = fd, .events = events};
        int n = poll(&pollfd, 1, left_ms(deadline_ms));
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return -ETIMEDOUT;
        }
    }
}

/* Connecting. */

/* Connects 'fd'.  The kernel says EAGAIN while the server's queue is full and
 * offers nothing to wait for. */
static int
connect_block(int fd, const struct rv_address *address, int64_t deadline_ms)
{
    for (;;) {
        if (!connect(fd, &address->u.any, address->length)) {
            return 0;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        int left = left_ms(deadline_ms);
        if (!left) {
            return -ETIMEDOUT;
        }
        poll(NULL, 0,
             left < 0 ? CONNECT_PAUSE_MS : RV_MIN(left, CONNECT_PAUSE_MS));
    }
}

static int
connect_path_block(const char *path, int64_t deadline_ms, int *fdp)
{
    struct rv_address address;
    int dir_fd = -1;
    int rc = rv__socket_unix_address(path, NULL, &address, &dir_fd);
    if (rc) {
        return rc;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    rc = fd < 0 ? -errno : connect_block(fd, &address, deadline_ms);
    if (dir_fd >= 0) {
        close(dir_fd);
    }
    if (rc) {
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    *fdp = fd;
    return 0;
}

int
rv_unixctl_client_open_block(struct rv_unixctl_client *client,
                             const char *path, int timeout_ms,
                             struct rv_error *error)
{
    int fd = -1;
    int rc = connect_path_block(path, deadline_after(timeout_ms), &fd);
    if (rc) {
        return rv_error_errno(error, rc, "cannot connect to %s", path);
    }
    *client = (struct rv_unixctl_client){.fd = fd};
    rv_json_frame_init(&client->frame, ANSWER_MAX, ANSWER_DEPTH);
    rv_buf_init(&client->input, (size_t)ANSWER_MAX + READ_BYTES);
    return 0;
}

void
rv_unixctl_client_close(struct rv_unixctl_client *client)
{
    if (client->fd >= 0) {
        close(client->fd);
        client->fd = -1;
    }
    rv_buf_deinit(&client->input);
}

/* Sending. */

static int
format_request(int64_t id, const char *command, size_t n_args,
               const char *const args[], struct rv_buf *text)
{
    struct rv_jsonrpc_message request = {
        .type = RV_JSONRPC_REQUEST,
        .id = json_integer(id),
        .method = rv_jsonrpc_text(command),
        .params = json_array(),
    };
    int rc = request.id && request.method && request.params ? 0 : -ENOMEM;
    for (size_t i = 0; i < n_args && !rc; i++) {
        rc = json_array_append_new(request.params, rv_jsonrpc_text(args[i]))
                 ? -ENOMEM
                 : 0;
    }
    if (!rc) {
        rc = rv_jsonrpc_format(&request, text);
    }
    rv_jsonrpc_deinit(&request);
    return rc;
}

static int
send_all_block(int fd, const char *bytes, size_t n, int64_t deadline_ms)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            bytes += sent;
            n -= (size_t)sent;
        } else if (errno == EAGAIN) {
            int rc = wait_fd_block(fd, POLLOUT, deadline_ms);
            if (rc) {
                return rc;
            }
        } else if (errno != EINTR) {
            return errno == EPIPE ? -ECONNRESET : -errno;
        }
    }
    return 0;
}

static int
send_block(struct rv_unixctl_client *client, const char *command,
           size_t n_args, const char *const args[], int64_t deadline_ms,
           struct rv_error *error)
{
    struct rv_buf text;
    rv_buf_init(&text, REQUEST_MAX);
    int rc = format_request(client->next_id, command, n_args, args, &text);
    if (!rc) {
        client->next_id++;
        rc = send_all_block(client->fd, text.data, text.length, deadline_ms);
    }
    rv_buf_deinit(&text);
    return rc ? rv_error_errno(error, rc, "cannot send the request") : 0;
}

int
rv_unixctl_client_send_block(struct rv_unixctl_client *client,
                             const char *command, size_t n_args,
                             const char *const args[], int timeout_ms,
                             struct rv_error *error)
{
    return send_block(client, command, n_args, args,
                      deadline_after(timeout_ms), error);
}

/* Receiving. */

void
rv_unixctl_result_deinit(struct rv_unixctl_result *result)
{
    free(result->text);
    json_decref(result->json);
    *result = (struct rv_unixctl_result){.text = NULL};
}

/* Turns an answer into a result. */
static int
take_answer(const struct rv_jsonrpc_message *message,
            struct rv_unixctl_result *result)
{
    bool is_error = message->type == RV_JSONRPC_ERROR;
    json_t *value = is_error ? message->error : message->result;
    struct rv_unixctl_result taken = {.is_error = is_error};
    if (json_is_string(value)) {
        taken.text = strdup(json_string_value(value));
    } else if (is_error) {
        taken.text = json_dumps(value, JSON_ENCODE_ANY);
    } else {
        taken.json = json_incref(value);
    }
    if (!taken.text && !taken.json) {
        return -ENOMEM;
    }
    *result = taken;
    return 0;
}

/* Judges one message; -EAGAIN for one that is not the answer waited for. */
static int
judge_message(const struct rv_unixctl_client *client, const char *bytes,
              size_t n, struct rv_unixctl_result *result,
              struct rv_error *error)
{
    struct rv_jsonrpc_message message;
    int rc = rv_jsonrpc_parse(bytes, n, &message, error);
    if (rc) {
        rv_error_wrap(error, "the server sent no valid answer");
        return rc;
    }
    bool is_answer =
        (message.type == RV_JSONRPC_REPLY || message.type == RV_JSONRPC_ERROR)
        && json_is_integer(message.id)
        && json_integer_value(message.id) == client->next_id - 1;
    rc = is_answer ? take_answer(&message, result) : -EAGAIN;
    rv_jsonrpc_deinit(&message);
    return rc == -ENOMEM ? rv_error_errno(error, rc, "cannot take the answer")
                         : rc;
}

/* Looks for the answer among the bytes received; -EAGAIN when it is not (all)
 * there. */
static int
scan_input(struct rv_unixctl_client *client, struct rv_unixctl_result *result,
           struct rv_error *error)
{
    int rc = -EAGAIN;
    while (rc == -EAGAIN && client->scanned < client->input.length) {
        const char *start = client->input.data + client->scanned;
        size_t used;
        int found =
            rv_json_frame_scan(&client->frame, start,
                               client->input.length - client->scanned, &used);
        if (found < 0) {
            return rv_error_errno(error, found == -EMSGSIZE ? found : -EPROTO,
                                  "the server sent no valid answer");
        }
        client->scanned += used;
        if (found == RV_JSON_FRAME_COMPLETE) {
            size_t length = client->frame.length;
            rc = judge_message(client, start + used - length, length, result,
                               error);
        }
    }
    size_t pending = rv_json_frame_pending(&client->frame);
    rv_buf_consume(&client->input, client->scanned - pending);
    client->scanned = pending;
    return rc;
}

int
rv_unixctl_client_receive(struct rv_unixctl_client *client,
                          struct rv_unixctl_result *result,
                          struct rv_error *error)
{
    for (;;) {
        int rc = scan_input(client, result, error);
        if (rc != -EAGAIN) {
            return rc;
        }
        struct rv_buf *input = &client->input;
        rc = rv_buf_reserve(input, READ_BYTES);
        if (rc) {
            return rv_error_errno(error, rc, "cannot take the answer");
        }
        ssize_t n = recv(client->fd, input->data + input->length, READ_BYTES,
                         MSG_DONTWAIT);
        if (n > 0) {
            input->length += (size_t)n;
            input->data[input->length] = '\0';
        } else if (n == 0) {
            return rv_error_set(error, -ECONNRESET,
                                "the server closed the connection before "
                                "it answered");
        } else if (errno == EAGAIN) {
            return -EAGAIN;
        } else if (errno != EINTR) {
            return rv_error_errno(error, -errno, "cannot receive the answer");
        }
    }
}

static int
receive_block(struct rv_unixctl_client *client, int64_t deadline_ms,
              struct rv_unixctl_result *result, struct rv_error *error)
{
    for (;;) {
        int rc = rv_unixctl_client_receive(client, result, error);
        if (rc != -EAGAIN) {
            return rc;
        }
        rc = wait_fd_block(client->fd, POLLIN, deadline_ms);
        if (rc == -ETIMEDOUT) {
            return rv_error_set(error, rc, "no answer in time");
        }
        if (rc) {
            return rv_error_errno(error, rc, "cannot wait for the answer");
        }
    }
}

int
rv_unixctl_client_wait_block(struct rv_unixctl_client *client, int timeout_ms,
                             struct rv_unixctl_result *result,
                             struct rv_error *error)
{
    return receive_block(client, deadline_after(timeout_ms), result, error);
}

int
rv_unixctl_client_call_block(struct rv_unixctl_client *client,
                             const char *command, size_t n_args,
                             const char *const args[], int timeout_ms,
                             struct rv_unixctl_result *result,
                             struct rv_error *error)
{
    int64_t deadline_ms = deadline_after(timeout_ms);
    int rc = send_block(client, command, n_args, args, deadline_ms, error);
    return rc ? rc : receive_block(client, deadline_ms, result, error);
}

/* Finding the socket. */

/* Reads the number in the pidfile 'fd'. */
static int
read_pid(int fd, const char *name, pid_t *pidp, struct rv_error *error)
{
    char text[PIDFILE_MAX];
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n < 0) {
        return rv_error_errno(error, -errno, "cannot read %s", name);
    }
    text[n] = '\0';
    char *end;
    errno = 0;
    long pid = strtol(text, &end, 10);
    if (errno || end == text || (*end && *end != '\n') || pid < 1
        || pid > INT32_MAX) {
        return rv_error_set(error, -EINVAL, "%s does not hold a pid", name);
    }
    *pidp = (pid_t)pid;
    return 0;
}

/* Checks that process 'pid' holds the lock of the pidfile 'fd'. */
static int
check_lock(int fd, const char *name, pid_t pid, struct rv_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_GETLK, &lock)) {
        return rv_error_errno(error, -errno, "cannot test the lock of %s",
                              name);
    }
    if (lock.l_type == F_UNLCK) {
        return rv_error_set(error, -ESRCH,
                            "not running (%s was left behind by process %d)",
                            name, (int)pid);
    }
    if (lock.l_pid != pid) {
        return rv_error_set(error, -ESRCH,
                            "%s names process %d, but process %d holds it "
                            "locked",
                            name, (int)pid, (int)lock.l_pid);
    }
    return 0;
}

static int
read_pidfile(const char *name, pid_t *pidp, struct rv_error *error)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        return rv_error_set(error, -ENOENT, "not running (there is no %s)",
                            name);
    }
    if (fd < 0) {
        return rv_error_errno(error, -errno, "cannot open %s", name);
    }
    pid_t pid = 0;
    int rc = read_pid(fd, name, &pid, error);
    if (!rc) {
        rc = check_lock(fd, name, pid, error);
    }
    close(fd);
    if (!rc) {
        *pidp = pid;
    }
    return rc;
}

/* Whether 'target' is the name of a pidfile; '*stem_lengthp' then counts the
 * characters before its ending. */
static bool
is_pidfile(const char *target, size_t *stem_lengthp)
{
    static const char ending[] = ".pid";
    size_t n = strlen(target);
    if (n <= strlen(ending) || strcmp(target + n - strlen(ending), ending)
        || target[n - strlen(ending) - 1] == '/') {
        return false;
    }
    *stem_lengthp = n - strlen(ending);
    return true;
}

/* Appends the socket beside the pidfile STEM.pid. */
static int
put_socket(const char *stem, struct rv_buf *path, struct rv_error *error)
{
    struct rv_buf name;
    pid_t pid = 0;
    rv_buf_init(&name, path->maximum);
    int rc = rv_buf_printf(&name, "%s.pid", stem);
    if (rc) {
        rv_error_errno(error, rc, "target");
    } else {
        rc = read_pidfile(name.data, &pid, error);
    }
    rv_buf_deinit(&name);
    if (rc) {
        return rc;
    }
    rc = rv_buf_printf(path, "%s.%d.ctl", stem, (int)pid);
    return rc ? rv_error_errno(error, rc, "target") : 0;
}

int
rv_unixctl_resolve(const char *target, const char *rundir, struct rv_buf *path,
                   struct rv_error *error)
{
    struct rv_buf stem;
    size_t stem_length = strlen(target);
    bool names_pidfile = is_pidfile(target, &stem_length);
    if (target[0] == '/' && !names_pidfile) {
        int rc = rv_buf_puts(path, target);
        return rc ? rv_error_errno(error, rc, "target") : 0;
    }
    rv_buf_init(&stem, path->maximum);
    if (!names_pidfile || !strchr(target, '/')) {
        rv_buf_printf(&stem, "%s/", rundir);
    }
    rv_buf_put(&stem, target, stem_length);
    int rc = stem.failed ? rv_error_errno(error, -EMSGSIZE, "target")
                         : put_socket(rv_buf_string(&stem), path, error);
    rv_buf_deinit(&stem);
    return rc;
}
