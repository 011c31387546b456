/*
 * The least that a command can be: two bytes of output, without a C library, one page of a program. What is timed around it is a sandbox and not a program.
 */
static long call(long number, long a, long b, long c)
{
#if defined(__x86_64__)
        long result;

        __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
        return result;
#elif defined(__aarch64__)
        register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;

        __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
        return x0;
#endif
}

#if defined(__x86_64__)
enum { WRITE = 1, EXIT = 60 };
#else
enum { WRITE = 64, EXIT = 93 };
#endif

_Noreturn void _start(void);
void _start(void)
{
        call(WRITE, 1, (long)"x\n", 2);
        for (;;)
                call(EXIT, 0, 0, 0);
}
