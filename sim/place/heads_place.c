/* heads_place.c - planners that cut attention by heads, on measured costs.
 *
 * resource-aware: Kafetzis et al., arXiv 2505.02533: heads stay with their KV caches, and go, with
 * the projection and the FFN, where memory, load and links let the step end first. The published
 * program (DistributedTransformerInferenceSimulator, src/algorithms/resource_aware.py at commit
 * 252528f) forbids the source's device, scores capacity in place of load and gives heads no
 * messages; none of that is so here. exact-heads: the same model, its optimum. */
#include "sim/place/place.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/judge/judge.h"
#include "sim/place/heads_measured.h"
#include "sim/place/heads_rows.h"
#include "sim/place/room.h"
#include <math.h>

#define MOST_LINES 8

struct candidate {
    struct heads_found *found;
    struct placement_row *rows;
    int row_count;
    struct judge_verdict verdict;
};

static void judge_candidate(const struct place_ask *ask, struct candidate *candidate)
{
    const struct problem_input *input = problem_input(ask->problems[0]);

    candidate->verdict = (struct judge_verdict){ .is_feasible = true };
    if (!ask->judge)
        return;
    if (ask->objective == PLACE_GOODPUT && judge_input(ask->judge)->workload)
        candidate->verdict = judge_rows(ask->judge, candidate->rows, candidate->row_count);
    else
        candidate->verdict =
            judge_alone(ask->judge, candidate->rows, candidate->row_count, input->service,
                        input->prompt_tokens, input->output_tokens);
}

/* By what the simulator says, where somebody may ask it; else by sums. */
static bool is_better(const struct place_ask *ask, const struct candidate *a,
                      const struct candidate *b)
{
    if (!b->found)
        return true;
    if (!ask->judge)
        return a->found->cost_ps < b->found->cost_ps;
    if (a->verdict.is_feasible != b->verdict.is_feasible)
        return a->verdict.is_feasible;
    if (ask->objective == PLACE_GOODPUT && judge_input(ask->judge)->workload)
        return judge_compare(&a->verdict, &b->verdict) < 0;
    return ask->objective == PLACE_PERIOD ? a->verdict.busiest_ps < b->verdict.busiest_ps
                                          : a->verdict.latency_mean_ps < b->verdict.latency_mean_ps;
}

/* ---- what is told ---- */

static const char *heads_text(struct arena *arena, const struct cluster *cluster,
                              const struct heads_run *run, int32_t head_count)
{
    const char *text = "";

    for (int32_t d = 0; d < cluster->device_count; d++) {
        int32_t count = 0;

        for (int32_t h = 0; h < head_count; h++)
            count += run->owners[h] == d;
        if (count > 0)
            text = arena_printf(arena, "%s%s%s %d", text, text[0] != '\0' ? ", " : "",
                                cluster->devices[d].name, (int)count);
    }
    return text;
}

static void lines_fill(struct arena *arena, const struct problem *problem,
                       const struct heads_measured *measured, const struct heads_found *found,
                       struct place_answer *answer)
{
    const struct problem_input *input = problem_input(problem);
    const char **lines = arena_array(arena, MOST_LINES, sizeof *lines);
    char sums[UNITS_TEXT_BYTES];
    int count = 0;

    for (int32_t r = 0; r < found->plan->run_count && count < MOST_LINES - 2; r++) {
        const struct heads_run *run = &found->plan->runs[r];

        lines[count++] = arena_printf(
            arena, "layers %d-%d: %s of %d heads%s, projection on %s, FFN on %s",
            (int)run->layer_first, (int)run->layer_last,
            heads_text(arena, input->cluster, run, input->model->kv_heads),
            (int)input->model->kv_heads,
            input->model->kv_heads < input->model->heads ? " (groups of KV heads)" : "",
            input->cluster->devices[run->projection].name, input->cluster->devices[run->ffn].name);
    }
    if (found->is_uniform)
        lines[count++] = arena_printf(arena,
                                      "by sums of costs and messages one after the other it takes "
                                      "%s",
                                      units_format_human((int64_t)found->cost_ps, sums));
    if (heads_has_holes(measured))
        lines[count++] = "some numbers of heads are measured on no device, and were not tried: "
                         "orrery-profile run --slices N measures one of N parts";
    answer->lines = lines;
    answer->line_count = count;
}

/* ---- all of it ---- */

/* Where no head-level placement was found: a pipeline of whole layers is one, too. */
static struct place_answer pipeline(struct arena *arena, const struct place_ask *ask)
{
    struct place_answer answer = place_exact(arena, ask);

    if (!answer.is_feasible)
        answer.why =
            place_why_not(arena, ask->problems, 1,
                          "heads, projections and FFNs, each whole on one device, fit nowhere");
    else
        answer.why = "by heads nothing fits: whole layers, by the exact pipeline";
    return answer;
}

struct choice { /* among placements by heads */
    struct arena *arena;
    const struct place_ask *ask;
    const struct heads_measured *measured;
    struct candidate best;
    double least_ps; /* by sums */
};

/* There is an answer, and no time for more. */
static bool is_enough(void *arg)
{
    const struct choice *c = arg;

    return c->best.found && c->best.verdict.is_feasible && c->ask->is_over &&
           c->ask->is_over(c->ask->is_over_arg);
}

static void choose(struct choice *c, struct heads_found found)
{
    const struct problem_input *input = problem_input(c->ask->problems[0]);
    struct candidate candidate = { .found = arena_alloc(c->arena, sizeof found) };
    struct judge_stop before = { NULL, NULL };
    const char *why;

    if (!found.is_feasible)
        return;
    *candidate.found = found;
    if (found.cost_ps < c->least_ps)
        c->least_ps = found.cost_ps;
    if (is_enough(c))
        return;
    candidate.rows = heads_rows(c->arena, input->cluster, input->model, input->service,
                                candidate.found->plan, &candidate.row_count);
    if (room_refuses(c->arena, c->ask, candidate.rows, candidate.row_count, &why))
        return;
    if (c->ask->judge)
        before = judge_set_stop(c->ask->judge, (struct judge_stop){ is_enough, c });
    judge_candidate(c->ask, &candidate);
    if (c->ask->judge)
        (void)judge_set_stop(c->ask->judge, before);
    if (is_better(c->ask, &candidate, &c->best))
        c->best = candidate;
}

/* The optimum by sums, and where memory is short another one that is thrifty with it; the bound. */
static int64_t choose_exact(struct choice *c)
{
    const struct place_ask *ask = c->ask;
    struct heads_least least;

    choose(c, heads_find(c->arena, c->measured, HEADS_EXACT, NULL, ask->is_over, ask->is_over_arg));
    least = heads_bound(c->arena, c->measured, c->least_ps,
                        ask->judge && judge_input(ask->judge)->serve.has_overlap, ask->is_over,
                        ask->is_over_arg);
    /* what may not fit is for a judge to say */
    for (int try = 0; try < HEADS_TRIES * (ask->judge ? 2 : 1) && least.is_short; try++)
        choose(c, heads_find_thrifty(c->arena, c->measured, &least, try % HEADS_TRIES,
                                     try >= HEADS_TRIES, ask->is_over, ask->is_over_arg));
    return ask->objective == PLACE_LATENCY &&
                   !(ask->judge && judge_input(ask->judge)->serve.has_kappa)
               ? least.bound_ps
               : 0;
}

static struct place_answer place_heads(struct arena *arena, const struct place_ask *ask,
                                       enum heads_how how)
{
    const struct problem *problem = ask->problems[0];
    struct choice c = { .arena = arena, .ask = ask, .least_ps = HUGE_VAL };
    struct place_answer answer = { .why = "" };

    c.measured = heads_measure(arena, problem);
    choose(&c, heads_find(arena, c.measured, HEADS_GREEDY, NULL, ask->is_over, ask->is_over_arg));
    /* cheap, and what sums of messages may be wrong about */
    choose(&c, heads_found_of(arena, c.measured, heads_single(arena, heads_problem_of(c.measured)),
                              NULL));
    if (how == HEADS_EXACT)
        answer.bound_ps = choose_exact(&c);
    if (!c.best.found || !c.best.verdict.is_feasible)
        return pipeline(arena, ask);
    answer.is_feasible = true;
    answer.rows = c.best.rows;
    answer.row_count = c.best.row_count;
    lines_fill(arena, problem, c.measured, c.best.found, &answer);
    return answer;
}

struct place_answer place_resource_aware(struct arena *arena, const struct place_ask *ask)
{
    return place_heads(arena, ask, HEADS_GREEDY);
}

struct place_answer place_exact_heads(struct arena *arena, const struct place_ask *ask)
{
    return place_heads(arena, ask, HEADS_EXACT);
}
