/*
 * bench-launcher CMD…: runs one command in the view of the host that crun needs (view.h). For what is prepared and removed around a
 * measurement; what is timed goes through bench-spawner, which enters the view once and not per call.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "view.h"

int main(int argc, char **argv)
{
        if (argc < 2) {
                fprintf(stderr, "usage: bench-launcher CMD [ARG]...\n");
                return 2;
        }
        if (view_enter() < 0) {
                fprintf(stderr, "bench-launcher: private mount namespace: %s\n", strerror(errno));
                return 125;
        }
        execvp(argv[1], argv + 1);
        fprintf(stderr, "bench-launcher: %s: %s\n", argv[1], strerror(errno));
        return 127;
}
