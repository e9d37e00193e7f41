/* Pairs about a dict and about a queue. */
#include <errno.h>
#include <string.h>

#include "pairs.h"
#include "reeve/slab.h"
#include "shm/dict.h"
#include "shm/queue.h"

enum { OLD_BYTES = 24, NEW_BYTES = 100, BUFFER_BYTES = 128, CAPACITY = 4 };

static struct rv_dict *dict;
static struct rv_queue *queue;

/* -------------------------------------------------------------------- dicts */

static void
open_dict(struct actor *actor)
{
    /* One shard, so that all keys have one lock. */
    struct rv_dict_settings settings = {.n_shards = 1};
    struct rv_error error;
    pairs_must(rv_dict_open(actor->zone, "dict", &settings, &dict, &error),
               "dict_open");
}

static void
set_key(const char *key, char letter, size_t n)
{
    char bytes[BUFFER_BYTES];
    memset(bytes, letter, sizeof bytes);
    struct rv_dict_value value = rv_dict_bytes(bytes, n);
    pairs_must(rv_dict_set(dict, key, strlen(key), &value, 0), "set");
}

static void
fill_dict(struct rv_zone *zone)
{
    struct actor actor = {.zone = zone};
    open_dict(&actor);
    set_key("theirs", 'a', OLD_BYTES);
    set_key("list", 'a', OLD_BYTES);
    rv_dict_close(&dict);
}

/* Whether the victim's key has its new value; it has one of both, whole. */
static bool
read_key(void)
{
    char buffer[BUFFER_BYTES];
    char expected[BUFFER_BYTES];
    struct rv_dict_value value;
    pairs_must(rv_dict_get(dict, "theirs", 6, buffer, sizeof buffer, &value),
               "get");
    bool is_new = value.length == NEW_BYTES;
    memset(expected, is_new ? 'b' : 'a', sizeof expected);
    if ((!is_new && value.length != OLD_BYTES)
        || memcmp(buffer, expected, value.length) != 0) {
        pairs_must(-EUCLEAN, "what is read");
    }
    return is_new;
}

static void
replace_key(struct actor *actor)
{
    (void)actor;
    set_key("theirs", 'b', NEW_BYTES);
}

static void
get_key(struct actor *actor)
{
    (void)actor;
    read_key();
}

static void
get_none(struct actor *actor)
{
    char buffer[8];
    struct rv_dict_value value;
    (void)actor;
    int rc = rv_dict_get(dict, "nobody's", 8, buffer, sizeof buffer, &value);
    pairs_must(rc == -ENOENT ? 0 : -EUCLEAN, "get of nothing");
}

static void
set_own_key(struct actor *actor)
{
    (void)actor;
    set_key("mine", 'c', OLD_BYTES);
}

static bool
judge_dict(struct actor *director, bool has_written)
{
    struct rv_error error;
    char buffer[BUFFER_BYTES];
    struct rv_dict_value value;
    open_dict(director);
    pairs_must(rv_dict_check(dict, &error), "dict_check");
    bool is_new = read_key();
    int rc = rv_dict_get(dict, "mine", 4, buffer, sizeof buffer, &value);
    pairs_must(has_written ? rc : 0, "the partner's key");
    rv_dict_close(&dict);
    return is_new;
}

static const struct play dict_play = {.fill = fill_dict,
                                      .enter = open_dict,
                                      .act = replace_key,
                                      .judge = judge_dict};

/* ------------------------------------------------------------------- queues */

static void
open_queue(struct actor *actor)
{
    struct rv_queue_settings settings = {.capacity = CAPACITY,
                                         .element_max_bytes = 64};
    struct rv_error error;
    pairs_must(rv_queue_open(actor->zone, "jobs", &settings, &queue, &error),
               "queue_open");
}

static void
fill_queue(struct rv_zone *zone)
{
    struct actor actor = {.zone = zone};
    open_queue(&actor);
    pairs_must(rv_queue_push(queue, "first", 5), "push");
    pairs_must(rv_queue_push(queue, "second", 6), "push");
    rv_queue_close(&queue);
}

static void
push_one(struct actor *actor)
{
    (void)actor;
    pairs_must(rv_queue_push(queue, "third", 5), "push");
}

static void
consume_one(struct actor *actor)
{
    struct rv_queue_element element;
    (void)actor;
    pairs_must(rv_queue_take(queue, &element), "take");
    pairs_must(rv_queue_ack(queue, &element), "ack");
}

/* Each element is there once, or was consumed. */
static uint64_t
count_elements(void)
{
    struct rv_queue_element element;
    uint64_t n = 0;
    uint64_t last = 0;
    pairs_must(rv_queue_heal(queue) < 0 ? -EUCLEAN : 0, "heal");
    while (rv_queue_take(queue, &element) == 0) {
        pairs_must(element.number > last ? 0 : -EUCLEAN, "the order");
        last = element.number;
        pairs_must(rv_queue_ack(queue, &element), "ack");
        n++;
    }
    return n;
}

static bool
judge_queue(struct actor *director, uint64_t n_least)
{
    struct rv_error error;
    open_queue(director);
    pairs_must(rv_queue_check(queue, &error), "queue_check");
    uint64_t n = count_elements();
    rv_queue_close(&queue);
    pairs_must(n - n_least <= 1 ? 0 : -EUCLEAN, "how many there are");
    return n > n_least;
}

static bool
judge_push(struct actor *director, bool has_written)
{
    return judge_queue(director, has_written ? 1 : 2);
}

static bool
judge_consume(struct actor *director, bool has_written)
{
    return !judge_queue(director, has_written ? 0 : 1);
}

static const struct play push_play = {.fill = fill_queue,
                                      .enter = open_queue,
                                      .act = push_one,
                                      .judge = judge_push};
static const struct play consume_play = {.fill = fill_queue,
                                         .enter = open_queue,
                                         .act = consume_one,
                                         .judge = judge_consume};

const struct role pairs_more[] = {
    {.name = "dict-reader",
     .play = &dict_play,
     .act = get_key,
     .is_counted = true},
    {.name = "dict-misser",
     .play = &dict_play,
     .act = get_none,
     .is_counted = true},
    {.name = "dict-writer",
     .play = &dict_play,
     .act = set_own_key,
     .is_waiting = true,
     .has_written = true},
    {.name = "dict-dying",
     .play = &dict_play,
     .act = set_own_key,
     .is_waiting = true,
     .is_to_die = true},
    {.name = "queue-consumer",
     .play = &push_play,
     .act = consume_one,
     .is_waiting = true,
     .has_written = true},
    {.name = "queue-rival",
     .play = &consume_play,
     .act = consume_one,
     .is_waiting = true,
     .has_written = true},
    {.name = NULL},
};
