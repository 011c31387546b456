/*
 * What the warden makes of a request for a sandbox, as far as no system call is needed for it: is it one? Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "domain/classes.h"
#include "wire/ipc.h"

struct spawn_rules {
        bool any_dir;    /* the peer may name a directory as root */
        uint32_t ids;    /* users and groups are below the last one, which is creto-init's */
        uint32_t limits; /* that this host can enforce: bits */
        const struct classes *classes;
        bool kvm; /* a sandbox may have /dev/kvm */
};

/* Judges everything that a request says but its form, which the codec has checked, and what is there already. `nfds`: descriptors that came along. On success *class is its runtime class
 * and *missing has the limits that are not enforced (defaults only; bit per limit). */
int spawn_check(const struct spawn_rules *rules, const struct ipc_spawn *req, size_t nfds, const struct runtime_class **class,
                uint32_t *missing, struct err *e);
