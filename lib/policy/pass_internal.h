/* pass_internal.h - what pass.c and pass_convert.c share. For nobody else. */
#ifndef ORRERY_POLICY_PASS_INTERNAL_H
#define ORRERY_POLICY_PASS_INTERNAL_H

#include "lib/base/arena.h"
#include "lib/policy/pass.h"
#include "lib/policy/pass_owners.h"

struct plan_stage;

#define PASS_VALUE_BYTES 4 /* of an activation */

enum pass_form {
    PASS_FORM_COPIES,   /* all of it on each device */
    PASS_FORM_SEQUENCE, /* ranges of the sequence, two devices at least */
    PASS_FORM_UNITS,    /* heads or columns */
    PASS_FORM_SUMS      /* a term of everything on each device */
};

struct pass_layout {
    enum pass_form form;
    int32_t count; /* places; PASS_FORM_UNITS may have several of one device */
    const struct pass_share *places;
    int64_t unit_bytes; /* PASS_FORM_UNITS: of a row */
};

struct pass_builder {
    struct arena *arena;
    const struct plan_stage *stage;
    const struct model *model;
    struct pass_options *options;
    struct pass *pass;
    int32_t step_room, piece_room, member_room, message_room, segment_room, span_room;
    enum pass_content content;  /* of what is moved next */
    int32_t segment_first;      /* step */
    int32_t first_layer;        /* of the stage; -1 = it has none */
    int32_t layer_count;        /* those included of which it has some blocks alone */
    int32_t layer;              /* being walked; -1 = the ends */
    struct pass_owners *owners; /* by layer of the stage */
    struct pass_owners ends;
    struct pass_layout residual;
    struct pass_layout made; /* heads or columns, by the last attn or ffn_up */
};

#define PASS_MAKE_ROOM(builder, items, count, room)                                                \
    do {                                                                                           \
        if ((count) == (room)) {                                                                   \
            int32_t wider = arena_wider(room, 32);                                                 \
            (items) = arena_grow((builder)->arena, (items), (size_t)(room), (size_t)wider,         \
                                 sizeof(*(items)));                                                \
            (room) = wider;                                                                        \
        }                                                                                          \
    } while (0)

bool pass_same_set(const struct pass_layout *a, const struct pass_layout *b);
bool pass_same_sequence(const struct pass_layout *a, const struct pass_layout *b);
/* Each device of the shares once, in order of the stage's devices. */
struct pass_layout pass_set(struct pass_builder *b, enum pass_form form,
                            const struct pass_shares *shares);
struct pass_layout pass_one(struct pass_builder *b, int32_t position);
struct pass_layout pass_units(const struct pass_shares *shares, int64_t unit_bytes);
/* Of the segment that is being built; NULL = it has none yet. */
struct pass_step *pass_last_step(const struct pass_builder *b);
struct pass_step *pass_step_add(struct pass_builder *b, enum pass_kind kind);
/* Members are those of both sets, in order of the stage's devices. root: position, -1 = none.
 * parts: whose ranges or units count; NULL = nobody's. */
void pass_operation_add(struct pass_builder *b, enum pass_kind kind, const struct pass_layout *from,
                        const struct pass_layout *to, int32_t root, const struct pass_layout *parts,
                        int64_t row_bytes, bool is_last_row);
/* Adds what brings b->content from where it is to where it is needed. row_bytes: of a row of all of
 * it; units know their own. */
void pass_convert(struct pass_builder *b, const struct pass_layout *from,
                  const struct pass_layout *to, int64_t row_bytes, bool is_last_row);
/* The same for activations of all tokens. */
void pass_convert_activation(struct pass_builder *b, enum pass_content content,
                             const struct pass_layout *from, const struct pass_layout *to);
int64_t pass_activation_bytes(const struct pass_builder *b);

#endif
