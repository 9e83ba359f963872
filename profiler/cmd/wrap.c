/* wrap.c - breaks lines between words. */
#include "profiler/cmd/wrap.h"
#include "lib/base/arena.h"
#include "lib/base/out.h"
#include <stdbool.h>
#include <string.h>

void wrap_put(struct out *out, int column, int indent, const char *text)
{
    bool is_first = true; /* of its line: no blank before it */

    for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
        int length = (int)strcspn(text, " ");

        if ((!is_first || column > indent) && column + !is_first + length > WRAP_COLUMNS) {
            out_printf(out, "\n%*s", indent, "");
            column = indent;
            is_first = true;
        }
        if (!is_first)
            out_char(out, ' ');
        out_bytes(out, text, (size_t)length);
        column += !is_first + length;
        is_first = false;
        text += length;
    }
    out_char(out, '\n');
}

const char *wrap_cut(struct arena *arena, const char *text, int longest)
{
    char *cut = arena_strdup(arena, text), *to = cut;

    while (*text) {
        size_t length = strcspn(text, " "), blanks = strspn(text + length, " ");
        bool is_long = length > (size_t)longest;
        size_t kept = is_long ? (size_t)longest - 3 : length;

        memcpy(to, text, kept);
        to += kept;
        if (is_long) {
            memcpy(to, "...", 3);
            to += 3;
        }
        memcpy(to, text + length, blanks);
        to += blanks;
        text += length + blanks;
    }
    *to = '\0';
    return cut;
}
