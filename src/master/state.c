/* What a restarted master must know, as one memfd in the keeper's store: the
 * committed configuration with its generations.  It is one descriptor, so that
 * the next master sees either the old state or the new one.
 *
 *     reeve-state 1
 *     source /etc/reeve/shop.yaml
 *     paused 0
 *     service web 7
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

#include "base/log.h"
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
    rv_buf_printf(text, "paused %d", rv_pool_is_paused(master->pool));
    for (int i = 0; i < rv_pool_n_services(master->pool); i++) {
        const struct rv_pool_service *service =
            rv_pool_service(master->pool, i);
        if (service && service->generation) {
            rv_buf_printf(text, "\nservice %s %" PRIu32, service->name,
                          service->generation);
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

/* Reads the lines above the separator, each of which ends with a newline. */
static int
read_head(struct rv__master *master, const char *text, const char *end,
          struct rv__state_service *services, size_t *n_servicesp,
          bool *is_pausedp)
{
    size_t n = 0;
    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        int length = (int)((newline ? newline : end) - line);
        char path[RV__PATH * 4];
        int paused;
        char name[RV_POOL_NAME];
        uint32_t generation;
        if (sscanf(line, "service %64s %" SCNu32, name, &generation) == 2) {
            memcpy(services[n].name, name, sizeof name);
            services[n++].generation = generation;
        } else if (sscanf(line, "paused %d", &paused) == 1) {
            *is_pausedp = paused;
        } else if (length > 7 && length < (int)sizeof path
                   && !memcmp(line, "source /", 8)) {
            snprintf(path, sizeof path, "%.*s", length - 7, line + 7);
            free(master->source);
            master->source = strdup(path);
        }
        line += length + 1;
    }
    *n_servicesp = n;
    return 0;
}

static size_t
count_services(const char *text)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, "\nservice ")); p++) {
        n++;
    }
    return n;
}

static int
parse_state(struct rv__master *master, const struct rv_buf *text,
            struct rv_conf **confp, struct rv__state_service **servicesp,
            size_t *n_servicesp, bool *is_pausedp)
{
    const char *end = strstr(rv_buf_string(text), separator);
    if (strncmp(rv_buf_string(text), magic, strlen(magic)) || !end) {
        return -EINVAL;
    }
    struct rv__state_service *services =
        calloc(count_services(text->data) + 1, sizeof *services);
    if (!services) {
        return -ENOMEM;
    }
    read_head(master, text->data, end, services, n_servicesp, is_pausedp);
    const char *yaml = end + strlen(separator);
    size_t length = text->length - (size_t)(yaml - text->data);
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    int rc = rv_conf_parse(yaml, length, "stored configuration", "/", confp,
                           &errors);
    if (rc) {
        rv_log_err("%s", rv_buf_string(&errors.text));
        free(services);
    } else {
        *servicesp = services;
    }
    rv_conf_errors_deinit(&errors);
    return rc;
}

int
rv__state_load(struct rv__master *master, int fd, struct rv_conf **confp,
               struct rv__state_service **servicesp, size_t *n_servicesp,
               bool *is_pausedp)
{
    struct rv_buf text;
    rv_buf_init(&text, MAX_STATE_BYTES);
    int rc = lseek(fd, 0, SEEK_SET) ? -errno : rv_fd_read_all(fd, &text);
    if (!rc) {
        rc = parse_state(master, &text, confp, servicesp, n_servicesp,
                         is_pausedp);
    }
    rv_buf_deinit(&text);
    return rc;
}
