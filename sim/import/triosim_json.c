/* triosim_json.c - what PyTorch's profiler timed, with the tensors of its execution trace.
 *
 * An operator of the profile is the node of the graph with its id (the number of its record
 * function, else its external id) and its name. A node without tensors of its own (what autograd
 * evaluates) has those of the nodes within: it reads what they read and did not make before, and
 * makes what they make. */
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/units.h"
#include "lib/format/ops.h"
#include "sim/import/triosim.h"
#include <inttypes.h>
#include <string.h>

#define MAX_DEPTH 32

struct merge {
    struct import_job *job;
    struct ops_builder *builder;
    const struct triosim_graph *graph;
    int32_t in_count, out_count, capacity; /* of both lists */
    int32_t *ins, *outs;
    int64_t resized;
};

/* ---- tensors ---- */

static int32_t put_tensor(struct merge *merge, const struct triosim_tensor *tensor)
{
    int32_t index = ops_builder_tensor(merge->builder, tensor->id);
    struct ops_tensor *at = ops_builder_at(merge->builder, index);

    merge->resized += at->bytes >= 0 && at->bytes != tensor->bytes;
    at->bytes = tensor->bytes;
    at->shape = tensor->shape;
    at->is_weight = at->is_weight || tensor->is_weight;
    return index;
}

static void make_room(struct merge *merge, int32_t count)
{
    int32_t larger = merge->capacity;

    if (count <= merge->capacity)
        return;
    while (larger < count)
        larger *= 2;
    merge->ins = arena_grow(merge->job->arena, merge->ins, (size_t)merge->capacity, (size_t)larger,
                            sizeof *merge->ins);
    merge->outs = arena_grow(merge->job->arena, merge->outs, (size_t)merge->capacity,
                             (size_t)larger, sizeof *merge->outs);
    merge->capacity = larger;
}

static bool has(const int32_t *list, int32_t count, int32_t tensor)
{
    for (int32_t i = 0; i < count; i++)
        if (list[i] == tensor)
            return true;
    return false;
}

/* All tensors of a node, one as often as it is named; of nodes within, each once. */
static void gather(struct merge *merge, const struct triosim_node *node, int depth)
{
    bool is_own = depth == 0;

    make_room(merge, merge->in_count + node->in_count > merge->out_count + node->out_count
                         ? merge->in_count + node->in_count
                         : merge->out_count + node->out_count);
    for (int32_t i = 0; i < node->in_count; i++) {
        int32_t tensor = put_tensor(merge, &node->ins[i]);

        if (is_own || (!has(merge->outs, merge->out_count, tensor) &&
                       !has(merge->ins, merge->in_count, tensor)))
            merge->ins[merge->in_count++] = tensor;
    }
    for (int32_t i = 0; i < node->out_count; i++) {
        int32_t tensor = put_tensor(merge, &node->outs[i]);

        if (is_own || !has(merge->outs, merge->out_count, tensor))
            merge->outs[merge->out_count++] = tensor;
    }
    if (node->in_count + node->out_count > 0 || depth == MAX_DEPTH)
        return;
    for (int32_t i = 0; i < node->child_count; i++)
        gather(merge, &merge->graph->nodes[node->children[i]], depth + 1);
}

static const int32_t *copy_list(struct arena *arena, const int32_t *list, int32_t count)
{
    int32_t *copied = arena_array(arena, (size_t)count, sizeof *copied);

    if (count > 0)
        memcpy(copied, list, (size_t)count * sizeof *copied);
    return copied;
}

/* ---- operators ---- */

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static enum ops_stage stage_of(const struct triosim_op *op)
{
    if (op->is_optimizer || begins(op->name, "aten::_foreach_") ||
        begins(op->name, "aten::_fused_"))
        return OPS_OPTIMIZER;
    return begins(op->name, "autograd::engine::evaluate_function") ? OPS_BACKWARD : OPS_FORWARD;
}

/* As TrioSim has it: convolutions, linear layers and embeddings, and what runs backward for them.
 */
static bool is_tp_split(const char *name)
{
    static const char *const forward[] = { "aten::conv2d", "aten::linear", "aten::embedding" };
    static const char *const backward[] = { "ConvolutionBackward", "AddmmBackward", "MmBackward",
                                            "LinearBackward", "EmbeddingBackward" };

    for (size_t i = 0; i < sizeof forward / sizeof forward[0]; i++)
        if (strcmp(name, forward[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof backward / sizeof backward[0]; i++) {
        const char *at = strstr(name, backward[i]);

        if (at && (at == name || at[-1] == ' '))
            return true;
    }
    return false;
}

/* Names stand in a table: no control characters, and never empty. */
static const char *name_of(struct arena *arena, const char *name)
{
    char *copied = arena_strdup(arena, name[0] != '\0' ? name : "?");

    for (char *c = copied; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return copied;
}

static void add_operator(struct merge *merge, const struct triosim_op *op,
                         const struct triosim_node *node)
{
    struct ops_row *row = ops_builder_row(merge->builder);
    struct arena *arena = merge->job->arena;
    double span_us = op->last_us - op->first_us;

    row->op_id = ops_builder_count(merge->builder);
    row->name = name_of(arena, op->name);
    row->stage = stage_of(op);
    row->is_tp_split = is_tp_split(op->name);
    row->busy_ps = op->busy_ps;
    row->span_ps = span_us < 9e12 ? dmath_round(span_us * 1e6) : UNITS_MAX_PS;
    merge->in_count = merge->out_count = 0;
    gather(merge, node, 0);
    row->in_count = merge->in_count;
    row->out_count = merge->out_count;
    row->ins = copy_list(arena, merge->ins, merge->in_count);
    row->outs = copy_list(arena, merge->outs, merge->out_count);
}

static bool merge_all(struct merge *merge, const struct triosim_profile *profile, struct err *err)
{
    struct import_job *job = merge->job;

    for (int32_t i = 0; i < profile->count; i++) {
        const struct triosim_op *op = &profile->ops[i];
        const struct triosim_node *node = triosim_find_node(merge->graph, op);

        if (!op->has_kernels)
            import_drop(job, "without kernels", 1);
        else if (!node)
            import_drop(job, "not in the graph", 1);
        else if (ops_builder_count(merge->builder) == OPS_MAX_ROWS)
            return err_at(err, profile->path, 0, 0, "more than %d operators", OPS_MAX_ROWS);
        else
            add_operator(merge, op, node);
    }
    job->report.read = profile->count;
    if (merge->resized > 0)
        import_note(job,
                    "%" PRId64 " tensors are named with another size than before, the last holds",
                    merge->resized);
    return true;
}

bool triosim_read_json(struct import_job *job, const char *profile_path, const char *graph_path,
                       int64_t step, struct ops_builder *builder, struct err *err)
{
    const char *paths[2] = { profile_path, graph_path };
    const struct json *json[2] = { json_load(job->arena, paths[0], err), NULL };
    struct triosim_profile profile;
    struct triosim_graph graph;
    struct merge merge = { .job = job, .builder = builder, .graph = &graph, .capacity = 64 };
    int at; /* of the graph */

    if (!json[0])
        return false;
    json[1] = json_load(job->arena, paths[1], err);
    if (!json[1])
        return false;
    at = json_is_array(json_get(json[0], "nodes")) ? 0 : 1;
    merge.ins = arena_array(job->arena, (size_t)merge.capacity, sizeof *merge.ins);
    merge.outs = arena_array(job->arena, (size_t)merge.capacity, sizeof *merge.outs);
    job->report.layout = "profile and execution graph";
    return triosim_load_profile(job->arena, paths[1 - at], json[1 - at], step, &profile, err) &&
           triosim_load_graph(job->arena, paths[at], json[at], &graph, err) &&
           merge_all(&merge, &profile, err);
}
