/* csv.h - tables by column name, with the place of every error.
 *
 * RFC 4180 through libcsv, one physical line at a time so that line numbers stay exact. Rules for
 * every table (traces/README.md): UTF-8, header row, columns in any order, `# key: value` lines
 * before the header, columns that begin with x_ ignored, empty field = not given. Blank lines are
 * skipped. A file whose head says `# partial: ...` was cut off while it was written: a last line
 * without its newline is left out there. Errors: "path:line:column: field is 'x': what was
 * expected". A line holds at most 1 MiB, no NUL byte and no newline inside quotes; CRLF and a UTF-8
 * byte order mark are accepted. */
#ifndef ORRERY_BASE_CSV_H
#define ORRERY_BASE_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct csv;
struct err;

struct csv_column {
    const char *name;
    bool is_required; /* must be in the header; single fields may still be empty */
};

/* Opens path ("-" = stdin) and reads the header. columns is indexed by the caller's own enum and
 * must outlive the reader. format is the name expected in a first line `# orrery: <format> 1`;
 * another name or a higher version there is an error, no such line is fine. A missing file is
 * ERR_SYSTEM. */
struct csv *csv_open(struct arena *arena, const char *path, const char *format,
                     const struct csv_column *columns, int column_count, struct err *err);
/* The same on text that is in memory (must outlive the reader); path only names it in errors. */
struct csv *csv_open_text(struct arena *arena, const char *text, size_t length_bytes,
                          const char *path, const char *format, const struct csv_column *columns,
                          int column_count, struct err *err);
void csv_close(struct csv *csv); /* NULL is allowed */

/* Next row. False at the end of the file, and on an error (then err->kind is set). */
bool csv_next(struct csv *csv, struct err *err);

/* For a caller that takes plain rows off the text itself and leaves every other line to csv_next.
 * csv_peek: what has been read of a file and not yet cut into lines. It begins a line, may end
 * inside one, and lives until the next csv_next; CSV_PEEK_SLACK bytes behind it may be read too,
 * whatever they hold. Nothing (length 0) after an error and of text in memory. csv_skip: the first
 * length_bytes of it, which are `lines` whole lines, are dealt with. */
#define CSV_PEEK_SLACK 8
const char *csv_peek(const struct csv *csv, size_t *length_bytes);
void csv_skip(struct csv *csv, size_t length_bytes, long lines);
/* Bytes behind the current line; -1 where nobody knows (a pipe). */
int64_t csv_bytes_left(const struct csv *csv);

/* Of the current row; "" when empty or the column is not in this file. The text lives until the
 * next csv_next. */
const char *csv_text(const struct csv *csv, int column);
bool csv_has(const struct csv *csv, int column);        /* field not empty */
bool csv_has_column(const struct csv *csv, int column); /* named in the header */
int csv_header_count(const struct csv *csv);            /* fields of the header */
const char *csv_path(const struct csv *csv);
long csv_line(const struct csv *csv);
/* Value of a `# key: value` line before the header, or NULL. */
const char *csv_meta(const struct csv *csv, const char *key);

/* Typed fields; an empty or bad field is an error that says what was expected. Bounds inclusive. */
bool csv_int(const struct csv *csv, int column, int64_t min, int64_t max, int64_t *value,
             struct err *err);
bool csv_int32(const struct csv *csv, int column, int32_t min, int32_t max, int32_t *value,
               struct err *err);
bool csv_double(const struct csv *csv, int column, double min, double max, double *value,
                struct err *err);
/* Decimal seconds or nanoseconds to ps; at least min_ps, at most UNITS_MAX_PS. */
bool csv_seconds(const struct csv *csv, int column, int64_t min_ps, int64_t *time_ps,
                 struct err *err);
bool csv_ns(const struct csv *csv, int column, int64_t min_ps, int64_t *time_ps, struct err *err);
/* Index of the field among count names; the error lists them and says "did you mean". */
bool csv_choice(const struct csv *csv, int column, const char *const *names, int count, int *index,
                struct err *err);
/* A non-empty text copied into the arena. */
bool csv_name(const struct csv *csv, int column, struct arena *arena, const char **name,
              struct err *err);

/* "path:line:column: field is 'x': <text>". Return false. */
bool csv_bad(const struct csv *csv, int column, struct err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "path:line: <text>", for what concerns the whole row. */
bool csv_bad_row(const struct csv *csv, struct err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 1-based position of a column in this file's header (0: not there): to report an error later. */
int csv_position(const struct csv *csv, int column);
const char *csv_column_name(const struct csv *csv, int column);

#endif
