/* test_kafetzis.c - the arithmetic of --rules kafetzis: formulas against those of the original
 * program, steps, routes and capacities by hand. */
#include "sim/kafetzis/kafetzis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/csv.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/kafetzis/routes.h"
#include "tests/unit/scratch.h"
#include <unistd.h>

#define REAL "../shared/data/kafetzis/formulas.csv"
#define GIB 1073741824.0

static void assert_near(double seen, double expected)
{
    double off = seen - expected, size = expected < 0 ? -expected : expected;

    if ((off < 0 ? -off : off) > 1e-9 * size)
        fail_msg("%.17g is not %.17g", seen, expected);
}

/* ---- formulas ---- */

static const struct kafetzis_shape small_shape = { 8, 512, 4 }, large = { 32, 2048, 4 };

static void formulas_are_those_of_the_reference(void **state)
{
    (void)state;
    assert_near(kafetzis_flop(&small_shape, KAFETZIS_HEAD, 512), 67108864);
    assert_near(kafetzis_flop(&small_shape, KAFETZIS_PROJECTION, 512), 134217728);
    assert_near(kafetzis_flop(&small_shape, KAFETZIS_FFN, 512), 107374182.4);
    assert_near(kafetzis_layer_memory_bytes(&small_shape, 512) / GIB, 0.0107421875);
    assert_near(kafetzis_flop(&large, KAFETZIS_HEAD, 128), 51380224);
    assert_near(kafetzis_flop(&large, KAFETZIS_FFN, 128), 429496729.6);
    assert_near(kafetzis_layer_memory_bytes(&large, 128) / GIB, 0.0546875);
}

static void a_tiny_layer_by_hand(void **state)
{
    const struct kafetzis_shape tiny = { 2, 4, 1 }; /* d = 2 */

    (void)state;
    assert_near(kafetzis_memory_bytes(&tiny, KAFETZIS_HEAD, 3), 3 * 3 * 2 + 3 * 4 * 2);
    assert_near(kafetzis_memory_bytes(&tiny, KAFETZIS_PROJECTION, 3), 12);
    assert_near(kafetzis_memory_bytes(&tiny, KAFETZIS_FFN, 3), 48);
    assert_near(kafetzis_flop(&tiny, KAFETZIS_HEAD, 3), 3 * 3 * 4 * 2 + 9 * 2);
    assert_near(kafetzis_flop(&tiny, KAFETZIS_PROJECTION, 3), 48);
    assert_near(kafetzis_flop(&tiny, KAFETZIS_FFN, 3), 38.4);
    assert_near(kafetzis_sent_bytes(&tiny, KAFETZIS_HEAD, 3), 6);
    assert_near(kafetzis_sent_bytes(&tiny, KAFETZIS_PROJECTION, 3), 12);
    assert_near(kafetzis_sent_bytes(&tiny, KAFETZIS_FFN, 3), 12);
    assert_near(kafetzis_layer_flop(&tiny, 3), 2 * 90 + 48 + 38.4);
    assert_near(kafetzis_layer_memory_bytes(&tiny, 3), 2 * 42 + 12 + 48);
}

static void the_cache_grows_with_generated_tokens_alone(void **state)
{
    (void)state;
    assert_true(kafetzis_cache_bytes(&small_shape, 0) == 0);
    for (int32_t s = 1; s < 100; s++)
        assert_near(kafetzis_cache_bytes(&small_shape, s), s * 512.0 * 4);
}

enum {
    MODEL,
    HEADS,
    WIDTH,
    TOKENS,
    PRECISION,
    HEAD_MEM,
    HEAD_FLOP,
    KV,
    PROJ_MEM,
    PROJ_FLOP,
    FFN_MEM,
    FFN_FLOP,
    TOTAL_MEM,
    TOTAL_FLOP,
    COLUMN_COUNT
};
static const struct csv_column formula_columns[COLUMN_COUNT] = {
    { "model", true },
    { "heads", true },
    { "embedding_dim", true },
    { "seq_len_tokens", true },
    { "precision_bytes", true },
    { "head_mem_gib", true },
    { "head_flop", true },
    { "kv_head_step100_gib", true },
    { "projection_mem_gib", true },
    { "projection_flop", true },
    { "ffn_mem_gib", true },
    { "ffn_flop", true },
    { "total_mem_gib", true },
    { "total_flop", true },
};

static int32_t field_int(const struct csv *csv, int column)
{
    struct err err = ERR_INIT;
    int32_t value = 0;

    assert_true(csv_int32(csv, column, 1, INT32_MAX, &value, &err));
    return value;
}

static void assert_field(const struct csv *csv, int column, double seen)
{
    struct err err = ERR_INIT;
    double expected = 0;

    assert_true(csv_double(csv, column, 0, 1e300, &expected, &err));
    assert_near(seen, expected);
}

static void every_row_of_the_original_is_met(void **state)
{
    struct scratch *scratch = *state;
    struct csv *csv;
    int rows = 0;

    if (access(REAL, R_OK) != 0) {
        print_message("skipped: no " REAL " beside this checkout\n");
        skip();
    }
    csv = csv_open(scratch->arena, REAL, "formulas", formula_columns, COLUMN_COUNT,
                   scratch_err(scratch));
    assert_non_null(csv);
    for (; csv_next(csv, &scratch->err); rows++) {
        const struct kafetzis_shape shape = { field_int(csv, HEADS), field_int(csv, WIDTH),
                                              field_int(csv, PRECISION) };
        int32_t tokens = field_int(csv, TOKENS);

        assert_field(csv, HEAD_MEM, kafetzis_memory_bytes(&shape, KAFETZIS_HEAD, tokens) / GIB);
        assert_field(csv, HEAD_FLOP, kafetzis_flop(&shape, KAFETZIS_HEAD, tokens));
        assert_field(csv, KV, kafetzis_cache_bytes(&shape, 100) / GIB);
        assert_field(csv, PROJ_MEM,
                     kafetzis_memory_bytes(&shape, KAFETZIS_PROJECTION, tokens) / GIB);
        assert_field(csv, PROJ_FLOP, kafetzis_flop(&shape, KAFETZIS_PROJECTION, tokens));
        assert_field(csv, FFN_MEM, kafetzis_memory_bytes(&shape, KAFETZIS_FFN, tokens) / GIB);
        assert_field(csv, FFN_FLOP, kafetzis_flop(&shape, KAFETZIS_FFN, tokens));
        assert_field(csv, TOTAL_MEM, kafetzis_layer_memory_bytes(&shape, tokens) / GIB);
        assert_field(csv, TOTAL_FLOP, kafetzis_layer_flop(&shape, tokens));
    }
    csv_close(csv);
    assert_int_equal(scratch->err.kind, ERR_NONE);
    assert_int_equal(rows, 12);
}

/* ---- plans and steps ---- */

/* Four heads of width 1: at L = 2 tokens a head has 3*2*4*1 + 4*1 = 28 FLOP and sends 2 bytes; the
 * projection has 32 FLOP and sends 8 bytes; the FFN has 25.6 FLOP. */
#define MODELS                                                                                     \
    "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,tied_lm_head,"     \
    "weight_bits,kv_bits\n"                                                                        \
    "tiny,decoder,1,4,4,4,1,16,1,gelu,layer,no,8,8\n"                                              \
    "two,decoder,2,4,4,4,1,16,1,gelu,layer,no,8,8\n"                                               \
    "gqa,decoder,1,4,4,2,1,16,1,gelu,layer,no,8,8\n"                                               \
    "wide,decoder,1,4,4,4,2,16,1,gelu,layer,no,8,8\n"
#define DEVICES                                                                                    \
    "device,type,node,memory_bytes,flop_per_s,speed_ratio\n"                                       \
    "a,t,,1000,100,\nb,t,,1000,50,\nc,t,,1000,100,2\n"                                             \
    "d,t,box,,100,\ne,t,box,,,\n"
/* 8 bits a second for each byte: a-b 1 byte/s, a-c 4, b-c 2; d hangs on b. */
#define LINKS                                                                                      \
    "medium,kind,node,bits_per_s,latency_s,efficiency_ratio\n"                                     \
    "ab,switch,a,8,1,\nab,switch,b,80,1,\n"                                                        \
    "ac,switch,a,64,0,0.5\nac,switch,c,64,0,0.5\n"                                                 \
    "bc,wifi,b,16,0,\nbc,wifi,c,16,0,\n"                                                           \
    "bd,hub,b,4,0,\nbd,hub,box,4,0,\n"
#define HEAD "service,replica,stage,device,model,layers,block,parts\n"

struct setting {
    const struct placement *placement;
    const struct cluster *cluster;
    const struct kafetzis_plan *plan;
    struct kafetzis_routes *routes;
    struct kafetzis_result *result;
};

static bool try_plan(struct scratch *scratch, const char *devices, const char *links,
                     const char *rows, struct setting *setting)
{
    struct model_catalogue *catalogue = model_catalogue_load(
        scratch->arena, scratch_write(scratch, "models.csv", MODELS), scratch_err(scratch));

    (void)scratch_write(scratch, "cluster/devices.csv", devices);
    if (links)
        (void)scratch_write(scratch, "cluster/links.csv", links);
    setting->cluster = cluster_load(
        scratch->arena, arena_printf(scratch->arena, "%s/cluster", scratch->folder), &scratch->err);
    setting->placement =
        placement_load(scratch->arena, scratch_write(scratch, "p.csv", rows), &scratch->err);
    if (!catalogue || !setting->cluster || !setting->placement)
        fail_msg("%s", scratch->err.text);
    setting->plan = kafetzis_plan_build(scratch->arena, setting->placement, setting->cluster,
                                        catalogue, &scratch->err);
    setting->routes = kafetzis_routes_create(scratch->arena, setting->cluster);
    setting->result = kafetzis_result_create(scratch->arena, setting->cluster);
    return setting->plan != NULL;
}

static struct setting plan(struct scratch *scratch, const char *rows)
{
    struct setting setting;

    if (!try_plan(scratch, DEVICES, LINKS, rows, &setting))
        fail_msg("%s", scratch->err.text);
    return setting;
}

static void refuses(struct scratch *scratch, const char *rows, const char *message)
{
    struct setting setting;

    assert_false(try_plan(scratch, DEVICES, LINKS, rows, &setting));
    assert_string_equal(scratch_message(scratch), message);
}

static const struct kafetzis_result *step(struct scratch *scratch, const struct setting *setting,
                                          int32_t tokens)
{
    if (!kafetzis_run(setting->plan, 0, setting->routes, tokens, setting->result,
                      scratch_err(scratch)))
        fail_msg("%s", scratch->err.text);
    return setting->result;
}

static void a_step_is_the_slowest_heads_then_transfers_then_the_rest(void **state)
{
    struct scratch *scratch = *state;
    struct setting s = plan(scratch, HEAD "m,0,0,a,tiny,0,attn,0-1/4\nm,0,0,b,tiny,0,attn,2/4\n"
                                          "m,0,0,c,tiny,0,attn,3/4\nm,0,0,c,tiny,0,proj,\n"
                                          "m,0,0,a,tiny,0,ffn,\n");
    const struct kafetzis_result *r = step(scratch, &s, 2);

    assert_near(r->phases_s[KAFETZIS_HEADS], 0.56);               /* a and b; c takes 0.14 */
    assert_near(r->phases_s[KAFETZIS_GATHER], 4.0 / 4 + 2.0 / 2); /* from a, from b */
    assert_near(r->phases_s[KAFETZIS_PROJECT], 0.16);             /* 32 / (100 x 2) */
    assert_near(r->phases_s[KAFETZIS_TO_FFN], 2);                 /* 8 bytes from c to a */
    assert_near(r->phases_s[KAFETZIS_FEED], 0.256);
    assert_true(r->phases_s[KAFETZIS_TO_LAYER] == 0);
    assert_near(r->step_s, 0.56 + 2 + 0.16 + 2 + 0.256);
    assert_near(r->sent_s, 4);
    assert_near(r->sent_bytes, 4 + 2 + 8);
    assert_near(r->busy_s[0], 0.56 + 0.256);
    assert_near(r->busy_s[1], 0.56);
    assert_near(r->busy_s[2], 0.14 + 0.16);
    assert_near(r->flop[2], 28 + 32);
    assert_near(r->medium_bytes[1], 12); /* ac */
    assert_near(r->medium_s[1], 3);
    assert_near(r->medium_bytes[2], 2); /* bc */
    /* a head: 3 L d + 3 D d = 18 bytes; projection 8, ffn 32; a cache D = 4 bytes a step */
    assert_near(r->memory_bytes[0], 2 * 18 + 32);
    assert_near(r->memory_bytes[2], 18 + 8);
    assert_near(r->cache_bytes[0], 8);
    assert_near(r->cache_bytes[2], 4);
    assert_int_equal(s.plan->replicas[0].device_count, 3);
}

static void nothing_is_sent_on_one_device(void **state)
{
    struct scratch *scratch = *state;
    struct setting s = plan(scratch, HEAD "m,0,0,a,tiny,,,\n");
    const struct kafetzis_result *r = step(scratch, &s, 2);

    assert_near(r->step_s, (4 * 28 + 32 + 25.6) / 100);
    assert_true(r->sent_bytes == 0 && r->sent_s == 0);
    r = step(scratch, &s, 1); /* a result is cleared before it is used again */
    assert_near(r->step_s, (4 * 13 + 16 + 12.8) / 100);
}

static void between_layers_the_output_goes_to_each_device_with_heads(void **state)
{
    struct scratch *scratch = *state;
    struct setting s = plan(scratch, HEAD "m,0,0,a,two,0,layer,\nm,0,1,a,two,1,attn,0/2\n"
                                          "m,0,1,c,two,1,attn,1/2\nm,0,1,c,two,1,proj,\n"
                                          "m,0,1,c,two,1,ffn,\n");
    const struct kafetzis_result *r = step(scratch, &s, 2);

    assert_near(r->phases_s[KAFETZIS_TO_LAYER], 2); /* 8 bytes a to c; none a to a */
    assert_near(r->phases_s[KAFETZIS_HEADS], 1.12 + 0.56);
    assert_near(r->phases_s[KAFETZIS_GATHER], 1); /* two heads of a in layer 1 */
    assert_near(r->phases_s[KAFETZIS_PROJECT], 0.32 + 0.16);
    assert_near(r->phases_s[KAFETZIS_FEED], 0.256 + 0.128);
}

static void ends_and_norms_cost_nothing_and_may_be_left_out(void **state)
{
    struct scratch *scratch = *state;
    struct setting s = plan(scratch, HEAD "m,0,0,b,tiny,,embed,\nm,0,0,a,tiny,0,attn,\n"
                                          "m,0,0,a,tiny,0,proj,\nm,0,0,a,tiny,0,ffn_up,\n"
                                          "m,0,0,a,tiny,0,ffn_down,\nm,0,0,b,tiny,0,conn,0-1/2\n"
                                          "m,0,0,b,tiny,,lm_head,0-1/2\n");

    assert_near(step(scratch, &s, 2)->step_s, (4 * 28 + 32 + 25.6) / 100);
    assert_int_equal(s.plan->replicas[0].device_count, 1);
}

/* ---- routes ---- */

static double seconds(const struct setting *setting, const char *from, const char *to, double bytes)
{
    const struct kafetzis_route *route =
        kafetzis_route(setting->routes, cluster_find_device(setting->cluster, from),
                       cluster_find_device(setting->cluster, to));

    return route ? kafetzis_route_s(route, bytes) : -1;
}

static void a_path_has_the_fewest_media_at_the_rate_of_the_slowest(void **state)
{
    struct setting s = plan(*state, HEAD "m,0,0,a,tiny,,,\n");
    const struct kafetzis_route *route;

    assert_near(seconds(&s, "a", "b", 10), 10); /* the lower side; a-c-b would be faster */
    assert_near(seconds(&s, "b", "a", 10), 10);
    assert_near(seconds(&s, "a", "c", 10), 2.5); /* with the efficiency */
    assert_near(seconds(&s, "a", "d", 10), 20);  /* ab, bd: no latency, no store and forward */
    assert_true(seconds(&s, "d", "e", 10) == 0); /* one node without a bus */
    assert_true(seconds(&s, "a", "a", 10) == 0);
    route = kafetzis_route(s.routes, 2, 3);
    assert_int_equal(route->hop_count, 2);
    assert_int_equal(route->media[0], 2);
    assert_int_equal(route->media[1], 3);
}

static void a_node_has_a_bus_a_wildcard_and_its_own_row(void **state)
{
    struct scratch *scratch = *state;
    struct setting s;

    assert_true(try_plan(scratch, DEVICES,
                         "medium,kind,node,bits_per_s,latency_s\n"
                         "pcie,bus,box,80,0\nlan,switch,*,16,0\nlan,switch,b,8,0\n",
                         HEAD "m,0,0,a,tiny,,,\n", &s));
    assert_near(seconds(&s, "d", "e", 10), 1);
    assert_near(seconds(&s, "a", "c", 10), 5);
    assert_near(seconds(&s, "a", "b", 10), 10);
    assert_near(seconds(&s, "d", "c", 10), 5);
}

static void without_links_transfers_are_free(void **state)
{
    struct setting s;

    assert_true(try_plan(*state, DEVICES, NULL, HEAD "m,0,0,a,tiny,,,\n", &s));
    assert_true(seconds(&s, "a", "d", 10) == 0);
}

static void devices_without_a_route_are_named(void **state)
{
    struct scratch *scratch = *state;
    struct setting s;

    assert_true(try_plan(scratch, DEVICES,
                         "medium,kind,node,bits_per_s,latency_s\n"
                         "r,ring,*,8,0\nab,switch,a,8,0\nab,switch,b,8,0\n",
                         HEAD "m,0,0,a,tiny,0,attn,\nm,0,0,b,tiny,0,proj,\nm,0,0,c,tiny,0,ffn,\n",
                         &s));
    assert_false(kafetzis_run(s.plan, 0, s.routes, 2, s.result, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch),
                        "p.csv:3:4: device is 'b': no route to 'c' over switch, wifi, hub or bus "
                        "(projection to ffn)");
}

/* ---- capacities ---- */

static void memory_counts_caches_and_what_is_reserved(void **state)
{
    struct scratch *scratch = *state;
    struct setting s;

    /* 4 heads of 18 bytes, 8, 32: 112; 16 more a step */
    assert_true(try_plan(scratch,
                         "device,type,memory_bytes,reserved_bytes,flop_per_s\na,t,150,6,1000\n",
                         NULL, HEAD "m,0,0,a,tiny,,,\n", &s));
    (void)step(scratch, &s, 2);
    assert_true(kafetzis_fits(s.plan, 0, s.result, 2, scratch_err(scratch)));
    assert_false(kafetzis_fits(s.plan, 0, s.result, 3, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch),
                        "p.csv:2:4: device is 'a': needs 160 bytes at generation step 3 of 2 "
                        "tokens, but line 2 of devices.csv leaves it 144");
}

static void a_step_must_fit_into_a_second(void **state)
{
    struct scratch *scratch = *state;
    struct setting s = plan(scratch, HEAD "m,0,0,a,tiny,0,attn,\nm,0,0,b,tiny,0,proj,\n"
                                          "m,0,0,b,tiny,0,ffn,\n");

    (void)step(scratch, &s, 1); /* 52 and 28.8 FLOP */
    assert_true(kafetzis_fits(s.plan, 0, s.result, 0, scratch_err(scratch)));
    (void)step(scratch, &s, 2); /* 112 */
    assert_false(kafetzis_fits(s.plan, 0, s.result, 0, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch),
                        "p.csv:2:4: device is 'a': a step of 2 tokens has 112 FLOP there, more "
                        "than the 100 a second that line 2 of devices.csv gives it: infeasible by "
                        "--rules kafetzis");
}

/* ---- what is wrong with a placement ---- */

static void slices_that_overlap_or_leave_a_hole_are_named(void **state)
{
    refuses(*state, HEAD "m,0,0,a,tiny,0,attn,0-2/4\nm,0,0,b,tiny,0,attn,1/2\n",
            "p.csv:3:8: parts is '1/2': layer 0, block attn: part 2/4 is placed twice in replica 0 "
            "of 'm', first in line 2");
    refuses(*state, HEAD "m,0,0,a,tiny,0,layer,\nm,0,0,b,tiny,0,attn,\n",
            "p.csv:3:6: layers is '0': layer 0, block attn: parts 0-3/4 are placed twice in "
            "replica 0 of 'm', first in line 2");
    refuses(*state, HEAD "m,0,0,a,tiny,0,layer,\nm,0,0,b,tiny,0,proj,\n",
            "p.csv:3:6: layers is '0': layer 0, block proj is placed twice in replica 0 of 'm', "
            "first in line 2");
    refuses(*state, HEAD "m,3,0,a,two,0-1,attn,0/4\nm,3,0,a,two,0,attn,3/4\n",
            "p.csv:2:2: replica is '3': layer 0, block attn, parts 1-2/4 of model 'two' are placed "
            "nowhere in this replica of 'm'");
    refuses(*state, HEAD "m,0,0,a,two,0-1,attn,\nm,0,0,a,two,0-1,proj,\nm,0,0,a,two,1,ffn,\n",
            "p.csv:2:2: replica is '0': layer 0, block ffn_up of model 'two' is placed nowhere in "
            "this replica of 'm'");
    refuses(*state, HEAD "m,0,0,a,tiny,0,attn,\nm,0,0,a,tiny,0,ffn,\n",
            "p.csv:2:2: replica is '0': layer 0, block proj of model 'tiny' is placed nowhere in "
            "this replica of 'm'");
}

static void heads_must_divide(void **state)
{
    refuses(*state, HEAD "m,0,0,a,tiny,0,attn,0-2/3\n",
            "p.csv:2:8: parts is '0-2/3': the 4 heads of model 'tiny' do not divide into 3 parts");
    refuses(*state, HEAD "m,0,0,a,gqa,0,attn,0-3/4\n",
            "p.csv:2:8: parts is '0-3/4': the 2 KV heads of model 'gqa' do not divide into 4 "
            "parts");
    refuses(*state, HEAD "m,0,0,a,wide,,,\n",
            "p.csv:2:5: model is 'wide': 4 heads of 2 do not make up its width 4: --rules kafetzis "
            "needs heads x head_dim = hidden");
}

static void names_must_match(void **state)
{
    struct scratch *scratch = *state;

    refuses(scratch, HEAD "m,0,0,f,tiny,,,\n",
            arena_printf(scratch->arena,
                         "p.csv:2:4: device is 'f': no such device in %s/cluster/devices.csv; did "
                         "you mean 'a'?",
                         scratch->folder));
    refuses(scratch, HEAD "m,0,0,a,tiny,1,layer,\n",
            "p.csv:2:6: layers is '1': model 'tiny' has layers 0 to 0");
    refuses(scratch, HEAD "m,0,0,a,tiny,,,\nm,1,0,a,two,,,\n",
            "p.csv:3:5: model is 'two': a row above says 'tiny' for this service: one model a "
            "service");
    refuses(scratch, HEAD "m,0,0,e,tiny,,,\n",
            arena_printf(scratch->arena,
                         "p.csv:2:4: device is 'e': line 6 of %s/cluster/devices.csv has no "
                         "flop_per_s, which --rules kafetzis needs",
                         scratch->folder));
}

static void what_the_rules_do_not_know_is_refused(void **state)
{
    refuses(*state, HEAD "m,0,0,a,tiny,0,attn,\nm,0,0,a,tiny,0,ffn,0/2\n",
            "p.csv:3:8: parts is '0/2': --rules kafetzis slices the heads (attn) alone, not proj "
            "or ffn");
    refuses(*state,
            HEAD "m,0,0,a,tiny,0,attn,\nm,0,0,a,tiny,0,proj,\nm,0,0,a,tiny,0,ffn_up,\n"
                 "m,0,0,b,tiny,0,ffn_down,\n",
            "p.csv:5:4: device is 'b': --rules kafetzis has ffn on one device: ffn_up of layer 0 "
            "is on 'a'");
    refuses(*state, "service,replica,stage,device,executable\nm,0,0,a,box\n",
            "p.csv:2:5: executable is 'box': --rules kafetzis knows heads, projections and FFNs of "
            "a model");
    refuses(*state, "service,replica,stage,device,model,phase\nm,0,0,a,tiny,prefill\n",
            "p.csv:2:6: phase is 'prefill': --rules kafetzis knows no phases");
    refuses(*state, "service,replica,stage,device,model,epoch,from_s\nm,0,0,a,tiny,1,1\n",
            "p.csv:2:6: epoch is '1': --rules kafetzis knows one epoch");
    refuses(*state, "service,replica,stage,device,model,copy\nm,0,0,a,tiny,1\n",
            "p.csv:2:6: copy is '1': --rules kafetzis knows no alternatives of a stage, only copy "
            "0");
    refuses(*state, "service,replica,stage,device,model,max_batch\nm,0,0,a,tiny,2\n",
            "p.csv:2:6: max_batch is '2': --rules kafetzis computes one request at a time");
    refuses(*state, "service,replica,stage,device,model,queue_depth\nm,0,0,a,tiny,2\n",
            "p.csv:2:6: queue_depth is '2': --rules kafetzis knows no queues between stages");
    refuses(*state, "service,replica,stage,device,model,wire_bits\nm,0,0,a,tiny,8\n",
            "p.csv:2:6: wire_bits is '8': --rules kafetzis sends values as wide as the model's "
            "weight_bits");
    refuses(*state, HEAD "m,0,1,a,tiny,,,\n",
            "p.csv:2:3: stage is '1': replica 0 of 'm' has no stage 0: stages count from 0 without "
            "gaps");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas_are_those_of_the_reference),
        cmocka_unit_test(a_tiny_layer_by_hand),
        cmocka_unit_test(the_cache_grows_with_generated_tokens_alone),
        scratch_test(every_row_of_the_original_is_met),
        scratch_test(a_step_is_the_slowest_heads_then_transfers_then_the_rest),
        scratch_test(nothing_is_sent_on_one_device),
        scratch_test(between_layers_the_output_goes_to_each_device_with_heads),
        scratch_test(ends_and_norms_cost_nothing_and_may_be_left_out),
        scratch_test(a_path_has_the_fewest_media_at_the_rate_of_the_slowest),
        scratch_test(a_node_has_a_bus_a_wildcard_and_its_own_row),
        scratch_test(without_links_transfers_are_free),
        scratch_test(devices_without_a_route_are_named),
        scratch_test(memory_counts_caches_and_what_is_reserved),
        scratch_test(a_step_must_fit_into_a_second),
        scratch_test(slices_that_overlap_or_leave_a_hole_are_named),
        scratch_test(heads_must_divide),
        scratch_test(names_must_match),
        scratch_test(what_the_rules_do_not_know_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
