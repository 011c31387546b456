#!/usr/bin/python3
"""Runtime class qemu: a sandbox with a kernel of its own. One machine is booted, through a pool, and used by all tests that need one."""
import base64
import contextlib
import glob
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import IS_ROOT, check, check_equal, main, skip, test  # noqa: E402
from service import Events, Service, UnixConnection, wait  # noqa: E402
from client import Client  # noqa: E402
from one_image import Registry  # noqa: E402

BOOT_S = 120  # a generous deadline: a busy host emulates slowly
MEMORY = 192 << 20
shared = {}


class SlowService(Service):
    def connect(self, timeout=BOOT_S):
        return UnixConnection(self.socket, timeout)


def needs():
    if not IS_ROOT:
        skip("the service is started as root")
    if not os.path.exists("/usr/bin/qemu-system-x86_64"):
        skip("no qemu-system-x86_64 (package qemu-system-x86)")
    if not any(os.path.exists("/usr/lib/modules/" + k.split("vmlinuz-")[1] + "/modules.dep") for k in glob.glob("/boot/vmlinuz-*-cloud-amd64")):
        skip("no kernel for guests (package linux-image-cloud-amd64)")


def machine():
    """(service, sandbox): one that was claimed from a pool."""
    needs()
    if "error" in shared:
        raise shared["error"]
    if "service" not in shared:
        s = shared["service"] = SlowService().start()
        try:
            template = {"runtimeClass": "qemu", "env": {"A": "template"}, "resourceLimits": {"memoryBytes": MEMORY, "diskBytes": 64 << 20, "pidLimit": 40}}
            s.good("POST", "/v1/warm-pools", {"id": "machines", "template": template, "minReady": 1, "maxReady": 1})
            wait(lambda: s.good("GET", "/v1/warm-pools/machines")["readyCount"] == 1, BOOT_S, f"a machine is ready: {s.said()[-600:]}")
            claim = s.good("POST", "/v1/warm-pools/machines/claim", {"env": {"B": "claim"}})
            shared["claim"] = claim
            s.good("DELETE", "/v1/warm-pools/machines")
        except Exception as e:
            shared["error"] = e
            raise
    return shared["service"], shared["claim"]["sandboxId"]


def sh(script, **more):
    s, sb = machine()
    out = s.exec(sb, "sh", "-c", script, **more)
    return out["stdout"].decode(), out


def processes(sb):
    """{name: pid} of what makes up this machine, whoever their parent is by now."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            if any(w == sb.encode() or w == b"hostname=" + sb.encode() for w in words):
                found[os.path.basename(words[0].decode())] = int(pid)
    return found


@test
def a_machine_is_claimed_from_a_pool():
    s, sb = machine()
    check(shared["claim"]["fromPool"], shared["claim"])
    check_equal(s.good("GET", f"/v1/sandboxes/{sb}")["runtimeClass"], "qemu", "class")
    check_equal(sh("echo $A $B; hostname; id -un; pwd")[0], f"template claim\n{sb}\nagent\n/home/agent\n", "what a command finds")


@test
def its_kernel_is_its_own():
    release = sh("uname -r; cat /proc/sys/kernel/random/boot_id; cat /etc/machine-id")[0].split()
    with open("/proc/sys/kernel/random/boot_id") as f:
        check(release[0] != os.uname().release and release[1] != f.read().strip(), release)
    check(re.fullmatch("[0-9a-f]{32}", release[2]), release)
    total = int(re.search(r"MemTotal: +(\d+)", sh("cat /proc/meminfo")[0]).group(1)) * 1024
    check(MEMORY * 0.6 < total <= MEMORY, f"{total} bytes of memory")
    seen = sh("ls /sys /boot 2>&1; ls /proc | grep -c '^[0-9]'; nproc; cat /proc/mounts")[0]
    check(" / fuse ro," in seen and "/dev/vda /home/agent ext4 rw" in seen, seen)


@test
def what_is_inside_is_what_is_outside():
    out = sh("sha256sum /usr/bin/env /usr/bin/sh; readlink /usr/bin/sh /bin; ls /usr/lib | wc -l; touch /usr/x; ls /usr/nothing; stat -c %a:%u /usr/bin/passwd")
    lines = out[0].split("\n")
    for line in lines[:2]:
        digest, path = line.split()
        with open(path, "rb") as f:
            check_equal(digest, hashlib.sha256(f.read()).hexdigest(), path)
    check_equal(lines[2:4], [os.readlink("/usr/bin/sh"), "usr/bin"], "links")
    check_equal(int(lines[4]), len([n for n in os.listdir("/usr/lib") if n[0] != "."]), "files in /usr/lib")
    check(b"Read-only" in out[1]["stderr"] and b"nothing" in out[1]["stderr"], out[1])
    check(lines[5].endswith(":0") and len(lines[5]) == 5, "no program is setuid inside: " + lines[5])


@test
def commands_and_files():
    s, sb = machine()
    data = os.urandom(1 << 20)
    out = s.exec(sb, "sh", "-c", "cat; echo no >&2; exit 3", stdin="in" * 100000)
    check_equal((out["stdout"], out["stderr"], out["exitCode"]), (b"in" * 100000, b"no\n", 3), "streams and code")
    check_equal(sh("kill -9 $$")[1]["signal"], 9, "a signal")
    check_equal(s.call("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "/no/such"}}).json["error"]["code"], "INVALID_SPEC", "a command that is not there")
    late = sh("sleep 60", timeoutSeconds=1)[1]
    check(late["timedOut"], late)
    url = f"/v1/sandboxes/{sb}/files?path=/home/agent/"
    check_equal(s.good("PUT", url + "f&mode=0600", data)["bytes"], len(data), "written")
    check(s.good("GET", url + "f") == data, "read")
    check_equal([(e["name"], e["size"], e["mode"]) for e in s.good("GET", url)["entries"]], [("f", len(data), "0600")], "list")
    check_equal(s.call("PUT", url + "../../usr/x", b"x").code, "AUTHORIZATION_DENIED", "a file in /usr")
    s.good("DELETE", url + "f")
    tty = Client(s)("exec", "-t", sb, "--", "tty").stdout
    check(b"/dev/pts/" in tty, tty)


@test
def limits_hold_inside():
    s, sb = machine()
    out = s.exec(sb, "python3", "-c", "x = bytearray(400 << 20); print(len(x))")
    check(out["exitCode"] == 137 and out["reasons"] == ["killed: memory limit 192 MiB"], out)
    forks = "import os, signal\npids = []\ntry:\n while len(pids) < 60:\n  pid = os.fork()\n  pid or signal.pause()\n  pids.append(pid)\nexcept OSError: pass\nprint(len(pids))\n[os.kill(p, 9) for p in pids]"
    out = s.exec(sb, "python3", "-c", forks)
    check(30 < int(out["stdout"]) < 40, out)
    out = sh("dd if=/dev/zero of=/tmp/big bs=1M count=100; e=$?; exit $e")[1]
    check(out["exitCode"] == 1 and any("disk" in r for r in out["reasons"]), out)
    sh("rm /tmp/big")
    check_equal(s.call("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "true"}}).status, 200, "the machine goes on")
    use = s.good("GET", f"/v1/sandboxes/{sb}/status")["usage"]
    check(64 << 20 >= use["diskTotalBytes"] > 40 << 20 and use["memoryBytes"] > 0 and use["cpuTimeMicros"] > 0, use)


@test
def nothing_of_the_host_is_reached():
    seen = sh("ls /sys/class/net 2>/dev/null; cat /proc/net/dev | grep -c :; grep Cap /proc/self/status; grep NoNewPrivs /proc/self/status; "
              "kill -9 1; ls /dev; cat /proc/1/environ | wc -c; ls -la /proc/1/fd 2>&1 | tail -1; mount -t tmpfs x /mnt; dmesg | wc -l")[0]
    check("CapBnd:\t0000000000000000" in seen and "NoNewPrivs:\t1" in seen and "vport" not in seen and "vda" not in seen, seen)
    check_equal(sh("cat < /dev/tcp/127.0.0.1/22; ping -c1 127.0.0.1 >/dev/null 2>&1; ip route 2>/dev/null; echo end")[0], "end\n", "no network")


@test
def it_stands_still_when_it_is_paused():
    s, sb = machine()
    x = s.good("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "sh", "args": ["-c", "while :; do echo t >> /tmp/t; sleep 0.1; done"]}, "detach": True})["execId"]
    wait(lambda: sh("cat /tmp/t")[0], 30, "it ticks")
    check_equal(s.good("POST", f"/v1/sandboxes/{sb}/pause")["status"], "Paused", "pause")
    cpu = s.good("GET", f"/v1/sandboxes/{sb}/status")["usage"]["cpuTimeMicros"]
    time.sleep(0.5)
    s.kill("creto-runtimed")  # the next one finds it so
    check_equal(s.status(sb), "Paused", "after a restart")
    check(s.good("GET", f"/v1/sandboxes/{sb}/status")["usage"]["cpuTimeMicros"] - cpu < 50000, "it used the processor")
    check_equal(s.good("POST", f"/v1/sandboxes/{sb}/resume")["status"], "Running", "resume")
    before = sh("wc -c < /tmp/t")[0]
    wait(lambda: sh("wc -c < /tmp/t")[0] != before, 30, "it goes on ticking")
    s.good("DELETE", f"/v1/sandboxes/{sb}/exec/{x}")


def follow(s, sb, x, out, kills):
    """Adds what comes of this command's output to `out`, and kills a daemon at each of these lengths; what that has sent is still read. Its exit code, or
    None where the connection has ended before."""
    e = Events(s, "GET", f"/v1/sandboxes/{sb}/exec/{x}/attach?stdoutOffset={len(out)}")
    with contextlib.suppress(OSError, http.client.HTTPException):
        for event, _, data in e:
            if event == "stdout":
                check_equal(data["offset"], len(out), "offset")
                out += base64.b64decode(data["data"])
            if event == "exit":
                return data["exitCode"]
            if kills and len(out) >= kills[0][0]:
                with contextlib.suppress(OSError):
                    os.kill(s.pids()[kills.pop(0)[1]], signal.SIGKILL)
    e.close()
    return None


@test
def it_outlives_daemon_and_warden():
    s, sb = machine()
    lines = 6000
    wanted = b"".join(b"line %d of output that is longer\n" % i for i in range(1, lines + 1))
    script = f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i of output that is longer; done; until [ -e /tmp/go ]; do sleep 0.1; done; exit 7"
    x = s.good("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "sh", "args": ["-c", script]}, "detach": True})["execId"]
    out = bytearray()
    kills = [(len(wanted) * i // 6, "creto-warden" if i == 3 else "creto-runtimed") for i in range(1, 6)] + [(len(wanted), "creto-runtimed")]
    while kills:
        check_equal(follow(s, sb, x, out, kills), None, "it goes on")
        wait(s.healthy, 30, "another daemon answers")
    sh("touch /tmp/go")
    check_equal(follow(s, sb, x, out, []), 7, "exit code")
    check(out == wanted, f"{len(out)} of {len(wanted)} bytes across restarts")
    check_equal(s.exec(sb, "wc", "-c", stdin="z" * 500000)["stdout"], b"500000\n", "input after them")


@test
def input_under_way_outlives_a_daemon():
    """A daemon that dies in the midst of input leaves whole frames in the machine: the next one is understood."""
    s, sb = machine()
    for i in range(4):
        c = s.connect()
        body = json.dumps({"command": {"program": "wc", "args": ["-c"], "stdin": "z" * 900000}}).encode()
        c.request("POST", f"/v1/sandboxes/{sb}/exec", body=body)
        time.sleep(0.02 + 0.05 * i)
        s.kill("creto-runtimed")
        c.close()
        check_equal(s.exec(sb, "echo", "whole")["stdout"], b"whole\n", "after the daemon's death")


@test
def a_machine_that_dies_is_a_sandbox_that_failed():
    s, sb = machine()
    check_equal(sorted(processes(sb)), ["host", "qemu-system-x86_64"], "its processes")
    os.kill(processes(sb)["qemu-system-x86_64"], signal.SIGKILL)
    wait(lambda: s.status(sb) == "Failed", 10, "it has failed")
    why = s.good("GET", f"/v1/sandboxes/{sb}")
    check("QEMU was killed by signal 9" in json.dumps(why), why)
    check_equal(processes(sb), {}, "what is left of it")


@test
def one_under_way_outlives_daemons():
    """Whatever of it there is when a daemon dies, the next one makes a machine of it."""
    needs()
    with SlowService() as s:
        c = s.connect()
        c.request("POST", "/v1/sandboxes", body=json.dumps({"spec": {"runtimeClass": "qemu", "resourceLimits": {"memoryBytes": MEMORY}}}))
        for pause in (0.03, 0.06, 0.5):
            time.sleep(pause)
            os.kill(s.daemon, signal.SIGKILL)
            wait(lambda: s.daemon, 10, "another daemon")
            wait(lambda: reachable(s), 30, "it answers")
        c.close()
        wait(lambda: s.good("GET", "/v1/sandboxes")["sandboxes"][0]["status"] == "Ready", BOOT_S, "it is ready")
        sb = s.good("GET", "/v1/sandboxes")["sandboxes"][0]["sandboxId"]
        check_equal(s.exec(sb, "echo", "up")["stdout"], b"up\n", "a command")
        check_equal(s.terminate(sb)["status"], "Terminated", "terminated")
        check_equal(processes(sb), {}, "what is left of it")
        go_on_from_saved(s)


def go_on_from_saved(s):
    """The next ones need no boot; they are not each other; a saved one that is of no use is used once."""
    spec = {"runtimeClass": "qemu", "resourceLimits": {"memoryBytes": MEMORY}}
    saved = os.path.join(s.state_dir, "service/machines")
    wait(lambda: len(os.listdir(saved)) == 1 and not os.listdir(saved)[0].endswith(".new"), 30, "it was saved")
    before = os.stat(os.path.join(saved, os.listdir(saved)[0]))
    two = [s.spawn(**spec), s.spawn(**spec)]
    says = [s.exec(sb, "sh", "-c", "cat /proc/sys/kernel/random/boot_id /etc/machine-id /proc/sys/kernel/random/uuid; hostname; date +%s; ls -A /home/agent /tmp; stat -c %u:%a /home/agent")
            ["stdout"].decode().split("\n") for sb in two]
    for a, b in zip(says[0][:4], says[1][:4]):
        check(a != b and a and b, f"both say {a}")
    for sb, lines in zip(two, says):
        check_equal(lines[3], sb, "hostname")
        check(abs(int(lines[4]) - time.time()) < 60, f"the time is {lines[4]}")
        check("1000:700" in lines, lines)
    check_equal(s.exec(two[0], "sh", "-c", "echo mine > /home/agent/f; cat /home/agent/f")["stdout"], b"mine\n", "a file")
    check_equal(s.exec(two[1], "ls", "/home/agent")["stdout"], b"", "the other's home")
    check_equal(os.stat(os.path.join(saved, os.listdir(saved)[0])).st_ino, before.st_ino, "it was saved once")
    for sb in two:
        s.terminate(sb)
    os.truncate(os.path.join(saved, os.listdir(saved)[0]), 1 << 20)
    e = s.call("POST", "/v1/sandboxes", {"spec": spec}).json["error"]
    check("no machine to go on with" in e["message"], e)
    check_equal(os.listdir(saved), [], "what is of no use is gone")


@test
def an_image_is_its_root():
    """The machine's root is the image's, QEMU's the host's; and the second machine of that image goes on from the first."""
    needs()
    busybox = shutil.which("busybox")
    if not busybox or not shutil.which("skopeo"):
        skip("no busybox or no skopeo (packages busybox-static, skopeo)")
    with open(busybox, "rb") as f:
        files = {"bin/busybox": f.read(), "etc/os-release": b"ID=ours\n", "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n",
                 "root/secret": (b"root's\n", 0o600, 0), "srv/mine": (b"app's\n", 0o644, 1000), "srv/s": (b"#!/bin/sh\n", 0o4755, 0)}
    files.update({"bin/" + name: "busybox" for name in ("sh", "cat", "uname", "id", "stat", "touch", "ls", "env")})
    registry = Registry(busybox, files=files)
    try:
        with SlowService() as s:
            spec = {"runtimeClass": "qemu", "image": registry.ref, "resourceLimits": {"memoryBytes": MEMORY}}
            sb = s.spawn(**spec)
            out = s.exec(sb, "sh", "-c", "uname -r; cat /etc/os-release /root/secret; id -u; stat -c %u:%a /srv/mine /srv/s; ls /usr /boot; touch /etc/x; "
                         "touch /tmp/x && ls /tmp; ls -a / | cat; pwd")
            text = out["stdout"].decode()
            lines = text.split("\n")
            check(lines[0] != os.uname().release, f"its kernel: {lines[0]}")
            check_equal(lines[1:6], ["ID=ours", "root's", "0", "1000:644", "0:755"], f"what the image has, and no set-uid: {out}")
            check(b"/usr: No such file" in out["stderr"] and b"Read-only" in out["stderr"] and "x" in lines, out)
            check(".root" not in text and "busybox" not in text, text)
            check_equal(s.exec(sb, "sh", "-c", "id -u; cat /srv/mine; cat /root/secret", user="app")["stdout"], b"1000\napp's\n", "another user")
            saved = os.path.join(s.state_dir, "service/machines")
            wait(lambda: len(os.listdir(saved)) == 1 and not os.listdir(saved)[0].endswith(".new"), 30, "it was saved")
            start = time.monotonic()
            other = s.spawn(**spec)
            print(f"# the next machine of that image was ready after {time.monotonic() - start:.2f} s")
            check_equal(s.exec(other, "cat", "/etc/os-release")["stdout"], b"ID=ours\n", "the second")
            check_equal(len(os.listdir(saved)), 1, "saved machines of one image")
            cli = Client(s)("--host", f"unix:{s.socket}", "run", "--runtime", "qemu", "--memory", "192M", "--vcpus", "1", "--image", registry.ref, "--", "uname", "-a").stdout.decode()
            check(lines[0] in cli and cli.startswith("Linux sb-"), cli)
    finally:
        registry.close()


def reachable(s):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return s.call("GET", "/v1/sandboxes").status == 200
    return False


# ---- those that never come up ----

def refused(config, **spec):
    """What a spawn says, and that it leaves nothing."""
    with SlowService(config=config) as s:
        answer = s.call("POST", "/v1/sandboxes", {"spec": {"runtimeClass": "qemu", **spec}})
        wait(lambda: s.good("GET", "/v1/sandboxes?all=true")["sandboxes"] == [], 10, "it is forgotten")
    check(answer.status >= 400, answer.body)
    return answer.json["error"]


@test
def no_machine_without_its_parts():
    needs()
    for config, code, words in (
            ('[qemu]\nbinary = "/usr/bin/no-such-qemu"\n', "BACKEND_UNAVAILABLE", ["QEMU is not installed", "apt-get install qemu-system-x86"]),
            ('[qemu]\nkernel = "/boot/no-such-kernel"\n', "BACKEND_UNAVAILABLE", ["/boot/no-such-kernel", "modules"]),
            ('[qemu]\nbinary = "/usr/bin/false"\n', "INTERNAL_ERROR", ["has ended (status 1)"]),
            ('[qemu]\nbinary = "/usr/bin/echo"\n', "INTERNAL_ERROR", []),  # what it prints is no frame, or its end is seen first
            ('[qemu]\nboot_seconds = 1\n', "TIMEOUT", ["within 1 s"])):
        e = refused(config)
        check(e["code"] == code and all(w in e["message"] + e.get("hint", "") for w in words), f"{config!r}: {e}")


@test
def what_a_machine_cannot_have():
    needs()
    with Service() as s:
        for spec, code in (({"image": "dir:/usr"}, "NOT_SUPPORTED"), ({"resourceLimits": {"memoryBytes": 64 << 20}}, "INVALID_SPEC")):
            e = s.call("POST", "/v1/sandboxes", {"spec": {"runtimeClass": "qemu", **spec}}).json["error"]
            check_equal(e["code"], code, str(spec))
        check(b"needs the service" in Client(s)("run", "--runtime", "qemu", "--", "true", code=69).stderr, "an embedded machine")
        check(b"no virtual machine" in Client(s)("run", "--vcpus", "2", "--", "true", code=64).stderr, "processors of none")
        hw = {"vm": {"hwConfig": {"vcpus": 2}}}
        for where, body in (("sandboxes", {"spec": {"runtimeClass": "native", **hw}}), ("warm-pools", {"id": "p", "template": hw, "minReady": 0, "maxReady": 1})):
            e = s.call("POST", "/v1/" + where, body).json["error"]
            check(e["code"] == "INVALID_SPEC" and "vm.hwConfig" in json.dumps(e), e)
        s.good("POST", "/v1/warm-pools", {"id": "p", "template": {"runtimeClass": "qemu", **hw}, "minReady": 0, "maxReady": 1})
        e = s.call("POST", "/v1/warm-pools/p/claim", {"resourceLimits": {"memoryBytes": 1 << 30}}).json["error"]
        check(e["code"] == "INVALID_SPEC" and "'qemu' keeps the limits" in e["message"], e)
        listed = {r["name"]: r for r in s.good("GET", "/v1/runtimes")["runtimes"]}
        check("changeLimits" not in listed["qemu"]["capabilities"] and "changeLimits" in listed["native"]["capabilities"], listed)


@test
def what_is_around_a_machine_is_counted():
    """192 MiB inside are 416 MiB of the host's."""
    needs()
    with open("/proc/meminfo") as f:
        total = int(re.search(r"MemTotal: +(\d+)", f.read()).group(1)) << 10
    limits = {"resourceLimits": {"memoryBytes": MEMORY}}
    with Service(config=f"[limits]\nmemory_overcommit = {(300 << 20) / total:.9f}\n") as s:
        e = s.call("POST", "/v1/sandboxes", {"spec": {"runtimeClass": "qemu", **limits}}).json["error"]
        check(e["code"] == "RESOURCE_EXHAUSTED" and "memory 416 MiB" in e["message"], e)
        s.terminate(s.spawn(runtimeClass="native", **limits))
        s.terminate(s.spawn(runtimeClass="native", **limits))


@test
def hardware_is_what_was_asked_for():
    needs()
    with SlowService() as s:
        sb = s.spawn(runtimeClass="qemu", resourceLimits={"cpuMillicores": 1000, "diskBytes": 64 << 20}, vm={"hwConfig": {"vcpus": 3, "memory": MEMORY}})
        out = s.exec(sb, "sh", "-c", "grep -c ^processor /proc/cpuinfo; grep MemTotal /proc/meminfo; ls /dev/kvm")["stdout"].decode().split()
        check(out[0] == "3" and MEMORY * 0.6 < int(out[2]) * 1024 <= MEMORY and "/dev/kvm" not in out, out)
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}")["spec"]["resourceLimits"]["memoryBytes"], MEMORY, "memory")


if __name__ == "__main__":
    try:
        main()
    finally:
        if shared.get("service") and shared["service"].process:
            shared["service"].stop()
            shutil.rmtree(shared["service"].top, ignore_errors=True)
