/* fuzz_import_azure.c - Azure's three layouts, replayed and fitted. */
#include "sim/import/azure.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/import_workload.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct azure_settings settings;

    azure_defaults(&settings);
    settings.rate_scale = 1e-6; /* a count may be 10^9 */
    import_workload_run(&import_azure, &settings, path);
    settings.process = AZURE_GAMMA;
    settings.process_text = "gamma";
    import_workload_run(&import_azure, &settings, path);
    fuzz_close(file);
    return 0;
}
