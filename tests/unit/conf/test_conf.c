/* What a text means: values, defaults, files, and the dump that says it all
 * again. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reeve/log.h"
#include "conf/conf.h"
#include "harness.h"

/* The value of 'text', which must parse. */
static struct rv_conf *
parse(const char *text)
{
    struct rv_conf *conf = NULL;
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    int rc = rv_conf_parse(text, strlen(text), "/etc/t.yaml", "/base", &conf,
                           &errors);
    ck_assert_msg(!rc, "%s\n%s", text, rv_buf_string(&errors.text));
    ck_assert_uint_eq(errors.n, 0);
    rv_conf_errors_deinit(&errors);
    return conf;
}

/* As parse(), for one service `w` with these 'keys' beside its command. */
static struct rv_conf *
parse_service(const char *keys)
{
    char text[2048];
    snprintf(text, sizeof text, "services: {w: {command: [x], %s}}\n", keys);
    return parse(text);
}

static char *
dump(const struct rv_conf *conf)
{
    struct rv_buf buf;
    rv_buf_init(&buf, 16 << 20);
    ck_assert_int_eq(rv_conf_dump(conf, &buf), 0);
    return rv_buf_steal(&buf);
}

/* The dump of 'text' parses to a value with the same dump. */
static void
expect_fixed_point(const char *text)
{
    struct rv_conf *conf = parse(text);
    char *first = dump(conf);
    struct rv_conf *again = parse(first);
    char *second = dump(again);
    ck_assert_str_eq(first, second);
    free(first);
    free(second);
    rv_conf_destroy(conf);
    rv_conf_destroy(again);
}

START_TEST(defaults)
{
    struct rv_conf *conf = parse("services: {web: {command: python3 a.py}}");
    ck_assert_str_eq(conf->name, "t");
    ck_assert_ptr_null(conf->runtime_dir);
    ck_assert(!conf->nginx_signals);
    ck_assert_int_eq(conf->stop_timeout_ms, 10000);
    ck_assert_ptr_null(conf->log_file);
    ck_assert_int_eq(conf->log_level, RV_LOG_INFO);
    ck_assert(!conf->log_json && !conf->log_prefix_off);
    ck_assert_int_eq(conf->max_processes, 4096);
    ck_assert_int_eq(conf->max_control_connections, 64);
    ck_assert_int_eq(conf->max_control_message_bytes, 1 << 20);
    ck_assert_int_eq(conf->max_log_ring_bytes, 64 << 10);
    ck_assert_uint_eq(conf->n_services, 1);
    rv_conf_destroy(conf);
    rv_conf_destroy(NULL);
}
END_TEST

START_TEST(service_defaults)
{
    struct rv_conf *conf = parse("services: {web: {command: python3 a.py}}");
    const struct rv_conf_service *web = rv_conf_find_service(conf, "web");
    ck_assert_ptr_nonnull(web);
    ck_assert_ptr_null(rv_conf_find_service(conf, "we"));
    ck_assert_str_eq(web->command[0], "python3");
    ck_assert_str_eq(web->command[1], "a.py");
    ck_assert_ptr_null(web->command[2]);
    ck_assert_int_eq(web->workers, 1);
    ck_assert_uint_eq(web->n_listens, 0);
    ck_assert(!web->clear_environment);
    ck_assert_ptr_null(web->directory);
    ck_assert_ptr_null(web->user);
    ck_assert_int_eq(web->umask, -1);
    ck_assert_int_eq(web->nice, INT_MAX);
    ck_assert_int_eq(web->ready, RV_CONF_READY_ALIVE);
    ck_assert_int_eq(web->ready_after_ms, 1000);
    ck_assert_int_eq(web->start_timeout_ms, 30000);
    ck_assert_int_eq(web->stop_signal, SIGTERM);
    ck_assert_int_eq(web->drain_timeout_ms, 30000);
    ck_assert_int_eq(web->restart, RV_CONF_RESTART_ALWAYS);
    ck_assert_int_eq(web->backoff_min_ms, 100);
    ck_assert_int_eq(web->backoff_max_ms, 30000);
    ck_assert_int_eq(web->max_restarts, 10);
    ck_assert_int_eq(web->window_ms, 60000);
    ck_assert_int_eq(web->on_failed, RV_CONF_ON_FAILED_RETRY);
    ck_assert_int_eq(web->batch, 0);
    ck_assert_int_eq(web->in, RV_CONF_STDIN_NULL);
    ck_assert_int_eq(web->out.kind, RV_CONF_OUTPUT_INHERIT);
    ck_assert(!web->nofile.is_set && !web->core.is_set);
    rv_conf_destroy(conf);
}
END_TEST

START_TEST(top_values)
{
    struct rv_conf *conf =
        parse("name: shop\nruntime_dir: run\nsignals: nginx\n"
              "stop_timeout: 1m30s\n"
              "log: {file: ./log/x, level: dbg, format: json, prefix: off}\n"
              "limits: {processes: 65536, control_connections: 1, "
              "control_message: 4KiB, log_ring: 1MB}\n"
              "services: {b: {command: x}, a: {command: y}}\n");
    ck_assert_str_eq(conf->name, "shop");
    ck_assert_str_eq(conf->runtime_dir, "/base/run");
    ck_assert(conf->nginx_signals);
    ck_assert_int_eq(conf->stop_timeout_ms, 90000);
    ck_assert_str_eq(conf->log_file, "/base/log/x");
    ck_assert_int_eq(conf->log_level, RV_LOG_DBG);
    ck_assert(conf->log_json && conf->log_prefix_off);
    ck_assert_int_eq(conf->max_processes, 65536);
    ck_assert_int_eq(conf->max_log_ring_bytes, 1000000);
    ck_assert_str_eq(conf->services[0].name, "b");
    ck_assert_str_eq(conf->services[1].name, "a");
    rv_conf_destroy(conf);
}
END_TEST

/* The words of log.level are the names of the log's levels, in order. */
START_TEST(log_levels)
{
    for (int level = 0; level < RV_LOG_N_LEVELS; level++) {
        char text[128];
        snprintf(text, sizeof text,
                 "log: {level: %s}\nservices: {w: {command: x}}\n",
                 rv_log_level_name((enum rv_log_level)level));
        struct rv_conf *conf = parse(text);
        ck_assert_int_eq(conf->log_level, level);
        rv_conf_destroy(conf);
    }
}
END_TEST

START_TEST(service_values)
{
    struct rv_conf *conf = parse_service(
        "workers: auto, clear_environment: yes, directory: ., user: www, "
        "group: 33, umask: 022, nice: -5, soak: 2s, start_timeout: 1h, "
        "stop_signal: sigquit, drain_timeout: 0, restart: on-failure, "
        "backoff: {min: 1, max: 2}, max_restarts: 0, window: 1d, "
        "on_failed: exit, batch: 2, watchdog: 0.5, max_age: 7d, "
        "max_memory: 1G, stdout: file out, stderr: null, "
        "limits: {nofile: 1024, core: unlimited, memory: 1MiB, processes: 0}");
    const struct rv_conf_service *w = &conf->services[0];
    ck_assert_int_eq(w->workers, -1);
    ck_assert(w->clear_environment);
    ck_assert_str_eq(w->directory, "/base");
    ck_assert_str_eq(w->user, "www");
    ck_assert_str_eq(w->group, "33");
    ck_assert_int_eq(w->umask, 022);
    ck_assert_int_eq(w->nice, -5);
    ck_assert_int_eq(w->soak_ms, 2000);
    ck_assert_int_eq(w->start_timeout_ms, 3600000);
    ck_assert_int_eq(w->stop_signal, SIGQUIT);
    ck_assert_int_eq(w->drain_timeout_ms, 0);
    ck_assert_int_eq(w->restart, RV_CONF_RESTART_ON_FAILURE);
    ck_assert_int_eq(w->backoff_max_ms, 2000);
    ck_assert_int_eq(w->max_restarts, 0);
    ck_assert_int_eq(w->on_failed, RV_CONF_ON_FAILED_EXIT);
    ck_assert_int_eq(w->batch, 2);
    ck_assert_int_eq(w->watchdog_ms, 500);
    ck_assert_int_eq(w->max_age_ms, 604800000);
    ck_assert_uint_eq(w->max_memory_bytes, 1 << 30);
    ck_assert_int_eq(w->out.kind, RV_CONF_OUTPUT_FILE);
    ck_assert_str_eq(w->out.path, "/base/out");
    ck_assert_int_eq(w->err.kind, RV_CONF_OUTPUT_NULL);
    ck_assert_uint_eq(w->nofile.value, 1024);
    ck_assert_uint_eq(w->core.value, UINT64_MAX);
    ck_assert(w->processes.is_set);
    rv_conf_destroy(conf);
}
END_TEST

START_TEST(stop_signals)
{
    static const struct {
        const char *text;
        int number;
    } cases[] = {
        {"TERM", SIGTERM},   {"SIGTERM", SIGTERM}, {"15", SIGTERM},
        {"winch", SIGWINCH}, {"KILL", SIGKILL},    {"64", 64},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        char keys[64];
        snprintf(keys, sizeof keys, "stop_signal: %s", cases[i].text);
        struct rv_conf *conf = parse_service(keys);
        ck_assert_int_eq(conf->services[0].stop_signal, cases[i].number);
        rv_conf_destroy(conf);
    }
    struct rv_conf *conf = parse_service("stop_signal: RTMIN+2");
    ck_assert_int_eq(conf->services[0].stop_signal, SIGRTMIN + 2);
    rv_conf_destroy(conf);
}
END_TEST

START_TEST(splits_words)
{
    static const struct {
        const char *text;
        const char *words[5];
    } cases[] = {
        {"a b  c", {"a", "b", "c"}},
        {"  a\tb ", {"a", "b"}},
        {"'a b' \"c d\"", {"a b", "c d"}},
        {"a'b'\"c\"d", {"abcd"}},
        {"a '' \"\"", {"a", "", ""}},
        {"a \\| \\$X \\\\", {"a", "|", "$X", "\\"}},
        {"a '$X | `y`'", {"a", "$X | `y`"}},
        {"a \"\\\"\\$X\\n\"", {"a", "\"$X\\n"}},
        {"a $ $. {fd}", {"a", "$", "$.", "{fd}"}},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "services:\n w:\n  command: |-\n   %s\n",
                 cases[i].text);
        struct rv_conf *conf = parse(text);
        char **command = conf->services[0].command;
        size_t n = 0;
        for (; cases[i].words[n]; n++) {
            ck_assert_ptr_nonnull(command[n]);
            ck_assert_str_eq(command[n], cases[i].words[n]);
        }
        ck_assert_ptr_null(command[n]);
        rv_conf_destroy(conf);
    }
}
END_TEST

START_TEST(sockets)
{
    struct rv_conf *conf = parse_service(
        "reuseport: on, listen: [8080, 'udp:53', {address: 'unix:x.sock', "
        "mode: 0660}, {address: '[::1]:1', name: six, reuseport: off, "
        "backlog: 7}, 0, 0]");
    const struct rv_conf_service *w = &conf->services[0];
    const struct rv_conf_listen *listens = w->listens;
    ck_assert_uint_eq(w->n_listens, 6);
    ck_assert_str_eq(listens[0].name, "w");
    ck_assert_int_eq(rv_address_port(&listens[0].address), 8080);
    ck_assert(listens[0].reuseport);
    ck_assert_int_eq(listens[0].backlog, 4096);
    ck_assert_int_eq(listens[0].mode, -1);
    ck_assert_str_eq(listens[1].name, "w-2");
    ck_assert_int_eq(listens[1].address.type, SOCK_DGRAM);
    ck_assert_str_eq(listens[2].address.u.un.sun_path, "/base/x.sock");
    ck_assert(!listens[2].reuseport);
    ck_assert_int_eq(listens[2].mode, 0660);
    ck_assert_str_eq(listens[3].name, "six");
    ck_assert(!listens[3].reuseport);
    ck_assert_int_eq(listens[3].backlog, 7);
    ck_assert_str_eq(listens[5].name, "w-6");
    rv_conf_destroy(conf);
    conf = parse_service("listen: {address: 80, name: http}");
    ck_assert_str_eq(conf->services[0].listens[0].name, "http");
    rv_conf_destroy(conf);
}
END_TEST

START_TEST(zones)
{
    struct rv_conf *conf = parse(
        "zones:\n"
        "  sessions: {size: 8MiB}\n"
        "  limits: {size: 1M, max_size: 2M, tag: v1, file: l, members: 9}\n"
        "  rates: {size: 5000, noreuse: on}\n"
        "services:\n"
        "  a: {command: x, zones: sessions}\n"
        "  b: {command: x, zones: [limits, {name: rates, access: read}]}\n"
        "  c: {command: x, zones: {name: rates}}\n");
    ck_assert_uint_eq(conf->n_zones, 3);
    const struct rv_conf_zone *zone = rv_conf_find_zone(conf, "sessions");
    ck_assert_int_eq(zone->size_bytes, 8 << 20);
    ck_assert_int_eq(zone->max_size_bytes, 8 << 20);
    ck_assert_int_eq(zone->members, 64);
    ck_assert_ptr_null(zone->tag);
    ck_assert_ptr_null(zone->file);
    ck_assert(!zone->noreuse);
    zone = rv_conf_find_zone(conf, "limits");
    ck_assert_int_eq(zone->max_size_bytes, 2 << 20);
    ck_assert_int_eq(zone->members, 9);
    ck_assert_str_eq(zone->tag, "v1");
    ck_assert_str_eq(zone->file, "/base/l");
    ck_assert(rv_conf_find_zone(conf, "rates")->noreuse);
    ck_assert_ptr_null(rv_conf_find_zone(conf, "rate"));
    const struct rv_conf_service *b = rv_conf_find_service(conf, "b");
    ck_assert_uint_eq(b->n_zones, 2);
    ck_assert_str_eq(b->zones[0].name, "limits");
    ck_assert(!b->zones[0].is_read_only);
    ck_assert_str_eq(b->zones[1].name, "rates");
    ck_assert(b->zones[1].is_read_only);
    ck_assert(!rv_conf_find_service(conf, "c")->zones[0].is_read_only);
    char *text = dump(conf);
    expect_fixed_point(text);
    free(text);
    rv_conf_destroy(conf);
}
END_TEST

START_TEST(environments)
{
    struct rv_conf *conf = parse_service(
        "listen: 1, environment: {B: yes, AB: 1, A: '{fd:w};', E: , 'x.y': "
        "'a=b'}");
    char **environment = conf->services[0].environment;
    ck_assert_str_eq(environment[0], "A={fd:w};");
    ck_assert_str_eq(environment[1], "AB=1");
    ck_assert_str_eq(environment[2], "B=yes");
    ck_assert_str_eq(environment[3], "E=");
    ck_assert_str_eq(environment[4], "x.y=a=b");
    ck_assert_ptr_null(environment[5]);
    rv_conf_destroy(conf);
}
END_TEST

START_TEST(probes)
{
    struct rv_conf *conf = parse_service("ready: http /up?x=1, listen: 1");
    ck_assert_int_eq(conf->services[0].ready, RV_CONF_READY_HTTP);
    ck_assert_str_eq(conf->services[0].probe_path, "/up?x=1");
    rv_conf_destroy(conf);
    conf = parse_service("ready: http, listen: 1");
    ck_assert_str_eq(conf->services[0].probe_path, "/");
    rv_conf_destroy(conf);
    conf = parse_service("ready: \"exec test -f 'a b'\"");
    ck_assert_int_eq(conf->services[0].ready, RV_CONF_READY_EXEC);
    ck_assert_str_eq(conf->services[0].probe_command[2], "a b");
    ck_assert_ptr_null(conf->services[0].probe_command[3]);
    rv_conf_destroy(conf);
    conf = parse_service("ready: [exec, sh, -c, a | b]");
    ck_assert_str_eq(conf->services[0].probe_command[2], "a | b");
    rv_conf_destroy(conf);
    conf = parse_service("ready: notify");
    ck_assert_int_eq(conf->services[0].ready, RV_CONF_READY_NOTIFY);
    rv_conf_destroy(conf);
    conf = parse_service("ready: tcp, listen: 1, stdin: listen");
    ck_assert_int_eq(conf->services[0].ready, RV_CONF_READY_TCP);
    ck_assert_int_eq(conf->services[0].in, RV_CONF_STDIN_LISTEN);
    rv_conf_destroy(conf);
}
END_TEST

/* Keys without a value have their default; anchors, merge keys and JSON work.
 */
START_TEST(forms_of_yaml)
{
    struct rv_conf *conf =
        parse("log:\nlimits: {log_ring: }\nname: ~\nservices:\n"
              "  a: &base {command: &c [x, y], workers: 2, stdin: }\n"
              "  b: {<<: *base, workers: 3}\n"
              "  c:\n    <<: [*base, {nice: 1, workers: 9}]\n"
              "    command: *c\n");
    ck_assert_str_eq(conf->name, "t");
    ck_assert_int_eq(conf->services[1].workers, 3);
    ck_assert_str_eq(conf->services[1].command[1], "y");
    ck_assert_int_eq(conf->services[2].workers, 2);
    ck_assert_int_eq(conf->services[2].nice, 1);
    rv_conf_destroy(conf);
    conf = parse("\xef\xbb\xbf{\"name\": \"j\", \"services\": {\"w\": "
                 "{\"command\": [\"\\u00e9\\n\"], \"workers\": 2, \"nice\": "
                 "null, \"clear_environment\": true, \"stdout\": null}}}");
    ck_assert_str_eq(conf->name, "j");
    ck_assert_str_eq(conf->services[0].command[0], "\xc3\xa9\n");
    ck_assert(conf->services[0].clear_environment);
    ck_assert_int_eq(conf->services[0].out.kind, RV_CONF_OUTPUT_NULL);
    rv_conf_destroy(conf);
}
END_TEST

START_TEST(names_from_sources)
{
    static const char text[] = "services: {w: {command: x}}";
    static const char *const sources[][2] = {
        {"reeve.yaml", "reeve"}, {"/etc/shop.prod.yml", "shop.prod"},
        {"plain", "plain"},      {"(command line)", "reeve"},
        {"-", "reeve"},          {"<store>", "reeve"},
        {"a b.yaml", NULL},      {".yaml", NULL},
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(sources); i++) {
        struct rv_conf *conf = NULL;
        struct rv_conf_errors errors;
        rv_conf_errors_init(&errors);
        int rc = rv_conf_parse(text, strlen(text), sources[i][0], "/", &conf,
                               &errors);
        ck_assert_int_eq(rc, sources[i][1] ? 0 : -EINVAL);
        if (!rc) {
            ck_assert_str_eq(conf->name, sources[i][1]);
        }
        rv_conf_destroy(conf);
        rv_conf_errors_deinit(&errors);
    }
}
END_TEST

START_TEST(strange_strings)
{
    static const char *const strings[] = {
        "",
        " x",
        "x ",
        "yes",
        "No",
        "null",
        "~",
        "1",
        "1.5",
        "0x10",
        "-",
        "- a",
        "a: b",
        "a #b",
        "#",
        "\"",
        "'",
        "\\",
        "a\nb",
        "\n",
        "a\tb",
        "\x01",
        "\x7f",
        "\xc2\x85",
        "\xc2\xa0",
        "\xc3\xa9",
        "\xe2\x80\xa8",
        "\xef\xbb\xbf",
        "\xf0\x9f\x98\x80",
        "{a}",
        "[a]",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a",
        "|",
        ">",
        "---",
        "...",
        "a,b",
        "?",
        ":",
        "<<",
        "=",
        ".inf",
        "_a-1.b",
        "/a/b",
        "2026-11-22",
        "a\r\nb",
        "\xef\xbf\xbf",
    };
    struct rv_buf text;
    rv_buf_init(&text, 65536);
    rv_buf_puts(&text, "services: {w: {command: [x");
    for (size_t i = 0; i < RV_ARRAY_SIZE(strings); i++) {
        rv_buf_puts(&text, ", ");
        ck_assert_int_eq(rv_conf_quote(strings[i], &text), 0);
    }
    rv_buf_puts(&text, "]}}");
    struct rv_conf *conf = parse(text.data);
    char *dumped = dump(conf);
    struct rv_conf *again = parse(dumped);
    for (size_t i = 0; i < RV_ARRAY_SIZE(strings); i++) {
        ck_assert_str_eq(conf->services[0].command[i + 1], strings[i]);
        ck_assert_str_eq(again->services[0].command[i + 1], strings[i]);
    }
    free(dumped);
    rv_conf_destroy(conf);
    rv_conf_destroy(again);
    rv_buf_deinit(&text);
}
END_TEST

START_TEST(dumps_are_fixed_points)
{
    expect_fixed_point("services: {web: {command: x}}");
    expect_fixed_point(
        "name: '1'\nruntime_dir: 'a b'\nsignals: nginx\nlog: {file: 'yes', "
        "format: json, prefix: off, level: off}\nservices: {'2': {command: "
        "[' ', '\"']}, yes: {command: x}, null: {command: y}}\n");
    expect_fixed_point(
        "services: {w: {command: x, workers: auto, reuseport: on, listen: "
        "[1, '[::1]:2', 'unix:a b', {address: /x, mode: 600}, 'udp:0'], "
        "environment: {A.B: , yes: \"a\\n\\n b\", '\"\\': x}}}");
}
END_TEST

/* The part of one service, which tells whether two are the same. */
START_TEST(dumps_one_service)
{
    struct rv_buf a, b;
    rv_buf_init(&a, 65536);
    rv_buf_init(&b, 65536);
    struct rv_conf *two = parse_service("workers: 2, listen: 80");
    struct rv_conf *three = parse_service("listen: '*:80', workers: 3");
    ck_assert_int_eq(rv_conf_dump_service(two->services, true, &a), 0);
    ck_assert_int_eq(rv_conf_dump_service(three->services, true, &b), 0);
    ck_assert_str_ne(a.data, b.data);
    rv_buf_clear(&a);
    rv_buf_clear(&b);
    ck_assert_int_eq(rv_conf_dump_service(two->services, false, &a), 0);
    ck_assert_int_eq(rv_conf_dump_service(three->services, false, &b), 0);
    ck_assert_str_eq(a.data, b.data);
    char *whole = dump(two);
    rv_buf_clear(&a);
    ck_assert_int_eq(rv_conf_dump_service(two->services, true, &a), 0);
    ck_assert_ptr_nonnull(strstr(whole, a.data));
    free(whole);
    rv_conf_destroy(two);
    rv_conf_destroy(three);
    rv_buf_deinit(&a);
    rv_buf_deinit(&b);
}
END_TEST

/* A full buffer is an error, not a half dump. */
START_TEST(dump_without_room)
{
    struct rv_conf *conf = parse("services: {web: {command: x}}");
    struct rv_buf buf;
    rv_buf_init(&buf, 100);
    ck_assert_int_lt(rv_conf_dump(conf, &buf), 0);
    rv_buf_deinit(&buf);
    rv_conf_destroy(conf);
}
END_TEST

/* Files. */

static void
write_file(const char *path, const char *data, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, length), (ssize_t)length);
    close(fd);
}

START_TEST(reads_files)
{
    char folder[] = "/tmp/reeve-test-XXXXXX";
    char path[64], out[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/shop.yaml", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    static const char text[] = "services: {w: {command: x, stdout: file out}}";
    write_file(path, text, sizeof text - 1);
    struct rv_conf *conf = NULL;
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    ck_assert_int_eq(rv_conf_read_file(path, &conf, &errors), 0);
    ck_assert_str_eq(conf->name, "shop");
    ck_assert_str_eq(conf->services[0].out.path, out);
    rv_conf_destroy(conf);
    conf = NULL;
    ck_assert_int_eq(chdir(folder), 0);
    ck_assert_int_eq(rv_conf_read_file("shop.yaml", &conf, &errors), 0);
    ck_assert_str_eq(conf->services[0].out.path, out);
    rv_conf_destroy(conf);
    rv_conf_errors_deinit(&errors);
    unlink(path);
    rmdir(folder);
}
END_TEST

static void
expect_unreadable(const char *path, int code, const char *words)
{
    struct rv_conf *conf = NULL;
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    ck_assert_int_eq(rv_conf_read_file(path, &conf, &errors), code);
    ck_assert_ptr_null(conf);
    ck_assert_uint_eq(errors.n, 1);
    const char *line = rv_buf_string(&errors.text);
    ck_assert_msg(!strncmp(line, path, strlen(path)), "%s", line);
    ck_assert_msg(strstr(line, words) != NULL, "%s", line);
    rv_conf_errors_deinit(&errors);
}

START_TEST(refuses_files)
{
    char folder[] = "/tmp/reeve-test-XXXXXX";
    char path[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.yaml", folder);
    expect_unreadable(path, -ENOENT, "No such file");
    expect_unreadable(folder, -EISDIR, "directory");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_unreadable(path, -ENOTSUP, "not a regular file");
    unlink(path);
    size_t size = (4u << 20) + 1;
    char *large = malloc(size);
    memset(large, '\n', size);
    write_file(path, large, size);
    expect_unreadable(path, -EFBIG, "larger than 4 MiB");
    write_file(path, large, size - 1);
    expect_unreadable(path, -EINVAL, "is empty");
    free(large);
    unlink(path);
    rmdir(folder);
}
END_TEST

/* The table as a schema and as a man page names every key. */
START_TEST(describes_itself)
{
    static const char *const keys[] = {"runtime_dir", "drain_timeout",
                                       "reuseport", "nofile", "address"};
    struct rv_buf schema, table;
    rv_buf_init(&schema, 1 << 20);
    rv_buf_init(&table, 1 << 20);
    ck_assert_int_eq(rv_conf_json_schema(&schema), 0);
    ck_assert_int_eq(rv_conf_man_table(&table), 0);
    for (size_t i = 0; i < RV_ARRAY_SIZE(keys); i++) {
        char quoted[64];
        snprintf(quoted, sizeof quoted, "\"%s\": {", keys[i]);
        ck_assert_ptr_nonnull(strstr(schema.data, quoted));
    }
    ck_assert_ptr_nonnull(strstr(table.data, "services.NAME.listen\\[\\]"
                                             ".address"));
    ck_assert_ptr_nonnull(strstr(table.data, "services.NAME.backoff.min"));
    rv_buf_deinit(&schema);
    rv_buf_deinit(&table);
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {
        RV_TEST(defaults),          RV_TEST(service_defaults),
        RV_TEST(top_values),        RV_TEST(log_levels),
        RV_TEST(service_values),    RV_TEST(stop_signals),
        RV_TEST(splits_words),      RV_TEST(sockets),
        RV_TEST(environments),      RV_TEST(probes),
        RV_TEST(forms_of_yaml),     RV_TEST(names_from_sources),
        RV_TEST(strange_strings),   RV_TEST(dumps_are_fixed_points),
        RV_TEST(dumps_one_service), RV_TEST(dump_without_room),
        RV_TEST(reads_files),       RV_TEST(refuses_files),
        RV_TEST(describes_itself),  RV_TEST(zones),
    };
    return rv_test_run("conf", tests, RV_ARRAY_SIZE(tests));
}
