/* reeve-test test-daemon [DAEMON-OPTION...] [OPTION...]
 *
 * A daemon that does nothing but what a test asks of it, over its control
 * socket: the whole of reeve/daemon.h and reeve/fatal_signal.h in use.
 *
 *     --name=NAME            its name ("test-daemon")
 *     --unixctl=PATH         its control socket (RUNDIR/NAME.PID.ctl)
 *     --fail-file=FILE       while starting: if FILE is there, read a line of
 *                            it: a number N is an exit with that status, -N a
 *                            death by that signal, nothing is a start (the
 *                            test may hold it up with a FIFO)
 *     --handle-signals       note the signals that a monitor forwards, but
 *                            for TERM and INT, which end it
 *
 * and over the control socket, besides what is built in:
 *
 *     pid                    its own
 *     signals                those that were noted, in order
 *     folder                 the current one
 *     core-limit             the soft limit, in bytes
 *     monitored              whether anyone monitors it
 *     exit [STATUS]          ends at once, without a word
 *     stop                   ends as a good daemon does
 *     spin                   hangs in a loop for ever
 *     overflow               recurses until the stack is full
 */
#include "reeve-test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/address.h"
#include "os/fd.h"
#include "os/listen.h"
#include "os/process.h"
#include "os/rundir.h"
#include "reeve/buf.h"
#include "reeve/daemon.h"
#include "reeve/fatal_signal.h"
#include "reeve/loop.h"
#include "reeve/unixctl.h"

struct test_daemon {
    struct rv_daemon_options options;
    const char *control, *fail_file;
    bool handles_signals;

    struct rv_daemon daemon;
    struct rv_loop loop;
    struct rv_unixctl_server server;
    struct rv_io signals_io;
    int listen_fd, signal_fd;
    char path[RV_ADDRESS_TEXT];
    struct rv_buf signals;
    bool is_stopping;
};

RV_NORETURN static void
fatal(const struct test_daemon *self, const struct rv_error *error)
{
    fprintf(stderr, "%s: %s\n", self->options.program, error->text);
    rv_fatal_signal_unlink_files();
    exit(EXIT_FAILURE);
}

/* ---- The control socket ---- */

static void
reply_number(struct rv_unixctl_call *call, long long number)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", number);
    rv_unixctl_reply(call, text);
}

static void
on_pid(struct rv_unixctl_call *call, void *self)
{
    (void)self;
    reply_number(call, getpid());
}

static void
on_signals(struct rv_unixctl_call *call, void *context)
{
    struct test_daemon *self = context;
    rv_unixctl_reply(call, rv_buf_string(&self->signals));
}

static void
on_folder(struct rv_unixctl_call *call, void *self)
{
    char folder[4096];
    (void)self;
    rv_unixctl_reply(call, getcwd(folder, sizeof folder));
}

static void
on_core_limit(struct rv_unixctl_call *call, void *self)
{
    struct rlimit limit;
    (void)self;
    reply_number(
        call, getrlimit(RLIMIT_CORE, &limit) ? -1 : (long long)limit.rlim_cur);
}

static void
on_monitored(struct rv_unixctl_call *call, void *context)
{
    struct test_daemon *self = context;
    struct pollfd end = {rv_daemon_monitor_fd(&self->daemon), POLLIN, 0};
    bool is_alone = end.fd < 0 || poll(&end, 1, 0) > 0;
    rv_unixctl_reply(call, is_alone ? "no" : "yes");
}

static void
on_leave(struct rv_unixctl_call *call, void *self)
{
    (void)self;
    const char *status =
        rv_unixctl_call_n_args(call) > 0 ? rv_unixctl_call_arg(call, 0) : "0";
    _exit((int)strtol(status, NULL, 10));
}

static void
on_stop(struct rv_unixctl_call *call, void *context)
{
    struct test_daemon *self = context;
    self->is_stopping = true;
    rv_unixctl_reply(call, NULL);
}

static void
on_spin(struct rv_unixctl_call *call, void *self)
{
    volatile bool forever = true;
    (void)call;
    (void)self;
    while (forever) {
    }
}

/* Not a tail call, nor one that a compiler could turn into a loop. */
static int
recurse(volatile int *depth)
{
    volatile char room[1024] = {1};
    *depth += room[0];
    return *depth > 0 ? recurse(depth) + room[0] : 0;
}

static void
on_overflow(struct rv_unixctl_call *call, void *self)
{
    volatile int depth = 0;
    (void)self;
    reply_number(call, recurse(&depth));
}

static const struct {
    const char *name;
    int max_args;
    rv_unixctl_handler *handler;
} commands[] = {
    {"pid", 0, on_pid},
    {"signals", 0, on_signals},
    {"folder", 0, on_folder},
    {"core-limit", 0, on_core_limit},
    {"monitored", 0, on_monitored},
    {"exit", 1, on_leave},
    {"stop", 0, on_stop},
    {"spin", 0, on_spin},
    {"overflow", 0, on_overflow},
};

static int
find_path(struct test_daemon *self, struct rv_error *error)
{
    char folder[RV_RUNDIR_PATH];
    if (self->control) {
        snprintf(self->path, sizeof self->path, "%s", self->control);
        return 0;
    }
    int rc = rv_rundir_path(self->options.rundir, folder, error);
    if (rc) {
        return rc;
    }
    int n = snprintf(self->path, sizeof self->path, "%s/%s.%d.ctl", folder,
                     self->options.program, (int)getpid());
    return (size_t)n < sizeof self->path
               ? 0
               : rv_error_set(error, -ENAMETOOLONG, "control socket");
}

static int
open_control(struct test_daemon *self, struct rv_error *error)
{
    struct rv_address address;
    struct rv_listen_options options = {.backlog = 64, .mode = 0600};
    struct rv_unixctl_limits limits = RV_UNIXCTL_LIMITS;
    int rc = find_path(self, error);
    rc = rc ? rc : rv_address_parse(self->path, &address, error);
    rc = rc ? rc : rv_listen_open(&address, &options, &self->listen_fd, error);
    rc = rc ? rc : rv_fatal_signal_add_file(self->path);
    rc = rc ? rc : rv_unixctl_server_init(&self->server);
    for (size_t i = 0; !rc && i < RV_ARRAY_SIZE(commands); i++) {
        rc = rv_unixctl_register(&self->server, commands[i].name, "", 0,
                                 commands[i].max_args, commands[i].handler,
                                 self);
    }
    return rc ? rc
              : rv_unixctl_server_start(&self->server, &self->loop,
                                        self->listen_fd, &limits);
}

/* ---- Signals ---- */

static void
on_signal(struct rv_io *io, uint32_t events)
{
    struct test_daemon *self = io->context;
    struct signalfd_siginfo info;
    (void)events;
    while (read(self->signal_fd, &info, sizeof info) == sizeof info) {
        rv_buf_printf(&self->signals, "%s\n",
                      sigabbrev_np((int)info.ssi_signo));
    }
}

static int
open_signals(struct test_daemon *self)
{
    static const int noted[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGWINCH};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < RV_ARRAY_SIZE(noted); i++) {
        sigaddset(&set, noted[i]);
    }
    if (!self->handles_signals) {
        return 0;
    }
    self->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (self->signal_fd < 0 || sigprocmask(SIG_BLOCK, &set, NULL)) {
        return -errno;
    }
    rv_io_init(&self->signals_io, on_signal, self);
    return rv_io_start(&self->loop, &self->signals_io, self->signal_fd,
                       EPOLLIN);
}

/* ---- The program ---- */

static const char *
value_of(const char *word, const char *name)
{
    size_t n = strlen(name);
    return strncmp(word, name, n) || word[n] != '=' ? NULL : word + n + 1;
}

static void
take_option(struct test_daemon *self, const char *word)
{
    const char *value;
    if ((value = value_of(word, "--name"))) {
        self->options.program = value;
    } else if ((value = value_of(word, "--unixctl"))) {
        self->control = value;
    } else if ((value = value_of(word, "--fail-file"))) {
        self->fail_file = value;
    } else if (!strcmp(word, "--handle-signals")) {
        self->handles_signals = true;
    } else {
        reeve_test_fatal("test-daemon: unknown option '%s'", word);
    }
}

static void
take_options(struct test_daemon *self, int argc, char **argv)
{
    struct rv_error error;
    int n;
    for (int i = 1; i < argc; i += n) {
        n = rv_daemon_option(&self->options, argv[i], argv[i + 1], &error);
        if (n < 0) {
            fatal(self, &error);
        }
        if (n == 0) {
            take_option(self, argv[i]);
            n = 1;
        }
    }
}

/* A failure to start, if one is asked for. */
static void
fail_as_asked(const struct test_daemon *self)
{
    FILE *file = self->fail_file ? fopen(self->fail_file, "re") : NULL;
    int status = 0;
    if (!file) {
        return;
    }
    int n = fscanf(file, "%d", &status);
    fclose(file);
    if (n != 1) {
        return;
    }
    if (status < 0) {
        raise(-status);
    }
    fprintf(stderr, "%s: cannot start\n", self->options.program);
    rv_fatal_signal_unlink_files();
    exit(status);
}

static void
start(struct test_daemon *self)
{
    struct rv_error error;
    if (rv_daemon_start_block(&self->daemon, &self->options, &error)) {
        fatal(self, &error);
    }
    fail_as_asked(self);
    int rc = rv_loop_init(&self->loop);
    if (rc) {
        rv_error_errno(&error, rc, "loop");
    }
    rc = rc ? rc : open_control(self, &error);
    rc = rc ? rc : open_signals(self);
    rc = rc ? rc : rv_daemon_complete(&self->daemon, &error);
    if (rc) {
        fatal(self, &error);
    }
}

int
test_daemon(int argc, char **argv)
{
    struct test_daemon self = {
        .options = RV_DAEMON_OPTIONS("test-daemon"),
        .listen_fd = -1,
        .signal_fd = -1,
    };
    /* A sanitizer catches some of the signals that this is about. */
    rv_process_reset_signals();
    /* The word before is the program's name. */
    if (rv_title_init(argc + 1, argv - 1)) {
        reeve_test_fatal("out of memory");
    }
    rv_buf_init(&self.signals, 65536);
    take_options(&self, argc, argv);
    start(&self);
    while (!self.is_stopping || !rv_unixctl_server_is_idle(&self.server)) {
        rv_loop_run_once(&self.loop, -1);
    }
    rv_unixctl_server_deinit(&self.server);
    rv_io_stop(&self.signals_io);
    rv_loop_deinit(&self.loop);
    rv_fd_close(&self.listen_fd);
    rv_fd_close(&self.signal_fd);
    rv_buf_deinit(&self.signals);
    rv_fatal_signal_unlink_files();
    rv_daemon_stop(&self.daemon);
    return EXIT_SUCCESS;
}
