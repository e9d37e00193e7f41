/* See stores.h.
 *
 * Of two neighbouring levels, 'differs' of the upper holds the words in which
 * the lower's zone may differ from the upper's: those that either stored to
 * since the last copy.  A crash state thus costs what changed, not the size
 * of the zone.
 */
#include "stores.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hooks.h"
#include "kernel_sim.h"
#include "os/clock.h"
#include "os/fd.h"
#include "shm/gather.h"
#include "shm/lock.h"
#include "shm/member.h"

enum {
    MAX_DEPTH = 4,
    N_LEVELS = MAX_DEPTH + 1,
    BYSTANDER = N_LEVELS, /* The index of its player and slot. */
    N_PLAYERS,
    NOBODY = -1,
    FIRST_THREAD_ID = 1000,
    HEAP_BYTES = 4 * RV_ZONE_PAGE_BYTES,
    SOIL = 0xa5, /* What fresh memory is full of. */
};

/* Words of a zone, each at most once. */
struct word_set {
    bool *has;
    uint32_t *list;
    uint32_t n;
};

struct player {
    char *base; /* Of its zone; the bystander's is the victim's. */
    struct rv_zone *zone;
    struct rv_zone fresh; /* The handle as a recovery begins with it. */
    struct rv__mapping mapping;
    struct robust_list_head robust;
    struct word_set differs;
    uint64_t n_states; /* In which it recovered. */
};

struct stores {
    const struct workload *workload;
    struct player players[N_PLAYERS];
    size_t n_bytes;
    int depth;
    int now; /* Whose stores these are, NOBODY's outside of operations. */
    int verdict;
    uint64_t seed, random, n_operations;
};

/* The hooks have no argument to find this by. */
static struct stores the_stores;

uint64_t
stores_random(struct stores *stores, uint64_t below)
{
    uint64_t x = stores->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    stores->random = x;
    return (x * UINT64_C(0x2545f4914f6cdd1d) >> 16) % below;
}

void
stores_fail(struct stores *stores, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("FAILED: seed %" PRIu64 ", operation %" PRIu64, stores->seed,
           stores->n_operations);
    for (int i = 1; i <= stores->depth; i++) {
        printf(", state %" PRIu64 " of level %d", stores->players[i].n_states,
               i);
    }
    printf(": ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    _exit(1);
}

void
sim_fail(const char *what)
{
    stores_fail(&the_stores, "player %d: %s", the_stores.now, what);
}

uint32_t
sim_thread_id(void)
{
    return (uint32_t)(FIRST_THREAD_ID + RV_MAX(the_stores.now, 0));
}

struct robust_list_head *
sim_robust_list(void)
{
    return &the_stores.players[0].robust;
}

/* ------------------------------------------------------------------- copies */

static void
note(struct word_set *set, uint32_t word)
{
    if (!set->has[word]) {
        set->has[word] = true;
        set->list[set->n++] = word;
    }
}

/* Words 'from' to 'to' of the zone of 'level' change. */
static void
note_change(struct stores *stores, int level, uint64_t from, uint64_t to)
{
    for (uint64_t word = from / 8; word <= (to - 1) / 8; word++) {
        note(&stores->players[level].differs, (uint32_t)word);
        if (level > 0) {
            note(&stores->players[level - 1].differs, (uint32_t)word);
        }
    }
}

/* Makes the zone of 'level' + 1 that of 'level'. */
static void
copy_down(struct stores *stores, int level)
{
    struct player *from = &stores->players[level];
    struct player *to = &stores->players[level + 1];
    for (uint32_t i = 0; i < from->differs.n; i++) {
        uint32_t word = from->differs.list[i];
        memcpy(to->base + 8 * (size_t)word, from->base + 8 * (size_t)word, 8);
        from->differs.has[word] = false;
        note(&to->differs, word);
    }
    from->differs.n = 0;
}

/* ------------------------------------------------------------------- deaths */

/* A 32-bit word of the zone of 'level', changed by the kernel. */
static void
mark(struct stores *stores, int level, void *place, uint32_t value)
{
    uint64_t offset = (uint64_t)((char *)place - stores->players[level].base);
    note_change(stores, level, offset, offset + sizeof value);
    memcpy(place, &value, sizeof value);
}

/* The kernel's exit_robust_list() for player 'dead', in the zone of 'level':
 * its life word, and the lock that its pending slot names. */
static void
bury(struct stores *stores, int level, int dead)
{
    const struct player *player = &stores->players[dead];
    struct rv_zone *zone = stores->players[level].zone;
    uint32_t thread_id = (uint32_t)(FIRST_THREAD_ID + dead);
    int n_slots = 0;
    int n_own = 0;
    for (uint32_t i = 0; i < N_PLAYERS; i++) {
        struct life_sim *life = (void *)rv__life_of(zone, i);
        if (life->holder == thread_id) {
            n_slots++;
            n_own += rv__member_of(zone, i)->tid == thread_id;
            mark(stores, level, &life->holder, LIFE_SIM_DEAD);
        }
    }
    const char *node = (const void *)player->robust.list_op_pending;
    if (node) {
        uint64_t offset = (uint64_t)(node - player->base)
                          + (uint64_t)player->robust.futex_offset;
        uint32_t *word = (void *)(zone->base + offset);
        if ((*word & FUTEX_TID_MASK) == thread_id) {
            if (n_slots != n_own) {
                stores_fail(stores, "the holder of a lock has a slot that "
                                    "says it is another's");
            }
            mark(stores, level, word,
                 (*word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
        }
    }
}

/* Whether nothing is left of the dead in the zone of 'level'. */
static void
check_buried(struct stores *stores, int level)
{
    struct rv_zone *zone = stores->players[level].zone;
    for (int dead = 0; dead < level; dead++) {
        const struct rv__member *member = rv__member_of(zone, (uint32_t)dead);
        const struct life_sim *life =
            (const void *)rv__life_of(zone, (uint32_t)dead);
        if (member->tid || member->log.head || life->holder) {
            stores_fail(stores, "the slot of dead member %d is not free",
                        dead);
        }
    }
    if (stores->players[level].robust.list_op_pending) {
        stores_fail(stores, "a lock is pending after recovery");
    }
}

/* Player 'level' dies at this instant; the next recovers. */
static void
crash(struct stores *stores, int level)
{
    struct player *next = &stores->players[level + 1];
    copy_down(stores, level);
    bury(stores, level + 1, level);
    *next->zone = next->fresh;
    next->robust.list_op_pending = NULL;
    next->n_states++;

    stores->now = level + 1;
    stores->workload->recover(stores, next->zone);
    stores->now = NOBODY;
    check_buried(stores, level + 1);
    int verdict = stores->workload->judge(stores, next->zone);
    if (verdict < stores->verdict) {
        stores_fail(stores, "it was committed, and is not any more");
    }
    if (level == 0) {
        stores->verdict = verdict;
    }
    stores->now = level;
}

/* Whether the player whose stores these are dies before each of them. */
static bool
is_to_die(const struct stores *stores)
{
    uint64_t every = stores->workload->nest_every;
    return stores->now >= 0 && stores->now < stores->depth
           && (stores->now == 0 || every == 0
               || stores->players[1].n_states % every == 0);
}

void
hook_store(const void *place, size_t n)
{
    struct stores *stores = &the_stores;
    int level = RV_MAX(stores->now, 0);
    struct player *player = &stores->players[level];
    uint64_t offset = (uint64_t)((uintptr_t)place - (uintptr_t)player->base);
    bool is_inside = offset < stores->n_bytes;
    bool is_pending = place == &player->robust.list_op_pending;
    if (!is_inside && !is_pending) {
        return;
    }
    if (is_to_die(stores)) {
        crash(stores, stores->now);
    }
    if (is_inside) {
        note_change(stores, level, offset, offset + n);
    }
}

void
stores_begin(struct stores *stores)
{
    stores->verdict = 0;
    stores->now = 0;
}

void
stores_end(struct stores *stores)
{
    /* Dying behind the last store is one more state. */
    if (stores->depth > 0) {
        crash(stores, 0);
    }
    stores->now = NOBODY;
}

/* -------------------------------------------------------------------- setup */

static void *
take_memory(size_t n)
{
    void *memory = mmap(NULL, n, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return memory;
}

/* Attaches player 'i' to the victim's zone; each has the slot of its index. */
static void
attach(struct stores *stores, int fd, int i)
{
    struct player *player = &stores->players[i];
    struct rv_error error;
    player->robust.futex_offset = -32;
    if (rv_zone_attach(fd, NULL, &player->zone, &error)) {
        printf("FAILED: %s\n", error.text);
        exit(1);
    }
    struct life_sim *life = (void *)rv__life_of(player->zone, (uint32_t)i);
    player->zone->tid = (uint32_t)(FIRST_THREAD_ID + i);
    player->zone->member->tid = player->zone->tid;
    life->holder = player->zone->tid;
    player->zone->robust = &player->robust;
}

/* Puts the handle of player 'i' over memory that is its own. */
static void
give_copy(struct stores *stores, int i, const struct player *victim)
{
    struct player *player = &stores->players[i];
    struct rv_zone *attached = player->zone;
    player->base = victim->base;
    if (i != 0 && i != BYSTANDER) {
        player->base = take_memory(stores->n_bytes);
        memcpy(player->base, victim->base, stores->n_bytes);
    }
    player->mapping = *attached->mapping;
    player->mapping.base = player->base;
    player->zone = take_memory(sizeof *player->zone);
    *player->zone = *attached;
    player->zone->base = player->base;
    player->zone->mapping = &player->mapping;
    player->zone->member = rv__member_of(player->zone, (uint32_t)i);
    player->zone->idle = player->zone->member;
    rv__slab_open(player->zone);
    player->fresh = *player->zone;
    size_t n_words = stores->n_bytes / 8;
    player->differs.has = take_memory(n_words * sizeof(bool));
    player->differs.list = take_memory(n_words * sizeof(uint32_t));
}

/* Memory is not zero when it is used again, so none is in the first place:
 * who relies on it is found out. */
static void
soil_heap(const struct rv_zone *zone, size_t n_bytes)
{
    uint64_t begin = rv_zone_heap_begin(zone);
    memset(zone->base + begin, SOIL, n_bytes - begin);
}

static void
set_up(struct stores *stores)
{
    uint64_t heap_bytes = stores->workload->heap_bytes;
    struct rv_zone_settings settings = {
        .name = "torture",
        .size_bytes = heap_bytes ? heap_bytes : (uint64_t)HEAP_BYTES,
        .n_members = N_PLAYERS};
    struct rv_error error;
    int fd = -1;
    stores->now = NOBODY;
    if (rv_zone_create(&settings, &fd, &error)) {
        printf("FAILED: %s\n", error.text);
        exit(1);
    }
    for (int i = 0; i < N_PLAYERS; i++) {
        attach(stores, fd, i);
    }
    rv_fd_close(&fd);
    struct player *victim = &stores->players[0];
    victim->base = victim->zone->base;
    stores->n_bytes = (size_t)rv_zone_heap_end(victim->zone);
    soil_heap(victim->zone, stores->n_bytes);
    for (int i = 0; i < N_PLAYERS; i++) {
        give_copy(stores, i, victim);
    }
    stores->workload->setup(stores, victim->zone,
                            stores->players[BYSTANDER].zone);
}

/* ---------------------------------------------------------------------- run */

/* That the hooks saw every store. */
static void
check_copies(struct stores *stores)
{
    for (int i = 0; i < stores->depth; i++) {
        copy_down(stores, i);
        if (memcmp(stores->players[i].base, stores->players[i + 1].base,
                   stores->n_bytes)
            != 0) {
            stores_fail(stores, "a store went unnoticed");
        }
    }
}

static uint64_t
count_states(const struct stores *stores)
{
    uint64_t n = 0;
    for (int i = 1; i <= stores->depth; i++) {
        n += stores->players[i].n_states;
    }
    return n;
}

/* The rate is by the processor's time, which does not depend on what else
 * the machine does. */
static void
report(const struct stores *stores)
{
    double ms = (double)clock() * 1e3 / CLOCKS_PER_SEC;
    uint64_t n = count_states(stores);
    printf("stores: seed %" PRIu64 ": %" PRIu64 " operations, %" PRIu64
           " crash states (",
           stores->seed, stores->n_operations, n);
    for (int i = 1; i <= stores->depth; i++) {
        printf("%s%" PRIu64, i == 1 ? "" : " + ", stores->players[i].n_states);
    }
    printf(" nested), %.2f million a second, 0 wrong\n",
           (double)n / 1e3 / RV_MAX(ms, 1.0));
}

struct limits {
    uint64_t n_states;
    uint64_t seconds;
};

static void
read_options(int argc, char **argv, struct stores *stores,
             struct limits *limits)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"states", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 't'},
        {"depth", required_argument, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;
        switch (c) {
        case 's':
            stores->seed = value;
            break;
        case 'n':
            limits->n_states = value;
            break;
        case 't':
            limits->seconds = value;
            break;
        case 'd':
            stores->depth = (int)RV_MIN(RV_MAX(value, 1), MAX_DEPTH);
            break;
        default:
            exit(64);
        }
    }
}

int
stores_main(int argc, char **argv, const struct workload *workload)
{
    struct stores *stores = &the_stores;
    struct limits limits = {.n_states = 1000000, .seconds = 3600};
    int64_t start_ms = rv_clock_ms();
    *stores = (struct stores){
        .workload = workload, .depth = 2, .seed = (uint64_t)start_ms};
    read_options(argc, argv, stores, &limits);
    stores->random = stores->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    set_up(stores);
    int64_t end_ms = start_ms + (int64_t)limits.seconds * 1000;
    while (count_states(stores) < limits.n_states && rv_clock_ms() < end_ms) {
        stores->n_operations++;
        workload->operate(stores, stores->players[0].zone,
                          stores->players[BYSTANDER].zone);
        check_copies(stores);
    }
    report(stores);
    return 0;
}
