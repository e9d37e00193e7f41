#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Bytes of a word that rv_str_distance looks at. */
enum { DISTANCE_MAX = 64 };

bool
rv_str_copy(char *to, size_t size, const char *from)
{
    RV_ASSERT(size > 0);
    size_t length = strnlen(from, size);
    bool fits = length < size;
    if (!fits) {
        length = size - 1;
    }
    memcpy(to, from, length);
    to[length] = '\0';
    return fits;
}

/* Optimal string alignment: Levenshtein's rows, and one more row back for
 * neighbours that were swapped. */
size_t
rv_str_distance(const char *a, const char *b)
{
    size_t n_a = strnlen(a, DISTANCE_MAX);
    size_t n_b = strnlen(b, DISTANCE_MAX);
    uint8_t rows[3][DISTANCE_MAX + 1];
    for (size_t j = 0; j <= n_b; j++) {
        rows[0][j] = (uint8_t)j;
    }
    for (size_t i = 1; i <= n_a; i++) {
        uint8_t *row = rows[i % 3];
        const uint8_t *above = rows[(i + 2) % 3];
        const uint8_t *higher = rows[(i + 1) % 3];
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= n_b; j++) {
            int replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
            int best = RV_MIN(replaced, RV_MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2]
                && a[i - 2] == b[j - 1]) {
                best = RV_MIN(best, higher[j - 2] + 1);
            }
            row[j] = (uint8_t)best;
        }
    }
    return rows[n_a % 3][n_b];
}

const char *
rv_str_nearest(const char *word, const char *const *words, size_t n)
{
    const char *nearest = NULL;
    size_t least = RV_MAX(strlen(word) / 3, 1) + 1;
    for (size_t i = 0; i < n; i++) {
        /* A start of four letters or more counts as one slip. */
        size_t distance = rv_str_distance(word, words[i]);
        size_t length = strlen(word);
        if (length >= 4 && !strncmp(word, words[i], length)) {
            distance = RV_MIN(distance, 1);
        }
        if (distance < least && distance < strlen(words[i])) {
            nearest = words[i];
            least = distance;
        }
    }
    return nearest;
}

/* The length of the UTF-8 character at the start of 'bytes', 0 if there is
 * none. */
static size_t
utf8_length(const unsigned char *bytes, size_t n)
{
    unsigned char first = bytes[0];
    if (first < 0x80) {
        return 1;
    }
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || length > n) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Overlong forms, surrogates, and what lies above U+10FFFF all show in
     * the second byte. */
    unsigned char second = bytes[1];
    bool is_bad = (first == 0xe0 && second < 0xa0)
                  || (first == 0xed && second > 0x9f)
                  || (first == 0xf0 && second < 0x90)
                  || (first == 0xf4 && second > 0x8f);
    return is_bad ? 0 : length;
}

size_t
rv_str_utf8_prefix(const char *data, size_t length)
{
    size_t at = 0;
    while (at < length) {
        size_t n = utf8_length((const unsigned char *)data + at, length - at);
        if (!n) {
            break;
        }
        at += n;
    }
    return at;
}

int
rv_str_parse_integer(const char *text, int64_t *valuep)
{
    const char *digits = text + (text[0] == '-');
    if (!digits[0] || digits[strspn(digits, "0123456789")]) {
        return -EINVAL;
    }
    errno = 0;
    intmax_t value = strtoimax(text, NULL, 10);
    if (errno == ERANGE) {
        return -ERANGE;
    }
    *valuep = value;
    return 0;
}

/* Durations. */

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

static const int64_t duration_max_ms = INT64_C(36525) * 86400000;

/* Reads the digits at '*textp' and steps over them. */
static int
read_number(const char **textp, int64_t *valuep)
{
    const char *at = *textp;
    int64_t value = 0;
    while (isdigit((unsigned char)*at)) {
        if (__builtin_mul_overflow(value, 10, &value)
            || __builtin_add_overflow(value, *at - '0', &value)) {
            return -ERANGE;
        }
        at++;
    }
    if (at == *textp) {
        return -EINVAL;
    }
    *textp = at;
    *valuep = value;
    return 0;
}

/* Reads what follows a point, at most three digits, as thousandths. */
static int
read_thousandths(const char **textp, int64_t *valuep)
{
    const char *start = *textp;
    int rc = read_number(textp, valuep);
    if (rc || *textp - start > 3) {
        return -EINVAL;
    }
    for (long n = *textp - start; n < 3; n++) {
        *valuep *= 10;
    }
    return 0;
}

static int
read_duration_unit(const char **textp, int64_t *factorp)
{
    size_t length = strspn(*textp, "dhms");
    for (size_t i = 0; i < RV_ARRAY_SIZE(duration_units); i++) {
        const struct unit *unit = &duration_units[i];
        if (strlen(unit->name) == length
            && !memcmp(unit->name, *textp, length)) {
            *textp += length;
            *factorp = unit->factor;
            return 0;
        }
    }
    return -EINVAL;
}

/* Reads one part, such as "1.5s", and adds it to '*msp'. */
static int
read_duration_part(const char **textp, bool is_alone, int64_t *msp)
{
    int64_t whole, thousandths = 0, factor = 1000;
    int rc = read_number(textp, &whole);
    if (!rc && **textp == '.') {
        ++*textp;
        rc = read_thousandths(textp, &thousandths);
    }
    if (!rc && !(is_alone && !**textp)) {
        rc = read_duration_unit(textp, &factor);
    }
    if (rc) {
        return rc;
    }
    if (whole > duration_max_ms / factor) {
        return -ERANGE;
    }
    if (thousandths * factor % 1000) {
        return -EINVAL;
    }
    *msp += whole * factor + thousandths * factor / 1000;
    return *msp > duration_max_ms ? -ERANGE : 0;
}

int
rv_str_parse_duration(const char *text, int64_t *msp)
{
    int64_t ms = 0;
    const char *at = text;
    do {
        int rc = read_duration_part(&at, at == text, &ms);
        if (rc) {
            return rc;
        }
    } while (*at);
    *msp = ms;
    return 0;
}

void
rv_str_format_duration(int64_t ms, char text[RV_STR_DURATION])
{
    RV_ASSERT(ms >= 0);
    rv_str_copy(text, RV_STR_DURATION, "0");
    size_t used = 0;
    for (size_t i = 0; i < RV_ARRAY_SIZE(duration_units); i++) {
        int64_t n = ms / duration_units[i].factor;
        ms %= duration_units[i].factor;
        if (n) {
            used +=
                (size_t)snprintf(text + used, RV_STR_DURATION - used,
                                 "%" PRId64 "%s", n, duration_units[i].name);
        }
    }
}

/* Sizes. */

/* For each power the first name is the one that is written. */
static const struct unit size_units[] = {
    {"TiB", INT64_C(1) << 40},
    {"T", INT64_C(1) << 40},
    {"GiB", 1 << 30},
    {"G", 1 << 30},
    {"MiB", 1 << 20},
    {"M", 1 << 20},
    {"KiB", 1 << 10},
    {"K", 1 << 10},
    {"TB", 1000000000000},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"KB", 1000},
    {"B", 1},
    {"", 1},
};

int
rv_str_parse_size(const char *text, int64_t *bytesp)
{
    int64_t value;
    int rc = read_number(&text, &value);
    if (rc) {
        return rc;
    }
    if (*text == ' ') {
        text++;
        rc = *text ? 0 : -EINVAL;
    }
    for (size_t i = 0; !rc && i < RV_ARRAY_SIZE(size_units); i++) {
        if (!strcasecmp(text, size_units[i].name)) {
            if (__builtin_mul_overflow(value, size_units[i].factor, &value)) {
                return -ERANGE;
            }
            *bytesp = value;
            return 0;
        }
    }
    return -EINVAL;
}

void
rv_str_format_size(int64_t bytes, char text[RV_STR_SIZE])
{
    RV_ASSERT(bytes >= 0);
    const char *name = "";
    for (size_t i = 0; bytes && i < RV_ARRAY_SIZE(size_units); i++) {
        const struct unit *unit = &size_units[i];
        if (strstr(unit->name, "iB") && bytes % unit->factor == 0) {
            name = unit->name;
            bytes /= unit->factor;
            break;
        }
    }
    snprintf(text, RV_STR_SIZE, "%" PRId64 "%s", bytes, name);
}

/* Vectors. */

size_t
rv_str_vector_length(char *const *vector)
{
    size_t n = 0;
    while (vector && vector[n]) {
        n++;
    }
    return n;
}

int
rv_str_vector_add(char ***vectorp, const char *string, size_t length)
{
    size_t n = rv_str_vector_length(*vectorp);
    char *copy = strndup(string, length);
    if (!copy) {
        return -ENOMEM;
    }
    /* Only powers of two are allocated, so the vector needs no capacity
     * beside it: it is full when the used slots are one. */
    size_t used = n + 1;
    if (!*vectorp || (used & (used - 1)) == 0) {
        char **vector = realloc(*vectorp, 2 * used * sizeof *vector);
        if (!vector) {
            free(copy);
            return -ENOMEM;
        }
        *vectorp = vector;
    }
    (*vectorp)[n] = copy;
    (*vectorp)[n + 1] = NULL;
    return 0;
}

void
rv_str_vector_free(char **vector)
{
    for (size_t i = 0; vector && vector[i]; i++) {
        free(vector[i]);
    }
    free(vector);
}
