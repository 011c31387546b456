#include "domain/mke2fs.h"

#include <string.h>

void mke2fs_argv(const char *path, const char *skeleton, const char *inodes, const char *argv[MKE2FS_ARGS])
{
        const char *const all[] = {
                "mke2fs",
                "-q",
                "-F",
                "-t",
                "ext4",
                "-b",
                "4096",
                "-m",
                "0",
                "-I",
                "256",
                "-N",
                inodes,
                "-O",
                "none,extent,filetype,dir_index,flex_bg,large_file,dir_nlink,extra_isize,metadata_csum,sparse_super2",
                "-d",
                skeleton,
                "-E",
                "lazy_itable_init=1,num_backup_sb=0,packed_meta_blocks=1,nodiscard",
                path,
                NULL,
        };

        _Static_assert(sizeof(all) <= MKE2FS_ARGS * sizeof(char *), "they fit");
        memcpy(argv, all, sizeof(all));
}
