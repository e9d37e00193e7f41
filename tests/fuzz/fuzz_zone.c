/* Any bytes in the memory of a zone.
 *
 * The target makes a zone with some of everything in it, and a second one of
 * which three members died in transactions.  The input says where what is
 * written into one of them: before somebody attaches it, while he is attached,
 * or after he has worked in it.  Or it is the whole file.
 *
 *     byte 0     flags, see below
 *     byte 1, 2  what is not tried, a bit each
 *     the rest   edits of 8 bytes each: area, position (2), what, value (4);
 *                or, by its flag, the file
 *
 * Whatever comes of it, nobody may crash, wait for ever, or touch anything but
 * the zone: on both sides of it lies memory that nobody may touch, and a
 * read-only mapping is one.  A zone that nobody wrote into must be found to be
 * whole.
 *
 * Time is the target's, so that a wait for a holder who never was costs none.
 */
#include "zone_world.h"

/* Byte 0 of the input. */
enum {
    FLAG_FILE = 1,     /* The rest is the file. */
    FLAG_CHECKSUM = 2, /* The header's is made right after the edits. */
    FLAG_WOUNDED = 4,  /* The zone with the dead members. */
    FLAG_ONLY_READ = 8,
};

/* When an edit is made: two bits of its fourth byte. */
enum { BEFORE, WHILE_ATTACHED, BETWEEN, PHASE_SHIFT = 6 };

/* What is not tried: bits of bytes 1 and 2. */
enum {
    NO_READER = 1 << 0,
    NO_HEAL = 1 << 1,
    NO_CHECKS = 1 << 2,
    NO_READS = 1 << 3,
    NO_STORES = 1 << 4,
    NO_LISTS = 1 << 5,
    NO_QUEUE = 1 << 6,
    NO_METRICS = 1 << 7,
    NO_LIMITER = 1 << 8,
    NO_SLAB = 1 << 9,
    NO_FLUSHES = 1 << 10,
};

struct input {
    uint8_t flags;
    uint32_t skipped;
    const uint8_t *edits;
    size_t n_edits;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ------------------------------------------------------------------- edits */

enum what {
    SET_8,
    SET_32,
    SET_64,   /* The value, with its sign. */
    SET_HIGH, /* The upper half. */
    ADD_64,
    FLIP_BIT,
    SET_OFFSET, /* Of a place in an area. */
    SET_THING,  /* The same, as the slab counts. */
    SET_PAGE,   /* The same, page plus 1. */
    SET_REF,    /* The same, as references and tables have it. */
    SET_WHERE,  /* The same, as logs have it. */
    SET_HEAD,   /* The same, a lock. */
    SET_OWN,    /* The thread's id. */
    COPY_64,    /* Bytes of an area. */
    FILL,
    WHATS,
};

static uint64_t
load64(const char *place)
{
    uint64_t value;
    memcpy(&value, place, sizeof value);
    return value;
}

/* The place in an area that 'value' names. */
static uint64_t
place_of(uint32_t value)
{
    const struct area *area = &fuzz.areas[value % 256 % fuzz.n_areas];
    return area->offset + (uint64_t)(value >> 8) * 8 % area->n_bytes;
}

/* Numbers that say where something is; 'old' is what they take the place
 * of. */
static uint64_t
link_to(enum what what, uint32_t value, uint64_t old)
{
    uint64_t to = place_of(value);
    uint64_t in_heap = to - (fuzz.n_bytes - SIZE_BYTES);
    switch ((int)what) {
    case SET_OFFSET:
        return to;
    case SET_THING:
        return (uint32_t)(in_heap / 16) | old >> 32 << 32;
    case SET_PAGE:
        return (uint32_t)(in_heap / RV_ZONE_PAGE_BYTES + 1) | old >> 32 << 32;
    case SET_REF:
        return to >> 4 << 32 | (uint32_t)old;
    case SET_WHERE:
        return to << RV__WHERE_SHIFT | (old & RV__WHERE_WIDTH);
    default:
        return to << RV__HEAD_SHIFT | (value >> 24);
    }
}

static uint64_t
word_of(enum what what, uint32_t value, uint64_t old)
{
    switch ((int)what) {
    case SET_8:
        return (old & ~UINT64_C(255)) | (value & 255);
    case SET_32:
        return old >> 32 << 32 | value;
    case SET_64:
        return (uint64_t)(int64_t)(int32_t)value;
    case SET_HIGH:
        return (uint64_t)value << 32 | (uint32_t)old;
    case ADD_64:
        return old + (uint64_t)(int64_t)(int32_t)value;
    case FLIP_BIT:
        return old ^ UINT64_C(1) << value % 64;
    case SET_OWN:
        return old >> 32 << 32 | (uint32_t)gettid() | (value & 3) << 30;
    default:
        return link_to(what, value, old);
    }
}

/* The words of the size are each other's complement for as long as nobody
 * means to: whoever writes both in harmony makes others follow him beyond the
 * end of the file. */
static bool
is_a_lying_size(uint64_t at, size_t n)
{
    size_t size = offsetof(struct rv__header, size_bytes);
    return at + n > size && at < size + 16;
}

static void
make_edit(const uint8_t *edit, unsigned int phase)
{
    uint16_t at;
    uint32_t value;
    memcpy(&at, edit + 1, sizeof at);
    memcpy(&value, edit + 4, sizeof value);
    const struct area *area = &fuzz.areas[edit[0] % fuzz.n_areas];
    enum what what = edit[3] % (1 << PHASE_SHIFT) % WHATS;
    uint64_t step = what == SET_8 ? 1 : what == SET_32 ? 4 : 8;
    uint64_t offset = area->offset + at * step % area->n_bytes;
    size_t n = what == COPY_64 || what == FILL ? 64 : 8;
    n = RV_MIN(n, (size_t)(fuzz.n_bytes - offset));
    char bytes[64];
    if (phase != BEFORE && is_a_lying_size(offset, n)) {
        return;
    }
    if (what == COPY_64) {
        uint64_t from = place_of(value);
        n = RV_MIN(n, (size_t)(fuzz.n_bytes - from));
        memcpy(bytes, fuzz.file + from, n);
    } else if (what == FILL) {
        memset(bytes, (int)value, n);
    } else if (n == 8) {
        uint64_t word = word_of(what, value, load64(fuzz.file + offset));
        memcpy(bytes, &word, sizeof word);
    } else {
        n = 0;
    }
    memcpy(fuzz.file + offset, bytes, n);
}

/* Makes the edits of a phase. */
static void
make_edits(const struct input *input, unsigned int phase)
{
    for (size_t i = 0; i < input->n_edits; i++) {
        const uint8_t *edit = input->edits + i * EDIT_BYTES;
        if (edit[3] >> PHASE_SHIFT == phase) {
            make_edit(edit, phase);
        }
    }
}

static void
mend_checksum(void)
{
    struct rv__header *header = (void *)fuzz.file;
    header->checksum = rv__header_checksum(header);
}

/* ---------------------------------------------------------------- the work */

/* What a zone that nobody wrote into must say; otherwise anything will do. */
static void
expect(const struct input *input, int rc)
{
    RV_ASSERT(rc == 0 || rc == RV_DICT_FORCIBLE || input->n_edits
              || input->flags & FLAG_FILE);
}

/* Whatever it says will do. */
static void
ignore(int rc)
{
    (void)rc;
}

static int
count_key(void *context, const void *key RV_UNUSED, size_t n RV_UNUSED)
{
    ++*(uint64_t *)context;
    return 0;
}

static const char *const keys[] = {"n", "r", "l",   "k0", "k1", "k2",
                                   "d", "s", "run", "k9", "new"};

static void
read_dict(const struct input *input, struct rv_zone *zone, const char *name)
{
    static char buffer[8192];
    struct rv_dict_value value;
    struct rv_dict_stats stats;
    struct rv_error error;
    bool is_stale;
    int64_t ttl;
    uint64_t n = 0;
    struct rv_dict *dict = open_dict(zone, name);
    if (!dict) {
        return;
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(keys); i++) {
        size_t length = strlen(keys[i]);
        ignore(
            rv_dict_get(dict, keys[i], length, buffer, sizeof buffer, &value));
        ignore(rv_dict_get_stale(dict, keys[i], length, buffer, 16, &value,
                                 &is_stale));
        ignore(rv_dict_ttl(dict, keys[i], length, &ttl));
        ignore(rv_dict_llen(dict, keys[i], length, &n));
    }
    ignore(rv_dict_keys(dict, 0, count_key, &n));
    rv_dict_get_stats(dict, &stats);
    if (!(input->skipped & NO_CHECKS)
        && !(input->flags & FLAG_WOUNDED && !zone->tid)) {
        expect(input, rv_dict_check(dict, &error));
    }
    ignore(rv_limiter_count(dict, "s", 1, &n));
    rv_dict_close(&dict);
}

static void
read_queue(const struct input *input, struct rv_zone *zone)
{
    struct rv_queue_stats stats;
    struct rv_error error;
    struct rv_queue *queue = open_queue(zone);
    if (queue) {
        rv_queue_get_stats(queue, &stats);
        if (!(input->flags & FLAG_WOUNDED)) {
            expect(input, rv_queue_check(queue, &error));
        }
        rv_queue_close(&queue);
    }
}

static void
read_metrics(const struct input *input, struct rv_zone *zone)
{
    struct rv_metric metric = {.offset = 0};
    struct rv_error error;
    int n = 0;
    struct rv_metrics *metrics = open_metrics(zone);
    if (!metrics) {
        return;
    }
    while (rv_metrics_next(metrics, &metric) == 0) {
        struct rv_histogram_reading *reading = NULL;
        (void)rv_metric_read_counter(&metric);
        (void)rv_metric_read_gauge(&metric);
        RV_ASSERT(++n <= RV_METRICS_MAX);
        if (n < 20 && rv_metric_read_histogram(&metric, &reading) == 0) {
            (void)rv_histogram_quantile(reading, 0.5);
            free(reading);
        }
    }
    ignore(rv_metrics_find(metrics, "none", &metric));
    expect(input, rv_metrics_check(metrics, &error));
    rv_metrics_close(&metrics);
}

static void
read_slab(const struct input *input, struct rv_zone *zone)
{
    struct rv_slab_stats stats;
    struct rv_slab_run run;
    struct rv_error error;
    uint64_t type, offset;
    expect(input, rv_zone_check(zone, &error));
    if (!(input->flags & FLAG_WOUNDED)) {
        expect(input, rv_slab_check(zone, &error));
    } else {
        ignore(rv_slab_check(zone, &error));
    }
    rv_slab_get_stats(zone, &stats);
    for (uint64_t page = 0; rv_slab_get_run(zone, page, &run) == 0;) {
        RV_ASSERT(run.n_pages >= 1);
        page += run.n_pages;
    }
    ignore(rv_zone_root_get(zone, "dict", &type, &offset));
    (void)rv_slab_size(zone, offset);
}

static void
read_all(const struct input *input, struct rv_zone *zone)
{
    if (!(input->skipped & NO_CHECKS)) {
        read_slab(input, zone);
    }
    if (!(input->skipped & NO_READS)) {
        read_dict(input, zone, "dict");
        read_dict(input, zone, "limits");
    }
    if (!(input->skipped & NO_QUEUE)) {
        read_queue(input, zone);
    }
    if (!(input->skipped & NO_METRICS)) {
        read_metrics(input, zone);
    }
}

static void
store_in(const struct input *input, struct rv_dict *dict)
{
    static char bytes[9000];
    struct rv_dict_value one = rv_dict_integer(1), sum;
    struct rv_dict_value real = rv_dict_real(0.5);
    for (size_t i = 0; i < RV_ARRAY_SIZE(keys); i++) {
        struct rv_dict_value value = rv_dict_bytes(bytes, i * 90);
        size_t length = strlen(keys[i]);
        ignore(rv_dict_incr(dict, keys[i], length, i % 2 ? &real : &one,
                            i % 3 ? &one : NULL, 0, &sum));
        ignore(rv_dict_replace(dict, keys[i], length, &value, 0));
        ignore(rv_dict_safe_add(dict, keys[i], length, &one, 5));
        ignore(rv_dict_expire(dict, keys[i], length, (int64_t)i));
        expect(input,
               rv_dict_set(dict, keys[i], length, &value, (int64_t)i * 10));
        ignore(rv_dict_delete(dict, keys[i], length));
    }
    struct rv_dict_value run = rv_dict_bytes(bytes, sizeof bytes);
    expect(input, rv_dict_set(dict, "run", 3, &run, 0));
    ignore(rv_dict_set(dict, bytes, sizeof bytes, &run, 0));
}

static void
store_lists(const struct input *input, struct rv_dict *dict)
{
    static char buffer[64];
    struct rv_dict_value value = rv_dict_bytes(buffer, sizeof buffer), popped;
    uint64_t n;
    for (int i = 0; i < 3; i++) {
        expect(input, rv_dict_lpush(dict, "l", 1, &value, &n));
        expect(input, rv_dict_rpush(dict, "m", 1, &value, &n));
        ignore(rv_dict_lpop(dict, "l", 1, buffer, sizeof buffer, &popped));
        ignore(rv_dict_rpop(dict, "l", 1, buffer, sizeof buffer, &popped));
    }
    ignore(rv_dict_delete(dict, "l", 1));
}

static void
store_all(const struct input *input, struct rv_zone *zone)
{
    struct rv_dict *dict = open_dict(zone, "dict");
    if (!dict) {
        return;
    }
    if (!(input->skipped & NO_LISTS)) {
        store_lists(input, dict);
    }
    if (!(input->skipped & NO_STORES)) {
        store_in(input, dict);
    }
    if (!(input->skipped & NO_FLUSHES)) {
        fuzz.now_ms += 100;
        ignore(rv_dict_flush_expired(dict, 3));
        ignore(rv_dict_flush_expired(dict, 0));
        ignore(rv_dict_flush_all(dict));
        ignore(rv_dict_flush_expired(dict, 0));
    }
    rv_dict_close(&dict);
}

static void
use_queue(const struct input *input, struct rv_zone *zone)
{
    static char bytes[6000];
    struct rv_queue_element elements[3] = {{.bytes = NULL}};
    struct rv_queue *queue = open_queue(zone);
    if (!queue) {
        return;
    }
    ignore(rv_queue_push(queue, bytes, sizeof bytes));
    ignore(rv_queue_push(queue, bytes, 10));
    for (int i = 0; i < 3; i++) {
        int rc = rv_queue_take_block(queue, 0, &elements[i]);
        expect(input, rc);
        if (rc == 0) {
            memcpy(bytes, elements[i].bytes,
                   RV_MIN(elements[i].length, sizeof bytes));
        }
    }
    ignore(rv_queue_nack(queue, &elements[0]));
    ignore(rv_queue_ack(queue, &elements[1]));
    make_edits(input, BETWEEN);
    ignore(rv_queue_requeue(queue, &elements[2]));
    ignore(rv_queue_heal(queue));
    ignore(rv_queue_push_block(queue, bytes, 100, 0));
    rv_queue_close(&queue);
}

static void
use_metrics(const struct input *input, struct rv_zone *zone)
{
    static const char *const names[] = {"c", "d", "g", "h", "new"};
    struct rv_metrics *metrics = open_metrics(zone);
    if (!metrics) {
        return;
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(names); i++) {
        struct rv_counter counter;
        struct rv_gauge gauge;
        struct rv_histogram histogram;
        if (rv_counter_open(metrics, names[i], &counter) == 0) {
            rv_counter_add(&counter, 1);
        }
        if (rv_gauge_open(metrics, names[i], &gauge) == 0) {
            rv_gauge_add(&gauge, 1);
        }
        if (rv_histogram_open(metrics, names[i], NULL, &histogram) == 0) {
            rv_histogram_record(&histogram, 5000);
        }
    }
    (void)input;
    rv_metrics_close(&metrics);
}

static void
use_limiter(const struct input *input, struct rv_zone *zone)
{
    struct rv_rate_limit limit = {.per_second = 10, .burst = 2};
    struct rv_dict *dict = open_dict(zone, "limits");
    if (!dict) {
        return;
    }
    ignore(rv_limiter_request(dict, "r", 1, &limit, NULL));
    ignore(rv_limiter_request(dict, "new", 3, &limit, NULL));
    ignore(rv_limiter_acquire(dict, "s", 1, 2));
    make_edits(input, BETWEEN);
    ignore(rv_limiter_acquire(dict, "s", 1, 1));
    ignore(rv_limiter_release(dict, "s", 1));
    rv_dict_close(&dict);
}

static void
use_slab(const struct input *input, struct rv_zone *zone)
{
    static const size_t sizes[] = {1, 64, 300, 4096, 5000, 20000};
    uint64_t type, offset, used;
    if (rv_zone_root_get(zone, "queue", &type, &offset)) {
        return;
    }
    struct rv__queue_root *root = rv_zone_at(zone, offset, sizeof *root);
    if (!root || offset % 64 != 0) {
        return;
    }
    uint64_t *places = root->reserved; /* Nobody uses them. */
    for (size_t i = 0; i < RV_ARRAY_SIZE(sizes); i++) {
        uint64_t *place = &places[i % RV_ARRAY_SIZE(root->reserved)];
        if (rv_slab_alloc(zone, sizes[i], place) == 0) {
            void *memory = rv_zone_at(zone, *place, sizes[i]);
            RV_ASSERT(memory);
            memset(memory, 1, sizes[i]);
        }
    }
    make_edits(input, BETWEEN);
    for (size_t i = 0; i < RV_ARRAY_SIZE(sizes); i++) {
        ignore(rv_slab_free(zone, &places[i % RV_ARRAY_SIZE(root->reserved)]));
    }
    ignore(rv_slab_flush(zone));
    ignore(rv_slab_trim_tail(zone, SIZE_BYTES / 2, &used));
    ignore(rv_slab_trim_tail(zone, SIZE_BYTES, &used));
}

static void
use_all(const struct input *input, struct rv_zone *zone)
{
    store_all(input, zone);
    if (!(input->skipped & NO_QUEUE)) {
        use_queue(input, zone);
    }
    if (!(input->skipped & NO_METRICS)) {
        use_metrics(input, zone);
    }
    if (!(input->skipped & NO_LIMITER)) {
        use_limiter(input, zone);
    }
    if (!(input->skipped & NO_SLAB)) {
        use_slab(input, zone);
    }
    make_edits(input, BETWEEN);
}

static void
work(const struct input *input, int fd)
{
    struct rv_zone_info info;
    struct rv_error error;
    ignore(rv_zone_read_info(fd, &info, &error));
    struct rv_zone *zone =
        input->skipped & NO_READER ? NULL : attach(fd, true);
    if (zone) {
        read_all(input, zone);
        RV_ASSERT(rv_zone_detach(&zone) == 0);
    }
    zone = input->flags & FLAG_ONLY_READ ? NULL : attach(fd, false);
    if (!zone) {
        return;
    }
    RV_ASSERT(zone->base == fuzz.arena + ARENA_BEFORE);
    make_edits(input, WHILE_ATTACHED);
    if (!(input->skipped & NO_HEAL)) {
        ignore(rv_zone_heal(zone));
    }
    if (input->skipped & NO_READER) {
        read_all(input, zone);
    }
    use_all(input, zone);
    read_all(input, zone);
    ignore(rv_zone_heal(zone));
    RV_ASSERT(rv_zone_detach(&zone) == 0);
}

static void
run_file(const uint8_t *data, size_t size)
{
    struct input input = {.flags = FLAG_FILE};
    RV_ASSERT(ftruncate(fuzz.file_fd, 0) == 0);
    RV_ASSERT(pwrite(fuzz.file_fd, data, size, 0) == (ssize_t)size);
    work(&input, fuzz.file_fd);
}

static void
run_edits(const struct input *input)
{
    memcpy(fuzz.file, input->flags & FLAG_WOUNDED ? fuzz.wounded : fuzz.clean,
           fuzz.n_bytes);
    make_edits(input, BEFORE);
    if (input->flags & FLAG_CHECKSUM) {
        mend_checksum();
    }
    work(input, fuzz.fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!fuzz.file) {
        make_zones();
    }
    if (size && size < 3) {
        return 0;
    }
    struct input input = {.flags = 0};
    if (size) {
        input = (struct input){.flags = data[0],
                               .skipped = data[1] | (uint32_t)data[2] << 8,
                               .edits = data + 3,
                               .n_edits = (size - 3) / EDIT_BYTES};
    }
    fuzz.is_running = true;
    fuzz.now_ms = 1000000;
    fuzz.n_sleeps = 0;
    if (input.flags & FLAG_FILE) {
        run_file(data + 3, size - 3);
    } else {
        run_edits(&input);
    }
    forget_mapping();
    fuzz.is_running = false;
    return 0;
}
