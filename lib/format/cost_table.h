/* cost_table.h - the inside of a loaded cost table. Private to lib/format/cost*.c.
 *
 * Rows that agree in their key form a curve over m_tokens. Attention has a bundle of curves a key:
 * a decode one over kv_len for each batch, a prefill one over its length and one over the past for
 * each chunk size. Curves are sorted by key, so that a look-up is a binary search and two
 * permutations of one file give the same table. */
#ifndef ORRERY_FORMAT_COST_TABLE_H
#define ORRERY_FORMAT_COST_TABLE_H

#include "lib/format/cost.h"

struct csv;
struct names;

/* What a look-up asks for. Fields that do not move the cost of an operator are 0 in the key: heads
 * of a matrix product, sizes of attention, the phase of all but attention. */
enum cost_field {
    COST_OP,
    COST_PHASE,
    COST_THREADS,
    COST_DTYPE,
    COST_GEMM_N,
    COST_GEMM_K,
    COST_HEADS,
    COST_KV_HEADS,
    COST_HEAD_DIM,
    COST_FIELD_COUNT
};
struct cost_key {
    int32_t field[COST_FIELD_COUNT];
};

enum cost_dtype { COST_F32, COST_BF16, COST_Q8_0, COST_DTYPE_COUNT };
extern const char *const cost_dtypes[COST_DTYPE_COUNT];
enum cost_regime { COST_SUSTAINED, COST_BURST, COST_REGIME_COUNT }; /* in order of preference */
extern const char *const cost_regimes[COST_REGIME_COUNT];
extern const char *const cost_states[COST_STATE_COUNT];
extern const char *const cost_stops[COST_STOP_COUNT];
extern const char *const cost_origins[INTERP_EXTRAPOLATED + 1];

struct cost_curve {
    struct cost_key key;
    const char *impl;
    enum cost_regime regime;
    enum interp_form form;
    int32_t along; /* batch of a decode; tokens of a prefill chunk, 0 = whole prefills; else 0 */
    int count;
    int32_t *x;
    int64_t *y_ps;
    bool has_tiles;
    struct interp_tiles tiles;
    uint32_t residues; /* set of those that interp.csv gave */
    long tiles_line;
    const struct cost_row *row; /* the first */
};

struct cost_executable { /* of stages.csv */
    const char *name;
    int32_t first_batch, batch_count; /* into batches, ascending */
};

/* A value of one axis of attn_mixed, or a point at the end of all of them (cost_grid.c). */
struct cost_sample {
    int32_t x;
    int32_t first, count; /* samples of the next axis; 0 of the last */
    int64_t y_ps;         /* of the last axis */
};
/* Rows of attn_mixed, or points of sampler (key field COST_GEMM_N), of one key, implementation and
 * regime. */
struct cost_grid {
    struct cost_key key; /* without COST_OP and COST_PHASE */
    const char *impl;
    enum cost_regime regime;
    bool is_sampler;
    int32_t first, count; /* samples of the first axis; sampler: of the last */
    bool has_both;        /* chunks and decodes at once */
    bool is_regular;      /* if so, then for every number of chunk tokens */
};
#define COST_MIXED_AXES 4

struct cost_table {
    const char *type, *path, *device_id;
    bool has_kernels;
    int64_t llc_bytes, llc_effective_bytes; /* 0 = not known */
    const char *quality;                    /* "" = not stated */
    int only_threads;
    int row_count, row_capacity;
    struct cost_row *rows; /* as in the file */
    long *row_lines;
    int curve_count;
    struct cost_curve *curves;
    int engine_row_count, engine_row_capacity;
    struct cost_engine_row *engine_rows; /* as in the file */
    long *engine_row_lines;
    int grid_count;
    struct cost_grid *grids; /* samplers behind attn_mixed */
    struct cost_sample *samples[COST_MIXED_AXES];
    int stage_count;
    struct cost_stage *stages; /* by executable, batch, stage */
    int executable_count;
    struct cost_executable *executables; /* by name */
    int32_t *batches;
    struct names *other_types; /* that stages.csv has rows of; NULL without the file */
    int anchor_count, anchor_capacity;
    struct cost_anchor *anchors;
    int roofline_count;
    struct cost_roofline *roofline;
};

/* The columns of the key come first in every table that has one. */
enum {
    COL_KERNEL,
    COL_PHASE,
    COL_IMPL,
    COL_DTYPE,
    COL_THREADS,
    COL_GEMM_N,
    COL_GEMM_K,
    COL_HEADS,
    COL_KV_HEADS,
    COL_HEAD_DIM,
    COL_REGIME,
    COL_KEY_COUNT
};
#define COST_KEY_COLUMNS                                                                           \
    [COL_KERNEL] = { "kernel", true }, [COL_PHASE] = { "phase", false },                           \
    [COL_IMPL] = { "impl", false }, [COL_DTYPE] = { "dtype", false },                              \
    [COL_THREADS] = { "threads", true }, [COL_GEMM_N] = { "gemm_n", true },                        \
    [COL_GEMM_K] = { "gemm_k", true }, [COL_HEADS] = { "heads", false },                           \
    [COL_KV_HEADS] = { "kv_heads", false }, [COL_HEAD_DIM] = { "head_dim", false },                \
    [COL_REGIME] = { "regime", false }

/* Into key fields of row, with the defaults of traces/README.md and what each operator needs. */
bool cost_read_key(const struct csv *csv, struct arena *arena, struct cost_row *row,
                   struct err *err);
struct cost_key cost_key_of(const struct cost_row *row);
bool cost_uses_heads(enum op op); /* keyed by heads rather than by gemm_n and gemm_k */
int cost_key_compare(const struct cost_key *a, const struct cost_key *b);
enum cost_regime cost_regime_of(const struct cost_row *row);
/* First curve that is not below the key. */
int cost_first_curve(const struct cost_table *table, const struct cost_key *key);

/* Each reads a table to its end and closes it; csv NULL is an error that err holds already. */
struct csv *cost_open_kernels(struct arena *arena, const char *path, const char *text,
                              struct err *err);
bool cost_read_kernels(struct cost_table *table, struct arena *arena, struct csv *csv,
                       struct err *err);
struct csv *cost_open_interp(struct arena *arena, const char *path, const char *text,
                             struct err *err);
bool cost_read_interp(struct cost_table *table, struct arena *arena, struct csv *csv,
                      struct err *err);
bool cost_read_anchors(struct cost_table *table, struct arena *arena, const char *path,
                       struct err *err);
bool cost_read_roofline(struct cost_table *table, struct arena *arena, const char *path,
                        struct err *err);
/* is_folder: the table is of the folder's own type, which rows without a type belong to. */
bool cost_read_stages(struct cost_table *table, struct arena *arena, const char *path,
                      bool is_folder, struct err *err);
/* Curves from rows; finds rows that are there twice. path names kernels.csv. */
bool cost_build_curves(struct cost_table *table, struct arena *arena, const char *path,
                       struct err *err);
/* The same for rows of attn_mixed and sampler. */
bool cost_build_grids(struct cost_table *table, struct arena *arena, const char *path,
                      struct err *err);
/* Of a grid: its key without operator and phase; what it says of a step or of so many sequences;
 * and the tokens in the cache that its decodes were measured at (points NULL: how many), in no
 * order. */
struct cost_answer {
    double time_ps;  /* >= 0 */
    bool is_outside; /* of the measured range */
};
struct cost_key cost_grid_key(const struct cost_engine_row *row);
struct cost_answer cost_grid_answer(const struct cost_table *table, const struct cost_grid *grid,
                                    const struct cost_mixed *mixed);
struct cost_answer cost_grid_sampler(const struct cost_table *table, const struct cost_grid *grid,
                                     int32_t sequences);
int cost_grid_points(const struct cost_table *table, const struct cost_grid *grid, int32_t *points);
/* cost_lookup's second try: false when attn_mixed does not tell it either. */
bool cost_lookup_engine(const struct cost_table *table, const struct model_op *op, int threads,
                        int weight_bits, int64_t *time_ps, enum interp_origin *origin);

#endif
