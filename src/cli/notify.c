/* notify: lets a shell script, or a program that cannot send datagrams, say
 * READY=1 and the like to the reeve that runs it.
 *
 * The master believes a message by the sender's pid, which it looks up while
 * the sender lives.  So this command stays until the master has read it: it
 * sends the end of a pipe along (BARRIER=1 of sd_notify(3)), which the master
 * closes unread. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reeve/buf.h"
#include "master/master.h"
#include "os/fd.h"
#include "os/notify.h"

enum { READ_WAIT_MS = 5000 };

/* Waits until the other side has closed its copy of what we sent. */
static int
wait_until_read(int fd)
{
    struct pollfd hung_up = {fd, 0, 0};
    return poll(&hung_up, 1, READ_WAIT_MS) == 1
               ? RV_EXIT_OK
               : rv_cli_fail(RV_EXIT_FAILED,
                             "nobody read the message within %d s",
                             READ_WAIT_MS / 1000);
}

static int
send_and_wait(const char *text)
{
    int fds[2], socket_fd = -1;
    int rc = rv_notify_connect(&socket_fd);
    if (rc) {
        return rv_cli_fail(RV_EXIT_FAILED, "NOTIFY_SOCKET: %s", strerror(-rc));
    }
    if (pipe2(fds, O_CLOEXEC)) {
        rc = -errno;
        rv_fd_close(&socket_fd);
        return rv_cli_fail(RV_EXIT_FAILED, "pipe: %s", strerror(-rc));
    }
    rc = rv_packet_send(socket_fd, text, strlen(text), -1);
    if (!rc) {
        rc = rv_packet_send(socket_fd, "BARRIER=1", 9, fds[1]);
    }
    rv_fd_close(&fds[1]);
    rv_fd_close(&socket_fd);
    int status =
        rc ? rv_cli_fail(RV_EXIT_FAILED, "NOTIFY_SOCKET: %s", strerror(-rc))
           : wait_until_read(fds[0]);
    rv_fd_close(&fds[0]);
    return status;
}

int
rv_cli_notify(int argc, char **argv)
{
    struct rv_buf text;
    if (argc < 2) {
        return rv_cli_usage(argv[0], "say what, such as READY=1");
    }
    rv_buf_init(&text, RV_NOTIFY_BYTES);
    for (int i = 1; i < argc; i++) {
        if (!strchr(argv[i], '=')) {
            rv_buf_deinit(&text);
            return rv_cli_usage(argv[0], "\"%s\" is not NAME=VALUE", argv[i]);
        }
        rv_buf_printf(&text, "%s\n", argv[i]);
    }
    int status = text.failed ? rv_cli_usage(argv[0], "the message is too long")
                             : send_and_wait(rv_buf_string(&text));
    rv_buf_deinit(&text);
    return status;
}
