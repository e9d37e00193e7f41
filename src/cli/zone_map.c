/* A picture of a zone: a character a page, or some pages when there are
 * many.  As wide as the terminal, but that each line has whole sixteens. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"
#include "reeve/slab.h"
#include "reeve/zone.h"

enum {
    COLUMNS = 64, /* Of what is no terminal. */
    COLUMNS_MAX = 256,
    COLUMNS_STEP = 16,
    LINES_MAX = 16,
    KINDS = RV_SLAB_CLASSES + 2, /* Free, whole runs, sizes of objects. */
};

/* Of one kind of pages. */
struct kind {
    char mark;
    uint32_t object_bytes;
    uint64_t n_pages;
    uint64_t n_objects, n_free;
};

/* A picture in the making. */
struct picture {
    struct kind kinds[KINDS];
    uint32_t columns;
    uint64_t cell_pages;
    uint64_t counts[KINDS]; /* Pages of the open cell. */
    uint64_t n_counted;
    uint64_t n_cells;
};

static uint32_t
columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_col == 0) {
        return COLUMNS;
    }
    uint32_t n = (uint32_t)(size.ws_col / COLUMNS_STEP * COLUMNS_STEP);
    return RV_MIN(RV_MAX(n, (uint32_t)COLUMNS_STEP), (uint32_t)COLUMNS_MAX);
}

static void
init(struct picture *picture, uint64_t n_pages)
{
    static const char marks[] = ".#abcdefghijklmnopqrstuvwxyzAB";
    *picture = (struct picture){.columns = columns()};
    picture->cell_pages =
        1 + (n_pages - 1) / ((uint64_t)picture->columns * LINES_MAX);
    for (size_t i = 0; i < KINDS; i++) {
        picture->kinds[i].mark = marks[i];
    }
}

/* The kind of a run; sizes get theirs as they come. */
static size_t
kind_of(struct picture *picture, const struct rv_slab_run *run)
{
    if (run->kind != RV_SLAB_RUN_OBJECTS) {
        return run->kind == RV_SLAB_RUN_FREE ? 0 : 1;
    }
    size_t i = 2;
    while (i < KINDS - 1 && picture->kinds[i].object_bytes
           && picture->kinds[i].object_bytes != run->object_bytes) {
        i++;
    }
    picture->kinds[i].object_bytes = run->object_bytes;
    return i;
}

/* Draws the open cell as what most of its pages are; what is in use wins, so
 * that nothing is overlooked. */
static void
end_cell(struct picture *picture)
{
    size_t best = 0;
    for (size_t i = 1; i < KINDS; i++) {
        if (picture->counts[i] > (best ? picture->counts[best] : 0)) {
            best = i;
        }
    }
    putchar(picture->kinds[best].mark);
    picture->n_cells++;
    if (picture->n_cells % picture->columns == 0) {
        putchar('\n');
    }
    for (size_t i = 0; i < KINDS; i++) {
        picture->counts[i] = 0;
    }
    picture->n_counted = 0;
}

static void
add_run(struct picture *picture, const struct rv_slab_run *run)
{
    size_t i = kind_of(picture, run);
    picture->kinds[i].n_pages += run->n_pages;
    picture->kinds[i].n_objects += run->n_objects;
    picture->kinds[i].n_free += run->n_free;
    for (uint64_t left = run->n_pages; left;) {
        uint64_t room = picture->cell_pages - picture->n_counted;
        uint64_t n = RV_MIN(room, left);
        picture->counts[i] += n;
        picture->n_counted += n;
        left -= n;
        if (picture->n_counted == picture->cell_pages) {
            end_cell(picture);
        }
    }
}

static void
print_legend(const struct picture *picture)
{
    printf("a character is %" PRIu64 " %s of 4 KiB\n", picture->cell_pages,
           picture->cell_pages == 1 ? "page" : "pages");
    for (size_t i = 0; i < KINDS; i++) {
        const struct kind *kind = &picture->kinds[i];
        if (!kind->n_pages) {
            continue;
        }
        printf("%c %8" PRIu64 " pages ", kind->mark, kind->n_pages);
        if (i < 2) {
            puts(i ? "of runs" : "free");
        } else {
            printf("of %" PRIu32 "-byte objects: %" PRIu64 " of %" PRIu64
                   " free\n",
                   kind->object_bytes, kind->n_free, kind->n_objects);
        }
    }
}

void
rv_cli_zone_draw(const struct rv_zone *zone)
{
    struct picture picture;
    struct rv_slab_run run;
    init(&picture, rv_zone_size_bytes(zone) / RV_ZONE_PAGE_BYTES);
    for (uint64_t page = 0; !rv_slab_get_run(zone, page, &run);
         page += run.n_pages) {
        add_run(&picture, &run);
    }
    if (picture.n_counted) {
        end_cell(&picture);
    }
    puts(picture.n_cells % picture.columns ? "\n" : "");
    print_legend(&picture);
}
