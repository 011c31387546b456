/*
 * The maker of one sandbox's parts: what takes time and needs the warden's mounts. It has none of the warden's memory, makes detached things only,
 * and ends; whoever is killed meanwhile, they vanish with their descriptors.
 */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ns.h"
#include "base/sock.h"
#include "services/warden/parts/disk.h"
#include "services/warden/parts/mnt.h"
#include "services/warden/parts/space.h"
#include "services/warden/zygote.h"

enum { PART_USERNS, PART_DISK, PART_ROOT, PARTS };

static int make_root(const struct zygote_make *make, const int *layers, struct err *e)
{
        /* ids on disk (the image range, or those of a directory as they are) → the sandbox's */
        const struct ns_map owners = { make->flags & ZYGOTE_OWN_IDS ? 0 : SPACE_IMAGE_UID, make->first, SPACE_IDS };
        auto_fd idmap = make->flags & ZYGOTE_USER ? -1 : ns_user(&owners, e);

        if (idmap < 0 && !(make->flags & ZYGOTE_USER))
                return idmap;
        return mnt_overlay(layers, make->layers, idmap, e);
}

/* Where memory is not counted, what is written may be memory: a loop device is a third of the time that it takes to make a sandbox. */
static int make_disk(const struct zygote_make *make, int dir, struct err *e)
{
        const struct disk_host host = { .loop = dir >= 0, .state = dir };
        uint32_t owner = make->flags & ZYGOTE_USER ? 0 : make->first + make->uid;

        return disk_make(&host, make->flags & ZYGOTE_MEMORY, make->disk_bytes, make->disk_inodes, make->first, owner, e);
}

static int make_parts(const struct zygote_make *make, const struct maker_fds *fds, int parts[PARTS], struct err *e)
{
        struct ns_map map = { 0, make->first, SPACE_IDS };

        if (make->flags & ZYGOTE_USER)
                map = (struct ns_map){ make->uid, 0, 1 };
        if (setns(fds->mounts, CLONE_NEWNS) < 0)
                return err_sys(e, "cannot go back to the host's mounts");
        if ((parts[PART_USERNS] = ns_user(&map, e)) < 0 || (parts[PART_DISK] = make_disk(make, fds->disk, e)) < 0)
                return -(int)e->code;
        if (make->layers > 0 && (parts[PART_ROOT] = make_root(make, fds->layers, e)) < 0)
                return -(int)e->code;
        return 0;
}

_Noreturn void maker_run(const struct zygote_make *make, const struct maker_fds *fds)
{
        struct embryo_report r = { .stage = EMBRYO_READY };
        int parts[PARTS];

        prctl(PR_SET_NAME, "creto-maker");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGCHLD, SIG_DFL);
        if (make->flags & ZYGOTE_USER) /* else the id map of a child would not be ours to write */
                prctl(PR_SET_DUMPABLE, 1);
        if (make_parts(make, fds, parts, &r.err) < 0)
                r.stage = EMBRYO_FAILED;
        sock_send(fds->out, &r, sizeof(r), parts, r.stage == EMBRYO_FAILED ? 0 : make->layers > 0 ? 3 : 2);
        _exit(0);
}
