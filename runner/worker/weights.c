/* weights.c - fills memory with what a seed, a layer and a matrix stand for. */
#include "runner/worker/weights.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/kernels/kernels.h"
#include "runner/setup/setup.h"
#include <inttypes.h>

struct forward_shape weights_shape(const struct setup_model *setup)
{
    const struct model *model = &setup->model;

    return (struct forward_shape){
        .hidden = model->hidden,
        .heads = model->heads,
        .kv_heads = model->kv_heads,
        .head_dim = model->head_dim,
        .ffn_hidden = model->ffn_hidden,
        .vocab = model->vocab,
        .is_swiglu = model->ffn == MODEL_SWIGLU,
        .is_rms = model->norm == MODEL_RMSNORM,
        .is_rope = model->positions == MODEL_ROPE,
        .is_causal = model->kind == MODEL_DECODER,
        .is_pooler = model->kind == MODEL_ENCODER,
        .is_patches = model->kind == MODEL_VISION,
        .max_context = model->max_context > setup->max_total_tokens ? model->max_context
                                                                    : setup->max_total_tokens,
        .dtype = kernel_dtype_of_bits(model->weight_bits),
    };
}

void *weights_fill(struct arena *arena, uint64_t seed, enum kernel_dtype dtype, int64_t bytes,
                   int32_t layer, enum weights_part part, struct err *err)
{
    void *values = arena_try_alloc(arena, (size_t)bytes);
    uint64_t key[3] = { seed, (uint64_t)layer, (uint64_t)part };

    if (!values) {
        err_set(err, ERR_SYSTEM, "no memory for %" PRId64 " bytes of weights", bytes);
        return NULL;
    }
    kernel_fill(dtype, values, bytes, hash_bytes(HASH_START, key, sizeof key));
    return values;
}

float *weights_floats(struct arena *arena, uint64_t seed, int64_t floats, int32_t layer,
                      enum weights_part part, struct err *err)
{
    return weights_fill(arena, seed, KERNEL_F32, 4 * floats, layer, part, err);
}
