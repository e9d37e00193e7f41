/* Images of zones, and what the kernel would do to one if a process that is
 * stopped died now.
 *
 * Source: get_robust_list(2), process_vm_readv(2); the kernel's
 * exit_robust_list() and handle_futex_death().
 */
#ifndef RV_TORTURE_STEPS_COPY_H
#define RV_TORTURE_STEPS_COPY_H

#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "reeve/zone.h"

/* The bytes of a zone's file. */
struct zone_image {
    char *bytes;
    size_t n;
};

/* Fills 'image' from the file; frees what was in it. */
void image_read(struct zone_image *image, int fd);

/* A new file with these bytes; the caller closes it. */
int image_open(const struct zone_image *image);

/* Who looks at a zone again and again. */
struct copier {
    struct zone_image last;  /* As it was seen last. */
    struct zone_image image; /* The same, the victim being dead. */
    struct robust_list_head head;
    uint64_t n_copies;
};

/* Whether the zone, or what the kernel would do, is another than before; then
 * 'copier->image' is the zone after the death of the stopped 'victim'. */
bool copier_look(struct copier *copier, int fd, const struct rv_zone *zone,
                 pid_t victim);

void copier_free(struct copier *copier);

#endif
