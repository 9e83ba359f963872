/* stats.c - order statistics and moments in exact integer arithmetic, and the histogram.
 *
 * Sums and interpolations run in 128 bits (lib/base/wide.h), so integer answers do not depend on
 * the order of the samples. */
#include "lib/base/stats.h"

#include "lib/base/arena.h"
#include "lib/base/wide.h"
#include <assert.h>
#include <math.h>
#include <string.h>

/* Below this an insertion sort is faster than counting 256 digits. */
#define SMALL_SORT 48

static void sort_small(int64_t *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int64_t value = values[i];
        size_t j = i;

        for (; j > 0 && values[j - 1] > value; j--)
            values[j] = values[j - 1];
        values[j] = value;
    }
}

/* The byte at `shift`; the sign bit is flipped so that negative values come first. */
static unsigned digit_of(int64_t value, int shift)
{
    return (unsigned)(((uint64_t)value ^ (UINT64_C(1) << 63)) >> shift) & 255U;
}

/* In-place radix sort, highest byte first ("American flag", McIlroy and Bostic 1993). */
static void sort_digits(int64_t *values, size_t count, int shift)
{
    size_t next[256] = { 0 }, end[256], start = 0;

    if (count <= SMALL_SORT) {
        sort_small(values, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        next[digit_of(values[i], shift)]++;
    for (int digit = 0; digit < 256; digit++) {
        end[digit] = start + next[digit];
        next[digit] = start;
        start = end[digit];
    }
    for (unsigned digit = 0; digit < 256; digit++)
        while (next[digit] < end[digit]) {
            int64_t value = values[next[digit]];
            unsigned home = digit_of(value, shift);

            values[next[digit]] = values[next[home]];
            values[next[home]++] = value;
        }
    if (shift == 0)
        return;
    for (int digit = 0; digit < 256; digit++) {
        size_t from = digit == 0 ? 0 : end[digit - 1];

        sort_digits(values + from, end[digit] - from, shift - 8);
    }
}

void stats_sort(int64_t *values, size_t count)
{
    uint64_t differ = 0;
    int shift = 0;

    for (size_t i = 1; i < count; i++)
        differ |= (uint64_t)values[i] ^ (uint64_t)values[0];
    while (shift < 56 && differ >> shift > UINT8_MAX) /* bytes above it are all the same */
        shift += 8;
    sort_digits(values, count, shift);
}

uint64_t stats_position(uint64_t count, int64_t numerator, int64_t denominator, uint64_t *rest)
{
    assert(count >= 1 && numerator >= 0 && denominator >= 1 && numerator <= denominator);
    return wide_div(wide_mul(count - 1, (uint64_t)numerator), (uint64_t)denominator, rest);
}

int64_t stats_interpolate(int64_t low, int64_t high, uint64_t rest, uint64_t denominator)
{
    uint64_t left, distance = (uint64_t)high - (uint64_t)low;
    uint64_t value = (uint64_t)low + wide_div(wide_mul(distance, rest), denominator, &left);

    if (left > denominator - left || (left == denominator - left && value % 2 == 1))
        value++;
    return (int64_t)value;
}

int64_t stats_quantile(const int64_t *sorted, size_t count, int64_t numerator, int64_t denominator)
{
    uint64_t rest;
    size_t index = (size_t)stats_position(count, numerator, denominator, &rest);

    if (rest == 0)
        return sorted[index];
    return stats_interpolate(sorted[index], sorted[index + 1], rest, (uint64_t)denominator);
}

void stats_totals_add(struct stats_totals *totals, const int64_t *values, size_t count)
{
    struct wide sum = totals->sum;
    int64_t min = totals->count > 0 ? totals->min : INT64_MAX;
    int64_t max = totals->count > 0 ? totals->max : INT64_MIN;

    for (size_t i = 0; i < count; i++) {
        int64_t value = values[i];

        sum = wide_add(sum, (struct wide){ value < 0 ? UINT64_MAX : 0, (uint64_t)value });
        min = value < min ? value : min;
        max = value > max ? value : max;
    }
    totals->count += count;
    totals->sum = sum;
    totals->min = min;
    totals->max = max;
}

void stats_totals_add_line(struct stats_totals *totals, int64_t first, int64_t slope, int64_t count,
                           int64_t times)
{
    int64_t last = first + slope * (count - 1);
    int64_t once = first * count + slope * (count * (count - 1) / 2);
    int64_t low = first < last ? first : last, high = first < last ? last : first;

    if (totals->count == 0 || low < totals->min)
        totals->min = low;
    if (totals->count == 0 || high > totals->max)
        totals->max = high;
    totals->count += (uint64_t)(count * times);
    totals->sum = wide_add(totals->sum, wide_mul((uint64_t)once, (uint64_t)times));
}

void stats_totals_merge(struct stats_totals *into, const struct stats_totals *from)
{
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (into->count == 0 || from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    into->sum = wide_add(into->sum, from->sum);
}

int64_t stats_totals_mean(const struct stats_totals *totals)
{
    uint64_t mean, rest, count = totals->count;
    bool is_negative = totals->sum.high >> 63 != 0;

    assert(count >= 1);
    mean = wide_div(is_negative ? wide_negate(totals->sum) : totals->sum, count, &rest);
    if (rest > count - rest || (rest == count - rest && mean % 2 == 1))
        mean++;
    return (int64_t)(is_negative ? 0 - mean : mean);
}

int64_t stats_mean(const int64_t *values, size_t count)
{
    struct stats_totals totals = { 0 };

    stats_totals_add(&totals, values, count);
    return stats_totals_mean(&totals);
}

double stats_mean_double(const double *values, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return count > 0 ? sum / (double)count : 0;
}

double stats_sd(const double *values, size_t count)
{
    double mean = stats_mean_double(values, count), sum = 0;

    if (count < 2)
        return 0;
    for (size_t i = 0; i < count; i++)
        sum += (values[i] - mean) * (values[i] - mean);
    return sqrt(sum / (double)(count - 1));
}

double stats_t95(size_t degrees)
{
    static const double table[] = { 12.706205, 4.302653, 3.182446, 2.776445, 2.570582,
                                    2.446912,  2.364624, 2.306004, 2.262157, 2.228139,
                                    2.200985,  2.178813, 2.160369, 2.144787, 2.131450,
                                    2.119905,  2.109816, 2.100922, 2.093024, 2.085963 };
    const double z = 1.959963984540054; /* the normal quantile, for infinitely many degrees */
    double n = (double)degrees, z2 = z * z;

    assert(degrees >= 1);
    if (degrees <= sizeof table / sizeof table[0])
        return table[degrees - 1];
    /* Cornish-Fisher expansion, Abramowitz and Stegun 26.7.5: right to 1e-5 here. */
    return z + z * (z2 + 1) / (4 * n) + z * ((5 * z2 + 16) * z2 + 3) / (96 * n * n) +
           z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * n * n * n);
}

struct stats_summary stats_summarize(int64_t *values, size_t count)
{
    struct stats_summary summary = { .count = count };

    if (count == 0)
        return summary;
    stats_sort(values, count);
    summary.mean = stats_mean(values, count);
    summary.min = values[0];
    summary.p50 = stats_quantile(values, count, 1, 2);
    summary.p90 = stats_quantile(values, count, 9, 10);
    summary.p95 = stats_quantile(values, count, 19, 20);
    summary.p99 = stats_quantile(values, count, 99, 100);
    summary.p999 = stats_quantile(values, count, 999, 1000);
    summary.max = values[count - 1];
    return summary;
}

/* Of magnitudes: those below 2^(bits+1) have a bucket each; above, octave s + bits has 2^bits
 * buckets of width 2^s. The upper half of the buckets is for values >= 0, the lower half mirrors
 * it: value v < 0 lies where its complement, -v - 1, would. So buckets stand in order of value.
 * 2^bits of them make a group, an octave mostly, which is there from its first value on. */
#define MAX_GROUPS (2 * 63)
struct hist {
    struct arena *arena;
    int bits;
    size_t half; /* buckets of one sign */
    uint64_t count;
    uint64_t *groups[MAX_GROUPS]; /* NULL: nothing was ever counted there */
};

struct hist *hist_create(struct arena *arena, int bits)
{
    struct hist *hist = arena_alloc(arena, sizeof *hist);

    assert(bits >= 1 && bits <= 14);
    hist->arena = arena;
    hist->bits = bits;
    hist->half = (size_t)(64 - bits) << bits;
    return hist;
}

static size_t group_count(const struct hist *hist)
{
    return 2 * hist->half >> hist->bits;
}

static size_t bucket_of(const struct hist *hist, int64_t value)
{
    size_t mirror = value < 0 ? SIZE_MAX : 0;
    uint64_t size = (uint64_t)value ^ (value < 0 ? UINT64_MAX : 0);
    int shift = 63 - hist->bits - __builtin_clzll(size | UINT64_C(1) << hist->bits);

    return hist->half + ((((size_t)shift << hist->bits) + (size_t)(size >> shift)) ^ mirror);
}

/* The middle of a bucket: at most half its width from every value in it. */
static int64_t bucket_middle(const struct hist *hist, size_t bucket)
{
    bool is_negative = bucket < hist->half;
    uint64_t index = is_negative ? hist->half - 1 - bucket : bucket - hist->half;
    uint64_t shift = index >> hist->bits, size = index;

    if (shift > 1) { /* wider than 1 */
        shift--;
        size = ((index - (shift << hist->bits)) << shift) + (UINT64_C(1) << (shift - 1));
    }
    return (int64_t)(is_negative ? ~size : size);
}

static uint64_t *group_make(struct hist *hist, size_t group)
{
    if (!hist->groups[group])
        hist->groups[group] =
            arena_array(hist->arena, (size_t)1 << hist->bits, sizeof **hist->groups);
    return hist->groups[group];
}

void hist_add(struct hist *hist, const int64_t *values, size_t count)
{
    size_t mask = ((size_t)1 << hist->bits) - 1;

    for (size_t i = 0; i < count; i++) {
        size_t bucket = bucket_of(hist, values[i]);

        group_make(hist, bucket >> hist->bits)[bucket & mask]++;
    }
    hist->count += count;
}

/* How many of the values from `value` on, up to `most`, fall into its bucket. */
static int64_t in_bucket(const struct hist *hist, int64_t value, int64_t slope, int64_t most)
{
    int shift = 63 - hist->bits - __builtin_clzll((uint64_t)value | UINT64_C(1) << hist->bits);
    int64_t low = value >> shift << shift, high = low + ((INT64_C(1) << shift) - 1), count = most;

    if (slope > 0)
        count = (high - value) / slope + 1;
    else if (slope < 0)
        count = (low - value) / slope + 1;
    return count < most ? count : most;
}

void hist_add_line(struct hist *hist, int64_t first, int64_t slope, int64_t count, int64_t times)
{
    size_t mask = ((size_t)1 << hist->bits) - 1;

    assert(count >= 1 && times >= 1 && first >= 0 && first + slope * (count - 1) >= 0);
    for (int64_t left = count, here; left > 0; left -= here) {
        size_t bucket = bucket_of(hist, first);

        here = in_bucket(hist, first, slope, left);
        group_make(hist, bucket >> hist->bits)[bucket & mask] += (uint64_t)(here * times);
        first += slope * (left > here ? here : 0);
    }
    hist->count += (uint64_t)(count * times);
}

void hist_merge(struct hist *into, const struct hist *from)
{
    assert(into->bits == from->bits);
    for (size_t g = 0; g < group_count(from); g++) {
        uint64_t *group;

        if (!from->groups[g])
            continue;
        group = group_make(into, g);
        for (size_t i = 0; i < (size_t)1 << from->bits; i++)
            group[i] += from->groups[g][i];
    }
    into->count += from->count;
}

/* The bucket of the order statistic `rank`, which is there; *seen = values in it and below it. */
static size_t bucket_at(const struct hist *hist, uint64_t rank, uint64_t *seen)
{
    *seen = 0;
    for (size_t g = 0; g < group_count(hist); g++)
        for (size_t i = 0; hist->groups[g] && i < (size_t)1 << hist->bits; i++) {
            *seen += hist->groups[g][i];
            if (*seen > rank)
                return (g << hist->bits) + i;
        }
    assert(false);
    return 0;
}

int64_t hist_quantile(const struct hist *hist, int64_t numerator, int64_t denominator)
{
    uint64_t rest, rank, seen;
    size_t low, high;

    if (hist->count == 0)
        return 0;
    rank = stats_position(hist->count, numerator, denominator, &rest);
    low = high = bucket_at(hist, rank, &seen);
    if (rest > 0 && seen == rank + 1) /* the next order statistic is in a later bucket */
        high = bucket_at(hist, rank + 1, &seen);
    return stats_interpolate(bucket_middle(hist, low), bucket_middle(hist, high), rest,
                             (uint64_t)denominator);
}
