/* counters_events.c - the tables. L2 is the last level of A53, A57 and A72, so that these have no
 * llc_miss; A53 to A72 and the x86 cores from Ice Lake on count no cycles of a stalled back end. */
#include "profiler/counters/counters_events.h"
#include <stddef.h>
#include <string.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

const char *counters_preset(enum cost_counter counter)
{
    static const char *const presets[COST_COUNTER_COUNT] = {
        [COST_CYC] = "PAPI_TOT_CYC",       [COST_INS] = "PAPI_TOT_INS",
        [COST_L1D_REFILL] = "PAPI_L1_DCM", [COST_L2D_REFILL] = "PAPI_L2_DCM",
        [COST_LLC_MISS] = "PAPI_L3_TCM",   [COST_STALL_BE] = "PAPI_RES_STL",
    };

    return presets[counter];
}

/* clang-format off */
#define ARM_CORE                                                                                   \
    [COST_CYC] = { "CPU_CYCLES" }, [COST_INS] = { "INST_RETIRED" },                                \
    [COST_L1D_REFILL] = { "L1D_CACHE_REFILL" }, [COST_L2D_REFILL] = { "L2D_CACHE_REFILL" }
#define INTEL_CORE                                                                                 \
    [COST_CYC] = { "UNHALTED_CORE_CYCLES" }, [COST_INS] = { "INSTRUCTION_RETIRED" },               \
    [COST_L1D_REFILL] = { "L1D:REPLACEMENT" }, [COST_L2D_REFILL] = { "L2_LINES_IN:ALL" },          \
    [COST_LLC_MISS] = { "LONGEST_LAT_CACHE:MISS" }
#define AMD_CORE                                                                                   \
    [COST_CYC] = { "CYCLES_NOT_IN_HALT" }, [COST_INS] = { "RETIRED_INSTRUCTIONS" },                \
    [COST_L2D_REFILL] = { "CORE_TO_L2_CACHEABLE_REQUEST_ACCESS_STATUS:LS_RD_BLK_C" }

static const struct counters_pmu PMUS[] = {
    { "arm_ac53", { ARM_CORE } },
    { "arm_ac57", { ARM_CORE } },
    { "arm_n1", { ARM_CORE, [COST_LLC_MISS] = { "L3D_CACHE_REFILL", "LL_CACHE_MISS_RD" },
                  [COST_STALL_BE] = { "STALL_BACKEND" } } },
    { "arm_n2", { ARM_CORE, [COST_LLC_MISS] = { "L3D_CACHE_REFILL", "LL_CACHE_MISS_RD" },
                  [COST_STALL_BE] = { "STALL_BACKEND" } } },
    { "arm_v1", { ARM_CORE, [COST_LLC_MISS] = { "LL_CACHE_MISS_RD" },
                  [COST_STALL_BE] = { "STALL_BACKEND" } } },
    { "skl", { INTEL_CORE, [COST_STALL_BE] = { "RESOURCE_STALLS:ANY" } } },
    { "skx", { INTEL_CORE, [COST_STALL_BE] = { "RESOURCE_STALLS:ANY" } } },
    { "clx", { INTEL_CORE, [COST_STALL_BE] = { "RESOURCE_STALLS:ANY" } } },
    { "icl", { INTEL_CORE } },
    { "icx", { INTEL_CORE } },
    { "spr", { INTEL_CORE } },
    { "amd64_fam17h_zen1", { AMD_CORE } },
    { "amd64_fam17h_zen2", { AMD_CORE } },
    { "amd64_fam19h_zen3", { AMD_CORE,
      [COST_L1D_REFILL] = { "ANY_DATA_CACHE_FILLS_FROM_SYSTEM:LCL_L2:INT_CACHE:EXT_CACHE_LCL:"
                            "MEM_IO_LCL:EXT_CACHE_RMT:MEM_IO_RMT" } } },
    { "amd64_fam19h_zen4", { AMD_CORE,
      [COST_L1D_REFILL] = { "ANY_DATA_CACHE_FILLS_FROM_SYSTEM:LCL_L2:LOCAL_CCX:NEAR_CACHE_NEAR_FAR:"
                            "DRAM_IO_NEAR:FAR_CACHE_NEAR_FAR:DRAM_IO_FAR:ALT_MEM_NEAR_FAR" } } },
};
/* clang-format on */

/* libpfm of Debian 12 does not know A72, A76 and A78, whose counters are those of A57 and N1. */
static const struct counters_core CORES[] = {
    { 0xd03, "Cortex-A53", "arm_ac53" }, { 0xd07, "Cortex-A57", "arm_ac57" },
    { 0xd08, "Cortex-A72", "arm_ac57" }, { 0xd0b, "Cortex-A76", "arm_n1" },
    { 0xd0c, "Neoverse-N1", "arm_n1" },  { 0xd40, "Neoverse-V1", "arm_v1" },
    { 0xd41, "Cortex-A78", "arm_n1" },   { 0xd42, "Cortex-A78AE", "arm_n1" },
    { 0xd49, "Neoverse-N2", "arm_n2" },
};

const struct counters_pmu *counters_pmu_at(int index)
{
    return index >= 0 && index < COUNT_OF(PMUS) ? &PMUS[index] : NULL;
}

const struct counters_pmu *counters_pmu_find(const char *name)
{
    for (int i = 0; i < COUNT_OF(PMUS); i++)
        if (strcmp(PMUS[i].name, name) == 0)
            return &PMUS[i];
    return NULL;
}

const struct counters_core *counters_core_find(int64_t part)
{
    for (int i = 0; i < COUNT_OF(CORES); i++)
        if (CORES[i].part == part)
            return &CORES[i];
    return NULL;
}
