/* One JSON-RPC message.
 *
 * What parses keeps the promises of the table in reeve/jsonrpc.h, and comes
 * back the same from its own text; what does not parse says why, in one line,
 * and touches nothing. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "reeve/buf.h"
#include "reeve/jsonrpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_members(const struct rv_jsonrpc_message *message)
{
    bool has_id = message->type != RV_JSONRPC_NOTIFY;
    bool has_method = message->type == RV_JSONRPC_REQUEST
                      || message->type == RV_JSONRPC_NOTIFY;
    RV_ASSERT(rv_jsonrpc_type_name(message->type)[0]);
    RV_ASSERT(has_method == json_is_string(message->method));
    RV_ASSERT(has_method == json_is_array(message->params));
    RV_ASSERT(has_id == (message->id && !json_is_null(message->id)));
    RV_ASSERT((message->type == RV_JSONRPC_REPLY)
              == (message->result && !json_is_null(message->result)));
    RV_ASSERT((message->type == RV_JSONRPC_ERROR)
              == (message->error && !json_is_null(message->error)));
}

static bool
is_same(const json_t *a, const json_t *b)
{
    return a ? json_equal(a, b) : !b;
}

/* A real that is read from its own text may differ in its last bit. */
static bool
has_real(const char *text, size_t n)
{
    return memchr(text, '.', n) || memchr(text, 'e', n)
           || memchr(text, 'E', n);
}

static void
check_text(const struct rv_jsonrpc_message *message)
{
    struct rv_jsonrpc_message again;
    struct rv_buf text;
    rv_buf_init(&text, (size_t)1 << 24);
    RV_ASSERT(!rv_jsonrpc_format(message, &text));
    RV_ASSERT(!rv_jsonrpc_parse(text.data, text.length, &again, NULL));
    RV_ASSERT(again.type == message->type);
    if (!has_real(text.data, text.length)) {
        RV_ASSERT(is_same(again.method, message->method));
        RV_ASSERT(is_same(again.params, message->params));
        RV_ASSERT(is_same(again.id, message->id));
        RV_ASSERT(is_same(again.result, message->result));
        RV_ASSERT(is_same(again.error, message->error));
    }
    rv_jsonrpc_deinit(&again);

    /* A buffer too small by one byte takes nothing. */
    struct rv_buf small;
    rv_buf_init(&small, text.length - 1);
    RV_ASSERT(rv_jsonrpc_format(message, &small) == -EMSGSIZE);
    RV_ASSERT(!small.length);
    rv_buf_deinit(&small);
    rv_buf_deinit(&text);
}

/* Any bytes become a string that JSON can hold. */
static void
check_string(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    RV_ASSERT(text);
    json_t *value = rv_jsonrpc_text(text);
    RV_ASSERT(json_is_string(value));
    char *dumped = json_dumps(value, JSON_ENCODE_ANY);
    RV_ASSERT(dumped);
    free(dumped);
    json_decref(value);
    free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rv_jsonrpc_message message = {.type = 77};
    struct rv_error error = {.text = ""};
    check_string(data, size);
    int rc = rv_jsonrpc_parse((const char *)data, size, &message, &error);
    if (rc) {
        RV_ASSERT(rc == -EPROTO && error.code == rc);
        RV_ASSERT(error.text[0] && message.type == 77);
        return 0;
    }
    check_members(&message);
    check_text(&message);
    rv_jsonrpc_deinit(&message);
    return 0;
}
