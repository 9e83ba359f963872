/* exchange.c - from an operation of a pass to its messages. */
#include "lib/policy/exchange.h"

#include "lib/base/arena.h"
#include "lib/base/wide.h"

#define VALUE_BYTES 4

static enum collective_kind collective_of(enum pass_kind kind)
{
    switch (kind) {
    case PASS_BROADCAST:
        return COLLECTIVE_BROADCAST;
    case PASS_SCATTER:
        return COLLECTIVE_SCATTER;
    case PASS_GATHER:
        return COLLECTIVE_GATHER;
    case PASS_REDUCE:
        return COLLECTIVE_REDUCE;
    case PASS_ALL_GATHER:
        return COLLECTIVE_ALL_GATHER;
    case PASS_REDUCE_SCATTER:
        return COLLECTIVE_REDUCE_SCATTER;
    case PASS_ALL_REDUCE:
        return COLLECTIVE_ALL_REDUCE;
    case PASS_SEND:
    case PASS_EXCHANGE:
    case PASS_COMPUTE:
    case PASS_KIND_COUNT:
        break;
    }
    return COLLECTIVE_SEND;
}

/* Every message at once. */
static void from_pass(struct arena *arena, const struct pass *pass, const struct pass_step *step,
                      struct exchange *exchange)
{
    struct exchange_message *messages =
        arena_array(arena, (size_t)step->message_count + 1, sizeof *messages);

    for (int32_t i = 0; i < step->message_count; i++) {
        const struct pass_message *message = &pass->messages[step->first_message + i];

        messages[i] = (struct exchange_message){ .from = message->from,
                                                 .to = message->to,
                                                 .pass_message = step->first_message + i };
    }
    exchange->messages = messages;
    exchange->message_count = step->message_count;
    exchange->slot_count = 1;
}

const struct exchange *exchange_build(struct arena *arena, const struct pass *pass,
                                      const struct pass_step *step,
                                      enum collective_algorithm algorithm)
{
    struct exchange *exchange = arena_alloc(arena, sizeof *exchange);
    int64_t *sizes = arena_array(arena, (size_t)step->count, sizeof *sizes); /* of no matter */
    const struct collective *collective;
    struct exchange_message *messages;

    if (step->kind == PASS_EXCHANGE) {
        from_pass(arena, pass, step, exchange);
        return exchange;
    }
    collective = collective_steps_of(arena, collective_of(step->kind), algorithm, step->count,
                                     sizes, step->root);
    messages = arena_array(arena, (size_t)collective->step_count + 1, sizeof *messages);
    for (int32_t i = 0; i < collective->step_count; i++) {
        const struct collective_step *of = &collective->steps[i];

        messages[i] = (struct exchange_message){ .from = of->from,
                                                 .to = of->to,
                                                 .slot = of->slot,
                                                 .first_part = of->first_part,
                                                 .part_count = of->part_count,
                                                 .is_sum = of->is_sum,
                                                 .first_dep = of->first_dep,
                                                 .dep_count = of->dep_count,
                                                 .pass_message = -1 };
    }
    *exchange = (struct exchange){ collective->step_count, collective->dep_count,
                                   collective->slot_count, messages, collective->deps };
    return exchange;
}

bool exchange_is_even(enum pass_kind kind)
{
    return kind == PASS_SEND || kind == PASS_BROADCAST || kind == PASS_REDUCE ||
           kind == PASS_ALL_REDUCE;
}

int64_t exchange_before(int64_t vector_bytes, int32_t part, int32_t parts)
{
    uint64_t rest;
    uint64_t values = (uint64_t)(vector_bytes / VALUE_BYTES);

    return VALUE_BYTES *
           (int64_t)wide_div(wide_mul(values, (uint64_t)part), (uint64_t)parts, &rest);
}

int64_t exchange_bytes(const struct pass *pass, const struct pass_step *step,
                       const struct exchange_message *message, int32_t tokens, int32_t sequences)
{
    const struct pass_member *members = &pass->members[step->first];
    /* pass.h counts one last row */
    int64_t times = step->is_last_row ? sequences : 1, sum_bytes = 0;
    int64_t vector_bytes = times * pass_vector_bytes(step, tokens);

    if (message->pass_message >= 0)
        return times * pass_message_bytes(step, &pass->messages[message->pass_message], tokens);
    if (exchange_is_even(step->kind) && message->part_count == step->count)
        return vector_bytes;
    for (int32_t i = 0; i < message->part_count; i++) {
        int32_t part = (message->first_part + i) % step->count;

        sum_bytes += exchange_is_even(step->kind)
                         ? exchange_before(vector_bytes, part + 1, step->count) -
                               exchange_before(vector_bytes, part, step->count)
                         : times * pass_part_bytes(step, &members[part], tokens);
    }
    return sum_bytes;
}
