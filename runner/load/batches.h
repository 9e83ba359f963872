/* batches.h - continuous batches of a run: lib/policy plans them, as it does for the simulator;
 * here they are sent, and their tokens come back.
 *
 * As many batches of a replica are under way as it has stages. Whenever there are fewer, the next
 * is planned from requests that are in none of them. Who is preempted loses its caches by an entry
 * of the next batch, so that every stage learns of it in order. */
#ifndef ORRERY_RUNNER_BATCHES_H
#define ORRERY_RUNNER_BATCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batches;
struct channel_message;
struct err;
struct plan_stage;
struct serve;

/* NULL with an error when a replica cannot batch as --batch says. */
struct batches *batches_create(struct serve *serve, struct err *err);
/* Of replicas that an update has brought. */
bool batches_add_replicas(struct batches *batches, struct err *err);
/* Whether the request could be computed alone, and what is still to be computed: for dispatch. */
bool batches_fit(const struct batches *batches, int32_t replica, size_t request);
int64_t batches_work_tokens(const struct batches *batches, int32_t replica);
/* A request that has been dispatched waits there. */
void batches_join(struct batches *batches, size_t request);
/* Plans and sends what can be, for all replicas that are up. */
bool batches_advance(struct batches *batches, struct err *err);
/* Some are planned and cannot be sent yet to this worker. */
bool batches_wait_for(const struct batches *batches, int worker);
/* A RESULT or RECORD of a batch, from the worker at that position of the stage. */
void batches_result(struct batches *batches, const struct plan_stage *stage,
                    const struct channel_message *message, int64_t send_ps);
void batches_record(struct batches *batches, const struct plan_stage *stage, int32_t position,
                    const struct channel_message *message);
/* A device of a decode stage has all caches of the request, whose prompt others have computed. */
void batches_moved(struct batches *batches, size_t request);
/* Nobody computes there any more; its requests have ended or will. */
void batches_lose(struct batches *batches, int32_t replica);

#endif
