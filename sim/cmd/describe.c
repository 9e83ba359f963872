/* describe.c - see describe.h. */
#include "sim/cmd/describe.h"

#include "sim/workload/describe.h"
#include <stdlib.h>
#include <strings.h>

/* As setlocale would decide, without changing the process: the first of these that says something.
 */
static bool is_utf8(void)
{
    static const char *const variables[] = { "LC_ALL", "LC_CTYPE", "LANG" };

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const char *value = getenv(variables[i]);

        if (value && value[0] != '\0') {
            for (; *value; value++)
                if (strncasecmp(value, "utf-8", 5) == 0 || strncasecmp(value, "utf8", 4) == 0)
                    return true;
            return false;
        }
    }
    return false;
}

void describe_print(struct arena *arena, const struct workload *workload, bool is_json,
                    struct out *out)
{
    struct describe describe;

    describe_fill(arena, &describe, workload);
    if (is_json)
        describe_json(arena, &describe, out);
    else
        describe_text(arena, &describe, is_utf8(), out);
}
