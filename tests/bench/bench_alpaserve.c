/* bench_alpaserve.c - how fast the rules of AlpaServe's fast simulator run.
 *
 *     bench_alpaserve [REQUESTS [REPEATS]]     (default 2000000 requests, 3 repeats)
 *
 * Rows (bench.h): `alpaserve S=4 M=50 D=200`, ns a request of a whole run under --rules alpaserve
 * against one by events under the default rules, in turns. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "tests/bench/bench.h"
#include "tests/bench/subject.h"

static bool run(const struct subject *subject, int64_t requests, double *ns, struct err *err)
{
    struct arena *arena = arena_create();
    struct subject_run run;
    bool is_ok = subject_run(arena, subject, false, &run, err);

    *ns = is_ok ? run.thread_ns / (double)requests : 0;
    arena_destroy(arena);
    return is_ok;
}

static bool measure(struct subject *subject, int64_t requests, int repeats, struct err *err)
{
    double best_ns = 1e300;

    bench_head();
    for (int repeat = 1; repeat <= repeats; repeat++) {
        double default_ns, ns;

        subject->options.rules = SERVE_DEFAULT;
        if (!run(subject, requests, &default_ns, err))
            return false;
        subject->options.rules = SERVE_ALPASERVE;
        if (!run(subject, requests, &ns, err))
            return false;
        bench_row("alpaserve S=4 M=50 D=200", repeat, ns, default_ns, "ns");
        best_ns = ns < best_ns ? ns : best_ns;
    }
    printf("# alpaserve S=4 M=50 D=200: %.2f million requests/s\n", 1e3 / best_ns);
    return true;
}

int main(int argc, char **argv)
{
    static const struct subject_shape shape = { 4, 50, 200, 0.7 };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int64_t requests = 2000000, repeats = 3;
    struct subject subject;
    const char *folder;
    bool is_ok = false;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &requests)) || requests < 1 ||
        (argc > 2 && !units_parse_int(argv[2], &repeats)) || repeats < 1 || repeats > 99) {
        fprintf(stderr, "usage: bench_alpaserve [REQUESTS [REPEATS]]\n");
        arena_destroy(arena);
        return 2;
    }
    folder = subject_folder(arena, &err);
    if (folder) {
        is_ok = subject_open(arena, folder, &shape, requests, false, &subject, &err) &&
                measure(&subject, requests, (int)repeats, &err);
        subject_remove(arena, folder);
    }
    if (!is_ok)
        fprintf(stderr, "bench_alpaserve: %s\n", err.text);
    arena_destroy(arena);
    return is_ok ? 0 : 2;
}
