#!/usr/bin/python3
"""An engine's program is replaced by a rename over it, as a package manager does, again and again, while sandboxes are made, claimed and used: nothing fails. Those that run go on with the
program that they were made by; new ones get the new one."""
import os
import shutil
import sys
import threading
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"), os.path.join(os.path.dirname(os.path.abspath(__file__)), "../conform/driver")]
from cases import Box
from classes import runtimes
from harness import IS_ROOT, check, check_equal, main, skip, test
from service import Service, wait

SECONDS, MIB = 6, 1 << 20
SMALL = {"memoryBytes": 128 * MIB, "diskBytes": 16 * MIB}


class Upgraded(Service):
    """A service whose operator has a class with a copy of an engine."""

    def __init__(self, program, engine):
        super().__init__()
        self.engine = os.path.join(self.top, "engine")
        self.original = shutil.which(program)
        self.versions = 0
        self.config = os.path.join(self.top, "config.toml")
        with open(self.config, "w") as f:
            f.write(f'[service]\nprepared = 0\n[runtime.mine]\ndriver = "oci"\nbinary = "{self.engine}"\nengine = "{engine}"\n')
        self.replace()

    def replace(self):
        """The same program, and another file: a few bytes longer each time."""
        self.versions += 1
        shutil.copy(self.original, self.engine + ".new")
        with open(self.engine + ".new", "ab") as f:
            f.write(b"version %d" % self.versions)
        os.chmod(self.engine + ".new", 0o755)
        os.rename(self.engine + ".new", self.engine)

    def pool(self, ready):
        self.good("POST", "/v1/warm-pools", {"id": "p", "template": {"runtimeClass": "mine", "resourceLimits": SMALL}, "minReady": ready, "maxReady": ready + 2})
        wait(lambda: self.good("GET", "/v1/warm-pools/p")["readyCount"] >= ready, 60, "the pool is full")


class Work(threading.Thread):
    """Does one thing until it is stopped; counts how often, and keeps the first fault."""

    def __init__(self, what, stop):
        super().__init__()
        self.what, self.stop, self.done, self.fault = what, stop, 0, None
        self.start()

    def run(self):
        while not self.stop.is_set() and not self.fault:
            try:
                self.what()
                self.done += 1
            except Exception as e:
                self.fault = f"{type(e).__name__}: {e}"


def upgrade(program, engine, has_kernel):
    if not IS_ROOT:
        skip("engines need root")
    if not shutil.which(program):
        skip(f"{program} is not installed")
    with Upgraded(program, engine) as s:
        runtime = next(r for r in runtimes(s) if r.name == "mine")
        check(runtime.available, runtime.reason)
        s.pool(2)
        old = [Box(s, runtime, resourceLimits=SMALL) for _ in range(2)]
        for box in old:
            box.sh("echo kept > /home/agent/f; (while :; do sleep 0.1; date +%s > /tmp/new; mv /tmp/new /tmp/n; done) >/dev/null 2>&1 &")

        def use():
            for box in old:
                check_equal(box.says("cat /home/agent/f"), "kept\n", "a file of one that runs")
                s.good("PUT", box.url("/files?path=/tmp/x"), b"x" * 100000)
                check_equal(len(s.good("GET", box.url("/files?path=/tmp/x"))), 100000, "a file through the service")

        def spawn():
            with Box(s, runtime, resourceLimits=SMALL) as b:
                check_equal(b.says("echo on"), "on\n", "a new one")

        def claim():
            got = s.good("POST", "/v1/warm-pools/p/claim", {"env": {"A": "b"}})
            check_equal(s.exec(got["sandboxId"], "sh", "-c", "echo $A")["stdout"], b"b\n", "a claimed one")
            s.good("POST", f"/v1/warm-pools/p/release/{got['sandboxId']}")

        stop = threading.Event()
        works = [Work(what, stop) for what in (use, spawn, claim)]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and not any(w.fault for w in works):
            s.replace()
            time.sleep(0.1)
        stop.set()
        [w.join() for w in works]
        print(f"{program}: replaced {s.versions} times; {works[0].done * len(old)} rounds in sandboxes that ran, {works[1].done} spawned, {works[2].done} claimed, 0 failed"
              if not any(w.fault for w in works) else f"{program}: {[w.fault for w in works]}")
        check(not any(w.fault for w in works), [w.fault for w in works])
        check(s.versions > 5 and all(w.done > 1 for w in works), "this was no load")
        for box in old:
            check(abs(int(box.says("cat /tmp/n")) - time.time()) < 15, "what ran in it has stopped")
        if has_kernel:
            made_by_the_new_one(s, runtime, old)
        for box in old:
            s.terminate(box.id)
        s.good("DELETE", "/v1/warm-pools/p")


def made_by_the_new_one(s, runtime, old):
    """What a sandbox's kernel is executed from: the file that is there now; and for those before, one that has no name any more."""
    with Box(s, runtime, resourceLimits=SMALL) as new:
        check_equal(os.stat(f"/proc/{new.init()}/exe").st_ino, os.stat(s.engine).st_ino, "file of a new one")
    for box in old:
        check(os.stat(f"/proc/{box.init()}/exe").st_nlink == 0, "one that ran has another program now")


@test
def crun_is_replaced():
    upgrade("crun", "crun", False)


@test
def runc_is_replaced():
    upgrade("runc", "runc", False)


@test
def runsc_is_replaced():
    upgrade("runsc", "gvisor", True)


if __name__ == "__main__":
    main()
