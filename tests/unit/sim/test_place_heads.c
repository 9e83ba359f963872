/* test_place_heads.c - head-level placements: the optimum against every placement of random
 * problems, and against the optima of Kafetzis' environments. */
#include "lib/base/csv.h"
#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/import/kafetzis.h"
#include "sim/kafetzis/kafetzis.h"
#include "sim/kafetzis/routes.h"
#include "sim/place/heads_formula.h"
#include "sim/place/heads_rows.h"
#include "tests/unit/sim/import_run.h"
#include <math.h>
#include <unistd.h>

#define REAL "../shared/data/kafetzis"
#define MOST_DEVICES 3
#define MOST_HEADS 6
#define WIDTH (MOST_HEADS + 1)
#define ROUNDS 3000

/* ---- random problems ---- */

struct random_case {
    struct heads_problem problem;
    double heads[MOST_DEVICES * WIDTH], gather[MOST_DEVICES * MOST_DEVICES * WIDTH];
    double projections[MOST_DEVICES], ffns[MOST_DEVICES], pass[MOST_DEVICES * MOST_DEVICES];
    double feed[MOST_DEVICES * MOST_DEVICES], end_costs[MOST_DEVICES * MOST_DEVICES];
    double enter[MOST_DEVICES * MOST_DEVICES], rooms[HEADS_RESOURCES][MOST_DEVICES];
    int32_t ends[MOST_DEVICES], kinds[MOST_DEVICES];
};

static double draw(struct rng *rng, int most)
{
    return (double)rng_below(rng, (uint64_t)most + 1);
}

static void pairs_draw(struct rng *rng, double *costs, int32_t count)
{
    for (int32_t a = 0; a < count; a++)
        for (int32_t b = 0; b < count; b++)
            costs[a * count + b] = a == b                  ? 0
                                   : draw(rng, 19) < 1     ? HUGE_VAL
                                   : rng_below(rng, 2) > 0 ? draw(rng, 40)
                                                           : 0;
}

static void rooms_draw(struct rng *rng, struct heads_problem *p, struct random_case *c)
{
    double drawn[4];

    p->resource_count = (int)rng_below(rng, HEADS_RESOURCES + 1);
    for (int r = 0; r < p->resource_count; r++) {
        for (int32_t d = 0; d < p->device_count; d++)
            c->rooms[r][d] = draw(rng, 3) < 1 ? HUGE_VAL : draw(rng, 60);
        for (int part = 0; part < 4; part++)
            drawn[part] = draw(rng, part == 0 ? 12 : 30);
        p->resources[r] =
            (struct heads_resource){ c->rooms[r], drawn[0], drawn[1], drawn[2], drawn[3] };
    }
}

/* Costs that rise with the heads by uneven steps, some sizes impossible. */
static void costs_draw(struct rng *rng, struct heads_problem *p, struct random_case *c)
{
    int32_t width = p->head_count + 1;

    for (int32_t d = 0; d < p->device_count; d++) {
        double each = 1 + draw(rng, 30), slope = draw(rng, 10);
        bool has_holes = rng_below(rng, 4) == 0;

        for (int32_t n = 1; n < width; n++)
            c->heads[d * width + n] = has_holes && n < width - 1 && rng_below(rng, 2) > 0
                                          ? HUGE_VAL
                                          : n * each + draw(rng, 5);
        for (int32_t to = 0; to < p->device_count; to++)
            for (int32_t n = 1; n < width && to != d; n++)
                c->gather[(d * p->device_count + to) * width + n] = 5 + n * slope;
        c->projections[d] = draw(rng, 30);
        c->ffns[d] = draw(rng, 60);
    }
}

static void case_draw(struct rng *rng, struct random_case *c)
{
    struct heads_problem *p = &c->problem;

    memset(c, 0, sizeof *c);
    *p = (struct heads_problem){ .head_count = 1 + (int32_t)rng_below(rng, MOST_HEADS),
                                 .device_count = 1 + (int32_t)rng_below(rng, MOST_DEVICES),
                                 .head_costs = c->heads,
                                 .gather_costs = c->gather,
                                 .projection_costs = c->projections,
                                 .ffn_costs = c->ffns,
                                 .pass_costs = c->pass,
                                 .feed_costs = c->feed,
                                 .end_count = 1,
                                 .ends = c->ends,
                                 .end_costs = c->end_costs,
                                 .enter_costs = c->enter };
    c->ends[0] = -1;
    if (rng_below(rng, 2) > 0)
        for (p->end_count = 0; p->end_count < p->device_count; p->end_count++)
            c->ends[p->end_count] = p->end_count;
    costs_draw(rng, p, c);
    pairs_draw(rng, c->pass, p->device_count);
    pairs_draw(rng, c->feed, p->device_count);
    for (int32_t i = 0; i < p->end_count * p->device_count; i++) {
        c->end_costs[i] = draw(rng, 40);
        c->enter[i] = draw(rng, 10);
    }
    rooms_draw(rng, p, c);
}

/* By the definition of heads.h, without its functions; infinite where something has no room. */
static double cost_by_hand(const struct heads_problem *p, const struct heads_answer *answer)
{
    int32_t devices = p->device_count, width = p->head_count + 1;
    double most = 0, sum = p->projection_costs[answer->projection] + p->ffn_costs[answer->ffn] +
                           p->pass_costs[answer->projection * devices + answer->ffn] +
                           p->end_costs[answer->end * devices + answer->ffn];

    for (int32_t d = 0; d < devices; d++) {
        int32_t n = answer->counts[d];
        bool is_used =
            n > 0 || answer->projection == d || answer->ffn == d || p->ends[answer->end] == d;

        for (int r = 0; r < p->resource_count; r++) {
            const struct heads_resource *of = &p->resources[r];

            if (is_used && n * of->head + (answer->projection == d) * of->projection +
                                   (answer->ffn == d) * of->ffn +
                                   (p->ends[answer->end] == d) * of->end >
                               of->rooms[d])
                return HUGE_VAL;
        }
        if (n == 0)
            continue;
        most = fmax(most, p->head_costs[d * width + n]);
        sum += p->enter_costs[answer->end * devices + d] +
               p->feed_costs[answer->ffn * devices + d] +
               p->gather_costs[(d * devices + answer->projection) * width + n];
    }
    return most + sum;
}

/* Every way to share out the heads that are left from a device on. */
static double enumerate_heads(const struct heads_problem *p, struct heads_answer *answer,
                              int32_t device, int32_t left)
{
    double best = HUGE_VAL;

    if (device == p->device_count)
        return left == 0 ? cost_by_hand(p, answer) : HUGE_VAL;
    for (int32_t n = 0; n <= left; n++) {
        double cost;

        answer->counts[device] = n;
        cost = enumerate_heads(p, answer, device + 1, left - n);
        best = cost < best ? cost : best;
    }
    return best;
}

static double enumerate(const struct heads_problem *p)
{
    int32_t counts[MOST_DEVICES];
    struct heads_answer answer = { .counts = counts };
    double best = HUGE_VAL;

    for (answer.end = 0; answer.end < p->end_count; answer.end++)
        for (answer.projection = 0; answer.projection < p->device_count; answer.projection++)
            for (answer.ffn = 0; answer.ffn < p->device_count; answer.ffn++) {
                double cost = enumerate_heads(p, &answer, 0, p->head_count);

                best = cost < best ? cost : best;
            }
    return best;
}

static bool is_equal(double a, double b)
{
    return !(a < b) && !(a > b);
}

static int32_t sum_of(const int32_t *counts, int32_t count)
{
    int32_t sum = 0;

    for (int32_t i = 0; i < count; i++)
        sum += counts[i];
    return sum;
}

/* All costs are whole numbers, so that sums are exact in any order. */
static void the_optimum_is_that_of_all_placements(void **state)
{
    struct rng rng = rng_stream(21, RNG_TEST, 0);
    int feasible = 0, split = 0;
    struct random_case c;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct arena *arena = arena_create();
        struct heads_answer best, greedy;
        double cost;

        case_draw(&rng, &c);
        cost = enumerate(&c.problem);
        best = heads_solve(arena, &c.problem, NULL, NULL);
        greedy = heads_greedy(arena, &c.problem);
        assert_int_equal(best.is_feasible, !isinf(cost));
        if (best.is_feasible) {
            assert_true(is_equal(best.cost, cost) && is_equal(best.bound, cost));
            assert_true(is_equal(cost_by_hand(&c.problem, &best), cost));
            assert_true(is_equal(heads_cost(&c.problem, &best), cost));
            assert_int_equal(sum_of(best.counts, c.problem.device_count), c.problem.head_count);
            split += best.counts[best.projection] < c.problem.head_count;
            feasible++;
        }
        if (greedy.is_feasible) {
            assert_true(best.is_feasible && greedy.cost >= cost);
            assert_true(is_equal(cost_by_hand(&c.problem, &greedy), greedy.cost));
            assert_int_equal(sum_of(greedy.counts, c.problem.device_count), c.problem.head_count);
        }
        arena_destroy(arena);
    }
    assert_in_range(feasible, ROUNDS / 3, ROUNDS - ROUNDS / 10);
    assert_in_range(split, ROUNDS / 20, ROUNDS);
}

/* Where heads may be of any number, greedy finds something whenever there is anything. */
static void greedy_fits_wherever_anything_does(void **state)
{
    struct rng rng = rng_stream(22, RNG_TEST, 0);
    int feasible = 0;
    struct random_case c;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct arena *arena = arena_create();
        bool has_holes = false;

        case_draw(&rng, &c);
        for (int32_t i = 0; i < c.problem.device_count * (c.problem.head_count + 1); i++)
            has_holes = has_holes || isinf(c.heads[i]);
        for (int32_t i = 0; i < c.problem.device_count * c.problem.device_count; i++)
            has_holes = has_holes || isinf(c.feed[i]);
        if (!has_holes) {
            bool is_feasible = !isinf(enumerate(&c.problem));

            assert_int_equal(heads_greedy(arena, &c.problem).is_feasible, is_feasible);
            feasible += is_feasible;
        }
        arena_destroy(arena);
    }
    assert_in_range(feasible, ROUNDS / 10, ROUNDS);
}

/* Two alike devices counted once give what both told apart give. */
static void alike_devices_are_told_apart_for_nothing(void **state)
{
    struct rng rng = rng_stream(23, RNG_TEST, 0);
    struct random_case c;
    int compared = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct arena *arena = arena_create();
        struct heads_answer one, two;
        int32_t width;

        case_draw(&rng, &c);
        width = c.problem.head_count + 1;
        if (c.problem.device_count == 2) { /* b becomes a's twin */
            double way = draw(&rng, 20);

            memcpy(&c.heads[width], c.heads, (size_t)width * sizeof(double));
            c.projections[1] = c.projections[0];
            c.ffns[1] = c.ffns[0];
            for (int32_t n = 1; n < width; n++)
                c.gather[width + n] = c.gather[2 * width + n] = way + n;
            c.pass[1] = c.pass[2] = c.feed[1] = c.feed[2] = way;
            c.enter[1] = c.enter[2] = c.end_costs[1] = c.end_costs[2] = way;
            c.enter[3] = c.enter[0];
            c.end_costs[3] = c.end_costs[0];
            if (c.problem.end_count == 1)
                c.enter[1] = c.enter[0], c.end_costs[1] = c.end_costs[0];
            for (int r = 0; r < c.problem.resource_count; r++)
                c.rooms[r][1] = c.rooms[r][0];
            one = heads_solve(arena, &c.problem, NULL, NULL);
            c.problem.kinds = c.kinds;
            two = heads_solve(arena, &c.problem, NULL, NULL);
            assert_int_equal(one.is_feasible, two.is_feasible);
            if (one.is_feasible) {
                assert_true(is_equal(one.cost, two.cost));
                compared++;
            }
        }
        arena_destroy(arena);
    }
    assert_in_range(compared, ROUNDS / 20, ROUNDS);
}

static bool at_once(void *arg)
{
    (*(int *)arg)++;
    return true;
}

/* Stopped early it says how far from the best it may be. */
static void a_search_that_is_cut_short_has_a_bound(void **state)
{
    struct arena *arena = arena_create();
    enum { DEVICES = 8, HEADS = 32 };
    struct rng rng = rng_stream(24, RNG_TEST, 0);
    static double heads[DEVICES * (HEADS + 1)], gather[DEVICES * DEVICES * (HEADS + 1)];
    static double each[DEVICES], rooms[DEVICES];
    static const double zero[DEVICES * DEVICES] = { 0 };
    static const int32_t ends[] = { -1 };
    const struct heads_problem p = { .head_count = HEADS,
                                     .device_count = DEVICES,
                                     .head_costs = heads,
                                     .gather_costs = gather,
                                     .projection_costs = each,
                                     .ffn_costs = each,
                                     .pass_costs = zero,
                                     .feed_costs = zero,
                                     .end_count = 1,
                                     .ends = ends,
                                     .end_costs = zero,
                                     .enter_costs = zero,
                                     .resource_count = 1,
                                     .resources = { { rooms, 1, 2, 3, 0 } } };
    struct heads_answer best, cut;
    int asked = 0;

    (void)state;
    for (int32_t d = 0; d < DEVICES; d++) {
        double slope = 100 + draw(&rng, 400);

        each[d] = 300 + draw(&rng, 50);
        rooms[d] = 8 + draw(&rng, 4);
        for (int32_t n = 1; n <= HEADS; n++) {
            heads[d * (HEADS + 1) + n] = n * slope;
            for (int32_t to = 0; to < DEVICES; to++)
                gather[(d * DEVICES + to) * (HEADS + 1) + n] = to == d ? 0 : 40 + n * 7.0;
        }
    }
    best = heads_solve(arena, &p, NULL, NULL);
    cut = heads_solve(arena, &p, at_once, &asked);
    assert_int_equal(asked, 1);
    assert_true(best.is_feasible && is_equal(best.bound, best.cost));
    assert_true(cut.is_feasible && cut.bound <= best.cost && cut.cost >= best.cost);
    assert_true(cut.bound < cut.cost && cut.bound > 0.5 * cut.cost);
    arena_destroy(arena);
}

/* ---- Kafetzis' environments ---- */

struct environment {
    const struct heads_formula *of;
    const struct heads_problem *problem;
};

static const char *kept(struct scratch *scratch, const char *name)
{
    const char *text = import_table(name);

    assert_non_null(text);
    return scratch_write(scratch, name, text);
}

static struct environment environment_of(struct scratch *scratch, const char *config)
{
    struct heads_formula *of = arena_alloc(scratch->arena, sizeof *of);
    struct kafetzis_settings settings;
    struct model_catalogue *catalogue;
    const struct workload *workload;
    struct environment environment = { of, NULL };

    kafetzis_defaults(&settings);
    settings.config = config;
    if (!import_run(scratch, &import_kafetzis, REAL, &settings))
        fail_msg("%s", scratch->err.text);
    (void)kept(scratch, "cluster/devices.csv");
    (void)kept(scratch, "cluster/links.csv");
    of->cluster =
        cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/cluster", scratch->folder),
                     scratch_err(scratch));
    catalogue =
        model_catalogue_load(scratch->arena, kept(scratch, "models.csv"), scratch_err(scratch));
    workload = import_workload(scratch, "workload.csv");
    of->service = workload->services[0];
    of->prompt_tokens = workload->prompt_tokens[0];
    of->model = model_find(catalogue, arena_printf(scratch->arena, "kafetzis-%s", of->service),
                           scratch_err(scratch));
    assert_non_null(of->model);
    environment.problem = heads_formula(scratch->arena, of, scratch_err(scratch));
    if (!environment.problem)
        fail_msg("%s", scratch->err.text);
    return environment;
}

/* A step of the rows by --rules kafetzis itself, and that its devices suffice. */
static double step_of(struct scratch *scratch, const struct environment *environment,
                      const struct heads_answer *answer)
{
    const struct heads_formula *of = environment->of;
    struct placement placement = { .path = "rows" };
    struct model_catalogue *catalogue = model_catalogue_load(
        scratch->arena, arena_printf(scratch->arena, "%s/models.csv", scratch->folder),
        scratch_err(scratch));
    struct kafetzis_result *result = kafetzis_result_create(scratch->arena, of->cluster);
    struct heads_plan plan_of_heads = { .end = 0, .run_count = 1 };
    int32_t devices[HEADS_MAX_DEVICES];
    const struct kafetzis_plan *plan;
    struct heads_run layer_run;

    for (int32_t d = 0; d < environment->problem->device_count; d++)
        devices[d] = d;
    layer_run = heads_run_of(scratch->arena, environment->problem, answer, devices, 0, 0, NULL);
    plan_of_heads.runs = &layer_run;
    placement.rows = heads_rows(scratch->arena, of->cluster, of->model, of->service, &plan_of_heads,
                                &placement.count);
    plan = kafetzis_plan_build(scratch->arena, &placement, of->cluster, catalogue, &scratch->err);
    if (!plan ||
        !kafetzis_run(plan, 0, kafetzis_routes_create(scratch->arena, of->cluster),
                      of->prompt_tokens, result, &scratch->err) ||
        !kafetzis_fits(plan, 0, result, 0, &scratch->err))
        fail_msg("%s", scratch->err.text);
    return result->step_s;
}

static void assert_near(double seen, double expected)
{
    if (fabs(seen - expected) > 1e-9 * expected)
        fail_msg("%.17g is not %.17g", seen, expected);
}

static void one_environment(struct scratch *scratch, const char *config, const char *algorithm,
                            double latency_s)
{
    struct environment e = environment_of(scratch, config);
    struct heads_answer best = heads_solve(scratch->arena, e.problem, NULL, NULL);

    assert_true(best.is_feasible);
    for (int i = 0; i < heads_rule_count; i++) {
        struct heads_answer answer = heads_rules[i].plan(scratch->arena, e.problem, NULL, NULL);

        assert_true(answer.is_feasible); /* every algorithm in every environment */
        assert_true(answer.cost >= best.cost * (1 - 1e-12));
        assert_near(step_of(scratch, &e, &answer), answer.cost);
        if (strcmp(heads_rules[i].name, "resource-aware") == 0)
            assert_true(answer.cost <= 1.01 * best.cost);
        if (strcmp(algorithm, "exact") == 0 && strcmp(heads_rules[i].name, "exact-heads") == 0)
            assert_near(answer.cost, latency_s);
        if (strcmp(algorithm, "greedy") == 0 && strcmp(heads_rules[i].name, "greedy") == 0)
            assert_near(answer.cost, latency_s);
        if (strcmp(algorithm, "round_robin") == 0 &&
            strcmp(heads_rules[i].name, "round-robin") == 0)
            assert_near(answer.cost, latency_s);
    }
    if (e.problem->device_count <= MOST_DEVICES)
        assert_near(best.cost, enumerate(e.problem));
}

static void kafetzis_environments(void **state)
{
    enum {
        CONFIG,
        ALGORITHM,
        FEASIBLE,
        ERROR,
        LATENCY,
        COMM,
        SENT,
        PROJECTION,
        FFN,
        MAKESPAN,
        GATHER,
        REST,
        COUNT
    };
    static const struct csv_column columns[] = {
        { "config", true },          { "algorithm", true },
        { "feasible", true },        { "error", true },
        { "latency_s", true },       { "comm_s", true },
        { "transferred_gib", true }, { "projection_device", true },
        { "ffn_device", true },      { "heads_makespan_s", true },
        { "heads_comm_s", true },    { "projection_ffn_s", true },
    };
    struct scratch *scratch = *state;
    struct err err = ERR_INIT;
    struct csv *csv;
    int rows = 0;

    if (access(REAL, R_OK) != 0) {
        print_message("skipped: no " REAL " beside this checkout\n");
        skip();
    }
    csv = csv_open(scratch->arena, REAL "/results.csv", "results", columns, COUNT, &err);
    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        const char *config = arena_strdup(scratch->arena, csv_text(csv, CONFIG));
        const char *algorithm = arena_strdup(scratch->arena, csv_text(csv, ALGORITHM));
        double latency_s;

        if (strcmp(algorithm, "exact") != 0 && strcmp(algorithm, "greedy") != 0 &&
            strcmp(algorithm, "round_robin") != 0)
            continue;
        assert_true(csv_double(csv, LATENCY, 0, 1e300, &latency_s, &err));
        one_environment(scratch, config, algorithm, latency_s);
        rows++;
    }
    csv_close(csv);
    assert_int_equal(err.kind, ERR_NONE);
    assert_int_equal(rows, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_optimum_is_that_of_all_placements),
        cmocka_unit_test(greedy_fits_wherever_anything_does),
        cmocka_unit_test(alike_devices_are_told_apart_for_nothing),
        cmocka_unit_test(a_search_that_is_cut_short_has_a_bound),
        scratch_test(kafetzis_environments),
    };

    return cmocka_run_group_tests_name("place_heads", tests, NULL, NULL);
}
