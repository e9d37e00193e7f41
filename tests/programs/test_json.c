/* reeve-test test-json [--pretty] [--multiple] FILE
 *
 * Reads JSON from FILE ("-": standard input) and prints it with its members
 * sorted, as compact as possible or with --pretty in lines; or "error: " and
 * the place and what is wrong there, with status 1.  With --multiple the
 * input is any number of values, each of which gives a line or an error.
 *
 * Each value is also given to reeve's own modules: the framing has to find
 * its end, and the parser of messages has to read the same value, where that
 * takes it at all.  That one refuses some of what passes here: numbers
 * without a fraction that do not fit 64 bits, bytes that are not UTF-8, and
 * halves of surrogate pairs.
 */
#include "reeve-test.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_text.h"
#include "reeve/buf.h"
#include "reeve/json_frame.h"
#include "reeve/jsonrpc.h"

/* ---- Against reeve's modules ---- */

/* Whether two values are equal; 1 and 1.0 are. */
static bool
is_same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        return json_number_value(a) - json_number_value(b) == 0;
    }
    if (json_is_array(a) && json_is_array(b)) {
        size_t n = json_array_size(a);
        bool is_equal = n == json_array_size(b);
        for (size_t i = 0; is_equal && i < n; i++) {
            is_equal = is_same(json_array_get(a, i), json_array_get(b, i));
        }
        return is_equal;
    }
    if (!json_is_object(a) || !json_is_object(b)) {
        return json_equal(a, b);
    }
    void *i = json_object_iter((json_t *)(uintptr_t)a);
    bool is_equal = json_object_size(a) == json_object_size(b);
    while (i && is_equal) {
        const json_t *other = json_object_get(b, json_object_iter_key(i));
        is_equal = other && is_same(json_object_iter_value(i), other);
        i = json_object_iter_next((json_t *)(uintptr_t)a, i);
    }
    return is_equal;
}

/* Holds 'value', read from 'text', against what the modules make of it. */
static void
check_modules(const json_t *value, const struct rv_buf *text)
{
    struct rv_json_frame frame;
    size_t used;
    rv_json_frame_init(&frame, text->length, 1000);
    int rc = rv_json_frame_scan(&frame, text->data, text->length, &used);
    if (rc != RV_JSON_FRAME_COMPLETE) {
        reeve_test_fatal("the framing finds no end of %s", text->data);
    }
    struct rv_buf reply;
    struct rv_jsonrpc_message message;
    rv_buf_init(&reply, SIZE_MAX / 4);
    rv_buf_printf(&reply, "{\"id\":0,\"error\":null,\"result\":%s}",
                  text->data);
    if (!rv_jsonrpc_parse(rv_buf_string(&reply), reply.length, &message,
                          NULL)) {
        if (!is_same(value, message.result)) {
            reeve_test_fatal("the parser reads %s otherwise", text->data);
        }
        rv_jsonrpc_deinit(&message);
    }
    rv_buf_deinit(&reply);
}

/* ---- Input and output ---- */

struct job {
    bool is_pretty, is_multiple;
    struct json_reader *reader; /* NULL between values. */
    struct rv_buf text;         /* What the reader was given. */
    int status;
};

/* Ends the reader, and prints what it has read. */
static void
finish(struct job *job)
{
    char *complaint;
    json_t *value = json_reader_finish(job->reader, &complaint);
    if (value) {
        char *text = json_text_write(value, job->is_pretty);
        check_modules(value, &job->text);
        puts(text);
        free(text);
        json_decref(value);
    } else {
        printf("error: %s\n", complaint);
        free(complaint);
        job->status = EXIT_FAILURE;
    }
    job->reader = NULL;
    rv_buf_deinit(&job->text);
}

static void
begin(struct job *job)
{
    job->reader = json_reader_create(!job->is_multiple);
    rv_buf_init(&job->text, SIZE_MAX / 4);
}

static void
take_bytes(struct job *job, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (!job->reader && isspace((unsigned char)bytes[i])) {
            i++;
            continue;
        }
        if (!job->reader) {
            begin(job);
        }
        size_t used = json_reader_feed(job->reader, bytes + i, n - i);
        rv_buf_put(&job->text, bytes + i, used);
        i += used;
        if (job->text.failed) {
            reeve_test_fatal("out of memory");
        }
        if (json_reader_is_done(job->reader)) {
            if (!job->is_multiple) {
                return;
            }
            finish(job);
        }
    }
}

static void
read_stream(struct job *job, FILE *stream)
{
    char bytes[4096];
    size_t n;
    if (!job->is_multiple) {
        begin(job);
    }
    while ((n = fread(bytes, 1, sizeof bytes, stream)) > 0) {
        take_bytes(job, bytes, n);
        if (!job->is_multiple && json_reader_is_done(job->reader)) {
            break;
        }
    }
    if (ferror(stream)) {
        reeve_test_fatal_of("test-json", errno, "Error reading input file");
    }
    if (job->reader) {
        finish(job);
    }
}

int
test_json(int argc, char **argv)
{
    static const struct option options[] = {
        {"pretty", no_argument, NULL, 'p'},
        {"multiple", no_argument, NULL, 'm'},
        {NULL, 0, NULL, 0},
    };
    struct job job = {.status = EXIT_SUCCESS};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?') {
            return EXIT_FAILURE;
        }
        job.is_pretty = job.is_pretty || option == 'p';
        job.is_multiple = job.is_multiple || option == 'm';
    }
    if (argc - optind != 1) {
        reeve_test_fatal_of(argv[0], 0,
                            "usage: %s [--pretty] [--multiple] INPUT.json",
                            argv[0]);
    }
    const char *name = argv[optind];
    FILE *stream = strcmp(name, "-") ? fopen(name, "re") : stdin;
    if (!stream) {
        reeve_test_fatal_of(argv[0], errno, "Cannot open \"%s\"", name);
    }
    read_stream(&job, stream);
    if (stream != stdin) {
        fclose(stream);
    }
    return job.status;
}
