/* test_place_heads_measured.c - head-level placements on measured costs: against the simulation of
 * every one of them on small clusters. */
#include "tests/unit/sim/place_case.h"

#include "sim/place/heads_measured.h"
#include "sim/place/heads_rows.h"
#include "sim/place/room.h"
#include <math.h>

#define ROUNDS 40
#define SAMPLES 60
#define MOST_DEVICES 3

static void draw_cluster(struct rng *rng, int32_t memory_bytes)
{
    int rate = draw(rng, 8, 10), latency_us = draw(rng, 1, 30), message_us = draw(rng, 0, 3);
    int there_us = draw(rng, 1, 5), back_us = draw(rng, 1, 5);
    const char *lan = arena_printf(fixture.arena, "lan,switch,*,1e%d,0.%06d,0.%06d\n", rate,
                                   latency_us, message_us);
    const char *back =
        arena_printf(fixture.arena, "back,switch,d0,1e10,0.%06d,0\nback,switch,d1,1e10,0.%06d,0\n",
                     there_us, back_us);
    int count = draw(rng, 2, MOST_DEVICES);
    const char *text = "device,type,speed_ratio,memory_bytes\n";

    for (int d = 0; d < count; d++) {
        bool is_slow = draw(rng, 0, 1) > 0;
        int is_larger = draw(rng, 0, 1), more_bytes = is_larger * draw(rng, 0, 30000);

        text = arena_printf(fixture.arena, "%sd%d,t,%s,%s\n", text, d, is_slow ? "0.5" : "",
                            memory_bytes > 0
                                ? arena_printf(fixture.arena, "%d", (int)memory_bytes + more_bytes)
                                : "");
    }
    fixture_cluster(text, arena_printf(fixture.arena,
                                       "medium,kind,node,bits_per_s,latency_s,per_message_s\n%s%s",
                                       draw(rng, 0, 2) > 1 ? back : "", lan));
}

static void case_begin(struct case_of *of, int prompt, int output)
{
    case_load(of);
    case_ask(of, prompt, output, NULL, NULL, PLACE_LATENCY);
}

static struct judge_verdict judge_of(const struct case_of *of, const struct placement_row *placed,
                                     int count)
{
    return judge_alone(of->judge, placed, count, "s", of->input.prompt_tokens,
                       of->input.output_tokens);
}

struct least {
    double sum_ps;        /* by heads.h */
    int64_t simulated_ps; /* INT64_MAX: nothing fits */
    int count;
    double low, high; /* sums over simulated latencies */
};

/* A placement of the enumeration, by both. */
static void look_at(const struct case_of *of, const struct heads_measured *measured,
                    const struct heads_answer *answer, struct least *least)
{
    const struct heads_problem *problem = heads_problem_of(measured);
    double sum_ps = heads_cost(problem, answer);
    struct heads_answer kept = *answer;
    struct judge_verdict verdict;
    struct heads_found found;
    struct placement_row *placed;
    int count;

    kept.is_feasible = true;
    found = heads_found_of(fixture.arena, measured, kept, NULL);
    placed = heads_rows(fixture.arena, of->input.cluster, of->input.model, "s", found.plan, &count);
    verdict = judge_of(of, placed, count);
    if (!isinf(sum_ps)) {
        double ratio = sum_ps / (double)verdict.latency_mean_ps;

        assert_true(verdict.is_feasible);
        least->low = fmin(least->low, ratio);
        least->high = fmax(least->high, ratio);
    }
    least->sum_ps = sum_ps < least->sum_ps ? sum_ps : least->sum_ps;
    if (verdict.is_feasible && verdict.latency_mean_ps < least->simulated_ps)
        least->simulated_ps = verdict.latency_mean_ps;
    least->count++;
}

static void enumerate_heads(const struct case_of *of, const struct heads_measured *measured,
                            struct heads_answer *answer, int32_t device, int32_t left,
                            struct least *least)
{
    int32_t devices = heads_problem_of(measured)->device_count;

    if (device == devices - 1) {
        answer->counts[device] = left;
        look_at(of, measured, answer, least);
        return;
    }
    for (int32_t n = 0; n <= left; n++) {
        answer->counts[device] = n;
        enumerate_heads(of, measured, answer, device + 1, left - n, least);
    }
}

/* All layers cut alike. */
static struct least enumerate(const struct case_of *of, const struct heads_measured *measured)
{
    int32_t devices = heads_problem_of(measured)->device_count, counts[MOST_DEVICES];
    struct heads_answer answer = { .counts = counts };
    struct least least = { HUGE_VAL, INT64_MAX, 0, HUGE_VAL, 0 };

    for (answer.end = 0; answer.end < devices; answer.end++)
        for (answer.projection = 0; answer.projection < devices; answer.projection++)
            for (answer.ffn = 0; answer.ffn < devices; answer.ffn++)
                enumerate_heads(of, measured, &answer, 0, KV_HEADS, &least);
    return least;
}

/* Whole layers, on other devices from layer to layer: head-level placements, too. */
static int64_t pipeline_ps(const struct case_of *of)
{
    struct place_answer answer = place_exact(fixture.arena, &of->ask);
    int count;
    struct placement_row *placed = place_rows(fixture.arena, &of->ask, &answer, &count);

    assert_true(answer.is_feasible);
    return judge_of(of, placed, count).latency_mean_ps;
}

struct logs { /* sums of logarithms, over rounds */
    double exact, aware, bound, found;
    double low, high; /* sums over simulated latencies */
    int split;
};

static void begin_round(void **state, int round)
{
    if (round == 0)
        return;
    fixture_tear_down(state);
    wide_set_up(state);
}

/* What the sums find best, before anything is simulated. */
static void sums_are_right(const struct case_of *of, const struct heads_measured *measured,
                           const struct least *least, struct logs *logs)
{
    struct heads_found found = heads_find(fixture.arena, measured, HEADS_EXACT, NULL, NULL, NULL);
    struct placement_row *placed;
    double simulated_ps;
    bool is_split = false;
    int count;

    assert_true(found.is_feasible && found.is_uniform);
    assert_true(fabs(found.cost_ps - least->sum_ps) <= 1e-12 * least->sum_ps);
    placed = heads_rows(fixture.arena, of->input.cluster, of->input.model, "s", found.plan, &count);
    simulated_ps = (double)judge_of(of, placed, count).latency_mean_ps;
    assert_true(found.cost_ps > 0.98 * simulated_ps && found.cost_ps < 1.02 * simulated_ps);
    logs->found += log(simulated_ps / (double)least->simulated_ps);
    logs->low = fmin(logs->low, least->low);
    logs->high = fmax(logs->high, least->high);
    for (int32_t h = 1; h < KV_HEADS; h++)
        is_split = is_split || found.plan->runs[0].owners[h] != found.plan->runs[0].owners[0];
    logs->split += is_split;
}

/* Nothing that can be simulated is below the bound; and what exact-heads and the greedy one choose
 * is near the best of all simulations. */
static void planners_are_near(const struct case_of *of, const struct least *least,
                              struct logs *logs)
{
    struct place_answer exact = place_exact_heads(fixture.arena, &of->ask);
    struct place_answer aware = place_resource_aware(fixture.arena, &of->ask);
    int64_t exact_ps, aware_ps;

    assert_true(exact.is_feasible && aware.is_feasible);
    exact_ps = judge_of(of, exact.rows, exact.row_count).latency_mean_ps;
    aware_ps = judge_of(of, aware.rows, aware.row_count).latency_mean_ps;
    assert_true(exact.bound_ps > 0 && exact.bound_ps <= least->simulated_ps);
    assert_true(exact.bound_ps <= pipeline_ps(of));
    assert_true(exact_ps <= aware_ps && exact_ps >= least->simulated_ps);
    logs->exact += log((double)exact_ps / (double)least->simulated_ps);
    logs->aware += log((double)aware_ps / (double)least->simulated_ps);
    logs->bound += log((double)exact_ps / (double)exact.bound_ps);
}

static void every_placement_was_looked_at(void **state)
{
    struct rng rng = rng_stream(31, RNG_TEST, 0);
    struct logs logs = { .low = HUGE_VAL };

    for (int round = 0; round < ROUNDS; round++) {
        const struct heads_measured *measured;
        struct case_of of;
        int prompt, output;
        struct least least;

        begin_round(state, round);
        draw_cluster(&rng, 0);
        prompt = draw(&rng, 1, 4);
        output = draw(&rng, 1, 6);
        case_begin(&of, prompt, output);
        measured = heads_measure(fixture.arena, of.problem);
        assert_false(heads_has_holes(measured));
        least = enumerate(&of, measured);
        sums_are_right(&of, measured, &least, &logs);
        planners_are_near(&of, &least, &logs);
    }
    print_message("over the best simulated: exact-heads %.3f, by sums alone %.5f, resource-aware "
                  "%.3f; over the bound %.3f\n",
                  exp(logs.exact / ROUNDS), exp(logs.found / ROUNDS), exp(logs.aware / ROUNDS),
                  exp(logs.bound / ROUNDS));
    print_message("in %d of %d cases on several devices; sums are %.3f to %.3f of what is "
                  "simulated\n",
                  logs.split, ROUNDS, logs.low, logs.high);
    assert_true(exp(logs.found / ROUNDS) < 1.001);
    assert_true(exp(logs.exact / ROUNDS) < 1.001);
    assert_true(exp(logs.aware / ROUNDS) < 1.02);
    assert_true(exp(logs.bound / ROUNDS) < 1.01);
    assert_in_range(logs.split, ROUNDS / 3, ROUNDS);
}

/* Each layer by itself, mostly on few devices. */
static struct placement_row *random_rows(struct rng *rng, const struct case_of *of, int *count)
{
    int32_t owners[LAYERS][KV_HEADS], devices = of->input.cluster->device_count;
    struct heads_run runs[LAYERS];
    struct heads_plan plan = { .run_count = LAYERS, .runs = runs };
    int32_t device = draw(rng, 0, devices - 1);

    plan.end = draw(rng, 0, devices - 1);
    for (int32_t l = 0; l < LAYERS; l++) {
        bool is_split = draw(rng, 0, 3) == 0;

        device = draw(rng, 0, 3) == 0 ? draw(rng, 0, devices - 1) : device;
        runs[l] = (struct heads_run){ l, l, device, device, owners[l] };
        if (draw(rng, 0, 3) == 0)
            runs[l].ffn = draw(rng, 0, devices - 1);
        for (int32_t h = 0; h < KV_HEADS; h++)
            owners[l][h] = is_split ? draw(rng, 0, devices - 1) : device;
    }
    return heads_rows(fixture.arena, of->input.cluster, of->input.model, "s", &plan, count);
}

struct tight { /* of rounds with little memory */
    int feasible, uneven, bounded, sampled;
    double bound_log, beaten_by;
};

/* What greedy has counted as fitting fits. */
static void counted_memory_does(const struct case_of *of, struct tight *tight)
{
    struct heads_found found = heads_find(fixture.arena, heads_measure(fixture.arena, of->problem),
                                          HEADS_GREEDY, NULL, NULL, NULL);
    struct judge_verdict verdict;
    struct placement_row *placed;
    int count;

    if (!found.is_feasible)
        return;
    placed = heads_rows(fixture.arena, of->input.cluster, of->input.model, "s", found.plan, &count);
    verdict = judge_of(of, placed, count);
    if (!verdict.is_feasible)
        fail_msg("%s", verdict.why);
    tight->uneven += !found.is_uniform;
}

static bool check_fit(const struct case_of *of, const struct place_answer *answer,
                      struct judge_verdict *verdict, struct tight *tight)
{
    struct placement_row *placed;
    int count;

    if (!answer->is_feasible) {
        assert_int_not_equal(answer->why[0], '\0');
        assert_false(place_exact(fixture.arena, &of->ask).is_feasible);
        return false;
    }
    placed = place_rows(fixture.arena, &of->ask, answer, &count);
    *verdict = judge_of(of, placed, count);
    assert_true(verdict->is_feasible && verdict->room_bytes >= 0);
    tight->feasible++;
    return true;
}

/* Whatever fits is not below the bound, and hardly better than what was found. */
static void others_are_worse(struct rng *rng, const struct case_of *of, int64_t bound_ps,
                             int64_t latency_ps, struct tight *tight)
{
    assert_true(bound_ps > 0 && bound_ps <= latency_ps);
    tight->bound_log += log((double)latency_ps / (double)bound_ps);
    tight->bounded++;
    for (int i = 0; i < SAMPLES; i++) {
        int count;
        struct placement_row *placed = random_rows(rng, of, &count);
        struct judge_verdict other = judge_of(of, placed, count);

        if (!other.is_feasible)
            continue;
        assert_true(bound_ps <= other.latency_mean_ps);
        tight->sampled++;
        tight->beaten_by =
            fmax(tight->beaten_by, (double)latency_ps / (double)other.latency_mean_ps);
    }
}

/* Memory for less than all layers on any one device. */
static void layers_are_cut_differently_where_they_have_to_be(void **state)
{
    struct rng rng = rng_stream(32, RNG_TEST, 0);
    struct tight tight = { 0 };

    for (int round = 0; round < ROUNDS; round++) {
        struct place_answer exact, aware;
        struct judge_verdict verdict;
        struct case_of of;

        begin_round(state, round);
        draw_cluster(&rng, draw(&rng, 120, 400) * 1000);
        case_begin(&of, 2, 3);
        counted_memory_does(&of, &tight);
        aware = place_resource_aware(fixture.arena, &of.ask);
        exact = place_exact_heads(fixture.arena, &of.ask);
        (void)check_fit(&of, &aware, &verdict, &tight);
        if (check_fit(&of, &exact, &verdict, &tight) && exact.bound_ps > 0)
            others_are_worse(&rng, &of, exact.bound_ps, verdict.latency_mean_ps, &tight);
    }
    print_message("with little memory: over the bound %.3f, over the best of %d random ones %.3f\n",
                  exp(tight.bound_log / tight.bounded), tight.sampled, tight.beaten_by);
    assert_in_range(tight.feasible, ROUNDS / 2, 2 * ROUNDS - 4);
    assert_in_range(tight.sampled, ROUNDS, INT32_MAX);
    assert_in_range(tight.uneven, 2, tight.feasible);
    assert_true(tight.beaten_by < 1.01);
    assert_true(exp(tight.bound_log / tight.bounded) < 1.12);
}

/* Judges simulate one request at a time: the caches of three are for planners to count. */
static void caches_of_several_requests_fit(void **state)
{
    struct rng rng = rng_stream(33, RNG_TEST, 0);
    int feasible = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct place_answer answer;
        struct room room;
        struct case_of of;

        begin_round(state, round);
        draw_cluster(&rng, draw(&rng, 120, 400) * 1000);
        case_load(&of);
        of.input.sequences = 3;
        case_ask(&of, 4, 6, NULL, NULL, PLACE_LATENCY);
        answer = place_exact_heads(fixture.arena, &of.ask);
        if (!answer.is_feasible)
            continue;
        feasible++;
        answer.rows = place_rows(fixture.arena, &of.ask, &answer, &answer.row_count);
        assert_true(room_of_rows(fixture.arena, &of.problem, 1, of.catalogue, answer.rows,
                                 answer.row_count, &room, &fixture.err));
        assert_true(room.bytes >= 0);
    }
    assert_in_range(feasible, ROUNDS / 4, ROUNDS - 1);
}

/* Heads that stay: only as many change hands as have to. */
static void heads_stay_where_they_were(void **state)
{
    int32_t owners[] = { 7, 7, 5, 9, 5, 7 }, counts[] = { 1, 4, 1 };
    const int32_t devices[] = { 5, 7, 9 };
    const struct heads_problem problem = { .head_count = 6, .device_count = 3 };
    const struct heads_answer answer = { .projection = 1, .ffn = 2, .counts = counts };
    const struct heads_run before = { .owners = owners };
    struct heads_run run = heads_run_of(fixture.arena, &problem, &answer, devices, 2, 3, &before);
    const int32_t expected[] = { 7, 7, 5, 9, 7, 7 };

    (void)state;
    assert_memory_equal(run.owners, expected, sizeof expected);
    assert_int_equal(run.projection, 7);
    assert_int_equal(run.ffn, 9);
    run = heads_run_of(fixture.arena, &problem, &answer, devices, 2, 3, NULL);
    assert_int_equal(run.owners[0], 5);
    assert_int_equal(run.owners[5], 9);
}

#define RULE(f) cmocka_unit_test_setup_teardown(f, wide_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(every_placement_was_looked_at),
        RULE(layers_are_cut_differently_where_they_have_to_be),
        RULE(caches_of_several_requests_fit),
        RULE(heads_stay_where_they_were),
    };

    return cmocka_run_group_tests_name("place_heads_measured", tests, NULL, NULL);
}
