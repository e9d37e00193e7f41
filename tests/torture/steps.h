/* Death at every instruction of the code that is shipped.
 *
 * A scene is one thing that a member does.  A child plays it under ptrace:
 *
 * really   it is killed at an instruction by SIGKILL, with all that the
 *          kernel does then; another process attaches, heals, checks and
 *          compares, and goes on using the zone.  Again from the beginning
 *          for the next instruction.
 * copies   it is led through once, and at each instruction at which the zone
 *          is another than before, a copy of the zone is made, what the
 *          kernel would do is done to it, and the copy is recovered.
 *
 * What the scene shows (struct view) must be as before it or as after it, and
 * once it is as after it, it stays so.
 */
#ifndef RV_TORTURE_STEPS_H
#define RV_TORTURE_STEPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "reeve/base.h"
#include "reeve/tx.h"
#include "reeve/zone.h"

enum {
    N_LOCKS = 2,
    N_WORDS = 8,
    N_PLACES = 8,
    HEAP_PAGES = 24,
    MAX_HEAP_PAGES = 28,
    N_MEMBERS = 5,
    N_FACTS = 48,
};

/* The root "things" of the zone that each scene begins with.  The first
 * places are filled: an object of 100 bytes, of 480, a run of 2 pages. */
struct things {
    struct rv_lock locks[N_LOCKS];
    uint64_t words[N_WORDS]; /* Of the victim. */
    uint64_t others_word;    /* Of whoever helps, under the first lock. */
    uint64_t places[N_PLACES];
};

/* What a scene is judged by. */
struct view {
    uint64_t words[N_WORDS];
    uint64_t others_word;
    uint64_t places[N_PLACES];
    uint64_t sizes[N_PLACES];
    uint64_t root, root_type; /* Of "root". */
    uint64_t facts[N_FACTS];  /* Of what the scene's kind is about. */
    uint64_t size_bytes, used_bytes;
};

/* What scenes are about that have more than things.  What a function finds
 * wrong ends the program. */
struct kind {
    /* Makes it, in the zone that the scenes begin with; NULL: they make it. */
    void (*fill)(struct rv_zone *zone);
    /* Opens it for the calling process, director or victim; may be NULL. */
    void (*enter)(struct rv_zone *zone);
    /* Does what living members do after a death; may be NULL. */
    void (*recover)(struct rv_zone *zone);
    /* Checks it; returns the bytes that it has of the slab. */
    uint64_t (*audit)(struct rv_zone *zone);
    /* Says how it is, and may take it apart: nobody needs it any more. */
    void (*look)(struct rv_zone *zone, uint64_t facts[N_FACTS]);
};

/* The director, who lives, is a member, and is never killed. */
struct stage {
    int fd;
    struct rv_zone *zone;
    struct things *things;
    pid_t helper; /* 0: there is none. */
};

/* The victim.  A scene that wants it attached beforehand says so. */
struct actor {
    int fd;
    struct rv_zone *zone;
    struct things *things;
};

struct scene {
    const char *name;
    void (*act)(struct actor *actor); /* What is stepped through. */
    bool is_stranger; /* The victim is not attached when it begins. */
    bool has_effect;  /* The view after it is another. */
    bool is_alone;    /* Nobody alive is concerned: copies can be made. */
    bool is_gradual;  /* Several transactions: each fact by itself is as before
                       * or as after. */
    const struct kind *kind;              /* NULL: it is about the things. */
    void (*stage)(struct stage *stage);   /* Before the victim starts. */
    void (*prepare)(struct actor *actor); /* By the victim, unseen. */
    void (*join)(struct stage *stage);    /* When it is ready. */
    void (*unblock)(struct stage *stage); /* When it sleeps; it does. */
    void (*finish)(struct stage *stage);  /* When it is dead. */
};

extern const struct scene tx_scenes[];
extern const struct scene slab_scenes[];
extern const struct scene queue_scenes[];
extern const struct scene dict_scenes[];
extern const struct scene limiter_scenes[];
extern const struct scene metric_scenes[];

/* For the scenes: ends the calling process when 'rc' is not 'expected'. */
void must_be(int rc, int expected, const char *what);

/* Does what living members do after a death, in ways that take turns, and
 * goes on; meanwhile 'view' is taken.  What is wrong ends the program. */
void steps_recover(struct rv_zone *zone, const struct kind *kind,
                   uint64_t turn, struct view *view);

/* 0: the view is as before; 1 and more: some of a gradual scene's facts are
 * as after it; more than these: all is.  Otherwise the program ends. */
int steps_judge(const struct scene *scene, const struct view *before,
                const struct view *after, const struct view *view);

void steps_print(const char *name, const struct view *view);

/* Makes a zone with things and what 'kind' fills in; the caller closes it. */
int steps_make_zone(const struct kind *kind, bool is_exchange);

/* A hash, for facts. */
uint64_t fact_of(const void *bytes, size_t n);

/* The things of a zone. */
struct things *find_things(const struct rv_zone *zone);

/* Forks a member that does 'work' and then is killed, or must end with
 * status 0.  Both wait for its end. */
void run_member(struct stage *stage, void (*work)(struct actor *actor),
                bool is_to_die);

/* Forks a member that does 'work' and sleeps meanwhile, as stage->helper;
 * returns when it is asleep. */
void start_helper(struct stage *stage, void (*work)(struct actor *actor));

/* Waits for the helper, which must end with status 0; or kills it. */
void join_helper(struct stage *stage);
void kill_helper(struct stage *stage);

#endif
