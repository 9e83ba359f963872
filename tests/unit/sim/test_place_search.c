/* test_place_search.c - the planner `orrery` on random clusters (tests/scene.h): no other planner
 * is better, nothing beats the bound that it proves, the same is found again, and what it answers
 * is a placement that does what it says. bench_place_search does the same at length. */
#include "tests/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/placement.h"
#include "sim/place/search.h"

#define SEED 20261127 /* no other program reports on it */
#define SCENES 3
#define BOARDS 6
#define SIMULATIONS 80

static void draw_scene(struct arena *arena, int number, int model, struct scene *scene)
{
    struct err err = ERR_INIT;

    if (!scene_draw(arena, SEED, number, model, 2, BOARDS, scene, &err))
        fail_msg("%s", err.text);
    scene->ask.simulations = SIMULATIONS;
}

/* Good requests over time is at most what was proven. */
static void assert_below_bound(const struct judge_verdict *verdict, int64_t bound_ps)
{
    if (verdict->is_feasible && verdict->good_count > 0)
        assert_true(verdict->window_ps >= verdict->good_count * bound_ps);
}

/* What all others answer, asked once. Those that simulate themselves take seconds a scene: they
 * have their turn in the first one. */
static const struct place_answer *ask_others(struct scene *scene, bool has_all)
{
    struct place_answer *answers =
        arena_array(scene->arena, (size_t)place_algorithm_count, sizeof *answers);

    for (int a = 0; a < place_algorithm_count; a++) {
        answers[a] = (struct place_answer){ .is_feasible = false, .why = "" };
        if (place_algorithms[a].plan != place_orrery &&
            (has_all || !place_algorithms[a].needs_workload))
            answers[a] = place_algorithms[a].plan(scene->arena, &scene->ask);
    }
    scene->ask.answers = answers;
    return answers;
}

static struct judge_verdict judge(const struct scene *scene, const struct place_answer *answer)
{
    int count;
    struct placement_row *rows = place_rows(scene->arena, &scene->ask, answer, &count);

    return judge_rows(scene->judge, rows, count);
}

static void nobody_is_better(void **state)
{
    int compared = 0, gained = 0, proven = 0;

    (void)state;
    for (int number = 0; number < SCENES; number++)
        for (int model = 0; model < SCENE_MODELS; model++) {
            struct arena *arena = arena_create();
            struct judge_verdict own, best = { .is_feasible = false };
            const struct place_answer *others;
            struct place_answer answer;
            struct scene scene;

            draw_scene(arena, number, model, &scene);
            others = ask_others(&scene, number == 0 && model == SCENE_MODELS - 1);
            answer = place_orrery(arena, &scene.ask);
            if (answer.is_feasible)
                own = judge(&scene, &answer);
            proven += answer.bound_ps > 0;
            for (int a = 0; a < place_algorithm_count; a++) {
                struct judge_verdict verdict;

                if (!others[a].is_feasible)
                    continue;
                assert_true(answer.is_feasible);
                verdict = judge(&scene, &others[a]);
                assert_true(judge_compare(&own, &verdict) <= 0);
                assert_below_bound(&verdict, answer.bound_ps);
                if (!best.is_feasible || judge_compare(&verdict, &best) < 0)
                    best = verdict;
                compared++;
            }
            if (answer.is_feasible) {
                assert_true(own.is_feasible);
                assert_below_bound(&own, answer.bound_ps);
                gained += !best.is_feasible || judge_compare(&own, &best) < 0;
                assert_in_range(answer.line_count, 4, 100); /* of --explain */
            } else {
                assert_int_not_equal(answer.why[0], '\0');
            }
            arena_destroy(arena);
        }
    assert_in_range(compared, SCENES * SCENE_MODELS * 3, INT32_MAX);
    assert_in_range(gained, SCENES * SCENE_MODELS / 2, INT32_MAX);
    assert_in_range(proven, SCENES * SCENE_MODELS / 2, INT32_MAX);
}

/* By latency and period, the measures of lone requests. */
static void nobody_is_better_alone(void **state)
{
    int compared = 0;

    (void)state;
    for (int number = 0; number < 2 * SCENES; number++) {
        struct arena *arena = arena_create();
        struct judge_verdict own = { .is_feasible = false };
        const struct place_answer *others;
        struct place_answer answer;
        struct scene scene;
        bool is_latency = number % 2 == 0;

        draw_scene(arena, number, number % SCENE_MODELS, &scene);
        scene.ask.objective = is_latency ? PLACE_LATENCY : PLACE_PERIOD;
        others = ask_others(&scene, false);
        answer = place_orrery(arena, &scene.ask);
        for (int a = -1; a < place_algorithm_count; a++) { /* itself before all others */
            const struct place_answer *other = a < 0 ? &answer : &others[a];
            struct judge_verdict verdict;
            struct placement_row *rows;
            int count;

            if (!other->is_feasible)
                continue;
            assert_true(answer.is_feasible);
            rows = place_rows(arena, &scene.ask, other, &count);
            verdict = judge_alone(scene.judge, rows, count, scene.input.service,
                                  scene.input.prompt_tokens, scene.input.output_tokens);
            if (a < 0)
                own = verdict;
            if (!verdict.is_feasible)
                continue;
            assert_true(is_latency ? own.latency_mean_ps <= verdict.latency_mean_ps
                                   : own.busiest_ps <= verdict.busiest_ps);
            assert_true((is_latency ? verdict.latency_mean_ps : verdict.busiest_ps) >=
                        answer.bound_ps);
            compared++;
        }
        arena_destroy(arena);
    }
    assert_in_range(compared, 4 * SCENES, INT32_MAX);
}

static void the_same_is_found_again(void **state)
{
    struct arena *arena = arena_create();
    struct place_answer one, two;
    struct scene scene;
    struct placement_row *a, *b;
    int a_count, b_count;

    (void)state;
    draw_scene(arena, 1, 0, &scene);
    (void)ask_others(&scene, false);
    one = place_orrery(arena, &scene.ask);
    two = place_orrery(arena, &scene.ask);
    a = place_rows(arena, &scene.ask, &one, &a_count);
    b = place_rows(arena, &scene.ask, &two, &b_count);
    assert_int_equal(a_count, b_count);
    for (int i = 0; i < a_count; i++) {
        assert_string_equal(a[i].device, b[i].device);
        assert_int_equal(a[i].replica, b[i].replica);
        assert_int_equal(a[i].stage, b[i].stage);
        assert_int_equal(a[i].layer_first, b[i].layer_first);
        assert_int_equal(a[i].layer_last, b[i].layer_last);
        assert_int_equal(a[i].part_first, b[i].part_first);
    }
    assert_int_equal(one.line_count, two.line_count);
    for (int i = 0; i < one.line_count; i++)
        assert_string_equal(one.lines[i], two.lines[i]);
    arena_destroy(arena);
}

/* Changed again and again, a candidate is one that the simulator takes, and its rows are it. */
static void moves_make_placements(void **state)
{
    int changed = 0, cut = 0, refused = 0, unequal = 0;

    (void)state;
    for (int number = 0; number < SCENES; number++) {
        struct arena *arena = arena_create();
        struct search search;
        struct search_plan plan, next, parsed;
        struct scene scene;

        draw_scene(arena, number, number % SCENE_MODELS, &scene);
        search_begin(arena, &scene.ask, &search);
        search.has_queues = true;
        for (int step = 0; step < 200; step++) {
            enum search_move move = (enum search_move)(step % SEARCH_MOVE_COUNT);
            struct judge_verdict verdict;
            struct placement_row *rows;
            bool is_cut = false;
            int count;

            if (step % 40 == 0 && !search_start(arena, &search, 1 + step / 40, &plan))
                break;
            if (!search_change(arena, &search, &plan, move, &next))
                continue;
            rows = search_rows(arena, &search, &next, &count);
            assert_true(search_parse(arena, &search, rows, count, &parsed));
            assert_true(search_hash(&parsed) == search_hash(&next));
            for (int i = 0; i < count; i++)
                if (rows[i].part_last + 1 < rows[i].part_of) { /* unequal parts are another thing */
                    rows[i].part_last++;
                    assert_false(search_parse(arena, &search, rows, count, &parsed));
                    rows[i].part_last--;
                    unequal++;
                }
            for (int32_t r = 0; r < next.replica_count; r++)
                is_cut = is_cut || search_is_cut(&next.replicas[r]);
            if (step % 7 == 0) {
                verdict = judge_alone(scene.judge, rows, count, "s", 8, 2);
                if (!verdict.is_feasible && !is_cut) /* room for cut stages is a guess */
                    fail_msg("%s: %s", search_move_names[move], verdict.why);
                refused += !verdict.is_feasible;
            }
            cut += is_cut;
            changed++;
            plan = next;
        }
        arena_destroy(arena);
    }
    assert_in_range(changed, 40 * SCENES, INT32_MAX);
    assert_in_range(cut, SCENES, INT32_MAX);
    assert_in_range(unequal, 1, INT32_MAX);
    assert_in_range(refused, 0, changed / 20);
}

/* Rows as of scene_rows, with attention at a price of its own. */
static void add_rows(struct scene_text *text, const struct model *model, int32_t tokens,
                     int32_t past, const struct scene_type *type,
                     const struct scene_type *attention)
{
    struct model_op ops[MODEL_MAX_OPS];

    for (int block = 0; block < BLOCK_COUNT; block++) {
        int count = model_block_ops(model, (enum model_block)block, tokens, past, ops);

        for (int i = 0; i < count; i++)
            if (past == 0 || ops[i].op == OP_ATTN)
                scene_row(text, ops[i].op == OP_ATTN ? attention : type, &ops[i]);
    }
}

/* A table of tinyllama in which half of attention is cheap, and before it, when asked, the rows of
 * a model of as many heads as that half has, which are dear. */
static struct cost_table *halves_table(struct scene *scene, const struct scene_type *type,
                                       bool has_other)
{
    struct err err = ERR_INIT;
    struct scene_text text = { .arena = scene->arena, .keys = names_create(scene->arena) };
    const struct model *other = model_find(scene->catalogue, "gpt2-medium", &err);
    const struct model *half = model_slice(scene->arena, scene->model, 2, &err);
    struct scene_type dear = *type, cheap = *type;
    struct cost_table *table;

    dear.call_s = 100 * type->call_s;
    cheap.call_s = type->call_s / 100;
    cheap.flop_per_s *= 100;
    cheap.bytes_per_s *= 100;
    scene_add(&text, "kernel,phase,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,kv_len,"
                     "mean_ns\n");
    for (int32_t at = 0; at < 6; at++) {
        int32_t tokens = at < 3 ? 1 << 4 * at : 1, past = at < 3 ? 0 : 1 << 4 * (at - 3);

        if (has_other)
            add_rows(&text, other, tokens, past, &dear, &dear);
        add_rows(&text, scene->model, tokens, past, type, type);
        add_rows(&text, half, tokens, past, type, &cheap);
    }
    table = cost_load_text(scene->arena, type->name, text.text, NULL, &err);
    if (!table)
        fail_msg("%s", err.text);
    return table;
}

/* Rows of another model make no part of a model dearer: what is proven with them holds without. */
static void the_bound_takes_parts_of_two_models(void **state)
{
    struct arena *arena = arena_create();
    int64_t bounds_ps[2];
    struct scene scene;

    (void)state;
    draw_scene(arena, 0, 1, &scene);
    scene.ask.objective = PLACE_LATENCY;
    for (int has_other = 0; has_other < 2; has_other++) {
        const char *what;

        for (int t = 0; t < scene.type_count; t++)
            scene.costs.tables[t] = halves_table(&scene, &scene.types[t], has_other);
        bounds_ps[has_other] = search_bound(arena, &scene.ask, &what);
    }
    assert_true(bounds_ps[0] > 0);
    assert_true(bounds_ps[1] <= bounds_ps[0]);
    arena_destroy(arena);
}

static bool is_told(const struct place_answer *answer, const char *text)
{
    for (int i = 0; i < answer->line_count; i++)
        if (strstr(answer->lines[i], text))
            return true;
    return false;
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

/* Without time the first answer will do; with a number of simulations they are as many of its own.
 * Only a move is a gain. */
static void limits_are_kept(void **state)
{
    struct arena *arena = arena_create();
    struct place_answer answer;
    struct scene scene;

    (void)state;
    draw_scene(arena, 1, 0, &scene);
    scene.ask.is_over = always;
    answer = place_orrery(arena, &scene.ask); /* which asks the others itself */
    assert_true(answer.is_feasible);
    assert_true(is_told(&answer, "began with 1 placements of other planners and 0 of its own"));
    assert_true(is_told(&answer, "simulated 0 placements of its own; no move was a gain; beside"));
    assert_int_equal(answer.bound_ps, 0);
    scene.ask.is_over = NULL;
    (void)ask_others(&scene, false);
    for (int simulations = 5; simulations <= 45; simulations += 40) {
        scene.ask.simulations = simulations;
        answer = place_orrery(arena, &scene.ask);
        assert_true(is_told(
            &answer, arena_printf(arena, "simulated %d placements of its own;", simulations)));
    }
    assert_true(answer.bound_ps > 0);
    arena_destroy(arena);
}

static void what_is_lacking_is_told(void **state)
{
    struct arena *arena = arena_create();
    struct place_answer answer;
    struct scene scene;

    (void)state;
    draw_scene(arena, 1, 0, &scene);
    for (int d = 0; d < scene.cluster.device_count; d++)
        scene.cluster.devices[d].memory_bytes = scene.cluster.devices[d].reserved_bytes + 1000;
    (void)ask_others(&scene, false);
    answer = place_orrery(arena, &scene.ask);
    assert_false(answer.is_feasible);
    assert_non_null(strstr(answer.why, "all devices together lack "));
    arena_destroy(arena);
}

/* A request that no model takes makes no table as long as it, and costs nothing. */
static void requests_beyond_the_context_cost_nothing(void **state)
{
    struct arena *arena = arena_create();
    struct workload_builder *builder;
    struct workload_request request = { .session = -1,
                                        .client = -1,
                                        .batch = 1,
                                        .prompt_tokens = 1000000000,
                                        .output_tokens = 2000000000 };
    struct scene scene;
    const char *what;

    (void)state;
    draw_scene(arena, 1, 0, &scene);
    builder = workload_build(arena, "long");
    request.service = workload_builder_service(builder, "s");
    workload_builder_add(builder, &request);
    scene.workload = workload_builder_finish(builder);
    scene_ask(&scene);
    assert_int_equal(search_bound(arena, &scene.ask, &what), 0);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_better),
        cmocka_unit_test(nobody_is_better_alone),
        cmocka_unit_test(the_same_is_found_again),
        cmocka_unit_test(moves_make_placements),
        cmocka_unit_test(the_bound_takes_parts_of_two_models),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(what_is_lacking_is_told),
        cmocka_unit_test(requests_beyond_the_context_cost_nothing),
    };

    return cmocka_run_group_tests_name("place search", tests, NULL, NULL);
}
