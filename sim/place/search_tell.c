/* search_tell.c - why this placement: where the search began, what its moves have gained, what
 * limits the answer, and how far it is from what could be. */
#include "sim/place/search_hunt.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"

double hunt_worth(const struct hunt *hunt, const struct judge_verdict *verdict)
{
    int64_t ps = hunt->objective == PLACE_GOODPUT   ? verdict->window_ps
                 : hunt->objective == PLACE_LATENCY ? verdict->latency_mean_ps
                                                    : verdict->busiest_ps;

    if (!verdict->is_feasible || ps <= 0)
        return 0;
    return 1e12 * (hunt->objective == PLACE_GOODPUT ? (double)verdict->good_count : 1) / (double)ps;
}

struct lines {
    struct hunt *hunt;
    const char **list;
    int count;
};

static void tell(struct lines *lines, const char *text)
{
    lines->list[lines->count++] = text;
}

/* "12.3 good requests/s", "lone latency 1.2 s", "period 0.3 s" */
static const char *worth_text(const struct hunt *hunt, const struct judge_verdict *verdict)
{
    char human[UNITS_TEXT_BYTES];

    if (hunt->objective == PLACE_GOODPUT)
        return arena_printf(hunt->arena, "%.4g good requests/s (%lld of %lld)",
                            hunt_worth(hunt, verdict), (long long)verdict->good_count,
                            (long long)verdict->total_count);
    if (hunt->objective == PLACE_LATENCY)
        return arena_printf(hunt->arena, "latency %s",
                            units_format_human(verdict->latency_mean_ps, human));
    return arena_printf(hunt->arena, "period %s", units_format_human(verdict->busiest_ps, human));
}

static void tell_starts(struct lines *lines, const struct best *best)
{
    struct hunt *hunt = lines->hunt;

    tell(lines, arena_printf(hunt->arena,
                             "began with %d placements of other planners and %d of its own; the "
                             "best was reached from that of %s",
                             hunt->given_count, hunt->start_count,
                             best->entry ? best->entry->from : best->given->name));
    for (int g = 0; g < hunt->given_count; g++)
        tell(lines, arena_printf(hunt->arena, "%s: %s", hunt->given[g].name,
                                 hunt->given[g].verdict.is_feasible
                                     ? worth_text(hunt, &hunt->given[g].verdict)
                                     : "does not run"));
    tell(lines, arena_printf(hunt->arena, "orrery: %s", worth_text(hunt, &best->verdict)));
}

static void tell_moves(struct lines *lines)
{
    struct hunt *hunt = lines->hunt;

    tell(lines,
         arena_printf(hunt->arena,
                      "simulated %lld placements of its own; %s; beside them %lld starts of "
                      "others and of the best once more",
                      (long long)hunt->simulation_count,
                      hunt->told_gain > 0
                          ? arena_printf(hunt->arena, "the last that was a gain was number %lld",
                                         (long long)hunt->told_gain)
                          : "no move was a gain",
                      (long long)(hunt->judged_count - hunt->simulation_count)));
    for (int m = 0; m < SEARCH_MOVE_COUNT; m++)
        if (hunt->moves[m].count > 0)
            tell(lines,
                 arena_printf(hunt->arena, "%s: %lld %s, %.3g more requests/s",
                              search_move_names[m], (long long)hunt->moves[m].count,
                              hunt->moves[m].count == 1 ? "gain" : "gains", hunt->moves[m].gain));
}

/* What is taken longest, of the time that the requests take, and what is next. */
static void tell_limit(struct lines *lines, const struct best *best)
{
    const struct hunt *hunt = lines->hunt;
    const struct judge_verdict verdict = best->verdict;
    double all_ps = hunt->objective == PLACE_GOODPUT ? (double)verdict.window_ps
                                                     : (double)verdict.latency_mean_ps;

    if (!verdict.is_feasible || verdict.busiest < 0 || !(all_ps > 0))
        return;
    tell(lines, arena_printf(hunt->arena, "limit: %s, busy %.1f %% of %s; next: %s, %.1f %%",
                             verdict.busiest_name, 100 * (double)verdict.busiest_ps / all_ps,
                             hunt->objective == PLACE_GOODPUT ? "the time" : "a lone request",
                             verdict.next_name[0] != '\0' ? verdict.next_name : "nothing",
                             100 * (double)verdict.next_ps / all_ps));
}

static void tell_bound(struct lines *lines, const struct best *best, int64_t bound_ps,
                       const char *what)
{
    struct hunt *hunt = lines->hunt;
    double most = bound_ps > 0 ? 1e12 / (double)bound_ps : 0,
           own = hunt_worth(hunt, &best->verdict);
    char least[UNITS_TEXT_BYTES];

    if (bound_ps <= 0)
        tell(lines, arena_printf(hunt->arena, "no bound was proven: %s", what));
    else if (hunt->objective == PLACE_GOODPUT)
        tell(lines, arena_printf(hunt->arena,
                                 "bound: no placement has more than %.4g good requests/s (%s); "
                                 "this one is %.1f %% below",
                                 most, what, 100 * (1 - own / most)));
    else
        tell(lines,
             arena_printf(hunt->arena,
                          "bound: no placement has a %s below %s (%s); this one is %.1f %% above",
                          place_objective_names[hunt->objective],
                          units_format_human(bound_ps, least), what, 100 * (most / own - 1)));
}

void hunt_tell(struct hunt *hunt, const struct best *best, struct place_answer *answer)
{
    struct lines lines = { .hunt = hunt };

    lines.list = arena_array(hunt->arena, (size_t)hunt->given_count + SEARCH_MOVE_COUNT + 8,
                             sizeof *lines.list);
    answer->bound_ps = hunt->bound_ps;
    tell_starts(&lines, best);
    tell_moves(&lines);
    if (hunt->judge)
        tell_limit(&lines, best);
    tell_bound(&lines, best, hunt->bound_ps, hunt->bound_what);
    answer->lines = lines.list;
    answer->line_count = lines.count;
}
