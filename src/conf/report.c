#include "conf/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* One line: enough for a sentence with a path and a list of keys. */
enum { LINE_MAX_BYTES = 4096 };

void
rv_conf_errors_init(struct rv_conf_errors *errors)
{
    errors->n = 0;
    rv_buf_init(&errors->text, (RV_CONF_ERRORS_MAX + 1) * LINE_MAX_BYTES);
}

void
rv_conf_errors_deinit(struct rv_conf_errors *errors)
{
    errors->n = 0;
    rv_buf_deinit(&errors->text);
}

void
rv__conf_report_init(struct rv_conf_report *report, const char *source)
{
    *report = (struct rv_conf_report){.source = source};
}

void
rv__conf_report_deinit(struct rv_conf_report *report)
{
    for (size_t i = 0; i < report->n; i++) {
        free(report->complaints[i].text);
    }
    report->n = 0;
}

void
rv__conf_report_no_memory(struct rv_conf_report *report)
{
    report->n_seen++;
    report->no_memory = true;
}

void
rv__conf_report_add(struct rv_conf_report *report, struct rv_conf_place place,
                    const char *format, ...)
{
    report->n_seen++;
    if (report->n == RV_CONF_ERRORS_MAX) {
        return;
    }
    struct rv_buf text;
    rv_buf_init(&text, LINE_MAX_BYTES);
    va_list args;
    va_start(args, format);
    int rc = rv_buf_vprintf(&text, format, args);
    va_end(args);
    if (rc == -EMSGSIZE) {
        rc = rv_buf_puts(&text, "this is too long to be right; shorten it");
    }
    char *line = rc ? NULL : rv_buf_steal(&text);
    rv_buf_deinit(&text);
    if (!line) {
        rv__conf_report_no_memory(report);
        return;
    }
    report->complaints[report->n] = (struct rv_conf_complaint){
        .place = place, .number = report->n, .text = line};
    report->n++;
}

/* Control characters in what a person wrote must not break the line. */
static void
put_text(struct rv_buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n') {
            rv_buf_puts(out, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            rv_buf_printf(out, "\\x%02x", c);
        } else {
            rv_buf_put(out, text, 1);
        }
    }
}

void
rv__conf_errors_add(struct rv_conf_errors *errors, const char *source,
                    struct rv_conf_place place, const char *text)
{
    put_text(&errors->text, source);
    if (place.line > 0) {
        rv_buf_printf(&errors->text, ":%d:%d", place.line, place.column);
    }
    rv_buf_puts(&errors->text, ": ");
    put_text(&errors->text, text);
    rv_buf_puts(&errors->text, "\n");
    errors->n++;
}

static int
compare(const void *left, const void *right)
{
    const struct rv_conf_complaint *a = left;
    const struct rv_conf_complaint *b = right;
    if (a->place.line != b->place.line) {
        return a->place.line < b->place.line ? -1 : 1;
    }
    if (a->place.column != b->place.column) {
        return a->place.column < b->place.column ? -1 : 1;
    }
    return a->number < b->number ? -1 : a->number > b->number;
}

int
rv__conf_report_flush(struct rv_conf_report *report,
                      struct rv_conf_errors *errors)
{
    if (!report->n_seen) {
        return 0;
    }
    qsort(report->complaints, report->n, sizeof report->complaints[0],
          compare);
    for (size_t i = 0; i < report->n; i++) {
        rv__conf_errors_add(errors, report->source,
                            report->complaints[i].place,
                            report->complaints[i].text);
    }
    return report->no_memory ? -ENOMEM : -EINVAL;
}
