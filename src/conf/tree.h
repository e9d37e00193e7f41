/* A YAML text as a tree of words, lists and mappings.
 *
 * Room: conf (private).  Blocks: never.
 * Source: YAML 1.2.2; the merge key `<<` of YAML 1.1.
 *
 * libfyaml scans the text; everything that could make a small text large or
 * deep is bounded here: depth, and what aliases expand to.  An alias is the
 * very node that its anchor names, so the tree is a graph without cycles.
 *
 *     struct rv_conf_tree tree = {0};
 *     rv__conf_tree_build(&tree, text, length, &report);
 *     if (tree.root) { ... }
 *     rv__conf_tree_destroy(&tree);
 */
#ifndef RV_CONF_TREE_H
#define RV_CONF_TREE_H

#include <stdbool.h>

#include "reeve/base.h"
#include "conf/report.h"

enum rv_conf_kind {
    RV_CONF_WORD,
    RV_CONF_LIST,
    RV_CONF_MAP,
};

struct rv_conf_node {
    enum rv_conf_kind kind;
    struct rv_conf_place place;

    /* A word: its text without NUL bytes inside, UTF-8. */
    char *text;
    bool is_plain; /* Neither quoted nor a block. */

    /* A list: n items.  A mapping: n keys (words) and n values (items). */
    struct rv_conf_node **keys, **items;
    size_t n;

    size_t weight;             /* Of the node with all below it. */
    bool is_open;              /* While its children are read. */
    struct rv_conf_node *next; /* In the order of allocation. */
};

struct rv_conf_tree {
    struct rv_conf_node *root; /* NULL if the text is empty or wrong. */
    struct rv_conf_node *all;  /* Owned. */
};

/* Reads 'text'.  What is wrong goes to 'report'; 'tree->root' is then NULL or
 * what could be read. */
void rv__conf_tree_build(struct rv_conf_tree *tree, const char *text,
                         size_t length, struct rv_conf_report *report);

/* Frees all nodes.  Idempotent. */
void rv__conf_tree_destroy(struct rv_conf_tree *tree);

/* The value of 'key' in a mapping, or NULL (also if 'map' is NULL). */
struct rv_conf_node *rv__conf_tree_find(const struct rv_conf_node *map,
                                        const char *key);

/* True for nothing at all, `~` and `null` without quotes. */
bool rv__conf_tree_is_null(const struct rv_conf_node *node);

/* The word of the node for an error: `the text "abc"`, `a list`, ...; cut
 * short if it is long. */
enum { RV_CONF_FOUND = 96 };
void rv__conf_tree_describe(const struct rv_conf_node *node,
                            char found[RV_CONF_FOUND]);

#endif
