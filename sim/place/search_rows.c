/* search_rows.c - candidates as rows of a placement, and back. */
#include "sim/place/search.h"

#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/place/room.h"
#include <string.h>

#define UNTOUCHED_BLOCKS 3 /* attn, proj, ffn: rows of a cut stage, for each device */

/* ---- to rows ---- */

/* The rows of a whole stage, for each of its devices with a part: embed stays with the first, norms
 * and additions are named by no row and run with what is behind them. */
static void part_rows(const struct search *search, const struct search_stage *stage,
                      const struct placement_row *whole, struct placement_row *rows, int *count)
{
    static const unsigned layer_blocks[UNTOUCHED_BLOCKS] = {
        1u << BLOCK_ATTN, 1u << BLOCK_PROJ, 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN
    };
    const unsigned own[1] = { whole->blocks };
    bool is_layer = (whole->blocks & 1u << BLOCK_ATTN) != 0;
    const unsigned *blocks = is_layer ? layer_blocks : own;

    for (int b = 0; b < (is_layer ? UNTOUCHED_BLOCKS : 1); b++)
        for (int32_t i = 0; i < stage->device_count; i++) {
            struct placement_row *row = &rows[(*count)++];

            *row = *whole;
            row->device = search->cluster->devices[stage->devices[i]].name;
            row->blocks = blocks[b];
            row->part_first = row->part_last = i;
            row->part_of = stage->device_count;
        }
}

static bool is_cut(const struct search *search, int32_t service, const struct placement_row *row)
{
    const struct model *model = problem_input(search->services[service].problem)->model;

    return (row->blocks & 1u << BLOCK_EMBED) == 0 &&
           ((row->blocks & 1u << BLOCK_LM_HEAD) == 0 || model->kind != MODEL_ENCODER);
}

static void stage_rows(struct arena *arena, const struct search *search, int32_t service,
                       const struct search_stage *stage, struct placement_row *rows, int *count)
{
    const struct problem_stage whole = { stage->devices[0], stage->first, stage->last };
    int whole_count;
    struct placement_row *wholes =
        problem_rows(arena, search->services[service].problem, &whole, 1, &whole_count);

    for (int i = 0; i < whole_count; i++)
        if (stage->device_count > 1 && is_cut(search, service, &wholes[i]))
            part_rows(search, stage, &wholes[i], rows, count);
        else
            rows[(*count)++] = wholes[i];
}

bool search_is_cut(const struct search_replica *replica)
{
    for (int32_t s = 0; s < replica->stage_count; s++)
        if (replica->stages[s].device_count > 1)
            return true;
    return false;
}

struct placement_row *search_rows(struct arena *arena, const struct search *search,
                                  const struct search_plan *plan, int *count)
{
    size_t most = 0;
    struct placement_row *rows;

    for (int32_t r = 0; r < plan->replica_count; r++)
        for (int32_t s = 0; s < plan->replicas[r].stage_count; s++)
            most += 1 + (UNTOUCHED_BLOCKS + 1) * (size_t)plan->replicas[r].stages[s].device_count;
    rows = arena_array(arena, most, sizeof *rows);
    *count = 0;
    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct search_replica *replica = &plan->replicas[r];

        for (int32_t s = 0; s < replica->stage_count; s++) {
            int first = *count;

            stage_rows(arena, search, replica->service, &replica->stages[s], rows, count);
            for (int i = first; i < *count; i++) {
                rows[i].replica = r;
                rows[i].stage = s;
                rows[i].max_batch = plan->max_batch;
                rows[i].queue_depth = plan->queue_depth;
            }
        }
    }
    return rows;
}

/* ---- of a candidate ---- */

struct search_plan search_keep(struct arena *arena, const struct search_plan *plan)
{
    struct search_plan kept = *plan;
    struct search_replica *replicas =
        arena_array(arena, (size_t)plan->replica_count, sizeof *replicas);

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct search_replica *replica = &plan->replicas[r];
        struct search_stage *stages =
            arena_array(arena, (size_t)replica->stage_count, sizeof *stages);

        memcpy(stages, replica->stages, (size_t)replica->stage_count * sizeof *stages);
        replicas[r] = *replica;
        replicas[r].stages = stages;
    }
    kept.replicas = replicas;
    return kept;
}

static bool is_apart(const struct search *search, const struct search_replica *a,
                     const struct search_replica *b)
{
    const struct cluster_device *devices = search->cluster->devices;

    for (int32_t s = 0; s < a->stage_count; s++)
        for (int32_t i = 0; i < a->stages[s].device_count; i++)
            for (int32_t t = 0; t < b->stage_count; t++)
                for (int32_t k = 0; k < b->stages[t].device_count; k++)
                    if (strcmp(devices[a->stages[s].devices[i]].node,
                               devices[b->stages[t].devices[k]].node) == 0)
                        return false;
    return true;
}

bool search_is_safe(const struct search *search, const struct search_plan *plan)
{
    for (int32_t service = 0; service < search->service_count; service++) {
        int32_t count = 0;

        for (int32_t r = 0; r < plan->replica_count; r++) {
            bool is_new = plan->replicas[r].service == service;

            for (int32_t k = 0; k < r && is_new; k++)
                is_new = plan->replicas[k].service != service ||
                         is_apart(search, &plan->replicas[k], &plan->replicas[r]);
            count += is_new;
        }
        if (count <= search->ask->fault_count)
            return false;
    }
    return true;
}

/* ---- from rows ---- */

static int32_t service_of(const struct search *search, const struct placement_row *row)
{
    for (int32_t s = 0; s < search->service_count; s++)
        if (strcmp(problem_input(search->services[s].problem)->service, row->service) == 0)
            return s;
    return -1;
}

/* Units that the blocks of a row stand for; a layer counts from its attention. */
static void widen(const struct search_service *service, const struct placement_row *row,
                  struct search_stage *stage)
{
    int32_t first = row->layer_first + 1, last = row->layer_last + 1, end = service->unit_count - 1;

    if (!problem_input(service->problem)->model) {
        first = row->layer_first < 0 ? row->stage : row->layer_first;
        last = row->layer_first < 0 ? row->stage : row->layer_last;
    } else if (row->is_all) {
        first = 0;
        last = end;
    } else if (row->blocks & 1u << BLOCK_EMBED) {
        first = last = 0;
    } else if (row->blocks & 1u << BLOCK_LM_HEAD) {
        first = last = end;
    }
    stage->first = first < stage->first ? first : stage->first;
    stage->last = last > stage->last ? last : stage->last;
}

static bool is_plain(const struct placement_row *row)
{
    return row->phase == PLACEMENT_BOTH && row->epoch == 0 && row->copy == 0 && row->wire_bits == 0;
}

static bool add_device(const struct search *search, const struct placement_row *row,
                       struct search_stage *stage, bool *is_used)
{
    int32_t device = cluster_find_device(search->cluster, row->device);

    if (device < 0)
        return false;
    for (int32_t i = 0; i < stage->device_count; i++)
        if (stage->devices[i] == device)
            return true;
    if (stage->device_count == SEARCH_MOST_PARTS || is_used[device])
        return false;
    is_used[device] = true;
    stage->devices[stage->device_count++] = device;
    return true;
}

/* The rows of one stage of a replica of the file: 1 = there are some, 0 = none, -1 = of no such
 * kind. */
static int parse_stage(const struct search *search, const struct placement_row *rows, int count,
                       const struct placement_row *like, int32_t number, struct search_stage *stage,
                       bool *is_used)
{
    int32_t service = service_of(search, like), found = 0;

    *stage = (struct search_stage){ .first = INT32_MAX, .last = -1 };
    for (int i = 0; i < count; i++) {
        const struct placement_row *row = &rows[i];

        if (row->stage != number || row->replica != like->replica ||
            strcmp(row->service, like->service) != 0)
            continue;
        if (!is_plain(row) || row->max_batch != rows[0].max_batch ||
            row->queue_depth != rows[0].queue_depth || !add_device(search, row, stage, is_used))
            return -1;
        widen(&search->services[service], row, stage);
        found = 1;
    }
    for (int i = 0; i < count && found == 1; i++) /* equal parts alone */
        if (rows[i].stage == number && rows[i].replica == like->replica &&
            strcmp(rows[i].service, like->service) == 0 && rows[i].part_of > 1 &&
            (int64_t)(rows[i].part_last - rows[i].part_first + 1) * stage->device_count !=
                rows[i].part_of)
            return -1;
    return found;
}

static bool parse_replica(struct arena *arena, struct search *search,
                          const struct placement_row *rows, int count,
                          const struct placement_row *like, bool *is_used,
                          struct search_replica *replica)
{
    struct search_stage *stages = arena_array(arena, (size_t)search->device_count, sizeof *stages);
    int32_t next = 0, n = 0;
    int found;

    *replica = (struct search_replica){ .service = service_of(search, like), .stages = stages };
    if (replica->service < 0)
        return false;
    for (;; n++) {
        struct search_stage stage;

        found = parse_stage(search, rows, count, like, n, &stage, is_used);
        if (found <= 0)
            break;
        if (n == search->device_count || stage.first != next ||
            (stage.device_count & (stage.device_count - 1)) != 0)
            return false;
        stages[n] = stage;
        next = stage.last + 1;
    }
    replica->stage_count = n;
    return found == 0 && next == search->services[replica->service].unit_count &&
           search_measure(search, replica);
}

bool search_parse(struct arena *arena, struct search *search, const struct placement_row *rows,
                  int count, struct search_plan *plan)
{
    struct search_replica *replicas = arena_array(arena, (size_t)count, sizeof *replicas);
    bool *is_used = arena_array(arena, (size_t)search->device_count, sizeof(bool));

    *plan = (struct search_plan){ .replicas = replicas,
                                  .max_batch = rows[0].max_batch,
                                  .queue_depth = rows[0].queue_depth };
    for (int i = 0; i < count; i++) {
        bool is_known = false;

        for (int j = 0; j < i && !is_known; j++)
            is_known =
                rows[j].replica == rows[i].replica && strcmp(rows[j].service, rows[i].service) == 0;
        if (!is_known && !parse_replica(arena, search, rows, count, &rows[i], is_used,
                                        &replicas[plan->replica_count++]))
            return false;
    }
    return true;
}

/* ---- which one ---- */

uint64_t search_hash(const struct search_plan *plan)
{
    int32_t head[2] = { plan->max_batch, plan->queue_depth };
    uint64_t hash = hash_bytes(HASH_START, head, sizeof head);

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct search_replica *replica = &plan->replicas[r];
        int32_t of[2] = { replica->service, replica->stage_count };

        hash = hash_bytes(hash, of, sizeof of);
        hash = hash_bytes(hash, replica->stages,
                          (size_t)replica->stage_count * sizeof *replica->stages);
    }
    return hash;
}

bool search_has_room(const struct search *search, const struct search_plan *plan)
{
    struct arena *arena = arena_create();
    int count;
    struct placement_row *rows = search_rows(arena, search, plan, &count);
    const char *why;
    bool has_room = !room_refuses(arena, search->ask, rows, count, &why);

    arena_destroy(arena);
    return has_room;
}
