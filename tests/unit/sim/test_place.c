/* test_place.c - planners on random clusters: what they predict of a lone request is what the
 * simulator finds, what they place fits, and the exact one is beaten by none. */
#include "tests/unit/sim/llm_fixture.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "sim/judge/judge.h"
#include "sim/place/place.h"
#include <math.h>
#include <string.h>

#define ROUNDS 60
#define MOST_DEVICES 6
#define LINK_KINDS 7       /* of draw_cluster */
#define APART_LINK_KINDS 3 /* where nobody shares a port, as exact has it */
#define BEAM_LINK_KINDS 4  /* where costs of messages are not most of all */

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

static void draw_cluster(struct rng *rng, int kinds, bool has_speeds)
{
    static const char *const links[] = {
        NULL,
        "lan,switch,*,1e6,0.0001,0.00002\n",
        "lan,switch,*,1e5,0.001,0\nback,switch,d0,1e6,0,0\nback,switch,d1,1e6,0,0\n",
        "ring,ring,d0,1e6,0.001,0\nring,ring,d1,1e6,0.001,0\nring,ring,d2,1e6,0.001,0\n"
        "ring,ring,d3,1e6,0.001,0\nring,ring,d4,1e6,0.001,0\nring,ring,d5,1e6,0.001,0\n"
        "ring,ring,source,1e6,0.001,0\n",
        "air,wifi,*,3e4,0.001,0.0001\n",
        "lan,switch,*,1e5,0.001,0\nair,hub,d0,1e6,0,0\nair,hub,d1,1e6,0,0\n",
        "one,switch,source,1e5,0.001,0\none,switch,d0,1e5,0.001,0\none,switch,d1,1e5,0.001,0\n"
        "two,switch,d1,3e4,0.001,0.001\ntwo,switch,d2,3e4,0.001,0\ntwo,switch,d3,3e4,0.001,0\n"
        "two,switch,d4,3e4,0.001,0\ntwo,switch,d5,3e4,0.001,0\n",
    };
    int kind = draw(rng, 0, kinds - 1),
        count = kind == 3 || kind == 6 ? MOST_DEVICES : draw(rng, 2, MOST_DEVICES);
    bool is_at_source = kind == 1 && draw(rng, 0, 1) > 0;
    const char *text = "device,type,node,speed_ratio,memory_bytes,reserved_bytes\n";

    for (int d = 0; d < count; d++) {
        int speed = has_speeds ? draw(rng, 0, 1) : 0, memory = draw(rng, 0, 3);

        text = arena_printf(fixture.arena, "%sd%d,t,%s,%s,%s,%d\n", text, d,
                            d == 0 && is_at_source ? "source" : "", speed > 0 ? "0.5" : "",
                            memory == 0   ? ""
                            : memory == 1 ? "4000"
                                          : "60000",
                            draw(rng, 0, 500));
    }
    fixture_cluster(text, arena_printf(fixture.arena,
                                       "medium,kind,node,bits_per_s,latency_s,per_message_s\n%s",
                                       links[kind] ? links[kind] : "x,switch,nobody,1,0,0\n"));
    if (!links[kind])
        assert_int_equal(remove(fixture_path("cluster/links.csv")), 0);
}

struct case_of {
    struct problem_input input;
    struct cost_set costs;
    const struct problem *problem;
    struct model_catalogue *catalogue;
};

static void case_begin(struct case_of *of, int prompt, int output)
{
    const char *costs = fixture_path("costs");
    struct model_catalogue *catalogue =
        model_catalogue_load(fixture.arena, fixture_path("models.csv"), &fixture.err);

    assert_non_null(catalogue);
    of->catalogue = catalogue;
    assert_true(cost_set_load(fixture.arena, &costs, 1, &of->costs, &fixture.err));
    of->input = (struct problem_input){ .cluster = cluster_load(
                                            fixture.arena, fixture_path("cluster"), &fixture.err),
                                        .costs = &of->costs,
                                        .service = "s",
                                        .model = model_find(catalogue, "quad", &fixture.err),
                                        .prompt_tokens = prompt,
                                        .output_tokens = output,
                                        .sequences = 1 };
    assert_non_null(of->input.cluster);
    of->problem = problem_create(fixture.arena, &of->input, &fixture.err);
    if (!of->problem)
        fail_msg("%s", fixture.err.text);
}

/* Those that cut layers or make replicas have tests of their own, and those that search take long.
 */
static bool is_of_pipelines(const struct place_algorithm *algorithm)
{
    return !algorithm->needs_workload && strcmp(algorithm->name, "orrery") != 0 &&
           strcmp(algorithm->name, "galaxy") != 0;
}

static struct place_ask ask_of(const struct case_of *of, enum place_objective objective,
                               uint64_t seed)
{
    return (struct place_ask){
        .problems = &of->problem, .problem_count = 1, .objective = objective, .seed = seed
    };
}

static void write_placement(const struct case_of *of, const struct place_answer *answer)
{
    struct place_ask ask = ask_of(of, PLACE_LATENCY, 0);
    int count;
    const struct placement_row *rows = place_rows(fixture.arena, &ask, answer, &count);
    struct out *out = out_open(fixture.arena, fixture_path("p.csv"), &fixture.err);

    assert_non_null(out);
    placement_write(out, rows, count);
    assert_true(out_commit(out, &fixture.err));
}

/* A placement with several stages on one device is none of exact's kind. */
static bool is_one_each(const struct place_answer *answer)
{
    for (int32_t s = 0; s < answer->stage_count; s++)
        for (int32_t k = 0; k < s; k++)
            if (answer->stages[k].device == answer->stages[s].device)
                return false;
    return true;
}

/* The judge, who has rows in memory alone, says what a run of the files says, and that nothing is
 * taken for less than the period; true: for exactly as long. */
static bool judge_agrees(const struct case_of *of, const struct place_answer *answer,
                         int64_t latency_ps, int64_t period_ps)
{
    struct judge_input input = { .cluster = of->input.cluster,
                                 .costs = &of->costs,
                                 .catalogue = of->catalogue,
                                 .serve = fixture.options };
    struct judge *judge = judge_create(fixture.arena, &input);
    struct place_ask ask = ask_of(of, PLACE_LATENCY, 0);
    struct judge_verdict verdict;
    int count;
    struct placement_row *rows = place_rows(fixture.arena, &ask, answer, &count);

    verdict = judge_alone(judge, rows, count, of->input.service, of->input.prompt_tokens,
                          of->input.output_tokens);
    assert_true(verdict.is_feasible);
    assert_int_equal(verdict.latency_mean_ps, latency_ps);
    assert_int_equal(verdict.ok_count, 1);
    assert_non_null(verdict.busiest_name);
    assert_true(verdict.busiest_ps >= period_ps - 1000); /* speeds: as of latencies */
    return verdict.busiest_ps <= period_ps + 1000;
}

/* One request alone, by the simulator: it must fit, and take as long as was predicted. */
static int64_t simulate(const struct case_of *of, const struct place_answer *answer)
{
    write_placement(of, answer);
    fixture_write("w.csv", arena_printf(fixture.arena, W "0,0,s,%d,%d\n", of->input.prompt_tokens,
                                        of->input.output_tokens));
    if (!llm_run_files())
        fail_msg("%s", fixture.err.text);
    assert_int_equal(fixture.result.requests[0].status, TRACE_OK);
    return fixture.result.requests[0].finish_ps;
}

static void set_up_files(void)
{
    llm_setup_files(1, 1, 0);
    fixture.options.kv = (struct serve_kv){ 0 };
    fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
}

static void predictions_are_those_of_the_simulator(void **state)
{
    struct rng rng = rng_stream(7, RNG_TEST, 0);
    int feasible = 0, infeasible = 0, cut = 0, pipelines = 0, same = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        bool has_speeds = draw(&rng, 0, 1) > 0;
        int prompt = draw(&rng, 1, 20), output = draw(&rng, 1, 12);
        struct case_of of;

        if (round > 0) {
            fixture_tear_down(NULL);
            fixture_set_up(NULL);
        }
        set_up_files();
        draw_cluster(&rng, LINK_KINDS, has_speeds);
        case_begin(&of, prompt, output);
        for (int a = 0; a < place_algorithm_count; a++) {
            const struct place_ask ask =
                ask_of(&of, draw(&rng, 0, 1) > 0 ? PLACE_LATENCY : PLACE_PERIOD, (uint64_t)round);
            struct place_answer answer;
            struct problem_score score;
            int64_t off_ps, simulated_ps;

            if (!is_of_pipelines(&place_algorithms[a]))
                continue;
            answer = place_algorithms[a].plan(fixture.arena, &ask);
            if (answer.is_feasible && !answer.stages) /* not by sums of units */
                continue;
            if (!answer.is_feasible) {
                assert_int_not_equal(answer.why[0], '\0');
                infeasible++;
                continue;
            }
            feasible++;
            cut += answer.stage_count > 1;
            score = problem_score(of.problem, answer.stages, answer.stage_count);
            assert_true(score.room_bytes >= 0);
            simulated_ps = simulate(&of, &answer);
            pipelines += is_one_each(&answer);
            same +=
                judge_agrees(&of, &answer, simulated_ps, score.period_ps) && is_one_each(&answer);
            off_ps = simulated_ps - score.latency_ps;
            /* a speed ratio is applied step by step there, once here */
            if (has_speeds ? off_ps > 1000 || off_ps < -1000 : off_ps != 0)
                fail_msg("%s is off by %lld ps", place_algorithms[a].name, (long long)off_ps);
        }
    }
    assert_in_range(feasible, ROUNDS * 2, ROUNDS * place_algorithm_count - ROUNDS / 4);
    assert_in_range(infeasible, ROUNDS / 4, ROUNDS * 5);
    assert_in_range(cut, ROUNDS, INT32_MAX);
    assert_in_range(same, pipelines * 99 / 100, pipelines);
}

/* By either objective. */
static void nobody_is_better_than_exact(void **state)
{
    struct rng rng = rng_stream(8, RNG_TEST, 0);
    int compared = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        enum place_objective objective = round % 2 ? PLACE_LATENCY : PLACE_PERIOD;
        struct place_ask ask;
        struct place_answer best;
        struct problem_score score = { 0 };
        struct case_of of;
        int prompt, output;

        if (round > 0) {
            fixture_tear_down(NULL);
            fixture_set_up(NULL);
        }
        set_up_files();
        draw_cluster(&rng, APART_LINK_KINDS, false);
        prompt = draw(&rng, 1, 20);
        output = draw(&rng, 1, 12);
        case_begin(&of, prompt, output);
        ask = ask_of(&of, objective, (uint64_t)round);
        best = place_exact(fixture.arena, &ask);
        if (best.is_feasible)
            score = problem_score(of.problem, best.stages, best.stage_count);
        for (int a = 0; a < place_algorithm_count; a++) {
            struct place_answer answer;
            struct problem_score other;

            if (!is_of_pipelines(&place_algorithms[a]))
                continue;
            answer = place_algorithms[a].plan(fixture.arena, &ask);
            if (!answer.is_feasible || !answer.stages || !is_one_each(&answer))
                continue;
            assert_true(best.is_feasible);
            other = problem_score(of.problem, answer.stages, answer.stage_count);
            assert_true(objective == PLACE_LATENCY ? score.latency_ps <= other.latency_ps
                                                   : score.period_ps <= other.period_ps);
            compared++;
        }
    }
    assert_in_range(compared, ROUNDS * 2, INT32_MAX);
}

/* The beam finds something that fits where there is anything, mostly the best. */
static void a_beam_finds_what_fits(void **state)
{
    struct rng rng = rng_stream(9, RNG_TEST, 0);
    int found = 0, same = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        enum chain_objective objective = round % 2 ? CHAIN_LATENCY : CHAIN_PERIOD;
        const struct chain *chain;
        struct chain_answer best, beam;
        struct case_of of;

        if (round > 0) {
            fixture_tear_down(NULL);
            fixture_set_up(NULL);
        }
        set_up_files();
        draw_cluster(&rng, BEAM_LINK_KINDS, true);
        case_begin(&of, 4, 4);
        chain = problem_chain(fixture.arena, of.problem, objective);
        best = chain_solve(fixture.arena, chain, objective);
        beam = chain_search(fixture.arena, chain, objective, CHAIN_BEAM);
        assert_int_equal(beam.is_feasible, best.is_feasible);
        if (!best.is_feasible)
            continue;
        found++;
        assert_false(beam.cost < best.cost);
        assert_false(beam.cost > 1.5 * best.cost);
        same += !(beam.cost > best.cost);
    }
    assert_in_range(found, ROUNDS / 2, ROUNDS);
    assert_in_range(same, found - found / 3, found);
}

static void same_seed_same_placement(void **state)
{
    struct place_ask one, two;
    struct place_answer a, b, c;
    struct case_of of;

    (void)state;
    set_up_files();
    fixture_cluster("device,type\nd0,t\nd1,t\nd2,t\nd3,t\nd4,t\nd5,t\n", NULL);
    case_begin(&of, 4, 4);
    one = ask_of(&of, PLACE_LATENCY, 1);
    two = ask_of(&of, PLACE_LATENCY, 2);
    a = place_random(fixture.arena, &one);
    b = place_random(fixture.arena, &one);
    c = place_random(fixture.arena, &two);
    assert_int_equal(a.stage_count, b.stage_count);
    assert_memory_equal(a.stages, b.stages, (size_t)a.stage_count * sizeof *a.stages);
    assert_true(a.stage_count != c.stage_count ||
                memcmp(a.stages, c.stages, (size_t)a.stage_count * sizeof *a.stages) != 0);
}

#define RULE(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(predictions_are_those_of_the_simulator),
        RULE(nobody_is_better_than_exact),
        RULE(a_beam_finds_what_fits),
        RULE(same_seed_same_placement),
    };

    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
