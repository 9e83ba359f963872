/* serving.c - see serving.h. */
#include "sim/cmd/serving.h"

#include "lib/base/err.h"
#include "lib/format/model.h"
#include "lib/policy/admit.h"
#include "lib/policy/batch.h"
#include "lib/policy/continuous.h"
#include "sim/engine/engine.h"

enum {
    KEY_DISPATCH = 0x400,
    KEY_ADMISSION,
    KEY_BATCH,
    KEY_KV_BLOCK,
    KEY_KV_BLOCKS,
    KEY_CHUNKS,
    KEY_PREFIX_CACHE,
    KEY_MEMORY,
    KEY_NETWORK,
    KEY_SWITCH_COST,
    KEY_COLLECTIVE,
    KEY_OVERLAP,
    KEY_IDLE_RESUME,
    KEY_KAPPA,
    KEY_SLO,
    KEY_SLO_TTFT,
    KEY_SLO_TPOT
};

static const struct argp_option options[] = {
    { "dispatch", KEY_DISPATCH, "NAME", 0,
      "least-idle (default), round-robin, least-outstanding, least-last-stage, random or sticky",
      3 },
    { "admission", KEY_ADMISSION, "NAME", 0,
      "none (default); slo: drop at dispatch what is predicted to miss its objective; late: drop "
      "it when its first stage would start",
      3 },
    { "batch", KEY_BATCH, "SPEC", 0,
      "none (default): first in, first out; fixed:N[:WAIT]: up to N items of a service at once "
      "(executables: in profiled sizes), the oldest waiting at most WAIT for others (0s by "
      "default); "
      "continuous:SEQS[:TOKENS]: a decoder's requests join and leave at every iteration, SEQS and "
      "TOKENS at most (2048 by default)",
      3 },
    { "kv-block", KEY_KV_BLOCK, "N", 0,
      "Continuous batches: tokens in a block of the cache of keys and values (16)", 3 },
    { "kv-blocks", KEY_KV_BLOCKS, "N", 0,
      "Continuous batches: blocks of each replica, as measured (default: what memory_bytes leaves "
      "beside weights, activations and reserved_bytes)",
      3 },
    { "chunked-prefill", KEY_CHUNKS, "on|off", 0,
      "Continuous batches: on (default): a prompt may take several iterations", 3 },
    { "prefix-cache", KEY_PREFIX_CACHE, "on|off", 0,
      "Continuous batches: on (default): blocks that hold the beginning of a prompt are found "
      "again, by prefix_tokens of sessions (of `run` also by --prefix-blocks)",
      3 },
    { "memory", KEY_MEMORY, "NAME", 0,
      "error (default): what does not fit into memory_bytes ends the run, weights before it "
      "starts; "
      "refuse: replicas that do not fit are left out, requests without room are refused; warn: the "
      "run goes on as if all fitted, and the report says what did not",
      3 },
    { "network", KEY_NETWORK, "NAME", 0,
      "flows: messages that meet on a link share it by max-min fairness; fifo: a port serves one "
      "message after the other; auto (default): flows, by way of fifo where no two routes meet and "
      "both give the same",
      3 },
    { "switch-cost", KEY_SWITCH_COST, "TIME", 0,
      "How long a device is taken when an epoch of the placement brings it something new (0s)", 3 },
    { "collective", KEY_COLLECTIVE, "NAME", 0,
      "How devices of one stage add up and share what they computed: ring (default), star or tree",
      3 },
    { "overlap", KEY_OVERLAP, "on|off", 0,
      "off (default): devices of a sliced stage that exchange something wait for one another "
      "before and behind it; on: each sends when it has something, and goes on when it has what it "
      "needs",
      3 },
    { "idle-resume", KEY_IDLE_RESUME, "on|off", 0,
      "on: a step of a model on a device that was idle for 60 ms pays what roofline.csv of its "
      "cost table says of waking up (on by default)",
      3 },
    { "kappa", KEY_KAPPA, "on|off", 0,
      "on: multiply computed steps by the kappa of the cost table's nearest anchor (off by "
      "default)",
      3 },
    { "slo", KEY_SLO, "TIME", 0, "Latency objective of requests without slo_s", 3 },
    { "slo-ttft", KEY_SLO_TTFT, "TIME", 0,
      "Objective of the time to the first token, of requests to models", 3 },
    { "slo-tpot", KEY_SLO_TPOT, "TIME", 0,
      "Objective of the time per output token behind the first, of decoders", 3 },
    { 0 }
};

static const char *const on_off_names[] = { "on", "off" };

static bool is_on(struct argp_state *state, const char *option, const char *text)
{
    return cli_choice(state, option, text, on_off_names, 2) == 0;
}

/* Of continuous batches. */
static error_t on_kv(int key, char *text, struct argp_state *state)
{
    struct serving *serving = state->input;
    struct serve_kv *kv = &serving->serve->kv;

    switch (key) {
    case KEY_KV_BLOCK:
        kv->block_tokens =
            (int32_t)cli_int(state, "--kv-block", text, 1, CONTINUOUS_MAX_BLOCK_TOKENS);
        serving->kv_option = "kv-block";
        return 0;
    case KEY_KV_BLOCKS:
        kv->block_count = (int32_t)cli_int(state, "--kv-blocks", text, 1, 1 << 26);
        serving->kv_option = "kv-blocks";
        return 0;
    case KEY_CHUNKS:
        kv->has_chunks = is_on(state, "--chunked-prefill", text);
        serving->kv_option = "chunked-prefill";
        return 0;
    case KEY_PREFIX_CACHE:
        kv->has_prefix_cache = is_on(state, "--prefix-cache", text);
        kv->must_share = kv->has_prefix_cache;
        serving->kv_option = "prefix-cache";
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What steps of models pay for, and what is good. */
static error_t on_step(int key, char *text, struct argp_state *state)
{
    struct serving *serving = state->input;

    switch (key) {
    case KEY_OVERLAP:
        serving->serve->has_overlap = is_on(state, "--overlap", text);
        return 0;
    case KEY_KAPPA:
        serving->serve->has_kappa = is_on(state, "--kappa", text);
        return 0;
    case KEY_IDLE_RESUME:
        serving->serve->has_idle_resume = is_on(state, "--idle-resume", text);
        return 0;
    case KEY_SLO:
        serving->metrics->slo_ps = cli_duration_positive_ps(state, "--slo", text);
        return 0;
    case KEY_SLO_TTFT:
        serving->metrics->slo_ttft_ps = cli_duration_positive_ps(state, "--slo-ttft", text);
        return 0;
    case KEY_SLO_TPOT:
        serving->metrics->slo_tpot_ps = cli_duration_positive_ps(state, "--slo-tpot", text);
        return 0;
    default:
        return on_kv(key, text, state);
    }
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct serving *serving = state->input;
    struct serve_options *serve = serving->serve;
    struct err err = ERR_INIT;

    switch (key) {
    case KEY_DISPATCH:
        serving->dispatch = text;
        serve->dispatch = (enum dispatch_kind)cli_choice(state, "--dispatch", text, dispatch_names,
                                                         DISPATCH_COUNT);
        return 0;
    case KEY_ADMISSION:
        serving->admission = text;
        serve->admission =
            (enum admit_kind)cli_choice(state, "--admission", text, admit_names, ADMIT_KIND_COUNT);
        return 0;
    case KEY_BATCH:
        if (!batch_parse(text, &serve->batch, &err))
            cli_error(state, "%s", err.text);
        return 0;
    case KEY_MEMORY:
        serve->memory = (enum serve_memory)cli_choice(state, "--memory", text, serve_memory_names,
                                                      SERVE_MEMORY_COUNT);
        return 0;
    case KEY_SWITCH_COST:
        serve->switch_cost_ps = cli_duration_ps(state, "--switch-cost", text);
        return 0;
    case KEY_NETWORK:
        serve->network = (enum serve_network)cli_choice(state, "--network", text,
                                                        serve_network_names, SERVE_NETWORK_COUNT);
        return 0;
    case KEY_COLLECTIVE:
        serve->collective = (enum collective_algorithm)cli_choice(
            state, "--collective", text, collective_algorithm_names, COLLECTIVE_ALGORITHM_COUNT);
        return 0;
    default:
        return on_step(key, text, state);
    }
}

const struct argp serving_argp = { .options = options, .parser = on_option };

struct serve_options serving_defaults(void)
{
    return (struct serve_options){
        .until_ps = ENGINE_NEVER,
        .max_requests = SIZE_MAX,
        .fast_path = SERVE_FAST_ON,
        .has_idle_resume = true,
        .kv = { .block_tokens = 16, .has_chunks = true, .has_prefix_cache = true }
    };
}

void serving_check_end(const struct argp_state *state, const struct serving *serving)
{
    if (serving->kv_option && serving->serve->batch.kind != BATCH_CONTINUOUS)
        cli_error(state, "--%s is of --batch continuous, which is missing", serving->kv_option);
}

bool serving_check(const struct serving *serving, const struct model *const *models, int count,
                   bool has_objective, struct err *err)
{
    bool has_model = false, has_decoder = false;

    for (int i = 0; i < count; i++) {
        has_model = has_model || models[i];
        has_decoder = has_decoder || (models[i] && models[i]->kind == MODEL_DECODER);
    }
    if (serving->serve->admission != ADMIT_NONE && !has_objective && serving->metrics->slo_ps == 0)
        return err_set(
            err, ERR_USAGE,
            "--admission %s: no request has an objective that it could miss: give --slo, "
            "or slo_s in the workload",
            admit_names[serving->serve->admission]);
    if (serving->metrics->slo_ttft_ps > 0 && !has_model)
        return err_set(err, ERR_USAGE, "--slo-ttft: executables have no first token");
    if (serving->metrics->slo_tpot_ps > 0 && !has_decoder)
        return err_set(err, ERR_USAGE, "--slo-tpot: no service is a decoder");
    return true;
}
