#include "programs/init/exec/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/sys.h"
#include "programs/init/init.h"

enum { CAPS_MAX = 64 };

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FILE_RIGHTS                                                                                                                        \
        (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |         \
         LANDLOCK_ACCESS_FS_IOCTL_DEV)
#define DEVICE_NODES (LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_CHAR)
#define ABI_1_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

static bool prepared;
static uint64_t permitted; /* what pid 1 has */
static int still_bound;    /* errno of what kept the bounding set from being emptied, else 0 */
static uint32_t own_uid, own_gid;
static int ruleset = -1;
static struct limit {
        int what;
        bool set;
        struct rlimit value;
} limits[6];

/* Landlock */

static uint64_t handled_rights(int abi)
{
        uint64_t rights = ABI_1_RIGHTS;

        if (abi >= 2)
                rights |= LANDLOCK_ACCESS_FS_REFER;
        if (abi >= 3)
                rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
        if (abi >= 5)
                rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
        return rights;
}

/* A path that is not there needs no rule. */
static void allow_below(const char *path, uint64_t rights)
{
        auto_fd fd = open(path, O_PATH | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return;
        if (!S_ISDIR(st.st_mode))
                rights &= FILE_RIGHTS;
        struct landlock_path_beneath_attr rule = { .allowed_access = rights, .parent_fd = fd };
        if (rights)
                sys_landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule);
}

static void prepare_landlock(void)
{
        int abi = sys_landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

        if (abi < 1)
                return;
        uint64_t all = handled_rights(abi);
        struct landlock_ruleset_attr attr = { .handled_access_fs = all };
        ruleset = sys_landlock_create_ruleset(&attr, sizeof(attr.handled_access_fs), 0);
        if (ruleset < 0)
                return;
        allow_below("/", READ_RIGHTS | LANDLOCK_ACCESS_FS_EXECUTE);
        allow_below("/dev", all & (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |
                                   LANDLOCK_ACCESS_FS_IOCTL_DEV));
        allow_below("/proc", all & (READ_RIGHTS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE));
        for (uint32_t i = 0; i < boot.writable_count; i++)
                allow_below(boot.writable[i], all & ~(uint64_t)DEVICE_NODES);
}

int confine_landlock(void)
{
        if (ruleset < 0)
                return 0;
        return sys_landlock_restrict_self(ruleset) < 0 ? errno : 0;
}

/* Limits */

/* `soft_only`: the hard limit stays, so that a command may raise its own soft one. */
static void prepare_limit(size_t slot, int what, uint64_t bytes, bool soft_only)
{
        struct limit *l = &limits[slot];

        l->what = what;
        if (bytes == BOOT_UNLIMITED || getrlimit((__typeof__(RLIMIT_CORE))what, &l->value) < 0)
                return;
        rlim_t value = (rlim_t)bytes;
        if (l->value.rlim_max != RLIM_INFINITY && value > l->value.rlim_max)
                value = l->value.rlim_max;
        l->value.rlim_cur = value;
        if (!soft_only)
                l->value.rlim_max = value;
        l->set = true;
}

int confine_limits(void)
{
        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
                if (limits[i].set && setrlimit((__typeof__(RLIMIT_CORE))limits[i].what, &limits[i].value) < 0)
                        return errno;
        return 0;
}

/* Users and capabilities */

static bool has_cap(int cap)
{
        return (permitted >> cap & 1) != 0;
}

static int drop_caps(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[2] = { 0 };

        /* Inheritable and permitted at nothing empty the ambient set too. */
        return syscall(SYS_capset, &header, none) < 0 ? errno : 0;
}

/* What no later exec can bring back, of pid 1 so that its children need not. Without SETPCAP it cannot be done; no_new_privs then stands alone. */
static int drop_bounding(void)
{
        if (!has_cap(CAP_SETPCAP))
                return 0;
        for (int cap = 0; cap < CAPS_MAX; cap++) {
                int r = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

                if (r < 0)
                        break;
                if (r > 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return errno;
        }
        if (prctl(PR_SET_SECUREBITS,
                  SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                          SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
                  0, 0, 0) < 0 &&
            !boot_has(BOOT_OWN_KERNEL))
                return errno;
        return 0;
}

static void prepare_caps(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };

        if (syscall(SYS_capget, &header, data) == 0)
                permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
        still_bound = drop_bounding();
}

/* The raw calls: a library's own would try to change every thread, and the child may share pid 1's memory. */
static int change_ids(const struct identity *id)
{
        if (boot_has(BOOT_ONE_UID))
                return 0;
        if (syscall(SYS_setgroups, (size_t)id->group_count, id->groups) < 0)
                return errno;
        if (syscall(SYS_setresgid, id->gid, id->gid, id->gid) < 0)
                return errno;
        return syscall(SYS_setresuid, id->uid, id->uid, id->uid) < 0 ? errno : 0;
}

bool confine_may_be(const struct identity *id)
{
        return boot_has(BOOT_ONE_UID) ? id->uid == own_uid && id->gid == own_gid : id->uid != own_uid;
}

int confine_become(const struct identity *id)
{
        int r = still_bound;

        if (r == 0)
                r = change_ids(id);
        if (r == 0)
                r = drop_caps();
        /* A change of ids sets it as fs.suid_dumpable says, for shared memory in pid 1 as well. */
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                r = errno;
        return r;
}

void confine_enter(const struct identity *id)
{
        if (boot_has(BOOT_ONE_UID))
                return;
        syscall(SYS_setfsgid, id->gid);
        syscall(SYS_setfsuid, id->uid);
}

void confine_leave(void)
{
        if (boot_has(BOOT_ONE_UID))
                return;
        syscall(SYS_setfsuid, own_uid);
        syscall(SYS_setfsgid, own_gid);
        confine_self();
}

/* A change of credentials, the fsuid's too, clears the parent-death signal and may make the process dumpable. */
void confine_self(void)
{
        if (boot_has(BOOT_DIE_ALONE) && !boot_has(BOOT_NO_PARENT))
                prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void confine_prepare(void)
{
        if (prepared)
                return;
        prepared = true;
        own_uid = (uint32_t)getuid();
        own_gid = (uint32_t)getgid();
        prepare_caps();
        prepare_limit(0, RLIMIT_NOFILE, boot.nofile, false);
        prepare_limit(1, RLIMIT_CORE, boot.core_bytes, false);
        prepare_limit(2, RLIMIT_STACK, boot.stack_bytes, true);
        prepare_limit(3, RLIMIT_AS, boot.as_bytes, false);
        prepare_limit(4, RLIMIT_NPROC, boot.nproc, false);
        prepare_limit(5, RLIMIT_FSIZE, boot.fsize_bytes, false);
        prepare_landlock();
}
