/* placed.h - placements of a few lines, made into plans with and without costs. */
#ifndef ORRERY_TESTS_UNIT_POLICY_PLACED_H
#define ORRERY_TESTS_UNIT_POLICY_PLACED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "tests/unit/scratch.h"

#define HEAD "service,replica,stage,device,"
#define MODEL HEAD "model,layers,block\n"
#define BOX HEAD "executable,layers\n"
#define STAGES                                                                                     \
    "executable,stage,latency_s\n"                                                                 \
    "one,0,0.1\ntwo,0,0.05\ntwo,1,0.06\nfour,0,1\nfour,1,2\nfour,2,3\nfour,3,4\n"

/* The costs of one device type, box, that knows black boxes alone. */
static inline const struct cost_set *box_costs(struct scratch *scratch)
{
    struct cost_set *set = arena_alloc(scratch->arena, sizeof *set);
    const char *folder = arena_printf(scratch->arena, "%s/box", scratch->folder);

    (void)scratch_write(scratch, "box/stages.csv", STAGES);
    if (!cost_set_load(scratch->arena, &folder, 1, set, scratch_err(scratch)))
        fail_msg("%s", scratch->err.text);
    return set;
}

static inline const struct plan *build_on(struct scratch *scratch, const char *text,
                                          const struct cluster *cluster,
                                          const struct cost_set *costs)
{
    struct model_catalogue *catalogue =
        model_catalogue_load(scratch->arena, NULL, scratch_err(scratch));
    const struct placement *placement =
        placement_load(scratch->arena, scratch_write(scratch, "p.csv", text), &scratch->err);

    if (!catalogue || !placement)
        fail_msg("%s", scratch->err.text);
    return plan_build(scratch->arena, placement, cluster, costs, catalogue, &scratch->err);
}

static inline const struct plan *build(struct scratch *scratch, const char *text)
{
    const struct plan *plan = build_on(scratch, text, NULL, NULL);

    if (!plan)
        fail_msg("%s", scratch->err.text);
    return plan;
}

static inline const struct plan *build_box(struct scratch *scratch, const char *text)
{
    const struct plan *plan = build_on(scratch, text, NULL, box_costs(scratch));

    if (!plan)
        fail_msg("%s", scratch->err.text);
    return plan;
}

static inline void expect_message(const struct scratch *scratch, const struct plan *plan,
                                  const char *message)
{
    assert_null(plan);
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    assert_string_equal(scratch_message(scratch), message);
}

static inline void expect_error(struct scratch *scratch, const char *text, const char *message)
{
    expect_message(scratch, build_on(scratch, text, NULL, NULL), message);
}

#endif
