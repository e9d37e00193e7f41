/* A growable byte buffer that has a maximum.
 *
 * Room: base.  Blocks: never.
 *
 * The bytes are 'data[0]' to 'data[length - 1]'; one NUL, not counted, always
 * follows them once anything was put in, so that text can be used in place.
 * Past 'maximum' every append fails and leaves the buffer as it was; 'failed'
 * then stays true until rv_buf_clear(), so that a row of appends needs only
 * one check at its end.
 *
 *     struct rv_buf buf;
 *     rv_buf_init(&buf, 65536);
 *     rv_buf_printf(&buf, "%d workers\n", n);
 *     if (buf.failed) { ... }
 *     rv_buf_deinit(&buf);
 */
#ifndef REEVE_BUF_H
#define REEVE_BUF_H

#include <stdarg.h>
#include <stdbool.h>

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

struct rv_buf {
    char *data;      /* Owned; NULL before the first append. */
    size_t length;   /* Bytes in use. */
    size_t capacity; /* Bytes allocated. */
    size_t maximum;  /* 'length' never exceeds this. */
    bool failed;     /* An append failed since the last clear. */
};

/* Makes 'buf' empty; nothing is allocated before the first append. */
void rv_buf_init(struct rv_buf *buf, size_t maximum_bytes);

/* Frees the bytes.  Idempotent. */
void rv_buf_deinit(struct rv_buf *buf);

/* Forgets the bytes, keeps the memory, and resets 'failed'. */
void rv_buf_clear(struct rv_buf *buf);

/* Makes room for 'n' more bytes behind 'length'.  -ENOMEM without memory,
 * -EMSGSIZE past the maximum. */
int rv_buf_reserve(struct rv_buf *buf, size_t n);

/* Appends.  Errors as rv_buf_reserve. */
int rv_buf_put(struct rv_buf *buf, const void *data, size_t n);
int rv_buf_puts(struct rv_buf *buf, const char *string);
int rv_buf_printf(struct rv_buf *buf, const char *format, ...) RV_PRINTF(2, 3);
int rv_buf_vprintf(struct rv_buf *buf, const char *format, va_list args)
    RV_PRINTF(2, 0);

/* Drops the first 'n' bytes (at most 'length'). */
void rv_buf_consume(struct rv_buf *buf, size_t n);

/* The bytes as a string; "" if there are none. */
const char *rv_buf_string(const struct rv_buf *buf);

/* Gives the bytes, as a NUL-terminated string, to the caller, who frees them;
 * the buffer is empty afterwards.  NULL without memory. */
char *rv_buf_steal(struct rv_buf *buf);

RV_END_DECLARATIONS

#endif
