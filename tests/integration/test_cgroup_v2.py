#!/usr/bin/python3
"""Limits on a host with cgroup version 2, in a machine of its own (tests/guest/run): the tests are in tests/guest/cgroup-v2.sh.

Lines: "ok NAME", "not ok NAME: why", "skip NAME: reason"; the last one "N passed, N failed, N skipped".
"""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GUEST = os.path.join(ROOT, "tests", "guest", "run")
SCRIPT = os.path.join(ROOT, "tests", "guest", "cgroup-v2.sh")
NAME = "cgroup v2 guest"
SECONDS = 180  # quiet it takes a third of this; a loaded machine may need more
LACKING = 77


def finish(passed, failed, skipped):
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def skip(why):
    print(f"skip {NAME}: {why}")
    return finish(0, 0, 1)


def main():
    build = os.path.abspath(os.environ.get("CRETO_BUILD", os.path.join(ROOT, "build")))
    if not os.path.exists(os.path.join(build, "src", "programs", "runtime", "creto-runtime")):
        return skip(f"no creto-runtime in {os.path.basename(build)}")
    done = subprocess.run([GUEST, "--build", build, "--timeout", str(SECONDS), SCRIPT], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode == LACKING:
        return skip(done.stderr.strip().removeprefix("guest: "))
    passed = failed = skipped = 0
    for line in done.stdout.splitlines():
        print(line)
        passed += line.startswith("ok ")
        failed += line.startswith("not ok ")
        skipped += line.startswith("skip ")
    if done.returncode != 0 or passed + failed + skipped == 0:
        failed += 1
        print(f"not ok {NAME}: ended with status {done.returncode}: {' '.join(done.stderr.split())[-600:]}")
    return finish(passed, failed, skipped)


if __name__ == "__main__":
    sys.exit(main())
