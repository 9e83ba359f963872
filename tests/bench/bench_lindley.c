/* bench_lindley.c - whole simulations by the closed form, and by events in the tight loop, against
 * the same by events in the loop that knows everything (--fast-path on, events, off).
 *
 *     bench_lindley [REQUESTS [REPEATS]]     (default 1000000 requests, 3 repeats)
 *
 * Rows (bench.h): `lindley S=4 M=2 D=8`, ns a request of the closed form, in turns; a remark says
 * what the tight loop took. Requests are drawn as the run goes on; `..., stored` has them in memory
 * beforehand. Exits with 1 when a way was not taken, or when a result differs: counts, devices,
 * links, statistics of all and of each service, or the end of any request. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "tests/bench/bench.h"
#include "tests/bench/subject.h"

struct settings {
    struct arena *arena;
    const char *folder;
    int64_t requests;
    int repeats;
};

/* A run each way, of which all have the same result. */
static bool run_all(struct arena *arena, struct subject *subject, bool has_ends,
                    struct subject_run runs[SERVE_FAST_COUNT], struct err *err)
{
    for (int way = 0; way < SERVE_FAST_COUNT; way++) {
        subject->options.fast_path = (enum serve_fast)way;
        if (!subject_run(arena, subject, has_ends, &runs[way], err))
            return false;
        if (runs[way].result.fast_path != subject->options.fast_path)
            return err_set(err, ERR_SYSTEM, "--fast-path %s was not taken", serve_fast_names[way]);
        if (!subject_is_same(subject, &runs[0], &runs[way]))
            return err_set(err, ERR_SYSTEM, "--fast-path %s has another result",
                           serve_fast_names[way]);
    }
    return true;
}

static bool compare(const struct settings *settings, const struct subject_shape *shape,
                    bool is_stored, struct err *err)
{
    double requests = (double)settings->requests;
    struct subject subject;
    char figure[64];
    bool is_ok = subject_open(settings->arena, settings->folder, shape, settings->requests,
                              is_stored, &subject, err);

    (void)snprintf(figure, sizeof figure, "lindley S=%d M=%d D=%d%s", shape->stages,
                   shape->services, shape->devices, is_stored ? " stored" : "");
    for (int repeat = 0; is_ok && repeat <= settings->repeats; repeat++) {
        struct arena *arena = arena_create();
        struct subject_run runs[SERVE_FAST_COUNT];

        is_ok = run_all(arena, &subject, repeat == 0, runs, err);
        if (is_ok && repeat > 0) {
            double all_ns = runs[SERVE_FAST_OFF].thread_ns / requests;

            bench_row(figure, repeat, runs[SERVE_FAST_ON].thread_ns / requests, all_ns, "ns");
            printf("# the tight loop of events takes %.1f ns\n",
                   runs[SERVE_FAST_EVENTS].thread_ns / requests);
        }
        arena_destroy(arena);
    }
    return is_ok;
}

static bool bench(const struct settings *settings, struct err *err)
{
    static const struct subject_shape shapes[] = {
        { 4, 2, 8, 0.7 }, { 8, 2, 16, 0.7 }, { 4, 50, 200, 0.7 }, { 8, 50, 256, 0.7 }
    };

    bench_head();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (!compare(settings, &shapes[i], false, err))
            return false;
    return compare(settings, &shapes[2], true, err);
}

int main(int argc, char **argv)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct settings settings = { .arena = arena, .requests = 1000000, .repeats = 3 };
    int64_t repeats = settings.repeats;
    bool is_ok = false;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &settings.requests)) ||
        settings.requests < 1 || (argc > 2 && !units_parse_int(argv[2], &repeats)) || repeats < 1 ||
        repeats > 99) {
        fprintf(stderr, "usage: bench_lindley [REQUESTS [REPEATS]]\n");
        return 2;
    }
    settings.repeats = (int)repeats;
    settings.folder = subject_folder(arena, &err);
    if (settings.folder) {
        is_ok = bench(&settings, &err);
        subject_remove(arena, settings.folder);
    }
    if (!is_ok)
        fprintf(stderr, "bench_lindley: %s\n", err.text);
    arena_destroy(arena);
    return is_ok ? 0 : 1;
}
