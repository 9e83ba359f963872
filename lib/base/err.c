/* err.c - keeps the first failure as one printable line, and finds the name that was meant.
 *
 * Texts often quote what a user wrote, so control characters are replaced before anyone prints. */
#include "lib/base/err.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* No name of ours is longer; a longer word has no close one. */
#define WORD_MAX 64

static void clean(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

bool err_vset(struct err *err, enum err_kind kind, const char *format, va_list args)
{
    assert(kind != ERR_NONE);
    if (err->kind != ERR_NONE)
        return false;
    err->kind = kind;
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    clean(err->text);
    return false;
}

bool err_set(struct err *err, enum err_kind kind, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    err_vset(err, kind, format, args);
    va_end(args);
    return false;
}

bool err_at(struct err *err, const char *path, long line, int column, const char *format, ...)
{
    char text[sizeof err->text];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (line > 0 && column > 0)
        return err_set(err, ERR_INPUT, "%s:%ld:%d: %s", path, line, column, text);
    if (line > 0)
        return err_set(err, ERR_INPUT, "%s:%ld: %s", path, line, text);
    return err_set(err, ERR_INPUT, "%s: %s", path, text);
}

bool err_errno(struct err *err, const char *what)
{
    char buffer[128];

    return err_set(err, ERR_SYSTEM, "%s: %s", what, strerror_r(errno, buffer, sizeof buffer));
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. */
static int distance(const char *a, int a_length, const char *b, int b_length)
{
    int rows[3][WORD_MAX + 1];
    int *before = rows[0], *above = rows[1], *row = rows[2];

    for (int j = 0; j <= b_length; j++) {
        before[j] = 0;
        above[j] = j;
    }
    for (int i = 1; i <= a_length; i++) {
        int *oldest = before;

        row[0] = i;
        for (int j = 1; j <= b_length; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);

            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_length];
}

const char *err_closest(const char *word, const char *const *names, int count)
{
    size_t length = strlen(word);
    const char *best = NULL;
    int limit = length < 3 ? 1 : (int)(length / 3);

    if (length == 0 || length > WORD_MAX)
        return NULL;
    for (int i = 0; i < count; i++) {
        size_t name_length = strlen(names[i]);
        int d, longer = (int)length - (int)name_length; /* each letter more or less is a step */

        if (name_length > WORD_MAX || longer > limit || -longer > limit)
            continue;
        d = distance(word, (int)length, names[i], (int)name_length);
        if (d > limit)
            continue;
        best = names[i];
        limit = d - 1; /* only a strictly closer name replaces it */
    }
    return best;
}

const char *err_choices(const char *word, const char *const *names, int count,
                        char text[ERR_CHOICES_BYTES])
{
    const char *closest = err_closest(word, names, count);
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < count && used < ERR_CHOICES_BYTES; i++) {
        const char *separator = i == 0 ? "expected " : i == count - 1 ? " or " : ", ";

        used +=
            (size_t)snprintf(text + used, ERR_CHOICES_BYTES - used, "%s%s", separator, names[i]);
    }
    if (closest && used < ERR_CHOICES_BYTES)
        (void)snprintf(text + used, ERR_CHOICES_BYTES - used, "; did you mean '%s'?", closest);
    return text;
}
