/* edit_merge.c - several workloads in the order of time. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/names.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"
#include "sim/workload/edit.h"
#include "sim/workload/rows.h"
#include <string.h>

const char *const edit_same_names[EDIT_SAME_COUNT] = { "refuse", "join", "rename" };

struct part {
    struct rows rows;
    size_t next;
    int64_t at_ps; /* last arrival seen: the place of a row that waits */
    int64_t id;    /* of the next row */
};

/* Line of the first row whose column has that number; 0 = the workload has no file. */
static long first_line(const struct workload *workload, const int32_t *ids, int id)
{
    for (size_t i = 0; i < workload->count; i++)
        if (ids[i] == id)
            return workload_line(workload, i);
    return 0;
}

/* A name of part `k` that an earlier part has as well: an error, or (EDIT_RENAME) a suffix that
 * makes all its names new. */
static bool check_names(struct arena *arena, struct workload *const *parts, int k, bool is_client,
                        struct names *seen, enum edit_same same, const char **suffix,
                        struct err *err)
{
    const struct workload *part = parts[k];
    const char *const *list = is_client ? part->clients : part->sessions;
    const int32_t *ids = is_client ? part->client_ids : part->session_ids;
    int count = is_client ? part->client_count : part->session_count;

    for (int i = 0; i < count && same != EDIT_JOIN; i++) {
        if (names_find(seen, arena_printf(arena, "%s%s", list[i], *suffix)) < 0)
            continue;
        if (same == EDIT_REFUSE)
            return err_at(err, part->path, first_line(part, ids, i), 0,
                          "%s '%.60s' is in a file before, too: expected --same-names join if they "
                          "are one, or rename if not",
                          is_client ? "client" : "session", list[i]);
        *suffix = arena_printf(arena, "%s.%d", *suffix, k + 1);
        i = -1; /* from the start: the new names may be taken as well */
    }
    return true;
}

static bool begin_part(struct arena *arena, struct workload *const *parts, int k,
                       struct names *const seen[2], enum edit_same same, struct part *part,
                       struct workload_builder *builder, struct err *err)
{
    const struct workload *from = parts[k];
    const char *suffix = "", *before;

    do { /* one suffix for both kinds of names */
        before = suffix;
        if (!check_names(arena, parts, k, true, seen[0], same, &suffix, err) ||
            !check_names(arena, parts, k, false, seen[1], same, &suffix, err))
            return false;
    } while (strcmp(before, suffix) != 0);
    for (int i = 0; i < from->client_count; i++)
        names_put(seen[0], arena_printf(arena, "%s%s", from->clients[i], suffix));
    for (int i = 0; i < from->session_count; i++)
        names_put(seen[1], arena_printf(arena, "%s%s", from->sessions[i], suffix));
    part->rows = rows_begin(arena, from, builder);
    part->rows.suffix = suffix;
    return true;
}

/* Sees where the next row of a part stands. */
static void look(struct part *part)
{
    const struct workload *from = part->rows.from;

    if (part->next == from->count)
        return;
    if (from->arrivals_ps[part->next] != WORKLOAD_CLOSED)
        part->at_ps = from->arrivals_ps[part->next];
    part->id = from->request_ids ? from->request_ids[part->next] : (int64_t)part->next;
}

static bool is_before(const struct part *a, const struct part *b)
{
    return a->at_ps < b->at_ps || (a->at_ps == b->at_ps && a->id < b->id);
}

static struct part *next_part(struct part *parts, int count)
{
    struct part *first = NULL;

    for (int k = 0; k < count; k++)
        if (parts[k].next < parts[k].rows.from->count && (!first || is_before(&parts[k], first)))
            first = &parts[k];
    return first;
}

struct workload *edit_merge(struct arena *arena, struct workload *const *parts, int count,
                            enum edit_same same, struct err *err)
{
    struct workload_builder *builder = workload_build(arena, "the merged workload");
    struct names *const seen[2] = { names_create(arena), names_create(arena) };
    struct part *list = arena_array(arena, (size_t)count, sizeof(*list)), *part;
    size_t total = 0;

    for (int k = 0; k < count; k++) {
        if (!begin_part(arena, parts, k, seen, same, &list[k], builder, err))
            return NULL;
        total += parts[k]->count;
        look(&list[k]);
    }
    if (total > (size_t)GENERATE_MAX_REQUESTS) {
        err_set(err, ERR_INPUT, "%zu requests in all: expected at most %lld", total,
                (long long)GENERATE_MAX_REQUESTS);
        return NULL;
    }
    workload_builder_reserve(builder, total);
    while ((part = next_part(list, count))) {
        struct workload_request request = rows_get(&part->rows, part->next++);

        request.request_id = (int64_t)workload_builder_count(builder);
        workload_builder_add(builder, &request);
        look(part);
    }
    return workload_builder_finish(builder);
}
