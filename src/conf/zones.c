/* Zones, and the services that have them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "conf/reader.h"
#include "conf/value.h"

/* As reeve/zone.h has them, without the final NUL. */
enum { NAME_BYTES = 63, TAG_BYTES = 63 };

/* `zones` at the top. */

static void
check_name(struct rv_conf_reader *reader, const struct rv_conf_node *name)
{
    if (!rv__conf_is_name(name->text) || strlen(name->text) > NAME_BYTES) {
        rv__conf_report_add(reader->report, name->place,
                            "\"%.70s\" is no name for a zone; use at most %d "
                            "letters, digits, `.`, `_` and `-`, the first "
                            "neither `.` nor `-`",
                            name->text, NAME_BYTES);
    }
}

/* What no key of the zone says alone. */
static void
check_zone(struct rv_conf_reader *reader, const struct rv_conf_zone *zone,
           const struct rv_conf_node *map)
{
    if (zone->max_size_bytes < zone->size_bytes) {
        char size[RV_STR_SIZE], max_size[RV_STR_SIZE];
        rv_str_format_size(zone->size_bytes, size);
        rv_str_format_size(zone->max_size_bytes, max_size);
        rv__conf_report_add(reader->report,
                            rv__conf_place_of(map, "max_size", map->place),
                            "`max_size` (%s) is less than `size` (%s); raise "
                            "it, or remove it",
                            max_size, size);
    }
    if (zone->tag && strlen(zone->tag) > TAG_BYTES) {
        rv__conf_report_add(reader->report,
                            rv__conf_place_of(map, "tag", map->place),
                            "`tag` has %zu bytes; use at most %d",
                            strlen(zone->tag), TAG_BYTES);
    }
    if (zone->noreuse && zone->file) {
        rv__conf_report_add(reader->report,
                            rv__conf_place_of(map, "noreuse", map->place),
                            "`noreuse` throws away what `file` is to keep; "
                            "remove one of them");
    }
}

static void
read_zone(struct rv_conf_reader *reader, const struct rv_conf_node *name,
          const struct rv_conf_node *map)
{
    struct rv_conf *conf = reader->conf;
    struct rv_conf_zone *zone = &conf->zones[conf->n_zones++];
    size_t n_before = reader->report->n_seen;
    zone->name = strdup(name->text);
    if (!zone->name) {
        rv__conf_report_no_memory(reader->report);
        return;
    }
    check_name(reader, name);
    if (map->kind != RV_CONF_MAP) {
        char found[RV_CONF_FOUND];
        rv__conf_tree_describe(map, found);
        rv__conf_report_add(reader->report, map->place,
                            "the zone `%.64s` is %s; write a mapping with at "
                            "least `size`",
                            name->text, found);
        return;
    }
    rv__conf_read_section(reader, RV_CONF_ZONE, map, name->place, zone);
    if (!zone->max_size_bytes) {
        zone->max_size_bytes = zone->size_bytes;
    }
    if (reader->report->n_seen == n_before) {
        check_zone(reader, zone, map);
    }
}

void
rv__conf_read_zones(struct rv_conf_reader *reader,
                    const struct rv_conf_key *key,
                    const struct rv_conf_node *node, void *base)
{
    struct rv_conf *conf = base;
    if (node->kind != RV_CONF_MAP) {
        rv__conf_complain(reader, key, node);
        return;
    }
    if (node->n > RV_CONF_SERVICES_MAX) {
        rv__conf_report_add(reader->report, node->place,
                            "there are %zu zones; use at most %d", node->n,
                            RV_CONF_SERVICES_MAX);
        return;
    }
    conf->zones = calloc(node->n ? node->n : 1, sizeof *conf->zones);
    if (!conf->zones) {
        rv__conf_report_no_memory(reader->report);
        return;
    }
    for (size_t i = 0; i < node->n; i++) {
        read_zone(reader, node->keys[i], node->items[i]);
    }
}

/* `zones` of a service. */

/* A word is the mapping that has nothing but `name`. */
static void
read_word(struct rv_conf_reader *reader, struct rv_conf_node *word,
          struct rv_conf_zone_use *use)
{
    char name[] = "name";
    struct rv_conf_node key = {
        .kind = RV_CONF_WORD, .place = word->place, .text = name};
    struct rv_conf_node *keys[] = {&key};
    struct rv_conf_node *items[] = {word};
    struct rv_conf_node map = {.kind = RV_CONF_MAP,
                               .place = word->place,
                               .keys = keys,
                               .items = items,
                               .n = 1};
    rv__conf_read_section(reader, RV_CONF_ZONE_USE, &map, word->place, use);
}

static void
read_use(struct rv_conf_reader *reader, const struct rv_conf_key *key,
         struct rv_conf_node *node)
{
    struct rv_conf_service *service = reader->service;
    struct rv_conf_zone_use *use = &service->zones[service->n_zones];
    if (node->kind == RV_CONF_LIST || rv__conf_tree_is_null(node)) {
        rv__conf_complain(reader, key, node);
        return;
    }
    service->n_zones++;
    if (node->kind == RV_CONF_WORD) {
        read_word(reader, node, use);
    } else {
        rv__conf_read_section(reader, RV_CONF_ZONE_USE, node, node->place,
                              use);
    }
}

void
rv__conf_read_zone_uses(struct rv_conf_reader *reader,
                        const struct rv_conf_key *key,
                        const struct rv_conf_node *node, void *base)
{
    struct rv_conf_service *service = base;
    RV_ASSERT(service == reader->service);
    bool is_list = node->kind == RV_CONF_LIST;
    size_t n = is_list ? node->n : 1;
    if (n > RV_CONF_ZONES_MAX) {
        rv__conf_report_add(reader->report, node->place,
                            "`%s` has %zu names; use at most %d", key->name, n,
                            RV_CONF_ZONES_MAX);
        return;
    }
    struct rv_conf_node *alone[1];
    memcpy(alone, &node, sizeof node);
    struct rv_conf_node **items = is_list ? node->items : alone;
    service->zones = calloc(n ? n : 1, sizeof *service->zones);
    if (!service->zones) {
        rv__conf_report_no_memory(reader->report);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        read_use(reader, key, items[i]);
    }
}

/* Both together. */

static struct rv_conf_place
place_of_use(const struct rv_conf_node *service, size_t i)
{
    const struct rv_conf_node *node = rv__conf_tree_find(service, "zones");
    if (node && node->kind == RV_CONF_LIST && i < node->n) {
        node = node->items[i];
    }
    return rv__conf_place_of(node, "name",
                             node ? node->place : service->place);
}

static void
complain_unknown(struct rv_conf_reader *reader, struct rv_conf_place place,
                 const char *name)
{
    const struct rv_conf *conf = reader->conf;
    const char **names = calloc(conf->n_zones + 1, sizeof *names);
    if (!names) {
        rv__conf_report_no_memory(reader->report);
        return;
    }
    for (size_t i = 0; i < conf->n_zones; i++) {
        names[i] = conf->zones[i].name;
    }
    const char *near = rv_str_nearest(name, names, conf->n_zones);
    if (near) {
        rv__conf_report_add(reader->report, place,
                            "there is no zone `%s`; did you mean `%s`?", name,
                            near);
    } else {
        rv__conf_report_add(reader->report, place,
                            "there is no zone `%s`; add it to `zones` at the "
                            "top, such as `zones: {%s: {size: 8MiB}}`",
                            name, name);
    }
    free(names);
}

static void
check_uses(struct rv_conf_reader *reader,
           const struct rv_conf_service *service,
           const struct rv_conf_node *map)
{
    for (size_t i = 0; i < service->n_zones; i++) {
        const char *name = service->zones[i].name;
        if (!rv_conf_find_zone(reader->conf, name)) {
            complain_unknown(reader, place_of_use(map, i), name);
        }
        for (size_t k = 0; k < i; k++) {
            if (!strcmp(service->zones[k].name, name)) {
                rv__conf_report_add(reader->report, place_of_use(map, i),
                                    "the service has the zone `%s` twice; "
                                    "remove one of them",
                                    name);
                break;
            }
        }
    }
}

static void
check_files(struct rv_conf_reader *reader, const struct rv_conf_node *zones)
{
    const struct rv_conf *conf = reader->conf;
    for (size_t i = 0; i < conf->n_zones; i++) {
        for (size_t k = 0; k < i && conf->zones[i].file; k++) {
            const char *other = conf->zones[k].file;
            if (!other || strcmp(conf->zones[i].file, other) != 0) {
                continue;
            }
            rv__conf_report_add(
                reader->report,
                rv__conf_place_of(zones->items[i], "file", zones->place),
                "the file is already that of the zone `%s`; give one of "
                "them another",
                conf->zones[k].name);
            break;
        }
    }
}

void
rv__conf_check_zones(struct rv_conf_reader *reader,
                     const struct rv_conf_node *root)
{
    const struct rv_conf *conf = reader->conf;
    const struct rv_conf_node *services = rv__conf_tree_find(root, "services");
    check_files(reader, rv__conf_tree_find(root, "zones"));
    for (size_t i = 0; i < conf->n_services; i++) {
        check_uses(reader, &conf->services[i], services->items[i]);
    }
}
