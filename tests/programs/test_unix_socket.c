/* reeve-test test-unix-socket NAME [OTHER-NAME]
 *
 * Listens on the unix socket NAME and connects to it, by OTHER-NAME if there
 * is one.  Both may be longer than the address of a socket.  The file stays,
 * and one that is left over is replaced.
 */
#include "reeve-test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/socket.h"
#include "os/fd.h"
#include "os/listen.h"

enum { ALARM_SECONDS = 5 };

/* Applies 'open' to the socket named 'path'. */
static int
with_address(const char *path, int (*open)(struct rv_address *, int *),
             int *fdp)
{
    struct rv_address address;
    int dir_fd = -1;
    int rc = rv__socket_unix_address(path, NULL, &address, &dir_fd);
    if (!rc) {
        rc = open(&address, fdp);
    }
    rv_fd_close(&dir_fd);
    return rc;
}

static int
listen_on(struct rv_address *address, int *fdp)
{
    struct rv_listen_options options = {.backlog = 1, .mode = -1};
    return rv_listen_open(address, &options, fdp, NULL);
}

static int
connect_to(struct rv_address *address, int *fdp)
{
    return rv__socket_connect(address, 0, fdp);
}

int
test_unix_socket(int argc, char **argv)
{
    int listen_fd = -1, fd = -1;
    if (argc != 2 && argc != 3) {
        reeve_test_fatal_of(argv[0], 0, "usage: %s SOCKETNAME1 [SOCKETNAME2]",
                            argv[0]);
    }
    const char *name = argv[1];
    const char *other_name = argc > 2 ? argv[2] : name;
    signal(SIGALRM, SIG_DFL);
    alarm(ALARM_SECONDS);
    int rc = with_address(name, listen_on, &listen_fd);
    if (rc) {
        reeve_test_fatal_of(argv[0], -rc, "%s: bind failed", name);
    }
    rc = with_address(other_name, connect_to, &fd);
    if (rc) {
        reeve_test_fatal_of(argv[0], -rc, "%s: connect failed", other_name);
    }
    rv_fd_close(&listen_fd);
    rv_fd_close(&fd);
    return EXIT_SUCCESS;
}
