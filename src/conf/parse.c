/* The walk over the table that fills the configuration. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "conf/conf.h"
#include "conf/reader.h"
#include "conf/value.h"

/* Above what a dump of any file of RV_CONF_FILE_MAX bytes can be, so that
 * every dump can be read again. */
enum { TEXT_MAX = 64 << 20 };

enum { SECTION_NAME = 64, KEYS_MAX = 64 };

struct rv_conf_place
rv__conf_place_of(const struct rv_conf_node *map, const char *key,
                  struct rv_conf_place place)
{
    for (size_t i = 0; map && map->kind == RV_CONF_MAP && i < map->n; i++) {
        if (!strcmp(map->keys[i]->text, key)) {
            return map->items[i]->place;
        }
    }
    return place;
}

/* Complaints. */

void
rv__conf_complain(struct rv_conf_reader *reader, const struct rv_conf_key *key,
                  const struct rv_conf_node *node)
{
    char found[RV_CONF_FOUND], expected[RV_CONF_EXPECTED];
    const char *near = node->kind == RV_CONF_WORD
                           ? rv__conf_nearest_choice(key, node->text)
                           : NULL;
    rv__conf_tree_describe(node, found);
    rv__conf_expected(key, expected);
    if (near) {
        rv__conf_report_add(reader->report, node->place,
                            "`%s` is %s; did you mean `%s`? It can be %s",
                            key->name, found, near, expected);
    } else {
        rv__conf_report_add(reader->report, node->place,
                            "`%s` is %s; write %s", key->name, found,
                            expected);
    }
}

static void
complain_unknown(struct rv_conf_reader *reader, const char *section,
                 const struct rv_conf_node *node)
{
    const char *names[KEYS_MAX];
    char found[RV_CONF_FOUND];
    size_t n = 0;
    if (reader->report->n == RV_CONF_ERRORS_MAX) {
        /* Nobody will read it, and there may be very many. */
        return;
    }
    for (size_t i = 0; i < rv__conf_n_keys; i++) {
        if (!strcmp(rv__conf_keys[i].section, section)) {
            RV_ASSERT(n < KEYS_MAX);
            names[n++] = rv__conf_keys[i].name;
        }
    }
    const char *near = rv_str_nearest(node->text, names, n);
    rv__conf_tree_describe(node, found);
    if (near) {
        rv__conf_report_add(reader->report, node->place,
                            "unknown key %s; did you mean `%s`?", found, near);
    } else {
        rv__conf_report_add(reader->report, node->place,
                            "unknown key %s; remove it (`reeve dump` shows "
                            "all keys there are)",
                            found);
    }
}

/* Words. */

static void
read_default(struct rv_conf_reader *reader, const struct rv_conf_key *key,
             void *base)
{
    if (!key->fallback) {
        rv__conf_word_unset(key, base);
        return;
    }
    int rc =
        rv__conf_word_read(key, key->fallback, reader->directory, base, NULL);
    RV_ASSERT(!rc || rc == -ENOMEM);
    if (rc) {
        rv__conf_report_no_memory(reader->report);
    }
}

static void
read_word(struct rv_conf_reader *reader, const struct rv_conf_key *key,
          const struct rv_conf_node *node, void *base)
{
    struct rv_error why = {.code = 0};
    if (node->kind != RV_CONF_WORD) {
        rv__conf_complain(reader, key, node);
        return;
    }
    int rc =
        rv__conf_word_read(key, node->text, reader->directory, base, &why);
    if (rc == -ENOMEM) {
        rv__conf_report_no_memory(reader->report);
    } else if (rc && why.text[0]) {
        rv__conf_report_add(reader->report, node->place, "`%s`: %s", key->name,
                            why.text);
    } else if (rc) {
        rv__conf_complain(reader, key, node);
    }
}

/* Services. */

static void
read_service(struct rv_conf_reader *reader, const struct rv_conf_node *name,
             const struct rv_conf_node *map)
{
    struct rv_conf *conf = reader->conf;
    struct rv_conf_service *service = &conf->services[conf->n_services++];
    bool is_empty = rv__conf_tree_is_null(map);
    size_t n_before = reader->report->n_seen;
    reader->service = service;
    reader->reuseport = false;
    service->name = strdup(name->text);
    if (!service->name) {
        rv__conf_report_no_memory(reader->report);
        return;
    }
    if (!rv__conf_is_name(name->text)) {
        rv__conf_report_add(reader->report, name->place,
                            "\"%.70s\" is no name for a service; use at most "
                            "64 letters, digits, `.`, `_` and `-`, the first "
                            "neither `.` nor `-`",
                            name->text);
    }
    if (map->kind != RV_CONF_MAP && !is_empty) {
        char found[RV_CONF_FOUND];
        rv__conf_tree_describe(map, found);
        rv__conf_report_add(reader->report, map->place,
                            "the service `%.64s` is %s; write a mapping with "
                            "at least `command`",
                            name->text, found);
        return;
    }
    rv__conf_read_section(reader, RV_CONF_SERVICE, is_empty ? NULL : map,
                          name->place, service);
    if (reader->report->n_seen == n_before) {
        rv__conf_check_service(reader, service, map, name->place);
    }
}

static void
read_services(struct rv_conf_reader *reader, const struct rv_conf_key *key,
              const struct rv_conf_node *node)
{
    if (node->kind != RV_CONF_MAP || node->n == 0) {
        rv__conf_complain(reader, key, node);
        return;
    }
    if (node->n > RV_CONF_SERVICES_MAX) {
        rv__conf_report_add(reader->report, node->place,
                            "there are %zu services; use at most %d", node->n,
                            RV_CONF_SERVICES_MAX);
        return;
    }
    reader->conf->services = calloc(node->n, sizeof *reader->conf->services);
    if (!reader->conf->services) {
        rv__conf_report_no_memory(reader->report);
        return;
    }
    for (size_t i = 0; i < node->n; i++) {
        read_service(reader, node->keys[i], node->items[i]);
    }
    reader->service = NULL;
}

/* Sections. */

static void
read_subsection(struct rv_conf_reader *reader, const struct rv_conf_key *key,
                const struct rv_conf_node *node, struct rv_conf_place place,
                void *base)
{
    char section[SECTION_NAME];
    rv__conf_section_name(key, section, sizeof section);
    if (node && node->kind != RV_CONF_MAP) {
        rv__conf_complain(reader, key, node);
        node = NULL;
    }
    rv__conf_read_section(reader, section, node, node ? node->place : place,
                          base);
}

static void
read_value(struct rv_conf_reader *reader, const struct rv_conf_key *key,
           const struct rv_conf_node *node, void *base)
{
    switch ((int)key->type) {
    case RV_CONF_TYPE_COMMAND:
        rv__conf_read_command(reader, key, node, base);
        break;
    case RV_CONF_TYPE_ENVIRONMENT:
        rv__conf_read_environment(reader, key, node, base);
        break;
    case RV_CONF_TYPE_READY:
        rv__conf_read_ready(reader, key, node, base);
        break;
    case RV_CONF_TYPE_LISTENS:
        rv__conf_read_listens(reader, key, node, base);
        break;
    case RV_CONF_TYPE_ZONES:
        rv__conf_read_zones(reader, key, node, base);
        break;
    case RV_CONF_TYPE_ZONE_USES:
        rv__conf_read_zone_uses(reader, key, node, base);
        break;
    case RV_CONF_TYPE_SERVICES:
        read_services(reader, key, node);
        break;
    default:
        read_word(reader, key, node, base);
        break;
    }
}

static void
read_absent(struct rv_conf_reader *reader, const struct rv_conf_key *key,
            struct rv_conf_place place, void *base)
{
    if (key->flags & RV_CONF_REQUIRED) {
        char expected[RV_CONF_EXPECTED];
        rv__conf_expected(key, expected);
        rv__conf_report_add(reader->report, place, "`%s` is missing; add %s",
                            key->name, expected);
    } else if (key->type < RV_CONF_TYPE_COMMAND) {
        read_default(reader, key, base);
    }
}

/* For a choice that has the word `null`, that word means the choice. */
static bool
is_absent(const struct rv_conf_key *key, const struct rv_conf_node *node)
{
    if (!node || !rv__conf_tree_is_null(node)) {
        return !node;
    }
    for (size_t i = 0; key->choices && key->choices[i]; i++) {
        if (!strcmp(key->choices[i], node->text)) {
            return false;
        }
    }
    return true;
}

static void
read_key(struct rv_conf_reader *reader, const struct rv_conf_key *key,
         const struct rv_conf_node *map, struct rv_conf_place place,
         void *base)
{
    const struct rv_conf_node *node = rv__conf_tree_find(map, key->name);
    if (key->flags & RV_CONF_INPUT_ONLY) {
        /* `reuseport` is the only one: its field is in the reader. */
        base = (char *)&reader->reuseport - key->offset;
    }
    if (is_absent(key, node)) {
        node = NULL;
    }
    if (key->type == RV_CONF_TYPE_SECTION) {
        read_subsection(reader, key, node, place, base);
    } else if (node) {
        read_value(reader, key, node, base);
    } else {
        read_absent(reader, key, place, base);
    }
}

void
rv__conf_read_section(struct rv_conf_reader *reader, const char *section,
                      const struct rv_conf_node *map,
                      struct rv_conf_place place, void *base)
{
    for (size_t i = 0; map && i < map->n; i++) {
        if (!rv__conf_key_find(section, map->keys[i]->text)) {
            complain_unknown(reader, section, map->keys[i]);
        }
    }
    for (size_t i = 0; i < rv__conf_n_keys; i++) {
        if (!strcmp(rv__conf_keys[i].section, section)) {
            read_key(reader, &rv__conf_keys[i], map, place, base);
        }
    }
}

/* The whole text. */

/* A name for reeve from that of its file; what stands in brackets or is "-"
 * is no file. */
static char *
name_from_source(const char *source)
{
    if (source[0] == '(' || source[0] == '<' || !strcmp(source, "-")) {
        return strdup("reeve");
    }
    const char *slash = strrchr(source, '/');
    const char *base = slash ? slash + 1 : source;
    const char *dot = strrchr(base, '.');
    return strndup(base,
                   dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

/* Without a `name`; one that was wrong has been complained about. */
static void
read_name(struct rv_conf_reader *reader, const struct rv_conf_node *root,
          struct rv_conf_place place)
{
    struct rv_conf *conf = reader->conf;
    const struct rv_conf_node *name = rv__conf_tree_find(root, "name");
    if (conf->name || (name && !rv__conf_tree_is_null(name))) {
        return;
    }
    conf->name = name_from_source(reader->report->source);
    if (!conf->name) {
        rv__conf_report_no_memory(reader->report);
    } else if (!rv__conf_is_name(conf->name)) {
        rv__conf_report_add(reader->report, place,
                            "the file's name gives no name for reeve; add "
                            "one such as `name: shop`");
    }
}

static void
read_root(struct rv_conf_reader *reader, const struct rv_conf_node *root)
{
    struct rv_conf_place start = {.line = 1, .column = 1};
    if (!root || rv__conf_tree_is_null(root)) {
        rv__conf_report_add(reader->report, start,
                            "the configuration is empty; write at least "
                            "`services: {web: {command: [PROGRAM]}}`");
        return;
    }
    if (root->kind != RV_CONF_MAP) {
        char found[RV_CONF_FOUND];
        rv__conf_tree_describe(root, found);
        rv__conf_report_add(reader->report, root->place,
                            "the configuration is %s; write a mapping such "
                            "as `services: {web: {command: [PROGRAM]}}`",
                            found);
        return;
    }
    rv__conf_read_section(reader, "", root, root->place, reader->conf);
    read_name(reader, root, start);
    if (!reader->report->n_seen) {
        rv__conf_check_all(reader, root);
    }
}

/* The place of byte 'at' of 'text'. */
static struct rv_conf_place
place_of_byte(const char *text, size_t at)
{
    struct rv_conf_place place = {.line = 1, .column = 1};
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            place.line++;
            place.column = 1;
        } else {
            place.column++;
        }
    }
    return place;
}

/* What YAML does not allow at all, which is better told by its byte. */
static bool
check_bytes(struct rv_conf_report *report, const char *text, size_t length)
{
    if (length > TEXT_MAX) {
        rv__conf_report_add(report, (struct rv_conf_place){1, 1},
                            "the text is larger than %d MiB; shorten it",
                            TEXT_MAX >> 20);
        return false;
    }
    size_t valid = rv_str_utf8_prefix(text, length);
    for (size_t i = 0; i < valid; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f) {
            rv__conf_report_add(report, place_of_byte(text, i),
                                "there is a control character, 0x%02x; "
                                "remove it, or write it as an escape in "
                                "double quotes",
                                c);
            return false;
        }
    }
    if (valid < length) {
        rv__conf_report_add(report, place_of_byte(text, valid),
                            "the byte 0x%02x is not UTF-8; save the file as "
                            "UTF-8",
                            (unsigned char)text[valid]);
        return false;
    }
    return true;
}

static int
parse(struct rv_conf_reader *reader, const char *text, size_t length)
{
    static const char mark[] = "\xef\xbb\xbf";
    struct rv_conf_tree tree = {.root = NULL};
    if (length >= 3 && !memcmp(text, mark, 3)) {
        text += 3;
        length -= 3;
    }
    if (check_bytes(reader->report, text, length)) {
        rv__conf_tree_build(&tree, text, length, reader->report);
        if (tree.root || !reader->report->n_seen) {
            read_root(reader, tree.root);
        }
    }
    rv__conf_tree_destroy(&tree);
    return reader->report->n_seen ? -EINVAL : 0;
}

int
rv_conf_parse(const char *text, size_t length, const char *source,
              const char *directory, struct rv_conf **confp,
              struct rv_conf_errors *errors)
{
    struct rv_conf *conf = calloc(1, sizeof *conf);
    if (!conf) {
        return -ENOMEM;
    }
    struct rv_conf_report report;
    rv__conf_report_init(&report, source);
    struct rv_conf_reader reader = {
        .report = &report, .directory = directory, .conf = conf};
    int rc = parse(&reader, text, length);
    if (rc) {
        rc = rv__conf_report_flush(&report, errors);
        rv_conf_destroy(conf);
    } else {
        *confp = conf;
    }
    rv__conf_report_deinit(&report);
    return rc;
}
