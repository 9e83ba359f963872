/* place.c - the table of planners. */
#include "sim/place/place.h"

const struct place_algorithm place_algorithms[] = {
    { "single", "all of it on the one device that is best by the objective", place_single },
    { "even", "the same number of units on every device, in file order", place_even },
    { "greedy", "each device in file order takes what its memory holds", place_greedy },
    { "round-robin", "unit after unit to the next device that has room", place_round_robin },
    { "random", "random cuts on devices in random order (--seed)", place_random },
    { "pipeedge", "the shortest period over kinds of devices (PipeEdge, mended)", place_pipeedge },
    { "auction", "the best with stages in file order of the devices (PipeEdge's reverse auction)",
      place_auction },
    { "exact", "the best contiguous pipeline by the objective", place_exact },
};
const int place_algorithm_count = (int)(sizeof place_algorithms / sizeof place_algorithms[0]);
