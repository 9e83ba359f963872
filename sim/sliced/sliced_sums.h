/* sliced_sums.h - where the time of passes of sliced stages went: for results and reports. */
#ifndef ORRERY_SIM_SLICED_SLICED_SUMS_H
#define ORRERY_SIM_SLICED_SLICED_SUMS_H

#include <stdint.h>

struct sliced_sums { /* of passes */
    int64_t count, time_ps;
    /* What their time went by with, along the chain of what waited for what; sums up to time_ps.
     * Waiting for a link counts as what the waiting message is made of. */
    int64_t compute_ps, per_message_ps, bytes_ps, latency_ps;
    int64_t wait_ps; /* for devices that others used */
    int64_t messages, bytes;
};

struct sliced_stage { /* what all passes of a stage took */
    int32_t stage;    /* id in the plan */
    struct sliced_sums prefill, decode;
};

#endif
