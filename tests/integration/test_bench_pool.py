#!/usr/bin/python3
"""bench-pool: each of its modes once, small, against a service: that it counts what it should, and not how fast it is."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import BUILD, IS_ROOT, check, check_equal, main, skip, test  # noqa: E402
from service import Service, wait  # noqa: E402

CLIENT = os.path.join(BUILD, "bench/bench-pool")
SMALL = {"resourceLimits": {"memoryBytes": 64 << 20, "diskBytes": 8 << 20, "diskInodes": 512, "pidLimit": 32}}
ECHO = json.dumps({"command": {"program": "echo", "args": ["x"]}})
READY = 4


def run(s, mode, *options, how=None, code=0):
    r = subprocess.run([CLIENT, *(how or ["--socket", s.socket]), "--pool", "p", *options, mode], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    check_equal(r.returncode, code, f"exit status of {mode}: {r.stderr[-300:]!r}")
    return json.loads(r.stdout) if code == 0 else r.stderr.decode()


def is_full(s):
    p = s.good("GET", "/v1/warm-pools/p")
    return (p["readyCount"], p["warmingCount"], p["claimedCount"]) == (READY, 0, 0)


def check_times(got, name, n):
    times = got[name]
    check_equal(times["n"], n, f"{name}: how many")
    check(0 < times["min"] <= times["p50"] <= times["p90"] <= times["p99"] <= times["p999"] <= times["max"] < 60000, f"{name}: in order: {times}")


@test
def each_mode():
    if not IS_ROOT:
        skip("the service is started by root")
    if not os.access(CLIENT, os.X_OK):
        skip(f"{CLIENT} is not built")
    with Service(tcp=True) as s:
        key = s.good("POST", "/v1/api-keys", {"name": "bench", "role": "admin"})["key"]
        s.good("POST", "/v1/warm-pools", {"id": "p", "template": SMALL, "minReady": READY, "maxReady": READY})
        wait(lambda: is_full(s), 30, "the pool is full")
        for how in (["--socket", s.socket], ["--port", str(s.port), "--key", key]):
            got = run(s, "paced", "--count", "5", "--rate", "20", "--samples", how=how)
            check_times(got, "claim", 5)
            check_equal(len(got["claim"]["ms"]), 5, "samples")
            for events in ([], ["--events"]):
                got = run(s, "exec", "--count", "3", "--rate", "20", "--command", ECHO, "--wanted", "eAo=", *events, how=how)
                for name in ("claim", "first", "whole"):
                    check_times(got, name, 3)
                check(got["claim"]["min"] < got["first"]["min"] <= got["whole"]["min"], f"a claim, then its first byte, then the end: {got}")
        check("should" in run(s, "exec", "--count", "1", "--command", ECHO, "--wanted", "nothing like it", code=1), "what a command does not say is told")
        wait(lambda: s.good("GET", "/v1/warm-pools/p")["readyCount"] == READY, 30, "full")
        for x in s.good("GET", "/v1/sandboxes?pool=p")["sandboxes"]:
            if x["claimedAt"]:
                s.good("POST", f"/v1/warm-pools/p/release/{x['sandboxId']}")
        got = run(s, "burst", "--count", str(READY), "--rounds", "2")
        check_equal((got["claims"], got["cold"], got["refused"]), (2 * READY, 0, 0), "claims of two bursts")
        check_times(got, "all", 2)
        got = run(s, "sustained", "--seconds", "0.5", "--connections", "2")
        check(got["whole_claims"] >= got["claims"] > 0 and got["refused"] == 0 and got["whole_per_second"] > 0, f"sustained: {got}")
        check_equal(got["claim"]["n"], got["release"]["n"], "each is released")
        check(is_full(s), "it ends when the pool is full")
        got = run(s, "sustained", "--seconds", "0.5", "--connections", "2", "--rate", "10", "--command", ECHO, "--wanted", "eAo=")
        check(1 <= got["whole_claims"] <= 6, f"at a pace: {got}")


@test
def what_is_asked_wrongly():
    if not os.access(CLIENT, os.X_OK):
        skip(f"{CLIENT} is not built")
    for words in ([], ["paced"], ["--socket", "/nowhere", "nothing"], ["--socket", "/nowhere", "--count", "0", "paced"], ["--socket", "/nowhere", "exec"],
                  ["--port", "70000", "paced"], ["--socket", "/nowhere", "--rate", "-1", "paced"]):
        r = subprocess.run([CLIENT, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
        check_equal((r.returncode, r.stderr[:6]), (64, b"usage:"), f"{words}")
    r = subprocess.run([CLIENT, "--socket", "/nowhere", "paced"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    check_equal((r.returncode, b"/nowhere" in r.stderr), (1, True), f"nobody there: {r.stderr!r}")


if __name__ == "__main__":
    main()
