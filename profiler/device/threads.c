/* threads.c - the best thread count, with its doubt. */
#include "profiler/device/threads.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include <string.h>

bool threads_parse(struct arena *arena, const char *option, const char *text,
                   int threads[THREADS_MAX_COUNTS], int *count, struct err *err)
{
    const char *at = text;

    *count = 0;
    do {
        size_t length = strcspn(at, ",");
        int64_t value;

        if (!units_parse_int(arena_strndup(arena, at, length), &value) || value < 1 ||
            value > THREADS_MAX || *count == THREADS_MAX_COUNTS)
            return err_set(err, ERR_USAGE,
                           "%s is '%s': expected up to %d counts from 1 to %d, such as 1,4", option,
                           text, THREADS_MAX_COUNTS, THREADS_MAX);
        for (int i = 0; i < *count; i++)
            if (threads[i] == value)
                return err_set(err, ERR_USAGE, "%s is '%s': %d stands there twice", option, text,
                               (int)value);
        threads[(*count)++] = (int)value;
        at += length;
    } while (*at++ == ',');
    return true;
}

struct phase_cost {
    int threads;
    int64_t cost_ps, ci_ps;
};

static struct phase_cost cost_of(const struct threads_cost *cost, bool is_decode)
{
    return is_decode ? (struct phase_cost){ cost->threads, cost->decode_ps, cost->decode_ci }
                     : (struct phase_cost){ cost->threads, cost->prefill_ps, cost->prefill_ci };
}

/* a is the faster. In doubles: sums of times may leave int64. */
static bool overlap(struct phase_cost a, struct phase_cost b)
{
    return a.ci_ps < 0 || b.ci_ps < 0 ||
           (double)a.cost_ps + (double)a.ci_ps >= (double)b.cost_ps - (double)b.ci_ps;
}

static bool is_less(struct phase_cost a, struct phase_cost b)
{
    return a.cost_ps < b.cost_ps || (a.cost_ps == b.cost_ps && a.threads < b.threads);
}

static struct threads_choice choose(const struct threads_cost *costs, int count, bool is_decode)
{
    struct phase_cost fastest = { 0, 0, 0 }, slowest = fastest, best;
    bool is_clear = true;

    for (int i = 0; i < count; i++) {
        struct phase_cost cost = cost_of(&costs[i], is_decode);

        if (cost.cost_ps <= 0)
            continue;
        if (fastest.threads == 0 || is_less(cost, fastest))
            fastest = cost;
        if (slowest.threads == 0 || is_less(slowest, cost))
            slowest = cost;
    }
    best = fastest;
    for (int i = 0; i < count; i++) {
        struct phase_cost cost = cost_of(&costs[i], is_decode);

        if (cost.cost_ps <= 0 || cost.threads == fastest.threads || !overlap(fastest, cost))
            continue;
        is_clear = false;
        if (cost.threads < best.threads)
            best = cost;
    }
    return (struct threads_choice){ .threads = best.threads,
                                    .fastest = fastest.threads,
                                    .cost_ps = best.cost_ps,
                                    .is_clear = is_clear,
                                    .slowest = slowest.threads,
                                    .slowest_ps = slowest.cost_ps };
}

void threads_best(const struct threads_cost *costs, int count, struct threads_choice *decode,
                  struct threads_choice *prefill)
{
    *decode = choose(costs, count, true);
    *prefill = choose(costs, count, false);
}

static const char *phrase(struct arena *arena, const struct threads_choice *choice,
                          const char *phase, const char *what)
{
    char cost[UNITS_TEXT_BYTES];
    const char *many = choice->threads > 1 ? "threads" : "thread";

    units_format_human(choice->cost_ps, cost);
    if (!choice->is_clear)
        return arena_printf(arena, "%d %s for %s (%s%s, no clear difference%s)", choice->threads,
                            many, phase, cost, what,
                            choice->fastest == choice->threads
                                ? " to more"
                                : arena_printf(arena, " to %d", choice->fastest));
    return arena_printf(arena, "%d %s for %s (%s%s, %.2f times as fast as with %d)",
                        choice->threads, many, phase, cost, what,
                        (double)choice->slowest_ps / (double)choice->cost_ps, choice->slowest);
}

const char *threads_sentence(struct arena *arena, const struct threads_cost *costs, int count)
{
    struct threads_choice decode, prefill;
    const char *of_decode, *of_prefill;

    threads_best(costs, count, &decode, &prefill);
    bool has_decode = decode.threads > 0 && (decode.slowest != decode.fastest);
    bool has_prefill = prefill.threads > 0 && (prefill.slowest != prefill.fastest);
    if (!has_decode && !has_prefill)
        return NULL;
    of_decode = has_decode ? phrase(arena, &decode, "decode", " a step") : "";
    of_prefill = has_prefill ? phrase(arena, &prefill, "prefill", "") : "";
    return arena_printf(arena, "best with %s%s%s", of_decode,
                        has_decode && has_prefill ? " and " : "", of_prefill);
}
