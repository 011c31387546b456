#!/usr/bin/python3
"""One suite for every runtime class (driver/cases.py): what a class disclaims by its limits and capabilities is skipped, everything else has to be as it is everywhere. Ends with the
table of classes and cases.

    tests/conform/test_driver.py [CLASS[/CASE]]"""
import glob
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "driver")]
import harness
from cases import CASES
from harness import IS_ROOT, check, main, need_cli, report, skip, test
from service import Service

CLASSES = ("native", "crun", "runc", "gvisor", "qemu", "containerd", "kata", "kata-qemu", "kata-fc", "kata-clh")
# A class of the operator's: the shim in front of crun (the built-in class "containerd" has runc).
CONFIG = '[service]\nprepared = 0\n[runtime.shim]\ndriver = "containerd"\nruntime = "crun"\n'
MARKS = {"ok": "yes", "not ok": "NO", "skip": "-"}
table = {}


class Runtime:
    def __init__(self, listed):
        self.name, self.driver = listed["name"], listed["driver"]
        self.limits, self.capabilities = set(listed["limits"]), set(listed["capabilities"])
        self.available, self.reason = listed["available"], f"{listed['reason']} ({listed['hint']})"
        self.built_in = self.name in CLASSES


def leftovers(service):
    """What the service has beside itself."""
    with open("/proc/self/mounts") as f:
        mounts = [line for line in f if service.top in line]
    groups = glob.glob(f"/sys/fs/cgroup/*/creto-{service.warden}-*") + glob.glob(f"/sys/fs/cgroup/creto-{service.warden}-*")
    files = [n for d in ("sandboxes", "guest") for n in os.listdir(os.path.join(service.run_dir, d))]
    return mounts, groups, files


def one(service, runtime, name, function, needs):
    title = f"{runtime.name}/{name}"
    missing = [n for n in needs if n not in runtime.limits | runtime.capabilities]
    began = time.monotonic()
    if not runtime.available:
        outcome, why = "skip", runtime.reason
    elif missing:
        outcome, why = "skip", f"disclaimed by the class: {', '.join(missing)}"
    else:
        try:
            function(service, runtime)
            outcome, why = "ok", ""
        except harness.Skipped as e:
            outcome, why = "skip", e
        except Exception as e:
            outcome, why = "not ok", f"{type(e).__name__}: {e}"
    table.setdefault(name, {})[runtime.name] = (outcome, time.monotonic() - began)
    report(outcome, title, why)


def print_table(runtimes):
    print(f"\n{'case':32}" + "".join(f"{r.name:>16}" for r in runtimes))
    for name, _, _ in CASES:
        row = table.get(name, {})
        print(f"{name:32}" + "".join(f"{MARKS[row[r.name][0]]:>8} {row[r.name][1]:5.2f} s" if r.name in row else f"{'':16}" for r in runtimes))
    print("- : disclaimed, or the engine is not there\n")


@test
def drivers():
    need_cli()
    if not IS_ROOT:
        skip("engines need root")
    only, _, which = (sys.argv[1] if len(sys.argv) > 1 else "").partition("/")
    sys.argv[1:] = []
    with Service(config=CONFIG) as s:
        runtimes = [r for r in map(Runtime, s.good("GET", "/v1/runtimes")["runtimes"]) if not only or r.name == only]
        check(runtimes, "there are no classes")
        before = leftovers(s)
        for runtime in runtimes:
            for name, function, needs in CASES:
                if which in name:
                    one(s, runtime, name, function, needs)
        runtimes = [r for r in runtimes if r.available or r.name == only]  # the others are one column of dashes
        said = ""
        if not harness.poll(lambda: leftovers(s) == before, 20):
            said = f"{before} before, {leftovers(s)} now"
        report("not ok" if said else "ok", "nothing-is-left", said)
        print_table(runtimes)
    return report


if __name__ == "__main__":
    if len(sys.argv) > 1:
        word, sys.argv[1] = sys.argv[1], sys.argv[1]
        harness._tests[:] = [drivers]
        drivers.__name__ = word
    main()
