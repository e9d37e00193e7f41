/* Looks into the visits that the workers count, from outside of reeve.
 *
 *     report FILE                     # all addresses with their visits
 *     report FILE forget ADDRESS
 *
 * FILE is the zone's `file`, or what `reeve ctl zone/fd visits` prints. */
#include <fcntl.h>
#include <inttypes.h>
#include <reeve/dict.h>
#include <reeve/zone.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
print_one(void *dict, const void *key, size_t key_length)
{
    struct rv_dict_value value;
    if (!rv_dict_get(dict, key, key_length, NULL, 0, &value)) {
        printf("%.*s %" PRId64 "\n", (int)key_length, (const char *)key,
               value.integer);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    const struct rv_zone_options options = {.tag = "visits-1"};
    struct rv_error error = {0, "usage: report FILE [forget ADDRESS]"};
    struct rv_zone *zone = NULL;
    struct rv_dict *dict = NULL;
    int fd = argc > 1 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
    int rc = fd < 0 ? -1 : rv_zone_attach(fd, &options, &zone, &error);
    rc = rc ? rc : rv_dict_open(zone, "visits", NULL, &dict, &error);
    if (rc) {
        fprintf(stderr, "report: %s\n", error.text);
        return 1;
    }
    rc = argc == 4 && !strcmp(argv[2], "forget")
             ? rv_dict_delete(dict, argv[3], strlen(argv[3]))
             : rv_dict_keys(dict, 0, print_one, dict);
    rv_dict_close(&dict);
    rv_zone_detach(&zone);
    close(fd);
    return rc < 0;
}
