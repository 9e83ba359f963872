/* place_case.h - a problem of the model of sliced_model.h on the fixture's files, and a judge of
 * it: the fixture of tests of planners that cut layers. */
#ifndef ORRERY_TESTS_UNIT_SIM_PLACE_CASE_H
#define ORRERY_TESTS_UNIT_SIM_PLACE_CASE_H

#include "tests/unit/sim/sliced_model.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "sim/judge/judge.h"
#include "sim/place/place.h"

struct case_of {
    struct problem_input input;
    struct cost_set costs;
    struct model_catalogue *catalogue;
    const struct problem *problem;
    struct judge *judge;
    struct place_ask ask;
};

static inline int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

/* What the files of the fixture say; case_ask then says what of it. */
static inline void case_load(struct case_of *of)
{
    const char *costs = fixture_path("costs");

    of->catalogue = model_catalogue_load(fixture.arena, fixture_path("models.csv"), &fixture.err);
    assert_non_null(of->catalogue);
    assert_true(cost_set_load(fixture.arena, &costs, 1, &of->costs, &fixture.err));
    of->input = (struct problem_input){ .cluster = cluster_load(
                                            fixture.arena, fixture_path("cluster"), &fixture.err),
                                        .costs = &of->costs,
                                        .service = "s",
                                        .model = model_find(of->catalogue, "wide", &fixture.err),
                                        .sequences = 1 };
    assert_non_null(of->input.cluster);
}

/* workload and events may be NULL. */
static inline void case_ask(struct case_of *of, int64_t prompt, int64_t output,
                            struct workload *workload, const struct events *events,
                            enum place_objective objective)
{
    const struct judge_input input = { .cluster = of->input.cluster,
                                       .costs = &of->costs,
                                       .catalogue = of->catalogue,
                                       .workload = workload,
                                       .events = events,
                                       .serve = fixture.options };

    of->input.prompt_tokens = (int32_t)prompt;
    of->input.output_tokens = (int32_t)output;
    of->problem = problem_create(fixture.arena, &of->input, &fixture.err);
    if (!of->problem)
        fail_msg("%s", fixture.err.text);
    of->judge = judge_create(fixture.arena, &input);
    of->ask = (struct place_ask){ .problems = &of->problem,
                                  .problem_count = 1,
                                  .objective = objective,
                                  .judge = of->judge,
                                  .events = events };
}

#endif
