/* pass.h - one step of a stage on several devices: who computes what, and what they send each
 * other.
 *
 * Compiled from the slices of the stage (plan.h). Communication is derived, nobody writes it down:
 * where a block needs something in another shape than the block before it has left it, one of the
 * operations below stands between them.
 *
 *   left as            needed as                     stands between
 *   copies on F        copies on G                   nothing if G is within F; send to one;
 * broadcast copies on F        parts of the sequence, heads  scatter to those that have no copy
 *   parts of sequence  a copy on one device          gather
 *   parts of sequence  copies on G                   all-gather; if others have parts as well,
 * gather and broadcast parts of heads     other parts of heads          exchange: each device sends
 * each other one what or columns                                       that one lacks; gather to
 * one, scatter from one sums on P          a copy on one device          reduce; a send if P is
 * another single device sums on P          copies on the same devices    all-reduce; else reduce
 * and broadcast sums on P          parts of the sequence         reduce-scatter; if others need
 * them as well, reduce and scatter
 *
 * A projection or an FFN whose parts lie on several devices leaves sums: each device has a term of
 * every value. Parts of attention and of the FFN's first half leave heads and columns.
 *
 * Norms and residual additions (conn) run where rows say, split along the sequence if they say so.
 * Where no row says, they run on the first device of the block after them. If the pass is compiled
 * for all-reduces (ring), and the devices that hold the sums are those of the block after, each of
 * them runs them for itself instead, as Megatron-LM does (Shoeybi et al., 2019): an all-reduce
 * leaves the sum on all. The activation comes to the first device of the stage, and leaves it from
 * there. A divided output matrix finds the best token of each part; 8 bytes of each, a number and
 * its value, come to its first device. Every device with a part of it takes the final norm itself.
 * Where the sequence is cut, the last token (an encoder's first) is with the last part of it (the
 * first). Of a batch the last tokens lie all over the parts: then all of the hidden state comes to
 * the first device of the output matrix, which sends the others the last row of each sequence.
 *
 * Alike layers are compiled once and repeated. */
#ifndef ORRERY_POLICY_PASS_H
#define ORRERY_POLICY_PASS_H

#include "lib/format/model.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct plan_stage;

#define PASS_MAX_DEVICES 128 /* of a stage */

/* What an operation moves. Prices do not ask; a runner keeps one buffer for each. */
enum pass_content {
    PASS_NOTHING,
    PASS_TOKENS,   /* ids of the step */
    PASS_RESIDUAL, /* the hidden state; of an encoder with its norm */
    PASS_INPUT,    /* of attention or FFN: the hidden state behind a norm */
    PASS_HEADS,    /* what attention has made */
    PASS_COLUMNS,  /* what the FFN's first half has made */
    PASS_TERMS,    /* what is to be added to the hidden state, in one term or several */
    PASS_BEST,     /* of each part of the output matrix */
    PASS_TOKEN,    /* of all of them */
};

enum pass_kind {
    PASS_COMPUTE,
    PASS_SEND,      /* of the vector, from the root to the other of two members */
    PASS_BROADCAST, /* of the vector, from the root to all */
    PASS_SCATTER,   /* of each member's part, from the root */
    PASS_GATHER,    /* of each member's part, to the root */
    PASS_REDUCE,    /* of all vectors, added up, to the root */
    PASS_ALL_GATHER,
    PASS_REDUCE_SCATTER,
    PASS_ALL_REDUCE,
    PASS_EXCHANGE, /* messages between any members, all at once */
    PASS_KIND_COUNT
};
extern const char *const pass_kind_names[PASS_KIND_COUNT]; /* in words: "all-reduce" */

/* Of the sequence: tokens of T from T first / of to T end / of, rounded down, so that the last part
 * has the last token; of an encoder, whose first token the output matrix works on, rounded up. */
struct pass_range {
    int64_t first, end, of;
    bool rounds_up;
};

/* What is run of a model's block. Blocks but conn are run whole; of conn so many norms and
 * additions. */
struct pass_term {
    const struct model *model; /* with the heads, columns and rows of this device alone */
    enum model_block block;
    int32_t norms, adds;
    int32_t norm, norm_layer; /* which norm: the first (1) or second (2) of that layer */
    int64_t row_ps; /* for each row: to code or restore what crosses the borders of the stage in
                     * fewer bits */
    int32_t layer;  /* the first that it is of, for messages; -1 = none */
};

#define PASS_MAX_TERMS 8
struct pass_piece {   /* what one device computes in one go */
    int32_t position; /* of the device in the stage */
    int32_t id;       /* its own, from pass_options.next_id on */
    struct pass_range range;
    int32_t term_count;
    struct pass_term terms[PASS_MAX_TERMS];
};

struct pass_span { /* of each row: bytes */
    int64_t first, end;
};

struct pass_member { /* a device that takes part in an operation, and its part */
    int32_t position;
    int64_t row_bytes; /* a row of its part */
    struct pass_range range;
    int32_t first_span, span_count; /* what of a row; of heads and columns alone */
};

struct pass_message { /* of an exchange */
    int32_t from, to; /* members */
    int64_t row_bytes;
    int32_t first_span, span_count;
};

struct pass_step {
    enum pass_kind kind;
    enum pass_content content, also; /* also: a second vector in the same message */
    bool is_last_row; /* one row alone: the last token, an encoder's first; else a row a new token
                       */
    int32_t first, count; /* pieces of a compute, members of everything else */
    int32_t root;         /* member */
    int64_t row_bytes;    /* of the vector */
    int32_t first_message, message_count;
};

struct pass_segment { /* steps that are run `repeats` times */
    int32_t first_step, step_count, repeats;
};

struct pass {
    int32_t segment_count, step_count, piece_count, member_count, message_count, span_count;
    struct pass_segment *segments;
    struct pass_step *steps;
    struct pass_piece *pieces;
    struct pass_member *members; /* of an operation in order of the stage's devices */
    struct pass_message *messages;
    struct pass_span *spans;
};

struct pass_options {
    bool has_all_reduce; /* see above */
    bool has_batches;    /* a step is of several sequences, or may be */
    int32_t next_id;     /* moves on by pass.piece_count */
};

/* The stage stands on several devices. Everything lives in the arena. */
const struct pass *pass_compile(struct arena *arena, const struct plan_stage *stage,
                                const struct model *model, struct pass_options *options);

/* Tokens of a step that lie before the range, and in it. */
int32_t pass_range_before(const struct pass_range *range, int32_t tokens);
int32_t pass_range_tokens(const struct pass_range *range, int32_t tokens);
/* Bytes of a member's part, and of the vector, in a step of so many new tokens. */
int64_t pass_part_bytes(const struct pass_step *step, const struct pass_member *member,
                        int32_t tokens);
int64_t pass_vector_bytes(const struct pass_step *step, int32_t tokens);
int64_t pass_message_bytes(const struct pass_step *step, const struct pass_message *message,
                           int32_t tokens);

#endif
