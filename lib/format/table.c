/* table.c - format name, version and metadata at the head of a table. */
#include "lib/format/table.h"

#include "lib/base/out.h"
#include <stddef.h>

void table_begin(struct out *out, const char *format, const char *const *meta)
{
    out_printf(out, "# orrery: %s 1\n", format);
    for (; meta && meta[0]; meta += 2) {
        out_printf(out, "# %s: ", meta[0]);
        /* A newline would end the comment and turn the rest into data. */
        for (const char *c = meta[1]; *c; c++)
            out_char(out, (unsigned char)*c < ' ' ? ' ' : *c);
        out_char(out, '\n');
    }
}
