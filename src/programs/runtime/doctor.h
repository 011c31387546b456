/*
 * `creto-runtime doctor`: what this host can isolate, with what, and what would mend the rest.
 */
#pragma once

#include <stdbool.h>

/* Probes the host and prints the findings, as a table or as JSON. Returns 0 where `run` can work in the present mode (root or ordinary
 * user), else 69. What it tries, it tries in children of its own; nothing of it is left on the host. */
int doctor_run(bool json);
