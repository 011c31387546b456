/*
 * How sandboxes are made: one driver for each kind of runtime class, and what the drivers share of the nest. What a driver has made is a box like any other: a process
 * that is watched, a group, a guest stream.
 */
#pragma once

#include "services/warden/nest.h"

struct driver {
        /* Starts a sandbox. Returns 0 where it runs and *stream is the host's end of its guest stream (the caller's); 1 where it is being made: box->job is there, and `step` is to be
         * called when box->pidfd or box->job->timer can be read; or a negative code, and nothing is left. */
        int (*spawn)(struct nest *n, const struct nest_order *o, struct nest_box **box, int *stream, struct err *e);
        /* Goes on with one. Returns 0 or 1 as `spawn`; after a negative code the box is dead. NULL where `spawn` never leaves anything to be done. */
        int (*step)(struct nest *n, struct nest_box *b, int *stream, struct err *e);
        /* Can it make sandboxes of this class now? 0, or a negative code. NULL: always. */
        int (*check)(struct nest *n, const struct runtime_class *class, struct err *e);
};

extern const struct driver oci_driver;

/* ---- what they share ---- */

/* What a sandbox is made of. */
struct material {
        int userns, disk, root;
};

/* Slot and group, but no limits yet. `watched`: it gets a group even where no limit needs one. */
int nest_begin(struct nest *n, struct nest_box *b, const struct limits *l, bool watched, struct err *e);
int nest_gather(struct nest *n, struct nest_box *b, const struct nest_order *o, struct material *m, struct err *e);
void nest_material_release(struct material *m);
/* The host's end of the guest stream, and the sandbox's. */
int nest_make_stream(struct nest *n, const char *id, int ends[2], struct err *e);
int nest_write_limits(struct nest *n, struct nest_box *b, const struct limits *l, struct err *e);
/* From now on our successor knows of it; *hold keeps its id range for as long as anybody has it. */
int nest_keep(struct nest *n, struct nest_box *b, const char *id, int *hold, struct err *e);
int nest_write_record(const struct nest *n, const struct nest_box *b, struct err *e);
/* 32 digits. */
void nest_random_hex(char out[33]);
