/* fuzz_import_pipeedge.c - PipeEdge's files, and a schedule where the fourth is not empty: tables
 * that our own readers take, or an error. */
#include "sim/import/pipeedge.h"
#include "tests/fuzz/import_bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "m.yml", "t.yml", "d.yml", "s.yml" };
    struct pipeedge_settings settings;

    pipeedge_defaults(&settings);
    import_bundle_run(bytes, count, names, 4, &import_pipeedge, &settings);
    return 0;
}
