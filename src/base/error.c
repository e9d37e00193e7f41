#include "reeve/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int
rv_error_set(struct rv_error *error, int code, const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        error->code = code;
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return code;
}

int
rv_error_errno(struct rv_error *error, int code, const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        error->code = code;
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
        size_t used = strlen(error->text);
        snprintf(error->text + used, sizeof error->text - used, ": %s",
                 strerror(-code));
    }
    return code;
}

int
rv_error_wrap(struct rv_error *error, const char *format, ...)
{
    if (!error) {
        return -1;
    }
    char old[sizeof error->text];
    memcpy(old, error->text, sizeof old);
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof error->text - used, ": %s", old);
    return error->code;
}
