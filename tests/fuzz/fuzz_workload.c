/* fuzz_workload.c - workload tables: any text gives a workload or a located error, and the same one
 * with the scanner of plain rows and through libcsv alone. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/workload_table.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>
#include <string.h>

static void assert_same(const struct workload *a, const struct workload *b)
{
    assert(a->count == b->count && a->service_count == b->service_count);
    assert(a->client_count == b->client_count && a->session_count == b->session_count);
    for (size_t i = 0; i < a->count; i++) {
        struct workload_request x = workload_at(a, i), y = workload_at(b, i);

        assert(x.request_id == y.request_id && x.arrival_ps == y.arrival_ps);
        assert(x.think_ps == y.think_ps && x.slo_ps == y.slo_ps && x.batch == y.batch);
        assert(x.prompt_tokens == y.prompt_tokens && x.output_tokens == y.output_tokens);
        assert(x.prefix_tokens == y.prefix_tokens && x.service == y.service);
        assert(x.client == y.client && x.session == y.session);
        assert(workload_line(a, i) == workload_line(b, i));
        assert(strcmp(a->services[x.service], b->services[y.service]) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT, slow_err = ERR_INIT;
    const struct workload *workload = workload_load(arena, path, &err);
    const struct workload *slow = workload_read(arena, path, false, &slow_err);

    assert(workload ? err.kind == ERR_NONE && workload->count > 0 : err.kind != ERR_NONE);
    assert((workload != NULL) == (slow != NULL) && strcmp(err.text, slow_err.text) == 0);
    if (workload)
        assert_same(workload, slow);
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
