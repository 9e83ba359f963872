/* plot.c - eight lines of eight steps each: a column that is not 0 shows at least one step. */
#include "sim/workload/plot.h"

#include "lib/base/out.h"
#include <string.h>

#define LINES 8
#define STEPS 8 /* of a character */
#define SCALE_WIDTH 10

static const char *const blocks[STEPS + 1] = { " ",      "\u2581", "\u2582", "\u2583", "\u2584",
                                               "\u2585", "\u2586", "\u2587", "\u2588" };
static const char *const letters[STEPS + 1] = { " ", ".", ".", ":", ":", ":", "|", "|", "#" };

/* Steps of a column, from 0 to LINES * STEPS. */
static int height(size_t value, size_t most)
{
    int steps = (int)((double)value / (double)most * (LINES * STEPS) + 0.5);

    return value > 0 && steps == 0 ? 1 : steps;
}

static void put_line(struct out *out, const size_t *values, int count, size_t most, int line,
                     int width, const char *const *cells)
{
    int blank = 0; /* none is written before the end of a line */

    for (int i = 0; i < count; i++) {
        int steps = height(values[i], most) - line * STEPS;
        const char *cell = cells[steps < 0 ? 0 : steps > STEPS ? STEPS : steps];

        for (int k = 0; k < width; k++) {
            if (cell[0] == ' ') {
                blank++;
                continue;
            }
            for (; blank > 0; blank--)
                out_char(out, ' ');
            out_text(out, cell);
        }
    }
    out_char(out, '\n');
}

void plot_columns(struct out *out, const size_t *values, int count, const char *top,
                  const char *left, const char *right, bool is_utf8)
{
    int width = PLOT_WIDTH / count < STEPS ? PLOT_WIDTH / count : STEPS;
    int gap = count * width - (int)strlen(left) - (int)strlen(right);
    size_t most = 1;

    for (int i = 0; i < count; i++)
        most = values[i] > most ? values[i] : most;
    for (int line = LINES - 1; line >= 0; line--) {
        out_printf(out, "%*s |", SCALE_WIDTH, line == LINES - 1 ? top : "");
        put_line(out, values, count, most, line, width, is_utf8 ? blocks : letters);
    }
    out_printf(out, "%*s +", SCALE_WIDTH, "0");
    for (int i = 0; i < count * width; i++)
        out_char(out, '-');
    out_printf(out, "\n%*s%s%*s%s\n", SCALE_WIDTH + 2, "", left, gap > 1 ? gap : 1, "", right);
}
