#include "reeve/log_outputs.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* Whether the words of a specification of levels name the system log. */
static bool
names_syslog(const char *spec)
{
    static const char separators[] = " ,:\t";
    for (spec += strspn(spec, separators); *spec;
         spec += strspn(spec, separators)) {
        size_t n = strcspn(spec, separators);
        if (n == 6 && !strncasecmp(spec, "syslog", n)) {
            return true;
        }
        if ((n == 7 && !strncasecmp(spec, "PATTERN", n))
            || (n == 8 && !strncasecmp(spec, "FACILITY", n))) {
            return false;
        }
        spec += n;
    }
    return false;
}

int
rv_log_set_spec_and_open(const char *spec, struct rv_error *error)
{
    int rc = rv_log_check_spec(spec, error);
    if (!rc && names_syslog(spec) && !rv_log_is_open(RV_LOG_SYSLOG)) {
        rc = rv_log_open_syslog(NULL, NULL, error);
        if (!rc) {
            rv_log_set_level(NULL, RV_LOG_SYSLOG, RV_LOG_OFF);
        }
    }
    return rc ? rc : rv_log_set_spec(spec, error);
}

static int
set_syslog_method(const char *method, struct rv_error *error)
{
    if (method && !strcmp(method, "libc")) {
        return rv_log_open_syslog(NULL, NULL, error);
    }
    if (method && !strcmp(method, "null")) {
        rv_log_set_outlet(RV_LOG_SYSLOG, NULL);
        return 0;
    }
    if (method && !strncmp(method, "unix:", 5)) {
        return rv_log_open_syslog(method + 5, "<%B>", error);
    }
    return rv_error_set(error, -EINVAL, "unsupported syslog method '%s'",
                        method ? method : "");
}

int
rv_log_option(const char *name, const char *argument, struct rv_error *error)
{
    if (!strcmp(name, "verbose")) {
        int rc = rv_log_set_spec_and_open(argument ? argument : "", error);
        return rc ? rv_error_wrap(error, "processing \"%s\"", argument) : 0;
    }
    if (!strcmp(name, "log-file")) {
        return rv_log_open_file(argument, error);
    }
    if (!strcmp(name, "syslog-method")) {
        return set_syslog_method(argument, error);
    }
    return rv_error_set(error, -ENOENT, "no option --%s", name);
}
