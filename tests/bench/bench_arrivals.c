/* bench_arrivals.c - what drawing requests costs, and how fast the rules of AlpaServe's fast
 * simulator run.
 *
 *     bench_arrivals [REQUESTS [REPEATS]]     (default 5000000 requests, 3 repeats)
 *
 * Rows (bench.h): `arrivals ...`, ns a request of stream_next; `alpaserve S=4 M=50 D=200`, ns a
 * request of a whole run under --rules alpaserve against one by events under the default rules, in
 * turns. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/stream.h"
#include "tests/bench/bench.h"
#include "tests/bench/pipeline.h"

struct settings {
    struct arena *arena;
    int64_t requests;
    int repeats;
};

/* One process for all services, or one for each, and the merge of them. */
static bool arrivals(const struct settings *settings, int services, bool is_merged, struct err *err)
{
    const struct pipeline_shape shape = { 1, services, services, 0.7 };
    struct generate_options options =
        pipeline_requests(settings->arena, &shape, settings->requests);
    char figure[64];

    options.is_merged = is_merged;
    (void)snprintf(figure, sizeof figure, "arrivals M=%d %s", services,
                   is_merged ? "one process" : "a process each");
    for (int repeat = 1; repeat <= settings->repeats; repeat++) {
        struct arena *arena = arena_create();
        struct stream *stream = stream_open(arena, &options, err);
        struct workload_request request;
        int64_t count = 0;
        double began_ns = bench_thread_ns();

        while (stream && stream_next(stream, &request))
            count++;
        if (stream)
            bench_row(figure, repeat, (bench_thread_ns() - began_ns) / (double)count, 0, "ns");
        arena_destroy(arena);
        if (!stream)
            return false;
    }
    return true;
}

static bool alpaserve(const struct settings *settings, struct err *err)
{
    static const struct pipeline_shape shape = { 4, 50, 200, 0.7 };
    const char *folder = pipeline_folder(settings->arena, err);
    struct pipeline pipeline;
    double best_ns = 1e300;
    bool is_ok = folder && pipeline_open(settings->arena, folder, &shape, settings->requests, false,
                                         &pipeline, err);

    for (int repeat = 1; is_ok && repeat <= settings->repeats; repeat++) {
        double ns[2] = { 0, 0 };

        for (int i = 0; is_ok && i < 2; i++) {
            struct arena *arena = arena_create();
            struct pipeline_run run;

            pipeline.options.rules = i == 0 ? SERVE_DEFAULT : SERVE_ALPASERVE;
            is_ok = pipeline_run(arena, &pipeline, false, &run, err);
            ns[i] = is_ok ? run.thread_ns / (double)settings->requests : 0;
            arena_destroy(arena);
        }
        if (is_ok)
            bench_row("alpaserve S=4 M=50 D=200", repeat, ns[1], ns[0], "ns");
        best_ns = ns[1] < best_ns ? ns[1] : best_ns;
    }
    if (is_ok)
        printf("# alpaserve S=4 M=50 D=200: %.2f million requests/s\n", 1e3 / best_ns);
    if (folder)
        pipeline_remove(settings->arena, folder);
    return is_ok;
}

static bool bench(const struct settings *settings, struct err *err)
{
    bench_head();
    return arrivals(settings, 1, true, err) && arrivals(settings, 50, true, err) &&
           arrivals(settings, 50, false, err) && arrivals(settings, 1000, false, err) &&
           alpaserve(settings, err);
}

int main(int argc, char **argv)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct settings settings = { .arena = arena, .requests = 5000000, .repeats = 3 };
    int64_t repeats = settings.repeats;
    bool is_ok;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &settings.requests)) ||
        settings.requests < 1 || (argc > 2 && !units_parse_int(argv[2], &repeats)) || repeats < 1 ||
        repeats > 99) {
        fprintf(stderr, "usage: bench_arrivals [REQUESTS [REPEATS]]\n");
        return 2;
    }
    settings.repeats = (int)repeats;
    is_ok = bench(&settings, &err);
    if (!is_ok)
        fprintf(stderr, "bench_arrivals: %s\n", err.text);
    arena_destroy(arena);
    return is_ok ? 0 : 2;
}
