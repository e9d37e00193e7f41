/* What no key says alone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "conf/reader.h"

/* One service under check. */
struct check {
    struct rv_conf_reader *reader;
    const struct rv_conf_service *service;
    const struct rv_conf_node *map;
    struct rv_conf_place place;
};

/* Complains at 'key', or at the service if the key is not written there. */
#define COMPLAIN(CHECK, KEY, ...)                                           \
  rv__conf_report_add((CHECK)->reader->report,                              \
                      rv__conf_place_of((CHECK)->map, KEY, (CHECK)->place), \
                      __VA_ARGS__)

static size_t
count_streams(const struct rv_conf_service *service)
{
    size_t n = 0;
    for (size_t i = 0; i < service->n_listens; i++) {
        n += service->listens[i].address.type == SOCK_STREAM;
    }
    return n;
}

/* Times. */

/* `a` must be less than `b`. */
static void
check_less(const struct check *check, const char *a, int64_t a_ms,
           const char *b, int64_t b_ms)
{
    char a_text[RV_STR_DURATION], b_text[RV_STR_DURATION];
    if (a_ms < b_ms) {
        return;
    }
    rv_str_format_duration(a_ms, a_text);
    rv_str_format_duration(b_ms, b_text);
    bool has_a = rv__conf_tree_find(check->map, a);
    COMPLAIN(check, has_a ? a : b,
             "`%s` (%s) is not less than `%s` (%s), so no worker could ever "
             "come through; make `%s` shorter or `%s` longer",
             a, a_text, b, b_text, a, b);
}

static void
check_times(const struct check *check)
{
    const struct rv_conf_service *service = check->service;
    if (service->ready == RV_CONF_READY_ALIVE) {
        check_less(check, "ready_after", service->ready_after_ms,
                   "start_timeout", service->start_timeout_ms);
        if (service->max_age_ms) {
            check_less(check, "ready_after", service->ready_after_ms,
                       "max_age", service->max_age_ms);
        }
    }
    if (service->max_age_ms) {
        check_less(check, "soak", service->soak_ms, "max_age",
                   service->max_age_ms);
    }
    if (service->backoff_min_ms > service->backoff_max_ms) {
        char low[RV_STR_DURATION], high[RV_STR_DURATION];
        rv_str_format_duration(service->backoff_min_ms, low);
        rv_str_format_duration(service->backoff_max_ms, high);
        COMPLAIN(check, "backoff",
                 "`backoff`: `min` (%s) is longer than `max` (%s); swap them, "
                 "or write both",
                 low, high);
    }
}

/* Sockets. */

static void
check_sockets(const struct check *check)
{
    const struct rv_conf_service *service = check->service;
    size_t n_streams = count_streams(service);
    bool is_tcp = service->ready == RV_CONF_READY_TCP;
    if ((is_tcp || service->ready == RV_CONF_READY_HTTP) && n_streams == 0) {
        COMPLAIN(check, "ready",
                 "`ready: %s` needs a stream socket to probe, and the "
                 "service listens on none; add `listen`, or write another "
                 "`ready`",
                 is_tcp ? "tcp" : "http");
    }
    if (service->in == RV_CONF_STDIN_LISTEN && n_streams != 1) {
        COMPLAIN(check, "stdin",
                 "`stdin: listen` needs exactly one stream socket, and "
                 "`listen` has %zu; %s",
                 n_streams,
                 n_streams ? "leave one, or make services of the others"
                           : "add one such as `listen: 8080`");
    }
}

static void
check_listen_names(const struct check *check)
{
    const struct rv_conf_service *service = check->service;
    for (size_t i = 1; i < service->n_listens; i++) {
        const char *name = service->listens[i].name;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(name, service->listens[j].name) != 0) {
                continue;
            }
            const struct rv_conf_node *node =
                rv__conf_listen_node(check->map, i);
            rv__conf_report_add(
                check->reader->report, node ? node->place : check->place,
                "the name `%s` is already that of listen number %zu; give "
                "one of them another `name`",
                name, j + 1);
            break;
        }
    }
}

/* {fd:NAME} and {zone:NAME} */

enum { NAMES_MAX = RV_MAX(RV_CONF_LISTENS_MAX, RV_CONF_ZONES_MAX) };

/* What can be named in braces. */
struct reference {
    const char *start; /* "{fd:" */
    const char *noun;
    const char *key;
};

static const struct reference references[] = {
    {"{fd:", "listen", "listen"},
    {"{zone:", "zone", "zones"},
};

/* The names that 'reference' may have. */
static size_t
list_names(const struct rv_conf_service *service,
           const struct reference *reference, const char *names[NAMES_MAX])
{
    bool is_zone = reference != &references[0];
    size_t n = is_zone ? service->n_zones : service->n_listens;
    for (size_t i = 0; i < n; i++) {
        names[i] = is_zone ? service->zones[i].name : service->listens[i].name;
    }
    return n;
}

static void
complain_reference(const struct check *check, struct rv_conf_place place,
                   const struct reference *reference, const char *name)
{
    const char *names[NAMES_MAX];
    size_t n = list_names(check->service, reference, names);
    const char *near = n ? rv_str_nearest(name, names, n) : NULL;
    struct rv_conf_report *report = check->reader->report;
    const char *start = reference->start, *noun = reference->noun;
    if (!n) {
        rv__conf_report_add(report, place,
                            "`%s%.64s}` names a %s, and the service has "
                            "none; add `%s`",
                            start, name, noun, reference->key);
    } else if (near) {
        rv__conf_report_add(report, place,
                            "`%s%.64s}` names no %s of the service; did you "
                            "mean `%s%s}`?",
                            start, name, noun, start, near);
    } else {
        rv__conf_report_add(report, place,
                            "`%s%.64s}` names no %s of the service; the "
                            "first one is `%s%s}`",
                            start, name, noun, start, names[0]);
    }
}

static bool
has_name(const struct rv_conf_service *service,
         const struct reference *reference, const char *name)
{
    const char *names[NAMES_MAX];
    bool is_probed = service->ready == RV_CONF_READY_TCP
                     || service->ready == RV_CONF_READY_HTTP;
    if (reference == &references[0] && is_probed && !strcmp(name, "probe")) {
        return true; /* The socket that each worker gets for its probe. */
    }
    size_t n = list_names(service, reference, names);
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(names[i], name)) {
            return true;
        }
    }
    return false;
}

/* Looks at each {fd:NAME}, say, in 'text'. */
static void
check_reference(const struct check *check, const struct reference *reference,
                const char *text, struct rv_conf_place place)
{
    for (const char *at = text; (at = strstr(at, reference->start));) {
        char name[RV_CONF_FOUND];
        at += strlen(reference->start);
        /* No name is longer, and looking further would be quadratic. */
        size_t room = strnlen(at, sizeof name - 1);
        const char *end = memchr(at, '}', room);
        if (!end) {
            rv__conf_report_add(check->reader->report, place,
                                "`%s` has no closing brace; write "
                                "`%sNAME}`",
                                reference->start, reference->start);
            return;
        }
        memcpy(name, at, (size_t)(end - at));
        name[end - at] = '\0';
        if (!has_name(check->service, reference, name)) {
            complain_reference(check, place, reference, name);
        }
    }
}

static void
check_references(const struct check *check, const char *text,
                 struct rv_conf_place place)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(references); i++) {
        check_reference(check, &references[i], text, place);
    }
}

static void
check_command(const struct check *check)
{
    const struct rv_conf_node *node =
        rv__conf_tree_find(check->map, "command");
    bool is_list = node && node->kind == RV_CONF_LIST;
    for (size_t i = 0; check->service->command[i]; i++) {
        struct rv_conf_place place =
            is_list && i < node->n
                ? node->items[i]->place
                : rv__conf_place_of(check->map, "command", check->place);
        check_references(check, check->service->command[i], place);
    }
}

static void
check_environment(const struct check *check)
{
    const struct rv_conf_node *node =
        rv__conf_tree_find(check->map, "environment");
    for (size_t i = 0; node && node->kind == RV_CONF_MAP && i < node->n; i++) {
        check_references(check, node->items[i]->text, node->items[i]->place);
    }
}

void
rv__conf_check_service(struct rv_conf_reader *reader,
                       const struct rv_conf_service *service,
                       const struct rv_conf_node *map,
                       struct rv_conf_place place)
{
    struct check check = {
        .reader = reader, .service = service, .map = map, .place = place};
    check_times(&check);
    check_sockets(&check);
    check_listen_names(&check);
    check_command(&check);
    check_environment(&check);
}

/* All services together. */

/* An address somewhere in the configuration. */
struct use {
    char text[RV_ADDRESS_TEXT];
    struct rv_conf_place place;
    size_t number;
};

static int
compare_uses(const void *left, const void *right)
{
    const struct use *a = left;
    const struct use *b = right;
    int order = strcmp(a->text, b->text);
    if (order) {
        return order;
    }
    return a->number < b->number ? -1 : a->number > b->number;
}

/* Port 0 is another port each time. */
static bool
can_repeat(const struct rv_address *address)
{
    return address->u.any.sa_family != AF_UNIX
           && rv_address_port(address) == 0;
}

static size_t
list_uses(const struct rv_conf *conf, const struct rv_conf_node *services,
          struct use *uses)
{
    size_t n = 0;
    for (size_t i = 0; i < conf->n_services; i++) {
        const struct rv_conf_service *service = &conf->services[i];
        for (size_t j = 0; j < service->n_listens; j++) {
            const struct rv_conf_listen *listen = &service->listens[j];
            const struct rv_conf_node *node =
                rv__conf_listen_node(services->items[i], j);
            if (!node || can_repeat(&listen->address)) {
                continue;
            }
            uses[n].place = rv__conf_place_of(node, "address", node->place);
            rv_address_format(&listen->address, uses[n].text);
            uses[n].number = n;
            n++;
        }
    }
    return n;
}

static void
check_addresses(struct rv_conf_reader *reader,
                const struct rv_conf_node *services)
{
    size_t n = 0;
    for (size_t i = 0; i < reader->conf->n_services; i++) {
        n += reader->conf->services[i].n_listens;
    }
    struct use *uses = calloc(n ? n : 1, sizeof *uses);
    if (!uses) {
        rv__conf_report_no_memory(reader->report);
        return;
    }
    n = list_uses(reader->conf, services, uses);
    qsort(uses, n, sizeof *uses, compare_uses);
    for (size_t i = 1; i < n; i++) {
        if (!strcmp(uses[i].text, uses[i - 1].text)) {
            rv__conf_report_add(reader->report, uses[i].place,
                                "the address %s is already used at %d:%d; "
                                "change one of them",
                                uses[i].text, uses[i - 1].place.line,
                                uses[i - 1].place.column);
        }
    }
    free(uses);
}

static void
check_processes(struct rv_conf_reader *reader, const struct rv_conf_node *root)
{
    const struct rv_conf *conf = reader->conf;
    int64_t n = 0;
    for (size_t i = 0; i < conf->n_services; i++) {
        /* `auto` is at least one. */
        n += conf->services[i].workers < 0 ? 1 : conf->services[i].workers;
    }
    if (n > conf->max_processes) {
        rv__conf_report_add(
            reader->report, rv__conf_place_of(root, "limits", root->place),
            "the services have %lld workers together, and `limits.processes` "
            "is %d; raise it, or use fewer workers",
            (long long)n, conf->max_processes);
    }
}

void
rv__conf_check_all(struct rv_conf_reader *reader,
                   const struct rv_conf_node *root)
{
    check_addresses(reader, rv__conf_tree_find(root, "services"));
    check_processes(reader, root);
    rv__conf_check_zones(reader, root);
}
