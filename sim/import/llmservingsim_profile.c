/* llmservingsim_profile.c - profile tables of LLMServingSim: a layer against tokens, the LM head
 * and the sampler against sequences, attention of mixed batches.
 *
 * A row is one call in one layer, in microseconds. What a layer of theirs is among our operators
 * stands in the table below; its shape is that of the model. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "sim/import/llmservingsim.h"
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 256

/* Layers that count by tokens, then those that count by sequences. */
enum layer {
    EMBEDDING,
    LAYERNORM,
    QKV_PROJ,
    QK_NORM,
    ROTARY_EMB,
    O_PROJ,
    GATE_UP_PROJ,
    UP_PROJ,
    ACT_FN,
    DOWN_PROJ,
    FINAL_LAYERNORM,
    TOKEN_LAYERS,
    LM_HEAD = TOKEN_LAYERS,
    SAMPLER,
    LAYER_COUNT
};
static const struct {
    const char *name;
    enum op op;
    enum model_block block;
} layers[LAYER_COUNT] = {
    [EMBEDDING] = { "embedding", OP_EMBED, BLOCK_EMBED },
    [LAYERNORM] = { "layernorm", OP_NORM, BLOCK_CONN },
    [QKV_PROJ] = { "qkv_proj", OP_QKV, BLOCK_ATTN },
    [QK_NORM] = { "qk_norm", OP_ROPE, BLOCK_ATTN }, /* a part of what rope stands for */
    [ROTARY_EMB] = { "rotary_emb", OP_ROPE, BLOCK_ATTN },
    [O_PROJ] = { "o_proj", OP_OPROJ, BLOCK_PROJ },
    [GATE_UP_PROJ] = { "gate_up_proj", OP_FFN_UP, BLOCK_FFN_UP },
    [UP_PROJ] = { "up_proj", OP_FFN_UP, BLOCK_FFN_UP },
    [ACT_FN] = { "act_fn", OP_ACT, BLOCK_FFN_UP },
    [DOWN_PROJ] = { "down_proj", OP_FFN_DOWN, BLOCK_FFN_DOWN },
    [FINAL_LAYERNORM] = { "final_layernorm", OP_FNORM, BLOCK_LM_HEAD },
    [LM_HEAD] = { "lm_head", OP_LMHEAD, BLOCK_LM_HEAD },
    [SAMPLER] = { "sampler", OP_LMHEAD, BLOCK_LM_HEAD },
};

struct point { /* where something was measured, to find what is there twice */
    int32_t at[4];
    long line;
};

struct points {
    const char *path;
    int count, room;
    struct point *list;
};

struct reader {
    struct import_job *job;
    const struct model *model;
    struct llmservingsim_profile *profile;
    int row_room, engine_room;
};

/* ---- points ---- */

static void points_add(struct arena *arena, struct points *points, struct point point)
{
    if (points->count == points->room) {
        int room = points->room > 0 ? 2 * points->room : FIRST_ROOM;

        points->list = arena_grow(arena, points->list, (size_t)points->room, (size_t)room,
                                  sizeof *points->list);
        points->room = room;
    }
    points->list[points->count++] = point;
}

static int compare_places(const struct point *a, const struct point *b)
{
    for (int i = 0; i < 4; i++)
        if (a->at[i] != b->at[i])
            return a->at[i] < b->at[i] ? -1 : 1;
    return 0;
}

static int compare_points(const void *left, const void *right)
{
    const struct point *a = left, *b = right;
    int order = compare_places(a, b);

    return order != 0 ? order : a->line < b->line ? -1 : a->line > b->line;
}

static bool points_check(struct points *points, struct err *err)
{
    if (points->count == 0)
        return err_at(err, points->path, 0, 0, "no rows");
    qsort(points->list, (size_t)points->count, sizeof *points->list, compare_points);
    for (int i = 1; i < points->count; i++)
        if (compare_places(&points->list[i - 1], &points->list[i]) == 0)
            return err_at(err, points->path, points->list[i].line, 0, "same point as line %ld",
                          points->list[i - 1].line);
    return true;
}

/* ---- rows ---- */

static bool read_us(const struct csv *csv, int column, int64_t *time_ps, struct err *err)
{
    if (!csv_has(csv, column))
        return csv_bad(csv, column, err, "must not be empty");
    if (!units_parse_decimal(csv_text(csv, column), 6, time_ps))
        return csv_bad(csv, column, err, "expected decimal microseconds");
    return (*time_ps >= 1 && *time_ps <= UNITS_MAX_PS) ||
           csv_bad(csv, column, err, "expected microseconds above 0");
}

static const char *dtype_of(const struct reader *reader)
{
    return cost_dtype_of_bits(reader->model->weight_bits);
}

static struct cost_row *row_add(struct reader *reader)
{
    struct llmservingsim_profile *profile = reader->profile;
    struct cost_row *row;

    if (profile->row_count == reader->row_room) {
        int room = reader->row_room > 0 ? 2 * reader->row_room : FIRST_ROOM;

        profile->rows = arena_grow(reader->job->arena, profile->rows, (size_t)reader->row_room,
                                   (size_t)room, sizeof *row);
        reader->row_room = room;
    }
    row = &profile->rows[profile->row_count++];
    cost_row_init(row);
    row->dtype = dtype_of(reader);
    return row;
}

static struct cost_engine_row *engine_row_add(struct reader *reader)
{
    struct llmservingsim_profile *profile = reader->profile;
    struct cost_engine_row *row;

    if (profile->engine_count == reader->engine_room) {
        int room = reader->engine_room > 0 ? 2 * reader->engine_room : FIRST_ROOM;

        profile->engine_rows = arena_grow(reader->job->arena, profile->engine_rows,
                                          (size_t)reader->engine_room, (size_t)room, sizeof *row);
        reader->engine_room = room;
    }
    row = &profile->engine_rows[profile->engine_count++];
    *row = (struct cost_engine_row){
        .impl = "", .dtype = dtype_of(reader), .regime = "burst", .threads = 1, .n = COST_UNKNOWN
    };
    return row;
}

/* The shape of the model's operator. */
static bool shape_of(const struct model *model, enum layer layer, struct model_op *op)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_block_ops(model, layers[layer].block, 1, 0, ops);

    for (int i = 0; i < count; i++)
        if (ops[i].op == layers[layer].op) {
            *op = ops[i];
            return true;
        }
    return false;
}

static bool add_layer(struct reader *reader, const struct csv *csv, enum layer layer,
                      int32_t tokens, int64_t time_ps, struct err *err)
{
    struct model_op op;
    struct cost_row *row;

    if (!shape_of(reader->model, layer, &op))
        return csv_bad_row(csv, err, "model '%.60s' has no %s", reader->model->name,
                           layers[layer].name);
    row = row_add(reader);
    row->op = op.op;
    row->m_tokens = tokens;
    row->gemm_n = op.gemm_n;
    row->gemm_k = op.gemm_k;
    row->heads = op.heads;
    row->kv_heads = op.kv_heads;
    row->head_dim = op.head_dim;
    row->mean_ps = time_ps;
    return true;
}

static void add_sampler(struct reader *reader, int32_t sequences, int64_t time_ps)
{
    struct cost_engine_row *row = engine_row_add(reader);

    row->is_sampler = true;
    row->m_tokens = sequences;
    row->gemm_n = reader->model->vocab;
    row->mean_ps = time_ps;
}

/* ---- layers against tokens or sequences ---- */

static bool read_layers(struct reader *reader, const char *path, enum layer first, int count,
                        const char *axis, struct err *err)
{
    enum { LAYER, SIZE, TIME_US, COLUMN_COUNT };
    const struct csv_column columns[COLUMN_COUNT] = {
        [LAYER] = { "layer", true }, [SIZE] = { axis, true }, [TIME_US] = { "time_us", true }
    };
    const char *names[LAYER_COUNT];
    struct points points = { .path = path };
    struct csv *csv = csv_open(reader->job->arena, path, NULL, columns, COLUMN_COUNT, err);

    for (int i = 0; i < count; i++)
        names[i] = layers[(int)first + i].name;
    while (csv && csv_next(csv, err)) {
        int64_t time_ps = 0;
        int32_t size = 0;
        int name = 0;

        if (!csv_choice(csv, LAYER, names, count, &name, err) ||
            !csv_int32(csv, SIZE, 1, INT32_MAX, &size, err) ||
            !read_us(csv, TIME_US, &time_ps, err))
            break;
        name += (int)first;
        points_add(reader->job->arena, &points,
                   (struct point){ { name, size, 0, 0 }, csv_line(csv) });
        if (name == SAMPLER)
            add_sampler(reader, size, time_ps);
        else if (!add_layer(reader, csv, (enum layer)name, size, time_ps, err))
            break;
    }
    csv_close(csv);
    return err->kind == ERR_NONE && points_check(&points, err);
}

static int compare_ropes(const void *left, const void *right)
{
    const struct cost_row *a = left, *b = right;

    if ((a->op == OP_ROPE) != (b->op == OP_ROPE))
        return a->op == OP_ROPE ? 1 : -1;
    return a->m_tokens < b->m_tokens ? -1 : a->m_tokens > b->m_tokens;
}

/* qk_norm and rotary_emb are rows of rope both: one row of their sum where both are. */
static bool join_ropes(struct llmservingsim_profile *profile, const char *path, struct err *err)
{
    int first = 0, kept, pairs = 0;

    if (profile->row_count > 0)
        qsort(profile->rows, (size_t)profile->row_count, sizeof *profile->rows, compare_ropes);
    while (first < profile->row_count && profile->rows[first].op != OP_ROPE)
        first++;
    kept = first;
    for (int i = first; i < profile->row_count; i++) {
        struct cost_row *row = &profile->rows[i];

        if (kept > first && profile->rows[kept - 1].m_tokens == row->m_tokens) {
            profile->rows[kept - 1].mean_ps += row->mean_ps;
            pairs++;
        } else {
            profile->rows[kept++] = *row;
        }
    }
    profile->row_count = kept;
    return pairs == 0 || pairs == kept - first ||
           err_at(err, path, 0, 0, "qk_norm and rotary_emb were not measured at the same tokens");
}

/* ---- attention ---- */

static bool read_attention(struct reader *reader, const char *path, struct err *err)
{
    enum { PREFILL_CHUNK, KV_PREFILL, N_DECODE, KV_DECODE, TIME_US, COLUMN_COUNT };
    static const struct csv_column columns[COLUMN_COUNT] = { [PREFILL_CHUNK] = { "prefill_chunk",
                                                                                 true },
                                                             [KV_PREFILL] = { "kv_prefill", true },
                                                             [N_DECODE] = { "n_decode", true },
                                                             [KV_DECODE] = { "kv_decode", true },
                                                             [TIME_US] = { "time_us", true } };
    struct points points = { .path = path };
    struct csv *csv = csv_open(reader->job->arena, path, NULL, columns, COLUMN_COUNT, err);

    while (csv && csv_next(csv, err)) {
        struct point point = { .line = csv_line(csv) };
        struct cost_engine_row *row;
        int64_t time_ps;
        bool ok = true;

        for (int i = PREFILL_CHUNK; i <= KV_DECODE && ok; i++)
            ok = csv_int32(csv, i, 0, INT32_MAX, &point.at[i], err);
        if (!ok || !read_us(csv, TIME_US, &time_ps, err))
            break;
        if ((point.at[PREFILL_CHUNK] == 0 && point.at[KV_PREFILL] > 0) ||
            (point.at[N_DECODE] == 0 && point.at[KV_DECODE] > 0) ||
            point.at[PREFILL_CHUNK] + (int64_t)point.at[N_DECODE] == 0) {
            csv_bad_row(csv, err, "expected a chunk or decodes, and a kv only where they are");
            break;
        }
        points_add(reader->job->arena, &points, point);
        row = engine_row_add(reader);
        row->heads = reader->model->heads;
        row->kv_heads = reader->model->kv_heads;
        row->head_dim = reader->model->head_dim;
        row->chunk_tokens = point.at[PREFILL_CHUNK];
        row->chunk_kv = point.at[KV_PREFILL];
        row->decodes = point.at[N_DECODE];
        row->decode_kv = point.at[KV_DECODE];
        row->mean_ps = time_ps;
    }
    csv_close(csv);
    return err->kind == ERR_NONE && points_check(&points, err);
}

/* In the order of look-ups: such a table need not be sorted at every run. */
static int compare_engine_rows(const void *left, const void *right)
{
    const struct cost_engine_row *a = left, *b = right;
    const int32_t x[] = { a->is_sampler, a->chunk_tokens, a->decodes,
                          a->chunk_kv,   a->decode_kv,    a->m_tokens };
    const int32_t y[] = { b->is_sampler, b->chunk_tokens, b->decodes,
                          b->chunk_kv,   b->decode_kv,    b->m_tokens };

    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

bool llmservingsim_read_profile(struct import_job *job,
                                const char *const paths[LLMSERVINGSIM_INPUT_COUNT],
                                const struct model *model, struct llmservingsim_profile *profile,
                                struct err *err)
{
    struct reader reader = { .job = job, .model = model, .profile = profile };
    const char *dense = paths[LLMSERVINGSIM_DENSE], *sequences = paths[LLMSERVINGSIM_SEQUENCES];

    *profile = (struct llmservingsim_profile){ 0 };
    if (dense && (!read_layers(&reader, dense, EMBEDDING, TOKEN_LAYERS, "tokens", err) ||
                  !join_ropes(profile, dense, err)))
        return false;
    if (sequences &&
        !read_layers(&reader, sequences, LM_HEAD, LAYER_COUNT - TOKEN_LAYERS, "sequences", err))
        return false;
    if (paths[LLMSERVINGSIM_ATTENTION] &&
        !read_attention(&reader, paths[LLMSERVINGSIM_ATTENTION], err))
        return false;
    if (profile->engine_count > 0)
        qsort(profile->engine_rows, (size_t)profile->engine_count, sizeof *profile->engine_rows,
              compare_engine_rows);
    return true;
}
