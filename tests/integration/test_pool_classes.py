#!/usr/bin/python3
"""Warm pools whose template names a class: filled, claimed from with what a claim binds, given back, evicted, taken over by the next daemon and warden, drained. What a class disclaims is a
named error at its place, and takes nothing from the pool.

    tests/integration/test_pool_classes.py [CLASS]"""
import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from classes import leftovers, runtimes
from harness import IS_ROOT, check, check_equal, main, poll, report, skip, test
from service import Service, UnixConnection, wait

MIB, SLOW_S = 1 << 20, 120  # an emulated machine takes its time
LIMITS = {"memoryBytes": 160 * MIB, "diskBytes": 32 * MIB}
ONLY = sys.argv.pop(1) if len(sys.argv) > 1 else ""


class SlowService(Service):
    def connect(self, timeout=SLOW_S):
        return UnixConnection(self.socket, timeout)


class Pool:
    def __init__(self, s, runtime, ready):
        self.s, self.name, self.url = s, f"of-{runtime.name}", f"/v1/warm-pools/of-{runtime.name}"
        template = {"runtimeClass": runtime.name, "env": {"A": "template", "B": "kept"}, "labels": {"kind": "template"}, "resourceLimits": LIMITS}
        s.good("POST", "/v1/warm-pools", {"id": self.name, "template": template, "minReady": ready, "maxReady": ready + 1, "reusable": True})
        self.full(ready)

    def get(self):
        return self.s.good("GET", self.url)

    def full(self, count):
        wait(lambda: self.get()["readyCount"] >= count and self.get()["warmingCount"] == 0, SLOW_S, f"{count} of {self.name} are ready: {self.s.said()[-600:]}")

    def ready(self):
        return {b["sandboxId"] for b in self.s.good("GET", f"/v1/sandboxes?pool={self.name}&status=Ready")["sandboxes"]}

    def claim(self, **body):
        return self.s.good("POST", f"{self.url}/claim", body)

    def refuses(self, body, status, code, *words):
        a = self.s.call("POST", f"{self.url}/claim", body)
        check_equal((a.status, a.code), (status, code), f"{body}: {a.body[:300]!r}")
        for word in words:
            check(word in a.body.decode(), f"'{word}' is not said: {a.body}")
        check(a.json["error"]["hint"], a.body)


def out(s, sandbox, script):
    return s.exec(sandbox, "sh", "-c", script)["stdout"].decode()


def binds(s, pool, runtime):
    """All that is bound late; the first output."""
    ready = pool.ready()
    got = pool.claim(env={"A": "claim"}, labels={"who": "me"}, ttlSeconds=600, idleTimeoutSeconds=300, runtimeClass=runtime.name, fallback=False,
                     files=[{"path": "/home/agent/in/f", "text": "given\n", "mode": "0600"}])
    began = time.monotonic()
    sandbox = got["sandboxId"]
    check_equal(out(s, sandbox, "echo $A $B; cat in/f; stat -c %a in/f 2>/dev/null; hostname").split("\n")[:2], ["claim kept", "given"], "what is bound")
    first = time.monotonic() - began
    box = s.good("GET", f"/v1/sandboxes/{sandbox}")
    check(got["fromPool"] and sandbox in ready, got)
    check_equal((box["runtimeClass"], box["spec"]["labels"], box["spec"]["ttlSeconds"]), (runtime.name, {"kind": "template", "who": "me"}, 600), "what it is")
    print(f"{runtime.name}: claim {got['claimLatencyMs']:.2f} ms, first output {first * 1000:.0f} ms")
    return sandbox


def disclaims(s, pool, runtime):
    """Each of what it cannot, named; a limit that it cannot change is refused, and one that it cannot keep."""
    ready = pool.ready()
    other = next(r.name for r in runtimes(s) if r.name != runtime.name)
    pool.refuses({"runtimeClass": other}, 409, "SANDBOX_NOT_READY", other, runtime.name)
    pool.refuses({"resourceLimits": {"diskBytes": 64 * MIB}}, 400, "INVALID_SPEC", "diskBytes" if "changeLimits" in runtime.capabilities else "started with")
    if "changeLimits" not in runtime.capabilities:
        for limit, value in (("memoryBytes", 256 * MIB), ("cpuMillicores", 500), ("pidLimit", 32)):
            pool.refuses({"resourceLimits": {limit: value}}, 400, "INVALID_SPEC", "started with")
    if "pidLimit" not in runtime.limits:
        pool.refuses({"resourceLimits": {"pidLimit": 32}}, 501, "NOT_SUPPORTED", "pidLimit", runtime.name)
        a = s.call("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": runtime.name, "resourceLimits": {**LIMITS, "pidLimit": 32}}})
        check_equal((a.status, a.code), (501, "NOT_SUPPORTED"), a.body)
    wait(lambda: pool.ready() == ready, 20, "what was refused took none")


def expires(s, pool):
    short = pool.claim(ttlSeconds=1)["sandboxId"]
    wait(lambda: s.status(short) == "Terminated", 60, "its time is over")
    pool.full(1)


def survives(s, pool, claimed):
    """Ready ones stay ready, claimed ones claimed, whoever dies; the next claim gets one of them."""
    ready = pool.ready()
    for which in ("creto-runtimed", "creto-warden", "creto-runtimed"):
        s.kill(which)
        wait(lambda: pool.ready() == ready, SLOW_S, f"ready after {which} was killed: {ready}")
        check_equal(out(s, claimed, "cat /home/agent/in/f"), "given\n", f"a claimed one after {which} was killed")
    got = pool.claim(fallback=False)
    check(got["sandboxId"] in ready and got["fromPool"], got)
    check_equal(out(s, got["sandboxId"], "echo $A"), "template\n", "the one that was taken over")
    check_equal(s.good("POST", f"{pool.url}/release/{got['sandboxId']}")["replaced"], True, "given back")
    pool.full(1)


def evicts_and_drains(s, pool, runtime, claimed):
    before = pool.ready()
    check_equal(s.good("POST", f"{pool.url}/evict", {"count": 100})["evicted"], len(before), "evicted")
    pool.full(1)
    check(not pool.ready() & before, "others are there now")
    s.good("POST", f"/v1/runtimes/{runtime.name}/drain")
    s.good("POST", f"{pool.url}/evict", {"count": 100})
    pool.refuses({}, 503, "BACKEND_UNAVAILABLE", "drained", f"enable --runtime {runtime.name}")
    check_equal(out(s, claimed, "echo on"), "on\n", "a claimed one of a class that is drained")
    s.good("POST", f"/v1/runtimes/{runtime.name}/enable")
    pool.full(1)
    s.good("POST", f"{pool.url}/drain")
    pool.refuses({}, 503, "NO_READY_SANDBOXES", "draining")
    wait(lambda: not pool.ready(), SLOW_S, "ready ones of a draining pool end")
    check_equal(out(s, claimed, "echo on"), "on\n", "a claimed one of a pool that drains")
    s.good("DELETE", pool.url)


def storm(s, pool):
    """More claims at once than there are: each gets one of its own."""
    got, threads = [], []
    for i in range(3):
        threads.append(threading.Thread(target=lambda i=i: got.append(pool.claim(env={"A": str(i)})["sandboxId"])))
        threads[-1].start()
    [t.join() for t in threads]
    check_equal(len(set(got)), 3, f"sandboxes of three claims: {got}")
    check_equal(sorted(out(s, x, "echo $A") for x in got), ["0\n", "1\n", "2\n"], "what each is given")
    for x in got:
        s.terminate(x)


def through(runtime, s):
    pool = Pool(s, runtime, 1)
    disclaims(s, pool, runtime)
    claimed = binds(s, pool, runtime)
    pool.full(1)
    storm(s, pool)
    expires(s, pool)
    survives(s, pool, claimed)
    evicts_and_drains(s, pool, runtime, claimed)
    s.terminate(claimed)


@test
def pools_of_each_class():
    if not IS_ROOT:
        skip("the service is started by root")
    with SlowService(config="[service]\nprepared = 0\n") as s:
        before = leftovers(s)
        for runtime in runtimes(s, ONLY):
            if runtime.name == "native" and not ONLY:
                continue  # all other tests of pools are its
            if not runtime.available:
                report("skip", runtime.name, runtime.reason)
                continue
            began = time.monotonic()
            try:
                through(runtime, s)
                report("ok", runtime.name)
            except Exception as e:
                report("not ok", runtime.name, f"{type(e).__name__}: {e}")
                s.call("DELETE", f"/v1/warm-pools/of-{runtime.name}")
            print(f"{runtime.name}: {time.monotonic() - began:.1f} s")
        s.call("DELETE", "/v1/sandboxes?all=true")
        check(poll(lambda: leftovers(s) == before, 30), f"left: {before} before, {leftovers(s)} now")
    return report


if __name__ == "__main__":
    main()
