/*
 * The OCI driver: sandboxes made by crun, runc, runsc or any program with their command line. The engine is a child of ours for as long as it needs to make a sandbox: in a
 * mount namespace of its own, where /tmp is a bundle that nobody else ever sees, so that nothing it leaves outlives the sandbox. Of what it says only a number is read: the
 * pid, and only one of our own children. It never sees a request: all that it is given is made here.
 */
#pragma once

#include "services/warden/nest.h"

/* Gives back what a box has while its engine works. Safe where there is nothing. */
void oci_job_free(struct nest_box *b);
