#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "services/driver/driver.h"

static const char *const installed[] = { "/usr/libexec/creto-runtime", "/usr/local/libexec/creto-runtime", "/usr/lib/creto-runtime" };

bool driver_warden_path(char out[1024])
{
        char self[900];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (n > 0) {
                self[n] = '\0';
                char *slash = strrchr(self, '/');
                if (slash)
                        *slash = '\0';
                snprintf(out, 1024, "%s/creto-warden", self);
                if (access(out, X_OK) == 0)
                        return true;
                snprintf(out, 1024, "%s/../warden/creto-warden", self);
                if (access(out, X_OK) == 0)
                        return true;
                snprintf(out, 1024, "%s/../src/programs/warden/creto-warden", self);
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
