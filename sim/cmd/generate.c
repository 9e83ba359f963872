/* generate.c - orrery-sim generate: writes a workload file. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/cmd/cmd.h"
#include "sim/cmd/describe.h"
#include "sim/cmd/load.h"
#include "sim/report/inputs.h"
#include <inttypes.h>
#include <string.h>

enum { KEY_SLO = 0x300, KEY_DESCRIBE, KEY_JSON };

struct settings {
    struct load load;
    const char *output, *slo; /* as typed */
    bool is_described, is_json;
};

static const struct argp_option generate_options[] = {
    { NULL, 0, NULL, 0, "Output:", 4 },
    { "slo", KEY_SLO, "TIME", 0, "Latency objective written into every row", 4 },
    { NULL, 'o', "FILE", 0, "Where the workload goes; - is stdout (required without --describe)",
      4 },
    { "describe", KEY_DESCRIBE, NULL, 0,
      "Print what 'orrery-sim workload describe' says of the workload", 4 },
    { "json", KEY_JSON, NULL, 0, "With --describe: one JSON object instead of text", 4 },
    { 0 }
};

static void check_end(struct argp_state *state, const struct settings *settings)
{
    const struct load *load = &settings->load;
    bool has_clients = load->options.clients > 0;

    if (!settings->output && !settings->is_described)
        cli_error(state, "-o is missing: where the workload goes");
    if (settings->is_described && settings->output && strcmp(settings->output, "-") == 0)
        cli_error(state, "--describe and a workload to - cannot share stdout");
    if (settings->is_json && !settings->is_described)
        cli_error(state, "--json is about --describe, which is missing");
    if (load_has_process(load) == has_clients)
        cli_error(state, "give either --process (open) or --clients (closed loop)");
    if (has_clients && load_open_option(load))
        cli_error(state, "--%s has no meaning with --clients", load_open_option(load));
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_SLO:
        settings->load.options.slo_ps = cli_duration_positive_ps(state, "--slo", text);
        settings->slo = text;
        return 0;
    case 'o':
        settings->output = text;
        return 0;
    case KEY_DESCRIBE:
        settings->is_described = true;
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &settings->load;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s' is not an option", text);
        return 0;
    case ARGP_KEY_END:
        check_end(state, settings);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

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
    const char *meta[LOAD_META_COUNT + 8];
    int count = 0;

    meta_add(meta, &count, "generator", "orrery-sim " CLI_VERSION " generate");
    load_meta(&settings->load, meta, &count);
    meta_add(meta, &count, "slo", settings->slo);
    meta_add(meta, &count, "seed", arena_printf(arena, "%" PRIu64, settings->load.options.seed));
    meta[count] = NULL;
    workload_write(out, workload, meta);
}

static bool generate(struct arena *arena, struct settings *settings, struct err *err)
{
    struct workload *workload;
    struct out *outs[2] = { NULL, NULL }; /* the workload, what it looks like */
    struct inputs inputs = { .arena = arena };

    if (!load_finish(&settings->load, err) || !load_inputs(&settings->load, &inputs, err) ||
        (settings->output && !inputs_spare(&inputs, settings->output, err)))
        return false;
    workload = generate_workload(arena, &settings->load.options, err);
    if (!workload)
        return false;
    if (settings->output) {
        outs[0] = out_open(arena, settings->output, err);
        if (!outs[0])
            return false;
        write_workload(arena, settings, workload, outs[0]);
        workload->path = settings->output; /* as what describes it will call it */
    }
    if (settings->is_described) {
        outs[1] = out_open(arena, "-", err);
        describe_print(arena, workload, settings->is_json, outs[1]);
    }
    return out_commit_all(outs, 2, err);
}

int cmd_generate(int argc, char **argv)
{
    static const struct argp_child children[] = { { &load_argp, 0, NULL, 0 },
                                                  { &load_open_argp, 0, "", 3 },
                                                  { 0 } };
    static const struct argp argp = {
        .options = generate_options,
        .parser = on_option,
        .children = children,
        .doc = "Writes a workload: requests or conversations that arrive by a random process, or "
               "closed-loop clients.\v"
               "DIST = constant:V, uniform:A:B, exp:MEAN, normal:M:SD, lognormal:M:CV, gamma:M:CV, "
               "pareto:M:SHAPE or file:F; times carry a unit (60s, 250us, 1.5ms).\n\n"
               "Examples:\n"
               "  orrery-sim generate --process poisson --rate 2/s --duration 60s \\\n"
               "      --service chat --prompt uniform:8:64 --output uniform:4:16 -o w.csv\n"
               "  orrery-sim generate --process gamma --cv 3 --profile day.csv --period 24h \\\n"
               "      --duration 72h --services 8 --split power-law -o w.csv\n"
               "  orrery-sim generate --states 5s:20/s,30s:2/s --duration 600s \\\n"
               "      --service chat --turns uniform:1:6 --think exp:10s \\\n"
               "      --prompt exp:80 --output exp:120 -o w.csv\n"
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
