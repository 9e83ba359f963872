/* place.c - orrery-sim place: which device gets which part of a service, as a placement. */
#include "sim/place/place.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "sim/cmd/cmd.h"
#include "sim/cmd/scenario.h"
#include "sim/report/inputs.h"
#include "sim/report/wrap.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_TOKENS 128
#define LABEL_WIDTH 11

enum {
    KEY_ALGORITHM = 0x300,
    KEY_LIST,
    KEY_CLUSTER,
    KEY_MODEL,
    KEY_MODELS,
    KEY_SERVICE,
    KEY_PROMPT,
    KEY_OUTPUT,
    KEY_SEQUENCES,
    KEY_OBJECTIVE,
    KEY_SEED,
    KEY_JSON
};

struct settings {
    const struct place_algorithm *algorithm;
    const char *cluster, *model, *models, *service, *workload, *output;
    int cost_count;
    const char *costs[SCENARIO_MAX_COSTS];
    int32_t prompt_tokens, output_tokens, sequences; /* 0: not given */
    enum place_objective objective;
    uint64_t seed;
    bool does_list, is_json;
};

static const struct argp_option place_options[] = {
    { NULL, 0, NULL, 0, "What to place:", 1 },
    { "cluster", KEY_CLUSTER, "DIR", 0, "Devices and links (required)", 1 },
    { "costs", 'c', "DIR", 0, "A cost table, or a folder of them, may be repeated (required)", 1 },
    { "model", KEY_MODEL, "NAME", 0,
      "The model to place. Without one, the executable of --costs; where there are several: "
      "--service",
      1 },
    { "models", KEY_MODELS, "FILE", 0, "Models beside the built-in catalogue", 1 },
    { "service", KEY_SERVICE, "NAME[=OF]", 0,
      "What clients call it, and the model or executable that it is (default: that name)", 1 },
    { NULL, 0, NULL, 0, "For which load:", 2 },
    { "workload", 'w', "FILE", 0, "A typical request is the mean of its requests of the service",
      2 },
    { "prompt", KEY_PROMPT, "N", 0, "Its prompt tokens (default 128; of images: the model's)", 2 },
    { "output", KEY_OUTPUT, "N", 0, "The tokens that it makes, of a decoder (default 128)", 2 },
    { "sequences", KEY_SEQUENCES, "N", 0, "Requests whose caches a device holds at once (1)", 2 },
    { NULL, 0, NULL, 0, "How:", 3 },
    { "algorithm", KEY_ALGORITHM, "NAME", 0, "The planner (default exact); see --list", 3 },
    { "list", KEY_LIST, NULL, 0, "List the planners", 3 },
    { "objective", KEY_OBJECTIVE, "NAME", 0,
      "latency: of a lone request (default); period: the longest that a request takes a device or "
      "a port, which is the time between results when requests queue",
      3 },
    { "seed", KEY_SEED, "N", 0, "Of random choices (default 1)", 3 },
    { NULL, 0, NULL, 0, "Output:", 4 },
    { "placement", 'o', "P.csv", 0, "The placement (required; - is stdout)", 4 },
    { "json", KEY_JSON, NULL, 0, "Print what is predicted as one JSON object", 4 },
    { 0 }
};

static const struct place_algorithm *algorithm_find(struct argp_state *state, const char *text)
{
    const char *names[64];

    for (int i = 0; i < place_algorithm_count; i++)
        names[i] = place_algorithms[i].name;
    return &place_algorithms[cli_choice(state, "--algorithm", text, names, place_algorithm_count)];
}

static error_t on_load(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_PROMPT:
        settings->prompt_tokens = (int32_t)cli_int(state, "--prompt", text, 1, 1 << 24);
        return 0;
    case KEY_OUTPUT:
        settings->output_tokens = (int32_t)cli_int(state, "--output", text, 1, 1 << 24);
        return 0;
    case KEY_SEQUENCES:
        settings->sequences = (int32_t)cli_int(state, "--sequences", text, 1, 1 << 20);
        return 0;
    case KEY_ALGORITHM:
        settings->algorithm = algorithm_find(state, text);
        return 0;
    case KEY_OBJECTIVE:
        settings->objective = (enum place_objective)cli_choice(
            state, "--objective", text, place_objective_names, PLACE_GOODPUT);
        return 0;
    case KEY_SEED:
        settings->seed = (uint64_t)cli_int(state, "--seed", text, 0, INT64_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void check_end(const struct argp_state *state, const struct settings *settings)
{
    if (settings->does_list)
        return;
    if (!settings->cluster)
        cli_error(state, "--cluster is missing: the devices to place on");
    if (settings->cost_count == 0)
        cli_error(state, "--costs is missing: what things cost on them");
    if (!settings->output)
        cli_error(state, "-o is missing: the placement to write (- is stdout)");
    if (settings->is_json && strcmp(settings->output, "-") == 0)
        cli_error(state, "--json and -o - both write to stdout: give -o a file");
    if (settings->workload && (settings->prompt_tokens > 0 || settings->output_tokens > 0))
        cli_error(state, "--workload says how long a typical request is: it goes without --prompt "
                         "and --output");
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_CLUSTER:
        settings->cluster = text;
        return 0;
    case KEY_MODEL:
        settings->model = text;
        return 0;
    case KEY_MODELS:
        settings->models = text;
        return 0;
    case KEY_SERVICE:
        if (settings->service)
            cli_error(state, "--service is given twice: one service is placed at a time");
        settings->service = text;
        return 0;
    case 'c':
        scenario_add_costs(state, settings->costs, &settings->cost_count, text);
        return 0;
    case 'w':
        settings->workload = text;
        return 0;
    case 'o':
        settings->output = text;
        return 0;
    case KEY_LIST:
        settings->does_list = true;
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

/* The executable that the tables have, when there is one alone. */
static const char *only_executable(const struct cost_set *costs, struct err *err)
{
    const char *found = NULL;

    for (int t = 0; t < costs->count; t++) {
        const struct cost_table *table = costs->tables[t];

        for (int i = 0; i < cost_stage_row_count(table); i++) {
            const char *name = cost_stage_row_at(table, i)->executable;

            if (found && strcmp(found, name) != 0) {
                (void)err_set(err, ERR_USAGE,
                              "%s has several executables, such as '%s' and '%s': say which with "
                              "--service NAME=EXECUTABLE, or give a --model",
                              cost_path(table), found, name);
                return NULL;
            }
            found = name;
        }
    }
    if (!found)
        (void)err_set(err, ERR_USAGE,
                      "--model is missing, and no table of --costs has executables");
    return found;
}

static bool is_executable(const struct cost_set *costs, const char *name)
{
    for (int t = 0; t < costs->count; t++)
        if (cost_stage_count(costs->tables[t], name) > 0)
            return true;
    return false;
}

/* The service's name, and what it is: a model or an executable. */
static bool service_find(struct arena *arena, const struct settings *settings,
                         struct problem_input *input, struct err *err)
{
    const char *equals = settings->service ? strchr(settings->service, '=') : NULL;
    const char *of = equals ? equals + 1 : settings->model;
    struct model_catalogue *catalogue = model_catalogue_load(arena, settings->models, err);

    if (!catalogue)
        return false;
    if (equals && settings->model)
        return err_set(err, ERR_USAGE, "--service says what it is: it goes without --model");
    if (!of && !(of = only_executable(input->costs, err)))
        return false;
    input->service = settings->service ? arena_strndup(arena, settings->service,
                                                       equals ? (size_t)(equals - settings->service)
                                                              : strlen(settings->service))
                                       : of;
    if (input->service[0] == '\0' || of[0] == '\0')
        return err_set(err, ERR_USAGE, "--service is '%s': expected NAME or NAME=MODEL",
                       settings->service);
    if (!settings->model && is_executable(input->costs, of)) {
        input->executable = of;
        return true;
    }
    input->model = model_find(catalogue, of, err);
    return input->model != NULL;
}

static int64_t mean_of(int64_t sum, int64_t count)
{
    int64_t mean = (sum + count / 2) / count;

    return mean > 1 ? mean : 1;
}

static bool workload_lengths(struct arena *arena, const struct settings *settings,
                             struct problem_input *input, struct err *err)
{
    const struct workload *workload = workload_load(arena, settings->workload, err);
    int64_t prompts = 0, outputs = 0, count = 0;

    assert(input->service); /* for clang's analyzer */
    if (!workload)
        return false;
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request request = workload_at(workload, i);

        if (strcmp(workload->services[request.service], input->service) != 0)
            continue;
        prompts += request.prompt_tokens;
        outputs += request.output_tokens;
        count++;
    }
    if (count == 0)
        return err_set(err, ERR_INPUT, "%s: no request of service '%s'", settings->workload,
                       input->service);
    if (input->model && input->model->kind != MODEL_VISION && prompts == 0)
        return err_set(err, ERR_INPUT,
                       "%s: requests of service '%s' have no prompt_tokens: how long they are says "
                       "what they cost",
                       settings->workload, input->service);
    input->prompt_tokens = (int32_t)mean_of(prompts, count);
    input->output_tokens = (int32_t)mean_of(outputs, count);
    return true;
}

static bool input_fill(struct arena *arena, const struct settings *settings,
                       struct problem_input *input, struct err *err)
{
    if (!service_find(arena, settings, input, err))
        return false;
    input->sequences = settings->sequences > 0 ? settings->sequences : 1;
    input->prompt_tokens = settings->prompt_tokens > 0 ? settings->prompt_tokens : DEFAULT_TOKENS;
    input->output_tokens = settings->output_tokens > 0 ? settings->output_tokens : DEFAULT_TOKENS;
    if (settings->workload && !workload_lengths(arena, settings, input, err))
        return false;
    if (input->model && input->model->kind == MODEL_VISION)
        input->prompt_tokens = input->model->max_context;
    if (!input->model || input->model->kind != MODEL_DECODER)
        input->output_tokens = 1;
    return true;
}

/* ---- what is told ---- */

struct told {
    const struct settings *settings;
    const struct problem *problem;
    const struct place_ask *ask;
    const struct place_answer *answer;
    struct problem_score score;
};

static const char *device_name(const struct told *told, int32_t device)
{
    return problem_input(told->problem)->cluster->devices[device].name;
}

/* "device 'a'", "messages of device 'a'", "messages of the source". */
static const char *limit_text(struct arena *arena, const struct told *told)
{
    const struct problem_score *score = &told->score;

    if (score->limit == told->answer->stage_count)
        return "messages of the source";
    return arena_printf(arena, "%sdevice '%s'", score->is_link ? "messages of " : "",
                        device_name(told, told->answer->stages[score->limit].device));
}

static void put_line(struct out *out, const char *label, const char *text)
{
    char first[LABEL_WIDTH + 1];

    (void)snprintf(first, sizeof first, "%-*s", LABEL_WIDTH, label);
    wrap_text(out, first, text);
}

static const char *request_text(struct arena *arena, const struct problem_input *input)
{
    if (!input->model)
        return "a lone request";
    if (input->model->kind != MODEL_DECODER)
        return arena_printf(arena, "a lone request of %d tokens", input->prompt_tokens);
    return arena_printf(arena, "a lone request of %d prompt and %d output tokens",
                        input->prompt_tokens, input->output_tokens);
}

static void tell_text(struct arena *arena, const struct told *told, struct out *out)
{
    const struct problem_input *input = problem_input(told->problem);
    const struct problem_score *score = &told->score;
    char latency[UNITS_TEXT_BYTES], period[UNITS_TEXT_BYTES], room[UNITS_TEXT_BYTES];

    put_line(out, "algorithm", told->settings->algorithm->name);
    put_line(out, "service",
             arena_printf(arena, "%s: %s %s", input->service, input->model ? "model" : "executable",
                          input->model ? input->model->name : input->executable));
    if (told->answer->why[0] != '\0')
        put_line(out, told->answer->is_feasible ? "remark" : "infeasible", told->answer->why);
    if (!told->answer->is_feasible)
        return;
    put_line(out, "stages", arena_printf(arena, "%d", (int)told->answer->stage_count));
    put_line(out, "latency",
             arena_printf(arena, "%s of %s", units_format_human(score->latency_ps, latency),
                          request_text(arena, input)));
    put_line(out, "period",
             arena_printf(arena, "%s, limited by %s", units_format_human(score->period_ps, period),
                          limit_text(arena, told)));
    put_line(out, "memory",
             score->room_bytes == INT64_MAX
                 ? "no memory_bytes of these devices is known"
                 : arena_printf(arena, "least room %s, on device '%s'",
                                units_format_bytes(score->room_bytes, room),
                                device_name(told, score->room_device)));
    put_line(out, "placement", told->settings->output);
}

static void tell_stages(const struct told *told, struct json_writer *json)
{
    const struct problem *problem = told->problem;

    json_begin_array(json, "stages");
    for (int32_t s = 0; s < told->answer->stage_count; s++) {
        const struct problem_stage *stage = &told->answer->stages[s];

        json_begin_object(json, NULL);
        json_put_text(json, "device", device_name(told, stage->device));
        json_put_int(json, "first_unit", stage->first);
        json_put_int(json, "last_unit", stage->last);
        json_put_seconds(json, "compute_s",
                         problem_units_ps(problem, stage->device, stage->first, stage->last));
        json_put_int(json, "bytes",
                     problem_bytes(problem, stage->device, stage->first, stage->last));
        json_end_object(json);
    }
    json_end_array(json);
}

static void tell_json(struct arena *arena, const struct told *told, struct out *out)
{
    const struct problem_input *input = problem_input(told->problem);
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_int(json, "seed", (int64_t)told->settings->seed);
    json_put_text(json, "algorithm", told->settings->algorithm->name);
    json_put_text(json, "objective", place_objective_names[told->settings->objective]);
    json_put_text(json, "service", input->service);
    json_put_text(json, input->model ? "model" : "executable",
                  input->model ? input->model->name : input->executable);
    json_put_bool(json, "feasible", told->answer->is_feasible);
    json_put_text(json, "remark", told->answer->why[0] != '\0' ? told->answer->why : NULL);
    if (told->answer->is_feasible) {
        json_put_seconds(json, "latency_s", told->score.latency_ps);
        json_put_seconds(json, "period_s", told->score.period_ps);
        json_put_text(json, "limit", limit_text(arena, told));
        if (told->score.room_bytes == INT64_MAX)
            json_put_null(json, "room_bytes");
        else
            json_put_int(json, "room_bytes", told->score.room_bytes);
        tell_stages(told, json);
    }
    json_end_object(json);
}

static bool tell(struct arena *arena, const struct told *told, struct err *err)
{
    bool does_share = strcmp(told->settings->output, "-") == 0; /* stdout has the placement */
    struct out *placement = NULL, *report = does_share ? NULL : out_open(arena, "-", err);
    struct out *outs[2];
    struct placement_row *rows;
    int count;

    if (told->answer->is_feasible) {
        placement = out_open(arena, told->settings->output, err);
        if (!placement) {
            out_abort(report);
            return false;
        }
        rows = place_rows(arena, told->ask, told->answer, &count);
        placement_write(placement, rows, count);
    }
    if (!placement && !report)
        fprintf(stderr, "orrery-sim place: infeasible: %s\n", told->answer->why);
    if (report && told->settings->is_json)
        tell_json(arena, told, report);
    else if (report)
        tell_text(arena, told, report);
    outs[0] = placement;
    outs[1] = report;
    return out_commit_all(outs, 2, err);
}

static void list_algorithms(struct out *out)
{
    for (int i = 0; i < place_algorithm_count; i++)
        out_printf(out, "%-12s %s\n", place_algorithms[i].name, place_algorithms[i].summary);
}

static bool check_output(struct arena *arena, const struct settings *settings,
                         const struct cost_set *costs, struct err *err)
{
    static const char *const cluster_files[] = { "devices.csv", "links.csv", NULL };
    static const char *const cost_files[] = { "kernels.csv", "interp.csv", "anchors.csv",
                                              "stages.csv", NULL };
    struct inputs inputs = { .arena = arena };

    if (!inputs_add_folder(&inputs, "cluster", settings->cluster, cluster_files, err) ||
        (settings->models && !inputs_add(&inputs, "models", settings->models, err)) ||
        (settings->workload && !inputs_add(&inputs, "workload", settings->workload, err)))
        return false;
    for (int i = 0; i < costs->count; i++)
        if (!inputs_add_folder(&inputs, "costs", cost_path(costs->tables[i]), cost_files, err))
            return false;
    return !inputs_has(&inputs, settings->output) ||
           err_set(err, ERR_USAGE, "%s is read by this run: an output would replace it",
                   settings->output);
}

static bool run(struct arena *arena, const struct settings *settings, int *exit_code,
                struct err *err)
{
    struct cost_set costs;
    struct problem_input input = { .costs = &costs };
    struct place_answer answer;
    struct place_ask ask = { .problem_count = 1,
                             .objective = settings->objective,
                             .seed = settings->seed };
    struct told told = { .settings = settings, .ask = &ask, .answer = &answer };

    if (settings->does_list) {
        struct out *out = out_open(arena, "-", err);

        if (!out)
            return false;
        list_algorithms(out);
        return out_commit(out, err);
    }
    input.cluster = cluster_load(arena, settings->cluster, err);
    if (!input.cluster ||
        !cost_set_load(arena, settings->costs, settings->cost_count, &costs, err) ||
        !input_fill(arena, settings, &input, err) || !check_output(arena, settings, &costs, err))
        return false;
    told.problem = problem_create(arena, &input, err);
    if (!told.problem)
        return false;
    ask.problems = &told.problem;
    answer = settings->algorithm->plan(arena, &ask);
    *exit_code = answer.is_feasible ? CLI_DONE : CLI_NO;
    if (answer.is_feasible)
        told.score = problem_score(told.problem, answer.stages, answer.stage_count);
    return tell(arena, &told, err);
}

int cmd_place(int argc, char **argv)
{
    static const struct argp argp = {
        .options = place_options,
        .parser = on_option,
        .doc = "Writes a placement: which device of a cluster gets which part of a service, by one "
               "of several planners, within the memory of the devices. What is predicted is summed "
               "from measured costs; `orrery-sim run` simulates it under a load.\v"
               "Exit status: 0 done; 1 it fits nowhere, and the report says why; 2 it could not be "
               "done.\n\n"
               "Examples:\n"
               "  orrery-sim place --list\n"
               "  orrery-sim place --model tinyllama-1.1b --cluster cluster --costs costs \\\n"
               "      --objective period -o placement.csv"
    };
    struct settings settings = { .algorithm = place_find("exact"), .seed = 1 };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    if (cli_parse(&argp, argc, argv, &settings, &exit_code) &&
        !run(arena, &settings, &exit_code, &err))
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
