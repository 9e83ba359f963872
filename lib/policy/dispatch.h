/* dispatch.h - which replica of a service serves a request. One code for simulator and runner.
 *
 * least-idle: the replica whose stage-0 devices are free first (backlog), ties to the first in the
 * file. round-robin: in file order, a counter a service. least-outstanding: fewest unfinished
 * requests, ties to the first. random: uniform, from --seed. sticky: by hash of session, else
 * client, else request id, so that a conversation keeps its KV cache. least-last-stage: the replica
 * whose last stage is free first (the rule of AlpaServe's fast simulator), ties to the first.
 * Replicas that are down are never chosen. A choice costs O(replicas) and allocates nothing. */
#ifndef ORRERY_POLICY_DISPATCH_H
#define ORRERY_POLICY_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct dispatch;

enum dispatch_kind {
    DISPATCH_LEAST_IDLE,
    DISPATCH_ROUND_ROBIN,
    DISPATCH_LEAST_OUTSTANDING,
    DISPATCH_RANDOM,
    DISPATCH_STICKY,
    DISPATCH_LEAST_LAST_STAGE,
    DISPATCH_COUNT
};
extern const char *const dispatch_names[DISPATCH_COUNT]; /* as on the command line */

struct dispatch_replica { /* what the caller knows of a replica now */
    bool is_up;
    int64_t backlog_ps;  /* until its stage-0 devices are free; 0 when idle */
    int64_t outstanding; /* requests dispatched and not ended */
    /* Until the devices of its last stage are free of all that was dispatched to it. Read by
     * least-last-stage alone: others may leave it 0. */
    int64_t last_backlog_ps;
    /* Its number in the placement. Read by sticky alone: a conversation then keeps its replica when
     * others come, go, or change places in the file. */
    int32_t number;
};
struct dispatch_request {
    int64_t request_id;
    int32_t session, client; /* -1 = none */
};

/* True when the choice depends on nothing but the order of a service's requests (and what they
 * name), as long as all its replicas are up: round-robin, random, sticky. */
bool dispatch_is_static(enum dispatch_kind kind);

struct dispatch *dispatch_create(struct arena *arena, enum dispatch_kind kind, int service_count,
                                 uint64_t seed);
/* There are more services, behind those that it knows: these go on where they are. */
void dispatch_extend(struct dispatch *dispatch, struct arena *arena, int service_count);
/* Index into replicas[0..count), or -1 when none is up. */
int dispatch_choose(struct dispatch *dispatch, int32_t service,
                    const struct dispatch_request *request, const struct dispatch_replica *replicas,
                    int count);

#endif
