#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "rpc/json_parse.h"

/* Parses a copy that ends where the text does, so that a reader of more is
 * noticed by the sanitizers. */
static json_t *
parse(const char *text, size_t n)
{
    char *copy = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, n);
    json_t *value = rv__json_parse(copy, n);
    free(copy);
    return value;
}

/* What is parsed is what the library makes of it. */
static bool
agrees(const char *text, size_t n)
{
    json_t *value = parse(text, n);
    if (!value) {
        return true;
    }
    json_t *expected = json_loadb(text, n, JSON_DECODE_ANY, NULL);
    bool is_equal = expected && json_equal(value, expected);
    json_decref(value);
    json_decref(expected);
    return is_equal;
}

static const char *const usual[] = {
    "{}",
    "[]",
    " [ ] ",
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-7",
    "999999999999999999",
    "-999999999999999999",
    "9223372036854775807",
    "1.5",
    "-1.5e-3",
    "1E5",
    "\"\"",
    "\"text\"",
    "\"a longer text, of more than eight bytes\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"lines\\nof\\ntext\\n\"",
    "\"del \x7f\"",
    "\"h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 and eight more\"",
    "[\"a\\n\",\"b\",\"c\\n\"]",
    "\t[1,\n2 , [3, {\"a\": [true, false, null]}],\r\"x\"] ",
    "{\"id\":0,\"method\":\"version\",\"params\":[]}",
    "{\"a\":1,\"b\":{\"c\":\"d\"},\"a\":\"last\"}",
    "{\"\":1}",
    "{\"h\xc3\xa9\":\"\\n\"}",
};

START_TEST(parses_what_is_usual)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(usual); i++) {
        json_t *value = parse(usual[i], strlen(usual[i]));
        ck_assert_msg(value != NULL, "%s", usual[i]);
        json_decref(value);
        ck_assert_msg(agrees(usual[i], strlen(usual[i])), "%s", usual[i]);
    }
}
END_TEST

START_TEST(leaves_the_rest)
{
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "]",
        "[}",
        "\"",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u0041\"",
        "\"\\u0000\"",
        "{\"\\n\":1}",
        "\"line\nline\"",
        "\"eight bytes\x1f and more\"",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xc0\xaf\"",
        "\"\xed\xa0\x80\"",
        "tru",
        "truex",
        "nul",
        "01",
        "-",
        "-a",
        "+1",
        "1.",
        ".5",
        "1e",
        "1x",
        "--1",
        "99999999999999999999",
        "1e999",
        "1 1",
        "{} {}",
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(texts); i++) {
        ck_assert_msg(!parse(texts[i], strlen(texts[i])), "%s", texts[i]);
    }
    ck_assert_ptr_null(parse("1\0", 2));
    ck_assert_ptr_null(parse("\"a\0b\"", 5));
    ck_assert_ptr_null(parse("\"\\\0\"", 4));
}
END_TEST

START_TEST(depth_is_limited)
{
    char text[2002];
    memset(text, '[', 1001);
    memset(text + 1001, ']', 1001);
    ck_assert_ptr_null(parse(text, 2002));
    json_t *value = parse(text + 1, 2000);
    ck_assert_ptr_nonnull(value);
    json_decref(value);
}
END_TEST

/* Every byte of the usual texts in the place of every other. */
START_TEST(agrees_with_the_library)
{
    static const char bytes[] = "\"\\{}[]:,0159-+.eEtfn u/\n\x01\x1f\x7f\x80"
                                "\xa9\xc3\xe2\xed\xf0\xff";
    char text[128];
    for (size_t i = 0; i < RV_ARRAY_SIZE(usual); i++) {
        size_t n = strlen(usual[i]);
        ck_assert_uint_lt(n, sizeof text);
        for (size_t at = 0; at < n; at++) {
            for (size_t b = 0; b < sizeof bytes; b++) {
                memcpy(text, usual[i], n);
                text[at] = bytes[b];
                ck_assert_msg(agrees(text, n), "%.*s", (int)n, text);
            }
            ck_assert_msg(agrees(usual[i], at), "%.*s", (int)at, usual[i]);
        }
    }
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(parses_what_is_usual),
        RV_TEST(leaves_the_rest),
        RV_TEST(depth_is_limited),
        RV_TEST(agrees_with_the_library),
    };
    return rv_test_run("json_parse", tests, RV_ARRAY_SIZE(tests));
}
