/* collective_alone.c - closed forms of collectives on links that are theirs alone. */
#include "lib/policy/collective.h"

#include "lib/base/units.h"
#include <assert.h>

static int64_t add(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t times(int64_t count, int64_t value)
{
    return value > 0 && count > INT64_MAX / value ? INT64_MAX : count * value;
}

static int64_t wire_ps(const struct collective_link *link, int64_t bytes)
{
    return units_mul_div(bytes, 8 * UNITS_PS_PER_S * 1000, link->rate_millibits_per_s);
}

/* slots one after the other, of messages of so many bytes each; count of them in all, of which the
 * ports of a switch carry one a slot at once. */
static int64_t slots_ps(const struct collective_link *link, int64_t slots, int64_t count,
                        int64_t bytes)
{
    int64_t message_ps = add(link->per_message_ps, wire_ps(link, bytes));

    return add(times(slots, link->latency_ps), times(link->is_shared ? count : slots, message_ps));
}

/* ---- ring ---- */

static int64_t ring_ps(enum collective_kind kind, int64_t n, int64_t part,
                       const struct collective_link *link)
{
    int64_t turn_ps = slots_ps(link, n - 1, n * (n - 1), part);
    int64_t way_ps = slots_ps(link, n - 1, n * (n - 1) / 2, part);

    switch (kind) {
    case COLLECTIVE_SEND:
    case COLLECTIVE_BROADCAST:
        return slots_ps(link, 2 * (n - 1), n * (n - 1), part);
    case COLLECTIVE_SCATTER:
    case COLLECTIVE_GATHER:
        return way_ps;
    case COLLECTIVE_ALL_GATHER:
    case COLLECTIVE_REDUCE_SCATTER:
        return turn_ps;
    case COLLECTIVE_REDUCE:
        return add(turn_ps, way_ps);
    case COLLECTIVE_ALL_REDUCE:
        return add(turn_ps, turn_ps);
    case COLLECTIVE_KIND_COUNT:
        assert(0);
    }
    return 0;
}

/* ---- star and tree: one way between the root and the others ---- */

/* All messages share the root's port; what they cost is paid by the root on the way out, by each
 * for itself on the way in. */
static int64_t star_way_ps(const struct collective_link *link, int64_t n, int64_t bytes, int is_out)
{
    int64_t payments = link->is_shared || is_out ? n - 1 : 1;

    return add(add(link->latency_ps, times(payments, link->per_message_ps)),
               wire_ps(link, times(n - 1, bytes)));
}

static int64_t log2_up(int64_t n)
{
    int64_t slots = 0;

    while ((INT64_C(1) << slots) < n)
        slots++;
    return slots;
}

/* The whole vector in every message. */
static int64_t tree_whole_ps(const struct collective_link *link, int64_t n, int64_t bytes)
{
    return slots_ps(link, log2_up(n), n - 1, bytes);
}

/* The parts of a subtree in a message: in the slot of bit b, b parts from each of n / 2 b. */
static int64_t tree_parts_ps(const struct collective_link *link, int64_t n, int64_t part)
{
    int64_t slots = log2_up(n), sum_ps = times(slots, link->latency_ps);

    for (int64_t bit = 1; bit < n; bit *= 2) {
        int64_t most = bit < n - bit ? bit : n - bit, count = 0, parts = 0;

        for (int64_t i = bit; link->is_shared && i < n; i += 2 * bit) {
            count++;
            parts += i + bit <= n ? bit : n - i;
        }
        sum_ps = add(sum_ps, add(times(link->is_shared ? count : 1, link->per_message_ps),
                                 wire_ps(link, times(link->is_shared ? parts : most, part))));
    }
    return sum_ps;
}

static int64_t whole_ps(enum collective_algorithm algorithm, const struct collective_link *link,
                        int64_t n, int64_t bytes, int is_out)
{
    return algorithm == COLLECTIVE_STAR ? star_way_ps(link, n, bytes, is_out)
                                        : tree_whole_ps(link, n, bytes);
}

static int64_t parts_ps(enum collective_algorithm algorithm, const struct collective_link *link,
                        int64_t n, int64_t part, int is_out)
{
    return algorithm == COLLECTIVE_STAR ? star_way_ps(link, n, part, is_out)
                                        : tree_parts_ps(link, n, part);
}

static int64_t rooted_ps(enum collective_kind kind, enum collective_algorithm algorithm, int64_t n,
                         int64_t bytes, int64_t part, const struct collective_link *link)
{
    switch (kind) {
    case COLLECTIVE_SEND:
    case COLLECTIVE_BROADCAST:
        return whole_ps(algorithm, link, n, bytes, 1);
    case COLLECTIVE_SCATTER:
        return parts_ps(algorithm, link, n, part, 1);
    case COLLECTIVE_GATHER:
        return parts_ps(algorithm, link, n, part, 0);
    case COLLECTIVE_REDUCE:
        return whole_ps(algorithm, link, n, bytes, 0);
    case COLLECTIVE_ALL_GATHER:
        return add(parts_ps(algorithm, link, n, part, 0),
                   algorithm == COLLECTIVE_STAR ? star_way_ps(link, n, times(n - 1, part), 1)
                                                : tree_whole_ps(link, n, bytes));
    case COLLECTIVE_REDUCE_SCATTER:
        return add(whole_ps(algorithm, link, n, bytes, 0), parts_ps(algorithm, link, n, part, 1));
    case COLLECTIVE_ALL_REDUCE:
        return add(whole_ps(algorithm, link, n, bytes, 0), whole_ps(algorithm, link, n, bytes, 1));
    case COLLECTIVE_KIND_COUNT:
        assert(0);
    }
    return 0;
}

int64_t collective_alone_ps(enum collective_kind kind, enum collective_algorithm algorithm,
                            int32_t participants, int64_t bytes, const struct collective_link *link)
{
    int64_t part;

    assert(participants >= 1 && bytes >= 0 && link->rate_millibits_per_s > 0);
    part = bytes / participants + (bytes % participants > 0); /* the largest */
    if (participants == 1)
        return 0;
    if (kind == COLLECTIVE_SEND)
        return slots_ps(link, 1, 1, bytes);
    return algorithm == COLLECTIVE_RING
               ? ring_ps(kind, participants, part, link)
               : rooted_ps(kind, algorithm, participants, bytes, part, link);
}
