#include "wire/oci.h"

#include "wire/json.h"

const char *const proc_masked[] = {
        "/proc/acpi",          "/proc/asound",     "/proc/interrupts",  "/proc/kcore",         "/proc/keys", "/proc/key-users",
        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",   "/proc/scsi", "/proc/config.gz",
        "/proc/kallsyms",      "/proc/modules",    "/proc/cmdline",     "/proc/dynamic_debug", NULL,
};
const char *const proc_readonly[] = { "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/driver", NULL };

/* To become the user of each command, and to signal it. The last, to name one's only id 0 by another number, only where there is but one. */
static const char *const capabilities[] = { "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_SETFCAP" };

/* In this order: what is mounted inside of something comes after it. */
static const struct {
        const char *to, *type, *from, *options; /* separated by commas */
        enum { ALWAYS, ONE_ID, MORE_IDS, SOCKET_DIR } when;
} mounts[] = {
        { "/proc", "proc", "proc", "nosuid,nodev,noexec", ALWAYS },
        { "/dev", "tmpfs", "tmpfs", "nosuid,noexec,strictatime,mode=755,size=64k", ALWAYS },
        { "/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5", MORE_IDS },
        { "/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620", ONE_ID },
        { "/dev/shm", "tmpfs", "shm", "nosuid,nodev,mode=1777,size=64m", ALWAYS },
        { "/dev/init", "bind", "/tmp/init", "bind,ro,nosuid,nodev", ALWAYS },
        { "/dev/guest", "bind", "/tmp/guest", "bind,rw,nosuid,nodev,noexec", SOCKET_DIR },
        { "/home/agent", "bind", "/tmp/disk/home", "bind,rw,nosuid,nodev", ALWAYS },
        { "/var/tmp", "bind", "/tmp/disk/var-tmp", "bind,rw,nosuid,nodev", ALWAYS },
        { "/run", "bind", "/tmp/disk/run", "bind,rw,nosuid,nodev", ALWAYS },
        { "/tmp", "bind", "/tmp/disk/tmp", "bind,rw,nosuid,nodev", ALWAYS },
};

static void list(struct json_put *j, const char *key, const char *const *items, size_t count)
{
        json_put_key(j, key);
        json_put_array(j);
        for (size_t i = 0; i < count; i++)
                json_put_string(j, items[i]);
        json_put_end(j);
}

#define LIST(j, key, items) list(j, key, items, sizeof(items) / sizeof((items)[0]))

static void put_process(struct json_put *j, const struct oci_config *c)
{
        static const char *const args[] = { "/dev/init", "oci" };
        static const char *const sets[] = { "bounding", "effective", "inheritable", "permitted", "ambient" };

        json_put_begin(j, "process");
        json_put_flag(j, "terminal", false);
        json_put_begin(j, "user");
        json_put_number(j, "uid", c->start_as_root ? 0 : c->ids - 1);
        json_put_number(j, "gid", c->start_as_root ? 0 : c->ids - 1);
        json_put_end(j);
        LIST(j, "args", args);
        list(j, "env", NULL, 0);
        json_put_text(j, "cwd", "/");
        json_put_begin(j, "capabilities");
        for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
                list(j, sets[i], capabilities, sizeof(capabilities) / sizeof(capabilities[0]) - (c->ids > 1));
        json_put_end(j);
        json_put_flag(j, "noNewPrivileges", true);
        json_put_number(j, "oomScoreAdj", 1000); /* a sandbox goes before the host */
        json_put_key(j, "rlimits");
        json_put_array(j);
        json_put_object(j);
        json_put_text(j, "type", "RLIMIT_NOFILE");
        json_put_number(j, "hard", c->nofile);
        json_put_number(j, "soft", c->nofile);
        json_put_end(j);
        json_put_end(j);
        json_put_end(j);
}

static void put_options(struct json_put *j, const char *options)
{
        json_put_key(j, "options");
        json_put_array(j);
        for (size_t len; *options; options += len + (options[len] == ',')) {
                for (len = 0; options[len] && options[len] != ',';)
                        len++;
                json_put_string_len(j, options, len);
        }
        json_put_end(j);
}

static void put_mounts(struct json_put *j, const struct oci_config *c)
{
        const bool when[] = { [ALWAYS] = true, [ONE_ID] = c->ids == 1, [MORE_IDS] = c->ids > 1, [SOCKET_DIR] = c->socket_dir };

        json_put_key(j, "mounts");
        json_put_array(j);
        for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
                if (!when[mounts[i].when])
                        continue;
                json_put_object(j);
                json_put_text(j, "destination", mounts[i].to);
                json_put_text(j, "type", mounts[i].type);
                json_put_text(j, "source", mounts[i].from);
                put_options(j, mounts[i].options);
                json_put_end(j);
        }
        json_put_end(j);
}

static void put_ids(struct json_put *j, const char *key, const struct oci_config *c)
{
        json_put_key(j, key);
        json_put_array(j);
        json_put_object(j);
        json_put_number(j, "containerID", 0);
        json_put_number(j, "hostID", c->first_id);
        json_put_number(j, "size", c->ids);
        json_put_end(j);
        json_put_end(j);
}

static void put_linux(struct json_put *j, const struct oci_config *c)
{
        static const char *const spaces[] = { "pid", "ipc", "uts", "mount", "user", "cgroup", "network" };

        json_put_begin(j, "linux");
        put_ids(j, "uidMappings", c);
        put_ids(j, "gidMappings", c);
        json_put_key(j, "namespaces");
        json_put_array(j);
        for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]) - !c->own_network; i++) {
                json_put_object(j);
                json_put_text(j, "type", spaces[i]);
                json_put_end(j);
        }
        json_put_end(j);
        list(j, "maskedPaths", proc_masked, sizeof(proc_masked) / sizeof(proc_masked[0]) - 1);
        list(j, "readonlyPaths", proc_readonly, sizeof(proc_readonly) / sizeof(proc_readonly[0]) - 1);
        json_put_end(j);
}

void oci_config_put(struct wbuf *w, const struct oci_config *c)
{
        struct json_put j = json_put_over(w);

        json_put_object(&j);
        json_put_text(&j, "ociVersion", "1.0.2");
        put_process(&j, c);
        json_put_begin(&j, "root");
        json_put_text(&j, "path", "/tmp/rootfs");
        json_put_flag(&j, "readonly", !c->root_as_it_is);
        json_put_end(&j);
        json_put_text(&j, "hostname", c->hostname);
        put_mounts(&j, c);
        put_linux(&j, c);
        json_put_end(&j);
        if (!json_put_done(&j))
                w->bad = true;
}
