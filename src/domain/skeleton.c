#include "domain/skeleton.h"

#include <stddef.h>

const char *const skeleton_dirs[] = {
        "/proc",    "/tmp",     "/run",     "/home",          "/home/agent",       "/var", "/var/tmp", "/var/lib", "/var/cache",
        "/var/log", "/etc",     "/etc/ssl", "/etc/ssl/certs", "/etc/alternatives", "/mnt", "/srv",     "/opt",     "/usr",
        "/dev",     "/dev/pts", "/dev/shm", NEW_ROOT,         HOST_PROC,           NULL,
};

const char *const skeleton_links[][2] = {
        { "/run", "/var/run" },
        { "/proc/self/fd", "/dev/fd" },
        { "/proc/self/fd/0", "/dev/stdin" },
        { "/proc/self/fd/1", "/dev/stdout" },
        { "/proc/self/fd/2", "/dev/stderr" },
        { "pts/ptmx", "/dev/ptmx" },
        { "/proc/self/mounts", "/etc/mtab" },
        { "/run/machine-id", "/etc/machine-id" },
        { NULL, NULL },
};

const struct skeleton_file skeleton_files[] = {
        { "/etc/passwd",
          "root:x:0:0:root:/:/bin/sh\nagent:x:1000:1000:agent:/home/agent:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" },
        { "/etc/group", "root:x:0:\ntty:x:5:\nagent:x:1000:\nnogroup:x:65534:\n" },
        { "/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n" },
        { "/etc/resolv.conf", "" },
        { "/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n" },
        { "/etc/ld.so.cache", "" },
        { "/etc/localtime", "" },
        { NULL, NULL },
};

const char *const skeleton_host_files[] = { "/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl/certs", "/etc/localtime", NULL };

const char *const skeleton_top_dirs[] = { "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32", NULL };
