/* roles.c - what the tensors of a trace are, and which of them are one. */
#include "sim/ops/roles.h"

#include "lib/base/arena.h"
#include "lib/format/ops.h"
#include "sim/ops/roles_internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- who makes and who reads ---- */

bool roles_reads(const struct ops_row *row, int32_t tensor)
{
    for (int32_t k = 0; k < row->in_count; k++)
        if (row->ins[k] == tensor)
            return true;
    return false;
}

/* An output of a forward operator. */
struct made {
    int64_t bytes;
    int32_t row, tensor;
};

static int compare_made(const void *a, const void *b)
{
    const struct made *left = a, *right = b;

    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? -1 : 1;
    if (left->row != right->row)
        return left->row < right->row ? -1 : 1;
    return left->tensor < right->tensor ? -1 : left->tensor > right->tensor;
}

struct views {
    struct roles *roles;
    struct made *made; /* by bytes, then row */
    int32_t made_count;
    int32_t *top;   /* of the group that ends at i: where the search of take_latest goes on */
    bool *is_made;  /* of each tensor: by an operator before the one that is looked at */
    bool *is_taken; /* of each tensor: a backward input was taken for it */
    bool *is_seen;  /* of each tensor: some forward operator reads it */
    bool *is_fresh; /* of each tensor: some operator makes it without reading it */
};

static void list_made(struct arena *arena, struct views *views)
{
    const struct ops *ops = views->roles->ops;
    int32_t count = 0;

    for (int32_t i = 0; i < views->roles->forward_count; i++)
        count += ops->rows[i].out_count;
    views->made = arena_array(arena, (size_t)count, sizeof *views->made);
    views->top = arena_array(arena, (size_t)count, sizeof *views->top);
    for (int32_t i = 0; i < views->roles->forward_count; i++)
        for (int32_t k = 0; k < ops->rows[i].out_count; k++) {
            int32_t tensor = ops->rows[i].outs[k];

            views->made[views->made_count++] =
                (struct made){ ops->tensors[tensor].bytes, i, tensor };
        }
    qsort(views->made, (size_t)count, sizeof *views->made, compare_made);
    for (int32_t i = 0; i < count; i++)
        views->top[i] = i;
}

/* Number of entries with fewer bytes, or as many and a row before this one. */
static int32_t made_before(const struct views *views, int64_t bytes, int32_t row)
{
    int32_t low = 0, high = views->made_count;

    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        const struct made *made = &views->made[middle];

        if (made->bytes < bytes || (made->bytes == bytes && made->row < row))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The latest forward output of this size that is not taken; -1 = none. */
static int32_t take_latest(struct views *views, int64_t bytes)
{
    int32_t last = made_before(views, bytes, INT32_MAX) - 1, at;

    if (last < 0 || views->made[last].bytes != bytes)
        return -1;
    for (at = views->top[last]; at >= 0 && views->made[at].bytes == bytes; at--)
        if (!views->is_taken[views->made[at].tensor])
            break;
    views->top[last] = at;
    if (at < 0 || views->made[at].bytes != bytes)
        return -1;
    views->is_taken[views->made[at].tensor] = true;
    return views->made[at].tensor;
}

/* What the input of a row is a view of, if nobody made it; -1 = it comes from outside. */
static int32_t find_source(struct views *views, int32_t row, int32_t tensor)
{
    const struct roles *roles = views->roles;
    int64_t bytes = roles->ops->tensors[tensor].bytes;
    int32_t before;

    if (row >= roles->forward_count)
        return take_latest(views, bytes);
    before = made_before(views, bytes, row) - 1;
    return before >= 0 && views->made[before].bytes == bytes ? views->made[before].tensor : -1;
}

static void find_views_of_row(struct views *views, const struct roles_shapes *shapes, int32_t row)
{
    struct roles *roles = views->roles;
    const struct ops_row *op = &roles->ops->rows[row];

    for (int32_t k = 0; k < op->in_count; k++) {
        int32_t tensor = op->ins[k], source;

        if (views->is_made[tensor] || views->is_fresh[tensor] ||
            roles->role[tensor] != ROLE_ACTIVATION || roles->ops->tensors[tensor].bytes == 0)
            continue;
        if (row >= roles->forward_count && views->is_seen[tensor])
            continue;
        views->is_made[tensor] = true;
        source = roles_turned_weight(shapes, tensor);
        if (source < 0)
            source = find_source(views, row, tensor);
        if (source < 0)
            continue;
        roles->same_as[tensor] = roles->same_as[source];
        roles->view_count++;
    }
}

/* Tensors that are written by an operator that does not read them, later, are no views: whoever
 * reads them before waits for it. */
static void find_views(struct arena *arena, struct roles *roles, const struct roles_shapes *shapes)
{
    const struct ops *ops = roles->ops;
    size_t count = (size_t)ops->tensor_count;
    int32_t rows = roles->forward_count + roles->backward_count;
    struct views views = { .roles = roles,
                           .is_made = arena_array(arena, count, sizeof *views.is_made),
                           .is_taken = arena_array(arena, count, sizeof *views.is_taken),
                           .is_seen = arena_array(arena, count, sizeof *views.is_seen),
                           .is_fresh = arena_array(arena, count, sizeof *views.is_fresh) };

    list_made(arena, &views);
    for (int32_t i = 0; i < roles->forward_count; i++)
        for (int32_t k = 0; k < ops->rows[i].in_count; k++)
            views.is_seen[ops->rows[i].ins[k]] = true;
    for (int32_t i = 0; i < rows; i++)
        for (int32_t k = 0; k < ops->rows[i].out_count; k++)
            if (!roles_reads(&ops->rows[i], ops->rows[i].outs[k]))
                views.is_fresh[ops->rows[i].outs[k]] = true;
    for (int32_t i = 0; i < rows; i++) {
        find_views_of_row(&views, shapes, i);
        for (int32_t k = 0; k < ops->rows[i].out_count; k++)
            views.is_made[ops->rows[i].outs[k]] = true;
    }
}

/* ---- roles ---- */

static void mark_roles(struct arena *arena, struct roles *roles)
{
    const struct ops *ops = roles->ops;
    bool *is_computed = arena_array(arena, (size_t)ops->tensor_count, sizeof *is_computed);

    for (int32_t i = 0; i < roles->forward_count + roles->backward_count; i++) {
        const struct ops_row *row = &ops->rows[i];

        for (int32_t k = 0; k < row->in_count; k++)
            is_computed[row->ins[k]] = true;
        for (int32_t k = 0; k < row->out_count; k++)
            is_computed[row->outs[k]] = true;
    }
    for (int32_t t = 0; t < ops->tensor_count; t++) {
        roles->same_as[t] = t;
        if (ops->tensors[t].is_weight)
            roles->role[t] = ROLE_WEIGHT;
        else if (!is_computed[t])
            roles->role[t] = ROLE_OPTIMIZER;
    }
}

static void count_stages(struct roles *roles)
{
    for (int32_t i = 0; i < roles->ops->row_count; i++) {
        switch (roles->ops->rows[i].stage) {
        case OPS_FORWARD:
            roles->forward_count++;
            break;
        case OPS_BACKWARD:
            roles->backward_count++;
            break;
        case OPS_OPTIMIZER:
            roles->optimizer_count++;
            break;
        case OPS_STAGE_COUNT:
            break;
        }
    }
}

static int64_t traced_batch(const struct ops *ops)
{
    const struct ops_row *row = &ops->rows[0];

    if (ops->batch > 0)
        return ops->batch;
    if (row->stage != OPS_FORWARD)
        return 0;
    for (int32_t k = 0; k < row->in_count; k++) {
        int64_t first = ops_shape_dimension(ops->tensors[row->ins[k]].shape, 0);

        if (!ops->tensors[row->ins[k]].is_weight && first > 0)
            return first;
    }
    return 0;
}

static bool grows_with_batch(const struct ops_tensor *tensor, int64_t batch)
{
    int64_t size;

    if (tensor->shape[0] == '\0')
        return true;
    for (int d = 0; (size = ops_shape_dimension(tensor->shape, d)) >= 0; d++)
        if (size > 0 && size % batch == 0)
            return true;
    return false;
}

/* What the optimizer reads from outside, without the gradients that nobody tied to it. */
static int64_t state_bytes(struct arena *arena, const struct roles *roles)
{
    const struct ops *ops = roles->ops;
    bool *is_there = arena_array(arena, (size_t)ops->tensor_count, sizeof *is_there);
    int64_t outside = 0, tied = 0;

    for (int32_t i = ops->row_count - roles->optimizer_count; i < ops->row_count; i++) {
        const struct ops_row *row = &ops->rows[i];

        for (int32_t k = 0; k < row->in_count; k++) {
            int32_t tensor = row->ins[k];

            if (is_there[tensor])
                continue;
            is_there[tensor] = true;
            if (roles->role[tensor] == ROLE_OPTIMIZER)
                outside += ops->tensors[tensor].bytes;
            else if (roles->role[tensor] == ROLE_GRADIENT)
                tied += ops->tensors[tensor].bytes;
        }
        for (int32_t k = 0; k < row->out_count; k++)
            is_there[row->outs[k]] = true;
    }
    outside -= roles->gradient_bytes > tied ? roles->gradient_bytes - tied : 0;
    return outside > 0 ? outside : 0;
}

struct roles *roles_find(struct arena *arena, const struct ops *ops, int64_t batch)
{
    struct roles *roles = arena_alloc(arena, sizeof *roles);
    size_t count = (size_t)ops->tensor_count;
    struct roles_shapes *shapes;

    roles->ops = ops;
    roles->batch = batch > 0 ? batch : traced_batch(ops);
    roles->role = arena_array(arena, count, sizeof *roles->role);
    roles->is_scaled = arena_array(arena, count, sizeof *roles->is_scaled);
    roles->same_as = arena_array(arena, count, sizeof *roles->same_as);
    count_stages(roles);
    mark_roles(arena, roles);
    shapes = roles_find_gradients(arena, roles);
    find_views(arena, roles, shapes);
    for (int32_t t = 0; t < ops->tensor_count; t++) {
        if (roles->role[t] == ROLE_WEIGHT)
            roles->weight_bytes += ops->tensors[t].bytes;
        roles->is_scaled[t] = roles->batch > 0 && roles->role[t] == ROLE_ACTIVATION &&
                              grows_with_batch(&ops->tensors[t], roles->batch);
    }
    for (int32_t i = 0; i < roles->gradient_count; i++)
        roles->gradient_bytes += ops->tensors[roles->gradients[i].weight].bytes;
    roles->state_bytes = state_bytes(arena, roles);
    return roles;
}
