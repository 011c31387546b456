#!/usr/bin/python3
"""The API against its own document: what openapi.json says is what is done, for anything that it allows and for what it does not; and an agent who
walks all of it finds nothing of another's."""
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import IS_ROOT, Failed, check, check_equal, main, skip, test  # noqa: E402
from python_tools import tool  # noqa: E402
from service import Service  # noqa: E402

EXAMPLES = int(os.environ.get("CRETO_API_EXAMPLES", "30"))
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def root_only():
    if not IS_ROOT:
        skip("the service is started by root")


def alone():
    """A network namespace of our own, with nothing but loopback: whatever a generated request names, it reaches nobody."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise Failed(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))


def narrowed(document):
    """The document with what lies outside of the API's power pinned: names of programs, files, users and images that a sandbox of this host has. Streams
    without end and what would keep the others from being tested (drain) are left to test_service.py."""
    schemas, paths = document["components"]["schemas"], document["paths"]
    spec, command = schemas["Spec"]["properties"], schemas["Command"]["properties"]
    spec["image"] = {"enum": ["host", None]}
    del schemas["Spec"]["properties"]["user"]
    for name in ("resourceLimits", "resources"):
        del spec[name]["properties"]["diskInodes"]  # what fits depends on the size of the disk
    spec["prewarm"] = {"enum": [None]}  # whether it can start depends on the limits beside it
    spec["workingDir"] = command["cwd"] = {"enum": ["/", "/tmp", None]}
    command["program"] = {"enum": ["true", "echo"]}
    command["stdinEncoding"] = {"enum": ["utf-8", None]}
    command["user"] = {"enum": ["1000", None]}
    there = {"get": ["/etc/passwd", "/"], "put": ["/home/agent/f"], "delete": ["/etc/passwd"]}
    for method, operation in paths["/v1/sandboxes/{id}/files"].items():
        for p in operation["parameters"]:
            if p.get("name") == "path":
                p["schema"] = {"enum": there[method]}
            elif p.get("name") in ("directory", "list"):  # a file is no directory
                p["schema"] = {"enum": ["false"]}
    for path in ("/v1/sandboxes", "/v1/warm-pools/{id}/claim"):  # the same key with another body is refused, as it should be
        post = paths[path]["post"]
        post["parameters"] = [p for p in post["parameters"] if p.get("name") != "Idempotency-Key"]
    spec["vm"] = {"enum": [None, {}]}  # of machines, which take seconds
    del spec["engineOffer"]  # root has to have made one, which is taken once
    narrow_pools(document)
    del paths["/v1/sandboxes/{id}/exec"]["post"]["responses"]["202"]["links"]["attachExec"]
    for path in ("/v1/events", "/v1/sandboxes/{id}/exec/{execId}/attach", "/v1/runtimes/{name}/drain", "/v1/runtimes/{name}/enable"):
        del paths[path]
    return document


def narrow_pools(document):
    """Few sandboxes; what depends on what there is already (a minimum above the maximum that is set) is left to test_pool_edges.py."""
    schemas, paths = document["components"]["schemas"], document["paths"]
    for name, minimum in (("PoolCreate", [0]), ("PoolUpdate", [0, 1, None])):
        schemas[name]["properties"]["minReady"] = {"enum": minimum}
        schemas[name]["properties"]["maxReady"] = {"enum": [2, 3, None]}
    schemas["PoolCreate"]["required"] = ["id", "minReady"]
    schemas["PoolCreate"]["properties"]["templateSource"]["properties"] = {"format": {"enum": ["yaml", "json"]}, "text": {"enum": ["{}", '{"image": "host"}']}}
    schemas["Claim"]["properties"]["command"] = {"enum": [{"program": "true"}, None]}  # one that cannot start does not undo the claim
    schemas["Spec"]["properties"]["runtimeClass"] = {"enum": ["native", "crun", "runc", "gvisor", "auto", None]}  # a machine takes seconds
    claim = schemas["Claim"]["properties"]
    for name in ("resourceLimits", "resources"):
        for fixed in ("diskBytes", "diskInodes", "openFiles", "coreBytes", "outputBytesPerSecond"):
            del claim[name]["properties"][fixed]
    for name in ("runtimeClass", "secureRuntime"):
        claim[name] = {"enum": ["native", "auto", None]}
    file = claim["files"]["items"]["properties"]
    file["path"] = {"enum": ["/tmp/f", "/home/agent/new/f"]}
    file["content"] = {"enum": ["", "AAEC", None]}
    for operations in paths.values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content.pop("examples", None)  # their images are not on this host


# All that is done to a pool is done to one that is there, and goes on being there. A name that is taken is refused though the request is good.
SCHEMATHESIS = """
[[operations]]
include-operation-id = ["deletePool", "drainPool"]
enabled = false

[[operations]]
include-path-regex = "^/v1/warm-pools/[{]id[}]"
parameters = { "path.id" = "there" }

[[operations]]
include-operation-id = "createPool"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "503"]
"""


@test
def the_document_is_kept():
    root_only()
    st = tool("schemathesis")
    alone()
    with Service(tcp=True) as s:
        key = s.good("POST", "/v1/api-keys", {"name": "tester", "role": "admin"})["key"]
        path = os.path.join(s.top, "openapi.json")
        with open(path, "w") as f:
            json.dump(narrowed(s.good("GET", "/openapi.json")), f)
        with open(os.path.join(s.top, "schemathesis.toml"), "w") as f:
            f.write(SCHEMATHESIS)
        s.good("POST", "/v1/warm-pools", {"id": "there", "template": {"resourceLimits": {"memoryBytes": 64 << 20}}, "minReady": 1, "maxReady": 3})
        # 5xx: 501 and 503 are answers that the document promises; 500 is in none of its lists, so that it fails as an undocumented status.
        # Methods: a path's other methods get the error INVALID_SPEC, whose status is 400. After its end: a sandbox is known for a day.
        r = subprocess.run(
            [st, "run", path, "--url", f"http://127.0.0.1:{s.port}", "-H", f"Authorization: Bearer {key}", "--checks", "all",
             "--exclude-checks", "not_a_server_error,unsupported_method,use_after_free", "--max-examples", str(EXAMPLES), "--request-timeout", "20",
             "--continue-on-failure", "--no-color", "--generation-database", "none", "--seed", os.environ.get("CRETO_API_SEED", "1")],
            cwd=s.top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
        if os.environ.get("CRETO_API_REPORT"):
            with open(os.environ["CRETO_API_REPORT"], "w") as f:
                f.write(r.stdout)
        lines = r.stdout.splitlines()
        for line in lines[-8:]:
            print(f"  {line}")
        check_equal(r.returncode, 0, "\n".join(lines[-300:]))
        check(s.healthy(), "healthy after it")
        check("started again" not in s.said(), "nothing died of it")


def filled(path, values):
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    return path


@test
def another_agent_finds_nothing_by_any_route():
    root_only()
    with Service(tcp=True) as s:
        a, b = (s.good("POST", "/v1/api-keys", {"name": n, "role": "agent"})["key"] for n in "ab")
        sb = s.spawn(api_key=b, labels={"secret": "marker-of-b"}, env={"TOKEN": "marker-of-b"})
        s.exec(sb, "sh", "-c", "echo marker-of-b > f; echo marker-of-b", key=b)
        run = s.good("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "cat"}, "detach": True}, key=b)["execId"]
        before = s.good("GET", f"/v1/sandboxes/{sb}", key=b)
        s.good("POST", "/v1/warm-pools", {"id": "shared", "template": {}, "minReady": 1, "maxReady": 2})
        claimed = s.good("POST", "/v1/warm-pools/shared/claim", {"env": {"TOKEN": "marker-of-b"}, "files": [
            {"path": "/home/agent/f", "text": "marker-of-b"}]}, key=b)["sandboxId"]
        bodies = {"exec": {"command": {"program": "cat", "args": ["/home/agent/f"]}}, "renew": {"ttlSeconds": 1}, "signal": {"signal": 9},
                  "createApiKey": {"name": "mine", "role": "admin"}, "createSandbox": {"spec": {}}}
        walked = 0
        for path, operations in s.good("GET", "/openapi.json")["paths"].items():
            for method, operation in operations.items():
                pool = path.startswith("/v1/warm-pools")
                url = filled(path, {"id": "shared" if pool else sb, "execId": run, "keyId": "none", "name": "native", "sandboxId": claimed})
                wanted = [p["name"] for p in operation.get("parameters", []) if p.get("in") == "query" and p["required"]]
                if wanted:
                    check_equal(wanted, ["path"], "queries that a route needs")
                    url += "?path=/home/agent/f"
                if path == "/v1/events":
                    continue  # below
                name = operation["operationId"]
                body = next((v for k, v in bodies.items() if name.startswith(k)), {} if method in ("post", "patch") else None)
                answer = s.call(method.upper(), url, body, key=a)
                walked += 1
                check(b"marker-of-b" not in answer.body, f"{method} {url} shows what is b's: {answer.body[:300]!r}")
                if name != "createSandbox":
                    check(not any(i.encode() in answer.body for i in (sb, claimed)) or answer.status == 404, f"{method} {url} names it: {answer.body[:300]!r}")
                if "{id}" in path and not pool:
                    check_equal((answer.status, answer.code), (404, "SANDBOX_NOT_FOUND"), f"{method} {url}")
                elif name == "releaseSandbox":
                    check_equal((answer.status, answer.code), (404, "SANDBOX_NOT_FOUND"), f"{method} {url}")
                elif pool and operation.get("description", "").startswith("Needs the role operator"):
                    check_equal((answer.status, answer.code), (403, "AUTHORIZATION_DENIED"), f"{method} {url}")
                elif pool:
                    check_equal(answer.status, 200, f"{method} {url}")
        check(walked >= 38, f"only {walked} routes were walked")
        check_equal(s.exec(claimed, "cat", "f", key=b)["stdout"], b"marker-of-b", "b's claim")
        for query in (f"?sandboxId={sb}", ""):
            c = s.connect_tcp(timeout=1)
            c.request("GET", "/v1/events" + query, headers={"Authorization": f"Bearer {a}", "Last-Event-ID": "0"})
            r = c.getresponse()
            seen, end = b"", time.monotonic() + 1
            try:
                while time.monotonic() < end:
                    seen += r.readline()
            except OSError:
                pass
            c.close()
            check(sb.encode() not in seen and b"marker-of-b" not in seen, f"events{query}: {seen[:300]!r}")
        after = s.good("GET", f"/v1/sandboxes/{sb}", key=b)
        check_equal(after, before, "b's sandbox")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}/exec/{run}", key=b)["status"], "Running", "b's command")
        check_equal(s.exec(sb, "cat", "f", key=b)["stdout"], b"marker-of-b\n", "b's file")


if __name__ == "__main__":
    main()
