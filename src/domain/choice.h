/*
 * Which runtime class a sandbox gets: what the request says, what the operator has laid down, and what is there. Pure: what is there is asked of the caller.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "domain/classes.h"

/* How far the code in it is trusted. Which class that is, the operator says. */
enum trust { TRUST_UNSAID, TRUST_TRUSTED, TRUST_STANDARD, TRUST_UNTRUSTED, TRUST_CONFIDENTIAL, TRUST_LEVELS };

extern const char *const trust_names[TRUST_LEVELS];
/* TRUST_UNSAID where it is no level. */
enum trust trust_of(const char *name);

#define CLASS_AUTO "auto" /* whoever makes it chooses */

enum { CHOICE_FALLBACK_MAX = 8, CHOICE_WHY_MAX = 255, CHOICE_NOTICE_MAX = CHOICE_WHY_MAX + 128 };

/* The operator's. */
struct choice_policy {
        char normal[CLASS_NAME_MAX + 1];              /* what CLASS_AUTO means: a class, or CLASS_AUTO for the strongest that is there */
        char trust[TRUST_LEVELS][CLASS_NAME_MAX + 1]; /* "": no class has that level */
        unsigned fallback_count;
        char fallback[CHOICE_FALLBACK_MAX][CLASS_NAME_MAX + 1]; /* in this order */
};

/* auto; trusted is runc, standard gvisor, untrusted kata, confidential none; fallback gvisor, native. */
void choice_policy_init(struct choice_policy *p);

/* What is known of a class at this moment. */
struct choice_class {
        bool known, available, drained;
        uint32_t limits;                 /* that it can keep: bits */
        char reason[CHOICE_WHY_MAX + 1]; /* where it is not available */
        char hint[IPC_CLASS_TEXT_MAX + 1];
};

typedef void choice_look_fn(void *ctx, const char *name, struct choice_class *out);

struct choice_world {
        const struct choice_policy *policy;
        choice_look_fn *look;
        void *ctx;
};

struct choice_wish {
        const char *runtime; /* a class, or CLASS_AUTO */
        enum trust trust;
        bool allow_fallback;
        uint32_t limits; /* that were named, and so have to be kept: bits */
        bool hardware;   /* of a virtual machine was named */
};

struct choice {
        char name[CLASS_NAME_MAX + 1];      /* the class that it gets */
        char requested[CLASS_NAME_MAX + 1]; /* what was asked for: a class, also by its trust level, or CLASS_AUTO */
        char why[CHOICE_WHY_MAX + 1];       /* where it is another than the one asked for, or less than the strongest; else "" */
};

/* INVALID_SPEC where the request contradicts itself or names no class; BACKEND_UNAVAILABLE where there is no class for it. A class that is asked for without fallback is
 * chosen also where it is not available: who makes it says why. */
int choice_make(const struct choice_world *w, const struct choice_wish *wish, struct choice *out, struct err *e);

/* The class could not make it, for this reason: *c becomes the next one that may, and keeps these limits. False where there is none. */
bool choice_next(const struct choice_world *w, uint32_t limits, const char *why, struct choice *c);

/* "the runtime class is native; gvisor: runsc is not installed", or "" where there is nothing to say. */
void choice_notice(const struct choice *c, char *out, size_t cap);

/* Adds to the hint of a class that is not to be had how to be content with another. */
void choice_hint(const struct choice_world *w, const char *class, struct err *e);
