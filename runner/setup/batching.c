/* batching.c - sequences, tokens and KV blocks of a replica's batches, by the simulator's rules. */
#include "runner/setup/batching.h"

#include "lib/base/err.h"
#include "lib/format/model.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "lib/policy/step_price.h"
#include "lib/wire/frame.h"
#include "runner/setup/setup.h"

#define MAX_BLOCKS (1 << 26)

int32_t batching_fixed_size(const struct batch_options *batch, const struct plan_replica *replica)
{
    if (batch->kind == BATCH_CONTINUOUS)
        return 1;
    return plan_replica_batch(replica, batch->kind == BATCH_FIXED ? batch->max_size : 1);
}

int64_t batching_longest(const struct workload *workload)
{
    int64_t most = 0;

    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request row = workload_at(workload, i);
        int64_t tokens = (int64_t)row.prompt_tokens + row.output_tokens;

        most = tokens > most ? tokens : most;
    }
    return most;
}

/* As many blocks as max_seqs of the longest requests take: devices.csv describes the memory of
 * devices to the simulator, a worker looks at its own. */
static int32_t blocks_of_any(const struct continuous_options *options, const struct model *model,
                             int64_t longest_tokens)
{
    int64_t tokens = longest_tokens, each, all;

    if (model->max_context > 0 && tokens > model->max_context)
        tokens = model->max_context;
    each = (tokens + options->block_tokens - 1) / options->block_tokens;
    all = (each > 0 ? each : 1) * options->max_seqs;
    return all < MAX_BLOCKS ? (int32_t)all : MAX_BLOCKS;
}

struct plan_replica batching_chain(const struct plan_replica *replica, bool is_decoding)
{
    struct plan_replica chain = *replica;

    if (!plan_replica_is_split(replica))
        return chain;
    if (is_decoding) {
        chain.stages = replica->decode_stages;
        chain.stage_count = replica->decode_count;
    }
    chain.decode_stages = chain.stages;
    chain.decode_count = chain.total_count = chain.stage_count;
    return chain;
}

bool batching_of(const struct batching *batching, const struct plan_replica *replica,
                 const struct model *model, int64_t longest_tokens,
                 struct continuous_options *options, struct err *err)
{
    bool is_decoder = model->kind == MODEL_DECODER;

    *options = (struct continuous_options){
        .max_seqs = plan_replica_batch(replica, batching->batch.max_seqs),
        .token_budget = batching->batch.token_budget,
        .block_tokens = batching->block_tokens > 0 ? batching->block_tokens : BATCHING_BLOCK_TOKENS,
        .max_in_flight = replica->stage_count,
        /* tokens of an encoder look at one another: it makes one pass, and leaves no cache */
        .has_chunks = batching->has_chunks && is_decoder,
    };
    if (options->max_seqs > SETUP_MAX_SEQS)
        return err_set(err, ERR_USAGE,
                       "--batch continuous: MAX_SEQS is %d: expected at most %d in a run",
                       options->max_seqs, SETUP_MAX_SEQS);
    if (options->token_budget == 0)
        options->token_budget =
            continuous_default_budget(options->max_seqs, options->has_chunks, model->max_context);
    if (options->token_budget < options->max_seqs)
        return err_set(err, ERR_USAGE,
                       "--batch continuous: TOKEN_BUDGET is %d: expected at least MAX_SEQS, %d",
                       options->token_budget, options->max_seqs);
    if (options->token_budget > STEP_PRICE_MAX_TOKENS)
        return err_set(err, ERR_USAGE,
                       "--batch continuous: TOKEN_BUDGET is %d: expected at most %d",
                       options->token_budget, STEP_PRICE_MAX_TOKENS);
    options->block_count = !is_decoder ? MAX_BLOCKS
                           : batching->block_count > 0
                               ? batching->block_count
                               : blocks_of_any(options, model, longest_tokens);
    return true;
}
