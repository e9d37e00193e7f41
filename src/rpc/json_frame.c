#include "reeve/json_frame.h"

#include <errno.h>
#include <stdbool.h>

void
rv_json_frame_init(struct rv_json_frame *frame, size_t max_bytes,
                   unsigned int max_depth)
{
    *frame =
        (struct rv_json_frame){.max_bytes = max_bytes, .max_depth = max_depth};
}

size_t
rv_json_frame_pending(const struct rv_json_frame *frame)
{
    return frame->state == RV_JSON_FRAME_BETWEEN ? 0 : frame->length;
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Bytes that end a bare token because something else starts or ends there. */
static bool
is_structural(char c)
{
    return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':'
           || c == '"';
}

static int
start_value(struct rv_json_frame *frame, char c)
{
    switch (c) {
    case '{':
    case '[':
        if (!frame->max_depth) {
            return -E2BIG;
        }
        frame->depth = 1;
        frame->state = RV_JSON_FRAME_CONTAINER;
        return 0;
    case '"':
        frame->state = RV_JSON_FRAME_STRING;
        return 0;
    case '}':
    case ']':
    case ',':
    case ':':
        return -EPROTO;
    default:
        /* Words and numbers are letters and digits; a peer that sends what
         * can never become a value should not have to be waited for. */
        if (c != '-' && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z')
            && !(c >= 'A' && c <= 'Z')) {
            return -EPROTO;
        }
        frame->state = RV_JSON_FRAME_TOKEN;
        return 0;
    }
}

/* Takes a byte inside brackets.  Which kind of bracket closes is left to the
 * parser: a wrong kind makes a value that it refuses. */
static int
scan_container(struct rv_json_frame *frame, char c)
{
    if (c == '"') {
        frame->state = RV_JSON_FRAME_STRING;
    } else if (c == '{' || c == '[') {
        if (frame->depth >= frame->max_depth) {
            return -E2BIG;
        }
        frame->depth++;
    } else if (c == '}' || c == ']') {
        frame->depth--;
        if (!frame->depth) {
            frame->state = RV_JSON_FRAME_BETWEEN;
            return RV_JSON_FRAME_COMPLETE;
        }
    }
    return 0;
}

static int
scan_string(struct rv_json_frame *frame, char c)
{
    if (c == '\\') {
        frame->state = RV_JSON_FRAME_ESCAPE;
    } else if (c == '"') {
        if (!frame->depth) {
            frame->state = RV_JSON_FRAME_BETWEEN;
            return RV_JSON_FRAME_COMPLETE;
        }
        frame->state = RV_JSON_FRAME_CONTAINER;
    }
    return 0;
}

/* Takes one byte that belongs to a value. */
static int
scan_byte(struct rv_json_frame *frame, char c)
{
    if (frame->length >= frame->max_bytes) {
        return -EMSGSIZE;
    }
    frame->length++;
    switch (frame->state) {
    case RV_JSON_FRAME_BETWEEN:
        return start_value(frame, c);
    case RV_JSON_FRAME_CONTAINER:
        return scan_container(frame, c);
    case RV_JSON_FRAME_STRING:
        return scan_string(frame, c);
    case RV_JSON_FRAME_ESCAPE:
        frame->state = RV_JSON_FRAME_STRING;
        return 0;
    case RV_JSON_FRAME_TOKEN:
        return 0;
    }
    return -EPROTO;
}

/* How many of the 'n' bytes change nothing but the length: those between the
 * quotation marks of a string, and between its brackets and strings. */
static size_t
count_idle(const struct rv_json_frame *frame, const char *bytes, size_t n)
{
    size_t i = 0;
    n = RV_MIN(n, frame->max_bytes - frame->length);
    if (frame->state == RV_JSON_FRAME_STRING) {
        while (i < n && bytes[i] != '"' && bytes[i] != '\\') {
            i++;
        }
    } else if (frame->state == RV_JSON_FRAME_CONTAINER) {
        while (i < n && bytes[i] != '"' && (bytes[i] | 0x20) != '{'
               && (bytes[i] | 0x20) != '}') {
            i++;
        }
    }
    return i;
}

int
rv_json_frame_scan(struct rv_json_frame *frame, const char *bytes, size_t n,
                   size_t *usedp)
{
    if (frame->state == RV_JSON_FRAME_BETWEEN) {
        frame->length = 0;
    }
    for (size_t i = 0; i < n; i++) {
        size_t n_idle = count_idle(frame, bytes + i, n - i);
        frame->length += n_idle;
        i += n_idle;
        if (i == n) {
            break;
        }
        char c = bytes[i];
        if (frame->state == RV_JSON_FRAME_BETWEEN && is_space(c)) {
            continue;
        }
        if (frame->state == RV_JSON_FRAME_TOKEN
            && (is_space(c) || is_structural(c))) {
            /* The byte is not the token's: it is scanned again later. */
            frame->state = RV_JSON_FRAME_BETWEEN;
            *usedp = i;
            return RV_JSON_FRAME_COMPLETE;
        }
        int rc = scan_byte(frame, c);
        if (rc) {
            if (rc == RV_JSON_FRAME_COMPLETE) {
                *usedp = i + 1;
            }
            return rc;
        }
    }
    *usedp = n;
    return 0;
}
