/* test_import_kafetzis_yaml.c - YAML configurations of Kafetzis' simulator: what is drawn from
 * them, and what is wrong with them. */
#include "sim/import/kafetzis.h"
#include "sim/import/mersenne.h"
#include "sim/import/yaml_tree.h"
#include "tests/unit/sim/import_run.h"
#include "tests/unit/sim/yaml_probe.h"
#include <unistd.h>

#define REAL "../shared/data/kafetzis"

static void assert_near(double seen, double expected)
{
    double off = seen - expected, size = expected < 0 ? -expected : expected;

    if ((off < 0 ? -off : off) > 1e-9 * size)
        fail_msg("%.17g is not %.17g", seen, expected);
}

/* ---- random numbers of others ---- */

static void random_numbers_are_those_of_python(void **state)
{
    struct mersenne random;

    (void)state;
    mersenne_python(&random, 42); /* random.seed(42); random.random() */
    assert_near(mersenne_uniform(&random), 0.6394267984578837);
    assert_near(mersenne_uniform(&random), 0.025010755222666936);
    mersenne_python(&random, 0);
    assert_near(mersenne_uniform(&random), 0.8444218515250481);
    mersenne_numpy(&random, 42); /* numpy.random.seed(42); numpy.random.random() */
    assert_near(mersenne_uniform(&random), 0.3745401188473625);
    assert_near(mersenne_uniform(&random), 0.9507143064099162);
    mersenne_numpy(&random, 42);
    assert_near(mersenne_normal(&random), 0.4967141530112327);
    assert_near(mersenne_normal(&random), -0.13826430117118466);
    assert_near(mersenne_normal(&random), 0.6476885381006925);
    mersenne_numpy(&random, 7); /* far beyond the first block of 624 words */
    for (int i = 0; i < 2000; i++)
        assert_true(mersenne_uniform(&random) < 1);
}

/* ---- configurations ---- */

struct yaml { /* a toy; numbers as typed */
    const char *devices, *seed, *bandwidth, *memory, *compute_min, *models, *lengths;
};

static const char *yaml_text(struct arena *arena, const struct yaml *yaml)
{
    return arena_printf(arena,
                        "simulation: {name: toy}\nnetwork:\n  topology_type: toy\n"
                        "  num_devices: %s\n  %s\n  edge_probability: 0.3\n  seed: %s\n"
                        "resources:\n  %s\n  compute_mu: 5\n  compute_sigma: 0.5\n"
                        "  compute_min: %s\n  compute_max: 5.0e+10\n  seed: %s\n"
                        "workload:\n  model_types: %s\n  sequence_lengths: %s\n"
                        "  generation_steps: 1\n  precision_bytes: 4\n",
                        yaml->devices, yaml->bandwidth, yaml->seed, yaml->memory, yaml->compute_min,
                        yaml->seed, yaml->models, yaml->lengths);
}

#define MEMORY "memory_mu: 1\n  memory_sigma: 0.5\n  memory_min: 2\n  memory_max: 16"
#define WIDE_MEMORY "memory_mu: 1.2\n  memory_sigma: 0.6\n  memory_min: 2\n  memory_max: 16"
#define BANDWIDTH(min, max) "min_bandwidth: " min "\n  max_bandwidth: " max

static const struct yaml low = {
    "3", "42", BANDWIDTH("0.01", "0.1"), MEMORY, "5e9", "SMALL", "512"
};

static void the_four_environments_are_drawn_as_the_program_drew_them(void **state)
{
    struct scratch *scratch = *state;
    static const struct {
        const char *config;
        struct yaml yaml;
    } cases[] = {
        { "toy_comparison_3_devices_lowBW",
          { "3", "42", BANDWIDTH("0.01", "0.1"), MEMORY, "5e9", "SMALL", "512" } },
        { "toy_comparison",
          { "3", "123", BANDWIDTH("0.01", "0.1"), MEMORY, "5e9", "[LARGE]", "[512]" } },
        { "toy_comparison_5_devices_mediumBW",
          { "5", "123", BANDWIDTH("0.5", "2.0"), MEMORY, "5e9", "MEDIUM", "512" } },
        { "toy_comparison_8_devices_variousBW",
          { "8", "321", BANDWIDTH("0.01", "10"), WIDE_MEMORY, "1.0e10", "LARGE", "128" } },
    };

    skip_without_yaml(scratch);
    if (access(REAL, R_OK) != 0) {
        print_message("skipped: no " REAL " beside this checkout\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kafetzis_settings settings;
        const char *path =
            scratch_write(scratch, "c.yaml", yaml_text(scratch->arena, &cases[i].yaml));
        struct kafetzis_environment drawn = { 0 }, known = { 0 };

        run = (struct import_job){ .arena = scratch->arena, .importer = "kafetzis" };
        if (!kafetzis_read_yaml(&run, path, &drawn, scratch_err(scratch)))
            fail_msg("%s", scratch->err.text);
        kafetzis_defaults(&settings);
        settings.config = cases[i].config;
        if (!kafetzis_read_tables(&run, &settings, REAL, &known, scratch_err(scratch)))
            fail_msg("%s", scratch->err.text);
        assert_int_equal(drawn.device_count, known.device_count);
        for (int d = 0; d < known.device_count; d++) {
            assert_string_equal(drawn.devices[d].name, known.devices[d].name);
            assert_near(drawn.devices[d].memory_gib, known.devices[d].memory_gib);
            assert_near(drawn.devices[d].flop_per_s, known.devices[d].flop_per_s);
        }
        assert_int_equal(drawn.source, known.source);
        assert_int_equal(drawn.link_count, known.link_count);
        for (int k = 0; k < known.link_count; k++) {
            assert_int_equal(drawn.links[k].a, known.links[k].a);
            assert_int_equal(drawn.links[k].b, known.links[k].b);
            assert_true(drawn.links[k].gib_per_s == known.links[k].gib_per_s); /* to the last bit */
        }
        assert_string_equal(drawn.models[0].name, known.models[0].name);
        assert_int_equal(drawn.lengths[0], known.lengths[0]);
    }
}

static void every_combination_is_a_request_one_after_the_other(void **state)
{
    struct scratch *scratch = *state;
    struct kafetzis_settings settings;
    struct yaml yaml = low;

    skip_without_yaml(scratch);
    yaml.models = "[SMALL, MEDIUM]";
    yaml.lengths = "[128, 256]";
    kafetzis_defaults(&settings);
    if (!import_run(scratch, &import_kafetzis,
                    scratch_write(scratch, "c.yaml", yaml_text(scratch->arena, &yaml)), &settings))
        fail_msg("%s", scratch->err.text);
    assert_string_equal(import_rows("workload.csv"),
                        "request_id,arrival_s,service,prompt_tokens,output_tokens,client\n"
                        "0,,small,128,1,source\n1,,small,256,1,source\n"
                        "2,,medium,128,1,source\n3,,medium,256,1,source\n");
    assert_string_equal(import_rows("cluster/devices.csv"),
                        "device,type,node,memory_bytes,flop_per_s\n"
                        "device_0,cloud,source,14966300158,20000000000\n"
                        "device_1,regional,,8069899506,10000000000\n"
                        "device_2,edge,,2596262452,10000000000\n");
    assert_string_equal(import_report_text(&run),
                        "kafetzis: left out: simulation; toy of 3 devices and 3 links, drawn as "
                        "the program does; a configuration has no placement; wrote "
                        "cluster/devices.csv, cluster/links.csv, models.csv, workload.csv");
}

static int32_t link_of(const struct kafetzis_environment *environment, int32_t a, int32_t b)
{
    for (int32_t i = 0; i < environment->link_count; i++)
        if (environment->links[i].a == a && environment->links[i].b == b)
            return i;
    return -1;
}

static void larger_topologies_have_their_links_in_their_ranges(void **state)
{
    struct scratch *scratch = *state;
    static const struct {
        enum kafetzis_topology topology;
        int32_t links, cloud, regional;
        double min, max;
    } cases[] = { { KAFETZIS_EDGE_CLUSTER, 9, 1, 2, 1, 10 },
                  { KAFETZIS_DISTRIBUTED_EDGE, 36, 1, 4, 0.1, 1 },
                  { KAFETZIS_HYBRID_CLOUD_EDGE, 26, 2, 7, 0.1, 40 } };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct kafetzis_recipe recipe = {
            .topology = cases[i].topology,
            .device_count = kafetzis_topology_devices(cases[i].topology),
            .memory_gib = { 1, 0.5, 2, 16 },
            .flop_per_s = { 5, 0.5, 5e9, 5e10 },
        };
        struct kafetzis_environment drawn = { 0 };
        int32_t cloud = 0, regional = 0;

        kafetzis_draw(scratch->arena, &recipe, &drawn);
        assert_int_equal(drawn.link_count, cases[i].links);
        for (int32_t k = 0; k < drawn.link_count; k++) {
            const struct kafetzis_link *link = &drawn.links[k];

            assert_true(link->a < link->b && link->b < drawn.device_count);
            assert_int_equal(link_of(&drawn, link->a, link->b), k); /* once */
            assert_true(link->gib_per_s >= cases[i].min && link->gib_per_s <= cases[i].max);
        }
        for (int32_t d = 0; d < drawn.device_count; d++) {
            cloud += strcmp(drawn.devices[d].tier, "cloud") == 0;
            regional += strcmp(drawn.devices[d].tier, "regional") == 0;
        }
        assert_int_equal(cloud, cases[i].cloud);
        assert_int_equal(regional, cases[i].regional);
    }
}

static void bad_yaml(struct scratch *scratch, const char *text, const char *message)
{
    struct kafetzis_settings settings;

    kafetzis_defaults(&settings);
    import_fails(scratch, &import_kafetzis, scratch_write(scratch, "c.yaml", text), &settings,
                 message);
}

static void configurations_are_checked_key_by_key(void **state)
{
    struct scratch *scratch = *state;
    struct arena *arena = scratch->arena;
    struct yaml yaml = low;

    skip_without_yaml(scratch);
    bad_yaml(scratch, "net: {}\n", "c.yaml: 'network' is missing: beside it there are net");
    bad_yaml(scratch, "- 1\n",
             "c.yaml:1:1: the document is a list: expected a map of network, "
             "resources and workload");
    bad_yaml(scratch, "network: 3\nresources: {}\nworkload: {}\n",
             "c.yaml:1:10: network is '3': expected a map");
    bad_yaml(scratch, "network: {topologytype: toy}\nresources: {}\nworkload: {}\n",
             "c.yaml:1:25: 'topologytype' is no key of network: expected topology_type, "
             "num_devices, min_bandwidth, max_bandwidth, edge_probability or seed; did you mean "
             "'topology_type'?");
    bad_yaml(scratch, "network: {}\nresources: {}\nworkload: {}\n",
             "c.yaml:1: network.topology_type is missing");
    bad_yaml(scratch, "network: {topology_type: ring}\nresources: {}\nworkload: {}\n",
             "c.yaml:1:26: network.topology_type is 'ring': expected toy, edge_cluster, "
             "distributed_edge or hybrid_cloud_edge");
    bad_yaml(
        scratch,
        "network: {topology_type: edge_cluster, num_devices: 9}\nresources: {}\nworkload: {}\n",
        "c.yaml:1:53: network.num_devices is '9': topology edge_cluster has 8 devices");
    yaml.seed = "-1";
    bad_yaml(scratch, yaml_text(arena, &yaml),
             "c.yaml:8:9: network.seed is '-1': expected a whole number from 0 to 4294967295");
    yaml = low;
    yaml.bandwidth = BANDWIDTH("2", "1");
    bad_yaml(scratch, yaml_text(arena, &yaml),
             "c.yaml:6:18: network.max_bandwidth is '1': min_bandwidth is larger");
    yaml = low;
    yaml.compute_min = "6e10";
    bad_yaml(scratch, yaml_text(arena, &yaml),
             "c.yaml:17:16: resources.compute_max is '5.0e+10': compute_min is larger");
    yaml.compute_min = "[1, 2]";
    bad_yaml(scratch, yaml_text(arena, &yaml),
             "c.yaml:16:16: resources.compute_min is a list: expected a number from 0 to 1e+21");
    yaml = low;
    yaml.models = "[SMALL, TINY]";
    bad_yaml(scratch, yaml_text(arena, &yaml),
             "c.yaml:20:24: workload.model_types[1] is 'TINY': expected SMALL, MEDIUM, LARGE or "
             "EXTRA_LARGE");
    yaml.models = "[SMALL, SMALL]";
    bad_yaml(scratch, yaml_text(arena, &yaml),
             "c.yaml:20:24: workload.model_types[1] is 'SMALL': this model is there twice");
    yaml = low;
    yaml.lengths = "[]";
    bad_yaml(scratch, yaml_text(arena, &yaml),
             "c.yaml:21:21: workload.sequence_lengths is a list: expected 1 to 64 values");
    yaml.lengths = "[128, 0]";
    bad_yaml(scratch, yaml_text(arena, &yaml),
             "c.yaml:21:27: workload.sequence_lengths[1] is '0': expected a whole number from 1 to "
             "1000000");
}

static void yaml_is_plain_data_in_one_document(void **state)
{
    struct scratch *scratch = *state;

    skip_without_yaml(scratch);
    bad_yaml(scratch, "", "c.yaml: an empty document");
    bad_yaml(scratch, "a: 1\n---\nb: 2\n", "c.yaml:2:1: a second document: expected one");
    bad_yaml(scratch, "a: 1\na: 2\n", "c.yaml:2:1: key 'a' is there twice");
    bad_yaml(scratch, "a: &x 1\n", "c.yaml:1:4: an anchor: expected plain data");
    bad_yaml(scratch, "a: *x\n", "c.yaml:1:4: an alias: expected plain data");
    bad_yaml(scratch, "a: !!python/none 1\n",
             "c.yaml:1:4: a tag of a program: expected plain data");
    bad_yaml(scratch, "a: !mine 1\n", "c.yaml:1:4: a tag: expected plain data");
    bad_yaml(scratch, "? [1]\n: 2\n", "c.yaml:1:3: expected a key");
    bad_yaml(scratch, "a: [1\n", "c.yaml:2:1: did not find expected ',' or ']'");
    bad_yaml(scratch, "a: \"\\x07\"\n", "c.yaml:1:4: a control character");
    bad_yaml(scratch, "{a: {b: {c: 1}}, a: 2}", "c.yaml:1:18: key 'a' is there twice");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_numbers_are_those_of_python),
        scratch_test(the_four_environments_are_drawn_as_the_program_drew_them),
        scratch_test(every_combination_is_a_request_one_after_the_other),
        scratch_test(larger_topologies_have_their_links_in_their_ranges),
        scratch_test(configurations_are_checked_key_by_key),
        scratch_test(yaml_is_plain_data_in_one_document),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
