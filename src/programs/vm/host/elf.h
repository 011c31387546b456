#pragma once

#include "base/err.h"

/* The kernel as the ELF file that is in it, for who boots nothing else. A file that is no bzImage is taken for one already, and linked. */
int elf_make(const char *kernel, const char *elf, struct err *e);
