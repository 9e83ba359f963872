/* fit.c - orrery-sim fit: does a placement fit into the memory of its devices? */
#include "sim/report/fit.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "lib/policy/continuous.h"
#include "lib/policy/plan.h"
#include "sim/cmd/cmd.h"
#include "sim/cmd/scenario.h"

enum {
    KEY_CLUSTER = 0x300,
    KEY_MODEL,
    KEY_MODELS,
    KEY_CONTEXT,
    KEY_SEQUENCES,
    KEY_STEP_TOKENS,
    KEY_KV_BLOCK,
    KEY_JSON
};

struct settings {
    const char *placement, *model, *cluster, *models;
    int cost_count;
    const char *costs[SCENARIO_MAX_COSTS];
    struct footprint_load load; /* context 0: as long as the model's */
    bool is_json;
};

static const struct argp_option fit_options[] = {
    { NULL, 0, NULL, 0, "Input:", 1 },
    { "placement", 'p', "FILE", 0, "What stands where (or --model)", 1 },
    { "model", KEY_MODEL, "NAME", 0,
      "Without a placement: the whole model on each device alone, and the fewest devices that "
      "could "
      "hold it",
      1 },
    { "cluster", KEY_CLUSTER, "DIR", 0, "devices.csv with memory_bytes (required)", 1 },
    { "costs", 'c', "DIR", 0,
      "A cost table, or a folder of them, may be repeated: for executables alone, whose bytes "
      "stand "
      "in stages.csv",
      1 },
    { "models", KEY_MODELS, "FILE", 0, "Models beside the built-in catalogue", 1 },
    { NULL, 0, NULL, 0, "What is held at once:", 2 },
    { "context", KEY_CONTEXT, "N", 0,
      "Tokens of a sequence, prompt and output (default the model's max_context)", 2 },
    { "sequences", KEY_SEQUENCES, "N", 0,
      "Sequences of each replica: each holds a KV cache (1); items of a pass for encoders and "
      "executables",
      2 },
    { "batch", KEY_SEQUENCES, NULL, OPTION_ALIAS, NULL, 2 },
    { "step-tokens", KEY_STEP_TOKENS, "N", 0,
      "New tokens that a step computes at most, where prompts come in chunks (default: a prompt is "
      "one step, as long as the context)",
      2 },
    { "kv-block", KEY_KV_BLOCK, "N", 0,
      "Tokens in a block of the KV cache (16); with 1 as `run` without continuous batches counts",
      2 },
    { NULL, 0, NULL, 0, "Output:", 3 },
    { "json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", 3 },
    { 0 }
};

static error_t on_load(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_CONTEXT:
        settings->load.context_tokens = cli_int(state, "--context", text, 1, FOOTPRINT_MAX_TOKENS);
        return 0;
    case KEY_SEQUENCES:
        settings->load.sequences = cli_int(state, "--sequences", text, 1, FOOTPRINT_MAX_SEQUENCES);
        return 0;
    case KEY_STEP_TOKENS:
        settings->load.step_tokens = cli_int(state, "--step-tokens", text, 1, FOOTPRINT_MAX_TOKENS);
        return 0;
    case KEY_KV_BLOCK:
        settings->load.block_tokens =
            (int32_t)cli_int(state, "--kv-block", text, 1, CONTINUOUS_MAX_BLOCK_TOKENS);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void check_end(struct argp_state *state, const struct settings *settings)
{
    const struct footprint_load *load = &settings->load;

    if (!settings->placement == !settings->model)
        cli_error(state, "give either --placement or --model");
    if (!settings->cluster)
        cli_error(state, "--cluster is missing: memory_bytes of devices.csv");
    if (load->step_tokens > 0 && load->step_tokens < load->sequences)
        cli_error(state, "--step-tokens is '%lld': expected at least the sequences, %lld",
                  (long long)load->step_tokens, (long long)load->sequences);
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case 'p':
        settings->placement = text;
        return 0;
    case KEY_MODEL:
        settings->model = text;
        return 0;
    case KEY_CLUSTER:
        settings->cluster = text;
        return 0;
    case KEY_MODELS:
        settings->models = text;
        return 0;
    case 'c':
        scenario_add_costs(state, settings->costs, &settings->cost_count, text);
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s' is not an option", text);
        return 0;
    case ARGP_KEY_END:
        check_end(state, settings);
        return 0;
    default:
        return on_load(key, text, state);
    }
}

/* ---- what is asked ---- */

/* The whole model on each device, a replica each. */
static const struct placement *placement_of_model(struct arena *arena, const char *model,
                                                  const struct cluster *cluster)
{
    struct placement *placement = arena_alloc(arena, sizeof(*placement));

    placement->path = "--model";
    placement->count = cluster->device_count;
    placement->rows = arena_array(arena, (size_t)cluster->device_count, sizeof(*placement->rows));
    for (int i = 0; i < cluster->device_count; i++)
        placement->rows[i] = (struct placement_row){ .service = model,
                                                     .device = cluster->devices[i].name,
                                                     .model = model,
                                                     .executable = "",
                                                     .replica = i,
                                                     .layer_first = -1,
                                                     .layer_last = -1,
                                                     .blocks = (1u << BLOCK_COUNT) - 1,
                                                     .is_all = true,
                                                     .part_of = 1 };
    return placement;
}

static bool load_of_service(const struct settings *settings, const struct plan_service *service,
                            struct footprint_load *load, struct err *err)
{
    const struct model *model = service->model;

    *load = settings->load;
    if (!model)
        return true;
    if (load->context_tokens == 0)
        load->context_tokens = model->max_context;
    if (load->context_tokens == 0)
        return err_set(err, ERR_USAGE,
                       "--context is missing: model '%s' of service '%s' states no max_context",
                       model->name, service->name);
    if (model->max_context > 0 &&
        (load->context_tokens > model->max_context || model->kind == MODEL_VISION))
        load->context_tokens = model->max_context;
    return true;
}

/* More context than any model here can hold is a mistake, not a question of memory. */
static bool loads_fill(struct arena *arena, const struct settings *settings,
                       const struct plan *plan, struct fit *fit, struct err *err)
{
    struct footprint_load *loads = arena_array(arena, (size_t)plan->service_count, sizeof(*loads));
    const struct plan_service *longest = NULL;

    for (int s = 0; s < plan->service_count; s++) {
        if (!load_of_service(settings, &plan->services[s], &loads[s], err))
            return false;
        if (plan->services[s].model &&
            (!longest || loads[s].context_tokens > loads[longest - plan->services].context_tokens))
            longest = &plan->services[s];
    }
    fit->loads = loads;
    if (longest && settings->load.context_tokens > loads[longest - plan->services].context_tokens)
        return err_set(err, ERR_USAGE,
                       "--context is '%lld': model '%s' of service '%s' holds %d tokens at most",
                       (long long)settings->load.context_tokens, longest->model->name,
                       longest->name, (int)longest->model->max_context);
    return true;
}

static bool batches_check(const struct placement *placement, const struct fit *fit, struct err *err)
{
    const struct footprint *footprint = fit->footprint;

    for (int i = 0; i < footprint->part_count; i++) {
        const struct footprint_part *part = &footprint->parts[i];
        const struct plan_replica *replica = &footprint->plan->replicas[part->replica];
        const int32_t *sizes;
        int32_t items;
        int count;

        if (!part->stage->executable)
            continue;
        items = plan_replica_batch(replica, (int32_t)fit->loads[part->service].sequences);
        count = cost_batch_sizes(part->table, part->stage->executable, &sizes);
        if (items > sizes[count - 1])
            return placement_bad(placement, part->stage->row, PLACEMENT_EXECUTABLE, err,
                                 "%s/stages.csv has it in batches of at most %d, not %d",
                                 cost_path(part->table), (int)sizes[count - 1], (int)items);
    }
    return true;
}

static bool memory_check(const struct fit *fit, struct err *err)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;

    for (int i = 0; i < cluster->device_count; i++)
        if (cluster->devices[i].memory_bytes > 0 &&
            fit->footprint->first_parts[i] < fit->footprint->first_parts[i + 1])
            return true;
    return err_set(err, ERR_INPUT,
                   "%s/devices.csv: no device that something is placed on has memory_bytes: there "
                   "is nothing to fit into",
                   cluster->path);
}

static bool inputs_fill(struct inputs *inputs, const struct settings *settings,
                        const struct cost_set *costs, struct err *err)
{
    static const char *const cluster_files[] = { "devices.csv", NULL };
    static const char *const cost_files[] = { "stages.csv", NULL };

    if ((settings->placement && !inputs_add(inputs, "placement", settings->placement, err)) ||
        (settings->models && !inputs_add(inputs, "models", settings->models, err)) ||
        !inputs_add_folder(inputs, "cluster", settings->cluster, cluster_files, err))
        return false;
    for (int i = 0; i < costs->count; i++)
        if (!inputs_add_folder(inputs, "costs", cost_path(costs->tables[i]), cost_files, err))
            return false;
    return true;
}

static bool collect(struct arena *arena, const struct settings *settings, struct fit *fit,
                    struct inputs *inputs, struct err *err)
{
    struct model_catalogue *catalogue = model_catalogue_load(arena, settings->models, err);
    const struct cluster *cluster = cluster_load(arena, settings->cluster, err);
    const struct placement *placement;
    const struct plan *plan;
    struct cost_set costs = { 0 };

    if (!catalogue || !cluster ||
        (settings->cost_count > 0 &&
         !cost_set_load(arena, settings->costs, settings->cost_count, &costs, err)))
        return false;
    if (settings->model) {
        fit->alone = model_find(catalogue, settings->model, err);
        if (!fit->alone)
            return false;
    }
    placement = settings->model ? placement_of_model(arena, settings->model, cluster)
                                : placement_load(arena, settings->placement, err);
    if (!placement)
        return false;
    plan = plan_outline(arena, placement, cluster, settings->cost_count > 0 ? &costs : NULL,
                        catalogue, err);
    if (!plan || !loads_fill(arena, settings, plan, fit, err))
        return false;
    fit->footprint = footprint_collect(arena, plan, &costs);
    return batches_check(placement, fit, err) && memory_check(fit, err) &&
           inputs_fill(inputs, settings, &costs, err);
}

static bool run(struct arena *arena, const struct settings *settings, int *exit_code,
                struct err *err)
{
    struct inputs inputs = { .arena = arena };
    struct fit fit = { .inputs = &inputs };
    struct out *out;

    if (!collect(arena, settings, &fit, &inputs, err))
        return false;
    fit_fill(arena, &fit);
    out = out_open(arena, "-", err);
    if (!out)
        return false;
    if (settings->is_json)
        fit_json(arena, &fit, out);
    else
        fit_text(&fit, out);
    *exit_code = fit.fits ? CLI_DONE : CLI_NO;
    return out_commit(out, err);
}

int cmd_fit(int argc, char **argv)
{
    static const struct argp argp = {
        .options = fit_options,
        .parser = on_option,
        .doc = "Says whether a placement fits into the memory of its devices: weights, KV caches, "
               "activations and what is reserved against memory_bytes; how long the context and "
               "how many the sequences may be; and where the bytes go.\v"
               "Exit status: 0 it fits (--model: some devices together could hold it); 1 it does "
               "not, and the report says how many bytes are missing where; 2 the question could "
               "not be answered.\n\n"
               "Examples:\n"
               "  orrery-sim fit -p placement.csv --cluster cluster --context 2048 \\\n"
               "      --sequences 4\n"
               "  orrery-sim fit --model tinyllama-1.1b --cluster cluster --json"
    };
    struct settings settings = { .load = { .sequences = 1, .block_tokens = 16 } };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    if (cli_parse(&argp, argc, argv, &settings, &exit_code) &&
        !run(arena, &settings, &exit_code, &err))
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
