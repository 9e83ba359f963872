/* test_place_infscale.c - replicas of pipelines packed on nodes: as many requests a second as any
 * packing of any pipelines gives, within the memory, and with replicas that share no node. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "sim/place/place.h"

#define MOST_UNITS 5
#define MOST_DEVICES 6
#define RATE_UNITS 1e9 /* requests in so many seconds, as whole numbers */

struct service { /* an executable, by profiled stage */
    int count;
    int ms[MOST_UNITS], bytes[MOST_UNITS], output[MOST_UNITS];
};

static void draw_service(struct rng *rng, struct service *service)
{
    const char *text = "executable,stage,latency_s,weight_bytes,output_bytes\n";

    service->count = 1 + (int)rng_below(rng, MOST_UNITS);
    for (int u = 0; u < service->count; u++) {
        service->ms[u] = 1 + (int)rng_below(rng, 50);
        service->bytes[u] = (int)rng_below(rng, 100);
        service->output[u] = (int)rng_below(rng, 3000);
        text = arena_printf(fixture.arena, "%sx,%d,0.%03d,%d,%d\n", text, u, service->ms[u],
                            service->bytes[u], service->output[u]);
    }
    fixture_stages(text);
}

/* Nodes of as many devices each, on one switch of 1000 bytes in a millisecond. */
static void write_cluster(int nodes, int each, int memory_bytes)
{
    const char *text = "device,type,node,memory_bytes\n";

    for (int d = 0; d < nodes * each; d++)
        text = arena_printf(fixture.arena, "%sd%d,t,n%d,%d\n", text, d, d / each, memory_bytes);
    fixture_cluster(text, "medium,kind,node,bits_per_s,latency_s\nlan,switch,*,8e6,0.001\n");
}

static struct problem_input input;
static struct cost_set costs;

static struct place_answer plan(int32_t fault_count)
{
    const char *folder = fixture_path("costs");
    const struct problem *problem;
    struct place_ask ask = { .problem_count = 1, .fault_count = fault_count };

    assert_true(cost_set_load(fixture.arena, &folder, 1, &costs, &fixture.err));
    input = (struct problem_input){ .cluster = cluster_load(fixture.arena, fixture_path("cluster"),
                                                            &fixture.err),
                                    .costs = &costs,
                                    .service = "x",
                                    .executable = "x",
                                    .prompt_tokens = 1,
                                    .output_tokens = 1,
                                    .sequences = 1 };
    problem = problem_create(fixture.arena, &input, &fixture.err);
    assert_non_null(problem);
    ask.problems = &problem;
    return place_infscale(fixture.arena, &ask);
}

/* ---- what any packing of devices on nodes of their own gives ---- */

struct pipelines { /* by number of stages: the shortest period in microseconds, 0 = none fits */
    int64_t period_us[MOST_DEVICES + 1];
};

/* Stages from a unit on; sent_us: the longest that a port was taken so far. Every request also
 * enters and leaves over the switch: 4 bytes in, the last unit's output back. */
static void cut(const struct service *service, int memory_bytes, int first, int stages,
                int64_t worst_us, struct pipelines *best)
{
    int64_t us = 0;
    int bytes = 0;

    if (first == service->count) {
        int64_t *period_us = &best->period_us[stages];

        *period_us = *period_us == 0 || worst_us < *period_us ? worst_us : *period_us;
        return;
    }
    for (int last = first; last < service->count && stages < MOST_DEVICES; last++) {
        int64_t here_us = worst_us;

        us += (int64_t)service->ms[last] * 1000;
        bytes += service->bytes[last];
        if (bytes > memory_bytes)
            return;
        here_us = us > here_us ? us : here_us;
        here_us = service->output[last] > here_us ? service->output[last] : here_us;
        cut(service, memory_bytes, last + 1, stages + 1, here_us, best);
    }
}

/* The best sum of rates of pipelines of `left` devices together, none longer than `size`. */
static double fill(const struct pipelines *pipelines, int left, int size)
{
    double best = 0;

    for (int s = size; s > 0; s--)
        if (s <= left && pipelines->period_us[s] > 0) {
            double one = 1e6 / (double)pipelines->period_us[s];
            double all = one + fill(pipelines, left - s, s);

            best = all > best ? all : best;
        }
    return best;
}

/* ---- what was placed ---- */

struct placed {
    int replicas, disjoint;
    double rate;
};

static const struct cluster_device *device_of(const char *name)
{
    for (int d = 0; d < input.cluster->device_count; d++)
        if (strcmp(input.cluster->devices[d].name, name) == 0)
            return &input.cluster->devices[d];
    fail_msg("no device %s", name);
    return NULL;
}

/* No device has two stages, stages are in order and fit. Disjoint are counted greedily, which is
 * right where replicas overlap in one node at most. */
static struct placed look(const struct place_answer *answer, const struct service *service,
                          int memory_bytes)
{
    struct placed placed = { 0 };
    bool is_taken[MOST_DEVICES] = { false }, has_node[MOST_DEVICES] = { false };

    for (int i = 0; i < answer->row_count; placed.replicas++) {
        int replica = answer->rows[i].replica, stage = 0, next = 0;
        int64_t worst_us = 0;
        bool is_apart = true, nodes[MOST_DEVICES] = { false };

        assert_int_equal(replica, placed.replicas);
        for (; i < answer->row_count && answer->rows[i].replica == replica; i++) {
            const struct placement_row *row = &answer->rows[i];
            int64_t us = 0;
            int bytes = 0, device = (int)(device_of(row->device) - input.cluster->devices);
            int node = (int)strtol(device_of(row->device)->node + 1, NULL, 10);
            bool is_last;

            assert_int_equal(row->stage, stage++);
            assert_int_equal(row->layer_first, next);
            next = row->layer_last + 1;
            assert_false(is_taken[device]);
            is_taken[device] = true;
            nodes[node] = true;
            for (int u = row->layer_first; u <= row->layer_last; u++) {
                us += (int64_t)service->ms[u] * 1000;
                bytes += service->bytes[u];
            }
            assert_true(bytes <= memory_bytes);
            worst_us = us > worst_us ? us : worst_us;
            is_last = i + 1 == answer->row_count || answer->rows[i + 1].replica != replica;
            if ((is_last || strcmp(device_of(answer->rows[i + 1].device)->node,
                                   device_of(row->device)->node) != 0) &&
                service->output[row->layer_last] > worst_us)
                worst_us = service->output[row->layer_last];
        }
        assert_int_equal(next, service->count);
        placed.rate += 1e6 / (double)worst_us;
        for (int n = 0; n < MOST_DEVICES; n++)
            is_apart = is_apart && !(nodes[n] && has_node[n]);
        for (int n = 0; n < MOST_DEVICES; n++)
            has_node[n] = has_node[n] || (is_apart && nodes[n]);
        placed.disjoint += is_apart;
    }
    return placed;
}

static void no_packing_is_better(void **state)
{
    struct rng rng = rng_stream(3, RNG_TEST, 0);
    int several = 0, none = 0;

    (void)state;
    for (int round = 0; round < 300; round++) {
        int devices = 1 + (int)rng_below(&rng, MOST_DEVICES);
        int memory_bytes = 60 + (int)rng_below(&rng, 200);
        struct pipelines pipelines = { { 0 } };
        struct service service;
        struct place_answer answer;
        double best;

        fixture_tear_down(NULL);
        fixture_set_up(NULL);
        draw_service(&rng, &service);
        write_cluster(devices, 1, memory_bytes);
        answer = plan(0);
        cut(&service, memory_bytes, 0, 0, 0, &pipelines);
        best = fill(&pipelines, devices, devices);
        assert_int_equal(answer.is_feasible, best > 0);
        none += !answer.is_feasible;
        if (answer.is_feasible) {
            struct placed placed = look(&answer, &service, memory_bytes);

            /* rates are compared as whole numbers */
            assert_true(placed.rate >= best - MOST_DEVICES / RATE_UNITS);
            assert_true(placed.rate <= best + MOST_DEVICES / RATE_UNITS);
            several += placed.replicas > 1;
        }
    }
    assert_in_range(several, 50, 290);
    assert_in_range(none, 5, 250);
}

/* Whatever is asked for, replicas without a common node are there, or it is said how many fit. */
static void faults_leave_a_replica(void **state)
{
    struct rng rng = rng_stream(4, RNG_TEST, 0);
    int feasible = 0, short_of = 0;

    (void)state;
    for (int round = 0; round < 300; round++) {
        static const int each[] = { 1, 2, 3 };
        int count = each[rng_below(&rng, 3)];
        int nodes = 1 + (int)rng_below(&rng, (uint64_t)(MOST_DEVICES / count));
        int memory_bytes = 60 + (int)rng_below(&rng, 200), faults = (int)rng_below(&rng, 4);
        struct place_answer answer, without;
        struct service service;

        fixture_tear_down(NULL);
        fixture_set_up(NULL);
        draw_service(&rng, &service);
        write_cluster(nodes, count, memory_bytes);
        without = plan(0);
        answer = plan(faults);
        assert_true(without.is_feasible || !answer.is_feasible);
        if (answer.is_feasible) {
            struct placed placed = look(&answer, &service, memory_bytes);
            struct placed most = look(&without, &service, memory_bytes);

            assert_true(placed.disjoint >= faults + 1);
            assert_true(placed.rate <= most.rate + MOST_DEVICES / RATE_UNITS);
            feasible++;
        } else if (without.is_feasible) {
            assert_non_null(strstr(answer.why, "without a common node"));
            short_of++;
        }
    }
    assert_in_range(feasible, 50, 290);
    assert_in_range(short_of, 30, 250);
}

/* A size without a pipeline is no replica: of two boards that hold half each, one replica fits. */
static void half_a_model_is_no_replica(void **state)
{
    struct place_answer answer;

    (void)state;
    fixture_stages("executable,stage,latency_s,weight_bytes\nx,0,0.01,100\nx,1,0.01,100\n");
    write_cluster(3, 1, 150);
    answer = plan(0);
    assert_true(answer.is_feasible);
    assert_int_equal(answer.row_count, 2);
    answer = plan(1);
    assert_false(answer.is_feasible);
    assert_string_equal(answer.why, "1 node may fail: that takes 2 replicas without a common node, "
                                    "and 1 fits");
    write_cluster(1, 1, 150);
    answer = plan(0);
    assert_false(answer.is_feasible);
    assert_string_equal(answer.why, "all devices together lack 50 bytes");
}

/* Devices of a node that differ are not packed together, nor are nodes of different sizes. */
static void unlike_nodes_are_packed_apart(void **state)
{
    struct place_answer answer;
    int fast = 0;

    (void)state;
    fixture_stages("executable,stage,latency_s,weight_bytes\nx,0,0.01,100\nx,1,0.01,100\n");
    fixture_cluster("device,type,node,memory_bytes,speed_ratio\n"
                    "a,t,n0,150,1\nb,t,n0,150,2\nc,t,n0,150,2\nd,t,n1,250,1\n",
                    NULL);
    answer = plan(1);
    assert_true(answer.is_feasible);
    assert_int_equal(answer.row_count, 3);
    for (int i = 0; i < answer.row_count; i++)
        fast += strcmp(answer.rows[i].device, "b") == 0 || strcmp(answer.rows[i].device, "c") == 0;
    assert_int_equal(fast, 2);
}

/* Of every range of units, as the table says of them. */
static void ranges_hold_what_the_table_says(void **state)
{
    struct rng rng = rng_stream(9, RNG_TEST, 0);
    const char *text = "executable,stage,latency_s,weight_bytes,activation_bytes\n";
    const char *folder;
    const struct problem *problem;

    (void)state;
    for (int u = 0; u < 37; u++) {
        int weights = (int)rng_below(&rng, 1000), work = (int)rng_below(&rng, 1000);

        text = arena_printf(fixture.arena, "%sx,%d,0.1,%d,%d\n", text, u, weights, work);
    }
    fixture_stages(text);
    fixture_cluster("device,type,reserved_bytes\na,t,5\n", NULL);
    (void)plan(0);
    folder = fixture_path("costs");
    assert_true(cost_set_load(fixture.arena, &folder, 1, &costs, &fixture.err));
    problem = problem_create(fixture.arena, &input, &fixture.err);
    for (int32_t first = 0; first < 37; first++)
        for (int32_t last = first; last < 37; last++) {
            int64_t weight_bytes, activation_bytes;

            assert_true(cost_stage_memory(costs.tables[0], "x", first, last, 1, &weight_bytes,
                                          &activation_bytes));
            assert_int_equal(problem_bytes(problem, 0, first, last),
                             5 + weight_bytes + activation_bytes);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_packing_is_better, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(faults_leave_a_replica, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(ranges_hold_what_the_table_says, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(half_a_model_is_no_replica, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(unlike_nodes_are_packed_apart, fixture_set_up,
                                        fixture_tear_down),
    };

    return cmocka_run_group_tests_name("place_infscale", tests, NULL, NULL);
}
