/* verify.c - orrery-profile verify: does a table still hold on this device? */
#include "profiler/table/verify.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"
#include "profiler/device/facts.h"
#include "profiler/device/preflight.h"
#include "profiler/measure/interrupt.h"
#include "profiler/table/saved.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_POINTS 12
#define MAX_POINTS 1000
#define DEFAULT_BUDGET_S 30
#define WHAT_COLUMNS 32

struct options {
    const char *folder, *model, *models, *sysroot;
    int64_t budget_ps;
    uint64_t seed;
    int points;
    bool is_json;
};

enum {
    OPTION_MODEL = 256,
    OPTION_MODELS,
    OPTION_POINTS,
    OPTION_BUDGET,
    OPTION_SEED,
    OPTION_SYSROOT,
    OPTION_JSON
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_MODEL:
        options->model = arg;
        return 0;
    case OPTION_MODELS:
        options->models = arg;
        return 0;
    case OPTION_POINTS:
        options->points = (int)cli_int(state, "--points", arg, 1, MAX_POINTS);
        return 0;
    case OPTION_BUDGET:
        options->budget_ps = cli_duration_positive_ps(state, "--budget", arg);
        return 0;
    case OPTION_SEED:
        options->seed = (uint64_t)cli_int(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case OPTION_SYSROOT:
        options->sysroot = arg;
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->folder)
            cli_error(state, "unexpected argument '%s'", arg);
        options->folder = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->folder)
            cli_error(state, "DIR is missing: expected the folder of a cost table");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *verdict_name(enum verify_verdict verdict)
{
    switch (verdict) {
    case VERIFY_HOLDS:
        return "holds";
    case VERIFY_OUTSIDE:
        return "OUTSIDE";
    case VERIFY_UNCLEAR:
        return "unclear";
    }
    return "";
}

/* The line that moved most among those outside, anchors first: what the last sentence names. */
static const struct verify_line *worst_line(const struct verify *verify)
{
    const struct verify_line *worst = NULL;
    double worst_excess = 0.0;

    for (int i = 0; i < verify->line_count; i++) {
        const struct verify_line *line = &verify->lines[i];
        double change = line->change_ratio < 0 ? -line->change_ratio : line->change_ratio;
        double excess = change / line->allowed_ratio;

        if (line->verdict != VERIFY_OUTSIDE || (worst && worst->is_anchor && !line->is_anchor))
            continue;
        if (!worst || excess > worst_excess || (line->is_anchor && !worst->is_anchor)) {
            worst = line;
            worst_excess = excess;
        }
    }
    return worst;
}

static const char *conclusion(struct arena *arena, const struct verify *verify)
{
    const struct verify_line *worst = worst_line(verify);
    const char *counts =
        arena_printf(arena, "%d of %d rows and %d of %d whole forwards are outside",
                     verify->rows_outside, verify->rows, verify->anchors_outside, verify->anchors);

    switch (verify_conclude(verify)) {
    case VERIFY_HOLDS:
        return arena_printf(arena, "the table still holds: %s", counts);
    case VERIFY_OUTSIDE:
        return arena_printf(
            arena, "the table does not hold: %s; most of all %s, %.1f %% %s", counts, worst->what,
            100 * (worst->change_ratio < 0 ? -worst->change_ratio : worst->change_ratio),
            worst->change_ratio < 0 ? "faster" : "slower");
    case VERIFY_UNCLEAR:
        return arena_printf(arena,
                            "the machine is too unsteady now to tell: %d of %d intervals are wider "
                            "than +- %.0f %%",
                            verify->unclear, verify->line_count, 100 * VERIFY_UNCLEAR_RATIO);
    }
    return "";
}

static void print_text(struct arena *arena, struct out *out, const struct verify *verify,
                       const char *const *warnings, int warning_count)
{
    char table[UNITS_TEXT_BYTES], now[UNITS_TEXT_BYTES];

    wrap_put(out, 0, 4,
             arena_printf(arena,
                          "Measured %d rows and %d whole forwards of %s again, in %d "
                          "processes, seed %llu",
                          verify->rows, verify->anchors, verify->model->name, verify->processes,
                          (unsigned long long)verify->seed));
    out_printf(out, "  %-*s %9s %9s %8s %8s\n", WHAT_COLUMNS, "what", "table", "now", "change",
               "allowed");
    for (int i = 0; i < verify->line_count; i++) {
        const struct verify_line *line = &verify->lines[i];

        out_printf(out, "  %-*s", WHAT_COLUMNS, line->what);
        if (strlen(line->what) > WHAT_COLUMNS)
            out_printf(out, "\n  %-*s", WHAT_COLUMNS, "");
        out_printf(out, " %9s %9s %+6.1f %% %6.1f %%", units_format_human(line->table_ps, table),
                   units_format_human(line->now_ps, now), 100 * line->change_ratio,
                   100 * line->allowed_ratio);
        if (line->verdict != VERIFY_HOLDS)
            out_printf(out, " %s", verdict_name(line->verdict));
        out_char(out, '\n');
    }
    wrap_put(out, 0, 2,
             arena_printf(arena,
                          "allowed: %.0f %% and both 95 %% half widths. The table holds when no "
                          "whole forward and at most %d %% of the rows are outside: one row may "
                          "be, by chance.",
                          100 * VERIFY_SLACK_RATIO, VERIFY_OUTSIDE_PERCENT));
    for (int w = 0; w < warning_count; w++)
        wrap_put(out, 0, 2, arena_printf(arena, "warning: %s", warnings[w]));
    wrap_put(out, 0, 2, conclusion(arena, verify));
}

static void print_json(struct arena *arena, struct out *out, const struct verify *verify,
                       const char *const *warnings, int warning_count)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "folder", verify->saved->folder);
    json_put_text(json, "model", verify->model->name);
    json_put_int(json, "seed", (int64_t)verify->seed);
    json_put_int(json, "processes", verify->processes);
    json_put_text(json, "verdict", verdict_name(verify_conclude(verify)));
    json_put_text(json, "conclusion", conclusion(arena, verify));
    json_put_int(json, "rows_outside", verify->rows_outside);
    json_put_int(json, "anchors_outside", verify->anchors_outside);
    json_begin_array(json, "lines");
    for (int i = 0; i < verify->line_count; i++) {
        const struct verify_line *line = &verify->lines[i];

        json_begin_object(json, NULL);
        json_put_text(json, "what", line->what);
        json_put_bool(json, "is_anchor", line->is_anchor);
        json_put_seconds(json, "table_s", line->table_ps);
        json_put_seconds(json, "now_s", line->now_ps);
        json_put_double(json, "change_ratio", line->change_ratio);
        json_put_double(json, "allowed_ratio", line->allowed_ratio);
        json_put_text(json, "verdict", verdict_name(line->verdict));
        json_end_object(json);
    }
    json_end_array(json);
    json_begin_array(json, "warnings");
    for (int w = 0; w < warning_count; w++)
        json_put_text(json, NULL, warnings[w]);
    json_end_array(json);
    json_end_object(json);
}

static bool measure(struct arena *arena, const char *program, const struct options *options,
                    struct verify *verify, struct err *err)
{
    if (!interrupt_hold(verify->interrupt, err))
        return false;
    verify->sysroot = options->sysroot;
    verify->row_count = options->points;
    verify->seed = options->seed;
    verify->budget_ns = options->budget_ps / UNITS_PS_PER_NS;
    if (!isatty(STDERR_FILENO)) /* a terminal has the progress bar */
        fprintf(stderr, "%s: measuring %s again for about %g s ...\n", program, verify->model->name,
                (double)verify->budget_ns / 1e9);
    bool is_done = verify_run(arena, verify, err);
    interrupt_release(verify->interrupt);
    return is_done;
}

/* The exit status. */
static int run(struct arena *arena, const char *program, const struct options *options,
               struct err *err)
{
    struct saved saved;
    struct interrupt interrupt;
    struct verify verify = { .saved = &saved, .interrupt = &interrupt };
    struct preflight_item items[PREFLIGHT_MAX];
    const char *warnings[PREFLIGHT_MAX];
    struct facts *facts;

    if (!saved_load(arena, options->folder, &saved, err))
        return CLI_FAIL;
    facts = facts_collect(arena, options->sysroot);
    if (!saved_check_machine(arena, &saved, facts, err))
        return CLI_FAIL;
    const char *name = options->model ? options->model : saved_only_model(&saved, err);
    struct model_catalogue *catalogue =
        name ? model_catalogue_load(arena, options->models, err) : NULL;
    verify.model = catalogue ? model_find(catalogue, name, err) : NULL;
    if (!verify.model || !measure(arena, program, options, &verify, err))
        return CLI_FAIL;
    struct out *out = out_open(arena, "-", err);
    if (!out)
        return CLI_FAIL;
    int warning_count = preflight_warnings(items, preflight_check(facts, items));
    for (int w = 0; w < warning_count; w++)
        warnings[w] = items[w].text;
    if (options->is_json)
        print_json(arena, out, &verify, warnings, warning_count);
    else
        print_text(arena, out, &verify, warnings, warning_count);
    if (!out_commit(out, err))
        return CLI_FAIL;
    switch (verify_conclude(&verify)) {
    case VERIFY_HOLDS:
        return CLI_DONE;
    case VERIFY_OUTSIDE:
        return CLI_NO;
    case VERIFY_UNCLEAR:
        break;
    }
    err_set(err, ERR_SYSTEM, "%s: could not be verified: let the machine rest, or give --budget",
            options->folder);
    return CLI_FAIL;
}

int profiler_verify(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "model", OPTION_MODEL, "NAME", 0,
          "whose rows; needed when the table is of several models", 0 },
        { "models", OPTION_MODELS, "FILE", 0, "more models, as workloads/models.csv", 0 },
        { "points", OPTION_POINTS, "N", 0, "rows to measure again; default 12, one of each kind",
          0 },
        { "budget", OPTION_BUDGET, "TIME", 0, "time for measuring; default 30s", 0 },
        { "seed", OPTION_SEED, "N", 0, "which rows are drawn, and their order; default 1", 0 },
        { "sysroot", OPTION_SYSROOT, "DIR", 0, "read /proc and /sys below DIR; default /", 0 },
        { "json", OPTION_JSON, NULL, 0, "print one JSON object", 0 },
        { 0 }
    };
    const struct argp argp = {
        table,
        on_option,
        "DIR",
        "Measures rows of a cost table again, drawn at random, and its whole forwards, and says "
        "whether the table still holds on this device. Nothing is written.\v"
        "Example: orrery-profile verify traces/costs/my-board --seed 2\n"
        "Exit status: 0 it holds, 1 it does not, 2 it could not be done: another\n"
        "machine, no table, too unsteady.",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .sysroot = "",
                               .budget_ps = DEFAULT_BUDGET_S * UNITS_PS_PER_S,
                               .seed = 1,
                               .points = DEFAULT_POINTS };
    struct err err = ERR_INIT;
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    exit_code = run(arena, argv[0], &options, &err);
    if (err.kind != ERR_NONE)
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
