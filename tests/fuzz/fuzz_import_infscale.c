/* fuzz_import_infscale.c - InfScale's plans, as a table and as JSON, and a job: tables that our own
 * readers take, or an error. */
#include "sim/import/infscale.h"
#include "tests/fuzz/import_bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = { "p.csv", "p.json", "j.yaml" };
    struct infscale_settings settings;

    infscale_defaults(&settings);
    settings.model = count % 2 ? "net" : NULL;
    import_bundle_run(bytes, count, names, 3, &import_infscale, &settings);
    return 0;
}
