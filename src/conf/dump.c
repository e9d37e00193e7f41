/* The configuration as text, by the table. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "conf/conf.h"
#include "conf/schema.h"
#include "conf/value.h"

/* Words. */

/* What some reader of YAML takes for something else than a text. */
static bool
is_reserved(const char *string)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};
    for (size_t i = 0; i < RV_ARRAY_SIZE(words); i++) {
        if (!strcasecmp(string, words[i])) {
            return true;
        }
    }
    return false;
}

static bool
is_plain(const char *string)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ_/";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ_/.-0123456789";
    return string[0] && strchr(first, string[0])
           && !string[strspn(string, rest)] && !is_reserved(string);
}

/* The code point of a character of two or three bytes that readers of YAML
 * may drop or fold: C1 controls, line and paragraph separators, the byte order
 * mark, and what is no character.  0 for others. */
static unsigned int
special_code(const unsigned char *at)
{
    unsigned int code = 0;
    if (at[0] == 0xc2) {
        code = at[1];
        return code <= 0xa0 ? code : 0;
    }
    if ((at[0] & 0xf0) == 0xe0) {
        code =
            ((at[0] & 0x0fu) << 12) | ((at[1] & 0x3fu) << 6) | (at[2] & 0x3fu);
    }
    bool is_special =
        code == 0x2028 || code == 0x2029 || code == 0xfeff || code >= 0xfffe;
    return is_special ? code : 0;
}

static void
put_control(unsigned char c, struct rv_buf *out)
{
    if (c == '\n') {
        rv_buf_puts(out, "\\n");
    } else if (c == '\t') {
        rv_buf_puts(out, "\\t");
    } else {
        rv_buf_printf(out, "\\u%04x", c);
    }
}

/* The escapes of JSON, which are among those of YAML. */
static void
put_quoted(const char *string, struct rv_buf *out)
{
    const unsigned char *at = (const unsigned char *)string;
    rv_buf_puts(out, "\"");
    while (*at) {
        unsigned int code = *at >= 0x80 ? special_code(at) : 0;
        if (code) {
            rv_buf_printf(out, "\\u%04x", code);
            at += code > 0xff ? 3 : 2;
            continue;
        }
        if (*at < 0x20 || *at == 0x7f) {
            put_control(*at, out);
        } else {
            if (*at == '"' || *at == '\\') {
                rv_buf_puts(out, "\\");
            }
            rv_buf_put(out, at, 1);
        }
        at++;
    }
    rv_buf_puts(out, "\"");
}

int
rv_conf_quote(const char *string, struct rv_buf *out)
{
    if (is_plain(string)) {
        rv_buf_puts(out, string);
    } else {
        put_quoted(string, out);
    }
    return out->failed ? -EMSGSIZE : 0;
}

/* Sections. */

struct dumper {
    struct rv_buf *out;
    bool with_workers;
};

static void dump_section(const struct dumper *dumper, const char *section,
                         const void *base, int indent, bool is_item);

static void
put_words(char *const *words, const char *first, struct rv_buf *out)
{
    rv_buf_puts(out, " [");
    rv_buf_puts(out, first);
    for (size_t i = 0; words[i]; i++) {
        rv_buf_puts(out, i || first[0] ? ", " : "");
        rv_conf_quote(words[i], out);
    }
    rv_buf_puts(out, "]\n");
}

static void
dump_ready(const struct dumper *dumper, const struct rv_conf_key *key,
           const struct rv_conf_service *service)
{
    if (service->ready == RV_CONF_READY_EXEC) {
        put_words(service->probe_command, "exec", dumper->out);
    } else if (service->ready == RV_CONF_READY_HTTP) {
        char text[1200];
        rv_str_copy(text, sizeof text, "http ");
        rv_str_copy(text + 5, sizeof text - 5, service->probe_path);
        rv_buf_puts(dumper->out, " ");
        rv_conf_quote(text, dumper->out);
        rv_buf_puts(dumper->out, "\n");
    } else {
        rv_buf_printf(dumper->out, " %s\n", key->choices[service->ready]);
    }
}

static void
dump_environment(const struct dumper *dumper,
                 const struct rv_conf_service *service, int indent)
{
    char *const *environment = service->environment;
    rv_buf_puts(dumper->out, environment ? "\n" : " {}\n");
    for (size_t i = 0; environment && environment[i]; i++) {
        char name[256];
        const char *value = strchr(environment[i], '=');
        RV_ASSERT(value && (size_t)(value - environment[i]) < sizeof name);
        memcpy(name, environment[i], (size_t)(value - environment[i]));
        name[value - environment[i]] = '\0';
        rv_buf_printf(dumper->out, "%*s", indent + 2, "");
        rv_conf_quote(name, dumper->out);
        rv_buf_puts(dumper->out, ": ");
        rv_conf_quote(value + 1, dumper->out);
        rv_buf_puts(dumper->out, "\n");
    }
}

static void
dump_listens(const struct dumper *dumper,
             const struct rv_conf_service *service, int indent)
{
    rv_buf_puts(dumper->out, service->n_listens ? "\n" : " []\n");
    for (size_t i = 0; i < service->n_listens; i++) {
        dump_section(dumper, RV_CONF_LISTEN, &service->listens[i], indent + 2,
                     true);
    }
}

static void
dump_zone_uses(const struct dumper *dumper,
               const struct rv_conf_service *service, int indent)
{
    rv_buf_puts(dumper->out, service->n_zones ? "\n" : " []\n");
    for (size_t i = 0; i < service->n_zones; i++) {
        dump_section(dumper, RV_CONF_ZONE_USE, &service->zones[i], indent + 2,
                     true);
    }
}

static void
dump_zones(const struct dumper *dumper, const struct rv_conf *conf)
{
    rv_buf_puts(dumper->out, conf->n_zones ? "\n" : " {}\n");
    for (size_t i = 0; i < conf->n_zones; i++) {
        rv_buf_puts(dumper->out, "  ");
        rv_conf_quote(conf->zones[i].name, dumper->out);
        rv_buf_puts(dumper->out, ":\n");
        dump_section(dumper, RV_CONF_ZONE, &conf->zones[i], 4, false);
    }
}

static void
dump_service(const struct dumper *dumper,
             const struct rv_conf_service *service)
{
    rv_buf_puts(dumper->out, "  ");
    rv_conf_quote(service->name, dumper->out);
    rv_buf_puts(dumper->out, ":\n");
    dump_section(dumper, RV_CONF_SERVICE, service, 4, false);
}

static void
dump_services(const struct dumper *dumper, const struct rv_conf *conf)
{
    rv_buf_puts(dumper->out, "\n");
    for (size_t i = 0; i < conf->n_services; i++) {
        dump_service(dumper, &conf->services[i]);
    }
}

static void
dump_subsection(const struct dumper *dumper, const struct rv_conf_key *key,
                const void *base, int indent)
{
    char section[64];
    rv__conf_section_name(key, section, sizeof section);
    rv_buf_puts(dumper->out, "\n");
    dump_section(dumper, section, base, indent + 2, false);
}

static void
dump_value(const struct dumper *dumper, const struct rv_conf_key *key,
           const void *base, int indent)
{
    switch ((int)key->type) {
    case RV_CONF_TYPE_SECTION:
        dump_subsection(dumper, key, base, indent);
        break;
    case RV_CONF_TYPE_SERVICES:
        dump_services(dumper, base);
        break;
    case RV_CONF_TYPE_ZONES:
        dump_zones(dumper, base);
        break;
    case RV_CONF_TYPE_ZONE_USES:
        dump_zone_uses(dumper, base, indent);
        break;
    case RV_CONF_TYPE_COMMAND:
        put_words(((const struct rv_conf_service *)base)->command, "",
                  dumper->out);
        break;
    case RV_CONF_TYPE_READY:
        dump_ready(dumper, key, base);
        break;
    case RV_CONF_TYPE_ENVIRONMENT:
        dump_environment(dumper, base, indent);
        break;
    case RV_CONF_TYPE_LISTENS:
        dump_listens(dumper, base, indent);
        break;
    default:
        rv_buf_puts(dumper->out, " ");
        rv__conf_word_write(key, base, dumper->out);
        rv_buf_puts(dumper->out, "\n");
        break;
    }
}

/* 'is_item': the first key stands behind the dash of a list. */
static void
dump_section(const struct dumper *dumper, const char *section,
             const void *base, int indent, bool is_item)
{
    for (size_t i = 0; i < rv__conf_n_keys; i++) {
        const struct rv_conf_key *key = &rv__conf_keys[i];
        bool is_workers = !strcmp(key->name, "workers");
        if (strcmp(key->section, section) != 0
            || (key->flags & RV_CONF_INPUT_ONLY)
            || (is_workers && !dumper->with_workers)) {
            continue;
        }
        rv_buf_printf(dumper->out, "%*s%s%s:", indent, "", is_item ? "- " : "",
                      key->name);
        if (is_item) {
            indent += 2;
            is_item = false;
        }
        dump_value(dumper, key, base, indent);
    }
}

int
rv_conf_dump(const struct rv_conf *conf, struct rv_buf *out)
{
    struct dumper dumper = {.out = out, .with_workers = true};
    dump_section(&dumper, "", conf, 0, false);
    return out->failed ? -EMSGSIZE : 0;
}

int
rv_conf_dump_service(const struct rv_conf_service *service, bool with_workers,
                     struct rv_buf *out)
{
    struct dumper dumper = {.out = out, .with_workers = with_workers};
    dump_service(&dumper, service);
    return out->failed ? -EMSGSIZE : 0;
}
