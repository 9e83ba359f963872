/* lines.c - see lines.h. Byte by byte, since fgets hides NUL bytes and cuts long lines. */
#include "lib/base/lines.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CAPACITY 256

struct lines {
    struct arena *arena;
    const char *path;
    FILE *file;
    char *text;
    size_t capacity;
    long number;
};

struct lines *lines_open(struct arena *arena, const char *path, struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    struct lines *lines;

    if (!file) {
        err_errno(err, path);
        return NULL;
    }
    if (is_stdin && feof(file)) { /* it would look like an empty file */
        err_set(err, ERR_INPUT, "stdin: read to its end already: only one input can be '-'");
        return NULL;
    }
    lines = arena_alloc(arena, sizeof *lines);
    lines->arena = arena;
    lines->path = is_stdin ? "stdin" : arena_strdup(arena, path);
    lines->file = file;
    lines->capacity = FIRST_CAPACITY;
    lines->text = arena_alloc(arena, lines->capacity);
    return lines;
}

void lines_close(struct lines *lines)
{
    if (lines->file != stdin)
        fclose(lines->file);
}

static char *too_long(const struct lines *lines, struct err *err)
{
    err_at(err, lines->path, lines->number, 0, "line is longer than %zu bytes", LINES_MAX_BYTES);
    return NULL;
}

char *lines_next(struct lines *lines, struct err *err)
{
    size_t length = 0;
    int c;

    lines->number++;
    while ((c = getc(lines->file)) != EOF && c != '\n') {
        if (c == '\0') {
            err_at(err, lines->path, lines->number, 0, "line holds a NUL byte");
            return NULL;
        }
        if (length > LINES_MAX_BYTES) /* one more may be the CR */
            return too_long(lines, err);
        if (length + 1 == lines->capacity) {
            lines->text =
                arena_grow(lines->arena, lines->text, lines->capacity, 2 * lines->capacity, 1);
            lines->capacity *= 2;
        }
        lines->text[length++] = (char)c;
    }
    if (c == EOF && ferror(lines->file))
        err_errno(err, lines->path);
    if (c == EOF && (ferror(lines->file) || length == 0))
        return NULL;
    if (length > 0 && lines->text[length - 1] == '\r')
        length--;
    if (length > LINES_MAX_BYTES)
        return too_long(lines, err);
    lines->text[length] = '\0';
    return lines->text;
}

long lines_number(const struct lines *lines)
{
    return lines->number;
}

const char *lines_path(const struct lines *lines)
{
    return lines->path;
}
