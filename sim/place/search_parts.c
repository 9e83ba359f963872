/* search_parts.c - which parts of an operator a cost table has rows of. */
#include "sim/place/search_parts.h"

#include "lib/base/arena.h"
#include "lib/format/cost.h"

/* What part of an operator a measured row is of; 1 = of the whole or of another one. */
static double part_of(const struct model_op *op, const struct cost_row *row)
{
    bool is_wide = row->gemm_k == op->gemm_k && row->gemm_n < op->gemm_n;
    bool is_deep = row->gemm_n == op->gemm_n && row->gemm_k < op->gemm_k;

    if (row->op != op->op)
        return 1;
    switch (op->op) {
    case OP_QKV:
    case OP_FFN_UP:
    case OP_ACT:
    case OP_LMHEAD:
        return is_wide ? (double)row->gemm_n / op->gemm_n : 1;
    case OP_OPROJ:
    case OP_FFN_DOWN:
        return is_deep ? (double)row->gemm_k / op->gemm_k : 1;
    case OP_ROPE:
    case OP_KVAPPEND:
    case OP_ATTN:
        return row->head_dim == op->head_dim && row->heads < op->heads
                   ? (double)row->heads / op->heads
                   : 1;
    case OP_EMBED:
    case OP_NORM:
    case OP_ADD:
    case OP_FNORM:
    case OP_COUNT:
        break;
    }
    return 1;
}

static bool is_same_shape(const struct model_op *a, const struct model_op *b)
{
    return a->op == b->op && a->gemm_n == b->gemm_n && a->gemm_k == b->gemm_k &&
           a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim;
}

static bool has_slice(const struct search_parts *parts, const struct model_op *slice)
{
    for (int i = 0; i < parts->count; i++)
        if (is_same_shape(&parts->slices[i], slice))
            return true;
    return false;
}

static void slices_fill(struct arena *arena, const struct cost_table *table,
                        struct search_parts *parts)
{
    int room = 0;

    for (int i = 0; i < cost_row_count(table); i++) {
        const struct cost_row *row = cost_row_at(table, i);
        struct model_op slice = parts->shape;

        if (!(part_of(&parts->shape, row) < 1))
            continue;
        slice.gemm_n = row->gemm_n;
        slice.gemm_k = row->gemm_k;
        slice.heads = row->heads;
        slice.kv_heads = row->kv_heads;
        if (has_slice(parts, &slice))
            continue;
        if (parts->count == room) {
            int wider = (int)arena_wider(room, 4);

            parts->slices = arena_grow(arena, parts->slices, (size_t)room, (size_t)wider,
                                       sizeof *parts->slices);
            parts->ratios = arena_grow(arena, parts->ratios, (size_t)room, (size_t)wider,
                                       sizeof *parts->ratios);
            room = wider;
        }
        parts->slices[parts->count] = slice;
        parts->ratios[parts->count++] = part_of(&parts->shape, row);
    }
}

const struct search_parts *search_parts_of(struct arena *arena, struct search_parts **list,
                                           const struct cost_table *table,
                                           const struct model_op *op)
{
    struct search_parts *parts = *list;

    while (parts && !is_same_shape(&parts->shape, op))
        parts = parts->next;
    if (!parts) {
        parts = arena_alloc(arena, sizeof *parts);
        *parts = (struct search_parts){ .shape = *op, .next = *list };
        slices_fill(arena, table, parts);
        *list = parts;
    }
    return parts;
}
