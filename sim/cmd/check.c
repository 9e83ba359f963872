/* check.c - orrery-sim check: predicted X, measured Y, error Z. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/trace.h"
#include "sim/cmd/cmd.h"
#include "sim/report/compare.h"
#include "sim/report/compare_print.h"
#include "sim/report/compare_stages.h"
#include <stdio.h>
#include <string.h>

enum {
    KEY_REAL = 0x300,
    KEY_PREDICTED,
    KEY_REAL_STAGES,
    KEY_PREDICTED_STAGES,
    KEY_EXCLUDE,
    KEY_EXCLUDE_TRACE,
    KEY_MAX_MARE,
    KEY_JSON
};

struct settings {
    const char *real, *predicted, *real_stages, *predicted_stages, *exclude, *exclude_trace;
    double max_mare; /* -1 = not given */
    bool is_json;
};

static const struct argp_option check_options[] = {
    { "real", KEY_REAL, "FILE", 0, "Measured requests.csv (required)", 0 },
    { "predicted", KEY_PREDICTED, "FILE", 0, "Simulated requests.csv (required)", 0 },
    { "real-stages", KEY_REAL_STAGES, "FILE", 0,
      "Measured stages.csv: compares stages and devices as well", 0 },
    { "predicted-stages", KEY_PREDICTED_STAGES, "FILE", 0, "Simulated stages.csv", 0 },
    { "exclude", KEY_EXCLUDE, "FILE", 0,
      "Leave out these requests, and show errors with them as well: an id or FIRST-LAST a line, a "
      "remark may follow a comma; or a table with first_request,last_request",
      0 },
    { "exclude-trace", KEY_EXCLUDE_TRACE, "ID", 0,
      "Of such a table take the rows with this trace_id", 0 },
    { "max-mare", KEY_MAX_MARE, "RATIO", 0,
      "Exit 1 when the MARE of latency is above this: 5% or 0.05", 0 },
    { "json", KEY_JSON, NULL, 0, "Print one JSON object", 0 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_REAL:
        settings->real = text;
        return 0;
    case KEY_PREDICTED:
        settings->predicted = text;
        return 0;
    case KEY_REAL_STAGES:
        settings->real_stages = text;
        return 0;
    case KEY_PREDICTED_STAGES:
        settings->predicted_stages = text;
        return 0;
    case KEY_EXCLUDE:
        settings->exclude = text;
        return 0;
    case KEY_EXCLUDE_TRACE:
        settings->exclude_trace = text;
        return 0;
    case KEY_MAX_MARE:
        settings->max_mare = cli_ratio(state, "--max-mare", text);
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s' is not an option", text);
        return 0;
    case ARGP_KEY_END:
        if (!settings->real || !settings->predicted)
            cli_error(state, "--real and --predicted are both required");
        if (!settings->real_stages != !settings->predicted_stages)
            cli_error(state, "--real-stages and --predicted-stages go together");
        if (settings->exclude_trace && !settings->exclude)
            cli_error(state, "--exclude-trace needs --exclude");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Everything that is compared. */
struct checked {
    struct trace_requests predicted, real;
    struct trace_stages predicted_stages, real_stages;
    struct compare_excluded excluded;
    struct compare compare;
    struct compare_stages stages, all_stages;
    struct compare_usage usage;
    struct compare_report report;
};

static void tell_partial(const char *path, bool is_partial)
{
    if (is_partial)
        fprintf(stderr, "orrery-sim check: %s: what was known of a run that had not ended\n", path);
}

static bool check_stages(struct arena *arena, const struct settings *settings,
                         struct checked *checked, struct err *err)
{
    struct compare_report *report = &checked->report;
    const struct compare *compare = &checked->compare;

    if (!settings->real_stages)
        return true;
    if (!trace_stages_load(arena, settings->predicted_stages, &checked->predicted_stages, err) ||
        !trace_stages_load(arena, settings->real_stages, &checked->real_stages, err) ||
        !compare_stages_run(arena, &checked->predicted_stages, &checked->real_stages,
                            &compare->kept, &checked->excluded, &checked->stages, err))
        return false;
    tell_partial(settings->real_stages, checked->real_stages.is_partial);
    report->stages = &checked->stages;
    checked->usage = compare_usage_of(arena, &checked->predicted_stages, &checked->real_stages,
                                      &compare->kept.matches[0], &checked->excluded);
    report->usage = &checked->usage;
    if (compare->all.pairs == 0)
        return true;
    report->all_stages = &checked->all_stages;
    return compare_stages_run(arena, &checked->predicted_stages, &checked->real_stages,
                              &compare->all, NULL, &checked->all_stages, err);
}

static bool check(struct arena *arena, const struct settings *settings, double *mare,
                  struct err *err)
{
    struct checked *checked = arena_alloc(arena, sizeof *checked);
    struct compare *compare = &checked->compare;
    struct out *out;

    if (!trace_requests_load(arena, settings->predicted, &checked->predicted, err) ||
        !trace_requests_load(arena, settings->real, &checked->real, err) ||
        (settings->exclude &&
         !compare_load_excluded(arena, settings->exclude, settings->exclude_trace,
                                &checked->excluded, err)) ||
        !compare_run(arena, &checked->predicted, &checked->real, &checked->excluded, compare, err))
        return false;
    tell_partial(settings->real, checked->real.is_partial);
    checked->report.requests = compare;
    if (!check_stages(arena, settings, checked, err))
        return false;
    out = out_open(arena, "-", err);
    if (!out)
        return false;
    if (settings->is_json)
        compare_json(arena, &checked->report, out);
    else
        compare_text(&checked->report, out);
    *mare = compare->kept.latency.mare;
    return out_commit(out, err);
}

int cmd_check(int argc, char **argv)
{
    static const struct argp argp = {
        .options = check_options,
        .parser = on_option,
        .doc = "Compares predicted with measured requests: TTFT, TPOT, latency, and e2e_s where "
               "both files have it, as a table of predicted, measured, error. With the two stage "
               "traces also every stage, when it started and finished, and how busy each device "
               "was.\v"
               "latency = finish - arrival; TTFT = first token - arrival; TPOT = (finish - first "
               "token) / (output tokens - 1); MARE = mean over requests of |predicted - measured| "
               "/ measured. A stage takes finish - start; its start and finish count from the "
               "arrival of its request, so that the clocks of the two traces need not agree.\n\n"
               "Exit status: 0 done; 1 when --max-mare is given and exceeded; 2 when the files "
               "could not be compared.\n\n"
               "Examples:\n"
               "  orrery-sim check --predicted p.csv --real r.csv --max-mare 5%\n"
               "  orrery-sim check --predicted p.csv --real r.csv \\\n"
               "      --predicted-stages ps.csv --real-stages rs.csv"
    };
    struct settings settings = { .max_mare = -1 };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;
    double mare = 0;

    if (cli_parse(&argp, argc, argv, &settings, &exit_code)) {
        if (!check(arena, &settings, &mare, &err))
            exit_code = cli_fail(argv[0], &err);
        else if (settings.max_mare >= 0 && mare > settings.max_mare)
            exit_code = CLI_NO;
    }
    arena_destroy(arena);
    return exit_code;
}
