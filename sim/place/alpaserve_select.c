/* alpaserve_select.c - which services stand on which meshes of a layout: AlpaServe's algorithm 1,
 * and its fast greedy form. While a service stands nowhere it is the next one, those that hold most
 * before: all that they could share a placement with must fit beside them. */
#include "sim/place/alpaserve.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "sim/place/room.h"
#include <string.h>

#define NOBODY (-1)

int alpaserve_compare(const struct judge_verdict *a, const struct judge_verdict *b)
{
    if (a->is_feasible && b->is_feasible && a->good_count != b->good_count)
        return a->good_count > b->good_count ? -1 : 1;
    return judge_compare(a, b);
}

/* ---- simulating ---- */

static int32_t service_find(const struct alpaserve *search, const char *name)
{
    int32_t s = 0;

    while (s < search->service_count && strcmp(search->services[s].name, name) != 0)
        s++;
    return s < search->service_count ? s : NOBODY;
}

/* The requests of some services; all of them as they were given. */
static struct workload *workload_make(struct alpaserve *search, const bool *has)
{
    struct workload *whole = judge_input(search->ask->judge)->workload;
    struct workload_builder *builder = workload_build(search->arena, whole->path);
    int32_t *service_of =
        arena_array(search->arena, (size_t)whole->service_count, sizeof *service_of);
    bool is_whole = true;

    for (int w = 0; w < whole->service_count; w++) {
        int32_t service = service_find(search, whole->services[w]);

        service_of[w] = service != NOBODY && has[service]
                            ? workload_builder_service(builder, whole->services[w])
                            : NOBODY;
        is_whole = is_whole && service_of[w] != NOBODY;
    }
    if (is_whole)
        return whole;
    for (int c = 0; c < whole->client_count; c++)
        (void)workload_builder_client(builder, whole->clients[c]);
    for (int s = 0; s < whole->session_count; s++)
        (void)workload_builder_session(builder, whole->sessions[s]);
    for (size_t i = 0; i < whole->count; i++) {
        struct workload_request request = workload_at(whole, i);

        request.service = service_of[request.service];
        if (request.service != NOBODY)
            workload_builder_add(builder, &request);
    }
    return workload_builder_finish(builder);
}

static struct workload *workload_of(struct alpaserve *search, const bool *has)
{
    size_t bytes = (size_t)search->service_count * sizeof *has;
    bool *kept;

    for (int w = 0; w < search->workload_count; w++)
        if (memcmp(search->workloads[w].has, has, bytes) == 0)
            return search->workloads[w].workload;
    if (search->workload_count == search->workload_room) {
        int room = arena_wider(search->workload_room, 16);

        search->workloads =
            arena_grow(search->arena, search->workloads, (size_t)search->workload_room,
                       (size_t)room, sizeof *search->workloads);
        search->workload_room = room;
    }
    kept = arena_array(search->arena, (size_t)search->service_count, sizeof *kept);
    memcpy(kept, has, bytes);
    search->workloads[search->workload_count] =
        (struct alpaserve_workload){ kept, workload_make(search, has) };
    return search->workloads[search->workload_count++].workload;
}

static bool is_hosted(const struct alpaserve_selection *selection, int32_t service)
{
    for (int32_t m = 0; m < selection->layout->mesh_count; m++)
        if (selection->hosts[service * selection->layout->mesh_count + m])
            return true;
    return false;
}

struct placement_row *alpaserve_rows(const struct alpaserve *search,
                                     const struct alpaserve_selection *selections, int count,
                                     int *row_count)
{
    size_t most = 0;
    struct placement_row *rows;

    for (int i = 0; i < count; i++) {
        const struct alpaserve_layout *layout = selections[i].layout;

        for (int32_t h = 0; h < search->service_count * layout->mesh_count; h++)
            most += selections[i].hosts[h] ? (size_t)layout->hostings[h].row_count : 0;
    }
    rows = arena_array(search->arena, most, sizeof *rows);
    *row_count = 0;
    for (int32_t s = 0; s < search->service_count; s++) {
        int32_t replica = 0;

        for (int i = 0; i < count; i++)
            for (int32_t m = 0; m < selections[i].layout->mesh_count; m++) {
                int32_t h = s * selections[i].layout->mesh_count + m;
                const struct alpaserve_hosting *hosting = &selections[i].layout->hostings[h];

                if (!selections[i].hosts[h])
                    continue;
                for (int r = 0; r < hosting->row_count; r++) {
                    rows[*row_count] = hosting->rows[r];
                    rows[(*row_count)++].replica = replica;
                }
                replica++;
            }
    }
    return rows;
}

/* With the caches of as many requests of each service as are asked for. */
static bool has_room(struct alpaserve *search, struct placement_row *rows, int row_count)
{
    struct arena *arena = arena_create();
    const char *why = "";
    bool is_refused = room_refuses(arena, search->ask, rows, row_count, &why);

    if (is_refused)
        search->why = arena_strndup(search->arena, why, strlen(why));
    arena_destroy(arena);
    return !is_refused;
}

/* Weights, activations and the cache of one request each, by the ask's judge; then those of more.
 */
static bool fits(struct alpaserve *search, const struct alpaserve_selection *selection,
                 struct placement_row *rows, int row_count)
{
    for (int32_t s = 0; s < search->service_count; s++) {
        const struct problem_input *input = problem_input(search->ask->problems[s]);
        struct judge_verdict verdict;

        if ((selection->added >= 0 && selection->added != s) || !is_hosted(selection, s))
            continue;
        verdict = judge_alone(search->ask->judge, rows, row_count, input->service,
                              input->prompt_tokens, input->output_tokens);
        if (!verdict.is_feasible || (!search->ask->events && /* with --memory refuse */
                                     verdict.ok_count < verdict.total_count)) {
            search->why = verdict.is_feasible ? "" : verdict.why;
            return false;
        }
    }
    return has_room(search, rows, row_count);
}

static bool is_late(const struct alpaserve *search)
{
    return search->ask->is_over && search->ask->is_over(search->ask->is_over_arg);
}

bool alpaserve_is_enough(void *search_arg)
{
    const struct alpaserve *search = search_arg;

    return search->has_any && is_late(search);
}

struct judge_verdict alpaserve_judge(struct alpaserve *search,
                                     const struct alpaserve_selection *selections, int count)
{
    bool *has = arena_array(search->arena, (size_t)search->service_count, sizeof *has);
    bool has_all = true;
    struct judge_verdict verdict = { .is_feasible = false, .why = "" };
    struct placement_row *rows;
    int row_count;

    if (search->simulations_left <= 0 || is_late(search)) {
        search->is_cut_short = true;
        return verdict;
    }
    search->simulations_left--;
    for (int i = 0; i < count; i++)
        for (int32_t s = 0; s < search->service_count; s++)
            has[s] = has[s] || is_hosted(&selections[i], s);
    rows = alpaserve_rows(search, selections, count, &row_count);
    if (count == 1 && !fits(search, selections, rows, row_count))
        return verdict;
    verdict = judge_workload(search->judge, rows, row_count, workload_of(search, has));
    if (!verdict.is_feasible) {
        search->why = verdict.why;
        search->is_cut_short = search->is_cut_short || is_late(search); /* it was given up */
    }
    for (int32_t s = 0; s < search->service_count; s++)
        has_all = has_all && has[s];
    search->has_any = search->has_any || (has_all && verdict.is_feasible);
    return verdict;
}

/* A selection with one service more on a mesh, simulated. */
static struct alpaserve_selection add(struct alpaserve *search,
                                      const struct alpaserve_selection *before, int32_t service,
                                      int32_t mesh)
{
    const struct alpaserve_layout *layout = before->layout;
    size_t count = (size_t)search->service_count * (size_t)layout->mesh_count;
    struct alpaserve_selection after = { .layout = layout, .added = service };
    bool *hosts = arena_array(search->arena, count, sizeof *hosts);

    memcpy(hosts, before->hosts, count * sizeof *hosts);
    hosts[service * layout->mesh_count + mesh] = true;
    after.hosts = hosts;
    return after;
}

/* What the verdict says of services and meshes, before the next one takes its place. */
static void keep_shares(struct alpaserve *search, struct alpaserve_selection *selection)
{
    const struct alpaserve_layout *layout = selection->layout;
    int64_t *good = arena_array(search->arena, (size_t)search->service_count, sizeof *good);
    int64_t *busy_ps = arena_array(search->arena, (size_t)layout->mesh_count, sizeof *busy_ps);
    bool *has = arena_array(search->arena, (size_t)search->service_count, sizeof *has);
    const struct workload *workload;

    for (int32_t s = 0; s < search->service_count; s++)
        has[s] = is_hosted(selection, s);
    workload = workload_of(search, has);
    for (int w = 0; w < workload->service_count; w++)
        good[service_find(search, workload->services[w])] = selection->verdict.service_good[w];
    for (int32_t m = 0; m < layout->mesh_count; m++) {
        const struct alpaserve_mesh *mesh = &layout->meshes[m];
        int32_t count = mesh->stage_count * mesh->width;

        for (int32_t i = 0; i < count; i++)
            busy_ps[m] = saturate_add(
                busy_ps[m],
                selection->verdict.device_busy_ps[search->order[mesh->first + i]] / count);
    }
    selection->service_good = good;
    selection->mesh_busy_ps = busy_ps;
}

static struct alpaserve_selection empty(struct alpaserve *search,
                                        const struct alpaserve_layout *layout)
{
    struct alpaserve_selection selection = { .layout = layout, .added = -1 };
    size_t count = (size_t)search->service_count * (size_t)layout->mesh_count;

    selection.hosts = arena_array(search->arena, count, sizeof *selection.hosts);
    selection.service_good =
        arena_array(search->arena, (size_t)search->service_count, sizeof(int64_t));
    selection.mesh_busy_ps =
        arena_array(search->arena, (size_t)layout->mesh_count, sizeof(int64_t));
    return selection;
}

/* The first service of the part that stands nowhere. */
static int32_t next_missing(const struct alpaserve_part *part,
                            const struct alpaserve_selection *selection)
{
    for (int32_t i = 0; i < part->service_count; i++)
        if (!is_hosted(selection, part->services[i]))
            return part->services[i];
    return NOBODY;
}

static bool can_add(const struct alpaserve_selection *selection, int32_t service, int32_t mesh)
{
    int32_t h = service * selection->layout->mesh_count + mesh;

    return !selection->hosts[h] && selection->layout->hostings[h].row_count > 0;
}

static void keep_best(struct alpaserve_selection *best, const struct alpaserve_selection *other)
{
    if (!best->layout || alpaserve_compare(&other->verdict, &best->verdict) < 0)
        *best = *other;
}

/* ---- fast greedy ---- */

/* Numbers 0 to count - 1 with the largest keys first, equal ones in order. */
static int32_t *ranked(struct arena *arena, const int64_t *keys, int32_t count)
{
    int32_t *list = arena_array(arena, (size_t)count + 1, sizeof *list);

    for (int32_t i = 0; i < count; i++) {
        int32_t at = i;

        for (; at > 0 && keys[i] > keys[list[at - 1]]; at--)
            list[at] = list[at - 1];
        list[at] = i;
    }
    return list;
}

/* The services of the part in the order in which they need another replica: most requests that are
 * not good; before, the one that stands nowhere, alone. */
static int32_t *wanting(const struct alpaserve *search, const struct alpaserve_part *part,
                        const struct alpaserve_selection *selection, int32_t *count)
{
    int64_t *unserved = arena_array(search->arena, (size_t)part->service_count, sizeof *unserved);
    int32_t missing = next_missing(part, selection), *list;

    *count = part->service_count;
    for (int32_t i = 0; i < part->service_count; i++) {
        int32_t service = part->services[i];

        unserved[i] = search->services[service].request_count - selection->service_good[service];
    }
    list = ranked(search->arena, unserved, part->service_count);
    for (int32_t i = 0; i < part->service_count; i++)
        list[i] = part->services[list[i]];
    if (missing != NOBODY) {
        list[0] = missing;
        *count = 1;
    }
    return list;
}

/* The first pair of a wanting service and an idle mesh that fits, simulated; false: there is none.
 * What did not fit once does not fit beside more, either. */
static bool greedy_step(struct alpaserve *search, const struct alpaserve_part *part,
                        struct alpaserve_selection *selection, bool *is_full)
{
    const struct alpaserve_layout *layout = selection->layout;
    int64_t *idle = arena_array(search->arena, (size_t)layout->mesh_count, sizeof *idle);
    int32_t count, *services = wanting(search, part, selection, &count), *meshes;

    for (int32_t m = 0; m < layout->mesh_count; m++)
        idle[m] = -selection->mesh_busy_ps[m];
    meshes = ranked(search->arena, idle, layout->mesh_count);
    for (int32_t i = 0; i < count; i++)
        for (int32_t m = 0; m < layout->mesh_count; m++) {
            struct alpaserve_selection after;

            if (is_full[services[i] * layout->mesh_count + meshes[m]] ||
                !can_add(selection, services[i], meshes[m]))
                continue;
            after = add(search, selection, services[i], meshes[m]);
            after.verdict = alpaserve_judge(search, &after, 1);
            if (search->is_cut_short)
                return false;
            if (after.verdict.is_feasible) {
                keep_shares(search, &after);
                *selection = after;
                return true;
            }
            is_full[services[i] * layout->mesh_count + meshes[m]] = true;
        }
    return false;
}

struct alpaserve_selection alpaserve_greedy(struct alpaserve *search,
                                            const struct alpaserve_part *part,
                                            const struct alpaserve_layout *layout)
{
    struct alpaserve_selection selection = empty(search, layout), best = { .layout = NULL };
    bool *is_full = arena_array(
        search->arena, (size_t)search->service_count * (size_t)layout->mesh_count, sizeof *is_full);
    int32_t in_vain = 0; /* services added since the best one */

    while (in_vain <= layout->mesh_count && greedy_step(search, part, &selection, is_full)) {
        const bool *before = best.hosts;

        if (next_missing(part, &selection) != NOBODY)
            continue;
        keep_best(&best, &selection);
        in_vain = best.hosts == before ? in_vain + 1 : 0;
    }
    return best;
}

/* ---- beam ---- */

struct level {
    struct alpaserve_selection *list;
    bool *is_line; /* follows from the best ones of a beam of one */
    int count, room;
};

static int find_hosts(const struct alpaserve *search, const struct level *level,
                      const struct alpaserve_selection *selection)
{
    size_t count = (size_t)search->service_count * (size_t)selection->layout->mesh_count;

    for (int i = 0; i < level->count; i++)
        if (memcmp(level->list[i].hosts, selection->hosts, count * sizeof(bool)) == 0)
            return i;
    return NOBODY;
}

static void level_add(struct alpaserve *search, struct level *level,
                      const struct alpaserve_selection *selection, bool is_line)
{
    if (level->count == level->room) {
        int room = arena_wider(level->room, 16);

        level->list = arena_grow(search->arena, level->list, (size_t)level->count, (size_t)room,
                                 sizeof *level->list);
        level->is_line = arena_grow(search->arena, level->is_line, (size_t)level->count,
                                    (size_t)room, sizeof *level->is_line);
        level->room = room;
    }
    level->list[level->count] = *selection;
    level->is_line[level->count++] = is_line;
}

/* All that one service more makes of a selection. */
static void expand(struct alpaserve *search, const struct alpaserve_part *part,
                   const struct alpaserve_selection *selection, bool is_line, struct level *next)
{
    int32_t missing = next_missing(part, selection);

    for (int32_t i = 0; i < part->service_count && !search->is_cut_short; i++)
        for (int32_t m = 0; m < selection->layout->mesh_count; m++) {
            struct alpaserve_selection after;
            int found;

            if ((missing != NOBODY && part->services[i] != missing) ||
                !can_add(selection, part->services[i], m))
                continue;
            after = add(search, selection, part->services[i], m);
            found = find_hosts(search, next, &after);
            if (found != NOBODY) {
                next->is_line[found] = next->is_line[found] || is_line;
                continue;
            }
            after.verdict = alpaserve_judge(search, &after, 1);
            if (after.verdict.is_feasible)
                level_add(search, next, &after, is_line);
        }
}

/* The best of a level, as many as the beam is wide, in front, and how many are kept: those, and of
 * the ones that a beam of one could have come to the best, so that no beam finds less than it. */
static int keep_front(struct level *level, int32_t beam)
{
    int kept = level->count < beam ? level->count : beam, line = NOBODY;

    if (level->count == 0)
        return 0;
    for (int i = 1; i < level->count; i++) {
        struct alpaserve_selection one = level->list[i];
        bool is_line = level->is_line[i];
        int at = i;

        for (; at > 0 && alpaserve_compare(&one.verdict, &level->list[at - 1].verdict) < 0; at--) {
            level->list[at] = level->list[at - 1];
            level->is_line[at] = level->is_line[at - 1];
        }
        level->list[at] = one;
        level->is_line[at] = is_line;
    }
    for (int i = level->count - 1; i >= 0; i--)
        if (level->is_line[i])
            line = i;
    for (int i = 0; i < level->count; i++)
        level->is_line[i] = i == line;
    if (line >= kept) {
        level->list[kept] = level->list[line];
        level->is_line[kept++] = true;
    }
    return kept;
}

struct alpaserve_selection alpaserve_beam(struct alpaserve *search,
                                          const struct alpaserve_part *part,
                                          const struct alpaserve_layout *layout)
{
    struct alpaserve_selection best = { .layout = NULL }, none = empty(search, layout);
    struct level level = { NULL, NULL, 0, 0 };
    int32_t in_vain = 0;

    level_add(search, &level, &none, true);
    while (level.count > 0 && !search->is_cut_short &&
           (search->options.has_beam_everywhere || in_vain <= layout->mesh_count)) {
        struct level next = { NULL, NULL, 0, 0 };
        const bool *before = best.hosts;

        for (int i = 0; i < level.count; i++)
            expand(search, part, &level.list[i], level.is_line[i], &next);
        next.count = keep_front(&next, search->options.beam);
        if (next.count > 0 && next_missing(part, &next.list[0]) == NOBODY)
            keep_best(&best, &next.list[0]);
        in_vain = best.hosts == before && best.layout ? in_vain + 1 : 0;
        level = next;
    }
    return best;
}
