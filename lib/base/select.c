/* select.c - radix select: histogram, refine while crowded, gather.
 *
 * At any time each wanted rank is known to lie in a slot, an interval of values whose count and
 * number of smaller values are known. The first histogram is log-linear above the (sampled) least
 * value, because latencies are: it copes with outliers and with a small spread on a large base. */
#include "lib/base/select.h"

#include "lib/base/arena.h"
#include <assert.h>
#include <string.h>

/* Buckets of the window: 2^10 an octave. A double holds 2^52 exactly; its exponent and highest
 * mantissa bits are the bucket's number. */
#define BITS 10
#define OCTAVES (52 - BITS)
#define BUCKETS ((size_t)OCTAVES << BITS)
/* Parts that a crowded slot is split into. */
#define PART_BITS 12
#define PARTS ((uint64_t)1 << PART_BITS)
/* One value in so many tells where the window begins. */
#define SAMPLED 4096
/* Values ahead to fetch: what the passes wait for is memory. */
#define AHEAD 256

struct window { /* values low..high; those outside count as its ends */
    int64_t low, high;
    int shift; /* so that a window of any width fits into the buckets */
};

struct slot { /* values low..high, inclusive */
    int64_t low, high;
    uint64_t before, count; /* smaller values; values inside */
    /* While it is being split: counts of its parts, each 2^shift wide, and what all values have in
     * common. */
    uint64_t *parts;
    int shift;
    uint64_t any_bits, all_bits;
};

struct select {
    struct arena *scratch;
    const struct select_span *spans;
    size_t span_count;
    const uint64_t *ranks;
    int rank_count;
    int64_t *found;
    struct window window;
    uint8_t *is_wanted; /* by bucket: a slot lies in it */
    uint64_t *parts;    /* room for those of all slots; NULL before the first split */
    int slot_count;     /* slots ascend */
    struct slot slots[SELECT_MAX_RANKS];
};

static int64_t saturating_add(int64_t base, uint64_t distance)
{
    return distance > (uint64_t)INT64_MAX - (uint64_t)base ? INT64_MAX
                                                           : (int64_t)((uint64_t)base + distance);
}

/* Sampled: what lies outside of it only makes the first and the last bucket fuller. */
static struct window window_choose(const struct select_span *spans, size_t span_count)
{
    struct window window = { INT64_MAX, INT64_MIN, 0 };
    uint64_t width;

    for (size_t s = 0; s < span_count; s++)
        for (size_t i = 0; i < spans[s].count; i += SAMPLED) {
            int64_t value = spans[s].values[i];

            window.low = value < window.low ? value : window.low;
            window.high = value > window.high ? value : window.high;
        }
    width = (uint64_t)window.high - (uint64_t)window.low;
    while (width >> window.shift >= (UINT64_C(1) << 52) - (1 << BITS))
        window.shift++;
    width = (((UINT64_C(1) << 52) - (1 << BITS)) << window.shift) - 1;
    window.high = saturating_add(window.low, width);
    return window;
}

/* Of a value that is `distance` above the window's low end, and inside. */
static inline size_t bucket_at(uint64_t distance, int shift)
{
    double size = (double)(int64_t)((distance >> shift) + (1 << BITS)); /* exact: below 2^52 */
    uint64_t bits;

    memcpy(&bits, &size, sizeof bits);
    return (size_t)((bits >> (52 - BITS)) - ((1023 + (uint64_t)BITS) << BITS));
}

static inline uint64_t distance_of(const struct window *window, int64_t value)
{
    return (uint64_t)value - (uint64_t)window->low;
}

static size_t bucket_of(const struct window *window, int64_t value)
{
    value = value < window->low ? window->low : value;
    value = value > window->high ? window->high : value;
    return bucket_at(distance_of(window, value), window->shift);
}

/* How far above the window's low end a bucket begins. */
static uint64_t bucket_distance(const struct window *window, size_t bucket)
{
    uint64_t mantissa = (bucket & ((1 << BITS) - 1)) + (1 << BITS);

    return ((mantissa << (bucket >> BITS)) - (1 << BITS)) << window->shift;
}

/* A value that the sample did not foresee. */
static void count_outside(const struct window *window, int64_t value, uint64_t *counts,
                          struct stats_totals *totals)
{
    counts[bucket_of(window, value)]++;
    totals->sum =
        wide_add(totals->sum, (struct wide){ value < 0 ? UINT64_MAX : 0, (uint64_t)value });
    totals->min = value < totals->min ? value : totals->min;
    totals->max = value > totals->max ? value : totals->max;
}

/* low * count + distances */
static struct wide sum_of(int64_t low, uint64_t count, uint64_t distances)
{
    struct wide sum =
        low < 0 ? wide_negate(wide_mul(0 - (uint64_t)low, count)) : wide_mul((uint64_t)low, count);

    return wide_add(sum, (struct wide){ 0, distances });
}

/* So many values that their distances add up in 64 bits, by way of distances: those are sums,
 * and bounds, of a few instructions a value. */
static inline void count_few(const int64_t *values, size_t count, const struct window *window,
                             int shift, uint64_t *counts, struct stats_totals *totals)
{
    uint64_t width = distance_of(window, window->high), inside = 0;
    uint64_t least = UINT64_MAX, most = 0, distances = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t distance = distance_of(window, values[i]);

        __builtin_prefetch(values + i + AHEAD);
        if (distance > width) {
            count_outside(window, values[i], counts, totals);
            continue;
        }
        counts[bucket_at(distance, shift)]++;
        inside++;
        distances += distance;
        least = distance < least ? distance : least;
        most = distance > most ? distance : most;
    }
    totals->count += count;
    if (inside == 0)
        return;
    totals->sum = wide_add(totals->sum, sum_of(window->low, inside, distances));
    least += (uint64_t)window->low;
    most += (uint64_t)window->low;
    totals->min = (int64_t)least < totals->min ? (int64_t)least : totals->min;
    totals->max = (int64_t)most > totals->max ? (int64_t)most : totals->max;
}

/* The first pass: totals and counts of all buckets. */
static void count_span(const struct select_span *span, const struct window *window,
                       uint64_t *counts, struct stats_totals *totals)
{
    size_t few = window->shift < 12 ? (size_t)4096 >> window->shift : 1;

    for (size_t i = 0; i < span->count; i += few) {
        size_t count = span->count - i < few ? span->count - i : few;

        if (window->shift == 0) /* of nearly all */
            count_few(span->values + i, count, window, 0, counts, totals);
        else
            count_few(span->values + i, count, window, window->shift, counts, totals);
    }
}

/* The rank's slot is the part whose values it falls among, counting those before the first part.
 * Ranks that fall into one part share it. */
static void slot_add(struct select *select, const struct slot *slot)
{
    struct slot *last = &select->slots[select->slot_count - 1];

    if (select->slot_count > 0 && last->low == slot->low)
        return;
    select->slots[select->slot_count++] = *slot;
}

static void slots_of_buckets(struct select *select, const uint64_t *counts,
                             const struct stats_totals *totals)
{
    const struct window *window = &select->window;
    uint64_t before = 0;
    size_t bucket = 0;

    for (int r = 0; r < select->rank_count; r++) {
        struct slot slot;

        for (; before + counts[bucket] <= select->ranks[r]; bucket++)
            before += counts[bucket];
        slot = (struct slot){
            .low = saturating_add(window->low, bucket_distance(window, bucket)),
            .high = saturating_add(window->low, bucket_distance(window, bucket + 1) - 1),
            .before = before,
            .count = counts[bucket],
        };
        /* The ends of the window stand for all that lies outside. */
        if (bucket == 0)
            slot.low = totals->min;
        if (slot.high >= window->high || slot.high > totals->max)
            slot.high = totals->max;
        slot_add(select, &slot);
    }
}

static bool holds(const struct slot *slot, uint64_t rank)
{
    return rank >= slot->before && rank - slot->before < slot->count;
}

/* Takes out the slots of a single value, and says how many values the others hold. */
static uint64_t slots_settle(struct select *select)
{
    uint64_t left = 0;
    int kept = 0;

    for (int s = 0; s < select->slot_count; s++) {
        struct slot slot = select->slots[s];

        if (slot.low < slot.high) {
            left += slot.count;
            select->slots[kept++] = slot;
            continue;
        }
        for (int r = 0; r < select->rank_count; r++)
            if (holds(&slot, select->ranks[r]))
                select->found[r] = slot.low;
    }
    select->slot_count = kept;
    memset(select->is_wanted, 0, BUCKETS);
    for (int s = 0; s < kept; s++)
        select->is_wanted[bucket_of(&select->window, select->slots[s].low)] = 1;
    return left;
}

static inline struct slot *slot_of(struct select *select, int64_t value)
{
    for (int s = 0; s < select->slot_count; s++) {
        struct slot *slot = &select->slots[s];

        if (value >= slot->low && value <= slot->high)
            return slot;
    }
    return NULL;
}

static void split_span(struct select *select, const struct select_span *span)
{
    const struct window window = select->window;
    const uint8_t *is_wanted = select->is_wanted;

    for (size_t i = 0; i < span->count; i++) {
        int64_t value = span->values[i];
        struct slot *slot;

        if (!is_wanted[bucket_of(&window, value)])
            continue;
        slot = slot_of(select, value);
        if (!slot)
            continue;
        slot->parts[((uint64_t)value - (uint64_t)slot->low) >> slot->shift]++;
        slot->any_bits |= (uint64_t)value;
        slot->all_bits &= (uint64_t)value;
    }
}

static void slots_of_parts(struct select *select, const struct slot *whole)
{
    uint64_t before = whole->before, part = 0;

    for (int r = 0; r < select->rank_count; r++) {
        struct slot slot = *whole;

        if (!holds(whole, select->ranks[r]))
            continue;
        for (; before + whole->parts[part] <= select->ranks[r]; part++)
            before += whole->parts[part];
        slot.before = before;
        slot.count = whole->parts[part];
        slot.low = (int64_t)((uint64_t)whole->low + (part << whole->shift));
        slot.high = saturating_add(slot.low, (UINT64_C(1) << whole->shift) - 1);
        if (slot.high > whole->high)
            slot.high = whole->high;
        if (whole->any_bits == whole->all_bits) /* all its values are the same */
            slot.low = slot.high = (int64_t)whole->any_bits;
        slot_add(select, &slot);
    }
}

/* One more pass: each slot that is left becomes those parts of it that hold a rank. */
static void slots_split(struct select *select)
{
    struct slot wholes[SELECT_MAX_RANKS];
    int count = select->slot_count;

    if (!select->parts)
        select->parts =
            arena_array(select->scratch, SELECT_MAX_RANKS * PARTS, sizeof *select->parts);
    memset(select->parts, 0, (size_t)count * PARTS * sizeof *select->parts);
    for (int s = 0; s < count; s++) {
        struct slot *slot = &select->slots[s];
        uint64_t width = (uint64_t)slot->high - (uint64_t)slot->low;

        slot->parts = select->parts + (size_t)s * PARTS;
        for (slot->shift = 0; width >> slot->shift >= PARTS; slot->shift++)
            ;
        slot->any_bits = 0;
        slot->all_bits = UINT64_MAX;
    }
    for (size_t i = 0; i < select->span_count; i++)
        split_span(select, &select->spans[i]);
    memcpy(wholes, select->slots, sizeof wholes);
    select->slot_count = 0;
    for (int s = 0; s < count; s++)
        slots_of_parts(select, &wholes[s]);
}

static inline int64_t *gather_span(struct select *select, const struct select_span *span, int shift,
                                   int64_t *end)
{
    const struct window window = select->window;
    const uint8_t *is_wanted = select->is_wanted;
    uint64_t width = distance_of(&window, window.high);

    for (size_t i = 0; i < span->count; i++) {
        int64_t value = span->values[i];
        uint64_t distance = distance_of(&window, value);

        __builtin_prefetch(span->values + i + AHEAD);
        if ((distance > width || is_wanted[bucket_at(distance, shift)]) && slot_of(select, value))
            *end++ = value;
    }
    return end;
}

/* The last pass: the few values that the slots hold, sorted; slot follows slot. */
static void slots_gather(struct select *select, uint64_t count)
{
    int64_t *values = arena_array(select->scratch, (size_t)count, sizeof *values), *end = values;

    for (size_t i = 0; i < select->span_count; i++)
        end = select->window.shift == 0
                  ? gather_span(select, &select->spans[i], 0, end)
                  : gather_span(select, &select->spans[i], select->window.shift, end);
    assert(end == values + count);
    stats_sort(values, (size_t)count);
    for (int s = 0; s < select->slot_count; s++) {
        const struct slot *slot = &select->slots[s];

        for (int r = 0; r < select->rank_count; r++)
            if (holds(slot, select->ranks[r]))
                select->found[r] = values[select->ranks[r] - slot->before];
        values += slot->count;
    }
}

void select_ranks(struct arena *scratch, const struct select_span *spans, size_t span_count,
                  const uint64_t *ranks, int rank_count, int64_t *found,
                  struct stats_totals *totals)
{
    struct select *select = arena_alloc(scratch, sizeof *select);
    uint64_t *counts = arena_array(scratch, BUCKETS, sizeof *counts), left;

    assert(rank_count >= 1 && rank_count <= SELECT_MAX_RANKS);
    *select = (struct select){ .scratch = scratch,
                               .spans = spans,
                               .span_count = span_count,
                               .ranks = ranks,
                               .rank_count = rank_count,
                               .found = found };
    select->is_wanted = arena_array(scratch, BUCKETS, sizeof *select->is_wanted);
    select->window = window_choose(spans, span_count);
    *totals = (struct stats_totals){ .min = INT64_MAX, .max = INT64_MIN };
    for (size_t s = 0; s < span_count; s++)
        count_span(&spans[s], &select->window, counts, totals);
    assert(ranks[rank_count - 1] < totals->count);
    slots_of_buckets(select, counts, totals);
    for (left = slots_settle(select); left > totals->count / 64 + 4096; left = slots_settle(select))
        slots_split(select);
    if (left > 0)
        slots_gather(select, left);
}
