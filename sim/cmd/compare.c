/* compare.c - orrery-sim compare: what all planners make of one problem, side by side. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "sim/cmd/cmd.h"
#include "sim/cmd/compare_tell.h"
#include "sim/report/inputs.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_PLANNERS 64
#define MOST_FILES 64
#define MOST_NAME 64

enum { KEY_ALGORITHM = 0x300, KEY_PLACEMENTS_OUT, KEY_JSON };

struct settings {
    struct planning_options planning;
    bool has_algorithms; /* else all */
    int algorithm_count, file_count;
    const struct place_algorithm *algorithms[MOST_PLANNERS];
    const char *files[MOST_FILES];
    const char *csv, *folder;
    bool is_json;
};

static const struct argp_option compare_options[] = {
    { "algorithm", KEY_ALGORITHM, "A,B,...", 0,
      "These planners; none: only the placements given (default: all)", 3 },
    { "placement", 'p', "P.csv", 0, "A placement that exists, beside them; may be repeated", 3 },
    { NULL, 0, NULL, 0, "Output:", 5 },
    { "csv", 'o', "FILE", 0, "The table as CSV (- is stdout)", 5 },
    { "placements-out", KEY_PLACEMENTS_OUT, "DIR", 0,
      "Write the placement of each row as DIR/PLANNER.csv; DIR/PLANNER-OBJECTIVE.csv where "
      "objectives lead to different ones",
      5 },
    { "json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", 5 },
    { 0 }
};

static void add_algorithms(struct argp_state *state, struct settings *settings, const char *text)
{
    settings->has_algorithms = true;
    if (strcmp(text, "none") == 0)
        return;
    for (const char *name = text;; name++) {
        char one[MOST_NAME];
        size_t length = strcspn(name, ",");
        const struct place_algorithm *algorithm;

        (void)snprintf(one, sizeof one, "%.*s", (int)(length < MOST_NAME ? length : MOST_NAME),
                       name);
        algorithm = planning_algorithm(state, one);
        for (int i = 0; i < settings->algorithm_count; i++)
            if (settings->algorithms[i] == algorithm)
                cli_error(state, "--algorithm: '%s' is given twice", one);
        settings->algorithms[settings->algorithm_count++] = algorithm;
        name += length;
        if (*name == '\0')
            return;
    }
}

static void check_end(const struct argp_state *state, struct settings *settings)
{
    planning_check_end(state, &settings->planning);
    if (settings->has_algorithms && settings->algorithm_count == 0 && settings->file_count == 0)
        cli_error(state, "--algorithm none leaves nothing to compare: give --placement");
    if (settings->is_json && settings->csv && strcmp(settings->csv, "-") == 0)
        cli_error(state, "--json and --csv - both write to stdout: give --csv a file");
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case KEY_ALGORITHM:
        add_algorithms(state, settings, text);
        return 0;
    case 'p':
        if (settings->file_count == MOST_FILES)
            cli_error(state, "--placement: more than %d given", MOST_FILES);
        settings->files[settings->file_count++] = text;
        return 0;
    case 'o':
        settings->csv = text;
        return 0;
    case KEY_PLACEMENTS_OUT:
        settings->folder = text;
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

/* ---- rows ---- */

static bool is_same_row(const struct placement_row *a, const struct placement_row *b)
{
    return strcmp(a->service, b->service) == 0 && strcmp(a->device, b->device) == 0 &&
           a->replica == b->replica && a->stage == b->stage && a->layer_first == b->layer_first &&
           a->layer_last == b->layer_last && a->blocks == b->blocks &&
           a->part_first == b->part_first && a->part_last == b->part_last &&
           a->part_of == b->part_of && a->phase == b->phase && a->epoch == b->epoch &&
           a->from_ps == b->from_ps && a->copy == b->copy && a->max_batch == b->max_batch &&
           a->queue_depth == b->queue_depth && a->wire_bits == b->wire_bits;
}

/* The same placement, or as infeasible for the same reason. */
static bool is_same(const struct planned *a, const struct planned *b)
{
    if (a->answer.is_feasible != b->answer.is_feasible ||
        strcmp(a->answer.why, b->answer.why) != 0 || a->row_count != b->row_count)
        return false;
    for (int i = 0; i < a->row_count; i++)
        if (!is_same_row(&a->rows[i], &b->rows[i]))
            return false;
    return true;
}

/* Of one planner by every objective; rows with one placement become one. */
static void add_planner(struct compare_table *table, const struct place_algorithm *algorithm,
                        struct place_answer *const *answers, bool knows_answers)
{
    struct compare_row *rows = &table->rows[table->row_count];
    int count = 0;

    rows[0] = (struct compare_row){ .name = algorithm->name,
                                    .refusal = planning_refusal(table->planning, algorithm) };
    if (!rows[0].refusal && planning_is_stopped(table->planning))
        rows[0].refusal = "not asked: Ctrl-C ended the comparison before";
    if (rows[0].refusal) {
        compare_row_fill(table->planning, &rows[0]);
        table->row_count++;
        return;
    }
    for (int o = 0; o < PLACE_OBJECTIVE_COUNT; o++) {
        struct planned planned;
        int same = 0;

        if (!(table->objectives & 1u << o))
            continue;
        planned = planning_ask(table->planning, algorithm, (enum place_objective)o, true,
                               knows_answers ? answers[o] : NULL);
        answers[o][algorithm - place_algorithms] = planned.answer;
        while (same < count && !is_same(&rows[same].planned, &planned))
            same++;
        if (same == count) {
            rows[count++] = (struct compare_row){ .name = algorithm->name, .planned = planned };
            compare_row_fill(table->planning, &rows[same]);
        }
        rows[same].objectives |= 1u << o;
        if (planned.over_bound_ratio >= 0) {
            rows[same].bounds_ps[o] = planned.bound_ps;
            rows[same].over_bound_ratio[o] = planned.over_bound_ratio;
        }
    }
    table->row_count += count;
}

/* Another model or executable under the name of a service is nothing to set beside it. */
static bool check_same_service(const struct placement *placement, const struct problem_input *input,
                               struct err *err)
{
    const char *wanted = input->model ? input->model->name : input->executable;

    for (int i = 0; i < placement->count; i++) {
        const struct placement_row *row = &placement->rows[i];
        bool is_model = row->model[0] != '\0';

        if (strcmp(row->service, input->service) == 0 &&
            (is_model != (input->model != NULL) ||
             strcmp(is_model ? row->model : row->executable, wanted) != 0))
            return placement_bad(placement, row, is_model ? PLACEMENT_MODEL : PLACEMENT_EXECUTABLE,
                                 err, "service '%s' is the %s '%s' here", input->service,
                                 input->model ? "model" : "executable", wanted);
    }
    return true;
}

/* A placement that cannot stand on the cluster is bad input, with its place. */
static bool add_file(struct compare_table *table, const char *path, struct err *err)
{
    const struct planning *planning = table->planning;
    struct placement *placement = placement_load(planning->arena, path, err);
    const char *slash = strrchr(path, '/');
    struct compare_row *row = &table->rows[table->row_count];
    const struct plan *plan;

    if (!placement || !planning_check_reached(planning, placement, err))
        return false;
    plan = plan_build(planning->arena, placement, planning->cluster, &planning->costs,
                      planning->catalogue, err);
    if (!plan)
        return false;
    for (int s = 0; s < planning->problem_count; s++) {
        const struct problem_input *input = problem_input(planning->problems[s]);

        if (plan_find_service(plan, input->service) < 0)
            return err_set(err, ERR_INPUT, "%s: service '%s' is not placed", path, input->service);
        if (!check_same_service(placement, input, err))
            return false;
    }
    *row = (struct compare_row){ .name = slash ? slash + 1 : path,
                                 .planned = planning_rows(planning, placement) };
    compare_row_fill(planning, row);
    table->row_count++;
    return true;
}

static bool fill(struct arena *arena, const struct settings *settings, struct compare_table *table,
                 struct err *err)
{
    struct place_answer *answers[PLACE_OBJECTIVE_COUNT];
    struct cli_progress progress;
    int planners = settings->algorithm_count;
    bool is_all = !settings->has_algorithms;

    if (is_all)
        planners = place_algorithm_count;
    for (int o = 0; o < PLACE_OBJECTIVE_COUNT; o++)
        answers[o] = arena_array(arena, (size_t)place_algorithm_count, sizeof *answers[o]);
    table->rows =
        arena_array(arena, (size_t)(PLACE_OBJECTIVE_COUNT * planners + settings->file_count),
                    sizeof *table->rows);
    for (int i = 0; i < settings->file_count; i++)
        if (!add_file(table, settings->files[i], err))
            return false;
    cli_progress_begin(&progress, "planners");
    for (int i = 0; i < planners; i++) {
        const struct place_algorithm *algorithm =
            is_all ? &place_algorithms[i] : settings->algorithms[i];

        cli_progress_update(&progress, (double)i / (double)planners, algorithm->name);
        /* All others have answered: who asks them need not do so again. With --faults not all were
         * asked. */
        add_planner(table, algorithm, answers,
                    is_all && i == planners - 1 && table->planning->options->fault_count == 0);
    }
    cli_progress_end(&progress);
    return true;
}

/* ---- output ---- */

static const char *placement_path(const struct settings *settings,
                                  const struct compare_table *table, int index)
{
    const struct compare_row *row = &table->rows[index];
    bool is_alone = true;
    const char *objective = "";

    for (int i = 0; i < table->row_count; i++)
        is_alone = is_alone && (i == index || strcmp(table->rows[i].name, row->name) != 0);
    for (int o = PLACE_OBJECTIVE_COUNT - 1; o >= 0; o--)
        if (row->objectives & 1u << o)
            objective = place_objective_names[o];
    return arena_printf(table->planning->arena, "%s/%s%s%s.csv", settings->folder, row->name,
                        is_alone ? "" : "-", is_alone ? "" : objective);
}

static bool is_written(const struct compare_row *row)
{
    return row->planned.algorithm && row->planned.answer.is_feasible;
}

/* Before the first is written: none takes the place of what was read. */
static bool spare_placements(const struct settings *settings, const struct compare_table *table,
                             const struct inputs *inputs, struct err *err)
{
    for (int i = 0; i < table->row_count; i++)
        if (is_written(&table->rows[i]) &&
            !inputs_spare(inputs, placement_path(settings, table, i), err))
            return false;
    return true;
}

/* What an earlier comparison left under a name that this one gives to none. */
static void warn_of_stale(const struct settings *settings, const struct compare_table *table)
{
    struct arena *arena = table->planning->arena;

    for (int a = 0; a < place_algorithm_count; a++)
        for (int o = -1; o < PLACE_OBJECTIVE_COUNT; o++) {
            const char *path =
                arena_printf(arena, "%s/%s%s%s.csv", settings->folder, place_algorithms[a].name,
                             o < 0 ? "" : "-", o < 0 ? "" : place_objective_names[o]);
            bool is_own = false;

            for (int i = 0; i < table->row_count && !is_own; i++)
                is_own = is_written(&table->rows[i]) &&
                         strcmp(placement_path(settings, table, i), path) == 0;
            if (!is_own && access(path, F_OK) == 0)
                fprintf(stderr, "orrery-sim compare: warning: %s is not of this comparison\n",
                        path);
        }
}

static bool write_all(struct arena *arena, const struct settings *settings,
                      const struct compare_table *table, const struct inputs *inputs,
                      struct err *err)
{
    struct out **outs = arena_array(arena, (size_t)table->row_count + 2, sizeof(*outs));
    bool has_stdout = settings->csv && strcmp(settings->csv, "-") == 0;
    int count = 0;

    if (settings->folder && (!spare_placements(settings, table, inputs, err) ||
                             !out_make_folder(settings->folder, err)))
        return false;
    for (int i = 0; i < table->row_count && settings->folder; i++) {
        if (!is_written(&table->rows[i]))
            continue;
        outs[count] = out_open(arena, placement_path(settings, table, i), err);
        if (!outs[count])
            return false;
        planned_write(&table->rows[i].planned, outs[count++]);
    }
    if (settings->csv) {
        outs[count] = out_open(arena, settings->csv, err);
        if (!outs[count])
            return false;
        compare_tell_csv(table, outs[count++]);
    }
    if (!has_stdout) {
        outs[count] = out_open(arena, "-", err);
        if (!outs[count])
            return false;
        if (settings->is_json)
            compare_tell_json(table, outs[count++]);
        else
            compare_tell_text(table, outs[count++]);
    }
    if (settings->folder)
        warn_of_stale(settings, table);
    return out_commit_all(outs, count, err);
}

/* A path without what says nothing: "./" and slashes that follow another. */
static void path_strip(const char *path, char *text, size_t room)
{
    size_t used = 0;

    for (const char *at = path; *at && used + 1 < room; at++) {
        bool is_first = at == path || at[-1] == '/';

        if (is_first && at > path && *at == '/')
            continue;
        if (is_first && at[0] == '.' && (at[1] == '/' || at[1] == '\0')) {
            at += at[1] == '/'; /* goes with it */
            continue;
        }
        text[used++] = *at;
    }
    while (used > 1 && text[used - 1] == '/')
        used--;
    text[used] = '\0';
}

/* The same folder, or what will be it. */
static bool is_same_folder(const char *a, const char *b)
{
    char one[PATH_MAX], two[PATH_MAX];
    struct stat left, right;

    if (stat(a, &left) == 0 && stat(b, &right) == 0)
        return left.st_dev == right.st_dev && left.st_ino == right.st_ino;
    path_strip(a, one, sizeof one);
    path_strip(b, two, sizeof two);
    return strcmp(one, two) == 0;
}

/* The table has no name that a placement of the same folder has, or would have with others. */
static bool check_table(struct arena *arena, const struct settings *settings, struct err *err)
{
    const char *slash, *name;

    if (!settings->csv || !settings->folder || strcmp(settings->csv, "-") == 0)
        return true;
    slash = strrchr(settings->csv, '/');
    name = slash ? slash + 1 : settings->csv;
    for (int a = 0; a < place_algorithm_count; a++)
        for (int o = -1; o < PLACE_OBJECTIVE_COUNT; o++)
            if (strcmp(name,
                       arena_printf(arena, "%s%s%s.csv", place_algorithms[a].name, o < 0 ? "" : "-",
                                    o < 0 ? "" : place_objective_names[o])) == 0 &&
                is_same_folder(
                    slash ? arena_strndup(arena, settings->csv, (size_t)(slash - settings->csv) + 1)
                          : ".",
                    settings->folder))
                return err_set(err, ERR_USAGE,
                               "--csv is '%s': placements of '%s' have that name in the folder of "
                               "--placements-out",
                               settings->csv, place_algorithms[a].name);
    return true;
}

static bool check_outputs(const struct settings *settings, const struct planning *planning,
                          struct inputs *inputs, struct err *err)
{
    if (!check_table(planning->arena, settings, err) || !planning_inputs(planning, inputs, err))
        return false;
    for (int i = 0; i < settings->file_count; i++)
        if (!inputs_add(inputs, "placement", settings->files[i], err))
            return false;
    return !settings->csv || inputs_spare(inputs, settings->csv, err);
}

static unsigned objectives_of(const struct settings *settings)
{
    if (settings->planning.has_objective)
        return 1u << settings->planning.objective;
    return 1u << PLACE_LATENCY | 1u << PLACE_PERIOD |
           (settings->planning.workload ? 1u << PLACE_GOODPUT : 0);
}

static bool run(struct arena *arena, const struct settings *settings, int *exit_code,
                struct err *err)
{
    struct planning planning;
    struct compare_table table = { .planning = &planning, .objectives = objectives_of(settings) };
    struct inputs inputs = { .arena = arena };
    bool is_any = false;

    if (!planning_load(arena, &settings->planning, &planning, err) ||
        !check_outputs(settings, &planning, &inputs, err) || !fill(arena, settings, &table, err))
        return false;
    table.is_interrupted = planning_is_stopped(&planning);
    if (!write_all(arena, settings, &table, &inputs, err))
        return false;
    planning_warn_all(&planning, "compare");
    for (int i = 0; i < table.row_count; i++)
        is_any = is_any || (!table.rows[i].refusal && table.rows[i].planned.answer.is_feasible);
    *exit_code = is_any ? CLI_DONE : CLI_NO;
    if (table.is_interrupted) {
        *exit_code = CLI_INTERRUPTED;
        fprintf(stderr, "orrery-sim compare: interrupted: the best so far of the planner that was "
                        "at work, and nothing of those behind it\n");
    }
    return true;
}

int cmd_compare(int argc, char **argv, const volatile sig_atomic_t *stop)
{
    static const struct argp_child children[] = { { &planning_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = compare_options,
        .parser = on_option,
        .children = children,
        .doc = "Asks all planners for a placement, by all objectives, and sets what is predicted "
               "side by side: latency and period of lone requests, goodput of the workload, memory "
               "and energy, all by the same simulator.\v"
               "Without --objective planners are asked by latency and period, and with a "
               "--workload by goodput as well. Exit status: 0 done; 1 none of the placements "
               "fits; 2 it could not be done; 130 Ctrl-C ended it, and what was found so far is "
               "told.\n\n"
               "Examples:\n"
               "  orrery-sim compare --model tinyllama-1.1b --cluster cluster --costs costs\n"
               "  orrery-sim compare --service chat=gpt2 --cluster cluster --costs costs \\\n"
               "      --workload workload.csv --slo 2s --algorithm single,exact,orrery \\\n"
               "      --placement mine.csv --csv table.csv"
    };
    struct settings settings = { .file_count = 0 };
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
