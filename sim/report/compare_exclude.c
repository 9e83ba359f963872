/* compare_exclude.c - which requests are left out of a comparison: a list of ids, or a table of the
 * anomalies of several traces. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "sim/report/compare.h"
#include <stdlib.h>
#include <string.h>

struct reader {
    struct arena *arena;
    struct compare_excluded *excluded;
    size_t capacity;
};

static void add_range(struct reader *reader, struct compare_range range)
{
    struct compare_excluded *excluded = reader->excluded;

    if (excluded->count == reader->capacity) {
        size_t wider = reader->capacity ? 2 * reader->capacity : 64;

        excluded->ranges = arena_grow(reader->arena, excluded->ranges, reader->capacity, wider,
                                      sizeof(*excluded->ranges));
        reader->capacity = wider;
    }
    excluded->ranges[excluded->count++] = range;
}

/* ---- a list ---- */

static bool range_parse(char *text, struct compare_range *range)
{
    char *dash = text[0] ? strchr(text + 1, '-') : NULL;
    bool ok;

    if (dash)
        *dash = '\0';
    ok = units_parse_int(text, &range->first);
    range->last = range->first;
    if (dash) {
        ok = ok && units_parse_int(dash + 1, &range->last);
        *dash = '-'; /* the error shows it whole */
    }
    return ok && range->first >= 0 && range->first <= range->last;
}

static bool read_line(struct reader *reader, struct lines *lines, char *line, struct err *err)
{
    struct compare_range range;

    line[strcspn(line, ",")] = '\0';
    if (line[0] == '\0' || line[0] == '#' ||
        (lines_number(lines) == 1 && strcmp(line, "request_id") == 0))
        return true;
    if (!range_parse(line, &range))
        return err_at(err, lines_path(lines), lines_number(lines), 1,
                      "request_id is '%.40s': expected an id, or FIRST-LAST", line);
    add_range(reader, range);
    return true;
}

/* ---- a table ---- */

enum { TRACE_ID, FIRST_REQUEST, LAST_REQUEST, REQUESTS, WHAT, COLUMN_COUNT };
static const struct csv_column columns[COLUMN_COUNT] = {
    [TRACE_ID] = { "trace_id", false },
    [FIRST_REQUEST] = { "first_request", true },
    [LAST_REQUEST] = { "last_request", true },
    [REQUESTS] = { "requests", false },
    [WHAT] = { "what", false },
};

static bool read_range(const struct csv *csv, struct compare_range *range, struct err *err)
{
    int64_t requests;

    if (!csv_int(csv, FIRST_REQUEST, 0, INT64_MAX, &range->first, err) ||
        !csv_int(csv, LAST_REQUEST, 0, INT64_MAX, &range->last, err))
        return false;
    if (range->last < range->first)
        return csv_bad(csv, LAST_REQUEST, err, "must not be below first_request");
    if (!csv_has(csv, REQUESTS))
        return true;
    if (!csv_int(csv, REQUESTS, 1, INT64_MAX, &requests, err))
        return false;
    return requests - 1 == range->last - range->first ||
           csv_bad(csv, REQUESTS, err, "expected last_request - first_request + 1");
}

/* Rows of the trace that is asked for; of a table of one trace it need not be named. */
static bool read_rows(struct reader *reader, struct csv *csv, const char *trace_id, struct err *err)
{
    const char *only = NULL, *closest = NULL;

    if (trace_id && !csv_has_column(csv, TRACE_ID))
        return err_at(err, csv_path(csv), 0, 0,
                      "--exclude-trace is '%.60s', but the table has no column 'trace_id'",
                      trace_id);
    for (struct compare_range range; csv_next(csv, err);) {
        const char *name = csv_text(csv, TRACE_ID);

        if (!read_range(csv, &range, err))
            return false;
        if (trace_id && strcmp(name, trace_id) != 0) {
            if (!closest && err_closest(trace_id, &name, 1))
                closest = arena_strdup(reader->arena, name);
            continue;
        }
        if (only && strcmp(name, only) != 0)
            return csv_bad(csv, TRACE_ID, err,
                           "rows of more than one trace: name one with --exclude-trace");
        if (!only)
            only = arena_strdup(reader->arena, name);
        add_range(reader, range);
    }
    if (err->kind == ERR_NONE && trace_id && !only)
        return err_at(err, csv_path(csv), 0, 0, "no row of trace '%.60s'%s%s%s", trace_id,
                      closest ? "; did you mean '" : "", closest ? closest : "",
                      closest ? "'?" : "");
    return err->kind == ERR_NONE;
}

/* A table is told by its header: the first line that says something, led by a letter. */
static bool is_header(const char *line)
{
    if (strncmp(line, "\xef\xbb\xbf", 3) == 0)
        line += 3;
    return line[0] >= 'a' && line[0] <= 'z' && strstr(line, columns[FIRST_REQUEST].name);
}

/* The lines up to the header have been copied; the rest follows. */
static bool read_table(struct reader *reader, struct lines *lines, struct out *copy,
                       const char *trace_id, struct err *err)
{
    struct csv *csv;
    const char *text;
    size_t length;
    bool is_ok;

    for (const char *line; (line = lines_next(lines, err));) {
        out_text(copy, line);
        out_char(copy, '\n');
    }
    if (err->kind != ERR_NONE)
        return false;
    text = out_memory(copy, &length);
    csv = csv_open_text(reader->arena, text, length, lines_path(lines), "anomalies", columns,
                        COLUMN_COUNT, err);
    is_ok = csv && read_rows(reader, csv, trace_id, err);
    csv_close(csv);
    return is_ok;
}

/* ---- either ---- */

static int compare_ranges(const void *left, const void *right)
{
    const struct compare_range *a = left, *b = right;

    return (a->first > b->first) - (a->first < b->first);
}

/* In order and apart, so that compare_is_excluded can search. */
static void merge_ranges(struct compare_excluded *excluded)
{
    struct compare_range *ranges = excluded->ranges;
    size_t used = 0;

    if (excluded->count > 0)
        qsort(ranges, excluded->count, sizeof(*ranges), compare_ranges);
    for (size_t i = 0; i < excluded->count; i++) {
        if (used == 0 || ranges[i].first - 1 > ranges[used - 1].last)
            ranges[used++] = ranges[i];
        else if (ranges[i].last > ranges[used - 1].last)
            ranges[used - 1].last = ranges[i].last;
    }
    excluded->count = used;
}

static bool read_any(struct reader *reader, struct lines *lines, const char *trace_id,
                     struct err *err)
{
    struct out *copy = out_open_memory(reader->arena);
    bool may_be_table = true, is_ok = true;

    for (char *line; is_ok && (line = lines_next(lines, err));) {
        if (may_be_table && line[0] != '\0' && line[0] != '#') {
            may_be_table = false;
            if (is_header(line)) {
                out_text(copy, line);
                out_char(copy, '\n');
                is_ok = read_table(reader, lines, copy, trace_id, err);
                break;
            }
            if (trace_id)
                is_ok = err_at(err, lines_path(lines), 0, 0,
                               "--exclude-trace is '%.60s', but this is a list of ids: expected "
                               "a table with a column 'trace_id'",
                               trace_id);
        }
        if (may_be_table) {
            out_text(copy, line);
            out_char(copy, '\n');
        }
        is_ok = is_ok && read_line(reader, lines, line, err);
    }
    out_abort(copy);
    return is_ok && err->kind == ERR_NONE;
}

bool compare_load_excluded(struct arena *arena, const char *path, const char *trace_id,
                           struct compare_excluded *excluded, struct err *err)
{
    struct lines *lines = lines_open(arena, path, err);
    struct reader reader = { .arena = arena, .excluded = excluded };
    bool is_ok;

    *excluded = (struct compare_excluded){ 0 };
    if (!lines)
        return false;
    is_ok = read_any(&reader, lines, trace_id, err);
    lines_close(lines);
    merge_ranges(excluded);
    return is_ok;
}

bool compare_is_excluded(const struct compare_excluded *excluded, int64_t request_id)
{
    size_t low = 0, high = excluded ? excluded->count : 0;

    while (low < high) { /* the first range that does not end before it */
        size_t middle = low + (high - low) / 2;

        if (excluded->ranges[middle].last < request_id)
            low = middle + 1;
        else
            high = middle;
    }
    return excluded && low < excluded->count && excluded->ranges[low].first <= request_id;
}
