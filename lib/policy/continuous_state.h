/* continuous_state.h - the inside of lib/policy/continuous*.c. */
#ifndef ORRERY_POLICY_CONTINUOUS_STATE_H
#define ORRERY_POLICY_CONTINUOUS_STATE_H

#include "lib/policy/blocks.h"
#include "lib/policy/continuous.h"

struct request { /* 64 bytes: an overloaded instance has millions waiting */
    int64_t tag;
    int32_t prompt, end; /* tokens; end: prompt and output */
    int32_t reached;     /* tokens that exist: those still to compute are reached - computed */
    int32_t computed;    /* in the cache */
    int32_t block_count; /* held */
    int32_t room;        /* tokens that they hold */
    int32_t named;       /* of its blocks, how many need no name any more */
    int32_t next;        /* in the queue, or free record */
    int32_t table;       /* of its blocks, while it runs with a prefix cache */
    bool is_decoding;    /* has caught up: one token a step */
    bool has_run;
};

struct block_table { /* with a prefix cache: which blocks a running request holds */
    int32_t *blocks;
    int32_t room;
};

struct continuous {
    struct arena *arena;
    struct continuous_options options;
    int block_shift; /* log2 of block_tokens, -1 = it is no power of two */
    struct request *requests;
    int32_t request_count, request_room, first_free;
    int32_t *running; /* in order of admission */
    int32_t running_count;
    int32_t catching_up; /* of them, how many are not decoding */
    int32_t waiting_head, waiting_tail, waiting_count;
    int32_t free_blocks;        /* without a prefix cache: numbers alone */
    struct blocks *blocks;      /* with one; else NULL */
    struct block_table *tables; /* max_seqs; those not in use are listed: */
    int32_t *free_tables;
    int32_t free_table_count;
    int32_t *phase_heads, *phase_next; /* scratch of continuous_advance */
    int64_t work_tokens;
    struct continuous_entry *entries;
    int64_t *firsts, *finished;
    struct continuous_batch batch;
    struct continuous_ends ends;
    struct continuous_counts counts;
};

#define NO_REQUEST (-1)

/* Blocks that so many tokens fill or begin. Sums of tokens of a request fit 32 bits. */
static inline int32_t continuous_blocks(const struct continuous *c, int32_t tokens)
{
    uint32_t up = (uint32_t)tokens + (uint32_t)c->options.block_tokens - 1;

    return (int32_t)(c->block_shift >= 0 ? up >> c->block_shift
                                         : up / (uint32_t)c->options.block_tokens);
}

static inline int32_t continuous_free(const struct continuous *c)
{
    return c->blocks ? blocks_free(c->blocks) : c->free_blocks;
}

struct admission {  /* what admitting a request now would take */
    int32_t hits;   /* of its first blocks that are in the cache */
    int32_t tokens; /* computed at once */
    int32_t blocks; /* taken from the free ones, beside the hits */
};
/* False when it has to wait. budget: tokens that are left of the step. The hits stand in the block
 * table that it would get. */
bool continuous_plan_admission(struct continuous *c, const struct request *request, int32_t budget,
                               struct admission *admission);
/* With a prefix cache: names the blocks that are whole with `tokens` more. */
void continuous_name(struct continuous *c, struct request *request, int32_t tokens);
void continuous_take(struct continuous *c, struct request *request, int32_t count);
/* Removes what has come to its end from running and fills ends. */
void continuous_finish(struct continuous *c);

#endif
