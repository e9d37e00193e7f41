/* The client of control sockets and any server.  The first byte of the input
 * says how many of those behind it say where the rest, the answer, is cut into
 * pieces.
 *
 * What comes out must not depend on the pieces; an answer is one of the three
 * forms that there are, and a failure has a sentence. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "reeve/unixctl_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int rc;
    struct rv_unixctl_result result;
};

/* A listening socket, and its path. */
static int
listen_at(char path[64])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const void *any = &address;
    snprintf(path, 64, "/tmp/rv-fuzz-client.%d", (int)getpid());
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path);
    RV_ASSERT(!bind(fd, any, sizeof address) && !listen(fd, 1));
    return fd;
}

static void
check(const struct outcome *outcome, const struct rv_error *error)
{
    const struct rv_unixctl_result *result = &outcome->result;
    if (!outcome->rc) {
        RV_ASSERT(!result->text != !result->json);
        RV_ASSERT(RV_IMPLIES(result->is_error, result->text));
        return;
    }
    RV_ASSERT(!result->text && !result->json);
    if (outcome->rc != -EAGAIN) {
        RV_ASSERT(error->code == outcome->rc && error->text[0]);
        RV_ASSERT(!strchr(error->text, '\n'));
    }
}

/* Lets the client read until it has an outcome or all has been sent. */
static void
feed(struct rv_unixctl_client *client, int fd, const uint8_t *data,
     size_t size, const uint8_t *cuts, size_t n_cuts, struct outcome *outcome)
{
    struct rv_error error = {.text = ""};
    size_t i = 0;
    outcome->rc = -EAGAIN;
    while (size && outcome->rc == -EAGAIN) {
        size_t n = n_cuts ? (size_t)cuts[i++ % n_cuts] + 1 : size;
        n = RV_MIN(n, size);
        RV_ASSERT(send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n);
        data += n;
        size -= n;
        outcome->rc =
            rv_unixctl_client_receive(client, &outcome->result, &error);
        check(outcome, &error);
    }
    if (outcome->rc == -EAGAIN) {
        shutdown(fd, SHUT_WR);
        outcome->rc =
            rv_unixctl_client_receive(client, &outcome->result, &error);
        RV_ASSERT(outcome->rc == -ECONNRESET);
        check(outcome, &error);
    }
}

static struct outcome
run(const uint8_t *data, size_t size, const uint8_t *cuts, size_t n_cuts)
{
    struct rv_unixctl_client client;
    struct outcome outcome = {.rc = 0};
    char path[64];
    int listen_fd = listen_at(path);
    RV_ASSERT(!rv_unixctl_client_open_block(&client, path, 1000, NULL));
    int fd = accept(listen_fd, NULL, NULL);
    RV_ASSERT(fd >= 0);
    RV_ASSERT(!rv_unixctl_client_send_block(&client, "version", 0, NULL, 1000,
                                            NULL));
    feed(&client, fd, data, size, cuts, n_cuts, &outcome);
    rv_unixctl_client_close(&client);
    close(fd);
    close(listen_fd);
    unlink(path);
    return outcome;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 20000) {
        return 0;
    }
    size_t n_cuts = RV_MIN((size_t)data[0] % 16, size - 1);
    const uint8_t *cuts = data + 1, *answer = cuts + n_cuts;
    size_t n = size - 1 - n_cuts;
    struct outcome whole = run(answer, n, NULL, 0);
    struct outcome pieces = run(answer, n, cuts, n_cuts);
    RV_ASSERT(whole.rc == pieces.rc);
    RV_ASSERT(whole.result.is_error == pieces.result.is_error);
    RV_ASSERT(!whole.result.text == !pieces.result.text);
    RV_ASSERT(!whole.result.text
              || !strcmp(whole.result.text, pieces.result.text));
    rv_unixctl_result_deinit(&whole.result);
    rv_unixctl_result_deinit(&pieces.result);
    return 0;
}
