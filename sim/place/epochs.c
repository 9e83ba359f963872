/* epochs.c - static: placed once, for what is known at the beginning; dynamic: placed anew when
 * devices or links have changed, and as prompts, outputs and with them KV caches grow.
 *
 * After Kafetzis et al. (arXiv 2505.02533), who re-decide every interval and weigh inference
 * against migration. In their published program (DistributedTransformerInferenceSimulator, commit
 * 252528f) Static and Dynamic do the same, thresholds are read by nobody, and a migration costs
 * nothing. Here it costs what its bytes take on the links, and is made only if the simulation of
 * the workload up to the next event, that cost included, is better with it. */
#include "sim/place/place.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "sim/judge/judge.h"
#include "sim/place/heads_measured.h"
#include "sim/place/heads_rows.h"
#include "sim/place/migration.h"
#include "sim/place/moment.h"
#include "sim/place/room.h"
#include <stdlib.h>
#include <string.h>

#define INTERVALS 8       /* of a workload with arrivals, beside events */
#define MOST_INSTANTS 128 /* at which something is decided */
#define MOST_OPTIONS 16
#define LEAD_REQUESTS 4 /* that end before a device is lost, when it is left so early */

struct option { /* one epoch */
    struct placement_row *rows;
    int count;
    const struct heads_plan *heads; /* NULL: of a pipeline */
};

struct options {
    int count;
    struct option list[MOST_OPTIONS];
};

/* ---- what there is to choose from ---- */

static void option_add(struct options *options, struct option option)
{
    if (options->count < MOST_OPTIONS)
        options->list[options->count++] = option;
}

static void answer_add(struct arena *arena, struct options *options, const struct place_ask *ask,
                       struct place_answer (*plan)(struct arena *arena,
                                                   const struct place_ask *ask))
{
    struct place_answer answer = plan(arena, ask);
    struct option option = { 0 };

    if (!answer.is_feasible)
        return;
    option.rows = place_rows(arena, ask, &answer, &option.count);
    option_add(options, option);
}

/* By heads, where they were if they can be; one device; pipelines. */
static void options_fill(struct arena *arena, const struct place_ask *ask,
                         const struct problem *problem, const struct heads_plan *before,
                         struct options *options)
{
    const struct problem_input *input = problem_input(problem);
    struct place_ask here = { .problems = &problem,
                              .problem_count = 1,
                              .objective = PLACE_LATENCY,
                              .seed = ask->seed,
                              .is_over = ask->is_over,
                              .is_over_arg = ask->is_over_arg };
    struct heads_found found = heads_find(arena, heads_measure(arena, problem), HEADS_GREEDY,
                                          before, ask->is_over, ask->is_over_arg);
    struct option option = { .heads = found.plan };

    if (found.is_feasible) {
        option.rows = heads_rows(arena, input->cluster, input->model, input->service, found.plan,
                                 &option.count);
        option_add(options, option);
    }
    answer_add(arena, options, &here, place_single);
    answer_add(arena, options, &here, place_exact);
    here.objective = PLACE_PERIOD;
    answer_add(arena, options, &here, place_exact);
}

static bool is_served_better(const struct place_ask *ask, const struct judge_verdict *a,
                             const struct judge_verdict *b)
{
    if (ask->objective == PLACE_GOODPUT || a->is_feasible != b->is_feasible)
        return judge_compare(a, b) < 0;
    return a->ok_count != b->ok_count ? a->ok_count > b->ok_count
                                      : a->latency_mean_ps < b->latency_mean_ps;
}

/* ---- static ---- */

/* Of the workload where there is one, without what is going to happen; else of a lone request. */
static bool is_better_alone(const struct place_ask *ask, bool has_workload,
                            const struct judge_verdict *a, const struct judge_verdict *b)
{
    if (has_workload || a->is_feasible != b->is_feasible || ask->objective == PLACE_GOODPUT)
        return is_served_better(ask, a, b);
    return ask->objective == PLACE_PERIOD ? a->busiest_ps < b->busiest_ps
                                          : a->latency_mean_ps < b->latency_mean_ps;
}

/* With what happens at once. */
static const struct problem *first_problem(struct arena *arena, const struct place_ask *ask)
{
    struct problem_input input = *problem_input(ask->problems[0]);
    const struct problem *problem = NULL;
    struct err err = ERR_INIT;

    if (ask->events) {
        input.cluster = moment_cluster(arena, input.cluster, ask->events, 0);
        problem = problem_create(arena, &input, &err);
    }
    return problem ? problem : ask->problems[0];
}

struct beginning { /* of what is placed first */
    const struct place_ask *ask;
    bool is_found;
};

static bool is_late(const struct place_ask *ask)
{
    return ask->is_over && ask->is_over(ask->is_over_arg);
}

/* There is an answer, and no time for more. */
static bool is_enough(void *arg)
{
    const struct beginning *beginning = arg;

    return beginning->is_found && is_late(beginning->ask);
}

/* false: nothing fits; *why: of the last option, "" where there was none. */
static bool begin(struct arena *arena, const struct place_ask *ask, struct option *best,
                  const char **why)
{
    const struct problem *problem = first_problem(arena, ask);
    const struct problem_input *input = problem_input(problem);
    struct judge_input judge_of = *judge_input(ask->judge);
    struct judge_verdict best_verdict = { 0 };
    struct options options = { 0 };
    struct judge *judge;
    struct beginning beginning = { .ask = ask };

    *why = "";
    *best = (struct option){ .rows = NULL };
    judge_of.events = NULL;
    judge = judge_create(arena, &judge_of);
    (void)judge_set_stop(judge, (struct judge_stop){ is_enough, &beginning });
    options_fill(arena, ask, problem, NULL, &options);
    for (int i = 0; i < options.count && !is_enough(&beginning); i++) {
        const struct option *option = &options.list[i];
        struct judge_verdict verdict;

        if (room_refuses(arena, ask, option->rows, option->count, why))
            continue;
        verdict = judge_of.workload
                      ? judge_rows(judge, option->rows, option->count)
                      : judge_alone(judge, option->rows, option->count, input->service,
                                    input->prompt_tokens, input->output_tokens);
        if (!verdict.is_feasible)
            *why = arena_strndup(arena, verdict.why, strlen(verdict.why));
        if (!verdict.is_feasible ||
            (beginning.is_found &&
             !is_better_alone(ask, judge_of.workload, &verdict, &best_verdict)))
            continue;
        beginning.is_found = true;
        best_verdict = verdict;
        *best = *option;
    }
    return best->rows != NULL;
}

static struct place_answer nothing_fits(struct arena *arena, const struct problem *problem,
                                        const char *why)
{
    return (struct place_answer){
        .why = place_why_not(arena, &problem, 1,
                             why[0] != '\0' ? why : "neither by heads nor by layers anything fits")
    };
}

struct place_answer place_static(struct arena *arena, const struct place_ask *ask)
{
    struct place_answer answer = { .is_feasible = true, .why = "" };
    struct option option;
    const char *why;

    if (!ask->judge) /* by sums of costs alone */
        return place_exact(arena, ask);
    if (!begin(arena, ask, &option, &why))
        return nothing_fits(arena, ask->problems[0], why);
    answer.rows = option.rows;
    answer.row_count = option.count;
    return answer;
}

/* ---- instants ---- */

struct instant {
    int64_t time_ps;
    int64_t state_ps; /* when the cluster is as it is placed for: later, where a loss is to come */
    bool is_event;    /* of something that changes, or is going to; else of an interval */
};

struct instants {
    int count;
    struct instant list[MOST_INSTANTS];
};

static int compare_instants(const void *a, const void *b)
{
    int64_t x = ((const struct instant *)a)->time_ps, y = ((const struct instant *)b)->time_ps;

    return (x > y) - (x < y);
}

/* Rising, without 0 and without repetitions: events, instants ahead of a loss, ends of intervals.
 */
static void instants_gather(const struct place_ask *ask, int64_t lead_ps, struct instants *all)
{
    const struct workload *workload = judge_input(ask->judge)->workload;
    int64_t last_ps = 0;

    for (size_t i = 0; i < workload->count; i++)
        if (workload->arrivals_ps[i] != WORKLOAD_CLOSED && workload->arrivals_ps[i] > last_ps)
            last_ps = workload->arrivals_ps[i];
    for (int i = 1; i < INTERVALS; i++)
        all->list[all->count++] =
            (struct instant){ last_ps / INTERVALS * i, last_ps / INTERVALS * i, false };
    for (size_t i = 0; ask->events && i < ask->events->count; i++) {
        const struct event *event = &ask->events->events[i];

        if (all->count + 2 > MOST_INSTANTS)
            break;
        if (event->kind == EVENT_DOWN && event->target == EVENT_DEVICE)
            all->list[all->count++] =
                (struct instant){ event->time_ps - lead_ps, event->time_ps, true };
        all->list[all->count++] = (struct instant){ event->time_ps, event->time_ps, true };
    }
}

static void instants_fill(const struct place_ask *ask, int64_t lead_ps, struct instants *all)
{
    int kept = 0;

    instants_gather(ask, lead_ps, all);
    qsort(all->list, (size_t)all->count, sizeof all->list[0], compare_instants);
    for (int i = 0; i < all->count; i++) {
        struct instant *last = &all->list[kept > 0 ? kept - 1 : 0];

        if (all->list[i].time_ps <= 0)
            continue;
        if (kept == 0 || all->list[i].time_ps > last->time_ps) {
            all->list[kept++] = all->list[i];
            continue;
        }
        last->is_event = last->is_event || all->list[i].is_event;
        if (all->list[i].state_ps > last->state_ps)
            last->state_ps = all->list[i].state_ps;
    }
    all->count = kept;
}

/* Up to the next event: what comes then is decided then. */
static int64_t horizon_ps(const struct instants *all, int at)
{
    for (int i = at + 1; i < all->count; i++)
        if (all->list[i].is_event)
            return all->list[i].time_ps;
    return INT64_MAX;
}

/* The mean request of those that arrive from one instant to the next; without any of them, what it
 * was before. */
static void lengths_fill(const struct workload *workload, int64_t from_ps, int64_t end_ps,
                         struct problem_input *input)
{
    int64_t prompts = 0, outputs = 0, count = 0;

    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request request = workload_at(workload, i);

        if (request.arrival_ps == WORKLOAD_CLOSED || request.arrival_ps < from_ps ||
            request.arrival_ps >= end_ps ||
            strcmp(workload->services[request.service], input->service) != 0)
            continue;
        prompts += request.prompt_tokens;
        outputs += request.output_tokens;
        count++;
    }
    if (count == 0 || prompts < count || input->model->kind != MODEL_DECODER)
        return;
    input->prompt_tokens = (int32_t)((prompts + count / 2) / count);
    input->output_tokens = outputs > count ? (int32_t)((outputs + count / 2) / count) : 1;
}

/* ---- dynamic ---- */

struct moving {
    struct arena *arena;
    const struct place_ask *ask;
    struct problem_input input; /* as of the last instant */
    struct option first;
    struct options seen;        /* epochs so far */
    struct placement_row *rows; /* of all of them */
    int row_count, epoch_count;
    int64_t switch_cost_ps;
    const char **lines;
};

static struct placement_row *rows_with(struct arena *arena, const struct moving *m,
                                       const struct option *option, int64_t from_ps)
{
    size_t before = (size_t)m->row_count, added = (size_t)option->count;
    struct placement_row *rows = arena_array(arena, before + added, sizeof *rows);

    if (before > 0)
        memcpy(rows, m->rows, before * sizeof *rows);
    memcpy(&rows[before], option->rows, added * sizeof *rows);
    for (size_t i = before; i < before + added; i++) {
        rows[i].epoch = m->epoch_count;
        rows[i].from_ps = from_ps;
    }
    return rows;
}

/* Of requests that arrive before until_ps. */
static struct judge_verdict judge_with(const struct moving *m, const struct placement_row *rows,
                                       int count, int64_t switch_cost_ps, int64_t until_ps)
{
    struct judge_input input = *judge_input(m->ask->judge);
    struct judge *judge;

    if (switch_cost_ps > input.serve.switch_cost_ps)
        input.serve.switch_cost_ps = switch_cost_ps;
    if (until_ps < input.serve.until_ps)
        input.serve.until_ps = until_ps;
    judge = judge_create(m->arena, &input);
    (void)judge_set_stop(judge, (struct judge_stop){ m->ask->is_over, m->ask->is_over_arg });
    return judge_rows(judge, rows, count);
}

/* Rounded up to three digits, in whole microseconds at least, so that an option can say it. */
static int64_t switch_cost_of(const struct moving *m, const struct migration *migration)
{
    int64_t unit_ps = UNITS_PS_PER_US, cost_ps;

    while (migration->time_ps / unit_ps >= 1000)
        unit_ps *= 10;
    cost_ps = (migration->time_ps + unit_ps - 1) / unit_ps * unit_ps;
    return cost_ps > m->switch_cost_ps ? cost_ps : m->switch_cost_ps;
}

static void migration_tell(struct moving *m, const struct migration *migration, int64_t from_ps)
{
    char at[UNITS_TEXT_BYTES], takes[UNITS_TEXT_BYTES], weights[UNITS_TEXT_BYTES],
        caches[UNITS_TEXT_BYTES];

    m->lines[m->epoch_count - 2] = arena_printf(
        m->arena,
        "epoch %d from %s: %s of weights and %s of caches move to %d device%s, the last "
        "of which, %s, has them after %s",
        m->epoch_count - 1, units_format_human(from_ps, at),
        units_format_bytes(migration->weight_bytes, weights),
        units_format_bytes(migration->kv_bytes, caches), (int)migration->device_count,
        migration->device_count == 1 ? "" : "s",
        migration->device < 0 ? "none" : m->input.cluster->devices[migration->device].name,
        units_format_human(migration->time_ps, takes));
}

/* The best way to go on from the instant, if it is better than to go on as before: until the
 * horizon, migrations included. */
static void decide(struct moving *m, const struct problem *problem, int64_t time_ps,
                   int64_t until_ps)
{
    const struct option *last = &m->seen.list[m->seen.count - 1];
    const struct cluster *cluster = problem_input(m->ask->problems[0])->cluster;
    const bool *are_down = moment_down(m->arena, cluster, m->ask->events, time_ps);
    struct options options = { 0 };
    struct migration best_migration = { .device = -1 };
    struct judge_verdict best_verdict =
        judge_with(m, m->rows, m->row_count, m->switch_cost_ps, until_ps);
    int best = -1;

    options_fill(m->arena, m->ask, problem, last->heads, &options);
    for (int i = 0; i + 1 < m->seen.count; i++)
        option_add(&options, m->seen.list[i]);
    for (int i = 0; i < options.count && !is_late(m->ask); i++) {
        const struct option *option = &options.list[i];
        struct migration migration = migration_of(m->arena, problem, last->rows, last->count,
                                                  option->rows, option->count, are_down);
        struct placement_row *rows = rows_with(m->arena, m, option, time_ps);
        struct judge_verdict verdict = judge_with(m, rows, m->row_count + option->count,
                                                  switch_cost_of(m, &migration), until_ps);

        if (!is_served_better(m->ask, &verdict, &best_verdict))
            continue;
        best_verdict = verdict;
        best = i;
        best_migration = migration;
    }
    if (best < 0)
        return;
    m->rows = rows_with(m->arena, m, &options.list[best], time_ps);
    m->row_count += options.list[best].count;
    m->epoch_count++;
    m->switch_cost_ps = switch_cost_of(m, &best_migration);
    if (m->seen.count == MOST_OPTIONS) /* the first one stays: it may be the best again */
        memmove(&m->seen.list[1], &m->seen.list[2],
                (size_t)(--m->seen.count - 1) * sizeof m->seen.list[0]);
    option_add(&m->seen, options.list[best]);
    migration_tell(m, &best_migration, time_ps);
}

/* How long before a device is lost it is left. */
static int64_t lead_of(const struct moving *m)
{
    struct judge_verdict lone =
        judge_alone(m->ask->judge, m->first.rows, m->first.count, m->input.service,
                    m->input.prompt_tokens, m->input.output_tokens);

    return saturate_mul(LEAD_REQUESTS, lone.latency_mean_ps);
}

static void look_around(struct moving *m, const struct instants *all, int at)
{
    const struct problem_input *first = problem_input(m->ask->problems[0]);
    int64_t time_ps = all->list[at].time_ps;
    const struct problem *problem;
    struct err err = ERR_INIT;

    lengths_fill(judge_input(m->ask->judge)->workload, time_ps,
                 at + 1 < all->count ? all->list[at + 1].time_ps : INT64_MAX, &m->input);
    m->input.cluster =
        moment_cluster(m->arena, first->cluster, m->ask->events, all->list[at].state_ps);
    problem = problem_create(m->arena, &m->input, &err);
    if (problem) /* else its lengths are none that a model takes: nothing to decide */
        decide(m, problem, time_ps, horizon_ps(all, at));
}

/* Epochs one after the other: each is good up to the next event, all of them together may not be.
 */
static bool is_worth_it(const struct moving *m)
{
    const struct option *once = &m->first;
    struct judge_verdict all = judge_with(m, m->rows, m->row_count, m->switch_cost_ps, INT64_MAX);
    struct judge_verdict alone = judge_with(m, once->rows, once->count, 0, INT64_MAX);

    return m->epoch_count > 1 && is_served_better(m->ask, &all, &alone);
}

struct place_answer place_dynamic(struct arena *arena, const struct place_ask *ask)
{
    struct moving m = { .arena = arena, .ask = ask, .input = *problem_input(ask->problems[0]) };
    struct place_answer answer = { .is_feasible = true, .why = "" };
    struct instants *all = arena_alloc(arena, sizeof *all);
    const char *why;
    char cost[UNITS_TEXT_BYTES];

    if (!begin(arena, ask, &m.first, &why))
        return nothing_fits(arena, ask->problems[0], why);
    option_add(&m.seen, m.first);
    m.lines = arena_array(arena, MOST_INSTANTS, sizeof *m.lines);
    m.rows = rows_with(arena, &m, &m.first, 0);
    m.row_count = m.first.count;
    m.epoch_count = 1;
    instants_fill(ask, lead_of(&m), all);
    for (int i = 0; i < all->count && !is_late(ask); i++)
        look_around(&m, all, i);
    if (!is_worth_it(&m)) {
        answer.rows = m.first.rows;
        answer.row_count = m.first.count;
        answer.why = is_late(ask) && m.epoch_count > 1
                         ? "placed once: the time was over before migrations could be judged"
                         : "placed once: no migration is worth what it costs";
        return answer;
    }
    answer.rows = m.rows;
    answer.row_count = m.row_count;
    answer.lines = m.lines;
    answer.line_count = m.epoch_count - 1;
    answer.switch_cost_ps = m.switch_cost_ps;
    answer.why =
        arena_printf(arena, "%d migration%s, simulated with --switch-cost %ss", m.epoch_count - 1,
                     m.epoch_count == 2 ? "" : "s", units_format_seconds(m.switch_cost_ps, cost));
    return answer;
}
