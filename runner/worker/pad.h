/* pad.h - makes a fast machine behave as a slower device: every step lasts as long as the device's
 * cost table says, times a ratio.
 *
 * Padding to an absolute deadline keeps its length under contention, which a quota or a pause after
 * the compute does not. */
#ifndef ORRERY_RUNNER_PAD_H
#define ORRERY_RUNNER_PAD_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct frame_entry;
struct pad;
struct setup;

struct pad *pad_create(struct arena *arena, const struct setup *setup, struct err *err);
/* Stages of more are numbered behind those of pad. */
void pad_append(struct pad *pad, struct pad *more);
void pad_drop_last(struct pad *pad);
/* What this step of stage `index` of the setup takes on the padded device: ratio x its price. */
bool pad_price(struct pad *pad, int index, int32_t new_tokens, int32_t past_tokens,
               int64_t *price_ps, struct err *err);
/* The same for a batch, of those of its entries that compute. */
bool pad_price_batch(struct pad *pad, int index, const struct frame_entry *entries, int count,
                     int64_t *price_ps, struct err *err);
/* Of a stage on several devices: a piece of its pass (setup_compile), by its number. */
bool pad_price_piece(struct pad *pad, int index, int32_t piece, int32_t new_tokens,
                     int32_t past_tokens, int64_t *price_ps, struct err *err);
/* The same for a batch: new tokens of each of its requests, padding aside, on so many. */
bool pad_price_piece_batch(struct pad *pad, int index, int32_t piece, const int32_t *counts,
                           const int32_t *past, int32_t count, int64_t *price_ps, struct err *err);
/* Whether a step of the stage has a price: of a stage on several devices all that is this one's. */
bool pad_check(struct pad *pad, int index, int32_t new_tokens, int32_t past_tokens,
               struct err *err);

#endif
