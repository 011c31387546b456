/* What emulators of virtual machines are asked for, byte by byte, and kernels as they are packed. */
#include "domain/vmm.h"

#include "test.h"
#include "wire/bzimage.h"
#include "wire/json.h"

static const struct vmm_machine machine = { .kernel = "/tmp/vm/vmlinux",
                                            .initrd = "/tmp/vm/initrd",
                                            .cmdline = "console=ttyS0 quiet",
                                            .disk = "/tmp/vm/disk",
                                            .vsock = "v.sock",
                                            .place = "/tmp/vm",
                                            .memory = 256ULL << 20,
                                            .cpus = 2 };

static char what[VMM_WHAT_MAX];
static struct vmm_answer answer;

/* The i-th request; its body alone, where it is to be judged. */
static const char *request(enum vmm vmm, enum vmm_plan plan, unsigned i, bool body)
{
        static char text[VMM_REQUEST_MAX + 1];
        struct wbuf w = wbuf_over(text, sizeof(text) - 1);

        if (vmm_request(vmm, plan, i, &machine, &w, what) != 1)
                return "none";
        text[w.len] = '\0';
        return body ? strstr(text, "\r\n\r\n") + 4 : text;
}

TEST(a_request_is_a_request)
{
        CHECK_STR(
                request(VMM_FIRECRACKER, VMM_PLAN_BOOT, 0, false),
                "PUT /machine-config HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: 35\r\n\r\n"
                "{\"vcpu_count\":2,\"mem_size_mib\":256}");
        CHECK_STR(what, "PUT /machine-config");
        CHECK_STR(request(VMM_CLOUD_HYPERVISOR, VMM_PLAN_BOOT, 1, false),
                  "PUT /api/v1/vm.boot HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Length: 0\r\n\r\n");
}

TEST(firecracker_is_asked_for_this)
{
        const enum vmm fc = VMM_FIRECRACKER;

        CHECK_STR(request(fc, VMM_PLAN_BOOT, 1, true),
                  "{\"kernel_image_path\":\"/tmp/vm/vmlinux\",\"initrd_path\":\"/tmp/vm/initrd\",\"boot_args\":\"console=ttyS0 quiet\"}");
        CHECK_STR(request(fc, VMM_PLAN_BOOT, 2, true), "{\"drive_id\":\"disk\",\"path_on_host\":\"/tmp/vm/disk\",\"is_root_device\":false,"
                                                       "\"is_read_only\":false,\"cache_type\":\"Unsafe\"}");
        CHECK_STR(request(fc, VMM_PLAN_BOOT, 3, true), "{\"guest_cid\":3,\"uds_path\":\"v.sock\"}");
        CHECK_STR(request(fc, VMM_PLAN_BOOT, 4, true), "{\"action_type\":\"InstanceStart\"}");
        CHECK_STR(request(fc, VMM_PLAN_BOOT, 5, true), "none");
        CHECK_STR(request(fc, VMM_PLAN_SAVE, 0, true), "{\"state\":\"Paused\"}");
        CHECK_STR(what, "PATCH /vm");
        CHECK_STR(request(fc, VMM_PLAN_SAVE, 1, true),
                  "{\"snapshot_type\":\"Full\",\"snapshot_path\":\"/tmp/vm/state.vmm\",\"mem_file_path\":\"/tmp/vm/memory.vmm\"}");
        CHECK_STR(request(fc, VMM_PLAN_GO_ON, 0, true),
                  "{\"snapshot_path\":\"/tmp/vm/state.vmm\",\"mem_backend\":{\"backend_type\":\"File\","
                  "\"backend_path\":\"/tmp/vm/memory.vmm\"},\"resume_vm\":true}");
}

TEST(cloud_hypervisor_is_asked_for_this)
{
        const enum vmm clh = VMM_CLOUD_HYPERVISOR;

        CHECK_STR(
                request(clh, VMM_PLAN_BOOT, 0, true),
                "{\"cpus\":{\"boot_vcpus\":2,\"max_vcpus\":2},\"memory\":{\"size\":268435456},\"payload\":{\"kernel\":\"/tmp/vm/vmlinux\","
                "\"initramfs\":\"/tmp/vm/initrd\",\"cmdline\":\"console=ttyS0 quiet\"},\"disks\":[{\"path\":\"/tmp/vm/disk\",\"readonly\":false}],"
                "\"rng\":{\"src\":\"/dev/urandom\"},\"serial\":{\"mode\":\"Tty\"},\"console\":{\"mode\":\"Off\"},"
                "\"vsock\":{\"cid\":3,\"socket\":\"v.sock\"}}");
        CHECK_STR(request(clh, VMM_PLAN_BOOT, 2, true), "none");
        CHECK_STR(request(clh, VMM_PLAN_SAVE, 0, true), "");
        CHECK_STR(request(clh, VMM_PLAN_SAVE, 1, true), "{\"destination_url\":\"file:///tmp/vm\"}");
        CHECK_STR(request(clh, VMM_PLAN_GO_ON, 0, true), "{\"source_url\":\"file:///tmp/vm\",\"prefault\":false}");
        CHECK_STR(request(clh, VMM_PLAN_GO_ON, 1, true), "");
        CHECK_STR(what, "PUT /api/v1/vm.resume");
}

TEST(what_does_not_fit_is_no_request)
{
        static char long_path[VMM_REQUEST_MAX + 1];
        uint8_t small[100], space[2 * VMM_REQUEST_MAX];
        struct vmm_machine m = machine;
        struct wbuf w = wbuf_over(small, sizeof(small));

        CHECK_INT(vmm_request(VMM_FIRECRACKER, VMM_PLAN_BOOT, 0, &m, &w, what), -1);
        memset(long_path, 'x', sizeof(long_path) - 1);
        m.cmdline = long_path;
        w = wbuf_over(space, sizeof(space));
        CHECK_INT(vmm_request(VMM_FIRECRACKER, VMM_PLAN_BOOT, 1, &m, &w, what), -1);
        m = machine;
        m.place = long_path;
        w = wbuf_over(space, sizeof(space));
        CHECK_INT(vmm_request(VMM_CLOUD_HYPERVISOR, VMM_PLAN_SAVE, 1, &m, &w, what), -1);
        m = machine;
        m.disk = "/tmp/\"},{\n"; /* a path cannot say more than a path */
        w = wbuf_over(space, sizeof(space));
        CHECK_INT(vmm_request(VMM_FIRECRACKER, VMM_PLAN_BOOT, 2, &m, &w, what), 1);
        CHECK(memmem(w.data, w.len, "/tmp/\\\"},{\\n", 11));
        w = wbuf_over(space, sizeof(space));
        CHECK_INT(vmm_request(VMM_QEMU, VMM_PLAN_BOOT, 0, &machine, &w, what), 0);
}

static const char *reason(const char *body)
{
        static char out[40];

        vmm_reason(body, strlen(body), out, sizeof(out));
        return out;
}

TEST(why_it_was_refused)
{
        CHECK_STR(reason("{\"fault_message\":\"Invalid\\nmemory \\\"x\\\"\"}"), "Invalid memory \"x\"");
        CHECK_STR(reason("[\"outer\",\"the cause\"]"), "the cause");
        CHECK_STR(reason("\"plain\""), "plain");
        CHECK_STR(reason("no JSON \033[2J at all\r\n"), "no JSON  [2J at all");
        CHECK_STR(reason(""), "");
        CHECK_STR(reason("[]"), "[]");
        CHECK_STR(reason("{\"fault_message\":1}"), "{\"fault_message\":1}");
        CHECK_INT(strlen(reason("0123456789012345678901234567890123456789 more")), 39);
}

/* What is made of an answer that comes in pieces of `cut` bytes, `times` times its second half, and ends. */
static enum http_event hear(const char *head, const char *more, size_t times, size_t cut)
{
        static char text[1 << 20];
        size_t len = strlen(head);

        memcpy(text, head, len);
        for (; times > 0; times--, len += strlen(more))
                memcpy(text + len, more, strlen(more));
        vmm_answer_init(&answer);
        for (size_t at = 0; at < len; at += cut) {
                enum http_event event = vmm_answer_take(&answer, text + at, cut < len - at ? cut : len - at);

                if (event != HTTP_MORE)
                        return event;
        }
        return vmm_answer_take(&answer, NULL, 0);
}

#define OK "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

TEST(answers_and_what_is_none)
{
        static const size_t cuts[] = { 1, 7, 4096, 1 << 20 };
        static const struct {
                const char *head, *more;
                size_t times;
                enum http_event event;
                const char *why; /* its beginning */
        } cases[] = {
                { "HTTP/1.1 204 No Content\r\n\r\n", "", 0, HTTP_DONE, "" },
                { OK "Content-Length: 4\r\n\r\n", "body", 1, HTTP_DONE, "" },
                { OK "Content-Length: 4\r\n\r\n", "body", 100000, HTTP_DONE, "" }, /* what follows is nobody's */
                { OK "Content-Length: 5\r\n\r\n", "body", 1, HTTP_BAD, "the connection ended" },
                { OK "Content-Length: 999999999999999999\r\n\r\n", "body", 100000, HTTP_BAD, "it is more than 64 KiB" },
                { OK "Content-Length: 4\r\nContent-Length: 5\r\n\r\n", "body", 2, HTTP_BAD, "" },
                { OK "\r\n", "until it hangs up ", 100, HTTP_DONE, "" },
                { OK "\r\n", "and never ", 10000, HTTP_BAD, "it is more than 64 KiB" },
                { CHUNKED, "4\r\nbody\r\n", 20000, HTTP_BAD, "it is more than 64 KiB" },
                { CHUNKED "ffffffffffffff\r\n", "x", 100000, HTTP_BAD, "it is more than 64 KiB" },
                { CHUNKED, "4\r\nbody\r\n", 1, HTTP_BAD, "the connection ended" },
                { CHUNKED "4\r\nbody\r\n0\r\n\r\n", "", 0, HTTP_DONE, "" },
                { "", "HTTP/1.1 100 Continue\r\n\r\n", 100, HTTP_BAD, "more than 8" },
                { OK, "X: y\r\n", 100, HTTP_BAD, "more than 64 headers" },
                { OK "X: ", "xxxxxxxxxx", 10000, HTTP_BAD, "the head is more than" },
                { "SSH-2.0-what\r\n", "", 0, HTTP_BAD, "" },
                { "", "", 0, HTTP_BAD, "the connection ended" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                for (size_t k = 0; k < sizeof(cuts) / sizeof(cuts[0]); k++) {
                        CHECK_INT(hear(cases[i].head, cases[i].more, cases[i].times, cuts[k]), cases[i].event);
                        CHECK(cases[i].event == HTTP_DONE || strncmp(answer.http.why, cases[i].why, strlen(cases[i].why)) == 0);
                        CHECK(answer.body_len <= VMM_BODY_MAX);
                }
        CHECK(hear(OK "\r\n", "until it hangs up ", 100, 10) == HTTP_DONE && answer.body_len == VMM_BODY_MAX);
        CHECK(hear(CHUNKED, "4\r\nbody\r\n0\r\n\r\n", 1, 1) == HTTP_DONE && answer.body_len == 4 && memcmp(answer.body, "body", 4) == 0);
}

TEST(classes_of_machines)
{
        CHECK_INT(vmm_of("qemu"), VMM_QEMU);
        CHECK_INT(vmm_of("cloud-hypervisor"), VMM_CLOUD_HYPERVISOR);
        CHECK(vmm_is_class("firecracker") && !vmm_is_class("native") && !vmm_is_class("") && !vmm_is_class("QEMU"));
}

/* ---- kernels ---- */

/* "abcabcabcabc!", packed: three letters, nine copied from three before, one more. */
static const uint8_t block[] = { 0x35, 'a', 'b', 'c', 3, 0, 0x10, '!' };

/* A bzImage of protocol 2.15 with one sector of setup and this payload; its size. */
static size_t make_image(uint8_t image[2048], uint32_t magic, const uint8_t *data, uint32_t len, uint32_t size)
{
        uint8_t payload[256];
        struct wbuf w = wbuf_over(payload, sizeof(payload)), head = wbuf_over(image + 0x248, 8);

        wbuf_u32(&w, magic);
        wbuf_blob(&w, data, len);
        wbuf_u32(&w, size);
        memset(image, 0, 2048);
        image[0x1f1] = 1;
        memcpy(image + 0x202, "HdrS\x0f\x02", 6);
        wbuf_u32(&head, 16);
        wbuf_u32(&head, (uint32_t)w.len);
        memcpy(image + 1024 + 16, payload, w.len);
        return 1024 + 16 + w.len;
}

TEST(a_kernel_is_unpacked)
{
        uint8_t image[2048];
        char out[13];
        struct bytes packed;
        size_t size, len = make_image(image, 0x184C2102, block, sizeof(block), 13);

        CHECK_INT(bzimage_find(image, len, &packed, &size), BZIMAGE_LZ4);
        CHECK_INT(size, 13);
        CHECK_INT(bzimage_unpack(packed, out, size), 0);
        CHECK(memcmp(out, "abcabcabcabc!", 13) == 0);
}

TEST(kernels_that_are_none)
{
        static const struct {
                uint8_t data[8];
                uint32_t len;
        } bad[] = {
                { { 0x35, 'a', 'b', 'c', 4, 0, 0x10, '!' }, 8 }, /* from before the beginning */
                { { 0x35, 'a', 'b', 'c', 0, 0, 0x10, '!' }, 8 },
                { { 0xf5, 0xff, 0xff }, 3 }, /* a length without an end */
                { { 0x35, 'a', 'b' }, 3 },
                { { 0x35, 'a', 'b', 'c', 3 }, 5 },
                { { 0x3f, 'a', 'b', 'c', 3, 0, 0xff, 0xff }, 8 }, /* more than it is to become */
                { { 0x30, 'a', 'b', 'c' }, 4 },                   /* less */
        };
        uint8_t image[2048];
        char out[13];
        struct bytes packed;
        size_t size, len = make_image(image, 0x184C2102, block, sizeof(block), 13);

        for (size_t n = 0; n < len; n++)
                CHECK(bzimage_find(image, n, &packed, &size) != BZIMAGE_LZ4);
        CHECK_INT(bzimage_find("\x7f"
                               "ELF",
                               4, &packed, &size),
                  BZIMAGE_NONE);
        make_image(image, 0xfd2fb528, block, sizeof(block), 13);
        CHECK_INT(bzimage_find(image, len, &packed, &size), BZIMAGE_OTHER);
        make_image(image, 0x184C2102, block, sizeof(block), BZIMAGE_ELF_MAX + 1U);
        CHECK_INT(bzimage_find(image, len, &packed, &size), BZIMAGE_OTHER);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                len = make_image(image, 0x184C2102, bad[i].data, bad[i].len, 13);
                CHECK_INT(bzimage_find(image, len, &packed, &size), BZIMAGE_LZ4);
                CHECK_INT(bzimage_unpack(packed, out, size), -1);
        }
}
