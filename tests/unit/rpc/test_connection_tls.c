#include "harness.h"

#include <jansson.h>

#include "reeve/connection.h"

#if RV_WITH_TLS
#  include "net/certificates.h"

enum { TEXT_BYTES = 1 << 20 };

/* Both ends of a connection in one loop.  The first sends a long text, the
 * second sends it back. */
struct ends {
    struct rv_loop loop;
    struct rv_connection first, second;
    size_t n_echoed;
    bool is_over;
};

static int
on_message(struct rv_connection *connection,
           struct rv_jsonrpc_message *message, void *ends_)
{
    struct ends *ends = ends_;
    if (message->type == RV_JSONRPC_REQUEST) {
        struct rv_jsonrpc_message reply = {.type = RV_JSONRPC_REPLY,
                                           .id = message->id,
                                           .result = message->params};
        return rv_connection_send(connection, &reply);
    }
    ends->n_echoed = json_string_length(json_array_get(message->result, 0));
    return 0;
}

static void
on_closed(struct rv_connection *connection RV_UNUSED,
          const struct rv_error *error, void *ends_)
{
    struct ends *ends = ends_;
    ck_assert_msg(!error->code, "%s", error->text);
    ends->is_over = true;
}

static const struct rv_connection_callbacks callbacks = {
    .on_message = on_message, .on_closed = on_closed};

static void
send_text(struct rv_connection *connection)
{
    static char text[TEXT_BYTES + 1];
    memset(text, 'x', TEXT_BYTES);
    struct rv_jsonrpc_message request = {.type = RV_JSONRPC_REQUEST,
                                         .id = json_integer(1),
                                         .method = json_string("echo"),
                                         .params = json_pack("[s]", text)};
    ck_assert_int_eq(rv_connection_send(connection, &request), 0);
    rv_jsonrpc_deinit(&request);
}

START_TEST(messages_go_over_tls)
{
    struct rv_connection_limits limits = {.max_message_bytes = 4 << 20,
                                          .max_output_bytes = 4 << 20,
                                          .max_depth = 10};
    struct ends ends = {.n_echoed = 0};
    struct pair pair;
    make_files();
    start(&pair, config_of("server", "ca"), config_of("client", "ca"));
    /* The first is connected as far as it can be alone; the second does its
     * handshake within the connection. */
    pair_wait(pair.client, RV_STREAM_CONNECT, NULL, 0);
    rv_stream_run(pair.client);
    pair.server = pair_accept(pair.listener);
    ck_assert_int_eq(rv_loop_init(&ends.loop), 0);
    ck_assert_int_eq(rv_connection_start(&ends.first, &ends.loop, pair.client,
                                         &limits, &callbacks, &ends),
                     0);
    ck_assert_int_eq(rv_connection_start(&ends.second, &ends.loop, pair.server,
                                         &limits, &callbacks, &ends),
                     0);
    send_text(&ends.first);
    while (ends.n_echoed != TEXT_BYTES) {
        ck_assert_int_eq(rv_loop_run_once(&ends.loop, PAIR_WAIT_MS), 0);
    }
    rv_connection_stop(&ends.first);
    while (!ends.is_over) {
        ck_assert_int_eq(rv_loop_run_once(&ends.loop, PAIR_WAIT_MS), 0);
    }
    rv_loop_deinit(&ends.loop);
    rv_pstream_close(pair.listener);
    remove_files();
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {RV_TEST(messages_go_over_tls)};
    return rv_test_run("connection_tls", tests, RV_ARRAY_SIZE(tests));
}

#else

int
main(void)
{
    return rv_test_run("connection_tls", NULL, 0);
}
#endif
