/* From the tree to the configuration, by the table.
 *
 * Room: conf (private).  Blocks: never.
 *
 * A reader goes on after an error, so that all of them are reported; what it
 * built then is only good to be destroyed.
 *
 *     struct rv_conf_reader reader = {
 *         .report = &report, .directory = "/etc/reeve", .conf = conf};
 *     rv__conf_read_section(&reader, "", root, root->place, conf);
 */
#ifndef RV_CONF_READER_H
#define RV_CONF_READER_H

#include "conf/report.h"
#include "conf/schema.h"
#include "conf/tree.h"

/* More than any system needs, and little enough that what is quadratic in
 * them stays quick. */
enum {
    RV_CONF_SERVICES_MAX = 1000,
    RV_CONF_LISTENS_MAX = 64, /* Of one service. */
    RV_CONF_ZONES_MAX = 64,   /* Also of one service. */
    RV_CONF_WORDS_MAX = 4096, /* Of a command or an environment. */
};

struct rv_conf_reader {
    struct rv_conf_report *report;
    const char *directory; /* Absolute. */
    struct rv_conf *conf;

    /* The service that is being read. */
    struct rv_conf_service *service;
    bool reuseport; /* The default of its listens. */
};

/* Reads the keys of 'section' from 'map' (NULL: none is there) into the
 * struct 'base'.  'place' is where a missing key is missed. */
void rv__conf_read_section(struct rv_conf_reader *reader, const char *section,
                           const struct rv_conf_node *map,
                           struct rv_conf_place place, void *base);

/* Complains that 'node' is not what 'key' expects. */
void rv__conf_complain(struct rv_conf_reader *reader,
                       const struct rv_conf_key *key,
                       const struct rv_conf_node *node);

/* The readers of the types that are more than a word.  'node' is not null. */
void rv__conf_read_command(struct rv_conf_reader *reader,
                           const struct rv_conf_key *key,
                           const struct rv_conf_node *node, void *base);
void rv__conf_read_ready(struct rv_conf_reader *reader,
                         const struct rv_conf_key *key,
                         const struct rv_conf_node *node, void *base);
void rv__conf_read_environment(struct rv_conf_reader *reader,
                               const struct rv_conf_key *key,
                               const struct rv_conf_node *node, void *base);
void rv__conf_read_listens(struct rv_conf_reader *reader,
                           const struct rv_conf_key *key,
                           const struct rv_conf_node *node, void *base);
void rv__conf_read_zones(struct rv_conf_reader *reader,
                         const struct rv_conf_key *key,
                         const struct rv_conf_node *node, void *base);
void rv__conf_read_zone_uses(struct rv_conf_reader *reader,
                             const struct rv_conf_key *key,
                             const struct rv_conf_node *node, void *base);

/* Splits 'text' as a shell splits words, expanding nothing.  Gives the caller
 * a new '*wordsp', or NULL for no words.  -EINVAL with a sentence in 'why', or
 * -ENOMEM. */
int rv__conf_split_words(const char *text, char ***wordsp,
                         struct rv_error *why);

/* What no key says alone: combinations within one service ('map' is its
 * node), and of all services together ('map' is the node of `services`).
 * Only for what was read without an error. */
void rv__conf_check_service(struct rv_conf_reader *reader,
                            const struct rv_conf_service *service,
                            const struct rv_conf_node *map,
                            struct rv_conf_place place);
void rv__conf_check_all(struct rv_conf_reader *reader,
                        const struct rv_conf_node *root);

/* What 'root' says of zones, and what services want of them. */
void rv__conf_check_zones(struct rv_conf_reader *reader,
                          const struct rv_conf_node *root);

/* The place of 'key' in 'map', or 'place' if it is not there. */
struct rv_conf_place rv__conf_place_of(const struct rv_conf_node *map,
                                       const char *key,
                                       struct rv_conf_place place);

/* The node of the service's listen number 'i', or NULL. */
const struct rv_conf_node *rv__conf_listen_node(const struct rv_conf_node *map,
                                                size_t i);

#endif
