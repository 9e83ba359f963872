/* options.c - the command line of the coordinator. */
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/policy/batch.h"
#include "lib/wire/channel.h"
#include "runner/coordinator/coordinator.h"
#include <math.h>
#include <string.h>

#define MAX_PAD_RATIO 1e6

enum key {
    KEY_CLUSTER = 256,
    KEY_MODELS,
    KEY_LISTEN,
    KEY_KEYS,
    KEY_LOCAL,
    KEY_WAIT,
    KEY_DISPATCH,
    KEY_BATCH,
    KEY_COLLECTIVE,
    KEY_KV_BLOCK,
    KEY_KV_BLOCKS,
    KEY_CHUNKS,
    KEY_CLAMP,
    KEY_SEED,
    KEY_PAD,
    KEY_EVENTS,
    KEY_ON_FAILURE,
    KEY_REJOIN_WAIT,
    KEY_REQUESTS_OUT,
    KEY_STAGES_OUT,
    KEY_TRANSFERS_OUT,
    KEY_JSON,
};

static const struct argp_option option_list[] = {
    { NULL, 0, NULL, 0, "What to run:", 1 },
    { "placement", 'p', "P.csv", 0, "Which device executes what (required)", 0 },
    { "workload", 'w', "W.csv", 0, "Which requests arrive when (required)", 0 },
    { "cluster", KEY_CLUSTER, "DIR", 0,
      "Folder with devices.csv (default: the placement's devices, one thread each); its links.csv "
      "and memory_bytes describe the devices to the simulator, while a run uses the network and "
      "the memory that are there",
      0 },
    { "models", KEY_MODELS, "FILE", 0, "Models beside the built-in catalogue", 0 },
    { "seed", KEY_SEED, "N", 0, "Of weights, prompts and random dispatch (default 1)", 0 },

    { NULL, 0, NULL, 0, "Workers:", 2 },
    { "local", KEY_LOCAL, NULL, 0, "Start one worker process for each device on this machine", 0 },
    { "listen", KEY_LISTEN, "HOST:PORT", 0,
      "Where workers connect (default 127.0.0.1:0, a free port, printed on stderr)", 0 },
    { "keys", KEY_KEYS, "DIR", 0,
      "Folder with the cluster's keys (`orrery-run keys`): everything is encrypted, and workers "
      "without the same keys are turned away",
      0 },
    { "wait", KEY_WAIT, "DURATION", 0,
      "How long to wait for workers to join (default 60s, with --local 10s)", 0 },
    { "pad", KEY_PAD, "DEVICE=RATIO", 0,
      "Make every step of this device last RATIO times what its cost table says (with --costs)",
      0 },
    { "costs", 'c', "DIR", 0, "Cost table of a device type, or a folder of such", 0 },

    { "on-failure", KEY_ON_FAILURE, "RULE", 0,
      "What becomes of requests under way on a worker that is lost: fail, or replay from their "
      "beginning on another replica (default fail)",
      0 },
    { "rejoin-wait", KEY_REJOIN_WAIT, "DURATION", 0,
      "How long to go on without any replica, for a worker that comes back (default: not at all)",
      0 },
    { "events", KEY_EVENTS, "F.csv", 0,
      "A drill, as orrery-sim run has it: kill the workers of devices that go down, and start them "
      "again when they are up (with --local)",
      0 },

    { NULL, 0, NULL, 0, "Decisions:", 3 },
    { "dispatch", KEY_DISPATCH, "RULE", 0,
      "least-idle, round-robin, least-outstanding, random, sticky or least-last-stage (default "
      "least-idle)",
      0 },
    { "batch", KEY_BATCH, "RULE", 0,
      "none: one request a step; fixed:N[:WAIT]: up to N requests together, padded, the oldest "
      "waiting so long for others; continuous:SEQS[:TOKENS]: at every iteration up to SEQS "
      "requests "
      "and TOKENS tokens (default none; max_batch of the placement's rows goes before N and SEQS)",
      0 },
    { "kv-block", KEY_KV_BLOCK, "N", 0,
      "Continuous batches: tokens in a block of the cache of keys and values (16)", 0 },
    { "kv-blocks", KEY_KV_BLOCKS, "N", 0,
      "Continuous batches: blocks of each replica (default: as many as SEQS of the longest "
      "requests take)",
      0 },
    { "chunked-prefill", KEY_CHUNKS, "on|off", 0,
      "Continuous batches: whether a prompt may take several steps (on)", 0 },

    { "collective", KEY_COLLECTIVE, "HOW", 0,
      "How devices of one stage broadcast, gather and reduce: ring, star or tree (default ring)",
      0 },

    { "wire-clamp", KEY_CLAMP, NULL, 0,
      "Clamp values that stages send in few bits (wire_bits), as PipeEdge does for values that are "
      "mostly small",
      0 },

    { NULL, 0, NULL, 0, "Results:", 4 },
    { "requests-out", KEY_REQUESTS_OUT, "R.csv", 0,
      "When each request started and ended (required)", 0 },
    { "stages-out", KEY_STAGES_OUT, "S.csv", 0, "When each stage computed each step (required)",
      0 },
    { "transfers-out", KEY_TRANSFERS_OUT, "T.csv", 0, "When each message was sent and received",
      0 },
    { "json", KEY_JSON, NULL, 0, "Print the summary as JSON, times in seconds", 0 },
    { 0 },
};

static const char *const on_off[] = { "on", "off" };
static const char *const failure_rules[] = { "fail", "replay" };

struct coordinator_options coordinator_defaults(void)
{
    return (struct coordinator_options){
        .listen = "127.0.0.1:0",
        .dispatch = DISPATCH_LEAST_IDLE,
        .batching = { .has_chunks = true },
        .seed = 1,
    };
}

static void add_pad(struct argp_state *state, struct coordinator_options *options, char *text)
{
    char *equals = strrchr(text, '=');
    double ratio;

    if (!equals || equals == text || !units_parse_double(equals + 1, &ratio) || !(ratio > 0) ||
        ratio > MAX_PAD_RATIO) {
        cli_error(state, "--pad is '%s': expected DEVICE=RATIO with a ratio above 0, such as pi0=4",
                  text);
        return;
    }
    if (options->pad_count == COORDINATOR_MAX_PADS) {
        cli_error(state, "--pad: at most %d devices", COORDINATOR_MAX_PADS);
        return;
    }
    *equals = '\0';
    options->pads[options->pad_count++] = (struct assign_pad){ text, ratio };
}

static void add_costs(struct argp_state *state, struct coordinator_options *options,
                      const char *path)
{
    if (options->cost_count == COORDINATOR_MAX_COSTS)
        cli_error(state, "--costs: at most %d folders", COORDINATOR_MAX_COSTS);
    else
        options->costs[options->cost_count++] = path;
}

static void check(struct argp_state *state, struct coordinator_options *options)
{
    if (options->wait_ps == 0) /* people start workers on other machines by hand */
        options->wait_ps = (options->is_local ? 10 : 60) * UNITS_PS_PER_S;
    if (!options->placement)
        cli_error(state, "--placement is missing");
    else if (!options->workload)
        cli_error(state, "--workload is missing");
    else if (!options->requests_out)
        cli_error(state, "--requests-out is missing");
    else if (!options->stages_out)
        cli_error(state, "--stages-out is missing");
    else if (options->batching.batch.kind != BATCH_CONTINUOUS &&
             (options->batching.block_tokens > 0 || options->batching.block_count > 0 ||
              options->has_chunk_option))
        cli_error(state, "--kv-block, --kv-blocks and --chunked-prefill are of --batch continuous");
    else if (options->events && !options->is_local)
        cli_error(state, "--events needs --local: it kills workers of this machine alone");
    else if (options->pad_count > 0 && options->cost_count == 0)
        cli_error(state, "--pad needs --costs");
}

static bool parse_path(int key, const char *text, struct coordinator_options *options)
{
    switch (key) {
    case 'p':
        options->placement = text;
        return true;
    case KEY_CLUSTER:
        options->cluster = text;
        return true;
    case 'w':
        options->workload = text;
        return true;
    case KEY_MODELS:
        options->models = text;
        return true;
    case KEY_REQUESTS_OUT:
        options->requests_out = text;
        return true;
    case KEY_STAGES_OUT:
        options->stages_out = text;
        return true;
    case KEY_TRANSFERS_OUT:
        options->transfers_out = text;
        return true;
    case KEY_KEYS:
        options->keys = text;
        return true;
    case KEY_EVENTS:
        options->events = text;
        return true;
    default:
        return false;
    }
}

static void check_batch(struct argp_state *state, struct coordinator_options *options,
                        const char *text)
{
    struct err err = ERR_INIT;
    struct batch_options *batch = &options->batching.batch;

    if (!batch_parse(text, batch, &err))
        cli_error(state, "%s", err.text);
}

/* Options of batches. */
static bool parse_batching(int key, char *text, struct argp_state *state)
{
    struct coordinator_options *options = state->input;

    switch (key) {
    case KEY_BATCH:
        check_batch(state, options, text);
        return true;
    case KEY_KV_BLOCK:
        options->batching.block_tokens =
            (int32_t)cli_int(state, "--kv-block", text, 1, CONTINUOUS_MAX_BLOCK_TOKENS);
        return true;
    case KEY_KV_BLOCKS:
        options->batching.block_count = (int32_t)cli_int(state, "--kv-blocks", text, 1, 1 << 26);
        return true;
    case KEY_CHUNKS:
        options->batching.has_chunks = cli_choice(state, "--chunked-prefill", text, on_off, 2) == 0;
        options->has_chunk_option = true;
        return true;
    default:
        return false;
    }
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct coordinator_options *options = state->input;
    struct err err = ERR_INIT;

    if (parse_path(key, text, options) || parse_batching(key, text, state))
        return 0;
    switch (key) {
    case KEY_LISTEN:
        options->listen = text;
        if (!channel_check_address("--listen", text, &err))
            cli_error(state, "%s", err.text);
        return 0;
    case KEY_LOCAL:
        options->is_local = true;
        return 0;
    case KEY_WAIT:
        options->wait_ps = cli_duration_positive_ps(state, "--wait", text);
        return 0;
    case KEY_DISPATCH:
        options->dispatch = (enum dispatch_kind)cli_choice(state, "--dispatch", text,
                                                           dispatch_names, DISPATCH_COUNT);
        return 0;
    case KEY_CLAMP:
        options->has_clamp = true;
        return 0;
    case KEY_COLLECTIVE:
        options->collective = (enum collective_algorithm)cli_choice(
            state, "--collective", text, collective_algorithm_names, COLLECTIVE_ALGORITHM_COUNT);
        return 0;
    case KEY_ON_FAILURE:
        options->replays = cli_choice(state, "--on-failure", text, failure_rules, 2) == 1;
        return 0;
    case KEY_REJOIN_WAIT:
        options->rejoin_wait_ps = cli_duration_ps(state, "--rejoin-wait", text);
        return 0;
    case KEY_SEED:
        options->seed = (uint64_t)cli_int(state, "--seed", text, 0, INT64_MAX);
        return 0;
    case KEY_PAD:
        add_pad(state, options, text);
        return 0;
    case 'c':
        add_costs(state, options, text);
        return 0;
    case KEY_JSON:
        options->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s': expected options, or the word 'worker' first", text);
        return 0;
    case ARGP_KEY_END:
        check(state, options);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp coordinator_argp = {
    option_list,
    parse_option,
    NULL,
    "Executes a placement for real: the kernels that orrery-profile times, the placement that "
    "orrery-sim simulates, requests at the instants of the workload. Without a command it "
    "coordinates a run and writes what happened; `orrery-run worker` is one device of it and ends "
    "with the run, `orrery-run keys` makes the keys of an encrypted cluster, `orrery-run status` "
    "asks a run how it goes, `orrery-run update` gives it another placement (each has --help).\n"
    "Exit status: 0 done; 1 done, but requests failed; 2 could not be done."
    "\v"
    "On one machine, workers included:\n"
    "  orrery-run --local --placement P.csv --workload W.csv \\\n"
    "             --requests-out R.csv --stages-out S.csv\n"
    "On a cluster, here and then on each board:\n"
    "  orrery-run --listen 0.0.0.0:5555 --cluster DIR \\\n"
    "             --placement P.csv --workload W.csv \\\n"
    "             --requests-out R.csv --stages-out S.csv\n"
    "  orrery-run worker --device pi0 --connect 192.168.1.10:5555",
    NULL,
    NULL,
    NULL
};
