#include "programs/init/exec/notify.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/ioctl.h>

enum { CALLS = 512 };

static uint64_t times[CALLS];
static uint64_t total;

bool notify_answer(int fd)
{
        struct seccomp_notif call;
        struct seccomp_notif_resp answer = { .error = -EPERM };

        memset(&call, 0, sizeof(call)); /* the kernel insists, padding too */
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
                return errno == ENOENT || errno == EINTR || errno == EAGAIN; /* ENOENT: the caller died first */
        total++;
        if (call.data.nr >= 0 && call.data.nr < CALLS)
                times[call.data.nr]++;
        answer.id = call.id;
        return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0 || errno == ENOENT;
}

uint64_t notify_refused(void)
{
        return total;
}

void notify_stats(struct guest_stats *stats)
{
        stats->violations = total;
        for (uint32_t i = 0; i < CALLS && total > 0 && stats->count < GUEST_CALLS_MAX; i++)
                if (times[i] > 0)
                        stats->calls[stats->count++] = (struct guest_call_count){ i, times[i] };
}
