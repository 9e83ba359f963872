/* llmservingsim.h - the importer of LLMServingSim's profiles and traces, for the table, its own
 * files and the tests. */
#ifndef ORRERY_SIM_IMPORT_LLMSERVINGSIM_H
#define ORRERY_SIM_IMPORT_LLMSERVINGSIM_H

#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/format/prefix_blocks.h"
#include "lib/format/workload.h"
#include "sim/import/import.h"

struct llmservingsim_settings {
    const char *model, *type, *service; /* NULL = not given */
    int32_t weight_bits, kv_bits;       /* 0 = not given */
    int32_t block_tokens; /* of prefixes told by token ids; 0 = as meta.csv, else 16 */
};

enum llmservingsim_input {
    LLMSERVINGSIM_DENSE,
    LLMSERVINGSIM_SEQUENCES,
    LLMSERVINGSIM_ATTENTION,
    LLMSERVINGSIM_META,
    LLMSERVINGSIM_WORKLOAD, /* a table of ours */
    LLMSERVINGSIM_BLOCKS,   /* a table of ours */
    LLMSERVINGSIM_TRACE,    /* a request a line, in JSON */
    LLMSERVINGSIM_INPUT_COUNT
};

/* What meta.csv says; 0 and "" = not there. */
struct llmservingsim_meta {
    const char *path, *model, *device, *dtype, *engine;
    int32_t tensor_parallel;
    int32_t layers, hidden, ffn_hidden, heads, kv_heads, head_dim, vocab;
    int32_t max_seqs, token_budget, block_tokens, kv_blocks;
    int64_t memory_bytes;
    long model_line, dtype_line, line_of[8]; /* line_of: of the sizes of the model, in order */
};

struct llmservingsim_profile {
    int row_count, engine_count;
    struct cost_row *rows;
    struct cost_engine_row *engine_rows;
};

/* llmservingsim_meta.c */
bool llmservingsim_read_meta(struct import_job *job, const char *path,
                             struct llmservingsim_meta *meta, struct err *err);
/* The model that was profiled, with the bits of its weights and a name that tells them. */
const struct model *llmservingsim_model(struct import_job *job,
                                        const struct llmservingsim_settings *settings,
                                        const struct llmservingsim_meta *meta, struct err *err);

/* llmservingsim_profile.c: the three tables, of which at least one is there. model: as one device
 * computes it. */
bool llmservingsim_read_profile(struct import_job *job,
                                const char *const paths[LLMSERVINGSIM_INPUT_COUNT],
                                const struct model *model, struct llmservingsim_profile *profile,
                                struct err *err);

/* llmservingsim_trace.c: requests in order of arrival; *blocks is NULL when no line has token ids.
 */
struct workload *llmservingsim_read_trace(struct import_job *job, const char *path,
                                          const char *service, int32_t block_tokens,
                                          struct prefix_blocks **blocks, struct err *err);

/* settings is a struct llmservingsim_settings. */
bool llmservingsim_import(struct import_job *job, const void *settings, struct err *err);

#endif
