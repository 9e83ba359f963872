/* edit_split.c - one workload into several: round robin, by time, or a window of it. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/workload/edit.h"
#include "sim/workload/rows.h"
#include <stddef.h>

/* Builders of the parts, made when their first row comes. */
struct cut {
    struct arena *arena;
    const struct workload *from;
    struct workload_builder *builders[EDIT_MAX_PARTS];
    struct rows rows[EDIT_MAX_PARTS];
};

static struct cut *cut_begin(struct arena *arena, const struct workload *from)
{
    struct cut *cut = arena_alloc(arena, sizeof(*cut));

    cut->arena = arena;
    cut->from = from;
    return cut;
}

static void cut_add(struct cut *cut, size_t index, int part, int64_t earlier_ps)
{
    struct workload_request request;

    if (!cut->builders[part]) {
        cut->builders[part] = workload_build(cut->arena, arena_printf(cut->arena, "part %d", part));
        cut->rows[part] = rows_begin(cut->arena, cut->from, cut->builders[part]);
    }
    request = rows_get(&cut->rows[part], index);
    if (request.arrival_ps != WORKLOAD_CLOSED)
        request.arrival_ps -= earlier_ps;
    workload_builder_add(cut->builders[part], &request);
}

static void cut_end(struct cut *cut, struct edit_parts *parts)
{
    for (int k = 0; k < parts->count; k++)
        parts->parts[k] = cut->builders[k] ? workload_builder_finish(cut->builders[k]) : NULL;
}

/* ---- round robin ---- */

/* Clients, then sessions: those that have a row in common are one group, named by a root (union and
 * find with halved paths, Tarjan and van Leeuwen 1984). */
static int root_of(int *up, int item)
{
    while (up[item] != item)
        item = up[item] = up[up[item]];
    return item;
}

static int *group(struct arena *arena, const struct workload *workload)
{
    int count = workload->client_count + workload->session_count;
    int *up = arena_array(arena, (size_t)count, sizeof(*up));

    for (int i = 0; i < count; i++)
        up[i] = i;
    for (size_t i = 0; workload->client_ids && workload->session_ids && i < workload->count; i++)
        if (workload->client_ids[i] >= 0 && workload->session_ids[i] >= 0)
            up[root_of(up, workload->client_count + workload->session_ids[i])] =
                root_of(up, workload->client_ids[i]);
    return up;
}

bool edit_split_into(struct arena *arena, const struct workload *workload, int count,
                     struct edit_parts *parts, struct err *err)
{
    int names = workload->client_count + workload->session_count;
    int *up = group(arena, workload), *part_of = arena_array(arena, (size_t)names, sizeof(int));
    struct cut *cut = cut_begin(arena, workload);
    size_t units = 0;

    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request request = workload_at(workload, i);
        int root = request.client >= 0    ? root_of(up, request.client)
                   : request.session >= 0 ? root_of(up, workload->client_count + request.session)
                                          : -1;
        int part;

        if (root < 0) {
            part = (int)(units++ % (size_t)count);
        } else {
            if (part_of[root] == 0)
                part_of[root] = (int)(units++ % (size_t)count) + 1;
            part = part_of[root] - 1;
        }
        cut_add(cut, i, part, 0);
    }
    if (units < (size_t)count)
        return err_at(err, workload->path, 0, 0,
                      "%d parts of %zu requests, or groups of requests that wait for one another: "
                      "expected no more parts than these",
                      count, units);
    parts->count = count;
    cut_end(cut, parts);
    return true;
}

/* ---- by time ---- */

static bool no_time(const struct workload *workload, size_t index, struct err *err)
{
    return err_at(err, workload->path, workload_line(workload, index), 0,
                  "a row without an arrival_s, and so is each that it waits for: when they arrive "
                  "only a run can tell, and a cut by time has no meaning for them");
}

bool edit_split_every(struct arena *arena, const struct workload *workload, int64_t every_ps,
                      bool is_shifted, struct edit_parts *parts, struct err *err)
{
    struct follow follow = follow_begin(arena, workload);
    struct cut *cut = cut_begin(arena, workload);

    parts->count = 0;
    for (size_t i = 0; i < workload->count; i++) {
        int64_t at_ps = workload->arrivals_ps[i];
        int64_t part = at_ps != WORKLOAD_CLOSED ? at_ps / every_ps : follow_get(&follow, i);

        if (part < 0)
            return no_time(workload, i, err);
        if (part >= EDIT_MAX_PARTS)
            return err_at(
                err, workload->path, workload_line(workload, i), 0,
                "this row would be in part %lld: expected at most %d parts; raise --every",
                (long long)part, EDIT_MAX_PARTS);
        follow_set(&follow, i, (int)part);
        cut_add(cut, i, (int)part, is_shifted ? part * every_ps : 0);
        parts->count = (int)part + 1 > parts->count ? (int)part + 1 : parts->count;
    }
    cut_end(cut, parts);
    return true;
}

enum { OUTSIDE, INSIDE };

struct workload *edit_slice(struct arena *arena, const struct workload *workload,
                            const struct edit_slice *slice, struct err *err)
{
    struct workload_builder *builder = workload_build(arena, "the slice");
    struct rows rows = rows_begin(arena, workload, builder);
    struct follow follow = follow_begin(arena, workload);
    bool has_window = slice->from_ps > 0 || slice->to_ps > 0;

    for (size_t i = 0; i < workload->count; i++) {
        int64_t at_ps = workload->arrivals_ps[i];
        int part = at_ps != WORKLOAD_CLOSED
                       ? at_ps >= slice->from_ps && (slice->to_ps == 0 || at_ps < slice->to_ps)
                       : follow_get(&follow, i);
        struct workload_request request;

        if (part < 0 && has_window) {
            no_time(workload, i, err);
            return NULL;
        }
        follow_set(&follow, i, part != OUTSIDE ? INSIDE : OUTSIDE);
        if (part == OUTSIDE)
            continue;
        request = rows_get(&rows, i);
        if (request.arrival_ps != WORKLOAD_CLOSED && !slice->is_kept)
            request.arrival_ps -= slice->from_ps;
        workload_builder_add(builder, &request);
        if (slice->first > 0 && (int64_t)workload_builder_count(builder) == slice->first)
            break;
    }
    if (workload_builder_count(builder) == 0) {
        err_at(err, workload->path, 0, 0, "no request arrives in the window");
        return NULL;
    }
    return workload_builder_finish(builder);
}
