/* pass_convert.c - the operation between how something was left and how it is needed (pass.h). */
#include "lib/policy/pass_internal.h"

#include "lib/policy/plan.h"
#include <assert.h>

static bool has(const struct pass_layout *layout, int32_t position)
{
    for (int32_t i = 0; i < layout->count; i++)
        if (layout->places[i].position == position)
            return true;
    return false;
}

static bool is_within(const struct pass_layout *inner, const struct pass_layout *outer)
{
    for (int32_t i = 0; i < inner->count; i++)
        if (!has(outer, inner->places[i].position))
            return false;
    return true;
}

bool pass_same_set(const struct pass_layout *a, const struct pass_layout *b)
{
    return is_within(a, b) && is_within(b, a);
}

/* Each device of the shares once, in order of the stage's devices. */
struct pass_layout pass_set(struct pass_builder *b, enum pass_form form,
                            const struct pass_shares *shares)
{
    struct pass_share *places =
        arena_array(b->arena, (size_t)b->stage->device_count, sizeof *places);
    struct pass_layout layout = { .form = form, .places = places };

    for (int32_t position = 0; position < b->stage->device_count; position++)
        for (int32_t i = 0; i < shares->count; i++)
            if (shares->shares[i].position == position) {
                places[layout.count] = shares->shares[i];
                places[layout.count++].range = (struct pass_range){ 0, 1, 1, false };
                break;
            }
    return layout;
}

struct pass_layout pass_one(struct pass_builder *b, int32_t position)
{
    struct pass_share *place = arena_alloc(b->arena, sizeof *place);

    *place = (struct pass_share){ .position = position, .range = { 0, 1, 1, false } };
    return (struct pass_layout){ .form = PASS_FORM_COPIES, .count = 1, .places = place };
}

struct pass_layout pass_units(const struct pass_shares *shares, int64_t unit_bytes)
{
    return (struct pass_layout){ PASS_FORM_UNITS, shares->count, shares->shares, unit_bytes };
}

/* ---- steps ---- */

struct pass_step *pass_last_step(const struct pass_builder *b)
{
    return b->pass->step_count > b->segment_first ? &b->pass->steps[b->pass->step_count - 1] : NULL;
}

struct pass_step *pass_step_add(struct pass_builder *b, enum pass_kind kind)
{
    struct pass *pass = b->pass;
    bool is_compute = kind == PASS_COMPUTE;

    PASS_MAKE_ROOM(b, pass->steps, pass->step_count, b->step_room);
    pass->steps[pass->step_count] =
        (struct pass_step){ .kind = kind,
                            .content = is_compute ? PASS_NOTHING : b->content,
                            .first = is_compute ? pass->piece_count : pass->member_count,
                            .first_message = pass->message_count };
    return &pass->steps[pass->step_count++];
}

static void member_add(struct pass_builder *b, int32_t position, int64_t row_bytes,
                       struct pass_range range)
{
    struct pass *pass = b->pass;

    PASS_MAKE_ROOM(b, pass->members, pass->member_count, b->member_room);
    pass->members[pass->member_count++] =
        (struct pass_member){ position, row_bytes, range, pass->span_count, 0 };
    pass->steps[pass->step_count - 1].count++;
}

static void span_add(struct pass_builder *b, int64_t first, int64_t end, int64_t unit_bytes)
{
    struct pass *pass = b->pass;

    PASS_MAKE_ROOM(b, pass->spans, pass->span_count, b->span_room);
    pass->spans[pass->span_count++] = (struct pass_span){ first * unit_bytes, end * unit_bytes };
}

static void member_spans_add(struct pass_builder *b, const struct pass_layout *parts,
                             int32_t position)
{
    struct pass_member *member = &b->pass->members[b->pass->member_count - 1];

    for (int32_t i = 0; i < parts->count; i++)
        if (parts->places[i].position == position) {
            span_add(b, parts->places[i].first, parts->places[i].end, parts->unit_bytes);
            member->span_count++;
        }
}

/* Members are those of both sets, in order of the stage's devices. parts: whose ranges or units
 * count; NULL = nobody's. */
void pass_operation_add(struct pass_builder *b, enum pass_kind kind, const struct pass_layout *from,
                        const struct pass_layout *to, int32_t root, const struct pass_layout *parts,
                        int64_t row_bytes, bool is_last_row)
{
    struct pass_step *step = pass_step_add(b, kind);
    const struct pass_range all = { 0, 1, 1, false }, none = { 0, 0, 1, false };

    step->is_last_row = is_last_row;
    step->row_bytes = row_bytes;
    for (int32_t position = 0; position < b->stage->device_count; position++) {
        struct pass_range range = parts ? none : all;
        int64_t part_bytes = parts && parts->form == PASS_FORM_UNITS ? 0 : row_bytes;

        if (!has(from, position) && !has(to, position))
            continue;
        for (int32_t i = 0; parts && i < parts->count; i++) {
            const struct pass_share *place = &parts->places[i];

            if (place->position != position)
                continue;
            range = parts->form == PASS_FORM_UNITS ? all : place->range;
            if (parts->form == PASS_FORM_UNITS)
                part_bytes += (place->end - place->first) * parts->unit_bytes;
        }
        if (position == root)
            b->pass->steps[b->pass->step_count - 1].root =
                b->pass->steps[b->pass->step_count - 1].count;
        member_add(b, position, part_bytes, range);
        if (parts && parts->form == PASS_FORM_UNITS)
            member_spans_add(b, parts, position);
    }
}

/* Every device sends every other one what of its heads or columns that one needs. */
static void exchange_add(struct pass_builder *b, const struct pass_layout *from,
                         const struct pass_layout *to)
{
    struct pass *pass = b->pass;
    struct pass_step *step;

    pass_operation_add(b, PASS_EXCHANGE, from, to, -1, from, 0, false);
    step = &pass->steps[pass->step_count - 1];
    for (int32_t i = 0; i < step->count; i++)
        for (int32_t k = 0; k < step->count; k++) {
            int64_t units = 0;
            int32_t first_span = pass->span_count;

            for (int32_t x = 0; x < from->count && i != k; x++)
                for (int32_t y = 0; y < to->count; y++) {
                    const struct pass_share *s = &from->places[x], *t = &to->places[y];
                    int64_t first = s->first > t->first ? s->first : t->first;
                    int64_t end = s->end < t->end ? s->end : t->end;

                    if (s->position == pass->members[step->first + i].position &&
                        t->position == pass->members[step->first + k].position && end > first) {
                        units += end - first;
                        span_add(b, first, end, from->unit_bytes);
                    }
                }
            if (units == 0)
                continue;
            PASS_MAKE_ROOM(b, pass->messages, pass->message_count, b->message_room);
            pass->messages[pass->message_count++] =
                (struct pass_message){ i, k, units * from->unit_bytes, first_span,
                                       pass->span_count - first_span };
            step->message_count++;
        }
}

/* ---- from one form to another ---- */

/* What was sent last goes from and to the same devices: one message carries both. */
static bool joins_send(const struct pass_builder *b, const struct pass_layout *from,
                       const struct pass_layout *to, bool is_last_row)
{
    const struct pass *pass = b->pass;
    const struct pass_step *last = pass_last_step(b);
    const struct pass_member *members = last ? &pass->members[last->first] : NULL;

    return last && last->kind == PASS_SEND && last->is_last_row == is_last_row &&
           members[last->root].position == from->places[0].position &&
           members[1 - last->root].position == to->places[0].position;
}

static void from_copies(struct pass_builder *b, const struct pass_layout *from,
                        const struct pass_layout *to, int64_t row_bytes, bool is_last_row)
{
    struct pass_share *missing = arena_array(b->arena, (size_t)to->count, sizeof *missing);
    struct pass_layout rest = { .form = to->form, .places = missing, .unit_bytes = to->unit_bytes };
    struct pass_layout root = pass_one(b, from->places[0].position);

    for (int32_t i = 0; i < to->count; i++)
        if (!has(from, to->places[i].position))
            missing[rest.count++] = to->places[i];
    if (rest.count == 0)
        return;
    if (to->form == PASS_FORM_COPIES && rest.count == 1 &&
        joins_send(b, &root, &rest, is_last_row)) {
        struct pass_step *last = &b->pass->steps[b->pass->step_count - 1];

        assert(last->also == PASS_NOTHING);
        last->row_bytes += row_bytes;
        last->also = b->content;
        return;
    }
    if (to->form == PASS_FORM_COPIES)
        pass_operation_add(b, rest.count == 1 ? PASS_SEND : PASS_BROADCAST, &root, &rest,
                           root.places[0].position, NULL, row_bytes, is_last_row);
    else
        pass_operation_add(b, PASS_SCATTER, &root, &rest, root.places[0].position, &rest, row_bytes,
                           is_last_row);
}

static void through_first(struct pass_builder *b, const struct pass_layout *from,
                          const struct pass_layout *to, int64_t row_bytes)
{
    struct pass_layout first = pass_one(b, to->places[0].position);

    pass_convert(b, from, &first, row_bytes, false);
    pass_convert(b, &first, to, row_bytes, false);
}

bool pass_same_sequence(const struct pass_layout *a, const struct pass_layout *b)
{
    if (a->form != PASS_FORM_SEQUENCE || b->form != PASS_FORM_SEQUENCE || a->count != b->count)
        return false;
    for (int32_t i = 0; i < a->count; i++)
        if (a->places[i].position != b->places[i].position ||
            a->places[i].range.first * b->places[i].range.of !=
                b->places[i].range.first * a->places[i].range.of)
            return false;
    return true;
}

static void from_sequence(struct pass_builder *b, const struct pass_layout *from,
                          const struct pass_layout *to, int64_t row_bytes)
{
    if (pass_same_sequence(from, to))
        return;
    if (to->form == PASS_FORM_COPIES && to->count == 1)
        pass_operation_add(b, PASS_GATHER, from, to, to->places[0].position, from, row_bytes,
                           false);
    else if (to->form == PASS_FORM_COPIES && is_within(from, to))
        pass_operation_add(b, PASS_ALL_GATHER, from, to, -1, from, row_bytes, false);
    else
        through_first(b, from, to, row_bytes);
}

static bool is_same_units(const struct pass_layout *a, const struct pass_layout *b)
{
    if (a->count != b->count)
        return false;
    for (int32_t i = 0; i < a->count; i++)
        if (a->places[i].position != b->places[i].position ||
            a->places[i].first != b->places[i].first || a->places[i].end != b->places[i].end)
            return false;
    return true;
}

static void from_units(struct pass_builder *b, const struct pass_layout *from,
                       const struct pass_layout *to)
{
    int64_t row_bytes = from->places[from->count - 1].end * from->unit_bytes;

    if (is_same_units(from, to))
        return;
    if (to->count == 1)
        pass_operation_add(b, PASS_GATHER, from, to, to->places[0].position, from, row_bytes,
                           false);
    else if (from->count == 1)
        pass_operation_add(b, PASS_SCATTER, from, to, from->places[0].position, to, row_bytes,
                           false);
    else
        exchange_add(b, from, to);
}

static void from_sums(struct pass_builder *b, const struct pass_layout *from,
                      const struct pass_layout *to, int64_t row_bytes)
{
    if (to->form == PASS_FORM_COPIES && to->count == 1)
        pass_operation_add(b, PASS_REDUCE, from, to, to->places[0].position, NULL, row_bytes,
                           false);
    else if (to->form == PASS_FORM_COPIES && pass_same_set(from, to))
        pass_operation_add(b, PASS_ALL_REDUCE, from, to, -1, NULL, row_bytes, false);
    else if (to->form == PASS_FORM_SEQUENCE && is_within(to, from))
        pass_operation_add(b, PASS_REDUCE_SCATTER, from, to, -1, to, row_bytes, false);
    else
        through_first(b, from, to, row_bytes);
}

/* row_bytes: of a row of all of it. */
void pass_convert(struct pass_builder *b, const struct pass_layout *from,
                  const struct pass_layout *to, int64_t row_bytes, bool is_last_row)
{
    struct pass_layout whole;

    if (from->form == PASS_FORM_SUMS && from->count == 1) { /* the only term */
        whole = *from;
        whole.form = PASS_FORM_COPIES;
        from = &whole;
    }
    switch (from->form) {
    case PASS_FORM_COPIES:
        from_copies(b, from, to, row_bytes, is_last_row);
        return;
    case PASS_FORM_SEQUENCE:
        from_sequence(b, from, to, row_bytes);
        return;
    case PASS_FORM_UNITS:
        from_units(b, from, to);
        return;
    case PASS_FORM_SUMS:
        from_sums(b, from, to, row_bytes);
        return;
    }
}

int64_t pass_activation_bytes(const struct pass_builder *b)
{
    return PASS_VALUE_BYTES * (int64_t)b->model->hidden;
}

void pass_convert_activation(struct pass_builder *b, enum pass_content content,
                             const struct pass_layout *from, const struct pass_layout *to)
{
    b->content = content;
    pass_convert(b, from, to, pass_activation_bytes(b), false);
}
