/* The sockets of a service. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "conf/reader.h"
#include "conf/value.h"

const struct rv_conf_node *
rv__conf_listen_node(const struct rv_conf_node *map, size_t i)
{
    const struct rv_conf_node *node = rv__conf_tree_find(map, "listen");
    if (node && node->kind == RV_CONF_LIST) {
        return i < node->n ? node->items[i] : NULL;
    }
    return node;
}

/* "web" for the first, "web-2" for the second; a long name is cut so that
 * the number fits. */
static char *
default_name(const char *service, size_t i)
{
    char suffix[24] = "";
    char name[RV_CONF_FOUND];
    if (i > 0) {
        snprintf(suffix, sizeof suffix, "-%zu", i + 1);
    }
    size_t room = 64 - strlen(suffix);
    snprintf(name, sizeof name, "%.*s%s", (int)room, service, suffix);
    return strdup(name);
}

static bool
is_unix(const struct rv_conf_listen *listen)
{
    return listen->address.u.any.sa_family == AF_UNIX;
}

/* What fits only one kind of socket. */
static void
check_kind(struct rv_conf_reader *reader, struct rv_conf_listen *listen,
           const struct rv_conf_node *node)
{
    const struct rv_conf_node *reuseport =
        rv__conf_tree_find(node, "reuseport");
    if (!reuseport || rv__conf_tree_is_null(reuseport)) {
        listen->reuseport = reader->reuseport && !is_unix(listen);
    }
    if (reuseport && is_unix(listen) && listen->reuseport) {
        rv__conf_report_add(reader->report, reuseport->place,
                            "a unix socket cannot be shared by `reuseport`; "
                            "remove it");
    }
    if (!is_unix(listen) && listen->mode != -1) {
        rv__conf_report_add(reader->report,
                            rv__conf_place_of(node, "mode", node->place),
                            "`mode` is for unix sockets; remove it");
    }
}

/* A word is the mapping that has nothing but `address`. */
static void
read_word(struct rv_conf_reader *reader, struct rv_conf_node *word,
          struct rv_conf_listen *listen)
{
    char address[] = "address";
    struct rv_conf_node key = {
        .kind = RV_CONF_WORD, .place = word->place, .text = address};
    struct rv_conf_node *keys[] = {&key};
    struct rv_conf_node *items[] = {word};
    struct rv_conf_node map = {.kind = RV_CONF_MAP,
                               .place = word->place,
                               .keys = keys,
                               .items = items,
                               .n = 1};
    rv__conf_read_section(reader, RV_CONF_LISTEN, &map, word->place, listen);
}

static void
read_one(struct rv_conf_reader *reader, const struct rv_conf_key *key,
         struct rv_conf_node *node)
{
    struct rv_conf_service *service = reader->service;
    struct rv_conf_listen *listen = &service->listens[service->n_listens];
    size_t n_before = reader->report->n_seen;
    if (node->kind == RV_CONF_LIST || rv__conf_tree_is_null(node)) {
        rv__conf_complain(reader, key, node);
        return;
    }
    if (node->kind == RV_CONF_WORD) {
        read_word(reader, node, listen);
    } else {
        rv__conf_read_section(reader, RV_CONF_LISTEN, node, node->place,
                              listen);
    }
    if (!listen->name) {
        listen->name = default_name(service->name, service->n_listens);
        if (!listen->name) {
            rv__conf_report_no_memory(reader->report);
        }
    }
    service->n_listens++;
    if (reader->report->n_seen == n_before) {
        check_kind(reader, listen, node);
    }
}

void
rv__conf_read_listens(struct rv_conf_reader *reader,
                      const struct rv_conf_key *key,
                      const struct rv_conf_node *node, void *base)
{
    RV_ASSERT(base == reader->service);
    bool is_list = node->kind == RV_CONF_LIST;
    size_t n = is_list ? node->n : 1;
    if (n > RV_CONF_LISTENS_MAX) {
        rv__conf_report_add(reader->report, node->place,
                            "`%s` has %zu addresses; use at most %d",
                            key->name, n, RV_CONF_LISTENS_MAX);
        return;
    }
    struct rv_conf_node *alone[1];
    memcpy(alone, &node, sizeof node);
    struct rv_conf_node **items = is_list ? node->items : alone;
    reader->service->listens =
        calloc(n ? n : 1, sizeof *reader->service->listens);
    if (!reader->service->listens) {
        rv__conf_report_no_memory(reader->report);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        read_one(reader, key, items[i]);
    }
}
