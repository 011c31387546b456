/* What surrounds a virtual machine: its initramfs, saved files, QEMU's arguments. Its root is in test_share.c. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "programs/vm/host/elf.h"
#include "programs/vm/host/initrd.h"
#include "programs/vm/host/kvm.h"
#include "programs/vm/host/machine.h"
#include "programs/vm/host/saved/pack.h"
#include "test.h"

/* ---- the initramfs ---- */

static void put_text(const char *dir, const char *name, const char *text)
{
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        auto_fd fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 04755);
        if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0 || fchmod(fd, 04755) < 0)
                abort();
}

static bool holds(const char *text, size_t len, const char *wanted)
{
        return memmem(text, len, wanted, strlen(wanted) + 1) != NULL;
}

/* Modules come with what they need, which comes first; what is built in is not there and not missed. A list may end anywhere. */
TEST(initrd_has_the_modules)
{
        static char archive[65536];
        static const char *const files[] = {
                "modules.dep", "virtio.ko", "virtio_pci.ko", "virtio-console.ko", "other.ko", "virtio_blk.ko", "guest", "init", "out", ""
        };
        char dir[] = "/tmp/creto-unit-vm-XXXXXX", path[128], guest[64], init[64];
        struct err e;

        CHECK(mkdtemp(dir));
        put_text(dir, "modules.dep", "other.ko:\nvirtio.ko:\nvirtio-console.ko: virtio.ko\nvirtio_pci.ko: virtio.ko\nvirtio_blk.ko");
        for (size_t i = 1; i < 8; i++)
                put_text(dir, files[i], files[i]);
        snprintf(path, sizeof(path), "%s/out", dir);
        snprintf(guest, sizeof(guest), "%s/guest", dir);
        snprintf(init, sizeof(init), "%s/init", dir);
        const struct initrd what = { .modules = dir, .guest = guest, .init = init };
        int r = initrd_write(path, &what, &e);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, archive, sizeof(archive));
        close(fd);
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
                remove(path);
        }
        CHECK_INT(r, 0);
        CHECK(n > 0 && (size_t)n < sizeof(archive) && n % 4 == 0);
        CHECK(holds(archive, (size_t)n, "init") && holds(archive, (size_t)n, "creto-init") && holds(archive, (size_t)n, "TRAILER!!!"));
        CHECK(holds(archive, (size_t)n, "modules/03.ko") && !holds(archive, (size_t)n, "modules/04.ko"));
        const char *first = memmem(archive, (size_t)n, "modules/00.ko", 13);
        CHECK(first && memmem(first, 64, "virtio.ko", 9));
        CHECK(!memmem(archive, (size_t)n, "other.ko", 8));
}

/* ---- saved files ---- */

static int new_file(const char *text)
{
        int fd = memfd_create("test", MFD_CLOEXEC);

        if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0)
                abort();
        return fd;
}

static bool same_content(int a, int b)
{
        static char x[1 << 20], y[1 << 20];
        ssize_t n = pread(a, x, sizeof(x), 0), m = pread(b, y, sizeof(y), 0);

        return n == m && n >= 0 && memcmp(x, y, (size_t)n) == 0;
}

TEST(files_in_one)
{
        auto_fd state = new_file("what QEMU wrote"), small = new_file("small"), large = new_file(""), empty = new_file("");
        auto_fd out0 = new_file(""), out1 = new_file(""), out2 = new_file("");
        struct stat st;

        CHECK(ftruncate(large, 900000) == 0 && pwrite(large, "a", 1, 70000) == 1 && pwrite(large, "zzz", 3, 899000) == 3);
        CHECK(pack_file(state, small) == 0 && pack_file(state, large) == 0 && pack_file(state, empty) == 0);
        CHECK(fstat(state, &st) == 0 && st.st_size < 200000); /* neither holes nor zeros */
        off_t end = st.st_size;
        CHECK_INT(unpack_file(state, &end, out2, 0), 0);
        CHECK_INT(unpack_file(state, &end, out1, 900000), 0);
        CHECK_INT(unpack_file(state, &end, out0, 100), 0);
        CHECK_INT(end, 15);
        CHECK(same_content(small, out0) && same_content(large, out1) && same_content(empty, out2));
}

/* What somebody has cut, or made. */
TEST(files_that_are_none)
{
        auto_fd state = new_file(""), small = new_file("small"), out = new_file("");
        const uint64_t evil[][5] = { { 0, 5, 0, 1, 4 }, /* a piece beyond the end of its file */
                                     { 1ULL << 63, 1, 0, 1, 4 },
                                     { 0, 4, 0, 2, 4 }, /* more pieces than there are */
                                     { 0, 0, 1ULL << 40, 1, 4 } /* they begin behind it */ };
        struct stat st;
        off_t end;

        CHECK(pack_file(state, small) == 0 && fstat(state, &st) == 0);
        for (end = st.st_size - 1; end >= 0; end--) {
                off_t at = end;
                CHECK(unpack_file(state, &at, out, 5) < 0);
        }
        end = st.st_size;
        CHECK(unpack_file(state, &end, out, 4) < 0);
        for (size_t i = 0; i < sizeof(evil) / sizeof(evil[0]); i++) {
                CHECK(ftruncate(state, 0) == 0 && lseek(state, 0, SEEK_SET) == 0 && fd_write_all(state, evil[i], sizeof(evil[i])) == 0);
                end = sizeof(evil[i]);
                CHECK(unpack_file(state, &end, out, 1000) < 0);
        }
}

/* ---- kernels ---- */

enum { UNPACKED = 1 << 20 };

/* A bzImage, packed as LZ4, of a megabyte of one letter. */
static void put_kernel(const char *path)
{
        static uint8_t image[8192];
        const uint32_t run = (UNPACKED - 1 - 4 - 15) / 255, rest = (UNPACKED - 1 - 4 - 15) % 255;
        struct wbuf w = wbuf_over(image + 1024, sizeof(image) - 1024), head = wbuf_over(image + 0x248, 8);

        memcpy(image + 0x202, "HdrS\x0f\x02", 6);
        image[0x1f1] = 1;
        wbuf_u32(&w, 0x184C2102);
        wbuf_u32(&w, 4 + run + 1);
        wbuf_bytes(&w,
                   "\x1f"
                   "a"
                   "\x01\x00",
                   4); /* one letter; then, from one before, 15 and more */
        memset(w.data + w.len, 0xff, run);
        w.len += run;
        wbuf_u8(&w, (uint8_t)rest);
        wbuf_u32(&w, UNPACKED);
        wbuf_u32(&head, 0);
        wbuf_u32(&head, (uint32_t)w.len);
        auto_fd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (w.bad || fd < 0 || fd_write_all(fd, image, 1024 + w.len) < 0)
                abort();
}

/* In a file system of 64 KiB: 0 where that is said, 1 where something else is, 77 where there can be none. */
static int make_without_room(const char *kernel, const char *dir)
{
        char path[128], uids[64], gids[64];
        struct err e;

        snprintf(uids, sizeof(uids), "0 %u 1", getuid());
        snprintf(gids, sizeof(gids), "0 %u 1", getgid());
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || fd_write_file(AT_FDCWD, "/proc/self/uid_map", uids) < 0 ||
            fd_write_file(AT_FDCWD, "/proc/self/setgroups", "deny") < 0 || fd_write_file(AT_FDCWD, "/proc/self/gid_map", gids) < 0)
                return 77;
        if (mount("creto", dir, "tmpfs", 0, "size=64k") < 0)
                return 77;
        snprintf(path, sizeof(path), "%s/elf", dir);
        return elf_make(kernel, path, &e) < 0 && strstr(e.msg, path) && e.sys == ENOSPC ? 0 : 1;
}

TEST(a_kernel_is_made)
{
        static char text[UNPACKED + 1];
        char dir[] = "/tmp/creto-unit-vm-XXXXXX", kernel[64], elf[64], other[64];
        int first, again, plain, status = -1;
        struct err e;

        CHECK(mkdtemp(dir));
        snprintf(kernel, sizeof(kernel), "%s/kernel", dir);
        snprintf(elf, sizeof(elf), "%s/elf", dir);
        snprintf(other, sizeof(other), "%s/mount", dir);
        put_kernel(kernel);
        first = elf_make(kernel, elf, &e);
        again = elf_make(kernel, elf, &e);
        int fd = open(elf, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, text, sizeof(text));
        close(fd);
        plain = elf_make(elf, other, &e) | elf_make(elf, other, &e);
        unlink(other);
        mkdir(other, 0700);
        pid_t pid = fork();
        if (pid == 0)
                _exit(make_without_room(kernel, other));
        waitpid(pid, &status, 0);
        unlink(kernel);
        unlink(elf);
        rmdir(other);
        rmdir(dir);
        CHECK(first == 0 && again == 0 && plain == 0);
        CHECK(n == UNPACKED && text[0] == 'a' && text[UNPACKED - 1] == 'a');
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                SKIP("no file system may be mounted in a user namespace");
        CHECK_INT(status, 0);
}

/* ---- KVM; what there is of it on this host is not for tests ---- */

TEST(what_is_no_kvm)
{
        CHECK(!kvm_works("/dev/null", 5000) && !kvm_works("/nonexistent", 5000) && !kvm_works("/dev/zero", 5000));
}

/* ---- QEMU ---- */

TEST(machine_arguments)
{
        struct machine m = { .qemu = "/usr/bin/qemu-system-x86_64",
                             .name = "sb-1",
                             .accel = "tcg",
                             .kernel = "/k",
                             .initrd = "/i",
                             .disk = "/d",
                             .memory_mib = 256,
                             .cpus = 2,
                             .setup_fd = 8,
                             .qmp_fd = -1,
                             .state_fd = -1,
                             .share_fd = 9 };
        static char all[8192];

        machine_argv(&m);
        for (size_t i = 0; m.argv[i]; i++) {
                CHECK(i < MACHINE_ARGS_MAX - 1);
                strcat(strcat(all, m.argv[i]), " ");
        }
        CHECK(strstr(all, "/usr/bin/qemu-system-x86_64 -name sb-1 -machine q35,") == all);
        CHECK(strstr(all, " -accel tcg,") && strstr(all, " -smp 2 ") && strstr(all, " -m 256 ") && strstr(all, "socket,id=share,fd=9 "));
        CHECK(strstr(all, " -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny "));
        CHECK(strstr(all, " -nodefaults ") && strstr(all, " -no-user-config ") && strstr(all, " -no-reboot ") && !strstr(all, "netdev"));
        CHECK(strstr(all, "file=/d,if=none,") && strstr(all, " -kernel /k -initrd /i -append console="));
}
