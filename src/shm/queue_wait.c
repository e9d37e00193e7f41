/* Design
 *
 * A sleeper marks the word before it looks for the last time; who brings what
 * it waits for changes the word afterwards, and wakes one if the word was
 * marked.  So the sleeper either finds it, or does not fall asleep, or is
 * woken.  A wake-up that woke nobody takes the mark away, unless the word
 * changed meanwhile.
 *
 * Who was woken and found something passes on: several may have come for one
 * wake-up that a killed sleeper took with it.  And nobody sleeps longer than
 * it takes to look for the dead again.
 */
#include "os/clock.h"
#include "os/futex.h"
#include "shm/queue.h"

/* One push or take that waits. */
struct attempt {
    struct rv_queue *queue;
    uint32_t *word;
    int (*run)(struct attempt *attempt);
    bool (*is_more)(const struct rv_queue *queue); /* For another, too. */
    const void *bytes;
    size_t length;
    struct rv_queue_element *element;
};

static void
wake_one(uint32_t *word, uint32_t value)
{
    if (rv_futex_wake(word, 1) == 0) {
        __atomic_compare_exchange_n(word, &value,
                                    value & ~(uint32_t)RV__QUEUE_IS_AWAITED,
                                    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

void
rv__queue_signal(uint32_t *word)
{
    uint32_t value = __atomic_add_fetch(word, 2, __ATOMIC_SEQ_CST);
    if (__builtin_expect(value & RV__QUEUE_IS_AWAITED, 0)) {
        wake_one(word, value);
    }
}

/* Marks the word; returns what it is then. */
static uint32_t
announce(uint32_t *word)
{
    return __atomic_or_fetch(word, RV__QUEUE_IS_AWAITED, __ATOMIC_SEQ_CST);
}

/* Lets another sleeper look, when there is something for it. */
static void
pass_on(const struct attempt *attempt)
{
    uint32_t value = __atomic_load_n(attempt->word, __ATOMIC_SEQ_CST);
    if (value & RV__QUEUE_IS_AWAITED && attempt->is_more(attempt->queue)) {
        wake_one(attempt->word, value);
    }
}

/* How long to sleep at most; 0: it is time to give up. */
static int
slice_ms(int64_t start_ms, int timeout_ms)
{
    if (timeout_ms < 0) {
        return RV__QUEUE_LOOK_MS;
    }
    int64_t left_ms = start_ms + timeout_ms - rv_clock_ms();
    return (int)RV_MIN(RV_MAX(left_ms, 0), (int64_t)RV__QUEUE_LOOK_MS);
}

static int
wait_block(struct attempt *attempt, int timeout_ms)
{
    int rc = attempt->run(attempt);
    if (rc != -EAGAIN) {
        return rc;
    }
    int64_t start_ms = rv_clock_ms();
    bool has_slept = false;
    for (;;) {
        uint32_t value = announce(attempt->word);
        rc = attempt->run(attempt);
        if (rc != -EAGAIN) {
            break;
        }
        int left_ms = slice_ms(start_ms, timeout_ms);
        if (left_ms == 0) {
            return -ETIMEDOUT;
        }
        rc = rv_futex_wait_block(attempt->word, value, left_ms);
        if (rc == -EINTR) {
            return rc;
        }
        has_slept = true;
    }
    if (has_slept) {
        pass_on(attempt);
    }
    return rc;
}

static uint64_t
load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static bool
has_elements(const struct rv_queue *queue)
{
    return load(&queue->root->n_ready) != 0;
}

static bool
has_room(const struct rv_queue *queue)
{
    return load(&queue->root->n_ready) + load(&queue->root->n_taken)
           < queue->capacity;
}

static int
run_take(struct attempt *attempt)
{
    return rv_queue_take(attempt->queue, attempt->element);
}

static int
run_push(struct attempt *attempt)
{
    return rv_queue_push(attempt->queue, attempt->bytes, attempt->length);
}

int
rv_queue_take_block(struct rv_queue *queue, int timeout_ms,
                    struct rv_queue_element *element)
{
    struct attempt attempt = {.queue = queue,
                              .word = &queue->root->arrivals,
                              .run = run_take,
                              .is_more = has_elements,
                              .element = element};
    return wait_block(&attempt, timeout_ms);
}

int
rv_queue_push_block(struct rv_queue *queue, const void *bytes, size_t length,
                    int timeout_ms)
{
    struct attempt attempt = {.queue = queue,
                              .word = &queue->root->departures,
                              .run = run_push,
                              .is_more = has_room,
                              .bytes = bytes,
                              .length = length};
    return wait_block(&attempt, timeout_ms);
}
