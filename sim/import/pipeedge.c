/* pipeedge.c - the options of `import pipeedge`, and the tables that it writes. A request is a
 * microbatch: an executable with a profiled stage a layer, at batch 1. */
#include "sim/import/pipeedge.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "sim/import/bundle.h"
#include <string.h>

#define MIB 1048576.0
#define VALUE_BYTES 4
#define BUFFERS 2
#define MAX_BUFFERS 1000
#define MAX_BYTES 9.0e18

enum { KEY_MODEL = 0x300, KEY_BATCH, KEY_DTYPE, KEY_IN, KEY_OUT };

static const struct argp_option pipeedge_options[] = {
    { NULL, 0, NULL, 0, "PipeEdge:", 2 },
    { "model", KEY_MODEL, "NAME", 0, "This model alone (default: all profiled)", 2 },
    { "batch", KEY_BATCH, "N", 0, "Profiles of this batch_size: a microbatch (the only one)", 2 },
    { "dtype", KEY_DTYPE, "NAME", 0, "Profiles of this dtype, such as torch.float32 (the only one)",
      2 },
    { "buffers-in", KEY_IN, "N", 0, "Microbatches that wait for a stage (2)", 2 },
    { "buffers-out", KEY_OUT, "N", 0, "Microbatches that wait to be sent (2)", 2 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct pipeedge_settings *settings = state->input;

    switch (key) {
    case KEY_MODEL:
        settings->model = text;
        return 0;
    case KEY_BATCH:
        settings->batch = (int32_t)cli_int(state, "--batch", text, 1, 1000000);
        return 0;
    case KEY_DTYPE:
        settings->dtype = text;
        return 0;
    case KEY_IN:
        settings->buffers_in = (int32_t)cli_int(state, "--buffers-in", text, 0, MAX_BUFFERS);
        return 0;
    case KEY_OUT:
        settings->buffers_out = (int32_t)cli_int(state, "--buffers-out", text, 0, MAX_BUFFERS);
        return 0;
    case ARGP_KEY_INIT:
        pipeedge_defaults(settings);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void pipeedge_defaults(struct pipeedge_settings *settings)
{
    *settings = (struct pipeedge_settings){ .buffers_in = BUFFERS, .buffers_out = BUFFERS };
}

/* A whole number of bytes, no fewer. */
static int64_t bytes_of(double bytes)
{
    int64_t whole = bytes < MAX_BYTES ? (int64_t)bytes : (int64_t)MAX_BYTES;

    return whole + ((double)whole < bytes);
}

/* ---- cluster ---- */

static int32_t host_count(const struct pipeedge_files *files)
{
    int32_t count = 0;

    for (int32_t t = 0; t < files->type_count; t++)
        count += files->types[t].host_count;
    return count;
}

/* What is held must be less than a type's memory. */
static void write_devices(struct arena *arena, const struct pipeedge_files *files, struct out *out)
{
    struct cluster_device *devices = arena_array(arena, (size_t)host_count(files), sizeof *devices);
    int count = 0;

    for (int32_t t = 0; t < files->type_count; t++)
        for (int32_t h = 0; h < files->types[t].host_count; h++) {
            const struct pipeedge_type *type = &files->types[t];
            int64_t memory_bytes = bytes_of(type->mem_mb * MIB) - 1;

            devices[count++] =
                (struct cluster_device){ .name = type->hosts[h],
                                         .type = type->name,
                                         .node = type->hosts[h],
                                         .memory_bytes = memory_bytes > 0 ? memory_bytes : 1,
                                         .speed_ratio = 1,
                                         .address = "",
                                         .idle_w = -1,
                                         .busy_w = -1,
                                         .flop_per_s = -1,
                                         .encode_value_ps = -1,
                                         .decode_value_ps = -1 };
        }
    cluster_write_devices(out, devices, count);
}

/* All hosts on one switch: two of them talk at the lower of their rates, and nobody else does. */
static void write_links(struct import_job *job, const struct pipeedge_files *files, struct out *out)
{
    struct cluster_attachment *ends =
        arena_array(job->arena, (size_t)host_count(files), sizeof *ends);
    struct cluster_medium medium = { .name = "lan", .kind = CLUSTER_SWITCH, .attachments = ends };

    for (int32_t t = 0; t < files->type_count; t++)
        for (int32_t h = 0; h < files->types[t].host_count; h++)
            ends[medium.attachment_count++] =
                (struct cluster_attachment){ .node = files->types[t].hosts[h],
                                             .bits_per_s = files->types[t].bw_mbps * MIB,
                                             .efficiency_ratio = 1 };
    cluster_write_links(out, &medium, 1, import_meta_list(job));
}

/* ---- costs ---- */

static struct cost_stage stage_of(const struct pipeedge_settings *settings,
                                  const struct pipeedge_files *files,
                                  const struct pipeedge_type *type, int32_t m, int32_t layer)
{
    const struct pipeedge_model *model = &files->models[m];
    double batch_bytes = (double)VALUE_BYTES * files->batch;
    double in = batch_bytes * (layer > 0 ? model->values_out[layer - 1] : model->values_in);
    double out = batch_bytes * model->values_out[layer];

    return (struct cost_stage){
        .executable = model->name,
        .model = model->name,
        .stage = layer,
        .latency_ps = type->times_ps[m][layer],
        .weight_bytes = bytes_of(model->mem_mb[layer] * MIB),
        .activation_bytes = bytes_of(in * (1 + (layer > 0 ? settings->buffers_in : 0)) +
                                     out * (1 + settings->buffers_out)),
        .output_bytes = bytes_of(out),
        .batch = 1,
    };
}

static bool write_costs(struct import_job *job, const struct pipeedge_settings *settings,
                        const struct pipeedge_files *files, struct err *err)
{
    size_t most = 0;
    struct cost_stage *rows;

    for (int32_t m = 0; m < files->model_count; m++)
        most += (size_t)files->models[m].layers;
    rows = arena_array(job->arena, most, sizeof *rows);
    for (int32_t t = 0; t < files->type_count; t++) {
        const struct pipeedge_type *type = &files->types[t];
        struct out *out =
            bundle_open(job, arena_printf(job->arena, "costs/%s", type->name), "stages.csv", err);
        int count = 0;

        if (!out)
            return false;
        for (int32_t m = 0; m < files->model_count; m++)
            for (int32_t layer = 0; layer < files->models[m].layers; layer++)
                rows[count++] = stage_of(settings, files, type, m, layer);
        cost_write_stages(out, import_meta_list(job), rows, count);
    }
    return true;
}

/* ---- placement ---- */

static void write_placement(struct arena *arena, const struct pipeedge_files *files,
                            struct out *out)
{
    struct placement_row *rows = arena_array(arena, (size_t)files->stage_count, sizeof *rows);

    for (int32_t s = 0; s < files->stage_count; s++) {
        const struct pipeedge_stage *stage = &files->stages[s];

        rows[s] = (struct placement_row){ .service = files->models[0].name,
                                          .device = files->types[stage->type].hosts[stage->host],
                                          .model = "",
                                          .executable = files->models[0].name,
                                          .stage = s,
                                          .layer_first = stage->first - 1,
                                          .layer_last = stage->last - 1,
                                          .part_of = 1 };
    }
    placement_write(out, rows, files->stage_count);
}

bool pipeedge_import(struct import_job *job, const void *own, struct err *err)
{
    const struct pipeedge_settings *settings = own;
    struct pipeedge_files files;
    struct out *devices, *links, *placement;

    job->report.read = -1;
    if (job->file_count == 0)
        return err_set(err, ERR_USAGE,
                       "files are missing: models.yml device_types.yml devices.yml, "
                       "or the folder that has them");
    if (!bundle_check_output(job, err))
        return false;
    if (!pipeedge_read(job, settings, &files, err))
        return false;
    import_meta(job, "request", arena_printf(job->arena, "a microbatch of %d", (int)files.batch));
    devices = bundle_open(job, "cluster", "devices.csv", err);
    links = devices ? bundle_open(job, "cluster", "links.csv", err) : NULL;
    if (!links)
        return false;
    write_devices(job->arena, &files, devices);
    write_links(job, &files, links);
    if (!write_costs(job, settings, &files, err))
        return false;
    if (files.stage_count == 0)
        return true;
    placement = bundle_open(job, "", "placement.csv", err);
    if (placement)
        write_placement(job->arena, &files, placement);
    return placement != NULL;
}

static const struct argp pipeedge_argp = { .options = pipeedge_options, .parser = on_option };

const struct importer import_pipeedge = {
    .name = "pipeedge",
    .reads = "PipeEdge's models.yml, device_types.yml and devices.yml, and a schedule",
    .arguments = "MODELS.yml DEVICE_TYPES.yml DEVICES.yml [SCHEDULE.yml]|FOLDER",
    .text =
        "Writes cluster/ (devices.csv, links.csv) and costs/TYPE/stages.csv into the folder -o, "
        "and of a schedule (- HOST: [first, last]) placement.csv. A request is a microbatch, an "
        "executable of the model's name with a profiled stage a layer.\v"
        "Files may stand in any order: what they hold tells them apart. Mbps and MB are those of "
        "the scheduler, of 2^20. A stage may hold less than mem_MB: its layers, its "
        "largest layer's input and output, and the buffers of both. Names that "
        "match nothing, and hosts that are there twice, are errors.\n\n"
        "Example:\n"
        "  orrery-sim import pipeedge models.yml device_types.yml devices.yml -o in\n"
        "  orrery-sim place --algorithm pipeedge --objective period --costs in/costs \\\n"
        "      --cluster in/cluster -o placement.csv",
    .argp = &pipeedge_argp,
    .settings_bytes = sizeof(struct pipeedge_settings),
    .run = pipeedge_import,
};
