/* The events of libfyaml's parser build the tree.  Its own document builder
 * is not used: it recurses, and it compares each new key with all others of
 * the mapping. */
#include "conf/tree.h"

#include <errno.h>
#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* The schema is five levels deep; more can only be a mistake. */
enum { DEPTH_MAX = 32 };

/* They are searched one by one. */
enum { ANCHORS_MAX = 1000 };

/* Bytes that all aliases together may expand to, each node counting as its
 * text and a bit more. */
enum { ALIAS_WEIGHT_MAX = 8 << 20, NODE_WEIGHT = 16 };

struct anchor {
    char *name;
    struct rv_conf_node *node;
};

struct builder {
    struct rv_conf_tree *tree;
    struct rv_conf_report *report;
    struct rv_conf_node *open[DEPTH_MAX]; /* The outermost first. */
    struct rv_conf_node *key[DEPTH_MAX];  /* Waits for its value, or NULL. */
    size_t depth;
    struct anchor *anchors;
    size_t n_anchors;
    size_t alias_weight;
    size_t n_documents;
    struct rv_conf_place last; /* For events that know no place. */
    bool is_done;
};

/* One event, as far as the tree cares. */
struct item {
    struct fy_event *event;
    struct fy_token *anchor, *tag;
    struct rv_conf_place place;
};

bool
rv__conf_tree_is_null(const struct rv_conf_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (node->kind != RV_CONF_WORD || !node->is_plain) {
        return false;
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(nulls); i++) {
        if (!strcmp(node->text, nulls[i])) {
            return true;
        }
    }
    return false;
}

struct rv_conf_node *
rv__conf_tree_find(const struct rv_conf_node *map, const char *key)
{
    for (size_t i = 0; map && map->kind == RV_CONF_MAP && i < map->n; i++) {
        if (!strcmp(map->keys[i]->text, key)) {
            return map->items[i];
        }
    }
    return NULL;
}

void
rv__conf_tree_describe(const struct rv_conf_node *node,
                       char found[RV_CONF_FOUND])
{
    if (node->kind != RV_CONF_WORD) {
        snprintf(found, RV_CONF_FOUND, "%s %s", node->n ? "a" : "an empty",
                 node->kind == RV_CONF_LIST ? "list" : "mapping");
        return;
    }
    if (rv__conf_tree_is_null(node)) {
        rv_str_copy(found, RV_CONF_FOUND, "nothing");
        return;
    }
    size_t length = strlen(node->text);
    size_t shown = rv_str_utf8_prefix(node->text, RV_MIN(length, 60));
    snprintf(found, RV_CONF_FOUND, "\"%.*s%s\"", (int)shown, node->text,
             shown < length ? "..." : "");
}

static void
free_node(struct rv_conf_node *node)
{
    free(node->text);
    free(node->keys);
    free(node->items);
    free(node);
}

void
rv__conf_tree_destroy(struct rv_conf_tree *tree)
{
    while (tree->all) {
        struct rv_conf_node *node = tree->all;
        tree->all = node->next;
        free_node(node);
    }
    tree->root = NULL;
}

/* Ends the build; the first such complaint is the last. */
#define STOP(BUILDER, PLACE, ...)                               \
  do {                                                          \
    rv__conf_report_add((BUILDER)->report, PLACE, __VA_ARGS__); \
    (BUILDER)->is_done = true;                                  \
  } while (0)

static void
stop_no_memory(struct builder *builder)
{
    rv__conf_report_no_memory(builder->report);
    builder->is_done = true;
}

static struct rv_conf_node *
new_node(struct builder *builder, enum rv_conf_kind kind,
         struct rv_conf_place place)
{
    struct rv_conf_node *node = calloc(1, sizeof *node);
    if (!node) {
        stop_no_memory(builder);
        return NULL;
    }
    node->kind = kind;
    node->place = place;
    node->weight = NODE_WEIGHT;
    node->next = builder->tree->all;
    builder->tree->all = node;
    return node;
}

/* Makes room in an array that holds 'n' pointers and has grown by doubling
 * since it was empty. */
static bool
grow(struct rv_conf_node ***arrayp, size_t n)
{
    if (n & (n - 1)) {
        return true;
    }
    size_t size = RV_MAX(2 * n, 1) * sizeof **arrayp;
    struct rv_conf_node **array = realloc(*arrayp, size);
    if (!array) {
        return false;
    }
    *arrayp = array;
    return true;
}

static bool
append(struct rv_conf_node *parent, struct rv_conf_node *key,
       struct rv_conf_node *item)
{
    if (!grow(&parent->items, parent->n)
        || (key && !grow(&parent->keys, parent->n))) {
        return false;
    }
    if (key) {
        parent->keys[parent->n] = key;
        parent->weight += key->weight;
    }
    parent->items[parent->n++] = item;
    parent->weight += item->weight;
    return true;
}

/* Puts a finished node where it belongs: the root, a list's next item, a
 * mapping's next key or value. */
static void
attach(struct builder *builder, struct rv_conf_node *node)
{
    if (builder->depth == 0) {
        builder->tree->root = node;
        return;
    }
    struct rv_conf_node *parent = builder->open[builder->depth - 1];
    struct rv_conf_node **keyp = &builder->key[builder->depth - 1];
    if (parent->kind == RV_CONF_MAP && !*keyp) {
        if (node->kind != RV_CONF_WORD) {
            STOP(builder, node->place,
                 "a key must be a word, not a list or a mapping; write "
                 "`key: value`");
        }
        *keyp = node;
        return;
    }
    if (!append(parent, *keyp, node)) {
        stop_no_memory(builder);
    }
    *keyp = NULL;
}

/* Duplicate and merge keys, once a mapping is complete. */

/* A pair on its way through the sort. */
struct pair {
    struct rv_conf_node *key, *item;
    size_t number; /* Explicit pairs first, then merged ones in order. */
};

static int
compare_pairs(const void *left, const void *right)
{
    const struct pair *a = left;
    const struct pair *b = right;
    int order = strcmp(a->key->text, b->key->text);
    if (order) {
        return order;
    }
    return a->number < b->number ? -1 : a->number > b->number;
}

static int
compare_numbers(const void *left, const void *right)
{
    const struct pair *a = left;
    const struct pair *b = right;
    return a->number < b->number ? -1 : a->number > b->number;
}

static bool
is_merge_key(const struct rv_conf_node *key)
{
    return key->is_plain && !strcmp(key->text, "<<");
}

/* Appends the pairs of what a merge key names behind the explicit ones. */
static void
merge(struct builder *builder, struct rv_conf_node *map,
      const struct rv_conf_node *from)
{
    if (from->kind == RV_CONF_LIST) {
        for (size_t i = 0; i < from->n && !builder->is_done; i++) {
            if (from->items[i]->kind != RV_CONF_MAP) {
                STOP(builder, from->items[i]->place,
                     "`<<` merges mappings only; name an anchor of one, as "
                     "in `<<: *base`");
                return;
            }
            merge(builder, map, from->items[i]);
        }
        return;
    }
    if (from->kind != RV_CONF_MAP) {
        STOP(builder, from->place,
             "`<<` merges mappings only; name an anchor of one, as in "
             "`<<: *base`");
        return;
    }
    for (size_t i = 0; i < from->n; i++) {
        if (!append(map, from->keys[i], from->items[i])) {
            stop_no_memory(builder);
            return;
        }
    }
}

/* Drops the later ones of equal keys, and complains about those that were
 * written twice in the mapping itself. */
static size_t
drop_duplicates(struct builder *builder, struct pair *pairs, size_t n,
                size_t n_explicit)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct pair *kept = n_kept ? &pairs[n_kept - 1] : NULL;
        if (!kept || strcmp(kept->key->text, pairs[i].key->text) != 0) {
            pairs[n_kept++] = pairs[i];
        } else if (pairs[i].number < n_explicit) {
            char found[RV_CONF_FOUND];
            rv__conf_tree_describe(pairs[i].key, found);
            rv__conf_report_add(builder->report, pairs[i].key->place,
                                "the key %s is already at line %d; remove "
                                "one of the two",
                                found, kept->key->place.line);
        }
    }
    return n_kept;
}

static void
unify_keys(struct builder *builder, struct rv_conf_node *map,
           size_t n_explicit)
{
    struct pair *pairs = calloc(map->n ? map->n : 1, sizeof *pairs);
    if (!pairs) {
        stop_no_memory(builder);
        return;
    }
    size_t n = 0;
    for (size_t i = 0; i < map->n; i++) {
        if (!is_merge_key(map->keys[i])) {
            pairs[n++] = (struct pair){map->keys[i], map->items[i], i};
        }
    }
    qsort(pairs, n, sizeof *pairs, compare_pairs);
    map->n = drop_duplicates(builder, pairs, n, n_explicit);
    qsort(pairs, map->n, sizeof *pairs, compare_numbers);
    for (size_t i = 0; i < map->n; i++) {
        map->keys[i] = pairs[i].key;
        map->items[i] = pairs[i].item;
    }
    free(pairs);
}

static void
finish_map(struct builder *builder, struct rv_conf_node *map)
{
    size_t n_explicit = map->n;
    for (size_t i = 0; i < n_explicit && !builder->is_done; i++) {
        if (is_merge_key(map->keys[i])) {
            merge(builder, map, map->items[i]);
        }
    }
    if (!builder->is_done) {
        unify_keys(builder, map, n_explicit);
    }
}

/* Anchors and aliases. */

static void
set_anchor(struct builder *builder, struct fy_token *token,
           struct rv_conf_node *node)
{
    size_t length;
    const char *name = fy_token_get_text(token, &length);
    size_t n = builder->n_anchors;
    if (n == ANCHORS_MAX) {
        STOP(builder, builder->last,
             "there are more than %d anchors; use fewer", ANCHORS_MAX);
        return;
    }
    struct anchor *anchors =
        reallocarray(builder->anchors, n + 1, sizeof *anchors);
    if (anchors) {
        builder->anchors = anchors;
        anchors[n] = (struct anchor){
            .name = name ? strndup(name, length) : NULL, .node = node};
    }
    if (!anchors || !anchors[n].name) {
        stop_no_memory(builder);
        return;
    }
    builder->n_anchors++;
}

/* The last anchor of that name counts. */
static struct rv_conf_node *
find_anchor(const struct builder *builder, const char *name, size_t length)
{
    for (size_t i = builder->n_anchors; i-- > 0;) {
        const struct anchor *anchor = &builder->anchors[i];
        if (strlen(anchor->name) == length
            && !memcmp(anchor->name, name, length)) {
            return anchor->node;
        }
    }
    return NULL;
}

static void
on_alias(struct builder *builder, const struct item *item)
{
    size_t length = 0;
    const char *name =
        fy_token_get_text(fy_event_get_token(item->event), &length);
    struct rv_conf_node *node =
        name ? find_anchor(builder, name, length) : NULL;
    if (!node) {
        STOP(builder, item->place,
             "there is no anchor `&%.*s` above; write it before its alias",
             (int)RV_MIN(length, 64), name ? name : "");
        return;
    }
    if (node->is_open) {
        STOP(builder, item->place,
             "the alias `*%.*s` is inside of what it names; write the value "
             "out",
             (int)RV_MIN(length, 64), name);
        return;
    }
    builder->alias_weight += node->weight;
    if (builder->alias_weight > ALIAS_WEIGHT_MAX) {
        STOP(builder, item->place,
             "the aliases up to here expand to more than 8 MiB; use fewer");
        return;
    }
    attach(builder, node);
}

/* Events. */

/* Appends the text of a scalar.  By pieces, as fy_token_get_text() leaks when
 * a scalar has many escapes. */
static int
get_text(struct fy_token *token, struct rv_buf *text)
{
    struct fy_token_iter *iterator = fy_token_iter_create(token);
    if (!iterator) {
        return -ENOMEM;
    }
    int rc = 0;
    const struct fy_iter_chunk *chunk = NULL;
    while (!rc && (chunk = fy_token_iter_chunk_next(iterator, chunk, &rc))) {
        rc = rv_buf_put(text, chunk->str, chunk->len);
    }
    fy_token_iter_destroy(iterator);
    return rc ? -ENOMEM : 0;
}

/* Gives 'node' the text of 'token'. */
static void
set_text(struct builder *builder, struct rv_conf_node *node,
         struct fy_token *token)
{
    struct rv_buf text;
    rv_buf_init(&text, SIZE_MAX / 2);
    int rc = token ? get_text(token, &text) : 0;
    node->weight += text.length;
    if (!rc && text.length
        && (memchr(text.data, '\0', text.length)
            || rv_str_utf8_prefix(text.data, text.length) != text.length)) {
        STOP(builder, node->place,
             "the text has an escape for a character that cannot be used "
             "(NUL or half of a surrogate pair); remove it");
    }
    node->text = rc ? NULL : rv_buf_steal(&text);
    if (!node->text) {
        stop_no_memory(builder);
    }
    rv_buf_deinit(&text);
}

static void
on_word(struct builder *builder, const struct item *item)
{
    struct fy_token *token = fy_event_get_token(item->event);
    struct rv_conf_node *node = new_node(builder, RV_CONF_WORD, item->place);
    if (!node) {
        return;
    }
    node->is_plain = !token || fy_token_scalar_style(token) == FYSS_PLAIN;
    set_text(builder, node, token);
    if (!builder->is_done && item->anchor) {
        set_anchor(builder, item->anchor, node);
    }
    if (!builder->is_done) {
        attach(builder, node);
    }
}

static void
on_start(struct builder *builder, const struct item *item,
         enum rv_conf_kind kind)
{
    if (builder->depth == DEPTH_MAX) {
        STOP(builder, item->place,
             "lists and mappings are nested more than %d deep; flatten them",
             DEPTH_MAX);
        return;
    }
    struct rv_conf_node *node = new_node(builder, kind, item->place);
    if (!node) {
        return;
    }
    if (item->anchor) {
        set_anchor(builder, item->anchor, node);
    }
    node->is_open = true;
    builder->open[builder->depth] = node;
    builder->key[builder->depth] = NULL;
    builder->depth++;
}

static void
on_end(struct builder *builder)
{
    RV_ASSERT(builder->depth > 0);
    struct rv_conf_node *node = builder->open[--builder->depth];
    node->is_open = false;
    if (node->kind == RV_CONF_MAP) {
        finish_map(builder, node);
    }
    if (!builder->is_done) {
        attach(builder, node);
    }
}

/* Only YAML's own tags, `!!str` and the like, which say nothing new here. */
static void
check_tag(struct builder *builder, const struct item *item)
{
    size_t length = 0;
    const char *handle = fy_tag_token_handle(item->tag, &length);
    if (!handle || length != 2 || memcmp(handle, "!!", 2) != 0) {
        STOP(builder, item->place, "tags have no meaning here; remove it");
    }
}

static void
on_document(struct builder *builder)
{
    if (builder->n_documents++ > 0) {
        STOP(builder, builder->last,
             "a second document begins below here; a configuration is one "
             "document, so remove the `---`");
    }
}

/* True where the parser's mark is behind the quote or the asterisk. */
static bool
is_mark_inside(struct fy_event *event)
{
    struct fy_token *token = fy_event_get_token(event);
    if (event->type == FYET_ALIAS) {
        return true;
    }
    if (event->type != FYET_SCALAR || !token) {
        return false;
    }
    enum fy_scalar_style style = fy_token_scalar_style(token);
    return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
}

static struct rv_conf_place
event_place(struct builder *builder, struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    if (mark && mark->line >= 0) {
        bool is_inside = mark->column > 0 && is_mark_inside(event);
        builder->last = (struct rv_conf_place){
            .line = mark->line + 1,
            .column = mark->column + (is_inside ? 0 : 1)};
    }
    return builder->last;
}

static void
on_event(struct builder *builder, struct fy_event *event)
{
    struct item item = {
        .event = event,
        .anchor = fy_event_get_anchor_token(event),
        .tag = fy_event_get_tag_token(event),
        .place = event_place(builder, event),
    };
    if (item.tag) {
        check_tag(builder, &item);
    }
    if (builder->is_done) {
        return;
    }
    switch (event->type) {
    case FYET_DOCUMENT_START:
        on_document(builder);
        break;
    case FYET_SCALAR:
        on_word(builder, &item);
        break;
    case FYET_ALIAS:
        on_alias(builder, &item);
        break;
    case FYET_SEQUENCE_START:
        on_start(builder, &item, RV_CONF_LIST);
        break;
    case FYET_MAPPING_START:
        on_start(builder, &item, RV_CONF_MAP);
        break;
    case FYET_SEQUENCE_END:
    case FYET_MAPPING_END:
        on_end(builder);
        break;
    case FYET_NONE:
    case FYET_STREAM_START:
    case FYET_STREAM_END:
    case FYET_DOCUMENT_END:
    default:
        break;
    }
}

/* The parser. */

static void
discard(struct fy_diag *diag, void *user, const char *text, size_t length)
{
    (void)diag;
    (void)user;
    (void)text;
    (void)length;
}

static struct fy_diag *
new_diag(void)
{
    struct fy_diag_cfg config;
    fy_diag_cfg_default(&config);
    config.fp = NULL;
    config.output_fn = discard;
    config.level = FYET_ERROR;
    struct fy_diag *diag = fy_diag_create(&config);
    if (diag) {
        fy_diag_set_collect_errors(diag, true);
    }
    return diag;
}

/* Takes over the first of the parser's own errors: those that follow are its
 * consequences. */
static void
report_syntax(struct builder *builder, struct fy_diag *diag)
{
    void *iterator = NULL;
    struct fy_diag_error *error = fy_diag_errors_iterate(diag, &iterator);
    struct rv_conf_place place = builder->last;
    if (error && error->line > 0) {
        place = (struct rv_conf_place){error->line, error->column};
    }
    rv__conf_report_add(builder->report, place,
                        "this is not YAML: %s; look at the indentation, "
                        "brackets and quotes around it",
                        error && error->msg ? error->msg : "syntax error");
}

static void
run_parser(struct builder *builder, struct fy_parser *parser,
           struct fy_diag *diag)
{
    while (!builder->is_done) {
        struct fy_event *event = fy_parser_parse(parser);
        if (!event) {
            break;
        }
        on_event(builder, event);
        fy_parser_event_free(parser, event);
    }
    if (!builder->is_done && fy_parser_get_stream_error(parser)) {
        report_syntax(builder, diag);
        builder->is_done = true;
    }
    if (builder->is_done) {
        builder->tree->root = NULL;
    }
}

void
rv__conf_tree_build(struct rv_conf_tree *tree, const char *text, size_t length,
                    struct rv_conf_report *report)
{
    struct builder builder = {
        .tree = tree, .report = report, .last = {.line = 1, .column = 1}};
    struct fy_diag *diag = new_diag();
    struct fy_parse_cfg config = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2
                 | FYPCF_JSON_NONE,
        .diag = diag,
    };
    struct fy_parser *parser = diag ? fy_parser_create(&config) : NULL;
    if (!parser || fy_parser_set_string(parser, text, length)) {
        stop_no_memory(&builder);
    } else {
        run_parser(&builder, parser, diag);
    }
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    for (size_t i = 0; i < builder.n_anchors; i++) {
        free(builder.anchors[i].name);
    }
    free(builder.anchors);
}
