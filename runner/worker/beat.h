/* beat.h - a worker's heartbeat: a thread with a socket of its own, so that a long kernel is not
 * taken for death. It also hears whether the coordinator still answers. */
#ifndef ORRERY_RUNNER_BEAT_H
#define ORRERY_RUNNER_BEAT_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct beat;
struct channel_hub;
struct err;

#define BEAT_EVERY_NS INT64_C(250000000)
#define BEAT_DEAD_NS INT64_C(2500000000)   /* the coordinator gives a silent worker up */
#define BEAT_ORPHAN_NS INT64_C(2500000000) /* a worker gives a silent coordinator up */

/* number: what the beats carry until beat_identify, as HELLO said. */
struct beat *beat_start(struct arena *arena, struct channel_hub *hub, const char *address,
                        int64_t number, struct err *err);
/* From now on the beats carry these: what SETUP said. */
void beat_identify(struct beat *beat, int64_t session, int32_t worker);
/* Told to the coordinator, which must not take a long compute for a lost message. */
void beat_set_busy(struct beat *beat, bool is_busy);
/* The coordinator has not answered for BEAT_ORPHAN_NS. */
bool beat_is_orphan(const struct beat *beat);
void beat_stop(struct beat *beat); /* NULL is allowed */

#endif
