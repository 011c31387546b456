/*
 * The attacks: each is a function that tries one thing a sandboxed program must not be able to do, and says truthfully whether it could.
 * The same binary is the attack (inside the sandbox) and its own control (outside, where it has to succeed), so that a test which
 * attacks nothing cannot pass.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum verdict {
        WON = 0, /* the attack succeeded: inside a sandbox, a hole */
        REFUSED = 1,
        NOT_HERE = 77, /* this machine, or this processor, lacks what is attacked */
};

enum control {
        CONTROL_PRIVATE = 'P', /* as root in namespaces of its own, on an overlay of the host's files */
        CONTROL_HOST = 'H',    /* as root on the host; touches nothing */
        CONTROL_USER = 'U',    /* as an ordinary user on the host */
        CONTROL_OWN = 'T',     /* the test arranges it: it needs an argument */
};

struct attack {
        const char *name;
        char control;
        bool root_may_fail; /* a locked-down kernel, or one without the feature, refuses it to root as well */
        const char *what;
        int (*run)(const char *arg);
        const char *arg; /* unless the caller gives one */
};

extern const struct attack attacks_files[], attacks_proc[], attacks_mounts[], attacks_namespaces[], attacks_devices[], attacks_privileges[],
        attacks_processes[], attacks_kernel[], attacks_sockets[], attacks_leaks[], attacks_bombs[];

/* What happened, in a few words; the last one counts. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* WON where r is not negative; else REFUSED, and errno's name is said. */
int judge(long r);

/* As judge(), but any error that is not a refusal means that the kernel did look at the request: WON. */
int judge_reached(long r);

/* In private.c: namespaces, an overlay root, a process 1 worth attacking. Returns in the process that attacks. */
void enter_private(void);
