/*
 * Id ranges: each sandbox has one of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum {
        SPACE_IDS = 65536,     /* ids in one sandbox's range */
        SPACE_INIT_ID = 65535, /* the id inside that creto-init has, and nobody else */
        SPACE_SLOTS = 4094,
};

/* Range 0 owns unpacked images; the last one is ours: its first id is what our unprivileged programs run as. */
#define SPACE_OWN_UID 0x7fff0000U

/* Host ids 0x70000000 to 0x7fffffff are used by no distribution (systemd's table of uid ranges); range N begins at BASE + N × 65536. The
 * first is the owner of unpacked images. */
#define SPACE_UID_BASE 0x70000000U
#define SPACE_IMAGE_UID SPACE_UID_BASE

static inline uint32_t space_slot_uid(unsigned slot)
{
        return SPACE_UID_BASE + (slot + 1) * (uint32_t)SPACE_IDS;
}

/* Id ranges, one owner each on the whole host: byte N of the lock file is locked while range N is in use, so that a range is free again
 * when the last process that holds the file is gone, however it ended. */
struct space_slots {
        int lock; /* -1 where ranges are not used (ordinary user) */
        uint64_t taken[(SPACE_SLOTS + 64) / 64];
};

int space_slots_init(struct space_slots *s, const char *run_dir, struct err *e);
/* Returns the slot, or a negative code (RESOURCE_EXHAUSTED). */
int space_slot_take(struct space_slots *s, struct err *e);
/* A descriptor that keeps the slot taken as long as anybody has it, also without us. It reads an empty file. */
int space_slot_hold(const struct space_slots *s, int slot, struct err *e);
/* Takes a slot that somebody holds so. Returns 0, or 1 where it is another's. */
int space_slot_retake(struct space_slots *s, int slot);
void space_slot_give(struct space_slots *s, int slot);
