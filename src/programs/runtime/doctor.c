/*
 * The doctor asks the kernel, not a table of versions: each probe does the thing itself, in a child that then exits. It reads nothing but
 * files of the kernel, decides nothing for `run`, and leaves nothing behind.
 */
#include "programs/runtime/doctor.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "programs/runtime/doctor_probe.h"

enum {
        EXIT_CANNOT_RUN = 69,
        WIDTH = 110, /* columns of the table */
        INDENT = 30, /* where its text begins */
};

enum mode { MODE_ROOT = 1, MODE_USER = 2, MODE_BOTH = 3 };

static const struct probe {
        const char *name;
        enum mode asked;    /* where the question makes sense */
        enum mode required; /* where `run` cannot work if the answer is missing; 0: nowhere */
        void (*run)(struct finding *f);
} probes[] = {
        { "kernel", MODE_BOTH, MODE_BOTH, probe_kernel },
        { "privilege", MODE_BOTH, MODE_ROOT, probe_privilege },
        { "user-namespaces", MODE_BOTH, MODE_BOTH, probe_userns },
        { "mount-namespaces", MODE_BOTH, MODE_BOTH, probe_mount_ns },
        { "pid-namespaces", MODE_BOTH, MODE_BOTH, probe_pid_ns },
        { "net-namespaces", MODE_BOTH, MODE_BOTH, probe_net_ns },
        { "ipc-namespaces", MODE_BOTH, MODE_BOTH, probe_ipc_ns },
        { "uts-namespaces", MODE_BOTH, MODE_BOTH, probe_uts_ns },
        { "cgroup-namespaces", MODE_BOTH, MODE_BOTH, probe_cgroup_ns },
        { "proc", MODE_BOTH, MODE_BOTH, probe_proc },
        { "ids", MODE_USER, 0, probe_ids },
        { "cgroups", MODE_BOTH, 0, probe_cgroups },
        { "swap", MODE_BOTH, 0, probe_swap },
        { "disk", MODE_BOTH, MODE_ROOT, probe_disk },
        { "seccomp", MODE_BOTH, MODE_BOTH, probe_seccomp },
        { "landlock", MODE_BOTH, 0, probe_landlock },
        { "yama", MODE_BOTH, 0, probe_yama },
        { "vsock", MODE_BOTH, 0, probe_vsock },
        { "cpu", MODE_BOTH, 0, probe_cpu },
        { "processes", MODE_BOTH, MODE_BOTH, probe_processes },
        { "memory-files", MODE_BOTH, MODE_BOTH, probe_memfd },
        { "mount-calls", MODE_BOTH, MODE_BOTH, probe_mount_api },
        { "overlay", MODE_BOTH, 0, probe_overlay },
        { "idmapped-mounts", MODE_ROOT, 0, probe_idmap },
        { "creto-warden", MODE_BOTH, MODE_BOTH, probe_warden },
        { "creto-init", MODE_BOTH, MODE_BOTH, probe_init },
        { "creto-image", MODE_BOTH, 0, probe_image },
        { "skopeo", MODE_BOTH, 0, probe_skopeo },
        { "runtime-classes", MODE_BOTH, 0, probe_classes },
};

enum { PROBES = sizeof(probes) / sizeof(probes[0]) };

static const char *const status_names[] = { [STATUS_OK] = "ok", [STATUS_WEAK] = "weak", [STATUS_MISSING] = "missing" };

/* ---- printing ---- */

/* Prints `text` from column INDENT on, broken at blanks. */
static void print_wrapped(const char *text)
{
        size_t room = WIDTH - INDENT;

        while (strlen(text) > room) {
                size_t cut = room;

                while (cut > 0 && text[cut] != ' ')
                        cut--;
                if (cut == 0)
                        break;
                printf("%.*s\n%*s", (int)cut, text, INDENT, "");
                text += cut + 1;
        }
        printf("%s\n", text);
}

static void print_row(const struct probe *p, const struct finding *f)
{
        char text[DOCTOR_TEXT_MAX + 8];

        printf("%-8s %-*s", status_names[f->status], INDENT - 9, p->name);
        print_wrapped(f->text);
        if (f->fix[0]) {
                snprintf(text, sizeof(text), "fix: %s", f->fix);
                printf("%*s", INDENT, "");
                print_wrapped(text);
        }
}

static void print_json_text(const char *text)
{
        putchar('"');
        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        printf("\\%c", *text);
                else if ((unsigned char)*text < 0x20)
                        printf("\\u%04x", (unsigned char)*text);
                else
                        putchar(*text);
        }
        putchar('"');
}

static void print_json(const struct finding *found, const bool *asked, bool can_run)
{
        const char *between = "";

        printf("{\"version\":\"" CRETO_VERSION "\",\"mode\":\"%s\",\"canRun\":%s,\"machine\":", doctor_root ? "root" : "user",
               can_run ? "true" : "false");
        print_json_text(doctor_host.machine);
        printf(",\"kernel\":");
        print_json_text(doctor_host.release);
        printf(",\"findings\":[");
        for (size_t i = 0; i < PROBES; i++) {
                if (!asked[i])
                        continue;
                printf("%s\n  {\"name\":\"%s\",\"status\":\"%s\",\"required\":%s,\"text\":", between, probes[i].name,
                       status_names[found[i].status], probes[i].required & (doctor_root ? MODE_ROOT : MODE_USER) ? "true" : "false");
                print_json_text(found[i].text);
                printf(",\"fix\":");
                if (found[i].fix[0])
                        print_json_text(found[i].fix);
                else
                        printf("null");
                putchar('}');
                between = ",";
        }
        printf("\n]}\n");
}

static void print_table(const struct finding *found, const bool *asked, bool can_run)
{
        const char *mode = doctor_root ? "as root" : "as an ordinary user";
        const char *before = ": ";

        printf("creto-runtime " CRETO_VERSION " on Linux %s (%s), %s\n\n", doctor_host.release, doctor_host.machine, mode);
        for (size_t i = 0; i < PROBES; i++)
                if (asked[i])
                        print_row(&probes[i], &found[i]);
        if (can_run) {
                printf("\n'creto-runtime run' works here, %s.\n", mode);
                return;
        }
        printf("\n'creto-runtime run' cannot work here, %s; missing", mode);
        for (size_t i = 0; i < PROBES; i++) {
                if (!asked[i] || found[i].status != STATUS_MISSING || !(probes[i].required & (doctor_root ? MODE_ROOT : MODE_USER)))
                        continue;
                printf("%s%s", before, probes[i].name);
                before = ", ";
        }
        printf(".\n");
}

int doctor_run(bool json)
{
        static struct finding found[PROBES];
        bool asked[PROBES], can_run = true;

        doctor_root = geteuid() == 0;
        uname(&doctor_host);
        fflush(NULL); /* children must not print what is still in our buffers */
        for (size_t i = 0; i < PROBES; i++) {
                asked[i] = probes[i].asked & (doctor_root ? MODE_ROOT : MODE_USER);
                if (!asked[i])
                        continue;
                probes[i].run(&found[i]);
                if (found[i].status == STATUS_MISSING && (probes[i].required & (doctor_root ? MODE_ROOT : MODE_USER)))
                        can_run = false;
        }
        if (json)
                print_json(found, asked, can_run);
        else
                print_table(found, asked, can_run);
        return can_run ? 0 : EXIT_CANNOT_RUN;
}
