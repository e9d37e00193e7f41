/* JSON as the test programs of Open vSwitch read and print it.
 *
 * A reader accepts exactly what those accept and complains in their words,
 * with line, column and byte; the modules of reeve are held against it.
 *
 *     struct json_reader *reader = json_reader_create(true);
 *     json_reader_feed(reader, bytes, n);
 *     json_t *value = json_reader_finish(reader, &complaint);
 */
#ifndef RV_TESTS_JSON_TEXT_H
#define RV_TESTS_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

struct json_reader;

/* With 'has_trailer' only white space may follow the value; else the reader
 * is done where the value ends.  Ends the program without memory. */
struct json_reader *json_reader_create(bool has_trailer);

/* Takes bytes; how many, which is fewer than 'n' once the reader is done. */
size_t json_reader_feed(struct json_reader *reader, const char *bytes,
                        size_t n);

/* Whether the value is complete, or an error was found. */
bool json_reader_is_done(const struct json_reader *reader);

/* Ends the input and frees the reader.  The value, which the caller drops; or
 * NULL and in '*complaintp' a sentence, which the caller frees. */
json_t *json_reader_finish(struct json_reader *reader, char **complaintp);

/* As a reader fed with 'text' and finished. */
json_t *json_text_read(const char *text, char **complaintp);

/* The text of 'value', members sorted, which the caller frees.  'is_pretty'
 * gives each member and element a line, indented by two spaces a level. */
char *json_text_write(const json_t *value, bool is_pretty);

#endif
