#!/usr/bin/python3
"""Asks from inside a sandbox of each class which system calls of x86-64 there are (syscalls/syscalls.c), and holds what `runtimes` says against it. With --table: the table of
docs/runtimes.md, of the classes that are there; another release of runsc as well.

    tests/conform/test_syscalls.py [--table [RUNSC]]"""
import os
import platform
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib")]
from harness import BUILD, IS_ROOT, check, check_equal, main, need_cli, report, skip, test
from service import Service

PROBE = os.path.join(BUILD, "tests/conform/syscalls")
LIST = os.path.join(HERE, "../../src/domain/syscalls.def")
HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
SPECIAL = {"socket", "clone", "prlimit64", "personality"}  # of tools/gen-seccomp.c
# Allowed by the filter; the kernel itself has them not (any more) for x86-64, or not for who has no right.
NOT_OF_THE_KERNEL = {"set_thread_area", "get_thread_area", "epoll_ctl_old", "epoll_wait_old", "setgroups"}


def names():
    """{number: name} as far as this host's headers go."""
    with open(HEADER, encoding="ascii") as f:
        return {int(n): name for name, n in re.findall(r"#define __NR_(\w+) (\d+)", f.read())}


def allowed():
    with open(LIST, encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    return set(re.findall(r"ALLOW\((\w+)\)", text)) | SPECIAL


def ask(s, runtime):
    """{number: answer} from inside."""
    box = s.spawn(runtimeClass=runtime)
    with open(PROBE, "rb") as f:
        s.good("PUT", f"/v1/sandboxes/{box}/files?path=/home/agent/syscalls&mode=0755", f.read())
    done = s.exec(box, "/home/agent/syscalls")
    check_equal(done["exitCode"], 0, f"the probe in {runtime}: {done['stderr']!r}")
    s.terminate(box)
    return {int(line.split()[0]): line.split()[1] for line in done["stdout"].decode().splitlines()}


def there(answers):
    return {n for n, a in answers.items() if a == "there"}


def check_class(runtime, answers, native):
    said = runtime["syscallCoverage"]
    if "hostKernel" in runtime["capabilities"]:
        known = names()
        check(there(answers) <= {n for n in answers if known.get(n, n) in allowed()}, "the filter passes what is not on its list")
        missing = sorted(allowed() - NOT_OF_THE_KERNEL - {known.get(n) for n in there(answers)})
        check(not missing or platform.release() < "6.", f"on the list of the filter, and not there: {missing}")
        other = {known.get(n, n): (a, native[n]) for n, a in answers.items() if a != native[n]}
        check(not other, f"answers, and those of native: {other}")
    if said is None:
        return
    check_equal(len(answers), said["of"], "numbers")
    check(len(there(answers)) == said["available"] or platform.release() < "6.", f"{len(there(answers))} system calls are there, runtimes says {said['available']}")


def print_table(found):
    known, native = names(), there(found["native"][1])
    print("\n| class | version | there | refused (EPERM) | not there (ENOSYS) |\n|---|---|---|---|---|")
    for name, (runtime, answers) in found.items():
        count = [sum(a == what for a in answers.values()) for what in ("there", "EPERM", "ENOSYS")]
        print(f"| `{name}` | {runtime['version'] or '–'} | {count[0]} of {len(answers)} | {count[1]} | {count[2]} |")
    for name, (_, answers) in found.items():
        for what, numbers in (("has not, and native has", native - there(answers)), ("has, and native has not", there(answers) - native)):
            if numbers:
                print(f"\n{name} {what}: {', '.join(f'`{known.get(n, n)}`' for n in sorted(numbers))}")


@test
def system_calls():
    need_cli()
    if not IS_ROOT:
        skip("engines need root")
    if platform.machine() != "x86_64" or not os.path.exists(HEADER):
        skip("numbers of x86-64, with their names in linux-libc-dev")
    found = {}
    with Service(config="[service]\nprepared = 0\n" + OTHER) as s:
        for runtime in s.good("GET", "/v1/runtimes")["runtimes"]:
            if not runtime["available"]:
                report("skip", runtime["name"], runtime["reason"])
                continue
            answers = ask(s, runtime["name"])
            found[runtime["name"]] = (runtime, answers)
            try:
                check_class(runtime, answers, found["native"][1])
                report("ok", runtime["name"], "")
            except Exception as e:
                report("not ok", runtime["name"], str(e))
    if TABLE:
        print_table(found)
    return report


TABLE = sys.argv[1:2] == ["--table"]
OTHER = f'[runtime.other]\ndriver = "oci"\nengine = "gvisor"\nbinary = "{sys.argv[2]}"\n' if TABLE and sys.argv[2:] else ""

if __name__ == "__main__":
    if TABLE:
        del sys.argv[1:]
    main()
