/* csv_field.c - typed fields of csv.h, and what is said when one is not as expected. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_BYTES 60 /* of a bad value; the rest becomes "..." */

/* A bad value may be a megabyte long: this shows its beginning and cuts no character in two. */
static void shorten(const char *text, char shown[SHOWN_BYTES + 4])
{
    size_t length = strlen(text);
    bool is_long = length > SHOWN_BYTES;

    if (is_long) {
        length = SHOWN_BYTES;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
    }
    memcpy(shown, text, length);
    memcpy(shown + length, is_long ? "..." : "", is_long ? 4 : 1);
}

bool csv_bad(const struct csv *csv, int column, struct err *err, const char *format, ...)
{
    char shown[SHOWN_BYTES + 4], expected[512];
    va_list args;

    va_start(args, format);
    vsnprintf(expected, sizeof expected, format, args);
    va_end(args);
    if (!csv_has_column(csv, column))
        return err_at(err, csv_path(csv), csv_line(csv), 0, "no column '%s': %s",
                      csv_column_name(csv, column), expected);
    shorten(csv_text(csv, column), shown);
    return err_at(err, csv_path(csv), csv_line(csv), csv_position(csv, column), "%s is '%s': %s",
                  csv_column_name(csv, column), shown, expected);
}

bool csv_bad_row(const struct csv *csv, struct err *err, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_at(err, csv_path(csv), csv_line(csv), 0, "%s", text);
}

static bool must_not_be_empty(const struct csv *csv, int column, struct err *err)
{
    return csv_has(csv, column) || csv_bad(csv, column, err, "must not be empty");
}

bool csv_int(const struct csv *csv, int column, int64_t min, int64_t max, int64_t *value,
             struct err *err)
{
    const char *text = csv_text(csv, column);
    bool is_whole;

    if (!must_not_be_empty(csv, column, err))
        return false;
    if (units_parse_int(text, value) && *value >= min && *value <= max)
        return true;
    text += *text == '-' || *text == '+';
    is_whole = *text != '\0' && strspn(text, "0123456789") == strlen(text);
    if (!is_whole)
        return csv_bad(csv, column, err, "not a whole number");
    if (max == INT64_MAX || (max == INT32_MAX && *csv_text(csv, column) == '-'))
        return csv_bad(csv, column, err, "expected a whole number of at least %" PRId64, min);
    return csv_bad(csv, column, err, "expected a whole number from %" PRId64 " to %" PRId64, min,
                   max);
}

bool csv_int32(const struct csv *csv, int column, int32_t min, int32_t max, int32_t *value,
               struct err *err)
{
    int64_t wide;

    if (!csv_int(csv, column, min, max, &wide, err))
        return false;
    *value = (int32_t)wide;
    return true;
}

bool csv_double(const struct csv *csv, int column, double min, double max, double *value,
                struct err *err)
{
    char low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];

    if (!must_not_be_empty(csv, column, err))
        return false;
    if (!units_parse_double(csv_text(csv, column), value))
        return csv_bad(csv, column, err, "not a finite decimal number");
    if (*value >= min && *value <= max)
        return true;
    units_format_double(min, low);
    units_format_double(max, high);
    if (*value < min)
        return csv_bad(csv, column, err, "expected a number of at least %s", low);
    return csv_bad(csv, column, err, "expected a number of at most %s", high);
}

/* The two units of time differ in their parser and in the words of the message. */
/* A number as it should be, but too large for any time: *time_ps is then beyond the limit that it
 * passes. */
static bool is_beyond(const char *text, bool is_ns, int64_t *time_ps)
{
    double limit = (double)UNITS_MAX_PS / (double)(is_ns ? UNITS_PS_PER_NS : UNITS_PS_PER_S);
    double value;

    if (!units_parse_double(text, &value) || (value <= limit && value >= -limit))
        return false;
    *time_ps = value > 0 ? INT64_MAX : INT64_MIN;
    return true;
}

static bool read_time(const struct csv *csv, int column, bool is_ns, int64_t min_ps,
                      int64_t *time_ps, struct err *err)
{
    const char *text = csv_text(csv, column), *unit = is_ns ? "nanoseconds" : "seconds";
    char bound[UNITS_TEXT_BYTES];
    int64_t limit_ps;

    if (!must_not_be_empty(csv, column, err))
        return false;
    if (!(is_ns ? units_parse_ns(text, time_ps) : units_parse_seconds(text, time_ps)) &&
        !is_beyond(text, is_ns, time_ps))
        return csv_bad(csv, column, err, "expected decimal %s", unit);
    if (*time_ps >= min_ps && *time_ps <= UNITS_MAX_PS)
        return true;
    if (*time_ps < min_ps && min_ps == 1)
        return csv_bad(csv, column, err, "expected %s above 0", unit);
    limit_ps = *time_ps < min_ps ? min_ps : UNITS_MAX_PS;
    return csv_bad(
        csv, column, err, "expected at %s %s %s", limit_ps == UNITS_MAX_PS ? "most" : "least",
        is_ns ? units_format_ns(limit_ps, bound) : units_format_seconds(limit_ps, bound), unit);
}

bool csv_seconds(const struct csv *csv, int column, int64_t min_ps, int64_t *time_ps,
                 struct err *err)
{
    return read_time(csv, column, false, min_ps, time_ps, err);
}

bool csv_ns(const struct csv *csv, int column, int64_t min_ps, int64_t *time_ps, struct err *err)
{
    return read_time(csv, column, true, min_ps, time_ps, err);
}

bool csv_choice(const struct csv *csv, int column, const char *const *names, int count, int *index,
                struct err *err)
{
    const char *text = csv_text(csv, column);
    char choices[ERR_CHOICES_BYTES];

    if (!must_not_be_empty(csv, column, err))
        return false;
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], text) == 0) {
            *index = i;
            return true;
        }
    }
    return csv_bad(csv, column, err, "%s", err_choices(text, names, count, choices));
}

bool csv_name(const struct csv *csv, int column, struct arena *arena, const char **name,
              struct err *err)
{
    if (!must_not_be_empty(csv, column, err))
        return false;
    *name = arena_strdup(arena, csv_text(csv, column));
    return true;
}
