/* circuit.h - circuits of optical media: who has one, who waits for one.
 *
 * A circuit joins two nodes, in both directions. It takes a port of each node and one wavelength on
 * every fibre between them, the first in number that is free on all. Setting it up takes setup_ps;
 * then it stays until another one needs what it holds and no message is on it: the one that has
 * been idle longest goes first. Requests that cannot be served wait in order of asking, and what
 * they need is for nobody behind them: messages that come later wait, too, even for a circuit that
 * is up, so that nobody waits for ever. When a circuit falls idle each that can be served then is
 * served, the first one first. Neither ports nor
 * wavelengths given: no limit. Without mesh_columns all circuits of a medium share one fibre. */
#ifndef ORRERY_SIM_NETWORK_CIRCUIT_H
#define ORRERY_SIM_NETWORK_CIRCUIT_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct circuits;
struct network_circuits;
struct topology;

/* A set-up begins now and ends setup_ps later: then circuit_up must be called. 0: a circuit that is
 * up takes messages again. */
typedef void circuit_setup_fn(void *arg, int32_t circuit, int64_t setup_ps);

/* NULL when the topology has no circuits. */
struct circuits *circuits_create(struct arena *arena, const struct topology *topology,
                                 circuit_setup_fn *on_setup, void *arg);
/* True: the circuit is up and the message on it. False: the message waits. */
bool circuit_acquire(struct circuits *circuits, int32_t circuit, int32_t message);
/* The set-up has ended. circuit_waiting gives one message after the other that waited and is on it
 * now, -1 after the last. */
void circuit_up(struct circuits *circuits, int32_t circuit);
int32_t circuit_waiting(struct circuits *circuits, int32_t circuit);
/* A message leaves it. */
void circuit_release(struct circuits *circuits, int32_t circuit);
struct network_circuits circuits_count(const struct circuits *circuits);

#endif
