/* Collects what is wrong with a configuration and writes it in the order of
 * its lines.
 *
 * Room: conf (private).  Blocks: never.
 *
 *     struct rv_conf_report report;
 *     rv__conf_report_init(&report, "reeve.yaml");
 *     rv__conf_report_add(&report, place, "unknown key `%s`; remove it", key);
 *     int rc = rv__conf_report_flush(&report, errors);   // -EINVAL
 *     rv__conf_report_deinit(&report);
 */
#ifndef RV_CONF_REPORT_H
#define RV_CONF_REPORT_H

#include "reeve/base.h"
#include "conf/conf.h"

/* The most lines that one text gets. */
enum { RV_CONF_ERRORS_MAX = 50 };

/* Counted from 1, as editors do; 'line' 0 is no place in particular. */
struct rv_conf_place {
    int line, column;
};

struct rv_conf_complaint {
    struct rv_conf_place place;
    size_t number; /* In the order of arrival. */
    char *text;    /* Owned. */
};

struct rv_conf_report {
    const char *source; /* Borrowed. */
    struct rv_conf_complaint complaints[RV_CONF_ERRORS_MAX];
    size_t n;      /* Kept: at most RV_CONF_ERRORS_MAX. */
    size_t n_seen; /* Kept or not. */
    bool no_memory;
};

void rv__conf_report_init(struct rv_conf_report *report, const char *source);

/* Idempotent. */
void rv__conf_report_deinit(struct rv_conf_report *report);

/* Adds a sentence; past the limit it is only counted. */
void rv__conf_report_add(struct rv_conf_report *report,
                         struct rv_conf_place place, const char *format, ...)
    RV_PRINTF(3, 4);

/* Notes that memory ran out, which outweighs everything else. */
void rv__conf_report_no_memory(struct rv_conf_report *report);

/* Writes the lines to 'errors'.  0 if nothing was wrong, else -EINVAL, or
 * -ENOMEM. */
int rv__conf_report_flush(struct rv_conf_report *report,
                          struct rv_conf_errors *errors);

/* Adds one line that concerns the whole of 'source' to 'errors'. */
void rv__conf_errors_add(struct rv_conf_errors *errors, const char *source,
                         struct rv_conf_place place, const char *text);

#endif
