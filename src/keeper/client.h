/* The master's end of the keeper's channel.
 *
 * Room: keeper.  Runs in: master.  Blocks: only the functions that end in
 * _block, which are for the start and the end, when there is nothing to serve.
 *
 *     rv_keeper_client_init(&client, fd);
 *     rv_keeper_fetch_block(&client, on_entry, self);
 *     rv_keeper_put(&client, "listen/tcp:0.0.0.0:8080", listen_fd);
 */
#ifndef RV_KEEPER_CLIENT_H
#define RV_KEEPER_CLIENT_H

#include <stdbool.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/list.h"
#include "keeper/protocol.h"

struct rv_keeper_client {
    int fd;               /* Owned; -1 once the keeper is gone. */
    struct rv_list queue; /* Frames that did not fit into the socket. */
};

void rv_keeper_client_init(struct rv_keeper_client *client, int fd);

/* Closes the channel.  Idempotent. */
void rv_keeper_client_deinit(struct rv_keeper_client *client);

/* Called for each frame: ENTRY, whose '*fd' may be taken (by setting it to
 * -1), EXITED, SIGNAL, END. */
typedef void rv_keeper_frame_callback(const struct rv_keeper_frame *, int *fd,
                                      void *context);

/* Asks for the whole store and hands every frame up to END to 'callback'.
 * -ETIMEDOUT after ten seconds of silence, -EPIPE when the keeper is gone. */
int rv_keeper_fetch_block(struct rv_keeper_client *client,
                          rv_keeper_frame_callback *callback, void *context);

/* Has the keeper claim the pidfile.  -EEXIST with '*holderp' when another
 * process holds it.  Other frames that come meanwhile go to 'callback'. */
int rv_keeper_claim_block(struct rv_keeper_client *client, const char *path,
                          pid_t *holderp, rv_keeper_frame_callback *callback,
                          void *context);

/* Puts 'fd' (borrowed) into the store, or takes a name out of it.  Once this
 * returned, the descriptor survives the death of the caller, unless the queue
 * is not empty (the keeper stands still).  -ENOMEM. */
int rv_keeper_put(struct rv_keeper_client *client, const char *name, int fd);
int rv_keeper_drop(struct rv_keeper_client *client, const char *name);

/* Sends a frame without a descriptor. */
int rv_keeper_tell(struct rv_keeper_client *client, enum rv_keeper_verb verb,
                   int value);

/* Sends what is queued; true when nothing is left. */
bool rv_keeper_flush(struct rv_keeper_client *client);

/* Sends what is queued, waiting at most ten seconds for the keeper. */
void rv_keeper_flush_block(struct rv_keeper_client *client);

/* Hands the frames that have come to 'callback'.  -EPIPE when the keeper is
 * gone, else 0. */
int rv_keeper_receive(struct rv_keeper_client *client,
                      rv_keeper_frame_callback *callback, void *context);

#endif
