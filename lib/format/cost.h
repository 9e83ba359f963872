/* cost.h - measured costs of one device type: reader, look-up and writer of a cost-table folder.
 *
 * Format: traces/README.md. A folder holds kernels.csv (measured points), interp.csv (tiles),
 * and/or stages.csv (black boxes), anchors.csv (whole forwards), roofline.csv and device.csv, of
 * which two facts are taken. Tables live in the arena, are const after loading, and may be shared
 * by any number of runs. */
#ifndef ORRERY_FORMAT_COST_H
#define ORRERY_FORMAT_COST_H

#include "lib/base/op.h"
#include "lib/format/interp.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cost_table;
struct err;
struct model_op;
struct out;

/* ---- reading ---- */

/* type = name of the folder. A folder without kernels.csv and stages.csv is an error. */
struct cost_table *cost_load(struct arena *arena, const char *folder, struct err *err);
/* kernels.csv and interp.csv given as text, as sent to a worker; interp may be NULL. */
struct cost_table *cost_load_text(struct arena *arena, const char *type, const char *kernels,
                                  const char *interp, struct err *err);
/* Every table that the --costs options name: a type's folder, or a folder of such folders (in name
 * order). Two tables of one type are an error. */
struct cost_set {
    int count;
    struct cost_table **tables;
};
bool cost_set_load(struct arena *arena, const char *const *paths, int path_count,
                   struct cost_set *set, struct err *err);
const struct cost_table *cost_set_find(const struct cost_set *set, const char *type);

const char *cost_type(const struct cost_table *table);
const char *cost_path(const struct cost_table *table);
/* As the first row states it; "" when it does not. */
const char *cost_device_id(const struct cost_table *table);
bool cost_has_kernels(const struct cost_table *table);
/* The only thread count of the table, or 0 when it has several or none. */
int cost_only_threads(const struct cost_table *table);

/* Time of one call of op (op->count is ignored) with state=chain, the cheapest impl that covers the
 * shape (else the one with the nearest measured range, origin extrapolated), dtype of weight_bits.
 * No measured row for the operator and shape is an error that names them.
 *
 * Attention of a decode with batch b: between measured batches linear in b of their curves over
 * kv_len; outside them (also when batch 1 alone was measured) proportional to b, extrapolated.
 * Attention of a prefill chunk behind tokens in the cache: what the whole prefill of the chunk
 * costs plus what the past adds: linear in the past within a measured chunk size, a power law
 * between them; without rows of chunks the whole less its beginning, extrapolated. A prefill of b
 * sequences costs b times one, extrapolated. */
bool cost_lookup(const struct cost_table *table, const struct model_op *op, int threads,
                 int weight_bits, int64_t *time_ps, enum interp_origin *origin, struct err *err);

/* ---- steps that mix requests: kernels attn_mixed and sampler, in tables of other engines ---- */

/* Attention of one layer in a step of continuous batching, with chunks of prompts and decodes (one
 * token of a sequence each) at once. */
struct cost_mixed {
    int32_t heads, kv_heads, head_dim;
    int64_t chunk_tokens,
        chunk_kv; /* sums over the chunks: new tokens, tokens in the cache before */
    int32_t decodes;
    int64_t decode_kv; /* tokens in the cache before the new one, of a decode in the mean */
};
bool cost_has_mixed(const struct cost_table *table);
/* Linear on every axis in turn: chunk_tokens, decodes, chunk_kv, decode_kv; beyond the samples of
 * an axis the line of its outermost two goes on (extrapolated; never below 0). An axis of one
 * sample tells nothing of its own. A table without rows of chunks and decodes at once: the sum of
 * both, extrapolated. A table without any row of this shape is an error that names it.
 *
 * cost_lookup asks here for attention where a table has no rows of attn: a prefill is one chunk, a
 * decode of b sequences b decodes. Such an engine adds and appends to its cache inside other
 * kernels: add and kvappend cost 0 where the table has no rows of them at all. */
bool cost_lookup_mixed(const struct cost_table *table, const struct cost_mixed *mixed, int threads,
                       int weight_bits, int64_t *time_ps, enum interp_origin *origin,
                       struct err *err);
/* The rows that tell a shape, to be asked many times; NULL when there are none, or of several
 * implementations or regimes. The answer is that of cost_lookup_mixed. */
struct cost_grid;
const struct cost_grid *cost_find_grid(const struct cost_table *table,
                                       const struct cost_mixed *shape, int threads,
                                       int weight_bits);
int64_t cost_grid_ps(const struct cost_table *table, const struct cost_grid *grid,
                     const struct cost_mixed *mixed, enum interp_origin *origin);
/* Choosing the token of so many sequences out of a vocabulary. A table without a row of sampler:
 * 0, measured. */
bool cost_lookup_sampler(const struct cost_table *table, int32_t sequences, int32_t vocab,
                         int threads, int weight_bits, int64_t *time_ps, enum interp_origin *origin,
                         struct err *err);
/* Where decodes of that shape alone were measured: tokens in the cache before the new one, rising
 * and distinct, in arena; between two of them their cost is a line. Whatever kernel tells it. */
const int32_t *cost_decode_points(struct arena *arena, const struct cost_table *table,
                                  const struct cost_mixed *shape, int threads, int weight_bits,
                                  int *count);

/* ---- black boxes ---- */

struct cost_stage {
    const char *executable, *model; /* model "" when not given */
    int32_t stage;
    int64_t latency_ps, gap_ps;
    int64_t weight_bytes, activation_bytes, output_bytes;
    int32_t devices; /* that the stage was profiled on; 0 when not given */
    int32_t batch;   /* 1 when not given */
    long line;
};
/* Of a pass of `batch` items; NULL when there is no such row. Between profiled sizes there is
 * nothing: a larger profiled size with padding, or a smaller one, is the caller's choice. */
const struct cost_stage *cost_stage_find_batch(const struct cost_table *table,
                                               const char *executable, int32_t stage,
                                               int32_t batch);
/* That of the smallest profiled batch. */
const struct cost_stage *cost_stage_first(const struct cost_table *table, const char *executable,
                                          int32_t stage);
/* Rows of stages.csv, by executable, stage and batch. */
int cost_stage_row_count(const struct cost_table *table);
const struct cost_stage *cost_stage_row_at(const struct cost_table *table, int index);
/* Number of stages of an executable (0: unknown executable). */
int cost_stage_count(const struct cost_table *table, const char *executable);
/* How many batch sizes an executable was profiled with (0: unknown executable), and these sizes,
 * ascending, in *sizes. All of its stages have a row of each: else the table does not load. */
int cost_batch_sizes(const struct cost_table *table, const char *executable, const int32_t **sizes);
/* What stages first to last of an executable hold on a device: their weights, summed, and the
 * largest activations of any of them in batches up to the smallest profiled one of `items`. False
 * when so many were never profiled, or such stages. */
bool cost_stage_memory(const struct cost_table *table, const char *executable, int32_t first,
                       int32_t last, int32_t items, int64_t *weight_bytes,
                       int64_t *activation_bytes);

/* ---- rows, for the profiler's writer and the reader alike ---- */

enum cost_state { COST_CHAIN, COST_ROTATE, COST_WARM, COST_STATE_COUNT };
enum cost_stop { COST_STOP_CI, COST_STOP_BUDGET, COST_STOP_MAX_N, COST_STOP_COUNT };
enum cost_counter { /* logical hardware counters, columns of kernels.csv */
                    COST_CYC,
                    COST_INS,
                    COST_L1D_REFILL,
                    COST_L2D_REFILL,
                    COST_LLC_MISS,
                    COST_STALL_BE,
                    COST_COUNTER_COUNT
};
extern const char *const cost_counter_names[COST_COUNTER_COUNT];
#define COST_UNKNOWN INT64_MIN /* of any integer field: written and read as an empty field */

struct cost_row { /* one line of kernels.csv; key first */
    enum op op;
    enum op_phase phase;
    const char *impl, *dtype; /* "gemm", "gemv", "c"; "f32" */
    int32_t threads, m_tokens, gemm_n, gemm_k, heads, kv_heads, head_dim, kv_len;
    enum cost_state state;
    const char *regime;             /* "burst" or "sustained" */
    int32_t batch;                  /* sequences; of the key for attn alone */
    const char *model, *layer_kind; /* information only */
    int64_t n, n_dirty, n_outlier, n_proc;
    int64_t mean_ps, median_ps, min_ps, p95_ps, mad_ps, ci_lo_ps, ci_hi_ps;
    int64_t proc_min_ps, proc_max_ps; /* smallest and largest mean of one process */
    enum cost_stop stop;
    int64_t flops, bytes_weight, bytes_act;
    int64_t counters[COST_COUNTER_COUNT]; /* COST_UNKNOWN: not counted */
    const char *ctr_reason;               /* why they are empty; "" when all are there */
    int64_t energy_uj;                    /* of one call, above idle */
    const char *energy_reason;            /* why it is empty */
    int64_t freq_khz_min, temp_mc_max;    /* over the samples; temperature in 1/1000 degree C */
    int throttled;                        /* 0, 1; -1 = not known */
    double canary_ratio;       /* canary of its rounds over the best decile; -1 = unknown */
    double roof_frac;          /* of the device's peak at this intensity; -1 = unknown */
    double loo_err_pct;        /* predicted from its neighbours, off by; -1 = not judged */
    enum interp_origin origin; /* rows that were not measured answer no look-up */
};
/* A row of which nothing is known but op, phase and sizes 0: batch 1, threads 1, f32, chain, burst.
 */
void cost_row_init(struct cost_row *row);
/* The dtype column of a model's weight_bits: 32 f32, 16 bf16, 8 q8_0. */
const char *cost_dtype_of_bits(int weight_bits);
/* Rows of a loaded table, as in the file. */
int cost_row_count(const struct cost_table *table);
const struct cost_row *cost_row_at(const struct cost_table *table, int index);
/* Writes `# orrery: kernels 1`, the metadata lines, the header and the rows. meta is a NULL-ended
 * list of "key", "value", ... */
void cost_write_kernels(struct out *out, const char *device_id, const char *const *meta,
                        const struct cost_row *rows, int count);

/* stages.csv of black boxes. */
void cost_write_stages(struct out *out, const char *const *meta, const struct cost_stage *rows,
                       int count);

struct cost_engine_row { /* a line of kernels.csv with a kernel that batching engines alone have */
    bool is_sampler;     /* else attn_mixed */
    const char *impl, *dtype, *regime;
    int32_t threads;
    int32_t m_tokens, gemm_n;          /* sampler: sequences; vocabulary, 0 = of any */
    int32_t heads, kv_heads, head_dim; /* attn_mixed; 0 = of any shape */
    int32_t chunk_tokens, chunk_kv, decodes, decode_kv;
    int64_t n; /* samples; COST_UNKNOWN = not known */
    int64_t mean_ps;
};
/* Such rows of a loaded table, as in the file. */
int cost_engine_row_count(const struct cost_table *table);
const struct cost_engine_row *cost_engine_row_at(const struct cost_table *table, int index);
/* kernels.csv of another engine: ordinary rows by their key, mean, median, min and n alone, without
 * columns that stay empty; the device stands in the first row. */
void cost_write_engine(struct out *out, const char *device_id, const char *const *meta,
                       const struct cost_row *rows, int count,
                       const struct cost_engine_row *engine_rows, int engine_count);

struct cost_interp_row { /* one fitted curve of interp.csv */
    struct cost_row key; /* key fields alone */
    struct interp_tiles tiles;
};
void cost_write_interp(struct out *out, const struct cost_interp_row *rows, int count);
/* Curves of a loaded table that interp.csv gave tiles, in order of key. */
int cost_interp_count(const struct cost_table *table);
struct cost_interp_row cost_interp_at(const struct cost_table *table, int index);

struct cost_anchor { /* a whole forward, un-stamped, against the sum of the table */
    const char *model;
    enum op_phase phase;
    int32_t tokens, kv_len, batch, threads, layers;
    int64_t n, forward_mean_ps, ci_ps, sum_chain_ps;
    double kappa;              /* forward / sum */
    const char *dtype;         /* of the weights; NULL = f32 */
    double kappa_lo, kappa_hi; /* 95 % interval; 0 = not known */
};
void cost_write_anchors(struct out *out, const struct cost_anchor *anchors, int count);
/* Last-level cache of the device, from device.csv: the measured knee llc_effective_bytes, else
 * llc_bytes; 0 = not known. */
int64_t cost_llc_bytes(const struct cost_table *table);
/* True when weights of which a step reads this much stay in the cache from step to step, at least
 * in part (less than twice its size): they are faster than a table says, whose costs are those of
 * cold memory. */
bool cost_is_cached(int64_t weight_bytes, int64_t llc_bytes);
/* Anchors of a loaded table. */
int cost_anchor_count(const struct cost_table *table);
const struct cost_anchor *cost_anchor_at(const struct cost_table *table, int index);
/* kappa of the anchor nearest to a step, by ratio of sizes (tokens of a prefill, kv_len x batch of
 * a decode; ties to the first), of the same model, phase, threads and dtype of weight_bits. False
 * when there is none: kappa is then 1. */
bool cost_kappa(const struct cost_table *table, const char *model, enum op_phase phase,
                int32_t tokens, int32_t kv_len, int32_t batch, int threads, int weight_bits,
                double *kappa);

/* What the table says of its own quality, from the line `# quality: ...` of kernels.csv, else from
 * the fact `quality` of device.csv; "" = nothing. */
const char *cost_quality(const struct cost_table *table);
/* It says something that does not begin with "good". */
bool cost_is_disturbed(const struct cost_table *table);

/* The pause behind which idle_resume_ns of roofline.csv is timed. */
#define COST_IDLE_PS INT64_C(60000000000)

struct cost_roofline { /* one line of roofline.csv */
    int32_t threads;
    const char *metric;
    int64_t ws_bytes; /* working set; COST_UNKNOWN = has none */
    double value;
    const char *unit;
};
void cost_write_roofline(struct out *out, const struct cost_roofline *rows, int count);
int cost_roofline_count(const struct cost_table *table);
const struct cost_roofline *cost_roofline_at(const struct cost_table *table, int index);

struct cost_holdout {    /* a point that was measured and kept out of the table */
    struct cost_row row; /* key, sizes and mean */
    int64_t ci_ps;       /* half width; COST_UNKNOWN = not known */
    int64_t predicted_ps;
    enum interp_origin origin; /* of the prediction */
};
void cost_write_holdout(struct out *out, const struct cost_holdout *rows, int count);

#endif
