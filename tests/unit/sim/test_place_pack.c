/* test_place_pack.c - packing deployments on nodes: against every packing of small cases, and
 * against InfScale's on its 640. */
#include "sim/place/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "tests/unit/scratch.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL "../shared/data/infscale"
#define MOST_NODES 8
#define MOST_PROVEN 16 /* devices of a case of InfScale that all packings are tried of */

/* ---- against every packing ---- */

/* What is left of each node, and whether a rest stands on it already. */
struct floor {
    const struct pack_input *input;
    int32_t left[MOST_NODES];
    bool has_rest[MOST_NODES];
    bool needs_dispatcher;
    int64_t *best; /* by disjoint deployments, capped */
};

static void every_packing(struct floor *floor, int32_t least_size, int64_t value, int32_t sets);

static void with_rest(struct floor *floor, int32_t size, int32_t rest, int64_t value, int32_t sets)
{
    for (int32_t n = 0; n < floor->input->node_count; n++) {
        bool had = floor->has_rest[n];

        if (floor->left[n] < rest)
            continue;
        floor->left[n] -= rest;
        floor->has_rest[n] = true;
        every_packing(floor, size, value, sets + !had);
        floor->left[n] += rest;
        floor->has_rest[n] = had;
        if (!had)
            break; /* nodes that are whole are alike */
    }
}

/* Whole nodes are alike: which ones is no matter. */
static bool take_whole(struct floor *floor, int32_t count, int32_t *taken)
{
    int32_t found = 0;

    for (int32_t n = 0; n < floor->input->node_count && found < count; n++)
        if (floor->left[n] == floor->input->node_devices)
            taken[found++] = n;
    for (int32_t i = 0; i < found && found == count; i++)
        floor->left[taken[i]] = 0;
    return found == count;
}

static void add_size(struct floor *floor, int32_t size, int64_t value, int32_t sets)
{
    int32_t devices = floor->input->node_devices, whole = size / devices, rest = size % devices;
    int32_t taken[MOST_NODES];

    if (!take_whole(floor, whole, taken))
        return;
    value += floor->input->values[size - 1];
    if (rest > 0)
        with_rest(floor, size, rest, value, sets);
    else
        every_packing(floor, size, value, sets + 1);
    for (int32_t i = 0; i < whole; i++)
        floor->left[taken[i]] = devices;
}

/* All multisets of deployments from a size on. */
static void every_packing(struct floor *floor, int32_t least_size, int64_t value, int32_t sets)
{
    int32_t counted = sets < floor->input->set_count ? sets : floor->input->set_count;
    bool has_room = !floor->needs_dispatcher;

    for (int32_t n = 0; n < floor->input->node_count; n++)
        has_room = has_room || floor->left[n] > 0;
    if (!has_room)
        return;
    if (value > floor->best[counted])
        floor->best[counted] = value;
    for (int32_t size = least_size; size <= floor->input->size_count; size++)
        if (floor->input->values[size - 1] != PACK_NONE)
            add_size(floor, size, value, sets);
}

static void brute_force(const struct pack_input *input, bool has_dispatcher, int64_t *best)
{
    struct floor floor = { .input = input, .needs_dispatcher = has_dispatcher, .best = best };

    for (int32_t n = 0; n < input->node_count; n++)
        floor.left[n] = input->node_devices;
    for (int32_t s = 0; s <= input->set_count; s++)
        best[s] = PACK_NONE;
    every_packing(&floor, 1, 0, 0);
}

/* Devices of a node that are taken, as bits; none is taken twice. */
static void take(uint32_t *node, int32_t first, int32_t count)
{
    uint32_t bits = ((1u << count) - 1) << first;

    assert_int_equal(*node & bits, 0);
    *node |= bits;
}

/* Deployments stand where they say: no device twice, worth what was said, disjoint as was said,
 * and there is room for the dispatcher. */
static void check_deployments(struct arena *arena, const struct pack *pack,
                              const struct pack_input *input, int32_t sets, bool has_dispatcher)
{
    int32_t count, disjoint = 0, all = 0;
    uint32_t nodes[MOST_NODES] = { 0 };
    bool has_rest[MOST_NODES] = { false };
    const struct pack_deployment *list =
        pack_deployments(arena, pack, sets, has_dispatcher, &count);
    int64_t value = 0;

    for (int32_t i = 0; i < count; i++) {
        int32_t rest = list[i].size % input->node_devices;

        value += input->values[list[i].size - 1];
        all += list[i].size;
        for (int32_t n = 0; n < list[i].size / input->node_devices; n++) {
            assert_in_range(list[i].first_node + n, 0, input->node_count - 1);
            take(&nodes[list[i].first_node + n], 0, input->node_devices);
        }
        assert_int_equal(rest == 0, list[i].rest_node < 0);
        if (rest > 0) {
            assert_in_range(list[i].rest_node, 0, input->node_count - 1);
            assert_in_range(list[i].rest_first + rest, 1, input->node_devices);
            take(&nodes[list[i].rest_node], list[i].rest_first, rest);
            disjoint += !has_rest[list[i].rest_node];
            has_rest[list[i].rest_node] = true;
        } else {
            disjoint++;
        }
    }
    assert_true(all + has_dispatcher <= input->node_count * input->node_devices);
    assert_int_equal(value, pack_value(pack, sets, has_dispatcher));
    assert_int_equal(disjoint < input->set_count ? disjoint : input->set_count, sets);
}

static void check_against_all(struct arena *arena, const struct pack_input *input)
{
    const struct pack *pack = pack_create(arena, input);
    int64_t best[MOST_NODES + 1];

    for (int has = 0; has < 2; has++) {
        brute_force(input, has, best);
        for (int32_t s = 0; s <= input->set_count; s++) {
            assert_int_equal(pack_value(pack, s, has), best[s]);
            if (best[s] != PACK_NONE)
                check_deployments(arena, pack, input, s, has);
        }
    }
}

static void it_is_the_best_of_all(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 0);
    int32_t none = 0;

    (void)state;
    for (int round = 0; round < 1500; round++) {
        struct arena *arena = arena_create();
        struct pack_input input = { .node_count = 1 + (int32_t)rng_below(&rng, 4) };
        int64_t values[16];

        input.node_devices = 1 + (int32_t)rng_below(&rng, 4);
        input.set_count = 1 + (int32_t)rng_below(&rng, 4);
        if (input.node_count * input.node_devices > 9)
            input.node_count = 9 / input.node_devices;
        input.size_count = 1 + (int32_t)rng_below(&rng, 8);
        for (int32_t i = 0; i < input.size_count; i++)
            values[i] = rng_below(&rng, 3) == 0 ? PACK_NONE : (int64_t)rng_below(&rng, 100);
        input.values = values;
        check_against_all(arena, &input);
        none += pack_value(pack_create(arena, &input), input.set_count, false) == PACK_NONE;
        arena_destroy(arena);
    }
    assert_in_range(none, 100, 1400);
}

/* A node may stay open to keep two apart: sharing it, as InfScale does, leaves one that is
 * disjoint.
 */
static void rests_need_not_share(void **state)
{
    struct arena *arena = arena_create();
    const int64_t values[] = { PACK_NONE, PACK_NONE, PACK_NONE, PACK_NONE, 7 };
    const struct pack_input input = { 4, 4, 5, values, 2 };
    const struct pack *pack = pack_create(arena, &input);

    (void)state;
    assert_int_equal(pack_value(pack, 1, false), 21);
    assert_int_equal(pack_value(pack, 2, false), 14);
    arena_destroy(arena);
}

/* ---- against InfScale ---- */

#define MOST_SIZE 12
#define SCALE 1e9 /* throughputs as integers: the sums below are exact to their last digits */

struct templates {
    char model[32];
    int64_t values[MOST_SIZE];
};

static void templates_read(struct arena *arena, struct templates templates[2])
{
    enum { MODEL, GPUS, THROUGHPUT, BATCH, COUNT };
    static const struct csv_column columns[] = {
        { "model", true }, { "gpus", true }, { "throughput_per_s", true }, { "batch", false }
    };
    struct err err = ERR_INIT;
    struct csv *csv = csv_open(arena, REAL "/templates.csv", "templates", columns, COUNT, &err);

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        struct templates *one = &templates[0];
        int32_t size;
        double throughput;

        while (one->model[0] && strcmp(one->model, csv_text(csv, MODEL)) != 0)
            one++;
        if (!one->model[0]) {
            assert_true(snprintf(one->model, sizeof one->model, "%s", csv_text(csv, MODEL)) > 0);
            for (int i = 0; i < MOST_SIZE; i++)
                one->values[i] = PACK_NONE;
        }
        assert_true(csv_int32(csv, GPUS, 1, MOST_SIZE, &size, &err));
        assert_true(csv_double(csv, THROUGHPUT, 0, 1e9, &throughput, &err));
        one->values[size - 1] = (int64_t)(throughput * SCALE);
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
}

enum {
    MODEL,
    DEVICES,
    NODES,
    FAULTS,
    DISPATCHER,
    FEASIBLE,
    THROUGHPUT,
    TEMPLATES,
    PHANTOMS,
    NODES_USED,
    GPUS_USED,
    OVERFLOW,
    SURVIVES,
    SEGMENTS,
    COLUMN_COUNT
};
static const struct csv_column case_columns[] = { { "model", true },
                                                  { "gpus_per_node", true },
                                                  { "nodes", true },
                                                  { "k_faults", true },
                                                  { "dispatcher", true },
                                                  { "feasible", true },
                                                  { "throughput_per_s", false },
                                                  { "templates", false },
                                                  { "zero_templates", true },
                                                  { "nodes_used", false },
                                                  { "gpus_used", false },
                                                  { "overflow", false },
                                                  { "survives_k", false },
                                                  { "segments", false } };

/* What becomes of InfScale's packings. With phantoms, sizes without a template that it counts as
 * deployments, there is none in truth, or one that is worth as much. */
struct tally {
    int equal, with_phantoms_none, with_phantoms_equal, proven;
};

/* InfScale calls no deployment at all a packing, where no fault is asked for. */
static int64_t value_of(const struct pack *pack, int32_t faults, bool has_dispatcher)
{
    int64_t value = pack_value(pack, faults + 1, has_dispatcher);

    return value == PACK_NONE && faults == 0 ? pack_value(pack, 0, has_dispatcher) : value;
}

static void prove(const struct pack_input *input, int32_t faults, bool has_dispatcher,
                  int64_t value, struct tally *tally)
{
    int64_t best[MOST_NODES + 1];

    if (input->node_count * input->node_devices > MOST_PROVEN)
        return;
    brute_force(input, has_dispatcher, best);
    assert_int_equal(best[faults + 1] == PACK_NONE && faults == 0 ? best[0] : best[faults + 1],
                     value);
    tally->proven++;
}

static void one_case(struct arena *arena, const struct templates *templates, const struct csv *csv,
                     struct tally *tally)
{
    struct err err = ERR_INIT;
    struct pack_input input = { .size_count = MOST_SIZE, .values = templates->values };
    int32_t faults, has_dispatcher, feasible, phantoms;
    const struct pack *pack;
    int64_t value, theirs = PACK_NONE;
    double throughput;

    assert_true(csv_int32(csv, DEVICES, 1, 8, &input.node_devices, &err));
    assert_true(csv_int32(csv, NODES, 1, MOST_NODES, &input.node_count, &err));
    assert_true(csv_int32(csv, FAULTS, 0, 3, &faults, &err));
    assert_true(csv_int32(csv, DISPATCHER, 0, 1, &has_dispatcher, &err));
    assert_true(csv_int32(csv, FEASIBLE, 0, 1, &feasible, &err));
    assert_true(csv_int32(csv, PHANTOMS, 0, 99, &phantoms, &err));
    if (feasible) {
        assert_true(csv_double(csv, THROUGHPUT, 0, 1e9, &throughput, &err));
        theirs = (int64_t)(throughput * SCALE);
    }
    input.set_count = faults + 1;
    pack = pack_create(arena, &input);
    value = value_of(pack, faults, has_dispatcher);
    if (pack_value(pack, faults + 1, has_dispatcher) != PACK_NONE)
        check_deployments(arena, pack, &input, faults + 1, has_dispatcher);
    prove(&input, faults, has_dispatcher, value, tally);
    if (phantoms > 0 && value == PACK_NONE) {
        tally->with_phantoms_none++;
        return;
    }
    /* each throughput lost less than one when it became an integer */
    assert_true(value - theirs <= MOST_NODES * 8 && theirs - value <= MOST_NODES * 8);
    if (phantoms > 0)
        tally->with_phantoms_equal++;
    else
        tally->equal++;
}

static void it_is_what_infscale_finds(void **state)
{
    struct arena *scratch = ((struct scratch *)*state)->arena;
    struct templates templates[3] = { 0 };
    struct tally tally = { 0 };
    struct err err = ERR_INIT;
    struct csv *csv;
    int cases = 0;

    if (access(REAL, R_OK) != 0) {
        print_message("skipped: no %s beside this checkout\n", REAL);
        skip();
    }
    templates_read(scratch, templates);
    csv = csv_open(scratch, REAL "/placement.csv", "placement", case_columns, COLUMN_COUNT, &err);
    assert_non_null(csv);
    for (; csv_next(csv, &err); cases++) {
        struct arena *arena = arena_create();
        const struct templates *of = templates;

        while (strcmp(of->model, csv_text(csv, MODEL)) != 0)
            of++;
        one_case(arena, of, csv, &tally);
        arena_destroy(arena);
    }
    assert_int_equal(err.kind, ERR_NONE);
    csv_close(csv);
    assert_int_equal(cases, 640);
    assert_int_equal(tally.equal, 564);
    assert_int_equal(tally.with_phantoms_none, 70);
    assert_int_equal(tally.with_phantoms_equal, 6);
    assert_in_range(tally.proven, 300, 640);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_best_of_all),
        cmocka_unit_test(rests_need_not_share),
        cmocka_unit_test_setup_teardown(it_is_what_infscale_finds, scratch_begin, scratch_end),
    };

    return cmocka_run_group_tests_name("place_pack", tests, NULL, NULL);
}
