#include "programs/init/exec/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/sys.h"

#include "seccomp_filter.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

int filter_install(void)
{
        struct sock_fprog program = { .len = sizeof(seccomp_filter) / sizeof(seccomp_filter[0]),
                                      .filter = (struct sock_filter *)seccomp_filter };
        unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                _exit(2);
        int fd = sys_seccomp(SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
        if (fd < 0 && errno == EINVAL) /* before Linux 5.19 */
                fd = sys_seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
        if (fd < 0)
                _exit(2);
        return fd;
}
