/* Strings: bounded copies, vectors, and the texts that people write for
 * times and sizes.
 *
 * Room: base.  Blocks: never.  Threads: any.
 *
 *     int64_t ms;
 *     if (rv_str_parse_duration("1m30s", &ms)) { ... }     // 90000
 *
 *     static const char *const known[] = {"web", "jobs"};
 *     const char *near = rv_str_nearest("job", known, 2);  // "jobs"
 *
 *     char **words = NULL;
 *     rv_str_vector_add(&words, "python3", 7);
 *     rv_str_vector_free(words);
 */
#ifndef RV_BASE_STR_H
#define RV_BASE_STR_H

#include <stdbool.h>
#include <stdint.h>

#include "reeve/base.h"

/* Room for a formatted duration or size, its NUL included. */
enum { RV_STR_DURATION = 40, RV_STR_SIZE = 32 };

/* Copies 'from' to the 'size' bytes at 'to' (at least 1), cut short where it
 * does not fit; the copy always ends with NUL.  True if all of it fitted. */
bool rv_str_copy(char *to, size_t size, const char *from);

/* The number of bytes to insert, delete, replace, or swap with their
 * neighbour, to make 'b' from 'a'.  Only the first 64 bytes of each count. */
size_t rv_str_distance(const char *a, const char *b);

/* The one of 'n' words that 'word' was most likely meant to be, or NULL if
 * none is near: for "did you mean". */
const char *rv_str_nearest(const char *word, const char *const *words,
                           size_t n);

/* The length of the longest start of 'data' that is UTF-8 (RFC 3629: no
 * surrogates, no overlong forms, nothing above U+10FFFF) and cuts no
 * character in two. */
size_t rv_str_utf8_prefix(const char *data, size_t length);

/* A whole number in decimal digits with an optional minus, and nothing else.
 * -EINVAL, or -ERANGE if it does not fit; '*valuep' is untouched then. */
int rv_str_parse_integer(const char *text, int64_t *valuep);

/* A time: "500ms", "5s", "2m", "1h", "1d", any of these in a row ("1m30s"),
 * with at most three digits after a point ("1.5s"); a bare number means
 * seconds.  Gives milliseconds, at least 0.  -EINVAL, also for parts of a
 * millisecond; -ERANGE above 100 years. */
int rv_str_parse_duration(const char *text, int64_t *msp);

/* The shortest exact text, which rv_str_parse_duration reads back: "0",
 * "1m30s", "250ms".  'ms' is at least 0. */
void rv_str_format_duration(int64_t ms, char text[RV_STR_DURATION]);

/* A size in bytes: a bare number, or one with K, M, G, T, KiB, MiB, GiB, TiB
 * (powers of 1,024) or KB, MB, GB, TB (powers of 1,000), in either case, with
 * or without a space between.  -EINVAL, or -ERANGE above INT64_MAX. */
int rv_str_parse_size(const char *text, int64_t *bytesp);

/* The shortest exact text, which rv_str_parse_size reads back: "64KiB",
 * "1000".  'bytes' is at least 0. */
void rv_str_format_size(int64_t bytes, char text[RV_STR_SIZE]);

/* The number of strings in a vector that ends with NULL; 0 for NULL. */
size_t rv_str_vector_length(char *const *vector);

/* Appends a copy of the 'length' bytes at 'string' to '*vectorp', which only
 * this function has made, or NULL for an empty one.  The time is linear in
 * the vector's length.  -ENOMEM; nothing changes then. */
int rv_str_vector_add(char ***vectorp, const char *string, size_t length);

/* Frees the strings and the vector.  Accepts NULL. */
void rv_str_vector_free(char **vector);

#endif
