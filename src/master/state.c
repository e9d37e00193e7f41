/* What a restarted master must know, as one memfd in the keeper's store: the
 * committed configuration with its generations.  It is one descriptor, so that
 * the next master sees either the old state or the new one.
 *
 *     reeve-state 1
 *     source /etc/reeve/shop.yaml
 *     read 5d1c8a3f0b7e9264
 *     stopping 0
 *     paused 0
 *     service web 7
 *     zone sessions 0
 *     ---
 *     ... the configuration as dumped ...
 */
#include "master/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reeve/log.h"
#include "os/fd.h"

#define RV_LOG_THIS RV_LOG_MASTER

enum { MAX_STATE_BYTES = 16 * 1024 * 1024 };

static const char magic[] = "reeve-state 1\n";
static const char separator[] = "\n---\n";

static void
write_head(struct rv__master *master, struct rv_buf *text)
{
    rv_buf_puts(text, magic);
    rv_buf_printf(text, "source %s\n", master->source ? master->source : "-");
    rv_buf_printf(text, "read %" PRIx64 "\n", master->read_hash);
    rv_buf_printf(text, "stopping %d\n", rv_pool_is_stopping(master->pool));
    rv_buf_printf(text, "paused %d", rv_pool_is_paused(master->pool));
    for (int i = 0; i < rv_pool_n_services(master->pool); i++) {
        const struct rv_pool_service *service =
            rv_pool_service(master->pool, i);
        if (service && service->generation) {
            rv_buf_printf(text, "\nservice %s %" PRIu32, service->name,
                          service->generation);
        }
    }
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->zones) {
        const struct rv__zone *zone =
            RV_CONTAINER_OF(node, struct rv__zone, node);
        if (zone->is_current) {
            rv_buf_printf(text, "\nzone %s %" PRIu32, zone->info.name,
                          zone->number);
        }
    }
    rv_buf_puts(text, separator);
}

void
rv__state_save(struct rv__master *master)
{
    struct rv_buf text;
    int fd = -1;
    rv_buf_init(&text, MAX_STATE_BYTES);
    write_head(master, &text);
    int rc = rv_conf_dump(master->conf->conf, &text);
    if (!rc) {
        rc = text.failed
                 ? -ENOMEM
                 : rv_memfd_create("reeve-state", text.data, text.length, &fd);
    }
    rv_buf_deinit(&text);
    if (rc) {
        rv_log_err("cannot store the state, will try again: %s",
                   strerror(-rc));
        master->is_state_stale = true;
        return;
    }
    master->is_state_stale = false;
    rv_fd_close(&master->state_fd);
    master->state_fd = fd;
    rv__master_put(master, "state", fd);
}

static void
read_source(struct rv__master *master, const char *line, int length)
{
    static const char key[] = "source ";
    int n = (int)strlen(key);
    if (length > n && line[n] == '/' && !memcmp(line, key, strlen(key))) {
        free(master->source);
        master->source = strndup(line + n, (size_t)(length - n));
    }
}

static void
read_line(struct rv__master *master, const char *line, int length,
          struct rv__state *state)
{
    struct rv__state_service service;
    struct rv__state_zone zone;
    int flag;
    uint64_t hash;
    if (sscanf(line, "service %64s %" SCNu32, service.name,
               &service.generation)
        == 2) {
        state->services[state->n_services++] = service;
    } else if (sscanf(line, "zone %63s %" SCNu32, zone.name, &zone.number)
               == 2) {
        state->zones[state->n_zones++] = zone;
    } else if (sscanf(line, "paused %d", &flag) == 1) {
        state->is_paused = flag;
    } else if (sscanf(line, "stopping %d", &flag) == 1) {
        state->is_stopping = flag;
    } else if (sscanf(line, "read %" SCNx64, &hash) == 1) {
        master->read_hash = hash;
    } else {
        read_source(master, line, length);
    }
}

/* Reads the lines above the separator at 'end'. */
static void
read_head(struct rv__master *master, const char *text, const char *end,
          struct rv__state *state)
{
    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        int length = (int)((newline ? newline : end) - line);
        read_line(master, line, length, state);
        line += length + 1;
    }
}

/* How many lines begin with 'key', or more. */
static size_t
count_lines(const char *text, const char *key)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, key)); p++) {
        n++;
    }
    return n;
}

void
rv__state_deinit(struct rv__state *state)
{
    free(state->services);
    free(state->zones);
    *state = (struct rv__state){.services = NULL};
}

static int
parse_state(struct rv__master *master, const struct rv_buf *text,
            struct rv_conf **confp, struct rv__state *state)
{
    const char *end = strstr(rv_buf_string(text), separator);
    if (strncmp(rv_buf_string(text), magic, strlen(magic)) || !end) {
        return -EINVAL;
    }
    state->services = calloc(count_lines(text->data, "\nservice ") + 1,
                             sizeof *state->services);
    state->zones =
        calloc(count_lines(text->data, "\nzone ") + 1, sizeof *state->zones);
    if (!state->services || !state->zones) {
        rv__state_deinit(state);
        return -ENOMEM;
    }
    read_head(master, text->data, end, state);
    const char *yaml = end + strlen(separator);
    size_t length = text->length - (size_t)(yaml - text->data);
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    int rc = rv_conf_parse(yaml, length, "stored configuration", "/", confp,
                           &errors);
    if (rc) {
        rv_log_err("%s", rv_buf_string(&errors.text));
        rv__state_deinit(state);
    }
    rv_conf_errors_deinit(&errors);
    return rc;
}

int
rv__state_load(struct rv__master *master, int fd, struct rv_conf **confp,
               struct rv__state *state)
{
    struct rv_buf text;
    rv_buf_init(&text, MAX_STATE_BYTES);
    int rc = lseek(fd, 0, SEEK_SET) ? -errno : rv_fd_read_all(fd, &text);
    if (!rc) {
        rc = parse_state(master, &text, confp, state);
    }
    rv_buf_deinit(&text);
    return rc;
}

uint64_t
rv__conf_hash(const struct rv_conf *conf)
{
    struct rv_buf text;
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a. */
    rv_buf_init(&text, MAX_STATE_BYTES);
    if (!rv_conf_dump(conf, &text)) {
        for (size_t i = 0; i < text.length; i++) {
            hash =
                (hash ^ (unsigned char)text.data[i]) * UINT64_C(1099511628211);
        }
    }
    rv_buf_deinit(&text);
    return hash;
}
