/* bench_flows.c - flow events a second of the network model, on nets of several shapes and loads.
 *
 *     bench_flows [FLOWS [REPEATS]]     (default 20000 flows, 3 repeats)
 *
 * Flows begin at random instants (Poisson) between random nodes and move 10 kB, 100 kB, 1 MB or
 * 10 MB, like those of the reference cases: a star has ports of 125, 100 and 12.5 MB/s, ring and
 * mesh have links of 125 MB/s in each direction. An event is a flow's start or its end. Times are
 * of the thread's processor. Rows: `flows ring64 moderate`, ns an event; a remark says how many
 * flows begin a second and were under way at once. Fails when repeats differ. */
#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "sim/network/flow.h"
#include "tests/bench/bench.h"
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_NODES 64
#define MAX_USES 64

enum shape { STAR, RING, MESH };
static const char *const shape_names[] = { "star", "ring", "mesh" };

struct bench {
    enum shape shape;
    int nodes;
    const char *load;
    double flows_per_s;
};

struct arrival {
    int64_t time_ps;
    int32_t route;
    double bytes;
};

struct net {
    struct flow_net *flows;
    int32_t routes[MAX_NODES][MAX_NODES];
};

/* Resources 2 i and 2 i + 1 are node i's port out and in. */
static int star_uses(int from, int to, struct flow_use *uses)
{
    uses[0] = (struct flow_use){ 2 * from, 1 };
    uses[1] = (struct flow_use){ 2 * to + 1, 1 };
    return 2;
}

/* Resources 2 i and 2 i + 1 are the links from node i to the next and to the one before. */
static int ring_uses(int nodes, int from, int to, struct flow_use *uses)
{
    int forward = (to - from + nodes) % nodes, count = 0;
    bool is_forward = 2 * forward <= nodes;

    for (int at = from; at != to; at = (at + (is_forward ? 1 : nodes - 1)) % nodes)
        uses[count++] = (struct flow_use){ 2 * at + (is_forward ? 0 : 1), 1 };
    return count;
}

/* Resources 4 i to 4 i + 3 are node i's links east, west, south, north; along the row first. */
static int mesh_uses(int columns, int from, int to, struct flow_use *uses)
{
    int x = from % columns, y = from / columns, count = 0;

    for (; x != to % columns; x += x < to % columns ? 1 : -1)
        uses[count++] = (struct flow_use){ 4 * (y * columns + x) + (x < to % columns ? 0 : 1), 1 };
    for (; y != to / columns; y += y < to / columns ? 1 : -1)
        uses[count++] = (struct flow_use){ 4 * (y * columns + x) + (y < to / columns ? 2 : 3), 1 };
    return count;
}

static void net_build(struct net *net, struct arena *arena, const struct bench *bench)
{
    static const double rates[] = { 125e6, 125e6, 100e6, 12.5e6 };
    int links = bench->nodes * (bench->shape == MESH ? 4 : 2), columns = 1;
    struct rng rng = rng_stream(2, RNG_TEST, 0);
    struct flow_use uses[MAX_USES];

    while (columns * columns < bench->nodes)
        columns++;
    net->flows = flow_create(arena);
    for (int i = 0; i < links; i++)
        (void)flow_add_resource(
            net->flows, bench->shape == STAR ? rates[rng_below(&rng, 4)] : 125e6, FLOW_SHARED);
    for (int from = 0; from < bench->nodes; from++)
        for (int to = 0; to < bench->nodes; to++) {
            int count = 0;

            if (from == to)
                continue;
            if (bench->shape == STAR)
                count = star_uses(from, to, uses);
            if (bench->shape == RING)
                count = ring_uses(bench->nodes, from, to, uses);
            if (bench->shape == MESH)
                count = mesh_uses(columns, from, to, uses);
            net->routes[from][to] = flow_add_route(net->flows, uses, count, FLOW_UNBOUNDED, 1);
        }
}

static struct arrival *draw_arrivals(struct arena *arena, const struct net *net,
                                     const struct bench *bench, int count)
{
    static const double sizes[] = { 1e4, 1e5, 1e6, 1e7 };
    struct arrival *arrivals = arena_array(arena, (size_t)count, sizeof(*arrivals));
    struct rng rng = rng_stream(1, RNG_TEST, 0);
    double now_s = 0;

    for (int i = 0; i < count; i++) {
        int from = (int)rng_below(&rng, (uint64_t)bench->nodes);
        int to = (int)rng_below(&rng, (uint64_t)bench->nodes - 1);

        now_s += rng_exponential(&rng, 1 / bench->flows_per_s);
        arrivals[i] =
            (struct arrival){ (int64_t)(now_s * 1e12), net->routes[from][to < from ? to : to + 1],
                              sizes[rng_below(&rng, 4)] };
    }
    return arrivals;
}

/* Returns the sum of all ends: keeps the work, and must not depend on the repeat. */
static int64_t run(struct flow_net *flows, const struct arrival *arrivals, int count,
                   int64_t *peak_flows)
{
    int64_t sum_ps = 0;
    int next = 0;

    *peak_flows = 0;
    while (next < count || flow_count(flows) > 0) {
        int64_t end_ps = flow_next_ps(flows);
        int64_t arrival_ps = next < count ? arrivals[next].time_ps : FLOW_NEVER;

        if (arrival_ps < end_ps) {
            (void)flow_advance(flows, arrival_ps);
            flow_start(flows, arrivals[next].route, arrivals[next].bytes, next);
            next++;
            if (flow_count(flows) > *peak_flows)
                *peak_flows = flow_count(flows);
        } else {
            sum_ps += end_ps * flow_advance(flows, end_ps);
        }
    }
    return sum_ps;
}

/* False when a repeat has another result than the first. */
static bool measure(const struct bench *bench, int count, int repeats)
{
    int64_t first_ps = 0, peak_flows = 0;
    bool is_same = true;
    char figure[64];

    (void)snprintf(figure, sizeof(figure), "flows %s%d %s", shape_names[bench->shape], bench->nodes,
                   bench->load);
    for (int repeat = 1; repeat <= repeats; repeat++) {
        struct arena *arena = arena_create();
        struct net *net = arena_alloc(arena, sizeof(*net));
        const struct arrival *arrivals;
        double began_ns;
        int64_t sum_ps;

        net_build(net, arena, bench);
        arrivals = draw_arrivals(arena, net, bench, count);
        began_ns = bench_thread_ns();
        sum_ps = run(net->flows, arrivals, count, &peak_flows);
        bench_row(figure, repeat, (bench_thread_ns() - began_ns) / (2.0 * count), 0, "ns");
        first_ps = repeat == 1 ? sum_ps : first_ps;
        is_same = is_same && sum_ps == first_ps;
        arena_destroy(arena);
    }
    printf("# %s: %g flows a second, at most %" PRId64 " at once\n", figure, bench->flows_per_s,
           peak_flows);
    return is_same;
}

int main(int argc, char **argv)
{
    static const struct bench benches[] = {
        { STAR, 64, "moderate", 100 }, { RING, 64, "moderate", 100 },
        { MESH, 64, "moderate", 100 }, { STAR, 16, "overload", 100 },
        { STAR, 16, "moderate", 25 },  { RING, 16, "moderate", 100 },
        { MESH, 16, "moderate", 100 }, { STAR, 64, "overload", 400 },
        { RING, 64, "overload", 400 }, { MESH, 64, "overload", 1000 },
    };
    int count = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 20000;
    int repeats = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3;
    bool is_same = true;

    if (count < 1 || repeats < 1 || argc > 3) {
        fprintf(stderr, "usage: bench_flows [FLOWS [REPEATS]]\n");
        return 2;
    }
    bench_head();
    for (size_t b = 0; b < sizeof(benches) / sizeof(benches[0]); b++)
        is_same = measure(&benches[b], count, repeats) && is_same;
    if (!is_same)
        fprintf(stderr, "bench_flows: repeats differ\n");
    return is_same ? 0 : 1;
}
