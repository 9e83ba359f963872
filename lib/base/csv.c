/* csv.c - see csv.h. libcsv splits one physical line at a time: it counts no lines and drops blank
 * ones, and no field of ours may hold a newline, so this keeps line numbers exact. Typed fields are
 * in csv_field.c. */
#include "lib/base/csv.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/base/utf8.h"
#include <assert.h>
#include <csv.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_MAX_BYTES ((size_t)1 << 20)
#define BLOCK_BYTES ((size_t)1 << 16)

struct meta {
    const char *key, *value;
    const struct meta *next;
};

struct csv {
    struct arena *arena;
    const char *path;
    FILE *file;        /* NULL: the text is all there is */
    const char *block; /* what has been read and not yet cut into lines */
    size_t block_left;
    char *file_block;

    char *line; /* of the current line, without its end */
    size_t line_length, line_capacity;
    long line_number;

    struct csv_parser parser;
    char *row; /* the fields of the current row, each with its NUL */
    size_t row_used, row_capacity;
    size_t *start; /* of each field in row */
    int field_count, start_capacity;

    const struct csv_column *columns;
    int column_count, header_count;
    int *position; /* 1-based field of each column, 0 = not in this file */
    const struct meta *meta;
    bool is_open, is_broken, is_partial;
};

/* ---- lines ---- */

static bool refill(struct csv *csv, struct err *err)
{
    if (csv->block_left > 0 || !csv->file)
        return true;
    errno = 0;
    csv->block = csv->file_block;
    csv->block_left = fread(csv->file_block, 1, BLOCK_BYTES, csv->file);
    if (csv->block_left == 0 && ferror(csv->file)) {
        errno = errno ? errno : EIO;
        return err_errno(err, csv->path);
    }
    return true;
}

static bool append_line(struct csv *csv, const char *bytes, size_t count, struct err *err)
{
    if (csv->line_length + count > LINE_MAX_BYTES + 1) /* + 1: a carriage return to come off */
        return err_at(err, csv->path, csv->line_number, 0, "line is longer than %zu bytes",
                      LINE_MAX_BYTES);
    if (csv->line_length + count > csv->line_capacity) {
        size_t capacity = csv->line_capacity * 2;

        while (csv->line_length + count > capacity)
            capacity *= 2;
        csv->line = arena_grow(csv->arena, csv->line, csv->line_capacity, capacity, 1);
        csv->line_capacity = capacity;
    }
    memcpy(csv->line + csv->line_length, bytes, count);
    csv->line_length += count;
    return true;
}

static bool check_line(struct csv *csv, struct err *err)
{
    const char *text = csv->line;
    size_t left = csv->line_length;

    if (left > LINE_MAX_BYTES)
        return append_line(csv, text, left, err); /* says that it is too long */
    if (memchr(text, '\0', left))
        return err_at(err, csv->path, csv->line_number, 0, "line holds a NUL byte");
    while (left > 0) {
        size_t length = utf8_length(text, left);

        if (length == 0)
            return err_at(err, csv->path, csv->line_number, 0, "line is not UTF-8");
        text += length;
        left -= length;
    }
    return true;
}

/* The next physical line. False at the end and on an error. */
static bool read_line(struct csv *csv, struct err *err)
{
    bool is_whole = false, has_any = false;

    csv->line_length = 0;
    csv->line_number++;
    while (!is_whole) {
        const char *newline;
        size_t count;

        if (!refill(csv, err))
            return false;
        if (csv->block_left == 0)
            break;
        has_any = true;
        newline = memchr(csv->block, '\n', csv->block_left);
        is_whole = newline != NULL;
        count = is_whole ? (size_t)(newline - csv->block) : csv->block_left;
        if (!append_line(csv, csv->block, count, err))
            return false;
        csv->block += count + is_whole;
        csv->block_left -= count + is_whole;
    }
    if (!has_any || (csv->is_partial && !is_whole)) /* at the end, or cut off in the line */
        return false;
    if (csv->line_length > 0 && csv->line[csv->line_length - 1] == '\r')
        csv->line_length--;
    return check_line(csv, err);
}

/* ---- rows ---- */

static void on_field(void *bytes, size_t count, void *context)
{
    struct csv *csv = context;

    /* A row with more fields than the header is an error: they are counted and not kept. */
    if (csv->header_count > 0 && csv->field_count >= csv->header_count) {
        csv->field_count++;
        return;
    }
    if (csv->field_count == csv->start_capacity) {
        csv->start = arena_grow(csv->arena, csv->start, (size_t)csv->start_capacity,
                                2 * (size_t)csv->start_capacity, sizeof *csv->start);
        csv->start_capacity *= 2;
    }
    csv->start[csv->field_count++] = csv->row_used;
    memcpy(csv->row + csv->row_used, bytes, count);
    csv->row[csv->row_used + count] = '\0';
    csv->row_used += count + 1;
}

static int never_ends(unsigned char c)
{
    (void)c;
    return 0;
}

/* Splits the current line; a blank line has 0 fields. */
static bool split_line(struct csv *csv, struct err *err)
{
    if (csv->row_capacity < csv->line_length + 2) { /* a field more than there are commas */
        csv->row_capacity = csv->line_capacity + 2;
        csv->row = arena_alloc(csv->arena, csv->row_capacity);
    }
    csv->row_used = 0;
    csv->field_count = 0;
    if (csv_parse(&csv->parser, csv->line, csv->line_length, on_field, NULL, csv) !=
            csv->line_length ||
        csv_fini(&csv->parser, on_field, NULL, csv) != 0)
        return err_at(err, csv->path, csv->line_number, 0, "badly quoted field");
    return true;
}

bool csv_next(struct csv *csv, struct err *err)
{
    csv->field_count = 0;
    while (!csv->is_broken && csv->field_count == 0) {
        csv->is_broken = true; /* the end, unless a row follows */
        if (!read_line(csv, err) || !split_line(csv, err))
            break;
        if (csv->field_count != 0 && csv->field_count != csv->header_count) {
            err_at(err, csv->path, csv->line_number, 0, "%d field%s, but the header names %d",
                   csv->field_count, csv->field_count == 1 ? "" : "s", csv->header_count);
            break;
        }
        csv->is_broken = false;
    }
    return !csv->is_broken;
}

/* ---- rows that a caller takes off itself ---- */

const char *csv_peek(const struct csv *csv, size_t *length_bytes)
{
    *length_bytes = csv->is_broken || !csv->file ? 0 : csv->block_left;
    return csv->block;
}

void csv_skip(struct csv *csv, size_t length_bytes, long lines)
{
    assert(length_bytes <= csv->block_left);
    csv->block += length_bytes;
    csv->block_left -= length_bytes;
    csv->line_number += lines;
}

int64_t csv_bytes_left(const struct csv *csv)
{
    struct stat status;
    off_t at;

    if (!csv->file)
        return (int64_t)csv->block_left;
    at = ftello(csv->file);
    if (at < 0 || fstat(fileno(csv->file), &status) != 0 || !S_ISREG(status.st_mode) ||
        at > status.st_size)
        return -1;
    return (int64_t)(status.st_size - at) + (int64_t)csv->block_left;
}

/* ---- what stands before the rows ---- */

static const char *trim(struct arena *arena, const char *text, size_t length)
{
    while (length > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        length--;
    }
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        length--;
    return arena_strndup(arena, text, length);
}

/* `# key: value`; a line without a colon is a remark. */
static bool read_meta(struct csv *csv, const char *format, struct err *err)
{
    const char *text = csv->line + 1;
    size_t length = csv->line_length - 1;
    const char *colon = memchr(text, ':', length);
    struct meta *meta;
    size_t name_length;
    int64_t version;

    if (!colon)
        return true;
    meta = arena_alloc(csv->arena, sizeof *meta);
    meta->key = trim(csv->arena, text, (size_t)(colon - text));
    meta->value = trim(csv->arena, colon + 1, length - (size_t)(colon - text) - 1);
    meta->next = csv->meta;
    csv->meta = meta;
    csv->is_partial = csv->is_partial || strcmp(meta->key, "partial") == 0;
    if (!format || strcmp(meta->key, "orrery") != 0)
        return true;
    name_length = strcspn(meta->value, " ");
    if (strlen(format) != name_length || memcmp(format, meta->value, name_length) != 0)
        return err_at(err, csv->path, csv->line_number, 0,
                      "the file says that it is '%.60s': expected '%s 1'", meta->value, format);
    if (!units_parse_int(meta->value + name_length + strspn(meta->value + name_length, " "),
                         &version) ||
        version != 1)
        return err_at(err, csv->path, csv->line_number, 0,
                      "the file says that it is '%.60s': this program reads version 1",
                      meta->value);
    return true;
}

static bool unknown_column(struct csv *csv, int field, struct err *err)
{
    const char *name = csv->row + csv->start[field];
    const char **names = arena_array(csv->arena, (size_t)csv->column_count + 1, sizeof *names);
    const char *closest;

    for (int i = 0; i < csv->column_count; i++)
        names[i] = csv->columns[i].name;
    closest = err_closest(name, names, csv->column_count);
    return err_at(err, csv->path, csv->line_number, field + 1, "unknown column '%.60s'%s%s%s", name,
                  closest ? "; did you mean '" : "", closest ? closest : "", closest ? "'?" : "");
}

static bool read_header(struct csv *csv, struct err *err)
{
    for (int field = 0; field < csv->field_count; field++) {
        const char *name = csv->row + csv->start[field];
        int column = 0;

        if (strncmp(name, "x_", 2) == 0)
            continue;
        while (column < csv->column_count && strcmp(csv->columns[column].name, name) != 0)
            column++;
        if (column == csv->column_count)
            return unknown_column(csv, field, err);
        if (csv->position[column] != 0)
            return err_at(err, csv->path, csv->line_number, field + 1, "column '%s' is there twice",
                          name);
        csv->position[column] = field + 1;
    }
    for (int column = 0; column < csv->column_count; column++) {
        if (csv->columns[column].is_required && csv->position[column] == 0)
            return err_at(err, csv->path, csv->line_number, 0, "missing column '%s'",
                          csv->columns[column].name);
    }
    csv->header_count = csv->field_count;
    return true;
}

static bool read_top(struct csv *csv, const char *format, struct err *err)
{
    while (csv->header_count == 0) {
        if (!read_line(csv, err))
            return err_at(err, csv->path, csv->line_number, 0, "no header row");
        if (csv->line_number == 1 && csv->line_length >= 3 &&
            memcmp(csv->line, "\xef\xbb\xbf", 3) == 0) {
            csv->line_length -= 3;
            memmove(csv->line, csv->line + 3, csv->line_length);
        }
        if (csv->line_length > 0 && csv->line[0] == '#') {
            if (!read_meta(csv, format, err))
                return false;
            continue;
        }
        if (!split_line(csv, err) || (csv->field_count > 0 && !read_header(csv, err)))
            return false;
    }
    csv->field_count = 0;
    return true;
}

/* ---- opening and closing ---- */

static struct csv *create(struct arena *arena, const char *path, const struct csv_column *columns,
                          int column_count)
{
    struct csv *csv = arena_alloc(arena, sizeof *csv);

    csv->arena = arena;
    csv->path = arena_strdup(arena, path);
    csv->columns = columns;
    csv->column_count = column_count;
    csv->position = arena_array(arena, (size_t)column_count, sizeof *csv->position);
    csv->line_capacity = 1024;
    csv->line = arena_alloc(arena, csv->line_capacity);
    csv->start_capacity = 32;
    csv->start = arena_array(arena, (size_t)csv->start_capacity, sizeof *csv->start);
    (void)csv_init(&csv->parser, CSV_STRICT | CSV_STRICT_FINI); /* fails for NULL alone */
    csv_set_term_func(&csv->parser, never_ends);
    csv_set_blk_size(&csv->parser, 4096);
    csv->is_open = true;
    return csv;
}

static struct csv *start(struct csv *csv, const char *format, struct err *err)
{
    if (read_top(csv, format, err))
        return csv;
    csv_close(csv);
    return NULL;
}

struct csv *csv_open(struct arena *arena, const char *path, const char *format,
                     const struct csv_column *columns, int column_count, struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    struct csv *csv;

    if (!file) {
        err_errno(err, path);
        return NULL;
    }
    csv = create(arena, is_stdin ? "stdin" : path, columns, column_count);
    csv->file = file;
    csv->file_block = arena_alloc(arena, BLOCK_BYTES + CSV_PEEK_SLACK);
    return start(csv, format, err);
}

struct csv *csv_open_text(struct arena *arena, const char *text, size_t length_bytes,
                          const char *path, const char *format, const struct csv_column *columns,
                          int column_count, struct err *err)
{
    struct csv *csv = create(arena, path, columns, column_count);

    csv->block = text;
    csv->block_left = length_bytes;
    return start(csv, format, err);
}

void csv_close(struct csv *csv)
{
    if (!csv || !csv->is_open)
        return;
    if (csv->file && csv->file != stdin)
        fclose(csv->file);
    csv_free(&csv->parser);
    csv->is_open = false;
}

/* ---- the current row ---- */

const char *csv_text(const struct csv *csv, int column)
{
    int position = csv_position(csv, column);

    return position > 0 && position <= csv->field_count ? csv->row + csv->start[position - 1] : "";
}

bool csv_has(const struct csv *csv, int column)
{
    return csv_text(csv, column)[0] != '\0';
}

bool csv_has_column(const struct csv *csv, int column)
{
    return csv_position(csv, column) > 0;
}

int csv_header_count(const struct csv *csv)
{
    return csv->header_count;
}

const char *csv_path(const struct csv *csv)
{
    return csv->path;
}

long csv_line(const struct csv *csv)
{
    return csv->line_number;
}

const char *csv_meta(const struct csv *csv, const char *key)
{
    for (const struct meta *meta = csv->meta; meta; meta = meta->next) {
        if (strcmp(meta->key, key) == 0)
            return meta->value;
    }
    return NULL;
}

int csv_position(const struct csv *csv, int column)
{
    assert(column >= 0 && column < csv->column_count);
    return csv->position[column];
}

const char *csv_column_name(const struct csv *csv, int column)
{
    assert(column >= 0 && column < csv->column_count);
    return csv->columns[column].name;
}
