/* test_ops_graph.c - tasks on lanes against hand-worked cases and a naive simulator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "sim/ops/graph.h"
#include "tests/unit/scratch.h"

static int32_t add(struct graph *graph, int32_t lane, int64_t duration_ps, int64_t latency_ps)
{
    return graph_add(graph, &(struct graph_task){ .lane = lane,
                                                  .row = -1,
                                                  .part = -1,
                                                  .duration_ps = duration_ps,
                                                  .latency_ps = latency_ps });
}

static void a_lane_runs_in_order_and_waits_for_what_is_done(void **state)
{
    struct scratch *scratch = *state;
    struct graph *graph = graph_create(scratch->arena, 2);
    int32_t a = add(graph, 0, 10, 0), b = add(graph, 1, 3, 100), c = add(graph, 0, 5, 0);
    int32_t d = add(graph, 0, 1, 0);

    graph_after(graph, b, a);
    graph_after(graph, c, b);
    assert_true(graph_run(graph, scratch_err(scratch)));
    assert_int_equal(graph->tasks[a].start_ps, 0);
    assert_int_equal(graph->tasks[b].start_ps, 10);
    assert_int_equal(graph->tasks[b].finish_ps, 13); /* its lane is free, it arrives at 113 */
    assert_int_equal(graph->tasks[c].start_ps, 113);
    assert_int_equal(graph->tasks[d].start_ps, 118); /* behind c, which it could do without */
    assert_int_equal(graph->end_ps, 119);
    assert_int_equal(graph->busy_ps[0], 16);
    assert_int_equal(graph->busy_ps[1], 3);
}

static void the_end_has_the_messages_that_nobody_waits_for(void **state)
{
    struct scratch *scratch = *state;
    struct graph *graph = graph_create(scratch->arena, 1);

    (void)add(graph, 0, 4, 70);
    (void)add(graph, 0, 4, 0);
    assert_true(graph_run(graph, scratch_err(scratch)));
    assert_int_equal(graph->end_ps, 74);
}

static void what_waits_for_itself_never_runs_and_is_named(void **state)
{
    struct scratch *scratch = *state;
    struct graph *graph = graph_create(scratch->arena, 2);
    int32_t a = add(graph, 0, 1, 0), b = add(graph, 0, 1, 0), c = add(graph, 0, 1, 0);
    int32_t d = add(graph, 1, 1, 0);

    graph_after(graph, b, c); /* which stands behind it */
    graph_after(graph, d, c);
    assert_false(graph_run(graph, scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_NONE);
    assert_int_equal(graph->tasks[a].start_ps, 0);
    assert_int_equal(graph->tasks[b].start_ps, -1);
    assert_int_equal(graph->tasks[d].start_ps, -1);
    assert_int_equal(graph_waits_for(graph, b), c);
    assert_int_equal(graph_waits_for(graph, c), b); /* the order of the lane */
    assert_int_equal(graph_waits_for(graph, d), c);
}

static void times_beyond_all_measure_are_an_error(void **state)
{
    struct scratch *scratch = *state;
    struct graph *graph = graph_create(scratch->arena, 1);

    (void)add(graph, 0, UNITS_MAX_PS, 0);
    (void)add(graph, 0, 1, 0);
    assert_false(graph_run(graph, scratch_err(scratch)));
    assert_string_equal(scratch->err.text, "the iteration takes more than 9000000 s");
    graph = graph_create(scratch->arena, 1);
    (void)add(graph, 0, 1, INT64_MAX);
    assert_false(graph_run(graph, scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
}

static void nothing_takes_no_time(void **state)
{
    struct scratch *scratch = *state;
    struct graph *graph = graph_create(scratch->arena, 3);

    assert_true(graph_run(graph, scratch_err(scratch)));
    assert_int_equal(graph->end_ps, 0);
}

/* ---- a naive simulator: looks at every lane again and again ---- */

#define TASKS 60
#define LANES 4

struct naive {
    int count;
    int32_t lane[TASKS];
    int64_t duration_ps[TASKS], latency_ps[TASKS], start_ps[TASKS];
    bool after[TASKS][TASKS]; /* [task][before] */
};

static bool naive_is_next(const struct naive *naive, int task, int64_t *at_ps)
{
    *at_ps = 0;
    for (int i = 0; i < naive->count; i++) {
        bool is_before = i < task && naive->lane[i] == naive->lane[task];
        int64_t end_ps = naive->start_ps[i] + naive->duration_ps[i];

        if ((is_before || naive->after[task][i]) && naive->start_ps[i] < 0)
            return false;
        if (is_before && end_ps > *at_ps)
            *at_ps = end_ps;
        if (naive->after[task][i] && end_ps + naive->latency_ps[i] > *at_ps)
            *at_ps = end_ps + naive->latency_ps[i];
    }
    return true;
}

static void naive_run(struct naive *naive)
{
    bool is_new = true;

    while (is_new) {
        is_new = false;
        for (int i = 0; i < naive->count; i++) {
            int64_t at_ps;

            if (naive->start_ps[i] < 0 && naive_is_next(naive, i, &at_ps)) {
                naive->start_ps[i] = at_ps;
                is_new = true;
            }
        }
    }
}

static void draw(struct naive *naive, struct graph *graph, struct rng *rng, bool has_cycles)
{
    *naive = (struct naive){ .count = 1 + (int)(rng_next(rng) % TASKS) };
    for (int i = 0; i < naive->count; i++) {
        naive->lane[i] = (int32_t)(rng_next(rng) % LANES);
        naive->duration_ps[i] = (int64_t)(rng_next(rng) % 20);
        naive->latency_ps[i] = rng_next(rng) % 3 == 0 ? (int64_t)(rng_next(rng) % 30) : 0;
        naive->start_ps[i] = -1;
        (void)add(graph, naive->lane[i], naive->duration_ps[i], naive->latency_ps[i]);
    }
    for (uint64_t k = rng_next(rng) % 120; k > 0; k--) {
        int a = (int)(rng_next(rng) % (uint64_t)naive->count);
        int b = (int)(rng_next(rng) % (uint64_t)naive->count);

        if (a == b || (a < b && !has_cycles))
            continue;
        naive->after[a][b] = true;
        graph_after(graph, a, b);
    }
}

static void random_graphs_run_as_naively(void **state)
{
    struct scratch *scratch = *state;
    int blocked = 0;

    for (uint64_t seed = 0; seed < 400; seed++) {
        struct arena *arena = arena_create();
        struct graph *graph = graph_create(arena, LANES);
        struct rng rng = rng_stream(seed, RNG_ARRIVALS, 0);
        static struct naive naive;
        bool is_done;

        draw(&naive, graph, &rng, seed % 4 == 0);
        naive_run(&naive);
        is_done = graph_run(graph, scratch_err(scratch));
        for (int i = 0; i < naive.count; i++) {
            assert_int_equal(graph->tasks[i].start_ps, naive.start_ps[i]);
            is_done = is_done && naive.start_ps[i] >= 0;
            if (naive.start_ps[i] < 0) {
                assert_in_range(graph_waits_for(graph, i), 0, naive.count - 1);
                assert_int_equal(naive.start_ps[graph_waits_for(graph, i)], -1);
            }
        }
        blocked += !is_done;
        arena_destroy(arena);
    }
    assert_in_range(blocked, 10, 390); /* both kinds were tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_lane_runs_in_order_and_waits_for_what_is_done),
        scratch_test(the_end_has_the_messages_that_nobody_waits_for),
        scratch_test(what_waits_for_itself_never_runs_and_is_named),
        scratch_test(times_beyond_all_measure_are_an_error),
        scratch_test(nothing_takes_no_time),
        scratch_test(random_graphs_run_as_naively),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
