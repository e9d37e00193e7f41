/* The table told to others: a JSON Schema for editors, and the man page's
 * table. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "conf/conf.h"
#include "conf/schema.h"
#include "conf/value.h"

/* JSON Schema. */

#define NAME_PATTERN "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"
#define SIZE_PATTERN "[0-9]+ ?([KMGTkmgt]([Ii]?[Bb])?|[Bb])?"
#define WORDS                                          \
  "{\"type\": \"array\", \"minItems\": 1, \"items\": " \
  "{\"type\": [\"string\", \"number\", \"boolean\"]}}"
#define ADDRESS                                                         \
  "{\"type\": [\"string\", \"integer\"], \"minimum\": 0, \"maximum\": " \
  "65535}"

/* The schema of each type that needs nothing of its row. */
static const char *const type_schemas[] = {
    [RV_CONF_TYPE_NAME] =
        "{\"type\": \"string\", \"pattern\": \"" NAME_PATTERN "\"}",
    [RV_CONF_TYPE_TEXT] = "{\"type\": [\"string\", \"integer\"], "
                          "\"minLength\": 1}",
    [RV_CONF_TYPE_PATH] = "{\"type\": \"string\", \"minLength\": 1}",
    [RV_CONF_TYPE_BOOLEAN] =
        "{\"enum\": [true, false, \"on\", \"off\", \"yes\", \"no\"]}",
    [RV_CONF_TYPE_OCTAL] = "{\"type\": [\"string\", \"integer\"], "
                           "\"pattern\": \"^(0o)?[0-7]{1,5}$\"}",
    [RV_CONF_TYPE_SIGNAL] = "{\"type\": [\"string\", \"integer\"], "
                            "\"minimum\": 1, \"maximum\": 64}",
    [RV_CONF_TYPE_DURATION] =
        "{\"type\": [\"string\", \"number\"], \"minimum\": 0, \"pattern\": "
        "\"^([0-9]+([.][0-9]{1,3})?(ms|s|m|h|d))+$|^[0-9]+([.][0-9]{1,3})?$"
        "\"}",
    [RV_CONF_TYPE_SIZE] = "{\"type\": [\"string\", \"integer\"], \"minimum\": "
                          "0, \"pattern\": \"^" SIZE_PATTERN "$\"}",
    [RV_CONF_TYPE_COUNT_LIMIT] =
        "{\"type\": [\"string\", \"integer\"], \"minimum\": 0, \"pattern\": "
        "\"^([0-9]+|unlimited)$\"}",
    [RV_CONF_TYPE_SIZE_LIMIT] =
        "{\"type\": [\"string\", \"integer\"], \"minimum\": 0, \"pattern\": "
        "\"^(" SIZE_PATTERN "|unlimited)$\"}",
    [RV_CONF_TYPE_OUTPUT] = "{\"type\": [\"string\", \"null\"], \"pattern\": "
                            "\"^(inherit|null|file .+)$\"}",
    [RV_CONF_TYPE_ADDRESS] = ADDRESS,
    [RV_CONF_TYPE_COMMAND] = "{\"anyOf\": [{\"type\": \"string\", "
                             "\"minLength\": 1}, " WORDS "]}",
    [RV_CONF_TYPE_ENVIRONMENT] =
        "{\"type\": \"object\", \"additionalProperties\": {\"type\": "
        "[\"string\", \"number\", \"boolean\"]}}",
    [RV_CONF_TYPE_READY] =
        "{\"anyOf\": [{\"type\": \"string\", \"pattern\": "
        "\"^(alive|notify|tcp|http( +/.*)?|exec .+)$\"}, " WORDS "]}",
};

static void schema_of_section(const char *section, int indent,
                              struct rv_buf *out);

static void
put_json_string(const char *string, struct rv_buf *out)
{
    rv_buf_puts(out, "\"");
    for (; *string; string++) {
        if (*string == '"' || *string == '\\') {
            rv_buf_puts(out, "\\");
        }
        rv_buf_put(out, string, 1);
    }
    rv_buf_puts(out, "\"");
}

static void
schema_of_choice(const struct rv_conf_key *key, struct rv_buf *out)
{
    rv_buf_puts(out, "{\"enum\": [");
    for (size_t i = 0; key->choices[i]; i++) {
        rv_buf_puts(out, i ? ", " : "");
        put_json_string(key->choices[i], out);
        if (!strcmp(key->choices[i], "null")) {
            rv_buf_puts(out, ", null");
        }
    }
    rv_buf_puts(out, "]}");
}

static void
schema_of_integer(const struct rv_conf_key *key, struct rv_buf *out)
{
    rv_buf_puts(out, key->word ? "{\"anyOf\": [" : "");
    rv_buf_printf(out,
                  "{\"type\": \"integer\", \"minimum\": %" PRId64
                  ", \"maximum\": %" PRId64 "}",
                  key->min, key->max);
    if (key->word) {
        rv_buf_printf(out, ", {\"const\": \"%s\"}]}", key->word);
    }
}

static void
schema_of_services(int indent, struct rv_buf *out)
{
    rv_buf_puts(out, "{\"type\": \"object\", \"minProperties\": 1, "
                     "\"propertyNames\": {\"pattern\": \"" NAME_PATTERN
                     "\"}, \"additionalProperties\": ");
    schema_of_section(RV_CONF_SERVICE, indent, out);
    rv_buf_puts(out, "}");
}

static void
schema_of_listens(struct rv_buf *out)
{
    rv_buf_puts(out, "{\"anyOf\": [" ADDRESS ", {\"$ref\": "
                     "\"#/$defs/listen\"}, {\"type\": \"array\", "
                     "\"maxItems\": 64, \"items\": {\"anyOf\": [" ADDRESS
                     ", {\"$ref\": \"#/$defs/listen\"}]}}]}");
}

static void
schema_of_zones(int indent, struct rv_buf *out)
{
    rv_buf_puts(out, "{\"type\": \"object\", \"propertyNames\": "
                     "{\"pattern\": \"" NAME_PATTERN "\", \"maxLength\": 63}, "
                     "\"additionalProperties\": ");
    schema_of_section(RV_CONF_ZONE, indent, out);
    rv_buf_puts(out, "}");
}

static void
schema_of_zone_uses(int indent, struct rv_buf *out)
{
    static const char name[] =
        "{\"type\": \"string\", \"pattern\": \"" NAME_PATTERN "\"}";
    rv_buf_printf(out,
                  "{\"anyOf\": [%s, {\"type\": \"array\", \"maxItems\": "
                  "64, \"items\": {\"anyOf\": [%s, ",
                  name, name);
    schema_of_section(RV_CONF_ZONE_USE, indent, out);
    rv_buf_puts(out, "]}}]}");
}

static void
schema_of_value(const struct rv_conf_key *key, int indent, struct rv_buf *out)
{
    char section[64];
    switch ((int)key->type) {
    case RV_CONF_TYPE_CHOICE:
    case RV_CONF_TYPE_SWITCH:
        schema_of_choice(key, out);
        break;
    case RV_CONF_TYPE_INTEGER:
        schema_of_integer(key, out);
        break;
    case RV_CONF_TYPE_SERVICES:
        schema_of_services(indent, out);
        break;
    case RV_CONF_TYPE_LISTENS:
        schema_of_listens(out);
        break;
    case RV_CONF_TYPE_ZONES:
        schema_of_zones(indent, out);
        break;
    case RV_CONF_TYPE_ZONE_USES:
        schema_of_zone_uses(indent, out);
        break;
    case RV_CONF_TYPE_SECTION:
        rv__conf_section_name(key, section, sizeof section);
        schema_of_section(section, indent, out);
        break;
    default:
        rv_buf_puts(out, type_schemas[key->type]);
        break;
    }
}

static void
schema_of_default(const struct rv_conf_key *key, struct rv_buf *out)
{
    int64_t number;
    if (!key->fallback) {
        return;
    }
    rv_buf_puts(out, "\"default\": ");
    if (key->type == RV_CONF_TYPE_BOOLEAN) {
        rv_buf_puts(out, strcmp(key->fallback, "on") ? "false" : "true");
    } else if (!rv_str_parse_integer(key->fallback, &number)) {
        rv_buf_puts(out, key->fallback);
    } else {
        put_json_string(key->fallback, out);
    }
    rv_buf_puts(out, ", ");
}

/* A key may be written without a value, which is its default. */
static void
schema_of_key(const struct rv_conf_key *key, int indent, struct rv_buf *out)
{
    bool is_optional = !(key->flags & RV_CONF_REQUIRED);
    rv_buf_printf(out, "%*s\"%s\": {\"description\": ", indent, "", key->name);
    put_json_string(key->help, out);
    rv_buf_puts(out, ", ");
    schema_of_default(key, out);
    rv_buf_puts(out, "\"anyOf\": [");
    schema_of_value(key, indent, out);
    rv_buf_puts(out, is_optional ? ", {\"type\": \"null\"}]}" : "]}");
}

static void
schema_of_section(const char *section, int indent, struct rv_buf *out)
{
    const char *comma = "";
    rv_buf_puts(out, "{\"type\": \"object\", \"additionalProperties\": "
                     "false, \"properties\": {\n");
    for (size_t i = 0; i < rv__conf_n_keys; i++) {
        if (!strcmp(rv__conf_keys[i].section, section)) {
            rv_buf_puts(out, comma);
            schema_of_key(&rv__conf_keys[i], indent + 2, out);
            comma = ",\n";
        }
    }
    rv_buf_printf(out, "\n%*s}", indent, "");
    comma = ", \"required\": [";
    for (size_t i = 0; i < rv__conf_n_keys; i++) {
        const struct rv_conf_key *key = &rv__conf_keys[i];
        if (!strcmp(key->section, section)
            && (key->flags & RV_CONF_REQUIRED)) {
            rv_buf_printf(out, "%s\"%s\"", comma, key->name);
            comma = ", ";
        }
    }
    rv_buf_puts(out, !strcmp(comma, ", ") ? "]}" : "}");
}

int
rv_conf_json_schema(struct rv_buf *out)
{
    rv_buf_puts(out, "{\"$schema\": "
                     "\"https://json-schema.org/draft/2020-12/schema\",\n"
                     " \"title\": \"Configuration of reeve\",\n"
                     " \"$defs\": {\"listen\": ");
    schema_of_section(RV_CONF_LISTEN, 2, out);
    rv_buf_puts(out, "},\n \"allOf\": [");
    schema_of_section("", 2, out);
    rv_buf_puts(out, "]}\n");
    return out->failed ? -EMSGSIZE : 0;
}

/* The man page. */

/* Escapes what scdoc takes for markup, and drops the quotes around code. */
static void
put_scdoc(const char *text, struct rv_buf *out)
{
    for (; *text; text++) {
        if (*text == '`') {
            continue;
        }
        if (strchr("_*\\<>#[]|", *text)) {
            rv_buf_puts(out, "\\");
        }
        rv_buf_put(out, text, 1);
    }
}

/* "services.*.listen.*" and "name" as "services.NAME.listen[].name". */
static void
put_full_name(const struct rv_conf_key *key, struct rv_buf *out)
{
    static const char service[] = RV_CONF_SERVICE;
    const char *section = key->section;
    if (!strncmp(section, service, sizeof service - 1)) {
        put_scdoc("services.NAME", out);
        section += sizeof service - 1;
    }
    if (!strcmp(section, ".listen.*")) {
        put_scdoc(".listen[]", out);
    } else if (!strcmp(section, ".zones.*")) {
        put_scdoc(".zones[]", out);
    } else if (!strcmp(section, RV_CONF_ZONE)) {
        put_scdoc("zones.NAME", out);
    } else {
        put_scdoc(section, out);
    }
    put_scdoc(key->section[0] ? "." : "", out);
    put_scdoc(key->name, out);
}

static void
put_default(const struct rv_conf_key *key, struct rv_buf *out)
{
    if (key->flags & RV_CONF_REQUIRED) {
        rv_buf_puts(out, "required");
    } else {
        put_scdoc(key->fallback ? key->fallback : "-", out);
    }
}

static void
put_row(const struct rv_conf_key *key, struct rv_buf *out)
{
    char expected[RV_CONF_EXPECTED];
    if (key->type == RV_CONF_TYPE_SECTION) {
        return;
    }
    rv__conf_expected(key, expected);
    rv_buf_puts(out, "|  *");
    put_full_name(key, out);
    rv_buf_puts(out, "*\n:  ");
    put_default(key, out);
    rv_buf_puts(out, "\n:  ");
    put_scdoc(key->help, out);
    rv_buf_puts(out, " Write ");
    put_scdoc(expected, out);
    rv_buf_puts(out, ".\n");
}

int
rv_conf_man_table(struct rv_buf *out)
{
    rv_buf_puts(out, "[[ *Key*\n:[ *Default*\n:< *Meaning*\n");
    for (size_t i = 0; i < rv__conf_n_keys; i++) {
        put_row(&rv__conf_keys[i], out);
    }
    rv_buf_puts(out, "\n");
    return out->failed ? -EMSGSIZE : 0;
}
