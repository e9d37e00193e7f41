/* Host names to addresses, by a thread for each question.
 *
 * Room: net, for its own files only.  Blocks: never; the thread does.
 * Source: getaddrinfo(3), RFC 6724 for the order of the answers.
 *
 *     rc = rv__resolve_start("db.example.org", 6640, &resolve);
 *     // wait until rv__resolve_fd(resolve) is readable
 *     rc = rv__resolve_take(resolve, &addresses, &n, &error);
 *     rv__resolve_stop(resolve);
 *
 * A question may be stopped at any time: its descriptor is closed at once, and
 * the thread, which nothing can interrupt, frees the rest when it is done.
 */
#ifndef RV_NET_RESOLVE_H
#define RV_NET_RESOLVE_H

#include <stdint.h>

#include "base/address.h"
#include "reeve/base.h"
#include "reeve/error.h"

struct rv__resolve;

/* Starts to look up 'host'.  -ENOMEM, -EMFILE; -EBUSY while
 * RV_STREAM_MAX_LOOKUPS threads are under way, or without another thread. */
int rv__resolve_start(const char *host, uint16_t port,
                      struct rv__resolve **resolvep);

/* Readable once the answer is there; the question's own. */
int rv__resolve_fd(const struct rv__resolve *resolve);

/* Gives the answer, at least one address, to the caller, who frees
 * '*addressesp'.  -EAGAIN while there is none; -ENOENT, -EHOSTUNREACH,
 * -ENOMEM or the like with a sentence when there will be none. */
int rv__resolve_take(struct rv__resolve *resolve,
                     struct rv_address **addressesp, size_t *np,
                     struct rv_error *error);

/* Makes the descriptor readable, answer or not. */
void rv__resolve_wake(struct rv__resolve *resolve);

/* Ends the question.  Accepts NULL. */
void rv__resolve_stop(struct rv__resolve *resolve);

#endif
