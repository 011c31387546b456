#pragma once

#include <stdbool.h>

/* Whether KVM at `path` runs a processor, as far as that is to be seen within so many ms. Where it hangs, the child that has tried is left to its fate. */
bool kvm_works(const char *path, int wait_ms);
