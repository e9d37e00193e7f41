#include "reeve/base.h"

#include <stdio.h>
#include <stdlib.h>

void
rv_assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "reeve: %s:%d: assertion failed: %s\n", file, line,
            expression);
    abort();
}
