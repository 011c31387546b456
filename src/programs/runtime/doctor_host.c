/*
 * What the doctor asks of the host around the kernel: limits, disks, mounts, and the programs that belong to us.
 */
#include "programs/runtime/doctor_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"
#include "domain/classes.h"

/* ---- limits ---- */

struct groups {
        bool v1, v2;
        bool memory, cpu, pids; /* can be limited */
        bool swap;              /* so can swap */
};

static bool has_word(const char *list, const char *word)
{
        size_t len = strlen(word);

        for (const char *p = list; (p = strstr(p, word)); p += len)
                if ((p == list || strchr(", \n", p[-1])) && strchr(", \n", p[len]))
                        return true;
        return false;
}

/* Our own group in the hierarchy with `controller` ("" for version 2), from a copy of /proc/self/cgroup. */
static bool own_group(const char *table, const char *controller, char *out, size_t cap)
{
        for (const char *line = table; line && *line; line = doctor_next_line(line)) {
                char list[256] = "", path[1024] = "";

                if (sscanf(line, "%*d::%1023[^\n]", path) != 1 && sscanf(line, "%*d:%255[^:]:%1023[^\n]", list, path) != 2)
                        continue;
                if (*controller ? !has_word(list, controller) : list[0])
                        continue;
                snprintf(out, cap, "%s", path);
                return true;
        }
        return false;
}

static void add_controllers(struct groups *g, const char *list)
{
        g->memory |= has_word(list, "memory");
        g->cpu |= has_word(list, "cpu");
        g->pids |= has_word(list, "pids");
}

/* Version 2: root makes groups below the root, an ordinary user below a group that was delegated to it. */
static void look_v2(struct groups *g, const char *mount_point, const char *own)
{
        char path[2048], list[512];

        g->v2 = true;
        if (!doctor_root && strcmp(own, "/") == 0)
                return;
        snprintf(path, sizeof(path), "%s%s", mount_point, doctor_root ? "" : own);
        auto_fd dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || faccessat(dir, ".", W_OK, AT_EACCESS) < 0 || faccessat(dir, "cgroup.procs", W_OK, AT_EACCESS) < 0)
                return;
        if (fd_read_file(dir, "cgroup.controllers", list, sizeof(list)) > 0) {
                add_controllers(g, list);
                g->swap |= has_word(list, "memory");
        }
}

static void look_v1(struct groups *g, const char *mount_point, const char *options, const char *table)
{
        static const char *const wanted[] = { "memory", "cpu", "pids" };
        char own[1024], path[2048];

        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
                if (!has_word(options, wanted[i]) || !own_group(table, wanted[i], own, sizeof(own)))
                        continue;
                g->v1 = true;
                snprintf(path, sizeof(path), "%s%s", mount_point, own);
                if (access(path, F_OK) < 0)
                        snprintf(path, sizeof(path), "%s", mount_point);
                if (!doctor_root || access(path, W_OK) < 0)
                        continue;
                add_controllers(g, wanted[i]);
                snprintf(path + strlen(path), sizeof(path) - strlen(path), "/memory.memsw.limit_in_bytes");
                g->swap |= i == 0 && access(path, W_OK) == 0;
        }
}

static void look_at_groups(struct groups *g)
{
        static char table[DOCTOR_FILE_MAX];
        char own[1024];

        *g = (struct groups){ 0 };
        if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", table, sizeof(table)) < 0 || !doctor_load("/proc/self/mounts"))
                return;
        for (char *save = NULL, *line = strtok_r(doctor_file, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char where[512], type[32], options[512];

                if (sscanf(line, "%*s %511s %31s %511s", where, type, options) != 3)
                        continue;
                if (strcmp(type, "cgroup") == 0)
                        look_v1(g, where, options, table);
                else if (strcmp(type, "cgroup2") == 0 && own_group(table, "", own, sizeof(own)))
                        look_v2(g, where, own);
        }
}

void probe_cgroups(struct finding *f)
{
        struct groups g;
        char can[64] = "", cannot[64] = "";

        look_at_groups(&g);
        const struct {
                bool here;
                const char *name;
        } kinds[] = { { g.memory, " memory" }, { g.cpu, " cpu" }, { g.pids, " pids" } };
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                strcat(kinds[i].here ? can : cannot, kinds[i].name);
        const char *version = g.v1 && g.v2 ? "versions 1 and 2" : g.v1 ? "version 1" : g.v2 ? "version 2" : "none mounted";
        if (!cannot[0]) {
                doctor_say(f, STATUS_OK, "%s: memory, cpu and pids can be limited", version);
                return;
        }
        doctor_say(f, STATUS_WEAK,
                   "%s, of no use here for:%s%s%s; such a limit is refused where it is asked for; the defaults for memory and pids "
                   "then hold for each process, and the one for cpu not at all",
                   version, cannot, can[0] ? "; of use for:" : "", can);
        if (doctor_root)
                doctor_fix(f, "mount cgroup2 with these controllers, writable for this process");
        else
                doctor_fix(
                        f,
                        "systemd-run --user --scope -p Delegate=yes creto-runtime run ... (needs cgroup version 2 alone), or run as root");
}

void probe_swap(struct finding *f)
{
        struct groups g;
        int lines = 0;

        if (doctor_load("/proc/swaps"))
                for (const char *p = doctor_file; (p = strchr(p, '\n')); p++)
                        lines++;
        if (lines < 2) {
                doctor_say(f, STATUS_OK, "none");
                return;
        }
        look_at_groups(&g);
        if (g.swap) {
                doctor_say(f, STATUS_OK, "on; sandboxes use none unless --memory-swap allows it");
                return;
        }
        doctor_say(f, STATUS_WEAK, "on, and cannot be limited: a sandbox beyond its memory goes there instead of ending");
        doctor_fix(f, doctor_root ? "boot with swapaccount=1, or swapoff -a" : "swapoff -a, or run as root");
}

/* ---- files ---- */

void probe_mount_api(struct finding *f)
{
        struct mount_attr attr = { 0 };

        if ((sys_fsopen("", 0) < 0 && errno == ENOSYS) || (sys_open_tree(-1, "", 0) < 0 && errno == ENOSYS) ||
            (sys_mount_setattr(-1, "", 0, &attr) < 0 && errno == ENOSYS)) {
                doctor_say(f, STATUS_MISSING, "the mount calls that work by descriptor are not there");
                doctor_fix(f, "Linux 5.12 has them; in a container, its seccomp filter must allow them");
        } else {
                doctor_say(f, STATUS_OK, "mounts by descriptor: none is ever visible outside its sandbox");
        }
}

static int try_overlay(const void *unused)
{
        int r = doctor_own_mounts();

        if (r != 0)
                return r;
        auto_fd context = sys_fsopen("overlay", FSOPEN_CLOEXEC);
        if (context < 0 || sys_fsconfig(context, FSCONFIG_SET_STRING, "lowerdir", "/usr/bin:/usr/lib", 0) < 0 ||
            sys_fsconfig(context, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0 ||
            sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return errno;
        auto_fd fd = sys_fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
        return fd < 0 ? errno : 0;
}

void probe_overlay(struct finding *f)
{
        int r = doctor_in_child(try_overlay, NULL);

        if (r == 0) {
                doctor_say(f, STATUS_OK,
                           doctor_root ? "layers of images can be stacked" : "layers of images can be stacked, in a user namespace too");
                return;
        }
        doctor_say(f, STATUS_WEAK, "images cannot be run, only --image host: %s", strerror(r));
        doctor_fix(f, r == ENODEV ? "modprobe overlay" : "Linux 5.11 allows it in user namespaces; see user-namespaces");
}

static int idle(void *unused)
{
        while (pause() < 0)
                ;
        return 0;
}

/* In a child with mounts of its own: a copy of the mount of /var/lib, its owners mapped by a user namespace. */
static int try_idmap(const void *unused)
{
        static _Alignas(16) char stack[16384];
        char path[64];
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
        int r = doctor_own_mounts();

        if (r != 0)
                return r;
        pid_t pid = clone(idle, stack + sizeof(stack), CLONE_VM | CLONE_NEWUSER | SIGCHLD, NULL);
        if (pid < 0)
                return errno;
        snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
        r = fd_write_file(AT_FDCWD, path, "0 1879048192 65536") < 0 ? errno : 0;
        snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
        r = r == 0 && fd_write_file(AT_FDCWD, path, "0 1879048192 65536") < 0 ? errno : r;
        snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
        auto_fd userns = open(path, O_RDONLY | O_CLOEXEC);
        auto_fd tree = sys_open_tree(AT_FDCWD, "/var/lib", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        attr.userns_fd = (uint64_t)userns;
        if (r == 0 && (userns < 0 || tree < 0 || sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr) < 0))
                r = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return r;
}

void probe_idmap(struct finding *f)
{
        int r = doctor_in_child(try_idmap, NULL);

        if (r == 0) {
                doctor_say(f, STATUS_OK, "on /var/lib: sandboxes share an image and still have ids of their own");
                return;
        }
        doctor_say(f, STATUS_WEAK, "not on /var/lib (%s): images cannot be run from there, only --image host", strerror(r));
        doctor_fix(f, "keep the image store on ext4, xfs or btrfs");
}

void probe_disk(struct finding *f)
{
        if (!doctor_root) {
                doctor_say(f, STATUS_WEAK, "a tmpfs with a size: what a sandbox writes is memory");
                doctor_fix(f, "as root it is a real disk, that vanishes with the sandbox");
                return;
        }
        auto_fd control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        if (control < 0 || ioctl(control, LOOP_CTL_GET_FREE) < 0) {
                doctor_say(f, STATUS_MISSING, "no loop devices: %s", strerror(errno));
                doctor_fix(f, "modprobe loop; in a container, give it /dev/loop-control and the loop devices");
        } else if (access("/sbin/mke2fs", X_OK) < 0 && access("/usr/sbin/mke2fs", X_OK) < 0) {
                doctor_say(f, STATUS_MISSING, "mke2fs is not installed");
                doctor_fix(f, "apt-get install e2fsprogs");
        } else {
                doctor_say(f, STATUS_OK, "ext4 on a loop device: limited in bytes and files, no memory in disguise");
        }
}

/* ---- programs ---- */

/* A sibling: beside our own file, or in ../NAME/ as in a build tree. The same rule as the warden's. */
static bool sibling(const char *name)
{
        char self[512], path[1200];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (n <= 0)
                return false;
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (!slash)
                return false;
        *slash = '\0';
        snprintf(path, sizeof(path), "%s/creto-%s", self, name);
        if (access(path, X_OK) == 0)
                return true;
        snprintf(path, sizeof(path), "%s/../%s/creto-%s", self, name, name);
        return access(path, X_OK) == 0;
}

static void probe_sibling(struct finding *f, const char *name, enum status without, const char *consequence)
{
        if (sibling(name)) {
                doctor_say(f, STATUS_OK, "found");
                return;
        }
        doctor_say(f, without, "not found beside creto-runtime: %s", consequence);
        doctor_fix(f, "install creto-runtime again");
}

void probe_warden(struct finding *f)
{
        probe_sibling(f, "warden", STATUS_MISSING, "nothing can be run");
}

void probe_init(struct finding *f)
{
        probe_sibling(f, "init", STATUS_MISSING, "nothing can be run");
}

void probe_image(struct finding *f)
{
        probe_sibling(f, "image", STATUS_WEAK, "no images, only --image host");
}

void probe_skopeo(struct finding *f)
{
        static const char *const places[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin" };
        char path[64];

        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                snprintf(path, sizeof(path), "%s/skopeo", places[i]);
                if (access(path, X_OK) == 0) {
                        doctor_say(f, STATUS_OK, "found: images can be pulled");
                        return;
                }
        }
        doctor_say(f, STATUS_WEAK, "not found: no images can be pulled, those in the store can be run");
        doctor_fix(f, "apt-get install skopeo");
}

void probe_ids(struct finding *f)
{
        if (access("/etc/subuid", F_OK) == 0)
                doctor_say(f, STATUS_WEAK,
                           "one uid: /etc/subuid is there, but this version does not use it; a sandbox has one user, which is you");
        else
                doctor_say(f, STATUS_WEAK, "one uid: a sandbox has one user, which is you");
        doctor_fix(f, "run as root where sandboxes must not share a user");
}

static bool installed(const char *binary)
{
        char path[CLASS_BINARY_MAX + 32];

        for (unsigned i = 0; class_place(binary, i, path, sizeof(path)); i++)
                if (access(path, X_OK) == 0)
                        return true;
        return false;
}

/* A shim needs root, and what it calls. */
static bool may_have(const struct runtime_class *class)
{
        const char *behind = class_has_shim(class) ? class_runtime(class) : NULL;

        return class->driver != CLASS_NATIVE && (doctor_root || !class_has_shim(class)) && installed(class->binary) &&
               (!behind || installed(behind));
}

/* What `run` has without a service. Whether an engine works is asked of the warden: creto-runtime runtimes. */
void probe_classes(struct finding *f)
{
        char found[CLASSES_MAX * (CLASS_NAME_MAX + 2)] = "native";
        struct classes all;
        bool own_kernel = false;

        classes_init(&all);
        for (unsigned i = 0; i < all.count; i++) {
                if (!may_have(&all.of[i]))
                        continue;
                size_t len = strlen(found);
                snprintf(found + len, sizeof(found) - len, ", %s", all.of[i].name);
                own_kernel |= all.of[i].engine == ENGINE_GVISOR || all.of[i].engine == ENGINE_KATA;
        }
        doctor_say(f, STATUS_OK, "%s%s%s", found, doctor_root ? "" : ", in a user namespace with one id, which is you",
                   own_kernel ? "" : "; without gVisor, sandboxes share this kernel");
}
