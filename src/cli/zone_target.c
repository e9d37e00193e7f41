/* The zones of a running reeve.  The master has them open, and tells under
 * which descriptor; whoever may look into its process, the same user or root,
 * opens the zone there. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "master/master.h"
#include "os/fd.h"
#include "reeve/zone.h"

enum { ANSWER_MS = 30000 };

/* One call; the caller frees '*result', which is no error. */
static int
call(const struct rv_cli_target *target, const char *method, size_t n_args,
     const char *const args[], struct rv_unixctl_result *result)
{
    struct rv_unixctl_client client;
    struct rv_error error;
    int64_t timeout_ms =
        target->timeout_ms >= 0 ? target->timeout_ms : ANSWER_MS;
    int status = rv_cli_connect(target, &client);
    if (status) {
        return status;
    }
    *result = (struct rv_unixctl_result){.is_error = false};
    int rc = rv_unixctl_client_call_block(&client, method, n_args, args,
                                          (int)timeout_ms, result, &error);
    rv_unixctl_client_close(&client);
    if (rc) {
        return rv_cli_fail(RV_EXIT_FAILED, "%s", error.text);
    }
    size_t n = result->text ? strlen(result->text) : 0;
    if (n && result->text[n - 1] == '\n') {
        result->text[n - 1] = '\0';
    }
    if (result->is_error) {
        status = rv_cli_fail(RV_EXIT_FAILED, "%s", result->text);
        rv_unixctl_result_deinit(result);
    }
    return status;
}

int
rv_cli_zones_get(const struct rv_cli_target *target, json_t **zonesp)
{
    static const char *const args[] = {"--json"};
    struct rv_unixctl_result result;
    int status = call(target, "status", 1, args, &result);
    if (status) {
        return status;
    }
    json_t *parsed = result.json
                         ? json_incref(result.json)
                         : json_loads(result.text ? result.text : "", 0, NULL);
    json_t *zones = json_object_get(parsed, "zones");
    *zonesp = zones ? json_incref(zones) : json_array();
    json_decref(parsed);
    rv_unixctl_result_deinit(&result);
    return RV_EXIT_OK;
}

static int
open_zone(const char *name, const char *path, bool is_read_only,
          struct rv_zone **zonep)
{
    struct rv_zone_options options = {.is_read_only = is_read_only};
    struct rv_error error;
    int fd = open(path, (is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0) {
        return rv_cli_fail(RV_EXIT_FAILED,
                           "%s: %s; only the user that reeve runs as, and "
                           "root, can look into its zones",
                           path, strerror(errno));
    }
    int rc = rv_zone_attach(fd, &options, zonep, &error);
    rv_fd_close(&fd);
    return rc ? rv_cli_fail(RV_EXIT_FAILED, "zone \"%s\": %s", name,
                            error.text)
              : RV_EXIT_OK;
}

int
rv_cli_zone_attach(const struct rv_cli_target *target, const char *name,
                   bool is_read_only, struct rv_zone **zonep)
{
    const char *const args[] = {name};
    struct rv_unixctl_result result;
    int status = call(target, "zone/fd", 1, args, &result);
    if (!status) {
        status = open_zone(name, result.text ? result.text : "", is_read_only,
                           zonep);
        rv_unixctl_result_deinit(&result);
    }
    return status;
}

int
rv_cli_zone_resize(const struct rv_cli_target *target, const char *name,
                   const char *size, bool is_trimmed, char **sizep)
{
    const char *const args[] = {name, size, "trimmed"};
    struct rv_unixctl_result result;
    int status =
        call(target, "zone/resize", is_trimmed ? 3 : 2, args, &result);
    if (!status && sizep) {
        *sizep = result.text;
        result.text = NULL;
    }
    if (!status) {
        rv_unixctl_result_deinit(&result);
    }
    return status;
}
