/* check.c - orrery-sim check: predicted X, measured Y, error Z. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/trace.h"
#include "sim/cmd/cmd.h"
#include "sim/report/compare.h"
#include <string.h>

enum { KEY_REAL = 0x300, KEY_PREDICTED, KEY_EXCLUDE, KEY_MAX_MARE, KEY_JSON };

struct settings {
    const char *real, *predicted, *exclude;
    double max_mare; /* -1 = not given */
    bool is_json;
};

static const struct argp_option check_options[] = {
    { "real", KEY_REAL, "FILE", 0, "Measured requests.csv (required)", 0 },
    { "predicted", KEY_PREDICTED, "FILE", 0, "Simulated requests.csv (required)", 0 },
    { "exclude", KEY_EXCLUDE, "FILE", 0,
      "Leave out these requests: an id or FIRST-LAST a line, a remark may follow a comma", 0 },
    { "max-mare", KEY_MAX_MARE, "RATIO", 0,
      "Exit 1 when the MARE of latency is above this: 5% or 0.05", 0 },
    { "json", KEY_JSON, NULL, 0, "Print one JSON object", 0 },
    { 0 }
};

static double parse_ratio(struct argp_state *state, const char *text)
{
    size_t length = strlen(text);
    char number[32];
    double value = -1;
    bool is_percent = length > 0 && text[length - 1] == '%';

    length -= is_percent;
    if (length < sizeof(number)) {
        memcpy(number, text, length);
        number[length] = '\0';
        if (!units_parse_double(number, &value))
            value = -1;
    }
    if (value < 0)
        argp_error(state, "--max-mare is '%s': expected a ratio such as 5%% or 0.05", text);
    return is_percent ? value / 100 : value;
}

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
    case KEY_EXCLUDE:
        settings->exclude = text;
        return 0;
    case KEY_MAX_MARE:
        settings->max_mare = parse_ratio(state, text);
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", text);
        return 0;
    case ARGP_KEY_END:
        if (!settings->real || !settings->predicted)
            argp_error(state, "--real and --predicted are both required");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool check(struct arena *arena, const struct settings *settings, double *mare,
                  struct err *err)
{
    struct trace_requests predicted, real;
    struct compare_excluded excluded = { 0 };
    struct compare compare;
    struct out *out;

    if (!trace_requests_load(arena, settings->predicted, &predicted, err) ||
        !trace_requests_load(arena, settings->real, &real, err) ||
        (settings->exclude && !compare_load_excluded(arena, settings->exclude, &excluded, err)) ||
        !compare_run(arena, &predicted, &real, &excluded, &compare, err))
        return false;
    out = out_open(arena, "-", err);
    if (!out)
        return false;
    if (settings->is_json)
        compare_json(arena, &compare, out);
    else
        compare_text(&compare, out);
    *mare = compare.latency.mare;
    return out_commit(out, err);
}

int cmd_check(int argc, char **argv)
{
    static const struct argp argp = {
        .options = check_options,
        .parser = on_option,
        .doc = "Compares predicted with measured requests: TTFT, TPOT and latency, as a table of "
               "predicted, measured, error.\v"
               "latency = finish - arrival; TTFT = first token - arrival; TPOT = (finish - first "
               "token) / (output tokens - 1); MARE = mean over requests of |predicted - measured| "
               "/ measured.\n\n"
               "Exit status: 0 done; 1 when --max-mare is given and exceeded; 2 when the files "
               "could not be compared.\n\n"
               "Example: orrery-sim check --predicted p.csv --real r.csv --max-mare 5%"
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
