#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "services/driver/driver.h"

/* Beside who asks: installed together, or in the build tree. Then where packages put it, for programs that have the library. */
static const char *const beside[] = { ".", "../libexec/creto-runtime", "../%s", "../src/programs/%s" };
static const char *const installed[] = { "/usr/libexec/creto-runtime", "/usr/local/libexec/creto-runtime" };

bool driver_program_path(const char *program, const char *folder, char out[1024])
{
        char self[800], place[64];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        self[n > 0 ? n : 0] = '\0';
        char *slash = strrchr(self, '/');
        if (slash)
                *slash = '\0';
        for (size_t i = 0; slash && i < sizeof(beside) / sizeof(beside[0]); i++) {
                int at = (int)strcspn(beside[i], "%");

                snprintf(place, sizeof(place), "%.*s%s", at, beside[i], beside[i][at] ? folder : "");
                snprintf(out, 1024, "%s/%s/%s", self, place, program);
                if (access(out, X_OK) == 0)
                        return true;
        }
        for (size_t i = 0; i < sizeof(installed) / sizeof(installed[0]); i++) {
                snprintf(out, 1024, "%s/%s", installed[i], program);
                if (access(out, X_OK) == 0)
                        return true;
        }
        return false;
}

bool driver_warden_path(char out[1024])
{
        return driver_program_path("creto-warden", "warden", out);
}
