/* bench_simulation.c - whole simulations by events, against what their queue alone would cost.
 *
 *     bench_simulation [REQUESTS [REPEATS]]     (default 2000000 requests, 3 repeats)
 *
 * Rows (bench.h): `simulation S=4 M=50 D=200`, ns a request of a whole run (drawing the requests,
 * the events, the statistics of latencies) against the limit: events taken from the queue per
 * request x ns a step of a plain 4-ary heap with as many events pending, in the hold model. Both
 * are measured in turns. `load`: ns an event at load 1.05 against load 0.7. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "tests/bench/bench.h"
#include "tests/bench/hold.h"
#include "tests/bench/subject.h"
#include <stdlib.h>

#define STEPS 2000000 /* of the hold model */

struct settings {
    struct arena *arena;
    const char *folder;
    int64_t requests;
    int repeats;
    const int64_t *draws_ps;
};

static bool run_once(const struct subject *subject, struct subject_run *run, struct err *err)
{
    struct arena *arena = arena_create();
    bool is_ok = subject_run(arena, subject, false, run, err);

    arena_destroy(arena);
    return is_ok;
}

static bool simulation(const struct settings *settings, const struct subject_shape *shape,
                       struct err *err)
{
    struct subject subject;
    double pending, pops = 0, best_ns[2] = { 1e300, 1e300 };
    char figure[64];
    int count;

    if (!subject_open(settings->arena, settings->folder, shape, settings->requests, false, &subject,
                      err) ||
        !subject_pending(settings->arena, &subject, &pending, err))
        return false;
    count = pending < 1 ? 1 : (int)(pending + 0.5);
    (void)snprintf(figure, sizeof figure, "simulation S=%d M=%d D=%d", shape->stages,
                   shape->services, shape->devices);
    for (int repeat = 1; repeat <= settings->repeats; repeat++) {
        uint64_t sum;
        double hold = hold_ns(HOLD_QUAD, count, settings->draws_ps, STEPS, &sum), ns;
        struct subject_run run;

        if (!run_once(&subject, &run, err))
            return false;
        ns = run.thread_ns / (double)settings->requests;
        pops = (double)(run.result.event_count - (int64_t)run.result.taken_count) /
               (double)settings->requests;
        bench_row(figure, repeat, ns, pops * hold, "ns");
        best_ns[0] = hold < best_ns[0] ? hold : best_ns[0];
        best_ns[1] = ns < best_ns[1] ? ns : best_ns[1];
    }
    printf("# %s: %.2f events a request from the queue with %.1f pending; hold %.1f ns; "
           "%.1f million events/s\n",
           figure, pops, pending, best_ns[0], (pops + 1) / best_ns[1] * 1e3);
    return true;
}

static bool loads(const struct settings *settings, struct err *err)
{
    const struct subject_shape low = { 4, 50, 200, 0.7 }, high = { 4, 50, 200, 1.05 };
    const char *folder = subject_folder(settings->arena, err);
    struct subject subjects[2];
    bool is_ok;

    if (!folder)
        return false;
    is_ok =
        subject_open(settings->arena, settings->folder, &low, settings->requests, false,
                     &subjects[0], err) &&
        subject_open(settings->arena, folder, &high, settings->requests, false, &subjects[1], err);
    for (int repeat = 1; is_ok && repeat <= settings->repeats; repeat++) {
        double ns[2];

        for (int i = 0; is_ok && i < 2; i++) {
            struct subject_run run;

            is_ok = run_once(&subjects[i], &run, err);
            ns[i] = is_ok ? run.thread_ns / (double)run.result.event_count : 0;
        }
        if (is_ok)
            bench_row("load", repeat, ns[1], ns[0], "ns");
    }
    subject_remove(settings->arena, folder);
    return is_ok;
}

static bool bench(const struct settings *settings, struct err *err)
{
    static const struct subject_shape shapes[] = {
        { 4, 50, 200, 0.7 }, { 2, 2, 2, 0.7 }, { 8, 1000, 256, 0.7 }, { 1, 50, 50, 0.7 }
    };

    bench_head();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (!simulation(settings, &shapes[i], err))
            return false;
    return loads(settings, err);
}

int main(int argc, char **argv)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct settings settings = { .arena = arena, .requests = 2000000, .repeats = 3 };
    int64_t *draws_ps = hold_draw(HOLD_EXPONENTIAL), repeats = settings.repeats;
    bool is_ok = false;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &settings.requests)) ||
        settings.requests < 1 || (argc > 2 && !units_parse_int(argv[2], &repeats)) || repeats < 1 ||
        repeats > 99) {
        fprintf(stderr, "usage: bench_simulation [REQUESTS [REPEATS]]\n");
        return 2;
    }
    settings.repeats = (int)repeats;
    settings.draws_ps = draws_ps;
    settings.folder = subject_folder(arena, &err);
    if (settings.folder && draws_ps) {
        is_ok = bench(&settings, &err);
        subject_remove(arena, settings.folder);
    }
    if (!is_ok)
        fprintf(stderr, "bench_simulation: %s\n", err.text);
    free(draws_ps);
    arena_destroy(arena);
    return is_ok ? 0 : 2;
}
