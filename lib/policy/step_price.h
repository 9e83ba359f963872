/* step_price.h - what a step of continuous batching costs a stage on one device, or what one device
 * of a sliced stage computes in one go (pass.h).
 *
 * Every operator of the stage's slices is looked up once for all tokens of the step; the LM head
 * and, of a decoder, the choice of a token work on the last token of each sequence. Attention is
 * one look-up of attn_mixed where the table has it. Else it is the sum of the chunks, each for
 * itself, and of the decodes at their mean length.
 *
 * Steps of decodes alone lie on straight lines over the mean number of tokens in their caches, in
 * whole tokens, rounded down: lines of whole picoseconds between measured points, so that many
 * steps have an exact sum. Sums over operators are exact integers; the speed ratio is applied to
 * them. Costs are remembered: a long run looks each size up once.
 *
 * kappa, where it is asked for, is that of the anchor of a decode nearest to a step of decodes
 * alone, and of the anchor of a prefill nearest to all tokens of a step with any part of a prompt:
 * what both have in such a step are the products over all its tokens, which are what a prefill's
 * are. */
#ifndef ORRERY_POLICY_STEP_PRICE_H
#define ORRERY_POLICY_STEP_PRICE_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct continuous_batch;
struct cost_table;
struct err;
struct model;
struct pass_piece;
struct overheads;
struct plan_stage;
struct step_price;

#define STEP_PRICE_MAX_TOKENS (1 << 24) /* of a step */

struct step_price_of {
    const struct plan_stage *stage;
    const struct pass_piece *piece; /* of the stage; NULL = all of it */
    const struct model *model;      /* the whole one */
    const struct cost_table *table;
    int threads; /* 0: the table's only count, else 1 */
    double speed_ratio;
    /* Counts steps that no anchor tells the kappa of; NULL: sums are not multiplied by any. */
    int64_t *without_kappa;
    uint32_t *extrapolated_ops; /* grows by the kernels (op_set_of) of which some cost lies outside
                                   the measured range; NULL: nobody asks */
    const struct overheads *overheads; /* of steps of a stage, not of pieces; NULL = none */
    int32_t max_seqs, token_budget;    /* of a step; budget up to STEP_PRICE_MAX_TOKENS */
};

struct step_line { /* decodes of one number: steps at `from` to `to` mean tokens, both included */
    int32_t from, to;
    int64_t base_ps;      /* at `from` */
    int64_t slope_ps;     /* for each token */
    int32_t extrapolated; /* operators whose cost lies outside the measured range */
};

struct step_price *step_price_create(struct arena *arena, const struct step_price_of *of);
/* A step of any kind. *extrapolated: as of step_line. */
bool step_price_batch(struct step_price *price, const struct continuous_batch *batch,
                      int64_t *time_ps, int32_t *extrapolated, struct err *err);
/* The line that a step of so many decodes lies on; NULL on an error. Lives as long as price. */
const struct step_line *step_price_line(struct step_price *price, int32_t decodes,
                                        int64_t mean_past_tokens, struct err *err);

static inline int64_t step_line_ps(const struct step_line *line, int64_t mean_past_tokens)
{
    return line->base_ps + line->slope_ps * (mean_past_tokens - line->from);
}

#endif
