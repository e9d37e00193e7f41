#include "base/backoff.h"

int64_t
rv_backoff_ms(int64_t min_ms, int64_t max_ms, unsigned int n_failures,
              uint64_t random)
{
    if (n_failures <= 1) {
        return 0;
    }
    int64_t delay_ms = RV_MAX(min_ms, 1);
    for (unsigned int i = 2; i < n_failures && delay_ms < max_ms; i++) {
        delay_ms = delay_ms > max_ms / 2 ? max_ms : delay_ms * 2;
    }
    delay_ms = RV_MIN(delay_ms, max_ms);
    int64_t jitter_ms = delay_ms / 4;
    if (jitter_ms > 0) {
        delay_ms -= (int64_t)(random % (uint64_t)(jitter_ms + 1));
    }
    return delay_ms;
}
