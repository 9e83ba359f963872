/* test_place_order.c - stages on devices in a fixed order: against every cut of random chains, and
 * against PipeEdge's reverse auctions on 30 networks. */
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
#include "tests/unit/sim/small_chain.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

#define REAL "../shared/data/pipeedge"
#define MIB 1048576.0
#define LAYERS 12 /* of ViT-Base */
#define MOST_HOSTS 8
#define BATCH 8
#define BUFFERS 2

struct host {
    const char *name, *device;
    double mem_mib;
};

struct network { /* one of the 30; hosts in order of the auction */
    struct host hosts[MOST_HOSTS];
    int32_t host_count, source;           /* h0 */
    double mibit[MOST_HOSTS][MOST_HOSTS]; /* 0: no link */
    double units[MOST_HOSTS * LAYERS];
};

struct layers {
    double values_in[LAYERS], values_out[LAYERS], mem_mib[LAYERS];
};

static struct layers vit;
static struct network networks[64];

static double message_cost(const struct network *network, int32_t from, int32_t to, double values)
{
    double mibit = network->mibit[from][to];

    if (from == to)
        return 0;
    return mibit > 0 ? 4 * BATCH * values / (mibit * MIB / 8) : HUGE_VAL;
}

static double border_cost(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    return message_cost(arg, from, to, vit.values_out[unit]);
}

static double entry_cost(const void *arg, int32_t host)
{
    const struct network *network = arg;

    return message_cost(network, network->source, host, vit.values_in[0]);
}

static double exit_cost(const void *arg, int32_t host)
{
    const struct network *network = arg;

    return message_cost(network, host, network->source, vit.values_out[LAYERS - 1]);
}

static bool has_room(const void *arg, int32_t host, int32_t first, int32_t last)
{
    const struct network *network = arg;
    double in = 4 * BATCH * vit.values_in[first], out = 4 * BATCH * vit.values_out[last], mib = 0;

    for (int32_t u = first; u <= last; u++)
        mib += vit.mem_mib[u];
    return network->hosts[host].mem_mib * MIB >
           mib * MIB + (first > 0 ? in * BUFFERS : 0) + out * BUFFERS + in + out;
}

/* ---- against enumeration ---- */

/* The best way to go on from a unit on devices behind `device`. */
static double enumerate(const struct chain *chain, enum chain_objective objective, bool is_strict,
                        struct chain_stage *stages, int32_t count, int32_t device)
{
    int32_t first = count > 0 ? stages[count - 1].last + 1 : 0;
    int32_t end = is_strict ? device + 1 : chain->kind_count - 1;
    double best = HUGE_VAL;

    if (first == chain->unit_count && (!is_strict || device == chain->kind_count - 1))
        return objective == CHAIN_LATENCY ? chain_latency(chain, stages, count)
                                          : chain_period(chain, stages, count);
    for (int32_t d = device + 1; d <= end && d < chain->kind_count; d++)
        for (int32_t last = first; last < chain->unit_count; last++) {
            double cost;

            if (!chain->has_room(chain->arg, d, first, last))
                continue;
            stages[count] = (struct chain_stage){ d, first, last };
            cost = enumerate(chain, objective, is_strict, stages, count + 1, d);
            best = cost < best ? cost : best;
        }
    return best;
}

static void it_is_the_best_in_that_order(void **state)
{
    struct rng rng = rng_stream(3, RNG_TEST, 0);
    int feasible = 0;

    (void)state;
    for (int round = 0; round < 4000; round++) {
        enum chain_objective objective = round % 2 ? CHAIN_LATENCY : CHAIN_PERIOD;
        bool is_strict = round % 3 == 0;
        struct arena *arena = arena_create();
        struct chain_stage stages[MOST_UNITS];
        struct chain_answer answer;
        struct small small;
        double best;

        small_draw(&rng, &small);
        best = enumerate(&small.chain, objective, is_strict, stages, 0, -1);
        answer = chain_order(arena, &small.chain, objective, is_strict);
        assert_int_equal(answer.is_feasible, !isinf(best));
        if (answer.is_feasible) {
            assert_true(!(answer.cost < best) && !(best < answer.cost));
            feasible++;
        }
        arena_destroy(arena);
    }
    assert_in_range(feasible, 1000, 3900);
}

/* ---- reading ---- */

static void read_layers(struct arena *arena)
{
    enum { MODEL, LAYER, BLOCK, KIND, MEM, IN, OUT, COUNT };
    static const struct csv_column columns[] = {
        { "model", true },      { "sublayer", true },         { "block", true },
        { "kind", true },       { "mem_rss_delta_mb", true }, { "values_in", true },
        { "values_out", true },
    };
    struct err err = ERR_INIT;
    struct csv *csv =
        csv_open(arena, REAL "/readme_profile/layer_model.csv", "layers", columns, COUNT, &err);

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        int32_t layer;

        assert_true(csv_int32(csv, LAYER, 1, 1000, &layer, &err));
        if (layer > LAYERS)
            continue;
        assert_true(csv_double(csv, MEM, 0, 1e12, &vit.mem_mib[layer - 1], &err));
        assert_true(csv_double(csv, IN, 0, 1e12, &vit.values_in[layer - 1], &err));
        assert_true(csv_double(csv, OUT, 0, 1e12, &vit.values_out[layer - 1], &err));
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

static void read_times(struct arena *arena)
{
    enum { DEVICE, MODEL, SIZE, DTYPE, LAYER, BLOCK, KIND, TIME, COUNT };
    static const struct csv_column columns[] = {
        { "device", true },   { "model", true }, { "batch", true }, { "dtype", true },
        { "sublayer", true }, { "block", true }, { "kind", true },  { "time_s", true },
    };
    struct err err = ERR_INIT;
    struct csv *csv =
        csv_open(arena, REAL "/readme_profile/layer_times.csv", "times", columns, COUNT, &err);

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        int32_t layer;
        double seconds;

        assert_true(csv_int32(csv, LAYER, 1, 1000, &layer, &err));
        assert_true(csv_double(csv, TIME, 0, 1e12, &seconds, &err));
        for (int n = 0; n < 64 && layer <= LAYERS; n++)
            for (int32_t h = 0; h < networks[n].host_count; h++)
                if (strcmp(networks[n].hosts[h].device, csv_text(csv, DEVICE)) == 0)
                    networks[n].units[h * LAYERS + layer - 1] = seconds;
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

static int32_t find_host(const struct network *network, const char *name)
{
    for (int32_t h = 0; h < network->host_count; h++)
        if (strcmp(network->hosts[h].name, name) == 0)
            return h;
    fail_msg("no host %s", name);
    return -1;
}

static void read_hosts(struct arena *arena)
{
    enum { CASE, HOST, DEVICE, MEM, POSITION, COUNT };
    static const struct csv_column columns[] = { { "case", true },
                                                 { "host", true },
                                                 { "device", true },
                                                 { "mem_mib", true },
                                                 { "order_position", true } };
    struct err err = ERR_INIT;
    struct csv *csv = csv_open(arena, REAL "/revauct/hosts.csv", "hosts", columns, COUNT, &err);

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        struct network *network;
        struct host *host;
        int32_t number, position;

        assert_true(csv_int32(csv, CASE, 0, 63, &number, &err));
        assert_true(csv_int32(csv, POSITION, 1, MOST_HOSTS, &position, &err));
        network = &networks[number];
        host = &network->hosts[position - 1];
        host->name = arena_strdup(arena, csv_text(csv, HOST));
        host->device = arena_strdup(arena, csv_text(csv, DEVICE));
        assert_true(csv_double(csv, MEM, 0, 1e12, &host->mem_mib, &err));
        network->host_count++;
        if (strcmp(host->name, "h0") == 0)
            network->source = position - 1;
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

static void read_links(struct arena *arena)
{
    enum { CASE, A, B, BANDWIDTH, COUNT };
    static const struct csv_column columns[] = {
        { "case", true }, { "host_a", true }, { "host_b", true }, { "bandwidth_mibit_per_s", true }
    };
    struct err err = ERR_INIT;
    struct csv *csv = csv_open(arena, REAL "/revauct/links.csv", "links", columns, COUNT, &err);

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        int32_t number, a, b;
        double mibit;

        assert_true(csv_int32(csv, CASE, 0, 63, &number, &err));
        assert_true(csv_double(csv, BANDWIDTH, 0, 1e12, &mibit, &err));
        a = find_host(&networks[number], csv_text(csv, A));
        b = find_host(&networks[number], csv_text(csv, B));
        networks[number].mibit[a][b] = networks[number].mibit[b][a] = mibit;
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

/* ---- against PipeEdge ---- */

static struct chain chain_of(const struct network *network)
{
    return (struct chain){ .unit_count = LAYERS,
                           .kind_count = network->host_count,
                           .unit_costs = network->units,
                           .border_cost = border_cost,
                           .has_room = has_room,
                           .entry_cost = entry_cost,
                           .exit_cost = exit_cost,
                           .arg = network };
}

enum { CASE, SCHEDULER, FEASIBLE, LATENCY, PERIOD, PARTITION, COLUMN_COUNT };

static void one_row(struct arena *arena, const struct csv *csv)
{
    const char *scheduler = csv_text(csv, SCHEDULER);
    bool is_period = strstr(scheduler, "throughput") || strstr(scheduler, "period");
    struct err err = ERR_INIT;
    struct chain_answer answer;
    struct chain chain;
    int32_t number;
    double expected;

    assert_true(csv_int32(csv, CASE, 0, 63, &number, &err));
    chain = chain_of(&networks[number]);
    answer = chain_order(arena, &chain, is_period ? CHAIN_PERIOD : CHAIN_LATENCY,
                         strstr(scheduler, "strict") != NULL);
    assert_int_equal(answer.is_feasible, strcmp(csv_text(csv, FEASIBLE), "1") == 0);
    if (!answer.is_feasible)
        return;
    assert_true(csv_double(csv, is_period ? PERIOD : LATENCY, 0, 1e12, &expected, &err));
    if (fabs(answer.cost - expected) > 1e-12 * expected)
        fail_msg("network %d, %s: %.17g is not %.17g", (int)number, scheduler, answer.cost,
                 expected);
    assert_int_equal(answer.stages[0].first, 0);
    assert_int_equal(answer.stages[answer.stage_count - 1].last, LAYERS - 1);
    for (int32_t s = 1; s < answer.stage_count; s++) {
        assert_int_equal(answer.stages[s].first, answer.stages[s - 1].last + 1);
        assert_true(answer.stages[s].kind > answer.stages[s - 1].kind);
    }
}

static void auctions_are_those_of_pipeedge(void **state)
{
    static const struct csv_column columns[] = { { "case", true },     { "scheduler", true },
                                                 { "feasible", true }, { "latency_s", true },
                                                 { "period_s", true }, { "partition", true } };
    struct arena *arena = ((struct scratch *)*state)->arena;
    struct err err = ERR_INIT;
    struct csv *csv;
    int rows = 0;

    if (access(REAL, R_OK) != 0) {
        print_message("skipped: no %s beside this checkout\n", REAL);
        skip();
    }
    read_layers(arena);
    read_hosts(arena);
    read_links(arena);
    read_times(arena);
    csv = csv_open(arena, REAL "/revauct/results.csv", "results", columns, COLUMN_COUNT, &err);
    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        if (strcmp(csv_text(csv, SCHEDULER), "greedy_host_count") == 0)
            continue; /* by number of layers, not by cost */
        one_row(arena, csv);
        rows++;
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
    assert_in_range(rows, 150, INT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_best_in_that_order),
        cmocka_unit_test_setup_teardown(auctions_are_those_of_pipeedge, scratch_begin, scratch_end),
    };

    return cmocka_run_group_tests_name("place_order", tests, NULL, NULL);
}
