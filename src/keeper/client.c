#include "keeper/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/fd.h"

enum { SILENCE_MS = 10000 };

struct queued_frame {
    struct rv_list node;
    struct rv_keeper_frame frame;
    int fd; /* Owned, a duplicate; -1. */
};

void
rv_keeper_client_init(struct rv_keeper_client *client, int fd)
{
    client->fd = fd;
    rv_list_init(&client->queue);
}

static void
drop_queued(struct queued_frame *queued)
{
    rv_list_remove(&queued->node);
    rv_fd_close(&queued->fd);
    free(queued);
}

void
rv_keeper_client_deinit(struct rv_keeper_client *client)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &client->queue) {
        drop_queued(RV_CONTAINER_OF(node, struct queued_frame, node));
    }
    rv_fd_close(&client->fd);
}

static int
enqueue(struct rv_keeper_client *client, const struct rv_keeper_frame *frame,
        int fd)
{
    struct queued_frame *queued = malloc(sizeof *queued);
    if (!queued) {
        return -ENOMEM;
    }
    queued->frame = *frame;
    queued->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    rv_list_push_back(&client->queue, &queued->node);
    return 0;
}

bool
rv_keeper_flush(struct rv_keeper_client *client)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &client->queue) {
        struct queued_frame *queued =
            RV_CONTAINER_OF(node, struct queued_frame, node);
        int rc = rv_packet_send(client->fd, &queued->frame,
                                sizeof queued->frame, queued->fd);
        if (rc == -EAGAIN) {
            return false;
        }
        drop_queued(queued);
    }
    return true;
}

static int
send_frame(struct rv_keeper_client *client,
           const struct rv_keeper_frame *frame, int fd)
{
    if (client->fd < 0) {
        return 0;
    }
    int rc = -EAGAIN;
    if (rv_list_is_empty(&client->queue)) {
        rc = rv_packet_send(client->fd, frame, sizeof *frame, fd);
    }
    /* When the keeper is gone, its heir gets all descriptors anyway. */
    if (rc == -EPIPE || rc == -ECONNRESET) {
        return 0;
    }
    return rc == -EAGAIN ? enqueue(client, frame, fd) : rc;
}

static void
set_text(struct rv_keeper_frame *frame, const char *text)
{
    snprintf(frame->text, sizeof frame->text, "%s", text);
}

int
rv_keeper_put(struct rv_keeper_client *client, const char *name, int fd)
{
    struct rv_keeper_frame frame = {.verb = RV_KEEPER_PUT};
    set_text(&frame, name);
    return send_frame(client, &frame, fd);
}

int
rv_keeper_drop(struct rv_keeper_client *client, const char *name)
{
    struct rv_keeper_frame frame = {.verb = RV_KEEPER_DROP};
    set_text(&frame, name);
    return send_frame(client, &frame, -1);
}

int
rv_keeper_tell(struct rv_keeper_client *client, enum rv_keeper_verb verb,
               int value)
{
    struct rv_keeper_frame frame = {.verb = verb, .value = value};
    return send_frame(client, &frame, -1);
}

/* Receives one frame.  1: got one; 0: none now; -EPIPE. */
static int
receive_one(struct rv_keeper_client *client, struct rv_keeper_frame *frame,
            int *fdp)
{
    ssize_t n = rv_packet_receive(client->fd, frame, sizeof *frame, fdp);
    if (n == -EAGAIN) {
        return 0;
    }
    if (n != sizeof *frame) {
        return -EPIPE;
    }
    frame->text[sizeof frame->text - 1] = '\0';
    return 1;
}

int
rv_keeper_receive(struct rv_keeper_client *client,
                  rv_keeper_frame_callback *callback, void *context)
{
    for (;;) {
        struct rv_keeper_frame frame;
        int fd = -1;
        int rc = receive_one(client, &frame, &fd);
        if (rc <= 0) {
            return rc;
        }
        callback(&frame, &fd, context);
        rv_fd_close(&fd);
    }
}

/* Receives one frame, waiting for it. */
static int
receive_block(struct rv_keeper_client *client, struct rv_keeper_frame *frame,
              int *fdp)
{
    for (;;) {
        int rc = receive_one(client, frame, fdp);
        if (rc) {
            return rc < 0 ? rc : 0;
        }
        struct pollfd readable = {client->fd, POLLIN, 0};
        rc = poll(&readable, 1, SILENCE_MS);
        if (rc == 0) {
            return -ETIMEDOUT;
        }
        if (rc < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

void
rv_keeper_flush_block(struct rv_keeper_client *client)
{
    struct pollfd writable = {client->fd, POLLOUT, 0};
    while (client->fd >= 0 && !rv_keeper_flush(client)
           && poll(&writable, 1, SILENCE_MS) == 1) {
    }
}

int
rv_keeper_fetch_block(struct rv_keeper_client *client,
                      rv_keeper_frame_callback *callback, void *context)
{
    struct rv_keeper_frame frame = {.verb = RV_KEEPER_LIST};
    int rc = send_frame(client, &frame, -1);
    while (!rc) {
        int fd = -1;
        rc = receive_block(client, &frame, &fd);
        if (!rc) {
            callback(&frame, &fd, context);
        }
        rv_fd_close(&fd);
        if (!rc && frame.verb == RV_KEEPER_END) {
            break;
        }
    }
    return rc;
}

int
rv_keeper_claim_block(struct rv_keeper_client *client, const char *path,
                      pid_t *holderp, rv_keeper_frame_callback *callback,
                      void *context)
{
    struct rv_keeper_frame frame = {.verb = RV_KEEPER_CLAIM};
    if (strlen(path) >= sizeof frame.text) {
        return -ENAMETOOLONG;
    }
    set_text(&frame, path);
    int rc = send_frame(client, &frame, -1);
    while (!rc) {
        int fd = -1;
        rc = receive_block(client, &frame, &fd);
        if (!rc && frame.verb == RV_KEEPER_CLAIMED) {
            rv_fd_close(&fd);
            *holderp = frame.pid;
            return frame.value;
        }
        if (!rc) {
            callback(&frame, &fd, context);
        }
        rv_fd_close(&fd);
    }
    return rc;
}
