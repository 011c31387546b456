/*
 * Who emulates virtual machines, and what those that are spoken to by REST are asked for, in which order. Pure: bytes of requests, from facts.
 *
 * Written after Firecracker's API 1.17 (src/firecracker/swagger/firecracker.yaml) and Cloud Hypervisor's API 0.3.0 (vmm/src/api/openapi/cloud-hypervisor.yaml, of
 * release 54); of each only what older releases have too: Firecracker since 1.8, Cloud Hypervisor since 38.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/http.h"

enum vmm { VMM_QEMU, VMM_FIRECRACKER, VMM_CLOUD_HYPERVISOR, VMMS };

struct vmm_info {
        const char *class;   /* the runtime class, and [runtime.CLASS] of the configuration */
        const char *name;    /* for people */
        const char *binary;  /* where it is by default, in the host's /usr */
        const char *install; /* what to do where it is not */
        bool rest;           /* spoken to by REST, its streams are vsock; needs KVM */
};

extern const struct vmm_info vmm_table[VMMS];

/* VMMS where it is no class of virtual machines. */
enum vmm vmm_of(const char *class);

static inline bool vmm_is_class(const char *class)
{
        return vmm_of(class) < VMMS;
}

enum {
        VMM_CID = 3,       /* of the machine; who is outside is 2 */
        VMM_CPUS_MAX = 16, /* of a machine */
        VMM_REQUEST_MAX = 8192,
        VMM_WHAT_MAX = 64,
        VMM_ANSWER_MAX = 64 * 1024, /* all of it, interim ones too */
        VMM_BODY_MAX = 1024,        /* what is kept of its body */
};

enum vmm_plan {
        VMM_PLAN_BOOT,
        VMM_PLAN_SAVE,  /* of one that runs: it stands still from then on */
        VMM_PLAN_GO_ON, /* in place of VMM_PLAN_BOOT */
        VMM_PLANS,
};

/* Paths are those that the emulator sees. */
struct vmm_machine {
        const char *kernel, *initrd, *cmdline, *disk, *vsock;
        const char *place; /* a directory: what is saved there is found there */
        uint64_t memory;   /* bytes, whole MiB */
        uint64_t cpus;
};

/*
 * The i-th request of a plan, as it goes over the socket, and in `what` its method and path, for people. Returns 1; 0 where there is no such request: the
 * plan is done; -1 where it does not fit. Each wants an answer of 2xx before the next.
 */
int vmm_request(enum vmm vmm, enum vmm_plan plan, unsigned i, const struct vmm_machine *m, struct wbuf *out, char what[VMM_WHAT_MAX]);

/* What is said to a request. */
struct vmm_answer {
        struct http_response http;
        size_t len, body_len;
        char body[VMM_BODY_MAX];
};

void vmm_answer_init(struct vmm_answer *a);

/*
 * Takes what has arrived; 0 bytes: the connection has ended. Returns HTTP_MORE; HTTP_DONE, with the status in `http` and the body's beginning; or HTTP_BAD, with
 * http.why: it is no answer. After those two nothing more is taken.
 */
enum http_event vmm_answer_take(struct vmm_answer *a, const void *data, size_t len);

/* Why it was refused, out of the answer's body: printable, in one line; "" where it does not say. */
void vmm_reason(const void *body, size_t len, char *out, size_t cap);
