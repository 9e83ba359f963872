/* handover.h - KV caches that go from the stages that compute prompts to those that decode behind
 * them.
 *
 * The coordinator says when (MOVE). A device then sends what it has of the prompt's caches, in
 * pieces (CACHE) of at most 1 MiB where one head is not longer, to the devices that will read it;
 * what it reads itself it copies, piece by piece as well. A message is what goes from one stage and
 * device to another; when all of one has come, its receiver tells the coordinator (MOVED). The
 * first decode step of a request waits in front of each stage until the caches of all devices of
 * the stage are there; later ones find them there. Pieces go before the next step is begun, and
 * while a padded one waits. */
#ifndef ORRERY_RUNNER_HANDOVER_H
#define ORRERY_RUNNER_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

struct channel_message;
struct err;
struct handover;
struct setup_model;
struct worker;

#define HANDOVER_TURN_NS INT64_C(2000000) /* between two looks at what comes in */

/* Stages of the setup from first_stage on are there, with their shard. Sets worker->handover. */
void handover_hold_stages(struct worker *worker, int first_stage);
/* The largest message, of any stage of the model. */
int64_t handover_message_bytes(const struct setup_model *model);
/* A MOVE. */
bool handover_ask(struct worker *worker, const struct channel_message *message, struct err *err);
/* A job whose message is a CACHE or a MOVED. False: it is not of this worker's stages, and stays
 * the caller's. */
bool handover_receive(struct worker *worker, int32_t job);
/* A STEP whose caches are on their way is kept until they have come, then it is pushed; of a
 * request that has ended it is dropped. False: it is the caller's. */
bool handover_holds(struct worker *worker, int32_t job);
/* A request has ended. */
void handover_release(struct worker *worker, int64_t request);
/* The replica of the stage begins anew. */
void handover_reset(struct worker *worker, int stage);
/* Sends and takes what there is, at most until then. */
bool handover_advance(struct worker *worker, int64_t until_ns, struct err *err);
/* It could go on at once. */
bool handover_is_busy(const struct worker *worker);
/* Drops all messages. */
void handover_close(struct worker *worker);

#endif
