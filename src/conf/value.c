#include "conf/value.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum { NAME_MAX_BYTES = 64 };

/* Names, texts and paths. */

bool
rv__conf_is_name(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(text);
    return length > 0 && length <= NAME_MAX_BYTES && text[0] != '.'
           && text[0] != '-' && strspn(text, letters) == length;
}

static int
set_string(const struct rv_conf_key *key, void *base, char *string)
{
    if (!string) {
        return -ENOMEM;
    }
    rv__conf_field_set(key, base, &string, sizeof string);
    return 0;
}

int
rv__conf_absolute_path(const char *text, const char *directory, char **pathp,
                       struct rv_error *why)
{
    while (text[0] == '.' && text[1] == '/') {
        text += 2 + strspn(text + 2, "/");
    }
    if (!strcmp(text, ".")) {
        text = "";
    }
    char *path = NULL;
    int n = 0;
    if (text[0] == '/') {
        path = strdup(text);
    } else {
        n = asprintf(&path, "%s%s%s", directory,
                     text[0] && strcmp(directory, "/") != 0 ? "/" : "", text);
    }
    if (!path || n < 0) {
        return -ENOMEM;
    }
    if (strlen(path) >= PATH_MAX) {
        free(path);
        return rv_error_set(why, -EINVAL,
                            "the path has more than %d bytes; use a shorter "
                            "one",
                            PATH_MAX - 1);
    }
    *pathp = path;
    return 0;
}

static int
read_string(const struct rv_conf_key *key, const char *text,
            const char *directory, void *base, struct rv_error *why)
{
    char *path = NULL;
    if (!text[0]) {
        return -EINVAL;
    }
    if (key->type == RV_CONF_TYPE_NAME && !rv__conf_is_name(text)) {
        return -EINVAL;
    }
    if (key->type != RV_CONF_TYPE_PATH) {
        return set_string(key, base, strdup(text));
    }
    int rc = rv__conf_absolute_path(text, directory, &path, why);
    return rc ? rc : set_string(key, base, path);
}

/* Numbers. */

static int
read_boolean(const char *text, bool *valuep)
{
    static const char *const words[] = {"off", "on",    "no",
                                        "yes", "false", "true"};
    for (size_t i = 0; i < RV_ARRAY_SIZE(words); i++) {
        if (!strcasecmp(text, words[i])) {
            *valuep = i % 2 == 1;
            return 0;
        }
    }
    return -EINVAL;
}

static int
read_integer(const struct rv_conf_key *key, const char *text, int *valuep)
{
    int64_t value;
    if (key->word && !strcmp(text, key->word)) {
        *valuep = key->word_value;
        return 0;
    }
    if (rv_str_parse_integer(text, &value) || value < key->min
        || value > key->max) {
        return -EINVAL;
    }
    *valuep = (int)value;
    return 0;
}

static int
read_octal(const struct rv_conf_key *key, const char *text, int *valuep)
{
    if (!strncmp(text, "0o", 2)) {
        text += 2;
    }
    size_t length = strlen(text);
    if (!length || length > 5 || strspn(text, "01234567") != length) {
        return -EINVAL;
    }
    long value = strtol(text, NULL, 8);
    if (value > key->max) {
        return -EINVAL;
    }
    *valuep = (int)value;
    return 0;
}

/* Numbers that fit 64 bits: durations and sizes. */
static int
read_quantity(const struct rv_conf_key *key, const char *text, int64_t *valuep)
{
    int64_t value = 0;
    int rc = key->type == RV_CONF_TYPE_DURATION
                 ? rv_str_parse_duration(text, &value)
                 : rv_str_parse_size(text, &value);
    if (rc || value < key->min || value > key->max) {
        return -EINVAL;
    }
    *valuep = value;
    return 0;
}

static int
read_rlimit(const struct rv_conf_key *key, const char *text,
            struct rv_conf_rlimit *limit)
{
    int64_t value;
    if (!strcmp(text, "unlimited")) {
        *limit = (struct rv_conf_rlimit){.is_set = true, .value = UINT64_MAX};
        return 0;
    }
    int rc = key->type == RV_CONF_TYPE_COUNT_LIMIT
                 ? rv_str_parse_integer(text, &value)
                 : rv_str_parse_size(text, &value);
    if (rc || value < 0) {
        return -EINVAL;
    }
    *limit = (struct rv_conf_rlimit){.is_set = true, .value = (uint64_t)value};
    return 0;
}

/* Words of a choice, signals. */

static int
find_choice(const struct rv_conf_key *key, const char *text)
{
    for (int i = 0; key->choices && key->choices[i]; i++) {
        if (!strcmp(key->choices[i], text)) {
            return i;
        }
    }
    return -EINVAL;
}

const char *
rv__conf_nearest_choice(const struct rv_conf_key *key, const char *text)
{
    size_t n = 0;
    while (key->choices && key->choices[n]) {
        n++;
    }
    return n ? rv_str_nearest(text, key->choices, n) : NULL;
}

static int
find_signal(const char *text)
{
    int64_t number;
    if (!rv_str_parse_integer(text, &number)) {
        return number >= 1 && number < NSIG ? (int)number : -EINVAL;
    }
    if (!strncasecmp(text, "SIG", 3)) {
        text += 3;
    }
    for (int i = 1; i < NSIG; i++) {
        const char *name = sigabbrev_np(i);
        if (name && !strcasecmp(name, text)) {
            return i;
        }
    }
    if (!strncasecmp(text, "RTMIN+", 6)
        && !rv_str_parse_integer(text + 6, &number) && number >= 0
        && number <= SIGRTMAX - SIGRTMIN) {
        return SIGRTMIN + (int)number;
    }
    return -EINVAL;
}

/* A worker that is stopped or continued by it would never finish. */
static int
read_signal(const char *text, int *valuep, struct rv_error *why)
{
    int number = find_signal(text);
    if (number == SIGSTOP || number == SIGCONT) {
        return rv_error_set(why, -EINVAL,
                            "%s does not end a program; write a signal that "
                            "does, such as TERM, INT or QUIT",
                            text);
    }
    if (number < 0) {
        return number;
    }
    *valuep = number;
    return 0;
}

/* Compound words. */

static int
read_output(const char *text, const char *directory,
            struct rv_conf_output_to *output, struct rv_error *why)
{
    struct rv_conf_output_to read = {.kind = RV_CONF_OUTPUT_INHERIT};
    if (text[0] == '/') {
        return rv_error_set(
            why, -EINVAL, "a path alone is not enough; write `file %s`", text);
    }
    if (!strncmp(text, "file ", 5) && text[5 + strspn(text + 5, " ")]) {
        text += 5 + strspn(text + 5, " ");
        int rc = rv__conf_absolute_path(text, directory, &read.path, why);
        if (rc) {
            return rc;
        }
        read.kind = RV_CONF_OUTPUT_FILE;
    } else if (!strcmp(text, "null")) {
        read.kind = RV_CONF_OUTPUT_NULL;
    } else if (strcmp(text, "inherit") != 0) {
        return -EINVAL;
    }
    *output = read;
    return 0;
}

static int
read_address(const char *text, const char *directory,
             struct rv_address *address, struct rv_error *why)
{
    struct rv_address read;
    int rc = rv_address_parse(text, &read, why);
    if (rc) {
        return rc;
    }
    if (read.u.any.sa_family == AF_UNIX && read.u.un.sun_path[0] != '/') {
        char *path = NULL;
        rc = rv__conf_absolute_path(read.u.un.sun_path, directory, &path, why);
        if (rc) {
            return rc;
        }
        char full[PATH_MAX + sizeof "unixgram:"];
        snprintf(full, sizeof full, "%s:%s",
                 read.type == SOCK_STREAM ? "unix" : "unixgram", path);
        free(path);
        rc = rv_address_parse(full, &read, why);
    }
    if (!rc) {
        *address = read;
    }
    return rc;
}

/* All types. */

static int
read_number(const struct rv_conf_key *key, const char *text, void *base,
            struct rv_error *why)
{
    int value = 0;
    int rc = key->type == RV_CONF_TYPE_OCTAL ? read_octal(key, text, &value)
             : key->type == RV_CONF_TYPE_SIGNAL
                 ? read_signal(text, &value, why)
                 : read_integer(key, text, &value);
    if (!rc) {
        rv__conf_field_set(key, base, &value, sizeof value);
    }
    return rc;
}

static int
read_flag(const struct rv_conf_key *key, const char *text, void *base)
{
    bool value = false;
    int rc = 0;
    if (key->type == RV_CONF_TYPE_BOOLEAN) {
        rc = read_boolean(text, &value);
    } else {
        int choice = find_choice(key, text);
        rc = choice < 0 ? choice : 0;
        value = choice == 1;
    }
    if (!rc) {
        rv__conf_field_set(key, base, &value, sizeof value);
    }
    return rc;
}

static int
read_choice(const struct rv_conf_key *key, const char *text, void *base)
{
    int choice = find_choice(key, text);
    if (choice < 0) {
        return choice;
    }
    rv__conf_field_set(key, base, &choice, sizeof choice);
    return 0;
}

#define READ_INTO(TYPE, CALL)                              \
  do {                                                     \
    TYPE value;                                            \
    int rc = CALL;                                         \
    if (!rc) {                                             \
      rv__conf_field_set(key, base, &value, sizeof value); \
    }                                                      \
    return rc;                                             \
  } while (0)

int
rv__conf_word_read(const struct rv_conf_key *key, const char *text,
                   const char *directory, void *base, struct rv_error *why)
{
    switch ((int)key->type) {
    case RV_CONF_TYPE_NAME:
    case RV_CONF_TYPE_TEXT:
    case RV_CONF_TYPE_PATH:
        return read_string(key, text, directory, base, why);
    case RV_CONF_TYPE_BOOLEAN:
    case RV_CONF_TYPE_SWITCH:
        return read_flag(key, text, base);
    case RV_CONF_TYPE_CHOICE:
        return read_choice(key, text, base);
    case RV_CONF_TYPE_DURATION:
    case RV_CONF_TYPE_SIZE:
        READ_INTO(int64_t, read_quantity(key, text, &value));
    case RV_CONF_TYPE_COUNT_LIMIT:
    case RV_CONF_TYPE_SIZE_LIMIT:
        READ_INTO(struct rv_conf_rlimit, read_rlimit(key, text, &value));
    case RV_CONF_TYPE_OUTPUT:
        READ_INTO(struct rv_conf_output_to,
                  read_output(text, directory, &value, why));
    case RV_CONF_TYPE_ADDRESS:
        READ_INTO(struct rv_address,
                  read_address(text, directory, &value, why));
    default:
        return read_number(key, text, base, why);
    }
}

void
rv__conf_word_unset(const struct rv_conf_key *key, void *base)
{
    if (key->type == RV_CONF_TYPE_INTEGER || key->type == RV_CONF_TYPE_OCTAL) {
        rv__conf_field_set(key, base, &key->unset, sizeof key->unset);
    }
}

static void
put_string(const struct rv_conf_key *key, const void *base, struct rv_buf *out)
{
    char *string;
    rv__conf_field_get(key, base, &string, sizeof string);
    if (string) {
        rv_conf_quote(string, out);
    } else {
        rv_buf_puts(out, "null");
    }
}

static void
put_number(const struct rv_conf_key *key, const void *base, struct rv_buf *out)
{
    int value;
    rv__conf_field_get(key, base, &value, sizeof value);
    const char *name =
        key->type == RV_CONF_TYPE_SIGNAL ? sigabbrev_np(value) : NULL;
    if (name) {
        rv_buf_puts(out, name);
    } else if (key->type == RV_CONF_TYPE_SIGNAL) {
        rv_buf_printf(out, "%d", value);
    } else if (!key->fallback && value == key->unset) {
        rv_buf_puts(out, "null");
    } else if (key->type == RV_CONF_TYPE_OCTAL) {
        rv_buf_printf(out, "\"%04o\"", (unsigned int)value);
    } else if (key->word && value == key->word_value) {
        rv_buf_puts(out, key->word);
    } else {
        rv_buf_printf(out, "%d", value);
    }
}

static void
put_flag(const struct rv_conf_key *key, const void *base, struct rv_buf *out)
{
    bool value;
    rv__conf_field_get(key, base, &value, sizeof value);
    if (key->type == RV_CONF_TYPE_SWITCH) {
        rv_buf_puts(out, key->choices[value ? 1 : 0]);
    } else {
        rv_buf_puts(out, value ? "on" : "off");
    }
}

static void
put_quantity(const struct rv_conf_key *key, const void *base,
             struct rv_buf *out)
{
    int64_t value;
    char text[RV_STR_DURATION];
    rv__conf_field_get(key, base, &value, sizeof value);
    if (key->type == RV_CONF_TYPE_DURATION) {
        rv_str_format_duration(value, text);
    } else {
        rv_str_format_size(value, text);
    }
    rv_buf_puts(out, text);
}

static void
put_rlimit(const struct rv_conf_key *key, const void *base, struct rv_buf *out)
{
    struct rv_conf_rlimit limit;
    char text[RV_STR_SIZE];
    rv__conf_field_get(key, base, &limit, sizeof limit);
    if (!limit.is_set) {
        rv_buf_puts(out, "null");
    } else if (limit.value == UINT64_MAX) {
        rv_buf_puts(out, "unlimited");
    } else if (key->type == RV_CONF_TYPE_COUNT_LIMIT) {
        rv_buf_printf(out, "%" PRIu64, limit.value);
    } else {
        rv_str_format_size((int64_t)limit.value, text);
        rv_buf_puts(out, text);
    }
}

static void
put_output(const struct rv_conf_key *key, const void *base, struct rv_buf *out)
{
    struct rv_conf_output_to output;
    rv__conf_field_get(key, base, &output, sizeof output);
    if (output.kind != RV_CONF_OUTPUT_FILE) {
        rv_buf_puts(out, key->choices[output.kind]);
        return;
    }
    struct rv_buf text;
    rv_buf_init(&text, PATH_MAX + 8);
    rv_buf_printf(&text, "file %s", output.path);
    rv_conf_quote(rv_buf_string(&text), out);
    out->failed |= text.failed;
    rv_buf_deinit(&text);
}

static void
put_address(const struct rv_conf_key *key, const void *base,
            struct rv_buf *out)
{
    struct rv_address address;
    char text[RV_ADDRESS_TEXT];
    rv__conf_field_get(key, base, &address, sizeof address);
    rv_address_format(&address, text);
    rv_conf_quote(text, out);
}

static void
put_choice(const struct rv_conf_key *key, const void *base, struct rv_buf *out)
{
    int choice;
    rv__conf_field_get(key, base, &choice, sizeof choice);
    rv_buf_puts(out, key->choices[choice]);
}

void
rv__conf_word_write(const struct rv_conf_key *key, const void *base,
                    struct rv_buf *out)
{
    typedef void put(const struct rv_conf_key *, const void *,
                     struct rv_buf *);
    static put *const puts_by_type[] = {
        [RV_CONF_TYPE_NAME] = put_string,
        [RV_CONF_TYPE_TEXT] = put_string,
        [RV_CONF_TYPE_PATH] = put_string,
        [RV_CONF_TYPE_BOOLEAN] = put_flag,
        [RV_CONF_TYPE_INTEGER] = put_number,
        [RV_CONF_TYPE_OCTAL] = put_number,
        [RV_CONF_TYPE_SIGNAL] = put_number,
        [RV_CONF_TYPE_DURATION] = put_quantity,
        [RV_CONF_TYPE_SIZE] = put_quantity,
        [RV_CONF_TYPE_CHOICE] = put_choice,
        [RV_CONF_TYPE_SWITCH] = put_flag,
        [RV_CONF_TYPE_COUNT_LIMIT] = put_rlimit,
        [RV_CONF_TYPE_SIZE_LIMIT] = put_rlimit,
        [RV_CONF_TYPE_OUTPUT] = put_output,
        [RV_CONF_TYPE_ADDRESS] = put_address,
    };
    RV_ASSERT(key->type < RV_ARRAY_SIZE(puts_by_type));
    puts_by_type[key->type](key, base, out);
}

/* What to write. */

static void
list_choices(const struct rv_conf_key *key, char expected[RV_CONF_EXPECTED])
{
    size_t used = 0;
    for (size_t i = 0; key->choices[i] && used < RV_CONF_EXPECTED; i++) {
        const char *joint = i == 0 ? "" : key->choices[i + 1] ? ", " : " or ";
        used += (size_t)snprintf(expected + used, RV_CONF_EXPECTED - used,
                                 "%s`%s`", joint, key->choices[i]);
    }
}

static void
expect_number(const struct rv_conf_key *key, char expected[RV_CONF_EXPECTED])
{
    snprintf(expected, RV_CONF_EXPECTED,
             "a whole number from %" PRId64 " to %" PRId64 "%s%s%s", key->min,
             key->max, key->word ? ", or `" : "", key->word ? key->word : "",
             key->word ? "`" : "");
}

static void
expect_quantity(const struct rv_conf_key *key, char expected[RV_CONF_EXPECTED])
{
    bool is_duration = key->type == RV_CONF_TYPE_DURATION;
    char low[RV_STR_DURATION], high[RV_STR_DURATION];
    const char *what = is_duration ? "a duration such as 500ms, 10s or 1m30s"
                                   : "a size such as 64KiB, 10MB or 2G";
    if (is_duration) {
        rv_str_format_duration(key->min, low);
        rv_str_format_duration(key->max, high);
    } else {
        rv_str_format_size(key->min, low);
        rv_str_format_size(key->max, high);
    }
    int used =
        snprintf(expected, RV_CONF_EXPECTED, "%s, at least %s", what, low);
    if (key->max != INT64_MAX) {
        snprintf(expected + used, RV_CONF_EXPECTED - (size_t)used,
                 " and at most %s", high);
    }
}

void
rv__conf_expected(const struct rv_conf_key *key,
                  char expected[RV_CONF_EXPECTED])
{
    static const char *const texts[] = {
        [RV_CONF_TYPE_NAME] =
            "a name of at most 64 letters, digits, `.`, `_` and `-` that "
            "starts with neither `.` nor `-`",
        [RV_CONF_TYPE_TEXT] = "a text that is not empty",
        [RV_CONF_TYPE_PATH] = "a path such as /srv/app",
        [RV_CONF_TYPE_BOOLEAN] = "`on` or `off`",
        [RV_CONF_TYPE_OCTAL] = "octal digits such as \"0660\", at most 0777",
        [RV_CONF_TYPE_SIGNAL] = "a signal such as TERM, SIGQUIT or 15",
        [RV_CONF_TYPE_COUNT_LIMIT] = "a whole number, or `unlimited`",
        [RV_CONF_TYPE_SIZE_LIMIT] =
            "a size such as 64KiB, 10MB or 2G, or `unlimited`",
        [RV_CONF_TYPE_ADDRESS] = "an address such as 8080, 127.0.0.1:8080 or "
                                 "unix:/run/x.sock",
        [RV_CONF_TYPE_COMMAND] =
            "a list of words such as [python3, app.py], or one text",
        [RV_CONF_TYPE_ENVIRONMENT] =
            "a mapping of names to texts such as {A: b}",
        [RV_CONF_TYPE_LISTENS] = "an address such as 8080, or a list of them",
        [RV_CONF_TYPE_ZONES] = "a mapping such as {sessions: {size: 8MiB}}",
        [RV_CONF_TYPE_ZONE_USES] = "the name of a zone, or a list such as "
                                   "[sessions, {name: limits, access: read}]",
        [RV_CONF_TYPE_SECTION] = "a mapping with the keys of this section",
        [RV_CONF_TYPE_SERVICES] = "a mapping such as {web: {command: "
                                  "[python3, app.py], listen: 8080}}",
    };
    if (key->choices) {
        list_choices(key, expected);
    } else if (key->type == RV_CONF_TYPE_INTEGER) {
        expect_number(key, expected);
    } else if (key->type == RV_CONF_TYPE_DURATION
               || key->type == RV_CONF_TYPE_SIZE) {
        expect_quantity(key, expected);
    } else {
        rv_str_copy(expected, RV_CONF_EXPECTED, texts[key->type]);
    }
}
