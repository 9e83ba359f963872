/* lengths.c - draws of prompt, output and items: one number of its own stream each. */
#include "sim/generate/lengths.h"

#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"

bool lengths_check(const struct generate_options *options, struct err *err)
{
    if (options->output && !options->prompt && !options->replay) /* whose rows have prompts */
        return err_set(err, ERR_USAGE, "--output needs --prompt: a decoder has both");
    if (options->items && dist_mean(options->items) > GENERATE_MAX_BATCH)
        return err_set(err, ERR_USAGE, "--items has a mean of %g: expected at most %d items",
                       dist_mean(options->items), GENERATE_MAX_BATCH);
    return true;
}

struct lengths lengths_begin(uint64_t seed, uint64_t entity)
{
    struct lengths lengths;

    lengths.prompt = rng_stream(seed, RNG_PROMPT_TOKENS, entity);
    lengths.output = rng_stream(seed, RNG_OUTPUT_TOKENS, entity);
    lengths.items = rng_stream(seed, RNG_BATCH_ITEMS, entity);
    return lengths;
}

void lengths_draw(struct lengths *lengths, const struct generate_options *options,
                  struct workload_request *request)
{
    if (options->prompt)
        request->prompt_tokens = (int32_t)dist_draw(options->prompt, &lengths->prompt);
    if (options->output)
        request->output_tokens = (int32_t)dist_draw(options->output, &lengths->output);
    if (options->items) {
        int64_t items = dist_draw(options->items, &lengths->items);

        /* The far end of a tail, as dist.h cuts that of tokens. */
        request->batch = items < GENERATE_MAX_BATCH ? (int32_t)items : GENERATE_MAX_BATCH;
    }
}
