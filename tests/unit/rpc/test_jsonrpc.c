#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "reeve/jsonrpc.h"

static void
check_valid(const char *text, enum rv_jsonrpc_type type, const char *again)
{
    struct rv_jsonrpc_message message;
    struct rv_error error;
    int rc = rv_jsonrpc_parse(text, strlen(text), &message, &error);
    ck_assert_msg(!rc, "%s: %s", text, error.text);
    ck_assert_int_eq(message.type, type);
    struct rv_buf buf;
    rv_buf_init(&buf, 1000);
    ck_assert_int_eq(rv_jsonrpc_format(&message, &buf), 0);
    ck_assert_str_eq(rv_buf_string(&buf), again);
    rv_buf_deinit(&buf);
    rv_jsonrpc_deinit(&message);
    rv_jsonrpc_deinit(&message);
}

START_TEST(parses_and_formats)
{
    check_valid("{\"params\":[],\"method\":\"m\",\"id\":0}",
                RV_JSONRPC_REQUEST,
                "{\"id\":0,\"method\":\"m\",\"params\":[]}");
    check_valid("{\"id\":{\"a\":1.50},\"method\":\"m\",\"params\":[\"x\"],"
                "\"error\":null,\"result\":null}",
                RV_JSONRPC_REQUEST,
                "{\"id\":{\"a\":1.5},\"method\":\"m\",\"params\":[\"x\"]}");
    check_valid("{\"id\":null,\"method\":\"m\",\"params\":[]}",
                RV_JSONRPC_NOTIFY,
                "{\"id\":null,\"method\":\"m\",\"params\":[]}");
    check_valid("{\"method\":\"m\",\"params\":[]}", RV_JSONRPC_NOTIFY,
                "{\"id\":null,\"method\":\"m\",\"params\":[]}");
    check_valid("{\"id\":1,\"result\":\"r\"}", RV_JSONRPC_REPLY,
                "{\"id\":1,\"result\":\"r\",\"error\":null}");
}
END_TEST

START_TEST(accepts_errors_without_result)
{
    check_valid("{\"id\":0,\"error\":\"no\\n\"}", RV_JSONRPC_ERROR,
                "{\"id\":0,\"result\":null,\"error\":\"no\\n\"}");
    check_valid("{\"id\":0,\"error\":\"no\",\"result\":null}",
                RV_JSONRPC_ERROR,
                "{\"id\":0,\"result\":null,\"error\":\"no\"}");
}
END_TEST

START_TEST(last_duplicate_wins)
{
    check_valid("{\"id\":1,\"id\":2,\"result\":3}", RV_JSONRPC_REPLY,
                "{\"id\":2,\"result\":3,\"error\":null}");
}
END_TEST

START_TEST(refuses_what_is_no_message)
{
    const char *bad[] = {
        "5",
        "[]",
        "null",
        "\"x\"",
        "{}",
        "{]",
        "{bad}",
        "",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":[]}",
        "{\"id\":1,\"method\":\"m\"}",
        "{\"id\":1,\"method\":\"m\",\"params\":null}",
        "{\"id\":1,\"method\":\"m\",\"params\":{}}",
        "{\"id\":1,\"method\":5,\"params\":[]}",
        "{\"id\":1,\"method\":null,\"params\":[]}",
        "{\"id\":1,\"params\":[]}",
        "{\"id\":1,\"result\":1,\"error\":1}",
        "{\"id\":1,\"result\":null,\"error\":null}",
        "{\"result\":1}",
        "{\"id\":null,\"error\":1}",
        "{\"id\":1,\"result\":1,\"method\":\"m\"}",
        "{\"id\":1,\"error\":1,\"params\":[]}",
        "{\"id\":\"\\u0000\",\"result\":1}",
        "{\"id\":01,\"result\":1}",
        "{\"id\":\"\xff\",\"result\":1}",
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(bad); i++) {
        struct rv_jsonrpc_message message;
        memset(&message, 0x5a, sizeof message);
        struct rv_error error = {.code = 0};
        int rc = rv_jsonrpc_parse(bad[i], strlen(bad[i]), &message, &error);
        ck_assert_msg(rc == -EPROTO, "%s", bad[i]);
        ck_assert_int_eq(error.code, -EPROTO);
        ck_assert_ptr_nonnull(error.text);
        ck_assert_uint_gt(strlen(error.text), 0);
        ck_assert_int_eq(*(unsigned char *)&message, 0x5a);
    }
}
END_TEST

START_TEST(refuses_nul_bytes)
{
    const char text[] = "{\"id\":1\0,\"result\":1}";
    struct rv_jsonrpc_message message;
    ck_assert_int_eq(rv_jsonrpc_parse(text, sizeof text - 1, &message, NULL),
                     -EPROTO);
}
END_TEST

START_TEST(does_not_quote_the_peer)
{
    const char *text = "{\"id\":evil\x1b[2J}";
    struct rv_jsonrpc_message message;
    struct rv_error error;
    ck_assert_int_eq(rv_jsonrpc_parse(text, strlen(text), &message, &error),
                     -EPROTO);
    ck_assert_ptr_null(strstr(error.text, "evil"));
    ck_assert_ptr_null(strchr(error.text, '\x1b'));
}
END_TEST

START_TEST(format_past_the_maximum_appends_nothing)
{
    struct rv_jsonrpc_message message = {.type = RV_JSONRPC_REPLY,
                                         .id = json_integer(1),
                                         .result = json_string("0123456789")};
    struct rv_buf buf;
    rv_buf_init(&buf, 20);
    rv_buf_puts(&buf, "before");
    ck_assert_int_eq(rv_jsonrpc_format(&message, &buf), -EMSGSIZE);
    ck_assert_str_eq(rv_buf_string(&buf), "before");
    ck_assert(!buf.failed);
    rv_buf_deinit(&buf);
    rv_jsonrpc_deinit(&message);
}
END_TEST

static void
check_text(const char *text, const char *expected)
{
    json_t *string = rv_jsonrpc_text(text);
    ck_assert_ptr_nonnull(string);
    ck_assert_str_eq(json_string_value(string), expected);
    json_t *strict = json_string(json_string_value(string));
    ck_assert_ptr_nonnull(strict);
    json_decref(strict);
    json_decref(string);
}

#define REPLACED "\xef\xbf\xbd"

START_TEST(text_is_made_utf8)
{
    check_text("", "");
    check_text("plain", "plain");
    check_text("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
               "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    check_text("a\xff"
               "b",
               "a" REPLACED "b");
    check_text("\xc3", REPLACED);
    check_text("\xe2\x82", REPLACED REPLACED);
    check_text("\xc0\xaf", REPLACED REPLACED);
    check_text("\xed\xa0\x80", REPLACED REPLACED REPLACED);
    check_text("\xe0\x80\x80", REPLACED REPLACED REPLACED);
    check_text("\xf4\x90\x80\x80", REPLACED REPLACED REPLACED REPLACED);
    check_text("\xf0\x80\x80\x80", REPLACED REPLACED REPLACED REPLACED);
    check_text("\xf5x", REPLACED "x");
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(parses_and_formats),
        RV_TEST(accepts_errors_without_result),
        RV_TEST(last_duplicate_wins),
        RV_TEST(refuses_what_is_no_message),
        RV_TEST(refuses_nul_bytes),
        RV_TEST(does_not_quote_the_peer),
        RV_TEST(format_past_the_maximum_appends_nothing),
        RV_TEST(text_is_made_utf8),
    };
    return rv_test_run("jsonrpc", tests, RV_ARRAY_SIZE(tests));
}
