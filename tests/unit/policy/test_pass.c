/* test_pass.c - what a sliced stage computes where, and which operation stands between two blocks.
 */
#include "tests/unit/policy/placed.h"

#include "lib/base/out.h"
#include "lib/base/rng.h"
#include "lib/policy/pass.h"
#include "lib/policy/price.h"
#include <string.h>

#define PARTS HEAD "model,layers,block,parts\n"

/* ---- a pass in words ---- */

static void put_range(struct out *out, const struct pass_range *range)
{
    if (range->end - range->first < range->of)
        out_printf(out, " of tokens %d-%d/%d", (int)range->first, (int)range->end - 1,
                   (int)range->of);
}

static void put_term(struct out *out, const struct pass_term *term)
{
    switch (term->block) {
    case BLOCK_ATTN:
        out_printf(out, " attn %d:%d", term->model->heads, term->model->kv_heads);
        break;
    case BLOCK_PROJ:
        out_printf(out, " proj %d", term->model->heads);
        break;
    case BLOCK_FFN_UP:
    case BLOCK_FFN_DOWN:
        out_printf(out, " %s %d", model_block_names[term->block], term->model->ffn_hidden);
        break;
    case BLOCK_LM_HEAD:
        out_printf(out, " lm_head %d", term->model->vocab);
        break;
    case BLOCK_CONN:
        out_printf(out, "%s%s", term->adds ? " add" : "", term->norms ? " norm" : "");
        break;
    case BLOCK_EMBED:
    case BLOCK_COUNT:
        out_text(out, " embed");
        break;
    }
}

static void put_operation(struct out *out, const struct pass *pass, const struct pass_step *step,
                          int32_t tokens)
{
    out_text(out, pass_kind_names[step->kind]);
    for (int32_t i = 0; i < step->count; i++) {
        const struct pass_member *member = &pass->members[step->first + i];

        out_printf(out, " %c", 'a' + member->position);
        if (step->kind == PASS_SCATTER || step->kind == PASS_GATHER ||
            step->kind == PASS_ALL_GATHER || step->kind == PASS_REDUCE_SCATTER)
            out_printf(out, ":%d", (int)pass_part_bytes(step, member, tokens));
    }
    if (step->kind == PASS_SEND || step->kind == PASS_BROADCAST || step->kind == PASS_REDUCE ||
        step->kind == PASS_SCATTER || step->kind == PASS_GATHER)
        out_printf(out, " root %c", 'a' + pass->members[step->first + step->root].position);
    if (step->kind == PASS_EXCHANGE)
        for (int32_t i = 0; i < step->message_count; i++) {
            const struct pass_message *message = &pass->messages[step->first_message + i];

            out_printf(out, ", %c>%c:%d", 'a' + pass->members[step->first + message->from].position,
                       'a' + pass->members[step->first + message->to].position,
                       (int)pass_message_bytes(step, message, tokens));
        }
    else
        out_printf(out, " %d", (int)pass_vector_bytes(step, tokens));
}

static void put_pass(struct out *out, const struct pass *pass, int32_t tokens)
{
    for (int s = 0; s < pass->segment_count; s++) {
        const struct pass_segment *segment = &pass->segments[s];

        out_printf(out, "%d times\n", segment->repeats);
        for (int i = segment->first_step; i < segment->first_step + segment->step_count; i++) {
            const struct pass_step *step = &pass->steps[i];

            out_text(out, "  ");
            if (step->kind != PASS_COMPUTE)
                put_operation(out, pass, step, tokens);
            for (int32_t k = 0; step->kind == PASS_COMPUTE && k < step->count; k++) {
                const struct pass_piece *piece = &pass->pieces[step->first + k];

                out_printf(out, "%s%c", k ? "; " : "", 'a' + piece->position);
                for (int32_t t = 0; t < piece->term_count; t++)
                    put_term(out, &piece->terms[t]);
                put_range(out, &piece->range);
            }
            out_char(out, '\n');
        }
    }
}

static const struct pass *compile(struct scratch *scratch, const struct plan *plan, int stage,
                                  bool has_all_reduce)
{
    struct pass_options options = { has_all_reduce, false, plan->stage_count };
    const struct plan_stage *placed = plan->stages[stage];

    return pass_compile(scratch->arena, placed,
                        plan->services[plan->replicas[placed->replica].service].model, &options);
}

static void expect_pass(struct scratch *scratch, const char *placement, int stage,
                        bool has_all_reduce, int32_t tokens, const char *expected)
{
    const struct plan *plan = build(scratch, placement);
    struct out *out = out_open_memory(scratch->arena);

    put_pass(out, compile(scratch, plan, stage, has_all_reduce), tokens);
    assert_string_equal(scratch_text(out), expected);
}

#define T "s,0,0,"
#define TINY ",tinyllama-1.1b,"
#define HALVES                                                                                     \
    PARTS T "a" TINY ",embed,\n" T "a" TINY "0-21,attn,0/2\n" T "b" TINY "0-21,attn,1/2\n" T       \
            "a" TINY "0-21,proj,0/2\n" T "b" TINY "0-21,proj,1/2\n" T "a" TINY "0-21,ffn,0/2\n" T  \
            "b" TINY "0-21,ffn,1/2\n" T "a" TINY ",lm_head,0/2\n" T "b" TINY ",lm_head,1/2\n"

static void halves_meet_in_two_all_reduces_a_layer(void **state)
{
    expect_pass(*state, HALVES, 0, true, 3,
                "1 times\n"
                "  a embed\n"
                "  send a b root a 24576\n"
                "  a norm; b norm\n"
                "1 times\n"
                "  a attn 16:2 proj 16; b attn 16:2 proj 16\n"
                "  all-reduce a b 24576\n"
                "  a add norm ffn_up 2816 ffn_down 2816; b add norm ffn_up 2816 ffn_down 2816\n"
                "  all-reduce a b 24576\n"
                "  a add norm; b add norm\n"
                "20 times\n"
                "  a attn 16:2 proj 16; b attn 16:2 proj 16\n"
                "  all-reduce a b 24576\n"
                "  a add norm ffn_up 2816 ffn_down 2816; b add norm ffn_up 2816 ffn_down 2816\n"
                "  all-reduce a b 24576\n"
                "  a add norm; b add norm\n"
                "1 times\n"
                "  a attn 16:2 proj 16; b attn 16:2 proj 16\n"
                "  all-reduce a b 24576\n"
                "  a add norm ffn_up 2816 ffn_down 2816; b add norm ffn_up 2816 ffn_down 2816\n"
                "  all-reduce a b 24576\n"
                "  a add; b add\n"
                "1 times\n"
                "  a lm_head 16000; b lm_head 16000\n"
                "  gather a:8 b:8 root a 8\n");
}

/* The steps of the layers in the middle. */
static void expect_layer(struct scratch *scratch, const char *placement, bool has_all_reduce,
                         int32_t tokens, const char *expected)
{
    const struct plan *plan = build(scratch, placement);
    struct out *out = out_open_memory(scratch->arena);
    const char *text, *end;

    put_pass(out, compile(scratch, plan, 0, has_all_reduce), tokens);
    text = strstr(scratch_text(out), "10 times\n");
    end = text ? strstr(text, "\n1 times\n") : NULL;
    if (!end) {
        fail_msg("%s", scratch_text(out));
        return;
    }
    text += strlen("10 times\n");
    assert_string_equal(arena_strndup(scratch->arena, text, (size_t)(end + 1 - text)), expected);
}

#define G ",gpt2,"
#define ENDS T "a" G ",embed,\n" T "a" G ",lm_head,\n"
#define BOTH(block) T "a" G "0-11," block ",0/2\n" T "b" G "0-11," block ",1/2\n"

static void without_all_reduces_the_first_device_behind_adds_up(void **state)
{
    expect_layer(*state, PARTS ENDS BOTH("attn") BOTH("proj") BOTH("ffn"), false, 1,
                 "  send a b root a 3072\n"
                 "  a attn 6:6 proj 6; b attn 6:6 proj 6\n"
                 "  reduce a b root a 3072\n"
                 "  a add norm\n"
                 "  send a b root a 3072\n"
                 "  a ffn_up 1536 ffn_down 1536; b ffn_up 1536 ffn_down 1536\n"
                 "  reduce a b root a 3072\n"
                 "  a add norm\n");
    /* Conn that a row names stays there, all-reduces or not. */
    expect_layer(*state, PARTS ENDS BOTH("attn") BOTH("proj") BOTH("ffn") T "b" G "0-11,conn,\n",
                 true, 1,
                 "  send a b root b 3072\n"
                 "  a attn 6:6 proj 6; b attn 6:6 proj 6\n"
                 "  reduce a b root b 3072\n"
                 "  b add norm\n"
                 "  send a b root b 3072\n"
                 "  a ffn_up 1536 ffn_down 1536; b ffn_up 1536 ffn_down 1536\n"
                 "  reduce a b root b 3072\n"
                 "  b add norm\n");
}

static void norms_along_the_sequence_scatter_and_gather(void **state)
{
    expect_layer(*state, PARTS ENDS BOTH("layer"), true, 5,
                 "  all-gather a:6144 b:9216 15360\n"
                 "  a attn 6:6 proj 6; b attn 6:6 proj 6\n"
                 "  reduce-scatter a:6144 b:9216 15360\n"
                 "  a add norm of tokens 0-0/2; b add norm of tokens 1-1/2\n"
                 "  all-gather a:6144 b:9216 15360\n"
                 "  a ffn_up 1536 ffn_down 1536; b ffn_up 1536 ffn_down 1536\n"
                 "  reduce-scatter a:6144 b:9216 15360\n"
                 "  a add norm of tokens 0-0/2; b add norm of tokens 1-1/2\n");
}

/* Of the pass of five tokens. */
static bool ends_in(struct scratch *scratch, const char *placement, bool has_batches,
                    const char *end)
{
    const struct plan *plan = build(scratch, placement);
    struct pass_options options = { true, has_batches, plan->stage_count };
    struct out *out = out_open_memory(scratch->arena);

    put_pass(out, pass_compile(scratch->arena, plan->stages[0], plan->services[0].model, &options),
             5);
    return strstr(scratch_text(out), end) != NULL;
}

static void the_last_tokens_of_a_batch_lie_all_over_the_sequence(void **state)
{
    static const char one[] = PARTS ENDS BOTH("layer"), two[] = PARTS T
                                                        "a" G ",embed,\n" T "a" G ",lm_head,0/2\n" T
                                                        "b" G ",lm_head,1/2\n" BOTH("layer");

    assert_true(ends_in(*state, one, false, "times\n  send a b root b 3072\n  a lm_head 50257\n"));
    assert_true(ends_in(*state, one, true,
                        "times\n  gather a:6144 b:9216 root a 15360\n  a lm_head 50257\n"));
    assert_true(ends_in(*state, two, true,
                        "times\n  gather a:6144 b:9216 root a 15360\n  send a b root a 3072\n"
                        "  a lm_head 25129; b lm_head 25129\n  gather a:8 b:8 root a 8\n"));
}

static void parts_that_differ_are_exchanged_gathered_or_scattered(void **state)
{
    expect_layer(*state,
                 PARTS ENDS T "a" G "0-11,attn,0-7/12\n" T "b" G "0-11,attn,8-11/12\n" BOTH("proj")
                     T "c" G "0-11,ffn,\n",
                 true, 2,
                 "  send a b root a 6144\n"
                 "  a attn 8:8; b attn 4:4\n"
                 "  exchange a b, a>b:1024\n"
                 "  a proj 6; b proj 6\n"
                 "  reduce a b c root c 6144\n"
                 "  send a c root a 6144\n"
                 "  c add norm ffn_up 3072 ffn_down 3072\n"
                 "  send a c root c 12288\n" /* and what is to be added to it */
                 "  a add norm\n");
    expect_layer(*state,
                 PARTS ENDS BOTH("attn") T "b" G "0-11,proj,\n" T "a" G
                                           "0-11,ffn_up,\n" BOTH("ffn_down"),
                 true, 1,
                 "  a attn 6:6; b attn 6:6\n"
                 "  gather a:1536 b:1536 root b 3072\n"
                 "  b proj 12\n"
                 "  send a b root b 3072\n"
                 "  a add norm ffn_up 3072\n"
                 "  scatter a:6144 b:6144 root a 12288\n"
                 "  a ffn_down 1536; b ffn_down 1536\n"
                 "  all-reduce a b 3072\n"
                 "  send a b root a 3072\n" /* what is to be added */
                 "  a add norm; b add norm\n");
}

static void layers_that_differ_are_compiled_apart(void **state)
{
    struct scratch *scratch = *state;
    const struct plan *plan =
        build(scratch, PARTS ENDS T "a" G "0-5,layer,\n" T "b" G "6-11,layer,\n");
    const struct pass *pass = compile(scratch, plan, 0, true);
    int32_t layers = 0;

    assert_int_equal(pass->segment_count, 8); /* 0, 1-4, 5 then 6, 7-10, 11 with both ends */
    for (int i = 1; i < 7; i++)
        layers += pass->segments[i].repeats;
    assert_int_equal(layers, 12);
    assert_int_equal(pass->segments[2].repeats, 4);
    assert_int_equal(pass->segments[5].repeats, 4);
}

/* ---- any placement ---- */

/* Rows that cut a block of some layers into 1 to 4 ranges of parts, on any of four devices. */
static const char *random_rows_of(struct arena *arena, struct rng *rng, int stage,
                                  const char *model, const char *layers, const char *block,
                                  int parts)
{
    const char *text = "";
    int from = 0;

    while (from < parts) {
        int to = from + (int)rng_below(rng, (uint64_t)(parts - from)) + 1;

        text =
            arena_printf(arena, "%ss,0,%d,%c,%s,%s,%s,%d-%d/%d\n", text, stage,
                         'a' + (int)rng_below(rng, 4), model, layers, block, from, to - 1, parts);
        from = to;
    }
    return text;
}

static const char *random_rows(struct arena *arena, struct rng *rng, const char *model,
                               const char *layers, const char *block, int parts)
{
    return random_rows_of(arena, rng, 0, model, layers, block, parts);
}

struct totals { /* of a pass, over all devices */
    int64_t heads, kv_heads, rows, up, down, vocab, norms, adds, embeds;
};

static void add_totals(const struct pass *pass, const struct pass_segment *segment,
                       struct totals *totals)
{
    for (int i = segment->first_step; i < segment->first_step + segment->step_count; i++)
        for (int32_t k = 0; pass->steps[i].kind == PASS_COMPUTE && k < pass->steps[i].count; k++) {
            const struct pass_piece *piece = &pass->pieces[pass->steps[i].first + k];
            int64_t tokens = pass_range_tokens(&piece->range, 8) * segment->repeats;

            for (int32_t t = 0; t < piece->term_count; t++) {
                const struct pass_term *term = &piece->terms[t];
                bool is_attn = term->block == BLOCK_ATTN;

                totals->heads += is_attn ? tokens * term->model->heads : 0;
                totals->kv_heads += is_attn ? tokens * term->model->kv_heads : 0;
                totals->rows += term->block == BLOCK_PROJ ? tokens * term->model->heads : 0;
                totals->up += term->block == BLOCK_FFN_UP ? tokens * term->model->ffn_hidden : 0;
                totals->down +=
                    term->block == BLOCK_FFN_DOWN ? tokens * term->model->ffn_hidden : 0;
                totals->vocab += term->block == BLOCK_LM_HEAD ? term->model->vocab : 0;
                totals->norms += term->norms * tokens;
                totals->adds += term->adds * tokens;
                totals->embeds += term->block == BLOCK_EMBED ? tokens : 0;
            }
        }
}

/* Every block of every layer, on up to four devices; two halves of the layers are cut apart. */
static const char *random_placement(struct arena *arena, struct rng *rng, const char *name,
                                    bool has_conn)
{
    int kv = strcmp(name, "tinyllama-1.1b") == 0 ? 4 : 12, last = kv == 4 ? 21 : 11;
    int cut = (int)rng_below(rng, (uint64_t)last);
    const char *text = arena_printf(
        arena, PARTS T "%c,%s,,embed,\n%s", 'a' + (int)rng_below(rng, 4), name,
        random_rows(arena, rng, name, "", "lm_head", strcmp(name, "bert-base") == 0 ? 1 : 5));

    for (int half = 0; half < 2; half++) {
        const char *layers = arena_printf(arena, "%d-%d", half ? cut + 1 : 0, half ? last : cut);

        text = arena_printf(arena, "%s%s%s%s%s", text,
                            random_rows(arena, rng, name, layers, "attn", kv),
                            random_rows(arena, rng, name, layers, "proj", kv),
                            random_rows(arena, rng, name, layers, "ffn_up", 8),
                            random_rows(arena, rng, name, layers, "ffn_down", 4));
        if (has_conn)
            text = arena_printf(arena, "%s" T "%c,%s,%s,conn,\n", text,
                                'a' + (int)rng_below(rng, 4), name, layers);
    }
    return text;
}

static void every_part_is_computed_once(void **state)
{
    static const char *const models[] = { "gpt2", "tinyllama-1.1b", "vit-base", "bert-base" };
    struct scratch *scratch = *state;
    struct rng rng = rng_stream(7, RNG_TEST, 1);

    for (int round = 0; round < 400; round++) {
        const char *name = models[rng_below(&rng, 4)];
        bool has_conn = rng_below(&rng, 2) == 1;
        const struct plan *plan =
            build(scratch, random_placement(scratch->arena, &rng, name, has_conn));
        const struct plan_stage *stage = plan->stages[0];
        const struct model *model = plan->services[0].model;
        const struct pass *pass;
        struct totals totals = { 0 };
        struct pass_options options = { rng_below(&rng, 2) == 1, false, 1 };
        int64_t weight_bytes = 0, rows = INT64_C(8) * model->layers;

        if (stage->device_count == 1)
            continue;
        pass = pass_compile(scratch->arena, stage, model, &options);
        assert_int_equal(options.next_id, 1 + pass->piece_count);
        for (int i = 0; i < pass->segment_count; i++)
            add_totals(pass, &pass->segments[i], &totals);
        assert_int_equal(totals.heads, rows * model->heads);
        assert_int_equal(totals.kv_heads, rows * model->kv_heads);
        assert_int_equal(totals.rows, rows * model->heads);
        assert_int_equal(totals.up, rows * model->ffn_hidden);
        assert_int_equal(totals.down, rows * model->ffn_hidden);
        assert_int_equal(totals.embeds, 8);
        assert_in_range(totals.vocab, model->vocab, model->vocab + 4);
        if (!options.has_all_reduce || has_conn) { /* else some of them run on all */
            assert_int_equal(totals.norms, 2 * rows);
            assert_int_equal(totals.adds, 2 * rows);
        }
        for (int i = 0; i < stage->device_count; i++)
            weight_bytes += plan_stage_weight_bytes(plan, stage, stage->devices[i]);
        assert_in_range(weight_bytes, model_weight_bytes(model) - rows,
                        model_weight_bytes(model) + model_tied_bytes(model));
    }
}

/* Stages that begin and end anywhere in a layer, the last with lm_head. */
static const char *random_stages(struct arena *arena, struct rng *rng, const char *name, int layers,
                                 int heads)
{
    static const char *const blocks[] = { "attn", "proj", "ffn_up", "ffn_down" };
    const char *text = arena_printf(arena, PARTS "s,0,0,a,%s,,embed,\n", name);
    int stage = 0;

    for (int at = 0; at < 4 * layers; at++) {
        stage += rng_below(rng, (uint64_t)layers) == 0;
        text =
            arena_printf(arena, "%s%s", text,
                         random_rows_of(arena, rng, stage, name, arena_printf(arena, "%d", at / 4),
                                        blocks[at % 4], at % 4 < 2 ? heads : 8));
    }
    return arena_printf(arena, "%ss,0,%d,b,%s,,lm_head,\n", text, stage, name);
}

/* However a pipeline is cut: no part is computed twice or left out, no device of two has it all to
 * do, and the sizes of what crosses a border inside a layer are those of its two tensors. */
static void stages_that_cut_layers_compute_every_part_once(void **state)
{
    static const char *const models[] = { "gpt2", "tinyllama-1.1b", "bert-base" };
    struct scratch *scratch = *state;
    struct rng rng = rng_stream(9, RNG_TEST, 1);

    for (int round = 0; round < 60; round++) {
        const char *name = models[rng_below(&rng, 3)];
        bool is_llama = name == models[1];
        const struct plan *plan =
            build(scratch,
                  random_stages(scratch->arena, &rng, name, is_llama ? 22 : 12, is_llama ? 4 : 12));
        const struct model *model = plan->services[0].model;
        struct pass_options options = { false, false, plan->stage_count };
        struct totals totals = { 0 };
        int64_t rows = INT64_C(8) * model->layers, weight_bytes = 0;

        for (int s = 0; s < plan->stage_count; s++) {
            const struct plan_stage *stage = plan->stages[s];
            struct plan_counts counts = plan_stage_counts(stage);
            const struct pass *pass;

            for (int i = 0; i < stage->device_count; i++)
                weight_bytes += plan_stage_weight_bytes(plan, stage, stage->devices[i]);
            if (s > 0 && stage->in.residual_values > 0)
                assert_int_equal(plan_input_bytes(plan, stage, 3),
                                 3 * 4 * (stage->in.output_values + model->hidden));
            if (stage->device_count == 1) {
                totals.heads += 8 * counts.layers[BLOCK_ATTN] * model->heads;
                totals.rows += 8 * counts.layers[BLOCK_PROJ] * model->heads;
                totals.up += 8 * counts.layers[BLOCK_FFN_UP] * model->ffn_hidden;
                totals.down += 8 * counts.layers[BLOCK_FFN_DOWN] * model->ffn_hidden;
                totals.norms += 8 * counts.norms;
                totals.adds += 8 * counts.adds;
                continue;
            }
            pass = pass_compile(scratch->arena, stage, model, &options);
            for (int i = 0; i < pass->segment_count; i++)
                add_totals(pass, &pass->segments[i], &totals);
        }
        assert_int_equal(totals.heads, rows * model->heads);
        assert_int_equal(totals.rows, rows * model->heads);
        assert_int_equal(totals.up, rows * model->ffn_hidden);
        assert_int_equal(totals.down, rows * model->ffn_hidden);
        assert_int_equal(totals.norms, 2 * rows);
        assert_int_equal(totals.adds, 2 * rows);
        assert_in_range(weight_bytes, model_weight_bytes(model) - rows,
                        model_weight_bytes(model) + model_tied_bytes(model));
    }
}

/* attn | proj: the heads that a and b make are gathered on a, beside the residual; behind the
 * border a and b get the rows that they have. */
static void a_border_behind_attention_gathers_heads(void **state)
{
    static const char text[] = PARTS "s,0,0,a,gpt2-4l,,embed,\ns,0,0,a,gpt2-4l,0-2,layer,\n"
                                     "s,0,0,a,gpt2-4l,3,attn,0/2\ns,0,0,b,gpt2-4l,3,attn,1/2\n"
                                     "s,0,1,c,gpt2-4l,3,proj,0/3\ns,0,1,d,gpt2-4l,3,proj,1-2/3\n"
                                     "s,0,1,c,gpt2-4l,3,ffn,\ns,0,1,c,gpt2-4l,,lm_head,\n";
    struct scratch *scratch = *state;
    const struct plan *plan = build(scratch, text);
    struct out *first = out_open_memory(scratch->arena), *last = out_open_memory(scratch->arena);
    const char *tail;

    put_pass(first, compile(scratch, plan, 0, false), 2);
    tail = strstr(scratch_text(first), "  send a b");
    assert_non_null(tail);
    assert_string_equal(tail, "  send a b root a 6144\n"
                              "  a attn 6:6; b attn 6:6\n"
                              "1 times\n"
                              "  gather a:3072 b:3072 root a 6144\n");
    put_pass(last, compile(scratch, plan, 1, false), 2);
    assert_string_equal(scratch_text(last), "1 times\n"
                                            "  scatter a:2048 b:4096 root a 6144\n"
                                            "  a proj 4; b proj 8\n"
                                            "  reduce a b root a 6144\n"
                                            "  a add norm ffn_up 3072 ffn_down 3072 add\n"
                                            "1 times\n"
                                            "  a lm_head 50257\n");
}

/* ---- costs ---- */

/* All calls of an operator cost the same, so that a price counts calls. */
static const struct cost_table *counting_table(struct scratch *scratch)
{
    struct out *out = out_open_memory(scratch->arena);
    const struct cost_table *table;

    out_text(out, "kernel,phase,impl,dtype,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,"
                  "head_dim,kv_len,state,regime,n,mean_ns\n"
                  "norm,any,c,f32,1,4,768,0,,,,,chain,burst,5,1000\n"
                  "norm,any,c,f32,1,2,768,0,,,,,chain,burst,5,700\n"
                  "add,any,c,f32,1,4,768,0,,,,,chain,burst,5,10\n"
                  "add,any,c,f32,1,2,768,0,,,,,chain,burst,5,7\n"
                  "ffn_up,any,gemm,f32,1,4,1536,768,,,,,chain,burst,5,100000\n"
                  "act,any,c,f32,1,4,1536,0,,,,,chain,burst,5,200000\n"
                  "ffn_down,any,gemm,f32,1,4,768,1536,,,,,chain,burst,5,400000\n");
    table = cost_load_text(scratch->arena, "t", scratch_text(out), NULL, scratch_err(scratch));
    if (!table)
        fail_msg("%s", scratch->err.text);
    return table;
}

static const struct pass_piece *piece_with(const struct pass *pass, enum model_block block)
{
    for (int32_t i = 0; i < pass->piece_count; i++)
        for (int32_t t = 0; t < pass->pieces[i].term_count; t++)
            if (pass->pieces[i].terms[t].block == block)
                return &pass->pieces[i];
    fail();
    return NULL;
}

static void a_piece_costs_what_its_part_of_the_kernels_costs(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = counting_table(scratch);
    const struct plan *plan = build(scratch, PARTS ENDS BOTH("layer"));
    const struct model *model = plan->services[0].model;
    const struct pass *pass = compile(scratch, plan, 0, true);
    struct price *price = price_create(scratch->arena);
    const struct pass_piece *ffn = piece_with(pass, BLOCK_FFN_UP);
    const struct pass_piece *conn = piece_with(pass, BLOCK_CONN);
    int64_t time_ps;
    int extrapolated;

    for (int again = 0; again < 2; again++) { /* what is remembered is the same */
        assert_true(price_piece(price, ffn, model, table, 1, 1, 4, 0, &time_ps, &extrapolated,
                                scratch_err(scratch)));
        assert_int_equal(time_ps, 700000 * INT64_C(1000));
        assert_true(price_piece(price, ffn, model, table, 1, 0.5, 4, 0, &time_ps, &extrapolated,
                                &scratch->err));
        assert_int_equal(time_ps, 1400000 * INT64_C(1000));
        assert_true(price_piece(price, conn, model, table, 1, 1, 4, 0, &time_ps, &extrapolated,
                                &scratch->err));
        assert_int_equal(time_ps, 700 * INT64_C(1000)); /* of two tokens */
        assert_int_equal(extrapolated, 0);
    }
    /* Half of one token is none on the first device. */
    assert_true(
        price_piece(price, conn, model, table, 1, 1, 1, 0, &time_ps, &extrapolated, &scratch->err));
    assert_int_equal(time_ps, 0);
    assert_false(price_piece(price, piece_with(pass, BLOCK_ATTN), model, table, 1, 1, 4, 0,
                             &time_ps, &extrapolated, &scratch->err));
    assert_non_null(strstr(scratch->err.text, "no measured rows of qkv with gemm_n 1152, gemm_k "
                                              "768"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(halves_meet_in_two_all_reduces_a_layer),
        scratch_test(without_all_reduces_the_first_device_behind_adds_up),
        scratch_test(norms_along_the_sequence_scatter_and_gather),
        scratch_test(the_last_tokens_of_a_batch_lie_all_over_the_sequence),
        scratch_test(parts_that_differ_are_exchanged_gathered_or_scattered),
        scratch_test(layers_that_differ_are_compiled_apart),
        scratch_test(every_part_is_computed_once),
        scratch_test(stages_that_cut_layers_compute_every_part_once),
        scratch_test(a_border_behind_attention_gathers_heads),
        scratch_test(a_piece_costs_what_its_part_of_the_kernels_costs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
