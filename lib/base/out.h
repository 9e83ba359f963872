/* out.h - output files that appear whole or not at all.
 *
 * A file is written without a name (O_TMPFILE; under a temporary name where the file system cannot)
 * and takes its place by a rename in out_commit; a run that fails or is killed leaves the old file
 * as it was, and nothing beside it. A link stays one: the file that it leads to is written. "-" is
 * stdout. Write errors are remembered and reported by
 * out_commit, so the put functions return nothing. */
#ifndef ORRERY_BASE_OUT_H
#define ORRERY_BASE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct out;

struct out *out_open(struct arena *arena, const char *path, struct err *err);
/* A file that grows under its own name, path with suffix behind it, and may be read meanwhile. What
 * stood there goes. NULL without an error where path is no plain file (stdout, a pipe): nothing
 * stands beside these. It ends with out_abort, which removes it, or out_leave. */
struct out *out_open_beside(struct arena *arena, const char *path, const char *suffix,
                            struct err *err);
/* What has been put is in the file: a process that is killed takes none of it with it. */
bool out_flush(struct out *out, struct err *err);
/* Whether out_open_beside could open it; nothing changes. */
bool out_check_beside(const char *path, const char *suffix, struct err *err);
/* Where the file will stand, or stands, folders resolved; NULL: nothing is renamed there. */
const char *out_target(const struct out *out);
/* Of a name in a folder that is there, the same; NULL: there is no such folder. */
const char *out_resolve(struct arena *arena, const char *path);
/* Closes a file of out_open_beside, and leaves it as it is. NULL is allowed. */
void out_leave(struct out *out);

/* Collects the output in memory instead; out_memory gives it, NUL-terminated, until out_abort. */
struct out *out_open_memory(struct arena *arena);
const char *out_memory(struct out *out, size_t *length_bytes);

void out_text(struct out *out, const char *text);
void out_bytes(struct out *out, const char *bytes, size_t count);
void out_char(struct out *out, char c);
void out_int(struct out *out, int64_t value);
void out_seconds(struct out *out, int64_t time_ps); /* as units_format_seconds */
void out_ns(struct out *out, int64_t time_ps);
void out_double(struct out *out, double value); /* shortest; nothing for NaN or infinity */
void out_printf(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* For many short pieces in a row (lib/base/digits.h): room for count bytes, good until the next
 * call; out_took says where what was put there ends. */
char *out_room(struct out *out, size_t count);
void out_took(struct out *out, const char *end);
/* UTF-8 text in a column of so many characters: padded with spaces, or cut to end in an ellipsis.
 */
void out_column(struct out *out, const char *text, int width);
/* A CSV field, quoted where RFC 4180 asks for it. */
void out_csv(struct out *out, const char *text);

/* Flushes, checks, closes and renames. False (and no file under the final name) when any write
 * failed. stdout is flushed and checked, not closed. */
bool out_commit(struct out *out, struct err *err);
/* Drops what was written. NULL is allowed; after out_commit it does nothing. */
void out_abort(struct out *out);

/* Commits all or none as far as the file system allows: flushes and checks every file before the
 * first rename. NULL entries are skipped; on failure all are aborted. Two of them for one file are
 * an error. */
bool out_commit_all(struct out *const *outs, int count, struct err *err);

/* mkdir -p. */
bool out_make_folder(const char *path, struct err *err);

#endif
