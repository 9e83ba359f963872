/* test_place_edgeshard.c - EdgeShard's two programs, and the exact pipeline, against every
 * placement there is, on drawn executables of up to 8 stages and clusters of up to 4 devices. */
#include "sim/place/place.h"
#include "tests/unit/sim/fixture.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"

#define ROUNDS 1000
#define MOST_UNITS 8
#define MOST_DEVICES 4
#define NEVER INT64_MAX

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

/* Executables e0, e1, ... on four types, whose times, sizes and outputs have nothing in common. */
static void write_costs(struct rng *rng, int count)
{
    const int32_t units[] = { 1, 2, 3, 4, 5, 6, 7, 8 };

    for (int type = 0; type < MOST_DEVICES; type++) {
        FILE *file;

        fixture_write(arena_printf(fixture.arena, "costs/t%d/stages.csv", type), "");
        file = fopen(fixture_path(arena_printf(fixture.arena, "costs/t%d/stages.csv", type)), "w");
        assert_non_null(file);
        fputs("executable,stage,latency_s,weight_bytes,activation_bytes,output_bytes\n", file);
        for (int e = 0; e < count; e++)
            for (int32_t s = 0; s < units[e % MOST_UNITS]; s++) {
                int time_ms = draw(rng, 1, 60), weights = draw(rng, 1, 4), work = draw(rng, 0, 2);
                int output = 1000 * draw(rng, 0, 20);

                fprintf(file, "e%d,%d,0.0%02d,%d,%d,%d\n", e, (int)s, time_ms, weights, work,
                        output);
            }
        assert_int_equal(fclose(file), 0);
    }
}

struct instance { /* as tables: what enumeration needs of it */
    const struct problem *problem;
    int32_t units, devices;
    int64_t unit_ps[MOST_DEVICES][MOST_UNITS], held[MOST_DEVICES][MOST_UNITS],
        work[MOST_DEVICES][MOST_UNITS], room[MOST_DEVICES];
    struct problem_way borders[MOST_DEVICES][MOST_DEVICES][MOST_UNITS];
    struct problem_way entries[MOST_DEVICES], exits[MOST_DEVICES];
    bool may_lead[MOST_DEVICES];
};

/* Device 0 stands at the source in half of the clusters, whose links lead there, too; some devices
 * are alike. */
static const struct cluster *draw_cluster(struct rng *rng)
{
    static const char *const names[] = { "d0", "d1", "d2", "d3" };
    static const char *const types[] = { "t0", "t1", "t2", "t3" };
    static const char *const rates[] = { "1e5", "1e6", "1e8" };
    struct cluster *cluster = arena_alloc(fixture.arena, sizeof *cluster);
    int count = draw(rng, 1, MOST_DEVICES), media = draw(rng, 0, 2);
    bool has_source_device = draw(rng, 0, 1) > 0;

    *cluster = (struct cluster){ .path = "drawn",
                                 .device_count = count,
                                 .medium_count = media,
                                 .has_links = media > 0,
                                 .has_source = media > 0 };
    cluster->devices = arena_array(fixture.arena, (size_t)count, sizeof *cluster->devices);
    for (int d = 0; d < count; d++) {
        int type = draw(rng, 0, d), is_known = draw(rng, 0, 4) > 0;
        int memory_bytes = draw(rng, 4, 22), reserved_bytes = draw(rng, 0, 1);

        cluster->devices[d] = (struct cluster_device){
            .name = names[d],
            .type = types[type],
            .node = d == 0 && has_source_device ? CLUSTER_SOURCE : names[d],
            .memory_bytes = is_known ? memory_bytes : 0,
            .reserved_bytes = reserved_bytes,
            .speed_ratio = 1,
            .address = "",
        };
    }
    cluster->media = arena_array(fixture.arena, 2, sizeof *cluster->media);
    for (int m = 0; m < media; m++) {
        struct cluster_attachment *list = arena_array(fixture.arena, 8, sizeof *list);
        int64_t rate = strtoll(rates[draw(rng, 0, 2)] + 2, NULL, 10);

        cluster->media[m] = (struct cluster_medium){ .name = m > 0 ? "back" : "lan",
                                                     .kind = CLUSTER_SWITCH,
                                                     .attachments = list };
        if (media > 1 && m == 0) { /* two boards that also have a cable of their own */
            for (int d = 0; d < count && d < 2; d++)
                list[cluster->media[m].attachment_count++] = (struct cluster_attachment){
                    .node = cluster->devices[d].node, .bits_per_s = 1e7, .efficiency_ratio = 1
                };
            continue;
        }
        cluster->media[m].attachment_count = 1;
        list[0] = (struct cluster_attachment){ .node = "*",
                                               .bits_per_s = (double)(rate + 1) * 1e6,
                                               .latency_ps = draw(rng, 0, 3) * MS,
                                               .per_message_ps = draw(rng, 0, 1) * MS,
                                               .efficiency_ratio = 1 };
    }
    cluster_index(fixture.arena, cluster);
    return cluster;
}

static void instance_fill(struct instance *of, const struct problem *problem)
{
    const struct cluster *cluster = problem_input(problem)->cluster;
    bool has_any = false;

    *of = (struct instance){ .problem = problem };
    of->units = problem_unit_count(problem);
    of->devices = cluster->device_count;
    for (int32_t d = 0; d < of->devices; d++) {
        int64_t memory = cluster->devices[d].memory_bytes;

        has_any = has_any || strcmp(cluster->devices[d].node, CLUSTER_SOURCE) == 0;
        of->may_lead[d] = strcmp(cluster->devices[d].node, CLUSTER_SOURCE) == 0;
        of->room[d] = memory > 0 ? memory - cluster->devices[d].reserved_bytes : NEVER;
        of->entries[d] = problem_entry(problem, d);
        of->exits[d] = problem_exit(problem, d);
        for (int32_t u = 0; u < of->units; u++) {
            const struct cost_stage *stage = cost_stage_find_batch(
                cost_set_find(problem_input(problem)->costs, cluster->devices[d].type),
                problem_input(problem)->executable, u, 1);

            of->unit_ps[d][u] = stage->latency_ps;
            of->held[d][u] = stage->weight_bytes;
            of->work[d][u] = stage->activation_bytes;
            for (int32_t to = 0; to < of->devices; to++)
                of->borders[d][to][u] = problem_border(problem, d, to, u);
        }
    }
    for (int32_t d = 0; d < of->devices && !has_any; d++)
        of->may_lead[d] = true;
}

/* ---- every assignment of units to devices ---- */

struct walk {
    const struct instance *of;
    int32_t at[MOST_UNITS];
    int64_t held[MOST_DEVICES], work[MOST_DEVICES];
    int64_t best_ps;
};

static void walk_on(struct walk *walk, int32_t unit, int64_t latency_ps)
{
    const struct instance *of = walk->of;

    if (unit == of->units) {
        latency_ps += of->exits[walk->at[unit - 1]].time_ps;
        walk->best_ps = latency_ps < walk->best_ps ? latency_ps : walk->best_ps;
        return;
    }
    for (int32_t d = 0; d < of->devices; d++) {
        int64_t held = walk->held[d], work = walk->work[d], way_ps;

        if (unit == 0 && !of->may_lead[d])
            continue;
        walk->at[unit] = d;
        walk->held[d] += of->held[d][unit];
        walk->work[d] = of->work[d][unit] > work ? of->work[d][unit] : work;
        way_ps = unit == 0                 ? of->entries[d].time_ps
                 : walk->at[unit - 1] == d ? 0
                                           : of->borders[walk->at[unit - 1]][d][unit - 1].time_ps;
        if (of->room[d] == NEVER || walk->held[d] + walk->work[d] <= of->room[d])
            walk_on(walk, unit + 1, latency_ps + way_ps + of->unit_ps[d][unit]);
        walk->held[d] = held;
        walk->work[d] = work;
    }
}

/* ---- every pipeline of devices that are used once ---- */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* is_sum: the latency; else the period. */
static int64_t cut_on(const struct instance *of, bool is_sum, bool is_private, int32_t first,
                      int32_t before, unsigned used, int64_t cost_ps)
{
    int64_t best_ps = NEVER;

    if (first == of->units && before >= 0)
        return is_sum ? cost_ps + of->exits[before].time_ps
                      : larger(cost_ps, of->exits[before].occupy_ps);
    for (int32_t d = 0; d < of->devices; d++) {
        int64_t held = 0, work = 0, stage_ps = 0, with_ps;
        struct problem_way way;

        if (used >> d & 1u || (first == 0 && is_private && !of->may_lead[d]))
            continue;
        way = before < 0 ? of->entries[d] : of->borders[before][d][first - 1];
        for (int32_t last = first; last < of->units; last++) {
            held += of->held[d][last];
            work = larger(work, of->work[d][last]);
            stage_ps += of->unit_ps[d][last];
            if (of->room[d] != NEVER && held + work > of->room[d])
                break;
            with_ps = is_sum ? cost_ps + way.time_ps + stage_ps
                             : larger(larger(cost_ps, way.occupy_ps), stage_ps);
            with_ps = cut_on(of, is_sum, is_private, last + 1, d, used | 1u << d, with_ps);
            best_ps = with_ps < best_ps ? with_ps : best_ps;
        }
    }
    return best_ps;
}

static struct place_answer plan_of(const struct instance *of, const char *algorithm,
                                   enum place_objective objective, int64_t *cost_ps)
{
    const struct place_ask ask = {
        .problems = &of->problem, .problem_count = 1, .objective = objective, .seed = 1
    };
    struct place_answer answer = place_find(algorithm)->plan(fixture.arena, &ask);
    struct problem_score score;

    *cost_ps = NEVER;
    if (!answer.is_feasible) {
        assert_int_not_equal(answer.why[0], '\0');
        return answer;
    }
    score = problem_score(of->problem, answer.stages, answer.stage_count);
    assert_true(score.room_bytes >= 0);
    *cost_ps = objective == PLACE_LATENCY ? score.latency_ps : score.period_ps;
    return answer;
}

struct tally {
    int feasible, cut, revisited, led;
};

/* Who is used how often, and where it begins. */
static void tally_add(struct tally *tally, const struct instance *of,
                      const struct place_answer *answer, bool is_once)
{
    unsigned used = 0;

    tally->feasible++;
    tally->cut += answer->stage_count > 1;
    tally->led += !of->may_lead[of->devices - 1];
    assert_true(of->may_lead[answer->stages[0].device]);
    for (int32_t s = 0; s < answer->stage_count; s++) {
        assert_int_equal(answer->stages[s].first, s > 0 ? answer->stages[s - 1].last + 1 : 0);
        if (used >> answer->stages[s].device & 1u) {
            assert_false(is_once);
            tally->revisited++;
        }
        used |= 1u << answer->stages[s].device;
    }
    assert_int_equal(answer->stages[answer->stage_count - 1].last, of->units - 1);
}

static void every_placement_is_tried(void **state)
{
    struct rng rng = rng_stream(11, RNG_TEST, 0);
    struct tally latency = { 0 }, period = { 0 };
    const char *costs = fixture_path("costs");
    struct cost_set set;

    (void)state;
    write_costs(&rng, 64);
    assert_true(cost_set_load(fixture.arena, &(const char *){ costs }, 1, &set, &fixture.err));
    for (int round = 0; round < ROUNDS; round++) {
        struct problem_input input = { .cluster = draw_cluster(&rng),
                                       .costs = &set,
                                       .service = "s",
                                       .executable =
                                           arena_printf(fixture.arena, "e%d", draw(&rng, 0, 63)),
                                       .prompt_tokens = 1,
                                       .output_tokens = 1,
                                       .sequences = 1 };
        const struct problem *problem = problem_create(fixture.arena, &input, &fixture.err);
        struct walk walk = { .best_ps = NEVER };
        struct place_answer answer;
        struct instance of;
        int64_t cost_ps;

        if (!problem)
            fail_msg("%s", fixture.err.text);
        instance_fill(&of, problem);
        walk.of = &of;
        walk_on(&walk, 0, 0);
        answer = plan_of(&of, "edgeshard", PLACE_LATENCY, &cost_ps);
        assert_int_equal(cost_ps, walk.best_ps);
        if (answer.is_feasible)
            tally_add(&latency, &of, &answer, false);
        answer = plan_of(&of, "edgeshard", PLACE_PERIOD, &cost_ps);
        assert_int_equal(cost_ps, cut_on(&of, false, true, 0, -1, 0, 0));
        if (answer.is_feasible)
            tally_add(&period, &of, &answer, true);
        for (int objective = PLACE_LATENCY; objective <= PLACE_PERIOD; objective++) {
            (void)plan_of(&of, "exact", (enum place_objective)objective, &cost_ps);
            assert_int_equal(cost_ps, cut_on(&of, objective == PLACE_LATENCY, false, 0, -1, 0, 0));
        }
    }
    print_message("%d of %d feasible, %d cut, %d stages on devices come back to, %d kept\n",
                  latency.feasible, ROUNDS, latency.cut, latency.revisited, latency.led);
    assert_in_range(latency.feasible, ROUNDS / 2, ROUNDS - ROUNDS / 20);
    assert_in_range(latency.cut, ROUNDS / 4, ROUNDS);
    assert_in_range(latency.revisited, ROUNDS / 50, INT32_MAX);
    assert_in_range(latency.led, ROUNDS / 10, ROUNDS);
    assert_in_range(period.cut, ROUNDS / 4, ROUNDS);
}

/* ---- rules ---- */

#define EDGES "executable,stage,latency_s,weight_bytes,activation_bytes,output_bytes\n"

static const struct problem *problem_of(const char *executable)
{
    static struct cost_set set;
    const char *costs = fixture_path("costs");
    struct problem_input *input = arena_alloc(fixture.arena, sizeof *input);
    const struct problem *problem;

    assert_true(cost_set_load(fixture.arena, &costs, 1, &set, &fixture.err));
    *input = (struct problem_input){
        .cluster = cluster_load(fixture.arena, fixture_path("cluster"), &fixture.err),
        .costs = &set,
        .service = "s",
        .executable = executable,
        .prompt_tokens = 1,
        .output_tokens = 1,
        .sequences = 1,
    };
    assert_non_null(input->cluster);
    problem = problem_create(fixture.arena, input, &fixture.err);
    if (!problem)
        fail_msg("%s", fixture.err.text);
    return problem;
}

/* Messages from and to it are free: it is like no other, whatever else it has in common. */
static void a_device_at_the_source_is_like_no_other(void **state)
{
    const struct problem *problem;

    (void)state;
    fixture_write("costs/t/stages.csv", EDGES "e,0,0.01,1,0,10\ne,1,0.01,1,0,10\n");
    fixture_cluster("device,type,node\na,t,a\nb,t,source\nc,t,c\n",
                    "medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e6,0.05\n");
    problem = problem_of("e");
    assert_int_equal(problem_kind_count(problem), 2);
    assert_int_equal(problem_kind_of(problem, 0), problem_kind_of(problem, 2));
    assert_int_equal(problem_entry(problem, 1).time_ps, 0);
    for (int a = 0; a < 2; a++) {
        const struct place_ask ask = { .problems = &problem, .problem_count = 1 };
        struct place_answer answer =
            a ? place_edgeshard(fixture.arena, &ask) : place_exact(fixture.arena, &ask);

        assert_int_equal(answer.stage_count, 1);
        assert_int_equal(answer.stages[0].device, 1);
    }
}

#define SLOW_AND_FAST                                                                              \
    fixture_write("costs/slow/stages.csv",                                                         \
                  EDGES "e,0,0.5,4,0,10\ne,1,0.5,4,0,10\ne,2,0.5,4,0,1\n");                        \
    fixture_write("costs/fast/stages.csv", EDGES "e,0,0.1,4,0,10\ne,1,0.1,4,0,10\ne,2,0.1,4,0,"    \
                                                 "1\n")
#define SLOW_LAN "medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e6,0.001\n"

/* A slow device keeps its stage, however much faster the other is. */
static void what_gives_the_request_away_stays_at_the_source(void **state)
{
    const struct problem *problem;

    (void)state;
    SLOW_AND_FAST;
    fixture_cluster("device,type,node\na,fast,a\nb,slow,source\n", SLOW_LAN);
    problem = problem_of("e");
    for (int objective = PLACE_LATENCY; objective <= PLACE_PERIOD; objective++) {
        const struct place_ask ask = { .problems = &problem,
                                       .problem_count = 1,
                                       .objective = (enum place_objective)objective };
        struct place_answer answer = place_edgeshard(fixture.arena, &ask);

        assert_int_equal(answer.stage_count, 2);
        assert_int_equal(answer.stages[0].device, 1);
        assert_int_equal(answer.stages[0].last, 0);
        assert_non_null(strstr(answer.lines[0], "device 'b', at the source"));
    }
}

static void what_the_source_lacks_is_said(void **state)
{
    const struct problem *problem;

    (void)state;
    SLOW_AND_FAST;
    fixture_cluster("device,type,node,memory_bytes\na,fast,a,\nb,slow,source,3\n", SLOW_LAN);
    problem = problem_of("e");
    for (int objective = PLACE_LATENCY; objective <= PLACE_PERIOD; objective++) {
        const struct place_ask ask = { .problems = &problem,
                                       .problem_count = 1,
                                       .objective = (enum place_objective)objective };
        struct place_answer answer = place_edgeshard(fixture.arena, &ask);

        assert_false(answer.is_feasible);
        assert_string_equal(answer.why, "the first layer has to stay at the source, where device "
                                        "'b' lacks 1 bytes for it");
    }
}

#define RULE(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(every_placement_is_tried),
        RULE(a_device_at_the_source_is_like_no_other),
        RULE(what_gives_the_request_away_stays_at_the_source),
        RULE(what_the_source_lacks_is_said),
    };

    return cmocka_run_group_tests_name("place_edgeshard", tests, NULL, NULL);
}
