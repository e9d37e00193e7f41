/* What takes memory: counts of things, for `memory/show`.
 *
 * Room: base.  Blocks: never.  Threads: one at a time.
 * Source: Open vSwitch's lib/memory.c.
 *
 *     static uint64_t
 *     count_sessions(void *server)
 *     {
 *         return ((struct server *)server)->n_sessions;
 *     }
 *
 *     struct rv_memory_provider sessions = {
 *         .name = "sessions", .count = count_sessions, .context = server};
 *     rv_memory_register(&sessions);
 *     ...
 *     rv_memory_unregister(&sessions);
 */
#ifndef REEVE_MEMORY_H
#define REEVE_MEMORY_H

#include <stdint.h>

#include "reeve/base.h"
#include "reeve/buf.h"
#include "reeve/list.h"

RV_BEGIN_DECLARATIONS

/* In the caller's storage; zero-initialised but for what the caller sets. */
struct rv_memory_provider {
    const char *name; /* Without spaces and colons: "sessions". */
    uint64_t (*count)(void *context);
    void *context;
    struct rv_list node; /* Linked while registered. */
};

/* Adds a provider; it must not be registered yet.  Those of one name are
 * shown as one sum. */
void rv_memory_register(struct rv_memory_provider *provider);

/* Takes it away again.  Idempotent, also for one that never was
 * registered. */
void rv_memory_unregister(struct rv_memory_provider *provider);

/* Appends "name:count name:count", sorted by name, without a newline. */
void rv_memory_show(struct rv_buf *text);

RV_END_DECLARATIONS

#endif
