/* Any bytes as a notification of a worker.
 *
 * Whatever comes, the status is text that may be printed, the extension is
 * bounded, the sender stays, and an assignment is only seen where the bytes
 * hold it.
 */
#include <stdbool.h>
#include <string.h>

#include "reeve/base.h"
#include "os/notify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
holds(const uint8_t *data, size_t size, const char *text)
{
    return memmem(data, size, text, strlen(text)) != NULL;
}

static void
check_status(const struct rv_notify *notify)
{
    const char *end = memchr(notify->status, '\0', sizeof notify->status);
    RV_ASSERT(end);
    for (const char *p = notify->status; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        RV_ASSERT(c >= 0x20 && c != 0x7f);
    }
    RV_ASSERT(notify->has_status || end == notify->status);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rv_notify notify = {.sender = 1234};
    rv_notify_parse((const char *)data, size, &notify);
    RV_ASSERT(notify.sender == 1234);
    RV_ASSERT(notify.extend_usec <= UINT64_C(86400000000));
    RV_ASSERT(notify.n_unknown >= 0 && (size_t)notify.n_unknown <= size);
    RV_ASSERT(!notify.is_ready || holds(data, size, "READY=1"));
    RV_ASSERT(!notify.is_watchdog || holds(data, size, "WATCHDOG=1"));
    RV_ASSERT(!notify.is_trigger || holds(data, size, "WATCHDOG=trigger"));
    RV_ASSERT(!notify.has_mainpid || holds(data, size, "MAINPID="));
    check_status(&notify);
    return 0;
}
