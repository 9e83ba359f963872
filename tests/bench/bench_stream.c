/* bench_stream.c - what an open arrival costs, against the draw that it cannot do without.
 *
 *     bench_stream [REQUESTS [REPEATS]]     (default 5000000 requests, 3 repeats)
 *
 * Rows (bench.h): `stream M=50`, ns a request of a Poisson stream of so many services, a process
 * each, against an exponential that is rounded to picoseconds; `..., merged`: one process for all,
 * and the service drawn. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"
#include "sim/generate/later.h"
#include "sim/generate/split.h"
#include "sim/generate/stream.h"
#include "tests/bench/bench.h"

#define RATE_PER_S 1000.0

/* ns a draw; *last_ps keeps the work from being left out. */
static double draw_ns(int64_t count, int64_t *last_ps)
{
    struct rng rng = rng_stream(1, RNG_ARRIVALS, 0);
    double began_ns = bench_thread_ns();

    *last_ps = 0;
    for (int64_t i = 0; i < count; i++)
        *last_ps = later_ps(*last_ps, rng_exponential(&rng, 1e12 / RATE_PER_S));
    return (bench_thread_ns() - began_ns) / (double)count;
}

static bool stream_ns(int services, bool is_merged, int64_t count, double *ns, struct err *err)
{
    struct arena *arena = arena_create();
    struct generate_options options = { .process = GENERATE_POISSON,
                                        .is_merged = is_merged,
                                        .rate_per_s = RATE_PER_S,
                                        .max_requests = count,
                                        .seed = 1 };
    struct workload_request request = { 0 };
    struct stream *stream = NULL;
    int64_t last_ps = 0;

    if (split_services(arena, arena_printf(arena, "%d", services), &options, err))
        stream = stream_open(arena, &options, err);
    *ns = bench_thread_ns();
    while (stream && stream_next(stream, &request))
        last_ps = request.arrival_ps;
    *ns = (bench_thread_ns() - *ns) / (double)count;
    arena_destroy(arena);
    return stream && last_ps > 0;
}

static bool measure(int services, bool is_merged, int64_t count, int repeats, struct err *err)
{
    char figure[64];

    (void)snprintf(figure, sizeof figure, "stream M=%d%s", services, is_merged ? " merged" : "");
    for (int repeat = 1; repeat <= repeats; repeat++) {
        double stream, draw;
        int64_t last_ps;

        if (!stream_ns(services, is_merged, count, &stream, err))
            return false;
        draw = draw_ns(count, &last_ps);
        if (last_ps <= 0)
            return err_set(err, ERR_SYSTEM, "the draws lead nowhere");
        bench_row(figure, repeat, stream, draw, "ns");
    }
    return true;
}

int main(int argc, char **argv)
{
    static const int services[] = { 1, 10, 50, 1000, 10000 };
    struct err err = ERR_INIT;
    int64_t count = 5000000, repeats = 3;
    bool is_ok = true;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &count)) || count < 1 ||
        (argc > 2 && !units_parse_int(argv[2], &repeats)) || repeats < 1 || repeats > 99) {
        fprintf(stderr, "usage: bench_stream [REQUESTS [REPEATS]]\n");
        return 2;
    }
    bench_head();
    for (size_t i = 0; is_ok && i < sizeof services / sizeof services[0]; i++)
        is_ok = measure(services[i], false, count, (int)repeats, &err);
    is_ok = is_ok && measure(50, true, count, (int)repeats, &err);
    if (!is_ok)
        fprintf(stderr, "bench_stream: %s\n", err.text);
    return is_ok ? 0 : 2;
}
