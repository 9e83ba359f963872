/* weights.h - made-up weights, by seed, layer and matrix alone: the same wherever they are placed.
 */
#ifndef ORRERY_RUNNER_WEIGHTS_H
#define ORRERY_RUNNER_WEIGHTS_H

#include "lib/kernels/forward.h"
#include <stdint.h>

struct arena;
struct err;
struct setup_model;

#define WEIGHTS_PATCH_VALUES 768 /* input of a vision model's embed: 16 x 16 pixels, 3 colours */
#define WEIGHTS_NO_LAYER (-1)

enum weights_part { /* each has its own values */
                    WEIGHTS_QKV,
                    WEIGHTS_OPROJ,
                    WEIGHTS_FFN_UP,
                    WEIGHTS_FFN_DOWN,
                    WEIGHTS_SMALL,
                    WEIGHTS_EMBED,
                    WEIGHTS_POSITIONS,
                    WEIGHTS_LM_HEAD,
                    WEIGHTS_END_SMALL,
                    WEIGHTS_PATCHES,
};

struct forward_shape weights_shape(const struct setup_model *setup);

/* NULL with an error when there is no memory. */
void *weights_fill(struct arena *arena, uint64_t seed, enum kernel_dtype dtype, int64_t bytes,
                   int32_t layer, enum weights_part part, struct err *err);
float *weights_floats(struct arena *arena, uint64_t seed, int64_t floats, int32_t layer,
                      enum weights_part part, struct err *err);

#endif
