/* The scanner of JSON streams: the first byte of the input says in which
 * pieces the rest is fed.  The values found must not depend on the pieces,
 * and must end where the JSON library ends them. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/json_frame.h"
#include "reeve/jsonrpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_VALUES = 4096, MAX_BYTES = 5000, MAX_DEPTH = 64 };

struct ends {
    size_t n;
    int rc; /* Why the scan stopped; 0 at the end of the input. */
    size_t end[MAX_VALUES];
    size_t length[MAX_VALUES];
};

static void
scan(const char *bytes, size_t n, size_t piece, struct ends *ends)
{
    struct rv_json_frame frame;
    rv_json_frame_init(&frame, MAX_BYTES, MAX_DEPTH);
    size_t position = 0;
    ends->n = 0;
    ends->rc = 0;
    while (position < n && ends->n < MAX_VALUES) {
        size_t used = 0;
        int rc = rv_json_frame_scan(&frame, bytes + position,
                                    RV_MIN(piece, n - position), &used);
        if (rc < 0) {
            ends->rc = rc;
            return;
        }
        position += used;
        RV_ASSERT(rv_json_frame_pending(&frame) <= position);
        if (rc == RV_JSON_FRAME_COMPLETE) {
            RV_ASSERT(frame.length > 0 && frame.length <= position);
            ends->end[ends->n] = position;
            ends->length[ends->n++] = frame.length;
        }
    }
}

/* A value that the library reads from the same place ends at the same byte. */
static void
check_end(const char *bytes, size_t n, size_t end, size_t length)
{
    const char *start = bytes + end - length;
    if (memchr(start, '\0', length)) {
        return; /* The library skips some, rv_jsonrpc_parse refuses all. */
    }
    json_error_t error;
    json_t *value =
        json_loadb(start, n - (end - length),
                   JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
    if (value && (*start == '{' || *start == '[' || *start == '"')) {
        RV_ASSERT((size_t)error.position == length);
    }
    json_decref(value);
}

static void
check_message(const char *bytes, size_t n)
{
    struct rv_jsonrpc_message message;
    if (!rv_jsonrpc_parse(bytes, n, &message, NULL)) {
        struct rv_buf text;
        rv_buf_init(&text, (size_t)MAX_BYTES * 10);
        int rc = rv_jsonrpc_format(&message, &text);
        struct rv_jsonrpc_message again;
        if (!rc && !rv_jsonrpc_parse(text.data, text.length, &again, NULL)) {
            RV_ASSERT(again.type == message.type);
            rv_jsonrpc_deinit(&again);
        } else {
            RV_ASSERT(rc);
        }
        rv_buf_deinit(&text);
        rv_jsonrpc_deinit(&message);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ends whole, pieces;
    if (!size) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    size--;
    scan(bytes, size, size + 1, &whole);
    scan(bytes, size, (size_t)data[0] % 17 + 1, &pieces);
    RV_ASSERT(whole.n == pieces.n && whole.rc == pieces.rc);
    for (size_t i = 0; i < whole.n; i++) {
        RV_ASSERT(whole.end[i] == pieces.end[i]);
        RV_ASSERT(whole.length[i] == pieces.length[i]);
        check_end(bytes, size, whole.end[i], whole.length[i]);
        check_message(bytes + whole.end[i] - whole.length[i], whole.length[i]);
    }
    return 0;
}
