/* search.c - the planner `orrery`: begins with what all other planners of the table answer and with
 * candidates of its own, changes the best of them by random moves, looks at many neighbours by
 * estimate and simulates the few that look best.
 *
 * Placements are simulated with plain FIFO ports on the way where that is much faster than shared
 * links, and what is best so, and every other planner's placement, once more by the rules that were
 * asked for: the best of these is the answer, so that none of the others is better. */
#include "sim/place/search.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "sim/place/room.h"
#include "sim/place/search_hunt.h"
#include <stdio.h>
#include <string.h>

#define DEFAULT_SIMULATIONS 2000
#define NEIGHBOURS 16    /* looked at by estimate */
#define CHOSEN 3         /* simulated of them, and one more at random */
#define LAST_SHARE 40    /* of simulations, one in so many is left for the rules asked for */
#define WORTH_A_LOOK 0.6 /* of the estimate of what was changed */
/* Simulating cut stages takes far longer: unless the best has some, this much of the estimate, and
 * one simulation in so many. */
#define WORTH_A_CUT 0.95
#define CUT_SHARE 100

static bool is_over(const struct hunt *hunt)
{
    return hunt->simulation_count >= hunt->limit || hunt_is_late(hunt);
}

/* ---- what a candidate is worth ---- */

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Below 0: a is better. */
static int better(const struct hunt *hunt, const struct judge_verdict *a,
                  const struct judge_verdict *b)
{
    bool is_latency = hunt->objective == PLACE_LATENCY;
    int order = compare(b->is_feasible, a->is_feasible);

    if (hunt->objective == PLACE_GOODPUT)
        return judge_compare(a, b);
    if (order == 0)
        order = is_latency ? compare(a->latency_mean_ps, b->latency_mean_ps)
                           : compare(a->busiest_ps, b->busiest_ps);
    if (order == 0)
        order = is_latency ? compare(a->busiest_ps, b->busiest_ps)
                           : compare(a->latency_mean_ps, b->latency_mean_ps);
    return order;
}

/* Of several services, latencies add up, and the busiest of any is the busiest of all. */
static struct judge_verdict judge_each(struct hunt *hunt, struct judge *judge,
                                       const struct placement_row *rows, int count)
{
    struct judge_verdict all = { .is_feasible = false };

    for (int32_t s = 0; s < hunt->search.service_count; s++) {
        const struct problem_input *input = problem_input(hunt->search.services[s].problem);
        struct judge_verdict one = judge_alone(judge, rows, count, input->service,
                                               input->prompt_tokens, input->output_tokens);

        if (!one.is_feasible)
            return one;
        one.latency_mean_ps = saturate_add(one.latency_mean_ps, all.latency_mean_ps);
        if (s > 0 && all.busiest_ps > one.busiest_ps)
            one.busiest_ps = all.busiest_ps;
        all = one;
    }
    return all;
}

static struct judge_verdict judge_by(struct hunt *hunt, struct judge *judge,
                                     const struct placement_row *rows, int count)
{
    hunt->judged_count++;
    return hunt->objective == PLACE_GOODPUT ? judge_rows(judge, rows, count)
                                            : judge_each(hunt, judge, rows, count);
}

/* Without a judge: what was estimated. */
static struct judge_verdict estimate(const struct search_plan *plan)
{
    struct judge_verdict verdict = { .is_feasible = plan->replica_count > 0, .why = "" };

    for (int32_t r = 0; r < plan->replica_count; r++) {
        verdict.latency_mean_ps = saturate_add(verdict.latency_mean_ps,
                                               plan->replicas[r].latency_ps / plan->replica_count);
        if (plan->replicas[r].period_ps / plan->replica_count > verdict.busiest_ps)
            verdict.busiest_ps = plan->replicas[r].period_ps / plan->replica_count;
    }
    return verdict;
}

static struct judge_verdict simulate(struct hunt *hunt, struct judge *judge,
                                     const struct search_plan *plan)
{
    struct arena *arena;
    struct judge_verdict verdict;
    const struct placement_row *rows;
    int count;

    if (!judge) {
        hunt->judged_count++;
        return estimate(plan);
    }
    arena = arena_create();
    rows = search_rows(arena, &hunt->search, plan, &count);
    verdict = judge_by(hunt, judge, rows, count);
    arena_destroy(arena);
    return verdict;
}

/* ---- candidates that were seen ---- */

static size_t seen_slot(const uint64_t *seen, size_t room, uint64_t hash)
{
    size_t at = (size_t)hash & (room - 1);

    while (seen[at] != 0 && seen[at] != hash)
        at = (at + 1) & (room - 1);
    return at;
}

static bool is_new(const struct hunt *hunt, uint64_t hash)
{
    return hunt->seen[seen_slot(hunt->seen, hunt->seen_room, hash)] == 0;
}

static void note_seen(struct hunt *hunt, uint64_t hash)
{
    if (2 * hunt->seen_count >= hunt->seen_room) {
        size_t room = 2 * hunt->seen_room;
        uint64_t *seen = arena_array(hunt->arena, room, sizeof *seen);

        for (size_t i = 0; i < hunt->seen_room; i++)
            if (hunt->seen[i] != 0)
                seen[seen_slot(seen, room, hunt->seen[i])] = hunt->seen[i];
        hunt->seen = seen;
        hunt->seen_room = room;
    }
    hunt->seen[seen_slot(hunt->seen, hunt->seen_room, hash)] = hash;
    hunt->seen_count++;
}

/* Texts of a verdict last until the next one. */
static const char *keep_text(struct arena *arena, const char *text)
{
    return text ? arena_strndup(arena, text, strlen(text)) : NULL;
}

static struct judge_verdict keep_verdict(struct arena *arena, const struct judge_verdict *verdict)
{
    struct judge_verdict kept = *verdict;

    kept.why = keep_text(arena, verdict->why);
    kept.busiest_name = keep_text(arena, verdict->busiest_name);
    kept.next_name = keep_text(arena, verdict->next_name);
    return kept;
}

/* Among the best, if it is. Returns its place, -1 = none. */
static int elite_add(struct hunt *hunt, const struct search_plan *plan,
                     const struct judge_verdict *verdict, const char *from)
{
    int at = hunt->elite_count;

    if (!verdict->is_feasible)
        return -1;
    while (at > 0 && better(hunt, verdict, &hunt->elite[at - 1].verdict) < 0)
        at--;
    if (at == HUNT_ELITE || !search_has_room(&hunt->search, plan))
        return -1;
    if (hunt->elite_count < HUNT_ELITE)
        hunt->elite_count++;
    memmove(&hunt->elite[at + 1], &hunt->elite[at],
            (size_t)(hunt->elite_count - at - 1) * sizeof *hunt->elite);
    hunt->elite[at] = (struct entry){ search_keep(hunt->arena, plan),
                                      keep_verdict(hunt->arena, verdict), search_hash(plan), from };
    return at;
}

/* A candidate that is new is simulated. */
static int try_plan(struct hunt *hunt, const struct search_plan *plan, const char *from)
{
    uint64_t hash = search_hash(plan);
    struct judge_verdict verdict;

    if (!is_new(hunt, hash))
        return -1;
    note_seen(hunt, hash);
    if (hunt->search.ask->fault_count > 0 && !search_is_safe(&hunt->search, plan))
        return -1;
    verdict = simulate(hunt, hunt->quick, plan);
    return elite_add(hunt, plan, &verdict, from);
}

/* The same of one that counts among --simulations: neither a start of another planner nor what is
 * judged once more. */
static int try_own(struct hunt *hunt, const struct search_plan *plan, const char *from)
{
    int64_t before = hunt->judged_count;
    int place = try_plan(hunt, plan, from);

    hunt->simulation_count += hunt->judged_count - before;
    return place;
}

/* ---- to begin with ---- */

static bool can_ask(const struct hunt *hunt, const struct place_algorithm *algorithm)
{
    const struct place_ask *ask = hunt->search.ask;

    if (algorithm->plan == place_orrery || (ask->problem_count > 1 && !algorithm->takes_services))
        return false;
    if (algorithm->needs_workload && (!ask->judge || !judge_input(ask->judge)->workload))
        return false;
    for (int32_t s = 0; s < ask->problem_count && algorithm->needs_model; s++)
        if (!problem_input(ask->problems[s])->model)
            return false;
    return true;
}

/* Of stages without a judge: what they add up to. */
static struct judge_verdict score(const struct hunt *hunt, const struct given *given)
{
    struct problem_score score;

    if (!given->stages)
        return (struct judge_verdict){ .is_feasible = false };
    score = problem_score(hunt->search.ask->problems[0], given->stages, given->stage_count);
    return (struct judge_verdict){ .is_feasible = true,
                                   .latency_mean_ps = score.latency_ps,
                                   .busiest_ps = score.period_ps };
}

/* Migrations of its epochs take what it says. */
static struct judge_verdict judge_given(struct hunt *hunt, const struct given *given)
{
    struct judge_input input = *judge_input(hunt->judge);
    struct judge *judge;

    if (given->switch_cost_ps <= input.serve.switch_cost_ps)
        return judge_by(hunt, hunt->judge, given->rows, given->row_count);
    input.serve.switch_cost_ps = given->switch_cost_ps;
    judge = judge_create(hunt->arena, &input);
    (void)hunt_mind_clock(hunt, judge);
    return judge_by(hunt, judge, given->rows, given->row_count);
}

static void ask_one(struct hunt *hunt, int index)
{
    const struct place_algorithm *algorithm = &place_algorithms[index];
    const struct place_ask *ask = hunt->search.ask;
    struct place_answer answer =
        ask->answers ? ask->answers[index] : algorithm->plan(hunt->arena, ask);
    struct given *given = &hunt->given[hunt->given_count];
    struct search_plan plan;
    bool is_plain;

    if (!answer.is_feasible) {
        if (!hunt->why || hunt->why[0] == '\0')
            hunt->why = answer.why;
        return;
    }
    *given = (struct given){ .name = algorithm->name,
                             .stages = answer.rows ? NULL : answer.stages,
                             .stage_count = answer.stage_count };
    given->rows = place_rows(hunt->arena, hunt->search.ask, &answer, &given->row_count);
    given->switch_cost_ps = answer.switch_cost_ps;
    if (room_refuses(hunt->arena, ask, given->rows, given->row_count, &hunt->why))
        return;
    is_plain = search_parse(hunt->arena, &hunt->search, given->rows, given->row_count, &plan);
    if (hunt->search.ask->fault_count > 0 && !(is_plain && search_is_safe(&hunt->search, &plan)))
        return;
    given->verdict = hunt->judge ? judge_given(hunt, given) : score(hunt, given);
    given->verdict = keep_verdict(hunt->arena, &given->verdict);
    if (!given->verdict.is_feasible && given->verdict.why)
        hunt->why = given->verdict.why;
    hunt->given_count++;
    if (is_plain)
        (void)try_plan(hunt, &plan, algorithm->name);
}

static void begin_own(struct hunt *hunt)
{
    int32_t most = hunt->search.device_count;

    for (int32_t count = 1; count <= most && !is_over(hunt); count += 1 + count / 4) {
        struct arena *arena = arena_create();
        struct search_plan plan;

        if (search_start(arena, &hunt->search, count, &plan)) {
            hunt->start_count++;
            (void)try_own(hunt, &plan, "orrery");
        }
        arena_destroy(arena);
    }
}

/* ---- moves ---- */

struct neighbour {
    struct search_plan plan;
    enum search_move move;
    double value;
};

static int32_t draw(struct hunt *hunt, int32_t bound)
{
    return (int32_t)rng_below(&hunt->search.rng, (uint64_t)bound);
}

/* What devices that share stages say to each other is hard to estimate: a lone request is
 * simulated. False: it does not run. */
static bool check_cuts(struct arena *arena, struct hunt *hunt, const struct search_plan *plan)
{
    struct search_replica *replicas = plan->replicas;

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct search_plan one = { .replica_count = 1, .replicas = &replicas[r] };
        const struct problem_input *input;
        struct judge_verdict verdict;
        struct placement_row *rows;
        int count;

        if (!search_is_cut(&replicas[r]) || replicas[r].is_simulated || !hunt->quick)
            continue;
        input = problem_input(hunt->search.services[replicas[r].service].problem);
        rows = search_rows(arena, &hunt->search, &one, &count);
        verdict = judge_alone(hunt->quick, rows, count, input->service, input->prompt_tokens,
                              input->output_tokens);
        if (!verdict.is_feasible)
            return false;
        replicas[r].latency_ps = verdict.latency_mean_ps;
        replicas[r].period_ps = verdict.busiest_ps;
        replicas[r].is_simulated = true;
    }
    return true;
}

static bool has_cuts(const struct search_plan *plan)
{
    for (int32_t r = 0; r < plan->replica_count; r++)
        if (search_is_cut(&plan->replicas[r]))
            return true;
    return false;
}

/* Whether it looks well enough to be simulated, beside what it was changed from. */
static bool is_worth_it(const struct hunt *hunt, const struct neighbour *next, double own)
{
    if (!has_cuts(&next->plan) || has_cuts(&hunt->elite[0].plan))
        return !(own > 0) || next->value >= WORTH_A_LOOK * own;
    return CUT_SHARE * hunt->cut_count <= hunt->simulation_count &&
           (!(own > 0) || next->value >= WORTH_A_CUT * own);
}

/* Random ones that are new and look well enough, the best first. */
static int look_around(struct arena *arena, struct hunt *hunt, const struct search_plan *plan,
                       struct neighbour *neighbours)
{
    double own = search_value(&hunt->search, plan);
    int count = 0;

    for (int i = 0; i < NEIGHBOURS; i++) {
        struct neighbour next = { .move = (enum search_move)draw(hunt, SEARCH_MOVE_COUNT) };
        struct search_plan twice;
        int at = count;

        if (!search_change(arena, &hunt->search, plan, next.move, &next.plan))
            continue;
        if (draw(hunt, 4) == 0 &&
            search_change(arena, &hunt->search, &next.plan,
                          (enum search_move)draw(hunt, SEARCH_MOVE_COUNT), &twice))
            next.plan = twice;
        if (!is_new(hunt, search_hash(&next.plan)) || !check_cuts(arena, hunt, &next.plan))
            continue;
        next.value = search_value(&hunt->search, &next.plan);
        if (!is_worth_it(hunt, &next, own))
            continue;
        for (; at > 0 && neighbours[at - 1].value < next.value; at--)
            neighbours[at] = neighbours[at - 1];
        neighbours[at] = next;
        count++;
    }
    return count;
}

static void try_neighbour(struct hunt *hunt, const struct neighbour *next, const char *from)
{
    double before = hunt_worth(hunt, &hunt->elite[0].verdict);
    int place;

    if (has_cuts(&next->plan) && !has_cuts(&hunt->elite[0].plan) &&
        CUT_SHARE * hunt->cut_count++ > hunt->simulation_count)
        return;
    place = try_own(hunt, &next->plan, from);
    if (place == 0) {
        hunt->moves[next->move].count++;
        hunt->moves[next->move].gain += hunt_worth(hunt, &hunt->elite[0].verdict) - before;
        hunt->last_gain = hunt->told_gain = hunt->simulation_count;
    }
}

static void step(struct hunt *hunt)
{
    struct arena *arena = arena_create();
    int32_t one = draw(hunt, hunt->elite_count), two = draw(hunt, hunt->elite_count);
    struct entry base = hunt->elite[one < two ? one : two];
    struct neighbour neighbours[NEIGHBOURS];
    int count = look_around(arena, hunt, &base.plan, neighbours);

    for (int i = 0; i < count && i < CHOSEN && !is_over(hunt); i++)
        try_neighbour(hunt, &neighbours[i], base.from);
    if (count > CHOSEN && !is_over(hunt))
        try_neighbour(hunt, &neighbours[CHOSEN + draw(hunt, count - CHOSEN)], base.from);
    arena_destroy(arena);
}

static void climb(struct hunt *hunt)
{
    bool is_given = hunt->search.ask->simulations > 0;
    int64_t patience = is_given ? hunt->limit : hunt->limit / 3, idle = 0;

    while (hunt->elite_count > 0 && !is_over(hunt) && idle < patience &&
           hunt->simulation_count - hunt->last_gain < patience) {
        int64_t before = hunt->simulation_count;

        step(hunt);
        idle = hunt->simulation_count > before ? 0 : idle + 1; /* nothing new is left to try */
    }
}

/* ---- the answer ---- */

/* From now on by the rules that were asked for. */
static void sharpen(struct hunt *hunt)
{
    struct entry quick[HUNT_ELITE];
    int count = hunt->elite_count;

    hunt->search.has_queues = true;
    hunt->last_gain = hunt->simulation_count;
    if (hunt->quick == hunt->judge)
        return;
    memcpy(quick, hunt->elite, sizeof quick);
    hunt->quick = hunt->judge;
    hunt->elite_count = 0;
    hunt->seen_count = 0;
    memset(hunt->seen, 0, hunt->seen_room * sizeof *hunt->seen);
    for (int e = 0; e < count && !hunt_is_enough(hunt); e++)
        (void)try_plan(hunt, &quick[e].plan, quick[e].from);
}

/* The best of what was found and of what was given. */
static struct best choose(struct hunt *hunt)
{
    struct best best = { .verdict = { .is_feasible = false } };

    for (int g = 0; g < hunt->given_count; g++)
        if (hunt->given[g].verdict.is_feasible &&
            (!best.given || better(hunt, &hunt->given[g].verdict, &best.verdict) < 0)) {
            best.given = &hunt->given[g];
            best.verdict = best.given->verdict;
        }
    if (hunt->elite_count > 0 &&
        (!best.given || better(hunt, &hunt->elite[0].verdict, &best.verdict) < 0)) {
        best.entry = &hunt->elite[0];
        best.verdict = best.entry->verdict;
    }
    return best;
}

/* Stages where one replica of whole stages is all: reports tell more of these. */
static void answer_fill(struct hunt *hunt, const struct best *best, struct place_answer *answer)
{
    const struct search_plan *plan = best->entry ? &best->entry->plan : NULL;
    bool is_chain = plan && plan->replica_count == 1 && hunt->search.service_count == 1 &&
                    plan->max_batch == 0 && plan->queue_depth == 0;

    answer->is_feasible = true;
    if (!plan) {
        answer->stages = best->given->stages;
        answer->stage_count = best->given->stage_count;
        if (!best->given->stages) {
            answer->rows = best->given->rows;
            answer->row_count = best->given->row_count;
            answer->switch_cost_ps = best->given->switch_cost_ps;
        }
        return;
    }
    for (int32_t s = 0; is_chain && s < plan->replicas[0].stage_count; s++)
        is_chain = plan->replicas[0].stages[s].device_count == 1;
    if (!is_chain) {
        answer->rows = search_rows(hunt->arena, &hunt->search, plan, &answer->row_count);
        return;
    }
    answer->stage_count = plan->replicas[0].stage_count;
    answer->stages = arena_array(hunt->arena, (size_t)answer->stage_count, sizeof *answer->stages);
    for (int32_t s = 0; s < answer->stage_count; s++) {
        const struct search_stage *stage = &plan->replicas[0].stages[s];

        answer->stages[s] = (struct problem_stage){ stage->devices[0], stage->first, stage->last };
    }
}

/* ---- the planner ---- */

/* FIFO ports are exact where nothing shares a link, and else near. */
static struct judge *quick_judge(struct arena *arena, struct judge *judge)
{
    struct judge_input input = *judge_input(judge);

    if (input.serve.network == SERVE_NETWORK_FIFO || !input.cluster->has_links)
        return judge;
    input.serve.network = SERVE_NETWORK_FIFO;
    return judge_create(arena, &input);
}

static void hunt_begin(struct arena *arena, const struct place_ask *ask, struct hunt *hunt)
{
    *hunt = (struct hunt){ .arena = arena, .objective = ask->objective, .judge = ask->judge };
    search_begin(arena, ask, &hunt->search);
    if (hunt->objective == PLACE_GOODPUT && !(ask->judge && judge_input(ask->judge)->workload))
        hunt->objective = PLACE_PERIOD;
    hunt->quick = ask->judge ? quick_judge(arena, ask->judge) : NULL;
    if (hunt->quick && hunt->quick != hunt->judge)
        (void)hunt_mind_clock(hunt, hunt->quick);
    hunt->given = arena_array(arena, (size_t)place_algorithm_count, sizeof *hunt->given);
    hunt->seen_room = 4096;
    hunt->seen = arena_array(arena, hunt->seen_room, sizeof *hunt->seen);
}

/* The bound behind those that take no time, which is short itself, before what may take long. */
static void hear_all(struct hunt *hunt)
{
    for (int is_slow = 0; is_slow < 2; is_slow++) {
        for (int a = 0; a < place_algorithm_count && !hunt_is_enough(hunt); a++)
            if (place_algorithms[a].is_slow == is_slow && can_ask(hunt, &place_algorithms[a]))
                ask_one(hunt, a);
        if (!is_slow)
            hunt->bound_ps = search_bound(hunt->arena, hunt->search.ask, &hunt->bound_what);
    }
}

static const char *why_not(const struct hunt *hunt)
{
    const struct place_ask *ask = hunt->search.ask;

    return place_why_not(hunt->arena, ask->problems, ask->problem_count,
                         hunt->why && hunt->why[0] != '\0' ? hunt->why
                                                           : "no planner found anything that fits");
}

struct place_answer place_orrery(struct arena *arena, const struct place_ask *ask)
{
    int64_t limit = ask->simulations > 0 ? ask->simulations : DEFAULT_SIMULATIONS;
    struct hunt *hunt = arena_alloc(arena, sizeof *hunt);
    struct place_answer answer = { .why = "" };
    struct judge_stop before = { NULL, NULL };
    struct best best;

    hunt_begin(arena, ask, hunt);
    if (hunt->judge)
        before = hunt_mind_clock(hunt, hunt->judge);
    hear_all(hunt);
    hunt->limit = limit - limit / LAST_SHARE;
    begin_own(hunt);
    climb(hunt);
    hunt->limit = limit;
    sharpen(hunt);
    climb(hunt);
    if (hunt->judge)
        (void)judge_set_stop(hunt->judge, before);
    best = choose(hunt);
    if (!best.verdict.is_feasible) {
        answer.why = why_not(hunt);
        return answer;
    }
    answer_fill(hunt, &best, &answer);
    hunt_tell(hunt, &best, &answer);
    return answer;
}
