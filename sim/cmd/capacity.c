/* capacity.c - orrery-sim capacity: the highest rate that a placement bears, or the fewest boards
 * that bear a rate. */
#include "sim/cmd/capacity.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/plan.h"
#include "sim/cmd/cmd.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_REQUESTS 1000
#define CALENDAR_S 4.5e6 /* half of what simulated time may be */
#define PPB INT64_C(1000000000)

enum {
    KEY_CLUSTER = 0x300,
    KEY_MODEL,
    KEY_MODELS,
    KEY_ATTAINMENT,
    KEY_QUANTILE,
    KEY_RESOLUTION,
    KEY_BOARDS,
    KEY_ALGORITHM,
    KEY_JSON
};

const char *const capacity_quantile_names[QUANTILE_COUNT] = {
    [QUANTILE_MEAN] = "mean", [QUANTILE_P50] = "p50", [QUANTILE_P90] = "p90",
    [QUANTILE_P95] = "p95",   [QUANTILE_P99] = "p99", [QUANTILE_P999] = "p999",
    [QUANTILE_MAX] = "max"
};

static const struct argp_option capacity_options[] = {
    { NULL, 0, NULL, 0, "What bears it:", 1 },
    { "placement", 'p', "FILE", 0, "What runs where (or --boards)", 1 },
    { "cluster", KEY_CLUSTER, "DIR", 0,
      "devices.csv and links.csv (required with --boards; without it the devices are those of the "
      "placement, all of the type of the only cost table)",
      1 },
    { "costs", 'c', "DIR", 0, "A cost table, or a folder of them, may be repeated (required)", 1 },
    { "models", KEY_MODELS, "FILE", 0, "Models beside the built-in catalogue", 1 },
    { NULL, 0, NULL, 0, "The fewest boards for a --rate:", 3 },
    { "boards", KEY_BOARDS, "HOW", 0,
      "Plan on 1, 2, 3, ... devices of --cluster until the rate is borne. kinds: on every "
      "combination of kinds of devices; prefix: on the first ones in file order",
      3 },
    { "algorithm", KEY_ALGORITHM, "NAME", 0, "The planner (default exact); see place --list", 3 },
    { "model", KEY_MODEL, "NAME", 0,
      "The model of the services that are not given as --service NAME=MODEL[:SHARE]", 3 },
    { NULL, 0, NULL, 0, "When it is borne:", 5 },
    { "attainment", KEY_ATTAINMENT, "RATIO", 0,
      "Share of all requests that must end ok and within their objectives (99%)", 5 },
    { "quantile", KEY_QUANTILE, "NAME=TIME", 0,
      "Besides, the mean, p50, p90, p95, p99, p999 or max of the latency of requests that end ok "
      "must be at most TIME: p99=2s",
      5 },
    { "resolution", KEY_RESOLUTION, "RATIO", 0,
      "The search ends when a rate that is not borne lies at most so far above (1%)", 5 },
    { NULL, 0, NULL, 0, "Output:", 6 },
    { "output-placement", 'o', "P.csv", 0, "With --boards: the placement that was found", 6 },
    { "json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", 6 },
    { 0 }
};

/* ---- the command line ---- */

static void set_quantile(struct argp_state *state, struct capacity_goal *goal, const char *text)
{
    const char *equals = strchr(text, '=');
    char name[8] = "";

    if (!equals || (size_t)(equals - text) >= sizeof name)
        cli_error(state, "--quantile is '%.60s': expected NAME=TIME, such as p99=2s", text);
    memcpy(name, text, (size_t)(equals - text));
    goal->quantile = (enum capacity_quantile)cli_choice(state, "--quantile", name,
                                                        capacity_quantile_names, QUANTILE_COUNT);
    goal->quantile_ps = cli_duration_positive_ps(state, "--quantile", equals + 1);
}

static void set_ratios(struct argp_state *state, struct capacity_settings *settings, int key,
                       const char *text)
{
    double ratio;

    if (key == KEY_RESOLUTION) {
        settings->resolution_ratio = cli_ratio(state, "--resolution", text);
        if (settings->resolution_ratio < 1e-6 || settings->resolution_ratio > 1)
            cli_error(state, "--resolution is '%s': expected 0.0001%% to 100%%", text);
        return;
    }
    ratio = cli_ratio(state, "--attainment", text);
    settings->goal.attainment_ppb = dmath_round(ratio * (double)PPB);
    if (settings->goal.attainment_ppb < 1 || settings->goal.attainment_ppb > PPB)
        cli_error(state, "--attainment is '%s': expected a share above 0, at most 100%%", text);
}

static error_t on_planner(int key, char *text, struct argp_state *state)
{
    static const char *const ways[] = { "kinds", "prefix" };
    struct capacity_settings *settings = state->input;

    switch (key) {
    case KEY_BOARDS:
        settings->boards =
            cli_choice(state, "--boards", text, ways, 2) == 0 ? BOARDS_KINDS : BOARDS_PREFIX;
        return 0;
    case KEY_ALGORITHM:
        settings->algorithm = planning_algorithm(state, text);
        return 0;
    case KEY_MODEL:
        settings->planning.model = text;
        return 0;
    case 'o':
        settings->output = text;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A rate is what is looked for, or what is given with --boards. */
static void check_load(const struct argp_state *state, const struct capacity_settings *settings)
{
    const struct load *load = &settings->load;
    bool has_boards = settings->boards != BOARDS_NONE;

    if (load->options.clients > 0)
        cli_error(state, "--clients: a closed loop has no rate of its own");
    if (load->texts[LOAD_DURATION])
        cli_error(state, "--duration: each rate is simulated with as many --requests");
    if (!has_boards && load->texts[LOAD_RATE])
        cli_error(state, "--rate is what is looked for: it goes with --boards alone");
    if (has_boards && !load->texts[LOAD_RATE])
        cli_error(state, "--rate is missing: what the boards have to bear");
    for (int i = 0; i < load->options.service_count && !has_boards; i++)
        if (load->ofs[i])
            cli_error(state, "--service NAME=MODEL is of --boards: the placement says what '%s' is",
                      load->options.services[i].name);
}

static void check_end(const struct argp_state *state, struct capacity_settings *settings)
{
    bool has_boards = settings->boards != BOARDS_NONE;

    if (!settings->placement == !has_boards)
        cli_error(state, "give either --placement or --boards");
    if (settings->planning.cost_count == 0)
        cli_error(state, "--costs is missing");
    if (has_boards && !settings->planning.cluster)
        cli_error(state, "--cluster is missing: the boards to choose from");
    if (!has_boards &&
        (settings->algorithm || settings->planning.has_objective || settings->planning.model ||
         settings->planning.limit_ps > 0 || settings->planning.simulations > 0 ||
         settings->planning.fault_count > 0 || settings->output))
        cli_error(state, "--algorithm, --objective, --model, -o and their like say what to place, "
                         "for --boards, which is missing");
    if (settings->is_json && settings->output && strcmp(settings->output, "-") == 0)
        cli_error(state, "--json and -o - both write to stdout: give -o a file");
    check_load(state, settings);
    serving_check_end(state, &settings->planning.serving);
    settings->planning.seed = settings->load.options.seed;
    settings->planning.serve.seed = settings->planning.seed;
    settings->planning.serve.slo_ps = settings->planning.metrics.slo_ps;
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct capacity_settings *settings = state->input;

    switch (key) {
    case 'p':
        settings->placement = text;
        return 0;
    case 'c':
        scenario_add_costs(state, settings->planning.costs, &settings->planning.cost_count, text);
        return 0;
    case KEY_CLUSTER:
        settings->planning.cluster = text;
        return 0;
    case KEY_MODELS:
        settings->planning.models = text;
        return 0;
    case KEY_ATTAINMENT:
    case KEY_RESOLUTION:
        set_ratios(state, settings, key, text);
        return 0;
    case KEY_QUANTILE:
        set_quantile(state, &settings->goal, text);
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &settings->load;
        state->child_inputs[2] = &settings->planning.serving;
        state->child_inputs[3] = &settings->planning;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s' is not an option", text);
        return 0;
    case ARGP_KEY_END:
        check_end(state, settings);
        return 0;
    default:
        return on_planner(key, text, state);
    }
}

/* ---- when a load is met ---- */

int64_t capacity_quantile_ps(enum capacity_quantile quantile, const struct judge_verdict *verdict)
{
    switch (quantile) {
    case QUANTILE_MEAN:
        return verdict->latency_mean_ps;
    case QUANTILE_P50:
        return verdict->latency_p50_ps;
    case QUANTILE_P90:
        return verdict->latency_p90_ps;
    case QUANTILE_P95:
        return verdict->latency_p95_ps;
    case QUANTILE_P99:
        return verdict->latency_p99_ps;
    case QUANTILE_P999:
        return verdict->latency_p999_ps;
    case QUANTILE_MAX:
    case QUANTILE_COUNT:
        break;
    }
    return verdict->latency_max_ps;
}

bool capacity_is_met(const struct capacity_goal *goal, const struct judge_verdict *verdict)
{
    struct wide good, needed;

    if (!verdict->is_feasible || verdict->total_count == 0)
        return false;
    good = wide_mul((uint64_t)verdict->good_count, (uint64_t)PPB);
    needed = wide_mul((uint64_t)verdict->total_count, (uint64_t)goal->attainment_ppb);
    return wide_compare(good, needed) >= 0 &&
           (goal->quantile_ps == 0 ||
            capacity_quantile_ps(goal->quantile, verdict) <= goal->quantile_ps);
}

bool capacity_check_goal(const struct capacity_settings *settings, bool has_slo, struct err *err)
{
    return has_slo || metrics_has_slo(&settings->planning.metrics) ||
           settings->goal.quantile_ps > 0 ||
           err_set(err, ERR_USAGE,
                   "nothing could be missed: give --slo, --slo-ttft, --slo-tpot or --quantile");
}

bool capacity_check_context(const struct capacity_settings *settings,
                            const struct workload *workload, const struct model *const *models,
                            struct err *err)
{
    const struct model *model = NULL;
    struct workload_request longest = { 0 };
    int64_t refused = 0, count = (int64_t)workload->count;
    struct wide borne, needed;

    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request request = workload_at(workload, i);
        const struct model *own = models[request.service];

        if (!own || admit_context_ok(own, request.prompt_tokens, request.output_tokens))
            continue;
        if (refused++ == 0 || request.prompt_tokens > longest.prompt_tokens) {
            model = own;
            longest = request;
        }
    }
    borne = wide_mul((uint64_t)(count - refused), (uint64_t)PPB);
    needed = wide_mul((uint64_t)count, (uint64_t)settings->goal.attainment_ppb);
    if (!model || wide_compare(borne, needed) >= 0)
        return true;
    return err_set(err, ERR_INPUT,
                   "no rate is borne: %" PRId64 " of %" PRId64
                   " requests are refused, such as one of %d prompt and %d output tokens: longer "
                   "than the context of model '%s', max_context %d",
                   refused, count, longest.prompt_tokens, longest.output_tokens, model->name,
                   model->max_context);
}

/* ---- the highest rate ---- */

struct trial { /* of a placement at any rate */
    struct arena *arena;
    const struct capacity_settings *settings;
    const struct placement *placement;
    struct judge *judge;
    struct cli_progress progress;
    int count;
};

static bool probe(void *arg, struct rate_probe *probe, struct err *err)
{
    struct trial *trial = arg;
    struct generate_options options = trial->settings->load.options;
    struct arena *arena = arena_create();
    struct workload *workload;
    char note[UNITS_TEXT_BYTES];

    options.rate_per_s = probe->rate_per_s;
    (void)snprintf(note, sizeof note, "%.4g/s", probe->rate_per_s);
    cli_progress_update(&trial->progress, 1 - 1 / (1 + trial->count++ / 10.0), note);
    workload = generate_workload(arena, &options, err);
    if (workload) {
        struct judge_verdict *verdict = &probe->verdict;

        *verdict =
            judge_workload(trial->judge, trial->placement->rows, trial->placement->count, workload);
        if (verdict->why)
            verdict->why = arena_strndup(trial->arena, verdict->why, strlen(verdict->why));
        if (verdict->busiest_name)
            verdict->busiest_name =
                arena_strndup(trial->arena, verdict->busiest_name, strlen(verdict->busiest_name));
        probe->is_met = capacity_is_met(&trial->settings->goal, verdict);
        if (verdict->is_feasible && verdict->window_ps > 0)
            probe->served_per_s =
                (double)verdict->ok_count / ((double)verdict->window_ps / (double)UNITS_PS_PER_S);
    }
    arena_destroy(arena);
    return workload != NULL;
}

/* The one service that is placed need not be named. */
static void name_service(struct arena *arena, struct load *load, const struct plan *plan)
{
    struct generate_options *options = &load->options;

    if (options->service_count > 0 || options->replay || plan->service_count != 1)
        return;
    options->services = arena_array(arena, 1, sizeof *options->services);
    options->services[0] = (struct generate_service){ plan->services[0].name, 1 };
    options->service_count = 1;
}

/* What is wrong with requests at any rate is said with its place, before the search. */
static bool check_requests(struct arena *arena, const struct capacity_settings *settings,
                           const struct plan *plan, struct err *err)
{
    struct generate_options options = settings->load.options;
    const struct model **models = arena_array(arena, (size_t)plan->service_count, sizeof *models);
    const struct model **by_workload;
    struct workload *workload;
    const int32_t *service_of;

    options.rate_per_s = CAPACITY_FLOOD_PER_S;
    workload = generate_workload(arena, &options, err);
    if (!workload || !plan_match_workload(arena, plan, workload, &service_of, err))
        return false;
    by_workload = arena_array(arena, (size_t)workload->service_count, sizeof *by_workload);
    for (int s = 0; s < workload->service_count; s++)
        by_workload[s] = service_of[s] < 0 ? NULL : plan->services[service_of[s]].model;
    for (int s = 0; s < plan->service_count; s++)
        models[s] = plan->services[s].model;
    return capacity_check_context(settings, workload, by_workload, err) &&
           capacity_check_goal(settings, workload->slos_ps, err) &&
           serving_check(&settings->planning.serving, models, plan->service_count,
                         workload->slos_ps, err);
}

static bool search_rate(struct arena *arena, struct capacity_settings *settings,
                        struct rate_answer *answer, struct err *err)
{
    const struct planning_options *options = &settings->planning;
    struct trial trial = { .arena = arena, .settings = settings };
    struct judge_input input = { .serve = options->serve,
                                 .slo_ps = options->metrics.slo_ps,
                                 .slo_ttft_ps = options->metrics.slo_ttft_ps,
                                 .slo_tpot_ps = options->metrics.slo_tpot_ps };
    struct rate_ask ask = { .probe = probe,
                            .arg = &trial,
                            .resolution_ratio = settings->resolution_ratio,
                            .flood_per_s = CAPACITY_FLOOD_PER_S };
    struct cost_set *costs = arena_alloc(arena, sizeof *costs);
    struct placement *placement;
    const struct plan *plan;
    bool is_done;

    input.costs = costs;
    input.catalogue = model_catalogue_load(arena, options->models, err);
    if (!input.catalogue || !cost_set_load(arena, options->costs, options->cost_count, costs, err))
        return false;
    if (options->cluster && !(input.cluster = cluster_load(arena, options->cluster, err)))
        return false;
    trial.placement = placement = placement_load(arena, settings->placement, err);
    if (!placement)
        return false;
    plan = plan_build(arena, placement, input.cluster, costs, input.catalogue, err);
    if (!plan)
        return false;
    input.cluster = plan->cluster;
    name_service(arena, &settings->load, plan);
    if (!check_requests(arena, settings, plan, err))
        return false;
    planning_warn(arena, costs, input.cluster, "capacity");
    ask.floor_per_s = (double)settings->load.options.max_requests / CALENDAR_S;
    trial.judge = judge_create(arena, &input);
    cli_progress_begin(&trial.progress, "rates");
    is_done = rate_search(arena, &ask, answer, err);
    cli_progress_end(&trial.progress);
    return is_done;
}

static bool run_rate(struct arena *arena, struct capacity_settings *settings, bool *is_found,
                     struct err *err)
{
    struct rate_answer answer;
    struct out *out;

    if (!search_rate(arena, settings, &answer, err))
        return false;
    *is_found = answer.outcome != RATE_NEVER;
    out = out_open(arena, "-", err);
    if (!out)
        return false;
    if (settings->is_json)
        capacity_tell_json(arena, settings, &answer, out);
    else
        capacity_tell_text(arena, settings, &answer, out);
    return out_commit(out, err);
}

static bool run(struct arena *arena, struct capacity_settings *settings, int *exit_code,
                struct err *err)
{
    struct generate_options *options = &settings->load.options;
    bool is_found = false;

    if (!load_finish(&settings->load, err))
        return false;
    if (options->max_requests == 0)
        options->max_requests =
            options->replay ? (int64_t)options->replay->count : DEFAULT_REQUESTS;
    if (!(settings->boards == BOARDS_NONE ? run_rate(arena, settings, &is_found, err)
                                          : capacity_boards_run(arena, settings, &is_found, err)))
        return false;
    *exit_code = is_found ? CLI_DONE : CLI_NO;
    return true;
}

int cmd_capacity(int argc, char **argv)
{
    static const struct argp_child children[] = {
        { &load_argp, 0, NULL, 0 },
        { &load_open_argp, 0, "", 2 },
        { &serving_argp, 0, "How requests are served, and which are good:", 4 },
        { &planner_argp, 0, NULL, 0 },
        { 0 }
    };
    static const struct argp argp = {
        .options = capacity_options,
        .parser = on_option,
        .children = children,
        .doc = "Finds the highest rate of requests that a placement bears within an objective, by "
               "bisection: the same random requests, closer together. Or, with --boards, the "
               "fewest devices of a cluster that bear a given rate.\v"
               "Requests come from an idle system, as many for each rate (--requests, 1000), "
               "poisson unless --process says otherwise. Exit status: 0 done; 1 no rate, or no "
               "number of boards, will do; 2 it could not be done.\n\n"
               "Examples:\n"
               "  orrery-sim capacity -p placement.csv -c costs --cluster cluster --slo 2s \\\n"
               "      --prompt uniform:8:64 --output uniform:4:16\n"
               "  orrery-sim capacity -p placement.csv -c costs --quantile p99=50ms\n"
               "  orrery-sim capacity --boards kinds --rate 3/s --service chat=gpt2 \\\n"
               "      --prompt constant:32 --output constant:32 --slo 5s -c costs \\\n"
               "      --cluster cluster -o placement.csv"
    };
    struct arena *arena = arena_create();
    struct capacity_settings settings = { .load = { .arena = arena, .takes_ofs = true },
                                          .goal = { .attainment_ppb = PPB / 100 * 99 },
                                          .resolution_ratio = 0.01 };
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    planning_options_begin(&settings.planning);
    if (cli_parse(&argp, argc, argv, &settings, &exit_code) &&
        !run(arena, &settings, &exit_code, &err))
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
