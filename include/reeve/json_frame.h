/* Finds where one JSON value ends in a stream of values.
 *
 * Room: rpc.  Blocks: never.  Threads: any, one a frame.
 * Source: RFC 8259; Open vSwitch's framing: values one after the other, white
 * space between them allowed, no newline needed.
 *
 * The scanner looks at each byte once, however the stream is cut into pieces,
 * and keeps no copy: the caller holds the bytes.  It does not check the
 * grammar (the parser does that afterwards); it follows brackets and strings,
 * which is enough to find the end of every valid value.  A bare token ("5",
 * "xyz") ends at the first byte that cannot belong to it, so it waits for one
 * byte more.
 *
 *     size_t used;
 *     int rc = rv_json_frame_scan(&frame, bytes, n, &used);
 *     if (rc == RV_JSON_FRAME_COMPLETE) {
 *         // The value is the 'frame.length' bytes that end at bytes + used.
 *         // Scan on from bytes + used.
 *     }
 *
 * Wrong: scanning the whole buffer again after each read.  Only bytes never
 * seen before are scanned.
 */
#ifndef REEVE_JSON_FRAME_H
#define REEVE_JSON_FRAME_H

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

enum { RV_JSON_FRAME_COMPLETE = 1 };

/* Brackets within brackets that a peer may send unless limits say other. */
enum { RV_JSON_FRAME_DEPTH = 64 };

enum rv_json_frame_state {
    RV_JSON_FRAME_BETWEEN,   /* Before the first byte of a value. */
    RV_JSON_FRAME_CONTAINER, /* Inside brackets, outside strings. */
    RV_JSON_FRAME_STRING,    /* Inside a string. */
    RV_JSON_FRAME_ESCAPE,    /* Behind a backslash inside a string. */
    RV_JSON_FRAME_TOKEN,     /* Inside a bare token at the top. */
};

struct rv_json_frame {
    enum rv_json_frame_state state;
    unsigned int depth;     /* Brackets open now. */
    unsigned int max_depth; /* Set by init. */
    size_t length;          /* Bytes of the value seen so far. */
    size_t max_bytes;       /* Set by init. */
};

/* Makes 'frame' ready for a new stream. */
void rv_json_frame_init(struct rv_json_frame *frame, size_t max_bytes,
                        unsigned int max_depth);

/* Looks at the next 'n' bytes of the stream.  RV_JSON_FRAME_COMPLETE when a
 * value ends in them: '*usedp' then counts the bytes up to its end.  0 when
 * all were taken and the value goes on ('*usedp' is 'n').  -EMSGSIZE for a
 * value above 'max_bytes', -E2BIG for one nested too deeply, -EPROTO for a
 * closing bracket, a comma or a colon where a value should start; the stream
 * cannot be scanned further then. */
int rv_json_frame_scan(struct rv_json_frame *frame, const char *bytes,
                       size_t n, size_t *usedp) RV_MUST_CHECK;

/* How many of the bytes scanned last belong to a value that goes on: those
 * the caller must keep. */
size_t rv_json_frame_pending(const struct rv_json_frame *frame);

RV_END_DECLARATIONS

#endif
