/* run_options.c - what orrery-sim run is told: inputs, rules, outputs. */
#include "sim/cmd/run_options.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/units.h"
#include "sim/cmd/load.h"
#include <string.h>

enum {
    KEY_CLUSTER = 0x300,
    KEY_MODELS,
    KEY_RULES,
    KEY_PREFIX_BLOCKS,
    KEY_EVENTS,
    KEY_OVERHEAD,
    KEY_FAST_PATH,
    KEY_METRICS,
    KEY_LATENCY,
    KEY_TRIM,
    KEY_UNTIL,
    KEY_MAX_REQUESTS,
    KEY_REQUESTS_OUT,
    KEY_STAGES_OUT,
    KEY_TRANSFERS_OUT,
    KEY_UTILISATION_OUT,
    KEY_WINDOW,
    KEY_CHROME,
    KEY_JSON
};

static const struct argp_option run_options[] = {
    { NULL, 0, NULL, 0, "Input:", 1 },
    { "placement", 'p', "FILE", 0, "What runs where (required)", 1 },
    { "workload", 'w', "FILE", 0,
      "Requests (or --process ... for open arrivals, --clients ... for a closed loop, made here)",
      1 },
    { "costs", 'c', "DIR", 0,
      "A cost table, or a folder of them; may be repeated (required but for --rules kafetzis)", 1 },
    { "cluster", KEY_CLUSTER, "DIR", 0,
      "devices.csv and links.csv; without it the devices are those of the placement, all of the "
      "type of the only cost table",
      1 },
    { "models", KEY_MODELS, "FILE", 0, "Models beside the built-in catalogue", 1 },
    { "events", KEY_EVENTS, "FILE", 0, "Devices and links that fail, recover or change their speed",
      1 },
    { "overhead", KEY_OVERHEAD, "FILE", 0,
      "Latencies of software that requests wait for and no device is busy for", 1 },
    { "prefix-blocks", KEY_PREFIX_BLOCKS, "FILE", 0,
      "Which blocks of tokens requests of the workload share", 1 },
    { NULL, 0, NULL, 0, "Rules:", 3 },
    { "rules", KEY_RULES, "NAME", 0,
      "default: a device stays taken for gap_s behind each job; dlsim, alpaserve, kafetzis: the "
      "arithmetic of these simulators",
      3 },
    { "fast-path", KEY_FAST_PATH, "NAME", 0,
      "on (default): closed form instead of events where it gives the same result; events: always "
      "events, in a shorter loop where that does; off: events in the one loop that knows all",
      3 },
    { "metrics", KEY_METRICS, "NAME", 0,
      "all (default); latency: leaves out what takes time to count: queueing, gaps between tokens, "
      "bubbles, what latency is made of",
      3 },
    { "trim", KEY_TRIM, "TIME", 0,
      "Leave requests that arrive before TIME, or within TIME of the last arrival, out of the "
      "statistics (0 by default)",
      3 },
    { "latency", KEY_LATENCY, "NAME", 0,
      "exact (default): statistics of every latency, 8 bytes each; or histogram: in constant "
      "memory, quantiles off by at most 0.025 %",
      3 },
    { "until", KEY_UNTIL, "TIME", 0,
      "Leave out requests that arrive at TIME or later; what is in flight then is finished, and "
      "the "
      "report says how many",
      3 },
    { "max-requests", KEY_MAX_REQUESTS, "N", 0, "Take the first N arrivals only", 3 },
    { NULL, 0, NULL, 0, "Output:", 4 },
    { "requests-out", KEY_REQUESTS_OUT, "FILE", 0, "A row a request", 4 },
    { "stages-out", KEY_STAGES_OUT, "FILE", 0, "A row a request, step, stage and device", 4 },
    { "transfers-out", KEY_TRANSFERS_OUT, "FILE", 0, "A row a message on a link", 4 },
    { "utilisation-out", KEY_UTILISATION_OUT, "FILE", 0,
      "A row a window of time and device, then link: how busy it was, how many waited, what KV "
      "caches held; the report then shows it as well",
      4 },
    { "window", KEY_WINDOW, "TIME", 0, "Length of a window of --utilisation-out (1s)", 4 },
    { "chrome-trace", KEY_CHROME, "FILE", 0, "Time line for Perfetto", 4 },
    { "json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", 4 },
    { 0 }
};

static const char *const metrics_names[] = { "all", "latency" };

static error_t on_output(int key, char *text, struct run_settings *settings)
{
    switch (key) {
    case KEY_REQUESTS_OUT:
        settings->paths[OUT_REQUESTS] = text;
        return 0;
    case KEY_STAGES_OUT:
        settings->paths[OUT_STAGES] = text;
        return 0;
    case KEY_TRANSFERS_OUT:
        settings->paths[OUT_TRANSFERS] = text;
        return 0;
    case KEY_UTILISATION_OUT:
        settings->paths[OUT_UTILISATION] = text;
        return 0;
    case KEY_CHROME:
        settings->paths[OUT_CHROME] = text;
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The rules of other simulators have decisions of their own. */
static void check_rules(struct argp_state *state, const struct run_settings *settings)
{
    const struct serve_options *serve = &settings->serve;
    const char *rules = serve_rules_names[serve->rules];

    if (serve->rules == SERVE_DEFAULT)
        return;
    if (settings->serving.dispatch &&
        (serve->rules == SERVE_ALPASERVE || serve->dispatch != DISPATCH_LEAST_IDLE))
        cli_error(state, "--rules %s has a dispatch of its own", rules);
    if (settings->serving.admission &&
        (serve->rules == SERVE_ALPASERVE || serve->admission != ADMIT_NONE))
        cli_error(state, "--rules %s has an admission of its own", rules);
    if (serve->rules == SERVE_DLSIM && serve->batch.kind != BATCH_NONE)
        cli_error(state, "--rules dlsim knows no batches");
}

/* stdout holds one thing: the report, or a file that was sent there. */
static void check_end(struct argp_state *state, struct run_settings *settings)
{
    const struct scenario_files *files = &settings->files;
    const struct load *load = &files->load;
    bool has_clients = load->options.clients > 0, is_open = load_has_process(load);

    if (!files->placement)
        cli_error(state, "--placement is missing");
    if (files->cost_count == 0 && !settings->is_kafetzis)
        cli_error(state, "--costs is missing");
    if ((files->workload != NULL) + has_clients + is_open != 1)
        cli_error(state, "give either --workload, or --clients (closed loop), or --process (open "
                         "arrivals)");
    if (files->workload && (load_is_given(load) || load_open_option(load)))
        cli_error(state, "--service, --prompt, --rate and their like describe requests that are "
                         "made here, not those of a --workload file");
    if (has_clients && load_open_option(load))
        cli_error(state, "--%s has no meaning with --clients", load_open_option(load));
    serving_check_end(state, &settings->serving);
    settings->files.has_bounded_queues = settings->serve.rules == SERVE_DEFAULT;
    if (settings->window_ps > 0 && !settings->paths[OUT_UTILISATION])
        cli_error(state, "--window is of --utilisation-out, which is missing");
    if (settings->window_ps == 0)
        settings->window_ps = UNITS_PS_PER_S;
    check_rules(state, settings);
    for (int i = 0; i < OUT_REPORT; i++) {
        const char *path = settings->paths[i];

        for (int k = 0; path && k < i; k++)
            if (settings->paths[k] && strcmp(settings->paths[k], path) == 0 &&
                strcmp(path, "/dev/null") != 0)
                cli_error(state, "two outputs go to '%s'", path);
        if (path && strcmp(path, "-") == 0 && settings->is_json)
            cli_error(state, "--json and an output to - cannot share stdout");
        if (path && strcmp(path, "-") == 0)
            settings->paths[OUT_REPORT] = NULL;
    }
}

static void set_rules(struct argp_state *state, struct run_settings *settings, const char *text)
{
    const char *names[SERVE_RULES_COUNT + 1];
    int chosen;

    for (int i = 0; i < SERVE_RULES_COUNT; i++)
        names[i] = serve_rules_names[i];
    names[SERVE_RULES_COUNT] = "kafetzis";
    chosen = cli_choice(state, "--rules", text, names, SERVE_RULES_COUNT + 1);
    settings->is_kafetzis = chosen == SERVE_RULES_COUNT;
    settings->serve.rules = settings->is_kafetzis ? SERVE_DEFAULT : (enum serve_rules)chosen;
}

/* The rules of the run. */
static error_t on_rule(int key, char *text, struct argp_state *state)
{
    struct run_settings *settings = state->input;
    struct serve_options *serve = &settings->serve;

    switch (key) {
    case KEY_RULES:
        set_rules(state, settings, text);
        return 0;
    case KEY_FAST_PATH:
        serve->fast_path = (enum serve_fast)cli_choice(state, "--fast-path", text, serve_fast_names,
                                                       SERVE_FAST_COUNT);
        return 0;
    case KEY_UNTIL:
        serve->until_ps = cli_duration_positive_ps(state, "--until", text);
        return 0;
    case KEY_MAX_REQUESTS:
        serve->max_requests = (size_t)cli_int(state, "--max-requests", text, 1, INT64_MAX);
        return 0;
    default:
        return on_output(key, text, settings);
    }
}

/* What is counted, and what is good. */
static error_t on_metric(int key, char *text, struct argp_state *state)
{
    struct run_settings *settings = state->input;

    switch (key) {
    case KEY_METRICS:
        settings->metrics.has_all = cli_choice(state, "--metrics", text, metrics_names, 2) == 0;
        return 0;
    case KEY_LATENCY:
        settings->metrics.samples = (enum samples_kind)cli_choice(
            state, "--latency", text, samples_kind_names, SAMPLES_KIND_COUNT);
        return 0;
    case KEY_WINDOW:
        settings->window_ps = cli_duration_positive_ps(state, "--window", text);
        return 0;
    case KEY_TRIM:
        settings->metrics.trim_ps = cli_duration_ps(state, "--trim", text);
        return 0;
    default:
        return on_rule(key, text, state);
    }
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct run_settings *settings = state->input;

    switch (key) {
    case 'p':
        settings->files.placement = text;
        return 0;
    case 'w':
        settings->files.workload = text;
        return 0;
    case 'c':
        scenario_add_costs(state, settings->files.costs, &settings->files.cost_count, text);
        return 0;
    case KEY_CLUSTER:
        settings->files.cluster = text;
        return 0;
    case KEY_MODELS:
        settings->files.models = text;
        return 0;
    case KEY_EVENTS:
        settings->files.events = text;
        return 0;
    case KEY_OVERHEAD:
        settings->files.overhead = text;
        return 0;
    case KEY_PREFIX_BLOCKS:
        settings->files.prefix_blocks = text;
        settings->serving.kv_option = "prefix-blocks";
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &settings->files.load;
        state->child_inputs[2] = &settings->serving;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s' is not an option", text);
        return 0;
    case ARGP_KEY_END:
        check_end(state, settings);
        return 0;
    default:
        return on_metric(key, text, state);
    }
}

bool run_options_parse(int argc, char **argv, struct arena *arena, struct run_settings *settings,
                       int *exit_code)
{
    static const struct argp_child children[] = { { &load_argp, 0, NULL, 0 },
                                                  { &load_open_argp, 0, "", 2 },
                                                  { &serving_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        .options = run_options,
        .parser = on_option,
        .children = children,
        .doc =
            "Simulates a workload on a placement from measured costs, and reports latency, "
            "throughput and what each device did.\v"
            "Exit status: 0 done; 1 when --slo, --slo-ttft or --slo-tpot is given and a request "
            "missed its objective or did not end ok; 2 when the run could not be done.\n\n"
            "Examples:\n"
            "  orrery-sim run -p placement.csv -w workload.csv -c traces/costs \\\n"
            "      --cluster cluster --requests-out predicted.csv\n"
            "  orrery-sim run -p placement.csv -c traces/costs/pi4 --clients 4 \\\n"
            "      --think exp:1s --requests 200 --service chat \\\n"
            "      --prompt constant:32 --output constant:8 --json\n"
            "  orrery-sim run -p placement.csv -w workload.csv -c costs --cluster cluster \\\n"
            "      --batch continuous:256:2048 --prefix-blocks prefix-blocks.csv\n"
            "  orrery-sim run -p placement.csv -c traces/costs --process poisson --rate 200/s \\\n"
            "      --requests 100000000 --service detect --latency histogram"
    };

    *settings = (struct run_settings){ .paths = { [OUT_REPORT] = "-" },
                                       .metrics = { .has_all = true },
                                       .serve = serving_defaults() };
    settings->serving =
        (struct serving){ .serve = &settings->serve, .metrics = &settings->metrics };
    settings->files.load.arena = arena;
    if (!cli_parse(&argp, argc, argv, settings, exit_code))
        return false;
    settings->serve.seed = settings->files.load.options.seed;
    settings->serve.slo_ps = settings->metrics.slo_ps;
    settings->serve.has_parts = settings->metrics.has_all;
    settings->serve.keeps_requests = settings->paths[OUT_REQUESTS] != NULL;
    settings->files.needs_rows = settings->paths[OUT_REQUESTS] || settings->paths[OUT_STAGES] ||
                                 settings->paths[OUT_TRANSFERS];
    return true;
}
