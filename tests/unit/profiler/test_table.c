/* test_table.c - from samples to rows, anchors and files, on times that the test makes up. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "profiler/cmd/report.h"
#include "profiler/device/facts.h"
#include "profiler/measure/chain.h"
#include "profiler/measure/message.h"
#include "profiler/measure/store.h"
#include "profiler/table/table.h"
#include "tests/unit/scratch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char MODELS[] =
    "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,"
    "tied_lm_head,weight_bits,kv_bits,max_context\n"
    "t-gpt,decoder,3,32,4,4,8,64,100,gelu,layer,learned,yes,32,32,64\n"
    "t-llama,decoder,2,32,4,2,8,48,100,swiglu,rms,rope,no,32,32,64\n"
    "t-bert,encoder,2,32,4,4,8,64,100,gelu,layer,learned,no,32,32,64\n"
    "t-vit,vision,2,32,4,4,8,64,10,gelu,layer,learned,no,32,32,64\n";

static const struct point POINTS[] = { { OP_PREFILL, 1, 1, 1 },
                                       { OP_PREFILL, 4, 4, 1 },
                                       { OP_PREFILL, 8, 8, 1 },
                                       { OP_DECODE, 1, 4, 1 },
                                       { OP_DECODE, 1, 16, 1 } };
#define POINT_COUNT 5

struct fixture {
    struct arena *arena;
    struct model_catalogue *catalogue;
    char folder[256];
};

static int make_fixture(void **state)
{
    struct arena *arena = arena_create();
    struct fixture *fixture = arena_alloc(arena, sizeof(*fixture));
    struct err err = ERR_INIT;

    fixture->arena = arena;
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "%s/orrery-table-XXXXXX",
                   scratch_base());
    if (!mkdtemp(fixture->folder))
        return -1;
    char *path = arena_printf(arena, "%s/models.csv", fixture->folder);
    FILE *file = fopen(path, "w");
    if (!file || fputs(MODELS, file) < 0 || fclose(file) != 0)
        return -1;
    fixture->catalogue = model_catalogue_load(arena, path, &err);
    *state = fixture;
    return fixture->catalogue ? 0 : -1;
}

static int drop_fixture(void **state)
{
    struct fixture *fixture = *state;
    int result = system(arena_printf(fixture->arena, "rm -r '%s'", fixture->folder));

    arena_destroy(fixture->arena);
    return result;
}

static const struct model *find(struct fixture *fixture, const char *name)
{
    struct err err = ERR_INIT;
    const struct model *model = model_find(fixture->catalogue, name, &err);

    assert_non_null(model);
    return model;
}

static struct store *make_store(struct fixture *fixture, const char *name)
{
    const struct model *model = find(fixture, name);
    const struct store_variant variant = {
        .threads = 1, .slices = 1, .dtype = KERNEL_F32, .model = model, .regime = "burst"
    };
    struct store *store = store_create(fixture->arena, &variant);
    int count = model->kind == MODEL_DECODER ? POINT_COUNT : 3;

    for (int p = 0; p < count; p++)
        store_add_point(store, &POINTS[p], false);
    store_add_anchor(store, &POINTS[1], model->layers);
    if (model->kind == MODEL_DECODER)
        store_add_anchor(store, &POINTS[4], model->layers);
    return store;
}

static bool build(struct fixture *fixture, const char *name, struct store *const *stores,
                  struct table *table, struct err *err)
{
    const struct table_inputs inputs = { .device_id = name, .stores = stores, .store_count = 1 };

    return table_build(fixture->arena, &inputs, table, err);
}

static void send(struct store *store, enum message_kind kind, int index, enum op op, int proc,
                 int round, int64_t ns)
{
    struct message message = { .kind = kind, .index = index, .op = (int32_t)op, .round = round };
    struct err err = ERR_INIT;

    message.ns = ns;
    assert_true(message_apply(store, proc, &message, &err));
}

/* Every operator takes (op + 1) us for each token, plus 1 us for each 4 keys in attention. */
static int64_t made_up_ns(enum op op, const struct point *point)
{
    int64_t rows = op == OP_FNORM || op == OP_LMHEAD ? 1 : point->m;

    return 1000 * ((int64_t)op + 1) * rows + (op == OP_ATTN ? 250 * point->kv : 0);
}

static void measure_all(struct store *store)
{
    for (int proc = 0; proc < 2; proc++)
        for (int round = 0; round < 8; round++)
            for (int p = 0; p < store->point_count; p++)
                for (int op = 0; op < OP_COUNT; op++)
                    if (store->row_of[p][op] >= 0)
                        send(store, MESSAGE_SAMPLE, p, (enum op)op, proc, round,
                             made_up_ns((enum op)op, &store->points[p]));
}

struct stamped {
    bool ops[OP_COUNT];
};

static void on_stamp(void *arg, enum op op)
{
    ((struct stamped *)arg)->ops[op] = true;
}

/* What the chain executes and what the model says it costs are the same operators. */
static void every_stamped_operator_has_a_row_and_every_row_is_stamped(void **state)
{
    static const char *const names[] = { "t-gpt", "t-llama", "t-bert", "t-vit" };
    struct fixture *fixture = *state;

    for (int n = 0; n < 4; n++) {
        struct store *store = make_store(fixture, names[n]);
        struct forward_shape shape = chain_shape(store->variant.model, KERNEL_F32);
        const struct point most = { OP_ANY, 8, 64, 1 };
        struct pool_plan plan;
        struct err err = ERR_INIT;
        struct pool pool;

        assert_true(pool_plan(&shape, 2, &most, 65536, 0, &plan, &err));
        assert_true(pool_create(fixture->arena, &plan, 1, &pool, &err));
        struct chain *chain = chain_create(fixture->arena, store->variant.model, KERNEL_F32, pool,
                                           2, &most, 1, 1, &err);
        assert_non_null(chain);
        for (int p = 0; p < store->point_count; p++) {
            struct stamped stamped = { { false } };

            chain_prepare(chain, &store->points[p], 2, true);
            chain_run(chain, (struct forward_stamp){ on_stamp, &stamped });
            chain_restore(chain);
            for (int op = 0; op < OP_COUNT; op++)
                assert_int_equal(stamped.ops[op], store->row_of[p][op] >= 0);
        }
    }
}

static void decode_points_share_the_rows_of_one_token(void **state)
{
    struct store *store = make_store(*state, "t-gpt");

    assert_int_equal(store->row_of[0][OP_QKV], store->row_of[3][OP_QKV]);
    assert_int_equal(store->row_of[3][OP_QKV], store->row_of[4][OP_QKV]);
    assert_int_not_equal(store->row_of[3][OP_ATTN], store->row_of[4][OP_ATTN]);
    assert_int_not_equal(store->row_of[0][OP_QKV], store->row_of[1][OP_QKV]);
    /* the lm_head runs on one row, whatever the prompt */
    for (int p = 1; p < POINT_COUNT; p++)
        assert_int_equal(store->row_of[0][OP_LMHEAD], store->row_of[p][OP_LMHEAD]);
    assert_string_equal(store->rows[store->row_of[0][OP_QKV]].key.impl, "gemv");
    assert_string_equal(store->rows[store->row_of[1][OP_QKV]].key.impl, "gemm");
    assert_string_equal(store->rows[store->row_of[1][OP_NORM]].key.impl, "c");
    assert_int_equal(store->rows[store->row_of[1][OP_QKV]].key.flops, 2 * 4 * 96 * 32);
    assert_int_equal(store->rows[store->row_of[1][OP_QKV]].key.bytes_weight, 4 * 96 * 32);
}

static void a_row_is_finished_by_a_narrow_interval_or_by_its_quota(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-gpt");
    int row = store->row_of[1][OP_QKV];

    assert_false(store_row_finished(store, fixture->arena, row, 0, 5));
    for (int i = 0; i < 5; i++)
        send(store, MESSAGE_SAMPLE, 1, OP_QKV, 0, i, 100000 + i);
    assert_false(store_row_finished(store, fixture->arena, row, 0, 5));
    send(store, MESSAGE_SAMPLE, 1, OP_QKV, 0, 5, 100000);
    assert_true(store_row_finished(store, fixture->arena, row, 0, 5));  /* narrow inside */
    assert_false(store_row_finished(store, fixture->arena, row, 1, 5)); /* none in this process */
    for (int i = 0; i < 4; i++)
        send(store, MESSAGE_SAMPLE, 1, OP_QKV, 1, i, 100010);
    assert_true(store_row_finished(store, fixture->arena, row, 1, 5));
    assert_false(store_point_finished(store, fixture->arena, 1, 1, 5));
    for (int i = 0; i < 39; i++)
        send(store, MESSAGE_SAMPLE, 2, OP_QKV, 0, i, 100000 * (1 + i % 7));
    assert_false(store_row_finished(store, fixture->arena, store->row_of[2][OP_QKV], 0, 5));
    for (int i = 0; i < 1; i++) /* wide, but its fifth of 200 is full */
        send(store, MESSAGE_SAMPLE, 2, OP_QKV, 0, i, 100000 * (1 + i % 7));
    assert_true(store_row_finished(store, fixture->arena, store->row_of[2][OP_QKV], 0, 5));
}

static void kappa_is_the_forward_over_the_sum_of_the_table(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-gpt");
    const struct point *point = &store->anchors[0].point;
    struct table table;
    struct err err = ERR_INIT;
    int64_t sum_ns =
        made_up_ns(OP_EMBED, point) + made_up_ns(OP_FNORM, point) + made_up_ns(OP_LMHEAD, point);

    for (int op = OP_NORM; op <= OP_FFN_DOWN; op++)
        if (op != OP_ROPE)
            sum_ns += 3 * made_up_ns((enum op)op, point) * (op == OP_NORM || op == OP_ADD ? 2 : 1);
    measure_all(store);
    for (int i = 0; i < 10; i++)
        send(store, MESSAGE_ANCHOR, 0, OP_LMHEAD, i % 2, i, 2 * sum_ns);
    assert_true(build(fixture, "t", &store, &table, &err));
    assert_int_equal(table.anchor_count, 1); /* the decode anchor has no sample */
    assert_int_equal(table.anchors[0].sum_chain_ps, 1000 * sum_ns);
    assert_true(table.anchors[0].kappa == 2.0);
    assert_int_equal(table.anchors[0].layers, 3);
    assert_int_equal(table.missing_rows, 0);
    assert_true(table.worst_ci_ratio == 0.0);
}

static void rows_without_a_sample_are_missing_and_nothing_at_all_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-gpt");
    struct table table;
    struct err err = ERR_INIT;

    assert_false(build(fixture, "t", &store, &table, &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
    err = (struct err)ERR_INIT;
    send(store, MESSAGE_SAMPLE, 1, OP_QKV, 0, 0, 5000);
    assert_true(build(fixture, "t", &store, &table, &err));
    assert_int_equal(table.row_count, 1);
    assert_int_equal(table.missing_rows, store->row_count - 1);
    assert_true(table.rows[0].ci_lo_ps == COST_UNKNOWN);
    assert_int_equal(table.rows[0].stop, COST_STOP_BUDGET);
}

static void send_count(struct store *store, int counter, int64_t value)
{
    struct message message = { .kind = MESSAGE_COUNT, .index = 1, .op = OP_QKV };
    struct err err = ERR_INIT;

    message.counter = counter;
    message.ns = value;
    assert_true(message_apply(store, 0, &message, &err));
}

static void counts_are_means_a_call_and_silent_counters_are_rejected(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-gpt");
    struct table table;
    struct err err = ERR_INIT;

    measure_all(store);
    for (int i = 0; i < 4; i++) {
        send_count(store, COST_CYC, 1000000 + i);
        send_count(store, COST_INS, 2000000);
        send_count(store, COST_LLC_MISS, 0); /* never anything, over 8e6 instructions */
    }
    store->counter_reason[COST_STALL_BE] = "papi:-7:no_such_event";
    assert_true(build(fixture, "t", &store, &table, &err));
    const struct cost_row *row = &table.rows[store->row_of[1][OP_QKV]];
    assert_int_equal(row->counters[COST_CYC], 1000002);
    assert_int_equal(row->counters[COST_INS], 2000000);
    assert_true(row->counters[COST_LLC_MISS] == COST_UNKNOWN);
    assert_non_null(strstr(row->ctr_reason, "llc_miss:always_zero"));
    assert_non_null(strstr(row->ctr_reason, "stall_be:papi:-7:no_such_event"));
    assert_null(strstr(row->ctr_reason, "cyc:"));
}

static void without_instructions_a_silent_counter_is_rejected_too(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-gpt");
    struct table table;
    struct err err = ERR_INIT;

    measure_all(store);
    store->counter_reason[COST_INS] = "papi:-7:no_such_event";
    store->counter_reason[COST_CYC] = "papi:-7:no_such_event";
    for (int i = 0; i < 4; i++)
        send_count(store, COST_LLC_MISS, 0);
    assert_true(build(fixture, "t", &store, &table, &err));
    const struct cost_row *row = &table.rows[store->row_of[1][OP_QKV]];
    assert_true(row->counters[COST_LLC_MISS] == COST_UNKNOWN);
    assert_non_null(strstr(row->ctr_reason, "llc_miss:always_zero"));
}

static void counts_beyond_any_counter_are_rejected(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-gpt");
    struct table table;
    struct err err = ERR_INIT;

    measure_all(store);
    for (int i = 0; i < 3; i++)
        send_count(store, COST_CYC, INT64_MAX / 2);
    send_count(store, COST_LLC_MISS, 5);
    send_count(store, COST_LLC_MISS, -5);
    send_count(store, COST_INS, INT64_MAX);
    assert_true(build(fixture, "t", &store, &table, &err));
    const struct cost_row *row = &table.rows[store->row_of[1][OP_QKV]];
    assert_true(row->counters[COST_CYC] == COST_UNKNOWN);
    assert_true(row->counters[COST_LLC_MISS] == COST_UNKNOWN);
    assert_true(row->counters[COST_INS] == INT64_MAX);
    assert_non_null(strstr(row->ctr_reason, "cyc:value_out_of_range"));
    assert_non_null(strstr(row->ctr_reason, "llc_miss:value_out_of_range"));
}

/* 20 rounds of which one was throttled (firmware bit 2). */
static void add_rounds(struct store *store)
{
    const struct machine_state quiet = { .freq_khz = -1,
                                         .temp_mc = 48000,
                                         .throttle_bits = 0,
                                         .psi_us = -1,
                                         .busy_ns = -1,
                                         .steal_ns = -1,
                                         .switches = -1 };

    for (int i = 0; i < 20; i++) {
        struct store_round round = { .proc = i / 10,
                                     .round = i % 10,
                                     .readings = { quiet, quiet, 0, 10000 + i, 500 },
                                     .nivcsw = 3 };

        round.readings.before.t_ns = i;
        round.readings.after.t_ns = i + 1;
        if (i == 7)
            round.readings.after.throttle_bits = 4;
        store_add_round(store, round);
    }
}

static bool file_has(struct fixture *fixture, const char *folder, const char *name,
                     const char *text)
{
    const size_t room = 65536;
    char *bytes = arena_alloc(fixture->arena, room);
    FILE *file = fopen(arena_printf(fixture->arena, "%s/%s", folder, name), "r");

    assert_non_null(file);
    size_t count = fread(bytes, 1, room - 1, file);
    fclose(file);
    assert_true(count > 0);
    return strstr(bytes, text);
}

static void the_files_are_read_back_by_the_simulators_reader(void **state)
{
    static const char *const meta[] = { "model", "t-llama", NULL };
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-llama");
    struct facts *facts = facts_collect(fixture->arena, fixture->folder);
    const char *folder = arena_printf(fixture->arena, "%s/board", fixture->folder);
    struct table table;
    struct err err = ERR_INIT;

    measure_all(store);
    add_rounds(store);
    send(store, MESSAGE_ANCHOR, 1, OP_LMHEAD, 0, 0, 1234567);
    assert_true(build(fixture, "board", &store, &table, &err));
    assert_true(table_write(fixture->arena, folder, &table, meta, facts, &store, 1, &err));
    struct cost_table *costs = cost_load(fixture->arena, folder, &err);
    assert_non_null(costs);
    assert_string_equal(cost_type(costs), "board");
    assert_int_equal(cost_only_threads(costs), 1);
    assert_int_equal(cost_anchor_count(costs), 1);
    assert_int_equal(cost_anchor_at(costs, 0)->forward_mean_ps, 1234567000);
    struct model_op op = { .op = OP_ATTN,
                           .phase = OP_DECODE,
                           .m_tokens = 1,
                           .heads = 4,
                           .kv_heads = 2,
                           .head_dim = 8,
                           .kv_len = 10 };
    enum interp_origin origin;
    int64_t time_ps;
    assert_true(cost_lookup(costs, &op, 1, 32, &time_ps, &origin, &err));
    assert_int_equal(origin, INTERP_INTERPOLATED);
    assert_int_equal(time_ps, 1000 * (1000 * (OP_ATTN + 1) + 250 * 10));
    assert_int_equal(table.bad_rounds, 1);
    assert_true(file_has(fixture, folder, "rounds.csv",
                         "1,1,f32,0,7,7,8,10007,500,,48000,4,3,,,,throttled\n"
                         "1,1,f32,0,8,8,9,10008,500,,48000,0,3,,,,ok\n"));
    assert_true(file_has(fixture, folder, "device.csv", "governor,,,"));
}

static void a_folder_that_cannot_be_written_is_an_error(void **state)
{
    static const char *const meta[] = { NULL };
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-gpt");
    struct facts *facts = facts_collect(fixture->arena, fixture->folder);
    struct table table;
    struct err err = ERR_INIT;

    measure_all(store);
    assert_true(build(fixture, "t", &store, &table, &err));
    assert_false(table_write(fixture->arena,
                             arena_printf(fixture->arena, "%s/models.csv/x", fixture->folder),
                             &table, meta, facts, &store, 1, &err));
    assert_int_equal(err.kind, ERR_SYSTEM);
}

/* The text as if lines had no end, after a look at their length. */
static const char *unwrapped(struct arena *arena, const char *text)
{
    char *whole = arena_alloc(arena, strlen(text) + 1), *to = whole;

    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        if (strcspn(line, "\n") > 80)
            fail_msg("more than 80 columns: %s", line);
    while (*text) {
        bool is_wrapped = strncmp(text, "\n    ", 5) == 0;

        *to++ = is_wrapped ? ' ' : *text;
        text += is_wrapped ? 5 : 1;
    }
    *to = '\0';
    return whole;
}

static void the_report_says_the_bias_in_words(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = make_store(fixture, "t-gpt");
    struct facts *facts = facts_collect(fixture->arena, fixture->folder);
    const char *warnings[] = { "something is wrong" };
    struct table table;
    struct err err = ERR_INIT;
    size_t length;

    measure_all(store);
    for (int i = 0; i < 10; i++)
        send(store, MESSAGE_ANCHOR, 1, OP_LMHEAD, i % 2, i, 1000000000);
    assert_true(build(fixture, "t", &store, &table, &err));
    struct report report = { .model = "t-gpt",
                             .cpu = "",
                             .folder = "here",
                             .table = &table,
                             .facts = facts,
                             .threads = "1",
                             .processes = 2,
                             .seed = 1,
                             .warnings = warnings,
                             .warning_count = 1 };
    struct out *text = out_open_memory(fixture->arena), *json = out_open_memory(fixture->arena);
    report_write_text(fixture->arena, text, &report);
    report_write_json(fixture->arena, json, &report);
    const char *words = unwrapped(fixture->arena, out_memory(text, &length));
    assert_non_null(strstr(words, "an unnamed processor"));
    assert_non_null(
        strstr(words, "decode on 16 keys, f32, 3 layers, 1 thread: the sum of kernels is "));
    assert_non_null(strstr(words, " % below a whole forward (1000.000 ms"));
    assert_non_null(strstr(words, "take the table with care"));
    assert_non_null(strstr(words, "warning: something is wrong"));
    assert_non_null(strstr(words, "in here\n"));
    assert_non_null(strstr(out_memory(json, &length), "\"schema\": 1"));
    out_abort(text);
    out_abort(json);
}

static void a_failed_process_and_texts_come_through(void **state)
{
    struct store *store = make_store(*state, "t-gpt");
    struct message message = { .kind = MESSAGE_STATE };
    struct err err = ERR_INIT;
    char text[400];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    message_put_text(&message, text);
    assert_int_equal(strlen(message.body.text), sizeof(message.body.text) - 1);
    assert_true(message_apply(store, 0, &message, &err)); /* for the parent alone */
    message = (struct message){ .kind = MESSAGE_REASON, .index = COST_INS };
    message_put_text(&message, text);
    assert_true(message_apply(store, 0, &message, &err));
    assert_string_equal(store->counter_reason[COST_INS], message.body.text);
    message.kind = MESSAGE_FAILED;
    message_put_text(&message, "no memory");
    assert_false(message_apply(store, 0, &message, &err));
    assert_string_equal(err.text, "no memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stamped_operator_has_a_row_and_every_row_is_stamped),
        cmocka_unit_test(decode_points_share_the_rows_of_one_token),
        cmocka_unit_test(a_row_is_finished_by_a_narrow_interval_or_by_its_quota),
        cmocka_unit_test(kappa_is_the_forward_over_the_sum_of_the_table),
        cmocka_unit_test(rows_without_a_sample_are_missing_and_nothing_at_all_is_an_error),
        cmocka_unit_test(counts_are_means_a_call_and_silent_counters_are_rejected),
        cmocka_unit_test(without_instructions_a_silent_counter_is_rejected_too),
        cmocka_unit_test(counts_beyond_any_counter_are_rejected),
        cmocka_unit_test(the_files_are_read_back_by_the_simulators_reader),
        cmocka_unit_test(a_folder_that_cannot_be_written_is_an_error),
        cmocka_unit_test(the_report_says_the_bias_in_words),
        cmocka_unit_test(a_failed_process_and_texts_come_through),
    };

    return cmocka_run_group_tests(tests, make_fixture, drop_fixture);
}
