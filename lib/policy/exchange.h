/* exchange.h - the messages of one operation of a pass: who sends what to whom, after what.
 *
 * The simulator gives them links, a worker sends them: both follow the same list. Operations of a
 * vector that has no parts of its own (broadcast, reduce, all-reduce) cut it into whole values, as
 * even as can be. */
#ifndef ORRERY_POLICY_EXCHANGE_H
#define ORRERY_POLICY_EXCHANGE_H

#include "lib/policy/collective.h"
#include "lib/policy/pass.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;

struct exchange_message {
    int32_t from, to;               /* members of the operation */
    int32_t slot;                   /* how many messages one after the other lie before it */
    int32_t first_part, part_count; /* parts of the members; they go on from 0 after the last */
    bool is_sum;                    /* the receiver adds it to what it has */
    int32_t first_dep, dep_count;   /* in exchange.deps: messages that come before it */
    int32_t pass_message;           /* of an exchange: the message of the pass; else -1 */
};

struct exchange {
    int32_t message_count, dep_count, slot_count;
    const struct exchange_message *messages; /* in order of slots */
    const int32_t *deps;
};

/* Of a step that is no compute. */
const struct exchange *exchange_build(struct arena *arena, const struct pass *pass,
                                      const struct pass_step *step,
                                      enum collective_algorithm algorithm);
/* In a step of so many new tokens of so many sequences, each of which has a last row. */
int64_t exchange_bytes(const struct pass *pass, const struct pass_step *step,
                       const struct exchange_message *message, int32_t tokens, int32_t sequences);
/* The vector is cut evenly: its members have no parts of their own. */
bool exchange_is_even(enum pass_kind kind);
/* Bytes before part i of N of such a vector: whole values. */
int64_t exchange_before(int64_t vector_bytes, int32_t part, int32_t parts);

#endif
