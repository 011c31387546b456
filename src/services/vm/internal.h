/* What a machine is, for the files of this folder. */
#pragma once

#include <stddef.h>

#include "services/guest/guest.h"
#include "services/vm/vm.h"

enum vm_mode { VM_BOOT, VM_SAVE, VM_GO_ON };

enum { VM_TEMPLATE_MAX = VM_PATH_MAX + 32, CONSOLE_MAX = 4096, PUMP_MAX = 4 * VM_FRAME_MAX };

/* The bytes between a command of the native sandbox and the session to the machine's creto-init. */
struct pump {
        struct session_exec *machine;
        int fd; /* our end; -1: there is none */
        struct watch *watch;
        uint8_t in[PUMP_MAX]; /* from the session to the machine, not sent yet */
        size_t in_len;
        uint8_t head[GUEST_HEADER]; /* from the machine: of the frame that is on its way */
        size_t head_len, left;      /* bytes of it that are still to come */
        uint64_t passed, whole;     /* what the session was given; up to the end of its last whole frame */
        bool full;                  /* the session takes no more for now */
};

struct vm {
        struct loop *loop;
        const struct vm_assets *assets;
        enum vmm vmm;
        unsigned cpus;
        bool image;
        uint64_t root;
        struct limits limits;
        char hostname[80];
        const struct vm_events *events;
        void *ctx;
        struct session *session;
        struct watch *watch;
        struct timer *deadline;
        enum vm_mode mode;
        char template_path[VM_TEMPLATE_MAX];
        int template;              /* the file that is read, or written (VM_SAVE); -1: none */
        struct session_exec *step; /* of making it */
        unsigned step_at;
        uint64_t step_sent;
        bool booting, looked, step_eof; /* it is known whether a machine runs */
        bool boots;                     /* it did not go on from a saved one */
        struct pump pump;
        char console[CONSOLE_MAX + 1]; /* the last of what the machine's kernel, QEMU and creto-vm-host said */
        size_t console_len;
};

/* ---- template.c ---- */
/* Those that an earlier daemon did not finish. */
void template_sweep(const struct vm_assets *a);
bool template_name(const struct vm *vm, unsigned cpus, char out[VM_TEMPLATE_MAX]);
/* To read; -1 where there is none. */
int template_open(const char *name);
/* To write a new one, or -1, also where enough of them are written already; it has its name after template_end(), or is gone. `who` writes it. */
int template_begin(const struct vm_assets *a, const char *name, const char *who);
void template_end(const struct vm_assets *a, const char *name, const char *who, bool good);
void template_drop(const char *name);

/* ---- pump.c ---- */
/* Returns the session's end of the stream, or -1. */
int pump_open(struct pump *p, struct session_exec *machine);
void pump_close(struct pump *p);
/* What came from the machine; returns how much the session takes now: where it is not there yet, nothing. The rest is held and offered again (`full`). */
ssize_t pump_take(struct pump *p, const void *data, size_t len);
/* Moves what the session has written, as far as the machine takes it. */
void pump_move(struct pump *p);
/* What poll(2) is to look for. */
short pump_events(const struct pump *p);
