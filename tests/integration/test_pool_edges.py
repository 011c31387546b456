#!/usr/bin/python3
"""Warm pools at their edges: what is refused and how it is said, an image that is not there, drains, evictions and deletions under claims, all that a claim
can bind, keys, releases, and restarts."""
import base64
import contextlib
import json
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import IS_ROOT, check, check_equal, main, skip, test  # noqa: E402
from images import Place, registry  # noqa: E402
from service import Service, wait  # noqa: E402

MIB = 1 << 20
SMALL = {"resourceLimits": {"memoryBytes": 64 * MIB}}


def root_only():
    if not IS_ROOT:
        skip("the service is started by root")


def pool(s, name, minimum=1, maximum=4, template=None, **more):
    """Makes one, and waits until it is full."""
    out = s.good("POST", "/v1/warm-pools", {"id": name, "template": SMALL if template is None else template, "minReady": minimum, "maxReady": maximum, **more})
    full(s, name, minimum)
    return out


def get(s, name):
    return s.good("GET", f"/v1/warm-pools/{name}")


def full(s, name, count):
    wait(lambda: get(s, name)["readyCount"] >= count and get(s, name)["warmingCount"] == 0, 60, f"{count} of {name} are ready")


def claim(s, name, key=None, headers=None, **body):
    return s.good("POST", f"/v1/warm-pools/{name}/claim", body, key=key, headers=headers)


def members(s, name, status):
    return {b["sandboxId"] for b in s.good("GET", f"/v1/sandboxes?pool={name}&status={status}&limit=1000")["sandboxes"]}


def fields(answer):
    return [f["field"] for f in answer.json["error"]["details"].get("fields", [])]


@test
def what_a_pool_may_be():
    root_only()
    good = {"id": "p", "template": {}, "minReady": 0}
    source = {k: v for k, v in good.items() if k != "template"}
    cases = [  # (body, status, fields, a part of the message)
        ({}, 400, ["id", "template"], "id is missing"),
        ({**good, "id": ""}, 400, ["id"], "1 to 63"),
        ({**good, "id": "a" * 64}, 400, ["id"], "1 to 63"),
        ({**good, "id": "Upper"}, 400, ["id"], ""),
        ({**good, "id": "-a"}, 400, ["id"], ""),
        ({**good, "id": "a-"}, 400, ["id"], ""),
        ({**good, "id": "a/b"}, 400, ["id"], ""),
        ({**good, "id": "../a"}, 400, ["id"], ""),
        ({**good, "id": 1}, 400, ["id"], ""),
        ({**good, "id": None}, 400, ["id"], "missing"),
        ({**good, "minReady": -1}, 400, ["minReady"], "from 0 to 10000"),
        ({**good, "minReady": 1.5}, 400, ["minReady"], "whole number"),
        ({**good, "minReady": "1"}, 400, ["minReady"], "whole number"),
        ({**good, "minReady": 10 ** 30}, 400, ["minReady"], "from 0 to 10000"),
        ({**good, "maxReady": 0}, 400, ["maxReady"], "from 1 to 10000"),
        ({**good, "maxReady": 10001}, 400, ["maxReady"], "from 1 to 10000"),
        ({**good, "minReady": 5, "maxReady": 4}, 400, ["minReady"], "more than maxReady 4"),
        ({**good, "minReady": 11}, 400, ["minReady"], "more than maxReady 10"),
        ({**good, "maxAgeSeconds": 10 ** 9}, 400, ["maxAgeSeconds"], "from 0 to 2592000"),
        ({**good, "reusable": "yes"}, 400, ["reusable"], "true or false"),
        ({**good, "autoScaling": True}, 400, ["autoScaling"], "an object"),
        ({**good, "autoScaling": {"headroom": 1001, "scaleDownSeconds": -1, "x": 1, "enabled": 1}}, 400,
         ["autoScaling.headroom", "autoScaling.scaleDownSeconds", "autoScaling.x", "autoScaling.enabled"], ""),
        ({**good, "state": "Active"}, 400, ["state"], "no such field"),
        ({**good, "x": 1, "y": 2}, 400, ["x", "y"], "no such field"),
        ({**good, "template": "host"}, 400, ["template"], "an object"),
        ({**good, "template": {"image": "", "x": 1, "resources": {"pidLimit": 0}}}, 400, ["template.image", "template.x", "template.resources.pidLimit"], ""),
        ({**good, "template": {"spec": {"env": {"A": 1}}}}, 400, ["template.env.A"], ""),
        ({**good, "template": {"secrets": [{"name": "x"}]}}, 501, ["template.secrets"], "not available"),
        ({**good, "template": {"networkPolicy": {"egressRules": [{}]}}}, 501, ["template.networkPolicy.egressRules"], "only deny-all"),
        ({**good, "templateSource": {"format": "yaml", "text": "{}"}}, 400, ["templateSource"], "beside template"),
        ({**source, "templateSource": {"format": "yml", "text": "{}"}}, 400, ["templateSource.format"], "yaml"),
        ({**source, "templateSource": {"format": "yaml"}}, 400, ["templateSource.text"], "a string"),
        ({**source, "templateSource": {"format": "yaml", "text": "a: 1\n\nb: &x 1\n"}}, 400, ["templateSource.text"], "line 3: anchors"),
        ({**source, "templateSource": {"format": "toml", "text": "a = 1\na = 2\n"}}, 400, ["templateSource.text"], "line 2: 'a' is there twice"),
        ({**source, "templateSource": {"format": "json", "text": "{\n1}"}}, 400, ["templateSource.text"], "line 2"),
        ({**source, "templateSource": {"format": "yaml", "text": "image: host\nx: 1\n"}}, 400, ["templateSource.x"], "no such field"),
        ({**source, "templateSource": {"format": "yaml", "text": "#" * 65537}}, 400, ["templateSource.text"], "at most 65536"),
        ({**source, "templateSource": {"format": "yaml", "text": "{}", "x": 1}}, 400, ["templateSource.x"], "no such field"),
        ({**good, "id": "B", "minReady": -1, "z": 1, "template": {"y": 1}}, 400, ["id", "minReady", "z", "template.y"], "and more"),
    ]
    with Service() as s:
        for body, status, wanted, said in cases:
            answer = s.call("POST", "/v1/warm-pools", body)
            check_equal(answer.status, status, f"{json.dumps(body)[:200]}: {answer.body[:300]!r}")
            check_equal(sorted(fields(answer)), sorted(wanted), json.dumps(body)[:200])
            message = answer.json["error"]["message"]
            check(message.startswith(tuple(wanted)) and said in message, f"{json.dumps(body)[:200]}: {message}")
        for image, code in (("dir:/etc", "NOT_SUPPORTED"), ("oci:/srv/x", "NOT_SUPPORTED"), ("Not An Image", "INVALID_SPEC")):
            answer = s.call("POST", "/v1/warm-pools", {**good, "template": {"image": image}})
            check(answer.code == code and image in answer.json["error"]["message"], f"a pool that could never have a sandbox: {answer.body}")
        answer = s.call("POST", "/v1/warm-pools", {**good, "template": {"runtimeClass": "nothing"}})
        check_equal((answer.status, answer.json["error"]["message"]), (400, "there is no runtime class 'nothing'"), "an unknown class")
        for body in (b"", b"[]", b"{", b'{"id":"a","id":"b","template":{}}'):
            check_equal(s.call("POST", "/v1/warm-pools", body).status, 400, repr(body))
        check_equal(s.good("GET", "/v1/warm-pools"), {"pools": [], "nextCursor": None}, "pools after all that")


@test
def three_languages_and_the_same_again():
    root_only()
    texts = {"yaml": "spec:\n  image: host\n  resourceLimits: {memoryBytes: 64M}\n  env: {A: 'b'}\n",
             "toml": "image = \"host\"\n[resourceLimits]\nmemoryBytes = \"64M\"\n[env]\nA = \"b\"\n",
             "json": '{"image": "host", "resources": {"memoryBytes": 67108864}, "env": {"A": "b"}}'}
    template = {"image": "host", "resourceLimits": {"memoryBytes": 64 * MIB}, "env": {"A": "b"}}
    with Service() as s:
        made = {f: s.good("POST", "/v1/warm-pools", {"id": f, "templateSource": {"format": f, "text": t}, "minReady": 0}) for f, t in texts.items()}
        made["object"] = s.good("POST", "/v1/warm-pools", {"id": "object", "template": template, "minReady": 0})
        for p in made.values():
            check_equal(p["template"], made["object"]["template"], p["id"])
        check_equal(made["yaml"]["template"]["resourceLimits"]["memoryBytes"], 64 * MIB, "64M")
        check_equal([p["id"] for p in s.good("GET", "/v1/warm-pools")["pools"]], sorted(made), "the list")
        first = s.good("GET", "/v1/warm-pools?limit=3")
        rest = s.good("GET", f"/v1/warm-pools?limit=3&cursor={first['nextCursor']}")
        check_equal([len(first["pools"]), len(rest["pools"]), rest["nextCursor"]], [3, 1, None], "pages")

        again = s.good("POST", "/v1/warm-pools", {"id": "yaml", "template": template, "minReady": 0})
        check_equal(again["createdAt"], made["yaml"]["createdAt"], "the same pool")
        for other in ({"minReady": 1}, {"minReady": 0, "reusable": True}, {"minReady": 0, "template": {}}):
            answer = s.call("POST", "/v1/warm-pools", {"id": "yaml", "template": template, **other})
            check_equal((answer.status, answer.code), (400, "INVALID_SPEC"), other)
            check("there is a pool 'yaml' already" in answer.json["error"]["message"], answer.body)

        for body, wanted in (({"minReady": 11}, ["minReady"]), ({"id": "x"}, ["id"]), ({"template": {}}, ["template"]), ({"state": "Deleting"}, ["state"]),
                             ({"maxReady": 0, "x": 1}, ["maxReady", "x"])):
            check_equal(sorted(fields(s.call("PATCH", "/v1/warm-pools/yaml", body))), sorted(wanted), body)
        p = s.good("PATCH", "/v1/warm-pools/yaml", {"maxReady": 20, "maxAgeSeconds": 60, "autoScaling": {"enabled": True}})
        check_equal((p["minReady"], p["maxReady"], p["maxAgeSeconds"]), (0, 20, 60), "changed")
        check_equal(p["autoScaling"], {"enabled": True, "headroom": 20, "scaleDownSeconds": 300}, "changed")
        check_equal(s.good("PATCH", "/v1/warm-pools/yaml", {"maxAgeSeconds": None, "maxReady": None})["maxAgeSeconds"], None, "no age")
        check_equal(s.good("PATCH", "/v1/warm-pools/yaml", {})["maxReady"], 20, "unchanged")


@test
def who_may_do_what():
    root_only()
    with Service(tcp=True) as s:
        agents = [s.good("POST", "/v1/api-keys", {"name": n, "role": "agent"})["key"] for n in ("one", "two")]
        operator = s.good("POST", "/v1/api-keys", {"name": "op", "role": "operator"})["key"]
        pool(s, "p", 2)
        for method, path, body in (("POST", "", {"id": "q", "template": {}}), ("PATCH", "/p", {}), ("DELETE", "/p", None), ("POST", "/p/drain", None),
                                   ("POST", "/p/evict", {"count": 1}), ("POST", "/p/spawn", {}), ("GET", "/p/logs", None)):
            answer = s.call(method, "/v1/warm-pools" + path, body, key=agents[0])
            check_equal((answer.status, answer.code), (403, "AUTHORIZATION_DENIED"), f"{method} {path}")
        for path in ("", "/p", "/p/stats"):
            check_equal(s.call("GET", "/v1/warm-pools" + path, key=agents[0]).status, 200, path)
        for path in ("/none", "/none/stats", "/Bad!", "/" + "a" * 64):
            answer = s.call("GET", "/v1/warm-pools" + path, key=operator)
            check_equal((answer.status, answer.code), (404, "POOL_NOT_FOUND"), path)
        check_equal(s.call("POST", "/v1/warm-pools/none/claim", key=agents[0]).code, "POOL_NOT_FOUND", "claim of none")

        waiting = members(s, "p", "Ready")
        check_equal(s.good("GET", "/v1/sandboxes", key=agents[0])["sandboxes"], [], "an agent sees what nobody has claimed")
        mine = claim(s, "p", key=agents[0])
        check(mine["fromPool"] and mine["sandboxId"] in waiting and mine["attestation"] is None, mine)
        box = s.good("GET", f"/v1/sandboxes/{mine['sandboxId']}", key=agents[0])
        check_equal((box["status"], box["poolId"], box["owner"]), ("Running", "p", "key:" + box["owner"][4:]), "the claimed one")
        check(box["claimedAt"] > box["createdAt"], box)
        check_equal(s.spawn(image="host") and s.good("GET", "/v1/sandboxes?pool=")["sandboxes"][0]["poolId"], None, "one of no pool")

        release = f"/v1/warm-pools/p/release/{mine['sandboxId']}"
        check_equal(s.call("POST", release, key=agents[1]).code, "SANDBOX_NOT_FOUND", "released by another")
        check_equal(s.call("GET", f"/v1/sandboxes/{mine['sandboxId']}", key=agents[1]).status, 404, "seen by another")
        unclaimed = (members(s, "p", "Ready") - {mine["sandboxId"]}).pop()
        for path in (f"p/release/{unclaimed}", "p/release/none", "p/release/..%2f"):
            check_equal(s.call("POST", f"/v1/warm-pools/{path}", key=operator).code, "SANDBOX_NOT_FOUND", path)
        check_equal(s.call("POST", f"/v1/warm-pools/q/release/{mine['sandboxId']}", key=operator).code, "POOL_NOT_FOUND", "of no pool")
        pool(s, "q", 0)
        check_equal(s.call("POST", f"/v1/warm-pools/q/release/{mine['sandboxId']}", key=operator).code, "SANDBOX_NOT_FOUND", "of another pool")
        check_equal(s.status(mine["sandboxId"]), "Running", "after all that")
        check_equal(s.good("POST", release, key=agents[0]), {"sandboxId": mine["sandboxId"], "status": "Terminated", "replaced": False}, "release")
        check_equal(s.good("POST", release, key=agents[0])["status"], "Terminated", "released twice")
        check_equal(s.call("POST", release, key=agents[1]).code, "SANDBOX_NOT_FOUND", "and by another")
        others = claim(s, "p", key=agents[1])["sandboxId"]
        check_equal(s.good("POST", f"/v1/warm-pools/p/release/{others}", key=operator)["status"], "Terminated", "by an operator")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        ticks = f.read().rsplit(")", 1)[1].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


@test
def an_image_that_is_not_there():
    root_only()
    with registry() as r, Service() as s:
        image = f"{r.host}/late:1"
        s.good("POST", "/v1/warm-pools", {"id": "p", "template": {"image": image}, "minReady": 2, "maxReady": 4})
        wait(lambda: get(s, "p")["lastError"], 60, "it is said that it cannot be made")
        began, used = time.monotonic(), cpu_seconds(s.daemon)
        time.sleep(5)
        spent, wall = cpu_seconds(s.daemon) - used, time.monotonic() - began
        entries = s.good("GET", "/v1/warm-pools/p/logs?phase=Warming")["entries"]
        check(2 <= len(entries) <= 12, f"{len(entries)} attempts in {wall:.1f} s: {entries}")
        check(spent < wall / 4, f"the daemon used {spent:.2f} s of {wall:.1f}")
        for entry in entries:
            check_equal((entry["phase"], entry["level"], entry["code"]), ("Warming", "error", "IMAGE_NOT_FOUND"), entry)
            check(image in entry["message"], entry)
        p = get(s, "p")
        check_equal((p["readyCount"], p["lastError"]["code"]), (0, "IMAGE_NOT_FOUND"), p)
        check(p["lastError"]["at"] < p["lastError"]["retryAt"], p["lastError"])
        answer = s.call("POST", "/v1/warm-pools/p/claim", {"fallback": False})
        check_equal((answer.status, answer.code), (503, "NO_READY_SANDBOXES"), "claim without fallback")
        check(image in answer.json["error"]["message"] and "Retry-After" in answer.headers, answer.body)
        answer = s.call("POST", "/v1/warm-pools/p/claim", {})
        check(answer.status in (404, 503) and image in answer.json["error"]["message"], answer.body)
        failures = [line for line in s.good("GET", "/metrics").decode().splitlines() if line.startswith('creto_runtime_pool_failures_total{pool_id="p"}')]
        check(float(failures[0].split()[-1]) >= 2, failures)
        check_equal(len(members(s, "p", "Creating")), 0, "what is half made")

        r.push("config", "late:1")
        full(s, "p", 2)
        check_equal(get(s, "p")["lastError"], None, "after it was pushed")
        check(claim(s, "p")["fromPool"], "a claim then")
    Place.remove()


@test
def drained_while_it_is_claimed_from():
    root_only()
    with Service() as s:
        pool(s, "p", 3, 6)
        got, refused, stop = [], [], threading.Event()

        def claimant():
            while not stop.is_set():
                answer = s.call("POST", "/v1/warm-pools/p/claim", {})
                (got if answer.status == 200 else refused).append(answer)
        threads = [threading.Thread(target=claimant) for _ in range(4)]
        for t in threads:
            t.start()
        try:
            wait(lambda: len(got) >= 6, 60, "claims")
            check_equal(s.good("POST", "/v1/warm-pools/p/drain")["state"], "Draining", "drain")
            wait(lambda: len(refused) >= 8, 60, "claims are refused")
        finally:
            stop.set()
            for t in threads:
                t.join()
        for answer in refused:
            check_equal((answer.status, answer.code), (503, "NO_READY_SANDBOXES"), "refused")
            check("draining" in answer.json["error"]["message"], answer.body)
        ids = [a.json["sandboxId"] for a in got]
        check_equal(len(set(ids)), len(ids), "sandboxes claimed, each once")
        wait(lambda: not members(s, "p", "Ready") and not members(s, "p", "Creating"), 60, "the ready ones are ended")
        check_equal(members(s, "p", "Running"), set(ids), "the claimed ones go on")
        check_equal(s.exec(ids[-1], "echo", "on")["stdout"], b"on\n", "a command in one")
        check_equal(get(s, "p")["claimedCount"], len(ids), "claimedCount")
        answer = s.call("POST", "/v1/warm-pools/p/spawn", {})
        check_equal((answer.status, answer.code), (503, "NO_READY_SANDBOXES"), "spawn")
        check_equal(s.good("POST", "/v1/warm-pools/p/drain")["state"], "Draining", "twice")
        check_equal(s.good("PATCH", "/v1/warm-pools/p", {"state": "Active", "minReady": 1})["state"], "Active", "undone")
        full(s, "p", 1)
        check(claim(s, "p", fallback=False)["fromPool"], "a claim then")


def inits(service):
    """creto-init processes of its sandboxes."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat") as f:
            pid, _, rest = f.read().partition(" (")
            if rest.startswith("memfd:creto-ini") and int(rest.rpartition(") ")[2].split()[1]) == service.warden:
                found.append(int(pid))
    return found


@test
def drained_while_a_claim_fails():
    """The sandbox of a claim dies when there is no other for it any more: it is told, and none is made for it."""
    root_only()
    with Service() as s:
        pool(s, "p", 1, 1)
        ready, said = inits(s), []
        check_equal(len(ready), 1, "sandboxes")
        os.kill(ready[0], signal.SIGSTOP)
        claimant = threading.Thread(target=lambda: said.append(s.call("POST", "/v1/warm-pools/p/claim", {})))
        claimant.start()
        wait(lambda: get(s, "p")["claimedCount"] == 1, 30, "the claim is under way")
        s.good("POST", "/v1/warm-pools/p/drain")
        os.kill(ready[0], signal.SIGKILL)
        claimant.join(30)
        check(said and said[0].status >= 500, f"its answer: {[a.body for a in said]}")
        wait(lambda: (get(s, "p")["warmingCount"], get(s, "p")["claimedCount"]) == (0, 0), 30, "nothing is left of it")
        entries = s.good("GET", "/v1/warm-pools/p/logs?phase=Ready")["entries"]
        check(len(entries) <= 2, f"more is made in a pool that is drained: {entries}")


@test
def deleted_while_it_warms():
    """What a pool had under way when it is deleted leaves its place to others."""
    root_only()
    with Service() as s:
        s.good("POST", "/v1/warm-pools", {"id": "slow", "template": {**SMALL, "prewarm": {"command": ["sleep", "1000"]}}, "minReady": 64, "maxReady": 64})
        wait(lambda: get(s, "slow")["warmingCount"] > 0, 30, "it warms")
        s.good("POST", "/v1/warm-pools", {"id": "p", "template": SMALL, "minReady": 1, "maxReady": 1})
        wait(lambda: get(s, "p")["targetReady"] == 1, 30, "its turn has come")
        s.good("DELETE", "/v1/warm-pools/slow")
        full(s, "p", 1)


@test
def by_number():
    root_only()
    with Service() as s:
        pool(s, "p", 2, 5)
        before = members(s, "p", "Ready")
        for action, bodies in (("evict", [{}, {"count": 0}, {"count": -1}, {"count": "2"}, {"count": 1.5}, {"count": 2 ** 32}, {"count": 1, "x": 1}, []]),
                               ("spawn", [{"count": 0}, {"count": 10 ** 30}, {"x": 1}])):
            for body in bodies:
                answer = s.call("POST", f"/v1/warm-pools/p/{action}", body)
                check_equal((answer.status, answer.code), (400, "INVALID_SPEC"), f"{action} {body}")
        check_equal(members(s, "p", "Ready"), before, "after what was refused")
        check_equal(s.good("POST", "/v1/warm-pools/p/evict", {"count": 4294967295}), {"evicted": 2}, "more than there are")
        full(s, "p", 2)
        check(not members(s, "p", "Ready") & before, "others are there now")
        check_equal(s.good("POST", "/v1/warm-pools/p/spawn", {"count": 10000}), {"spawning": 3}, "up to maxReady")
        full(s, "p", 5)
        answer = s.call("POST", "/v1/warm-pools/p/spawn")
        check_equal((answer.status, answer.code), (503, "RESOURCE_EXHAUSTED"), "beyond maxReady")
        check("maxReady is 5" in answer.json["error"]["message"], answer.body)
        stats = s.good("GET", "/v1/warm-pools/p/stats")
        check_equal(sorted(stats), sorted(["readyCount", "claimedCount", "warmingCount", "claimsPerMinute", "avgClaimLatencyMs", "p99ClaimLatencyMs",
                                           "oldestSandboxAgeSeconds", "minReady", "maxReady"]), "stats")
        check_equal((stats["readyCount"], stats["minReady"], stats["maxReady"], stats["claimsPerMinute"]), (5, 2, 5, 0), stats)
        phases = {e["phase"] for e in s.good("GET", "/v1/warm-pools/p/logs")["entries"]}
        check({"Pool", "Ready", "Evicted"} <= phases, phases)
        last = s.good("GET", "/v1/warm-pools/p/logs?phase=Ready&limit=1")["entries"]
        check(len(last) == 1 and last == s.good("GET", "/v1/warm-pools/p/logs?phase=Ready")["entries"][-1:], last)
        check_equal(fields(s.call("GET", "/v1/warm-pools/p/logs?phase=Nothing")), ["phase"], "no phase")


@test
def deleted_with_claims():
    root_only()
    with Service() as s:
        pool(s, "p", 3)
        mine = claim(s, "p")["sandboxId"]
        check(b'pool_id="p"' in s.good("GET", "/metrics"), "its metrics")
        check_equal(s.call("DELETE", "/v1/warm-pools/p").status, 204, "delete")
        check_equal(s.call("DELETE", "/v1/warm-pools/p").code, "POOL_NOT_FOUND", "twice")
        check_equal(s.call("POST", "/v1/warm-pools/p/claim").code, "POOL_NOT_FOUND", "claim")
        check_equal(s.call("POST", f"/v1/warm-pools/p/release/{mine}").code, "POOL_NOT_FOUND", "release")
        wait(lambda: not members(s, "p", "Ready") and not members(s, "p", "Creating"), 60, "the ready ones are ended")
        check(b'pool_id="p"' not in s.good("GET", "/metrics"), "its metrics are gone")
        check_equal(s.exec(mine, "echo", "on")["stdout"], b"on\n", "the claimed one goes on")
        s.kill("creto-runtimed")
        check_equal((s.status(mine), s.good("GET", "/v1/warm-pools")["pools"]), ("Running", []), "also over a restart")
        s.terminate(mine)
        check_equal(pool(s, "p", 1)["claimedCount"], 0, "another of that name has nothing to do with it")


@test
def what_a_claim_binds():
    root_only()
    with Service() as s:
        pool(s, "p", 1, 4, {"env": {"A": "template", "B": "kept"}, "labels": {"a": "template", "b": "kept"}, "resourceLimits": {
            "memoryBytes": 96 * MIB, "pidLimit": 64, "openFiles": 128}, "ttlSeconds": 3600})
        got = claim(s, "p", env={"A": "claim", "C": "new"}, labels={"a": "claim", "c": "new"}, ttlSeconds=600, idleTimeoutSeconds=300,
                    resourceLimits={"openFiles": 128, "cpuMillicores": 500}, resources={"pidLimit": 16})
        check(got["fromPool"] and got["claimLatencyMs"] > 0, got)
        sb = got["sandboxId"]
        box = s.good("GET", f"/v1/sandboxes/{sb}")
        check_equal(box["spec"]["env"], {"A": "claim", "B": "kept", "C": "new"}, "env")
        check_equal(box["spec"]["labels"], {"a": "claim", "b": "kept", "c": "new"}, "labels")
        check_equal((box["spec"]["ttlSeconds"], box["spec"]["idleTimeoutSeconds"]), (600, 300), "times")
        check(box["expiresAt"] and box["claimedAt"] < box["expiresAt"] and box["idleTimeoutAt"], box)
        limits = box["spec"]["resourceLimits"]
        check_equal((limits["memoryBytes"], limits["pidLimit"], limits["openFiles"]), (96 * MIB, 16, 128), "limits")
        check_equal(s.exec(sb, "sh", "-c", "echo $A $B $C; ulimit -n")["stdout"], b"claim kept new\n128\n", "seen from inside")
        check_equal(len(s.good("GET", "/v1/sandboxes?label=a=claim")["sandboxes"]), 1, "found by its label")

        full(s, "p", 1)
        plain = claim(s, "p")["sandboxId"]
        check_equal(s.good("GET", f"/v1/sandboxes/{plain}")["spec"]["env"], {"A": "template", "B": "kept"}, "the next one knows nothing of that")
        full(s, "p", 1)
        short = claim(s, "p", ttlSeconds=1)["sandboxId"]
        wait(lambda: s.status(short) == "Terminated", 60, "its time is over")


EAT = "import sys; b = bytearray(int(sys.argv[1])); b[::4096] = b'x' * len(b[::4096]); print(len(b))"
FORK = "import os\nn = 0\ntry:\n    while n < 100:\n        if os.fork() == 0:\n            import time; time.sleep(60)\n        n += 1\nexcept OSError:\n    pass\nprint(n, flush=True)\nos._exit(0)"


@test
def limits_grow_and_shrink():
    root_only()
    with Service() as s:
        pool(s, "p", 2, 4, {"resourceLimits": {"memoryBytes": 128 * MIB, "pidLimit": 32}})
        small = claim(s, "p", resourceLimits={"memoryBytes": 48 * MIB, "pidLimit": 8})["sandboxId"]
        large = claim(s, "p", resourceLimits={"memoryBytes": 384 * MIB, "pidLimit": 64})["sandboxId"]
        out = s.exec(small, "python3", "-c", EAT, str(96 * MIB))
        check_equal((out["stdout"], out["signal"]), (b"", signal.SIGKILL), "96 MiB where 48 are")
        out = s.exec(large, "python3", "-c", EAT, str(256 * MIB))
        check_equal((out["stdout"], out["exitCode"]), (b"%d\n" % (256 * MIB), 0), "256 MiB where 384 are")
        few, many = (int(s.exec(sb, "python3", "-c", FORK)["stdout"]) for sb in (small, large))
        check(few < 8 and 32 < many < 64, f"{few} and {many} processes")
        full(s, "p", 2)
        for body, field in (({"resourceLimits": {"diskBytes": 4 << 30}}, "diskBytes"), ({"resources": {"diskInodes": 1000}}, "diskInodes"),
                            ({"resources": {"openFiles": 64}}, "openFiles"), ({"resources": {"coreBytes": 4096}}, "coreBytes"),
                            ({"resources": {"outputBytesPerSecond": "unlimited"}}, "outputBytesPerSecond")):
            answer = s.call("POST", "/v1/warm-pools/p/claim", body)
            check_equal((answer.status, answer.code), (400, "INVALID_SPEC"), body)
            check(field in answer.json["error"]["message"], answer.body)
        answer = s.call("POST", "/v1/warm-pools/p/claim", {"resourceLimits": {"memoryBytes": 1 << 44}})
        check_equal((answer.status, answer.code), (503, "RESOURCE_EXHAUSTED"), "more than the host has")
        check_equal(get(s, "p")["readyCount"], 2, "what was refused took none")


@test
def files_are_there_when_it_answers():
    root_only()
    with Service(config='[server]\nmax_body = "8M"\n') as s:
        pool(s, "p", 1, 4)
        big = bytes(range(256)) * 2048
        sb = first = claim(s, "p", files=[{"path": "/home/agent/plain", "text": "té\n"}, {"path": "/home/agent/a/b/secret", "content": base64.b64encode(big).decode(), "mode": "0600"},
                                  {"path": "/tmp/run", "text": "#!/bin/sh\necho ran\n", "mode": "755"}, {"path": "/home/agent/empty", "text": "", "mode": None}])["sandboxId"]
        check_equal(s.exec(sb, "stat", "-c", "%a %U %s", "/home/agent/plain", "/home/agent/a/b/secret", "/tmp/run", "/home/agent/empty")["stdout"],
                    b"644 agent 4\n600 agent 524288\n755 agent 19\n644 agent 0\n", "modes, owners, sizes")
        check_equal(s.exec(sb, "/tmp/run")["stdout"], b"ran\n", "a program")
        check_equal(s.call("GET", f"/v1/sandboxes/{sb}/files?path=/home/agent/a/b/secret").body, big, "bytes")
        full(s, "p", 1)
        most = base64.b64encode(bytes(1 << 20)).decode()
        sb = claim(s, "p", files=[{"path": f"/home/agent/{i}", "content": most} for i in range(4)])["sandboxId"]
        check_equal(s.exec(sb, "sh", "-c", "cat /home/agent/? | wc -c")["stdout"], b"4194304\n", "4 MiB")
        s.terminate(sb)
        full(s, "p", 1)
        answer = s.call("POST", "/v1/warm-pools/p/claim", {"files": [{"path": f"/home/agent/{i}", "content": most} for i in range(4)] + [{"path": "/tmp/f", "text": "x"}]})
        check_equal((answer.status, fields(answer)), (400, ["files"]), "4 MiB and one byte")
        for files, wanted in (([{"path": "rel", "text": ""}], ["files[0].path"]), ([{"text": ""}], ["files[0].path"]), ([{"path": "/a"}], ["files[0]"]),
                              ([{"path": "/a", "text": "", "content": ""}], ["files[0]"]), ([{"path": "/a", "content": "?"}], ["files[0].content"]),
                              ([{"path": "/a", "text": "", "mode": "0888"}], ["files[0].mode"]), ([{"path": "/a", "text": "", "mode": 420}], ["files[0].mode"]),
                              ([{"path": "/a", "text": "", "mode": "4755"}], ["files[0].mode"]), ([{"path": "/a", "text": "a\0b"}], ["files[0].text"]),
                              ([{"path": "/a\0b", "text": ""}], ["files[0].path"]), ([{"path": "/" + "a" * 4095, "text": ""}], ["files[0].path"]),
                              ([{"path": "/a", "text": "", "x": 1}, "b"], ["files[0].x", "files[1]"]), ({}, ["files"]),
                              ([{"path": f"/tmp/{i}", "text": ""} for i in range(65)], ["files"])):
            answer = s.call("POST", "/v1/warm-pools/p/claim", {"files": files})
            check_equal((answer.status, sorted(fields(answer))), (400, sorted(wanted)), json.dumps(files)[:200])
        check_equal(get(s, "p")["readyCount"], 1, "what was refused took none")
        answer = s.call("POST", "/v1/warm-pools/p/claim", {"files": [{"path": "/usr/bin/evil", "text": ""}]})
        check_equal((answer.status, answer.code), (400, "INVALID_SPEC"), "where the user may not write")
        check("/usr/bin/evil" in answer.json["error"]["message"], answer.body)
        wait(lambda: get(s, "p")["claimedCount"] == 1 and members(s, "p", "Running") == {first}, 60, "nobody has the one whose files failed")
        full(s, "p", 1)


@test
def a_repeat_is_not_answered_before_the_files_are_there():
    root_only()
    with Service() as s:
        pool(s, "p", 1, 2)
        files = [{"path": f"/tmp/f{n}", "text": "x" * 30000} for n in range(64)]
        seen = []

        def ask():
            out = claim(s, "p", headers={"Idempotency-Key": "k"}, files=files)
            seen.append((out["sandboxId"], s.exec(out["sandboxId"], "/bin/sh", "-c", "cat /tmp/f63 | wc -c")["stdout"].strip()))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check_equal(len(seen), 4, "answers")
        check_equal(set(seen), {(seen[0][0], b"30000")}, "one sandbox, and its last file, with each answer")


def events(answer):
    """[(name, data)] of a stream that has ended."""
    out = []
    for one in answer.body.decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in one.split("\n") if not line.startswith(":"))
        out.append((lines["event"], json.loads(lines["data"])))
    return out


@test
def a_claim_with_its_command():
    root_only()
    with Service() as s:
        pool(s, "p", 1, 3)
        out = claim(s, "p", env={"A": "late"}, files=[{"path": "/tmp/f", "text": "file "}], resourceLimits={"pidLimit": 40},
                    command={"program": "sh", "args": ["-c", "cat /tmp/f; echo $A $B; cat; echo e >&2; exit 3"], "env": {"B": "own"}, "stdin": "in"})
        check_equal((base64.b64decode(out["exec"]["stdout"]), base64.b64decode(out["exec"]["stderr"]), out["exec"]["exitCode"]), (b"file late own\nin", b"e\n", 3), "whole")
        box = s.good("GET", f"/v1/sandboxes/{out['sandboxId']}")
        check_equal((box["status"], box["spec"]["resourceLimits"]["pidLimit"]), ("Running", 40), "it is claimed, and stays so")
        check_equal(s.exec(out["sandboxId"], "echo", "on")["stdout"], b"on\n", "another command")
        full(s, "p", 1)

        accept = {"Accept": "text/event-stream"}
        seen = events(s.call("POST", "/v1/warm-pools/p/claim", {"command": {"program": "sh", "args": ["-c", "echo a; exit 7"]}}, headers=accept))
        check_equal([n for n, _ in seen], ["claim", "started", "stdout", "exit"], "events")
        check(seen[0][1]["fromPool"] and seen[0][1]["sandboxId"] in members(s, "p", "Running"), seen)
        check_equal((base64.b64decode(seen[2][1]["data"]), seen[3][1]["exitCode"]), (b"a\n", 7), "output and end")
        full(s, "p", 1)

        out = claim(s, "p", command={"program": "cat"}, detach=True)
        execs = s.good("GET", f"/v1/sandboxes/{out['sandboxId']}/exec")["execs"]
        check_equal([(x["execId"], x["status"]) for x in execs], [(out["exec"]["execId"], "Running")], "detached")
        full(s, "p", 1)

        # The claim holds, whatever its command does.
        out = claim(s, "p", command={"program": "/none"})
        check_equal(out["exec"]["error"]["code"], "INVALID_SPEC", "no such program")
        check_equal(s.exec(out["sandboxId"], "echo", "on")["stdout"], b"on\n", "it is claimed")
        full(s, "p", 1)
        seen = events(s.call("POST", "/v1/warm-pools/p/claim", {"command": {"program": "/none"}}, headers=accept))
        check_equal([n for n, _ in seen] + [seen[-1][1]["error"]["code"]], ["claim", "started", "exit", "INVALID_SPEC"], "events of one that cannot be begun")
        full(s, "p", 1)

        # What cannot be had is refused before anything is claimed.
        before = members(s, "p", "Ready")
        for body, field in (({"command": 3}, "command"), ({"command": {}}, "command.program"), ({"command": {"program": 1}}, "command.program"), ({"command": {"program": "a", "x": 1}}, "command.x"), ({"detach": True}, "command"),
                            ({"command": {"program": "a"}, "detach": 1}, "detach")):
            check_equal(fields(s.call("POST", "/v1/warm-pools/p/claim", body)), [field], str(body)[:60])
        answer = s.call("POST", "/v1/warm-pools/p/claim", {"command": {"program": "true"}}, headers={"Idempotency-Key": "k"})
        check_equal((answer.status, answer.code), (501, "NOT_SUPPORTED"), "a key")
        check_equal(members(s, "p", "Ready"), before, "none was taken")
        check(claim(s, "p", headers={"Idempotency-Key": "k"}, command=None, detach=False)["fromPool"], "a key, and no command")


@test
def a_command_whose_sandbox_dies_is_not_begun_elsewhere():
    root_only()
    with Service() as s:
        pool(s, "p", 2, 2)
        ready, said = inits(s), []
        for pid in ready:
            os.kill(pid, signal.SIGSTOP)
        claimant = threading.Thread(target=lambda: said.append(s.call("POST", "/v1/warm-pools/p/claim", {"command": {"program": "true"}})))
        claimant.start()
        wait(lambda: get(s, "p")["claimedCount"] == 1, 30, "the claim is under way")
        for pid in ready:
            os.kill(pid, signal.SIGKILL)
        claimant.join(30)
        check(said and said[0].status >= 500, f"its answer: {[a.body for a in said]}")
        wait(lambda: (get(s, "p")["claimedCount"], members(s, "p", "Running")) == (0, set()), 30, "nobody has another")


@test
def what_a_claim_may_not_ask():
    root_only()
    with Service() as s:
        pool(s, "p", 1)
        before = members(s, "p", "Ready")
        for name in ("runtimeClass", "secureRuntime"):
            answer = s.call("POST", "/v1/warm-pools/p/claim", {name: "gvisor"})
            check_equal((answer.status, answer.code), (409, "SANDBOX_NOT_READY"), name)
            check("'native'" in answer.json["error"]["message"] and "'gvisor'" in answer.json["error"]["message"], answer.body)
            check_equal(fields(s.call("POST", "/v1/warm-pools/p/claim", {name: 1})), [name], f"{name}: 1")
        for body, field in (({"secrets": [{"nhi": "x"}]}, "secrets"), ({"agentNhi": {"spiffeId": "spiffe://x/y"}}, "agentNhi"), ({"delegationChain": [{}]}, "delegationChain"),
                            ({"networkPolicy": {"defaultAction": "Allow"}}, "networkPolicy.defaultAction")):
            answer = s.call("POST", "/v1/warm-pools/p/claim", body)
            check_equal((answer.status, answer.code, fields(answer)), (501, "NOT_SUPPORTED", [field]), body)
        for body, wanted in (({"image": "host"}, ["image"]), ({"x": 1, "y": 1}, ["x", "y"]), ({"env": {"A=": "b"}}, ["env.A="]), ({"env": {"A": 1}, "labels": 3}, ["env.A", "labels"]),
                             ({"ttlSeconds": 0}, ["ttlSeconds"]), ({"ttlSeconds": -1}, ["ttlSeconds"]), ({"ttlSeconds": 1e12}, ["ttlSeconds"]),
                             ({"idleTimeoutSeconds": "1"}, ["idleTimeoutSeconds"]), ({"fallback": "no"}, ["fallback"]),
                             ({"resourceLimits": {"memoryBytes": 1, "x": 1}}, ["resourceLimits.memoryBytes", "resourceLimits.x"]),
                             ({"labels": {f"l{i}": "" for i in range(65)}}, ["labels.l64"])):
            answer = s.call("POST", "/v1/warm-pools/p/claim", body)
            check_equal((answer.status, sorted(fields(answer))), (400, sorted(wanted)), json.dumps(body)[:200])
        for headers in ({"Idempotency-Key": ""}, {"Idempotency-Key": "a b"}, {"Idempotency-Key": "k" * 129}):
            check_equal(fields(s.call("POST", "/v1/warm-pools/p/claim", {}, headers=headers)), ["Idempotency-Key"], headers)
        check_equal((members(s, "p", "Ready"), get(s, "p")["claimedCount"]), (before, 0), "what was refused took none")
        same = claim(s, "p", runtimeClass="native", secureRuntime="auto", secrets=[], agentNhi=None, delegationChain=[], networkPolicy="deny-all", env=None, files=None)
        check(same["fromPool"], "what says what is so anyway is taken")


@test
def empty_pools():
    root_only()
    with Service() as s:
        pool(s, "p", 0)
        answer = s.call("POST", "/v1/warm-pools/p/claim", {"fallback": False})
        check_equal((answer.status, answer.code), (503, "NO_READY_SANDBOXES"), "without fallback")
        check("'p'" in answer.json["error"]["message"] and answer.json["error"]["hint"], answer.body)
        cold = claim(s, "p", env={"A": "b"}, files=[{"path": "/tmp/f", "text": "there"}])
        check_equal(cold["fromPool"], False, "with fallback")
        check_equal(s.exec(cold["sandboxId"], "sh", "-c", "echo $A; cat /tmp/f")["stdout"], b"b\nthere", "with all that was asked")
        check_equal(s.good("GET", f"/v1/sandboxes/{cold['sandboxId']}")["poolId"], "p", "its pool")
        found = []
        threads = [threading.Thread(target=lambda: found.append(claim(s, "p"))) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check_equal(len({f["sandboxId"] for f in found}), 6, "six at once")
        line = next(x for x in s.good("GET", "/metrics").decode().splitlines() if x.startswith('creto_runtime_pool_cold_claims_total{pool_id="p"}'))
        check_equal(float(line.split()[-1]), 7, "cold claims")


@test
def a_key_is_one_sandbox():
    root_only()
    with Service(tcp=True) as s:
        agents = [s.good("POST", "/v1/api-keys", {"name": n, "role": "agent"})["key"] for n in ("one", "two")]
        pool(s, "p", 3, 6)
        key = {"Idempotency-Key": "once-1"}
        first = claim(s, "p", key=agents[0], headers=key)
        check_equal(claim(s, "p", key=agents[0], headers=key)["sandboxId"], first["sandboxId"], "the same again")
        check(claim(s, "p", key=agents[1], headers=key)["sandboxId"] != first["sandboxId"], "the key of another caller")
        check(claim(s, "p", key=agents[0], headers={"Idempotency-Key": "once-2"})["sandboxId"] != first["sandboxId"], "another key")
        for _ in range(2):
            answer = s.call("POST", "/v1/warm-pools/p/claim", {"env": {"A": "1"}}, key=agents[0], headers=key)
            check_equal((answer.status, answer.code), (400, "INVALID_SPEC"), "the key of another request")
            check(first["sandboxId"] in answer.json["error"]["message"] and "new key" in answer.json["error"]["hint"], answer.body)
            s.kill("creto-runtimed")
        check_equal(claim(s, "p", key=agents[0], headers=key)["sandboxId"], first["sandboxId"], "after a restart")
        check_equal(get(s, "p")["claimedCount"], 3, "claimed")

        pool(s, "empty", 0, 9)
        found = []
        threads = [threading.Thread(target=lambda: found.append(claim(s, "empty", key=agents[0], headers={"Idempotency-Key": "cold"})["sandboxId"])) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check_equal(len(set(found)), 1, "four at once, where none was ready")
        check_equal(get(s, "empty")["claimedCount"], 1, "claimed")
        made = s.good("POST", "/v1/sandboxes", {}, key=agents[0], headers={"Idempotency-Key": "spawned"})["sandboxId"]
        answer = s.call("POST", "/v1/warm-pools/p/claim", {}, key=agents[0], headers={"Idempotency-Key": "spawned"})
        check_equal((answer.status, answer.code), (400, "INVALID_SPEC"), "a key of something else")
        check(made in answer.json["error"]["message"], answer.body)


@test
def a_key_and_its_files():
    """Who asks again while files are placed gets the answer when they are; a claim that came to nothing leaves its key free."""
    root_only()
    big = [{"path": f"/home/agent/f{i}", "text": "x" * 60000} for i in range(12)]
    with Service() as s:
        pool(s, "p", 2, 4)
        said = []
        threads = [threading.Thread(target=lambda: said.append(s.call("POST", "/v1/warm-pools/p/claim", {"files": big}, headers={"Idempotency-Key": "k1"})))
                   for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check_equal([a.status for a in said], [200] * 4, f"{[a.body for a in said]}")
        check_equal(len({a.json["sandboxId"] for a in said}), 1, "sandboxes for one key")
        answer = s.call("POST", "/v1/warm-pools/p/claim", {"files": [{"path": "/proc/none/x", "text": ""}]}, headers={"Idempotency-Key": "k2"})
        check_equal((answer.status, answer.code), (400, "INVALID_SPEC"), "a file that cannot be written")
        answer = s.call("POST", "/v1/warm-pools/p/claim", {}, headers={"Idempotency-Key": "k2"})
        check_equal(answer.status, 200, f"the same key: {answer.body!r}")
        check_equal(s.exec(answer.json["sandboxId"], "echo", "on")["stdout"], b"on\n", "it is one that lives")


@test
def a_reusable_one_is_replaced():
    root_only()
    with Service() as s:
        pool(s, "p", 1, 2, reusable=True)
        old = claim(s, "p")["sandboxId"]
        s.exec(old, "sh", "-c", "echo secret > /home/agent/f; echo secret > /tmp/f")
        answer = s.good("POST", f"/v1/warm-pools/p/release/{old}")
        check_equal((answer["status"], answer["replaced"]), ("Terminated", True), "release")
        full(s, "p", 2)
        for _ in range(2):
            new = claim(s, "p", fallback=False)["sandboxId"]
            check(new != old, "a fresh one")
            check_equal(s.exec(new, "sh", "-c", "cat /home/agent/f /tmp/f 2>/dev/null; ls -A /tmp")["stdout"], b"", "nothing of the old one is in it")
        check_equal(s.status(old), "Terminated", "the old one")


@test
def restarts_keep_what_is_ready():
    root_only()
    with Service() as s:
        pool(s, "p", 4, 8, {**SMALL, "env": {"A": "b"}}, reusable=True, maxAgeSeconds=3600)
        pool(s, "drained", 0)
        s.good("POST", "/v1/warm-pools/drained/drain")
        mine = claim(s, "p", env={"C": "d"})["sandboxId"]
        full(s, "p", 4)
        ready, before = members(s, "p", "Ready"), get(s, "p")
        for which in ("creto-runtimed", "creto-warden", "creto-runtimed"):
            s.kill(which)
            full(s, "p", 4)
            check_equal(members(s, "p", "Ready"), ready, f"ready after {which} was killed")
            after = get(s, "p")
            for name in ("owner", "state", "template", "minReady", "maxReady", "maxAgeSeconds", "reusable", "autoScaling", "createdAt", "claimedCount"):
                check_equal(after[name], before[name], f"{name} after {which} was killed")
        check_equal(get(s, "drained")["state"], "Draining", "the drained one")
        check_equal(s.exec(mine, "sh", "-c", "echo $A $C")["stdout"], b"b d\n", "the claimed one")
        next_one = claim(s, "p", fallback=False)
        check(next_one["sandboxId"] in ready and next_one["fromPool"], next_one)
        check_equal(s.good("POST", f"/v1/warm-pools/p/release/{mine}")["replaced"], True, "one that an earlier daemon gave out comes back")


if __name__ == "__main__":
    main()
