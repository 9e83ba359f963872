/* lines.h - a plain text file, one line at a time, for lists that are no tables.
 *
 * A line holds at most 1 MiB and no NUL byte; LF and CRLF end it, and so does the end of the file.
 * Tables are read with csv.h, which has the same limits. */
#ifndef ORRERY_BASE_LINES_H
#define ORRERY_BASE_LINES_H

#include <stddef.h>

struct arena;
struct err;
struct lines;

#define LINES_MAX_BYTES ((size_t)1 << 20)

/* "-" = stdin, which can be read once: at its end already, it is an error. */
struct lines *lines_open(struct arena *arena, const char *path, struct err *err);
void lines_close(struct lines *lines);
/* The next line without its end, NULL at the end of the file and on an error (then err->kind is
 * set). The caller may write into it; it lives until the next call. */
char *lines_next(struct lines *lines, struct err *err);
long lines_number(const struct lines *lines); /* of the current line, from 1 */
const char *lines_path(const struct lines *lines);

#endif
