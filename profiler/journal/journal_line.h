/* journal_line.h - one message of a measuring process as one line of a CSV, and back.
 *
 * Points stand there by their shape, not by their index: a run that goes on may list its points in
 * another order. Private to journal.c. */
#ifndef ORRERY_PROFILER_JOURNAL_LINE_H
#define ORRERY_PROFILER_JOURNAL_LINE_H

#include "lib/base/csv.h"
#include "profiler/measure/grid.h"
#include "profiler/measure/message.h"
#include <stdbool.h>
#include <stddef.h>

struct arena;
struct err;

#define JOURNAL_LINE_BYTES 1024

enum journal_kind { /* the message kinds come first, under their numbers */
                    JOURNAL_END = MESSAGE_FAILED + 1, /* a timing process came to its end */
                    JOURNAL_RESUME,                   /* the run was taken up again */
                    JOURNAL_KIND_COUNT
};

struct journal_line {
    int kind; /* enum message_kind or enum journal_kind */
    int variant, proc;
    struct point point;     /* of kinds that have one */
    struct message message; /* all but the index of a point */
};

extern const struct csv_column journal_columns[];
extern const int journal_column_count;
extern const char *const journal_header; /* of the columns, with its newline */

/* Whether messages of this kind are recorded. */
bool journal_is_kept(int kind);
bool journal_has_point(int kind);
/* Writes the line with its newline into text; returns its length. */
size_t journal_line_write(const struct journal_line *line, char text[JOURNAL_LINE_BYTES]);
/* From the current row. */
bool journal_line_read(const struct csv *csv, struct journal_line *line, struct err *err);

#endif
