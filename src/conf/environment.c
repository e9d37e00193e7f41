/* Environment variables. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "conf/reader.h"

/* A longer name would not fit a YAML key once it is quoted. */
enum { NAME_MAX_BYTES = 255 };

/* What reeve tells each worker; a value of the user's would break that. */
static const char *const reserved[] = {
    "LISTEN_FDS",   "LISTEN_FDNAMES", "LISTEN_PID",    "NOTIFY_SOCKET",
    "WATCHDOG_PID", "WATCHDOG_USEC",  "REEVE_CHANNEL", "REEVE_GENERATION",
    "REEVE_WORKER", "REEVE_ZONES",
};

static bool
is_variable(const char *name)
{
    for (const char *at = name; *at; at++) {
        if (*at <= ' ' || *at > '~' || *at == '=') {
            return false;
        }
    }
    return name[0] && strlen(name) <= NAME_MAX_BYTES;
}

static bool
check_name(struct rv_conf_reader *reader, const struct rv_conf_node *key)
{
    if (!is_variable(key->text)) {
        rv__conf_report_add(reader->report, key->place,
                            "\"%.60s\" is no name for a variable; use up to "
                            "%d letters, digits and underscores",
                            key->text, NAME_MAX_BYTES);
        return false;
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(reserved); i++) {
        if (!strcmp(key->text, reserved[i])) {
            rv__conf_report_add(reader->report, key->place,
                                "reeve itself sets `%s` for each worker; "
                                "remove it",
                                key->text);
            return false;
        }
    }
    return true;
}

static void
add_variable(struct rv_conf_reader *reader, const struct rv_conf_node *key,
             const struct rv_conf_node *value, char ***environmentp)
{
    bool is_empty = value->kind == RV_CONF_WORD && !value->text[0];
    if (value->kind != RV_CONF_WORD
        || (rv__conf_tree_is_null(value) && !is_empty)) {
        char found[RV_CONF_FOUND];
        rv__conf_tree_describe(value, found);
        rv__conf_report_add(reader->report, value->place,
                            "the variable `%s` is %s; write a text, in "
                            "quotes if need be",
                            key->text, found);
        return;
    }
    struct rv_buf buf;
    rv_buf_init(&buf, NAME_MAX_BYTES + 1 + strlen(value->text));
    rv_buf_printf(&buf, "%s=%s", key->text, value->text);
    if (buf.failed
        || rv_str_vector_add(environmentp, rv_buf_string(&buf), buf.length)) {
        rv__conf_report_no_memory(reader->report);
    }
    rv_buf_deinit(&buf);
}

/* By the name alone: "A=" sorts before "AB=". */
static int
compare(const void *left, const void *right)
{
    const char *a = *(char *const *)left;
    const char *b = *(char *const *)right;
    size_t n_a = strcspn(a, "=");
    size_t n_b = strcspn(b, "=");
    int order = memcmp(a, b, RV_MIN(n_a, n_b));
    if (order) {
        return order;
    }
    return n_a < n_b ? -1 : n_a > n_b;
}

void
rv__conf_read_environment(struct rv_conf_reader *reader,
                          const struct rv_conf_key *key,
                          const struct rv_conf_node *node, void *base)
{
    char **environment = NULL;
    if (node->kind != RV_CONF_MAP) {
        rv__conf_complain(reader, key, node);
        return;
    }
    if (node->n > RV_CONF_WORDS_MAX) {
        rv__conf_report_add(reader->report, node->place,
                            "`%s` has %zu variables; use at most %d",
                            key->name, node->n, RV_CONF_WORDS_MAX);
        return;
    }
    for (size_t i = 0; i < node->n; i++) {
        if (check_name(reader, node->keys[i])) {
            add_variable(reader, node->keys[i], node->items[i], &environment);
        }
    }
    if (environment) {
        qsort(environment, rv_str_vector_length(environment),
              sizeof *environment, compare);
    }
    rv__conf_field_set(key, base, &environment, sizeof environment);
}
