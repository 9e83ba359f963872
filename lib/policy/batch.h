/* batch.h - the queue of a device and what leaves it next. One code for simulator and worker.
 *
 * `none` (FIFO): jobs leave one at a time, in the order in which they became ready, whatever their
 * stage or request. A job is an opaque number of the caller's. */
#ifndef ORRERY_POLICY_BATCH_H
#define ORRERY_POLICY_BATCH_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct batch_queue;

enum batch_kind { BATCH_NONE, BATCH_KIND_COUNT };
extern const char *const batch_names[BATCH_KIND_COUNT];

struct batch_queue *batch_queue_create(struct arena *arena, enum batch_kind kind);
void batch_push(struct batch_queue *queue, int32_t job);
/* The job that would leave next, without taking it; -1 when empty. */
int32_t batch_peek(const struct batch_queue *queue);
int32_t batch_take(struct batch_queue *queue);
int64_t batch_length(const struct batch_queue *queue);
/* Removes every job for which gone(arg, job) is true, keeping the order of the rest. */
void batch_remove(struct batch_queue *queue, bool (*gone)(void *arg, int32_t job), void *arg);

#endif
