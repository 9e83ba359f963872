/* test_step_price.c - what a step that mixes requests costs: which operators count by tokens and
 * which by sequences, attention of both kinds of tables, and lines of decodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "lib/policy/continuous.h"
#include "lib/policy/plan.h"
#include "lib/policy/step_price.h"
#include "tests/unit/scratch.h"

#define MODELS                                                                                     \
    "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,"        \
    "tied_lm_head,weight_bits,kv_bits,max_context\n"                                               \
    "tiny,decoder,3,8,1,1,8,16,32,gelu,layer,learned,no,32,32,512\n"
#define HEAD                                                                                       \
    "kernel,phase,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,kv_len,batch,"            \
    "chunk_tokens,chunk_kv,decodes,decode_kv,mean_ns\n"
#define OP(kernel, n, k, ns1, ns16)                                                                \
    kernel ",any,1,1," #n "," #k ",0,0,0,0,1,,,,," #ns1 "\n" kernel ",any,1,16," #n "," #k         \
           ",0,0,0,0,1,,,,," #ns16 "\n"
/* Three layers of 100 + tokens; embed 1000, final norm 10 a row, lm_head 5000 + 1000 a sequence. */
#define OPERATORS                                                                                  \
    OP("embed", 8, 0, 1000, 1000)                                                                  \
    OP("norm", 8, 0, 20, 20)                                                                       \
    OP("qkv", 24, 8, 30, 45)                                                                       \
    OP("oproj", 8, 8, 10, 10)                                                                      \
    OP("act", 16, 0, 10, 10)                                                                       \
    OP("ffn_up", 16, 8, 5, 5)                                                                      \
    OP("ffn_down", 8, 16, 6, 6) OP("fnorm", 8, 0, 10, 160) OP("lmhead", 32, 8, 6000, 21000)
#define MIXED(chunk, kv, decodes, decode_kv, ns)                                                   \
    "attn_mixed,any,1,,0,0,1,1,8,,," #chunk "," #kv "," #decodes "," #decode_kv "," #ns "\n"
#define ATTN(phase, m, kv, batch, ns)                                                              \
    "attn," #phase ",1," #m ",0,0,1,1,8," #kv "," #batch ",,,,," #ns "\n"

static struct step_price *price_of(struct scratch *scratch, const char *kernels,
                                   const char *placement, double speed_ratio)
{
    static const struct plan *plan; /* the last: its stages are looked at by the price */
    struct cost_set *costs = arena_alloc(scratch->arena, sizeof *costs);
    const char *folder;
    const struct placement *rows;

    scratch_write(scratch, "t/kernels.csv", arena_printf(scratch->arena, HEAD "%s", kernels));
    folder = arena_printf(scratch->arena, "%s/t", scratch->folder);
    if (!cost_set_load(scratch->arena, &folder, 1, costs, scratch_err(scratch)))
        fail_msg("%s", scratch->err.text);
    rows = placement_load(
        scratch->arena,
        scratch_write(scratch, "p.csv",
                      arena_printf(scratch->arena,
                                   "service,replica,stage,device,model,layers,block\n%s",
                                   placement)),
        scratch_err(scratch));
    plan = plan_build(scratch->arena, rows, NULL, costs,
                      model_catalogue_load(scratch->arena, scratch_write(scratch, "m.csv", MODELS),
                                           scratch_err(scratch)),
                      scratch_err(scratch));
    if (!plan)
        fail_msg("%s", scratch->err.text);
    return step_price_create(scratch->arena,
                             &(struct step_price_of){ .stage = plan->stages[0],
                                                      .model = plan->services[0].model,
                                                      .table = costs->tables[0],
                                                      .speed_ratio = speed_ratio,
                                                      .max_seqs = 8,
                                                      .token_budget = 64 });
}

/* "ns", and the number of extrapolated operators behind it; or the error. tokens: 0-ended pairs of
 * new and past tokens. */
static const char *ask(struct scratch *scratch, struct step_price *price, const int32_t *tokens)
{
    struct continuous_entry entries[8];
    struct continuous_batch batch = { .entries = entries };
    int64_t time_ps;
    int32_t extrapolated;

    for (; tokens[0] != 0; tokens += 2) {
        batch.count++;
        entries[batch.entry_count++] =
            (struct continuous_entry){ .tokens = tokens[0], .past_tokens = tokens[1] };
        batch.tokens += tokens[0];
        if (tokens[0] == 1) {
            batch.decodes++;
            batch.decode_past_tokens += tokens[1];
        } else {
            batch.chunk_tokens += tokens[0];
            batch.chunk_past_tokens += tokens[1];
        }
    }
    if (!step_price_batch(price, &batch, &time_ps, &extrapolated, scratch_err(scratch)))
        return scratch->err.text;
    return arena_printf(scratch->arena, "%g %d", (double)time_ps / UNITS_PS_PER_NS,
                        (int)extrapolated);
}

#define ASK(price, ...) ask(scratch, price, (const int32_t[]){ __VA_ARGS__, 0 })

/* One row to a line; clang-format does not settle on this. */
/* clang-format off */
#define GRID \
    MIXED(0, 0, 1, 10, 100) \
    MIXED(0, 0, 1, 30, 140) \
    MIXED(0, 0, 4, 10, 190) \
    MIXED(0, 0, 4, 30, 350) \
    MIXED(2, 0, 0, 0, 200) \
    MIXED(2, 20, 0, 0, 260) \
    MIXED(16, 0, 0, 0, 400) \
    MIXED(16, 20, 0, 0, 500) \
    MIXED(2, 0, 4, 10, 250) \
    MIXED(16, 0, 4, 10, 800)
/* clang-format on */

static void an_engine_counts_all_rows_but_the_head_by_tokens(void **state)
{
    struct scratch *scratch = *state;
    struct step_price *price = price_of(scratch,
                                        OPERATORS GRID "sampler,any,1,1,32,0,,,,,,,,,,70\n"
                                                       "sampler,any,1,3,32,0,,,,,,,,,,90\n",
                                        "s,0,0,a,tiny,,all\n", 1);

    /* one sequence of 16 tokens: 1000 + 3 (40 + 45 + 10 + 10 + 5 + 6 + 400) + 160 + 6000 + 70 */
    assert_string_equal(ASK(price, 16, 0), "8778 0");
    /* 2 tokens each of two sequences, of 15 and 5: together 4 tokens behind 20 */
    assert_string_equal(ASK(price, 2, 15, 2, 5),
                        "9314.86 0"); /* 1000 + 3 (104 + 294.286) + 40 + 7000 + 80 */
    /* three decodes at 20: 1000 + 3 (103 + 220) + 30 + 8000 + 90 */
    assert_string_equal(ASK(price, 1, 10, 1, 20, 1, 30), "10089 0");
    /* their mean in whole tokens: 59 / 3 */
    assert_string_equal(ASK(price, 1, 10, 1, 20, 1, 29), "10071 0");
}

static void own_tables_add_chunks_and_decodes_and_norm_the_last_rows(void **state)
{
    struct scratch *scratch = *state;
    struct step_price *price = price_of(
        scratch,
        OPERATORS OP("add", 8, 0, 2,
                     2) "kvappend,any,1,1,0,0,1,1,8,0,1,,,,,3\n"
                        "kvappend,any,1,16,0,0,1,1,8,0,1,,,,,3\n" ATTN(prefill, 1, 1, 1, 50)
                            ATTN(prefill, 16, 16, 1, 800) ATTN(decode, 1, 11, 1, 100)
                                ATTN(decode, 1, 31, 1, 140) ATTN(decode, 4, 11, 4, 190)
                                    ATTN(decode, 4, 31, 4, 350),
        "s,0,0,a,tiny,,all\n", 1);

    /* 1000 + 3 (40 + 45 + 10 + 10 + 5 + 6 + 4 + 3 + 800) + 10 + 6000 */
    assert_string_equal(ASK(price, 16, 0), "9779 0");
    /* two prompts one after the other, and two decodes at 20: the rest counts 10 tokens, 4 rows */
    assert_string_equal(ASK(price, 4, 0, 4, 0, 1, 10, 1, 30),
                        "12101 0"); /* 1000 + 3 (117 + 2 x 200 + 170) + 40 + 9000 */
}

static void steps_of_decodes_lie_on_whole_picosecond_lines(void **state)
{
    struct scratch *scratch = *state;
    struct step_price *price = price_of(scratch, OPERATORS GRID, "s,0,0,a,tiny,,all\n", 1);
    const struct step_line *line = step_price_line(price, 4, 12, scratch_err(scratch)), *other;
    int64_t sum_ps = 0;

    assert_non_null(line);
    assert_int_equal(line->from, 11);
    assert_int_equal(line->to, 30);
    assert_int_equal(line->extrapolated, 0);
    assert_int_equal(line->slope_ps, 3 * 8 * UNITS_PS_PER_NS);
    for (int64_t mean = 11; mean <= 30; mean++)
        sum_ps += step_line_ps(line, mean);
    assert_int_equal(sum_ps, 20 * step_line_ps(line, 11) + line->slope_ps * 20 * 19 / 2);
    other = step_price_line(price, 4, 10, scratch_err(scratch));
    assert_int_equal(other->from, 0); /* and back to the beginning */
    assert_int_equal(step_line_ps(other, 10) + line->slope_ps, step_line_ps(line, 11));
    assert_true(other->extrapolated > 0);
    other = step_price_line(price, 4, 1000000, scratch_err(scratch));
    assert_int_equal(other->from, 31);
    assert_int_equal(other->to, INT32_MAX);
    assert_true(other->extrapolated > 0);
    assert_ptr_equal(step_price_line(price, 4, 30, scratch_err(scratch)), line);
}

static void parts_of_a_model_and_slow_devices_cost_their_share(void **state)
{
    struct scratch *scratch = *state;
    const char *parts = "s,0,0,a,tiny,,embed\ns,0,0,a,tiny,0-1,layer\ns,0,1,b,tiny,2,layer\n"
                        "s,0,1,b,tiny,,lm_head\n";

    /* embed and two layers: 1000 + 2 (116 + 400) */
    assert_string_equal(ASK(price_of(scratch, OPERATORS GRID, parts, 1), 16, 0), "2032 0");
    assert_string_equal(ASK(price_of(scratch, OPERATORS GRID, parts, 0.5), 16, 0), "4064 0");
    assert_string_equal(ASK(price_of(scratch, OPERATORS GRID, parts, 0.5), 1, 10, 1, 30),
                        "3088 0"); /* 2 (1000 + 2 (102 + 170)) */
}

static void an_operator_without_rows_is_named(void **state)
{
    struct scratch *scratch = *state;
    struct step_price *price =
        price_of(scratch, OP("embed", 8, 0, 1, 1) GRID, "s,0,0,a,tiny,,all\n", 1);

    assert_non_null(strstr(ASK(price, 4, 0), "no measured rows of qkv with gemm_n 24"));
    assert_null(step_price_line(price, 2, 5, scratch_err(scratch)));
    assert_non_null(strstr(scratch->err.text, "no measured rows of qkv"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(an_engine_counts_all_rows_but_the_head_by_tokens),
        scratch_test(own_tables_add_chunks_and_decodes_and_norm_the_last_rows),
        scratch_test(steps_of_decodes_lie_on_whole_picosecond_lines),
        scratch_test(parts_of_a_model_and_slow_devices_cost_their_share),
        scratch_test(an_operator_without_rows_is_named),
    };

    return cmocka_run_group_tests_name("step_price", tests, NULL, NULL);
}
