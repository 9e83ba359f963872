/* continuous_state.h - the inside of lib/policy/continuous*.c. */
#ifndef ORRERY_POLICY_CONTINUOUS_STATE_H
#define ORRERY_POLICY_CONTINUOUS_STATE_H

#include "lib/policy/blocks.h"
#include "lib/policy/continuous.h"

struct request { /* an overloaded instance has millions waiting */
    int64_t tag;
    int32_t prompt, end; /* tokens; end: prompt and output */
    int32_t reached;     /* tokens that exist: those still to compute are reached - computed */
    int32_t computed;    /* in the cache; while it is abreast less the clock, and what is told here
                            of reached and of blocks is not kept up */
    int32_t block_count; /* held */
    int32_t room;        /* tokens that they hold */
    int32_t named;       /* of its blocks, how many need no name any more */
    int32_t next;        /* in the queue, or free record */
    int32_t table;       /* of its blocks, while it runs with a prefix cache */
    bool is_decoding;    /* has caught up: one token a step */
    bool has_run;
    bool is_in_flight; /* in a step that is planned and not done, where there may be several; or
                          its cache is on the way */
    bool is_cached;    /* its prompt was computed elsewhere; until it is admitted */
    bool is_kept;      /* its blocks stay behind its end */
};

struct block_table { /* with a prefix cache: which blocks a running request holds */
    int32_t *blocks;
    int32_t room;
};

struct kept { /* of a request that has ended */
    int64_t tag;
    int32_t count;
    int32_t *blocks; /* with a prefix cache */
    int32_t room;
};

struct batch_in_flight {
    struct continuous_batch batch;
    struct continuous_entry *entries;
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
    int32_t abreast;                   /* of running, from the front: see continuous_abreast.c */
    int64_t clock;                     /* steps that they took */
    int64_t abreast_due;               /* by the clock: when the first of them ends */
    int64_t abreast_tokens;            /* sum of their `computed` */
    int32_t *phases;  /* by tokens in the last block at clock 0: how many; NULL = nobody is
                         ever abreast */
    int32_t *leaving; /* scratch, max_seqs */
    int32_t planned;  /* of them, in the planned step */
    int32_t listed;   /* of these, in its entries */
    int64_t work_tokens;
    struct continuous_entry *entries;
    int64_t *firsts, *finished;
    struct continuous_batch batch;
    struct batch_in_flight *in_flight; /* a ring of max_in_flight, where that is more than 1 */
    int32_t first_in_flight, in_flight_count;
    struct kept *kept; /* kept_count of them, then free ones */
    int32_t kept_count, kept_room;
    int64_t *fetches; /* of continuous_fetch: max_seqs */
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
/* Records and running requests leave their lists; what they hold goes back with continuous_release.
 */
void continuous_queue_head(struct continuous *c, int32_t index);
int32_t continuous_queue_take(struct continuous *c);
int32_t continuous_remove_running(struct continuous *c, int32_t at);
void continuous_release(struct continuous *c, struct request *request);
/* The same, but that its blocks stay held. */
void continuous_keep(struct continuous *c, struct request *request);
void continuous_reserve_table(struct continuous *c, struct block_table *table, int32_t count);

/* continuous_plan.c */
/* Plans those that run; tokens of the step that are left. */
int32_t continuous_plan_running(struct continuous *c);
/* And those that are admitted. */
void continuous_plan_waiting(struct continuous *c, int32_t budget);

/* Removes what has come to its end from running and fills ends. */
void continuous_finish(struct continuous *c);
/* One of them: no longer in the list. */
void continuous_remove(struct continuous *c, int32_t index);

/* continuous_abreast.c */
/* Whoever decodes is abreast; or nobody is. */
void continuous_line_up(struct continuous *c);
void continuous_scatter(struct continuous *c);
/* Blocks that those abreast begin in so many steps. */
int64_t continuous_abreast_blocks(const struct continuous *c, int32_t steps);
/* Removes those who have come to their end; returns how many were abreast before. */
int32_t continuous_abreast_finish(struct continuous *c);

#endif
