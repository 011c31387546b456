#!/usr/bin/python3
"""The service over its API: what its routes do, what survives which death, and who may see what."""
import base64
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import IS_ROOT, Host, check, check_equal, main, skip, test  # noqa: E402
from service import RUNTIMED, Events, Service, WebSocket, wait  # noqa: E402

COUNT = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; exit 7"
COUNTED = b"".join(b"line %d\n" % i for i in range(1, 41))


def root_only():
    if not IS_ROOT:
        skip("the service is started as root")


@test
def a_sandbox_from_spawn_to_terminate():
    root_only()
    with Service() as s:
        sb = s.spawn(env={"A": "1"}, labels={"team": "x"}, ttlSeconds=600)
        one = s.good("GET", f"/v1/sandboxes/{sb}")
        check_equal((one["status"], one["owner"], one["spec"]["env"]), ("Ready", "root", {"A": "1"}), "sandbox")
        check(one["spec"]["resourceLimits"]["memoryBytes"] == 512 << 20 and one["expiresAt"], one)
        out = s.exec(sb, "sh", "-c", "echo $A $B; cat; echo no >&2; exit 3", stdin="in", env={"B": "2"})
        check_equal((out["stdout"], out["stderr"], out["exitCode"]), (b"1 2\nin", b"no\n", 3), "exec")
        check_equal(s.status(sb), "Running", "status")
        use = s.good("GET", f"/v1/sandboxes/{sb}/status")
        check(use["usage"]["memoryLimit"] if False else use["usage"]["diskTotalBytes"] > 0, use)
        listed = s.good("GET", "/v1/sandboxes?status=Running&label=team%3Dx")["sandboxes"]
        check_equal([x["sandboxId"] for x in listed], [sb], "list")
        check(b"SandboxSpawned" in s.good("GET", f"/v1/sandboxes/{sb}/logs") and b"in" in s.good("GET", f"/v1/sandboxes/{sb}/logs?tail=2"), "logs")
        check_equal(s.good("POST", f"/v1/sandboxes/{sb}/pause")["status"], "Paused", "paused")
        check_equal(s.call("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "true"}}).code, "SANDBOX_NOT_READY", "exec in a paused one")
        check_equal(s.good("POST", f"/v1/sandboxes/{sb}/resume")["status"], "Running", "resumed")
        check_equal(s.exec(sb, "true")["exitCode"], 0, "exec after resume")
        check_equal(s.terminate(sb)["status"], "Terminated", "terminated")
        check_equal(s.good("GET", "/v1/sandboxes")["sandboxes"], [], "plain list")
        check_equal(len(s.good("GET", "/v1/sandboxes?all=true")["sandboxes"]), 1, "list of all")


@test
def files_go_both_ways():
    root_only()
    data = os.urandom(1 << 20) * 8
    with Service() as s:
        sb = s.spawn()
        url = f"/v1/sandboxes/{sb}/files?path="
        check_equal(s.good("PUT", url + "/home/agent/f&mode=0600", data)["bytes"], len(data), "written")
        check(s.good("GET", url + "/home/agent/f") == data, "what was written is read")
        entries = s.good("GET", url + "/home/agent")["entries"]
        check_equal([(e["name"], e["type"], e["size"], e["mode"]) for e in entries], [("f", "file", len(data), "0600")], "listing")
        s.good("PUT", url + "/home/agent/d/e&directory=true")
        s.good("PUT", url + "/home/agent/d/e/empty", b"")
        check_equal(s.good("GET", url + "/home/agent/d/e/empty"), b"", "an empty file")
        check_equal(s.call("DELETE", url + "/home/agent/d").status, 400, "a directory that is not empty")
        s.good("DELETE", url + "/home/agent/d&recursive=true")
        check_equal(s.call("GET", url + "/home/agent/d").json["error"]["details"]["errno"], 2, "what is not there")
        check_equal(s.call("PUT", url + "/usr/bin/x", b"x").code, "AUTHORIZATION_DENIED", "a file in /usr")
        check_equal(s.call("GET", url + "relative").status, 400, "a relative path")
        check_equal(s.status(sb), "Ready", "files are no command")


@test
def a_directory_takes_no_content():
    root_only()
    with Service() as s:
        sb = s.spawn()
        s.good("PUT", f"/v1/sandboxes/{sb}/files?path=/home/agent/d&directory=true", b"x" * 100000)
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}/files?path=/home/agent/d"), {"path": "/home/agent/d", "entries": []}, "what is in it")


@test
def half_an_upload_changes_nothing():
    root_only()
    with Service() as s:
        sb = s.spawn()
        s.good("PUT", f"/v1/sandboxes/{sb}/files?path=/home/agent/f", b"before")
        c = s.connect()
        c.putrequest("PUT", f"/v1/sandboxes/{sb}/files?path=/home/agent/f")
        c.putheader("Content-Length", "1000000")
        c.endheaders(b"x" * 300000)
        time.sleep(0.2)
        c.close()
        wait(lambda: s.good("GET", f"/v1/sandboxes/{sb}/exec")["execs"] == [], 5, "the writer is gone")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}/files?path=/home/agent/f"), b"before", "the file")
        check_equal(len(s.good("GET", f"/v1/sandboxes/{sb}/files?path=/home/agent")["entries"]), 1, "files")


@test
def output_streams_as_it_comes():
    root_only()
    with Service() as s:
        sb = s.spawn()
        began = time.monotonic()
        e = Events(s, "POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "sh", "args": ["-c", "echo a; sleep 1; echo b >&2; exit 5"]}})
        seen = []
        for event, _, data in e:
            seen.append((event, time.monotonic() - began, data))
        check_equal([x[0] for x in seen], ["started", "stdout", "stderr", "exit"], "events")
        check(seen[1][1] < 0.8 and seen[2][1] > 0.9, f"times {[x[1] for x in seen]}")
        check_equal((seen[3][2]["exitCode"], seen[3][2]["status"]), (5, 5), "end")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}/exec")["execs"], [], "what was taken is forgotten")


@test
def a_websocket_carries_both_ways():
    root_only()
    with Service() as s:
        sb = s.spawn()
        data = os.urandom(700000)
        x = s.good("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "cat"}, "detach": True})["execId"]
        w = WebSocket(s, sb, x)
        check(b"Sec-WebSocket-Protocol: v5.channel.k8s.io" in w.head, w.head)

        def feed():
            for i in range(0, len(data), 30000):
                w.put(0, data[i:i + 30000])
            w.put(255, b"\0")

        t = threading.Thread(target=feed)
        t.start()
        out, _, end = w.run()
        t.join()
        check(out == data, f"{len(out)} bytes came back of {len(data)}")
        check_equal(end["exitCode"], 0, "exit code")
        w.close()
        wait(lambda: s.good("GET", f"/v1/sandboxes/{sb}/exec")["execs"] == [], 5, "the command is forgotten")


@test
def a_terminal_over_a_websocket():
    root_only()
    with Service() as s:
        sb = s.spawn()
        x = s.good("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "sh", "tty": True, "rows": 30, "cols": 100}, "detach": True})["execId"]
        w = WebSocket(s, sb, x)
        w.put(0, b"stty size\n")
        time.sleep(0.3)
        w.put(4, b'{"Width":81,"Height":25}')
        time.sleep(0.3)
        w.put(0, b"stty size; exit 4\n")
        out, _, end = w.run()
        check(b"30 100" in out and b"25 81" in out and end["exitCode"] == 4, (out, end))
        w.close()


@test
def signals_reach_a_command():
    root_only()
    with Service() as s:
        sb = s.spawn()
        x = s.good("POST", f"/v1/sandboxes/{sb}/exec",
                   {"command": {"program": "sh", "args": ["-c", "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.05; done"]}, "detach": True})["execId"]
        w = WebSocket(s, sb, x)
        w.run(want=3)
        w.put(5, b'{"signal":15,"group":false}')
        out, _, end = w.run()
        check_equal((out, end["exitCode"]), (b"got\n", 9), "trap")
        w.close()


@test
def an_exec_goes_on_over_the_death_of_the_daemon():
    root_only()
    with Service() as s:
        sb = s.spawn()
        e = Events(s, "POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "sh", "args": ["-c", COUNT]}})
        out, number = b"", None
        for event, _, data in e:
            if event == "started":
                number = data["execId"]
            if event == "stdout":
                check_equal(data["offset"], len(out), "offset")
                out += base64.b64decode(data["data"])
            if len(out) > 80:
                break
        s.kill("creto-runtimed")
        e.close()
        e = Events(s, "GET", f"/v1/sandboxes/{sb}/exec/{number}/attach?stdoutOffset={len(out)}")
        for event, _, data in e:
            if event == "stdout":
                check_equal(data["offset"], len(out), "offset after the restart")
                out += base64.b64decode(data["data"])
            if event == "exit":
                check_equal(data["exitCode"], 7, "exit code")
        check(out == COUNTED, f"{len(out)} of {len(COUNTED)} bytes")


@test
def an_end_waits_for_who_asks_after_a_restart():
    root_only()
    with Service() as s:
        sb = s.spawn()
        x = s.good("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "sh", "args": ["-c", "echo out; sleep 0.5; exit 42"]}, "detach": True})["execId"]
        s.kill("creto-runtimed")
        time.sleep(0.7)
        s.kill("creto-runtimed")
        w = WebSocket(s, sb, x)
        out, _, end = w.run()
        check_equal((out, end["exitCode"]), (b"out\n", 42), "output and exit code")
        w.close()


@test
def sandboxes_outlive_daemon_and_warden():
    root_only()
    with Service() as s:
        ids = [s.spawn(labels={"n": str(i)}) for i in range(5)]
        for sb in ids:
            s.exec(sb, "sh", "-c", "echo mine > f")
        s.kill("creto-runtimed")
        s.kill("creto-warden")
        check_equal(sorted(x["sandboxId"] for x in s.good("GET", "/v1/sandboxes?status=Running")["sandboxes"]), sorted(ids), "sandboxes")
        for sb in ids:
            check_equal(s.exec(sb, "cat", "f")["stdout"], b"mine\n", "file")
        os.kill(s.warden, signal.SIGKILL)
        check_equal(s.exec(ids[0], "true")["exitCode"], 0, "exec without a warden")
        new = s.spawn()
        check_equal(s.exec(new, "true")["exitCode"], 0, "a sandbox of the warden that follows")


@test
def one_that_is_paused_holds_up_no_restart():
    root_only()
    with Service() as s:
        sleeps, other = s.spawn(), s.spawn()
        s.exec(sleeps, "true")
        s.good("POST", f"/v1/sandboxes/{sleeps}/pause")
        for which in ("creto-runtimed", "creto-warden"):
            s.kill(which)
            check_equal((s.status(sleeps), s.exec(other, "echo", "x")["stdout"]), ("Paused", b"x\n"), f"after the death of {which}")
        check_equal(s.call("POST", f"/v1/sandboxes/{sleeps}/exec", {"command": {"program": "true"}}).code, "SANDBOX_NOT_READY", "a command of one that is paused")
        s.good("POST", f"/v1/sandboxes/{sleeps}/resume")
        check_equal(s.exec(sleeps, "echo", "y")["stdout"], b"y\n", "after it was resumed")


@test
def a_killed_monitor_takes_daemon_and_warden_along_and_leaves_sandboxes():
    root_only()
    s = Service()
    with s:
        sb = s.spawn()
        s.exec(sb, "sh", "-c", "echo mine > f")
        pids = list(s.pids().values())
        s.process.kill()
        s.process.wait()
        wait(lambda: not any(os.path.exists(f"/proc/{p}") and open(f"/proc/{p}/stat").read().split()[2] != "Z" for p in pids), 10, "daemon and warden are gone")
        s.start()
        check_equal(s.exec(sb, "cat", "f")["stdout"], b"mine\n", "file")


@test
def a_stop_ends_everything():
    root_only()
    before = Host()
    with Service() as s:
        for _ in range(3):
            s.exec(s.spawn(), "sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
        s.stop()
        check_equal(os.listdir(os.path.join(s.run_dir, "sandboxes")), [], "records")
    wait(lambda: not before.compare(Host()), 10, "the host is as it was")


@test
def the_same_key_is_the_same_sandbox():
    root_only()
    with Service() as s:
        body, key = {"spec": {"labels": {"a": "b"}}}, {"Idempotency-Key": "one"}
        first = s.good("POST", "/v1/sandboxes", body, headers=key)
        check_equal(s.good("POST", "/v1/sandboxes", body, headers=key)["sandboxId"], first["sandboxId"], "again")
        s.kill("creto-runtimed")
        check_equal(s.good("POST", "/v1/sandboxes", body, headers=key)["sandboxId"], first["sandboxId"], "after a restart")
        check_equal(s.call("POST", "/v1/sandboxes", {"spec": {}}, headers=key).status, 400, "another spec")
        check_equal(len(s.good("GET", "/v1/sandboxes")["sandboxes"]), 1, "sandboxes")


@test
def time_ends_sandboxes():
    root_only()
    with Service() as s:
        short, idle, busy = s.spawn(ttlSeconds=1), s.spawn(idleTimeoutSeconds=0.5), s.spawn(idleTimeoutSeconds=0.5)
        x = s.good("POST", f"/v1/sandboxes/{busy}/exec", {"command": {"program": "sleep", "args": ["1.5"]}, "detach": True})["execId"]
        wait(lambda: s.status(idle) == "Terminated", 3, "idle timeout")
        check_equal((s.status(short), s.status(busy)), ("Ready", "Running"), "the others")
        wait(lambda: s.status(short) == "Terminated", 3, "TTL")
        check_equal(s.status(busy), "Running", "one that runs a command")
        wait(lambda: s.status(busy) == "Terminated", 4, f"idle after {x}")
        kept = s.spawn(ttlSeconds=1)
        s.good("POST", f"/v1/sandboxes/{kept}/renew", {"ttlSeconds": 100})
        time.sleep(1.3)
        check_equal(s.status(kept), "Ready", "renewed")


@test
def what_dies_is_said_and_made_again_where_asked():
    root_only()
    with Service() as s:
        for policy, wanted in (("Never", "Failed"), ("OnFailure", "Ready")):
            sb = s.spawn(restartPolicy=policy)
            pid = next(int(p) for p in os.listdir("/proc") if p.isdigit() and sb.encode() in _hostname(p))
            os.kill(pid, signal.SIGKILL)
            wait(lambda: s.status(sb) != "Ready", 5, "it is seen")
            wait(lambda: s.status(sb) == wanted, 10, f"{policy}: {wanted}, not {s.status(sb)}")
            if wanted == "Failed":
                failure = s.good("GET", f"/v1/sandboxes/{sb}")["failure"]
                check("creto-init ended" in failure["message"], failure)
            else:
                check_equal(s.exec(sb, "true")["exitCode"], 0, "exec in the new one")


@test
def what_dies_is_not_made_again_in_a_class_that_is_drained():
    """Also where it is drained between the two."""
    root_only()
    with Service() as s:
        sb = s.spawn(restartPolicy="OnFailure")
        for i in range(3):  # each time it waits longer
            pid = next(int(p) for p in os.listdir("/proc") if p.isdigit() and sb.encode() in _hostname(p))
            os.kill(pid, signal.SIGKILL)
            wait(lambda: s.status(sb) == "Failed", 5, "it is seen")
            if i < 2:
                wait(lambda: s.status(sb) == "Ready", 10, "it is made again")
        s.good("POST", "/v1/runtimes/native/drain")
        check_equal(s.status(sb), "Failed", "it waits to be made again")
        time.sleep(3)
        check_equal(s.status(sb), "Failed", "in a class that is drained")


def _hostname(pid):
    """The host name that a process sees, where it is pid 1 of its namespace."""
    try:
        with open(f"/proc/{pid}/status") as f:
            spaces = re.search(r"NSpid:\t(.*)", f.read()).group(1).split()
        if len(spaces) < 2 or spaces[-1] != "1":
            return b""
        return subprocess.run(["nsenter", "-t", pid, "-u", "hostname"], capture_output=True, check=False).stdout
    except (OSError, AttributeError):
        return b""


@test
def wrong_requests_change_nothing():
    root_only()
    with Service() as s:
        sb = s.spawn()
        cases = [
            ("POST", "/v1/sandboxes", b"{", "INVALID_SPEC"),
            ("POST", "/v1/sandboxes", b"[]", "INVALID_SPEC"),
            ("POST", "/v1/sandboxes", {"spec": {"nope": 1}}, "INVALID_SPEC"),
            ("POST", "/v1/sandboxes", {"spec": {"resourceLimits": {"memoryBytes": 1}}}, "INVALID_SPEC"),
            ("POST", "/v1/sandboxes", {"spec": {"resourceLimits": {"memoryBytes": 1 << 43}}}, "RESOURCE_EXHAUSTED"),
            ("POST", "/v1/sandboxes", {"spec": {"secrets": [{"a": 1}]}}, "NOT_SUPPORTED"),
            ("POST", "/v1/sandboxes", {"spec": {"runtimeClass": "no-such"}}, "INVALID_SPEC"),
            ("POST", "/v1/sandboxes", {"spec": {"image": "dir:/etc"}}, "NOT_SUPPORTED"),
            ("POST", "/v1/sandboxes", b'{"spec":{"env":{"A":"' + b"x" * 3000000 + b'"}}}', "INVALID_SPEC"),
            ("POST", f"/v1/sandboxes/{sb}/exec", {}, "INVALID_SPEC"),
            ("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": ""}}, "INVALID_SPEC"),
            ("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "x" * 200000}}, "INVALID_SPEC"),
            ("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "nonesuch"}}, "INVALID_SPEC"),
            ("GET", "/v1/sandboxes/nope", None, "SANDBOX_NOT_FOUND"),
            ("GET", "/v1/sandboxes/..%2f..", None, "SANDBOX_NOT_FOUND"),
            ("GET", "/v1/nothing", None, "SANDBOX_NOT_FOUND"),
            ("PATCH", "/v1/sandboxes", None, "INVALID_SPEC"),
            ("GET", "/v1/sandboxes?limit=0", None, "INVALID_SPEC"),
            ("GET", "/v1/sandboxes?limit=x", None, "INVALID_SPEC"),
            ("GET", "/v1/sandboxes?nope=1", None, "INVALID_SPEC"),
            ("GET", f"/v1/sandboxes/{sb}/exec/ex-9", None, "SANDBOX_NOT_FOUND"),
            ("GET", f"/v1/sandboxes/{sb}/exec/ex-1/attach", None, "SANDBOX_NOT_FOUND"),
        ]
        for method, path, body, code in cases:
            a = s.call(method, path, body)
            e = a.json["error"]
            check_equal(e["code"], code, f"{method} {path} {str(body)[:80]}: {e['message']}; code")
            check(e["message"] and e["requestId"] and isinstance(e["details"], dict), e)
        many = s.call("POST", "/v1/sandboxes", {"spec": {"nope": 1, "ttlSeconds": -1, "env": {"A": 1}}}).json["error"]["details"]["fields"]
        check_equal([f["field"] for f in many], ["spec.nope", "spec.ttlSeconds", "spec.env.A"], "offending fields")
        check_equal([x["sandboxId"] for x in s.good("GET", "/v1/sandboxes?all=true")["sandboxes"]], [sb], "sandboxes")


@test
def a_caller_sees_its_own():
    root_only()
    with Service(tcp=True) as s:
        keys = {n: s.good("POST", "/v1/api-keys", {"name": n, "role": r})["key"]
                for n, r in (("a", "agent"), ("b", "agent"), ("op", "operator"), ("boss", "admin"))}
        check_equal(s.call("GET", "/v1/sandboxes", connection=s.connect_tcp()).status, 401, "no key")
        check_equal(s.call("GET", "/v1/sandboxes", key="creto_00000000_00").status, 401, "a wrong key")
        check_equal(s.call("GET", "/health", connection=s.connect_tcp()).status, 200, "health is open")
        sb = s.spawn(api_key=keys["b"])
        s.exec(sb, "sh", "-c", "echo secret > f", key=keys["b"])
        check_equal(s.good("GET", "/v1/sandboxes", key=keys["a"])["sandboxes"], [], "what a sees")
        check_equal(len(s.good("GET", "/v1/sandboxes", key=keys["op"])["sandboxes"]), 1, "what an operator sees")
        unknown = s.call("GET", "/v1/sandboxes/sb-000000000000", key=keys["a"]).json["error"]["message"]
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/status"), ("GET", "/logs"), ("POST", "/pause"), ("POST", "/resume"),
                             ("POST", "/renew"), ("POST", "/exec"), ("GET", "/exec"), ("GET", "/exec/ex-1"), ("GET", "/exec/ex-1/attach"),
                             ("POST", "/exec/ex-1/signal"), ("DELETE", "/exec/ex-1"), ("GET", "/files?path=/home/agent/f"),
                             ("PUT", "/files?path=/home/agent/f"), ("DELETE", "/files?path=/home/agent/f")):
            a = s.call(method, f"/v1/sandboxes/{sb}{path}", {} if method == "POST" else None, key=keys["a"])
            check_equal((a.status, a.code), (404, "SANDBOX_NOT_FOUND"), f"{method} {path}")
            check_equal(a.json["error"]["message"].replace(sb, "sb-000000000000"), unknown, "the same as for one that is not there")
        for method, path in (("GET", "/metrics"), ("GET", "/v1/api-keys"), ("POST", "/v1/api-keys"), ("POST", "/v1/runtimes/native/drain")):
            check_equal(s.call(method, path, {} if method == "POST" else None, key=keys["a"]).status, 403, f"{method} {path}")
        check_equal(s.exec(sb, "cat", "f", key=keys["b"])["stdout"], b"secret\n", "b's file")
        listed = s.good("GET", "/v1/api-keys", key=keys["boss"])["keys"]
        s.good("DELETE", "/v1/api-keys/" + next(k["keyId"] for k in listed if k["name"] == "b"), key=keys["boss"])
        check_equal(s.call("GET", "/v1/sandboxes", key=keys["b"]).status, 401, "a revoked key")
        s.kill("creto-runtimed")
        check_equal((s.call("GET", "/v1/sandboxes", key=keys["b"]).status, s.call("GET", "/v1/sandboxes", key=keys["a"]).status), (401, 200), "after a restart")
        with open(os.path.join(s.state_dir, "service/runtime.db"), "rb") as f:
            text = f.read()
        check(not any(k.split("_")[2].encode() in text for k in keys.values()), "keys are not kept as they are")


@test
def a_store_of_the_first_schema_is_taken_over():
    root_only()
    with Service() as s:
        key = s.good("POST", "/v1/api-keys", {"name": "old", "role": "agent"})
        s.stop()
        db = sqlite3.connect(os.path.join(s.state_dir, "service/runtime.db"), isolation_level=None)
        db.executescript("PRAGMA journal_mode=WAL; ALTER TABLE kv RENAME TO second;"
                         "CREATE TABLE kv(key TEXT PRIMARY KEY, value BLOB NOT NULL, made INTEGER NOT NULL, changed INTEGER NOT NULL) WITHOUT ROWID;"
                         "INSERT INTO kv SELECT key,value,made,changed FROM second; DROP TABLE second;"
                         "UPDATE revision SET at=(SELECT max(changed) FROM kv); PRAGMA user_version=1;")
        db.close()
        s.start()
        check_equal([k["keyId"] for k in s.good("GET", "/v1/api-keys")["keys"]], [key["keyId"]], "the keys")
        s.spawn()


@test
def drained_takes_nothing_new():
    root_only()
    with Service() as s:
        sb = s.spawn()
        s.good("POST", "/v1/runtimes/native/drain")
        check_equal(s.call("POST", "/v1/sandboxes", {}).code, "BACKEND_UNAVAILABLE", "a new one")
        check_equal(s.exec(sb, "true")["exitCode"], 0, "one that is there")
        s.good("POST", "/v1/runtimes/native/enable")
        s.spawn()


@test
def events_are_told():
    root_only()
    with Service() as s:
        e = Events(s, "GET", "/v1/events")
        sb = s.spawn()
        s.exec(sb, "false")
        s.terminate(sb)
        seen, last = [], None
        for event, number, data in e:
            check_equal(data["sandboxId"], sb, "sandbox")
            seen.append(event)
            last = last or number
            if event == "SandboxTerminated":
                break
        check_equal(seen, ["SandboxSpawned", "ExecStarted", "ExecFinished", "SandboxTerminated"], "events")
        e.close()
        again = Events(s, "GET", "/v1/events", headers={"Last-Event-ID": last})
        check_equal(next(iter(again))[0], "ExecStarted", "what comes after an id")
        again.close()


@test
def a_slow_reader_holds_up_nobody_else():
    root_only()
    with Service() as s:
        sb = s.spawn()
        e = Events(s, "POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "sh", "args": ["-c", "yes | head -c 50000000"]}})
        time.sleep(0.5)  # nothing is read of it
        for _ in range(20):
            check_equal(s.exec(sb, "echo", "x")["stdout"], b"x\n", "another command of the same sandbox")
        with open(f"/proc/{s.daemon}/status") as f:
            rss = int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
        check(rss < 40000, f"the daemon has {rss} KiB")
        total = sum(len(base64.b64decode(d["data"])) for event, _, d in e if event == "stdout")
        check_equal(total, 50000000, "bytes")


@test
def a_second_service_is_refused_by_name():
    root_only()
    with Service() as s:
        p = subprocess.run([RUNTIMED, "--run-dir", s.run_dir, "--state-dir", s.state_dir, "--listen", ""], capture_output=True, text=True, timeout=10, check=False)
        check(p.returncode == 69 and "runs already" in p.stderr, p)
        check_equal(s.exec(s.spawn(), "true")["exitCode"], 0, "the first goes on")


@test
def metrics_are_counted():
    root_only()
    with Service() as s:
        s.exec(s.spawn(), "true")
        text = s.good("GET", "/metrics").decode()
        check('creto_runtime_sandboxes{status="Running"} 1' in text, "gauge")
        check(re.search(r'creto_runtime_spawn_latency_seconds_count\{backend="native"\} 1\b', text), "histogram")
        check("creto_runtime_exec_latency_seconds_count 1" in text, "exec")


if __name__ == "__main__":
    sys.exit(main())
