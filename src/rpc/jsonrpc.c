#include "reeve/jsonrpc.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "rpc/json_parse.h"

const char *
rv_jsonrpc_type_name(enum rv_jsonrpc_type type)
{
    switch (type) {
    case RV_JSONRPC_REQUEST:
        return "request";
    case RV_JSONRPC_NOTIFY:
        return "notification";
    case RV_JSONRPC_REPLY:
        return "reply";
    case RV_JSONRPC_ERROR:
        return "error";
    }
    return "unknown";
}

void
rv_jsonrpc_deinit(struct rv_jsonrpc_message *message)
{
    json_decref(message->method);
    json_decref(message->params);
    json_decref(message->id);
    json_decref(message->result);
    json_decref(message->error);
    *message = (struct rv_jsonrpc_message){.type = message->type};
}

/* Finds the message's field for a member's name; NULL for a name unknown. */
static json_t **
field(struct rv_jsonrpc_message *message, const char *name)
{
    struct {
        const char *name;
        json_t **fieldp;
    } fields[] = {
        {"method", &message->method}, {"params", &message->params},
        {"id", &message->id},         {"result", &message->result},
        {"error", &message->error},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(fields); i++) {
        if (!strcmp(fields[i].name, name)) {
            return fields[i].fieldp;
        }
    }
    return NULL;
}

static enum rv_jsonrpc_type
judge_type(const struct rv_jsonrpc_message *m)
{
    if (m->result) {
        return RV_JSONRPC_REPLY;
    }
    if (m->error) {
        return RV_JSONRPC_ERROR;
    }
    return m->id ? RV_JSONRPC_REQUEST : RV_JSONRPC_NOTIFY;
}

/* Holds the fields of 'm' against the table in the header. */
static int
check_fields(const struct rv_jsonrpc_message *m, struct rv_error *error)
{
    bool is_call =
        m->type == RV_JSONRPC_REQUEST || m->type == RV_JSONRPC_NOTIFY;
    const struct {
        const char *name;
        bool is_present, is_wanted;
    } rows[] = {
        {"method", m->method, is_call},
        {"params", m->params, is_call},
        {"id", m->id, m->type != RV_JSONRPC_NOTIFY},
        {"result", m->result, m->type == RV_JSONRPC_REPLY},
        {"error", m->error, m->type == RV_JSONRPC_ERROR},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(rows); i++) {
        if (rows[i].is_present != rows[i].is_wanted) {
            return rv_error_set(error, -EPROTO, "%s must%s have \"%s\"",
                                rv_jsonrpc_type_name(m->type),
                                rows[i].is_wanted ? "" : " not", rows[i].name);
        }
    }
    if (m->method && !json_is_string(m->method)) {
        return rv_error_set(error, -EPROTO, "\"method\" must be a string");
    }
    if (m->params && !json_is_array(m->params)) {
        return rv_error_set(error, -EPROTO, "\"params\" must be an array");
    }
    return 0;
}

int
rv_jsonrpc_from_json(json_t *value, struct rv_jsonrpc_message *message,
                     struct rv_error *error)
{
    if (!json_is_object(value)) {
        return rv_error_set(error, -EPROTO, "message is not a JSON object");
    }
    struct rv_jsonrpc_message m = {.type = RV_JSONRPC_NOTIFY};
    const char *name;
    json_t *member;
    json_object_foreach(value, name, member)
    {
        json_t **fieldp = field(&m, name);
        if (!fieldp) {
            return rv_error_set(error, -EPROTO,
                                "message has an unknown member");
        }
        bool may_be_null = fieldp != &m.method && fieldp != &m.params;
        *fieldp = may_be_null && json_is_null(member) ? NULL : member;
    }
    m.type = judge_type(&m);
    int rc = check_fields(&m, error);
    if (rc) {
        return rc;
    }
    json_incref(m.method);
    json_incref(m.params);
    json_incref(m.id);
    json_incref(m.result);
    json_incref(m.error);
    *message = m;
    return 0;
}

int
rv_jsonrpc_parse(const char *bytes, size_t n,
                 struct rv_jsonrpc_message *message, struct rv_error *error)
{
    if (memchr(bytes, '\0', n)) {
        /* The library skips one behind a number. */
        return rv_error_set(error, -EPROTO, "bad JSON: it has a NUL byte");
    }
    json_error_t problem;
    json_t *value = rv__json_parse(bytes, n);
    if (!value) {
        value = json_loadb(bytes, n, JSON_DECODE_ANY, &problem);
    }
    if (!value) {
        if (json_error_code(&problem) == json_error_out_of_memory) {
            return rv_error_set(error, -ENOMEM, "out of memory");
        }
        /* The library quotes the peer's bytes behind "near", which have no
         * business in a log line. */
        char *near = strstr(problem.text, " near ");
        if (near) {
            *near = '\0';
        }
        return rv_error_set(error, -EPROTO, "bad JSON at byte %d: %s",
                            problem.position, problem.text);
    }
    int rc = rv_jsonrpc_from_json(value, message, error);
    json_decref(value);
    return rc;
}

/* Where text goes, and the first error on the way. */
struct writer {
    struct rv_buf *buf;
    int rc;
};

static int
write_bytes(const char *bytes, size_t n, void *writer_)
{
    struct writer *writer = writer_;
    if (!writer->rc) {
        writer->rc = rv_buf_put(writer->buf, bytes, n);
    }
    return writer->rc;
}

static void
write_text(struct writer *writer, const char *text)
{
    write_bytes(text, strlen(text), writer);
}

static void
write_member(struct writer *writer, const char *name, const json_t *value)
{
    write_text(writer, name);
    if (!value) {
        write_text(writer, "null");
    } else if (json_dump_callback(value, write_bytes, writer,
                                  JSON_COMPACT | JSON_ENCODE_ANY)
               && !writer->rc) {
        writer->rc = -ENOMEM;
    }
}

int
rv_jsonrpc_format(const struct rv_jsonrpc_message *message,
                  struct rv_buf *text)
{
    size_t before = text->length;
    bool had_failed = text->failed;
    struct writer writer = {.buf = text};
    write_member(&writer, "{\"id\":", message->id);
    if (message->type == RV_JSONRPC_REQUEST
        || message->type == RV_JSONRPC_NOTIFY) {
        write_member(&writer, ",\"method\":", message->method);
        write_member(&writer, ",\"params\":", message->params);
    } else {
        write_member(&writer, ",\"result\":", message->result);
        write_member(&writer, ",\"error\":", message->error);
    }
    write_text(&writer, "}");
    if (writer.rc) {
        text->failed = had_failed;
        text->length = before;
        if (text->data) {
            text->data[before] = '\0';
        }
    }
    return writer.rc;
}

/* The length of the UTF-8 sequence at 'p', which ends with NUL; 0 when the
 * bytes there are none (overlong forms and surrogates included). */
static size_t
sequence_length(const unsigned char *p)
{
    if (p[0] < 0x80) {
        return 1;
    }
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)
        || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return n;
}

json_t *
rv_jsonrpc_text(const char *text)
{
    struct rv_buf clean;
    rv_buf_init(&clean, SIZE_MAX / 4);
    const unsigned char *start = (const unsigned char *)text;
    const unsigned char *p = start;
    while (*p) {
        size_t n = sequence_length(p);
        if (n) {
            p += n;
            continue;
        }
        rv_buf_put(&clean, start, (size_t)(p - start));
        rv_buf_puts(&clean, "\xef\xbf\xbd");
        start = ++p;
    }
    rv_buf_put(&clean, start, (size_t)(p - start));
    json_t *string = clean.failed ? NULL
                                  : json_stringn_nocheck(rv_buf_string(&clean),
                                                         clean.length);
    rv_buf_deinit(&clean);
    return string;
}
