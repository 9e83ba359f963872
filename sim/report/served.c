/* served.c - the options of a run, from what they were read into. */
#include "sim/report/served.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/policy/collective.h"
#include "sim/llm/llm.h"
#include "sim/serve/serve.h"
#include <inttypes.h>

#define MOST_PAIRS 16

struct pairs {
    struct arena *arena;
    const char **list;
    int count;
};

static void add(struct pairs *pairs, const char *option, const char *value)
{
    pairs->list[pairs->count++] = option;
    pairs->list[pairs->count++] = value;
}

static const char *seconds(const struct pairs *pairs, int64_t time_ps)
{
    char text[UNITS_TEXT_BYTES];

    return arena_strdup(pairs->arena, units_format_seconds(time_ps, text));
}

static const char *batch_text(const struct pairs *pairs, const struct batch_options *batch)
{
    switch (batch->kind) {
    case BATCH_NONE:
    case BATCH_KIND_COUNT:
        break;
    case BATCH_FIXED:
        return batch->wait_ps > 0 ? arena_printf(pairs->arena, "fixed:%d:%ss", batch->max_size,
                                                 seconds(pairs, batch->wait_ps))
                                  : arena_printf(pairs->arena, "fixed:%d", batch->max_size);
    case BATCH_CONTINUOUS:
        return batch->token_budget > 0
                   ? arena_printf(pairs->arena, "continuous:%d:%d", batch->max_seqs,
                                  batch->token_budget)
                   : arena_printf(pairs->arena, "continuous:%d", batch->max_seqs);
    }
    return batch_names[BATCH_NONE];
}

static void add_kv(struct pairs *pairs, const struct serve_kv *kv)
{
    add(pairs, "kv-block", arena_printf(pairs->arena, "%d", kv->block_tokens));
    if (kv->block_count > 0)
        add(pairs, "kv-blocks", arena_printf(pairs->arena, "%d", kv->block_count));
    add(pairs, "chunked-prefill", kv->has_chunks ? "on" : "off");
    add(pairs, "prefix-cache", kv->has_prefix_cache ? "on" : "off");
}

const char *const *served_options(struct arena *arena, const struct serve_options *options,
                                  const struct serve_result *result)
{
    struct pairs pairs = { arena, arena_array(arena, 2 * MOST_PAIRS + 1, sizeof(char *)), 0 };

    if (options->rules != SERVE_DEFAULT)
        add(&pairs, "rules", serve_rules_names[options->rules]);
    add(&pairs, "batch", batch_text(&pairs, &options->batch));
    add(&pairs, "dispatch", dispatch_names[options->dispatch]);
    if (result->continuous)
        add_kv(&pairs, &options->kv);
    if (options->admission != ADMIT_NONE)
        add(&pairs, "admission", admit_names[options->admission]);
    if (options->memory != SERVE_MEMORY_ERROR)
        add(&pairs, "memory", serve_memory_names[options->memory]);
    if (options->network == SERVE_NETWORK_FIFO)
        add(&pairs, "network", serve_network_names[options->network]);
    if (result->passes_count > 0) {
        add(&pairs, "collective", collective_algorithm_names[options->collective]);
        add(&pairs, "overlap", options->has_overlap ? "on" : "off");
    }
    if (!options->has_idle_resume)
        add(&pairs, "idle-resume", "off");
    if (options->has_kappa)
        add(&pairs, "kappa", "on");
    if (options->switch_cost_ps > 0)
        add(&pairs, "switch-cost",
            arena_printf(arena, "%ss", seconds(&pairs, options->switch_cost_ps)));
    return pairs.list;
}
