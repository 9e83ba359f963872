/* capacity_boards.c - the fewest devices of a cluster that bear a rate.
 *
 * 1, 2, 3, ... devices are offered to a planner, and what it answers is simulated with the same
 * requests, until it bears them. With `kinds` all combinations of so many devices are tried that
 * differ in kinds (of one kind the first ones in file order: they are alike); with `prefix` the
 * first ones in file order alone. Numbers rise one by one: nothing is assumed of more boards being
 * better, nor of planners using all that they are offered. What is found is the fewest by this
 * planner: another placement may do with less. */
#include "sim/cmd/capacity.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "sim/cmd/place_tell.h"
#include "sim/report/inputs.h"
#include "sim/report/wrap.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LABEL_WIDTH 11
#define MOST_CANDIDATES 10000 /* of --boards kinds */

struct size { /* what so many boards came to */
    int32_t boards;
    int64_t tried, feasible;
    double best_ratio; /* most requests that were good; below 0: none was feasible */
};

struct found {
    bool is_any;
    int32_t used; /* devices of the placement */
    int row_count;
    struct placement_row *rows;
    struct judge_verdict load;
};

struct boards {
    struct arena *arena;
    const struct capacity_settings *settings;
    const struct place_algorithm *algorithm;
    struct planning planning; /* on the whole cluster */
    int32_t *counts;          /* by kind: devices that are offered now */
    struct size *sizes;       /* by number of boards - 1 */
    int32_t size_count;
    struct found found;
    struct cli_progress progress;
    int64_t candidates;
};

/* ---- one candidate ---- */

/* The first devices of each kind, in file order. */
static struct cluster *offered(struct arena *arena, const struct boards *boards)
{
    const struct cluster *whole = boards->planning.cluster;
    const struct problem *problem = boards->planning.problems[0];
    struct cluster *part = arena_alloc(arena, sizeof *part);
    size_t kinds = (size_t)problem_kind_count(problem);
    int32_t *taken = arena_array(arena, kinds, sizeof *taken);

    *part = *whole;
    part->device_count = 0;
    part->devices = arena_array(arena, (size_t)whole->device_count, sizeof *part->devices);
    for (int32_t d = 0; d < whole->device_count; d++) {
        int32_t kind = problem_kind_of(problem, d);

        if (taken[kind]++ < boards->counts[kind])
            part->devices[part->device_count++] = whole->devices[d];
    }
    cluster_index(arena, part);
    return part;
}

static int32_t devices_of(const struct placement_row *rows, int count)
{
    int32_t used = 0;

    for (int i = 0; i < count; i++) {
        int k = 0;

        while (k < i && strcmp(rows[k].device, rows[i].device) != 0)
            k++;
        used += k == i;
    }
    return used;
}

/* The better one: fewer devices in use, then as judges compare. */
static bool is_better(const struct found *found, int32_t used, const struct judge_verdict *load)
{
    if (!found->is_any || used != found->used)
        return !found->is_any || used < found->used;
    return judge_compare(load, &found->load) < 0;
}

static void keep(struct boards *boards, const struct planned *planned)
{
    struct found *found = &boards->found;
    int32_t used = devices_of(planned->rows, planned->row_count);
    size_t count = (size_t)planned->row_count;

    if (!is_better(found, used, &planned->load))
        return;
    *found = (struct found){ .is_any = true,
                             .used = used,
                             .row_count = planned->row_count,
                             .rows = arena_array(boards->arena, count, sizeof *found->rows),
                             .load = planned->load };
    memcpy(found->rows, planned->rows, count * sizeof *found->rows);
    found->load.why = "";
    found->load.busiest_name = NULL;
}

static bool try_offered(struct boards *boards, struct size *size, struct err *err)
{
    struct arena *arena = arena_create();
    struct planning planning = boards->planning;
    struct planned planned = { .over_bound_ratio = -1 };
    bool is_done;

    planning.arena = arena;
    size->tried++;
    is_done = planning_move(&planning, offered(arena, boards), err);
    if (is_done && !problem_is_hopeless(planning.problems, planning.problem_count))
        planned = planning_ask(&planning, boards->algorithm, boards->settings->planning.objective,
                               true, NULL);
    if (planned.answer.is_feasible && planned.has_load && planned.load.is_feasible) {
        double ratio = planned.load.total_count > 0
                           ? (double)planned.load.good_count / (double)planned.load.total_count
                           : 0;

        size->feasible++;
        size->best_ratio = ratio > size->best_ratio ? ratio : size->best_ratio;
        if (capacity_is_met(&boards->settings->goal, &planned.load))
            keep(boards, &planned);
    }
    arena_destroy(arena);
    return is_done;
}

/* ---- all candidates of a size ---- */

/* Every way to take so many more devices of this kind and those behind it. */
static bool try_kinds(struct boards *boards, int32_t kind, int32_t left, struct size *size,
                      struct err *err)
{
    const struct problem *problem = boards->planning.problems[0];
    int32_t most;

    if (kind == problem_kind_count(problem)) {
        if (left > 0)
            return true;
        cli_progress_update(
            &boards->progress,
            (double)(size->boards - 1) / (double)boards->planning.cluster->device_count, "");
        return try_offered(boards, size, err);
    }
    (void)problem_devices(problem, kind, &most);
    for (int32_t take = most < left ? most : left; take >= 0; take--) {
        boards->counts[kind] = take;
        if (!try_kinds(boards, kind + 1, left - take, size, err))
            return false;
    }
    boards->counts[kind] = 0;
    return true;
}

static bool try_prefix(struct boards *boards, struct size *size, struct err *err)
{
    const struct problem *problem = boards->planning.problems[0];

    memset(boards->counts, 0, (size_t)problem_kind_count(problem) * sizeof *boards->counts);
    for (int32_t d = 0; d < size->boards; d++)
        boards->counts[problem_kind_of(problem, d)]++;
    cli_progress_update(&boards->progress,
                        (double)(size->boards - 1) / (double)boards->planning.cluster->device_count,
                        "");
    return try_offered(boards, size, err);
}

/* 2^n of n boards that all differ. */
static bool check_kinds(const struct boards *boards, struct err *err)
{
    const struct problem *problem = boards->planning.problems[0];
    int64_t count = 1;

    if (boards->settings->boards != BOARDS_KINDS)
        return true;
    for (int32_t kind = 0; kind < problem_kind_count(problem) && count <= MOST_CANDIDATES; kind++) {
        int32_t devices;

        (void)problem_devices(problem, kind, &devices);
        count *= devices + 1;
    }
    return count <= MOST_CANDIDATES ||
           err_set(err, ERR_USAGE,
                   "--boards is 'kinds': %d devices of %d kinds can be combined in more than %d "
                   "ways; give --boards prefix",
                   (int)boards->planning.cluster->device_count, (int)problem_kind_count(problem),
                   MOST_CANDIDATES);
}

static bool search(struct boards *boards, struct err *err)
{
    int32_t most = boards->planning.cluster->device_count;
    bool is_done = true;

    boards->sizes = arena_array(boards->arena, (size_t)most, sizeof *boards->sizes);
    boards->counts =
        arena_array(boards->arena, (size_t)problem_kind_count(boards->planning.problems[0]),
                    sizeof *boards->counts);
    cli_progress_begin(&boards->progress, "boards");
    for (int32_t n = 1; n <= most && is_done && !boards->found.is_any; n++) {
        struct size *size = &boards->sizes[boards->size_count++];

        *size = (struct size){ .boards = n, .best_ratio = -1 };
        is_done = boards->settings->boards == BOARDS_KINDS ? try_kinds(boards, 0, n, size, err)
                                                           : try_prefix(boards, size, err);
    }
    cli_progress_end(&boards->progress);
    return is_done;
}

/* ---- output ---- */

static void put_line(struct out *out, const char *label, const char *text)
{
    wrap_label(out, label, LABEL_WIDTH, text);
}

static bool is_used(const struct found *found, const char *device)
{
    for (int i = 0; i < found->row_count; i++)
        if (strcmp(found->rows[i].device, device) == 0)
            return true;
    return false;
}

static const char *used_text(const struct boards *boards)
{
    const struct cluster *cluster = boards->planning.cluster;
    const char *text = "";

    for (int32_t d = 0; d < cluster->device_count; d++)
        if (is_used(&boards->found, cluster->devices[d].name))
            text = arena_printf(boards->arena, "%s%s%s", text, text[0] ? " " : "",
                                cluster->devices[d].name);
    return text;
}

static void tell_text(const struct boards *boards, struct out *out)
{
    const struct capacity_settings *settings = boards->settings;
    struct arena *arena = boards->arena;
    int32_t all = boards->planning.cluster->device_count;

    if (boards->found.is_any) {
        put_line(out, "boards",
                 arena_printf(arena, "%d of %d: %s", (int)boards->found.used, (int)all,
                              used_text(boards)));
        put_line(out, "", place_load_text(arena, &boards->found.load));
        if (boards->found.load.extrapolated_costs > 0)
            put_line(out, "warning",
                     place_extrapolated_text(arena, boards->found.load.extrapolated_costs));
    } else
        put_line(out, "boards",
                 arena_printf(arena, "none: not even %d bear %.4g/s with this planner", (int)all,
                              settings->load.options.rate_per_s));
    put_line(out, "rate", arena_printf(arena, "%.4g/s", settings->load.options.rate_per_s));
    put_line(out, "goal", capacity_goal_text(arena, settings));
    put_line(out, "load", capacity_load_text(arena, settings));
    put_line(out, "planner",
             arena_printf(arena, "%s, by %s", boards->algorithm->name,
                          place_objective_names[settings->planning.objective]));
    if (boards->found.is_any && settings->output)
        put_line(out, "placement", settings->output);
    out_printf(out, "\n  %6s %8s %6s %9s\n", "boards", "tried", "fit", "best good");
    for (int32_t i = 0; i < boards->size_count; i++) {
        const struct size *size = &boards->sizes[i];

        out_printf(out, "  %6d %8" PRId64 " %6" PRId64, (int)size->boards, size->tried,
                   size->feasible);
        if (size->best_ratio < 0)
            out_printf(out, " %9s\n", "-");
        else
            out_printf(out, " %7.2f %%\n", 100 * size->best_ratio);
    }
}

static void tell_json(const struct boards *boards, struct out *out)
{
    const struct capacity_settings *settings = boards->settings;
    const struct cluster *cluster = boards->planning.cluster;
    struct json_writer *json = json_writer_create(boards->arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_int(json, "seed", (int64_t)settings->load.options.seed);
    json_put_text(json, "algorithm", boards->algorithm->name);
    json_put_text(json, "objective", place_objective_names[settings->planning.objective]);
    json_put_text(json, "way", settings->boards == BOARDS_KINDS ? "kinds" : "prefix");
    json_put_double(json, "rate_per_s", settings->load.options.rate_per_s);
    if (boards->found.is_any)
        json_put_int(json, "boards", boards->found.used);
    else
        json_put_null(json, "boards");
    json_put_int(json, "boards_in_cluster", cluster->device_count);
    json_begin_array(json, "devices");
    for (int32_t d = 0; d < cluster->device_count; d++)
        if (is_used(&boards->found, cluster->devices[d].name))
            json_put_text(json, NULL, cluster->devices[d].name);
    json_end_array(json);
    capacity_put_goal(json, settings);
    if (boards->found.is_any) {
        json_begin_object(json, "result");
        place_put_load(json, &boards->found.load);
        json_end_object(json);
    }
    json_begin_array(json, "sizes");
    for (int32_t i = 0; i < boards->size_count; i++) {
        const struct size *size = &boards->sizes[i];

        json_begin_object(json, NULL);
        json_put_int(json, "boards", size->boards);
        json_put_int(json, "tried", size->tried);
        json_put_int(json, "feasible", size->feasible);
        if (size->best_ratio < 0)
            json_put_null(json, "best_good_ratio");
        else
            json_put_double(json, "best_good_ratio", size->best_ratio);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static bool write_all(const struct boards *boards, struct err *err)
{
    const struct capacity_settings *settings = boards->settings;
    struct out *outs[2] = { NULL, NULL };
    bool is_shared = settings->output && strcmp(settings->output, "-") == 0;

    if (settings->output && boards->found.is_any) {
        outs[0] = out_open(boards->arena, settings->output, err);
        if (!outs[0])
            return false;
        placement_write(outs[0], boards->found.rows, boards->found.row_count);
    }
    if (!is_shared || !boards->found.is_any) {
        outs[1] = out_open(boards->arena, "-", err);
        if (!outs[1]) {
            out_abort(outs[0]);
            return false;
        }
        if (settings->is_json)
            tell_json(boards, outs[1]);
        else
            tell_text(boards, outs[1]);
    }
    return out_commit_all(outs, 2, err);
}

/* ---- begin ---- */

/* Services of the load, as a planner is told of them. */
static void name_services(struct arena *arena, struct capacity_settings *settings)
{
    const struct generate_options *load = &settings->load.options;
    struct planning_options *options = &settings->planning;

    for (int i = 0; i < load->service_count && i < PLANNING_MAX_SERVICES; i++) {
        const char *of = settings->load.ofs[i] ? settings->load.ofs[i] : options->model;
        const char *name = load->services[i].name;

        options->services[options->service_count++] =
            of ? arena_printf(arena, "%s=%s", name, of) : name;
    }
    if (load->service_count > 0)
        options->model = NULL;
}

static bool check_output(const struct capacity_settings *settings, const struct planning *planning,
                         struct err *err)
{
    struct inputs inputs = { .arena = planning->arena };

    return !settings->output ||
           (planning_inputs(planning, &inputs, err) && load_inputs(&settings->load, &inputs, err) &&
            inputs_spare(&inputs, settings->output, err));
}

static bool check_context(struct arena *arena, const struct capacity_settings *settings,
                          const struct planning *planning, struct err *err)
{
    const struct workload *made = settings->planning.made;
    size_t count = (size_t)made->service_count;
    const struct model **models = arena_array(arena, count, sizeof *models);

    for (size_t s = 0; s < count; s++)
        for (int p = 0; p < planning->problem_count; p++)
            if (strcmp(problem_input(planning->problems[p])->service, made->services[s]) == 0)
                models[s] = problem_input(planning->problems[p])->model;
    return capacity_check_context(settings, made, models, err);
}

bool capacity_boards_run(struct arena *arena, struct capacity_settings *settings, bool *is_found,
                         struct err *err)
{
    struct boards boards = { .arena = arena,
                             .settings = settings,
                             .algorithm =
                                 settings->algorithm ? settings->algorithm : place_find("exact") };
    const char *refusal;

    if (!settings->planning.has_objective)
        settings->planning.objective = PLACE_PERIOD;
    settings->planning.made = generate_workload(arena, &settings->load.options, err);
    if (!settings->planning.made)
        return false;
    name_services(arena, settings);
    if (!planning_load(arena, &settings->planning, &boards.planning, err) ||
        !check_output(settings, &boards.planning, err))
        return false;
    refusal = planning_refusal(&boards.planning, boards.algorithm);
    if (refusal)
        return err_set(err, ERR_USAGE, "--algorithm is '%s': %s", boards.algorithm->name, refusal);
    if (!check_context(arena, settings, &boards.planning, err) ||
        !capacity_check_goal(settings, settings->planning.made->slos_ps, err) ||
        !check_kinds(&boards, err) || !search(&boards, err) || !write_all(&boards, err))
        return false;
    planning_warn_all(&boards.planning, "capacity");
    *is_found = boards.found.is_any;
    return true;
}
