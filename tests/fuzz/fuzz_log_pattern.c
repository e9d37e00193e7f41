/* Any bytes as a pattern of the log.
 *
 * The first five bytes choose the size of the output, the time and the level;
 * what follows up to a zero is the pattern, and what follows that the
 * message.  Whatever comes, the text keeps within its bounds, ends with a
 * zero, and is the same again; and what the check lets pass can be set. */
#include <stdlib.h>
#include <string.h>

#include "reeve/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct rv_log_module module = RV_LOG_MODULE("fuzz");

static void
format(const char *pattern, const struct rv_log_line *line, size_t size)
{
    char *text = malloc(size);
    char *again = malloc(size);
    RV_ASSERT(text && again);
    size_t n = rv_log_format(pattern, line, text, size);
    RV_ASSERT(n < size && text[n] == '\0');
    RV_ASSERT(rv_log_format(pattern, line, again, size) == n);
    RV_ASSERT(!memcmp(text, again, n + 1));
    free(text);
    free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 5) {
        return 0;
    }
    char *pattern = strndup((const char *)data + 5, size - 5);
    RV_ASSERT(pattern);
    size_t n = 5 + strlen(pattern);
    n += n < size;
    char *message = strndup((const char *)data + n, size - n);
    RV_ASSERT(message);
    struct rv_log_line line = {
        .level = (enum rv_log_level)(data[0] % RV_LOG_N_LEVELS),
        .module = &module,
        .text = message,
        .number = data[1],
        .wall_ms = (int64_t)((uint64_t)data[1] << (data[2] % 64)),
        .uptime_ms = data[3],
        .utc_offset_s = ((long)data[3] - 128) * 400,
        .zone = "ZONE",
        .program = "program",
        .subprogram = data[2] & 64 ? "sub" : "",
        .host = "host",
        .pid = 1,
        .facility = data[3] % 25 - 1,
        .is_coloured = data[2] & 128,
    };
    format(pattern, &line, (size_t)data[4] * 16 + 1);
    struct rv_error error = {.text = ""};
    int rc = rv_log_pattern_check(pattern, &error);
    RV_ASSERT(!rc == !error.text[0]);
    RV_ASSERT(rv_log_set_pattern(RV_LOG_FILE, pattern, NULL) == rc);
    RV_ASSERT(
        RV_IMPLIES(!rc, !strcmp(rv_log_get_pattern(RV_LOG_FILE), pattern)));
    free(pattern);
    free(message);
    return 0;
}
