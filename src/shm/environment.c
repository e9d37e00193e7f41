/* The zones that reeve passed to this process: REEVE_ZONES=sessions=5,limits=6
 * says their names and descriptors. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "reeve/zone.h"

static const char variable[] = "REEVE_ZONES";

/* Reads the number in front of a comma or the end. */
static int
read_number(const char *text, int *fdp)
{
    char digits[16];
    int64_t number;
    size_t n = strcspn(text, ",");
    if (n >= sizeof digits) {
        return -EINVAL;
    }
    memcpy(digits, text, n);
    digits[n] = '\0';
    if (rv_str_parse_integer(digits, &number) || number < 0
        || number > INT_MAX) {
        return -EINVAL;
    }
    *fdp = (int)number;
    return 0;
}

static int
find(const char *zones, const char *name, int *fdp)
{
    size_t n = strlen(name);
    while (*zones) {
        if (!strncmp(zones, name, n) && zones[n] == '=') {
            return read_number(zones + n + 1, fdp);
        }
        zones += strcspn(zones, ",");
        zones += *zones == ',';
    }
    return -ENOENT;
}

int
rv_zone_attach_by_name(const char *name, const struct rv_zone_options *options,
                       struct rv_zone **zonep, struct rv_error *error)
{
    const char *zones = getenv(variable);
    struct rv_zone_options named =
        options ? *options : (struct rv_zone_options){.name = NULL};
    int fd = -1;
    int rc = find(zones ? zones : "", name, &fd);
    if (rc) {
        return rv_error_set(error, rc, "no zone \"%s\" in %s: \"%s\"", name,
                            variable, zones ? zones : "");
    }
    named.name = named.name ? named.name : name;
    rc = rv_zone_attach(fd, &named, zonep, error);
    if (rc == -EACCES && !named.is_read_only) {
        rv_error_set(error, rc, "zone \"%s\" is only for reading", name);
    }
    return rc;
}
