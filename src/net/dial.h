/* A TCP connection on its way: name lookup, then one address after another.
 *
 * Room: net, for its own files only.  Blocks: never.
 *
 * While it runs it sets the stream's descriptor to what is to be waited for:
 * readable for a lookup or a race of addresses, writable for a connection to
 * the only one.  It ends with the stream's descriptor being the connected
 * socket.  Source: RFC 8305, sections 4 and 5.
 */
#ifndef RV_NET_DIAL_H
#define RV_NET_DIAL_H

#include "net/name.h"
#include "net/provider.h"

/* Starts to connect 'stream' to 'name'.  On failure, with a sentence, the
 * stream is without a descriptor. */
int rv__dial_start(struct rv_stream *stream, const struct rv_stream_name *name,
                   int dscp, struct rv_error *error);

/* Goes on.  0 when connected, the dial being gone then; -EAGAIN; or a failure
 * noted by rv__stream_fail. */
int rv__dial_run(struct rv_stream *stream);

/* What to wait for, in terms of epoll(7). */
uint32_t rv__dial_events(const struct rv__dial *dial);

/* Makes the stream's descriptor ready. */
void rv__dial_wake(const struct rv__dial *dial);

/* Ends the dial of 'stream', if any, and closes its descriptor. */
void rv__dial_stop(struct rv_stream *stream);

#endif
