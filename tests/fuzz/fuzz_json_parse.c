/* The fast path of JSON: what it accepts, the library accepts, and makes the
 * same value of. */
#include <stdlib.h>
#include <string.h>

#include "reeve/base.h"
#include "rpc/json_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of that size, so that a reader of more is noticed. */
    char *text = malloc(size ? size : 1);
    RV_ASSERT(text);
    if (size) {
        memcpy(text, data, size);
    }
    json_t *value = rv__json_parse(text, size);
    if (value) {
        json_t *expected = json_loadb(text, size, JSON_DECODE_ANY, NULL);
        RV_ASSERT(expected && json_equal(value, expected));
        json_decref(expected);
        json_decref(value);
    }
    free(text);
    return 0;
}
