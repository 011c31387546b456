#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "services/driver/driver.h"

/* Beside who asks: installed together, or in the build tree. Then where packages put it, for programs that have the library. */
static const char *const beside[] = { ".", "../libexec/creto-runtime", "../warden", "../src/programs/warden" };
static const char *const installed[] = { "/usr/libexec/creto-runtime", "/usr/local/libexec/creto-runtime" };

bool driver_warden_path(char out[1024])
{
        char self[900];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        self[n > 0 ? n : 0] = '\0';
        char *slash = strrchr(self, '/');
        if (slash)
                *slash = '\0';
        for (size_t i = 0; slash && i < sizeof(beside) / sizeof(beside[0]); i++) {
                snprintf(out, 1024, "%s/%s/creto-warden", self, beside[i]);
                if (access(out, X_OK) == 0)
                        return true;
        }
        for (size_t i = 0; i < sizeof(installed) / sizeof(installed[0]); i++) {
                snprintf(out, 1024, "%s/creto-warden", installed[i]);
                if (access(out, X_OK) == 0)
                        return true;
        }
        return false;
}
