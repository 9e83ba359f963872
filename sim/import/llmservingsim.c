/* llmservingsim.c - LLMServingSim (casys-kaist, MIT): which file is which, and the tables that come
 * of them. Profiles are read in llmservingsim_profile.c, traces in llmservingsim_trace.c. */
#include "sim/import/llmservingsim.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/out.h"
#include "lib/format/cluster.h"
#include "sim/import/bundle.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_BLOCK_TOKENS 16
#define MAX_FILES 64 /* of a folder */

enum { KEY_MODEL = 0x300, KEY_TYPE, KEY_SERVICE, KEY_WEIGHT_BITS, KEY_KV_BITS, KEY_KV_BLOCK };

static const struct argp_option llmservingsim_options[] = {
    { NULL, 0, NULL, 0, "LLMServingSim:", 2 },
    { "model", KEY_MODEL, "NAME", 0,
      "Model that was profiled: of the catalogue, or a config.json (default: as meta.csv says)",
      2 },
    { "type", KEY_TYPE, "NAME", 0, "Device type of the cost table (default: device of meta.csv)",
      2 },
    { "service", KEY_SERVICE, "NAME", 0, "Service of requests and placement (chat)", 2 },
    { "weight-bits", KEY_WEIGHT_BITS, "N", 0, "8, 16 or 32 (default: dtype of meta.csv, else 16)",
      2 },
    { "kv-bits", KEY_KV_BITS, "N", 0, "8, 16 or 32 (default: 16, with weights of 32 bits 32)", 2 },
    { "kv-block", KEY_KV_BLOCK, "N", 0,
      "Tokens in a block of token ids (default: block_size of meta.csv, else 16)", 2 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct llmservingsim_settings *settings = state->input;

    switch (key) {
    case KEY_MODEL:
        settings->model = text;
        return 0;
    case KEY_TYPE:
        settings->type = text;
        return 0;
    case KEY_SERVICE:
        settings->service = text;
        return 0;
    case KEY_WEIGHT_BITS:
        settings->weight_bits = bundle_bits(state, "--weight-bits", text);
        return 0;
    case KEY_KV_BITS:
        settings->kv_bits = bundle_bits(state, "--kv-bits", text);
        return 0;
    case KEY_KV_BLOCK:
        settings->block_tokens = (int32_t)cli_int(state, "--kv-block", text, 1, 65536);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- which file is which ---- */

static bool has_field(const char *header, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = header; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        at += *at == '"';
        if (strncmp(at, name, length) == 0 && strchr(",\"", at[length]) != NULL)
            return true;
    }
    return false;
}

/* By the header; -1: another table. */
static int input_of_header(const char *header)
{
    if (header[0] == '{')
        return LLMSERVINGSIM_TRACE;
    if (has_field(header, "layer") && has_field(header, "tokens"))
        return LLMSERVINGSIM_DENSE;
    if (has_field(header, "layer") && has_field(header, "sequences"))
        return LLMSERVINGSIM_SEQUENCES;
    if (has_field(header, "prefill_chunk") && has_field(header, "n_decode"))
        return LLMSERVINGSIM_ATTENTION;
    if (has_field(header, "key") && has_field(header, "value"))
        return LLMSERVINGSIM_META;
    if (has_field(header, "chain_id"))
        return LLMSERVINGSIM_BLOCKS;
    if (has_field(header, "arrival_s") && !has_field(header, "finish_s"))
        return LLMSERVINGSIM_WORKLOAD;
    return -1;
}

static bool sniff(struct import_job *job, const char *path, int *input, struct err *err)
{
    struct lines *lines = lines_open(job->arena, path, err);
    char *text = NULL;

    *input = -1;
    while (lines && (text = lines_next(lines, err)) != NULL && (*text == '#' || *text == '\0'))
        continue;
    if (text)
        *input = input_of_header(strncmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text);
    if (lines)
        lines_close(lines);
    return err->kind == ERR_NONE;
}

static bool place_file(struct import_job *job, const char *path, bool is_named,
                       const char *paths[LLMSERVINGSIM_INPUT_COUNT], struct err *err)
{
    int input;

    if (!sniff(job, path, &input, err))
        return false;
    if (input < 0)
        return !is_named ||
               err_at(err, path, 0, 0,
                      "neither a profile, meta.csv, workload, prefix blocks nor a JSON trace");
    if (paths[input])
        return err_at(err, path, 0, 0, "the same kind of table as %s", paths[input]);
    paths[input] = path;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;

    return strcmp(*left, *right);
}

static bool is_table_name(const char *name)
{
    const char *dot = strrchr(name, '.');

    return name[0] != '.' && dot && (strcmp(dot, ".csv") == 0 || strcmp(dot, ".jsonl") == 0);
}

/* Tables of a folder, in order of name; those of other kinds are passed over. */
static bool place_folder(struct import_job *job, const char *folder,
                         const char *paths[LLMSERVINGSIM_INPUT_COUNT], struct err *err)
{
    DIR *dir = opendir(folder);
    const char *files[MAX_FILES];
    int count = 0;

    if (!dir)
        return err_errno(err, folder);
    for (const struct dirent *entry = readdir(dir); entry && count < MAX_FILES;
         entry = readdir(dir))
        if (is_table_name(entry->d_name))
            files[count++] = arena_printf(job->arena, "%s/%s", folder, entry->d_name);
    closedir(dir);
    qsort(files, (size_t)count, sizeof *files, compare_names);
    for (int i = 0; i < count; i++)
        if (!place_file(job, files[i], false, paths, err))
            return false;
    return true;
}

static bool place_inputs(struct import_job *job, const char *paths[LLMSERVINGSIM_INPUT_COUNT],
                         struct err *err)
{
    bool has_any = false;

    if (job->file_count == 0)
        return err_set(err, ERR_USAGE, "a FILE is missing: tables, or the folder that has them");
    for (int i = 0; i < job->file_count; i++) {
        const char *path = job->files[i];
        struct stat status;

        if (strcmp(path, "-") == 0)
            return err_set(err, ERR_USAGE, "-: expected files, which are looked at twice");
        if (stat(path, &status) != 0)
            return err_errno(err, path);
        if (S_ISDIR(status.st_mode) ? !place_folder(job, path, paths, err)
                                    : !place_file(job, path, true, paths, err))
            return false;
    }
    for (int i = 0; i < LLMSERVINGSIM_INPUT_COUNT; i++)
        has_any = has_any || (paths[i] && i != LLMSERVINGSIM_META);
    if (!has_any)
        return err_at(err, job->files[0], 0, 0, "no profile and no requests in it");
    if (paths[LLMSERVINGSIM_TRACE] && paths[LLMSERVINGSIM_WORKLOAD])
        return err_at(err, paths[LLMSERVINGSIM_TRACE], 0, 0, "requests are in %s already",
                      paths[LLMSERVINGSIM_WORKLOAD]);
    return !paths[LLMSERVINGSIM_BLOCKS] || paths[LLMSERVINGSIM_WORKLOAD] ||
           err_at(err, paths[LLMSERVINGSIM_BLOCKS], 0, 0,
                  "its workload is missing: give both, or a folder with both");
}

/* ---- outputs ---- */

static const char *service_of(const struct llmservingsim_settings *settings)
{
    return settings->service ? settings->service : "chat";
}

static bool write_cluster(struct import_job *job, const struct llmservingsim_meta *meta,
                          const char *type, struct err *err)
{
    struct cluster_device device = { .name = "gpu0",
                                     .type = type,
                                     .node = "gpu0",
                                     .memory_bytes = meta->memory_bytes,
                                     .threads = 1,
                                     .speed_ratio = 1,
                                     .address = "",
                                     .idle_w = -1,
                                     .encode_value_ps = -1,
                                     .decode_value_ps = -1,
                                     .busy_w = -1,
                                     .flop_per_s = -1 };
    struct out *out = bundle_open(job, "cluster", "devices.csv", err);

    if (out)
        cluster_write_devices(out, &device, 1);
    return out != NULL;
}

static bool write_placement(struct import_job *job, const char *service, const char *model,
                            struct err *err)
{
    struct out *out = bundle_open(job, "", "placement.csv", err);

    if (out) {
        out_text(out, "# orrery: placement 1\nservice,replica,stage,device,model,layers,block\n");
        out_csv(out, service);
        out_text(out, ",0,0,gpu0,");
        out_csv(out, model);
        out_text(out, ",,all\n");
    }
    return out != NULL;
}

/* How the engine was set up: what a run needs to be told. */
static void note_options(struct import_job *job, const struct llmservingsim_meta *meta,
                         bool has_blocks)
{
    const char *text = "";

    if (meta->max_seqs > 0)
        text = arena_printf(
            job->arena, "--batch continuous:%d%s", meta->max_seqs,
            meta->token_budget > 0 ? arena_printf(job->arena, ":%d", meta->token_budget) : "");
    if (meta->block_tokens > 0)
        text = arena_printf(job->arena, "%s --kv-block %d", text, meta->block_tokens);
    if (meta->kv_blocks > 0)
        text = arena_printf(job->arena, "%s --kv-blocks %d", text, meta->kv_blocks);
    if (has_blocks)
        text = arena_printf(job->arena, "%s --prefix-blocks prefix-blocks.csv", text);
    if (meta->kv_blocks > 0 || meta->max_seqs > 0)
        import_note(job, "as the engine ran: %s", text);
}

static bool write_profile(struct import_job *job, const struct llmservingsim_settings *settings,
                          const char *const paths[LLMSERVINGSIM_INPUT_COUNT],
                          const struct llmservingsim_meta *meta, struct err *err)
{
    const struct model *model = llmservingsim_model(job, settings, meta, err), *part;
    const char *type = settings->type ? settings->type : bundle_type(job->arena, meta->device);
    int32_t parts = meta->tensor_parallel > 0 ? meta->tensor_parallel : 1;
    struct llmservingsim_profile profile;
    struct out *out;

    if (!model)
        return false;
    part = model_slice(job->arena, model, parts, err);
    if (!part || !llmservingsim_read_profile(job, paths, part, &profile, err))
        return false;
    for (int i = LLMSERVINGSIM_DENSE; i <= LLMSERVINGSIM_ATTENTION; i++)
        if (!paths[i])
            import_note(job, "without a table of %s",
                        i == LLMSERVINGSIM_DENSE       ? "layers against tokens"
                        : i == LLMSERVINGSIM_SEQUENCES ? "layers against sequences"
                                                       : "attention");
    import_note(job, "%d points of %s on '%s'", profile.row_count + profile.engine_count,
                model->name, type);
    import_meta(job, "engine", meta->engine[0] ? meta->engine : NULL);
    out = bundle_open(job, arena_printf(job->arena, "costs/%s", type), "kernels.csv", err);
    if (!out)
        return false;
    cost_write_engine(out, meta->device, import_meta_list(job), profile.rows, profile.row_count,
                      profile.engine_rows, profile.engine_count);
    if (parts > 1) {
        import_note(job, "a part of %d of the model: no placement is written", parts);
        return true;
    }
    return bundle_write_model(job, model, err) && write_cluster(job, meta, type, err) &&
           write_placement(job, service_of(settings), model->name, err);
}

static bool write_requests(struct import_job *job, const struct llmservingsim_settings *settings,
                           const char *const paths[LLMSERVINGSIM_INPUT_COUNT],
                           const struct llmservingsim_meta *meta, bool *has_blocks, struct err *err)
{
    int32_t known = meta->block_tokens > 0 ? meta->block_tokens : DEFAULT_BLOCK_TOKENS;
    int32_t block_tokens = settings->block_tokens > 0 ? settings->block_tokens : known;
    struct prefix_blocks *blocks = NULL;
    struct workload *workload = NULL;
    struct out *out;

    if (paths[LLMSERVINGSIM_TRACE])
        workload = llmservingsim_read_trace(job, paths[LLMSERVINGSIM_TRACE], service_of(settings),
                                            block_tokens, &blocks, err);
    else
        workload = workload_load(job->arena, paths[LLMSERVINGSIM_WORKLOAD], err);
    if (!workload)
        return false;
    if (paths[LLMSERVINGSIM_BLOCKS]) {
        blocks = prefix_blocks_load(job->arena, paths[LLMSERVINGSIM_BLOCKS], workload, err);
        if (!blocks || !prefix_blocks_fit(blocks, workload, block_tokens, err))
            return false;
        blocks->block_tokens = block_tokens;
    }
    import_note(job, "%zu requests%s", workload->count,
                blocks ? "" : ", nothing said of what they share");
    out = bundle_open(job, "", "workload.csv", err);
    if (!out)
        return false;
    workload_write(out, workload, import_meta_list(job));
    *has_blocks = blocks != NULL;
    if (!blocks)
        return true;
    out = bundle_open(job, "", "prefix-blocks.csv", err);
    if (out)
        prefix_blocks_write(out, blocks, workload, import_meta_list(job));
    return out != NULL;
}

bool llmservingsim_import(struct import_job *job, const void *from, struct err *err)
{
    const struct llmservingsim_settings *settings = from;
    const char *paths[LLMSERVINGSIM_INPUT_COUNT] = { NULL };
    struct llmservingsim_meta meta;
    bool has_blocks = false;

    job->report.read = -1;
    if (!place_inputs(job, paths, err) ||
        !llmservingsim_read_meta(job, paths[LLMSERVINGSIM_META], &meta, err))
        return false;
    if ((paths[LLMSERVINGSIM_DENSE] || paths[LLMSERVINGSIM_SEQUENCES] ||
         paths[LLMSERVINGSIM_ATTENTION]) &&
        !write_profile(job, settings, paths, &meta, err))
        return false;
    if ((paths[LLMSERVINGSIM_TRACE] || paths[LLMSERVINGSIM_WORKLOAD]) &&
        !write_requests(job, settings, paths, &meta, &has_blocks, err))
        return false;
    note_options(job, &meta, has_blocks);
    return true;
}

static const struct argp llmservingsim_argp = { .options = llmservingsim_options,
                                                .parser = on_option };

const struct importer import_llmservingsim = {
    .name = "llmservingsim",
    .reads = "LLMServingSim: profile tables, meta.csv, request traces with token ids",
    .arguments = "FILE...",
    .text =
        "Reads tables of LLMServingSim, or the folder that has them, and writes into the folder "
        "-o. "
        "Of profiles (layers against tokens, layers against sequences, attention of mixed "
        "batches): costs/<type>/kernels.csv, models.csv, cluster/ and placement.csv. Of requests "
        "(a "
        "JSON object a line, or a workload and prefix blocks): workload.csv and "
        "prefix-blocks.csv.\v"
        "Tables are told apart by their columns, whatever their names are. In a folder other "
        "tables "
        "are passed over. meta.csv names model, device and dtype, whose memory it is, and how the "
        "engine was set up: its limits are printed as options of `orrery-sim run`. qk_norm and "
        "rotary_emb are one row, rope.\n\n"
        "Example: orrery-sim import llmservingsim rtx4090_llama3.1-8b_tp1 -o rtx4090",
    .argp = &llmservingsim_argp,
    .settings_bytes = sizeof(struct llmservingsim_settings),
    .run = llmservingsim_import,
};
