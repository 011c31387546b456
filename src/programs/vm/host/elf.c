#include "programs/vm/host/elf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "wire/bzimage.h"

static int unpack_to(const char *path, struct bytes packed, size_t size, struct err *e)
{
        auto_fd fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        /* on a disk that has no room for it a page that is written is a signal */
        if (fd >= 0)
                errno = posix_fallocate(fd, 0, (off_t)size);
        void *out = fd < 0 || errno != 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (out == MAP_FAILED)
                return err_sys(e, "cannot make %s", path);
        int r = bzimage_unpack(packed, out, size);
        munmap(out, size);
        return r < 0 ? err_set(e, ERR_NOT_SUPPORTED, 0, "the kernel cannot be unpacked: it is damaged") : 0;
}

int elf_make(const char *kernel, const char *elf, struct err *e)
{
        auto_fd fd = open(kernel, O_RDONLY | O_CLOEXEC);
        struct bytes packed;
        struct stat st;
        size_t size;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(e, "cannot open the kernel");
        void *image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (image == MAP_FAILED)
                return err_sys(e, "cannot read the kernel");
        switch (bzimage_find(image, (size_t)st.st_size, &packed, &size)) {
        case BZIMAGE_LZ4:
                r = unpack_to(elf, packed, size, e);
                break;
        case BZIMAGE_NONE:
                unlink(elf); /* of a machine that could not be saved */
                r = link(kernel, elf) < 0 ? err_sys(e, "cannot link the kernel") : 0;
                break;
        default:
                r = err_set(e, ERR_NOT_SUPPORTED, 0, "the kernel is packed otherwise than as LZ4: give it as an ELF file (vmlinux)");
        }
        munmap(image, (size_t)st.st_size);
        return r;
}
