/* The title of this process.
 *
 * The kernel shows the memory that it laid the arguments in; overwriting that
 * is the only way to another text.  What stood there is copied first. */
#include "reeve/process.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The argument area of this process: there is only one. */
static struct {
    char *start;
    char *copy;  /* What stood there: argv and environ point to it. */
    size_t size; /* The environment behind the arguments too. */
    size_t arguments_size; /* The kernel shows these, up to a zero. */
} the_title;

/* How far the area of arguments reaches: its strings follow each other. */
static char *
end_of_area(char *end, char *const *strings)
{
    for (int i = 0; strings[i]; i++) {
        if (strings[i] == end) {
            end += strlen(end) + 1;
        }
    }
    return end;
}

/* Points the strings that stand in the area to its copy. */
static void
move_strings(char **strings, const char *start, const char *end, char *copy)
{
    for (int i = 0; strings[i]; i++) {
        if (strings[i] >= start && strings[i] < end) {
            strings[i] = copy + (strings[i] - start);
        }
    }
}

int
rv_title_init(int argc, char **argv)
{
    if (the_title.start || argc < 1) {
        return 0;
    }
    char *start = argv[0];
    char *end = end_of_area(start, argv);
    the_title.arguments_size = (size_t)(end - start);
    end = end_of_area(end, environ);
    size_t size = (size_t)(end - start);
    the_title.copy = malloc(RV_MAX(size, 1));
    if (!the_title.copy) {
        return -ENOMEM;
    }
    memcpy(the_title.copy, start, size);
    move_strings(argv, start, end, the_title.copy);
    move_strings(environ, start, end, the_title.copy);
    char *names[] = {program_invocation_name, program_invocation_short_name,
                     NULL};
    move_strings(names, start, end, the_title.copy);
    program_invocation_name = names[0];
    program_invocation_short_name = names[1];
    the_title.start = start;
    the_title.size = size;
    return 0;
}

void
rv_title_set(const char *format, ...)
{
    if (!the_title.start) {
        return;
    }
    va_list args;
    va_start(args, format);
    /* The environment stays for those who look for it in /proc, but for what
     * a long title needs of it. */
    memset(the_title.start, 0, the_title.arguments_size);
    vsnprintf(the_title.start, the_title.size, format, args);
    va_end(args);
}

void
rv_title_restore(void)
{
    if (the_title.start) {
        memcpy(the_title.start, the_title.copy, the_title.size);
    }
}
