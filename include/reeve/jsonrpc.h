/* JSON-RPC 1.0 messages, as Open vSwitch speaks it.
 *
 * Room: rpc.  Blocks: never.  Threads: any, one a message.
 * Source: RFC 7047 section 4; Open vSwitch's lib/jsonrpc.c.
 *
 *     type     method  params  id        result    error
 *     request  string  array   not null  -         -
 *     notify   string  array   -         -         -
 *     reply    -       -       not null  not null  -
 *     error    -       -       not null  -         not null
 *
 * "-" is absent or null ('method' and 'params': absent).  Members unknown to
 * this table make a message invalid.  When a member comes twice the last one
 * counts.
 *
 *     struct rv_jsonrpc_message message;
 *     rc = rv_jsonrpc_parse(text, n, &message, &error);
 *     if (!rc && message.type == RV_JSONRPC_REQUEST) { ... }
 *     rv_jsonrpc_deinit(&message);       // only after success
 */
#ifndef REEVE_JSONRPC_H
#define REEVE_JSONRPC_H

#include <jansson.h>

#include "reeve/base.h"
#include "reeve/buf.h"
#include "reeve/error.h"

RV_BEGIN_DECLARATIONS

enum rv_jsonrpc_type {
    RV_JSONRPC_REQUEST,
    RV_JSONRPC_NOTIFY,
    RV_JSONRPC_REPLY,
    RV_JSONRPC_ERROR,
};

/* The members are owned references, NULL where the table says "-". */
struct rv_jsonrpc_message {
    enum rv_jsonrpc_type type;
    json_t *method; /* A string. */
    json_t *params; /* An array. */
    json_t *id;
    json_t *result;
    json_t *error;
};

/* "request", "notification", "reply" or "error". */
const char *rv_jsonrpc_type_name(enum rv_jsonrpc_type type);

/* Parses the 'n' bytes of one message.  -EPROTO with a sentence when they are
 * not JSON or not a message, -ENOMEM; 'message' is untouched then. */
int rv_jsonrpc_parse(const char *bytes, size_t n,
                     struct rv_jsonrpc_message *message,
                     struct rv_error *error) RV_MUST_CHECK;

/* As rv_jsonrpc_parse, for a value parsed already, which stays the caller's. */
int rv_jsonrpc_from_json(json_t *value, struct rv_jsonrpc_message *message,
                         struct rv_error *error) RV_MUST_CHECK;

/* Releases the members.  Idempotent. */
void rv_jsonrpc_deinit(struct rv_jsonrpc_message *message);

/* Appends the text of 'message': {"id":0,"method":"version","params":[]}, or
 * {"id":0,"result":"text","error":null}.  -ENOMEM, or -EMSGSIZE past the
 * buffer's maximum; nothing is appended then. */
int rv_jsonrpc_format(const struct rv_jsonrpc_message *message,
                      struct rv_buf *text) RV_MUST_CHECK;

/* A JSON string of 'text'.  Bytes that are not UTF-8 (the output of a worker
 * may be anything) become U+FFFD.  NULL without memory. */
json_t *rv_jsonrpc_text(const char *text);

RV_END_DECLARATIONS

#endif
