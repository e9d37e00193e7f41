/* An error as a number and a sentence.
 *
 * Room: base.  Blocks: never.
 *
 * Functions return 0 or a negative errno.  Where a person chose the input (a
 * configuration, an address, a program), a last parameter 'struct rv_error *'
 * also receives a sentence for that person; it may be NULL.
 *
 *     struct rv_error error;
 *     int rc = rv_listen_open(&address, &fd, &error);
 *     if (rc) {
 *         return rv_error_wrap(&error, "service \"%s\"", name);
 *     }
 */
#ifndef REEVE_ERROR_H
#define REEVE_ERROR_H

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

struct rv_error {
    int code;        /* 0 or a negative errno. */
    char text[1024]; /* Ends with NUL; cut short rather than overflowed. */
};

/* Stores 'code' (a negative errno) and the formatted text; returns 'code'.
 * 'error' may be NULL. */
int rv_error_set(struct rv_error *error, int code, const char *format, ...)
    RV_PRINTF(3, 4);

/* As rv_error_set, and appends ": " and strerror(-code). */
int rv_error_errno(struct rv_error *error, int code, const char *format, ...)
    RV_PRINTF(3, 4);

/* Puts the formatted text and ": " before the text already there; returns
 * the code already there. */
int rv_error_wrap(struct rv_error *error, const char *format, ...)
    RV_PRINTF(2, 3);

RV_END_DECLARATIONS

#endif
