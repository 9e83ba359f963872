/* burstgpt.c - BurstGPT: requests of a campus to ChatGPT and GPT-4 (Wang et al., 2024), CC BY 4.0.
 *
 * Columns: Timestamp (seconds), Model, Request tokens, Response tokens, Total tokens, Log Type; the
 * later files also Session ID and Elapsed time, which are not used. A row with 0 response tokens is
 * a request that failed. */
#include "sim/import/burstgpt.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/csv.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/format/names.h"
#include <string.h>

enum column {
    TIMESTAMP,
    MODEL,
    REQUEST_TOKENS,
    RESPONSE_TOKENS,
    TOTAL_TOKENS,
    LOG_TYPE,
    SESSION_ID,
    CONVERSATION_ID,
    ELAPSED_TIME,
    COLUMN_COUNT
};

static const struct csv_column columns[COLUMN_COUNT] = {
    [TIMESTAMP] = { "Timestamp", true },           [MODEL] = { "Model", true },
    [REQUEST_TOKENS] = { "Request tokens", true }, [RESPONSE_TOKENS] = { "Response tokens", true },
    [TOTAL_TOKENS] = { "Total tokens", false },    [LOG_TYPE] = { "Log Type", false },
    [SESSION_ID] = { "Session ID", false },        [CONVERSATION_ID] = { "Conversation ID", false },
    [ELAPSED_TIME] = { "Elapsed time", false },
};

enum { KEY_LOG_TYPE = 0x300, KEY_MODEL, KEY_KEEP_FAILED };

static const struct argp_option burstgpt_options[] = {
    { NULL, 0, NULL, 0, "BurstGPT:", 3 },
    { "log-type", KEY_LOG_TYPE, "TEXT", 0,
      "Only rows with this Log Type, such as 'API log' or 'Conversation log'", 3 },
    { "model", KEY_MODEL, "TEXT", 0, "Only rows with this Model, such as GPT-4", 3 },
    { "keep-failed", KEY_KEEP_FAILED, NULL, 0,
      "Keep rows with 0 response tokens, as requests for 1 output token (default: dropped)", 3 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct burstgpt_settings *settings = state->input;

    switch (key) {
    case KEY_LOG_TYPE:
        settings->log_type = text;
        return 0;
    case KEY_MODEL:
        settings->model = text;
        return 0;
    case KEY_KEEP_FAILED:
        settings->keeps_failed = true;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &settings->replay;
        return 0;
    case ARGP_KEY_END:
        if (settings->replay.service_count > 1)
            cli_error(state, "--service is given twice: expected one name for all rows, or none "
                             "for a service a model");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Whether the row is one of those asked for; says why not. */
static bool is_wanted(const struct csv *csv, const struct burstgpt_settings *settings,
                      struct import_job *job)
{
    const char *why = NULL;

    if (settings->log_type && strcmp(csv_text(csv, LOG_TYPE), settings->log_type) != 0)
        why = "of another log type";
    else if (settings->model && strcmp(csv_text(csv, MODEL), settings->model) != 0)
        why = "of another model";
    if (why)
        import_drop(job, why, 1);
    return !why;
}

static bool read_row(const struct csv *csv, struct names *names,
                     const struct burstgpt_settings *settings, struct replay *replay,
                     struct err *err)
{
    struct replay_row row = { .line = csv_line(csv) };
    int32_t total = 0;

    if (!instant_parse_seconds(csv_text(csv, TIMESTAMP), &row.at))
        return csv_bad(csv, TIMESTAMP, err, "expected decimal seconds");
    if (!csv_has(csv, MODEL))
        return csv_bad(csv, MODEL, err, "expected the name of a model");
    if (!csv_int32(csv, REQUEST_TOKENS, 0, DIST_MAX_TOKENS, &row.prompt_tokens, err) ||
        !csv_int32(csv, RESPONSE_TOKENS, 0, DIST_MAX_TOKENS, &row.output_tokens, err) ||
        (csv_has(csv, TOTAL_TOKENS) && !csv_int32(csv, TOTAL_TOKENS, 0, INT32_MAX, &total, err)))
        return false;
    replay_see(replay, row.at);
    if (!is_wanted(csv, settings, replay->job))
        return true;
    if (row.prompt_tokens == 0) {
        import_drop(replay->job, "without request tokens", 1);
        return true;
    }
    if (row.output_tokens == 0 && !settings->keeps_failed) {
        import_drop(replay->job, "failed (0 response tokens)", 1);
        return true;
    }
    row.output_tokens = row.output_tokens > 0 ? row.output_tokens : 1;
    row.service = names_put(names, settings->replay.service_count > 0 ? settings->replay.services[0]
                                                                      : csv_text(csv, MODEL));
    replay_add(replay, &row);
    return true;
}

bool burstgpt_import(struct import_job *job, const void *from, struct err *err)
{
    const struct burstgpt_settings *settings = from;
    struct names *names = names_create(job->arena);
    struct replay *replay;
    struct workload *workload;
    const char *path;
    struct csv *csv;

    if (!import_one_file(job, &path, err))
        return false;
    csv = csv_open(job->arena, path, NULL, columns, COLUMN_COUNT, err);
    if (!csv)
        return false;
    if (settings->log_type && !csv_has_column(csv, LOG_TYPE))
        err_at(err, csv_path(csv), 0, 0, "no column 'Log Type', which --log-type asks for");
    replay = replay_create(job, &settings->replay, csv_path(csv));
    while (err->kind == ERR_NONE && csv_next(csv, err)) {
        job->report.read++;
        if (!read_row(csv, names, settings, replay, err))
            break;
    }
    csv_close(csv);
    if (err->kind != ERR_NONE || !replay_slice(replay, err) || !import_check_kept(job, err))
        return false;
    import_meta(job, "model", settings->model);
    import_meta(job, "log_type", settings->log_type);
    replay_meta(job, &settings->replay);
    workload = replay_workload(replay, names_list(names), err);
    return workload && import_write_workload(job, job->output, workload, err);
}

static const struct argp_child children[] = { { &replay_argp, 0, NULL, 0 }, { 0 } };
static const struct argp burstgpt_argp = { .options = burstgpt_options,
                                           .parser = on_option,
                                           .children = children };

const struct importer import_burstgpt = {
    .name = "burstgpt",
    .reads = "BurstGPT: CSV of requests to ChatGPT and GPT-4, a service a model",
    .arguments = "FILE",
    .text = "Reads BurstGPT (Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type) "
            "and writes a workload with tokens. Services are the models, or one name for all with "
            "--service.\v"
            "Times count from the first row of the file. Rows with 0 response tokens failed and "
            "are dropped, and so are rows without request tokens; the counts are printed.\n\n"
            "Example: orrery-sim import burstgpt BurstGPT_1.csv --log-type 'API log' \\\n"
            "    --until 1h --service chat -o w.csv",
    .argp = &burstgpt_argp,
    .settings_bytes = sizeof(struct burstgpt_settings),
    .run = burstgpt_import,
};
