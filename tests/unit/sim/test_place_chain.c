/* test_place_chain.c - the best contiguous pipeline: against enumeration on random chains, and
 * against PipeEdge's corrected scheduler on its 300 problems. */
#include "sim/place/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "tests/unit/scratch.h"
#include "tests/unit/sim/pipeedge_sweep.h"
#include "tests/unit/sim/small_chain.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB 1048576.0

/* ---- against enumeration ---- */

/* Every way to go on from a unit with the devices that are left. */
static double enumerate(const struct small *small, enum chain_objective objective,
                        struct chain_stage *stages, int32_t count, int32_t first, int32_t *left)
{
    const struct chain *chain = &small->chain;
    double best = INFINITY;

    if (first == chain->unit_count)
        return objective == CHAIN_LATENCY ? chain_latency(chain, stages, count)
                                          : chain_period(chain, stages, count);
    for (int32_t k = 0; k < chain->kind_count; k++) {
        if (left[k] == 0)
            continue;
        left[k]--;
        for (int32_t last = first; last < chain->unit_count; last++) {
            double cost;

            if (!small_room(small, k, first, last))
                continue;
            stages[count] = (struct chain_stage){ k, first, last };
            cost = enumerate(small, objective, stages, count + 1, last + 1, left);
            best = cost < best ? cost : best;
        }
        left[k]++;
    }
    return best;
}

static void it_is_the_best_of_all(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 0);
    int feasible = 0, cut = 0;

    (void)state;
    for (int round = 0; round < 4000; round++) {
        enum chain_objective objective = round % 2 ? CHAIN_LATENCY : CHAIN_PERIOD;
        struct arena *arena = arena_create();
        struct chain_stage stages[MOST_UNITS];
        struct small small;
        struct chain_answer answer;
        int32_t left[MOST_KINDS], used[MOST_KINDS] = { 0 };
        double best;

        small_draw(&rng, &small);
        memcpy(left, small.counts, sizeof left);
        best = enumerate(&small, objective, stages, 0, 0, left);
        answer = chain_solve(arena, &small.chain, objective);
        assert_int_equal(answer.is_feasible, !isinf(best));
        if (answer.is_feasible) {
            const struct chain *chain = &small.chain;
            double cost = objective == CHAIN_LATENCY
                              ? chain_latency(chain, answer.stages, answer.stage_count)
                              : chain_period(chain, answer.stages, answer.stage_count);

            assert_true(!(answer.cost < best) && !(best < answer.cost));
            assert_true(!(answer.cost < cost) && !(cost < answer.cost));
            for (int32_t s = 0; s < answer.stage_count; s++) {
                const struct chain_stage *stage = &answer.stages[s];

                assert_int_equal(stage->first, s > 0 ? answer.stages[s - 1].last + 1 : 0);
                assert_true(small_room(&small, stage->kind, stage->first, stage->last));
                assert_true(++used[stage->kind] <= small.counts[stage->kind]);
            }
            assert_int_equal(answer.stages[answer.stage_count - 1].last, chain->unit_count - 1);
            feasible++;
            cut += answer.stage_count > 1;
        }
        arena_destroy(arena);
    }
    assert_in_range(feasible, 1000, 3900);
    assert_in_range(cut, 500, feasible);
}

/* ---- against PipeEdge ---- */

struct problem { /* a row of cases.csv in PipeEdge's terms */
    const struct sweep_model *model;
    const struct sweep_type *types[MOST_TYPES];
    int32_t counts[MOST_TYPES];
    double units[MOST_TYPES * MOST_LAYERS];
    double batch, buffers_in, buffers_out;
    int32_t type_count;
};

/* 4 batch values over the lower of two bandwidths, in 2^20 bits a second. */
static double pipeedge_border(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    const struct problem *problem = arg;
    double a = problem->types[from]->bandwidth_mibit, b = problem->types[to]->bandwidth_mibit;

    return 4 * problem->batch * problem->model->values_out[unit] / ((a < b ? a : b) * MIB / 8);
}

static bool pipeedge_room(const void *arg, int32_t kind, int32_t first, int32_t last)
{
    const struct problem *problem = arg;
    const struct sweep_model *model = problem->model;
    double in = 4 * problem->batch * model->values_in[first];
    double out = 4 * problem->batch * model->values_out[last], mib = 0;

    for (int32_t u = first; u <= last; u++)
        mib += model->mem_mib[u];
    return problem->types[kind]->mem_mib * MIB > mib * MIB +
                                                     (first > 0 ? in * problem->buffers_in : 0) +
                                                     out * problem->buffers_out + in + out;
}

static void problem_times(const struct sweep *sweep, struct problem *problem, int32_t kind)
{
    for (int i = 0; i < sweep->times_count; i++) {
        const struct sweep_times *times = &sweep->times[i];

        if (strcmp(times->model, problem->model->name) != 0 ||
            strcmp(times->type, problem->types[kind]->name) != 0)
            continue;
        for (int32_t u = 0; u < problem->model->layers; u++)
            problem->units[kind * problem->model->layers + u] =
                times->seconds[problem->batch > 1][u];
        return;
    }
    fail_msg("no times");
}

/* "b-mb:2 c-rcc:1", in byte order of the names. */
static void problem_hosts(const struct sweep *sweep, struct problem *problem, const char *variant,
                          const char *text)
{
    while (*text) {
        size_t length = strcspn(text, ":");
        char name[32];

        assert_true(length < sizeof name);
        memcpy(name, text, length);
        name[length] = '\0';
        problem->types[problem->type_count] = sweep_find_type(sweep, variant, name);
        problem->counts[problem->type_count] = (int32_t)strtol(text + length + 1, NULL, 10);
        problem_times(sweep, problem, problem->type_count++);
        text += strcspn(text, " ");
        text += *text == ' ';
    }
}

/* Stages as PipeEdge prints them: hosts of a type in order, units from 1. */
static const char *partition_of(struct arena *arena, const struct problem *problem,
                                const struct chain_answer *answer)
{
    int32_t next[MOST_TYPES] = { 0 };
    const char *text = "";

    for (int32_t s = 0; s < answer->stage_count; s++) {
        const struct chain_stage *stage = &answer->stages[s];

        text = arena_printf(arena, "%s%s%s-%d:%d-%d", text, s > 0 ? " " : "",
                            problem->types[stage->kind]->name + 2, next[stage->kind]++,
                            stage->first + 1, stage->last + 1);
    }
    return text;
}

static void assert_near(const struct csv *csv, int column, double seen)
{
    struct err err = ERR_INIT;
    double expected;

    assert_true(csv_double(csv, column, 0, 1e12, &expected, &err));
    if (fabs(seen - expected) > 1e-12 * expected)
        fail_msg("%s: %.17g is not %.17g", csv_text(csv, CASE), seen, expected);
}

static void one_case(struct arena *arena, const struct sweep *sweep, const struct csv *csv)
{
    struct problem *problem = arena_alloc(arena, sizeof *problem);
    struct err err = ERR_INIT;
    struct chain chain;
    struct chain_answer answer;

    for (int m = 0; m < sweep->model_count; m++)
        if (strcmp(sweep->models[m].name, csv_text(csv, MODEL)) == 0)
            problem->model = &sweep->models[m];
    assert_non_null(problem->model);
    assert_true(csv_double(csv, BATCH, 1, 8, &problem->batch, &err));
    assert_true(csv_double(csv, IN, 0, 8, &problem->buffers_in, &err));
    assert_true(csv_double(csv, OUT, 0, 8, &problem->buffers_out, &err));
    problem_hosts(sweep, problem, csv_text(csv, VARIANT), csv_text(csv, HOSTS));
    chain = (struct chain){ .unit_count = problem->model->layers,
                            .kind_count = problem->type_count,
                            .device_counts = problem->counts,
                            .unit_costs = problem->units,
                            .border_cost = pipeedge_border,
                            .has_room = pipeedge_room,
                            .arg = problem };
    assert_true(chain_state_count(&chain) <= CHAIN_MAX_STATES);
    answer = chain_solve(arena, &chain, CHAIN_PERIOD);
    assert_int_equal(answer.is_feasible, strcmp(csv_text(csv, FEASIBLE), "1") == 0);
    if (!answer.is_feasible)
        return;
    assert_near(csv, PERIOD, answer.cost);
    assert_near(csv, LATENCY, chain_latency(&chain, answer.stages, answer.stage_count));
    assert_string_equal(partition_of(arena, problem, &answer), csv_text(csv, PARTITION));
}

static void it_is_what_pipeedge_finds(void **state)
{
    struct arena *scratch = ((struct scratch *)*state)->arena;
    struct err err = ERR_INIT;
    struct sweep *sweep;
    struct csv *csv;
    int cases = 0;

    if (access(SWEEP, R_OK) != 0) {
        print_message("skipped: no %s beside this checkout\n", SWEEP);
        skip();
    }
    sweep = arena_alloc(scratch, sizeof *sweep);
    sweep_read_models(scratch, sweep);
    sweep_read_types(scratch, sweep);
    sweep_read_times(scratch, sweep);
    csv = csv_open(scratch, SWEEP "/cases.csv", "cases", sweep_case_columns, COLUMN_COUNT, &err);
    assert_non_null(csv);
    for (; csv_next(csv, &err); cases++) {
        struct arena *arena = arena_create();

        one_case(arena, sweep, csv);
        arena_destroy(arena);
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
    assert_in_range(cases, 300, INT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_best_of_all),
        cmocka_unit_test_setup_teardown(it_is_what_pipeedge_finds, scratch_begin, scratch_end),
    };

    return cmocka_run_group_tests_name("place_chain", tests, NULL, NULL);
}
