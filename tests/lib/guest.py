"""Tests that are shell scripts for a machine of its own (tests/guest/run).

Their lines: "ok NAME", "not ok NAME: why", "skip NAME: reason"; the last one "N passed, N failed, N skipped".
"""
import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST = os.path.join(ROOT, "tests", "guest", "run")
LACKING = 77


def finish(passed, failed, skipped):
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def skip(name, why):
    print(f"skip {name}: {why}")
    return finish(0, 0, 1)


def run(name, script, seconds, programs=()):
    """Returns the exit status of the test program. `programs` of the host's go along, where it has them."""
    found = [path for path in (shutil.which(p, path="/usr/bin:/usr/sbin") for p in programs) if path]
    build = os.path.abspath(os.environ.get("CRETO_BUILD", os.path.join(ROOT, "build")))
    if not os.path.exists(os.path.join(build, "src", "programs", "runtime", "creto-runtime")):
        return skip(name, f"no creto-runtime in {os.path.basename(build)}")
    done = subprocess.run([GUEST, "--build", build, "--timeout", str(seconds), *[w for p in found for w in ("--add", p)], os.path.join(ROOT, "tests", "guest", script)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode == LACKING:
        return skip(name, done.stderr.strip().removeprefix("guest: "))
    passed = failed = skipped = 0
    for line in done.stdout.splitlines():
        print(line)
        passed += line.startswith("ok ")
        failed += line.startswith("not ok ")
        skipped += line.startswith("skip ")
    if done.returncode != 0 or passed + failed + skipped == 0:
        failed += 1
        print(f"not ok {name}: ended with status {done.returncode}: {' '.join(done.stderr.split())[-600:]}")
    return finish(passed, failed, skipped)
