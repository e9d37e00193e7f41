/* How a process ended, in numbers and words; the title that `ps` shows.
 *
 * Room: os.  Blocks: never.  Threads: any for ends, one for titles.
 * Source: wait(2), waitid(2), proc(5); the words are Open vSwitch's.
 *
 *     struct rv_process_end end;
 *     char text[RV_PROCESS_END_TEXT];
 *     rv_process_end_decode(status, &end);
 *     rv_process_end_text(&end, text);  // "killed (Killed)"
 */
#ifndef REEVE_PROCESS_H
#define REEVE_PROCESS_H

#include <stdbool.h>

#include "reeve/base.h"

RV_BEGIN_DECLARATIONS

/* How a process ended: a waitid(2) result in two numbers. */
struct rv_process_end {
    bool is_signal;
    bool is_core_dumped;
    int value; /* Exit status or signal. */
};

enum { RV_PROCESS_END_TEXT = 80 };

/* What wait(2) calls a status. */
int rv_process_end_encode(const struct rv_process_end *end);
void rv_process_end_decode(int status, struct rv_process_end *end);

/* Writes "exit status 3", "killed (Segmentation fault)" or "killed (Aborted),
 * core dumped"; returns 'text'. */
const char *rv_process_end_text(const struct rv_process_end *end,
                                char text[RV_PROCESS_END_TEXT]);

/* Process titles as `ps` shows them: overwrites the argument area.  'init'
 * once at the start of main(), before threads and before anything keeps a
 * pointer to an argument; the strings of argv and environ are moved to the
 * heap.  -ENOMEM.  Without it the others do nothing. */
int rv_title_init(int argc, char **argv);

/* Sets the title, cut at the length of arguments and environment together. */
void rv_title_set(const char *format, ...) RV_PRINTF(1, 2);

/* Puts the command line back, as it was at the start. */
void rv_title_restore(void);

RV_END_DECLARATIONS

#endif
