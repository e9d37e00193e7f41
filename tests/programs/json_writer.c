#include "json_text.h"

#include <float.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "reeve-test.h"
#include "reeve/buf.h"

enum { SPACES_PER_LEVEL = 2 };

struct writer {
    struct rv_buf text;
    bool is_pretty;
    int depth;
};

static void write_value(struct writer *writer, const json_t *value);

static void
begin_line(struct writer *writer)
{
    if (writer->is_pretty) {
        rv_buf_printf(&writer->text, "\n%*s", SPACES_PER_LEVEL * writer->depth,
                      "");
    }
}

static void
write_string(struct writer *writer, const char *string)
{
    static const char specials[] = "\b\t\n\f\r\"\\";
    static const char letters[] = "btnfr\"\\";
    rv_buf_puts(&writer->text, "\"");
    for (const char *p = string; *p; p++) {
        const char *special = strchr(specials, *p);
        if (special) {
            rv_buf_printf(&writer->text, "\\%c", letters[special - specials]);
        } else if ((unsigned char)*p < 0x20) {
            rv_buf_printf(&writer->text, "\\u%04x", (unsigned int)*p);
        } else {
            rv_buf_put(&writer->text, p, 1);
        }
    }
    rv_buf_puts(&writer->text, "\"");
}

static int
compare_names(const void *a, const void *b)
{
    const char *const *name_a = a;
    const char *const *name_b = b;
    return strcmp(*name_a, *name_b);
}

/* The members' names, sorted; the caller frees the array. */
static const char **
sort_names(const json_t *object, size_t *np)
{
    /* Only read, but jansson's iterators are not for const objects. */
    json_t *borrowed = json_incref((json_t *)(uintptr_t)object);
    const char **names = calloc(json_object_size(object) + 1, sizeof *names);
    size_t n = 0;
    const char *name;
    json_t *member;
    if (!names) {
        reeve_test_fatal("out of memory");
    }
    json_object_foreach(borrowed, name, member)
    {
        names[n++] = name;
    }
    json_decref(borrowed);
    qsort(names, n, sizeof *names, compare_names);
    *np = n;
    return names;
}

static void
write_object(struct writer *writer, const json_t *object)
{
    size_t n;
    const char **names = sort_names(object, &n);
    rv_buf_puts(&writer->text, "{");
    writer->depth++;
    begin_line(writer);
    for (size_t i = 0; i < n; i++) {
        if (i) {
            rv_buf_puts(&writer->text, ",");
            begin_line(writer);
        }
        write_string(writer, names[i]);
        rv_buf_puts(&writer->text, writer->is_pretty ? ": " : ":");
        write_value(writer, json_object_get(object, names[i]));
    }
    rv_buf_puts(&writer->text, "}");
    writer->depth--;
    free(names);
}

static void
write_array(struct writer *writer, const json_t *array)
{
    rv_buf_puts(&writer->text, "[");
    writer->depth++;
    for (size_t i = 0; i < json_array_size(array); i++) {
        rv_buf_puts(&writer->text, i ? "," : "");
        begin_line(writer);
        write_value(writer, json_array_get(array, i));
    }
    writer->depth--;
    rv_buf_puts(&writer->text, "]");
}

static void
write_value(struct writer *writer, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        write_object(writer, value);
        break;
    case JSON_ARRAY:
        write_array(writer, value);
        break;
    case JSON_STRING:
        write_string(writer, json_string_value(value));
        break;
    case JSON_INTEGER:
        rv_buf_printf(&writer->text, "%lld",
                      (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        rv_buf_printf(&writer->text, "%.*g", DBL_DIG, json_real_value(value));
        break;
    case JSON_TRUE:
        rv_buf_puts(&writer->text, "true");
        break;
    case JSON_FALSE:
        rv_buf_puts(&writer->text, "false");
        break;
    case JSON_NULL:
    default:
        rv_buf_puts(&writer->text, "null");
        break;
    }
}

char *
json_text_write(const json_t *value, bool is_pretty)
{
    struct writer writer = {.is_pretty = is_pretty};
    rv_buf_init(&writer.text, SIZE_MAX / 4);
    write_value(&writer, value);
    char *text = writer.text.failed ? NULL : rv_buf_steal(&writer.text);
    if (!text) {
        reeve_test_fatal("out of memory");
    }
    return text;
}
