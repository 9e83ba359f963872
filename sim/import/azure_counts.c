/* azure_counts.c - Azure Functions 2019: how often each function was called in each minute.
 *
 * A day has some 50 000 functions and is mostly zeros, so only the counts above zero are kept. */
#include "sim/import/azure.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include <inttypes.h>

#define MINUTE_PS (60 * UNITS_PS_PER_S)
#define MAX_COUNT 1000000000

struct cell {
    int32_t function, minute, count; /* minute from the first midnight */
};

struct counts {
    struct import_job *job;
    const struct azure_settings *settings;
    struct names *functions;
    struct cell *cells;
    size_t count, capacity;
    int64_t from, until; /* minutes; until INT64_MAX = to the end */
    int64_t end;         /* minute after the last of the files */
};

static void add_cell(struct counts *counts, struct cell cell)
{
    if (counts->count == counts->capacity) {
        size_t larger = counts->capacity ? 2 * counts->capacity : 1024;

        counts->cells = arena_grow(counts->job->arena, counts->cells, counts->capacity, larger,
                                   sizeof *counts->cells);
        counts->capacity = larger;
    }
    counts->cells[counts->count++] = cell;
}

static bool read_row(struct counts *counts, const struct csv *csv, int day, int minutes,
                     struct err *err)
{
    size_t before = counts->count;
    struct cell cell;

    if (!csv_has(csv, AZURE_HASH_FUNCTION))
        return csv_bad(csv, AZURE_HASH_FUNCTION, err, "expected the name of a function");
    cell.function =
        names_put(counts->functions,
                  arena_printf(counts->job->arena, "%s,%s,%s", csv_text(csv, AZURE_HASH_OWNER),
                               csv_text(csv, AZURE_HASH_APP), csv_text(csv, AZURE_HASH_FUNCTION)));
    for (int i = 0; i < minutes; i++) {
        cell.minute = day * AZURE_MINUTES + i;
        if (!csv_int32(csv, AZURE_FIRST_MINUTE + i, 0, MAX_COUNT, &cell.count, err))
            return false;
        if (cell.count > 0 && cell.minute >= counts->from && cell.minute < counts->until)
            add_cell(counts, cell);
    }
    if (counts->count == before)
        import_drop(counts->job, "without invocations in the slice", 1);
    else
        counts->job->report.kept++;
    return true;
}

static bool read_day(struct counts *counts, struct csv *csv, int day, struct err *err)
{
    int minutes = 0;

    while (minutes < AZURE_MINUTES && csv_has_column(csv, AZURE_FIRST_MINUTE + minutes))
        minutes++;
    for (int i = minutes; i < AZURE_MINUTES; i++)
        if (csv_has_column(csv, AZURE_FIRST_MINUTE + i))
            return err_at(err, csv_path(csv), csv_line(csv), 0,
                          "missing column '%d': expected the minutes of a day from 1 on without a "
                          "gap",
                          minutes + 1);
    counts->end = (int64_t)day * AZURE_MINUTES + minutes;
    while (csv_next(csv, err)) {
        counts->job->report.read++;
        if (!read_row(counts, csv, day, minutes, err))
            return false;
    }
    return err->kind == ERR_NONE;
}

static bool read_days(struct counts *counts, struct csv *first, struct err *err)
{
    const struct import_job *job = counts->job;

    if (!read_day(counts, first, 0, err))
        return false;
    for (int day = 1; day < job->file_count; day++) {
        enum azure_layout layout;
        struct csv *csv = azure_open(job->arena, job->files[day], &layout, err);

        if (!csv)
            return false;
        if (layout != AZURE_COUNTS)
            err_at(err, csv_path(csv), 0, 0, "not a day of Functions 2019, as the first file is");
        else
            read_day(counts, csv, day, err);
        csv_close(csv);
        if (err->kind != ERR_NONE)
            return false;
    }
    return true;
}

/* Invocations of each service in each interval; rows of `intervals` a service. */
static int64_t *bin(const struct counts *counts, int services, int64_t intervals, struct err *err)
{
    struct arena *arena = counts->job->arena;
    int32_t functions = names_count(counts->functions);
    bool *is_used = arena_array(arena, (size_t)functions, sizeof *is_used);
    int32_t *to = arena_array(arena, (size_t)functions, sizeof *to);
    int64_t *bins = arena_array(arena, (size_t)services * (size_t)intervals, sizeof *bins);
    int64_t length = counts->settings->interval_ps / MINUTE_PS;

    for (size_t i = 0; i < counts->count; i++)
        is_used[counts->cells[i].function] = true;
    if (!azure_map_functions(counts->settings, is_used, functions, to, err))
        return NULL;
    for (size_t i = 0; i < counts->count; i++) {
        const struct cell *cell = &counts->cells[i];

        bins[to[cell->function] * intervals + (cell->minute - counts->from) / length] +=
            cell->count;
    }
    return bins;
}

static bool draw_service(const struct counts *counts, struct replay *replay, const char *name,
                         int32_t service, const int64_t *bins, int64_t intervals, struct err *err)
{
    const struct azure_settings *settings = counts->settings;
    int64_t end_ps = (counts->end - counts->from) * MINUTE_PS;
    struct rng rng = azure_stream(settings, name);

    for (int64_t i = 0; i < intervals; i++) {
        int64_t begin_ps = i * settings->interval_ps;
        int64_t stop_ps = begin_ps + settings->interval_ps;
        struct azure_gaps gaps = { .process = settings->process, .shape = 1 };

        stop_ps = stop_ps < end_ps ? stop_ps : end_ps;
        if (settings->process == AZURE_GAMMA)
            gaps.shape = 1 / (settings->cv * settings->cv);
        gaps.rate_per_s = (double)bins[i] * settings->rate_scale /
                          ((double)(stop_ps - begin_ps) / (double)UNITS_PS_PER_S);
        if (!azure_draw(replay, &gaps, &rng, service, begin_ps, stop_ps, err))
            return false;
    }
    return true;
}

static bool draw(struct counts *counts, struct replay *replay, struct err *err)
{
    int services;
    const char *const *names = azure_services(counts->settings, &services);
    int64_t length = counts->settings->interval_ps / MINUTE_PS, intervals;
    const int64_t *bins;

    counts->end = counts->end < counts->until ? counts->end : counts->until;
    intervals = (counts->end - counts->from + length - 1) / length;
    bins = bin(counts, services, intervals, err);
    if (!bins)
        return false;
    for (int s = 0; s < services; s++)
        if (!draw_service(counts, replay, names[s], s, bins + s * intervals, intervals, err))
            return false;
    return azure_merge(replay, err);
}

bool azure_read_counts(struct import_job *job, const struct azure_settings *settings,
                       struct csv *csv, struct err *err)
{
    const struct replay_options *options = &settings->replay;
    struct replay *replay = replay_create(job, options, csv_path(csv));
    struct counts counts = { .job = job,
                             .settings = settings,
                             .functions = names_create(job->arena),
                             .from = options->from_ps / MINUTE_PS,
                             .until = options->until_ps > 0 ? options->until_ps / MINUTE_PS
                                                            : INT64_MAX };

    if ((int64_t)job->file_count * AZURE_MINUTES > UNITS_MAX_PS / MINUTE_PS)
        return err_set(err, ERR_USAGE, "%d files: expected at most %" PRId64 " days",
                       job->file_count, UNITS_MAX_PS / MINUTE_PS / AZURE_MINUTES);
    return read_days(&counts, csv, err) && import_check_kept(job, err) &&
           draw(&counts, replay, err) && azure_finish(replay, settings, err);
}
