/* control.h - the small commands around a run. argv[0] is "orrery-run WORD"; each returns an enum
 * cli_exit. */
#ifndef ORRERY_RUNNER_CONTROL_H
#define ORRERY_RUNNER_CONTROL_H

/* `orrery-run keys`: draws the keys that the boards of a cluster share. */
int control_keys(int argc, char **argv);
/* `orrery-run status`: what a run is doing just now. */
int control_status(int argc, char **argv);
/* `orrery-run update`: gives a run that goes on another placement. */
int control_update(int argc, char **argv);

#endif
