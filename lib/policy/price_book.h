/* price_book.h - what steps cost, remembered over runs: for those who simulate many placements on
 * the same devices.
 *
 * A price (price.h) knows the stages of one plan. A book knows shapes: so many layers and ends of a
 * model on a device with some table and threads; stages of any plan that are alike have one. It
 * holds sums of measured operators at full speed, which no run changes, so that what is answered
 * does not depend on who asked before. Cost tables outlive it. */
#ifndef ORRERY_POLICY_PRICE_BOOK_H
#define ORRERY_POLICY_PRICE_BOOK_H

#include "lib/format/model.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cost_table;
struct err;
struct plan_counts;
struct price_book;

struct price_cost {       /* of a step of a shape, of a block of one layer */
    int64_t time_ps;      /* at full speed */
    int32_t extrapolated; /* operators whose cost lies outside the measured range */
};

#define PRICE_ADD BLOCK_COUNT /* one addition of conn; BLOCK_CONN is one norm of it */

struct price_book *price_book_create(struct arena *arena);
/* Numbers of a model on a device, and of a shape. threads: as they are looked up. Models count by
 * their sizes, so that slices of one that were made anew are the same. */
int32_t price_book_owner(struct price_book *book, const struct model *model,
                         const struct cost_table *table, int threads);
int32_t price_book_shape(struct price_book *book, int32_t owner, const struct plan_counts *counts);

/* NULL on an error: an operator without rows, a sum beyond 106 days. Valid until the next call. */
const struct price_cost *price_book_step(struct price_book *book, int32_t shape, int32_t batch,
                                         int32_t new_tokens, int32_t past_tokens, struct err *err);
const struct price_cost *price_book_block(struct price_book *book, int32_t owner,
                                          enum model_block block, int32_t batch, int32_t new_tokens,
                                          int32_t past_tokens, struct err *err);

/* time x times onto a sum; more than the calendar holds is an error. */
bool price_add_product(int64_t time_ps, int64_t times, int64_t *sum_ps, struct err *err);

#endif
