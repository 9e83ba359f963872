/* place.c - orrery-sim place: which device gets which part of a service, as a placement. */
#include "sim/place/place.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/placement.h"
#include "sim/cmd/cmd.h"
#include "sim/cmd/place_kafetzis.h"
#include "sim/cmd/place_tell.h"
#include "sim/report/inputs.h"
#include <stdio.h>
#include <string.h>

enum { KEY_ALGORITHM = 0x300, KEY_LIST, KEY_RULES, KEY_EXPLAIN, KEY_JSON };

struct settings {
    struct planning_options planning;
    const struct place_algorithm *algorithm; /* NULL: not given */
    const char *output;
    bool does_list, does_explain, is_json, is_kafetzis;
};

static const char *const rules_names[] = { "default", "kafetzis" };

static const struct argp_option place_options[] = {
    { "algorithm", KEY_ALGORITHM, "NAME", 0, "The planner (default exact); see --list", 3 },
    { "list", KEY_LIST, NULL, 0, "List the planners", 3 },
    { "rules", KEY_RULES, "NAME", 0,
      "default: measured costs; kafetzis: the formulas of Kafetzis' simulator, without --costs, "
      "for single, greedy, round-robin, resource-aware and exact-heads (its default)",
      3 },
    { NULL, 0, NULL, 0, "Output:", 5 },
    { "placement", 'o', "P.csv", 0, "The placement (required; - is stdout)", 5 },
    { "explain", KEY_EXPLAIN, NULL, 0,
      "Say which choices made it this placement: of edgeshard, galaxy, "
      "resource-aware, exact-heads, dynamic, infscale, alpaserve and orrery",
      5 },
    { "json", KEY_JSON, NULL, 0, "Print what is predicted as one JSON object", 5 },
    { 0 }
};

static void check_end(const struct argp_state *state, struct settings *settings)
{
    if (settings->does_list)
        return;
    planning_check_end(state, &settings->planning);
    /* Who says which requests are good wants good ones. */
    if (!settings->planning.has_objective && settings->planning.workload &&
        metrics_has_slo(&settings->planning.metrics))
        settings->planning.objective = PLACE_GOODPUT;
    if (!settings->output)
        cli_error(state, "-o is missing: the placement to write (- is stdout)");
    if (settings->is_json && strcmp(settings->output, "-") == 0)
        cli_error(state, "--json and -o - both write to stdout: give -o a file");
    if (settings->does_explain && strcmp(settings->output, "-") == 0)
        cli_error(state, "--explain and -o - both write to stdout: give -o a file");
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_ALGORITHM:
        settings->algorithm = planning_algorithm(state, text);
        return 0;
    case KEY_LIST:
        settings->does_list = true;
        return 0;
    case KEY_RULES:
        settings->is_kafetzis = cli_choice(state, "--rules", text, rules_names, 2) > 0;
        settings->planning.needs_no_costs = settings->is_kafetzis;
        return 0;
    case 'o':
        settings->output = text;
        return 0;
    case KEY_EXPLAIN:
        settings->does_explain = true;
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &settings->planning;
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

static bool tell(struct arena *arena, const struct settings *settings,
                 const struct place_told *told, struct err *err)
{
    const struct planned *planned = told->planned;
    bool does_share = strcmp(settings->output, "-") == 0; /* stdout has the placement */
    struct out *placement = NULL, *report = does_share ? NULL : out_open(arena, "-", err);
    struct out *outs[2];

    if (planned->answer.is_feasible) {
        placement = out_open(arena, settings->output, err);
        if (!placement) {
            out_abort(report);
            return false;
        }
        planned_write(planned, placement);
    }
    if (!placement && !report)
        fprintf(stderr, "orrery-sim place: infeasible: %s\n", planned->answer.why);
    if (report && settings->is_json)
        place_tell_json(told, report);
    else if (report)
        place_tell_text(told, report);
    outs[0] = placement;
    outs[1] = report;
    return out_commit_all(outs, 2, err);
}

static bool list_algorithms(struct arena *arena, struct err *err)
{
    struct out *out = out_open(arena, "-", err);

    if (!out)
        return false;
    for (int i = 0; i < place_algorithm_count; i++)
        out_printf(out, "%-14s %s\n", place_algorithms[i].name, place_algorithms[i].summary);
    return out_commit(out, err);
}

static bool check_output(const struct planning *planning, const char *output, struct err *err)
{
    struct inputs inputs = { .arena = planning->arena };

    return planning_inputs(planning, &inputs, err) && inputs_spare(&inputs, output, err);
}

static const struct place_algorithm *algorithm_of(const struct settings *settings,
                                                  const char *by_default)
{
    return settings->algorithm ? settings->algorithm : place_find(by_default);
}

static bool run(struct arena *arena, const struct settings *settings, int *exit_code,
                struct err *err)
{
    const struct place_algorithm *algorithm;
    struct planning planning;
    struct planned planned;
    struct place_told told = { .planning = &planning,
                               .planned = &planned,
                               .output = settings->output,
                               .does_explain = settings->does_explain };
    const char *refusal;

    if (settings->does_list)
        return list_algorithms(arena, err);
    if (settings->is_kafetzis)
        return place_kafetzis_run(
            arena,
            &(struct place_kafetzis){ &settings->planning,
                                      algorithm_of(settings, "exact-heads")->name, settings->output,
                                      settings->does_explain, settings->is_json },
            exit_code, err);
    if (!planning_load(arena, &settings->planning, &planning, err) ||
        !check_output(&planning, settings->output, err))
        return false;
    planning_warn_all(&planning, "place");
    algorithm = algorithm_of(settings, "exact");
    refusal = planning_refusal(&planning, algorithm);
    if (refusal)
        return err_set(err, ERR_USAGE, "--algorithm is '%s': %s", algorithm->name, refusal);
    planned = planning_ask(&planning, algorithm, settings->planning.objective, false, NULL);
    told.is_interrupted = planning_is_stopped(&planning);
    *exit_code = told.is_interrupted          ? CLI_INTERRUPTED
                 : planned.answer.is_feasible ? CLI_DONE
                                              : CLI_NO;
    if (told.is_interrupted)
        fprintf(stderr, "orrery-sim place: interrupted: %s\n",
                planned.answer.is_feasible ? "the best placement so far is written"
                                           : "no placement was found so far");
    return tell(arena, settings, &told, err);
}

int cmd_place(int argc, char **argv, const volatile sig_atomic_t *stop)
{
    static const struct argp_child children[] = { { &planning_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = place_options,
        .parser = on_option,
        .children = children,
        .doc = "Writes a placement: which device of a cluster gets which part of a service, by one "
               "of several planners, within the memory of the devices. What is predicted is summed "
               "from measured costs; `orrery-sim run` simulates it under a load.\v"
               "Exit status: 0 done; 1 it fits nowhere, and the report says why; 2 it could not be "
               "done; 130 Ctrl-C ended the search, and the best so far is written.\n\n"
               "Examples:\n"
               "  orrery-sim place --list\n"
               "  orrery-sim place --model tinyllama-1.1b --cluster cluster --costs costs \\\n"
               "      --objective period -o placement.csv"
    };
    struct settings settings = { .algorithm = NULL };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    planning_options_begin(&settings.planning);
    settings.planning.stop = stop;
    if (cli_parse(&argp, argc, argv, &settings, &exit_code) &&
        !run(arena, &settings, &exit_code, &err))
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
