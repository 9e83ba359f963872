/* bench_place.c - planners on problems of a stated size.
 *
 *     bench_place [REPEATS]     (default 3)
 *
 * `place exact period` is the shortest period of 240 units (ViT-Huge in sublayers is 128) on 32
 * devices each of two kinds, `place exact latency` the least latency of the same, in ms. Fails when
 * the answers of repeats differ. */
#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "sim/place/chain.h"
#include "tests/bench/bench.h"
#include <stdbool.h>
#include <stdlib.h>

#define UNITS 240
#define KINDS 2
#define DEVICES 32

static const int32_t counts[KINDS] = { DEVICES, DEVICES };
static double units[KINDS * UNITS], borders[UNITS];

static double border_cost(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    (void)arg;
    return borders[unit] * (from == to ? 1 : 2);
}

static bool has_room(const void *arg, int32_t kind, int32_t first, int32_t last)
{
    (void)arg;
    return last - first < (kind == 0 ? 20 : 60);
}

static void draw(void)
{
    struct rng rng = rng_stream(1, RNG_TEST, 0);

    for (int u = 0; u < UNITS; u++) {
        units[u] = 0.05 + 0.3 * rng_uniform(&rng);
        units[UNITS + u] = units[u] * (0.4 + 0.4 * rng_uniform(&rng));
        borders[u] = 0.01 + 0.05 * rng_uniform(&rng);
    }
}

static bool measure(const char *figure, enum chain_objective objective, int repeats)
{
    const struct chain chain = { .unit_count = UNITS,
                                 .kind_count = KINDS,
                                 .device_counts = counts,
                                 .unit_costs = units,
                                 .border_cost = border_cost,
                                 .has_room = has_room };
    double first = 0;
    bool is_same = true;

    for (int repeat = 1; repeat <= repeats; repeat++) {
        struct arena *arena = arena_create();
        double began_ns = bench_thread_ns();
        struct chain_answer answer = chain_solve(arena, &chain, objective);

        bench_row(figure, repeat, (bench_thread_ns() - began_ns) / 1e6, 0, "ms");
        first = repeat == 1 ? answer.cost : first;
        is_same = is_same && answer.is_feasible && !(answer.cost < first) && !(answer.cost > first);
        arena_destroy(arena);
    }
    return is_same;
}

int main(int argc, char **argv)
{
    int repeats = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 3;
    bool is_same;

    if (repeats < 1 || argc > 2) {
        fprintf(stderr, "usage: bench_place [REPEATS]\n");
        return 2;
    }
    draw();
    bench_head();
    is_same = measure("place exact period", CHAIN_PERIOD, repeats);
    is_same = measure("place exact latency", CHAIN_LATENCY, repeats) && is_same;
    if (!is_same)
        fprintf(stderr, "bench_place: repeats differ, or nothing fits\n");
    return is_same ? 0 : 1;
}
