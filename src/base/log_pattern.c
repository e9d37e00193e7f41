/* From a pattern and a line to text.
 *
 * Nothing here knows the log: everything comes in the line.  The local time
 * comes as an offset from UTC, so that no time zone is looked up. */
#include "reeve/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

enum { MAX_WIDTH = 1000, TIME_FORMAT_BYTES = 128, TIME_BYTES = 256 };

static const char letters[] = "ABcdDEjlmnNpPrtT%";

/* What a percent sign began. */
struct field {
    char letter;
    bool pads_right;
    char pad;
    size_t width;
    const char *braces; /* What stands in them; NULL without. */
    size_t braces_length;
};

struct output {
    char *to;
    size_t size, length;
};

static void
put(struct output *out, const char *text, size_t length)
{
    size_t n = RV_MIN(length, out->size - 1 - out->length);
    memcpy(out->to + out->length, text, n);
    out->length += n;
}

static void
put_string(struct output *out, const char *text)
{
    put(out, text, strlen(text));
}

static void
put_number(struct output *out, long long number)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", number);
    put_string(out, text);
}

/* Reads the braces behind a letter that may have some.  NULL, or what is
 * wrong. */
static const char *
read_braces(const char **pp, struct field *field)
{
    const char *end;
    if (!strchr("cdD", field->letter) || **pp != '{') {
        return NULL;
    }
    end = strchr(*pp, '}');
    if (!end) {
        return "a brace does not close";
    }
    field->braces = *pp + 1;
    field->braces_length = (size_t)(end - field->braces);
    if (field->braces_length >= TIME_FORMAT_BYTES) {
        return "a time's format is too long";
    }
    *pp = end + 1;
    return NULL;
}

/* Reads the field whose percent sign is just before '*pp', and moves that
 * behind it.  NULL, or what is wrong. */
static const char *
read_field(const char **pp, struct field *field)
{
    const char *p = *pp;
    *field = (struct field){.pad = ' '};
    if (*p == '-') {
        field->pads_right = true;
        p++;
    }
    if (*p == '0') {
        field->pad = '0';
        p++;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        field->width = field->width * 10 + (size_t)(*p - '0');
        if (field->width > MAX_WIDTH) {
            return "a width is above 1000";
        }
    }
    if (!*p) {
        return "it ends within a conversion";
    }
    if (!strchr(letters, *p)) {
        *pp = p;
        return "unknown conversion";
    }
    field->letter = *p++;
    *pp = p;
    return read_braces(pp, field);
}

int
rv_log_pattern_check(const char *pattern, struct rv_error *error)
{
    const char *p = pattern;
    while ((p = strchr(p, '%'))) {
        struct field field;
        p++;
        const char *wrong = read_field(&p, &field);
        if (wrong) {
            return rv_error_set(error, -EINVAL, "bad pattern \"%s\": %s",
                                pattern, wrong);
        }
    }
    return 0;
}

/* RFC 5424's severities, which are those of syslog(3). */
static int
priority(const struct rv_log_line *line)
{
    static const int severities[RV_LOG_N_LEVELS] = {1, 1, 3, 4, 5, 7};
    enum { DAEMON = 3 };
    int facility = line->facility < 0 ? DAEMON : line->facility;
    return facility * 8 + severities[line->level];
}

/* Replaces each row of '#' by the milliseconds. */
static void
fill_in_ms(char *text, int ms)
{
    char digits[12];
    snprintf(digits, sizeof digits, "%03d", ms);
    while ((text = strchr(text, '#'))) {
        for (const char *digit = digits; *text == '#'; text++) {
            *text = *digit ? *digit++ : '0';
        }
    }
}

static void
put_time(struct output *out, const struct field *field,
         const struct rv_log_line *line)
{
    char format[TIME_FORMAT_BYTES] = "%Y-%m-%d %H:%M:%S.###";
    char text[TIME_BYTES];
    struct tm parts;
    bool is_local = field->letter == 'd';
    int ms = (int)(line->wall_ms % 1000);
    time_t seconds = line->wall_ms / 1000;
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    seconds += is_local ? line->utc_offset_s : 0;
    if (!gmtime_r(&seconds, &parts)) {
        return;
    }
    if (is_local) {
        parts.tm_gmtoff = line->utc_offset_s;
        parts.tm_zone = line->zone;
    }
    if (field->braces) {
        memcpy(format, field->braces, field->braces_length);
        format[field->braces_length] = '\0';
    }
/* The format is the person's own; strftime() has no arguments to take. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (strftime(text, sizeof text, format, &parts)) {
#pragma GCC diagnostic pop
        fill_in_ms(text, ms);
        put_string(out, text);
    }
}

/* The message's length without the newlines at its end. */
static size_t
message_length(const char *text)
{
    size_t length = strlen(text);
    while (length && text[length - 1] == '\n') {
        length--;
    }
    return length;
}

/* One character of the inside of a JSON string (RFC 8259), or one byte of a
 * longer character. */
static void
put_json_byte(struct output *out, char byte)
{
    char escape[8] = {'\\', byte};
    const char *shorts = "\"\"\\\\\nn\tt\rr";
    for (; *shorts; shorts += 2) {
        if (byte == shorts[0]) {
            escape[1] = shorts[1];
            put(out, escape, 2);
            return;
        }
    }
    if ((unsigned char)byte < ' ') {
        snprintf(escape, sizeof escape, "\\u%04x", (unsigned int)byte);
        put_string(out, escape);
    } else {
        put(out, &byte, 1);
    }
}

/* What is not UTF-8 becomes the character that stands for that. */
static void
put_json(struct output *out, const char *text)
{
    size_t left = message_length(text);
    while (left) {
        size_t valid = rv_str_utf8_prefix(text, left);
        for (size_t i = 0; i < valid; i++) {
            put_json_byte(out, text[i]);
        }
        text += valid;
        left -= valid;
        if (left) {
            put_string(out, "\xef\xbf\xbd");
            text++;
            left--;
        }
    }
}

static void
put_level(struct output *out, const struct rv_log_line *line, bool is_upper)
{
    for (const char *p = rv_log_level_name(line->level); *p; p++) {
        char c = (char)(is_upper ? *p - 'a' + 'A' : *p);
        put(out, &c, 1);
    }
}

/* Of what is text. */
static void
put_value(struct output *out, const struct field *field,
          const struct rv_log_line *line)
{
    switch (field->letter) {
    case 'A':
        put_string(out, line->program);
        break;
    case 'c':
        put_string(out, line->module->name);
        break;
    case 'd':
    case 'D':
        put_time(out, field, line);
        break;
    case 'E':
        put_string(out, line->host);
        break;
    case 'j':
        put_json(out, line->text);
        break;
    case 'l':
    case 'p':
        put_level(out, line, field->letter == 'p');
        break;
    case 'm':
        put(out, line->text, message_length(line->text));
        break;
    case 't':
        put_string(out, line->subprogram[0] ? line->subprogram : "main");
        break;
    case 'T':
        if (line->subprogram[0]) {
            put_string(out, "(");
            put_string(out, line->subprogram);
            put_string(out, ")");
        }
        break;
    default:
        put_string(out, field->letter == 'n' ? "\n" : "%");
        break;
    }
}

/* Of what is a number; false if the letter means none. */
static bool
put_count(struct output *out, char letter, const struct rv_log_line *line)
{
    switch (letter) {
    case 'B':
        put_number(out, priority(line));
        return true;
    case 'N':
        put_number(out, line->number);
        return true;
    case 'P':
        put_number(out, line->pid);
        return true;
    case 'r':
        put_number(out, line->uptime_ms);
        return true;
    default:
        return false;
    }
}

/* Widens what was written from 'start' on. */
static void
pad(struct output *out, size_t start, const struct field *field)
{
    size_t used = out->length - start;
    if (used >= field->width) {
        return;
    }
    size_t room = out->size - 1 - out->length;
    size_t n = RV_MIN(field->width - used, room);
    char *text = out->to + start;
    if (field->pads_right) {
        memset(text + used, field->pad, n);
    } else {
        memmove(text + n, text, used);
        memset(text, field->pad, n);
    }
    out->length += n;
}

static void
put_field(struct output *out, const struct field *field,
          const struct rv_log_line *line)
{
    bool is_red = line->is_coloured && line->level <= RV_LOG_WARN
                  && strchr("lp", field->letter);
    put_string(out, is_red ? "\033[31m" : "");
    size_t start = out->length;
    if (!put_count(out, field->letter, line)) {
        put_value(out, field, line);
    }
    pad(out, start, field);
    put_string(out, is_red ? "\033[0m" : "");
}

size_t
rv_log_format(const char *pattern, const struct rv_log_line *line, char *to,
              size_t size)
{
    struct output out = {.to = to, .size = size};
    const char *p = pattern;
    while (*p) {
        size_t n = strcspn(p, "%");
        put(&out, p, n);
        p += n;
        if (*p) {
            struct field field;
            p++;
            if (read_field(&p, &field)) {
                break;
            }
            put_field(&out, &field, line);
        }
    }
    to[out.length] = '\0';
    return out.length;
}
