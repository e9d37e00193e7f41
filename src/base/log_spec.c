/* The language of `vlog/set` and of the option -v. */
#include "reeve/log.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static const char separators[] = " ,:\t";

/* RFC 5424's facilities in their order, by the original's names. */
static const char *const facilities[] = {
    "kern",   "user",   "mail",   "daemon", "auth",   "syslog",
    "lpr",    "news",   "uucp",   "clock",  NULL,     "ftp",
    "ntp",    "audit",  "alert",  "clock2", "local0", "local1",
    "local2", "local3", "local4", "local5", "local6", "local7",
};

/* What a specification of levels says; -1 or NULL: not said. */
struct levels {
    struct rv_log_module *module;
    int destination, level;
};

int
rv_log_facility_parse(const char *name)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(facilities); i++) {
        if (facilities[i] && !strcasecmp(facilities[i], name)) {
            return (int)i;
        }
    }
    return -1;
}

/* Copies the next word, cut at 'size', and moves '*pp' behind the one
 * separator that ends it.  False if there is none. */
static bool
next_word(const char **pp, char *word, size_t size)
{
    const char *start = *pp + strspn(*pp, separators);
    size_t length = strcspn(start, separators);
    size_t n = RV_MIN(length, size - 1);
    memcpy(word, start, n);
    word[n] = '\0';
    *pp = start + length + (start[length] != '\0');
    return length;
}

static int
take_word(struct levels *levels, const char *word, struct rv_error *error)
{
    int destination = rv_log_destination_parse(word);
    int level = rv_log_level_parse(word);
    struct rv_log_module *module = rv_log_module_find(word);
    const char *twice = NULL;
    if (!strcasecmp(word, "ANY")) {
        return 0;
    }
    if (destination >= 0) {
        twice = levels->destination >= 0 ? "destinations" : NULL;
        levels->destination = destination;
    } else if (level >= 0) {
        twice = levels->level >= 0 ? "levels" : NULL;
        levels->level = level;
    } else if (module) {
        twice = levels->module ? "modules" : NULL;
        levels->module = module;
    } else {
        return rv_error_set(error, -EINVAL,
                            "no destination, level, or module \"%s\"", word);
    }
    return twice ? rv_error_set(error, -EINVAL, "cannot specify multiple %s",
                                twice)
                 : 0;
}

static int
do_levels(const char *spec, bool applies, struct rv_error *error)
{
    struct levels levels = {.destination = -1, .level = -1};
    char word[256];
    while (next_word(&spec, word, sizeof word)) {
        int rc = take_word(&levels, word, error);
        if (rc) {
            return rc;
        }
    }
    if (applies) {
        rv_log_set_level(levels.module,
                         levels.destination < 0
                             ? RV_LOG_ANY
                             : (enum rv_log_destination)levels.destination,
                         levels.level < 0 ? RV_LOG_DBG
                                          : (enum rv_log_level)levels.level);
    }
    return 0;
}

static int
do_pattern(const char *rest, bool applies, struct rv_error *error)
{
    char word[256];
    if (!next_word(&rest, word, sizeof word)) {
        return rv_error_set(error, -EINVAL, "missing destination");
    }
    int destination =
        strcasecmp(word, "ANY") ? rv_log_destination_parse(word) : RV_LOG_ANY;
    if (destination < 0) {
        return rv_error_set(error, -EINVAL, "unknown destination \"%s\"",
                            word);
    }
    return applies ? rv_log_set_pattern((enum rv_log_destination)destination,
                                        rest, error)
                   : rv_log_pattern_check(rest, error);
}

static int
do_facility(const char *name, bool applies, struct rv_error *error)
{
    if (rv_log_facility_parse(name) < 0) {
        return rv_error_set(error, -EINVAL, "invalid facility");
    }
    return applies ? rv_log_set_facility(name) : 0;
}

static int
do_spec(const char *spec, bool applies, struct rv_error *error)
{
    const char *rest = spec;
    char word[16];
    next_word(&rest, word, sizeof word);
    if (!strcasecmp(word, "PATTERN")) {
        return do_pattern(rest, applies, error);
    }
    if (!strcasecmp(word, "FACILITY")) {
        return do_facility(rest, applies, error);
    }
    return do_levels(spec, applies, error);
}

int
rv_log_set_spec(const char *spec, struct rv_error *error)
{
    return do_spec(spec, true, error);
}

int
rv_log_check_spec(const char *spec, struct rv_error *error)
{
    return do_spec(spec, false, error);
}
