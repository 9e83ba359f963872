/* op.c - the names of operators and phases, as they stand in cost tables. */
#include "lib/base/op.h"

const char *const op_names[OP_COUNT] = {
    [OP_EMBED] = "embed",   [OP_NORM] = "norm",         [OP_QKV] = "qkv",
    [OP_ROPE] = "rope",     [OP_KVAPPEND] = "kvappend", [OP_ATTN] = "attn",
    [OP_OPROJ] = "oproj",   [OP_ADD] = "add",           [OP_FFN_UP] = "ffn_up",
    [OP_ACT] = "act",       [OP_FFN_DOWN] = "ffn_down", [OP_FNORM] = "fnorm",
    [OP_LMHEAD] = "lmhead",
};

const char *const op_phase_names[OP_PHASE_COUNT] = {
    [OP_ANY] = "any",
    [OP_PREFILL] = "prefill",
    [OP_DECODE] = "decode",
};

const char *op_name(enum op op)
{
    return op_names[op];
}

const char *op_phase_name(enum op_phase phase)
{
    return op_phase_names[phase];
}

const char *op_set_name(int bit)
{
    if (UINT32_C(1) << bit == OP_SET_DECODE)
        return "attn decode";
    return UINT32_C(1) << bit == OP_SET_SAMPLER ? "sampler" : op_names[bit];
}
