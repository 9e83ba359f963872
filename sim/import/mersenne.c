/* mersenne.c - MT19937, its two ways of seeding, and numpy's legacy normals. */
#include "sim/import/mersenne.h"

#include "lib/base/dmath.h"

#define SHIFT 397
#define TWO_TO_26 67108864.0
#define TWO_TO_53 9007199254740992.0

void mersenne_numpy(struct mersenne *mersenne, uint32_t seed)
{
    uint32_t *state = mersenne->state;

    state[0] = seed;
    for (uint32_t i = 1; i < MERSENNE_WORDS; i++)
        state[i] = UINT32_C(1812433253) * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
    mersenne->next = MERSENNE_WORDS;
    mersenne->has_normal = false;
}

/* Python seeds by an array, of which a seed below 2^32 is the only word. */
void mersenne_python(struct mersenne *mersenne, uint32_t seed)
{
    uint32_t *state = mersenne->state, i = 1;

    mersenne_numpy(mersenne, UINT32_C(19650218));
    for (int k = 0; k < MERSENNE_WORDS; k++) {
        state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * UINT32_C(1664525))) + seed;
        if (++i == MERSENNE_WORDS) {
            state[0] = state[MERSENNE_WORDS - 1];
            i = 1;
        }
    }
    for (int k = 0; k < MERSENNE_WORDS - 1; k++) {
        state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * UINT32_C(1566083941))) - i;
        if (++i == MERSENNE_WORDS) {
            state[0] = state[MERSENNE_WORDS - 1];
            i = 1;
        }
    }
    state[0] = UINT32_C(0x80000000);
}

static void refill(struct mersenne *mersenne)
{
    uint32_t *state = mersenne->state;

    for (int i = 0; i < MERSENNE_WORDS; i++) {
        uint32_t word = (state[i] & UINT32_C(0x80000000)) |
                        (state[(i + 1) % MERSENNE_WORDS] & UINT32_C(0x7fffffff));

        state[i] = state[(i + SHIFT) % MERSENNE_WORDS] ^ (word >> 1) ^
                   (word & 1 ? UINT32_C(0x9908b0df) : 0);
    }
    mersenne->next = 0;
}

static uint32_t next_word(struct mersenne *mersenne)
{
    uint32_t word;

    if (mersenne->next == MERSENNE_WORDS)
        refill(mersenne);
    word = mersenne->state[mersenne->next++];
    word ^= word >> 11;
    word ^= (word << 7) & UINT32_C(0x9d2c5680);
    word ^= (word << 15) & UINT32_C(0xefc60000);
    return word ^ (word >> 18);
}

double mersenne_uniform(struct mersenne *mersenne)
{
    double high = next_word(mersenne) >> 5, low = next_word(mersenne) >> 6;

    return (high * TWO_TO_26 + low) / TWO_TO_53;
}

double mersenne_normal(struct mersenne *mersenne)
{
    double x, y, square, factor;

    if (mersenne->has_normal) {
        mersenne->has_normal = false;
        return mersenne->normal;
    }
    do {
        x = 2 * mersenne_uniform(mersenne) - 1;
        y = 2 * mersenne_uniform(mersenne) - 1;
        square = x * x + y * y;
    } while (square >= 1 || square <= 0);
    factor = dmath_sqrt(-2 * dmath_log(square) / square);
    mersenne->normal = factor * x;
    mersenne->has_normal = true;
    return factor * y;
}
