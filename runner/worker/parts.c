/* parts.c - cuts the weights of a sliced stage, and computes the pieces of its passes. */
#include "runner/worker/parts.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/kernels/kernels.h"
#include "runner/setup/setup.h"
#include "runner/worker/parts_internal.h"
#include "runner/worker/weights.h"
#include <assert.h>
#include <math.h>
#include <string.h>

static const struct forward_stamp NO_STAMP = { NULL, NULL };

/* ---- what is here ---- */

struct parts_spans parts_spans_of(struct arena *arena, const struct pass_shares *shares,
                                  int32_t position, int32_t times)
{
    struct parts_spans spans = {
        0, 0, arena_array(arena, (size_t)shares->count + 1, sizeof *spans.spans)
    };

    for (int32_t i = 0; i < shares->count; i++)
        if (shares->shares[i].position == position) {
            int64_t first = shares->shares[i].first * times, end = shares->shares[i].end * times;

            spans.spans[spans.count++] = (struct parts_span){ (int)first, (int)(end - first) };
            spans.width += (int)(end - first);
        }
    return spans;
}

static bool is_first(const struct pass_shares *shares, int32_t position)
{
    return shares->count > 0 && shares->shares[0].position == position;
}

void parts_hold_layer(struct arena *arena, const struct model *model, int32_t position,
                      const struct pass_owners *owners, struct parts_layer *layer)
{
    const struct pass_shares *blocks = owners->blocks;
    int32_t group = model->heads / model->kv_heads;

    layer->kv_heads = parts_spans_of(arena, &blocks[BLOCK_ATTN], position, 1);
    layer->heads = parts_spans_of(arena, &blocks[BLOCK_ATTN], position, group * model->head_dim);
    layer->rows = parts_spans_of(arena, &blocks[BLOCK_PROJ], position, model->head_dim);
    layer->up = parts_spans_of(arena, &blocks[BLOCK_FFN_UP], position, 1);
    layer->down = parts_spans_of(arena, &blocks[BLOCK_FFN_DOWN], position, 1);
    layer->has_proj_bias = is_first(&blocks[BLOCK_PROJ], position);
    layer->has_down_bias = is_first(&blocks[BLOCK_FFN_DOWN], position);
    layer->attention = (struct forward_part){ .heads = layer->kv_heads.width * group,
                                              .kv_heads = layer->kv_heads.width,
                                              .width = layer->rows.width,
                                              .columns = layer->up.width };
    layer->ffn_down = layer->attention;
    layer->ffn_down.columns = layer->down.width;
}

/* ---- computing ---- */

/* Rows of a vector that is `width` wide, from or to columns that lie together. */
static void columns_copy(const struct parts_spans *spans, float *wide, int width, float *narrow,
                         int m, bool is_in)
{
    for (int i = 0; i < m; i++) {
        float *at = narrow + (int64_t)i * spans->width;

        for (int s = 0; s < spans->count; s++) {
            float *there = wide + (int64_t)i * width + spans->spans[s].first;
            size_t bytes = (size_t)spans->spans[s].count * sizeof(float);

            if (is_in)
                memcpy(at, there, bytes);
            else
                memcpy(there, at, bytes);
            at += spans->spans[s].count;
        }
    }
}

static void compute_conn(struct parts *parts, const struct pass_term *term, int32_t repeat,
                         int32_t first, int32_t rows)
{
    const struct forward_shape *shape = &parts->shape;
    int64_t at = (int64_t)first * shape->hidden;
    int32_t norm_layer = term->norm_layer + repeat - parts->stage->layer_first;

    if (term->adds > 0)
        parts->has_terms = false;
    if (rows == 0)
        return;
    if (term->adds > 0)
        kernel_add(parts->terms + at, parts->x + at, (int64_t)rows * shape->hidden);
    if (term->norms > 0)
        forward_norm(parts->forward, &parts->layers[norm_layer].weights, term->norm, parts->x + at,
                     (shape->is_pooler ? parts->x : parts->input) + at, rows);
}

static struct forward_step forward_of(struct parts *parts, const struct parts_step *step)
{
    for (int32_t b = 0; b < step->sequences; b++) {
        parts->past[b] = step->past[b];
        parts->counts[b] = step->counts[b];
        parts->own[b] = step->own ? step->own[b] : step->counts[b];
    }
    return (struct forward_step){ .batch = step->sequences,
                                  .tokens = step->tokens,
                                  .past = parts->past,
                                  .counts = parts->counts,
                                  .own = parts->own,
                                  .keys = step->keys };
}

static void compute_attention(struct parts *parts, const struct parts_layer *layer,
                              const struct parts_step *step, int32_t number)
{
    const struct forward_shape *shape = &parts->shape;
    const struct forward_step all = forward_of(parts, step);

    for (int32_t b = 0; b < step->sequences; b++)
        parts->layer_caches[b] = step->kv[b][number];
    forward_attention(parts->forward, &layer->attention, &layer->weights, parts->layer_caches,
                      shape->is_pooler ? parts->x : parts->input, parts->narrow, &all, NO_STAMP);
    columns_copy(&layer->heads, parts->heads, shape->heads * shape->head_dim, parts->narrow,
                 step->tokens, false);
}

/* The row of the whole matrix, of one that is here. */
static int32_t row_of(const struct parts_spans *spans, int32_t row)
{
    for (int i = 0; i < spans->count; i++) {
        if (row < spans->spans[i].count)
            return row + spans->spans[i].first;
        row -= spans->spans[i].count;
    }
    return 0;
}

/* The row of each sequence that the output matrix works on (an encoder's pooler: its first) goes to
 * the front: nothing else of the residual is needed any more. */
static void compact(struct parts *parts, const struct parts_step *step)
{
    size_t hidden = (size_t)parts->shape.hidden;
    int64_t row = 0;

    if (parts->is_compact)
        return;
    for (int32_t b = 0; b < step->sequences; row += step->counts[b], b++) {
        int32_t own = step->own ? step->own[b] : step->counts[b];
        int64_t last = parts->shape.is_pooler ? row : row + own - 1;

        if (last != b)
            memmove(parts->x + (size_t)b * hidden, parts->x + (size_t)last * hidden,
                    hidden * sizeof *parts->x);
    }
    parts->is_compact = true;
}

static void compute_lm_head(struct parts *parts, const struct parts_step *step)
{
    const struct forward_shape *shape = &parts->shape;

    compact(parts, step);
    for (int32_t b = 0; b < step->sequences; b++) {
        struct parts_best *best = &parts->best[parts->head_member * step->sequences + b];

        *best = (struct parts_best){ 0, -INFINITY };
        if (parts->head.width > 0)
            forward_lm_head_part(parts->forward, &parts->ends,
                                 parts->x + (int64_t)b * shape->hidden, parts->head.width,
                                 &best->token, &best->value);
        best->token = row_of(&parts->head, best->token);
        if (parts->head_members == 1)
            parts->made[b] = best->token;
    }
}

/* Parts of a layer; what is of no layer has none of these blocks. */
static void compute_term(struct parts *parts, const struct pass_term *term, int32_t repeat,
                         const struct pass_range *range, const struct parts_step *step)
{
    const struct forward_shape *shape = &parts->shape;
    const struct forward_step all = forward_of(parts, step);
    int32_t number = term->layer + repeat - parts->stage->layer_first, m = step->tokens;
    const struct parts_layer *layer = &parts->layers[term->layer < 0 ? 0 : number];

    switch (term->block) {
    case BLOCK_EMBED:
        forward_embed(parts->forward, &parts->ends, parts->tokens, parts->patches, parts->x, &all,
                      NO_STAMP);
        break;
    case BLOCK_ATTN:
        compute_attention(parts, layer, step, number);
        break;
    case BLOCK_PROJ:
        columns_copy(&layer->rows, parts->heads, shape->heads * shape->head_dim, parts->narrow, m,
                     true);
        forward_projection(parts->forward, &layer->attention, &layer->weights, parts->narrow,
                           parts->terms, m, layer->has_proj_bias);
        parts->has_terms = true;
        break;
    case BLOCK_FFN_UP:
        forward_ffn_up(parts->forward, &layer->attention, &layer->weights,
                       shape->is_pooler ? parts->x : parts->input, parts->narrow, m, NO_STAMP);
        columns_copy(&layer->up, parts->columns, shape->ffn_hidden, parts->narrow, m, false);
        break;
    case BLOCK_FFN_DOWN:
        columns_copy(&layer->down, parts->columns, shape->ffn_hidden, parts->narrow, m, true);
        forward_ffn_down(parts->forward, &layer->ffn_down, &layer->weights, parts->narrow,
                         parts->terms, m, layer->has_down_bias);
        parts->has_terms = true;
        break;
    case BLOCK_CONN:
        compute_conn(parts, term, repeat, pass_range_before(range, m), pass_range_tokens(range, m));
        break;
    case BLOCK_LM_HEAD:
        compute_lm_head(parts, step);
        break;
    case BLOCK_COUNT:
        assert(false);
    }
}

void parts_compute(struct parts *parts, const struct pass_piece *piece, int32_t repeat,
                   const struct parts_step *step)
{
    for (int32_t i = 0; i < piece->term_count; i++)
        compute_term(parts, &piece->terms[i], repeat, &piece->range, step);
}

/* ---- vectors ---- */

float *parts_heads(struct parts *parts)
{
    return parts->heads;
}

float *parts_columns(struct parts *parts)
{
    return parts->columns;
}

int32_t *parts_tokens(struct parts *parts)
{
    return parts->tokens;
}

float *parts_state(struct parts *parts)
{
    return parts->x;
}

const int32_t *parts_made(const struct parts *parts)
{
    return parts->made;
}

void parts_begin(struct parts *parts)
{
    parts->is_compact = false;
}

static unsigned char *vector_of(struct parts *parts, enum pass_content content, int64_t *row_bytes)
{
    const struct forward_shape *shape = &parts->shape;

    *row_bytes = 4 * (int64_t)shape->hidden;
    switch (content) {
    case PASS_RESIDUAL:
        return (unsigned char *)parts->x;
    case PASS_INPUT:
        return (unsigned char *)parts->input;
    case PASS_TERMS:
        return (unsigned char *)parts->terms;
    case PASS_HEADS:
        *row_bytes = 4 * (int64_t)shape->heads * shape->head_dim;
        return (unsigned char *)parts->heads;
    case PASS_COLUMNS:
        *row_bytes = 4 * (int64_t)shape->ffn_hidden;
        return (unsigned char *)parts->columns;
    case PASS_BEST:
        *row_bytes = sizeof *parts->best;
        return (unsigned char *)parts->best;
    case PASS_TOKENS:
        *row_bytes = 4;
        return (unsigned char *)parts->tokens;
    case PASS_TOKEN:
        *row_bytes = 4;
        return (unsigned char *)parts->made;
    case PASS_NOTHING:
        break;
    }
    assert(false);
    return NULL;
}

/* How a message lies in a vector: runs of bytes, one after the other. */
struct mover {
    unsigned char *to;         /* the message is made; NULL: it is read */
    const unsigned char *from; /* else: from here */
    bool is_sum;
};

static void move(struct mover *mover, unsigned char *at, int64_t bytes)
{
    if (mover->to) {
        memcpy(mover->to, at, (size_t)bytes);
        mover->to += bytes;
        return;
    }
    if (mover->is_sum)
        kernel_add((const float *)(const void *)mover->from, (float *)(void *)at, bytes / 4);
    else
        memcpy(at, mover->from, (size_t)bytes);
    mover->from += bytes;
}

static void move_spans(struct parts *parts, struct mover *mover, unsigned char *at,
                       int64_t row_bytes, int64_t rows, int32_t first_span, int32_t span_count)
{
    for (int64_t i = 0; i < rows; i++)
        for (int32_t s = 0; s < span_count; s++) {
            const struct pass_span *span = &parts->pass->spans[first_span + s];

            move(mover, at + i * row_bytes + span->first, span->end - span->first);
        }
}

/* Part of a member: rows of the sequence, columns, or a best token. */
static void move_part(struct parts *parts, struct mover *mover, const struct pass_step *step,
                      int32_t part, int32_t tokens, int32_t sequences)
{
    const struct pass_member *member = &parts->pass->members[step->first + part];
    int64_t row_bytes;
    unsigned char *at = vector_of(parts, step->content, &row_bytes);

    if (step->content == PASS_BEST)
        move(mover, at + (int64_t)part * sequences * row_bytes, sequences * row_bytes);
    else if (step->content == PASS_HEADS || step->content == PASS_COLUMNS)
        move_spans(parts, mover, at, row_bytes, tokens, member->first_span, member->span_count);
    else
        move(mover, at + row_bytes * pass_range_before(&member->range, tokens),
             row_bytes * pass_range_tokens(&member->range, tokens));
}

static void move_message(struct parts *parts, struct mover *mover, const struct pass_step *step,
                         const struct exchange_message *message, const struct parts_step *of)
{
    int32_t tokens = of->tokens, rows = step->is_last_row ? of->sequences : tokens;
    int64_t times = step->is_last_row ? of->sequences : 1;
    int64_t row_bytes, vector_bytes = times * pass_vector_bytes(step, tokens);
    unsigned char *at = vector_of(parts, step->content, &row_bytes);

    if (message->pass_message >= 0) {
        const struct pass_message *whole = &parts->pass->messages[message->pass_message];

        move_spans(parts, mover, at, row_bytes, rows, whole->first_span, whole->span_count);
        return;
    }
    if (!exchange_is_even(step->kind)) {
        for (int32_t i = 0; i < message->part_count; i++)
            move_part(parts, mover, step, (message->first_part + i) % step->count, tokens,
                      of->sequences);
        return;
    }
    if (step->also != PASS_NOTHING) { /* two vectors, whole */
        move(mover, at, row_bytes * rows);
        at = vector_of(parts, step->also, &row_bytes);
        move(mover, at, row_bytes * rows);
        return;
    }
    for (int32_t i = 0; i < message->part_count; i++) {
        int32_t part = (message->first_part + i) % step->count;
        int64_t before = exchange_before(vector_bytes, part, step->count);

        move(mover, at + before, exchange_before(vector_bytes, part + 1, step->count) - before);
    }
}

void parts_enter(struct parts *parts, const struct pass_step *step, const struct parts_step *of)
{
    bool is_sum = step->kind == PASS_REDUCE || step->kind == PASS_ALL_REDUCE ||
                  step->kind == PASS_REDUCE_SCATTER;

    if (step->is_last_row && step->content == PASS_RESIDUAL)
        compact(parts, of);
    if (step->content != PASS_TERMS)
        return;
    if (is_sum && !parts->has_terms)
        memset(parts->terms, 0,
               (size_t)of->tokens * (size_t)parts->shape.hidden * sizeof *parts->terms);
    parts->has_terms = false;
}

void parts_take(struct parts *parts, const struct pass_step *step,
                const struct exchange_message *message, const struct parts_step *of, void *words)
{
    struct mover mover = { .to = words };

    move_message(parts, &mover, step, message, of);
}

/* The best token of all is known where all parts have come; of equals the first, as arg max has it.
 */
static void choose_tokens(struct parts *parts, int32_t sequences)
{
    for (int32_t b = 0; b < sequences; b++) {
        const struct parts_best *best = &parts->best[b];

        for (int32_t i = 1; i < parts->head_members; i++) {
            const struct parts_best *other = &parts->best[i * sequences + b];

            if (other->value > best->value ||
                (other->token < best->token && !(other->value < best->value)))
                best = other;
        }
        parts->made[b] = best->token;
    }
}

void parts_put(struct parts *parts, const struct pass_step *step,
               const struct exchange_message *message, const struct parts_step *of,
               const void *words)
{
    struct mover mover = { .from = words, .is_sum = message->is_sum };

    move_message(parts, &mover, step, message, of);
    if (step->content == PASS_BEST)
        choose_tokens(parts, of->sequences);
}
