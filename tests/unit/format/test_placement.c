/* test_placement.c - the rules of placements/README.md for one row of a placement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/placement.h"
#include "tests/unit/scratch.h"

#define HEAD "service,replica,stage,device"
#define MODEL_HEAD HEAD ",model,layers,block"

static struct placement *load(struct scratch *scratch, const char *text)
{
    return placement_load(scratch->arena, scratch_write(scratch, "p.csv", text),
                          scratch_err(scratch));
}

static void expect_error(struct scratch *scratch, const char *text, const char *message)
{
    assert_null(load(scratch, text));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    assert_string_equal(scratch_message(scratch), message);
}

static void expect_error_at(struct scratch *scratch, const char *text, const char *place)
{
    assert_null(load(scratch, text));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    if (strncmp(scratch_message(scratch), place, strlen(place)) != 0)
        fail_msg("'%s' does not begin with '%s'", scratch_message(scratch), place);
}

static void an_executable_needs_only_its_name(void **state)
{
    const struct placement *p = load(*state, HEAD ",executable\nbert,1,2,0:3,big\n");

    assert_non_null(p);
    assert_int_equal(p->count, 1);
    assert_string_equal(p->rows[0].service, "bert");
    assert_int_equal(p->rows[0].replica, 1);
    assert_int_equal(p->rows[0].stage, 2);
    assert_string_equal(p->rows[0].device, "0:3");
    assert_string_equal(p->rows[0].executable, "big");
    assert_string_equal(p->rows[0].model, "");
    assert_int_equal(p->rows[0].blocks, 0);
    assert_int_equal(p->rows[0].layer_first, -1);
    assert_int_equal(p->rows[0].part_of, 1);
    assert_int_equal(p->rows[0].line, 2);
    assert_int_equal(p->column[PLACEMENT_EXECUTABLE], 5);
    assert_int_equal(p->column[PLACEMENT_MODEL], 0);
}

static void blocks_are_sets_and_default_to_all_or_layer(void **state)
{
    static const struct {
        const char *row;
        unsigned blocks;
    } cases[] = {
        { "c,0,0,a,gpt2,,", 0x7f },        { "c,0,0,a,gpt2,,all", 0x7f },
        { "c,0,0,a,gpt2,3,", 0x3e },       { "c,0,0,a,gpt2,0-5,layer", 0x3e },
        { "c,0,0,a,gpt2,,embed", 0x01 },   { "c,0,0,a,gpt2,,lm_head", 0x40 },
        { "c,0,0,a,gpt2,3,attn", 0x02 },   { "c,0,0,a,gpt2,3,proj", 0x04 },
        { "c,0,0,a,gpt2,3,ffn_up", 0x08 }, { "c,0,0,a,gpt2,3,ffn_down", 0x10 },
        { "c,0,0,a,gpt2,3,conn", 0x20 },   { "c,0,0,a,gpt2,3,ffn", 0x18 },
    };

    assert_int_equal(1u << BLOCK_EMBED | 1u << BLOCK_LM_HEAD, 0x41);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[96];
        const struct placement *p;

        (void)snprintf(text, sizeof text, MODEL_HEAD "\n%s\n", cases[i].row);
        p = load(*state, text);
        assert_non_null(p);
        assert_int_equal(p->rows[0].blocks, cases[i].blocks);
        assert_int_equal(p->rows[0].is_all, cases[i].blocks == 0x7f);
    }
}

static void layers_are_one_or_a_range_counted_from_0(void **state)
{
    static const char *const bad[] = { "-1", "5-3",        "1-",           "a",   "1-2-3", "0x1",
                                       "1 ", "9999999999", "0-9999999999", "0,5", "1.5",   "nan" };
    const struct placement *p = load(*state, MODEL_HEAD "\nc,0,0,a,gpt2,7,\nc,0,0,a,gpt2,0-11,\n");

    assert_non_null(p);
    assert_int_equal(p->rows[0].layer_first, 7);
    assert_int_equal(p->rows[0].layer_last, 7);
    assert_int_equal(p->rows[1].layer_first, 0);
    assert_int_equal(p->rows[1].layer_last, 11);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128], message[160];

        (void)snprintf(text, sizeof text, MODEL_HEAD "\nc,0,0,a,gpt2,\"%s\",\n", bad[i]);
        (void)snprintf(message, sizeof message,
                       "p.csv:2:6: layers is '%s': expected a layer such as 3, or a range such as "
                       "0-5, counted from 0",
                       bad[i]);
        expect_error(*state, text, message);
    }
}

static void a_block_says_whether_layers_belong_to_it(void **state)
{
    expect_error(*state, MODEL_HEAD "\nc,0,0,a,gpt2,0-3,all\n",
                 "p.csv:2:6: layers is '0-3': must be empty for block all");
    expect_error(*state, MODEL_HEAD "\nc,0,0,a,gpt2,0,embed\n",
                 "p.csv:2:6: layers is '0': must be empty for block embed");
    expect_error(*state, MODEL_HEAD "\nc,0,0,a,gpt2,,ffn\n",
                 "p.csv:2:6: layers is '': expected the layers of block ffn, such as 3 or 0-5");
    expect_error_at(*state, MODEL_HEAD "\nc,0,0,a,gpt2,0,fnn\n", "p.csv:2:7: block is 'fnn': ");
    expect_error_at(*state, HEAD ",model,block\nc,0,0,a,gpt2,attn\n",
                    "p.csv:2: no column 'layers': ");
}

static void parts_are_slices_of_a_whole(void **state)
{
    static const char *const bad[] = { "3",  "0-8/8", "8/8", "0/0",   "3-1/8",
                                       "/8", "0-3/",  "a/b", "0-3/8x" };
    const struct placement *p = load(*state, MODEL_HEAD ",parts\nc,0,0,a,gpt2,3,attn,0-3/8\n"
                                                        "c,0,0,a,gpt2,3,attn,2/8\n");

    assert_non_null(p);
    assert_int_equal(p->rows[0].part_first, 0);
    assert_int_equal(p->rows[0].part_last, 3);
    assert_int_equal(p->rows[0].part_of, 8);
    assert_int_equal(p->rows[1].part_first, 2);
    assert_int_equal(p->rows[1].part_last, 2);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128], place[64];

        (void)snprintf(text, sizeof text, MODEL_HEAD ",parts\nc,0,0,a,gpt2,3,attn,%s\n", bad[i]);
        (void)snprintf(place, sizeof place, "p.csv:2:8: parts is '%s': ", bad[i]);
        expect_error_at(*state, text, place);
    }
}

static void settings_of_a_stage_are_read(void **state)
{
    const struct placement *p =
        load(*state, HEAD ",executable,phase,epoch,from_s,copy,max_batch,queue_depth,wire_bits\n"
                          "c,0,0,a,big,decode,2,10.5,1,4,16,8\n"
                          "c,0,0,a,big,,0,0,,,,\n");

    assert_non_null(p);
    assert_int_equal(p->rows[0].phase, PLACEMENT_DECODE);
    assert_int_equal(p->rows[0].epoch, 2);
    assert_int_equal(p->rows[0].from_ps, 10500 * UNITS_PS_PER_MS);
    assert_int_equal(p->rows[0].copy, 1);
    assert_int_equal(p->rows[0].max_batch, 4);
    assert_int_equal(p->rows[0].queue_depth, 16);
    assert_int_equal(p->rows[0].wire_bits, 8);
    assert_int_equal(p->rows[1].phase, PLACEMENT_BOTH);
    assert_int_equal(p->rows[1].queue_depth, 0);
    expect_error(*state, HEAD ",executable,epoch,from_s\nc,0,0,a,big,1,\n",
                 "p.csv:2:7: from_s is '': expected the second at which epoch 1 starts");
    expect_error(*state, HEAD ",executable,from_s\nc,0,0,a,big,3\n",
                 "p.csv:2:6: from_s is '3': epoch 0 starts at 0");
    expect_error_at(*state, HEAD ",executable,phase\nc,0,0,a,big,encode\n", "p.csv:2:6: phase is");
    expect_error_at(*state, HEAD ",executable,max_batch\nc,0,0,a,big,0\n", "p.csv:2:6: max_batch");
    expect_error_at(*state, HEAD ",executable,wire_bits\nc,0,0,a,big,64\n", "p.csv:2:6: wire_bits");
    expect_error_at(*state, HEAD ",executable,from_s\nc,0,0,a,big,nan\n", "p.csv:2:6: from_s is");
    expect_error_at(*state, HEAD ",executable,queue_depth\nc,0,0,a,big,-1\n",
                    "p.csv:2:6: queue_depth is '-1': ");
}

static void every_row_says_who_where_and_what(void **state)
{
    expect_error_at(*state, HEAD ",executable\n,0,0,a,big\n", "p.csv:2:1: service is ''");
    expect_error_at(*state, HEAD ",executable\nc,-1,0,a,big\n", "p.csv:2:2: replica is '-1'");
    expect_error_at(*state, HEAD ",executable\nc,0,x,a,big\n", "p.csv:2:3: stage is 'x'");
    expect_error_at(*state, HEAD ",executable\nc,0,0,,big\n", "p.csv:2:4: device is ''");
    expect_error(*state, HEAD ",executable\nc,0,0,a,\n",
                 "p.csv:2: expected a model or an executable");
    expect_error(*state, HEAD "\nc,0,0,a\n", "p.csv:2: expected a model or an executable");
    expect_error(*state, HEAD ",executable,model\nc,0,0,a,big,gpt2\n",
                 "p.csv:2:6: model is 'gpt2': a row has a model or an executable, not both");
    expect_error(*state, HEAD ",executable,block\nc,0,0,a,big,all\n",
                 "p.csv:2:6: block is 'all': must be empty for an executable");
    expect_error(*state, HEAD ",executable,parts\nc,0,0,a,big,0/2\n",
                 "p.csv:2:6: parts is '0/2': must be empty for an executable");
    expect_error(*state, HEAD ",executable\n", "p.csv: nothing placed: expected at least one row");
    expect_error_at(*state, "service,replica,device\nc,0,a\n", "p.csv:1: missing column 'stage'");
    expect_error_at(*state, HEAD ",executable\nc,0,0\n", "p.csv:2: ");
}

static void what_is_written_reads_back_the_same(void **state)
{
    static const char text[] =
        "# orrery: placement 1\n" HEAD ",model,executable,layers,block,parts,phase,epoch,from_s,"
        "copy,max_batch,queue_depth,wire_bits\n"
        "chat,0,0,\"a,1\",gpt2,,,embed,,,,,,,,\n"
        "chat,0,0,b,gpt2,,0-5,layer,0-3/8,prefill,,,,,,\n"
        "chat,0,1,b,gpt2,,6,ffn,2/4,,1,0.5,2,8,16,4\n"
        "box,3,0,c,,big,0-1,,,,,,,,,\n";
    struct scratch *scratch = *state;
    const struct placement *p = load(scratch, text);
    struct out *out = out_open_memory(scratch->arena);

    assert_non_null(p);
    placement_write(out, p->rows, p->count);
    assert_string_equal(scratch_text(out), text);
}

static void columns_that_nobody_uses_are_not_written(void **state)
{
    static const char text[] = "# orrery: placement 1\n" HEAD ",model,block\nchat,0,0,a,gpt2,all\n";
    struct scratch *scratch = *state;
    const struct placement *p = load(scratch, HEAD ",model,parts\nchat,0,0,a,gpt2,\n");
    struct out *out = out_open_memory(scratch->arena);

    assert_non_null(p);
    placement_write(out, p->rows, p->count);
    assert_string_equal(scratch_text(out), text);
}

static void a_later_complaint_names_field_and_place(void **state)
{
    struct scratch *scratch = *state;
    const struct placement *p =
        load(scratch, "block,layers,model,device,stage,replica,service\nffn,2-3,gpt2,a,0,7,c\n");

    assert_non_null(p);
    assert_false(placement_bad(p, p->rows, PLACEMENT_LAYERS, &scratch->err, "layer %d is late", 3));
    assert_string_equal(scratch_message(scratch), "p.csv:2:2: layers is '2-3': layer 3 is late");
    assert_false(placement_bad(p, p->rows, PLACEMENT_REPLICA, scratch_err(scratch), "odd"));
    assert_string_equal(scratch_message(scratch), "p.csv:2:6: replica is '7': odd");
    assert_false(placement_bad(p, p->rows, PLACEMENT_BLOCK, scratch_err(scratch), "odd"));
    assert_string_equal(scratch_message(scratch), "p.csv:2:1: block is 'ffn': odd");
    assert_false(placement_bad(p, p->rows, PLACEMENT_COPY, scratch_err(scratch), "odd"));
    assert_string_equal(scratch_message(scratch), "p.csv:2: copy is '': odd");
}

static void thousands_of_rows_are_read(void **state)
{
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    const struct placement *p;

    out_text(out, HEAD ",executable\n");
    for (int i = 0; i < 3000; i++)
        out_printf(out, "c,%d,0,d%d,big\n", i, i % 7);
    p = load(scratch, scratch_text(out));
    assert_non_null(p);
    assert_int_equal(p->count, 3000);
    assert_int_equal(p->rows[2999].replica, 2999);
    assert_string_equal(p->rows[2999].device, "d3");
    assert_int_equal(p->rows[2999].line, 3001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(an_executable_needs_only_its_name),
        scratch_test(blocks_are_sets_and_default_to_all_or_layer),
        scratch_test(layers_are_one_or_a_range_counted_from_0),
        scratch_test(a_block_says_whether_layers_belong_to_it),
        scratch_test(parts_are_slices_of_a_whole),
        scratch_test(settings_of_a_stage_are_read),
        scratch_test(every_row_says_who_where_and_what),
        scratch_test(what_is_written_reads_back_the_same),
        scratch_test(columns_that_nobody_uses_are_not_written),
        scratch_test(a_later_complaint_names_field_and_place),
        scratch_test(thousands_of_rows_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
