/* kafetzis.c - the options of `import kafetzis`, and the tables that it writes. */
#include "sim/import/kafetzis.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/trace.h"
#include "lib/format/workload.h"
#include "sim/import/bundle.h"
#include <string.h>
#include <sys/stat.h>

#define GIB 1073741824.0
#define BITS 8
#define FFN_WIDTHS 4 /* of a standard decoder; the program has no such number */
#define MAX_STEPS 1000000

enum { KEY_CONFIG = 0x300, KEY_ALGORITHM, KEY_STEPS };

static const struct argp_option kafetzis_options[] = {
    { NULL, 0, NULL, 0, "Of a folder of tables:", 3 },
    { "config", KEY_CONFIG, "NAME", 0, "Which environment (default: the only one)", 3 },
    { "algorithm", KEY_ALGORITHM, "NAME", 0,
      "Whose placement, by results.csv and heads.csv (default: none is written)", 3 },
    { "steps", KEY_STEPS, "N", 0, "Tokens that the request generates (default 1)", 3 },
    { 0 }
};

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct kafetzis_settings *settings = state->input;

    switch (key) {
    case KEY_CONFIG:
        settings->config = text;
        return 0;
    case KEY_ALGORITHM:
        settings->algorithm = text;
        return 0;
    case KEY_STEPS:
        settings->steps = (int32_t)cli_int(state, "--steps", text, 1, MAX_STEPS);
        return 0;
    case ARGP_KEY_INIT:
        kafetzis_defaults(settings);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void kafetzis_defaults(struct kafetzis_settings *settings)
{
    *settings = (struct kafetzis_settings){ .steps = 1 };
}

/* ---- models ---- */

const struct kafetzis_size kafetzis_sizes[KAFETZIS_SIZE_COUNT] = {
    { "SMALL", "small", 8, 512 },
    { "MEDIUM", "medium", 16, 1024 },
    { "LARGE", "large", 32, 2048 },
    { "EXTRA_LARGE", "extra_large", 64, 4096 },
};

struct kafetzis_model kafetzis_model_of(struct arena *arena, int32_t heads, int32_t width,
                                        int32_t precision_bytes)
{
    struct kafetzis_model model = { NULL, heads, width, precision_bytes };

    for (int i = 0; i < KAFETZIS_SIZE_COUNT; i++)
        if (kafetzis_sizes[i].heads == heads && kafetzis_sizes[i].width == width)
            model.name = kafetzis_sizes[i].service;
    if (!model.name)
        model.name = arena_printf(arena, "%dx%d", heads, width);
    return model;
}

static const char *model_name(struct arena *arena, const struct kafetzis_model *model)
{
    return arena_printf(arena, "kafetzis-%s", model->name);
}

/* One decoder layer without a vocabulary: 1 is the least that a model has. */
static void write_models(struct arena *arena, const struct kafetzis_environment *environment,
                         struct out *out)
{
    size_t count = (size_t)environment->model_count;
    struct model *models = arena_array(arena, count, sizeof *models);
    const struct model **list = arena_array(arena, count, sizeof *list);

    for (size_t i = 0; i < count; i++) {
        const struct kafetzis_model *from = &environment->models[i];

        models[i] = (struct model){ .name = model_name(arena, from),
                                    .kind = MODEL_DECODER,
                                    .ffn = MODEL_GELU,
                                    .norm = MODEL_LAYERNORM,
                                    .positions = MODEL_LEARNED,
                                    .layers = 1,
                                    .hidden = from->width,
                                    .heads = from->heads,
                                    .kv_heads = from->heads,
                                    .head_dim = from->width / from->heads,
                                    .ffn_hidden = FFN_WIDTHS * from->width,
                                    .vocab = 1,
                                    .weight_bits = BITS * from->precision_bytes,
                                    .kv_bits = BITS * from->precision_bytes };
        list[i] = &models[i];
    }
    model_write(out, list, (int)count);
}

/* ---- cluster ---- */

/* The source's device stands where requests come from. */
static const char *node_of(const struct kafetzis_environment *environment, int32_t device)
{
    return device == environment->source ? CLUSTER_SOURCE : environment->devices[device].name;
}

static void write_devices(struct arena *arena, const struct kafetzis_environment *environment,
                          struct out *out)
{
    struct cluster_device *devices =
        arena_array(arena, (size_t)environment->device_count, sizeof *devices);

    for (int32_t i = 0; i < environment->device_count; i++) {
        const struct kafetzis_device *from = &environment->devices[i];

        devices[i] = (struct cluster_device){ .name = from->name,
                                              .type = from->tier,
                                              .node = node_of(environment, i),
                                              .memory_bytes = dmath_round(from->memory_gib * GIB),
                                              .speed_ratio = 1,
                                              .address = "",
                                              .idle_w = -1,
                                              .encode_value_ps = -1,
                                              .decode_value_ps = -1,
                                              .busy_w = -1,
                                              .flop_per_s = from->flop_per_s };
    }
    cluster_write_devices(out, devices, environment->device_count);
}

static void write_links(struct import_job *job, const struct kafetzis_environment *environment,
                        struct out *out)
{
    size_t count = (size_t)environment->link_count;
    struct cluster_medium *media = arena_array(job->arena, count, sizeof *media);
    struct cluster_attachment *ends = arena_array(job->arena, 2 * count, sizeof *ends);

    for (int32_t i = 0; i < environment->link_count; i++) {
        const struct kafetzis_link *link = &environment->links[i];
        struct cluster_attachment *pair = &ends[(ptrdiff_t)2 * i];

        pair[0] = pair[1] = (struct cluster_attachment){
            .bits_per_s = link->gib_per_s * GIB * BITS, /* exact: a power of two */
            .efficiency_ratio = 1,
        };
        pair[0].node = node_of(environment, link->a);
        pair[1].node = node_of(environment, link->b);
        media[i] = (struct cluster_medium){
            .name = arena_printf(job->arena, "%s-%s", environment->devices[link->a].name,
                                 environment->devices[link->b].name),
            .kind = CLUSTER_SWITCH,
            .attachment_count = 2,
            .attachments = pair,
        };
    }
    cluster_write_links(out, media, environment->link_count, import_meta_list(job));
}

/* ---- placement ---- */

static struct placement_row *add_row(struct placement_row *rows, int *count,
                                     const struct placement_row *like, unsigned blocks,
                                     const char *device)
{
    struct placement_row *row = &rows[(*count)++];

    *row = *like;
    row->blocks = blocks;
    row->device = device;
    row->layer_first = row->layer_last =
        blocks == 1u << BLOCK_EMBED || blocks == 1u << BLOCK_LM_HEAD ? -1 : 0;
    return row;
}

/* Heads in order of devices; both ends of the model stand where requests come from. */
static void write_placement(struct arena *arena, const struct kafetzis_environment *environment,
                            struct out *out)
{
    const struct kafetzis_placement *placement = &environment->placement;
    const struct kafetzis_device *devices = environment->devices;
    const struct kafetzis_model *model = &environment->models[0];
    const struct placement_row like = {
        .service = model->name, .model = model_name(arena, model), .executable = "", .part_of = 1
    };
    struct placement_row *rows =
        arena_array(arena, (size_t)environment->device_count + 4, sizeof *rows);
    int count = 0, next = 0;

    (void)add_row(rows, &count, &like, 1u << BLOCK_EMBED, devices[environment->source].name);
    for (int32_t i = 0; i < environment->device_count; i++) {
        struct placement_row *row;

        if (placement->heads[i] == 0)
            continue;
        row = add_row(rows, &count, &like, 1u << BLOCK_ATTN, devices[i].name);
        row->part_first = next;
        row->part_last = next + placement->heads[i] - 1;
        row->part_of = model->heads;
        next += placement->heads[i];
    }
    (void)add_row(rows, &count, &like, 1u << BLOCK_PROJ, devices[placement->projection].name);
    (void)add_row(rows, &count, &like, 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN,
                  devices[placement->ffn].name);
    (void)add_row(rows, &count, &like, 1u << BLOCK_LM_HEAD, devices[environment->source].name);
    placement_write(out, rows, count);
}

/* What the program computed, as requests of ours. */
static void write_requests(struct import_job *job, const struct kafetzis_environment *environment,
                           struct out *out)
{
    trace_requests_begin(out, import_meta_list(job));
    trace_request_put(out, &(struct trace_request){
                               .service = environment->models[0].name,
                               .first_token_ps = environment->placement.latency_ps,
                               .finish_ps = environment->placement.latency_ps,
                               .prompt_tokens = environment->lengths[0],
                               .output_tokens = 1,
                               .client = "",
                               .status = TRACE_OK,
                               .e2e_ps = TRACE_NONE,
                           });
}

/* ---- workload ---- */

/* Every combination of model, length and steps once; several one after the other. */
static const struct workload *make_workload(struct arena *arena,
                                            const struct kafetzis_environment *environment)
{
    struct workload_builder *builder = workload_build(arena, environment->path);
    int64_t count =
        (int64_t)environment->model_count * environment->length_count * environment->step_count;
    struct workload_request request = { .client = -1, .session = -1, .batch = 1 };

    if (count > 1) {
        request.arrival_ps = WORKLOAD_CLOSED;
        request.client = workload_builder_client(builder, "source");
    }
    for (int32_t m = 0; m < environment->model_count; m++) {
        request.service = workload_builder_service(builder, environment->models[m].name);
        for (int32_t l = 0; l < environment->length_count; l++)
            for (int32_t s = 0; s < environment->step_count; s++) {
                request.prompt_tokens = environment->lengths[l];
                request.output_tokens = environment->steps[s];
                workload_builder_add(builder, &request);
                request.request_id++;
            }
    }
    return workload_builder_finish(builder);
}

/* ---- all together ---- */

static struct out *open_in(struct import_job *job, const char *name, struct err *err)
{
    size_t length = job->output ? strlen(job->output) : 0;

    if (!job->output)
        return import_open(job, name, err);
    return import_open(job,
                       arena_printf(job->arena, "%s%s%s", job->output,
                                    length > 0 && job->output[length - 1] == '/' ? "" : "/", name),
                       err);
}

static bool write_all(struct import_job *job, const struct kafetzis_environment *environment,
                      struct err *err)
{
    const struct kafetzis_placement *placement = &environment->placement;
    struct out *devices, *links, *models, *workload, *out;

    if (job->output && !out_make_folder(arena_printf(job->arena, "%s/cluster", job->output), err))
        return false;
    devices = open_in(job, "cluster/devices.csv", err);
    links = devices ? open_in(job, "cluster/links.csv", err) : NULL;
    models = links ? open_in(job, "models.csv", err) : NULL;
    workload = models ? open_in(job, "workload.csv", err) : NULL;
    if (!workload)
        return false;
    write_devices(job->arena, environment, devices);
    write_links(job, environment, links);
    write_models(job->arena, environment, models);
    workload_write(workload, make_workload(job->arena, environment), import_meta_list(job));
    if (!placement->algorithm)
        return true;
    out = open_in(job, "placement.csv", err);
    if (!out)
        return false;
    write_placement(job->arena, environment, out);
    if (environment->steps[0] > 1) /* it computes one step */
        return true;
    out = open_in(job, "requests.csv", err);
    if (out)
        write_requests(job, environment, out);
    return out != NULL;
}

bool kafetzis_import(struct import_job *job, const void *from, struct err *err)
{
    const struct kafetzis_settings *settings = from;
    struct kafetzis_environment environment = { 0 };
    const char *path;
    struct stat status;
    bool is_folder;

    if (!import_one_file(job, &path, err))
        return false;
    if (!bundle_check_output(job, err))
        return false;
    environment.path = path;
    is_folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    if (!is_folder && (settings->config || settings->algorithm || settings->steps != 1))
        return err_set(err, ERR_USAGE,
                       "'%.200s' is no folder: --config, --algorithm and --steps are of tables",
                       path);
    if (is_folder ? !kafetzis_read_tables(job, settings, path, &environment, err)
                  : !kafetzis_read_yaml(job, path, &environment, err))
        return false;
    return write_all(job, &environment, err);
}

static const struct argp kafetzis_argp = { .options = kafetzis_options, .parser = on_option };

const struct importer import_kafetzis = {
    .name = "kafetzis",
    .reads = "Kafetzis' DistributedTransformerInferenceSimulator: a YAML configuration, or tables",
    .arguments = "CONFIG.yaml|FOLDER",
    .text =
        "Writes cluster/ (devices.csv with flop_per_s, links.csv), models.csv and workload.csv "
        "into the folder -o; of tables and an --algorithm also placement.csv, head by head, and "
        "requests.csv with the latency that the program computed: all that "
        "`orrery-sim run --rules kafetzis` and `check` need.\v"
        "FOLDER has configs.csv, devices.csv, links.csv and, for a placement, results.csv and "
        "heads.csv. A configuration has the sections network, resources and workload: their "
        "devices and links are drawn with its seeds as the program draws them, and each "
        "combination of model, length and steps becomes a request, one after the other. Other "
        "sections are left out and named.\n\n"
        "Example:\n"
        "  orrery-sim import kafetzis tables --config toy --algorithm greedy -o in\n"
        "  orrery-sim run --rules kafetzis -p in/placement.csv -w in/workload.csv \\\n"
        "      --cluster in/cluster --models in/models.csv",
    .argp = &kafetzis_argp,
    .settings_bytes = sizeof(struct kafetzis_settings),
    .run = kafetzis_import,
};
