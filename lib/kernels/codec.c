/* codec.c - coding of values in few bits, to the bit. */
#include "lib/kernels/codec.h"

#include <assert.h>
#include <math.h>

static int values_a_word(int bits)
{
    assert(bits >= 1 && bits <= CODEC_MAX_BITS);
    return 32 / bits;
}

int64_t codec_words(int64_t count, int bits)
{
    int64_t a_word = values_a_word(bits);

    return count / a_word + (count % a_word > 0);
}

static uint32_t most(int bits)
{
    return (UINT32_C(1) << bits) - 1;
}

#define FLOAT_WHOLE 8388608.0f /* 2^23: floats from here on are whole */

/* To the nearest whole number, ties to even: the sum has no bits left for a fraction. */
static float nearest(float value)
{
    return value < FLOAT_WHOLE / 2 ? (value + FLOAT_WHOLE) - FLOAT_WHOLE : rintf(value);
}

/* Also of what no word holds: NaN and infinities come from values that are no numbers. */
static uint32_t quantum(float value, uint32_t limit)
{
    float whole = value > 0.0f ? nearest(value) : 0.0f;

    return whole >= (float)limit ? limit : (uint32_t)whole;
}

static struct codec_range range_of(const float *values, int64_t count)
{
    float least = count > 0 ? values[0] : 0.0f, scale = 0.0f;

    for (int64_t i = 1; i < count; i++)
        least = values[i] < least ? values[i] : least;
    for (int64_t i = 0; i < count; i++)
        scale = values[i] - least > scale ? values[i] - least : scale;
    return (struct codec_range){ least, scale };
}

struct codec_range codec_encode(const float *values, int64_t count, int bits, uint32_t *words)
{
    struct codec_range range = range_of(values, count);
    uint32_t limit = most(bits);
    float levels = (float)limit;
    int a_word = values_a_word(bits);
    int64_t at = 0;

    for (int64_t word = 0; at < count; word++) {
        uint32_t packed = 0;

        for (int k = 0; k < a_word && at < count; k++, at++)
            if (range.scale > 0.0f)
                packed |= quantum((values[at] - range.shift) / range.scale * levels, limit)
                          << (k * bits);
        words[word] = packed;
    }
    return range;
}

void codec_decode(const uint32_t *words, int64_t count, int bits, struct codec_range range,
                  float *values)
{
    uint32_t limit = most(bits);
    float levels = (float)limit;
    int a_word = values_a_word(bits);
    int64_t at = 0;

    for (int64_t word = 0; at < count; word++)
        for (int k = 0; k < a_word && at < count; k++, at++) {
            float part = (float)(words[word] >> (k * bits) & limit) / levels;

            values[at] = part * range.scale + range.shift;
        }
}

/* Newton's method on w e^w = 3 x 4^bits. */
double codec_clamp_factor(int bits)
{
    double target = 3 * pow(4, bits), w = log(target) - log(log(target));

    for (int i = 0; i < 40; i++) {
        double e = exp(w);

        w -= (w * e - target) / (e * (w + 1));
    }
    return w;
}

float codec_clamp(float *values, int64_t count, int bits)
{
    double sum = 0, squares = 0, alpha;

    for (int64_t i = 0; i < count; i++)
        sum += (double)values[i] / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += ((double)values[i] - sum) * ((double)values[i] - sum) / (double)count;
    alpha = codec_clamp_factor(bits) * sqrt(0.5 * squares);
    for (int64_t i = 0; i < count; i++)
        values[i] = values[i] > (float)alpha    ? (float)alpha
                    : values[i] < -(float)alpha ? -(float)alpha
                                                : values[i];
    return (float)alpha;
}
