/* The table of all keys.
 *
 * Room: conf (private).  Blocks: never.
 *
 * One row defines a key whole; the parser, the dump, the JSON Schema and the
 * man page's table walk the rows and know no key by name.  What a type means
 * (how it is read, written and described) is in conf/value.c for words and in
 * conf/compound.c for the rest.
 *
 * Sections: "" is the top, "log" and "limits" are mappings in it, "services.*"
 * is one service, "services.*.listen.*" one entry of its list, and so on.
 *
 *     for (size_t i = 0; i < rv__conf_n_keys; i++) {
 *         const struct rv_conf_key *key = &rv__conf_keys[i];
 *         ...
 *     }
 */
#ifndef RV_CONF_SCHEMA_H
#define RV_CONF_SCHEMA_H

#include <stdbool.h>

#include "reeve/base.h"
#include "conf/conf.h"

/* What the field at 'offset' is, and how people write it. */
enum rv_conf_type {
    RV_CONF_TYPE_NAME,        /* char *: [A-Za-z0-9._-]{1,64} */
    RV_CONF_TYPE_TEXT,        /* char *: not empty */
    RV_CONF_TYPE_PATH,        /* char *: made absolute */
    RV_CONF_TYPE_BOOLEAN,     /* bool */
    RV_CONF_TYPE_INTEGER,     /* int: 'min' to 'max', or 'word' */
    RV_CONF_TYPE_OCTAL,       /* int: file mode bits */
    RV_CONF_TYPE_SIGNAL,      /* int: TERM, SIGTERM, 15 */
    RV_CONF_TYPE_DURATION,    /* int64_t: milliseconds */
    RV_CONF_TYPE_SIZE,        /* int64_t or uint64_t: bytes */
    RV_CONF_TYPE_CHOICE,      /* an enum: the index among 'choices' */
    RV_CONF_TYPE_SWITCH,      /* bool: is it the second of 'choices'? */
    RV_CONF_TYPE_COUNT_LIMIT, /* struct rv_conf_rlimit */
    RV_CONF_TYPE_SIZE_LIMIT,  /* struct rv_conf_rlimit */
    RV_CONF_TYPE_OUTPUT,      /* struct rv_conf_output_to */
    RV_CONF_TYPE_ADDRESS,     /* struct rv_address */

    /* The types from here on are not always one word. */
    RV_CONF_TYPE_COMMAND,     /* char **: words */
    RV_CONF_TYPE_ENVIRONMENT, /* char **: NAME=value */
    RV_CONF_TYPE_READY,       /* 'ready' and its probe, of a service */
    RV_CONF_TYPE_LISTENS,     /* 'listens' of a service */
    RV_CONF_TYPE_ZONES,       /* a mapping of names to zones */
    RV_CONF_TYPE_ZONE_USES,   /* 'zones' of a service */
    RV_CONF_TYPE_SECTION,     /* a mapping with keys of its own */
    RV_CONF_TYPE_SERVICES,    /* a mapping of names to services */
};

enum {
    RV_CONF_REQUIRED = 1 << 0,
    /* Only a default for other keys: read, but not part of the value. */
    RV_CONF_INPUT_ONLY = 1 << 1,
};

struct rv_conf_key {
    const char *section;
    const char *name;
    enum rv_conf_type type;
    size_t offset;        /* In the struct of the section. */
    const char *fallback; /* The default as text; NULL: 'unset' or NULL. */
    int64_t min, max;
    const char *const *choices; /* Ends with NULL. */
    const char *word;           /* An integer's one word, as `auto`. */
    int word_value;
    int unset; /* Of INTEGER and OCTAL without a value. */
    int flags;
    const char *help; /* A sentence. */
};

extern const struct rv_conf_key rv__conf_keys[];
extern const size_t rv__conf_n_keys;

/* The sections below one, by their full name. */
#define RV_CONF_SERVICE  "services.*"
#define RV_CONF_LISTEN   "services.*.listen.*"
#define RV_CONF_ZONE     "zones.*"
#define RV_CONF_ZONE_USE "services.*.zones.*"

/* The row of 'name' in 'section', or NULL. */
const struct rv_conf_key *rv__conf_key_find(const char *section,
                                            const char *name);

/* The name of the section that a row of type SECTION stands for. */
void rv__conf_section_name(const struct rv_conf_key *key, char *name,
                           size_t size);

/* Copies a field of 'size' bytes to or from the struct 'base'. */
void rv__conf_field_get(const struct rv_conf_key *key, const void *base,
                        void *value, size_t size);
void rv__conf_field_set(const struct rv_conf_key *key, void *base,
                        const void *value, size_t size);

#endif
