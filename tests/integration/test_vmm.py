#!/usr/bin/python3
"""Firecracker and Cloud Hypervisor, as a recording fake that judges every request by their published APIs (tests/lib/fake_vmm.py): creto-vm-host starts it, tells it what
to do, and carries what its guest says. Whether the real ones boot a guest so is for a host with KVM to say (docs/status.md)."""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from fake_vmm import Placed  # noqa: E402
from harness import BUILD, IS_ROOT, ROOT, check, check_equal, main, report, skip, test  # noqa: E402
from service import Service, wait  # noqa: E402

FAKE = os.path.join(ROOT, "tests/lib/fake_vmm.py")
HOST = os.path.join(BUILD, "src/programs/vm/creto-vm-host")
MIB = 1 << 20
# what is asked of each, in this order
PLANS = {
    "firecracker": {"boot": ["PUT /machine-config", "PUT /boot-source", "PUT /drives/disk", "PUT /vsock", "PUT /actions"],
                    "save": ["PATCH /vm", "PUT /snapshot/create"], "go-on": ["PUT /snapshot/load"]},
    "cloud-hypervisor": {"boot": ["PUT /api/v1/vm.create", "PUT /api/v1/vm.boot"], "save": ["PUT /api/v1/vm.pause", "PUT /api/v1/vm.snapshot"],
                         "go-on": ["PUT /api/v1/vm.restore", "PUT /api/v1/vm.resume"]},
}
NAMES = {"firecracker": "Firecracker", "cloud-hypervisor": "Cloud Hypervisor"}


def needs():
    if not os.path.exists("/usr/sbin/mke2fs"):
        skip("no mke2fs (package e2fsprogs)")
    kernels = [k for k in glob.glob("/boot/vmlinuz-*-cloud-amd64") if os.path.exists(f"/usr/lib/modules/{k.split('vmlinuz-')[1]}/modules.dep")]
    if not kernels:
        skip("no kernel for guests (package linux-image-cloud-amd64)")
    return kernels[-1]


class Machine:
    """creto-vm-host in a directory of its own, as the daemon leaves it there."""

    def __init__(self, vmm, mode="boot", wrong="", state=None, **more):
        kernel = needs()
        self.dir = tempfile.mkdtemp(prefix="creto-vmm-")
        shutil.copy(kernel, self.dir + "/kernel")
        shutil.copy(os.path.join(BUILD, "src/programs/vm/creto-vm-guest"), self.dir + "/guest")
        shutil.copy(os.path.join(BUILD, "src/programs/init/creto-init"), self.dir + "/init")
        if state:
            shutil.copy(state, self.dir + "/state")
        options = {"vmm": vmm, "binary": FAKE, "mode": mode, "hostname": "sb-1", "modules": "/usr/lib/modules/" + kernel.split("vmlinuz-")[1], "memory": 256 * MIB,
                   "cpus": 2, "disk": 16 * MIB, "inodes": 100, "nofile": 256, "core": 0, "output": 0, "pids": 50, "patience": 20, **more}
        self.process = subprocess.Popen([HOST] + [f"{k}={v}" for k, v in options.items()], cwd=self.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env={"PATH": "/usr/bin:/usr/sbin", "FAKE_VMM": wrong})

    def say(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def hear(self, length):
        return self.process.stdout.read(length)

    def end(self):
        """(status, standard error): when it has ended by itself."""
        err = self.process.communicate(timeout=60)[1].decode()
        return self.process.returncode, err

    def requests(self):
        try:
            with open(self.dir + "/requests", encoding="utf-8") as f:
                return [json.loads(line) for line in f]
        except FileNotFoundError:
            return []

    def asked(self):
        return [f"{r['method']} {r['path']}" for r in self.requests()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        left = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if self.is_ours(pid)]
        shutil.rmtree(self.dir)
        check_equal(left, [], "processes that are left")

    def is_ours(self, pid):
        for _ in range(100):  # with its parent it gets a signal, and dies when that is delivered
            try:
                if os.readlink(f"/proc/{pid}/cwd") != self.dir:
                    return False
            except OSError:
                return False
            time.sleep(0.05)
        return True


def each(run):
    def run_all():
        needs()
        for vmm in PLANS:
            try:
                run(vmm)
                report("ok", f"{run.__name__}[{vmm}]")
            except Exception as e:
                report("not ok", f"{run.__name__}[{vmm}]", e)
        return report
    run_all.__name__ = run.__name__
    return test(run_all)


@each
def it_boots_and_carries_what_the_guest_says(vmm):
    with Machine(vmm) as m:
        check_equal(m.hear(10), b"I am sb-1\n", "the guest was told who it is, and reaches our output")
        data = os.urandom(300000)
        for at in range(0, len(data), 30000):
            m.say(data[at:at + 30000])
            check(m.hear(30000) == data[at:at + 30000], f"what comes back from {at} on")
        m.say(b"off\n")
        status, err = m.end()
        check_equal(status, 0, f"its end: {err}")
        check("the guest's console: it boots" in err, f"the console: {err}")
        check_equal(m.asked(), PLANS[vmm]["boot"], "what was asked for")
        for r in m.requests():
            check_equal((r["version"], r["headers"]["host"]), ("HTTP/1.1", "localhost"), "a request")
        body = m.requests()[0]["body"]
        check_equal((body["vcpu_count"], body["mem_size_mib"]) if vmm == "firecracker" else (body["cpus"]["boot_vcpus"], body["memory"]["size"] // MIB), (2, 256), "its size")


@each
def it_is_saved_and_goes_on(vmm):
    with Machine(vmm, "save") as m:
        check_equal(m.end()[0], 0, "saved")
        check_equal(m.asked(), PLANS[vmm]["boot"] + PLANS[vmm]["save"], "what was asked for")
        size = os.path.getsize(m.dir + "/state")
        check(size < 3 * MIB, f"zeros are not kept: {size} bytes")
        with Machine(vmm, "go-on", state=m.dir + "/state") as n:
            check_equal(n.hear(10), b"I am sb-1\n", "it goes on")
            check_equal(n.asked(), PLANS[vmm]["go-on"], "what was asked for")
            n.say(b"off\n")
            check_equal(n.end()[0], 0, "its end")
        with open(m.dir + "/state", "r+b") as f:
            f.truncate(size - 100)
        with Machine(vmm, "go-on", state=m.dir + "/state") as n:
            status, err = n.end()
            check(status == 125 and "no machine to go on with" in err and n.asked() == [], f"{status} {err}")


@each
def whatever_goes_wrong_has_a_name(vmm):
    said = {"refuse": ["refused {what} (400): not today, \"sorry\""], "hang": ["has not answered {what}"], "garbage": ["answered {what} with what is no answer"],
            "die": ["has ended (status 3) at {what}"], "close": ["answered {what} with what is no answer"], "endless": ["no answer: it is more than 64 KiB"],
            "lie": ["no answer: it is more than 64 KiB"], "interim": ["no answer: more than 8 interim responses"], "drip": ["has not answered {what}"]}
    steps = PLANS[vmm]["boot"]
    for what in steps:
        for how, words in said.items():
            if how not in ("refuse", "die") and what not in (steps[0], steps[-1]):
                continue
            with Machine(vmm, wrong=f"{how}:{what.split(' ')[1]}", patience=1 if how in ("hang", "drip") else 20) as m:
                status, err = m.end()
                last = err.strip().split("\n")[-1]
                for w in words:
                    check(status == 124 and last.startswith(NAMES[vmm]) and w.format(what=what) in last, f"{how} {what}: {status} {err}")
                check_equal(m.asked(), steps[:steps.index(what) + 1], "and nothing was asked after that")


@each
def when_it_is_saved_too(vmm):
    for what in PLANS[vmm]["save"]:
        with Machine(vmm, "save", wrong=f"refuse:{what.split(' ')[1]}") as m:
            status, err = m.end()
            check(status == 124 and f"refused {what}" in err and not os.path.exists(m.dir + "/state"), f"{status} {err}")


@each
def what_it_said_last_is_not_lost(vmm):
    with Machine(vmm) as m:
        m.hear(10)
        data = os.urandom(250000)  # more than a pipe holds
        m.say(data)
        time.sleep(0.5)
        m.say(b"off\n")
        time.sleep(0.5)  # nobody reads, and the emulator has ended
        check(m.process.stdout.read() == data, "all that the guest said")
        check_equal(m.process.wait(20), 0, "its end")


FAKE_QEMU = """#!/usr/bin/python3
import os, socket, sys, time
qmp, setup, how = socket.socket(fileno=6), socket.socket(fileno=8), os.environ["FAKE_VMM"]
setup.sendall(b"x" if how == "nonsense" else b"r")
qmp.sendall(os.urandom(100000) + b"\\n" if how == "garbage" else b'{"' + b"x" * 20000 + b'QMP"}\\n' if how == "long" else b'{"QMP": {}}\\n')
for line in qmp.makefile() if how != "close" else ():
    if '"quit"' in line:
        sys.exit(0)
    qmp.sendall(b'{"event": "STOP"}\\n' * 1000)
    qmp.sendall(b'{"error": {}}\\n' if how in line else b'{"return": {"status": "failed"}}\\n' if how == "failed" else b'{"return": {"status": "completed"}}\\n')
qmp.close()
time.sleep(600)
"""


@test
def a_qemu_that_cannot_be_saved():
    """It is ended: its guest, which is told nothing, would wait for what never comes."""
    needs()
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as f:
        f.write(FAKE_QEMU)
    os.chmod(f.name, 0o755)
    try:
        with Machine("qemu", "save", binary=f.name, wrong="nothing") as m:
            check_equal((m.end()[0], os.path.exists(m.dir + "/state")), (0, True), "one that can")
        for how in ("nonsense", "garbage", "long", "close", "qmp_capabilities", "getfd", '"migrate"', "query-migrate", "failed"):
            with Machine("qemu", "save", binary=f.name, wrong=how) as m:
                status, err = m.end()
                check_equal((status, os.path.exists(m.dir + "/state")), (-9, False), f"{how}: {err}")
    finally:
        os.unlink(f.name)


@each
def others_that_are_none(vmm):
    for binary, status, words in (("/nonexistent", 127, "is not installed"), ("/usr/bin/false", 124, "has ended (status 1) at"),
                                  ("/etc/hostname", 127, ""), (HOST, 124, "has ended")):
        with Machine(vmm, binary=binary) as m:
            got, err = m.end()
            check(got == status and words in err and NAMES[vmm] in err, f"{binary}: {got} {err}")
    with Machine(vmm, wrong="late", patience=1) as m:
        got, err = m.end()
        check(got == 124 and "it has no socket" in err, f"{got} {err}")
    with Machine(vmm, wrong="die-after") as m:
        got, err = m.end()
        check(got == 124 and f"{NAMES[vmm]} was killed by signal 9" in err, f"{got} {err}")


@each
def a_sandbox_of_the_class(vmm):
    """All but the machine: the daemon, the warden, the sandbox around it with its /dev/kvm, what is written there, the streams; and again from what was saved."""
    if not IS_ROOT:
        skip("the service is started as root")
    if not os.path.exists("/dev/kvm"):
        skip("no /dev/kvm")
    spec = {"runtimeClass": vmm, "resourceLimits": {"memoryBytes": 192 * MIB}, "vm": {"hwConfig": {"vcpus": 3}}}
    with Placed() as fake, Service(config=fake.config(vmm)) as s:
        for _ in range(2):
            sb = s.spawn(**spec)
            check_equal(s.exec(sb, "sh", "-c", "cat; exit 3", stdin="in" * 50000)["stdout"], b"in" * 50000, "a command")
            check_equal(s.exec(sb, "stat", "-c", "%t:%T %F", "/dev/kvm")["stdout"], b"a:e8 character special file\n", "its /dev/kvm")
            s.kill("creto-runtimed")  # the streams are the sandbox's: the next daemon finds them
            check_equal(s.exec(sb, "echo", "still")["stdout"], b"still\n", "after the daemon's death")
            check_equal(s.good("GET", f"/v1/sandboxes/{sb}")["spec"]["vm"], spec["vm"], "what was asked for")
            check_equal(s.terminate(sb)["status"], "Terminated", "its end")
            saved = os.listdir(s.state_dir + "/service/machines")
            check(len(saved) == 1 and not saved[0].endswith(".new"), f"saved machines: {saved}")
        native = s.spawn(runtimeClass="native")
        check_equal(s.exec(native, "stat", "-c", "%F", "/dev/kvm")["stdout"], b"regular empty file\n", "a native sandbox beside it")


@test
def a_machine_that_is_half_saved_is_none():
    """A sandbox that ends while its machine is kept for others leaves no part of it."""
    if not IS_ROOT or not os.path.exists("/dev/kvm"):
        skip("needs root and /dev/kvm")
    needs()
    with Placed(large=True) as fake, Service(config=fake.config("firecracker")) as s:
        saved = s.state_dir + "/service/machines"
        spec = {"runtimeClass": "firecracker", "resourceLimits": {"memoryBytes": 512 * MIB}}
        spawn = threading.Thread(target=s.call, args=("POST", "/v1/sandboxes", {"spec": spec}))
        spawn.start()
        wait(lambda: any(name.endswith(".new") for name in os.listdir(saved)), 60, "it is being kept")
        for sb in s.good("GET", "/v1/sandboxes?all=true")["sandboxes"]:
            s.terminate(sb["sandboxId"])
        spawn.join()
        check_equal([name for name in os.listdir(saved) if name.endswith(".new")], [], "what is left")


@test
def so_many_are_kept_at_a_time():
    """Many who boot at the same time do not fill the daemon's disk: who finds enough of them writing goes on, and is not kept."""
    if not IS_ROOT or not os.path.exists("/dev/kvm"):
        skip("needs root and /dev/kvm")
    needs()
    with Placed() as fake, Service(config=fake.config("firecracker")) as s:
        saved = s.state_dir + "/service/machines"
        others = [f"{saved}/0123456789abcdef.sb-{i}.new" for i in range(4)]
        for path in others:
            open(path, "w", encoding="ascii").close()
        spec = {"runtimeClass": "firecracker", "resourceLimits": {"memoryBytes": 192 * MIB}}
        for kept in (False, True):
            check_equal(s.exec(s.spawn(**spec), "echo", "x")["stdout"], b"x\n", "a command")
            check_equal(len([name for name in os.listdir(saved) if not name.endswith(".new")]), int(kept), "what is kept")
            check_equal(len(os.listdir(saved)), 1 if kept else 4, "and what is left")
            for path in others:
                if not kept:
                    os.unlink(path)


@test
def classes_say_why_they_cannot_be_had():
    if not IS_ROOT:
        skip("the service is started as root")
    missing = '[runtime.firecracker]\nbinary = "/usr/bin/no-such"\naccel = "kvm"\n[runtime.cloud-hypervisor]\nbinary = "/usr/bin/true"\n'
    with Service(config=missing) as s:
        listed = {r["name"]: r for r in s.good("GET", "/v1/runtimes")["runtimes"]}
        for vmm, why, hint in (("firecracker", "/usr/bin/no-such", "github.com/firecracker-microvm"), ("cloud-hypervisor", "needs KVM", 'accel = "kvm"')):
            e = s.call("POST", "/v1/sandboxes", {"spec": {"runtimeClass": vmm}}).json["error"]
            check(e["code"] == "BACKEND_UNAVAILABLE" and why in e["message"] and hint in e["hint"], e)
            check(not listed[vmm]["available"] and why in json.dumps(listed[vmm]), listed[vmm])
        native = s.spawn(runtimeClass="native")  # this warden was started with --kvm yes
        check_equal(s.exec(native, "sh", "-c", "test -c /dev/kvm; echo $?; echo x > /dev/kvm")["stdout"], b"1\n", "no device, whatever the name")
    with Service() as s:
        check_equal(s.exec(s.spawn(runtimeClass="native"), "ls", "/dev/kvm")["exitCode"], 2, "where nobody said so, there is not even a name")


@test
def settings_that_are_none():
    if not IS_ROOT:
        skip("the service is started as root")
    for text, why in (('binary = "/opt/firecracker"', "in /usr"), ('accel = "xen"', '"tcg" or "kvm"'), ("accel = true", '"tcg" or "kvm"'), ('driver = "oci"', "is no setting")):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as f:
            f.write(f"[runtime.firecracker]\n{text}\n")
            f.flush()
            p = subprocess.run([os.path.join(BUILD, "src/programs/runtimed/creto-runtimed"), "--config", f.name, "--warden-arguments"], capture_output=True, text=True, timeout=20)
            check(p.returncode != 0 and why in p.stderr, f"{text}: {p.stderr}")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as f:
        f.write('[runtime.qemu]\naccel = "kvm"\n')
        f.flush()
        p = subprocess.run([os.path.join(BUILD, "src/programs/runtimed/creto-runtimed"), "--config", f.name, "--warden-arguments"], capture_output=True, text=True, timeout=20)
        check_equal(p.stdout, "--kvm yes\n", "what a warden of a unit of its own is told")


@each
def trouble_in_the_service(vmm):
    """The step and the reason, and nothing is left."""
    if not IS_ROOT or not os.path.exists("/dev/kvm"):
        skip("needs root and /dev/kvm")
    with Service(config=f'[runtime.{vmm}]\nbinary = "/usr/bin/false"\naccel = "kvm"\n') as s:
        e = s.call("POST", "/v1/sandboxes", {"spec": {"runtimeClass": vmm, "resourceLimits": {"memoryBytes": 192 * MIB}}}).json["error"]
        check(e["code"] == "INTERNAL_ERROR" and f"{NAMES[vmm]} has ended (status 1) at {PLANS[vmm]['boot'][0]}" in e["message"] and f"runtime.{vmm}.binary" in e["hint"], e)
        wait(lambda: s.good("GET", "/v1/sandboxes?all=true")["sandboxes"] == [], 10, "it is forgotten")


@test
def the_fake_can_refuse():
    """What would not be refused here would prove nothing."""
    import fake_vmm  # noqa: E402
    judge = fake_vmm.judge
    config = fake_vmm.FIRECRACKER[("PUT", "/machine-config")]
    good = {"vcpu_count": 1, "mem_size_mib": 128}
    check_equal(judge(config, good), None, "a good one")
    for bad in ({"vcpu_count": 1}, {**good, "ht_enabled": False}, {**good, "vcpu_count": "1"}, {**good, "vcpu_count": 33}, [], {**good, "smt": 1}):
        check(judge(config, bad), f"taken: {bad}")
    create = fake_vmm.CLOUD_HYPERVISOR[("PUT", "/api/v1/vm.create")]
    check(judge(create, {"cpus": {"boot_vcpus": 1, "max_vcpus": 1}}), "half a machine is taken")


if __name__ == "__main__":
    main()
