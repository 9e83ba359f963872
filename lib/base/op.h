/* op.h - the operators of a transformer: the words that kernels, models and cost tables share.
 *
 * op_name gives the `kernel` column of kernels.csv. The order is the order of execution inside a
 * forward pass (norm and add occur twice a layer). */
#ifndef ORRERY_BASE_OP_H
#define ORRERY_BASE_OP_H

#include <stdbool.h>
#include <stdint.h>

enum op {
    OP_EMBED,    /* token (and position) rows, or patch projection for vision */
    OP_NORM,     /* LayerNorm or RMSNorm over hidden */
    OP_QKV,      /* fused projection: gemm_n = (heads + 2 kv_heads) head_dim, gemm_k = hidden */
    OP_ROPE,     /* rotary position embedding of q and k */
    OP_KVAPPEND, /* copy of new k and v into the cache */
    OP_ATTN,     /* scores, softmax, weighted values */
    OP_OPROJ,    /* output projection: gemm_n = hidden, gemm_k = heads head_dim */
    OP_ADD,      /* residual addition */
    OP_FFN_UP,   /* gemm_n = ffn_hidden (gelu) or 2 ffn_hidden (swiglu), gemm_k = hidden */
    OP_ACT,      /* GELU, or SiLU(gate) * up */
    OP_FFN_DOWN, /* gemm_n = hidden, gemm_k = ffn_hidden */
    OP_FNORM,    /* final norm */
    OP_LMHEAD,   /* last token to vocabulary, and the arg max; pooler or classifier of an encoder */
    OP_COUNT
};

enum op_phase {
    OP_ANY,     /* cost depends on m_tokens alone */
    OP_PREFILL, /* attention of m_tokens queries over kv_len keys */
    OP_DECODE,  /* attention of one query over kv_len keys */
    OP_PHASE_COUNT
};

const char *op_name(enum op op);
const char *op_phase_name(enum op_phase phase);
/* NULL-safe arrays of all names, for choices. */
extern const char *const op_names[OP_COUNT];
extern const char *const op_phase_names[OP_PHASE_COUNT];

/* Sets of kernels, a bit each: the operators, attention of decode steps apart from that of prompts,
 * and the choice of a token. */
#define OP_SET_DECODE (UINT32_C(1) << OP_COUNT)
#define OP_SET_SAMPLER (UINT32_C(1) << (OP_COUNT + 1))
#define OP_SET_COUNT ((int)OP_COUNT + 2)

static inline uint32_t op_set_of(enum op op, enum op_phase phase)
{
    return phase == OP_DECODE ? OP_SET_DECODE : UINT32_C(1) << op;
}

/* Of bit 0 .. OP_SET_COUNT - 1: "ffn_up", "attn decode", "sampler". */
const char *op_set_name(int bit);

#endif
