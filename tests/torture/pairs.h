/* Plays for two: what a victim and its partner do; see pairs.c. */
#ifndef RV_TORTURE_PAIRS_H
#define RV_TORTURE_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "reeve/tx.h"
#include "reeve/zone.h"

enum { PAIRS_WORDS = 3 };

/* The root "things". */
struct things {
    struct rv_lock lock;
    uint64_t words[PAIRS_WORDS]; /* All the same. */
    uint64_t partners_word;
};

struct actor {
    int fd;
    struct rv_zone *zone;
    struct things *things;
};

/* What it is about. */
struct play {
    void (*fill)(struct rv_zone *zone); /* At first; may be NULL. */
    void (*enter)(struct actor *actor); /* By both, unseen; may be NULL. */
    void (*act)(struct actor *actor);   /* What the victim does. */
    /* After its death, whether all is well: whether what it did is done, and
     * that what the partner did is, if 'has_written'. */
    bool (*judge)(struct actor *director, bool has_written);
};

/* What the partner does. */
struct role {
    const char *name;
    const struct play *play;
    void (*act)(struct actor *actor);
    bool is_waiting;  /* It may sleep until the victim is dead. */
    bool is_to_die;   /* The partner is killed; the victim lives. */
    bool is_stepped;  /* It is killed at an instruction, too. */
    bool is_counted;  /* It ends within PAIRS_STEPS instructions, whatever the
                       * victim was about to do. */
    bool has_written; /* It has done its part at its end. */
};

enum { PAIRS_STEPS = 4000 };

/* Ends the process when 'rc' is not 0. */
void pairs_must(int rc, const char *what);

/* Of dicts and queues; ends with one without a name. */
extern const struct role pairs_more[];

#endif
