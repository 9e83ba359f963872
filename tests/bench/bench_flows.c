/* bench_flows.c - flow events a second of the network model, on nets of several shapes and loads.
 *
 *     bench_flows [FLOWS [CASE]]     (default 20000 flows, every case; CASE: ring64,moderate)
 *
 * Flows begin at random instants (Poisson) between random nodes and move 10 kB, 100 kB, 1 MB or
 * 10 MB, like those of the reference cases: a star has ports of 125, 100 and 12.5 MB/s, ring and
 * mesh have links of 125 MB/s in each direction. An event is a flow's start or its end. Times are
 * of the thread's processor, the best of three. Prints a line
 * net,load,flows_per_s,events,peak_flows,events_per_s,target_per_s a case; a target of 0 is none.
 */
#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "sim/network/flow.h"
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPEATS 3
#define MAX_NODES 64
#define MAX_USES 64

enum shape { STAR, RING, MESH };
static const char *const shape_names[] = { "star", "ring", "mesh" };

struct bench {
    enum shape shape;
    int nodes;
    const char *load;
    double flows_per_s;
    double target_per_s;
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

static double cpu_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

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

int main(int argc, char **argv)
{
    static const struct bench benches[] = {
        { STAR, 64, "moderate", 100, 1e6 }, { RING, 64, "moderate", 100, 1e6 },
        { MESH, 64, "moderate", 100, 1e6 }, { STAR, 16, "overload", 100, 2e5 },
        { STAR, 16, "moderate", 25, 0 },    { RING, 16, "moderate", 100, 0 },
        { MESH, 16, "moderate", 100, 0 },   { STAR, 64, "overload", 400, 0 },
        { RING, 64, "overload", 400, 0 },   { MESH, 64, "overload", 1000, 0 },
    };
    int count = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 20000;
    int64_t check = 0;

    if (count < 1) {
        fprintf(stderr, "usage: bench_flows [FLOWS [NET,LOAD]]\n");
        return 2;
    }
    printf("net,load,flows_per_s,events,peak_flows,events_per_s,target_per_s\n");
    for (size_t b = 0; b < sizeof(benches) / sizeof(benches[0]); b++) {
        double best_s = 1e18;
        int64_t peak_flows = 0;
        char name[32];

        (void)snprintf(name, sizeof(name), "%s%d,%s", shape_names[benches[b].shape],
                       benches[b].nodes, benches[b].load);
        if (argc > 2 && strcmp(argv[2], name) != 0)
            continue;

        for (int repeat = 0; repeat < REPEATS; repeat++) {
            struct arena *arena = arena_create();
            struct net *net = arena_alloc(arena, sizeof(*net));
            const struct arrival *arrivals;
            double began_s, took_s;

            net_build(net, arena, &benches[b]);
            arrivals = draw_arrivals(arena, net, &benches[b], count);
            began_s = cpu_s();
            check ^= run(net->flows, arrivals, count, &peak_flows);
            took_s = cpu_s() - began_s;
            best_s = took_s < best_s ? took_s : best_s;
            arena_destroy(arena);
        }
        printf("%s,%g,%d,%" PRId64 ",%.0f,%.0f\n", name, benches[b].flows_per_s, 2 * count,
               peak_flows, 2 * count / best_s, benches[b].target_per_s);
    }
    fprintf(stderr, "check %" PRId64 "\n", check);
    return 0;
}
