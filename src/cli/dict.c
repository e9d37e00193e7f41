/* `reeve dict`: the dicts in the zones of a running reeve. */
#include "reeve/dict.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "master/master.h"
#include "reeve/zone.h"

enum { BUFFER_BYTES = 1 << 16 };

/* A dict that is open, and what to do with it. */
struct session {
    const struct rv_cli_call *call;
    struct rv_zone *zone;
    struct rv_dict *dict;
    const char *key; /* "" where the verb takes none. */
    size_t key_length;
    const char *const *words; /* Behind the key; NULL ends them. */
};

static int
fail(const struct session *session, int rc)
{
    const char *key = session->key;
    if (rc == -ENOENT) {
        return rv_cli_fail(RV_EXIT_FAILED, "there is no key \"%s\"", key);
    }
    return rv_cli_fail(RV_EXIT_FAILED, "key \"%s\": %s", key, strerror(-rc));
}

static void
print_value(const struct rv_dict_value *value)
{
    switch (value->type) {
    case RV_DICT_BYTES:
        fwrite(value->bytes, 1, value->length, stdout);
        puts("");
        break;
    case RV_DICT_INTEGER:
        printf("%" PRId64 "\n", value->integer);
        break;
    case RV_DICT_REAL:
        printf("%.17g\n", value->real);
        break;
    case RV_DICT_BOOLEAN:
        puts(value->boolean ? "true" : "false");
        break;
    }
}

static int
get(const struct session *session)
{
    struct rv_dict_value value;
    int rc = -EMSGSIZE;
    char *buffer = NULL;
    for (size_t size = BUFFER_BYTES;
         rc == -EMSGSIZE && size <= RV_DICT_VALUE_MAX_BYTES; size *= 4) {
        free(buffer);
        buffer = malloc(size);
        rc = buffer ? rv_dict_get(session->dict, session->key,
                                  session->key_length, buffer, size, &value)
                    : -ENOMEM;
    }
    if (!rc) {
        print_value(&value);
    }
    free(buffer);
    return rc ? fail(session, rc) : RV_EXIT_OK;
}

/* A number is stored as one, so that it can be added to; all else is text. */
static struct rv_dict_value
value_of(const char *text)
{
    int64_t integer;
    return rv_str_parse_integer(text, &integer)
               ? rv_dict_bytes(text, strlen(text))
               : rv_dict_integer(integer);
}

static int
set(const struct session *session)
{
    struct rv_dict_value value = value_of(session->words[0]);
    const char *ttl = session->words[1];
    int64_t ttl_ms = 0;
    if (ttl && rv_str_parse_duration(ttl, &ttl_ms)) {
        return rv_cli_usage("dict", "\"%s\" is no duration such as 30s", ttl);
    }
    int rc = rv_dict_set(session->dict, session->key, session->key_length,
                         &value, ttl_ms);
    if (rc == RV_DICT_FORCIBLE) {
        fputs("reeve: other keys had to go for it\n", stderr);
    }
    return rc < 0 ? fail(session, rc) : RV_EXIT_OK;
}

static int
incr(const struct session *session)
{
    const char *by = session->words[0] ? session->words[0] : "1";
    struct rv_dict_value delta = value_of(by), sum;
    struct rv_dict_value init = rv_dict_integer(0);
    if (delta.type != RV_DICT_INTEGER) {
        return rv_cli_usage("dict", "\"%s\" is no whole number", by);
    }
    int rc = rv_dict_incr(session->dict, session->key, session->key_length,
                          &delta, &init, 0, &sum);
    if (rc < 0) {
        return fail(session, rc);
    }
    print_value(&sum);
    return RV_EXIT_OK;
}

static int
delete_key(const struct session *session)
{
    int rc = rv_dict_delete(session->dict, session->key, session->key_length);
    return rc < 0 ? fail(session, rc) : RV_EXIT_OK;
}

static int
ttl(const struct session *session)
{
    int64_t ttl_ms;
    char text[RV_STR_DURATION];
    int rc =
        rv_dict_ttl(session->dict, session->key, session->key_length, &ttl_ms);
    if (rc) {
        return fail(session, rc);
    }
    rv_str_format_duration(ttl_ms, text);
    puts(ttl_ms ? text : "for ever");
    return RV_EXIT_OK;
}

/* A key a line, what cannot be printed as \xHH. */
static int
print_key(void *context, const void *key, size_t key_length)
{
    const unsigned char *at = key;
    (void)context;
    for (size_t i = 0; i < key_length; i++) {
        if (at[i] >= 0x80 || (isprint(at[i]) && at[i] != '\\')) {
            putchar(at[i]);
        } else {
            printf("\\x%02x", at[i]);
        }
    }
    putchar('\n');
    return 0;
}

static int
keys(const struct session *session)
{
    const char *max = session->words[0];
    int64_t n = 0;
    if (max && (rv_str_parse_integer(max, &n) || n < 0)) {
        return rv_cli_usage("dict", "\"%s\" is no number of keys", max);
    }
    int rc = rv_dict_keys(session->dict, (uint64_t)n, print_key, NULL);
    return rc ? rv_cli_fail(RV_EXIT_FAILED, "keys: %s", strerror(-rc))
              : RV_EXIT_OK;
}

static int
stats(const struct session *session)
{
    struct rv_dict_stats all;
    char capacity[RV_STR_SIZE], free_space[RV_STR_SIZE];
    rv_dict_get_stats(session->dict, &all);
    rv_str_format_size((int64_t)rv_dict_capacity(session->dict), capacity);
    rv_str_format_size((int64_t)rv_dict_free_space(session->dict), free_space);
    printf("entries: %" PRIu64 "\nevicted: %" PRIu64 "\nexpired: %" PRIu64
           "\nshards: %" PRIu32 "\ncapacity: %s\nfree: %s\n",
           all.n_entries, all.n_evicted, all.n_expired, all.n_shards, capacity,
           free_space);
    return RV_EXIT_OK;
}

struct verb {
    const char *name;
    size_t min, max; /* Words behind the name. */
    bool has_key, is_read_only;
    int (*run)(const struct session *);
};

static const struct verb verbs[] = {
    {"get", 1, 1, true, true, get},
    {"set", 2, 3, true, false, set},
    {"incr", 1, 2, true, false, incr},
    {"delete", 1, 1, true, false, delete_key},
    {"ttl", 1, 1, true, true, ttl},
    {"keys", 0, 1, false, true, keys},
    {"stats", 0, 0, false, true, stats},
};

static const struct verb *
find_verb(const struct rv_cli_call *call)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(verbs); i++) {
        const struct verb *verb = &verbs[i];
        size_t n = call->n_words - 2;
        if (!strcmp(call->words[1], verb->name) && n >= verb->min
            && n <= verb->max) {
            return verb;
        }
    }
    return NULL;
}

/* Opens the dict, which it does not make. */
static int
open_dict(struct session *session, const char *name)
{
    struct rv_error error;
    uint64_t type, offset;
    int rc = rv_zone_root_get(session->zone, name, &type, &offset);
    if (rc) {
        return rv_cli_fail(RV_EXIT_FAILED,
                           "there is no dict \"%s\" in the zone; name "
                           "another as ZONE/NAME",
                           name);
    }
    rc = rv_dict_open(session->zone, name, NULL, &session->dict, &error);
    return rc ? rv_cli_fail(RV_EXIT_FAILED, "dict \"%s\": %s", name,
                            error.text)
              : RV_EXIT_OK;
}

static int
run(const struct rv_cli_call *call, const struct verb *verb, const char *zone,
    const char *name)
{
    struct session session = {.call = call, .key = ""};
    int status = rv_cli_zone_attach(&call->target, zone, verb->is_read_only,
                                    &session.zone);
    if (status) {
        return status;
    }
    if (verb->has_key) {
        session.key = call->words[2];
        session.key_length = strlen(session.key);
    }
    session.words = &call->words[verb->has_key ? 3 : 2];
    status = open_dict(&session, name);
    if (!status) {
        status = verb->run(&session);
        rv_dict_close(&session.dict);
    }
    rv_zone_detach(&session.zone);
    return status;
}

int
rv_cli_dict(int argc, char **argv)
{
    struct rv_cli_call call;
    int status = rv_cli_parse(argc, argv, "", 2, 5, &call);
    if (status) {
        return status;
    }
    const struct verb *verb = find_verb(&call);
    if (!verb) {
        return rv_cli_usage("dict", "what to do with \"%s\"?", call.words[0]);
    }
    char zone[RV_ZONE_NAME_BYTES];
    const char *slash = strchr(call.words[0], '/');
    size_t n = strcspn(call.words[0], "/");
    if (n >= sizeof zone) {
        return rv_cli_usage("dict", "the zone's name is too long");
    }
    memcpy(zone, call.words[0], n);
    zone[n] = '\0';
    return run(&call, verb, zone, slash ? slash + 1 : zone);
}
