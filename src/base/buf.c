#include "reeve/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
rv_buf_init(struct rv_buf *buf, size_t maximum_bytes)
{
    /* So that no sum of lengths and capacities can overflow. */
    *buf = (struct rv_buf){.maximum = RV_MIN(maximum_bytes, SIZE_MAX / 4)};
}

void
rv_buf_deinit(struct rv_buf *buf)
{
    free(buf->data);
    *buf = (struct rv_buf){.maximum = buf->maximum};
}

void
rv_buf_clear(struct rv_buf *buf)
{
    buf->length = 0;
    buf->failed = false;
    if (buf->data) {
        buf->data[0] = '\0';
    }
}

int
rv_buf_reserve(struct rv_buf *buf, size_t n)
{
    if (n > buf->maximum || buf->length > buf->maximum - n) {
        buf->failed = true;
        return -EMSGSIZE;
    }
    size_t need = buf->length + n + 1;
    if (need <= buf->capacity) {
        return 0;
    }
    size_t capacity = RV_MAX(need, buf->capacity + buf->capacity / 2);
    capacity = RV_MIN(RV_MAX(capacity, 64), buf->maximum + 1);
    char *data = realloc(buf->data, capacity);
    if (!data) {
        buf->failed = true;
        return -ENOMEM;
    }
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

int
rv_buf_put(struct rv_buf *buf, const void *data, size_t n)
{
    int rc = rv_buf_reserve(buf, n);
    if (rc) {
        return rc;
    }
    if (n) {
        memcpy(buf->data + buf->length, data, n);
    }
    buf->length += n;
    buf->data[buf->length] = '\0';
    return 0;
}

int
rv_buf_puts(struct rv_buf *buf, const char *string)
{
    return rv_buf_put(buf, string, strlen(string));
}

int
rv_buf_vprintf(struct rv_buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    int rc = n < 0 ? -EINVAL : rv_buf_reserve(buf, (size_t)n);
    if (!rc) {
        vsnprintf(buf->data + buf->length, (size_t)n + 1, format, again);
        buf->length += (size_t)n;
    }
    va_end(again);
    return rc;
}

int
rv_buf_printf(struct rv_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int rc = rv_buf_vprintf(buf, format, args);
    va_end(args);
    return rc;
}

void
rv_buf_consume(struct rv_buf *buf, size_t n)
{
    n = RV_MIN(n, buf->length);
    if (!n) {
        return;
    }
    buf->length -= n;
    memmove(buf->data, buf->data + n, buf->length + 1);
}

const char *
rv_buf_string(const struct rv_buf *buf)
{
    return buf->data ? buf->data : "";
}

char *
rv_buf_steal(struct rv_buf *buf)
{
    if (rv_buf_reserve(buf, 0)) {
        return NULL;
    }
    buf->data[buf->length] = '\0';
    char *data = buf->data;
    *buf = (struct rv_buf){.maximum = buf->maximum};
    return data;
}
