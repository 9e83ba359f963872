/* dist.c - parses a DIST by a table of its kinds and draws integers from it.
 *
 * Values that are drawn as they stand (constant, uniform, file) stay integers throughout. Means are
 * doubles of the final unit (tokens or picoseconds); each draw is rounded to an integer at once and
 * kept inside what a request can hold. */
#include "lib/base/dist.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include <string.h>

enum dist_kind {
    DIST_CONSTANT,
    DIST_UNIFORM,
    DIST_EXP,
    DIST_NORMAL,
    DIST_LOGNORMAL,
    DIST_GAMMA,
    DIST_PARETO,
    DIST_FILE,
    DIST_KIND_COUNT
};

enum second { NO_SECOND, SECOND_VALUE, SECOND_CV, SECOND_SHAPE };

static const struct {
    const char *name, *form;
    enum second second;
    bool is_whole; /* its values are drawn as they stand, so tokens must be whole */
} kinds[DIST_KIND_COUNT] = {
    [DIST_CONSTANT] = { "constant", "constant:V", NO_SECOND, true },
    [DIST_UNIFORM] = { "uniform", "uniform:A:B", SECOND_VALUE, true },
    [DIST_EXP] = { "exp", "exp:MEAN", NO_SECOND, false },
    [DIST_NORMAL] = { "normal", "normal:M:SD", SECOND_VALUE, false },
    [DIST_LOGNORMAL] = { "lognormal", "lognormal:M:CV", SECOND_CV, false },
    [DIST_GAMMA] = { "gamma", "gamma:M:CV", SECOND_CV, false },
    [DIST_PARETO] = { "pareto", "pareto:M:SHAPE", SECOND_SHAPE, false },
    [DIST_FILE] = { "file", "file:F", NO_SECOND, true },
};

/* Beyond these a coefficient of variation or a tail exponent is a mistake, and sums overflow. */
#define CV_MAX 1000.0
#define SHAPE_MAX 1000.0

struct dist {
    enum dist_kind kind;
    enum dist_unit unit;
    double mean;        /* tokens or picoseconds */
    double second;      /* standard deviation in the same unit, or a bare ratio */
    int64_t low, high;  /* of a uniform, inclusive; a constant has both alike */
    size_t value_count; /* of a file */
    int64_t *values;
};

static int64_t greatest(enum dist_unit unit)
{
    return unit == DIST_TOKENS ? DIST_MAX_TOKENS : UNITS_MAX_PS;
}

/* A value that is drawn as it stands. */
static bool parse_whole(const char *text, enum dist_unit unit, int64_t *value)
{
    bool ok = unit == DIST_TIME ? units_parse_duration(text, value) : units_parse_int(text, value);

    return ok && *value >= 0 && *value <= greatest(unit);
}

/* A mean or a standard deviation: of tokens it may be a fraction. */
static bool parse_mean(const char *text, enum dist_unit unit, double *value)
{
    int64_t time_ps;

    if (unit == DIST_TOKENS)
        return units_parse_double(text, value) && *value >= 0 && *value <= DIST_MAX_TOKENS;
    if (!units_parse_duration(text, &time_ps))
        return false;
    *value = (double)time_ps;
    return true;
}

static const char *value_words(enum dist_unit unit, bool is_whole)
{
    if (unit == DIST_TIME)
        return "a duration such as 250ms";
    return is_whole ? "a whole number of tokens" : "a number of tokens";
}

static bool bad(struct err *err, const char *option, const char *text, const char *expected)
{
    return err_set(err, ERR_USAGE, "%s is '%s': expected %s", option, text, expected);
}

/* The only or the first parameter, and a second one that is of the same sort. */
static bool parse_value(struct dist *dist, const char *text, int64_t *whole, double *mean,
                        const char *option, const char *all, struct err *err)
{
    bool is_whole = kinds[dist->kind].is_whole;

    if (is_whole ? parse_whole(text, dist->unit, whole) : parse_mean(text, dist->unit, mean))
        return true;
    return err_set(err, ERR_USAGE, "%s is '%s': '%s' is not %s%s", option, all, text,
                   value_words(dist->unit, is_whole),
                   dist->unit == DIST_TOKENS ? " up to 10^9" : "");
}

static bool parse_second(struct dist *dist, const char *text, const char *option, const char *all,
                         struct err *err)
{
    switch (kinds[dist->kind].second) {
    case NO_SECOND:
        break;
    case SECOND_VALUE:
        return parse_value(dist, text, &dist->high, &dist->second, option, all, err);
    case SECOND_CV:
        if (!units_parse_double(text, &dist->second) || dist->second < 0 || dist->second > CV_MAX)
            return bad(err, option, all, "a coefficient of variation from 0 to 1000");
        break;
    case SECOND_SHAPE:
        if (!units_parse_double(text, &dist->second) || dist->second <= 1 ||
            dist->second > SHAPE_MAX)
            return bad(err, option, all, "a shape above 1 (else the mean is infinite), to 1000");
        break;
    }
    return true;
}

/* text is what follows "kind:", all the whole argument. */
static bool parse_numbers(struct arena *arena, struct dist *dist, const char *text,
                          const char *option, const char *all, struct err *err)
{
    bool has_second = kinds[dist->kind].second != NO_SECOND;
    const char *colon = strchr(text, ':');
    const char *first = colon ? arena_strndup(arena, text, (size_t)(colon - text)) : text;

    if (has_second != (colon != NULL) || (colon && strchr(colon + 1, ':')))
        return bad(err, option, all, kinds[dist->kind].form);
    if (!parse_value(dist, first, &dist->low, &dist->mean, option, all, err))
        return false;
    if (has_second && !parse_second(dist, colon + 1, option, all, err))
        return false;
    if (dist->kind == DIST_CONSTANT)
        dist->high = dist->low;
    if (dist->low > dist->high)
        return bad(err, option, all, "A to be at most B");
    if (kinds[dist->kind].is_whole)
        dist->mean = ((double)dist->low + (double)dist->high) / 2;
    if (dist->unit == DIST_TOKENS && !(dist->mean > 0))
        return bad(err, option, all, "a mean above 0");
    return true;
}

static bool read_values(struct arena *arena, struct dist *dist, struct lines *lines,
                        struct err *err)
{
    size_t room = 0;
    int64_t value;
    double sum = 0;

    for (const char *line; (line = lines_next(lines, err));) {
        if (line[0] == '\0' || line[0] == '#')
            continue;
        if (!parse_whole(line, dist->unit, &value) || (dist->unit == DIST_TOKENS && value < 1))
            return err_at(err, lines_path(lines), lines_number(lines), 1,
                          "value is '%.60s': expected %s", line,
                          dist->unit == DIST_TIME ? value_words(DIST_TIME, true)
                                                  : "a whole number of tokens of at least 1");
        if (dist->value_count == room) {
            room = room == 0 ? 64 : 2 * room;
            dist->values =
                arena_grow(arena, dist->values, dist->value_count, room, sizeof *dist->values);
        }
        dist->values[dist->value_count++] = value;
        sum += (double)value;
    }
    if (err->kind != ERR_NONE)
        return false;
    if (dist->value_count == 0)
        return err_at(err, lines_path(lines), 0, 0, "holds no value");
    dist->mean = sum / (double)dist->value_count;
    return true;
}

static bool load_values(struct arena *arena, struct dist *dist, const char *path, struct err *err)
{
    struct lines *lines = lines_open(arena, path, err);
    bool ok;

    if (!lines)
        return false;
    ok = read_values(arena, dist, lines, err);
    lines_close(lines);
    return ok;
}

static void unknown_kind(const char *text, const char *name, const char *option, struct err *err)
{
    const char *names[DIST_KIND_COUNT], *close;

    for (int i = 0; i < DIST_KIND_COUNT; i++)
        names[i] = kinds[i].name;
    close = err_closest(name, names, DIST_KIND_COUNT);
    err_set(err, ERR_USAGE,
            "%s is '%s': expected constant:V, uniform:A:B, exp:MEAN, normal:M:SD, "
            "lognormal:M:CV, gamma:M:CV, pareto:M:SHAPE or file:F%s%s%s",
            option, text, close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
}

struct dist *dist_parse(struct arena *arena, const char *text, enum dist_unit unit,
                        const char *option, struct err *err)
{
    struct dist *dist = arena_alloc(arena, sizeof *dist);
    const char *colon = strchr(text, ':');
    const char *name = colon ? arena_strndup(arena, text, (size_t)(colon - text)) : text;
    int kind = 0;
    bool ok;

    while (kind < DIST_KIND_COUNT && strcmp(name, kinds[kind].name) != 0)
        kind++;
    if (kind == DIST_KIND_COUNT) {
        unknown_kind(text, name, option, err);
        return NULL;
    }
    dist->kind = (enum dist_kind)kind;
    dist->unit = unit;
    if (!colon || colon[1] == '\0')
        ok = bad(err, option, text, kinds[kind].form);
    else if (dist->kind == DIST_FILE)
        ok = load_values(arena, dist, colon + 1, err);
    else
        ok = parse_numbers(arena, dist, colon + 1, option, text, err);
    return ok ? dist : NULL;
}

/* A draw of a kind that is given by its mean, before rounding. */
static double draw_real(const struct dist *dist, struct rng *rng)
{
    double mean = dist->mean, second = dist->second;

    switch (dist->kind) {
    case DIST_EXP:
        return rng_exponential(rng, mean);
    case DIST_NORMAL:
        return rng_normal(rng, mean, second);
    case DIST_LOGNORMAL:
        return mean > 0 ? rng_lognormal(rng, mean, second) : 0;
    case DIST_GAMMA:
        return second > 0 ? rng_gamma(rng, 1 / (second * second), mean * (second * second)) : mean;
    case DIST_PARETO:
        return rng_pareto(rng, second, mean * (second - 1) / second);
    case DIST_CONSTANT:
    case DIST_UNIFORM:
    case DIST_FILE:
    case DIST_KIND_COUNT:
        break;
    }
    return mean;
}

int64_t dist_draw(const struct dist *dist, struct rng *rng)
{
    int64_t least = dist->unit == DIST_TOKENS ? 1 : 0, most = greatest(dist->unit), value;

    if (dist->kind == DIST_CONSTANT)
        value = dist->low;
    else if (dist->kind == DIST_UNIFORM)
        value = dist->low + (int64_t)rng_below(rng, (uint64_t)(dist->high - dist->low) + 1);
    else if (dist->kind == DIST_FILE)
        value = dist->values[rng_below(rng, dist->value_count)];
    else
        value = dmath_round(draw_real(dist, rng));
    if (value < least)
        return least;
    return value < most ? value : most;
}

double dist_mean(const struct dist *dist)
{
    return dist->mean;
}
