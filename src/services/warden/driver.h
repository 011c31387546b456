/*
 * How sandboxes of a kind of runtime class are made; what stands in nest.h about nest_begin(), nest_hear() and nest_send_off() holds for every driver. And what the
 * drivers share.
 */
#pragma once

#include "services/warden/nest.h"
#include "wire/boot.h"

struct driver {
        /* Begins; box->sock can be read when `hear` has something to hear. What fails is cleared by nest_clear(). */
        int (*begin)(struct nest *n, struct nest_box *b, struct err *e);
        /* 0: all is made and waits; 1: more is to come; or a negative code. */
        int (*hear)(struct nest *n, struct nest_box *b, struct err *e);
        int (*send_off)(struct nest *n, struct nest_box *b, int *stream, struct err *e);
        /* Can it make sandboxes of this class now? 0, or a negative code. NULL: always. */
        int (*check)(struct nest *n, const struct runtime_class *class, struct err *e);
};

extern const struct driver oci_driver;

/* Takes a slot and makes the groups; no limits yet. `watched`: groups even where no limit needs them. */
int nest_begin_box(struct nest *n, struct nest_box *b, bool watched, struct err *e);
int nest_write_limits(struct nest *n, struct nest_box *b, const struct limits *l, struct err *e);
/* The host's end of the guest stream, and the sandbox's. */
int nest_make_stream(struct nest *n, const char *id, int ends[2], struct err *e);
/* What creto-init is told; `flags` besides those that follow from who we are. */
void nest_fill_boot(const struct nest *n, const struct nest_box *b, uint32_t flags, struct boot_config *c);
/* From now on our successor knows of it; *hold keeps its id range for as long as anybody has it. */
int nest_keep(struct nest *n, struct nest_box *b, int *hold, struct err *e);
int nest_write_record(const struct nest *n, const struct nest_box *b, struct err *e);
/* A line of 32 random digits. */
void nest_machine_id(char out[34]);
