/* wrap.c - see wrap.h. */
#include "sim/report/wrap.h"

#include "lib/base/out.h"
#include <stdio.h>
#include <string.h>

#define WIDTH 80

void wrap_text(struct out *out, const char *first, const char *text)
{
    size_t indent = strlen(first), column = indent;

    out_text(out, first);
    while (*text) {
        size_t word = strcspn(text, " ");

        if (text[word] == ' ' && text[word + 1] == '%') /* stays with its number */
            word += 1 + strcspn(text + word + 1, " ");
        if (column > indent && column + 1 + word > WIDTH) {
            out_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            out_char(out, ' ');
            column++;
        }
        out_bytes(out, text, word);
        column += word;
        text += word + strspn(text + word, " ");
    }
    out_char(out, '\n');
}

void wrap_label(struct out *out, const char *label, int width, const char *text)
{
    char first[32];

    (void)snprintf(first, sizeof first, "%-*s", width, label);
    wrap_text(out, first, text);
}
