/* share.h - what messages took of links and of the time of requests, split into the sender's cost
 * of a message, latency and bytes. */
#ifndef ORRERY_SIM_NETWORK_SHARE_H
#define ORRERY_SIM_NETWORK_SHARE_H

#include <stdint.h>

struct arena;
struct cluster;
struct network;

/* Sums in ps, of messages each as if it were alone, at the rates before the first event: what they
 * waited for one another is no part of it. */
struct share {
    int64_t message_count;
    double per_message_ps, latency_ps, bytes_ps;
};

struct shares {
    struct share *links;   /* what was sent over each; latency is no occupation */
    struct share *media;   /* of the cluster: what requests passed, see network_carry */
    struct share *devices; /* of the cluster: what each sent, over the first medium of its way */
};

/* Of all that was sent so far. */
struct shares share_out(const struct network *network, const struct cluster *cluster,
                        struct arena *arena);

#endif
