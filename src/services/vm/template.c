/*
 * Machines that were saved when they had booted and were nobody's yet: one file for each kind, in the daemon's own directory. What is in them was made of our
 * programs and the host's kernel alone, before any command ran. Losing one costs a boot.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "services/vm/internal.h"

#define TEMPORARY ".new"

/* BEGUN_MAX: how many are written at the same time. */
enum { TEMPLATES_MAX = 8, BEGUN_MAX = 4, TEMPORARY_MAX = VM_TEMPLATE_MAX + 96 };

/* ---- its name ---- */

static uint64_t mix_file(uint64_t h, const struct stat *st)
{
        const uint64_t facts[] = { st->st_dev, st->st_ino, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec,
                                   (uint64_t)st->st_mtim.tv_nsec };

        return str_hash(h, facts, sizeof(facts));
}

/* Everything that a saved machine depends on; false where it cannot be known. */
bool template_name(const struct vm *vm, unsigned cpus, char out[VM_TEMPLATE_MAX])
{
        const struct vm_assets *a = vm->assets;
        const uint64_t *limits = vm->limits.value;
        const uint64_t shape[] = {
                limits[LIMIT_MEMORY], limits[LIMIT_DISK], limits[LIMIT_INODES], cpus, vm->vmm, a->vmms[vm->vmm].kvm, vm->root
        };
        const int files[] = { a->kernel, a->host, a->guest, a->init };
        uint64_t h = STR_HASH;
        struct stat st;

        if (!a->templates[0] || (vm->image && !vm->root) || stat(a->vmms[vm->vmm].binary, &st) < 0)
                return false;
        h = mix_file(h, &st);
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                if (fstat(files[i], &st) < 0)
                        return false;
                h = mix_file(h, &st);
        }
        h = str_hash(h, shape, sizeof(shape));
        h = str_hash(h, a->version, strlen(a->version));
        snprintf(out, VM_TEMPLATE_MAX, "%s/%016llx", a->templates, (unsigned long long)h);
        return true;
}

/* ---- the file ---- */

int template_open(const char *name)
{
        int fd = open(name, O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
                futimens(fd, NULL); /* what is used last goes last */
        return fd;
}

static void temporary(const char *name, const char *who, char out[TEMPORARY_MAX])
{
        snprintf(out, TEMPORARY_MAX, "%s.%s" TEMPORARY, name, who);
}

static bool is_temporary(const char *name)
{
        size_t len = strlen(name);

        return len > strlen(TEMPORARY) && strcmp(name + len - strlen(TEMPORARY), TEMPORARY) == 0;
}

static unsigned count_begun(const struct vm_assets *a)
{
        DIR *d = opendir(a->templates);
        unsigned count = 0;

        for (const struct dirent *x; d && (x = readdir(d));)
                count += is_temporary(x->d_name);
        if (d)
                closedir(d);
        return count;
}

int template_begin(const struct vm_assets *a, const char *name, const char *who)
{
        char path[TEMPORARY_MAX];

        if (count_begun(a) >= BEGUN_MAX)
                return -1;
        temporary(name, who, path);
        return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

void template_sweep(const struct vm_assets *a)
{
        char path[VM_TEMPLATE_MAX + 256];
        DIR *d = opendir(a->templates);

        for (const struct dirent *x; d && (x = readdir(d));) {
                snprintf(path, sizeof(path), "%s/%s", a->templates, x->d_name);
                if (is_temporary(x->d_name))
                        unlink(path);
        }
        if (d)
                closedir(d);
}

/* Makes room for one more. */
static void drop_oldest(const struct vm_assets *a)
{
        char oldest[VM_TEMPLATE_MAX], path[VM_TEMPLATE_MAX + 256];
        time_t least = 0;
        unsigned count = 0;
        struct stat st;
        DIR *d = opendir(a->templates);

        for (const struct dirent *x; d && (x = readdir(d));) {
                snprintf(path, sizeof(path), "%s/%s", a->templates, x->d_name);
                if (x->d_name[0] == '.' || is_temporary(x->d_name) || stat(path, &st) < 0 || strlen(path) >= sizeof(oldest))
                        continue;
                count++;
                if (count == 1 || st.st_mtime < least) {
                        least = st.st_mtime;
                        memcpy(oldest, path, strlen(path) + 1);
                }
        }
        if (d)
                closedir(d);
        if (count > TEMPLATES_MAX)
                unlink(oldest);
}

void template_end(const struct vm_assets *a, const char *name, const char *who, bool good)
{
        char path[TEMPORARY_MAX];

        temporary(name, who, path);
        if (good && rename(path, name) == 0)
                drop_oldest(a);
        else
                unlink(path);
}

void template_drop(const char *name)
{
        unlink(name);
}
