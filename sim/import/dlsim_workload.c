/* dlsim_workload.c - DLSIM's workload files: a row that says how they were made, then arrivals.
 *
 * Row 1: models, rate, "[shares]", duration, "[SLOs]", name; then model,arrival in seconds. DLSIM
 * evaluates these rows as Python; here they are lists of numbers or an error. */
#include "sim/import/dlsim.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/units.h"
#include "lib/base/utf8.h"
#include <string.h>

enum head { MODELS, RATE, SHARES, DURATION, SLOS, NAME, HEAD_COUNT };
static const char *const head_names[HEAD_COUNT] = {
    "models", "rate", "shares", "duration", "SLOs", "name",
};

struct place { /* for errors */
    const char *path;
    long line;
};

static bool bad_field(struct place place, int column, const char *name, const char *text,
                      const char *expected, struct err *err)
{
    return err_at(err, place.path, place.line, column, "%s is '%.60s': %s", name, text, expected);
}

/* Splits a line at its commas in place, quotes taken off. Count of fields, or -1 for a bad quote;
 * fields past max are counted and not kept. */
static int split(char *line, char **fields, int max)
{
    char *in = line, *out = line;
    int count = 0;

    for (;;) {
        bool is_quoted = *in == '"', is_open = is_quoted;

        if (count < max)
            fields[count] = out;
        count++;
        in += is_quoted;
        while (*in != '\0' && (is_open || *in != ',')) {
            if (*in == '"' && !is_quoted)
                return -1;
            if (*in == '"' && in[1] != '"') {
                is_open = false;
                in++;
                if (*in != '\0' && *in != ',')
                    return -1;
                continue;
            }
            in += *in == '"';
            *out++ = *in++;
        }
        if (is_open)
            return -1;
        if (*in == '\0')
            break;
        in++;
        *out++ = '\0';
    }
    *out = '\0';
    return count;
}

static const char *skip_spaces(const char *text)
{
    return text + strspn(text, " \t");
}

bool dlsim_list(struct arena *arena, const char *text, const char ***items, int *count)
{
    static const char item_characters[] = "+-.0123456789abcdefghijklmnopqrstuvwxyz"
                                          "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    int capacity = 8;

    *count = 0;
    *items = arena_array(arena, (size_t)capacity, sizeof **items);
    if (*text != '[')
        return false;
    text = skip_spaces(text + 1);
    while (*text != ']') {
        size_t length = strspn(text, item_characters);

        if (length == 0)
            return false;
        if (*count == capacity) {
            *items =
                arena_grow(arena, *items, (size_t)capacity, 2 * (size_t)capacity, sizeof **items);
            capacity *= 2;
        }
        (*items)[(*count)++] = arena_strndup(arena, text, length);
        text = skip_spaces(text + length);
        if (*text == ',')
            text = skip_spaces(text + 1);
        else if (*text != ']')
            return false;
    }
    return text[1] == '\0';
}

/* The list in a field, with an item for each model. */
static bool read_list(struct arena *arena, struct place place, enum head field, const char *text,
                      int model_count, const char ***items, struct err *err)
{
    int count;

    if (!dlsim_list(arena, text, items, &count))
        return bad_field(place, (int)field + 1, head_names[field], text,
                         "expected a list such as [0.8, 0.2]", err);
    if (count != model_count)
        return err_at(err, place.path, place.line, (int)field + 1,
                      "%s is '%.60s': %d items, but there are %d models", head_names[field], text,
                      count, model_count);
    return true;
}

static bool check_numbers(struct place place, enum head field, const char *text, struct err *err)
{
    double value;

    return (units_parse_double(text, &value) && value >= 0) ||
           bad_field(place, (int)field + 1, head_names[field], text,
                     "expected a number of at least 0", err);
}

static bool read_slos(struct arena *arena, struct place place, const char *text,
                      struct dlsim_workload *workload, struct err *err)
{
    int64_t *slos_ps = arena_array(arena, (size_t)workload->model_count, sizeof *slos_ps);
    const char **items;

    if (!read_list(arena, place, SLOS, text, workload->model_count, &items, err))
        return false;
    for (int m = 0; m < workload->model_count; m++) {
        if (strcmp(items[m], "None") == 0)
            continue;
        if (!units_parse_seconds(items[m], &slos_ps[m]) || slos_ps[m] < 0)
            return bad_field(place, SLOS + 1, "SLOs", text,
                             "expected a list of seconds of at least 0, or None", err);
    }
    workload->slos_ps = slos_ps;
    return true;
}

static bool is_utf8(const char *text)
{
    size_t left = strlen(text), step;

    for (; left > 0; left -= step, text += step) {
        step = utf8_length(text, left);
        if (step == 0)
            return false;
    }
    return true;
}

static bool read_head(struct arena *arena, struct place place, char *line,
                      struct dlsim_workload *workload, struct err *err)
{
    char *fields[HEAD_COUNT];
    int count = split(line, fields, HEAD_COUNT);
    const char **shares;
    int64_t models;

    if (count != HEAD_COUNT)
        return err_at(err, place.path, place.line, 0,
                      "not a workload of DLSIM: expected models,rate,\"[shares]\",duration,"
                      "\"[SLOs]\",name");
    if (!units_parse_int(fields[MODELS], &models) || models < 1 || models > DLSIM_MAX_MODELS)
        return bad_field(place, MODELS + 1, "models", fields[MODELS],
                         "expected a whole number from 1 to 256", err);
    workload->model_count = (int)models;
    if (!check_numbers(place, RATE, fields[RATE], err) ||
        !check_numbers(place, DURATION, fields[DURATION], err) ||
        !read_list(arena, place, SHARES, fields[SHARES], workload->model_count, &shares, err))
        return false;
    for (int m = 0; m < workload->model_count; m++)
        if (!check_numbers(place, SHARES, shares[m], err))
            return false;
    if (!read_slos(arena, place, fields[SLOS], workload, err))
        return false;
    if (!is_utf8(fields[NAME]))
        return err_at(err, place.path, place.line, NAME + 1, "name is not UTF-8");
    workload->rate = arena_strdup(arena, fields[RATE]);
    workload->shares = arena_strdup(arena, fields[SHARES]);
    workload->duration = arena_strdup(arena, fields[DURATION]);
    workload->name = arena_strdup(arena, fields[NAME]);
    return true;
}

static bool read_row(struct place place, char *line, const struct dlsim_workload *workload,
                     struct dlsim_row *row, struct err *err)
{
    char *fields[2];
    int count = split(line, fields, 2);
    int64_t model;

    if (count != 2)
        return err_at(err, place.path, place.line, 0, "expected model,arrival");
    if (!units_parse_int(fields[0], &model) || model < 0 || model >= workload->model_count)
        return err_at(err, place.path, place.line, 1,
                      "model is '%.60s': expected a whole number from 0 to %d", fields[0],
                      workload->model_count - 1);
    if (!units_parse_seconds(fields[1], &row->arrival_ps) || row->arrival_ps < 0)
        return bad_field(place, 2, "arrival", fields[1], "expected seconds of at least 0", err);
    if (workload->count > 0 && row->arrival_ps < row[-1].arrival_ps)
        return bad_field(place, 2, "arrival", fields[1],
                         "earlier than the row above; rows must be sorted by arrival", err);
    row->model = (int32_t)model;
    row->line = place.line;
    return true;
}

static bool read_rows(struct arena *arena, struct lines *lines, struct dlsim_workload *workload,
                      struct err *err)
{
    size_t capacity = 0;
    char *line;

    while ((line = lines_next(lines, err)) != NULL) {
        struct place place = { workload->path, lines_number(lines) };

        if (line[0] == '\0')
            continue;
        if (workload->count == capacity) {
            size_t larger = capacity ? 2 * capacity : 1024;

            workload->rows =
                arena_grow(arena, workload->rows, capacity, larger, sizeof *workload->rows);
            capacity = larger;
        }
        if (!read_row(place, line, workload, &workload->rows[workload->count], err))
            return false;
        workload->count++;
    }
    if (err->kind == ERR_NONE && workload->count == 0)
        return err_at(err, workload->path, 0, 0,
                      "no requests: expected at least one model,arrival");
    return err->kind == ERR_NONE;
}

bool dlsim_workload_load(struct arena *arena, const char *path, struct dlsim_workload *workload,
                         struct err *err)
{
    struct lines *lines = lines_open(arena, path, err);
    struct place place;
    char *line;
    bool is_ok;

    if (!lines)
        return false;
    *workload = (struct dlsim_workload){ .path = lines_path(lines) };
    line = lines_next(lines, err);
    place = (struct place){ workload->path, 1 };
    if (!line)
        err_at(err, workload->path, 0, 0, "empty: expected a workload of DLSIM");
    is_ok = line && read_head(arena, place, line, workload, err) &&
            read_rows(arena, lines, workload, err);
    lines_close(lines);
    return is_ok;
}
