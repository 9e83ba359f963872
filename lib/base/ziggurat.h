/* ziggurat.h - layers of equal area that cover a density which falls from 1 at 0 (Marsaglia and
 * Tsang 2000): what makes nearly all draws a table look-up and a product.
 *
 * Layer i >= 1 is the rectangle from 0 to x[i] between the densities at x[i] and at x[i+1] < x[i];
 * x[256] = 0. Layer 0 is all that lies below the density at x[1], the tail beyond x[1] included,
 * as if it were a rectangle of width x[0]. Its numbers are exact doubles, so draws are the same on
 * every machine. */
#ifndef ORRERY_BASE_ZIGGURAT_H
#define ORRERY_BASE_ZIGGURAT_H

#include <stdint.h>

#define ZIGGURAT_LAYERS 256

struct ziggurat_layer {
    uint64_t inside; /* x[i+1] / x[i] in units of 2^-53: below it, a point is under the density */
    double width;    /* x[i] * 2^-53 */
    double density;  /* at x[i]; of layer 0: 0 */
};

/* Density e^-x. The end is x[1], for which the 256th layer closes at density 1. */
#define ZIGGURAT_EXPONENTIAL_END 0x1.ec9d9297ebb83p+2
/* Density e^(-x^2/2), for x >= 0; the area of a layer. */
#define ZIGGURAT_NORMAL_END 0x1.d3bb48209ad33p+1
#define ZIGGURAT_NORMAL_AREA 0x1.43016a5a43732p-8

extern const struct ziggurat_layer ziggurat_exponential[ZIGGURAT_LAYERS + 1];
extern const struct ziggurat_layer ziggurat_normal[ZIGGURAT_LAYERS + 1];

#endif
