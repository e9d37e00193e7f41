#include "rpc/json_parse.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "reeve/base.h"
#include "base/str.h"
#include "reeve/buf.h"

enum {
    MAX_DEPTH = 1000,
    /* A number with more may not fit. */
    MAX_DIGITS = 18,
};

struct parser {
    const char *p, *end;
    unsigned int depth;
    struct rv_buf decoded; /* Of the latest string with escapes. */
};

static json_t *parse_value(struct parser *parser);

static void
skip_space(struct parser *parser)
{
    while (parser->p < parser->end
           && (*parser->p == ' ' || *parser->p == '\n' || *parser->p == '\t'
               || *parser->p == '\r')) {
        parser->p++;
    }
}

/* Takes 'c', which may have white space before it. */
static bool
take(struct parser *parser, char c)
{
    skip_space(parser);
    bool is_there = parser->p < parser->end && *parser->p == c;
    parser->p += is_there;
    return is_there;
}

/* Bit 7 of the lowest byte of 'word' that is zero, and perhaps of bytes above
 * it. */
static uint64_t
zero_bytes(uint64_t word)
{
    return (word - UINT64_C(0x0101010101010101)) & ~word;
}

/* Whether all eight bytes at 'p' stand for themselves in a string and are
 * ASCII. */
static bool
are_plain(const char *p)
{
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, p, sizeof word);
    uint64_t others = zero_bytes(word ^ each * '"')
                      | zero_bytes(word ^ each * '\\') | (word - each * ' ')
                      | word;
    return !(others & each * 0x80);
}

/* Takes bytes that stand for themselves.  Whether they are UTF-8. */
static bool
take_text(struct parser *parser)
{
    const char *start = parser->p;
    bool is_ascii = true;
    for (;;) {
        while (parser->end - parser->p >= 8 && are_plain(parser->p)) {
            parser->p += 8;
        }
        unsigned char c =
            parser->p < parser->end ? (unsigned char)*parser->p : 0;
        if (c < ' ' || c == '"' || c == '\\') {
            break;
        }
        is_ascii = is_ascii && c < 0x80;
        parser->p++;
    }
    size_t n = (size_t)(parser->p - start);
    return is_ascii || rv_str_utf8_prefix(start, n) == n;
}

/* Takes an escape, but not one by number; false also for another byte, which
 * may only stand in a string as an escape. */
static bool
take_escape(struct parser *parser)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    if (*parser->p != '\\' || parser->end - parser->p < 2 || !parser->p[1]) {
        return false;
    }
    const char *letter = strchr(letters, parser->p[1]);
    parser->p += 2;
    return letter
           && !rv_buf_put(&parser->decoded, &meanings[letter - letters], 1);
}

/* Takes what follows a quotation mark up to the next.  The text is in the
 * input, or where escapes had to be replaced, in 'decoded' until the next
 * call. */
static bool
take_string(struct parser *parser, const char **textp, size_t *np)
{
    const char *start = parser->p;
    bool is_decoded = false;
    for (;;) {
        if (!take_text(parser) || parser->p == parser->end) {
            return false;
        }
        if (!is_decoded && *parser->p == '"') {
            *textp = start;
            *np = (size_t)(parser->p++ - start);
            return true;
        }
        if (!is_decoded) {
            rv_buf_clear(&parser->decoded);
            is_decoded = true;
        }
        if (rv_buf_put(&parser->decoded, start, (size_t)(parser->p - start))) {
            return false;
        }
        if (*parser->p == '"') {
            parser->p++;
            *textp = rv_buf_string(&parser->decoded);
            *np = parser->decoded.length;
            return true;
        }
        if (!take_escape(parser)) {
            return false;
        }
        start = parser->p;
    }
}

static json_t *
parse_string(struct parser *parser)
{
    const char *text;
    size_t n;
    return take_string(parser, &text, &n) ? json_stringn_nocheck(text, n)
                                          : NULL;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Numbers that are not small integers, in all their forms. */
static json_t *
parse_long_number(struct parser *parser, const char *start)
{
    const char *p = start;
    while (p < parser->end && (is_digit(*p) || (*p && strchr("+-.eE", *p)))) {
        p++;
    }
    parser->p = p;
    return json_loadb(start, (size_t)(p - start), JSON_DECODE_ANY, NULL);
}

static json_t *
parse_number(struct parser *parser)
{
    const char *start = parser->p;
    const char *p = start + (*start == '-');
    const char *digits = p;
    json_int_t value = 0;
    while (p < parser->end && is_digit(*p) && p - digits < MAX_DIGITS) {
        value = value * 10 + (*p++ - '0');
    }
    bool is_whole = p > digits && (*digits != '0' || p == digits + 1);
    if (!is_whole
        || (p < parser->end
            && (is_digit(*p) || *p == '.' || *p == 'e' || *p == 'E'))) {
        return parse_long_number(parser, start);
    }
    parser->p = p;
    return json_integer(*start == '-' ? -value : value);
}

static json_t *
parse_word(struct parser *parser, const char *word, json_t *value)
{
    size_t n = strlen(word);
    if ((size_t)(parser->end - parser->p) < n
        || memcmp(parser->p, word, n) != 0) {
        return NULL;
    }
    parser->p += n;
    return value;
}

/* Takes what follows '['. */
static bool
fill_array(struct parser *parser, json_t *array)
{
    if (take(parser, ']')) {
        return true;
    }
    do {
        json_t *value = parse_value(parser);
        if (!value || json_array_append_new(array, value)) {
            return false;
        }
    } while (take(parser, ','));
    return take(parser, ']');
}

/* Takes what follows '{'. */
static bool
fill_object(struct parser *parser, json_t *object)
{
    if (take(parser, '}')) {
        return true;
    }
    do {
        const char *key;
        size_t n;
        if (!take(parser, '"') || !take_string(parser, &key, &n)
            || key == parser->decoded.data || !take(parser, ':')) {
            return false;
        }
        json_t *value = parse_value(parser);
        if (!value || json_object_setn_new_nocheck(object, key, n, value)) {
            return false;
        }
    } while (take(parser, ','));
    return take(parser, '}');
}

static json_t *
parse_container(struct parser *parser, json_t *container,
                bool (*fill)(struct parser *, json_t *))
{
    bool is_good = container && parser->depth < MAX_DEPTH;
    parser->depth++;
    if (!is_good || !fill(parser, container)) {
        json_decref(container);
        return NULL;
    }
    parser->depth--;
    return container;
}

static json_t *
parse_value(struct parser *parser)
{
    skip_space(parser);
    if (parser->p == parser->end) {
        return NULL;
    }
    switch (*parser->p) {
    case '"':
        parser->p++;
        return parse_string(parser);
    case '{':
        parser->p++;
        return parse_container(parser, json_object(), fill_object);
    case '[':
        parser->p++;
        return parse_container(parser, json_array(), fill_array);
    case 't':
        return parse_word(parser, "true", json_true());
    case 'f':
        return parse_word(parser, "false", json_false());
    case 'n':
        return parse_word(parser, "null", json_null());
    default:
        return *parser->p == '-' || is_digit(*parser->p) ? parse_number(parser)
                                                         : NULL;
    }
}

json_t *
rv__json_parse(const char *bytes, size_t n)
{
    struct parser parser = {.p = bytes, .end = bytes + n};
    rv_buf_init(&parser.decoded, SIZE_MAX / 4);
    json_t *value = parse_value(&parser);
    skip_space(&parser);
    if (parser.p != parser.end) {
        json_decref(value);
        value = NULL;
    }
    rv_buf_deinit(&parser.decoded);
    return value;
}
