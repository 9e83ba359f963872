/* heads_find.c - head-level placements on measured costs: all layers alike, or layer by layer. */
#include "sim/place/heads_measured.h"

#include "lib/base/arena.h"
#include "lib/format/model.h"
#include "sim/place/heads_measured_internal.h"
#include "sim/place/heads_rows.h"

struct heads_answer heads_answer_of(struct arena *arena, const struct heads_problem *problem,
                                    enum heads_how how, bool (*is_over)(void *arg),
                                    void *is_over_arg)
{
    struct heads_answer answer = heads_greedy(arena, problem);

    if (how == HEADS_EXACT || !answer.is_feasible) /* sizes with holes in them: greedy may miss */
        answer = heads_solve(arena, problem, is_over, is_over_arg);
    return answer;
}

const struct heads_run *heads_run_at(const struct heads_plan *plan, int32_t layer,
                                     const struct heads_run *other)
{
    for (int32_t r = 0; plan && r < plan->run_count; r++)
        if (layer <= plan->runs[r].layer_last)
            return &plan->runs[r];
    return other;
}

struct heads_found heads_found_of(struct arena *arena, const struct heads_measured *m,
                                  struct heads_answer answer, const struct heads_plan *before)
{
    struct heads_found found = { .is_feasible = answer.is_feasible,
                                 .is_uniform = true,
                                 .cost_ps = answer.cost };

    if (!answer.is_feasible)
        return found;
    found.plan = arena_alloc(arena, sizeof *found.plan);
    found.plan->end = m->devices[answer.end];
    found.plan->run_count = 1;
    found.plan->runs = arena_alloc(arena, sizeof *found.plan->runs);
    *found.plan->runs = heads_run_of(arena, &m->uniform, &answer, m->devices, 0,
                                     m->input->model->layers - 1, heads_run_at(before, 0, NULL));
    return found;
}

struct heads_found heads_find(struct arena *arena, const struct heads_measured *m,
                              enum heads_how how, const struct heads_plan *before,
                              bool (*is_over)(void *arg), void *is_over_arg)
{
    struct heads_answer answer = heads_answer_of(arena, &m->uniform, how, is_over, is_over_arg);

    if (!answer.is_feasible)
        return heads_find_by_layers(arena, m, how, before, is_over, is_over_arg);
    return heads_found_of(arena, m, answer, before);
}
