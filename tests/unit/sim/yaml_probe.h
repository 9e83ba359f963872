/* yaml_probe.h - tests of what reads YAML end here in a build without libyaml. */
#ifndef ORRERY_TESTS_UNIT_SIM_YAML_PROBE_H
#define ORRERY_TESTS_UNIT_SIM_YAML_PROBE_H

#include "sim/import/yaml_tree.h"
#include "tests/unit/scratch.h"

static inline void skip_without_yaml(struct scratch *scratch)
{
    struct err err = ERR_INIT;

    if (yaml_load(scratch->arena, scratch_write(scratch, "probe.yaml", "a: 1\n"), &err))
        return;
    assert_non_null(strstr(err.text, "install libyaml-dev"));
    print_message("skipped: this build has no libyaml\n");
    skip();
}

#endif
