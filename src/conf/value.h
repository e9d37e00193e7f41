/* Values that are one word: how each type is read, written and described.
 *
 * Room: conf (private).  Blocks: never.
 *
 *     struct rv_error why = {0};
 *     if (rv__conf_word_read(key, "10s", "/etc/reeve", service, &why)) { ... }
 *     rv__conf_word_write(key, service, &out);              // 10s
 */
#ifndef RV_CONF_VALUE_H
#define RV_CONF_VALUE_H

#include "reeve/buf.h"
#include "reeve/error.h"
#include "conf/schema.h"

/* Room for the sentence of rv__conf_expected. */
enum { RV_CONF_EXPECTED = 256 };

/* Reads 'text' into the field of 'key' in the struct 'base'.  -EINVAL: 'why'
 * then holds a sentence, or nothing if rv__conf_expected says it all; -ENOMEM.
 * The field is untouched then, and must not own anything before. */
int rv__conf_word_read(const struct rv_conf_key *key, const char *text,
                       const char *directory, void *base,
                       struct rv_error *why);

/* Gives the field of 'key' the value that means "not there". */
void rv__conf_word_unset(const struct rv_conf_key *key, void *base);

/* Appends the field in such a way that reading it gives the same value. */
void rv__conf_word_write(const struct rv_conf_key *key, const void *base,
                         struct rv_buf *out);

/* What to write for 'key': "a duration such as 500ms, 5s or 1m30s". */
void rv__conf_expected(const struct rv_conf_key *key,
                       char expected[RV_CONF_EXPECTED]);

/* The choice that 'text' was likely meant to be, or NULL. */
const char *rv__conf_nearest_choice(const struct rv_conf_key *key,
                                    const char *text);

/* True for [A-Za-z0-9_][A-Za-z0-9._-]{0,63}: services, listens, reeve. */
bool rv__conf_is_name(const char *text);

/* A path made absolute, for the caller to free.  -EINVAL, -ENOMEM. */
int rv__conf_absolute_path(const char *text, const char *directory,
                           char **pathp, struct rv_error *why);

#endif
