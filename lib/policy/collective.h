/* collective.h - collective operations as messages between participants, and what they take alone.
 *
 * A schedule is a list of steps, each one message, with the steps that must have arrived before it
 * may be sent: steps without common dependencies go at once. Whoever runs them gives participants
 * devices, and sends. Parts are those of a vector of `bytes`, one a participant (reduce-scatter
 * ends and all-gather begins with part i at participant i).
 *
 * Algorithms:
 *   ring   each participant talks to the next alone: N - 1 slots for scatter, gather, all-gather
 * and reduce-scatter, 2 (N - 1) for all-reduce (Patarasuk and Yuan 2009) and for a broadcast, which
 * goes part by part down the ring star   everything goes through the root: in one slot in, in one
 * slot out tree   binomial, ceil(log2 N) slots each way; parts of a subtree travel together
 * All-gather and reduce-scatter by star or tree go through the root as well: gather, then
 * broadcast; reduce, then scatter. In ring and tree a participant sends its next message when all
 * that it sent and received in the slot before has arrived. */
#ifndef ORRERY_POLICY_COLLECTIVE_H
#define ORRERY_POLICY_COLLECTIVE_H

#include <stdbool.h>
#include <stdint.h>

struct arena;

enum collective_kind {
    COLLECTIVE_SEND,      /* of everything from the root to the other of two */
    COLLECTIVE_BROADCAST, /* from the root to all */
    COLLECTIVE_SCATTER,   /* part i from the root to i */
    COLLECTIVE_GATHER,    /* part i from i to the root */
    COLLECTIVE_REDUCE,    /* the sum of all vectors, at the root */
    COLLECTIVE_ALL_GATHER,
    COLLECTIVE_REDUCE_SCATTER, /* part i of the sum, at i */
    COLLECTIVE_ALL_REDUCE,
    COLLECTIVE_KIND_COUNT
};
enum collective_algorithm {
    COLLECTIVE_RING,
    COLLECTIVE_STAR,
    COLLECTIVE_TREE,
    COLLECTIVE_ALGORITHM_COUNT
};
extern const char *const collective_algorithm_names[COLLECTIVE_ALGORITHM_COUNT];

struct collective_step {
    int32_t from, to; /* participants, 0.. */
    int64_t bytes;
    int32_t first_part, part_count; /* what it carries; parts go on from 0 after the last */
    bool is_sum;                    /* the receiver adds it to what it has */
    int32_t slot;                   /* how many steps one after the other lie before it */
    int32_t first_dep, dep_count;   /* in collective.deps */
};

struct collective {
    enum collective_kind kind;
    enum collective_algorithm algorithm;
    int32_t participants, root;
    int32_t step_count, dep_count, slot_count;
    struct collective_step *steps; /* in order of slots */
    int32_t *deps;                 /* steps; always of earlier slots */
};

/* Parts as even as can be: part i is from i x bytes / N to (i + 1) x bytes / N, rounded down. root
 * 0. participants >= 1 (2 for a send), bytes >= 0. One participant: no steps. */
struct collective *collective_steps(struct arena *arena, enum collective_kind kind,
                                    enum collective_algorithm algorithm, int32_t participants,
                                    int64_t bytes);
/* With the bytes of each part, and any root. */
struct collective *collective_steps_of(struct arena *arena, enum collective_kind kind,
                                       enum collective_algorithm algorithm, int32_t participants,
                                       const int64_t *part_bytes, int32_t root);

struct collective_link { /* of all participants alike */
    int64_t per_message_ps, latency_ps;
    int64_t rate_millibits_per_s;
    bool is_shared; /* one medium for all messages; else a switch, each way of each port apart */
};

/* What collective_steps takes under the flow model when nothing else is on the links; exact to 1 ps
 * a slot when participants divide bytes, for a star when per_message_ps is 0, and for a tree on a
 * shared medium when participants are a power of two; otherwise not less than that. alpha =
 * per_message + latency, B = rate, S = bytes: ring: slots x (alpha + S / (N B)) tree: each way
 * ceil(log2 N) alpha + star: each way alpha + (N - 1) x what each carries / B            (N - 1) S
 * / (N B) of parts, or and on a shared medium each slot takes the sum of its messages. ceil(log2 N)
 * S / B of the whole (Thakur, Rabenseifner and Gropp 2005.) Saturates at INT64_MAX. */
int64_t collective_alone_ps(enum collective_kind kind, enum collective_algorithm algorithm,
                            int32_t participants, int64_t bytes,
                            const struct collective_link *link);

#endif
