/* Design
 *
 * Two automata, one on top of the other: bytes make tokens, tokens make
 * values.  The lexer keeps the bytes of an unfinished token and no others;
 * the values under way are a stack of borrowed references, the lowest of
 * which owns all the rest.
 */
#include "json_text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "reeve-test.h"
#include "reeve/buf.h"

enum { MAX_HEIGHT = 1000 };

enum lexer_state { BETWEEN, KEYWORD, NUMBER, STRING, ESCAPE };

enum parser_state {
    START,
    OBJECT_FIRST, /* Behind "{". */
    OBJECT_NAME,  /* Behind "," in an object. */
    OBJECT_COLON,
    OBJECT_VALUE,
    OBJECT_NEXT,
    ARRAY_FIRST, /* Behind "[". */
    ARRAY_VALUE, /* Behind "," in an array. */
    ARRAY_NEXT,
    END,
};

/* What the parser gets: a bracket, colon or comma, or a value that is not a
 * container. */
struct token {
    char punctuation; /* 0 for a value. */
    json_t *value;    /* Owned. */
};

struct json_reader {
    bool has_trailer, is_done;
    enum lexer_state lexer;
    enum parser_state parser;
    struct rv_buf token;            /* Its bytes so far. */
    json_t *containers[MAX_HEIGHT]; /* The first is owned. */
    int height;
    json_t *root; /* The first container; kept once it is closed. */
    char *name;   /* Of the member whose value is to come. */
    int line, column, byte;
    struct rv_buf complaint;
    bool has_failed;
};

/* The program ends rather than lacks memory. */
static void *
need(void *memory)
{
    if (!memory) {
        reeve_test_fatal("out of memory");
    }
    return memory;
}

RV_PRINTF(2, 3)
static void
complain(struct json_reader *r, const char *format, ...)
{
    if (r->has_failed) {
        return;
    }
    va_list args;
    rv_buf_printf(&r->complaint, "line %d, column %d, byte %d: ", r->line,
                  r->column, r->byte);
    va_start(args, format);
    rv_buf_vprintf(&r->complaint, format, args);
    va_end(args);
    r->has_failed = r->is_done = true;
}

/* ---- Tokens make values ---- */

static void
put_value(struct json_reader *r, json_t *value)
{
    json_t *container = r->containers[r->height - 1];
    int rc = json_is_array(container)
                 ? json_array_append_new(container, value)
                 : json_object_set_new_nocheck(container, r->name, value);
    if (rc) {
        reeve_test_fatal("out of memory");
    }
    free(r->name);
    r->name = NULL;
}

static void
open_container(struct json_reader *r, char bracket)
{
    if (r->height >= MAX_HEIGHT) {
        complain(r, "input exceeds maximum nesting depth %d", MAX_HEIGHT);
        return;
    }
    json_t *container = need(bracket == '{' ? json_object() : json_array());
    if (r->height) {
        put_value(r, container);
    } else {
        r->root = container;
    }
    r->containers[r->height++] = container;
    r->parser = bracket == '{' ? OBJECT_FIRST : ARRAY_FIRST;
}

static void
close_container(struct json_reader *r)
{
    r->height--;
    if (!r->height) {
        r->parser = END;
        r->is_done = !r->has_trailer;
    } else {
        bool is_array = json_is_array(r->containers[r->height - 1]);
        r->parser = is_array ? ARRAY_NEXT : OBJECT_NEXT;
    }
}

static void
take_value(struct json_reader *r, struct token *token)
{
    if (token->value) {
        bool is_array = json_is_array(r->containers[r->height - 1]);
        put_value(r, token->value);
        token->value = NULL;
        r->parser = is_array ? ARRAY_NEXT : OBJECT_NEXT;
    } else if (token->punctuation == '{' || token->punctuation == '[') {
        open_container(r, token->punctuation);
    } else {
        complain(r, "syntax error expecting value");
    }
}

static void
take_name(struct json_reader *r, const struct token *token)
{
    if (token->value && json_is_string(token->value)) {
        r->name = need(strdup(json_string_value(token->value)));
        r->parser = OBJECT_COLON;
    } else {
        complain(r, "syntax error parsing object expecting string");
    }
}

static void
take_separator(struct json_reader *r, char found, char closing,
               enum parser_state next)
{
    if (found == ',') {
        r->parser = next;
    } else if (found == closing) {
        close_container(r);
    } else {
        complain(r, "syntax error expecting '%c' or ','", closing);
    }
}

static void
parse(struct json_reader *r, struct token *token)
{
    char found = token->punctuation;
    switch (r->parser) {
    case START:
        if (found == '{' || found == '[') {
            open_container(r, found);
        } else {
            complain(r, "syntax error at beginning of input");
        }
        break;
    case END:
        complain(r, "trailing garbage at end of input");
        break;
    case OBJECT_FIRST:
        if (found == '}') {
            close_container(r);
            break;
        }
        take_name(r, token);
        break;
    case OBJECT_NAME:
        take_name(r, token);
        break;
    case OBJECT_COLON:
        if (found == ':') {
            r->parser = OBJECT_VALUE;
        } else {
            complain(r, "syntax error parsing object expecting ':'");
        }
        break;
    case ARRAY_FIRST:
        if (found == ']') {
            close_container(r);
            break;
        }
        take_value(r, token);
        break;
    case OBJECT_VALUE:
    case ARRAY_VALUE:
        take_value(r, token);
        break;
    case OBJECT_NEXT:
        take_separator(r, found, '}', OBJECT_NAME);
        break;
    case ARRAY_NEXT:
        take_separator(r, found, ']', ARRAY_VALUE);
        break;
    }
}

/* Gives the parser a token and makes the lexer ready for the next one. */
static void
end_token(struct json_reader *r, char punctuation, json_t *value)
{
    struct token token = {punctuation, value};
    parse(r, &token);
    json_decref(token.value);
    r->lexer = BETWEEN;
    rv_buf_clear(&r->token);
}

/* ---- Keywords ---- */

static void
end_keyword(struct json_reader *r)
{
    const char *word = rv_buf_string(&r->token);
    if (!strcmp(word, "true")) {
        end_token(r, 0, json_true());
    } else if (!strcmp(word, "false")) {
        end_token(r, 0, json_false());
    } else if (!strcmp(word, "null")) {
        end_token(r, 0, json_null());
    } else {
        complain(r, "invalid keyword '%s'", word);
    }
}

/* ---- Numbers ---- */

/* A number as it is read: SIGNIFICAND times ten to the power of EXPONENT. */
struct number {
    uint64_t significand;
    int exponent;
    bool is_negative, is_imprecise; /* Digits that are not 0 were lost. */
};

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *
read_digits(const char *p, struct number *number, bool is_fraction)
{
    for (; is_digit(*p); p++) {
        if (number->significand <= UINT64_MAX / 10) {
            number->significand =
                number->significand * 10 + (uint64_t)(*p - '0');
            number->exponent -= is_fraction;
        } else {
            number->exponent += !is_fraction;
            number->is_imprecise = number->is_imprecise || *p != '0';
        }
    }
    return p;
}

/* Reads what stands behind "e"; '*badp' tells that it is out of range. */
static const char *
read_exponent(const char *p, struct number *number, bool *badp)
{
    bool is_negative = *p == '-';
    int exponent = 0;
    p += *p == '+' || *p == '-';
    for (; is_digit(*p); p++) {
        if (exponent >= INT_MAX / 10) {
            *badp = true;
            return p;
        }
        exponent = exponent * 10 + (*p - '0');
    }
    *badp = is_negative ? number->exponent < INT_MIN + exponent
                        : number->exponent > INT_MAX - exponent;
    if (!*badp) {
        number->exponent += is_negative ? -exponent : exponent;
    }
    return p;
}

/* Reads 'p'.  NULL, or what is wrong with it. */
static const char *
read_number(const char *p, struct number *number)
{
    number->is_negative = *p == '-';
    p += number->is_negative;
    if (!is_digit(*p)) {
        return "'-' must be followed by digit";
    }
    if (*p == '0' && is_digit(p[1])) {
        return "leading zeros not allowed";
    }
    p = read_digits(p, number, false);
    if (*p == '.') {
        if (!is_digit(*++p)) {
            return "decimal point must be followed by digit";
        }
        p = read_digits(p, number, true);
    }
    if (*p == 'e' || *p == 'E') {
        bool has_sign = p[1] == '+' || p[1] == '-';
        bool is_bad;
        if (!is_digit(p[1 + has_sign])) {
            return "exponent must contain at least one digit";
        }
        p = read_exponent(p + 1, number, &is_bad);
        if (is_bad) {
            return "exponent outside valid range";
        }
    }
    return *p ? "syntax error in number" : NULL;
}

/* Shifts powers of ten from the exponent into the significand, or back. */
static void
normalise(struct number *number)
{
    while (number->exponent > 0 && number->significand < UINT64_MAX / 10) {
        number->significand *= 10;
        number->exponent--;
    }
    while (number->exponent < 0 && number->significand % 10 == 0) {
        number->significand /= 10;
        number->exponent++;
    }
}

/* The value if it is a whole number of 64 bits, however it was written; NULL
 * if it is not. */
static json_t *
whole_number(struct number *number)
{
    if (!number->significand) {
        return need(json_integer(0)); /* There is no negative zero. */
    }
    if (number->is_imprecise) {
        return NULL;
    }
    normalise(number);
    uint64_t limit = (uint64_t)INT64_MAX + number->is_negative;
    if (number->exponent || number->significand > limit) {
        return NULL;
    }
    int64_t value = number->is_negative ? (int64_t)-number->significand
                                        : (int64_t)number->significand;
    return need(json_integer(value));
}

static void
end_number(struct json_reader *r)
{
    const char *text = rv_buf_string(&r->token);
    struct number number = {.significand = 0};
    const char *complaint = read_number(text, &number);
    if (complaint) {
        complain(r, "%s", complaint);
        return;
    }
    json_t *value = whole_number(&number);
    if (!value) {
        double real = strtod(text, NULL);
        if (!isfinite(real)) {
            complain(r, "number outside valid range");
            return;
        }
        value = need(json_real(real == 0 ? 0 : real));
    }
    end_token(r, 0, value);
}

/* ---- Strings ---- */

/* Reads four hexadecimal digits.  NULL, or what is wrong with them. */
static const char *
read_hex(const char *p, const char *end, unsigned int *valuep)
{
    unsigned int value = 0;
    if (end - p < 4) {
        return "quoted string ends within \\u escape";
    }
    for (int i = 0; i < 4; i++) {
        if (!isxdigit((unsigned char)p[i])) {
            return "malformed \\u escape";
        }
        char digit[] = {p[i], '\0'};
        value = value * 16 + (unsigned int)strtoul(digit, NULL, 16);
    }
    if (!value) {
        return "null bytes not supported in quoted strings";
    }
    *valuep = value;
    return NULL;
}

static void
put_utf8(struct rv_buf *text, unsigned int c)
{
    char bytes[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6) {
        bytes[i] = (char)(0x80 | (c & 0x3f));
    }
    bytes[0] = (char)(lead[n] | c);
    rv_buf_put(text, bytes, n);
}

/* Reads what stands behind "\u" at '*pp', a pair of them where the first is
 * the leading half of one.  A trailing half that stands alone passes. */
static const char *
unescape_unicode(const char **pp, const char *end, struct rv_buf *text)
{
    unsigned int c = 0, trailing = 0;
    const char *complaint = read_hex(*pp, end, &c);
    if (complaint) {
        return complaint;
    }
    *pp += 4;
    if (c >= 0xd800 && c < 0xdc00) {
        if (end - *pp < 2 || (*pp)[0] != '\\' || (*pp)[1] != 'u') {
            return "malformed escaped surrogate pair";
        }
        complaint = read_hex(*pp + 2, end, &trailing);
        if (complaint) {
            return complaint;
        }
        if (trailing < 0xdc00 || trailing > 0xdfff) {
            return "second half of escaped surrogate pair is not trailing "
                   "surrogate";
        }
        *pp += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (trailing - 0xdc00);
    }
    put_utf8(text, c);
    return NULL;
}

/* The text of the string whose bytes are in 'raw'; NULL with a complaint. */
static json_t *
unescape(struct json_reader *r, const char *raw)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *end = raw + strlen(raw);
    const char *complaint = NULL;
    struct rv_buf text;
    rv_buf_init(&text, SIZE_MAX / 4);
    for (const char *p = raw; p < end && !complaint;) {
        char c = *p++;
        const char *letter = p < end ? strchr(letters, *p) : NULL;
        if (c != '\\') {
            rv_buf_put(&text, &c, 1);
        } else if (letter) {
            rv_buf_put(&text, &meanings[letter - letters], 1);
            p++;
        } else if (p == end) {
            complaint = "quoted string may not end with backslash";
        } else if (*p == 'u') {
            p++;
            complaint = unescape_unicode(&p, end, &text);
        } else {
            complain(r, "bad escape \\%c", *p);
            complaint = "";
        }
    }
    if (complaint) {
        complain(r, "%s", complaint);
    }
    json_t *value =
        complaint
            ? NULL
            : need(json_stringn_nocheck(rv_buf_string(&text), text.length));
    rv_buf_deinit(&text);
    return value;
}

static void
end_string(struct json_reader *r)
{
    json_t *value = unescape(r, rv_buf_string(&r->token));
    if (value) {
        end_token(r, 0, value);
    }
}

/* ---- Bytes make tokens ---- */

static void
begin_token(struct json_reader *r, unsigned char c)
{
    if (strchr(" \t\n\r", c) && c) {
        return;
    }
    if (c >= 'a' && c <= 'z') {
        r->lexer = KEYWORD;
    } else if (c == '-' || is_digit((char)c)) {
        r->lexer = NUMBER;
    } else if (c == '"') {
        r->lexer = STRING;
        return;
    } else if (c && strchr("[]{}:,", c)) {
        end_token(r, (char)c, NULL);
        return;
    } else if (c >= ' ' && c < 0x7f) {
        complain(r, "invalid character '%c'", c);
        return;
    } else {
        complain(r, "invalid character U+%04x", c);
        return;
    }
    rv_buf_put(&r->token, &c, 1);
}

static void
go_on_in_string(struct json_reader *r, unsigned char c)
{
    if (r->lexer == ESCAPE) {
        r->lexer = STRING;
    } else if (c == '\\') {
        r->lexer = ESCAPE;
    } else if (c == '"') {
        end_string(r);
        return;
    } else if (c < 0x20) {
        complain(r, "U+%04X must be escaped in quoted string", c);
        return;
    }
    rv_buf_put(&r->token, &c, 1);
}

/* False when 'c' does not belong to the token that it ends. */
static bool
take_byte(struct json_reader *r, unsigned char c)
{
    switch (r->lexer) {
    case BETWEEN:
        begin_token(r, c);
        return true;
    case KEYWORD:
        if (!isalpha(c)) {
            end_keyword(r);
            return false;
        }
        break;
    case NUMBER:
        if (!strchr(".0123456789eE-+", c)) {
            end_number(r);
            return false;
        }
        break;
    case STRING:
    case ESCAPE:
    default:
        go_on_in_string(r, c);
        return true;
    }
    rv_buf_put(&r->token, &c, 1);
    return true;
}

size_t
json_reader_feed(struct json_reader *r, const char *bytes, size_t n)
{
    size_t i = 0;
    while (i < n && !r->is_done) {
        unsigned char c = (unsigned char)bytes[i];
        if (!take_byte(r, c)) {
            continue;
        }
        i++;
        r->byte++;
        r->column = c == '\n' ? 0 : r->column + 1;
        r->line += c == '\n';
    }
    if (r->token.failed) {
        reeve_test_fatal("out of memory");
    }
    return i;
}

/* ---- Life of a reader ---- */

struct json_reader *
json_reader_create(bool has_trailer)
{
    struct json_reader *r = need(calloc(1, sizeof *r));
    r->has_trailer = has_trailer;
    rv_buf_init(&r->token, SIZE_MAX / 4);
    rv_buf_init(&r->complaint, SIZE_MAX / 4);
    return r;
}

bool
json_reader_is_done(const struct json_reader *r)
{
    return r->is_done;
}

json_t *
json_reader_finish(struct json_reader *r, char **complaintp)
{
    if (r->lexer == STRING || r->lexer == ESCAPE) {
        complain(r, "unexpected end of input in quoted string");
    } else if (r->lexer != BETWEEN) {
        json_reader_feed(r, " ", 1); /* Which ends the token. */
    }
    if (r->parser == START) {
        complain(r, "empty input stream");
    } else if (r->parser != END) {
        complain(r, "unexpected end of input");
    }
    json_t *value = r->root;
    if (r->has_failed) {
        *complaintp = need(rv_buf_steal(&r->complaint));
        json_decref(value);
        value = NULL;
    }
    rv_buf_deinit(&r->token);
    rv_buf_deinit(&r->complaint);
    free(r->name);
    free(r);
    return value;
}

json_t *
json_text_read(const char *text, char **complaintp)
{
    struct json_reader *reader = json_reader_create(true);
    json_reader_feed(reader, text, strlen(text));
    return json_reader_finish(reader, complaintp);
}
