/* test_readmes.c - every ```csv block of the format specifications is read by the reader of its
 * format, and has as many fields in each row as in its header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/events.h"
#include "lib/format/mmpp.h"
#include "lib/format/model.h"
#include "lib/format/ops.h"
#include "lib/format/overhead.h"
#include "lib/format/placement.h"
#include "lib/format/prefix_blocks.h"
#include "lib/format/profile.h"
#include "lib/format/trace.h"
#include "lib/format/workload.h"
#include "tests/unit/scratch.h"

#define MAX_BLOCKS 32
#define FIRST "# orrery: "
struct blocks {
    int count;
    const char *text[MAX_BLOCKS];
    const char *format[MAX_BLOCKS]; /* of its first line */
};

/* Paths are those of the checkout, which is where tests run. */
static void read_blocks(struct scratch *scratch, const char *path, struct blocks *blocks)
{
    const size_t room = 1 << 20;
    char *text = arena_alloc(scratch->arena, room + 1), *from, *to;
    FILE *file = fopen(path, "rb");

    if (!file)
        fail_msg("%s: cannot be read: run tests in the project's folder", path);
    assert_in_range(fread(text, 1, room, file), 1, room - 1);
    (void)fclose(file);
    blocks->count = 0;
    for (from = strstr(text, "\n```csv\n"); from; from = strstr(to, "\n```csv\n")) {
        from += strlen("\n```csv\n");
        to = strstr(from, "\n```\n");
        assert_non_null(to);
        assert_in_range(blocks->count, 0, MAX_BLOCKS - 1);
        blocks->text[blocks->count] = arena_strndup(scratch->arena, from, (size_t)(to + 1 - from));
        if (strncmp(from, FIRST, strlen(FIRST)) != 0)
            fail_msg("%s: a block without '# orrery: <format> 1': %.40s", path, from);
        from += strlen(FIRST);
        blocks->format[blocks->count] = arena_strndup(scratch->arena, from, strcspn(from, " "));
        blocks->count++;
    }
}

static int commas(const char *line)
{
    int count = 0;

    for (; *line && *line != '\n'; line++)
        count += *line == ',';
    return count;
}

static void check_fields(const char *text)
{
    const char *header = strchr(text, '\n') + 1;
    int rows = 0;

    for (const char *line = strchr(header, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        assert_int_equal(commas(line), commas(header));
        rows++;
    }
    assert_in_range(rows, 1, 20);
}

/* The folder of a table that is one of several in it. */
static const char *folder_of(struct scratch *scratch, const char *path)
{
    return arena_strndup(scratch->arena, path, (size_t)(strrchr(path, '/') - path));
}

/* Events belong to the cluster of the blocks before. */
static bool events_load_block(struct scratch *scratch, const char *text, struct err *err)
{
    const struct cluster *cluster =
        cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/k", scratch->folder), err);

    return cluster &&
           events_load(scratch->arena, scratch_write(scratch, "e.csv", text), cluster, err);
}

/* Prefix blocks belong to the workload of the block before. */
static bool prefix_blocks_load_block(struct scratch *scratch, const char *text, struct err *err)
{
    const struct workload *workload = workload_load(
        scratch->arena, arena_printf(scratch->arena, "%s/w.csv", scratch->folder), err);

    return workload &&
           prefix_blocks_load(scratch->arena, scratch_write(scratch, "b.csv", text), workload, err);
}

/* True when the block loads, or its format has no reader. */
static bool loads(struct scratch *scratch, const char *format, const char *text)
{
    struct err *err = scratch_err(scratch);
    struct trace_requests requests;
    struct trace_stages stages;
    struct overheads overheads;

    if (strcmp(format, "workload") == 0)
        return workload_load(scratch->arena, scratch_write(scratch, "w.csv", text), err);
    if (strcmp(format, "models") == 0)
        return model_catalogue_load(scratch->arena, scratch_write(scratch, "m.csv", text), err);
    if (strcmp(format, "placement") == 0)
        return placement_load(scratch->arena, scratch_write(scratch, "p.csv", text), err);
    if (strcmp(format, "devices") == 0)
        return cluster_load(scratch->arena,
                            folder_of(scratch, scratch_write(scratch, "k/devices.csv", text)), err);
    if (strcmp(format, "links") == 0) /* beside the devices of the block before */
        return cluster_load(scratch->arena,
                            folder_of(scratch, scratch_write(scratch, "k/links.csv", text)), err);
    if (strcmp(format, "kernels") == 0)
        return cost_load(scratch->arena,
                         folder_of(scratch, scratch_write(scratch, "pi/kernels.csv", text)), err);
    if (strcmp(format, "stage-costs") == 0)
        return cost_load(scratch->arena,
                         folder_of(scratch, scratch_write(scratch, "box/stages.csv", text)), err);
    if (strcmp(format, "requests") == 0)
        return trace_requests_load(scratch->arena, scratch_write(scratch, "r.csv", text), &requests,
                                   err) &&
               requests.count > 0;
    if (strcmp(format, "stages") == 0)
        return trace_stages_load(scratch->arena, scratch_write(scratch, "s.csv", text), &stages,
                                 err) &&
               stages.count > 0;
    if (strcmp(format, "events") == 0)
        return events_load_block(scratch, text, err);
    if (strcmp(format, "overheads") == 0)
        return overhead_load(scratch->arena, scratch_write(scratch, "o.csv", text), &overheads,
                             err);
    if (strcmp(format, "ops") == 0)
        return ops_load(scratch->arena, scratch_write(scratch, "ops.csv", text), err);
    if (strcmp(format, "mmpp") == 0)
        return mmpp_load(scratch->arena, scratch_write(scratch, "m.csv", text), err);
    if (strcmp(format, "rate-profile") == 0)
        return profile_load(scratch->arena, scratch_write(scratch, "p.csv", text), err);
    if (strcmp(format, "prefix-blocks") == 0)
        return prefix_blocks_load_block(scratch, text, err);
    return strcmp(format, "transfers") == 0 || strcmp(format, "utilisation") == 0;
}

static void check_readme(struct scratch *scratch, const char *path, int expected)
{
    struct blocks blocks;

    read_blocks(scratch, path, &blocks);
    assert_int_equal(blocks.count, expected);
    for (int i = 0; i < blocks.count; i++) {
        check_fields(blocks.text[i]);
        if (!loads(scratch, blocks.format[i], blocks.text[i]))
            fail_msg("%s: block %d, %s: %s", path, i + 1, blocks.format[i], scratch->err.text);
    }
}

static void examples_of_workloads_and_models_load(void **state)
{
    check_readme(*state, "workloads/README.md", 6);
}

static void examples_of_placements_and_clusters_load(void **state)
{
    check_readme(*state, "placements/README.md", 10);
}

static void examples_of_costs_and_traces_load(void **state)
{
    check_readme(*state, "traces/README.md", 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(examples_of_workloads_and_models_load),
        scratch_test(examples_of_placements_and_clusters_load),
        scratch_test(examples_of_costs_and_traces_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
