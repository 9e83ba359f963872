/* azure.c - the options of `import azure`, and which layout a file has. */
#include "sim/import/azure.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include <string.h>

#define MAX_CV 100.0
#define MINUTE_BYTES 5
#define LAYOUTS                                                                                    \
    "expected TIMESTAMP,ContextTokens,GeneratedTokens (LLM inference), "                           \
    "HashOwner,HashApp,HashFunction,Trigger,1,2,... (Functions 2019) or "                          \
    "app,func,end_timestamp,duration (Functions 2021)"

const char *const azure_process_names[AZURE_PROCESS_COUNT] = {
    [AZURE_VANILLA] = "vanilla",
    [AZURE_EXPONENTIAL] = "exponential",
    [AZURE_GAMMA] = "gamma",
    [AZURE_PARETO] = "pareto",
};
static const char *const map_names[AZURE_MAP_COUNT] = {
    [AZURE_STRIPE] = "stripe", [AZURE_ROUND_ROBIN] = "round_robin"
};
static const char *const layout_names[AZURE_LAYOUT_COUNT] = {
    [AZURE_LLM] = "LLM inference trace",
    [AZURE_COUNTS] = "Functions 2019",
    [AZURE_CALLS] = "Functions 2021",
};
static const char *const default_services[] = { "functions" };

/* ---- options ---- */

enum {
    KEY_PROCESS = 0x300,
    KEY_INTERVAL,
    KEY_CV,
    KEY_CV_SCALE,
    KEY_RATE_SCALE,
    KEY_MAP,
    KEY_PROMPT,
    KEY_OUTPUT,
    KEY_SEED,
    KEY_KEEP_EMPTY
};

static const struct argp_option azure_options[] = {
    { NULL, 0, NULL, 0, "LLM inference trace:", 3 },
    { "keep-empty", KEY_KEEP_EMPTY, NULL, 0,
      "Keep rows with 0 generated tokens, as requests for 1 (default: dropped)", 3 },
    { NULL, 0, NULL, 0, "Functions traces:", 4 },
    { "process", KEY_PROCESS, "NAME", 0,
      "vanilla: replay (2021, its default); exponential (default of 2019), gamma, or pareto "
      "(2021): drawn anew in each interval",
      4 },
    { "interval", KEY_INTERVAL, "TIME", 0,
      "Length of an interval (default 60s for 2019, 600s for 2021)", 4 },
    { "cv", KEY_CV, "X", 0, "2019: coefficient of variation of gamma gaps", 4 },
    { "cv-scale", KEY_CV_SCALE, "X", 0, "2021: multiply the fitted cv of gamma gaps", 4 },
    { "rate-scale", KEY_RATE_SCALE, "X", 0, "Multiply the rates that are drawn from", 4 },
    { "map", KEY_MAP, "NAME", 0,
      "Function i of n to service: stripe (i mod M, the default) or round_robin (i M / n: "
      "contiguous blocks)",
      4 },
    { "prompt", KEY_PROMPT, "DIST", 0, "Prompt tokens of a request (default: none)", 4 },
    { "output", KEY_OUTPUT, "DIST", 0, "Output tokens of a request (default: none)", 4 },
    { "seed", KEY_SEED, "N", 0, "Seed of every random draw (default 1)", 4 },
    { 0 }
};

static double positive(struct argp_state *state, const char *option, const char *text, double most)
{
    double value = 1;

    if (!units_parse_double(text, &value) || value <= 0 || value > most)
        cli_error(state, "--%s is '%.60s': expected a number above 0 and at most %g", option, text,
                  most);
    return value;
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct azure_settings *settings = state->input;

    switch (key) {
    case KEY_KEEP_EMPTY:
        settings->keeps_empty = true;
        return 0;
    case KEY_PROCESS:
        settings->process = (enum azure_process)cli_choice(
            state, "--process", text, azure_process_names, AZURE_PROCESS_COUNT);
        settings->process_text = text;
        return 0;
    case KEY_INTERVAL:
        settings->interval_ps = cli_duration_positive_ps(state, "--interval", text);
        settings->interval = text;
        return 0;
    case KEY_CV:
        settings->cv = positive(state, "cv", text, MAX_CV);
        settings->cv_text = text;
        return 0;
    case KEY_CV_SCALE:
        settings->cv_scale = positive(state, "cv-scale", text, MAX_CV);
        settings->cv_scale_text = text;
        return 0;
    case KEY_RATE_SCALE:
        settings->rate_scale = positive(state, "rate-scale", text, 1e9);
        settings->rate_scale_text = text;
        return 0;
    case KEY_MAP:
        settings->map =
            (enum azure_map)cli_choice(state, "--map", text, map_names, AZURE_MAP_COUNT);
        settings->map_text = text;
        return 0;
    case KEY_PROMPT:
        settings->prompt = text;
        return 0;
    case KEY_OUTPUT:
        settings->output = text;
        return 0;
    case KEY_SEED:
        settings->seed = (uint64_t)cli_int(state, "--seed", text, 0, INT64_MAX);
        return 0;
    case ARGP_KEY_INIT:
        azure_defaults(settings);
        state->child_inputs[0] = &settings->replay;
        return 0;
    case ARGP_KEY_END:
        if (settings->output && !settings->prompt)
            cli_error(state, "--output needs --prompt: a decoder has both");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void azure_defaults(struct azure_settings *settings)
{
    *settings = (struct azure_settings){ .seed = 1, .cv_scale = 1, .rate_scale = 1 };
    replay_defaults(&settings->replay);
}

/* ---- which options a layout has ---- */

struct given {
    const char *option, *text;
};

static bool refuse(const struct given *given, size_t count, const char *why, struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (given[i].text)
            return err_set(err, ERR_USAGE, "%s has no meaning for %s", given[i].option, why);
    return true;
}
#define REFUSE(list, why, err) refuse(list, sizeof(list) / sizeof((list)[0]), why, err)

static bool check_llm(const struct azure_settings *settings, struct err *err)
{
    const struct given given[] = {
        { "--process", settings->process_text }, { "--interval", settings->interval },
        { "--cv", settings->cv_text },           { "--cv-scale", settings->cv_scale_text },
        { "--map", settings->map_text },         { "--rate-scale", settings->rate_scale_text },
        { "--prompt", settings->prompt },
    };

    if (settings->replay.service_count > 1)
        return err_set(err, ERR_USAGE,
                       "--service is given twice: the LLM inference trace is of "
                       "one service");
    return REFUSE(given, "the LLM inference trace, which is replayed with its tokens", err);
}

static bool check_counts(struct azure_settings *settings, struct err *err)
{
    const struct given given[] = {
        { "--time-scale", settings->replay.time_scale },
        { "--replication", settings->replay.replication },
        { "--cv-scale", settings->cv_scale_text },
        { "--keep-empty", settings->keeps_empty ? "" : NULL },
    };

    if (!REFUSE(given, "Functions 2019, which are counts a minute", err))
        return false;
    if (!settings->process_text)
        settings->process = AZURE_EXPONENTIAL;
    if (settings->process == AZURE_VANILLA || settings->process == AZURE_PARETO)
        return err_set(err, ERR_USAGE,
                       "--process is '%s': Functions 2019 are counts a minute: expected "
                       "exponential or gamma",
                       azure_process_names[settings->process]);
    if ((settings->process == AZURE_GAMMA) != (settings->cv_text != NULL))
        return err_set(err, ERR_USAGE,
                       "--process gamma and --cv belong together: counts a minute "
                       "do not tell a cv");
    if (settings->interval_ps == 0)
        settings->interval_ps = 60 * UNITS_PS_PER_S;
    if (settings->interval_ps % (60 * UNITS_PS_PER_S) != 0 ||
        settings->replay.from_ps % (60 * UNITS_PS_PER_S) != 0 ||
        settings->replay.until_ps % (60 * UNITS_PS_PER_S) != 0)
        return err_set(err, ERR_USAGE,
                       "--interval, --from and --until: Functions 2019 are counts "
                       "a minute: expected whole minutes");
    return true;
}

static bool check_calls(struct azure_settings *settings, struct err *err)
{
    const struct given of_fits[] = {
        { "--interval", settings->interval },
        { "--cv-scale", settings->cv_scale_text },
        { "--rate-scale", settings->rate_scale_text },
    };
    const struct given of_replay[] = {
        { "--time-scale", settings->replay.time_scale },
        { "--replication", settings->replay.replication },
    };
    const struct given never[] = {
        { "--cv", settings->cv_text },
        { "--keep-empty", settings->keeps_empty ? "" : NULL },
    };

    if (!REFUSE(never, "Functions 2021, where gaps are fitted (--cv-scale)", err))
        return false;
    if (settings->process == AZURE_VANILLA)
        return REFUSE(of_fits, "--process vanilla, which replays what was recorded", err);
    if (settings->interval_ps == 0)
        settings->interval_ps = 600 * UNITS_PS_PER_S;
    if (settings->process != AZURE_GAMMA && settings->cv_scale_text)
        return err_set(err, ERR_USAGE, "--cv-scale has a meaning for --process gamma alone");
    return REFUSE(of_replay, "drawn arrivals (use --rate-scale)", err);
}

/* ---- files ---- */

static const struct csv_column *make_columns(struct arena *arena)
{
    static const char *const names[AZURE_FIRST_MINUTE] = {
        [AZURE_TIMESTAMP] = "TIMESTAMP",
        [AZURE_CONTEXT_TOKENS] = "ContextTokens",
        [AZURE_GENERATED_TOKENS] = "GeneratedTokens",
        [AZURE_NUM_IMAGES] = "NumImages",
        [AZURE_HASH_OWNER] = "HashOwner",
        [AZURE_HASH_APP] = "HashApp",
        [AZURE_HASH_FUNCTION] = "HashFunction",
        [AZURE_TRIGGER] = "Trigger",
        [AZURE_APP] = "app",
        [AZURE_FUNC] = "func",
        [AZURE_END_TIMESTAMP] = "end_timestamp",
        [AZURE_DURATION] = "duration",
    };
    struct csv_column *columns = arena_array(arena, AZURE_COLUMN_COUNT, sizeof *columns);
    char *minutes = arena_array(arena, AZURE_MINUTES, MINUTE_BYTES);

    for (int i = 0; i < AZURE_FIRST_MINUTE; i++)
        columns[i].name = names[i];
    for (int i = 0; i < AZURE_MINUTES; i++) {
        char *name = minutes + (size_t)i * MINUTE_BYTES, *digit = name;

        for (int power = 1000; power > 0; power /= 10)
            if (i + 1 >= power)
                *digit++ = (char)('0' + (i + 1) / power % 10);
        columns[AZURE_FIRST_MINUTE + i].name = name;
    }
    return columns;
}

/* The layout of the header: all of its columns there, and none of another. */
static bool tell_layout(const struct csv *csv, enum azure_layout *layout, struct err *err)
{
    static const enum azure_layout of[AZURE_FIRST_MINUTE + 1] = {
        [AZURE_TIMESTAMP] = AZURE_LLM,
        [AZURE_CONTEXT_TOKENS] = AZURE_LLM,
        [AZURE_GENERATED_TOKENS] = AZURE_LLM,
        [AZURE_NUM_IMAGES] = AZURE_LLM,
        [AZURE_HASH_OWNER] = AZURE_COUNTS,
        [AZURE_HASH_APP] = AZURE_COUNTS,
        [AZURE_HASH_FUNCTION] = AZURE_COUNTS,
        [AZURE_TRIGGER] = AZURE_COUNTS,
        [AZURE_APP] = AZURE_CALLS,
        [AZURE_FUNC] = AZURE_CALLS,
        [AZURE_END_TIMESTAMP] = AZURE_CALLS,
        [AZURE_DURATION] = AZURE_CALLS,
        [AZURE_FIRST_MINUTE] = AZURE_COUNTS,
    };
    bool is_found = false;

    for (int i = 0; i <= AZURE_FIRST_MINUTE && !is_found; i++)
        if (csv_has_column(csv, i)) {
            *layout = of[i];
            is_found = true;
        }
    for (int i = 0; i <= AZURE_FIRST_MINUTE; i++) {
        bool is_optional = i == AZURE_NUM_IMAGES || i == AZURE_TRIGGER;

        if (!is_found || (of[i] != *layout && csv_has_column(csv, i)) ||
            (of[i] == *layout && !is_optional && !csv_has_column(csv, i)))
            return err_at(err, csv_path(csv), csv_line(csv), 0, "%s column '%s': " LAYOUTS,
                          of[i] == *layout || !is_found ? "missing" : "unexpected",
                          csv_column_name(csv, i));
    }
    return true;
}

struct csv *azure_open(struct arena *arena, const char *path, enum azure_layout *layout,
                       struct err *err)
{
    struct err header = ERR_INIT;
    struct csv *csv = csv_open(arena, path, NULL, make_columns(arena), AZURE_COLUMN_COUNT, &header);

    if (!csv) {
        err_set(err, header.kind, "%.300s%s%s", header.text, header.kind == ERR_INPUT ? ": " : "",
                header.kind == ERR_INPUT ? LAYOUTS : "");
        return NULL;
    }
    *layout = AZURE_LLM;
    if (tell_layout(csv, layout, err))
        return csv;
    csv_close(csv);
    return NULL;
}

const char *const *azure_services(const struct azure_settings *settings, int *count)
{
    *count = settings->replay.service_count;
    if (*count > 0)
        return settings->replay.services;
    *count = 1;
    return default_services;
}

bool azure_map_functions(const struct azure_settings *settings, const bool *is_used, int32_t count,
                         int32_t *to, struct err *err)
{
    int services;
    int64_t used = 0, next = 0;

    (void)azure_services(settings, &services);
    for (int32_t f = 0; f < count; f++)
        used += is_used[f];
    if (used < services)
        return err_set(err, ERR_INPUT,
                       "%lld function%s with invocations in the slice for %d services: expected at "
                       "least one a service",
                       (long long)used, used == 1 ? "" : "s", services);
    for (int32_t f = 0; f < count; f++) {
        to[f] = -1;
        if (!is_used[f])
            continue;
        to[f] = (int32_t)(settings->map == AZURE_STRIPE ? next % services : next * services / used);
        next++;
    }
    return true;
}

static void add_meta(struct import_job *job, const struct azure_settings *settings)
{
    import_meta(job, "process", azure_process_names[settings->process]);
    if (settings->process != AZURE_VANILLA) {
        char text[UNITS_TEXT_BYTES];

        import_meta(
            job, "interval",
            arena_printf(job->arena, "%ss", units_format_seconds(settings->interval_ps, text)));
    }
    import_meta(job, "cv", settings->cv_text);
    import_meta(job, "cv_scale", settings->cv_scale_text);
    import_meta(job, "rate_scale", settings->rate_scale_text);
    import_meta(job, "map", map_names[settings->map]);
    import_meta(job, "prompt", settings->prompt);
    import_meta(job, "output", settings->output);
}

bool azure_import(struct import_job *job, const void *from, struct err *err)
{
    struct azure_settings settings = *(const struct azure_settings *)from;
    enum azure_layout layout;
    struct csv *csv;
    bool is_ok = false;

    if (job->file_count == 0)
        return err_set(err, ERR_USAGE, "a FILE is missing: what to import (- is stdin)");
    csv = azure_open(job->arena, job->files[0], &layout, err);
    if (!csv)
        return false;
    job->report.layout = layout_names[layout];
    if (job->file_count > 1 && layout != AZURE_COUNTS)
        err_set(err, ERR_USAGE, "'%.200s': only Functions 2019 take several files, one a day",
                job->files[1]);
    else if (layout == AZURE_LLM)
        is_ok = check_llm(&settings, err);
    else
        is_ok = layout == AZURE_COUNTS ? check_counts(&settings, err) : check_calls(&settings, err);
    import_meta(job, "layout", layout_names[layout]);
    if (is_ok && layout != AZURE_LLM)
        add_meta(job, &settings);
    replay_meta(job, &settings.replay);
    if (is_ok && layout == AZURE_LLM)
        is_ok = azure_read_llm(job, &settings, csv, err);
    else if (is_ok && layout == AZURE_COUNTS)
        is_ok = azure_read_counts(job, &settings, csv, err);
    else if (is_ok)
        is_ok = azure_read_calls(job, &settings, csv, err);
    csv_close(csv);
    return is_ok;
}

static const struct argp_child children[] = { { &replay_argp, 0, NULL, 0 }, { 0 } };
static const struct argp azure_argp = { .options = azure_options,
                                        .parser = on_option,
                                        .children = children };

const struct importer import_azure = {
    .name = "azure",
    .reads = "Azure's public traces: LLM inference, Functions 2019 and 2021",
    .arguments = "FILE...",
    .text = "Reads a public trace of Azure, told by its header, and writes a workload: LLM "
            "inference (TIMESTAMP,ContextTokens,GeneratedTokens), replayed with its tokens; "
            "Functions 2019 (HashOwner,HashApp,HashFunction,Trigger,1,...,1440; one file a day, in "
            "order), whose counts a minute become rates; Functions 2021 "
            "(app,func,end_timestamp,duration), replayed or fitted.\v"
            "Functions are mapped to the services that --service names, in order; those without an "
            "invocation in the slice are left out. Times count from the first row, for Functions "
            "2019 from the first midnight. Rows out of order are sorted and counted.\n\n"
            "Examples:\n"
            "  orrery-sim import azure AzureLLMInferenceTrace_conv.csv --service chat \\\n"
            "      --until 600s -o w.csv\n"
            "  orrery-sim import azure invocations_per_function_md.anon.d01.csv \\\n"
            "      --service a --service b --process gamma --cv 2 \\\n"
            "      --rate-scale 0.001 -o w.csv",
    .argp = &azure_argp,
    .settings_bytes = sizeof(struct azure_settings),
    .run = azure_import,
};
