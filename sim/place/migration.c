/* migration.c - see migration.h. */
#include "sim/place/migration.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/network/network.h"
#include "sim/place/problem.h"

struct holders {     /* devices, of each layer and part */
    int32_t *heads;  /* [layer][group of KV heads] */
    int32_t *blocks; /* [layer][block], of blocks but attn; ends as of layer 0 */
};

struct mover {
    const struct problem *problem;
    const struct model *model;
    const bool *are_down;
    int32_t device_count;
    int64_t *bytes; /* [to][from]; from = device_count: the source */
    struct migration migration;
};

static struct holders holders_of(struct arena *arena, const struct problem *problem,
                                 const struct placement_row *rows, int count)
{
    const struct problem_input *input = problem_input(problem);
    const struct model *model = input->model;
    size_t layers = (size_t)model->layers, groups = (size_t)model->kv_heads;
    struct holders holders = { arena_array(arena, layers * groups, sizeof(int32_t)),
                               arena_array(arena, layers * BLOCK_COUNT, sizeof(int32_t)) };

    for (int i = 0; i < count; i++) {
        const struct placement_row *row = &rows[i];
        int32_t device = cluster_find_device(input->cluster, row->device);
        int32_t first = row->layer_first < 0 ? 0 : row->layer_first;
        int32_t last = row->layer_first >= 0 ? row->layer_last
                       : row->is_all         ? model->layers - 1
                                             : 0;
        int32_t each = model->kv_heads / row->part_of;

        for (int32_t l = first; l <= last; l++) {
            for (int block = 0; block < BLOCK_COUNT; block++)
                if (row->blocks & 1u << block)
                    holders.blocks[(size_t)l * BLOCK_COUNT + (size_t)block] = device;
            for (int32_t h = row->part_first * each;
                 (row->blocks & 1u << BLOCK_ATTN) && h < (row->part_last + 1) * each; h++)
                holders.heads[(size_t)l * groups + (size_t)h] = device;
        }
    }
    return holders;
}

static void move(struct mover *m, int32_t from, int32_t to, int64_t weight_bytes, int64_t kv_bytes)
{
    bool is_lost = m->are_down && m->are_down[from];
    int64_t bytes = saturate_add(weight_bytes, is_lost ? 0 : kv_bytes);
    int64_t *at = &m->bytes[(size_t)to * ((size_t)m->device_count + 1) +
                            (size_t)(is_lost ? m->device_count : from)];

    if (from == to)
        return;
    *at = saturate_add(*at, bytes);
    m->migration.weight_bytes = saturate_add(m->migration.weight_bytes, weight_bytes);
    m->migration.kv_bytes = saturate_add(m->migration.kv_bytes, is_lost ? 0 : kv_bytes);
}

static void layer_move(struct mover *m, const struct holders *from, const struct holders *to,
                       int32_t layer)
{
    const struct problem_input *input = problem_input(m->problem);
    int64_t tokens = (int64_t)input->prompt_tokens + input->output_tokens;
    size_t groups = (size_t)m->model->kv_heads, at = (size_t)layer * BLOCK_COUNT;

    for (int32_t h = 0; h < m->model->kv_heads; h++) {
        const struct model_part part = { h, h, m->model->kv_heads };
        size_t i = (size_t)layer * groups + (size_t)h;
        int64_t kv_bytes = m->model->kind == MODEL_DECODER
                               ? saturate_mul(saturate_mul(tokens, input->sequences),
                                              model_part_kv_bytes_per_token(m->model, part))
                               : 0;

        move(m, from->heads[i], to->heads[i], model_part_weight_bytes(m->model, BLOCK_ATTN, part),
             kv_bytes);
    }
    for (int block = BLOCK_PROJ; block <= BLOCK_FFN_DOWN; block++)
        move(m, from->blocks[at + (size_t)block], to->blocks[at + (size_t)block],
             model_block_weight_bytes(m->model, (enum model_block)block), 0);
}

/* A tied matrix goes with the embedding where both stand on one device. */
static void ends_move(struct mover *m, const struct holders *from, const struct holders *to)
{
    int32_t embed = to->blocks[BLOCK_EMBED], head = to->blocks[BLOCK_LM_HEAD];
    int64_t head_bytes = model_block_weight_bytes(m->model, BLOCK_LM_HEAD);

    move(m, from->blocks[BLOCK_EMBED], embed, model_block_weight_bytes(m->model, BLOCK_EMBED), 0);
    if (embed == head)
        head_bytes -= model_tied_bytes(m->model);
    move(m, from->blocks[BLOCK_LM_HEAD], head, head_bytes, 0);
}

static int64_t receive_ps(const struct mover *m, int32_t to)
{
    const int64_t *bytes = &m->bytes[(size_t)to * ((size_t)m->device_count + 1)];
    bool has_source = problem_input(m->problem)->cluster->has_source;
    int64_t time_ps = 0;

    for (int32_t from = 0; from <= m->device_count; from++) {
        bool is_source = from == m->device_count;

        if (bytes[from] > 0 && (!is_source || has_source))
            time_ps = saturate_add(
                time_ps,
                problem_transfer(m->problem, is_source ? NETWORK_SOURCE : from, to, bytes[from])
                    .time_ps);
    }
    return time_ps;
}

static bool receives(const struct mover *m, int32_t to)
{
    for (int32_t from = 0; from <= m->device_count; from++)
        if (m->bytes[(size_t)to * ((size_t)m->device_count + 1) + (size_t)from] > 0)
            return true;
    return false;
}

struct migration migration_of(struct arena *arena, const struct problem *problem,
                              const struct placement_row *from, int from_count,
                              const struct placement_row *to, int to_count, const bool *are_down)
{
    const struct problem_input *input = problem_input(problem);
    struct holders before = holders_of(arena, problem, from, from_count);
    struct holders after = holders_of(arena, problem, to, to_count);
    struct mover m = { .problem = problem,
                       .model = input->model,
                       .are_down = are_down,
                       .device_count = input->cluster->device_count,
                       .migration = { .device = -1 } };

    m.bytes =
        arena_array(arena, (size_t)m.device_count * ((size_t)m.device_count + 1), sizeof *m.bytes);
    for (int32_t l = 0; l < input->model->layers; l++)
        layer_move(&m, &before, &after, l);
    ends_move(&m, &before, &after);
    for (int32_t d = 0; d < m.device_count; d++) {
        int64_t time_ps = receive_ps(&m, d);

        if (!receives(&m, d))
            continue;
        m.migration.device_count++;
        if (m.migration.device >= 0 && time_ps <= m.migration.time_ps)
            continue;
        m.migration.time_ps = time_ps;
        m.migration.device = d;
    }
    return m.migration;
}
