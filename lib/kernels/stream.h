/* stream.h - what memory alone allows: plain loops that read, copy and add, as wide as the compiler
 * makes them. The upper bound of every kernel that is limited by memory. */
#ifndef ORRERY_KERNELS_STREAM_H
#define ORRERY_KERNELS_STREAM_H

#include <stdint.h>

/* Reads count floats; what is returned depends on all of them, so that no read is left out. */
float stream_read(const float *x, int64_t count);
/* y = scale * x: a copy that the compiler may not turn into memcpy, whose stores bypass the caches
 * on some machines. */
void stream_copy(const float *x, float scale, float *y, int64_t count);
/* z = x + scale * y, the triad of McCalpin's STREAM (1995). */
void stream_triad(const float *x, const float *y, float scale, float *z, int64_t count);

#endif
