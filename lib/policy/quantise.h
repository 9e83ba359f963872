/* quantise.h - how many bytes values take on the wire when they are sent in few bits.
 *
 * The layout of PipeEdge (Hu et al., DSD 2022): whole values in words of 32 bits, floor(32 / bits)
 * of them in each, so that 12 and 16 bits cost the same. A message carries the least value and the
 * range beside them, 4 bytes each. */
#ifndef ORRERY_POLICY_QUANTISE_H
#define ORRERY_POLICY_QUANTISE_H

#include <stdbool.h>
#include <stdint.h>

#define QUANTISE_VALUE_BYTES 4 /* of a value that is not quantised: f32 */
#define QUANTISE_SCALE_BYTES 8 /* least value and range */

/* 32 bits, or 0 where nothing is said: values travel as they are. */
static inline bool quantise_applies(int32_t wire_bits)
{
    return wire_bits > 0 && wire_bits < 32;
}

/* Of one message of so many values (>= 0, at most 2^60). */
static inline int64_t quantise_bytes(int64_t values, int32_t wire_bits)
{
    int64_t a_word;

    if (wire_bits <= 0 || wire_bits >= 32)
        return QUANTISE_VALUE_BYTES * values;
    a_word = 32 / wire_bits;
    return QUANTISE_VALUE_BYTES * (values / a_word + (values % a_word > 0)) + QUANTISE_SCALE_BYTES;
}

#endif
