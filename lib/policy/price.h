/* price.h - what a step of a stage costs: the stage's slices, summed over measured operators.
 *
 * Used by the simulator for every step and by a worker for deadline padding. Sums are exact
 * integers; decode steps are remembered, so a long run looks each context length up once, whatever
 * the speeds of its devices are meanwhile. */
#ifndef ORRERY_POLICY_PRICE_H
#define ORRERY_POLICY_PRICE_H

#include <stdbool.h>
#include <stdint.h>

/* Behind the block of a row that is missing: its costs are not those of whole layers. */
#define PRICE_OF_SLICED " of a sliced stage; orrery-profile run --slices N measures one of N parts"

struct arena;
struct cost_table;
struct err;
struct model;
struct pass_piece;
struct plan;
struct plan_stage;
struct overheads;
struct price;
struct price_book;

struct price *price_create(struct arena *arena);

/* Time of one step of a stage for one sequence: new_tokens tokens on top of past_tokens in the
 * cache, on a device with the given table, threads (0: the table's only count, else 1) and
 * speed_ratio, with the coding of what it sends and receives in few
 * bits (plan_stage.encode_value_ps). *extrapolated counts the operators whose cost lies outside the
 * measured range. */
bool price_step(struct price *price, const struct plan_stage *stage, const struct model *model,
                const struct cost_table *table, int threads, double speed_ratio, int32_t new_tokens,
                int32_t past_tokens, int64_t *time_ps, int *extrapolated, struct err *err);

/* The same for batch sequences at once, each with as many tokens: every operator is called once, on
 * the rows of all. batch >= 1; batch x new_tokens beyond INT32_MAX is an error. */
bool price_batch(struct price *price, const struct plan_stage *stage, const struct model *model,
                 const struct cost_table *table, int threads, double speed_ratio, int32_t batch,
                 int32_t new_tokens, int32_t past_tokens, int64_t *time_ps, int *extrapolated,
                 struct err *err);

/* The same for what one device of a stage computes in one go (pass.h); model is the whole one. Its
 * id must be that of no stage, and of no other piece. A device whose range of the sequence holds no
 * token of the step takes no time. *extrapolated may grow; errors name the layer. */
bool price_piece(struct price *price, const struct pass_piece *piece, const struct model *model,
                 const struct cost_table *table, int threads, double speed_ratio,
                 int32_t new_tokens, int32_t past_tokens, int64_t *time_ps, int *extrapolated,
                 struct err *err);

/* The same for batch sequences at once, each with as many tokens. Parts of the sequence are parts
 * of the rows of all. */
bool price_piece_batch(struct price *price, const struct pass_piece *piece,
                       const struct model *model, const struct cost_table *table, int threads,
                       double speed_ratio, int32_t batch, int32_t new_tokens, int32_t past_tokens,
                       int64_t *time_ps, int *extrapolated, struct err *err);

/* From now on sums are multiplied by the kappa of the anchor nearest to the step (cost_kappa); a
 * step of a model and phase without an anchor is counted and keeps its sum. Before the first
 * price_step. */
void price_use_kappa(struct price *price);
/* From now on a step of a stage, but not a piece, takes longer by what the row `step` says
 * (overhead_step_ps). They stay the caller's. */
void price_use_overheads(struct price *price, const struct overheads *overheads);
/* From now on sums are remembered in the book (price_book.h), beyond this run; without effect with
 * kappa, whose steps are counted in each run. A stage then has one table and threads. */
void price_use_book(struct price *price, struct price_book *book);
/* Steps with different sizes that kappa was wanted for and no anchor told. */
int64_t price_without_kappa(const struct price *price);

/* The operators (op_set_of) of which some cost lay outside the measured range. */
uint32_t price_extrapolated_ops(const struct price *price);

/* time / speed_ratio, rounded: the one place where a speed ratio is applied. */
int64_t price_scale(int64_t time_ps, double speed_ratio);

#endif
