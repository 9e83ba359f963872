/* problem_shards.c - rows of stages that stand on several devices each: a model's blocks in equal
 * parts (tensor parallel), an executable as it was profiled. */
#include "sim/place/problem.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"

/* embed is not divided, nor is conn, which goes with the block behind it. */
static const unsigned cut_blocks[] = { 1u << BLOCK_ATTN, 1u << BLOCK_PROJ,
                                       1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN };
#define CUT_COUNT ((int)(sizeof cut_blocks / sizeof cut_blocks[0]))

struct writer {
    const struct problem *problem;
    const struct problem_shard *shard;
    int32_t stage;
    struct placement_row *rows;
    int count;
};

bool problem_can_shard(const struct problem *problem, int32_t parts)
{
    const struct model *model = problem_input(problem)->model;

    return parts == 1 ||
           (model && model_can_cut(model, BLOCK_ATTN, parts) &&
            model_can_cut(model, BLOCK_PROJ, parts) && model_can_cut(model, BLOCK_FFN_UP, parts));
}

static struct placement_row *put(struct writer *writer, int32_t device)
{
    const struct problem_input *input = problem_input(writer->problem);
    struct placement_row *row = &writer->rows[writer->count++];

    *row = (struct placement_row){
        .service = input->service,
        .device = input->cluster->devices[writer->shard->devices[device]].name,
        .model = input->model ? input->model->name : "",
        .executable = input->model ? "" : input->executable,
        .stage = writer->stage,
        .layer_first = -1,
        .layer_last = -1,
        .part_of = 1,
    };
    return row;
}

static void put_cut(struct writer *writer, unsigned blocks, int32_t layer_first, int32_t layer_last)
{
    for (int32_t d = 0; d < writer->shard->device_count; d++) {
        struct placement_row *row = put(writer, d);

        row->blocks = blocks;
        row->layer_first = layer_first;
        row->layer_last = layer_last;
        row->part_first = row->part_last = d;
        row->part_of = writer->shard->device_count;
    }
}

static void model_rows(struct writer *writer)
{
    const struct problem_shard *shard = writer->shard;
    int32_t end = problem_unit_count(writer->problem) - 1;

    if (shard->first == 0)
        put(writer, 0)->blocks = 1u << BLOCK_EMBED;
    for (int i = 0; i < CUT_COUNT && shard->last > 0 && shard->first < end; i++)
        put_cut(writer, cut_blocks[i], (shard->first > 1 ? shard->first : 1) - 1,
                (shard->last < end ? shard->last : end - 1) - 1);
    if (shard->last < end)
        return;
    if (model_can_cut(problem_input(writer->problem)->model, BLOCK_LM_HEAD, shard->device_count))
        put_cut(writer, 1u << BLOCK_LM_HEAD, -1, -1);
    else
        put(writer, 0)->blocks = 1u << BLOCK_LM_HEAD;
}

static void executable_rows(struct writer *writer)
{
    for (int32_t d = 0; d < writer->shard->device_count; d++) {
        struct placement_row *row = put(writer, d);

        row->layer_first = writer->shard->first;
        row->layer_last = writer->shard->last;
    }
}

/* A stage on one device has the rows that it has elsewhere. */
static void whole_rows(struct arena *arena, struct writer *writer)
{
    const struct problem_shard *shard = writer->shard;
    const struct problem_stage stage = { shard->devices[0], shard->first, shard->last };
    int count;
    const struct placement_row *rows = problem_rows(arena, writer->problem, &stage, 1, &count);

    for (int i = 0; i < count; i++) {
        writer->rows[writer->count] = rows[i];
        writer->rows[writer->count++].stage = writer->stage;
    }
}

struct placement_row *problem_shard_rows(struct arena *arena, const struct problem *problem,
                                         const struct problem_shard *shards, int32_t count,
                                         int *row_count)
{
    struct writer writer = { .problem = problem };
    size_t most = 0;

    for (int32_t s = 0; s < count; s++)
        most += 2 + ((size_t)CUT_COUNT + 1) * (size_t)shards[s].device_count;
    writer.rows = arena_array(arena, most, sizeof *writer.rows);
    for (writer.stage = 0; writer.stage < count; writer.stage++) {
        writer.shard = &shards[writer.stage];
        if (writer.shard->device_count == 1)
            whole_rows(arena, &writer);
        else if (problem_input(problem)->model)
            model_rows(&writer);
        else
            executable_rows(&writer);
    }
    *row_count = writer.count;
    return writer.rows;
}
