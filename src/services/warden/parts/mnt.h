/*
 * Mounts: the template that every sandbox of this host shares (read-only root, /usr, /dev), what each sandbox has of its own on top of it,
 * and image roots. All of it runs as root of the namespace that owns the mounts, before any byte of a tenant is near.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Moves the calling process into a mount namespace whose whole content is the template: afterwards nothing of the host but what the
 * template shows can be named. `user`: in an ordinary user's namespace, where devices are bound and not made, and a visible proc must be kept
 * until sandboxes have mounted theirs. `kvm`: there is a place for /dev/kvm. */
int mnt_enter_template(bool user, bool kvm, struct err *e);

struct mnt_own {
        bool user;
        int root;         /* detached mount to be the root instead of the template's, or -1 */
        int disk;         /* detached mount from disk_make(); not needed by mnt_build_own() */
        uint32_t tty_gid; /* host gid of group tty inside, UINT32_MAX: leave it */
};

/* In a fresh mount and pid namespace made from the template's: mounts what a sandbox has of its own, first all but its disk, then that. */
int mnt_build_own(const struct mnt_own *own, struct err *e);
int mnt_add_disk(const struct mnt_own *own, struct err *e);
/* Before that: its root is shown at NEW_ROOT, and is its root no more; and the device itself, in this mount namespace alone. */
int mnt_add_beside(struct mnt_own *own, struct err *e);
int mnt_add_kvm(struct err *e);

/* An overlay of `count` layer directories (descriptors, lowest first) below a layer of ours that brings the mount points. `idmap` is a user
 * namespace whose map turns the owners on disk into the sandbox's, or -1. Returns a detached read-only mount. */
int mnt_overlay(const int *layers, unsigned count, int idmap, struct err *e);

/* What the template shows of the host, put together in an empty directory, for who mounts proc, devices and disk himself; with the mount points of the
 * OCI driver. */
int mnt_host_root(const char *at, struct err *e);
