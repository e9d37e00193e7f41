#include "os/rlimit.h"

#include <stdio.h>
#include <stdlib.h>

static const char variable[] = "REEVE_NOFILE";

void
rv_rlimit_raise_nofile(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) {
        return;
    }
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)limit.rlim_cur);
    setenv(variable, text, 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

rlim_t
rv_rlimit_original_nofile(void)
{
    struct rlimit limit = {0, 0};
    const char *text = getenv(variable);
    if (text) {
        return (rlim_t)strtoull(text, NULL, 10);
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}
