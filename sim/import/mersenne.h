/* mersenne.h - the random numbers of Python programs: the Mersenne Twister (Matsumoto and Nishimura
 * 1998) as numpy.random.seed and random.seed set it up. For importers that must draw what another
 * program drew; everything of ours draws from lib/base/rng. */
#ifndef ORRERY_SIM_IMPORT_MERSENNE_H
#define ORRERY_SIM_IMPORT_MERSENNE_H

#include <stdbool.h>
#include <stdint.h>

#define MERSENNE_WORDS 624

struct mersenne {
    uint32_t state[MERSENNE_WORDS];
    int next;
    bool has_normal; /* numpy's normals come in pairs */
    double normal;
};

void mersenne_numpy(struct mersenne *mersenne, uint32_t seed);  /* numpy.random.seed(seed) */
void mersenne_python(struct mersenne *mersenne, uint32_t seed); /* random.seed(seed) */
/* In [0, 1), 53 bits: random.random(), numpy.random.random(). */
double mersenne_uniform(struct mersenne *mersenne);
/* numpy.random.standard_normal(): Marsaglia's polar method. Up to the last bit of the logarithm. */
double mersenne_normal(struct mersenne *mersenne);

#endif
