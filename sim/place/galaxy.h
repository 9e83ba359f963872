/* galaxy.h - who of a group of devices gets how much of a layer, for galaxy.c: Galaxy's Algorithm 1
 * (Ye et al., INFOCOM 2024, arXiv 2405.17245), with parts of measured sizes alone.
 *
 * Attention with its projection (MHA) is cut by groups of KV heads, the FFN (MLP) by columns. All
 * devices of a group wait for the slowest in each of the two, so shares are balanced when the
 * slowest takes least: in proportion to capacity, as far as sizes were measured. */
#ifndef ORRERY_SIM_PLACE_GALAXY_H
#define ORRERY_SIM_PLACE_GALAXY_H

#include "sim/place/parts.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct problem;

#define GALAXY_STEPS INT64_C(50000000) /* well below a second */

enum galaxy_half { GALAXY_MHA, GALAXY_MLP, GALAXY_HALF_COUNT };

struct galaxy_group {
    struct arena *arena;
    const struct problem *problem;
    struct parts *parts;
    int32_t count;
    const int32_t *devices; /* that with the embedding first */
    bool is_sequence;       /* norms and additions are cut along the sequence, not on all: */
    const int32_t *tokens;  /* by member, which part; a lone token is in the last */
    /* The LM head in head_of parts, of which member m has head_parts[m], in their order. */
    int32_t head_of;
    int32_t *head_parts;
    int64_t most_steps; /* of looking at all shares: GALAXY_STEPS, in tests other numbers */
    int32_t *shares[GALAXY_HALF_COUNT]; /* by member, in parts_units */
    bool is_repaired;                   /* balanced shares did not fit: */
    int32_t lacking;                    /* the member that lacked most memory, */
    int64_t lacking_bytes;              /* and how much */
};

/* What the half of a layer takes the device whole: from the largest part that was measured, in
 * proportion. INT64_MAX: no part was. The device's capacity is one over the sum of both halves. */
int64_t galaxy_half_ps(struct parts *parts, int32_t device, enum galaxy_half half);
/* So many parts of head_of for each member, that take the slowest least; false: no sizes that add
 * up to it were measured. */
bool galaxy_head_balance(struct galaxy_group *group, int32_t head_of, int64_t *slowest_ps);
/* Fills the shares, of which each member has some of both halves: balanced; where that does not fit
 * into memory what is too much goes to members with room, as Galaxy does it: of MHA, then of MLP;
 * and in the other order. Where there are not too many sizes all shares that fit are looked at, too
 * (within a budget of steps), and those that take the slowest members least are taken. False: none
 * of these fit. */
bool galaxy_share(struct galaxy_group *group);
/* The largest size that both are multiples of; of 0 and another the other. */
int32_t galaxy_gcd(int32_t a, int32_t b);
/* Bytes that a member holds. */
int64_t galaxy_member_bytes(const struct galaxy_group *group, int32_t member);

#endif
