/* Calls that wait for their replies: a hash table by id, as replies may come
 * in any order, and a list, as failures are told in the order of the calls.
 *
 * A call leaves both before its callback runs, so that whatever the callback
 * does, no call is answered twice. */
#include <errno.h>
#include <stdlib.h>

#include "rpc/session_internal.h"

enum { LEAST_BUCKETS = 16 };

struct rv__session_call {
    struct rv_list node;
    struct rv__session_call *next; /* In its bucket. */
    int64_t id;
    rv_session_reply *on_reply;
    void *context;
};

void
rv__session_calls_init(struct rv__session_calls *calls)
{
    *calls = (struct rv__session_calls){.n_buckets = 0};
    rv_list_init(&calls->in_order);
}

/* Ids are counted up, so their last bits spread them evenly. */
static struct rv__session_call **
bucket_of(const struct rv__session_calls *calls, int64_t id)
{
    return &calls->buckets[(uint64_t)id & (calls->n_buckets - 1)];
}

static void
link_call(struct rv__session_calls *calls, struct rv__session_call *call)
{
    struct rv__session_call **bucket = bucket_of(calls, call->id);
    call->next = *bucket;
    *bucket = call;
}

/* Doubles the table.  One that is too small for lack of memory still works. */
static int
grow(struct rv__session_calls *calls)
{
    if (calls->n_calls < calls->n_buckets) {
        return 0;
    }
    struct rv__session_calls bigger = *calls;
    bigger.n_buckets = calls->n_buckets ? calls->n_buckets * 2 : LEAST_BUCKETS;
    bigger.buckets = calloc(bigger.n_buckets, sizeof(void *));
    if (!bigger.buckets) {
        return calls->n_buckets ? 0 : -ENOMEM;
    }
    free(calls->buckets);
    calls->buckets = bigger.buckets;
    calls->n_buckets = bigger.n_buckets;
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &calls->in_order) {
        link_call(calls, RV_CONTAINER_OF(node, struct rv__session_call, node));
    }
    return 0;
}

/* Takes the call with 'id' out; the caller frees it.  NULL if there is
 * none. */
static struct rv__session_call *
take(struct rv__session_calls *calls, int64_t id)
{
    if (!calls->n_calls) {
        return NULL;
    }
    for (struct rv__session_call **callp = bucket_of(calls, id); *callp;
         callp = &(*callp)->next) {
        struct rv__session_call *call = *callp;
        if (call->id == id) {
            *callp = call->next;
            rv_list_remove(&call->node);
            calls->n_calls--;
            return call;
        }
    }
    return NULL;
}

static void
finish(struct rv_session *session, struct rv__session_call *call, int code,
       const struct rv_jsonrpc_message *reply)
{
    rv_session_reply *on_reply = call->on_reply;
    void *context = call->context;
    free(call);
    on_reply(session, code, reply, context);
}

bool
rv__session_calls_take(struct rv_session *session,
                       const struct rv_jsonrpc_message *message)
{
    if (!json_is_integer(message->id)) {
        return false;
    }
    struct rv__session_call *call =
        take(&session->calls, json_integer_value(message->id));
    if (call) {
        finish(session, call, 0, message);
    }
    return call;
}

void
rv__session_calls_fail(struct rv_session *session, int code)
{
    struct rv__session_calls *calls = &session->calls;
    while (!rv_list_is_empty(&calls->in_order)) {
        struct rv__session_call *first = RV_CONTAINER_OF(
            calls->in_order.next, struct rv__session_call, node);
        struct rv__session_call *taken = take(calls, first->id);
        RV_ASSERT(taken == first);
        finish(session, first, code, NULL);
    }
    free(calls->buckets);
    calls->buckets = NULL;
    calls->n_buckets = 0;
}

static int
send_request(struct rv_session *session, int64_t id, const char *method,
             json_t *params)
{
    struct rv_jsonrpc_message request = {
        .type = RV_JSONRPC_REQUEST,
        .id = json_integer(id),
        .method = rv_jsonrpc_text(method),
        .params = params ? json_incref(params) : json_array(),
    };
    int rc = request.id && request.method && request.params
                 ? rv_session_send(session, &request)
                 : -ENOMEM;
    rv_jsonrpc_deinit(&request);
    return rc;
}

int
rv_session_call(struct rv_session *session, const char *method, json_t *params,
                rv_session_reply *on_reply, void *context, int64_t *idp)
{
    struct rv__session_calls *calls = &session->calls;
    int rc = grow(calls);
    struct rv__session_call *call = rc ? NULL : malloc(sizeof *call);
    if (!call) {
        return -ENOMEM;
    }
    int64_t id = rv_session_new_id(session);
    rc = send_request(session, id, method, params);
    if (rc) {
        free(call);
        return rc;
    }
    *call = (struct rv__session_call){
        .id = id, .on_reply = on_reply, .context = context};
    rv_list_push_back(&calls->in_order, &call->node);
    link_call(calls, call);
    calls->n_calls++;
    if (idp) {
        *idp = id;
    }
    return 0;
}

int
rv_session_cancel(struct rv_session *session, int64_t id)
{
    struct rv__session_call *call = take(&session->calls, id);
    free(call);
    return call ? 0 : -ENOENT;
}
