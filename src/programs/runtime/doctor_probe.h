/*
 * What the doctor's probes share. A probe asks one question and writes what it found; what it tries, it tries in a child, as the warden would
 * in the present mode.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/utsname.h>

enum { DOCTOR_TEXT_MAX = 400, DOCTOR_FILE_MAX = 65536 };

enum status { STATUS_OK, STATUS_WEAK, STATUS_MISSING };

struct finding {
        enum status status;
        char text[DOCTOR_TEXT_MAX]; /* what was found and what follows from it */
        char fix[DOCTOR_TEXT_MAX];  /* what would mend it; may be empty */
};

extern bool doctor_root; /* the mode */
extern struct utsname doctor_host;
extern char doctor_file[DOCTOR_FILE_MAX]; /* what doctor_load() read last */

void doctor_say(struct finding *f, enum status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void doctor_fix(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Reads a file of the kernel into doctor_file; false where there is none. */
bool doctor_load(const char *path);
/* The number in a file of the kernel, or `otherwise`. */
long doctor_number_in(const char *path, long otherwise);
/* The value of "NAME:\tvalue" in /proc/self/status, as a number in `base`. */
uint64_t doctor_own_status(const char *name, int base);

/* Where the next line of a text begins, or NULL. */
static inline const char *doctor_next_line(const char *line)
{
        const char *end = strchr(line, '\n');

        return end ? end + 1 : NULL;
}

/* Runs fn in a child, for at most some seconds, and returns what it returned: 0, or an errno. */
int doctor_in_child(int (*fn)(const void *), const void *arg);

/* In such a child; 0, or an errno. */
int doctor_own_userns(void); /* root of a user namespace of our own, as the warden of an ordinary user is */
int doctor_as_warden(void);  /* the privilege that the warden has in the present mode */
int doctor_own_mounts(void); /* the same, and a mount namespace whose changes nobody sees */

void probe_kernel(struct finding *f);
void probe_privilege(struct finding *f);
void probe_userns(struct finding *f);
void probe_mount_ns(struct finding *f);
void probe_pid_ns(struct finding *f);
void probe_net_ns(struct finding *f);
void probe_ipc_ns(struct finding *f);
void probe_uts_ns(struct finding *f);
void probe_cgroup_ns(struct finding *f);
void probe_proc(struct finding *f);
void probe_seccomp(struct finding *f);
void probe_landlock(struct finding *f);
void probe_processes(struct finding *f);
void probe_memfd(struct finding *f);
void probe_yama(struct finding *f);
void probe_vsock(struct finding *f);
void probe_cpu(struct finding *f);
void probe_cgroups(struct finding *f);
void probe_swap(struct finding *f);
void probe_mount_api(struct finding *f);
void probe_overlay(struct finding *f);
void probe_idmap(struct finding *f);
void probe_disk(struct finding *f);
void probe_warden(struct finding *f);
void probe_init(struct finding *f);
void probe_image(struct finding *f);
void probe_skopeo(struct finding *f);
void probe_ids(struct finding *f);
void probe_classes(struct finding *f);
