/* fixed.h - fixed batches of a run, as the coordinator sees them.
 *
 * Requests go to stage 0 one by one; its worker makes batches of them (runner/worker/batcher.h),
 * and their members come back with the result. Of a decoder those that have tokens left go on
 * together, as one step. */
#ifndef ORRERY_RUNNER_LOAD_FIXED_H
#define ORRERY_RUNNER_LOAD_FIXED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel_message;
struct err;
struct frame;
struct plan_stage;
struct serve;
struct serve_record;

void fixed_create(struct serve *serve); /* into serve->fixed */
/* Of stages that an update has brought. */
void fixed_extend(struct serve *serve);
/* The same of workers. */
void fixed_add_workers(struct serve *serve, int old_count);
/* Whether the replica makes batches. */
bool fixed_has(const struct serve *serve, int32_t replica);
/* Nothing has been sent to the stage 0, which has lost all. */
void fixed_lose(struct serve *serve, const struct plan_stage *stage);
/* So has its worker: who takes its place numbers batches anew. */
void fixed_renumber(struct serve *serve, const struct plan_stage *stage);
/* The first step of a request has been sent to its stage 0; and how many have been to that one,
 * since its worker came. */
void fixed_sent(struct serve *serve, size_t request);
int64_t fixed_sent_count(const struct serve *serve, size_t request);
/* Tells workers of the requests that results have ended, behind the steps of those that arrived at
 * that instant: they take part in the batch that the place goes to, as in the simulator. */
void fixed_release_ended(struct serve *serve);
/* A RESULT of a batch. */
void fixed_result(struct serve *serve, const struct plan_stage *stage,
                  const struct channel_message *message, int64_t send_ps);
/* A RECORD of one of its requests: what its batch adds to the record. False: it cannot be. */
bool fixed_record(struct serve *serve, const struct plan_stage *stage,
                  const struct channel_message *message, struct serve_record *record);
/* What the batch of a frame is called in the tables; -1: there can be none such. */
int64_t fixed_batch_id(const struct serve *serve, const struct plan_stage *stage,
                       const struct frame *frame);
/* Sends later steps to the worker, as far as it goes now; and whether some wait for that. */
bool fixed_flush(struct serve *serve, int worker, struct err *err);
bool fixed_waits_for(const struct serve *serve, int worker);

#endif
