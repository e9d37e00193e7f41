/* run, start, check, schema: the commands that read a configuration. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/str.h"
#include "conf/conf.h"
#include "keeper/keeper.h"
#include "master/master.h"
#include "os/fd.h"
#include "os/process.h"

struct run_options {
    const char *command; /* "run" or "start". */
    const char *config;
    const char *name, *runtime_dir, *workers, *ready;
    json_t *listens;
    json_t *environment;
    char **program;
    bool reuseport, single, take_over;
};

enum { OPTION_READY = 256, OPTION_REUSEPORT, OPTION_SINGLE, OPTION_TAKE_OVER };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"name", required_argument, NULL, 'n'},
    {"runtime-dir", required_argument, NULL, 'R'},
    {"listen", required_argument, NULL, 'l'},
    {"workers", required_argument, NULL, 'w'},
    {"env", required_argument, NULL, 'e'},
    {"ready", required_argument, NULL, OPTION_READY},
    {"reuseport", no_argument, NULL, OPTION_REUSEPORT},
    {"single", no_argument, NULL, OPTION_SINGLE},
    {"take-over", no_argument, NULL, OPTION_TAKE_OVER},
    {NULL, 0, NULL, 0},
};

static int
add_environment(struct run_options *options, const char *text)
{
    const char *equals = strchr(text, '=');
    char name[256];
    if (!equals || equals == text || equals - text >= (int)sizeof name) {
        return rv_cli_usage(options->command,
                            "--env takes NAME=VALUE, not \"%s\"", text);
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    json_object_set_new(options->environment, name, json_string(equals + 1));
    return 0;
}

static int
take_option(struct run_options *options, int option)
{
    switch (option) {
    case 'c':
        options->config = optarg;
        return 0;
    case 'n':
        options->name = optarg;
        return 0;
    case 'R':
        options->runtime_dir = optarg;
        return 0;
    case 'l':
        json_array_append_new(options->listens, json_string(optarg));
        return 0;
    case 'w':
        options->workers = optarg;
        return 0;
    case 'e':
        return add_environment(options, optarg);
    case OPTION_READY:
        options->ready = optarg;
        return 0;
    case OPTION_REUSEPORT:
        options->reuseport = true;
        return 0;
    case OPTION_SINGLE:
        options->single = true;
        return 0;
    case OPTION_TAKE_OVER:
        options->take_over = true;
        return 0;
    default:
        return rv_cli_usage(options->command, "wrong option");
    }
}

/* Whether somebody most likely forgot the -c. */
static bool
is_configuration(const char *word)
{
    const char *ending = strrchr(word, '.');
    return ending && (!strcmp(ending, ".yaml") || !strcmp(ending, ".yml"));
}

static int
parse_run(int argc, char **argv, struct run_options *options)
{
    int option;
    options->command = argv[0];
    options->listens = json_array();
    options->environment = json_object();
    optind = 1;
    while (
        (option = getopt_long(argc, argv, "+c:n:R:l:w:e:", long_options, NULL))
        != -1) {
        int status = take_option(options, option);
        if (status) {
            return status;
        }
    }
    options->program = optind < argc ? argv + optind : NULL;
    if (options->single && !strcmp(options->command, "start")) {
        return rv_cli_usage(argv[0], "--single is for run: it has no daemon");
    }
    if (options->program && is_configuration(options->program[0])) {
        return rv_cli_usage(argv[0], "\"%s\" is no program; say -c %s",
                            options->program[0], options->program[0]);
    }
    if (options->config && options->program) {
        return rv_cli_usage(argv[0], "give either -c FILE or a program, not "
                                     "both");
    }
    if (!options->config && !options->program) {
        if (access("reeve.yaml", R_OK)) {
            return rv_cli_usage(argv[0], "give -c FILE, or a program behind "
                                         "--");
        }
        options->config = "reeve.yaml";
    }
    bool has_own = options->workers || options->ready || options->reuseport
                   || options->name || json_array_size(options->listens)
                   || json_object_size(options->environment);
    if (options->config && has_own) {
        return rv_cli_usage(argv[0],
                            "with -c FILE, everything else stands in the "
                            "file; only --runtime-dir, --single and "
                            "--take-over go with it");
    }
    return 0;
}

/* The configuration that the command line stands for, as JSON, which is YAML.
 * The caller frees it. */
static char *
configuration_text(const struct run_options *options)
{
    json_t *command = json_array();
    for (char **word = options->program; word && *word; word++) {
        json_array_append_new(command, json_string(*word));
    }
    json_t *service = json_pack(
        "{s:o, s:O, s:O, s:b}", "command", command, "listen", options->listens,
        "environment", options->environment, "reuseport", options->reuseport);
    json_object_set_new(
        service, "workers",
        json_string(options->workers ? options->workers : "auto"));
    if (options->ready) {
        json_object_set_new(service, "ready", json_string(options->ready));
    }
    json_t *root = json_pack("{s:s, s:{s:o}}", "name",
                             options->name ? options->name : "reeve",
                             "services", "web", service);
    char *text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    return text;
}

static int
fd_from_environment(const char *variable)
{
    const char *text = getenv(variable);
    int64_t number;
    if (!text || rv_str_parse_integer(text, &number) || number < 0
        || number > INT32_MAX) {
        return -1;
    }
    unsetenv(variable);
    return (int)number;
}

static int
run_master(const struct run_options *options, char **argv, int keeper_fd)
{
    struct rv_master_options master = {
        .argv = argv,
        .keeper_fd = keeper_fd,
        .must_start = !strcmp(options->command, "start"),
        .is_daemon = !strcmp(options->command, "start"),
        .take_over = options->take_over,
    };
    char *directory = get_current_dir_name();
    char *path = NULL, *text = NULL;
    if (options->config) {
        path = realpath(options->config, NULL);
        /* What is wrong with it, the reader will say. */
        master.config_path = path ? path : options->config;
    } else {
        text = configuration_text(options);
        master.config_text = text;
    }
    master.directory = directory ? directory : "/";
    int status = options->single ? rv_master_run_single(&master)
                                 : rv_master_run(&master);
    free(directory);
    free(path);
    free(text);
    return status;
}

/* Waits for the daemon's first word: how the start went. */
static int
wait_for_start(int fd, pid_t pid)
{
    char status = RV_EXIT_FAILED;
    ssize_t n;
    do {
        n = read(fd, &status, 1);
    } while (n < 0 && errno == EINTR);
    rv_fd_close(&fd);
    if (n != 1) {
        return rv_cli_fail(RV_EXIT_FAILED,
                           "the keeper (pid %d) ended before "
                           "the services were ready",
                           (int)pid);
    }
    return (unsigned char)status;
}

static int
run_keeper(struct run_options *options, char **argv)
{
    struct rv_keeper_options keeper = {
        .argv = argv,
        .starter_fd = -1,
        .heir_fd = fd_from_environment("REEVE_KEEPER_HEIR"),
    };
    bool is_daemon = !strcmp(options->command, "start");
    if (is_daemon && keeper.heir_fd < 0) {
        int fds[2];
        if (pipe2(fds, O_CLOEXEC)) {
            return rv_cli_fail(RV_EXIT_FAILED, "pipe: %s", strerror(errno));
        }
        pid_t pid = fork();
        if (pid < 0) {
            return rv_cli_fail(RV_EXIT_FAILED, "fork: %s", strerror(errno));
        }
        if (pid > 0) {
            rv_fd_close(&fds[1]);
            return wait_for_start(fds[0], pid);
        }
        rv_fd_close(&fds[0]);
        setsid();
        keeper.starter_fd = fds[1];
        keeper.detach = true;
    }
    rv_title_set("reeve: keeper");
    return rv_keeper_run(&keeper);
}

static int
run(int argc, char **argv)
{
    struct run_options options = {.command = argv[0]};
    int status = parse_run(argc, argv, &options);
    int keeper_fd = fd_from_environment("REEVE_KEEPER");
    if (!status && options.runtime_dir) {
        setenv("REEVE_RUNDIR", options.runtime_dir, 1);
    }
    if (!status && (keeper_fd >= 0 || options.single)) {
        /* argv - 1 is main()'s vector, with the program's name first. */
        status = run_master(&options, argv - 1, keeper_fd);
    } else if (!status) {
        status = run_keeper(&options, argv - 1);
    }
    json_decref(options.listens);
    json_decref(options.environment);
    return status;
}

int
rv_cli_run(int argc, char **argv)
{
    return run(argc, argv);
}

int
rv_cli_start(int argc, char **argv)
{
    return run(argc, argv);
}

/* Whether a program can be found as execvp(3) would. */
static bool
can_find(const char *program)
{
    if (strchr(program, '/')) {
        return !access(program, X_OK);
    }
    const char *path = getenv("PATH");
    char candidate[4096];
    while (path && *path) {
        size_t n = strcspn(path, ":");
        snprintf(candidate, sizeof candidate, "%.*s/%s", (int)n, path,
                 program);
        if (!access(candidate, X_OK)) {
            return true;
        }
        path += n + (path[n] == ':');
    }
    return false;
}

static int
check_programs(const char *path, const struct rv_conf *conf)
{
    int status = RV_EXIT_OK;
    for (size_t i = 0; i < conf->n_services; i++) {
        const struct rv_conf_service *service = &conf->services[i];
        bool is_relative = service->directory
                           && strchr(service->command[0], '/')
                           && service->command[0][0] != '/';
        if (!is_relative && !can_find(service->command[0])) {
            fprintf(stderr,
                    "%s: service \"%s\": there is no program \"%s\" to run; "
                    "check the path and its permissions\n",
                    path, service->name, service->command[0]);
            status = RV_EXIT_CONFIGURATION;
        }
    }
    return status;
}

int
rv_cli_check(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    const char *path = "reeve.yaml";
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (option != 'c') {
            return rv_cli_usage(argv[0], "wrong option");
        }
        path = optarg;
    }
    if (optind < argc) {
        path = argv[optind++];
    }
    if (optind < argc) {
        return rv_cli_usage(argv[0], "one file at a time");
    }
    struct rv_conf *conf = NULL;
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    int status = RV_EXIT_CONFIGURATION;
    if (rv_conf_read_file(path, &conf, &errors)) {
        fputs(rv_buf_string(&errors.text), stderr);
    } else {
        status = check_programs(path, conf);
    }
    if (!status) {
        printf("%s: ok\n", path);
    }
    rv_conf_errors_deinit(&errors);
    rv_conf_destroy(conf);
    return status;
}

int
rv_cli_schema(int argc, char **argv)
{
    bool is_man = argc == 2 && !strcmp(argv[1], "--man");
    if (argc > 1 && !is_man) {
        return rv_cli_usage(argv[0], "wrong option");
    }
    struct rv_buf text;
    rv_buf_init(&text, 1 << 20);
    int rc = is_man ? rv_conf_man_table(&text) : rv_conf_json_schema(&text);
    fputs(rv_buf_string(&text), stdout);
    rv_buf_deinit(&text);
    return rc ? RV_EXIT_FAILED : RV_EXIT_OK;
}
