/* test_place_alpaserve.c - services on groups of devices: with a beam that is wide enough the best
 * of all selections on all groupings, never worse with a wider one, and within the memory. */
#include "tests/unit/sim/sliced_model.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "sim/judge/judge.h"
#include "sim/place/alpaserve.h"
#include "sim/place/chain.h"

#define MOST_SERVICES 3
#define MANY 1000000

struct case_of {
    struct problem_input inputs[MOST_SERVICES];
    const struct problem *problems[MOST_SERVICES];
    struct cost_set costs;
    struct place_ask ask;
};

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

/* Services of the names given, executables or models that are called so, on the fixture's files. */
static void case_begin(struct case_of *of, const char *const *names, int count, int64_t slo_ps)
{
    const char *folder = fixture_path("costs");
    struct model_catalogue *catalogue =
        access(fixture_path("models.csv"), R_OK) == 0
            ? model_catalogue_load(fixture.arena, fixture_path("models.csv"), &fixture.err)
            : NULL;
    struct judge_input input = {
        .catalogue = catalogue, .costs = &of->costs, .serve = fixture.options, .slo_ps = slo_ps
    };

    fixture.err = (struct err)ERR_INIT;
    assert_true(cost_set_load(fixture.arena, &folder, 1, &of->costs, &fixture.err));
    input.cluster = cluster_load(fixture.arena, fixture_path("cluster"), &fixture.err);
    input.workload = workload_load(fixture.arena, fixture_path("w.csv"), &fixture.err);
    if (!input.cluster || !input.workload)
        fail_msg("%s", fixture.err.text);
    for (int s = 0; s < count; s++) {
        of->inputs[s] = (struct problem_input){ .cluster = input.cluster,
                                                .costs = &of->costs,
                                                .service = names[s],
                                                .executable = names[s],
                                                .prompt_tokens = 4,
                                                .output_tokens = 4,
                                                .sequences = 1 };
        if (catalogue) {
            of->inputs[s].executable = NULL;
            of->inputs[s].model = model_find(catalogue, "wide", &fixture.err);
            assert_non_null(of->inputs[s].model);
        }
        of->problems[s] = problem_create(fixture.arena, &of->inputs[s], &fixture.err);
        if (!of->problems[s])
            fail_msg("%s", fixture.err.text);
    }
    of->ask = (struct place_ask){ .problems = of->problems,
                                  .problem_count = count,
                                  .objective = PLACE_GOODPUT,
                                  .judge = judge_create(fixture.arena, &input) };
}

static struct judge_verdict judged(const struct case_of *of, const struct place_answer *answer)
{
    return judge_rows(of->ask.judge, answer->rows, answer->row_count);
}

/* ---- drawn cases ---- */

static const char *const letters[MOST_SERVICES] = { "x", "y", "z" };

static void draw_files(struct rng *rng, int services, int devices)
{
    const char *stages = "executable,stage,latency_s,weight_bytes,output_bytes\n";
    const char *boards = "device,type,memory_bytes\n", *requests = "request_id,arrival_s,service\n";
    int ms = 0;

    for (int s = 0; s < services && s < MOST_SERVICES; s++)
        for (int u = 0, units = draw(rng, 1, 3); u < units; u++) {
            int time_ms = draw(rng, 1, 60), weights = draw(rng, 1, 100);
            int output = draw(rng, 0, 3000);

            stages = arena_printf(fixture.arena, "%s%s,%d,0.%03d,%d,%d\n", stages, letters[s], u,
                                  time_ms, weights, output);
        }
    fixture_stages(stages);
    for (int d = 0, bytes = draw(rng, 60, 400); d < devices; d++)
        boards = arena_printf(fixture.arena, "%sd%d,t,%d\n", boards, d, bytes);
    fixture_cluster(boards, "medium,kind,node,bits_per_s,latency_s\nlan,switch,*,8e6,0.001\n");
    for (int i = 0; i < 40; i++) {
        int service = i < services ? i : draw(rng, 0, services - 1);

        ms += draw(rng, 0, 40);
        requests = arena_printf(fixture.arena, "%s%d,%d.%03d,%s\n", requests, i, ms / 1000,
                                ms % 1000, letters[service % MOST_SERVICES]);
    }
    fixture_write("w.csv", requests);
}

static void next_round(void)
{
    fixture_tear_down(NULL);
    fixture_set_up(NULL);
}

/* ---- against every selection ---- */

/* Every set of (service, mesh) in which each service stands somewhere. */
static void every_selection(struct alpaserve *search, const struct alpaserve_part *part,
                            const struct alpaserve_layout *layout, struct judge_verdict *best)
{
    int pairs = search->service_count * layout->mesh_count;

    for (uint32_t set = 1; set < 1u << pairs; set++) {
        bool *hosts = arena_array(fixture.arena, (size_t)pairs, sizeof *hosts), is_one = true;
        struct alpaserve_selection selection = { .layout = layout, .added = -1, .hosts = hosts };
        struct judge_verdict verdict;

        for (int p = 0; p < pairs; p++) {
            hosts[p] = (set >> p & 1) != 0;
            is_one = is_one && (!hosts[p] || layout->hostings[p].row_count > 0);
        }
        for (int s = 0; s < part->service_count; s++) {
            bool has_place = false;

            for (int m = 0; m < layout->mesh_count; m++)
                has_place = has_place || hosts[s * layout->mesh_count + m];
            is_one = is_one && has_place;
        }
        if (!is_one)
            continue;
        verdict = alpaserve_judge(search, &selection, 1);
        if (verdict.is_feasible && (!best->is_feasible || alpaserve_compare(&verdict, best) < 0))
            *best = verdict;
    }
}

static struct judge_verdict best_of_all(const struct case_of *of)
{
    const struct alpaserve_options options = { .simulation_count = MANY };
    struct alpaserve *search = alpaserve_begin(fixture.arena, &of->ask, &options);
    static const int32_t all[] = { 0, 1, 2 };
    struct alpaserve_part part = { of->ask.problem_count, all, 0, search->device_count };
    struct judge_verdict best = { .is_feasible = false };
    int count;
    const struct alpaserve_layout *layouts = alpaserve_layouts(search, &part, &count);

    for (int i = 0; i < count; i++)
        every_selection(search, &part, &layouts[i], &best);
    return best;
}

static void a_wide_beam_finds_the_best_of_all(void **state)
{
    struct rng rng = rng_stream(5, RNG_TEST, 0);
    const struct alpaserve_options wide = { 1 << 12, true, MANY };
    int feasible = 0, several = 0, missed = 0;

    (void)state;
    for (int round = 0; round < 150; round++) {
        int services = draw(&rng, 1, 2), devices = draw(&rng, 1, 3);
        struct judge_verdict best, found;
        struct place_answer answer;
        struct case_of of;

        next_round();
        draw_files(&rng, services, devices);
        case_begin(&of, letters, services, draw(&rng, 60, 300) * MS);
        best = best_of_all(&of);
        answer = alpaserve_plan(fixture.arena, &of.ask, &wide);
        if (!answer.is_feasible) {
            assert_false(best.is_feasible);
            continue;
        }
        found = judged(&of, &answer);
        assert_true(found.is_feasible);
        assert_true(!best.is_feasible || alpaserve_compare(&found, &best) <= 0);
        if (services == 1) /* no buckets: nothing else was tried */
            assert_int_equal(alpaserve_compare(&found, &best), 0);
        feasible++;
        several += answer.row_count > services;
        missed += found.good_count < found.total_count;
    }
    assert_in_range(feasible, 80, 149);
    assert_in_range(several, 30, feasible);
    assert_in_range(missed, 20, feasible);
}

static void a_wider_beam_is_no_worse(void **state)
{
    struct rng rng = rng_stream(6, RNG_TEST, 0);
    int better = 0;

    (void)state;
    for (int round = 0; round < 60; round++) {
        int services = draw(&rng, 2, 3);
        struct judge_verdict before = { .is_feasible = false };
        struct case_of of;

        next_round();
        draw_files(&rng, services, draw(&rng, 2, 4));
        case_begin(&of, letters, services, draw(&rng, 60, 300) * MS);
        for (int32_t beam = 1; beam <= 4; beam += 3) {
            const struct alpaserve_options options = { beam, true, MANY };
            struct place_answer answer = alpaserve_plan(fixture.arena, &of.ask, &options);
            struct judge_verdict found = judged(&of, &answer);

            assert_true(!before.is_feasible || alpaserve_compare(&found, &before) <= 0);
            better += before.is_feasible && alpaserve_compare(&found, &before) < 0;
            before = found;
        }
    }
    assert_in_range(better, 3, 60);
}

/* ---- what it answers ---- */

static int64_t held_bytes(const struct case_of *of, const struct placement_row *row)
{
    int64_t weight_bytes, activation_bytes;

    assert_true(cost_stage_memory(cost_set_find(&of->costs, "t"), row->executable, row->layer_first,
                                  row->layer_last, 1, &weight_bytes, &activation_bytes));
    return weight_bytes;
}

static void it_fits_and_is_the_same_again(void **state)
{
    struct rng rng = rng_stream(7, RNG_TEST, 0);
    int feasible = 0;

    (void)state;
    for (int round = 0; round < 40; round++) {
        struct place_answer answer, again;
        struct case_of of;

        next_round();
        draw_files(&rng, 3, draw(&rng, 2, 6));
        case_begin(&of, letters, 3, 200 * MS);
        answer = place_alpaserve(fixture.arena, &of.ask);
        again = place_alpaserve(fixture.arena, &of.ask);
        assert_int_equal(answer.is_feasible, again.is_feasible);
        assert_int_equal(answer.row_count, again.row_count);
        assert_true(answer.is_feasible || answer.why[0] != '\0');
        for (int i = 0; i < answer.row_count; i++) {
            const struct placement_row *row = &answer.rows[i], *same = &again.rows[i];

            assert_string_equal(row->device, same->device);
            assert_string_equal(row->service, same->service);
            assert_int_equal(row->replica, same->replica);
            assert_int_equal(row->layer_last, same->layer_last);
        }
        for (int d = 0; d < of.inputs[0].cluster->device_count; d++) {
            const struct cluster_device *device = &of.inputs[0].cluster->devices[d];
            int64_t bytes = 0;

            for (int i = 0; i < answer.row_count; i++)
                if (strcmp(answer.rows[i].device, device->name) == 0)
                    bytes += held_bytes(&of, &answer.rows[i]);
            assert_true(bytes <= device->memory_bytes);
        }
        feasible += answer.is_feasible;
    }
    assert_in_range(feasible, 10, 40);
}

/* Every grouping gives each device to one group, and cuts a service where its longest stage is
 * shortest. */
static void groups_are_whole_and_cut_best(void **state)
{
    const struct alpaserve_options options = { .simulation_count = MANY };
    static const int32_t only[] = { 0 };
    struct alpaserve_part part = { 1, only, 0, 6 };
    const struct alpaserve_layout *layouts;
    struct alpaserve *search;
    struct case_of of;
    int count, pairs = 0;

    (void)state;
    fixture_stages("executable,stage,latency_s\nx,0,0.010\nx,1,0.020\nx,2,0.010\nx,3,0.030\n");
    fixture_cluster("device,type\na,t\nb,t\nc,t\nd,t\ne,t\nf,t\n", NULL);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,x\n");
    case_begin(&of, letters, 1, 0);
    search = alpaserve_begin(fixture.arena, &of.ask, &options);
    layouts = alpaserve_layouts(search, &part, &count);
    for (int i = 0; i < count; i++) {
        int32_t next = 0;

        for (int32_t m = 0; m < layouts[i].mesh_count; m++) {
            const struct alpaserve_mesh *mesh = &layouts[i].meshes[m];

            assert_int_equal(mesh->first, next);
            next += mesh->stage_count * mesh->width;
            if (mesh->stage_count == 2 && mesh->width == 1) { /* 40 and 30 ms, or the reverse */
                assert_int_equal(layouts[i].hostings[m].row_count, 2);
                assert_in_range(layouts[i].hostings[m].rows[0].layer_last, 1, 2);
                pairs++;
            }
            if (mesh->stage_count > 4 || mesh->width > 1) /* nor was it profiled on two */
                assert_int_equal(layouts[i].hostings[m].row_count, 0);
        }
        assert_int_equal(next, 6);
    }
    assert_true(pairs >= 3);
}

/* Where devices differ: of those that hold all each one is a group, the others stand in pairs, and
 * with requests enough none of them is idle. */
static void kinds_have_groups_of_their_own(void **state)
{
    struct place_answer answer;
    struct case_of of;
    int rows_of[3] = { 0 };

    (void)state;
    fixture_stages("executable,stage,latency_s,weight_bytes\nx,0,0.010,100\nx,1,0.010,100\n");
    fixture_cluster("device,type,memory_bytes\na0,t,150\nb0,t,250\na1,t,150\nb1,t,250\n", NULL);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,x\n1,0,x\n2,0,x\n3,0,x\n4,0,x\n");
    case_begin(&of, letters, 1, 40 * MS);
    answer = place_alpaserve(fixture.arena, &of.ask);
    assert_true(answer.is_feasible);
    for (int i = 0; i < answer.row_count; i++) {
        assert_in_range(answer.rows[i].replica, 0, 2);
        rows_of[answer.rows[i].replica]++;
        assert_int_equal(answer.rows[i].device[0] == 'b',
                         answer.rows[i].layer_first == 0 && answer.rows[i].layer_last == 1);
    }
    assert_int_equal(rows_of[0], 2);
    assert_int_equal(rows_of[1], 1);
    assert_int_equal(rows_of[2], 1);
}

/* ---- several devices a stage ---- */

/* Executables of one model are ways to cut it: only that on two devices meets the objective. */
static void executables_of_a_model_are_variants(void **state)
{
    struct place_answer answer;
    struct judge_verdict verdict;
    struct case_of of;

    (void)state;
    fixture_stages("executable,stage,latency_s,model,devices\nx,0,0.100,m,1\nx-2,0,0.060,m,2\n"
                   "other,0,0.001,n,2\n");
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", NULL);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,x\n1,0.1,x\n2,0.2,x\n");
    case_begin(&of, letters, 1, 70 * MS);
    answer = place_alpaserve(fixture.arena, &of.ask);
    assert_true(answer.is_feasible);
    verdict = judged(&of, &answer);
    assert_int_equal(verdict.good_count, 3);
    assert_string_equal(answer.rows[0].service, "x");
    assert_string_equal(answer.rows[0].executable, "x-2");
    assert_string_equal(answer.rows[0].device, "a");
    assert_string_equal(answer.rows[1].device, "b");
}

/* A model's stages in parts: all that are tried are placements, and halves are faster. */
static void a_model_is_cut_into_parts(void **state)
{
    const struct alpaserve_options options = { .simulation_count = MANY };
    static const int32_t only[] = { 0 };
    struct alpaserve_part part = { 1, only, 0, 4 };
    const struct alpaserve_layout *layouts;
    int64_t alone_ps[5] = { 0 };
    struct alpaserve *search;
    struct place_answer answer;
    struct case_of of;
    int count;

    (void)state;
    fixture_cluster("device,type\na,t\nb,t\nc,t\nd,t\n", NULL);
    fixture_write("w.csv", W "0,0,x,4,4\n");
    case_begin(&of, letters, 1, 0);
    search = alpaserve_begin(fixture.arena, &of.ask, &options);
    layouts = alpaserve_layouts(search, &part, &count);
    for (int i = 0; i < count; i++) {
        const struct alpaserve_hosting *hosting = &layouts[i].hostings[0];
        struct judge_verdict verdict = judge_rows(of.ask.judge, hosting->rows, hosting->row_count);

        assert_true(hosting->row_count > 0);
        if (!verdict.is_feasible)
            fail_msg("%s", verdict.why);
        if (layouts[i].meshes[0].stage_count == 1)
            alone_ps[layouts[i].meshes[0].width] = verdict.latency_mean_ps;
    }
    assert_true(0 < alone_ps[4] && alone_ps[4] < alone_ps[2] && alone_ps[2] < alone_ps[1]);
    answer = place_alpaserve(fixture.arena, &of.ask);
    assert_true(answer.is_feasible);
    assert_int_equal(judged(&of, &answer).latency_mean_ps, alone_ps[4]);
}

/* ---- placements that are overloaded while they grow ---- */

static struct judge_verdict on_first_devices(const struct case_of *of, int32_t count)
{
    struct placement_row placed[6];
    int placed_count = 0;

    for (int32_t d = 0; d < count; d++) {
        const struct problem_stage whole = { d, 0, problem_unit_count(of->problems[0]) - 1 };
        int own;
        const struct placement_row *one =
            problem_rows(fixture.arena, of->problems[0], &whole, 1, &own);

        for (int i = 0; i < own; i++) {
            placed[placed_count] = one[i];
            placed[placed_count++].replica = d;
        }
    }
    return judge_rows(of->ask.judge, placed, placed_count);
}

/* One device has no room for the caches of all requests at once, which ends a run; two have. */
static void one_that_is_overloaded_is_a_step_to_two(void **state)
{
    struct case_of of;
    struct place_answer answer;

    (void)state;
    fixture_write("w.csv", W "0,0,x,4,4\n1,0,x,4,4\n2,0,x,4,4\n3,0,x,4,4\n");
    for (int memory_bytes = 600000;; memory_bytes += 5000) {
        assert_true(memory_bytes < 2000000);
        fixture_cluster(arena_printf(fixture.arena, "device,type,memory_bytes\na,t,%d\nb,t,%d\n",
                                     memory_bytes, memory_bytes),
                        NULL);
        case_begin(&of, letters, 1, 0);
        if (on_first_devices(&of, 2).is_feasible)
            break;
    }
    assert_false(on_first_devices(&of, 1).is_feasible);
    answer = place_alpaserve(fixture.arena, &of.ask);
    assert_true(answer.is_feasible);
    assert_string_equal(answer.why, "");
    assert_int_equal(answer.rows[answer.row_count - 1].replica, 1);
    assert_int_equal(judged(&of, &answer).ok_count, 4);
}

/* ---- when it ends ---- */

static bool at_once(void *arg)
{
    return ++*(int *)arg > 3;
}

static void it_can_be_cut_short(void **state)
{
    const struct alpaserve_options few = { 3, false, 2 };
    struct rng rng = rng_stream(8, RNG_TEST, 0);
    struct place_answer answer;
    struct case_of of;
    int asked = 0;

    (void)state;
    draw_files(&rng, 1, 4);
    case_begin(&of, letters, 1, 0);
    answer = alpaserve_plan(fixture.arena, &of.ask, &few);
    assert_true(answer.is_feasible);
    assert_string_equal(answer.why, "the search was cut short: better placements may be left");
    of.ask.is_over = at_once;
    of.ask.is_over_arg = &asked;
    answer = place_alpaserve(fixture.arena, &of.ask);
    assert_true(answer.is_feasible);
    assert_string_equal(answer.why, "the search was cut short: better placements may be left");
}

static void what_fits_nowhere_is_said(void **state)
{
    struct place_answer answer;
    struct case_of of;

    (void)state;
    fixture_stages("executable,stage,latency_s,weight_bytes\nx,0,0.01,100\ny,0,0.01,100\n");
    fixture_cluster("device,type,memory_bytes\na,t,150\n", NULL);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,x\n1,0,y\n");
    case_begin(&of, letters, 2, 0);
    answer = place_alpaserve(fixture.arena, &of.ask);
    assert_false(answer.is_feasible);
    assert_non_null(strstr(answer.why, "no group of devices holds what it must"));
}

int main(void)
{
#define WITH(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        WITH(a_wide_beam_finds_the_best_of_all, fixture_set_up),
        WITH(a_wider_beam_is_no_worse, fixture_set_up),
        WITH(it_fits_and_is_the_same_again, fixture_set_up),
        WITH(groups_are_whole_and_cut_best, fixture_set_up),
        WITH(kinds_have_groups_of_their_own, fixture_set_up),
        WITH(executables_of_a_model_are_variants, fixture_set_up),
        WITH(a_model_is_cut_into_parts, wide_set_up),
        WITH(one_that_is_overloaded_is_a_step_to_two, wide_set_up),
        WITH(it_can_be_cut_short, fixture_set_up),
        WITH(what_fits_nowhere_is_said, fixture_set_up),
    };

    return cmocka_run_group_tests_name("place_alpaserve", tests, NULL, NULL);
}
