/* Arguments and environment of a worker. */
#include "master/internal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

/* What reeve's own environment holds for reeve alone, or what reeve sets. */
static const char *const withheld[] = {
    "REEVE_KEEPER",     "REEVE_KEEPER_HEIR",
    "REEVE_NOFILE",     "REEVE_WORKER",
    "NOTIFY_SOCKET",    "LISTEN_FDS",
    "LISTEN_PID",       "LISTEN_FDNAMES",
    "WATCHDOG_USEC",    "WATCHDOG_PID",
    "REEVE_SERVICE",    "REEVE_EXECUTABLE",
    "REEVE_GENERATION", "REEVE_PROBE_PORT",
    "WEB_CONCURRENCY",  "PORT",
    "REEVE_ZONES",
};

struct builder {
    struct rv_buf text; /* For one string at a time. */
    char **strings;
    int rc;
};

static void
add(struct builder *b, const char *string)
{
    if (!b->rc) {
        b->rc = rv_str_vector_add(&b->strings, string, strlen(string));
    }
}

static void RV_PRINTF(2, 3)
    add_format(struct builder *b, const char *format, ...)
{
    va_list args;
    rv_buf_clear(&b->text);
    va_start(args, format);
    rv_buf_vprintf(&b->text, format, args);
    va_end(args);
    if (b->text.failed) {
        b->rc = -ENOMEM;
    }
    add(b, rv_buf_string(&b->text));
}

static bool
has_name(const char *string, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(string, name, n) && string[n] == '=';
}

static bool
is_set_by(char *const *strings, const char *string)
{
    size_t n = strcspn(string, "=") + 1;
    for (size_t i = 0; strings && strings[i]; i++) {
        if (!strncmp(strings[i], string, n)) {
            return true;
        }
    }
    return false;
}

static bool
is_withheld(const char *string)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(withheld); i++) {
        if (has_name(string, withheld[i])) {
            return true;
        }
    }
    return false;
}

static void
add_own(struct builder *b, const struct rv_conf_service *service)
{
    for (size_t i = 0; !service->clear_environment && environ[i]; i++) {
        if (!is_withheld(environ[i])
            && !is_set_by(service->environment, environ[i])) {
            add(b, environ[i]);
        }
    }
}

/* The descriptor number that {fd:NAME} stands for; -1 if there is none. */
static int
number_of(const struct rv_conf_service *service, const char *name,
          size_t length, int n_listens)
{
    for (size_t i = 0; i < service->n_listens; i++) {
        const char *candidate = service->listens[i].name;
        if (strlen(candidate) == length && !memcmp(candidate, name, length)) {
            return service->in == RV_CONF_STDIN_LISTEN && i == 0
                       ? 0
                       : 3 + (int)i
                             - (service->in == RV_CONF_STDIN_LISTEN ? 1 : 0);
        }
    }
    bool is_probe = length == 5 && !memcmp(name, "probe", 5);
    bool has_probe = service->ready == RV_CONF_READY_TCP
                     || service->ready == RV_CONF_READY_HTTP;
    return is_probe && has_probe ? 3 + n_listens - 1 : -1;
}

/* The same for {zone:NAME}: zones come behind the sockets. */
static int
number_of_zone(const struct rv_conf_service *service, const char *name,
               size_t length, int n_listens)
{
    for (size_t i = 0; i < service->n_zones; i++) {
        const char *candidate = service->zones[i].name;
        if (strlen(candidate) == length && !memcmp(candidate, name, length)) {
            return 3 + n_listens + (int)i;
        }
    }
    return -1;
}

/* The number that the braces at 'text' stand for, and how many bytes they
 * have; -1: they are only text. */
static int
read_braces(const struct rv_conf_service *service, const char *text,
            int n_listens, size_t *lengthp)
{
    static const char fd[] = "{fd:", zone[] = "{zone:";
    bool is_zone = !strncmp(text, zone, sizeof zone - 1);
    const char *end = strchr(text, '}');
    if (!end || (!is_zone && strncmp(text, fd, sizeof fd - 1) != 0)) {
        return -1;
    }
    const char *name = text + (is_zone ? sizeof zone : sizeof fd) - 1;
    size_t length = (size_t)(end - name);
    *lengthp = (size_t)(end + 1 - text);
    return is_zone ? number_of_zone(service, name, length, n_listens)
                   : number_of(service, name, length, n_listens);
}

/* Adds 'string' with each {fd:NAME} and {zone:NAME} replaced by its number. */
static void
add_expanded(struct builder *b, const struct rv_conf_service *service,
             const char *string, int n_listens)
{
    rv_buf_clear(&b->text);
    while (*string) {
        size_t n = strcspn(string, "{");
        rv_buf_put(&b->text, string, n);
        string += n;
        size_t n_braces = 0;
        int number =
            *string ? read_braces(service, string, n_listens, &n_braces) : -1;
        if (number >= 0) {
            rv_buf_printf(&b->text, "%d", number);
            string += n_braces;
        } else if (*string) {
            rv_buf_put(&b->text, string++, 1);
        }
    }
    b->rc = b->text.failed ? -ENOMEM : b->rc;
    add(b, rv_buf_string(&b->text));
}

static void
add_listen(struct builder *b, const struct rv_conf_service *service,
           int n_listens)
{
    if (!n_listens) {
        return;
    }
    struct rv_buf names;
    rv_buf_init(&names, 65536);
    size_t first = service->in == RV_CONF_STDIN_LISTEN ? 1 : 0;
    for (size_t i = first; i < service->n_listens; i++) {
        rv_buf_printf(&names, "%s%s", names.length ? ":" : "",
                      service->listens[i].name);
    }
    if ((size_t)n_listens > service->n_listens - first) {
        rv_buf_printf(&names, "%sprobe", names.length ? ":" : "");
    }
    add_format(b, "LISTEN_FDS=%d", n_listens);
    add_format(b, "LISTEN_FDNAMES=%s", rv_buf_string(&names));
    add(b, "LISTEN_PID=          ");
    rv_buf_deinit(&names);
}

static void
add_zones(struct builder *b, const struct rv_conf_service *service,
          int n_listens)
{
    if (!service->n_zones) {
        return;
    }
    struct rv_buf zones;
    rv_buf_init(&zones, 65536);
    for (size_t i = 0; i < service->n_zones; i++) {
        rv_buf_printf(&zones, "%s%s=%d", i ? "," : "", service->zones[i].name,
                      3 + n_listens + (int)i);
    }
    add_format(b, "REEVE_ZONES=%s", rv_buf_string(&zones));
    rv_buf_deinit(&zones);
}

static void
add_port(struct builder *b, const struct rv__worker *worker)
{
    const struct rv_conf_service *service = worker->service;
    if (service->n_listens != 1) {
        return;
    }
    const struct rv__socket *s =
        rv__sockets_find(worker->master, &service->listens[0]);
    int port = s ? rv_address_port(&s->address) : 0;
    if (port && !is_set_by(service->environment, "PORT=")) {
        add_format(b, "PORT=%d", port);
    }
    if (!is_set_by(service->environment, "WEB_CONCURRENCY=")) {
        /* The pool is the concurrency: a worker need not fork again. */
        add(b, "WEB_CONCURRENCY=1");
    }
}

/* For `reeve notify`, whatever the PATH. */
static void
add_executable(struct builder *b)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n > 0) {
        path[n] = '\0';
        /* Replaced on disk since: the new one serves as well. */
        char *gone = strstr(path, " (deleted)");
        if (gone) {
            *gone = '\0';
        }
        add_format(b, "REEVE_EXECUTABLE=%s", path);
    }
}

static char *
find_value(char **strings, const char *name)
{
    for (size_t i = 0; strings && strings[i]; i++) {
        if (has_name(strings[i], name)) {
            return strings[i] + strlen(name) + 1;
        }
    }
    return NULL;
}

int
rv__program_build(const struct rv__worker *worker, int index,
                  uint32_t generation, int n_listens, int probe_port,
                  struct rv__program *program, struct rv_error *error)
{
    const struct rv_conf_service *service = worker->service;
    struct builder arguments = {.rc = 0}, b = {.rc = 0};
    rv_buf_init(&arguments.text, 1 << 20);
    rv_buf_init(&b.text, 1 << 20);
    for (size_t i = 0; service->command[i]; i++) {
        add_expanded(&arguments, service, service->command[i], n_listens);
    }
    add_own(&b, service);
    add_executable(&b);
    add_format(&b, "REEVE_SERVICE=%s", service->name);
    add_format(&b, "REEVE_WORKER=%d", index);
    add_format(&b, "REEVE_GENERATION=%" PRIu32, generation);
    add_format(&b, "NOTIFY_SOCKET=%s", worker->notify_name);
    if (probe_port) {
        add_format(&b, "REEVE_PROBE_PORT=%d", probe_port);
    }
    if (service->watchdog_ms) {
        add_format(&b, "WATCHDOG_USEC=%" PRId64, service->watchdog_ms * 1000);
        add(&b, "WATCHDOG_PID=          ");
    }
    add_listen(&b, service, n_listens);
    add_zones(&b, service, n_listens);
    add_port(&b, worker);
    for (size_t i = 0; service->environment && service->environment[i]; i++) {
        add_expanded(&b, service, service->environment[i], n_listens);
    }
    rv_buf_deinit(&arguments.text);
    rv_buf_deinit(&b.text);
    if (arguments.rc || b.rc) {
        rv_str_vector_free(arguments.strings);
        rv_str_vector_free(b.strings);
        return rv_error_errno(error, -ENOMEM, "environment");
    }
    *program = (struct rv__program){
        .arguments = arguments.strings,
        .environment = b.strings,
        .listen_pid = find_value(b.strings, "LISTEN_PID"),
        .watchdog_pid = find_value(b.strings, "WATCHDOG_PID"),
    };
    return 0;
}

void
rv__program_free(struct rv__program *program)
{
    rv_str_vector_free(program->arguments);
    rv_str_vector_free(program->environment);
    *program = (struct rv__program){.arguments = NULL};
}
