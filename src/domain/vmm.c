#include "domain/vmm.h"

#include <stdio.h>
#include <string.h>

#include "wire/json.h"

enum { STEPS_MAX = 6, REASON_NODES = 16 };

#define MIB (1024ULL * 1024)

const struct vmm_info vmm_table[VMMS] = {
        [VMM_QEMU] = { "qemu", "QEMU", "/usr/bin/qemu-system-x86_64", "apt-get install qemu-system-x86", false },
        [VMM_FIRECRACKER] = { "firecracker", "Firecracker", "/usr/local/bin/firecracker",
                              "put the release of github.com/firecracker-microvm/firecracker there, or say runtime.firecracker.binary",
                              true },
        [VMM_CLOUD_HYPERVISOR] = { "cloud-hypervisor", "Cloud Hypervisor", "/usr/local/bin/cloud-hypervisor",
                                   "put the release of github.com/cloud-hypervisor/cloud-hypervisor there, or say runtime.cloud-hypervisor.binary",
                                   true },
};

enum vmm vmm_of(const char *class)
{
        unsigned i = 0;

        while (i < VMMS && strcmp(vmm_table[i].class, class) != 0)
                i++;
        return (enum vmm)i;
}

/* ---- bodies ---- */

typedef void body_fn(struct json_put *j, const struct vmm_machine *m);

/* "PREFIX" "PLACE" "/NAME" */
static void in_place(struct json_put *j, const char *key, const char *prefix, const struct vmm_machine *m, const char *name)
{
        char path[512];

        if (snprintf(path, sizeof(path), "%s%s%s%s", prefix, m->place, *name ? "/" : "", name) >= (int)sizeof(path))
                j->w->bad = true;
        json_put_text(j, key, path);
}

static void fc_config(struct json_put *j, const struct vmm_machine *m)
{
        json_put_number(j, "vcpu_count", m->cpus);
        json_put_number(j, "mem_size_mib", m->memory / MIB);
}

static void fc_boot(struct json_put *j, const struct vmm_machine *m)
{
        json_put_text(j, "kernel_image_path", m->kernel);
        json_put_text(j, "initrd_path", m->initrd);
        json_put_text(j, "boot_args", m->cmdline);
}

static void fc_drive(struct json_put *j, const struct vmm_machine *m)
{
        json_put_text(j, "drive_id", "disk");
        json_put_text(j, "path_on_host", m->disk);
        json_put_flag(j, "is_root_device", false);
        json_put_flag(j, "is_read_only", false);
        json_put_text(j, "cache_type", "Unsafe");
}

static void fc_vsock(struct json_put *j, const struct vmm_machine *m)
{
        json_put_number(j, "guest_cid", VMM_CID);
        json_put_text(j, "uds_path", m->vsock);
}

static void fc_start(struct json_put *j, const struct vmm_machine *m)
{
        (void)m;
        json_put_text(j, "action_type", "InstanceStart");
}

static void fc_pause(struct json_put *j, const struct vmm_machine *m)
{
        (void)m;
        json_put_text(j, "state", "Paused");
}

static void fc_save(struct json_put *j, const struct vmm_machine *m)
{
        json_put_text(j, "snapshot_type", "Full");
        in_place(j, "snapshot_path", "", m, "state.vmm");
        in_place(j, "mem_file_path", "", m, "memory.vmm");
}

static void fc_load(struct json_put *j, const struct vmm_machine *m)
{
        in_place(j, "snapshot_path", "", m, "state.vmm");
        json_put_begin(j, "mem_backend");
        json_put_text(j, "backend_type", "File");
        in_place(j, "backend_path", "", m, "memory.vmm");
        json_put_end(j);
        json_put_flag(j, "resume_vm", true);
}

static void clh_create(struct json_put *j, const struct vmm_machine *m)
{
        json_put_begin(j, "cpus");
        json_put_number(j, "boot_vcpus", m->cpus);
        json_put_number(j, "max_vcpus", m->cpus);
        json_put_end(j);
        json_put_begin(j, "memory");
        json_put_number(j, "size", m->memory);
        json_put_end(j);
        json_put_begin(j, "payload");
        json_put_text(j, "kernel", m->kernel);
        json_put_text(j, "initramfs", m->initrd);
        json_put_text(j, "cmdline", m->cmdline);
        json_put_end(j);
        json_put_key(j, "disks");
        json_put_array(j);
        json_put_object(j);
        json_put_text(j, "path", m->disk);
        json_put_flag(j, "readonly", false);
        json_put_end(j);
        json_put_end(j);
        json_put_begin(j, "rng");
        json_put_text(j, "src", "/dev/urandom");
        json_put_end(j);
        json_put_begin(j, "serial"); /* its standard output, which is our standard error */
        json_put_text(j, "mode", "Tty");
        json_put_end(j);
        json_put_begin(j, "console");
        json_put_text(j, "mode", "Off");
        json_put_end(j);
        json_put_begin(j, "vsock");
        json_put_number(j, "cid", VMM_CID);
        json_put_text(j, "socket", m->vsock);
        json_put_end(j);
}

static void clh_save(struct json_put *j, const struct vmm_machine *m)
{
        in_place(j, "destination_url", "file://", m, "");
}

static void clh_restore(struct json_put *j, const struct vmm_machine *m)
{
        in_place(j, "source_url", "file://", m, "");
        json_put_flag(j, "prefault", false);
}

/* ---- plans ---- */

#define CLH "/api/v1/"

static const struct step {
        const char *method, *path;
        body_fn *body; /* NULL: none */
} plans[VMMS][VMM_PLANS][STEPS_MAX] = {
        [VMM_FIRECRACKER] = {
                [VMM_PLAN_BOOT] = { { "PUT", "/machine-config", fc_config },
                                    { "PUT", "/boot-source", fc_boot },
                                    { "PUT", "/drives/disk", fc_drive },
                                    { "PUT", "/vsock", fc_vsock },
                                    { "PUT", "/actions", fc_start } },
                [VMM_PLAN_SAVE] = { { "PATCH", "/vm", fc_pause }, { "PUT", "/snapshot/create", fc_save } },
                [VMM_PLAN_GO_ON] = { { "PUT", "/snapshot/load", fc_load } },
        },
        [VMM_CLOUD_HYPERVISOR] = {
                [VMM_PLAN_BOOT] = { { "PUT", CLH "vm.create", clh_create }, { "PUT", CLH "vm.boot", NULL } },
                [VMM_PLAN_SAVE] = { { "PUT", CLH "vm.pause", NULL }, { "PUT", CLH "vm.snapshot", clh_save } },
                [VMM_PLAN_GO_ON] = { { "PUT", CLH "vm.restore", clh_restore }, { "PUT", CLH "vm.resume", NULL } },
        },
};

/* Both take a request without a body with and without a length; a proxy between would want one. */
static void put_request(struct wbuf *out, const struct step *s, const struct wbuf *body)
{
        struct http_request r;

        http_begin(&r, out, s->method);
        http_path(&r, s->path);
        http_host(&r, "localhost");
        http_header(&r, "Accept", "application/json");
        if (s->body)
                http_header(&r, "Content-Type", "application/json");
        http_length(&r, body->len);
        http_end(&r);
        wbuf_bytes(out, body->data, body->len);
}

int vmm_request(enum vmm vmm, enum vmm_plan plan, unsigned i, const struct vmm_machine *m, struct wbuf *out, char what[VMM_WHAT_MAX])
{
        uint8_t space[VMM_REQUEST_MAX];
        struct wbuf body = wbuf_over(space, sizeof(space));
        struct json_put j = json_put_over(&body);

        if (i >= STEPS_MAX || !plans[vmm][plan][i].method)
                return 0;
        const struct step *s = &plans[vmm][plan][i];
        snprintf(what, VMM_WHAT_MAX, "%s %s", s->method, s->path);
        if (s->body) {
                json_put_object(&j);
                s->body(&j, m);
                json_put_end(&j);
                if (!json_put_done(&j))
                        return -1;
        }
        put_request(out, s, &body);
        return out->bad ? -1 : 1;
}

/* ---- answers ---- */

void vmm_answer_init(struct vmm_answer *a)
{
        http_response_init(&a->http, false);
        a->len = a->body_len = 0;
}

static void keep(struct vmm_answer *a, struct bytes piece)
{
        size_t n = piece.len < VMM_BODY_MAX - a->body_len ? piece.len : VMM_BODY_MAX - a->body_len;

        memcpy(a->body + a->body_len, piece.data, n);
        a->body_len += n;
}

enum http_event vmm_answer_take(struct vmm_answer *a, const void *data, size_t len)
{
        enum http_event event = HTTP_HEAD;
        const uint8_t *at = data;
        struct bytes piece;
        size_t used;

        if (len == 0)
                return http_eof(&a->http);
        for (; event == HTTP_HEAD || event == HTTP_BODY; at += used, len -= used) {
                event = http_read(&a->http, at, len, &used, &piece);
                a->len += used;
                if (event == HTTP_BODY)
                        keep(a, piece);
        }
        if (a->len <= VMM_ANSWER_MAX)
                return event;
        a->http.why = "it is more than 64 KiB";
        return HTTP_BAD;
}

/* Firecracker: {"fault_message": "…"}. Cloud Hypervisor: a list of reasons, outermost first, or one text. */
void vmm_reason(const void *body, size_t len, char *out, size_t cap)
{
        struct json_node nodes[REASON_NODES];
        const char *at = body;
        size_t n = 0;

        if (json_parse(body, len, nodes, REASON_NODES, NULL) > 0) {
                const struct json_node *root = json_root(nodes), *said = json_get(root, "fault_message");

                if (!said)
                        said = json_is_array(root) ? json_at(root, json_count(root) - 1) : root;
                if (json_is_string(said)) {
                        at = said->text;
                        len = said->len;
                }
        }
        for (size_t i = 0; i < len && n + 1 < cap; i++) {
                if (at[i] == '\\' && i + 1 < len && (at[i + 1] == 'n' || at[i + 1] == '"'))
                        i++, out[n++] = at[i] == 'n' ? ' ' : '"';
                else
                        out[n++] = at[i] >= ' ' && at[i] < 0x7f ? at[i] : ' ';
        }
        while (n > 0 && out[n - 1] == ' ')
                n--;
        out[n] = '\0';
}
