/* bench_stream.c - what an open arrival costs, against the draw that it cannot do without.
 *
 *     bench_stream [REQUESTS]     (default 5000000)
 *
 * Times are of the thread's processor, the best of five. Prints a line services,stream_ns,draw_ns a
 * number of services: ns a request of a Poisson stream, and of an exponential that is rounded to
 * picoseconds. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"
#include "sim/generate/later.h"
#include "sim/generate/split.h"
#include "sim/generate/stream.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REPEATS 5
#define RATE_PER_S 1000.0

static double cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* ns a draw; *last_ps keeps the work from being left out. */
static double time_draws(int64_t count, int64_t *last_ps)
{
    struct rng rng = rng_stream(1, RNG_ARRIVALS, 0);
    double began = cpu_ns();

    *last_ps = 0;
    for (int64_t i = 0; i < count; i++)
        *last_ps = later_ps(*last_ps, rng_exponential(&rng, 1e12 / RATE_PER_S));
    return (cpu_ns() - began) / (double)count;
}

static double time_stream(const char *services, int64_t count, int64_t *last_ps)
{
    struct arena *arena = arena_create();
    struct generate_options options = {
        .process = GENERATE_POISSON, .rate_per_s = RATE_PER_S, .max_requests = count, .seed = 1
    };
    struct err err = ERR_INIT;
    struct workload_request request = { 0 };
    struct stream *stream = NULL;
    double began, ended;

    if (split_services(arena, services, &options, &err))
        stream = stream_open(arena, &options, &err);
    if (!stream) {
        fprintf(stderr, "bench_stream: %s\n", err.text);
        exit(2);
    }
    began = cpu_ns();
    while (stream_next(stream, &request))
        *last_ps = request.arrival_ps;
    ended = cpu_ns();
    arena_destroy(arena);
    return (ended - began) / (double)count;
}

int main(int argc, char **argv)
{
    static const char *const services[] = { "1", "10", "100", "1000", "10000" };
    int64_t count = argc > 1 ? strtoll(argv[1], NULL, 10) : 5000000, last_ps = 0, check = 0;

    if (count < 1) {
        fprintf(stderr, "usage: bench_stream [REQUESTS]\n");
        return 2;
    }
    printf("services,stream_ns,draw_ns\n");
    for (size_t s = 0; s < sizeof(services) / sizeof(services[0]); s++) {
        double stream_ns = 1e18, draw_ns = 1e18;

        for (int repeat = 0; repeat < REPEATS; repeat++) {
            double stream = time_stream(services[s], count, &last_ps), draw;

            check ^= last_ps;
            draw = time_draws(count, &last_ps);
            check ^= last_ps;
            stream_ns = stream < stream_ns ? stream : stream_ns;
            draw_ns = draw < draw_ns ? draw : draw_ns;
        }
        printf("%s,%.2f,%.2f\n", services[s], stream_ns, draw_ns);
    }
    fprintf(stderr, "check %" PRId64 "\n", check);
    return 0;
}
