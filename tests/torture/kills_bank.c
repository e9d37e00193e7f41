/* Money moves between the accounts of a bank and none is lost; each transfer
 * is numbered by its worker; and roots change. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "kills.h"
#include "steps_watch.h"

enum {
    N_ACCOUNTS = 16, /* A group. */
    MONEY = 1000,    /* An account's, at first. */
    MAX_MOVES = 6,
};

static const uint64_t root_mark = UINT64_C(0x5ca1ab1e0ddba11);

struct group {
    struct rv_lock lock;
    uint64_t accounts[N_ACCOUNTS];
    uint64_t numbers[MAX_WORKERS];
};

struct bank {
    struct group groups[N_GROUPS];
    uint64_t private[MAX_WORKERS][2]; /* Always the same twice. */
};

static struct bank *
bank_of(const struct rv_zone *zone)
{
    return find_root(zone, "bank", sizeof(struct bank));
}

static void
setup(struct rv_zone *zone)
{
    make_root(zone, "bank", sizeof(struct bank));
    struct bank *bank = bank_of(zone);
    for (size_t i = 0; i < N_GROUPS; i++) {
        for (size_t j = 0; j < N_ACCOUNTS; j++) {
            bank->groups[i].accounts[j] = MONEY;
        }
    }
}

static void
check_sum(const struct group *group)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < N_ACCOUNTS; i++) {
        sum += group->accounts[i];
    }
    if (sum != N_ACCOUNTS * MONEY) {
        find_wrong("a group has %" PRIu64, sum);
    }
}

static void
check_number(const struct group *group, size_t g, const struct diary *diary,
             uint32_t index)
{
    uint64_t number = group->numbers[index];
    if (number != diary->done[g] && number != diary->started[g]) {
        find_wrong("group %zu has number %" PRIu64 " of worker %" PRIu32
                   ", which did %" PRIu64 " and began %" PRIu64,
                   g, number, index, diary->done[g], diary->started[g]);
    }
}

/* Moves money around; one set in the midst makes the books wrong. */
static void
move_money(struct worker *worker, struct group *group)
{
    uint64_t n = 1 + watch_random(&worker->random, MAX_MOVES);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t *from =
            &group->accounts[watch_random(&worker->random, N_ACCOUNTS)];
        uint64_t *to =
            &group->accounts[watch_random(&worker->random, N_ACCOUNTS)];
        uint64_t amount = watch_random(&worker->random, 10);
        rv_tx_set64(worker->zone, from, *from - amount);
        rv_tx_set64(worker->zone, to, *to + amount);
    }
}

static int
begin(struct worker *worker, struct rv_lock *lock)
{
    uint32_t n_words = 2 * MAX_MOVES + 1;
    if (watch_random(&worker->random, 8) == 0) {
        return rv_tx_try_begin(worker->zone, lock, n_words);
    }
    return rv_tx_begin(worker->zone, lock, n_words);
}

static void
transfer(struct worker *worker)
{
    struct diary *diary = worker->diary;
    size_t g = watch_random(&worker->random, N_GROUPS);
    struct group *group = &bank_of(worker->zone)->groups[g];
    bool is_abort = watch_random(&worker->random, 8) == 0;
    int rc = begin(worker, &group->lock);
    if (rc == -EBUSY) {
        return;
    }
    if (rc) {
        find_wrong("begin: %d", rc);
    }
    check_sum(group);
    check_number(group, g, diary, worker->index);
    uint64_t number = group->numbers[worker->index];
    diary->done[g] = number;
    diary->started[g] = number + !is_abort;
    move_money(worker, group);
    rv_tx_set64(worker->zone, &group->numbers[worker->index], number + 1);
    if (is_abort) {
        rv_tx_abort(worker->zone);
        return;
    }
    rc = rv_tx_commit(worker->zone);
    if (rc) {
        find_wrong("commit: %d", rc);
    }
    diary->done[g] = number + 1;
}

static void
change_private(struct worker *worker)
{
    uint64_t *words = bank_of(worker->zone)->private[worker->index];
    if (words[0] != words[1]) {
        find_wrong("private words differ");
    }
    if (rv_tx_begin(worker->zone, NULL, 2)) {
        find_wrong("begin of a private transaction");
    }
    rv_tx_set64(worker->zone, &words[0], words[0] + 1);
    rv_tx_set64(worker->zone, &words[1], words[1] + 1);
    if (rv_tx_commit(worker->zone)) {
        find_wrong("commit of a private transaction");
    }
}

static void
name_root(char name[RV_ZONE_ROOT_NAME_BYTES], uint64_t index)
{
    snprintf(name, RV_ZONE_ROOT_NAME_BYTES, "worker-%" PRIu64, index % 8);
}

static void
set_root(struct worker *worker)
{
    struct rv_zone *zone = worker->zone;
    char name[RV_ZONE_ROOT_NAME_BYTES];
    uint64_t offset =
        rv_zone_heap_begin(zone) + watch_random(&worker->random, 4096) * 16;
    name_root(name, worker->index);
    if (rv_tx_begin(zone, rv_zone_root_lock(zone), RV_ZONE_ROOT_WORDS)) {
        find_wrong("begin on the root lock");
    }
    int rc = rv_zone_root_set(zone, name, offset ^ root_mark, offset);
    rc = rc ? rc : rv_tx_commit(zone);
    if (rc) {
        find_wrong("root_set: %d", rc);
    }
}

/* Without the lock: what is there need not fit together. */
static void
read_root(struct worker *worker)
{
    char name[RV_ZONE_ROOT_NAME_BYTES];
    uint64_t type, offset;
    name_root(name, watch_random(&worker->random, 8));
    if (rv_zone_root_get(worker->zone, name, &type, &offset) == 0
        && !rv_zone_at(worker->zone, offset, 1)) {
        find_wrong("root %s is outside of the heap", name);
    }
}

static void
operate(struct worker *worker)
{
    switch (watch_random(&worker->random, 16)) {
    case 0:
        set_root(worker);
        break;
    case 1:
        read_root(worker);
        break;
    case 2:
        change_private(worker);
        break;
    default:
        transfer(worker);
    }
}

static void
audit(struct rv_zone *zone, struct diary *diaries)
{
    const struct bank *bank = bank_of(zone);
    for (size_t g = 0; g < N_GROUPS; g++) {
        check_sum(&bank->groups[g]);
        for (uint32_t i = 0; i < MAX_WORKERS; i++) {
            check_number(&bank->groups[g], g, &diaries[i], i);
        }
    }
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        char name[RV_ZONE_ROOT_NAME_BYTES];
        uint64_t type, offset;
        name_root(name, i);
        if (rv_zone_root_get(zone, name, &type, &offset) == 0
            && (type ^ offset) != root_mark) {
            find_wrong("root %s is torn", name);
        }
        if (bank->private[i][0] != bank->private[i][1]) {
            find_wrong("private words of %" PRIu32 " differ", i);
        }
    }
}

const struct kill_workload bank_workload = {.name = "bank",
                                            .heap_bytes = 1 << 18,
                                            .setup = setup,
                                            .operate = operate,
                                            .audit = audit};
