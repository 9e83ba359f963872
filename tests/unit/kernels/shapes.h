/* shapes.h - what the kernel tests share: seeded buffers and a comparison with a tolerance. */
#ifndef ORRERY_TESTS_KERNELS_SHAPES_H
#define ORRERY_TESTS_KERNELS_SHAPES_H

#include "lib/base/arena.h"
#include "lib/kernels/forward.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline float *filled(struct arena *arena, int64_t count, uint64_t seed, float scale)
{
    float *values = arena_array(arena, (size_t)count, sizeof(float));

    forward_fill(values, count, seed);
    for (int64_t i = 0; i < count; i++)
        values[i] *= scale * 20.0f; /* forward_fill gives +-0.05 */
    return values;
}

static inline float *empty(struct arena *arena, int64_t count)
{
    return arena_array(arena, (size_t)count, sizeof(float));
}

static inline void assert_close(const float *got, const float *expected, int64_t count,
                                double tolerance)
{
    for (int64_t i = 0; i < count; i++) {
        double error = fabs((double)got[i] - (double)expected[i]);

        if (!(error <= tolerance * (1.0 + fabs((double)expected[i]))))
            fail_msg("value %lld of %lld is %.9g: expected %.9g", (long long)i, (long long)count,
                     (double)got[i], (double)expected[i]);
    }
}

#endif
