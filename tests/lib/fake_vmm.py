#!/usr/bin/python3
"""A recording fake of Firecracker and Cloud Hypervisor: takes their REST requests on a unix socket, judges each by what the projects publish of their APIs, and plays
the guest that would have been booted: it connects to the host by vsock's unix sockets, is told what it is to be, asks for its root, and echoes what it is sent.

    fake_vmm.py --api-sock PATH --id ID      as Firecracker        (API 1.17, src/firecracker/swagger/firecracker.yaml)
    fake_vmm.py --api-socket PATH            as Cloud Hypervisor   (API 0.3.0, vmm/src/api/openapi/cloud-hypervisor.yaml)

Every request is a line of JSON in the file `requests` of the working directory. FAKE_VMM in the environment says what goes wrong: `HOW:PATH` with HOW one of refuse,
hang, garbage, die, close, endless (a body in chunks), lie (about its length), interim (responses before the one that counts), drip (a byte now and then); `late` (no socket at all), or `die-after` (when the guest has come up). Called creto-fake-vmm it runs in a service's sandbox: what it plays
then is no echo but creto-init itself, with what it was told, and so a whole sandbox of its class, if one without a machine."""
import json
import os
import re
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

BOOT_AT, BOOT_FLAGS_AT, BOOT_ONE_UID, BOOT_COUNT = 152, 8, 8, 1024  # programs/vm/vm.h, wire/boot.h
IS_INIT = os.path.basename(sys.argv[0]) == "creto-fake-vmm"
PORTS = {"guest": 1024, "share": 1025, "setup": 1026}
LARGE = 200  # MiB of memory that is no zeros, where a file "large" is beside it
MEMORY = b"\0" * 200000 + b"what the guest remembers" + b"\0" * 300000

# ---- the APIs, as far as they are used: {field: (type, required[, check])}; no other field may be there ----

WORD = (str, True, lambda v: len(v) > 0)
FILE = (str, True, lambda v: os.path.exists(v))
COUNT = lambda low, high: (int, True, lambda v: low <= v <= high)  # noqa: E731
ONE_OF = lambda required, *values: (str, required, lambda v: v in values)  # noqa: E731
BOOL = (bool, False)
URL = (str, True, lambda v: v.startswith("file:///") and os.path.isdir(v[7:]))

FIRECRACKER = {
    ("PUT", "/machine-config"): {"vcpu_count": COUNT(1, 32), "mem_size_mib": COUNT(1, 1 << 24), "smt": BOOL, "track_dirty_pages": BOOL},
    ("PUT", "/boot-source"): {"kernel_image_path": FILE, "initrd_path": (str, False, os.path.exists), "boot_args": (str, False)},
    ("PUT", "/drives/disk"): {"drive_id": ONE_OF(True, "disk"), "is_root_device": (bool, True), "is_read_only": BOOL, "path_on_host": FILE,
                              "cache_type": ONE_OF(False, "Unsafe", "Writeback"), "io_engine": ONE_OF(False, "Sync", "Async")},
    ("PUT", "/vsock"): {"guest_cid": COUNT(3, (1 << 32) - 1), "uds_path": WORD},
    ("PUT", "/actions"): {"action_type": ONE_OF(True, "InstanceStart", "FlushMetrics", "SendCtrlAltDel")},
    ("PATCH", "/vm"): {"state": ONE_OF(True, "Paused", "Resumed")},
    ("PUT", "/snapshot/create"): {"snapshot_type": ONE_OF(False, "Full", "Diff"), "snapshot_path": WORD, "mem_file_path": WORD},
    ("PUT", "/snapshot/load"): {"snapshot_path": FILE, "resume_vm": BOOL,
                                "mem_backend": {"backend_type": ONE_OF(True, "File", "Uffd"), "backend_path": FILE}},
}
CLOUD_HYPERVISOR = {
    ("PUT", "/api/v1/vm.create"): {
        "cpus": {"boot_vcpus": COUNT(1, 255), "max_vcpus": COUNT(1, 255)},
        "memory": {"size": COUNT(1 << 20, 1 << 50)},
        "payload": {"kernel": FILE, "initramfs": (str, False, os.path.exists), "cmdline": (str, False)},
        "disks": [{"path": FILE, "readonly": BOOL}],
        "rng": {"src": FILE},
        "serial": {"mode": ONE_OF(True, "Off", "Pty", "Tty", "File", "Socket", "Null")},
        "console": {"mode": ONE_OF(True, "Off", "Pty", "Tty", "File", "Socket", "Null")},
        "vsock": {"cid": COUNT(3, (1 << 32) - 1), "socket": WORD}},
    ("PUT", "/api/v1/vm.boot"): None,
    ("PUT", "/api/v1/vm.pause"): None,
    ("PUT", "/api/v1/vm.resume"): None,
    ("PUT", "/api/v1/vm.snapshot"): {"destination_url": URL},
    ("PUT", "/api/v1/vm.restore"): {"source_url": URL, "prefault": BOOL},
}


def judge(schema, value, where="body"):
    """What is wrong with it, or None."""
    if isinstance(schema, list):
        if not isinstance(value, list):
            return f"{where} is no array"
        return next(filter(None, (judge(schema[0], v, f"{where}[{i}]") for i, v in enumerate(value))), None)
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return f"{where} is no object"
        for key in value:
            if key not in schema:
                return f"unknown field `{key}` in {where}"
        for key, rule in schema.items():
            if key not in value and (not isinstance(rule, tuple) or rule[1]):
                return f"missing field `{key}` in {where}"
        return next(filter(None, (judge(schema[k], v, f"{where}.{k}") for k, v in value.items())), None)
    if type(value) is not schema[0]:
        return f"{where} is {value!r}, not of type {schema[0].__name__}"
    if len(schema) > 2 and not schema[2](value):
        return f"{where} cannot be {value!r}"
    return None


class Refused(Exception):
    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Fake:
    def __init__(self, firecracker, api):
        self.firecracker = firecracker
        self.schema = FIRECRACKER if firecracker else CLOUD_HYPERVISOR
        self.api = api
        self.state = "fresh"
        self.done = {}
        self.wrong = os.environ.get("FAKE_VMM", "")

    # ---- what the requests do ----

    def need(self, condition, status, why):
        if not condition:
            raise Refused(status, why)

    def act_firecracker(self, method, path, body):
        if path in ("/machine-config", "/boot-source", "/drives/disk", "/vsock"):
            self.need(self.state in ("fresh", "configured"), 400, "The requested operation is not supported after starting the microVM.")
            self.state = "configured"
            if path == "/boot-source":
                with open(body["kernel_image_path"], "rb") as f:
                    self.need(f.read(4) == b"\x7fELF", 400, "Kernel Loader: Invalid Elf magic number")
        elif path == "/actions":
            self.need(self.state == "configured" and "/boot-source" in self.done, 400, "Cannot start microvm without kernel configuration.")
            self.start(self.done["/vsock"]["uds_path"])
        elif path == "/vm":
            self.need(self.state in ("running", "paused"), 400, "The requested operation is not supported before starting the microVM.")
            self.state = "paused" if body["state"] == "Paused" else "running"
        elif path == "/snapshot/create":
            self.need(self.state == "paused", 400, "Cannot save the microVM while it runs")
            self.save(body["snapshot_path"], body["mem_file_path"])
        elif path == "/snapshot/load":
            self.need(self.state == "fresh", 400, "Loading a microVM snapshot not allowed after configuring boot-specific resources.")
            self.load(body["snapshot_path"], body["mem_backend"]["backend_path"])
            if body.get("resume_vm"):
                self.start(self.done["/vsock"]["uds_path"])

    def act_cloud_hypervisor(self, method, path, body):
        verb = path.split("/")[-1]
        if verb == "vm.create":
            self.need(self.state == "fresh", 500, "VM is already created")
            self.need(body["cpus"]["boot_vcpus"] <= body["cpus"]["max_vcpus"], 500, "boot_vcpus > max_vcpus")
            self.state = "created"
        elif verb == "vm.boot":
            self.need(self.state == "created", 404, "VM is not created")
            self.start(self.done["/api/v1/vm.create"]["vsock"]["socket"])
        elif verb == "vm.pause":
            self.need(self.state == "running", 405, "VM is not running")
            self.state = "paused"
        elif verb == "vm.resume":
            self.need(self.state == "paused", 405, "VM is not paused")
            self.start(self.done["/api/v1/vm.create"]["vsock"]["socket"])
        elif verb == "vm.snapshot":
            self.need(self.state == "paused", 405, "VM is not paused")
            where = body["destination_url"][7:]
            with open(where + "/config.json", "w", encoding="ascii") as f:
                json.dump({"config": True}, f)
            self.save(where + "/state.json", where + "/memory-ranges")
        elif verb == "vm.restore":
            self.need(self.state == "fresh", 404, "VM is already created")
            where = body["source_url"][7:]
            with open(where + "/config.json", encoding="ascii") as f:
                self.need(json.load(f) == {"config": True}, 400, "config.json")
            self.load(where + "/state.json", where + "/memory-ranges")
            self.state = "paused"

    def save(self, state, memory):
        with open(state, "w", encoding="ascii") as f:
            json.dump(self.done, f)
        with open(memory, "wb") as f:
            f.write(MEMORY)
            if IS_INIT:  # which is in the memory of a guest
                with open("init", "rb") as g:
                    f.write(g.read())
            if os.path.exists(os.path.join(os.path.dirname(sys.argv[0]), "large")):
                for _ in range(LARGE):
                    f.write(b"x" * (1 << 20))

    def load(self, state, memory):
        with open(state, encoding="ascii") as f:
            self.done = json.load(f)
        with open(memory, "rb") as f:
            self.need(f.read(len(MEMORY)) == MEMORY, 400, "the memory is not what was saved")
            if IS_INIT:
                with open("init", "wb") as g:
                    g.write(f.read())

    # ---- the guest ----

    def start(self, vsock):
        self.state = "running"
        threading.Thread(target=self.guest, args=(vsock,), daemon=True).start()

    def connect(self, vsock, port):
        s = socket.socket(socket.AF_UNIX)
        s.connect(f"{vsock}_{PORTS[port]}")
        return s

    def guest(self, vsock):
        print("the guest's console: it boots", flush=True)
        share = self.connect(vsock, "share")
        name = b"usr\0"
        share.sendall(struct.pack("<IIQQIIII", 40 + len(name), 1, 7, 1, 0, 0, 0, 0) + name)  # FUSE_LOOKUP of the root
        answer = share.recv(16, socket.MSG_WAITALL)
        length, error, unique = struct.unpack("<IiQ", answer)
        share.recv(length - 16, socket.MSG_WAITALL)
        if (error, unique) != (0, 7):
            os._exit(71)
        setup = self.connect(vsock, "setup")
        setup.sendall(b"r")
        size = setup.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL)
        if len(size) < 4:
            return  # it is saved
        told = setup.recv(struct.unpack("<I", size)[0], socket.MSG_WAITALL)
        hostname = told[8:72].split(b"\0")[0]
        if self.wrong == "die-after":
            os.kill(os.getpid(), signal.SIGKILL)
        stream = self.connect(vsock, "guest")
        if IS_INIT:
            self.be_init(stream, bytearray(told[BOOT_AT:]))
        stream.sendall(b"I am " + hostname + b"\n")
        while True:
            data = stream.recv(65536)
            if data == b"off\n" or not data:
                stream.close()
                os._exit(0)
            stream.sendall(data)

    def be_init(self, stream, boot):
        flags = struct.unpack_from("<I", boot, BOOT_FLAGS_AT)[0] & ~BOOT_COUNT | BOOT_ONE_UID
        struct.pack_into("<I", boot, BOOT_FLAGS_AT, flags)
        r, w = os.pipe()
        os.write(w, boot)
        os.chmod("init", 0o700)
        pid = os.fork()
        if pid == 0:
            null = os.open("/dev/null", os.O_RDWR)
            high = [os.dup(fd) for fd in (r, stream.fileno())]
            high = [fd if fd > 9 else __import__("fcntl").fcntl(fd, 0, 10) for fd in high]
            for fd, to in ((null, 0), (null, 1), (high[1], 3), (high[0], 4)):
                os.dup2(fd, to)
            os.closerange(5, 64)
            os.execv("init", ["creto-init"])
        os.waitpid(pid, 0)
        os._exit(0)

    # ---- HTTP ----

    def trouble(self, c, path):
        how, _, where = self.wrong.partition(":")
        if where != path or not how:
            return False
        if how == "refuse":
            why = "not today, \"sorry\""
            self.answer(c, 400, json.dumps({"fault_message": why} if self.firecracker else ["HTTP server error", why]))
        elif how == "hang":
            time.sleep(600)
        elif how == "garbage":
            c.sendall(b"\x00\x01SSH-2.0-what\r\n\r\n")
        elif how == "die":
            os._exit(3)
        elif how == "close":
            c.close()
        elif how in ("endless", "lie", "interim", "drip"):
            self.pour(c, how)
        return True

    def pour(self, c, how):
        """What has no end, until nobody hears it."""
        ok = b"HTTP/1.1 200 OK\r\n"
        begin = {"endless": ok + b"Transfer-Encoding: chunked\r\n\r\n", "lie": ok + b"Content-Length: 999999999999999999\r\n\r\n", "drip": ok}.get(how, b"")
        more = {"endless": b"1000\r\n" + b"x" * 4096 + b"\r\n", "lie": b"x" * 4096, "interim": b"HTTP/1.1 100 Continue\r\n\r\n", "drip": b"X: y\r\n"}[how]
        try:
            c.sendall(begin)
            while True:
                c.sendall(more)
                time.sleep(0.1 if how == "drip" else 0)
        except OSError:
            pass

    def answer(self, c, status, body=""):
        text = {200: "OK", 204: "No Content"}.get(status, "Bad")
        c.sendall(f"HTTP/1.1 {status} {text}\r\nServer: fake\r\nConnection: keep-alive\r\n".encode()
                  + (f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode() if status != 204 else b"\r\n"))

    def serve(self, c):
        data = b""
        while b"\r\n\r\n" not in data:
            more = c.recv(4096)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        method, path, version = lines[0].split(" ")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        while len(body) < int(headers.get("content-length", 0)):
            body += c.recv(4096)
        text = body.decode()
        with open("requests", "a", encoding="utf-8") as f:
            f.write(json.dumps({"method": method, "path": path, "version": version, "headers": headers, "body": json.loads(text) if text else None}) + "\n")
        if self.trouble(c, path):
            return
        try:
            self.need((method, path) in self.schema, 404, f"Invalid request method and/or path: {method} {path}")
            schema = self.schema[(method, path)]
            if schema is None:
                self.need(not text, 400, "a body where there is to be none")
            else:
                why = judge(schema, json.loads(text))
                self.need(not why, 400, why)
            parsed = json.loads(text) if text else {}
            (self.act_firecracker if self.firecracker else self.act_cloud_hypervisor)(method, path, parsed)
            self.done[path] = parsed
            self.answer(c, 204)
        except Refused as e:
            self.answer(c, e.status, json.dumps({"fault_message": str(e)} if self.firecracker else [str(e)]))

    def run(self):
        if self.wrong == "late":
            time.sleep(600)
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.api)
        s.listen(8)
        while True:
            self.serve(s.accept()[0])


class Placed:
    """The fake where a sandbox sees it: in the host's /usr, for as long as it is needed."""

    def __init__(self, large=False):
        self.large = large

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="creto-test-", dir="/usr/local/lib")
        os.chmod(self.dir, 0o755)
        if self.large:
            with open(self.dir + "/large", "w", encoding="ascii"):
                pass
        self.binary = self.dir + "/creto-fake-vmm"
        shutil.copy(__file__, self.binary)
        os.chmod(self.binary, 0o755)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir)

    def config(self, vmm, **more):
        lines = {"binary": self.binary, "accel": "kvm", **more}
        return f"[runtime.{vmm}]\n" + "".join(f'{k} = "{v}"\n' for k, v in lines.items())


def main():
    args = sys.argv[1:]
    if len(args) == 4 and args[0] == "--api-sock" and args[2] == "--id" and re.fullmatch(r"[A-Za-z0-9-]{1,64}", args[3]):
        Fake(True, args[1]).run()
    elif len(args) == 2 and args[0] == "--api-socket":
        Fake(False, args[1]).run()
    print(f"fake_vmm: what is {args}?", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
