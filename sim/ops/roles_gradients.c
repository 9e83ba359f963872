/* roles_gradients.c - which backward operator makes the gradient of which weight, and belongs to
 * which forward operator. */
#include "lib/base/arena.h"
#include "lib/format/names.h"
#include "lib/format/ops.h"
#include "sim/ops/roles_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A weight as one forward operator reads it. */
struct use {
    int32_t row, weight, shape;
    int32_t below;     /* on the stack of its shape; -1 = none */
    int32_t ready_row; /* -1 = no gradient yet */
};

struct roles_shapes {
    struct arena *arena;
    const struct roles *roles;
    struct names *names; /* of shapes */
    int32_t *some;       /* of each shape: the weight of it that comes first */
    int32_t *top;        /* of each shape: the latest use without a gradient; -1 = none */
    int32_t use_count;
    struct use *uses;    /* by row */
    int32_t *first_use;  /* of each forward row, and one more */
    int32_t *weight_use; /* of each tensor: latest use without a gradient; -1 = none */
    int32_t *use_before; /* of each use: the one of the same weight before; -1 = none */
};

/* Tensors without a shape are told apart by their bytes. */
static const char *shape_name(struct arena *arena, const struct ops_tensor *tensor)
{
    return tensor->shape[0] != '\0' ? tensor->shape
                                    : arena_printf(arena, "%" PRId64, tensor->bytes);
}

/* "[2,3]" as "[3,2]"; NULL unless there are two dimensions. */
static const char *turned(struct arena *arena, const char *shape)
{
    const char *comma = strchr(shape, ',');

    if (!comma || strchr(comma + 1, ','))
        return NULL;
    return arena_printf(arena, "[%.*s,%.*s]", (int)strcspn(comma + 1, "]"), comma + 1,
                        (int)(comma - shape - 1), shape + 1);
}

static int32_t count_uses(const struct roles *roles)
{
    int32_t count = 0;

    for (int32_t i = 0; i < roles->forward_count; i++)
        for (int32_t k = 0; k < roles->ops->rows[i].in_count; k++)
            count += roles->role[roles->ops->rows[i].ins[k]] == ROLE_WEIGHT;
    return count;
}

static void add_use(struct roles_shapes *shapes, struct roles *roles, int32_t row, int32_t weight)
{
    int32_t before = shapes->weight_use[weight], at = shapes->use_count;

    if (before >= 0 && shapes->uses[before].row == row)
        return; /* named twice */
    shapes->uses[at] = (struct use){ row, weight, -1, -1, -1 };
    shapes->use_before[at] = before;
    shapes->weight_use[weight] = at;
    if (roles->owner[weight] < 0)
        roles->owner[weight] = row;
    shapes->use_count++;
}

/* Of several weights of one operator with one shape the first is on top. */
static void stack_uses(struct roles_shapes *shapes)
{
    const struct ops *ops = shapes->roles->ops;
    int32_t count;

    for (int32_t i = 0; i < shapes->use_count; i++) {
        struct use *use = &shapes->uses[i];

        use->shape =
            names_put(shapes->names, shape_name(shapes->arena, &ops->tensors[use->weight]));
    }
    count = names_count(shapes->names);
    shapes->top = arena_array(shapes->arena, (size_t)count, sizeof *shapes->top);
    shapes->some = arena_array(shapes->arena, (size_t)count, sizeof *shapes->some);
    for (int32_t s = 0; s < count; s++)
        shapes->top[s] = -1;
    for (int32_t i = shapes->use_count - 1; i >= 0; i--)
        shapes->some[shapes->uses[i].shape] = shapes->uses[i].weight;
    for (int32_t row = 0; row < shapes->roles->forward_count; row++)
        for (int32_t i = shapes->first_use[row + 1] - 1; i >= shapes->first_use[row]; i--) {
            shapes->uses[i].below = shapes->top[shapes->uses[i].shape];
            shapes->top[shapes->uses[i].shape] = i;
        }
}

static struct roles_shapes *list_uses(struct arena *arena, struct roles *roles)
{
    struct roles_shapes *shapes = arena_alloc(arena, sizeof *shapes);
    size_t tensors = (size_t)roles->ops->tensor_count, uses = (size_t)count_uses(roles);

    shapes->arena = arena;
    shapes->roles = roles;
    shapes->names = names_create(arena);
    shapes->uses = arena_array(arena, uses, sizeof *shapes->uses);
    shapes->use_before = arena_array(arena, uses, sizeof *shapes->use_before);
    shapes->weight_use = arena_array(arena, tensors, sizeof *shapes->weight_use);
    shapes->first_use =
        arena_array(arena, (size_t)roles->forward_count + 1, sizeof *shapes->first_use);
    roles->owner = arena_array(arena, tensors, sizeof *roles->owner);
    for (size_t t = 0; t < tensors; t++)
        shapes->weight_use[t] = roles->owner[t] = -1;
    for (int32_t i = 0; i < roles->forward_count; i++) {
        const struct ops_row *row = &roles->ops->rows[i];

        for (int32_t k = 0; k < row->in_count; k++)
            if (roles->role[row->ins[k]] == ROLE_WEIGHT)
                add_use(shapes, roles, i, row->ins[k]);
        shapes->first_use[i + 1] = shapes->use_count;
    }
    stack_uses(shapes);
    return shapes;
}

int32_t roles_turned_weight(const struct roles_shapes *shapes, int32_t tensor)
{
    const struct ops *ops = shapes->roles->ops;
    const char *name = turned(shapes->arena, ops->tensors[tensor].shape);
    int32_t shape = name ? names_find(shapes->names, name) : -1;

    if (shape < 0 || ops->tensors[shapes->some[shape]].bytes != ops->tensors[tensor].bytes)
        return -1;
    return shapes->some[shape];
}

/* ---- gradients ---- */

/* A use of this shape without a gradient: of a weight that the operator reads, of a forward
 * operator whose gradients it makes already (row), or the latest. -1 = none. */
static int32_t find_use(struct roles_shapes *shapes, const struct ops_row *op, int32_t shape,
                        int32_t row)
{
    for (int32_t k = 0; k < op->in_count; k++) {
        int32_t use = shapes->weight_use[op->ins[k]];

        while (use >= 0 && shapes->uses[use].ready_row >= 0)
            use = shapes->use_before[use];
        shapes->weight_use[op->ins[k]] = use;
        if (use >= 0 && shapes->uses[use].shape == shape)
            return use;
    }
    for (int32_t i = row < 0 ? 0 : shapes->first_use[row];
         row >= 0 && i < shapes->first_use[row + 1]; i++)
        if (shapes->uses[i].shape == shape && shapes->uses[i].ready_row < 0)
            return i;
    while (shapes->top[shape] >= 0 && shapes->uses[shapes->top[shape]].ready_row >= 0)
        shapes->top[shape] = shapes->uses[shapes->top[shape]].below;
    return shapes->top[shape];
}

/* The forward operator whose weights' gradients the backward operator makes; -1 = none. */
static int32_t match_row(struct roles_shapes *shapes, struct roles *roles, int32_t row)
{
    const struct ops_row *op = &roles->ops->rows[row];
    int32_t forward = -1;

    for (int32_t k = 0; k < op->out_count; k++) {
        const struct ops_tensor *tensor = &roles->ops->tensors[op->outs[k]];
        const char *other = turned(shapes->arena, tensor->shape);
        int32_t shape = names_find(shapes->names, shape_name(shapes->arena, tensor)), use = -1;

        if (tensor->bytes == 0 || roles->role[op->outs[k]] != ROLE_ACTIVATION)
            continue;
        if (shape >= 0)
            use = find_use(shapes, op, shape, forward);
        shape = use < 0 && other ? names_find(shapes->names, other) : -1;
        if (shape >= 0)
            use = find_use(shapes, op, shape, forward);
        if (use < 0)
            continue;
        shapes->uses[use].ready_row = row;
        roles->role[op->outs[k]] = ROLE_GRADIENT;
        forward = shapes->uses[use].row;
    }
    return forward;
}

/* Forward rows that read a tensor, as lists. */
struct readers {
    int32_t *first, *rows;
};

static struct readers list_readers(struct arena *arena, const struct roles *roles)
{
    const struct ops *ops = roles->ops;
    size_t tensors = (size_t)ops->tensor_count;
    struct readers readers = { .first = arena_array(arena, tensors + 2, sizeof *readers.first) };

    /* first[t + 1] moves from the start of t's list to its end while the list is filled. */
    for (int32_t i = 0; i < roles->forward_count; i++)
        for (int32_t k = 0; k < ops->rows[i].in_count; k++)
            readers.first[ops->rows[i].ins[k] + 2]++;
    for (size_t t = 2; t < tensors + 2; t++)
        readers.first[t] += readers.first[t - 1];
    readers.rows = arena_array(arena, (size_t)readers.first[tensors + 1], sizeof *readers.rows);
    for (int32_t i = 0; i < roles->forward_count; i++)
        for (int32_t k = 0; k < ops->rows[i].in_count; k++)
            readers.rows[readers.first[ops->rows[i].ins[k] + 1]++] = i;
    return readers;
}

/* The latest forward operator up to bound that reads what the backward operator reads; -1. */
static int32_t find_reader(const struct readers *readers, const struct ops *ops,
                           const struct ops_row *op, int32_t bound)
{
    int32_t best = -1;

    for (int32_t k = 0; k < op->in_count; k++) {
        int32_t low = readers->first[op->ins[k]], high = readers->first[op->ins[k] + 1];
        int32_t first = low;

        if (ops->tensors[op->ins[k]].bytes == 0)
            continue;
        while (low < high) {
            int32_t middle = low + (high - low) / 2;

            if (readers->rows[middle] <= bound)
                low = middle + 1;
            else
                high = middle;
        }
        if (low > first && readers->rows[low - 1] > best)
            best = readers->rows[low - 1];
    }
    return best;
}

static void find_partners(struct arena *arena, struct roles *roles, struct roles_shapes *shapes)
{
    struct readers readers = list_readers(arena, roles);
    int32_t bound = roles->forward_count - 1;

    roles->partner = arena_array(arena, (size_t)roles->backward_count, sizeof *roles->partner);
    for (int32_t i = 0; i < roles->backward_count; i++) {
        int32_t row = roles->forward_count + i;
        int32_t partner = match_row(shapes, roles, row);

        if (partner < 0)
            partner = find_reader(&readers, roles->ops, &roles->ops->rows[row], bound);
        if (partner >= 0 && partner < bound)
            bound = partner;
        roles->partner[i] = bound;
    }
}

static int compare_gradients(const void *a, const void *b)
{
    const struct roles_gradient *left = a, *right = b;

    if (left->ready_row != right->ready_row)
        return left->ready_row < right->ready_row ? -1 : 1;
    if (left->owner_row != right->owner_row)
        return left->owner_row > right->owner_row ? -1 : 1;
    return left->weight < right->weight ? -1 : left->weight > right->weight;
}

/* Of each tensor: whether the optimizer reads it as a weight; all weights when it reads none. */
static bool *find_trained(struct arena *arena, const struct roles *roles)
{
    const struct ops *ops = roles->ops;
    bool *is_trained = arena_array(arena, (size_t)ops->tensor_count, sizeof *is_trained);
    bool is_any = false;

    for (int32_t i = ops->row_count - roles->optimizer_count; i < ops->row_count; i++)
        for (int32_t k = 0; k < ops->rows[i].in_count; k++)
            if (roles->role[ops->rows[i].ins[k]] == ROLE_WEIGHT)
                is_any = is_trained[ops->rows[i].ins[k]] = true;
    for (int32_t t = 0; t < ops->tensor_count && !is_any; t++)
        is_trained[t] = roles->role[t] == ROLE_WEIGHT;
    return is_trained;
}

static void list_gradients(struct arena *arena, struct roles *roles, struct roles_shapes *shapes)
{
    const struct ops *ops = roles->ops;
    int32_t end = roles->forward_count + roles->backward_count - 1;
    int32_t *ready = arena_array(arena, (size_t)ops->tensor_count, sizeof *ready);
    const bool *is_trained = find_trained(arena, roles);

    for (int32_t row = 0; row < roles->forward_count; row++) {
        int32_t latest = -1;

        for (int32_t i = shapes->first_use[row]; i < shapes->first_use[row + 1]; i++)
            if (shapes->uses[i].ready_row > latest)
                latest = shapes->uses[i].ready_row;
        for (int32_t i = shapes->first_use[row]; i < shapes->first_use[row + 1]; i++) {
            const struct use *use = &shapes->uses[i];
            int32_t at = use->ready_row >= 0 ? use->ready_row : latest >= 0 ? latest : end;

            if (at > ready[use->weight])
                ready[use->weight] = at;
        }
    }
    roles->gradients = arena_array(arena, (size_t)ops->tensor_count, sizeof *roles->gradients);
    for (int32_t t = 0; t < ops->tensor_count && roles->backward_count > 0; t++) {
        if (!is_trained[t] || ops->tensors[t].bytes == 0)
            continue;
        roles->gradients[roles->gradient_count++] =
            (struct roles_gradient){ .weight = t,
                                     .owner_row = roles->owner[t] >= 0 ? roles->owner[t] : 0,
                                     .ready_row = ready[t] > 0 ? ready[t] : end };
    }
    qsort(roles->gradients, (size_t)roles->gradient_count, sizeof *roles->gradients,
          compare_gradients);
}

struct roles_shapes *roles_find_gradients(struct arena *arena, struct roles *roles)
{
    struct roles_shapes *shapes = list_uses(arena, roles);

    find_partners(arena, roles, shapes);
    list_gradients(arena, roles, shapes);
    return shapes;
}
