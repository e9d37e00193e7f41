/* `reeve zone`: the memory that workers share. */
#include "reeve/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "cli/cli.h"
#include "master/master.h"
#include "reeve/slab.h"

enum { CHECKS = 20, CHECK_PAUSE_MS = 5 };

/* list */

static const char *
string(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static void
size_text(const json_t *object, const char *key, char text[RV_STR_SIZE])
{
    rv_str_format_size(json_integer_value(json_object_get(object, key)), text);
}

static void
print_row(const json_t *zone)
{
    char size[RV_STR_SIZE], max_size[RV_STR_SIZE], memory[RV_STR_SIZE];
    json_t *service;
    size_t i;
    size_text(zone, "size", size);
    size_text(zone, "max_size", max_size);
    size_text(zone, "memory_bytes", memory);
    printf("%-16s %10s %10s %10s  %-12s", string(zone, "name"), size, max_size,
           memory, *string(zone, "tag") ? string(zone, "tag") : "-");
    json_array_foreach(json_object_get(zone, "services"), i, service)
    {
        printf("%s%s", i ? "," : " ", json_string_value(service));
    }
    printf("\n");
}

static int
print_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    if (!text) {
        return rv_cli_fail(RV_EXIT_FAILED, "out of memory");
    }
    puts(text);
    free(text);
    return RV_EXIT_OK;
}

static int
list(const struct rv_cli_call *call)
{
    json_t *zones, *zone;
    size_t i;
    int status = rv_cli_zones_get(&call->target, &zones);
    if (status) {
        return status;
    }
    if (call->json) {
        status = print_json(zones);
    } else {
        printf("%-16s %10s %10s %10s  %-12s %s\n", "ZONE", "SIZE", "MAX",
               "MEMORY", "TAG", "SERVICES");
        json_array_foreach(zones, i, zone)
        {
            print_row(zone);
        }
    }
    json_decref(zones);
    return status;
}

/* show */

static json_t *
class_json(const struct rv_slab_class_stats *row)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "size",
                     (json_int_t)row->size_bytes, "pages",
                     (json_int_t)row->n_chunks * row->n_chunk_pages, "used",
                     (json_int_t)row->n_used, "held", (json_int_t)row->n_held,
                     "free", (json_int_t)row->n_free, "used_bytes",
                     (json_int_t)row->n_used * row->size_bytes);
}

static json_t *
show_json(const struct rv_zone_info *info, const struct rv_slab_stats *stats)
{
    json_t *classes = json_array();
    for (size_t i = 0; i < RV_SLAB_CLASSES; i++) {
        if (stats->classes[i].n_chunks) {
            json_array_append_new(classes, class_json(&stats->classes[i]));
        }
    }
    return json_pack(
        "{s:s, s:s, s:I, s:I, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
        "name", info->name, "tag", info->tag, "size",
        (json_int_t)info->size_bytes, "max_size",
        (json_int_t)info->max_size_bytes, "members", (int)info->n_members,
        "used_bytes", (json_int_t)stats->used_bytes, "pages",
        (json_int_t)stats->n_pages, "free_pages",
        (json_int_t)stats->n_free_pages, "largest_run_pages",
        (json_int_t)stats->largest_run_pages, "allocations",
        (json_int_t)stats->n_allocs, "frees", (json_int_t)stats->n_frees,
        "failures", (json_int_t)stats->n_failures, "classes", classes);
}

static void
print_classes(const struct rv_slab_stats *stats)
{
    printf("%8s %8s %10s %10s %10s %12s\n", "OBJECTS", "PAGES", "USED", "HELD",
           "FREE", "USED BYTES");
    for (size_t i = 0; i < RV_SLAB_CLASSES; i++) {
        const struct rv_slab_class_stats *row = &stats->classes[i];
        if (row->n_chunks) {
            printf("%8" PRIu32 " %8" PRIu32 " %10" PRIu64 " %10" PRIu64
                   " %10" PRIu64 " %12" PRIu64 "\n",
                   row->size_bytes, row->n_chunks * row->n_chunk_pages,
                   row->n_used, row->n_held, row->n_free,
                   row->n_used * row->size_bytes);
        }
    }
}

static void
print_show(const struct rv_zone_info *info, const struct rv_slab_stats *stats)
{
    char size[RV_STR_SIZE], max_size[RV_STR_SIZE];
    rv_str_format_size((int64_t)info->size_bytes, size);
    rv_str_format_size((int64_t)info->max_size_bytes, max_size);
    printf("%s: %s of %s, tag \"%s\", %" PRIu32 " members\n", info->name, size,
           max_size, info->tag, info->n_members);
    printf("used: %" PRIu64 " bytes; free: %" PRIu64 " of %" PRIu64
           " pages, the largest run %" PRIu64 "\n",
           stats->used_bytes, stats->n_free_pages, stats->n_pages,
           stats->largest_run_pages);
    printf("runs: %" PRIu64 " used (%" PRIu64 " pages), %" PRIu64
           " held (%" PRIu64 " pages)\n",
           stats->n_used_runs, stats->n_used_run_pages, stats->n_held_runs,
           stats->n_held_run_pages);
    printf("allocations: %" PRIu64 ", frees: %" PRIu64 ", failures: %" PRIu64
           "\n",
           stats->n_allocs, stats->n_frees, stats->n_failures);
    print_classes(stats);
}

static int
show(const struct rv_cli_call *call)
{
    struct rv_zone *zone = NULL;
    struct rv_zone_info info;
    struct rv_slab_stats stats;
    int status =
        rv_cli_zone_attach(&call->target, call->words[1], true, &zone);
    if (status) {
        return status;
    }
    rv_zone_get_info(zone, &info);
    rv_slab_get_stats(zone, &stats);
    rv_zone_detach(&zone);
    if (!call->json) {
        print_show(&info, &stats);
        return RV_EXIT_OK;
    }
    json_t *object = show_json(&info, &stats);
    status = print_json(object);
    json_decref(object);
    return status;
}

/* check */

/* What looks like damage may only be a transaction under way: then it looks
 * otherwise a moment later. */
static int
check(const struct rv_cli_call *call)
{
    struct timespec pause = {.tv_nsec = CHECK_PAUSE_MS * 1000000L};
    struct rv_zone *zone = NULL;
    struct rv_error error;
    int rc = -EAGAIN;
    int status =
        rv_cli_zone_attach(&call->target, call->words[1], true, &zone);
    if (status) {
        return status;
    }
    for (int i = 0; rc && i < CHECKS; i++) {
        rc = rv_zone_check_all(zone, &error);
        if (rc) {
            nanosleep(&pause, NULL);
        }
    }
    rv_zone_detach(&zone);
    if (rc) {
        return rv_cli_fail(RV_EXIT_FAILED, "zone \"%s\": %s", call->words[1],
                           error.text);
    }
    printf("zone \"%s\" is whole\n", call->words[1]);
    return RV_EXIT_OK;
}

/* map */

static int
map(const struct rv_cli_call *call)
{
    struct rv_zone *zone = NULL;
    int status =
        rv_cli_zone_attach(&call->target, call->words[1], true, &zone);
    if (!status) {
        rv_cli_zone_draw(zone);
        rv_zone_detach(&zone);
    }
    return status;
}

/* resize */

/* The end of what is in use, in bytes of heap. */
static uint64_t
used_end(const struct rv_zone *zone)
{
    struct rv_slab_run run;
    uint64_t end = 0;
    for (uint64_t page = 0; !rv_slab_get_run(zone, page, &run);
         page += run.n_pages) {
        if (run.kind != RV_SLAB_RUN_FREE) {
            end = (page + run.n_pages) * RV_ZONE_PAGE_BYTES;
        }
    }
    return end;
}

static int
refuse(struct rv_zone *zone, int rc)
{
    struct rv_zone_info info;
    char text[RV_STR_SIZE];
    rv_zone_get_info(zone, &info);
    if (rc != -EBUSY) {
        return rv_cli_fail(RV_EXIT_FAILED, "zone \"%s\": %s", info.name,
                           strerror(-rc));
    }
    rv_str_format_size((int64_t)used_end(zone), text);
    return rv_cli_fail(RV_EXIT_FAILED,
                       "zone \"%s\" cannot be made smaller: what lies there "
                       "is in use up to %s of it (`reeve zone map %s`)",
                       info.name, text, info.name);
}

static int
shrink(const struct rv_cli_call *call, struct rv_zone *zone, uint64_t bytes)
{
    char *now = NULL;
    uint64_t used = 0;
    rv_zone_heal(zone); /* The dead may hold pages. */
    int rc = rv_slab_trim_tail(zone, bytes, &used);
    if (rc) {
        return refuse(zone, rc);
    }
    int status = rv_cli_zone_resize(&call->target, call->words[1],
                                    call->words[2], true, &now);
    /* Back into use, as far as the zone goes now. */
    rc = rv_slab_trim_tail(zone, rv_zone_size_bytes(zone), &used);
    if (!status && rc) {
        status = rv_cli_fail(RV_EXIT_FAILED, "zone \"%s\": %s", call->words[1],
                             strerror(-rc));
    } else if (!status) {
        printf("zone \"%s\" has %s now\n", call->words[1], now);
    }
    free(now);
    return status;
}

static int
grow(const struct rv_cli_call *call, struct rv_zone *zone)
{
    char *now = NULL;
    uint64_t used;
    int status = rv_cli_zone_resize(&call->target, call->words[1],
                                    call->words[2], false, &now);
    if (!status) {
        /* Also what a killed `resize` has left out of use. */
        int rc = rv_slab_trim_tail(zone, rv_zone_size_bytes(zone), &used);
        status = rc ? rv_cli_fail(RV_EXIT_FAILED, "zone \"%s\": %s",
                                  call->words[1], strerror(-rc))
                    : RV_EXIT_OK;
    }
    if (!status) {
        printf("zone \"%s\" has %s now\n", call->words[1], now);
    }
    free(now);
    return status;
}

static int
resize(const struct rv_cli_call *call)
{
    struct rv_zone *zone = NULL;
    int64_t bytes;
    if (rv_str_parse_size(call->words[2], &bytes) || bytes == 0) {
        return rv_cli_usage("zone", "\"%s\" is no size such as 64MiB",
                            call->words[2]);
    }
    int status =
        rv_cli_zone_attach(&call->target, call->words[1], false, &zone);
    if (status) {
        return status;
    }
    uint64_t page = RV_ZONE_PAGE_BYTES;
    uint64_t pages = ((uint64_t)bytes + page - 1) / page;
    status = pages * page < rv_zone_size_bytes(zone)
                 ? shrink(call, zone, pages * page)
                 : grow(call, zone);
    rv_zone_detach(&zone);
    return status;
}

int
rv_cli_zone(int argc, char **argv)
{
    static const struct {
        const char *name;
        size_t n_words; /* The name among them. */
        bool has_json;
        int (*run)(const struct rv_cli_call *);
    } verbs[] = {
        {"list", 1, true, list},      {"show", 2, true, show},
        {"check", 2, false, check},   {"map", 2, false, map},
        {"resize", 3, false, resize},
    };
    struct rv_cli_call call;
    int status = rv_cli_parse(argc, argv, "j", 1, 3, &call);
    for (size_t i = 0; !status && i < RV_ARRAY_SIZE(verbs); i++) {
        if (strcmp(call.words[0], verbs[i].name) != 0) {
            continue;
        }
        if (call.n_words != verbs[i].n_words) {
            return rv_cli_usage("zone", "wrong number of arguments");
        }
        if (call.json && !verbs[i].has_json) {
            return rv_cli_usage("zone", "%s has no --json", verbs[i].name);
        }
        return verbs[i].run(&call);
    }
    return status ? status
                  : rv_cli_usage("zone", "there is no \"%s\"", call.words[0]);
}
