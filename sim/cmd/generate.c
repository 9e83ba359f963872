/* generate.c - orrery-sim generate: writes a workload file. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/cmd/cmd.h"
#include "sim/cmd/load.h"
#include <inttypes.h>

enum { KEY_PROCESS = 0x300, KEY_RATE, KEY_DURATION, KEY_CV, KEY_DWELL, KEY_SLO };

struct settings {
    struct load load;
    const char *output, *duration, *rate, *slo, *dwell, *cv; /* as typed: for the metadata */
    bool has_process;
};

static const struct argp_option generate_options[] = {
    { NULL, 0, NULL, 0, "Open arrivals:", 3 },
    { "process", KEY_PROCESS, "NAME", 0, "poisson, gamma, constant, mmpp or pareto", 3 },
    { "rate", KEY_RATE, "R", 0, "Mean rate of all services: 20/s, 12/min, or a number per second",
      3 },
    { "duration", KEY_DURATION, "TIME", 0, "Arrivals come before this instant: 60s", 3 },
    { "cv", KEY_CV, "X", 0,
      "Coefficient of variation of the gaps, for gamma, mmpp (1 or more) and pareto", 3 },
    { "dwell", KEY_DWELL, "TIME", 0, "Mean length of an mmpp state (default 10s)", 3 },
    { NULL, 0, NULL, 0, "Both:", 4 },
    { "slo", KEY_SLO, "TIME", 0, "Latency objective written into every row", 4 },
    { NULL, 'o', "FILE", 0, "Where the workload goes; - is stdout (required)", 4 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;
    struct generate_options *options = &settings->load.options;

    switch (key) {
    case KEY_PROCESS:
        options->process = (enum generate_process)cli_choice(
            state, "--process", text, generate_process_names, GENERATE_PROCESS_COUNT);
        settings->has_process = true;
        return 0;
    case KEY_RATE:
        options->rate_per_s = cli_rate_per_s(state, "--rate", text);
        settings->rate = text;
        return 0;
    case KEY_DURATION:
        options->duration_ps = cli_duration_positive_ps(state, "--duration", text);
        settings->duration = text;
        return 0;
    case KEY_CV:
        if (!units_parse_double(text, &options->cv) || options->cv <= 0)
            argp_error(state, "--cv is '%s': expected a number above 0", text);
        settings->cv = text;
        return 0;
    case KEY_DWELL:
        options->dwell_ps = cli_duration_positive_ps(state, "--dwell", text);
        settings->dwell = text;
        return 0;
    case KEY_SLO:
        options->slo_ps = cli_duration_positive_ps(state, "--slo", text);
        settings->slo = text;
        return 0;
    case 'o':
        settings->output = text;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &settings->load;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", text);
        return 0;
    case ARGP_KEY_END:
        if (!settings->output)
            argp_error(state, "-o is missing: where the workload goes");
        if (settings->has_process == (options->clients > 0))
            argp_error(state, "give either --process (open) or --clients (closed loop)");
        if (options->clients > 0 && (settings->rate || settings->duration))
            argp_error(state, "--rate and --duration have no meaning with --clients");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define MAX_META 40

static void meta_add(const char **meta, int *count, const char *key, const char *value)
{
    if (!value)
        return;
    meta[(*count)++] = key;
    meta[(*count)++] = value;
}

/* The whole command, so that the file says how to make it again. */
static void write_workload(struct arena *arena, const struct settings *settings,
                           const struct workload *workload, struct out *out)
{
    const struct generate_options *options = &settings->load.options;
    const char *meta[MAX_META];
    const char *services = "";
    int count = 0;

    for (int i = 0; i < options->service_count; i++) {
        char share[UNITS_TEXT_BYTES];

        services =
            arena_printf(arena, "%s%s%s:%s", services, i ? " " : "", options->services[i].name,
                         units_format_double(options->services[i].share, share));
    }
    meta_add(meta, &count, "generator", "orrery-sim " CLI_VERSION " generate");
    if (options->clients > 0) {
        meta_add(meta, &count, "clients", arena_printf(arena, "%" PRId64, options->clients));
    } else {
        meta_add(meta, &count, "process", generate_process_names[options->process]);
    }
    meta_add(meta, &count, "rate", settings->rate);
    meta_add(meta, &count, "duration", settings->duration);
    meta_add(meta, &count, "cv", settings->cv);
    meta_add(meta, &count, "dwell", settings->dwell);
    meta_add(meta, &count, "think", settings->load.think);
    if (options->max_requests > 0)
        meta_add(meta, &count, "requests", arena_printf(arena, "%" PRId64, options->max_requests));
    meta_add(meta, &count, "service", services);
    meta_add(meta, &count, "prompt", settings->load.prompt);
    meta_add(meta, &count, "output", settings->load.output);
    meta_add(meta, &count, "slo", settings->slo);
    meta_add(meta, &count, "seed", arena_printf(arena, "%" PRIu64, options->seed));
    meta[count] = NULL;
    workload_write(out, workload, meta);
}

static bool generate(struct arena *arena, struct settings *settings, struct err *err)
{
    const struct generate_options *options = &settings->load.options;
    struct workload *workload;
    struct out *out;

    if (!load_finish(&settings->load, err))
        return false;
    workload = options->clients > 0 ? generate_closed(arena, options, err)
                                    : generate_open(arena, options, err);
    if (!workload)
        return false;
    out = out_open(arena, settings->output, err);
    if (!out)
        return false;
    write_workload(arena, settings, workload, out);
    return out_commit(out, err);
}

int cmd_generate(int argc, char **argv)
{
    static const struct argp_child children[] = { { &load_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = generate_options,
        .parser = on_option,
        .children = children,
        .doc = "Writes a workload: requests that arrive by a random process, or closed-loop "
               "clients.\v"
               "DIST = constant:V, uniform:A:B, exp:MEAN, normal:M:SD, lognormal:M:CV, gamma:M:CV, "
               "pareto:M:SHAPE or file:F; times carry a unit (60s, 250us, 1.5ms).\n\n"
               "Examples:\n"
               "  orrery-sim generate --process poisson --rate 2/s --duration 60s \\\n"
               "      --service chat --prompt uniform:8:64 --output uniform:4:16 -o w.csv\n"
               "  orrery-sim generate --clients 4 --think exp:1s --requests 200 \\\n"
               "      --service chat --prompt constant:32 --output constant:8 -o w.csv"
    };
    struct settings settings = { 0 };
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    settings.load.arena = arena_create();
    if (cli_parse(&argp, argc, argv, &settings, &exit_code) &&
        !generate(settings.load.arena, &settings, &err))
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(settings.load.arena);
    return exit_code;
}
