/* plan_moves.c - which parts of the KV cache of a token are computed on one device and read on
 * another, where a prompt and what is decoded behind it are computed by different stages. */
#include "lib/policy/plan_internal.h"

#include "lib/base/arena.h"

struct mover {
    struct arena *arena;
    const struct model *model;
    struct plan_move *moves;
    int count, room;
};

static bool holds_cache(const struct plan_slice *slice)
{
    return (slice->blocks & 1u << BLOCK_ATTN) != 0;
}

/* In groups of KV heads, which every cut of attention keeps whole. */
static int32_t groups_before(const struct model *model, const struct plan_slice *slice,
                             int32_t part)
{
    if (slice->part_of <= 1)
        return part > 0 ? model->kv_heads : 0;
    return model->kv_heads / slice->part_of * part;
}

struct plan_common plan_slices_common(const struct model *model, const struct plan_slice *a,
                                      const struct plan_slice *b)
{
    int32_t first = a->layer_first > b->layer_first ? a->layer_first : b->layer_first;
    int32_t last = a->layer_last < b->layer_last ? a->layer_last : b->layer_last;
    int32_t from_a = groups_before(model, a, a->part_first);
    int32_t from_b = groups_before(model, b, b->part_first);
    int32_t end_a = groups_before(model, a, a->part_last + 1);
    int32_t end_b = groups_before(model, b, b->part_last + 1);
    int32_t from = from_a > from_b ? from_a : from_b, end = end_a < end_b ? end_a : end_b;

    if (!holds_cache(a) || !holds_cache(b) || last < first || end <= from)
        return (struct plan_common){ 0 };
    return (struct plan_common){ first, last, from, end - from };
}

static int64_t common_bytes(const struct model *model, const struct plan_slice *a,
                            const struct plan_slice *b)
{
    const struct plan_common common = plan_slices_common(model, a, b);
    const struct model_part part = { common.head_first, common.head_first + common.head_count - 1,
                                     model->kv_heads };

    return common.head_count == 0 ? 0
                                  : (common.layer_last - common.layer_first + 1) *
                                        model_part_kv_bytes_per_token(model, part);
}

static void add(struct mover *m, const struct plan_stage *from, const struct plan_stage *to,
                const struct plan_slice *a, const struct plan_slice *b, int first)
{
    int64_t bytes = common_bytes(m->model, a, b);

    if (bytes == 0 || a->device == b->device)
        return;
    for (int i = first; i < m->count; i++)
        if (m->moves[i].from == a->device && m->moves[i].to == b->device) {
            m->moves[i].bytes_per_token += bytes;
            return;
        }
    if (m->count == m->room) {
        int room = m->room > 0 ? 2 * m->room : 8;

        m->moves = arena_grow(m->arena, m->moves, (size_t)m->room, (size_t)room, sizeof *m->moves);
        m->room = room;
    }
    m->moves[m->count++] = (struct plan_move){ from->id, to->id, a->device, b->device, bytes };
}

static void between(struct mover *m, const struct plan_stage *from, const struct plan_stage *to)
{
    int first = m->count;

    for (int i = 0; i < from->slice_count; i++)
        for (int k = 0; k < to->slice_count; k++)
            add(m, from, to, &from->slices[i], &to->slices[k], first);
}

void plan_moves_find(struct arena *arena, const struct model *model, struct plan_replica *replica)
{
    struct mover m = { .arena = arena, .model = model };

    for (int f = 0; f < replica->total_count; f++)
        for (int t = 0; t < replica->total_count; t++)
            if (replica->stages[f].phase == PLACEMENT_PREFILL &&
                replica->stages[t].phase == PLACEMENT_DECODE)
                between(&m, &replica->stages[f], &replica->stages[t]);
    replica->moves = m.moves;
    replica->move_count = m.count;
}
