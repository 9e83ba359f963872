/* engine.h - simulated time and the order of events; knows nothing of devices or models.
 *
 * A winner tree over slots: whoever can have an event pending (a device, a route of the network)
 * owns one slot, and a slot holds at most one event. Order is total: time, then class (completions,
 * then link arrivals, then exogenous arrivals), then slot, then the order of setting. Arrivals from
 * outside are a stream that the caller merges in with engine_advance: they never enter the tree. */
#ifndef ORRERY_SIM_ENGINE_ENGINE_H
#define ORRERY_SIM_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct engine;

/* Ties at one instant are broken by meaning: what ends comes before what begins. */
enum engine_class { ENGINE_COMPLETION, ENGINE_LINK_ARRIVAL, ENGINE_EXOGENOUS };

#define ENGINE_NEVER INT64_MAX
#define ENGINE_LAST_PS (INT64_MAX - 1)
#define ENGINE_MAX_SLOTS (1 << 24)

/* Time starts at 0. slot_count >= 1. */
struct engine *engine_create(struct arena *arena, int slot_count);
/* Plans the slot's event, in place of the one it had. A time before engine_now_ps is a programming
 * error (assert); the present instant is allowed. */
void engine_set(struct engine *engine, int slot, int64_t time_ps, enum engine_class class);
/* Cancels the slot's event, if it has one. */
void engine_clear(struct engine *engine, int slot);
/* Takes the first event: time moves to it and its slot is empty again. -1 when none is pending. */
int engine_next(struct engine *engine);
/* Instant of the first event, or ENGINE_NEVER. */
int64_t engine_peek_ps(const struct engine *engine);
/* Moves time to an instant that lies neither in the past nor after the first event, and counts one
 * event: an exogenous arrival. */
void engine_advance(struct engine *engine, int64_t time_ps);
int64_t engine_now_ps(const struct engine *engine);
/* instant + duration, both >= 0, at most ENGINE_LAST_PS: a run that gets there is beyond what can
 * be simulated, and its owner stops it. */
int64_t engine_after_ps(int64_t instant_ps, int64_t duration_ps);
/* Events taken so far, exogenous ones included. */
int64_t engine_event_count(const struct engine *engine);

#endif
