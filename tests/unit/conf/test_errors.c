/* What is wrong with a text is told by line, column and remedy. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "harness.h"

/* The lines for 'text', which must not parse; the caller frees them. */
static char *
errors_of(const char *text, size_t length)
{
    struct rv_conf *conf = NULL;
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    int rc = rv_conf_parse(text, length, "t.yaml", "/base", &conf, &errors);
    ck_assert_int_eq(rc, -EINVAL);
    ck_assert_ptr_null(conf);
    ck_assert_uint_gt(errors.n, 0);
    char *lines = rv_buf_steal(&errors.text);
    rv_conf_errors_deinit(&errors);
    return lines;
}

static void
expect(const char *text, const char *expected)
{
    char *lines = errors_of(text, strlen(text));
    ck_assert_str_eq(lines, expected);
    free(lines);
}

/* A service `w` with the 'keys' in its braces gives one line, at 'column' of
 * line 1, that contains 'words' and a remedy. */
static void
expect_in_service(const char *keys, const char *words)
{
    char text[1024];
    snprintf(text, sizeof text, "services: {w: {command: [x], %s}}\n", keys);
    char *lines = errors_of(text, strlen(text));
    ck_assert_msg(strstr(lines, words) != NULL, "%s\ngave\n%s", keys, lines);
    ck_assert_msg(strpbrk(lines, ";?") != NULL, "%s", lines);
    ck_assert_msg(!strncmp(lines, "t.yaml:1:", 9), "%s", lines);
    ck_assert_ptr_eq(strchr(lines, '\n'), lines + strlen(lines) - 1);
    free(lines);
}

START_TEST(empty_texts)
{
    static const char *const texts[] = {"",      "\n",     "# nothing\n",
                                        "---\n", "null\n", "\xef\xbb\xbf"};
    for (size_t i = 0; i < RV_ARRAY_SIZE(texts); i++) {
        expect(texts[i],
               "t.yaml:1:1: the configuration is empty; write at least "
               "`services: {web: {command: [PROGRAM]}}`\n");
    }
    expect("- a\n", "t.yaml:1:1: the configuration is a list; write a "
                    "mapping such as `services: {web: {command: "
                    "[PROGRAM]}}`\n");
}
END_TEST

START_TEST(several_at_once)
{
    expect("services:\n"
           "  web:\n"
           "    comand: x\n"
           "    workers: many\n"
           "    restart: alway\n"
           "  web: {}\n"
           "colour: red\n",
           "t.yaml:2:3: `command` is missing; add a list of words such as "
           "[python3, app.py], or one text\n"
           "t.yaml:3:5: unknown key \"comand\"; did you mean `command`?\n"
           "t.yaml:4:14: `workers` is \"many\"; write a whole number from 0 "
           "to 4096, or `auto`\n"
           "t.yaml:5:14: `restart` is \"alway\"; did you mean `always`? It "
           "can be `always`, `on-failure` or `never`\n"
           "t.yaml:6:3: the key \"web\" is already at line 2; remove one of "
           "the two\n"
           "t.yaml:7:1: unknown key \"colour\"; remove it (`reeve dump` shows "
           "all keys there are)\n");
}
END_TEST

START_TEST(at_most_fifty)
{
    char text[4096] = "";
    size_t used = 0;
    for (int i = 0; i < 80; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "wrong%d: 1\n", i);
    }
    char *lines = errors_of(text, used);
    size_t n = 0;
    for (char *at = lines; *at; at++) {
        n += *at == '\n';
    }
    ck_assert_uint_eq(n, 50);
    free(lines);
}
END_TEST

START_TEST(missing_keys)
{
    expect("name: x\n",
           "t.yaml:1:1: `services` is missing; add a mapping such as {web: "
           "{command: [python3, app.py], listen: 8080}}\n");
    expect("services:\n  web:\n",
           "t.yaml:2:3: `command` is missing; add a list of words such as "
           "[python3, app.py], or one text\n");
    expect(
        "services: {}\n",
        "t.yaml:1:11: `services` is an empty mapping; write a mapping such as "
        "{web: {command: [python3, app.py], listen: 8080}}\n");
}
END_TEST

START_TEST(syntax)
{
    static const char *const texts[] = {
        "a: [",      "a: b: c\n",     "a: 'x\n",
        "\ta: 1\n",  "a: 1\n b: 2\n", "{a: 1",
        "a: &\n",    "a: \"\\z\"\n",  "%YAML 9\n---\na: 1\n",
        "a: 1\n}\n", "? [a]\n: b\n",
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(texts); i++) {
        char *lines = errors_of(texts[i], strlen(texts[i]));
        ck_assert_msg(!strncmp(lines, "t.yaml:", 7), "%s", lines);
        ck_assert_msg(lines[7] >= '1' && lines[7] <= '9', "%s", lines);
        ck_assert_msg(strchr(lines, ';') != NULL, "%s", lines);
        free(lines);
    }
    expect("a: [\n", "t.yaml:2:1: this is not YAML: flow sequence without a "
                     "closing bracket; look at the indentation, brackets and "
                     "quotes around it\n");
}
END_TEST

START_TEST(bad_bytes)
{
    char *lines = errors_of("a: 1\nb: \0", 9);
    ck_assert_str_eq(lines, "t.yaml:2:4: there is a control character, 0x00; "
                            "remove it, or write it as an escape in double "
                            "quotes\n");
    free(lines);
    expect("a: \xff\n", "t.yaml:1:4: the byte 0xff is not UTF-8; save the "
                        "file as UTF-8\n");
    expect("services: {w: {command: [\"a\\0b\"]}}\n",
           "t.yaml:1:26: the text has an escape for a character that cannot "
           "be used (NUL or half of a surrogate pair); remove it\n");
    char *large = calloc(1, (64u << 20) + 1);
    lines = errors_of(large, (64u << 20) + 1);
    ck_assert_ptr_nonnull(strstr(lines, "larger than 64 MiB"));
    free(lines);
    free(large);
}
END_TEST

START_TEST(anchors)
{
    expect("services: &a {web: *a}\n",
           "t.yaml:1:20: the alias `*a` is inside of what it names; write "
           "the value out\n");
    expect("services: *nope\n", "t.yaml:1:11: there is no anchor `&nope` "
                                "above; write it before its alias\n");
    expect("a: !x b\n", "t.yaml:1:7: tags have no meaning here; remove it\n");
    expect("a: 1\n---\nb: 1\n",
           "t.yaml:2:1: a second document begins below here; a "
           "configuration is one document, so remove the `---`\n");
    expect("services: {w: {<<: x, command: y}}\n",
           "t.yaml:1:20: `<<` merges mappings only; name an anchor of one, "
           "as in `<<: *base`\n");
}
END_TEST

/* Ten aliases of ten aliases of ... would be 10^9 words. */
START_TEST(alias_bomb)
{
    char text[4096] = "a0: &a0 [lol]\n";
    size_t used = strlen(text);
    for (int i = 1; i < 10; i++) {
        used += (size_t)snprintf(
            text + used, sizeof text - used,
            "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n",
            i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1,
            i - 1, i - 1);
    }
    char *lines = errors_of(text, used);
    ck_assert_ptr_nonnull(strstr(lines, "expand to more than 8 MiB"));
    free(lines);
}
END_TEST

START_TEST(depth)
{
    size_t n = 100000;
    char *text = malloc(2 * n + 1);
    memset(text, '[', n);
    char *lines = errors_of(text, n);
    ck_assert_ptr_nonnull(strstr(lines, "nested more than 32 deep"));
    free(lines);
    for (size_t i = 0; i < n; i++) {
        memcpy(text + 2 * i, "- ", 2);
    }
    lines = errors_of(text, 2 * n);
    ck_assert_ptr_nonnull(strstr(lines, "nested more than 32 deep"));
    free(lines);
    free(text);
}
END_TEST

START_TEST(too_many)
{
    struct rv_buf text;
    rv_buf_init(&text, 1 << 20);
    rv_buf_puts(&text, "services: {w: {command: [x], listen: [");
    for (int i = 0; i < 100; i++) {
        rv_buf_printf(&text, "%d, ", 8000 + i);
    }
    rv_buf_puts(&text, "], environment: {");
    for (int i = 0; i < 5000; i++) {
        rv_buf_printf(&text, "V%d: x, ", i);
    }
    rv_buf_puts(&text, "}}}\n");
    char *lines = errors_of(text.data, text.length);
    ck_assert_ptr_nonnull(strstr(lines, "`listen` has 100 addresses"));
    ck_assert_ptr_nonnull(strstr(lines, "`environment` has 5000 variables"));
    free(lines);
    rv_buf_deinit(&text);
}
END_TEST

START_TEST(values)
{
    static const char *const cases[][2] = {
        {"workers: 4097", "`workers` is \"4097\""},
        {"workers: -1", "`workers` is \"-1\""},
        {"workers: [1]", "`workers` is a list"},
        {"workers: {a: 1}", "`workers` is a mapping"},
        {"workers: 1.5", "`workers` is \"1.5\""},
        {"drain_timeout: 5x", "write a duration such as"},
        {"drain_timeout: -5s", "write a duration such as"},
        {"drain_timeout: 400d", "at most 365d"},
        {"start_timeout: 0", "at least 1ms"},
        {"max_memory: lots", "write a size such as"},
        {"clear_environment: maybe", "write `on` or `off`"},
        {"umask: 999", "octal digits"},
        {"umask: 01000", "octal digits"},
        {"nice: 20", "from -20 to 19"},
        {"stop_signal: TREM", "write a signal such as"},
        {"stop_signal: 65", "write a signal such as"},
        {"stop_signal: SIGSTOP", "does not end a program"},
        {"restart: onfailure", "did you mean `on-failure`?"},
        {"on_failed: ignore", "`retry` or `exit`"},
        {"user: ''", "a text that is not empty"},
        {"stdout: /var/log/x", "write `file /var/log/x`"},
        {"stdout: file", "`inherit`, `null` or `file PATH`"},
        {"stdin: inherit", "`null` or `listen`"},
        {"limits: {nofile: few}", "a whole number, or `unlimited`"},
        {"limits: {core: 1X}", "or `unlimited`"},
        {"limits: {nofiles: 1}", "did you mean `nofile`?"},
        {"limits: 5", "`limits` is \"5\""},
        {"backoff: 5s", "`backoff` is \"5s\""},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        expect_in_service(cases[i][0], cases[i][1]);
    }
}
END_TEST

START_TEST(environments)
{
    static const char *const cases[][2] = {
        {"environment: [A=b]", "`environment` is a list"},
        {"environment: {A: [b]}", "the variable `A` is a list"},
        {"environment: {A: null}", "the variable `A` is nothing"},
        {"environment: {'A=': b}", "is no name for a variable"},
        {"environment: {'': b}", "is no name for a variable"},
        {"environment: {LISTEN_FDS: 3}", "reeve itself sets `LISTEN_FDS`"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        expect_in_service(cases[i][0], cases[i][1]);
    }
}
END_TEST

START_TEST(commands)
{
    static const char *const cases[][2] = {
        {"a | b", "only a shell understands the `|`"},
        {"a; b", "only a shell understands the `;`"},
        {"a & b", "only a shell understands the `&`"},
        {"a > b", "only a shell understands the `>`"},
        {"a < b", "only a shell understands the `<`"},
        {"a $(b)", "only a shell understands the `$(`"},
        {"a `b`", "only a shell understands the ``"},
        {"a $PORT", "only a shell understands the `$P`"},
        {"a \"$PORT\"", "only a shell understands the `$P`"},
        {"a 'b", "a ' in it is not closed"},
        {"a \"b", "a \" in it is not closed"},
        {"a \\", "ends with a backslash"},
        {"  ", "`command` is"},
        {"''", "`command` is"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "services:\n w:\n  command: |-\n   %s\n",
                 cases[i][0]);
        char *lines = errors_of(text, strlen(text));
        ck_assert_msg(strstr(lines, cases[i][1]) != NULL, "%s gave %s", text,
                      lines);
        free(lines);
    }
    expect("services: {w: {command: [a, [b], null]}}\n",
           "t.yaml:1:29: a word of `command` is a list; write a text (\"\" "
           "for an empty one)\n"
           "t.yaml:1:34: a word of `command` is nothing; write a text (\"\" "
           "for an empty one)\n");
    expect(
        "services: {w: {command: []}}\n",
        "t.yaml:1:25: `command` is an empty list; write a list of words such as "
        "[python3, app.py], or one text\n");
}
END_TEST

START_TEST(sockets)
{
    static const char *const cases[][2] = {
        {"listen: localhost:80", "names are not resolved"},
        {"listen: [null]", "`listen` is nothing"},
        {"listen: [[80]]", "`listen` is a list"},
        {"listen: {name: x}", "`address` is missing"},
        {"listen: {address: 80, mode: '0600'}", "`mode` is for unix"},
        {"listen: {address: /x, reuseport: on}", "cannot be shared"},
        {"listen: {address: 80, backlog: 0}", "from 1 to 65535"},
        {"listen: {address: 80, name: a b}", "`name` is \"a b\""},
        {"listen: {adress: 80, address: 80}", "did you mean `address`?"},
        {"listen: [80, {address: 81, name: w}]", "already that of listen"},
        {"listen: [{address: 1, name: w-2}, 2]", "already that of listen"},
        {"listen: [80, '*:80']", "is already used at 1:39"},
        {"ready: tcp", "needs a stream socket to probe"},
        {"ready: http, listen: udp:53", "needs a stream socket to probe"},
        {"stdin: listen", "`listen` has 0"},
        {"stdin: listen, listen: [1, 2]", "`listen` has 2"},
        {"ready: http x, listen: 1", "begins with /"},
        {"ready: exec", "has no command"},
        {"ready: [exec]", "has no command"},
        {"ready: exec a | b", "only a shell understands"},
        {"ready: ntify", "did you mean `notify`?"},
        {"ready: tcp 80, listen: 80", "`ready` is \"tcp 80\""},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        expect_in_service(cases[i][0], cases[i][1]);
    }
}
END_TEST

START_TEST(same_address_in_two_services)
{
    expect("services:\n"
           "  a: {command: x, listen: 8080}\n"
           "  b:\n"
           "    command: y\n"
           "    listen:\n"
           "    - {address: tcp:8080}\n",
           "t.yaml:6:17: the address tcp:0.0.0.0:8080 is already used at "
           "2:27; change one of them\n");
}
END_TEST

START_TEST(combinations)
{
    static const char *const cases[][2] = {
        {"backoff: {min: 5s, max: 1s}", "`min` (5s) is longer than `max`"},
        {"backoff: {min: 1m}", "`min` (1m) is longer than `max` (30s)"},
        {"ready_after: 30s", "`ready_after` (30s) is not less than"},
        {"start_timeout: 1s", "`ready_after` (1s) is not less than"},
        {"soak: 2m, max_age: 1m", "`soak` (2m) is not less than `max_age`"},
        {"max_age: 1s", "`ready_after` (1s) is not less than `max_age`"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        expect_in_service(cases[i][0], cases[i][1]);
    }
    expect("limits: {processes: 7}\n"
           "services: {a: {command: x, workers: 4}, b: {command: x, workers: "
           "4}}\n",
           "t.yaml:1:9: the services have 8 workers together, and "
           "`limits.processes` is 7; raise it, or use fewer workers\n");
}
END_TEST

START_TEST(fd_names)
{
    static const char *const cases[][2] = {
        {"environment: {A: '{fd:w}'}", "the service has none"},
        {"environment: {A: '{fd:ww}'}, listen: 1", "first one is `{fd:w}`"},
        {"environment: {A: '{fd:zzzz}'}, listen: 1", "first one is `{fd:w}`"},
        {"environment: {A: '{fd:w'}, listen: 1", "no closing brace"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        expect_in_service(cases[i][0], cases[i][1]);
    }
    expect("services:\n  web:\n    listen: 80\n    command:\n    - x\n"
           "    - --fd={fd:wbe}\n",
           "t.yaml:6:7: `{fd:wbe}` names no listen of the service; did you "
           "mean `{fd:web}`?\n");
}
END_TEST

/* The zone `z` with the 'keys' in its braces, for nobody. */
static void
expect_in_zone(const char *keys, const char *words)
{
    char text[1024];
    snprintf(text, sizeof text,
             "zones: {z: {%s}}\nservices: {w: {command: x}}\n", keys);
    char *lines = errors_of(text, strlen(text));
    ck_assert_msg(strstr(lines, words) != NULL, "%s\ngave\n%s", keys, lines);
    ck_assert_msg(strpbrk(lines, ";?") != NULL, "%s", lines);
    ck_assert_msg(!strncmp(lines, "t.yaml:1:", 9), "%s", lines);
    ck_assert_ptr_eq(strchr(lines, '\n'), lines + strlen(lines) - 1);
    free(lines);
}

START_TEST(zones)
{
    static const char *const cases[][2] = {
        {"", "`size` is missing"},
        {"size: 4095", "at least 4KiB and at most 60GiB"},
        {"size: 61G", "at least 4KiB and at most 60GiB"},
        {"size: 8M, max_size: 4M", "`max_size` (4MiB) is less than `size`"},
        {"size: 8M, max_size: 1", "`max_size` (1) is less than `size` (8MiB)"},
        {"size: 8M, sise: 4M", "did you mean `size`?"},
        {"size: 8M, tag: 1234567890123456789012345678901234567890123456789012"
         "345678901234",
         "`tag` has 64 bytes; use at most 63"},
        {"size: 8M, members: 0", "from 1 to 1024"},
        {"size: 8M, members: 1025", "from 1 to 1024"},
        {"size: 8M, file: x, noreuse: on", "throws away what `file`"},
        {"size: 8M, noreuse: perhaps", "`on` or `off`"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        expect_in_zone(cases[i][0], cases[i][1]);
    }
    expect("zones: {a/b: {size: 4K}, c: 4K, d: }\n"
           "services: {w: {command: x}}\n",
           "t.yaml:1:9: \"a/b\" is no name for a zone; use at most 63 "
           "letters, digits, `.`, `_` and `-`, the first neither `.` nor "
           "`-`\n"
           "t.yaml:1:29: the zone `c` is \"4K\"; write a mapping with at "
           "least `size`\n"
           "t.yaml:1:33: the zone `d` is nothing; write a mapping with at "
           "least `size`\n");
    expect("zones:\n  a: {size: 4K, file: x}\n"
           "  b: {size: 4K, file: /base/x}\n"
           "services: {w: {command: x}}\n",
           "t.yaml:3:23: the file is already that of the zone `a`; give one "
           "of them another\n");
}
END_TEST

START_TEST(zones_of_services)
{
    static const char *const cases[][2] = {
        {"zones: z", "there is no zone `z`; add it to `zones` at the top"},
        {"zones: [[z]]", "`zones` is a list"},
        {"zones: {name: z, acces: read}", "did you mean `access`?"},
        {"zones: {access: read}", "`name` is missing"},
        {"zones: {name: z, access: reed}", "did you mean `read`?"},
        {"environment: {REEVE_ZONES: a=1}", "reeve itself sets"},
        {"environment: {A: '{zone:z}'}", "and the service has none"},
        {"environment: {A: '{zone:z'}", "no closing brace"},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        expect_in_service(cases[i][0], cases[i][1]);
    }
    expect("zones: {sessions: {size: 4K}}\n"
           "services:\n  web:\n    command: x\n"
           "    zones: [sessions, {name: sessions, access: read}, session]\n",
           "t.yaml:5:30: the service has the zone `sessions` twice; remove "
           "one of them\n"
           "t.yaml:5:55: there is no zone `session`; did you mean "
           "`sessions`?\n");
    expect("zones: {sessions: {size: 4K}}\n"
           "services:\n  web:\n    command: [x, '{zone:session}']\n"
           "    zones: sessions\n",
           "t.yaml:4:18: `{zone:session}` names no zone of the service; did "
           "you mean `{zone:sessions}`?\n");
}
END_TEST

START_TEST(names)
{
    expect("name: .x\nservices: {w: {command: x}}\n",
           "t.yaml:1:7: `name` is \".x\"; write a name of at most 64 letters, "
           "digits, `.`, `_` and `-` that starts with neither `.` nor `-`\n");
    expect("services: {a/b: {command: x}}\n",
           "t.yaml:1:12: \"a/b\" is no name for a service; use at most 64 "
           "letters, digits, `.`, `_` and `-`, the first neither `.` nor "
           "`-`\n");
}
END_TEST

/* A line stays a line, whatever is in it. */
START_TEST(one_line_each)
{
    expect("\"a\\nb\\e[31m\": 1\nservices: {w: {command: x}}\n",
           "t.yaml:1:1: unknown key \"a\\nb\\x1b[31m\"; remove it (`reeve "
           "dump` shows all keys there are)\n");
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(empty_texts),
        RV_TEST(several_at_once),
        RV_TEST(at_most_fifty),
        RV_TEST(missing_keys),
        RV_TEST(syntax),
        RV_TEST(bad_bytes),
        RV_TEST(anchors),
        RV_TEST(alias_bomb),
        RV_TEST(depth),
        RV_TEST(too_many),
        RV_TEST(values),
        RV_TEST(environments),
        RV_TEST(commands),
        RV_TEST(sockets),
        RV_TEST(same_address_in_two_services),
        RV_TEST(combinations),
        RV_TEST(fd_names),
        RV_TEST(zones),
        RV_TEST(zones_of_services),
        RV_TEST(names),
        RV_TEST(one_line_each),
    };
    return rv_test_run("errors", tests, RV_ARRAY_SIZE(tests));
}
