/* Commands, as a list of words or as one text. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "conf/reader.h"

/* Walks a command written as one text. */
struct splitter {
    const char *at;
    struct rv_buf word;
    bool in_word; /* Also for the empty word of "". */
    char **words;
    size_t n;
    struct rv_error *why;
};

static int
end_word(struct splitter *splitter)
{
    if (!splitter->in_word) {
        return 0;
    }
    if (splitter->n == RV_CONF_WORDS_MAX) {
        return rv_error_set(splitter->why, -EINVAL,
                            "the command has more than %d words; shorten it",
                            RV_CONF_WORDS_MAX);
    }
    int rc =
        rv_str_vector_add(&splitter->words, rv_buf_string(&splitter->word),
                          splitter->word.length);
    rv_buf_clear(&splitter->word);
    splitter->in_word = false;
    splitter->n++;
    return rc;
}

static int
put_char(struct splitter *splitter, char c)
{
    splitter->in_word = true;
    return rv_buf_put(&splitter->word, &c, 1);
}

/* Refuses what a shell would act on, since nothing acts on it here. */
static int
refuse_operator(const struct splitter *splitter, size_t length)
{
    return rv_error_set(splitter->why, -EINVAL,
                        "only a shell understands the `%.*s` in it; write "
                        "[sh, -c, \"...\"], or put '...' around it",
                        (int)length, splitter->at);
}

/* True for a `$` that a shell would expand. */
static bool
is_expansion(const char *at)
{
    return at[0] == '$'
           && (at[1] == '(' || at[1] == '{' || at[1] == '_'
               || isalnum((unsigned char)at[1]));
}

static int
split_single_quotes(struct splitter *splitter)
{
    const char *end = strchr(splitter->at + 1, '\'');
    if (!end) {
        return rv_error_set(splitter->why, -EINVAL,
                            "a ' in it is not closed; add the second one");
    }
    splitter->in_word = true;
    int rc = rv_buf_put(&splitter->word, splitter->at + 1,
                        (size_t)(end - splitter->at - 1));
    splitter->at = end + 1;
    return rc;
}

static int
split_double_quotes(struct splitter *splitter)
{
    splitter->in_word = true;
    splitter->at++;
    while (*splitter->at != '"') {
        char c = *splitter->at;
        if (!c) {
            return rv_error_set(splitter->why, -EINVAL,
                                "a \" in it is not closed; add the second "
                                "one");
        }
        if (c == '`' || is_expansion(splitter->at)) {
            return refuse_operator(splitter, c == '`' ? 1 : 2);
        }
        if (c == '\\' && splitter->at[1]
            && strchr("\"\\$`", splitter->at[1])) {
            c = *++splitter->at;
        }
        int rc = put_char(splitter, c);
        if (rc) {
            return rc;
        }
        splitter->at++;
    }
    splitter->at++;
    return 0;
}

static int
split_backslash(struct splitter *splitter)
{
    char next = splitter->at[1];
    if (!next) {
        return rv_error_set(splitter->why, -EINVAL,
                            "it ends with a backslash; remove it, or double "
                            "it");
    }
    splitter->at += 2;
    return put_char(splitter, next);
}

static int
split_step(struct splitter *splitter)
{
    char c = *splitter->at;
    switch (c) {
    case ' ':
    case '\t':
    case '\n':
    case '\r':
        splitter->at++;
        return end_word(splitter);
    case '\'':
        return split_single_quotes(splitter);
    case '"':
        return split_double_quotes(splitter);
    case '\\':
        return split_backslash(splitter);
    default:
        if (strchr("|;&<>()`", c)) {
            return refuse_operator(splitter, 1);
        }
        if (is_expansion(splitter->at)) {
            return refuse_operator(splitter, 2);
        }
        splitter->at++;
        return put_char(splitter, c);
    }
}

int
rv__conf_split_words(const char *text, char ***wordsp, struct rv_error *why)
{
    struct splitter splitter = {.at = text, .why = why};
    rv_buf_init(&splitter.word, strlen(text));
    int rc = 0;
    while (!rc && *splitter.at) {
        rc = split_step(&splitter);
    }
    if (!rc) {
        rc = end_word(&splitter);
    }
    rv_buf_deinit(&splitter.word);
    if (rc) {
        rv_str_vector_free(splitter.words);
        return rc;
    }
    *wordsp = splitter.words;
    return 0;
}

/* Reads the words of a list from its item 'from' on. */
static char **
read_list(struct rv_conf_reader *reader, const struct rv_conf_key *key,
          const struct rv_conf_node *list, size_t from)
{
    char **words = NULL;
    if (list->n - from > RV_CONF_WORDS_MAX) {
        rv__conf_report_add(reader->report, list->place,
                            "`%s` has %zu words; use at most %d", key->name,
                            list->n - from, RV_CONF_WORDS_MAX);
        return NULL;
    }
    for (size_t i = from; i < list->n; i++) {
        const struct rv_conf_node *item = list->items[i];
        if (item->kind != RV_CONF_WORD || rv__conf_tree_is_null(item)) {
            char found[RV_CONF_FOUND];
            rv__conf_tree_describe(item, found);
            rv__conf_report_add(reader->report, item->place,
                                "a word of `%s` is %s; write a text (\"\" "
                                "for an empty one)",
                                key->name, found);
        } else if (rv_str_vector_add(&words, item->text, strlen(item->text))) {
            rv__conf_report_no_memory(reader->report);
        }
    }
    return words;
}

static char **
read_text(struct rv_conf_reader *reader, const struct rv_conf_key *key,
          const struct rv_conf_node *node, const char *text)
{
    char **words = NULL;
    struct rv_error why;
    int rc = rv__conf_split_words(text, &words, &why);
    if (rc == -EINVAL) {
        rv__conf_report_add(reader->report, node->place,
                            "`%s` cannot be split into words: %s", key->name,
                            why.text);
    } else if (rc) {
        rv__conf_report_no_memory(reader->report);
    }
    return words;
}

void
rv__conf_read_command(struct rv_conf_reader *reader,
                      const struct rv_conf_key *key,
                      const struct rv_conf_node *node, void *base)
{
    size_t n_before = reader->report->n_seen;
    char **words = NULL;
    if (node->kind == RV_CONF_LIST) {
        words = read_list(reader, key, node, 0);
    } else if (node->kind == RV_CONF_WORD) {
        words = read_text(reader, key, node, node->text);
    }
    rv__conf_field_set(key, base, &words, sizeof words);
    bool has_program = words && words[0][0];
    if (!has_program && reader->report->n_seen == n_before) {
        rv__conf_complain(reader, key, node);
    }
}

/* Readiness. */

/* `http PATH`: what a request line can hold. */
static bool
is_request_path(const char *path)
{
    for (const char *at = path; *at; at++) {
        if (*at <= ' ' || *at > '~') {
            return false;
        }
    }
    return path[0] == '/' && strlen(path) < 1024;
}

static void
read_probe_path(struct rv_conf_reader *reader, const struct rv_conf_node *node,
                const char *path)
{
    if (!is_request_path(path)) {
        rv__conf_report_add(reader->report, node->place,
                            "`ready` probes the path \"%.100s\"; write one "
                            "that begins with / and has no spaces, such as "
                            "`http /health`",
                            path);
        return;
    }
    reader->service->probe_path = strdup(path);
    if (!reader->service->probe_path) {
        rv__conf_report_no_memory(reader->report);
    }
}

static void
check_probe_command(struct rv_conf_reader *reader,
                    const struct rv_conf_node *node, size_t n_before)
{
    char **words = reader->service->probe_command;
    if (reader->report->n_seen == n_before && (!words || !words[0][0])) {
        rv__conf_report_add(reader->report, node->place,
                            "`ready: exec` has no command; write one such as "
                            "`exec test -f /run/app.ok`");
    }
}

/* The index of the readiness whose first word is the 'length' bytes at
 * 'text', or -1. */
static int
find_readiness(const struct rv_conf_key *key, const char *text, size_t length)
{
    for (int i = 0; key->choices[i]; i++) {
        if (strcspn(key->choices[i], " ") == length
            && !memcmp(key->choices[i], text, length)) {
            return i;
        }
    }
    return -1;
}

static void
read_ready_list(struct rv_conf_reader *reader, const struct rv_conf_key *key,
                const struct rv_conf_node *list)
{
    struct rv_conf_service *service = reader->service;
    size_t n_before = reader->report->n_seen;
    const struct rv_conf_node *first = list->n ? list->items[0] : list;
    int ready = first->kind == RV_CONF_WORD
                    ? find_readiness(key, first->text, strlen(first->text))
                    : -1;
    if (ready == RV_CONF_READY_EXEC) {
        service->probe_command = read_list(reader, key, list, 1);
        check_probe_command(reader, list, n_before);
    } else if (ready == RV_CONF_READY_HTTP && list->n == 2
               && list->items[1]->kind == RV_CONF_WORD) {
        read_probe_path(reader, list, list->items[1]->text);
    } else if (ready < 0 || list->n != 1 || ready == RV_CONF_READY_HTTP) {
        rv__conf_complain(reader, key, list);
        return;
    }
    service->ready = (enum rv_conf_ready)ready;
}

static void
read_ready_text(struct rv_conf_reader *reader, const struct rv_conf_key *key,
                const struct rv_conf_node *node)
{
    struct rv_conf_service *service = reader->service;
    size_t n_before = reader->report->n_seen;
    size_t length = strcspn(node->text, " ");
    const char *rest = node->text + length + strspn(node->text + length, " ");
    int ready = find_readiness(key, node->text, length);
    if (ready == RV_CONF_READY_HTTP) {
        read_probe_path(reader, node, rest[0] ? rest : "/");
    } else if (ready == RV_CONF_READY_EXEC) {
        service->probe_command = read_text(reader, key, node, rest);
        check_probe_command(reader, node, n_before);
    } else if (ready < 0 || rest[0]) {
        rv__conf_complain(reader, key, node);
        return;
    }
    service->ready = (enum rv_conf_ready)ready;
}

void
rv__conf_read_ready(struct rv_conf_reader *reader,
                    const struct rv_conf_key *key,
                    const struct rv_conf_node *node, void *base)
{
    RV_ASSERT(base == reader->service);
    if (node->kind == RV_CONF_LIST) {
        read_ready_list(reader, key, node);
    } else if (node->kind == RV_CONF_WORD) {
        read_ready_text(reader, key, node);
    } else {
        rv__conf_complain(reader, key, node);
    }
}
