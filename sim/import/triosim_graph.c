/* triosim_graph.c - PyTorch's execution trace ("execution graph"): every operator that ran, with
 * the tensors that it was given and that it gave.
 *
 * nodes[] of {name, id, parent or ctrl_deps, inputs, outputs, ...}. Up to schema 1.0.1 lists stand
 * beside one another (inputs, input_shapes, input_types, op_schema, rf_id); later inputs and
 * outputs are {values, shapes, types} and the rest is in attrs[]. A tensor is [id, storage, offset,
 * elements, bytes of one, device]; a list of tensors is a list of these. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/format/ops.h"
#include "sim/import/triosim.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TENSOR_NUMBERS 5
#define MAX_ELEMENT_BYTES 64
/* Lists of lists of tensors do not occur. */
#define MAX_LISTS 2

struct reader {
    struct arena *arena;
    const char *path;
    struct triosim_tensor *list; /* of the side that is read */
    int32_t count, capacity;
};

/* ---- tensors ---- */

static bool is_tensor(const struct json *json)
{
    int64_t number;

    if (json_count(json) < TENSOR_NUMBERS || json_count(json) > TENSOR_NUMBERS + 1)
        return false;
    for (int i = 0; i < TENSOR_NUMBERS; i++)
        if (!json_int(json_at(json, i), &number) || number < 0)
            return false;
    return json_count(json) == TENSOR_NUMBERS || json_is_text(json_at(json, TENSOR_NUMBERS));
}

static const char *shape_text(struct arena *arena, const struct json *json, int64_t elements)
{
    const char *text = "[";
    int64_t own, dimension;

    if (!json_is_array(json))
        return "";
    for (int i = 0; i < json_count(json); i++) {
        if (!json_int(json_at(json, i), &dimension) || dimension < 0)
            return "";
        text = arena_printf(arena, "%s%s%" PRId64, text, i > 0 ? "," : "", dimension);
    }
    text = arena_printf(arena, "%s]", text);
    return ops_shape_elements(text, &own) && own == elements ? text : "";
}

static bool add_tensor(struct reader *reader, const struct json *json, const struct json *shape,
                       bool is_weight, const char *where, struct err *err)
{
    struct triosim_tensor tensor = { .is_weight = is_weight };
    int64_t elements, bytes;

    (void)json_int(json_at(json, 0), &tensor.id);
    (void)json_int(json_at(json, 3), &elements);
    (void)json_int(json_at(json, 4), &bytes);
    if (bytes > MAX_ELEMENT_BYTES || elements > OPS_MAX_BYTES / MAX_ELEMENT_BYTES)
        return triosim_bad(reader->arena, reader->path, where, json,
                           "expected a tensor of at most 2^50 bytes", err);
    tensor.bytes = elements * bytes;
    if (tensor.bytes == 0)
        return true; /* given, but not there */
    tensor.shape = shape_text(reader->arena, shape, elements);
    if (reader->count == reader->capacity) {
        int32_t larger = reader->capacity > 0 ? 2 * reader->capacity : 16;

        reader->list = arena_grow(reader->arena, reader->list, (size_t)reader->count,
                                  (size_t)larger, sizeof *reader->list);
        reader->capacity = larger;
    }
    reader->list[reader->count++] = tensor;
    return true;
}

/* A value that is a tensor, or a list of them; everything else is passed over. */
static bool add_value(struct reader *reader, const struct json *value, const struct json *shape,
                      bool is_weight, int depth, const char *where, struct err *err)
{
    if (is_tensor(value))
        return add_tensor(reader, value, shape, is_weight, where, err);
    for (int i = 0; i < json_count(value) && depth < MAX_LISTS; i++)
        if (json_is_array(json_at(value, i)) &&
            !add_value(reader, json_at(value, i), json_at(shape, i), is_weight, depth + 1, where,
                       err))
            return false;
    return true;
}

/* Whether argument number index of "aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None,
 * ...)" is called weight or bias. */
static bool is_weight_argument(const char *schema, int index)
{
    const char *at = schema ? strchr(schema, '(') : NULL;
    const char *name;
    int depth = 0;

    for (at = at ? at + 1 : NULL; at && index > 0; index--) {
        for (; *at && (*at != ',' || depth > 0) && (*at != ')' || depth > 0); at++)
            depth += (*at == '(' || *at == '[') - (*at == ')' || *at == ']');
        at = *at == ',' ? at + 1 : NULL;
    }
    if (!at)
        return false;
    at += strspn(at, " ");
    name = at + strcspn(at, " ,)"); /* behind the type */
    name += strspn(name, " ");
    return strncmp(name, "weight", 6) == 0 || strncmp(name, "bias", 4) == 0;
}

/* ---- nodes ---- */

static const struct json *attribute(const struct json *node, const char *name)
{
    const struct json *found = json_get(node, name), *list = json_get(node, "attrs");

    for (int i = 0; i < json_count(list) && !found; i++) {
        const char *own = json_text(json_get(json_at(list, i), "name"));

        if (own && strcmp(own, name) == 0)
            found = json_get(json_at(list, i), "value");
    }
    return found;
}

static int64_t id_or_0(const struct json *json)
{
    int64_t id;

    return json_int(json, &id) && id > 0 ? id : 0;
}

static bool read_side(struct reader *reader, const struct json *node, const char *key,
                      const char *shapes_key, const char *where, int32_t *count,
                      const struct triosim_tensor **list, struct err *err)
{
    const struct json *side = json_get(node, key), *values = side, *shapes = NULL;
    const char *schema = NULL;

    if (json_is_object(side)) {
        values = json_get(side, "values");
        shapes = json_get(side, "shapes");
    } else {
        shapes = json_get(node, shapes_key);
    }
    if (strcmp(key, "inputs") == 0)
        schema = json_text(attribute(node, "op_schema"));
    reader->list = NULL;
    reader->count = reader->capacity = 0;
    for (int i = 0; i < json_count(values); i++)
        if (!add_value(reader, json_at(values, i), json_at(shapes, i),
                       is_weight_argument(schema, i), 0, where, err))
            return false;
    *count = reader->count;
    *list = reader->list;
    return true;
}

static bool read_node(struct reader *reader, const struct json *json, int index,
                      struct triosim_node *node, struct err *err)
{
    const char *where = arena_printf(reader->arena, "nodes[%d]", index);

    node->name = json_text(json_get(json, "name"));
    if (!node->name)
        return triosim_bad(reader->arena, reader->path,
                           arena_printf(reader->arena, "%s.name", where), json_get(json, "name"),
                           "expected the name of an operator", err);
    if (!json_int(json_get(json, "id"), &node->id) || node->id < 0)
        return triosim_bad(reader->arena, reader->path, arena_printf(reader->arena, "%s.id", where),
                           json_get(json, "id"), "expected a whole number of at least 0", err);
    node->parent = id_or_0(json_get(json, "parent"));
    if (node->parent == 0)
        node->parent = id_or_0(json_get(json, "ctrl_deps"));
    node->function_id = id_or_0(attribute(json, "rf_id"));
    return read_side(reader, json, "inputs", "input_shapes", where, &node->in_count, &node->ins,
                     err) &&
           read_side(reader, json, "outputs", "output_shapes", where, &node->out_count, &node->outs,
                     err);
}

/* ---- look-up ---- */

struct key {
    int64_t id;
    int32_t node;
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *left = a, *right = b;

    if (left->id != right->id)
        return left->id < right->id ? -1 : 1;
    return left->node < right->node ? -1 : left->node > right->node;
}

/* Numbers of nodes in order of an id of theirs. */
static const int32_t *sort_nodes(struct arena *arena, const struct triosim_graph *graph,
                                 bool is_function)
{
    struct key *keys = arena_array(arena, (size_t)graph->count, sizeof *keys);
    int32_t *sorted = arena_array(arena, (size_t)graph->count, sizeof *sorted);

    for (int32_t i = 0; i < graph->count; i++)
        keys[i] = (struct key){ is_function ? graph->nodes[i].function_id : graph->nodes[i].id, i };
    qsort(keys, (size_t)graph->count, sizeof *keys, compare_keys);
    for (int32_t i = 0; i < graph->count; i++)
        sorted[i] = keys[i].node;
    return sorted;
}

/* The first of the nodes with this id, in sorted; its position, or -1. */
static int32_t find(const struct triosim_graph *graph, const int32_t *sorted, bool is_function,
                    int64_t id)
{
    int32_t low = 0, high = graph->count;

    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        const struct triosim_node *node = &graph->nodes[sorted[middle]];

        if ((is_function ? node->function_id : node->id) < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < graph->count && (is_function ? graph->nodes[sorted[low]].function_id
                                              : graph->nodes[sorted[low]].id) == id
               ? low
               : -1;
}

static const struct triosim_node *find_named(const struct triosim_graph *graph,
                                             const int32_t *sorted, bool is_function, int64_t id,
                                             const char *name)
{
    int32_t at = id > 0 ? find(graph, sorted, is_function, id) : -1;

    if (at < 0 || strcmp(graph->nodes[sorted[at]].name, name) != 0)
        return NULL;
    return &graph->nodes[sorted[at]];
}

const struct triosim_node *triosim_find_node(const struct triosim_graph *graph,
                                             const struct triosim_op *op)
{
    const struct triosim_node *node =
        find_named(graph, graph->by_function, true, op->function_id, op->name);

    if (!node)
        node = find_named(graph, graph->by_id, false, op->external_id, op->name);
    return node ? node : find_named(graph, graph->by_function, true, op->external_id, op->name);
}

static void link_children(struct arena *arena, struct triosim_graph *graph)
{
    int32_t *parents = arena_array(arena, (size_t)graph->count, sizeof *parents);

    for (int32_t i = 0; i < graph->count; i++) {
        int32_t at = graph->nodes[i].parent > 0
                         ? find(graph, graph->by_id, false, graph->nodes[i].parent)
                         : -1;

        parents[i] = at >= 0 ? graph->by_id[at] : -1;
        if (parents[i] == i)
            parents[i] = -1;
        if (parents[i] >= 0)
            graph->nodes[parents[i]].child_count++;
    }
    for (int32_t i = 0; i < graph->count; i++) {
        struct triosim_node *node = &graph->nodes[i];

        node->children = arena_array(arena, (size_t)node->child_count, sizeof *node->children);
        node->child_count = 0;
    }
    for (int32_t i = 0; i < graph->count; i++) {
        struct triosim_node *parent = parents[i] >= 0 ? &graph->nodes[parents[i]] : NULL;

        if (parent)
            parent->children[parent->child_count++] = i;
    }
}

bool triosim_load_graph(struct arena *arena, const char *path, const struct json *json,
                        struct triosim_graph *graph, struct err *err)
{
    const struct json *list = json_get(json, "nodes");
    struct reader reader = { .arena = arena, .path = path };

    *graph = (struct triosim_graph){ .path = path, .count = json_count(list) };
    if (!json_is_array(list))
        return err_at(err, path, 0, 0, "no array nodes: expected PyTorch's execution trace");
    graph->nodes = arena_array(arena, (size_t)graph->count, sizeof *graph->nodes);
    for (int32_t i = 0; i < graph->count; i++)
        if (!read_node(&reader, json_at(list, i), i, &graph->nodes[i], err))
            return false;
    graph->by_id = sort_nodes(arena, graph, false);
    graph->by_function = sort_nodes(arena, graph, true);
    link_children(arena, graph);
    return true;
}
