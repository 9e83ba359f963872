/* setup.h - the texts that coordinator and workers exchange before a run, as JSON.
 *
 * A worker believes nothing: every number is checked against a bound before memory depends on it.
 * Message flow: runner/README.md. */
#ifndef ORRERY_RUNNER_SETUP_H
#define ORRERY_RUNNER_SETUP_H

#include "lib/format/model.h"
#include "lib/policy/collective.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct json;
struct json_writer;
struct pass;
struct pass_owners;

#define SETUP_COORDINATOR (-1)
#define SETUP_MAX_TEXT_BYTES (INT64_C(64) << 20)
/* Of a step: a batch may name as many requests again that lose their caches. */
#define SETUP_MAX_SEQS (FRAME_MAX_ENTRIES / 2)
#define SETUP_MAX_COPIES (1 << 14) /* of a stage: as many as a setup may name */

struct setup_model {
    struct model model;       /* its name is information only */
    int32_t max_tokens;       /* most new tokens of one step in this workload */
    int32_t max_seqs;         /* most requests of one step */
    int32_t max_total_tokens; /* longest prompt + output */
};

struct setup_slice { /* of a stage on several devices: as plan_slice, but for the device */
    unsigned blocks;
    int32_t layer_first, layer_last; /* -1, -1: embed, lm_head */
    int32_t position;                /* of its device in the stage */
    int32_t part_first, part_last, part_of;
    bool is_implied;
};

struct setup_next {        /* a copy of the stage that follows */
    int32_t stage, worker; /* its first worker */
};

struct setup_move { /* KV caches of prompts that a decode stage will read */
    int32_t to_stage, to_worker;
    int32_t layer_first, layer_last, head_first, head_count; /* of the whole model */
};

/* Which steps of a request pass a stage. */
enum setup_phase { SETUP_BOTH, SETUP_PROMPTS, SETUP_DECODING, SETUP_PHASE_COUNT };
#define SETUP_NOBODY (-1)

struct setup_stage {                  /* one stage that the worker executes */
    int32_t id;                       /* in the plan: what STEP frames name */
    int32_t model;                    /* index into setup.models */
    int32_t layer_first, layer_count; /* layer_count 0: embed or lm_head alone */
    bool has_embed, has_lm_head;
    bool is_last; /* sends RESULT to the coordinator; else STEP to the next stage */
    /* bits of a value that it sends, and that it receives; 0 = as it is; and what that takes */
    int32_t wire_bits, wire_bits_in, encode_value_ps, decode_value_ps;
    /* steps that may be on their way to this stage, or wait for it: it grants them to whom they
     * come from; 0 = no bound. next_depth: of the next stage */
    int32_t depth, next_depth;
    int32_t previous_worker; /* SETUP_COORDINATOR: stage 0, or one that several copies send to */
    /* Fixed batches of so many requests at most, padded; 1: none. Stage 0 makes them: the oldest
     * waits so long for others, and of a decoder so many are under way at most (0: any number) */
    int32_t batch_size, batch_limit;
    bool has_batches;    /* its steps are batches, fixed or continuous ones */
    int32_t cache_count; /* requests for whose KV caches there must be memory */
    int64_t batch_wait_ps;
    int32_t generation; /* how often its replica has been lost */
    /* The copies of the stage that follows; none of the last. A way passes that whose index is the
     * remainder of way / next_divisor. asks: there are other copies of this stage, and room in the
     * bounded queue of the next one is the coordinator's to give; copy: this one's index. */
    int32_t next_count, copy;
    struct setup_next *nexts;
    int64_t next_divisor;
    bool asks;
    enum setup_phase phase;
    int move_count; /* of prompts: what goes where, the parts of a message behind each other */
    struct setup_move *moves;
    /* of decoding: id of the stage of prompts here whose rows are of both phases, so that weights
     * are there once; SETUP_NOBODY */
    int32_t twin;
    /* of a stage on several devices, or one that begins or ends inside a layer; 0: whole layers on
     * this worker alone */
    int32_t position_count, position;
    int32_t *workers; /* by position */
    int slice_count;
    struct setup_slice *slices;
};

struct setup {
    int32_t worker;       /* its number, in BEAT frames */
    int64_t session;      /* of the run, so that a leftover of another run is not taken for alive */
    uint64_t seed;        /* of the synthetic weights */
    int32_t threads;      /* of the BLAS */
    int32_t kv_slots;     /* caches to prepare before the run */
    int64_t memory_bytes; /* that the worker may use in all; 0 = it asks its own machine */
    enum collective_algorithm collective;
    bool has_clamp;       /* values that are sent in few bits are clamped first (codec.h) */
    bool tells_exchanges; /* RECORD frames say when each message of an exchange came */
    const char *bind;     /* data address; "" = a free port on the way to the coordinator */
    double pad_ratio;     /* 0 = no padding */
    const char *pad_type, *pad_kernels, *pad_interp; /* cost table as text; interp "" = none */
    int model_count;
    struct setup_model *models;
    int stage_count;
    struct setup_stage *stages;
};

struct setup_peer { /* where a worker listens that this one sends to */
    int32_t worker;
    const char *endpoint;
};

/* ---- stages on several devices, or of parts of layers (setup_slices.c) ---- */

struct setup_border {         /* what of a token crosses it: f32 values */
    int32_t output, residual; /* residual 0: the hidden state alone */
    bool is_heads;            /* output is of attention, else of the FFN's first half */
};
/* In front of the stage, and behind it. */
struct setup_border setup_border_in(const struct setup_stage *stage, const struct model *model);
struct setup_border setup_border_out(const struct setup_stage *stage, const struct model *model);

/* The positions of the stage that keep KV caches, 1 of a whole stage with layers; into positions,
 * where there is room for all. */
int32_t setup_cache_positions(const struct setup_stage *stage, const struct model *model,
                              int32_t *positions);
/* Every part of every block exactly once, as the stage says what it has. */
bool setup_check_slices(struct arena *arena, const struct setup_stage *stage,
                        const struct model *model, struct err *err);
/* Who has which parts of a layer, or, with layer -1, of embed and lm_head. */
void setup_owners(struct arena *arena, const struct setup_stage *stage, const struct model *model,
                  int32_t layer, struct pass_owners *owners);
/* What the stage computes where, and sends to whom. Its pieces are numbered from next_id on. */
const struct pass *setup_compile(struct arena *arena, const struct setup *setup, int index,
                                 int32_t *next_id);

/* ---- copies of the next stage (setup_next.c) ---- */

void setup_put_nexts(struct arena *arena, struct json_writer *json,
                     const struct setup_stage *stage);
bool setup_get_nexts(struct arena *arena, const struct json *object, struct setup_stage *stage,
                     struct err *err);
/* Which of them a step goes to. Not of the last stage. */
int setup_next_index(const struct setup_stage *stage, int64_t way);

/* Texts live in the arena. */
const char *setup_encode(struct arena *arena, const struct setup *setup);
struct setup *setup_decode(struct arena *arena, const unsigned char *text, size_t length_bytes,
                           struct err *err);

/* number: the worker's own choice, what its beats carry until SETUP gives it the run's session. */
const char *setup_encode_hello(struct arena *arena, const char *device, int64_t number);
/* False also when the worker is of another version. */
bool setup_decode_hello(struct arena *arena, const unsigned char *text, size_t length_bytes,
                        const char **device, int64_t *number, struct err *err);

struct setup_ready {
    const char *endpoint;
    const char *machine, *blas_core; /* one line each: what the times are those of */
    int64_t weight_bytes;
};
const char *setup_encode_ready(struct arena *arena, const struct setup_ready *ready);
bool setup_decode_ready(struct arena *arena, const unsigned char *text, size_t length_bytes,
                        struct setup_ready *ready, struct err *err);

/* A placement that a run is to go on with: the file and its name. */
#define SETUP_MAX_UPDATE_BYTES (INT64_C(1) << 20)
const char *setup_encode_update(struct arena *arena, const char *path, const char *text);
bool setup_decode_update(struct arena *arena, const unsigned char *text, size_t length_bytes,
                         const char **path, const char **placement, struct err *err);

struct setup_answer { /* to an update, of a worker or of the coordinator */
    bool is_taken;
    const char *line;     /* why not; of the coordinator also what has been done */
    int64_t weight_bytes; /* of a worker: what it has loaded */
};
const char *setup_encode_answer(struct arena *arena, const struct setup_answer *answer);
bool setup_decode_answer(struct arena *arena, const unsigned char *text, size_t length_bytes,
                         struct setup_answer *answer, struct err *err);

const char *setup_encode_peers(struct arena *arena, const struct setup_peer *peers, int count);
bool setup_decode_peers(struct arena *arena, const unsigned char *text, size_t length_bytes,
                        struct setup_peer **peers, int *count, struct err *err);

#endif
