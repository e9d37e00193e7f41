/* The master's end, against a keeper that the test plays over the other end
 * of the pair. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "keeper/client.h"
#include "os/fd.h"

struct pair {
    struct rv_keeper_client client;
    int keeper_fd;
};

static void
open_pair(struct pair *pair)
{
    int fds[2];
    ck_assert_int_eq(rv_packet_pair(fds), 0);
    rv_keeper_client_init(&pair->client, fds[0]);
    pair->keeper_fd = fds[1];
}

static void
close_pair(struct pair *pair)
{
    rv_fd_close(&pair->keeper_fd);
    rv_keeper_client_deinit(&pair->client);
    rv_keeper_client_deinit(&pair->client);
}

static void
say(struct pair *pair, enum rv_keeper_verb verb, int value, const char *text,
    int fd)
{
    struct rv_keeper_frame frame = {.verb = verb, .value = value};
    snprintf(frame.text, sizeof frame.text, "%s", text);
    ck_assert_int_eq(rv_packet_send(pair->keeper_fd, &frame, sizeof frame, fd),
                     0);
}

/* What the keeper hears; its descriptor is in '*fdp'. */
static struct rv_keeper_frame
hear(struct pair *pair, int *fdp)
{
    struct rv_keeper_frame frame;
    ck_assert_int_eq(
        rv_packet_receive(pair->keeper_fd, &frame, sizeof frame, fdp),
        sizeof frame);
    return frame;
}

struct heard {
    int n_frames, n_fds, n_exits, value;
    char last[RV_KEEPER_TEXT];
    int taken_fd;
};

static void
on_frame(const struct rv_keeper_frame *frame, int *fd, void *context)
{
    struct heard *heard = context;
    heard->n_frames++;
    heard->n_fds += *fd >= 0;
    heard->n_exits += frame->verb == RV_KEEPER_EXITED;
    heard->value = frame->value;
    memcpy(heard->last, frame->text, sizeof heard->last);
    if (!strcmp(frame->text, "take")) {
        heard->taken_fd = *fd;
        *fd = -1;
    }
}

START_TEST(puts_drops_and_tells)
{
    struct pair pair;
    int fd = -1;
    open_pair(&pair);
    ck_assert_int_eq(rv_keeper_put(&pair.client, "state", STDIN_FILENO), 0);
    ck_assert_int_eq(rv_keeper_drop(&pair.client, "old"), 0);
    ck_assert_int_eq(rv_keeper_tell(&pair.client, RV_KEEPER_LEAVING, 7), 0);
    struct rv_keeper_frame frame = hear(&pair, &fd);
    ck_assert_uint_eq(frame.verb, RV_KEEPER_PUT);
    ck_assert_str_eq(frame.text, "state");
    ck_assert_int_ge(fd, 0);
    rv_fd_close(&fd);
    frame = hear(&pair, &fd);
    ck_assert_uint_eq(frame.verb, RV_KEEPER_DROP);
    ck_assert_int_eq(fd, -1);
    frame = hear(&pair, &fd);
    ck_assert_uint_eq(frame.verb, RV_KEEPER_LEAVING);
    ck_assert_int_eq(frame.value, 7);
    close_pair(&pair);
}
END_TEST

START_TEST(fetches_the_store)
{
    struct pair pair;
    struct heard heard = {.taken_fd = -1};
    open_pair(&pair);
    say(&pair, RV_KEEPER_ENTRY, 0, "take", STDIN_FILENO);
    say(&pair, RV_KEEPER_ENTRY, 0, "leave", STDIN_FILENO);
    say(&pair, RV_KEEPER_EXITED, 9, "", -1);
    say(&pair, RV_KEEPER_END, 0, "", -1);
    say(&pair, RV_KEEPER_SIGNAL, 1, "later", -1);
    ck_assert_int_eq(rv_keeper_fetch_block(&pair.client, on_frame, &heard), 0);
    ck_assert_int_eq(heard.n_frames, 4);
    ck_assert_int_eq(heard.n_fds, 2);
    ck_assert_int_eq(heard.n_exits, 1);
    ck_assert_int_ge(heard.taken_fd, 0);
    rv_fd_close(&heard.taken_fd);
    /* What came behind the end is for later. */
    ck_assert_int_eq(rv_keeper_receive(&pair.client, on_frame, &heard), 0);
    ck_assert_int_eq(heard.n_frames, 5);
    ck_assert_str_eq(heard.last, "later");
    close_pair(&pair);
}
END_TEST

START_TEST(claims_the_pidfile)
{
    struct pair pair;
    struct heard heard = {.taken_fd = -1};
    pid_t holder = 0;
    int fd = -1;
    char path[RV_KEEPER_TEXT + 1];
    open_pair(&pair);
    /* An exit that comes meanwhile must not be lost. */
    say(&pair, RV_KEEPER_EXITED, 9, "", -1);
    struct rv_keeper_frame frame = {
        .verb = RV_KEEPER_CLAIMED, .value = -EEXIST, .pid = 77};
    ck_assert_int_eq(rv_packet_send(pair.keeper_fd, &frame, sizeof frame, -1),
                     0);
    ck_assert_int_eq(rv_keeper_claim_block(&pair.client, "/run/x.pid", &holder,
                                           on_frame, &heard),
                     -EEXIST);
    ck_assert_int_eq(heard.n_exits, 1);
    ck_assert_int_eq(holder, 77);
    frame = hear(&pair, &fd);
    ck_assert_uint_eq(frame.verb, RV_KEEPER_CLAIM);
    ck_assert_str_eq(frame.text, "/run/x.pid");
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    ck_assert_int_eq(
        rv_keeper_claim_block(&pair.client, path, &holder, on_frame, &heard),
        -ENAMETOOLONG);
    close_pair(&pair);
}
END_TEST

START_TEST(a_keeper_that_stands_still_loses_nothing)
{
    enum { N = 2000 };
    struct pair pair;
    int fd = -1;
    char name[32];
    open_pair(&pair);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "log/%d", i);
        /* Every tenth with a descriptor, which the queue keeps open. */
        ck_assert_int_eq(i % 10
                             ? rv_keeper_drop(&pair.client, name)
                             : rv_keeper_put(&pair.client, name, STDIN_FILENO),
                         0);
    }
    ck_assert(!rv_keeper_flush(&pair.client));
    for (int i = 0; i < N; i++) {
        struct rv_keeper_frame frame = hear(&pair, &fd);
        snprintf(name, sizeof name, "log/%d", i);
        ck_assert_str_eq(frame.text, name);
        ck_assert_int_eq(fd >= 0, i % 10 == 0);
        rv_fd_close(&fd);
        rv_keeper_flush(&pair.client);
    }
    ck_assert(rv_keeper_flush(&pair.client));
    close_pair(&pair);
}
END_TEST

START_TEST(what_is_queued_goes_with_the_client)
{
    struct pair pair;
    open_pair(&pair);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(rv_keeper_put(&pair.client, "x", STDIN_FILENO), 0);
    }
    ck_assert(!rv_list_is_empty(&pair.client.queue));
    close_pair(&pair);
}
END_TEST

START_TEST(a_dead_keeper_is_noticed_once_it_is_read)
{
    struct pair pair;
    struct heard heard = {.taken_fd = -1};
    pid_t holder = 0;
    open_pair(&pair);
    rv_fd_close(&pair.keeper_fd);
    ck_assert_int_eq(rv_keeper_put(&pair.client, "x", STDIN_FILENO), 0);
    ck_assert_int_eq(rv_keeper_receive(&pair.client, on_frame, &heard),
                     -EPIPE);
    ck_assert_int_eq(rv_keeper_fetch_block(&pair.client, on_frame, &heard),
                     -EPIPE);
    ck_assert_int_eq(rv_keeper_claim_block(&pair.client, "/x.pid", &holder,
                                           on_frame, &heard),
                     -EPIPE);
    ck_assert_int_eq(heard.n_frames, 0);
    close_pair(&pair);
    ck_assert_int_eq(rv_keeper_put(&pair.client, "x", STDIN_FILENO), 0);
}
END_TEST

START_TEST(a_frame_of_another_size_is_another_protocol)
{
    struct pair pair;
    struct heard heard = {.taken_fd = -1};
    open_pair(&pair);
    ck_assert_int_eq(rv_packet_send(pair.keeper_fd, "short", 5, -1), 0);
    ck_assert_int_eq(rv_keeper_receive(&pair.client, on_frame, &heard),
                     -EPIPE);
    ck_assert_int_eq(heard.n_frames, 0);
    close_pair(&pair);
}
END_TEST

START_TEST(text_without_an_end_is_ended)
{
    struct pair pair;
    struct heard heard = {.taken_fd = -1};
    struct rv_keeper_frame frame = {.verb = RV_KEEPER_ENTRY};
    open_pair(&pair);
    memset(frame.text, 'x', sizeof frame.text);
    ck_assert_int_eq(rv_packet_send(pair.keeper_fd, &frame, sizeof frame, -1),
                     0);
    ck_assert_int_eq(rv_keeper_receive(&pair.client, on_frame, &heard), 0);
    ck_assert_uint_eq(strlen(heard.last), RV_KEEPER_TEXT - 1);
    close_pair(&pair);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(puts_drops_and_tells),
        RV_TEST(fetches_the_store),
        RV_TEST(claims_the_pidfile),
        RV_TEST(a_keeper_that_stands_still_loses_nothing),
        RV_TEST(what_is_queued_goes_with_the_client),
        RV_TEST(a_dead_keeper_is_noticed_once_it_is_read),
        RV_TEST(a_frame_of_another_size_is_another_protocol),
        RV_TEST(text_without_an_end_is_ended),
    };
    return rv_test_run("client", tests, RV_ARRAY_SIZE(tests));
}
