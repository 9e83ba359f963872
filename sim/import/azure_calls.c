/* azure_calls.c - Azure Functions 2021: one row an invocation, with its end and its duration.
 *
 * An invocation arrived at its end less its duration. Rows come in order of end, so sorting them is
 * the rule. */
#include "sim/import/azure.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/names.h"

#define MAX_INTERVALS 10000000
#define LEAST_GAP_S 1e-6 /* added to every gap, so that its logarithm exists */

static bool read_row(const struct csv *csv, struct names *functions, struct replay *replay,
                     struct err *err)
{
    struct replay_row row = { .line = csv_line(csv) };
    int64_t duration_ps;

    if (!csv_has(csv, AZURE_FUNC))
        return csv_bad(csv, AZURE_FUNC, err, "expected the name of a function");
    if (!instant_parse_seconds(csv_text(csv, AZURE_END_TIMESTAMP), &row.at))
        return csv_bad(csv, AZURE_END_TIMESTAMP, err, "expected decimal seconds");
    if (!csv_seconds(csv, AZURE_DURATION, 0, &duration_ps, err))
        return false;
    row.at = instant_minus(row.at, duration_ps);
    row.service =
        names_put(functions, arena_printf(replay->job->arena, "%s,%s", csv_text(csv, AZURE_APP),
                                          csv_text(csv, AZURE_FUNC)));
    replay_see(replay, row.at);
    replay_add(replay, &row);
    return true;
}

/* From functions to services, of the rows that are left. */
static bool map_rows(struct replay *replay, const struct azure_settings *settings,
                     const struct names *functions, struct err *err)
{
    struct arena *arena = replay->job->arena;
    int32_t count = names_count(functions);
    bool *is_used = arena_array(arena, (size_t)count, sizeof *is_used);
    int32_t *to = arena_array(arena, (size_t)count, sizeof *to);

    for (size_t i = 0; i < replay->count; i++)
        is_used[replay->rows[i].service] = true;
    if (!azure_map_functions(settings, is_used, count, to, err))
        return false;
    for (size_t i = 0; i < replay->count; i++)
        replay->rows[i].service = to[replay->rows[i].service];
    return true;
}

/* The arrivals of one service from *at on that lie before end_ps, as gaps. Moves *at behind them.
 */
static struct azure_gaps fit_interval(const struct azure_settings *settings,
                                      const int64_t *arrivals_ps, size_t count, size_t *at,
                                      int64_t begin_ps, int64_t end_ps, double *gaps_s)
{
    size_t first = *at, seen;
    struct azure_gaps gaps;

    while (*at < count && arrivals_ps[*at] < end_ps) {
        if (*at > first)
            gaps_s[*at - first - 1] =
                (double)(arrivals_ps[*at] - arrivals_ps[*at - 1]) / (double)UNITS_PS_PER_S +
                LEAST_GAP_S;
        (*at)++;
    }
    seen = *at - first;
    gaps = azure_fit(settings->process, gaps_s, seen > 0 ? seen - 1 : 0, seen,
                     (double)(end_ps - begin_ps) / (double)UNITS_PS_PER_S);
    gaps.rate_per_s *= settings->rate_scale;
    if (gaps.process == AZURE_GAMMA)
        gaps.shape /= settings->cv_scale * settings->cv_scale;
    return gaps;
}

static bool draw_service(struct replay *drawn, const struct azure_settings *settings,
                         const char *name, int32_t service, const int64_t *arrivals_ps,
                         size_t count, int64_t end_ps, struct err *err)
{
    double *gaps_s = arena_array(drawn->job->arena, count, sizeof *gaps_s);
    struct rng rng = azure_stream(settings, name);
    size_t at = 0;

    for (int64_t begin_ps = 0; at < count; begin_ps += settings->interval_ps) {
        int64_t stop_ps =
            settings->interval_ps < end_ps - begin_ps ? begin_ps + settings->interval_ps : end_ps;
        struct azure_gaps gaps;

        gaps = fit_interval(settings, arrivals_ps, count, &at, begin_ps, stop_ps, gaps_s);
        if (!azure_draw(drawn, &gaps, &rng, service, begin_ps, stop_ps, err))
            return false;
    }
    return true;
}

/* Arrivals drawn anew, from fits to those of replay. NULL on an error. */
static struct replay *draw(const struct replay *replay, const struct azure_settings *settings,
                           struct err *err)
{
    const struct replay_options *options = &settings->replay;
    struct replay *drawn = replay_create(replay->job, options, replay->path);
    int services;
    const char *const *names = azure_services(settings, &services);
    int64_t *arrivals_ps = arena_array(replay->job->arena, replay->count, sizeof *arrivals_ps);
    int64_t end_ps =
        options->until_ps > 0 ? options->until_ps - options->from_ps : UNITS_MAX_PS + 1;

    if (replay->rows[replay->count - 1].arrival_ps / settings->interval_ps > MAX_INTERVALS) {
        err_set(err, ERR_USAGE, "--interval is '%.60s': expected at most %d intervals in the trace",
                settings->interval, MAX_INTERVALS);
        return NULL;
    }

    for (int32_t s = 0; s < services; s++) {
        size_t count = 0;

        for (size_t i = 0; i < replay->count; i++)
            if (replay->rows[i].service == s)
                arrivals_ps[count++] = replay->rows[i].arrival_ps;
        if (!draw_service(drawn, settings, names[s], s, arrivals_ps, count, end_ps, err))
            return NULL;
    }
    return azure_merge(drawn, err) ? drawn : NULL;
}

bool azure_read_calls(struct import_job *job, const struct azure_settings *settings,
                      struct csv *csv, struct err *err)
{
    struct replay *replay = replay_create(job, &settings->replay, csv_path(csv));
    struct names *functions = names_create(job->arena);

    while (csv_next(csv, err)) {
        job->report.read++;
        if (!read_row(csv, functions, replay, err))
            return false;
    }
    if (err->kind != ERR_NONE || !replay_slice(replay, err) || !import_check_kept(job, err) ||
        !map_rows(replay, settings, functions, err))
        return false;
    if (settings->process != AZURE_VANILLA)
        replay = draw(replay, settings, err);
    return replay && azure_finish(replay, settings, err);
}
