/* replay.c - rows of a recorded trace: sorted, sliced, scaled, copied. */
#include "sim/import/replay.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include <inttypes.h>
#include <stdlib.h>

#define NANO INT64_C(1000000000)
#define MAX_COPIES 1000000

enum { KEY_SERVICE = 0x600, KEY_SLO, KEY_FROM, KEY_UNTIL, KEY_TIME_SCALE, KEY_REPLICATION };

static const struct argp_option replay_option_list[] = {
    { NULL, 0, NULL, 0, "Workload:", 6 },
    { "service", KEY_SERVICE, "NAME", 0, "Service that is called; may be repeated where said", 6 },
    { "slo", KEY_SLO, "TIME", 0, "Latency objective written into every row", 6 },
    { "from", KEY_FROM, "TIME", 0, "Begin this long after the first row (default 0)", 6 },
    { "until", KEY_UNTIL, "TIME", 0,
      "Only what arrives before this long after the first row (default: all)", 6 },
    { "time-scale", KEY_TIME_SCALE, "X", 0,
      "Times are multiplied by X: with 0.5 the replay is twice as fast (default 1)", 6 },
    { "replication", KEY_REPLICATION, "N", 0, "Each request N times, at the same instant", 6 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct replay_options *options = state->input;

    switch (key) {
    case KEY_SERVICE:
        if (options->service_count == REPLAY_MAX_SERVICES)
            cli_error(state, "--service: more than %d services", REPLAY_MAX_SERVICES);
        else if (text[0] == '\0')
            cli_error(state, "--service is '': expected a name");
        else
            options->services[options->service_count++] = text;
        return 0;
    case KEY_SLO:
        options->slo_ps = cli_duration_positive_ps(state, "--slo", text);
        options->slo = text;
        return 0;
    case KEY_FROM:
        options->from_ps = cli_duration_ps(state, "--from", text);
        options->from = text;
        return 0;
    case KEY_UNTIL:
        options->until_ps = cli_duration_positive_ps(state, "--until", text);
        options->until = text;
        return 0;
    case KEY_TIME_SCALE:
        if (!units_parse_decimal(text, 9, &options->scale_nano) || options->scale_nano <= 0)
            cli_error(state, "--time-scale is '%.60s': expected a number above 0", text);
        options->time_scale = text;
        return 0;
    case KEY_REPLICATION:
        options->copies = cli_int(state, "--replication", text, 1, MAX_COPIES);
        options->replication = text;
        return 0;
    case ARGP_KEY_INIT:
        replay_defaults(options);
        return 0;
    case ARGP_KEY_END:
        if (options->until && options->until_ps <= options->from_ps)
            cli_error(state, "--until is '%.60s': expected more than --from, which is %.60s",
                      options->until, options->from ? options->from : "0");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp replay_argp = { .options = replay_option_list, .parser = on_option };

void replay_defaults(struct replay_options *options)
{
    *options = (struct replay_options){ .scale_nano = NANO, .copies = 1 };
}

void replay_meta(struct import_job *job, const struct replay_options *options)
{
    import_meta(job, "from", options->from);
    import_meta(job, "until", options->until);
    import_meta(job, "time_scale", options->time_scale);
    import_meta(job, "replication", options->replication);
    import_meta(job, "slo", options->slo);
}

struct replay *replay_create(struct import_job *job, const struct replay_options *options,
                             const char *path)
{
    struct replay *replay = arena_alloc(job->arena, sizeof *replay);

    replay->job = job;
    replay->options = options;
    replay->path = path;
    return replay;
}

void replay_see(struct replay *replay, struct instant at)
{
    if (!replay->has_first || instant_compare(at, replay->first) < 0)
        replay->first = at;
    replay->has_first = true;
}

void replay_add(struct replay *replay, const struct replay_row *row)
{
    if (replay->count == replay->capacity) {
        size_t larger = replay->capacity ? 2 * replay->capacity : 1024;

        replay->rows = arena_grow(replay->job->arena, replay->rows, replay->capacity, larger,
                                  sizeof *replay->rows);
        replay->capacity = larger;
    }
    replay->rows[replay->count++] = *row;
}

static int compare_rows(const void *left, const void *right)
{
    const struct replay_row *a = left, *b = right;
    int order = instant_compare(a->at, b->at);

    return order != 0 ? order : (a->line > b->line) - (a->line < b->line);
}

static void sort(struct replay *replay)
{
    const struct replay_row *latest = &replay->rows[0];
    int64_t late = 0;

    for (size_t i = 1; i < replay->count; i++) {
        if (instant_compare(replay->rows[i].at, latest->at) < 0)
            late++;
        else
            latest = &replay->rows[i];
    }
    if (late == 0)
        return;
    qsort(replay->rows, replay->count, sizeof *replay->rows, compare_rows);
    import_note(replay->job, "%" PRId64 " row%s stood out of order, sorted", late,
                late == 1 ? "" : "s");
}

static bool too_far(const struct replay *replay, const struct replay_row *row, struct err *err)
{
    return err_at(err, replay->path, row->line, 0,
                  "arrives %" PRId64 " s after the first row: expected at most %" PRId64
                  " s, so cut it with --from and --until",
                  row->at.seconds - replay->first.seconds, UNITS_MAX_PS / UNITS_PS_PER_S);
}

bool replay_slice(struct replay *replay, struct err *err)
{
    const struct replay_options *options = replay->options;
    size_t kept = 0;

    if (replay->count == 0)
        return true;
    sort(replay);
    for (size_t i = 0; i < replay->count; i++) {
        struct replay_row row = replay->rows[i];
        bool is_near = instant_difference(row.at, replay->first, &row.arrival_ps);

        if (!is_near && options->until_ps == 0)
            return too_far(replay, &row, err);
        if (!is_near || row.arrival_ps < options->from_ps ||
            (options->until_ps > 0 && row.arrival_ps >= options->until_ps))
            continue;
        row.arrival_ps -= options->from_ps;
        replay->rows[kept++] = row;
    }
    import_drop(replay->job, "outside --from and --until", (int64_t)(replay->count - kept));
    replay->count = kept;
    replay->job->report.kept = (int64_t)kept;
    return true;
}

struct workload *replay_workload(struct replay *replay, const char *const *services,
                                 struct err *err)
{
    const struct replay_options *options = replay->options;
    struct workload_builder *builder = workload_build(replay->job->arena, replay->path);
    int64_t id = 0;

    if ((int64_t)replay->count > IMPORT_MAX_REQUESTS / options->copies) {
        err_set(err, ERR_USAGE,
                "%zu requests, each %" PRId64 " times: expected at most %" PRId64 " in all",
                replay->count, options->copies, IMPORT_MAX_REQUESTS);
        return NULL;
    }
    workload_builder_reserve(builder, replay->count * (size_t)options->copies);
    for (size_t i = 0; i < replay->count; i++) {
        const struct replay_row *row = &replay->rows[i];
        struct workload_request request = { .client = -1, .session = -1, .batch = 1 };

        request.arrival_ps = units_mul_div(row->arrival_ps, options->scale_nano, NANO);
        if (request.arrival_ps > UNITS_MAX_PS) {
            err_at(err, replay->path, row->line, 0,
                   "arrives after more than %" PRId64 " s at this --time-scale",
                   UNITS_MAX_PS / UNITS_PS_PER_S);
            return NULL;
        }
        request.service = workload_builder_service(builder, services[row->service]);
        request.slo_ps = options->slo_ps;
        request.prompt_tokens = row->prompt_tokens;
        request.output_tokens = row->output_tokens;
        for (int64_t copy = 0; copy < options->copies; copy++) {
            request.request_id = id++;
            workload_builder_add(builder, &request);
        }
    }
    return workload_builder_finish(builder);
}
