/* alpaserve.c - buckets of services, devices for each of them, and the best of all that was tried:
 * AlpaServe's algorithm 2 (see alpaserve.h). */
#include "sim/place/alpaserve.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/base/wide.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/workload.h"
#include <string.h>

#define NOBODY (-1)
#define MOST_BUCKETS 4
#define MOST_WAYS 200000    /* to give devices to buckets that are looked at */
#define MOST_SPLITS 8       /* of the devices among the buckets, those nearest to their load */
#define SHARE_UNITS 1000000 /* of a whole, in comparisons */

#define DEFAULT_BEAM 3 /* as in AlpaServe's own search */
#define DEFAULT_SIMULATIONS 10000

/* A way to give buckets devices, and what was found for it. */
struct plan_of {
    int bucket_count;
    struct alpaserve_selection selections[MOST_BUCKETS];
    struct alpaserve_part parts[MOST_BUCKETS];
    struct judge_verdict verdict;
};

struct tried { /* a part, and the best for it */
    struct alpaserve_part part;
    struct alpaserve_selection selection;
};

struct planner {
    struct alpaserve search;
    struct tried *tried;
    int tried_count, tried_room;
    struct plan_of best; /* bucket_count 0: there is none */
};

/* ---- devices and services ---- */

/* Adds a device and those of its node that are like it. */
static void take_node(const struct cluster *cluster, int32_t device, bool *is_taken, int32_t *order,
                      int32_t *count)
{
    for (int32_t d = device; d < cluster->device_count; d++)
        if (!is_taken[d] && problem_are_twins(cluster, device, d) &&
            strcmp(cluster->devices[d].node, cluster->devices[device].node) == 0) {
            order[(*count)++] = d;
            is_taken[d] = true;
        }
}

/* Those that are alike together, and of these those of a node. */
static int32_t *order_of(struct arena *arena, const struct cluster *cluster)
{
    size_t devices = (size_t)cluster->device_count;
    int32_t *order = arena_array(arena, devices, sizeof *order), count = 0;
    bool *is_taken = arena_array(arena, devices, sizeof *is_taken);

    for (int32_t first = 0; first < cluster->device_count; first++) {
        if (is_taken[first])
            continue;
        for (int32_t d = first; d < cluster->device_count; d++)
            if (!is_taken[d] && problem_are_twins(cluster, first, d))
                take_node(cluster, d, is_taken, order, &count);
    }
    return order;
}

/* On how many devices each stage of an executable was profiled; 0: on different numbers. */
static int32_t width_of(const struct problem *problem)
{
    const struct problem_input *input = problem_input(problem);
    const struct cost_table *table = cost_set_find(input->costs, input->cluster->devices[0].type);
    int32_t width = 0;

    for (int32_t u = 0; u < problem_unit_count(problem); u++) {
        const struct cost_stage *stage = cost_stage_find_batch(table, input->executable, u, 1);
        int32_t devices = stage && stage->devices > 0 ? stage->devices : 1;

        if (width > 0 && devices != width)
            return 0;
        width = devices;
    }
    return width;
}

static void add_variant(struct alpaserve_variant *variants, int *count,
                        const struct problem *problem)
{
    int32_t width = width_of(problem);

    if (width > 0)
        variants[(*count)++] = (struct alpaserve_variant){ problem, width };
}

/* Executables that say that they are of the same model: other ways to cut it. */
static void executable_variants(struct arena *arena, const struct problem *problem,
                                struct alpaserve_service *service)
{
    const struct problem_input *input = problem_input(problem);
    const struct cost_table *table = cost_set_find(input->costs, input->cluster->devices[0].type);
    int rows = cost_stage_row_count(table);
    struct alpaserve_variant *variants = arena_array(arena, (size_t)rows + 1, sizeof *variants);
    const char *model = cost_stage_first(table, input->executable, 0)->model;

    add_variant(variants, &service->variant_count, problem);
    for (int r = 0; r < rows && model[0]; r++) {
        const struct cost_stage *row = cost_stage_row_at(table, r);
        struct problem_input other = *input;
        struct err err = ERR_INIT;
        const struct problem *sibling;

        if (strcmp(row->model, model) != 0 || strcmp(row->executable, input->executable) == 0 ||
            (r > 0 && strcmp(row->executable, cost_stage_row_at(table, r - 1)->executable) == 0))
            continue;
        other.executable = row->executable;
        sibling = problem_create(arena, &other, &err); /* not for all types of device: no variant */
        if (sibling)
            add_variant(variants, &service->variant_count, sibling);
    }
    service->variants = variants;
}

static void model_variants(struct arena *arena, const struct problem *problem,
                           struct alpaserve_service *service)
{
    struct alpaserve_variant *variants = arena_array(arena, 3, sizeof *variants);

    for (int32_t width = 1; width <= 4; width *= 2)
        if (problem_can_shard(problem, width))
            variants[service->variant_count++] = (struct alpaserve_variant){ problem, width };
    service->variants = variants;
}

static void service_fill(struct alpaserve *search, const struct problem *problem,
                         struct alpaserve_service *service)
{
    const struct problem_input *input = problem_input(problem);
    const struct workload *workload = judge_input(search->ask->judge)->workload;
    int32_t last = problem_unit_count(problem) - 1;

    service->name = input->service;
    service->alone_ps = INT64_MAX;
    for (int32_t d = 0; d < search->device_count; d++) {
        int64_t time_ps = problem_units_ps(problem, d, 0, last);

        service->alone_ps = time_ps < service->alone_ps ? time_ps : service->alone_ps;
    }
    service->held_bytes =
        problem_bytes(problem, 0, 0, last) - input->cluster->devices[0].reserved_bytes;
    for (size_t i = 0; i < workload->count; i++)
        service->request_count +=
            strcmp(workload->services[workload->service_ids ? workload->service_ids[i] : 0],
                   service->name) == 0;
    if (input->model)
        model_variants(search->arena, problem, service);
    else
        executable_variants(search->arena, problem, service);
}

/* ---- one part ---- */

static void part_try(struct planner *planner, const struct alpaserve_layout *layout,
                     struct tried *tried)
{
    struct alpaserve *search = &planner->search;
    bool has_beam = search->options.beam > 0 && search->options.has_beam_everywhere;
    struct alpaserve_selection found = alpaserve_greedy(search, &tried->part, layout);

    for (int i = 0; i < (has_beam ? 2 : 1); i++) {
        if (i > 0)
            found = alpaserve_beam(search, &tried->part, layout);
        if (found.layout && (!tried->selection.layout ||
                             alpaserve_compare(&found.verdict, &tried->selection.verdict) < 0))
            tried->selection = found;
    }
}

/* The best for a part; its layout is NULL where nothing fits. Asked again, it is remembered. */
static struct alpaserve_selection part_best(struct planner *planner,
                                            const struct alpaserve_part *part)
{
    struct arena *arena = planner->search.arena;
    const struct alpaserve_layout *layouts;
    struct tried *tried;
    int count;

    for (int i = 0; i < planner->tried_count; i++) {
        const struct alpaserve_part *known = &planner->tried[i].part;

        if (known->service_count == part->service_count && known->first == part->first &&
            known->device_count == part->device_count &&
            memcmp(known->services, part->services,
                   (size_t)part->service_count * sizeof *part->services) == 0)
            return planner->tried[i].selection;
    }
    if (planner->tried_count == planner->tried_room) {
        int room = arena_wider(planner->tried_room, 16);

        planner->tried = arena_grow(arena, planner->tried, (size_t)planner->tried_room,
                                    (size_t)room, sizeof *planner->tried);
        planner->tried_room = room;
    }
    tried = &planner->tried[planner->tried_count++];
    *tried = (struct tried){ .part = *part };
    layouts = alpaserve_layouts(&planner->search, part, &count);
    for (int i = 0; i < count; i++)
        part_try(planner, &layouts[i], tried);
    return tried->selection;
}

static void plan_judge(struct planner *planner, struct plan_of *plan)
{
    plan->verdict = plan->bucket_count == 1
                        ? plan->selections[0].verdict
                        : alpaserve_judge(&planner->search, plan->selections, plan->bucket_count);
    if (plan->verdict.is_feasible &&
        (planner->best.bucket_count == 0 ||
         alpaserve_compare(&plan->verdict, &planner->best.verdict) < 0))
        planner->best = *plan;
}

static void plan_try(struct planner *planner, struct plan_of *plan)
{
    for (int b = 0; b < plan->bucket_count; b++) {
        plan->selections[b] = part_best(planner, &plan->parts[b]);
        if (!plan->selections[b].layout)
            return;
    }
    plan_judge(planner, plan);
}

/* ---- buckets, and devices for them ---- */

static int64_t load_of(const struct alpaserve_service *service)
{
    return saturate_mul(service->alone_ps > 0 ? service->alone_ps : 1,
                        service->request_count > 0 ? service->request_count : 1);
}

static bool is_before(const struct alpaserve_service *a, const struct alpaserve_service *b)
{
    return a->held_bytes != b->held_bytes ? a->held_bytes > b->held_bytes
                                          : a->alone_ps > b->alone_ps;
}

/* Services in order of a lone request's time, or those that hold most before. */
static int32_t *services_sorted(const struct alpaserve *search, const int32_t *list, int32_t count,
                                bool is_by_time)
{
    const struct alpaserve_service *services = search->services;
    int32_t *sorted = arena_array(search->arena, (size_t)count + 1, sizeof *sorted);

    for (int32_t i = 0; i < count; i++) {
        int32_t one = list ? list[i] : i, at = i;

        for (; at > 0 && (is_by_time ? services[one].alone_ps < services[sorted[at - 1]].alone_ps
                                     : is_before(&services[one], &services[sorted[at - 1]]));
             at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = one;
    }
    return sorted;
}

/* The larger over the smaller: a / b against c / d. */
static bool is_larger_ratio(int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct wide left = wide_mul((uint64_t)a, (uint64_t)d);
    struct wide right = wide_mul((uint64_t)c, (uint64_t)b);

    return wide_compare(left, right) > 0;
}

/* Cuts the services, in order of their time, where neighbours differ most, so that a bucket has
 * services of similar size: begins[b] is the first of bucket b. */
static void buckets_cut(const struct alpaserve *search, const int32_t *sorted, int count,
                        int32_t *begins)
{
    const struct alpaserve_service *services = search->services;

    begins[0] = 0;
    for (int b = 1; b < count; b++) {
        int32_t best = NOBODY;

        for (int32_t i = 1; i < search->service_count; i++) {
            bool is_cut = false;

            for (int j = 0; j < b; j++)
                is_cut = is_cut || begins[j] == i;
            if (!is_cut && (best == NOBODY || is_larger_ratio(services[sorted[i]].alone_ps,
                                                              services[sorted[i - 1]].alone_ps,
                                                              services[sorted[best]].alone_ps,
                                                              services[sorted[best - 1]].alone_ps)))
                best = i;
        }
        begins[b] = best;
    }
    for (int b = 2; b < count; b++)
        for (int j = b; j > 1 && begins[j] < begins[j - 1]; j--) {
            int32_t kept = begins[j];

            begins[j] = begins[j - 1];
            begins[j - 1] = kept;
        }
}

struct split { /* devices of each bucket */
    int32_t counts[MOST_BUCKETS];
    int64_t off; /* how far from the buckets' shares of the load */
};

struct splitter {
    int bucket_count, split_count;
    int32_t device_count;
    int64_t shares[MOST_BUCKETS]; /* of the load, of SHARE_UNITS */
    struct split splits[MOST_SPLITS];
};

/* The nearest ones stay, in order; of equal ones the earlier. */
static void split_keep(struct splitter *splitter, const struct split *split)
{
    int at = splitter->split_count;

    if (at == MOST_SPLITS && split->off >= splitter->splits[at - 1].off)
        return;
    if (at == MOST_SPLITS)
        at--;
    else
        splitter->split_count++;
    for (; at > 0 && split->off < splitter->splits[at - 1].off; at--)
        splitter->splits[at] = splitter->splits[at - 1];
    splitter->splits[at] = *split;
}

static void split_all(struct splitter *splitter, struct split *split, int bucket, int32_t left)
{
    int behind = splitter->bucket_count - bucket - 1;
    int64_t before = split->off;

    for (int32_t count = behind > 0 ? 1 : left; count <= left - behind; count++) {
        int64_t off =
            (int64_t)count * SHARE_UNITS - splitter->shares[bucket] * splitter->device_count;

        split->counts[bucket] = count;
        split->off = before + (off < 0 ? -off : off);
        if (behind > 0)
            split_all(splitter, split, bucket + 1, left - count);
        else
            split_keep(splitter, split);
    }
    split->off = before;
}

/* Ways to give each of the buckets one device or more; more than MOST_WAYS where it cannot be. */
static int64_t split_ways(int32_t devices, int buckets)
{
    int64_t ways = devices < buckets ? MOST_WAYS + 1 : 1;

    for (int i = 1; i < buckets && ways <= MOST_WAYS; i++)
        ways = ways * (devices - i) / i;
    return ways;
}

static void shares_fill(const struct alpaserve *search, const int32_t *sorted,
                        const int32_t *begins, struct splitter *splitter)
{
    int64_t loads[MOST_BUCKETS] = { 0 }, whole = 0;

    for (int b = 0; b < splitter->bucket_count; b++) {
        int32_t end = b + 1 < splitter->bucket_count ? begins[b + 1] : search->service_count;

        for (int32_t i = begins[b]; i < end; i++)
            loads[b] = saturate_add(loads[b], load_of(&search->services[sorted[i]]) / SHARE_UNITS);
        loads[b] = saturate_add(loads[b], 1);
        whole = saturate_add(whole, loads[b]);
    }
    for (int b = 0; b < splitter->bucket_count; b++) {
        uint64_t rest;

        splitter->shares[b] =
            (int64_t)wide_div(wide_mul((uint64_t)loads[b], SHARE_UNITS), (uint64_t)whole, &rest);
    }
}

static void buckets_try(struct planner *planner, const int32_t *sorted, int count)
{
    struct alpaserve *search = &planner->search;
    struct splitter splitter = { .bucket_count = count, .device_count = search->device_count };
    struct split split = { { 0 }, 0 };
    int32_t begins[MOST_BUCKETS + 1];

    buckets_cut(search, sorted, count, begins);
    begins[count] = search->service_count;
    shares_fill(search, sorted, begins, &splitter);
    split_all(&splitter, &split, 0, search->device_count);
    for (int i = 0; i < 2 * splitter.split_count; i++) {
        struct plan_of plan = { .bucket_count = count };
        int32_t first = 0;

        if (i % 2 > 0 && count == 1)
            continue;
        for (int j = 0; j < count; j++) { /* slow services take the first devices, or the last */
            int b = i % 2 > 0 ? count - 1 - j : j;
            struct alpaserve_part *part = &plan.parts[b];

            part->service_count = begins[b + 1] - begins[b];
            part->services =
                services_sorted(search, &sorted[begins[b]], part->service_count, false);
            part->first = first;
            part->device_count = splitter.splits[i / 2].counts[b];
            first += part->device_count;
        }
        plan_try(planner, &plan);
    }
}

/* The best plan once more, by beams over its own groups. */
static void beams_try(struct planner *planner)
{
    struct plan_of plan = planner->best;

    for (int b = 0; b < plan.bucket_count; b++) {
        struct alpaserve_selection found =
            alpaserve_beam(&planner->search, &plan.parts[b], plan.selections[b].layout);

        if (found.layout && alpaserve_compare(&found.verdict, &plan.selections[b].verdict) < 0)
            plan.selections[b] = found;
    }
    plan_judge(planner, &plan);
}

/* ---- the answer ---- */

/* Two meshes of one shape with the same services. */
static bool are_alike(const struct alpaserve *search, const struct alpaserve_selection *selection,
                      int32_t a, int32_t b)
{
    const struct alpaserve_layout *layout = selection->layout;

    for (int32_t s = 0; s < search->service_count; s++)
        if (selection->hosts[s * layout->mesh_count + a] !=
            selection->hosts[s * layout->mesh_count + b])
            return false;
    return layout->meshes[a].stage_count == layout->meshes[b].stage_count &&
           layout->meshes[a].width == layout->meshes[b].width;
}

/* "2 groups of 4 stages of 1 device, the first from 'a0': chat, vision". */
static const char *mesh_text(struct arena *arena, const struct alpaserve *search,
                             const struct alpaserve_selection *selection, int32_t mesh,
                             int32_t count)
{
    const struct alpaserve_mesh *at = &selection->layout->meshes[mesh];
    const char *text = arena_printf(
        arena, "%d group%s of %d stage%s of %d device%s, %sfrom '%s'", (int)count, units_s(count),
        (int)at->stage_count, units_s(at->stage_count), (int)at->width, units_s(at->width),
        count > 1 ? "the first " : "", search->cluster->devices[search->order[at->first]].name);
    const char *join = ": ";

    for (int32_t s = 0; s < search->service_count; s++)
        if (selection->hosts[s * selection->layout->mesh_count + mesh]) {
            text = arena_printf(arena, "%s%s%s", text, join, search->services[s].name);
            join = ", ";
        }
    return join[0] == ',' ? text : arena_printf(arena, "%s: nothing", text);
}

static void explain(struct arena *arena, const struct planner *planner, struct place_answer *answer)
{
    const struct plan_of *best = &planner->best;
    const char **lines =
        arena_array(arena, (size_t)planner->search.device_count + 1, sizeof *lines);

    for (int b = 0; b < best->bucket_count; b++) {
        const struct alpaserve_selection *selection = &best->selections[b];

        for (int32_t m = 0, next; m < selection->layout->mesh_count; m = next) {
            for (next = m + 1; next < selection->layout->mesh_count &&
                               are_alike(&planner->search, selection, m, next);)
                next++;
            lines[answer->line_count++] =
                mesh_text(arena, &planner->search, selection, m, next - m);
        }
    }
    lines[answer->line_count++] = arena_printf(
        arena, "%lld of %lld requests within their objectives; %lld placements were simulated",
        (long long)best->verdict.good_count, (long long)best->verdict.total_count,
        (long long)(planner->search.options.simulation_count - planner->search.simulations_left));
    answer->lines = lines;
}

static const char *why_not(struct arena *arena, const struct planner *planner)
{
    const struct place_ask *ask = planner->search.ask;

    if (planner->search.is_cut_short)
        return "no placement was found in the time, or within the simulations, that there were";
    for (int32_t p = 0; p < ask->problem_count; p++) {
        int64_t missing_bytes = problem_missing_bytes(ask->problems[p]);

        if (missing_bytes > 0)
            return arena_printf(arena, "for '%s' all devices together lack %lld bytes",
                                problem_input(ask->problems[p])->service, (long long)missing_bytes);
    }
    return arena_printf(arena, "no group of devices holds what it must%s%s",
                        planner->search.why[0] ? ": " : "", planner->search.why);
}

/* Refused: their caches find no room where too many requests wait at once. */
static const char *remark(struct arena *arena, const struct planner *planner)
{
    const char *short_of = planner->search.is_cut_short
                               ? "the search was cut short: better placements may be left"
                               : "";
    int64_t refused = planner->best.verdict.total_count - planner->best.verdict.ok_count;

    if (refused == 0)
        return short_of;
    return arena_printf(arena, "%lld of %lld requests do not end ok%s%s", (long long)refused,
                        (long long)planner->best.verdict.total_count, short_of[0] ? "; " : "",
                        short_of);
}

static void begin(struct arena *arena, const struct place_ask *ask,
                  const struct alpaserve_options *options, struct alpaserve *search)
{
    struct judge_input judged = *judge_input(ask->judge);

    if (judged.serve.memory == SERVE_MEMORY_ERROR)
        judged.serve.memory = SERVE_MEMORY_REFUSE;
    search->arena = arena;
    search->ask = ask;
    search->options = *options;
    search->judge = judge_create(arena, &judged);
    (void)judge_set_stop(search->judge, (struct judge_stop){ alpaserve_is_enough, search });
    search->cluster = problem_input(ask->problems[0])->cluster;
    search->device_count = search->cluster->device_count;
    search->service_count = ask->problem_count;
    search->order = order_of(arena, search->cluster);
    search->services = arena_array(arena, (size_t)ask->problem_count, sizeof *search->services);
    search->simulations_left = options->simulation_count;
    search->why = "";
    for (int32_t p = 0; p < ask->problem_count; p++)
        service_fill(search, ask->problems[p], &search->services[p]);
}

struct alpaserve *alpaserve_begin(struct arena *arena, const struct place_ask *ask,
                                  const struct alpaserve_options *options)
{
    struct alpaserve *search = arena_alloc(arena, sizeof *search);

    begin(arena, ask, options, search);
    return search;
}

struct place_answer alpaserve_plan(struct arena *arena, const struct place_ask *ask,
                                   const struct alpaserve_options *options)
{
    struct planner *planner = arena_alloc(arena, sizeof *planner);
    struct alpaserve *search = &planner->search;
    struct place_answer answer = { .why = "" };
    const int32_t *sorted;

    begin(arena, ask, options, search);
    sorted = services_sorted(search, NULL, search->service_count, true);
    for (int count = 1; count <= MOST_BUCKETS && count <= search->service_count &&
                        split_ways(search->device_count, count) <= MOST_WAYS;
         count++)
        buckets_try(planner, sorted, count);
    if (planner->best.bucket_count > 0 && options->beam > 0 && !options->has_beam_everywhere)
        beams_try(planner);
    if (planner->best.bucket_count == 0) {
        answer.why = why_not(arena, planner);
        return answer;
    }
    answer.is_feasible = true;
    answer.rows = alpaserve_rows(search, planner->best.selections, planner->best.bucket_count,
                                 &answer.row_count);
    explain(arena, planner, &answer);
    answer.why = remark(arena, planner);
    return answer;
}

struct place_answer place_alpaserve(struct arena *arena, const struct place_ask *ask)
{
    const struct alpaserve_options options = { .beam = DEFAULT_BEAM,
                                               .simulation_count = DEFAULT_SIMULATIONS };

    return alpaserve_plan(arena, ask, &options);
}
