/* azure_llm.c - Azure LLM inference traces of 2023 and later: one row a request, with its tokens.
 */
#include "sim/import/azure.h"

#include "lib/base/csv.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/format/workload.h"

static bool read_row(const struct csv *csv, const struct azure_settings *settings,
                     struct replay *replay, struct err *err)
{
    struct replay_row row = { .line = csv_line(csv) };

    if (!instant_parse_date(csv_text(csv, AZURE_TIMESTAMP), &row.at))
        return csv_bad(csv, AZURE_TIMESTAMP, err, "expected a date such as 2023-11-16 18:15:46.68");
    if (!csv_int32(csv, AZURE_CONTEXT_TOKENS, 0, DIST_MAX_TOKENS, &row.prompt_tokens, err) ||
        !csv_int32(csv, AZURE_GENERATED_TOKENS, 0, DIST_MAX_TOKENS, &row.output_tokens, err))
        return false;
    replay_see(replay, row.at);
    if (row.prompt_tokens == 0) {
        import_drop(replay->job, "without context tokens", 1);
        return true;
    }
    if (row.output_tokens == 0 && !settings->keeps_empty) {
        import_drop(replay->job, "without generated tokens", 1);
        return true;
    }
    row.output_tokens = row.output_tokens > 0 ? row.output_tokens : 1;
    replay_add(replay, &row);
    return true;
}

bool azure_read_llm(struct import_job *job, const struct azure_settings *settings, struct csv *csv,
                    struct err *err)
{
    static const char *const default_service[] = { "llm" };
    struct replay *replay = replay_create(job, &settings->replay, csv_path(csv));
    const struct workload *workload;

    while (csv_next(csv, err)) {
        job->report.read++;
        if (!read_row(csv, settings, replay, err))
            return false;
    }
    if (err->kind != ERR_NONE || !replay_slice(replay, err) || !import_check_kept(job, err))
        return false;
    workload = replay_workload(
        replay, settings->replay.service_count > 0 ? settings->replay.services : default_service,
        err);
    return workload && import_write_workload(job, job->output, workload, err);
}
