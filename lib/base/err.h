/* err.h - what went wrong, where, and what was expected instead.
 *
 * Every function that can fail takes a `struct err *err` last and returns bool or a pointer. The
 * first failure is kept: later calls on a filled err change nothing. Library code never prints and
 * never exits; sim/cmd, profiler and runner turn the kind into an exit code (all three are 2). */
#ifndef ORRERY_BASE_ERR_H
#define ORRERY_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

enum err_kind {
    ERR_NONE,   /* nothing has failed */
    ERR_USAGE,  /* the command line */
    ERR_INPUT,  /* a file or a value that the user brought */
    ERR_SYSTEM, /* the operating system: no such file, disk full, connection lost */
};

struct err {
    enum err_kind kind;
    char text[768]; /* one line, no newline, no program name */
};

#define ERR_INIT                                                                                   \
    {                                                                                              \
        ERR_NONE, ""                                                                               \
    }

/* Fills err unless it is filled already. Always returns false, so that a failing function can end
 * with `return err_set(...)`. Control characters in the text are replaced by '?'. */
bool err_set(struct err *err, enum err_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool err_vset(struct err *err, enum err_kind kind, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* An ERR_INPUT with its place: "path:line:column: text". line 0 leaves out line and column, column
 * 0 leaves out the column. Columns are 1-based field numbers in a CSV. Returns false. */
bool err_at(struct err *err, const char *path, long line, int column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* An ERR_SYSTEM from errno: "what: No such file or directory". Returns false. */
bool err_errno(struct err *err, const char *what);

/* The closest of count names to a misspelt one (Damerau-Levenshtein distance at most 1/3 of its
 * length, at least 1; case-insensitive ties to the first), or NULL. For "did you mean". */
const char *err_closest(const char *word, const char *const *names, int count);

/* What may stand in place of word: "expected a, b or c; did you mean 'b'?". Cut at the end of text.
 * Returns text. */
#define ERR_CHOICES_BYTES 480
const char *err_choices(const char *word, const char *const *names, int count,
                        char text[ERR_CHOICES_BYTES]);

#endif
