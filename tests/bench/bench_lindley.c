/* bench_lindley.c - whole simulations by the closed form against the same by events.
 *
 *     bench_lindley [REQUESTS [REPEATS]]     (default 1000000 requests, 3 repeats)
 *
 * Rows (bench.h): `lindley S=4 M=2 D=8`, ns a request of either, in turns. Requests are drawn as
 * the run goes on; `..., stored` has them in memory beforehand. Exits with 1 when the closed form
 * was not taken, or when a result differs: counts, devices, links, statistics of all and of each
 * service, or the end of any request. */
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

/* One run either way: 0 events, 1 closed form. */
static bool run_both(struct arena *arena, struct subject *subject, bool has_ends,
                     struct subject_run runs[2], struct err *err)
{
    for (int i = 0; i < 2; i++) {
        subject->options.fast_path = i == 1 ? SERVE_FAST_ON : SERVE_FAST_EVENTS;
        if (!subject_run(arena, subject, has_ends, &runs[i], err))
            return false;
    }
    if (runs[0].result.fast_path == SERVE_FAST_ON || runs[1].result.fast_path != SERVE_FAST_ON)
        return err_set(err, ERR_SYSTEM, "the closed form was not taken");
    if (!subject_is_same(subject, &runs[0], &runs[1]))
        return err_set(err, ERR_SYSTEM, "the closed form has another result");
    return true;
}

static bool compare(const struct settings *settings, const struct subject_shape *shape,
                    bool is_stored, struct err *err)
{
    struct subject subject;
    char figure[64];
    bool is_ok = subject_open(settings->arena, settings->folder, shape, settings->requests,
                              is_stored, &subject, err);

    (void)snprintf(figure, sizeof figure, "lindley S=%d M=%d D=%d%s", shape->stages,
                   shape->services, shape->devices, is_stored ? " stored" : "");
    for (int repeat = 0; is_ok && repeat <= settings->repeats; repeat++) {
        struct arena *arena = arena_create();
        struct subject_run runs[2];

        is_ok = run_both(arena, &subject, repeat == 0, runs, err);
        if (is_ok && repeat > 0)
            bench_row(figure, repeat, runs[1].thread_ns / (double)settings->requests,
                      runs[0].thread_ns / (double)settings->requests, "ns");
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
