/* search_parts.h - which parts of an operator a cost table has rows of, for the bound. */
#ifndef ORRERY_SIM_PLACE_SEARCH_PARTS_H
#define ORRERY_SIM_PLACE_SEARCH_PARTS_H

#include "lib/format/model.h"

struct arena;
struct cost_table;

struct search_parts { /* of operators of one shape, as a table has them: another model's, too */
    struct model_op shape;
    int count;
    struct model_op *slices; /* distinct shapes */
    double *ratios;          /* of the whole, below 1 */
    struct search_parts *next;
};

/* Those of an operator's shape, whatever its number of tokens: found in the list, else by a pass
 * over the table, and noted there. In arena. */
const struct search_parts *search_parts_of(struct arena *arena, struct search_parts **list,
                                           const struct cost_table *table,
                                           const struct model_op *op);

#endif
