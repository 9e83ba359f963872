/* planning_options.c - see planning_options.h. */
#include "sim/cmd/planning_options.h"

#include "lib/base/err.h"

enum {
    KEY_CLUSTER = 0x500,
    KEY_MODEL,
    KEY_MODELS,
    KEY_SERVICE,
    KEY_PROMPT,
    KEY_OUTPUT,
    KEY_SEQUENCES,
    KEY_OBJECTIVE,
    KEY_TIME_LIMIT,
    KEY_SIMULATIONS,
    KEY_EVENTS,
    KEY_FAULTS,
    KEY_SEED
};

static const struct argp_option options_of[] = {
    { NULL, 0, NULL, 0, "What to place:", 1 },
    { "cluster", KEY_CLUSTER, "DIR", 0, "Devices and links (required)", 1 },
    { "costs", 'c', "DIR", 0, "A cost table, or a folder of them, may be repeated (required)", 1 },
    { "model", KEY_MODEL, "NAME", 0,
      "The model to place. Without one, the executable of --costs; where there are several: "
      "--service",
      1 },
    { "models", KEY_MODELS, "FILE", 0, "Models beside the built-in catalogue", 1 },
    { "service", KEY_SERVICE, "NAME[=OF]", 0,
      "What clients call it, and the model or executable that it is (default: --model, else that "
      "name); may be repeated, for planners that place several services at once",
      1 },
    { NULL, 0, NULL, 0, "For which load:", 2 },
    { "workload", 'w', "FILE", 0,
      "A typical request of a service is the mean of its requests here; what is placed is "
      "simulated with all of them, for the goodput",
      2 },
    { "prompt", KEY_PROMPT, "N", 0, "Its prompt tokens (default 128; of images: the model's)", 2 },
    { "output", KEY_OUTPUT, "N", 0, "The tokens that it makes, of a decoder (default 128)", 2 },
    { "sequences", KEY_SEQUENCES, "N", 0, "Requests whose caches a device holds at once (1)", 2 },
    { "events", KEY_EVENTS, "FILE", 0,
      "Devices and links that fail, recover or change their speed: for planners of epochs, and for "
      "the simulation of the workload",
      2 },
    { NULL, 0, NULL, 0, "How:", 3 },
    { "seed", KEY_SEED, "N", 0, "Of random choices (default 1)", 3 },
    { 0 }
};

static const struct argp_option planner_options[] = {
    { "objective", KEY_OBJECTIVE, "NAME", 0,
      "latency: of a lone request; period: the longest that a request takes a device or a port, "
      "which is the time between results when requests queue; goodput: requests of the "
      "workload within their objectives, by simulation (default of place: latency, with a "
      "--workload and --slo, --slo-ttft or --slo-tpot goodput; of capacity: period; of compare: "
      "each that applies)",
      3 },
    { "faults", KEY_FAULTS, "N", 0,
      "Nodes that may fail, whichever they are, and leave a replica (infscale and orrery; default "
      "0)",
      3 },
    { "time-limit", KEY_TIME_LIMIT, "TIME", 0,
      "Planners that search end with the best so far. The one thing by which two runs may differ "
      "(default: none)",
      3 },
    { "simulations", KEY_SIMULATIONS, "N", 0,
      "Placements that orrery simulates (default: 2000 at most, fewer when nothing is gained)", 3 },
    { 0 }
};

static error_t on_planner(int key, char *text, struct argp_state *state)
{
    struct planning_options *options = state->input;

    switch (key) {
    case KEY_OBJECTIVE:
        options->objective = (enum place_objective)cli_choice(
            state, "--objective", text, place_objective_names, PLACE_OBJECTIVE_COUNT);
        options->has_objective = true;
        return 0;
    case KEY_FAULTS:
        options->fault_count = (int32_t)cli_int(state, "--faults", text, 0, 64);
        return 0;
    case KEY_TIME_LIMIT:
        options->limit_ps = cli_duration_positive_ps(state, "--time-limit", text);
        return 0;
    case KEY_SIMULATIONS:
        options->simulations = cli_int(state, "--simulations", text, 1, INT32_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp planner_argp = { .options = planner_options, .parser = on_planner };

static error_t on_load(int key, char *text, struct argp_state *state)
{
    struct planning_options *options = state->input;

    switch (key) {
    case 'w':
        options->workload = text;
        return 0;
    case KEY_PROMPT:
        options->prompt_tokens = (int32_t)cli_int(state, "--prompt", text, 1, 1 << 24);
        return 0;
    case KEY_OUTPUT:
        options->output_tokens = (int32_t)cli_int(state, "--output", text, 1, 1 << 24);
        return 0;
    case KEY_SEQUENCES:
        options->sequences = (int32_t)cli_int(state, "--sequences", text, 1, 1 << 20);
        return 0;
    case KEY_EVENTS:
        options->events = text;
        return 0;
    case KEY_SEED:
        options->seed = (uint64_t)cli_int(state, "--seed", text, 0, INT64_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct planning_options *options = state->input;

    switch (key) {
    case KEY_CLUSTER:
        options->cluster = text;
        return 0;
    case 'c':
        scenario_add_costs(state, options->costs, &options->cost_count, text);
        return 0;
    case KEY_MODEL:
        options->model = text;
        return 0;
    case KEY_MODELS:
        options->models = text;
        return 0;
    case KEY_SERVICE:
        if (options->service_count == PLANNING_MAX_SERVICES)
            cli_error(state, "--service: more than %d given", PLANNING_MAX_SERVICES);
        options->services[options->service_count++] = text;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->serving;
        state->child_inputs[1] = options;
        return 0;
    default:
        return on_load(key, text, state);
    }
}

static const struct argp_child children[] = {
    { &serving_argp, 0, "How requests of --workload are served, and which are good:", 4 },
    { &planner_argp, 0, NULL, 0 },
    { 0 }
};
const struct argp planning_argp = { .options = options_of,
                                    .parser = on_option,
                                    .children = children };

void planning_options_begin(struct planning_options *options)
{
    options->seed = 1;
    options->serve = serving_defaults();
    options->serving = (struct serving){ .serve = &options->serve, .metrics = &options->metrics };
}

void planning_check_end(const struct argp_state *state, struct planning_options *options)
{
    if (!options->cluster)
        cli_error(state, "--cluster is missing: the devices to place on");
    if (options->cost_count == 0 && !options->needs_no_costs)
        cli_error(state, "--costs is missing: what things cost on them");
    if (options->workload && (options->prompt_tokens > 0 || options->output_tokens > 0))
        cli_error(state, "--workload says how long a typical request is: it goes without --prompt "
                         "and --output");
    if (options->has_objective && options->objective == PLACE_GOODPUT && !options->workload)
        cli_error(state, "--objective goodput is of a --workload, which is missing");
    if (!options->workload && metrics_has_slo(&options->metrics))
        cli_error(state, "--slo, --slo-ttft and --slo-tpot are of a --workload, which is missing");
    serving_check_end(state, &options->serving);
    options->serve.seed = options->seed;
    options->serve.slo_ps = options->metrics.slo_ps;
}

const struct place_algorithm *planning_algorithm(struct argp_state *state, const char *text)
{
    const char *names[64];

    for (int i = 0; i < place_algorithm_count; i++)
        names[i] = place_algorithms[i].name;
    return &place_algorithms[cli_choice(state, "--algorithm", text, names, place_algorithm_count)];
}
