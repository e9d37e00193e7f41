/* Runs transcripts of the pool: commands, and what has to come of them.
 *
 *     pool_transcript TEXT...             each line is as it should be
 *     pool_transcript --coverage TEXT...  and together they show everything
 *     pool_transcript --update TEXT...    writes what comes into the texts
 *
 * A text is made of commands, at the start of a line, and of the lines that
 * they are expected to give, which are indented and begin with the time in
 * milliseconds, or a range of it ("75..100", for what has jitter).  Comments
 * begin with '#'.  The clock starts at 0 and moves only by `advance`.
 *
 *     service NAME KEY=VALUE ...   notes what is wanted; also changes it
 *     drop NAME                    is no longer wanted
 *     configure at-once            rv_pool_configure(), and so on
 *     configure roll [changed=NAME,NAME]
 *     configure take-over          at-once, but without a reconcile, so that
 *     adopt WORKER gen N STATE     ... may follow, and then
 *     reconcile
 *     ready | ping | extend WORKER [FOR]
 *     exit WORKER code N | signal N | errno N | unknown
 *     replace WORKER memory | request
 *     scale NAME N
 *     pause
 *     stop graceful | deadline FOR | fast
 *     advance FOR                  to each deadline on the way, in turn
 *     jump FOR                     to its end in one step
 *     slots N, seed N              before all others
 *     status
 *
 * A WORKER is web.0; while several are on its seat, web.0#GENERATION, with a
 * '+' for each that came later in the same generation.  A time (FOR) is in
 * milliseconds, or has a unit: 500ms, 10s, 2m.
 */
#include "pool_script.h"

/* ---- Commands ---- */

/* The words of a command; 'n' of them, the first is the command's name. */
struct words {
    char *at[MAX_WORDS];
    int n;
};

static const char *
word(const struct script *script, const struct words *words, int i)
{
    if (i >= words->n) {
        give_up(script, "%s needs more words", words->at[0]);
    }
    return words->at[i];
}

static int64_t
number(const struct script *script, const char *text)
{
    int64_t value;
    if (rv_str_parse_integer(text, &value)) {
        give_up(script, "\"%s\" is no number", text);
    }
    return value;
}

static int64_t
duration(const struct script *script, const char *text)
{
    int64_t ms;
    if (!rv_str_parse_integer(text, &ms)) {
        return ms;
    }
    if (rv_str_parse_duration(text, &ms)) {
        give_up(script, "\"%s\" is no time", text);
    }
    return ms;
}

static void
make_pool(struct script *script)
{
    if (!script->pool
        && rv_pool_create(script->n_slots, script->seed, &script->pool)) {
        give_up(script, "no memory");
    }
}

/* What a service is made of when the transcript does not say. */
static const struct rv_pool_policy usual_policy = {
    .n_workers = 1,
    .ready_after_ms = 1000,
    .start_timeout_ms = 10000,
    .drain_timeout_ms = 5000,
    .backoff_min_ms = 100,
    .backoff_max_ms = 1600,
    .window_ms = 60000,
};

static bool
set_number(const struct script *script, struct rv_pool_policy *policy,
           const char *key, const char *value)
{
    int *numbers[] = {&policy->n_workers, &policy->max_restarts,
                      &policy->batch};
    int64_t *times[] = {
        &policy->ready_after_ms,   &policy->soak_ms,
        &policy->start_timeout_ms, &policy->drain_timeout_ms,
        &policy->backoff_min_ms,   &policy->backoff_max_ms,
        &policy->window_ms,        &policy->watchdog_ms,
        &policy->max_age_ms,
    };
    static const char *const number_keys[] = {"workers", "max_restarts",
                                              "batch"};
    static const char *const time_keys[] = {
        "ready_after",   "soak",        "start_timeout",
        "drain_timeout", "backoff_min", "backoff_max",
        "window",        "watchdog",    "max_age",
    };
    for (size_t i = 0; i < RV_ARRAY_SIZE(numbers); i++) {
        if (!strcmp(key, number_keys[i])) {
            *numbers[i] = (int)number(script, value);
            return true;
        }
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(times); i++) {
        if (!strcmp(key, time_keys[i])) {
            *times[i] = duration(script, value);
            return true;
        }
    }
    return false;
}

static void
set_key(const struct script *script, struct rv_pool_spec *spec,
        const char *key, const char *value)
{
    struct rv_pool_policy *policy = &spec->policy;
    if (!strcmp(key, "restart")) {
        policy->restart = !strcmp(value, "never") ? RV_POOL_RESTART_NEVER
                          : !strcmp(value, "on-failure")
                              ? RV_POOL_RESTART_ON_FAILURE
                              : RV_POOL_RESTART_ALWAYS;
    } else if (!strcmp(key, "ready")) {
        policy->ready_alive = !strcmp(value, "alive");
    } else if (!strcmp(key, "on_failed")) {
        policy->exit_on_failed = !strcmp(value, "exit");
    } else if (!strcmp(key, "generation")) {
        spec->generation = (uint32_t)number(script, value);
    } else if (!set_number(script, policy, key, value)) {
        give_up(script, "there is no key %s", key);
    }
}

static struct rv_pool_spec *
find_spec(struct script *script, const char *name)
{
    for (size_t i = 0; i < script->n_specs; i++) {
        if (!strcmp(script->specs[i].name, name)) {
            return &script->specs[i];
        }
    }
    return NULL;
}

static void
do_service(struct script *script, const struct words *words)
{
    const char *name = word(script, words, 1);
    struct rv_pool_spec *spec = find_spec(script, name);
    if (!spec) {
        if (script->n_specs == MAX_SPECS) {
            give_up(script, "too many services");
        }
        size_t i = script->n_specs++;
        rv_str_copy(script->names[i], RV_POOL_NAME, name);
        spec = &script->specs[i];
        *spec = (struct rv_pool_spec){.name = script->names[i],
                                      .policy = usual_policy};
    }
    for (int i = 2; i < words->n; i++) {
        char *equals = strchr(words->at[i], '=');
        if (!equals) {
            give_up(script, "\"%s\" is not KEY=VALUE", words->at[i]);
        }
        *equals = '\0';
        set_key(script, spec, words->at[i], equals + 1);
    }
}

static void
do_drop(struct script *script, const struct words *words)
{
    struct rv_pool_spec *spec = find_spec(script, word(script, words, 1));
    if (!spec) {
        give_up(script, "there is no service %s", words->at[1]);
    }
    *spec = script->specs[--script->n_specs];
    size_t i = (size_t)(spec - script->specs);
    memmove(script->names[i], script->names[script->n_specs], RV_POOL_NAME);
    spec->name = script->names[i];
}

static void
do_configure(struct script *script, const struct words *words)
{
    const char *how = word(script, words, 1);
    for (size_t i = 0; i < script->n_specs; i++) {
        script->specs[i].is_changed = false;
    }
    char *rest = words->n > 2 ? strchr(words->at[2], '=') : NULL;
    for (char *name; rest && (name = strsep(&rest, "=,"));) {
        struct rv_pool_spec *spec = *name ? find_spec(script, name) : NULL;
        if (spec) {
            spec->is_changed = true;
        }
    }
    make_pool(script);
    enum rv_pool_how kind =
        !strcmp(how, "roll") ? RV_POOL_ROLL : RV_POOL_AT_ONCE;
    if (rv_pool_configure(script->pool, script->specs, script->n_specs,
                          kind)) {
        give_up(script, "no memory");
    }
    if (strcmp(how, "take-over")) {
        reconcile(script);
    }
}

static enum rv_pool_state
state_of(const struct script *script, const char *name)
{
    int state = 0;
    while (state < RV_POOL_N_STATES
           && strcmp(name, rv_pool_state_name((enum rv_pool_state)state))) {
        state++;
    }
    if (state == RV_POOL_N_STATES) {
        give_up(script, "there is no state %s", name);
    }
    return (enum rv_pool_state)state;
}

static void
do_adopt(struct script *script, const struct words *words)
{
    char name[RV_POOL_NAME];
    rv_str_copy(name, sizeof name, word(script, words, 1));
    char *point = strchr(name, '.');
    if (!point) {
        give_up(script, "\"%s\" is no worker", name);
    }
    *point = '\0';
    struct rv_pool_worker worker = {
        .state = state_of(script, word(script, words, 4)),
        .service = rv_pool_find_service(script->pool, name),
        .index = (int)number(script, point + 1),
        .generation = (uint32_t)number(script, word(script, words, 3)),
        .since_ms = script->now_ms,
        .started_ms = script->now_ms,
        .ready_ms = script->now_ms,
        .ping_ms = script->now_ms,
    };
    int slot = 0;
    while (slot < script->n_slots
           && rv_pool_worker(script->pool, slot)->state != RV_POOL_EMPTY) {
        slot++;
    }
    if (worker.service < 0 || slot == script->n_slots) {
        give_up(script, "there is no place for %s", words->at[1]);
    }
    rv_pool_adopt(script->pool, slot, &worker);
    look(script);
}

static void
do_exit(struct script *script, const struct words *words)
{
    static const char *const kinds[] = {
        [RV_POOL_EXIT_CODE] = "code",
        [RV_POOL_EXIT_SIGNAL] = "signal",
        [RV_POOL_EXIT_NO_START] = "errno",
        [RV_POOL_EXIT_UNKNOWN] = "unknown",
    };
    struct rv_pool_exit how = {RV_POOL_EXIT_UNKNOWN, 0};
    const char *kind = word(script, words, 2);
    for (size_t i = 0; i < RV_ARRAY_SIZE(kinds); i++) {
        if (!strcmp(kind, kinds[i])) {
            how.kind = (enum rv_pool_exit_kind)i;
        }
    }
    if (words->n > 3) {
        how.value = (int)number(script, words->at[3]);
    }
    rv_pool_exited(script->pool, find_worker(script, words->at[1]), &how,
                   script->now_ms);
    reconcile(script);
}

static void
do_worker(struct script *script, const struct words *words)
{
    const char *command = words->at[0];
    int slot = find_worker(script, word(script, words, 1));
    if (!strcmp(command, "ready")) {
        rv_pool_ready(script->pool, slot, script->now_ms);
    } else if (!strcmp(command, "ping")) {
        rv_pool_ping(script->pool, slot, script->now_ms);
    } else if (!strcmp(command, "extend")) {
        rv_pool_extend(script->pool, slot,
                       script->now_ms
                           + duration(script, word(script, words, 2)));
    } else {
        bool is_memory = !strcmp(word(script, words, 2), "memory");
        rv_pool_replace(script->pool, slot,
                        is_memory ? RV_POOL_REASON_MEMORY
                                  : RV_POOL_REASON_REQUEST,
                        script->now_ms);
    }
    reconcile(script);
}

static void
do_scale(struct script *script, const struct words *words)
{
    int service = rv_pool_find_service(script->pool, word(script, words, 1));
    if (service < 0) {
        give_up(script, "there is no service %s", words->at[1]);
    }
    rv_pool_scale(script->pool, service,
                  (int)number(script, word(script, words, 2)));
    reconcile(script);
}

static void
do_pause(struct script *script, const struct words *words)
{
    (void)words;
    rv_pool_pause(script->pool);
    reconcile(script);
}

static void
do_stop(struct script *script, const struct words *words)
{
    const char *how = word(script, words, 1);
    if (!strcmp(how, "graceful")) {
        rv_pool_stop(script->pool, RV_POOL_STOP_GRACEFUL, RV_POOL_NEVER);
    } else if (!strcmp(how, "fast")) {
        rv_pool_stop(script->pool, RV_POOL_STOP_FAST, RV_POOL_NEVER);
    } else {
        rv_pool_stop(script->pool, RV_POOL_STOP_DEADLINE,
                     script->now_ms
                         + duration(script, word(script, words, 2)));
    }
    reconcile(script);
}

static void
do_advance(struct script *script, const struct words *words)
{
    int64_t end_ms = script->now_ms + duration(script, word(script, words, 1));
    for (int i = 0; rv_pool_deadline(script->pool) <= end_ms; i++) {
        int64_t next_ms = rv_pool_deadline(script->pool);
        if (i > 10000) {
            give_up(script, "the pool never comes to rest");
        }
        script->now_ms = RV_MAX(script->now_ms, next_ms);
        reconcile(script);
    }
    script->now_ms = end_ms;
    reconcile(script);
}

static void
do_jump(struct script *script, const struct words *words)
{
    script->now_ms += duration(script, word(script, words, 1));
    reconcile(script);
}

static void
do_reconcile(struct script *script, const struct words *words)
{
    (void)words;
    reconcile(script);
}

static void
do_number(struct script *script, const struct words *words)
{
    int64_t n = number(script, word(script, words, 1));
    if (script->pool || n < 1) {
        give_up(script, "%s is too late, or too small", words->at[0]);
    }
    if (!strcmp(words->at[0], "seed")) {
        script->seed = (uint64_t)n;
    } else {
        script->n_slots = (int)RV_MIN(n, MAX_SLOTS);
    }
}

static void
print_service(struct script *script, int i)
{
    const struct rv_pool_service *service = rv_pool_service(script->pool, i);
    struct rv_pool_counts counts;
    rv_pool_count(script->pool, i, &counts);
    rv_buf_printf(script->output, "  %s: generation %" PRIu32, service->name,
                  service->generation);
    if (service->candidate) {
        rv_buf_printf(script->output, " to %" PRIu32 " (%d ready)",
                      service->candidate, counts.candidates_ready);
    }
    rv_buf_printf(script->output,
                  ", %d wanted, %d ready, %d starting, %d leaving, %d old%s%s"
                  "\n",
                  counts.wanted, counts.ready, counts.starting, counts.leaving,
                  counts.old, service->is_failed ? ", failed" : "",
                  service->is_removed ? ", removed" : "");
}

static void
do_status(struct script *script, const struct words *words)
{
    (void)words;
    for (int i = 0; i < rv_pool_n_services(script->pool); i++) {
        if (rv_pool_service(script->pool, i)) {
            print_service(script, i);
        }
    }
    rv_buf_printf(script->output, "  %s%s%s%s\n",
                  rv_pool_is_empty(script->pool) ? "empty" : "not empty",
                  rv_pool_is_rolling(script->pool) ? ", rolling" : "",
                  rv_pool_is_paused(script->pool) ? ", paused" : "",
                  rv_pool_is_stopping(script->pool) ? ", stopping" : "");
    struct rv_buf name;
    rv_buf_init(&name, TEXT_BYTES);
    for (int slot = 0; slot < rv_pool_n_slots(script->pool); slot++) {
        const struct occupant *who = &script->after[slot];
        if (who->state != RV_POOL_EMPTY) {
            rv_buf_printf(script->output,
                          "  %s: %s, %" PRIu32 " restarts%s%s"
                          "\n",
                          name_of(script, who, &name),
                          rv_pool_state_name(who->state),
                          rv_pool_worker(script->pool, slot)->restarts,
                          who->is_done ? ", done" : "",
                          who->is_replaced ? ", to be replaced" : "");
        }
    }
    rv_buf_deinit(&name);
}

typedef void command_function(struct script *, const struct words *);

static const struct {
    const char *name;
    command_function *run;
    bool needs_pool;
} commands[] = {
    {"service", do_service, false},
    {"drop", do_drop, false},
    {"configure", do_configure, false},
    {"adopt", do_adopt, true},
    {"reconcile", do_reconcile, true},
    {"ready", do_worker, true},
    {"ping", do_worker, true},
    {"extend", do_worker, true},
    {"replace", do_worker, true},
    {"exit", do_exit, true},
    {"scale", do_scale, true},
    {"pause", do_pause, true},
    {"stop", do_stop, true},
    {"advance", do_advance, true},
    {"jump", do_jump, true},
    {"slots", do_number, false},
    {"seed", do_number, false},
    {"status", do_status, true},
};

static void
run_command(struct script *script, const char *line)
{
    char copy[512];
    if (!rv_str_copy(copy, sizeof copy, line)) {
        give_up(script, "the line is too long");
    }
    memcpy(script->before, script->after, sizeof script->before);
    struct words words = {.n = 0};
    char *rest = copy;
    for (char *next; (next = strsep(&rest, " "));) {
        if (*next && words.n < MAX_WORDS) {
            words.at[words.n++] = next;
        }
    }
    for (size_t i = 0; i < RV_ARRAY_SIZE(commands); i++) {
        if (!strcmp(words.at[0], commands[i].name)) {
            if (commands[i].needs_pool && !script->pool) {
                give_up(script, "configure comes first");
            }
            commands[i].run(script, &words);
            return;
        }
    }
    give_up(script, "there is no command %s", words.at[0]);
}

/* ---- Texts ---- */

/* Whether a line came as expected, where a range of times may stand. */
static bool
is_as_expected(const char *expected, const char *actual)
{
    int64_t least;
    int64_t most;
    int64_t time;
    int n_expected = 0;
    int n_actual = 0;
    if (!strcmp(expected, actual)) {
        return true;
    }
    return sscanf(expected, " %" SCNd64 "..%" SCNd64 " %n", &least, &most,
                  &n_expected)
               == 2
           && sscanf(actual, " %" SCNd64 " %n", &time, &n_actual) == 1
           && least <= time && time <= most
           && !strcmp(expected + n_expected, actual + n_actual);
}

/* The next line of '*text', without its newline; NULL at the end. */
static char *
next_line(char **text)
{
    char *line = *text && **text ? strsep(text, "\n") : NULL;
    return line;
}

static bool
is_expectation(const char *text)
{
    return text && text[0] == ' ' && text[1] == ' ';
}

/* Compares what a command gave, 'actual', with the indented lines at the
 * start of '*expected'; appends what is right to 'updated'.  False, with a
 * difference on standard error, when they are not the same. */
static bool
judge(const struct script *script, const char *command, char **expected,
      char *actual, struct rv_buf *updated)
{
    struct rv_buf difference;
    rv_buf_init(&difference, TEXT_BYTES);
    bool is_same = true;
    for (;;) {
        char *want = is_expectation(*expected) ? next_line(expected) : NULL;
        char *got = next_line(&actual);
        if (!want && !got) {
            break;
        }
        if (want && got && is_as_expected(want, got)) {
            rv_buf_printf(&difference, " %s\n", want);
            rv_buf_printf(updated, "%s\n", want);
            continue;
        }
        is_same = false;
        if (want) {
            rv_buf_printf(&difference, "-%s\n", want);
        }
        if (got) {
            rv_buf_printf(&difference, "+%s\n", got);
            rv_buf_printf(updated, "%s\n", got);
        }
    }
    if (!is_same) {
        fprintf(stderr, "%s:%d: %s\n%s", script->path, script->line, command,
                rv_buf_string(&difference));
    }
    rv_buf_deinit(&difference);
    return is_same;
}

static bool
run_text(struct script *script, char *text, struct rv_buf *updated)
{
    bool is_right = true;
    struct rv_buf output;
    rv_buf_init(&output, TEXT_BYTES);
    script->output = &output;
    int line_of_next = 1;
    for (char *line; (line = next_line(&text));) {
        script->line = line_of_next++;
        rv_buf_printf(updated, "%s\n", line);
        rv_buf_clear(&output);
        if (!*line || *line == '#') {
            continue;
        }
        if (is_expectation(line)) {
            give_up(script, "no command stands before this line");
        }
        run_command(script, line);
        const char *before = text;
        char *actual = output.length ? output.data : NULL;
        is_right = judge(script, line, &text, actual, updated) && is_right;
        for (; text && before < text; before++) {
            line_of_next += *before == '\0';
        }
    }
    rv_buf_deinit(&output);
    return is_right;
}

static char *
read_text(const char *path, struct rv_buf *buf)
{
    char chunk[4096];
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(2);
    }
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;) {
        rv_buf_put(buf, chunk, n);
    }
    fclose(file);
    return buf->data;
}

static void
write_text(const char *path, const struct rv_buf *buf)
{
    FILE *file = fopen(path, "we");
    if (!file || fwrite(buf->data, 1, buf->length, file) != buf->length
        || fclose(file)) {
        fprintf(stderr, "%s: cannot be written\n", path);
        exit(2);
    }
}

static bool
run_file(const char *path, bool is_update, struct coverage *coverage)
{
    struct rv_buf text;
    struct rv_buf updated;
    rv_buf_init(&text, TEXT_BYTES);
    rv_buf_init(&updated, TEXT_BYTES);
    struct script *script = calloc(1, sizeof *script);
    if (!script || !read_text(path, &text)) {
        fprintf(stderr, "%s: no text, or no memory\n", path);
        exit(2);
    }
    script->path = path;
    script->n_slots = MAX_SLOTS;
    script->seed = 1;
    script->coverage = coverage;
    bool is_right = run_text(script, text.data, &updated);
    if (is_update && !is_right) {
        write_text(path, &updated);
    }
    rv_pool_destroy(script->pool);
    free(script);
    rv_buf_deinit(&text);
    rv_buf_deinit(&updated);
    return is_right;
}

/* ---- Coverage ---- */

static bool
report_moves(const struct coverage *coverage)
{
    bool is_complete = true;
    for (int from = 0; from < RV_POOL_N_STATES; from++) {
        for (int to = 0; to < RV_POOL_N_STATES; to++) {
            if (!may_follow[from][to]) {
                continue;
            }
            unsigned int n = coverage->moves[from][to];
            printf("%7u  %s -> %s%s\n", n,
                   rv_pool_state_name((enum rv_pool_state)from),
                   rv_pool_state_name((enum rv_pool_state)to),
                   n ? "" : "  MISSING");
            is_complete = is_complete && n;
        }
    }
    return is_complete;
}

static bool
report_names(const char *const *names, const unsigned int *counts, size_t n)
{
    bool is_complete = true;
    for (size_t i = 0; i < n; i++) {
        printf("%7u  %s%s\n", counts[i], names[i],
               counts[i] ? "" : "  MISSING");
        is_complete = is_complete && counts[i];
    }
    return is_complete;
}

/* Why a generation can be withdrawn. */
static bool
report_reasons(const struct coverage *coverage)
{
    static const enum rv_pool_reason reasons[] = {
        RV_POOL_REASON_EXITED,   RV_POOL_REASON_START_TIMEOUT,
        RV_POOL_REASON_WATCHDOG, RV_POOL_REASON_REQUEST,
        RV_POOL_REASON_SLOTS,    RV_POOL_REASON_SUPERSEDED,
        RV_POOL_REASON_STOP,
    };
    bool is_complete = true;
    for (size_t i = 0; i < RV_ARRAY_SIZE(reasons); i++) {
        unsigned int n = coverage->reasons[reasons[i]];
        printf("%7u  rolled back because %s%s\n", n, reason_names[reasons[i]],
               n ? "" : "  MISSING");
        is_complete = is_complete && n;
    }
    return is_complete;
}

static bool
report(const struct coverage *coverage)
{
    bool moves = report_moves(coverage);
    bool actions = report_names(action_names, coverage->actions,
                                RV_ARRAY_SIZE(action_names));
    bool reasons = report_reasons(coverage);
    return moves && actions && reasons;
}

int
main(int argc, char **argv)
{
    bool is_update = argc > 1 && !strcmp(argv[1], "--update");
    bool is_coverage = argc > 1 && !strcmp(argv[1], "--coverage");
    int first = is_update || is_coverage ? 2 : 1;
    if (argc <= first) {
        fprintf(stderr,
                "usage: pool_transcript [--coverage | --update] TEXT...\n");
        return 64;
    }
    struct coverage coverage = {.moves = {{0}}};
    bool is_right = true;
    for (int i = first; i < argc; i++) {
        is_right = run_file(argv[i], is_update, &coverage) && is_right;
    }
    if (is_coverage) {
        is_right = report(&coverage) && is_right;
    }
    return is_right ? 0 : 1;
}
