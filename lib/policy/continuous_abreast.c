/* continuous_abreast.c - requests that decode abreast: each of them computes one token in every
 * step, so that one clock tells how far all of them are. What a step does to them takes no look at
 * any of them.
 *
 * Without a prefix cache, and without a limit on what one request computes in a step, at most one
 * running request is catching up behind a step, and it is the last: those before it decode. They
 * stay abreast until blocks run short (continuous_scatter); behind the step they line up again. */
#include "lib/policy/continuous_state.h"

#define CLOCK_LIMIT (1 << 30)
#define FEW 16

/* Tokens in its last block at clock 0, if it had been there. */
static int32_t phase_of(const struct continuous *c, int64_t behind_clock)
{
    int32_t block_tokens = c->options.block_tokens, rest;

    if (c->block_shift >= 0)
        return (int32_t)((uint64_t)behind_clock & (uint64_t)(block_tokens - 1));
    rest = (int32_t)(behind_clock % block_tokens);
    return rest < 0 ? rest + block_tokens : rest;
}

static void join(struct continuous *c, struct request *request)
{
    int64_t due;

    request->computed -= (int32_t)c->clock;
    due = (int64_t)request->end - 1 - request->computed;
    c->abreast_tokens += request->computed;
    c->phases[phase_of(c, request->computed)]++;
    c->abreast_due = c->abreast == 0 || due < c->abreast_due ? due : c->abreast_due;
    c->abreast++;
}

static void leave(struct continuous *c, struct request *request)
{
    c->abreast_tokens -= request->computed;
    c->phases[phase_of(c, request->computed)]--;
    request->computed = (int32_t)(request->computed + c->clock);
    request->reached = request->computed + 1;
    request->block_count = continuous_blocks(c, request->computed);
    request->room = request->block_count * c->options.block_tokens;
}

void continuous_scatter(struct continuous *c)
{
    for (int32_t k = 0; k < c->abreast; k++)
        leave(c, &c->requests[c->running[k]]);
    c->abreast = 0;
}

void continuous_line_up(struct continuous *c)
{
    if (c->clock > CLOCK_LIMIT)
        continuous_scatter(c);
    if (c->abreast == 0)
        c->clock = 0;
    while (c->abreast < c->running_count && c->requests[c->running[c->abreast]].is_decoding)
        join(c, &c->requests[c->running[c->abreast]]);
}

static int64_t blocks_of_each(const struct continuous *c, int32_t steps)
{
    const struct request *requests = c->requests;
    const int32_t *running = c->running;
    int32_t need = 0;

    for (int32_t k = 0; k < c->abreast; k++) {
        int32_t computed = (int32_t)(requests[running[k]].computed + c->clock);

        need += continuous_blocks(c, computed + steps) - continuous_blocks(c, computed);
    }
    return need;
}

/* By phases: those in phase `at` begin a block in the next step, those in the phase before in the
 * one after that. */
int64_t continuous_abreast_blocks(const struct continuous *c, int32_t steps)
{
    int32_t block_tokens = c->options.block_tokens, at = phase_of(c, -c->clock), rest;
    int64_t need;

    if (steps == 1)
        return c->phases[at];
    if (c->abreast <= FEW && c->block_shift >= 0) /* quicker, and no guess how many phases */
        return blocks_of_each(c, steps);
    rest = phase_of(c, steps);
    need = (int64_t)((steps - rest) / block_tokens) * c->abreast;
    for (; rest > 0; rest--) {
        need += c->phases[at];
        at = at > 0 ? at - 1 : block_tokens - 1;
    }
    return need;
}

/* Who ends is a coin toss: no branch on it. */
int32_t continuous_abreast_finish(struct continuous *c)
{
    int32_t *running = c->running, count = c->abreast, kept = 0, gone = 0;
    struct request *requests = c->requests;
    int64_t due = INT64_MAX, clock = c->clock;

    for (int32_t k = 0; k < count; k++) {
        int32_t index = running[k];
        int64_t own = (int64_t)requests[index].end - 1 - requests[index].computed;
        int64_t later = own > clock ? own : INT64_MAX;

        running[kept] = index;
        c->leaving[gone] = index;
        kept += own > clock;
        gone += own <= clock;
        due = later < due ? later : due;
    }
    for (int32_t k = 0; k < gone; k++) {
        leave(c, &requests[c->leaving[k]]);
        continuous_remove(c, c->leaving[k]);
    }
    c->abreast = kept;
    c->abreast_due = due;
    return count;
}
