#!/usr/bin/python3
"""The warden as a service: what outlives a connection, and what outlives the warden itself. The test is the daemon: it speaks docs/protocols/ipc.md."""
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from warden import (ATTACH, BACKGROUND, BESIDE, ERROR, FREEZE, FROZEN, GONE, KVM, LIMIT, LIMITED, LIMITS, LIST, RUNNING, SPAWN, SPAWNED, STOPPED, TERMINATE, TERMINATED,  # noqa: E402
                    UNLIMITED, USAGE, Peer, Refused, spawn_request, text)
from harness import BUILD, IS_ROOT, alive, check, check_equal, main, poll, skip, test  # noqa: E402

WARDEN = os.path.join(BUILD, "src/programs/warden/creto-warden")
PEER = 12345


def greet(stream, epoch):
    """True where creto-init answers."""
    stream.setblocking(True)
    stream.settimeout(10)
    payload = struct.pack("<IIQ", 3, 32768, epoch)
    stream.sendall(struct.pack("<IHBBI", len(payload), 0x01, 0, 0, 0) + payload)
    head = stream.recv(12, socket.MSG_WAITALL)
    if len(head) < 12:
        return False
    length, kind = struct.unpack("<IH", head[:6])
    stream.recv(length, socket.MSG_WAITALL)
    return kind == 0x81


class Service:
    """A warden with directories of its own, that can be killed and started again."""

    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="creto-warden-test-", dir="/var/tmp")
        os.chmod(self.top, 0o711)
        self.run, self.state, self.path = (os.path.join(self.top, n) for n in ("run", "state", "warden.sock"))
        self.process = None

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.path)
        os.chmod(self.path, 0o666)
        listener.listen(4)
        fd = os.dup(listener.fileno()) if listener.fileno() == 3 else listener.fileno()

        def give():
            os.dup2(fd, 3)
        self.process = subprocess.Popen([WARDEN, "--run-dir", self.run, "--state-dir", self.state, "--image-store", f"{self.state}/images", "--peer", str(PEER)],
                                        stdin=subprocess.DEVNULL, preexec_fn=give, pass_fds=(3, fd))
        listener.close()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        """A connection to the next warden."""
        self.kill()
        self.start()
        return Peer(self.path)

    def names(self, folder):
        path = os.path.join(self.run, folder)
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def end(self):
        with contextlib.suppress(Exception):
            if self.process.poll() is not None:
                self.start()
            p = Peer(self.path)
            for name in p.list():
                p.terminate(name)
            p.close()
        self.kill()
        shutil.rmtree(self.top, ignore_errors=True)


@contextlib.contextmanager
def service():
    if not IS_ROOT:
        skip("root is needed")
    s = Service()
    try:
        s.start()
        yield s
    finally:
        s.end()


@test
def outlives_the_connection():
    with service() as s:
        p = Peer(s.path, prepared=2)
        pid, stream = p.spawn("one")
        check(greet(stream, 1), "the first stream")
        p.close()
        stream.close()
        p = Peer(s.path)
        check_equal(p.list(), {"one": (RUNNING, pid, 0)}, "list")
        again = p.attach("one")
        check(greet(again, 2), "the second stream")
        p.terminate("one")
        check_equal((p.list(), s.names("sandboxes"), s.names("guest")), ({}, [], []), "what is left")
        p.close()


@test
def a_socket_that_is_gone():
    with service() as s:
        p = Peer(s.path)
        p.spawn("one")
        os.unlink(os.path.join(s.run, "guest", "one"))
        try:
            p.attach("one")
            check(False, "it is attached to")
        except Refused as e:
            check("cannot reach the sandbox one: No such file" in str(e), e)
        p.terminate("one")
        p.close()


@test
def gives_kvm_only_where_it_was_told_to():
    with service() as s:
        p = Peer(s.path)
        for flags, why in ((KVM, "creto-warden gives /dev/kvm to no sandbox"), (BESIDE, "native sandbox has layers")):
            try:
                p.spawn("one", flags=flags)
            except Refused as e:
                check(why in str(e), e)
                continue
            check(False, f"flags {flags} were taken")
        p.close()


@test
def outlives_the_warden():
    with service() as s:
        p = Peer(s.path, prepared=4)
        boxes = {f"box-{i}": p.spawn(f"box-{i}") for i in range(5)}
        check(all(greet(stream, 1) for _, stream in boxes.values()), "no greeting")
        pids = {name: pid for name, (pid, _) in boxes.items()}
        s.kill()
        check(all(alive(pid) for pid in pids.values()), "a sandbox died with the warden")
        s.start()
        p = Peer(s.path)
        check_equal({n: v[1] for n, v in p.list().items()}, pids, "list after the restart")
        for i, name in enumerate(pids):
            check(greet(p.attach(name), 2), f"{name} does not answer")
        pid, _ = p.spawn("fresh")
        check(pid not in pids.values(), "a pid twice")
        for name in list(pids) + ["fresh"]:
            p.terminate(name)
        check(not any(alive(pid) for pid in pids.values()), "a terminated sandbox lives")
        check_equal((p.list(), s.names("sandboxes"), s.names("guest")), ({}, [], []), "what is left")
        p.close()


@test
def ends_while_nobody_looks():
    with service() as s:
        p = Peer(s.path)
        pid, _ = p.spawn("short")
        other, _ = p.spawn("also")
        p.close()
        os.kill(pid, signal.SIGKILL)
        p = Peer(s.path)
        check(poll(lambda: p.list()["short"][0] == GONE), f"list says {p.list()}")
        check_equal(p.list()["short"][2], 9, "wait status")
        p.terminate("short")
        s.kill()
        os.kill(other, signal.SIGKILL)
        poll(lambda: not alive(other))
        s.start()
        p = Peer(s.path)
        check_equal((p.list(), s.names("sandboxes"), s.names("guest")), ({}, [], []), "after a restart")
        pid, stream = p.spawn("adopted")
        check(greet(stream, 1), "no greeting")  # from here on it outlives its warden
        p = s.restart()
        os.kill(pid, signal.SIGKILL)
        check(poll(lambda: p.list()["adopted"][0] == GONE), f"list says {p.list()}")
        check_equal(p.list()["adopted"][2], -1, "wait status of somebody else's child")
        p.terminate("adopted")
        p.close()


@test
def id_ranges_stay_taken():
    """Between two wardens a range belongs to its sandbox still."""
    with service() as s:
        p = Peer(s.path)
        pid, stream = p.spawn("held")
        check(greet(stream, 1), "no greeting")
        with open(f"/proc/{pid}/uid_map") as f:
            slot = (int(f.read().split()[1]) - 0x70000000) // 65536 - 1

        def free():
            with open(os.path.join(s.run, "ids"), "r+b") as f:
                try:
                    fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, slot, 1, 0))  # F_OFD_SETLK
                    return True
                except OSError:
                    return False
        check(not free(), "free while the warden lives")
        s.kill()
        check(not free(), "free while the sandbox lives")
        os.kill(pid, signal.SIGKILL)
        check(poll(free), "taken after both have gone")
        s.start()


@test
def freeze():
    with service() as s:
        p = Peer(s.path)
        pid, stream = p.spawn("cold")
        check(greet(stream, 1), "no greeting")
        try:
            p.freeze("cold", 1)
        except Refused as e:
            check("cannot freeze" in str(e), e)
            skip("no cgroup2 mount")
        check_equal(p.list()["cold"][0], STOPPED, "state")
        p = s.restart()
        check_equal(p.list()["cold"][0], STOPPED, "state after a restart")
        p.freeze("cold", 0)
        check_equal(p.list()["cold"][0], RUNNING, "state")
        check(greet(p.attach("cold"), 2), "silent after it was thawed")
        p.freeze("cold", 1)
        p.terminate("cold")
        check(not alive(pid), "a frozen sandbox was not ended")
        p.close()


def group_of(pid, controller):
    """The directory where that controller of a process is, with cgroup version 1 and 2."""
    with open("/proc/mounts") as f:
        mounts = [line.split()[1:4] for line in f if line.split()[2].startswith("cgroup")]
    with open(f"/proc/{pid}/cgroup") as f:
        lines = [line.rstrip("\n").split(":", 2) for line in f]
    for _, names, path in lines:
        if controller in names.split(","):
            return next(m[0] for m in mounts if m[1] == "cgroup" and controller in m[2].split(",")) + path, 1
    return next(m[0] for m in mounts if m[1] == "cgroup2") + next(path for _, names, path in lines if names == ""), 2


def kept(pid):
    """What the kernel holds a sandbox to: memory and swap together, millicores, processes."""
    def number(controller, v1, v2):
        place, version = group_of(pid, controller)
        try:
            with open(os.path.join(place, v1 if version == 1 else v2)) as f:
                said = f.read().split()[0]
        except FileNotFoundError:
            return None
        return UNLIMITED if said in ("max", "-1") or int(said) > 2**62 else int(said)
    memory, cpu = number("memory", "memory.limit_in_bytes", "memory.max"), number("cpu", "cpu.cfs_quota_us", "cpu.max")
    both = number("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
    if both is not None and group_of(pid, "memory")[1] == 2:
        both = memory + both if both != UNLIMITED else UNLIMITED
    return memory, both, cpu if cpu == UNLIMITED else cpu // 100, number("pids", "pids.max", "pids.max")


def recorded(s, name):
    with open(os.path.join(s.run, "sandboxes", name), "rb") as f:
        return list(struct.unpack("<9Q", f.read()[-72:]))


def limits(**changed):
    names = ["memory", "swap", "cpu", "pids", "disk", "inodes", "nofile", "core", "output"]
    return [changed.get(n, LIMITS[i]) for i, n in enumerate(names)]


@test
def limits_change():
    """Live, up and down, and again after a restart; what is refused changes nothing."""
    with service() as s:
        p = Peer(s.path)
        pid, stream = p.spawn("elastic")
        check(greet(stream, 1), "no greeting")
        swaps = kept(pid)[1] is not None

        def change(**to):
            check_equal(p.limit("elastic", limits(**to)), 0, "limits missing")
            want = dict(zip(("memory", "swap", "cpu", "pids"), limits(**to)))
            both = UNLIMITED if UNLIMITED in (want["memory"], want["swap"]) else want["memory"] + want["swap"]
            pids = UNLIMITED if want["pids"] == UNLIMITED else want["pids"] + 1
            check_equal(kept(pid), (want["memory"], both if swaps else None, want["cpu"], pids), f"the kernel, for {to}")
            check_equal(recorded(s, "elastic"), limits(**to), "the record")
        change(memory=128 << 20, cpu=2500, pids=100)
        change(memory=256 << 20, swap=64 << 20)
        change(memory=16 << 20, swap=1 << 20, cpu=10, pids=1)
        change(memory=UNLIMITED, cpu=UNLIMITED, pids=UNLIMITED)
        change(memory=32 << 20)
        before = kept(pid)
        for to, why in ((limits(memory=1), "memoryBytes"), (limits(pids=0), "pidLimit"), (limits(disk=32 << 20), "diskBytes"),
                        (limits(inodes=4096), "diskInodes"), (limits(nofile=UNLIMITED), "openFiles"), (limits(nofile=64), "openFiles"),
                        (limits(core=4096), "coreBytes"), (limits(output=UNLIMITED), "outputBytesPerSecond")):
            try:
                p.limit("elastic", to)
                check(False, f"{why} was taken")
            except Refused as e:
                check(why in str(e), e)
        check_equal((kept(pid), recorded(s, "elastic")), (before, limits(memory=32 << 20)), "after refusals")
        p = s.restart()
        check_equal(kept(pid), before, "after a restart")
        change(memory=64 << 20, pids=20)
        p.spawn("loose", limits=limits(memory=UNLIMITED))
        try:
            p.limit("loose", LIMITS)
            check(False, "a limit without a group was taken")
        except Refused as e:
            check("unlimited when the sandbox was made" in str(e), e)
        for name in ("elastic", "loose"):
            p.terminate(name)
        p.close()


@test
def a_limit_below_what_is_used():
    """What cannot be taken back is not taken by killing."""
    with service() as s:
        p = Peer(s.path)
        pid, stream = p.spawn("full")
        check(greet(stream, 1), "no greeting")
        place, _ = group_of(pid, "memory")
        eater = subprocess.Popen([sys.executable, "-c", "import sys; b = bytearray(40 << 20); b[::4096] = b'x' * len(b[::4096]); print(len(b), flush=True); sys.stdin.read()"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lambda: open(os.path.join(place, "cgroup.procs"), "w").write(str(os.getpid())))
        try:
            eater.stdout.readline()
            before = kept(pid)
            try:
                p.limit("full", limits(memory=20 << 20))
                check(False, "20 MiB for what uses 40")
            except Refused as e:
                check("too little" in str(e), e)
            check_equal((kept(pid), recorded(s, "full"), eater.poll()), (before, LIMITS, None), "after the refusal")
            check_equal(p.limit("full", limits(memory=100 << 20)), 0, "limits missing")
        finally:
            eater.kill()
            eater.wait()
            eater.stdin.close()
            eater.stdout.close()
        check_equal(p.limit("full", limits(memory=20 << 20)), 0, "limits missing")
        check_equal(kept(pid)[0], 20 << 20, "memory, when nobody uses it any more")
        p.terminate("full")
        p.close()


@test
def who_may_speak():
    with service() as s:
        def as_uid(uid, **how):
            """What becomes of a connection of that uid."""
            r, w = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                    Peer(s.path, **how)
                    os.write(w, b"in")
                except Exception:
                    os.write(w, b"out")
                os._exit(0)
            os.waitpid(pid, 0)
            os.close(w)
            with os.fdopen(r, "rb") as f:
                return f.read()
        check_equal(as_uid(PEER), b"in", "the daemon")
        check_equal(as_uid(PEER + 1), b"out", "somebody else")
        check_equal(as_uid(PEER, flags=1), b"out", "a private greeting")
        old = Peer(s.path)
        old.spawn("mine")
        new = Peer(s.path)
        check_equal(list(new.list()), ["mine"], "the newer connection's list")
        try:
            old.list()
            check(False, "the older connection still serves")
        except (Refused, OSError):
            pass
        for kind, payload, why in ((ATTACH, text("nobody"), "unknown"), (FREEZE, text("nobody") + b"\1", "unknown"), (TERMINATE, text("nobody"), "unknown"),
                                   (LIMIT, text("nobody") + struct.pack("<9QI", *LIMITS, 0), "unknown")):
            try:
                new.ask(kind, payload, 0)
                check(False, f"{kind}: {why} was taken")
            except Refused as e:
                check("no " in str(e), e)
        for junk in (b"", b"\0" * 8, struct.pack("<HHI", LIST, 0, 1), struct.pack("<HHI", FREEZE, 0, 1) + text("mine") + b"\2", struct.pack("<HHI", LIMIT, 0, 1) + text("mine") + b"\0" * 8, struct.pack("<HHI", 99, 0, 1), b"x" * 60000):
            bad = Peer(s.path)
            bad.s.send(junk or b"\0")
            check_equal(bad.s.recv(100), b"", f"junk {junk[:12]!r}")
        last = Peer(s.path)
        check_equal(list(last.list()), ["mine"], "the list after junk")
        last.terminate("mine")
        last.close()


def children(pid, *names):
    """Pids of the children of that process with these names."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/stat") as f:
                name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
            if int(rest.split()[1]) == pid and name in names:
                found.append(int(entry))
    return found


def groups_of(pid):
    """Directories of groups that a warden with that pid made."""
    found = []
    for top, folders, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(top, f) for f in folders if f.startswith(f"creto-{pid}-")]
    return found


@test
def changes_under_way():
    """A sandbox that is ended, and a connection that ends, while the kernel still works on a change."""
    with service() as s:
        p = Peer(s.path)
        for i in range(10):
            pid, stream = p.spawn("busy")
            check(greet(stream, 1), "no greeting")
            asked = [p.send(FREEZE, text("busy") + b"\1"), p.send(FREEZE, text("busy") + b"\1")] if i % 2 else [p.send(LIMIT, text("busy") + struct.pack("<9QI", *limits(memory=16 << 20), 0))]
            if i % 3 == 2:
                p.close()
                p = Peer(s.path)
                p.terminate("busy")
                check(not alive(pid), "alive")
                continue
            end, said = p.send(TERMINATE, text("busy")), {}
            while len(said) < len(asked) + 1:
                kind, serial, _, _ = p.receive()
                said[serial] = kind
            check_equal(said[end], TERMINATED, "the end")
            check(all(said[n] in (FROZEN, LIMITED, ERROR) for n in asked), f"{said}")
            check(not alive(pid), "alive")
        check_equal((p.list(), s.names("sandboxes"), s.names("guest")), ({}, [], []), "what is left")
        check(poll(lambda: not groups_of(s.process.pid)), f"groups: {groups_of(s.process.pid)}")
        p.close()


CRUN = shutil.which("crun") or "/usr/bin/crun"


def engines_under_way(pid):
    """Children of the warden that are going to be engines, and have still all that it has open."""
    found = []
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        for child in map(int, f.read().split()):
            with contextlib.suppress(OSError), open(f"/proc/{child}/comm", encoding="ascii") as name:
                if name.read() == "creto-warden\n":
                    found.append(child)
    return found


def watched_though_closed(pid):
    """What that process' epoll sets go on about without the process having it open."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as f:
            for line in f:
                if line.startswith("tfd:"):
                    target, inode = line.split()[1], int(line.split("ino:")[1].split()[0], 16)
                    path = f"/proc/{pid}/fd/{target}"
                    if not os.path.exists(path) or os.stat(path).st_ino != inode:
                        found.append(line.strip())
    return found


def stopped(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "T"
    return False


@test
def a_change_while_an_engine_starts():
    """Each is answered once, though what becomes the engine has a copy of the socket that says so."""
    if not os.access(CRUN, os.X_OK):
        skip("crun is not installed")
    with service() as s:
        p = Peer(s.path)
        p.spawn("busy")
        said, asked = [], []
        for i in range(8):
            asked += [p.send(FREEZE, text("busy") + bytes([1 - i % 2])), p.send(SPAWN, spawn_request(f"e{i}", runtime="crun"))]
            while not set(asked) <= set(said):
                _, serial, _, fds = p.receive()
                said.append(serial)
                for fd in fds:
                    os.close(fd)
        check(sorted(said) == asked, f"{len(said)} answers to {len(asked)} requests")
        for name in p.list():
            p.terminate(name)
        p.close()


@test
def one_that_never_had_a_process_while_an_engine_starts():
    """It is forgotten at once; what becomes the engine has a copy of its socket, and the warden must not hear that any more."""
    if not os.access(CRUN, os.X_OK):
        skip("crun is not installed")
    with service() as s:
        p = Peer(s.path)
        p.spawn("first", runtime="crun")  # it has been asked what it is
        for i in range(40):
            check(poll(lambda: children(s.process.pid, "creto-zygote")), "no zygote")
            [zygote] = children(s.process.pid, "creto-zygote")
            os.kill(zygote, signal.SIGSTOP)
            asked = [p.send(SPAWN, spawn_request(f"n{i}")), p.send(SPAWN, spawn_request(f"e{i}", runtime="crun"))]
            caught, end = [], time.monotonic() + 1
            while not caught and time.monotonic() < end:
                caught = engines_under_way(s.process.pid)
            for pid in caught:
                os.kill(pid, signal.SIGSTOP)
            caught = [pid for pid in caught if poll(lambda: stopped(pid), 1) and pid in engines_under_way(s.process.pid)]
            os.kill(zygote, signal.SIGKILL)
            said = [p.receive()[:2]] if caught else []
            check(not caught or said == [(ERROR, asked[0])], f"{said} of {asked}")
            check(not caught or poll(lambda: not watched_though_closed(s.process.pid)), f"closed, and heard still: {watched_though_closed(s.process.pid)}")
            check(s.process.poll() is None and isinstance(p.list(), dict), "the warden is gone")
            for pid in caught:
                os.kill(pid, signal.SIGCONT)
            while len(said) < 2:
                _, serial, _, fds = p.receive()
                said.append(serial)
                for fd in fds:
                    os.close(fd)
            for name in p.list():
                p.terminate(name)
            if caught:
                break
        check(caught, "no engine was caught before its exec")
        check(poll(lambda: not groups_of(s.process.pid)), f"groups: {groups_of(s.process.pid)}")
        p.close()


MANY = 100  # several times what is made at once


@test
def background_gives_way():
    with service() as s:
        p = Peer(s.path)
        p.spawn("first")
        behind = {p.send(SPAWN, spawn_request(f"b{i}", BACKGROUND)): f"b{i}" for i in range(MANY)}
        asked = {p.send(USAGE, text("first")): "usage", p.send(SPAWN, spawn_request("front")): "spawn", p.send(TERMINATE, text("first")): "terminate",
                 p.send(LIST, struct.pack("<I", 0)): "list"}
        before, made = {}, 0
        while len(before) < len(asked) or made < MANY:
            kind, serial, body, fds = p.receive()
            for fd in fds:
                os.close(fd)
            if serial in asked:
                check(kind != ERROR, f"{asked[serial]} was refused")
                before[asked[serial]] = made
            else:
                check_equal((kind, body.text()), (SPAWNED, behind[serial]), "an answer")
                made += 1
        check(all(n < MANY / 2 for n in before.values()), f"answered after so many of {MANY} in the background: {before}")
        check_equal(sorted(p.list()), sorted(["front"] + list(behind.values())), "the list")
        for name in p.list():
            p.terminate(name)
        p.close()


@test
def background_is_taken_back():
    """TERMINATE of one that is not made yet, a name that is taken, and a connection that ends with all of them under way."""
    with service() as s:
        p = Peer(s.path)
        spawns = [p.send(SPAWN, spawn_request(f"b{i}", BACKGROUND)) for i in range(MANY)]
        again = p.send(SPAWN, spawn_request(f"b{MANY - 1}", BACKGROUND))
        ends = [p.send(TERMINATE, text(f"b{i}")) for i in range(MANY)]
        said = {}
        while len(said) < 2 * MANY + 1:
            kind, serial, _, fds = p.receive()
            for fd in fds:
                os.close(fd)
            if serial:
                said[serial] = kind
        check_equal(said[again], ERROR, "a name that is taken")
        check_equal([said[n] for n in ends], [TERMINATED] * MANY, "ends")
        check(set(said[n] for n in spawns) <= {SPAWNED, ERROR} and ERROR in [said[n] for n in spawns], "not one was ended before it was made")
        check_equal((p.list(), s.names("sandboxes"), s.names("guest")), ({}, [], []), "what is left")
        for i in range(MANY):
            p.send(SPAWN, spawn_request(f"c{i}", BACKGROUND))
        p.receive()
        p.close()
        p = Peer(s.path)
        for name in p.list():
            p.terminate(name)
        check(poll(lambda: not children(s.process.pid, "creto-embryo", "creto-init")), "embryos for a connection that is gone")
        check(poll(lambda: not groups_of(s.process.pid)), f"groups for a connection that is gone: {groups_of(s.process.pid)}")
        check_equal((p.list(), s.names("sandboxes"), s.names("guest")), ({}, [], []), "what is left")
        p.spawn("after")
        p.terminate("after")
        p.close()


@test
def zygote_killed_under_way():
    """What it was making may fail; what comes next is made."""
    with service() as s:
        p = Peer(s.path)
        spawns = [p.send(SPAWN, spawn_request(f"b{i}", BACKGROUND)) for i in range(MANY)]
        said = {}
        while len(said) < MANY:
            kind, serial, _, fds = p.receive()
            for fd in fds:
                os.close(fd)
            said[serial] = kind
            if len(said) in (5, 30):
                for pid in children(s.process.pid, "creto-zygote"):
                    os.kill(pid, signal.SIGKILL)
        check_equal(set(said), set(spawns), "answers")
        check(sum(kind == SPAWNED for kind in said.values()) >= MANY / 4, f"{sum(kind == ERROR for kind in said.values())} of {MANY} have failed")
        p.spawn("after")
        for name in p.list():
            p.terminate(name)
        check(poll(lambda: not children(s.process.pid, "creto-embryo", "creto-init")), "embryos")
        check(poll(lambda: not groups_of(s.process.pid)), f"groups: {groups_of(s.process.pid)}")
        p.close()


def answers(p, name):
    try:
        return greet(p.attach(name), 5)
    except (Refused, OSError):
        return False


@test
def killed_at_random():
    """SIGKILL to the warden at any moment of spawning and terminating: its successor knows everything that runs, and can end it."""
    with service() as s:
        seen = set()
        for round_ in range(20):
            p = Peer(s.path, prepared=round_ % 3)
            killer = os.fork()
            if killer == 0:
                time.sleep(random.uniform(0, 0.06))
                os.kill(s.process.pid, signal.SIGKILL)
                os._exit(0)
            try:
                for i in range(MANY if round_ % 2 else 0):  # every other time there are as many as there can be under way
                    p.send(SPAWN, spawn_request(f"b{round_}-{i}", BACKGROUND))
                for i in range(1000):
                    name = f"r{round_}-{i}"
                    seen.add(p.spawn(name)[0])
                    if i % 2:
                        p.terminate(name)
            except (Refused, OSError):
                pass
            os.waitpid(killer, 0)
            s.process.wait()
            dead = s.process.pid
            s.start()
            p = Peer(s.path)
            listed = p.list()
            for name, (state, _, _) in listed.items():
                if state == RUNNING and not answers(p, name):  # it was not let go yet when its warden died, and dies now
                    check(poll(lambda: p.list()[name][0] == GONE), f"round {round_}: {name} is listed as running and does not answer")
                p.terminate(name)
            check(poll(lambda: not any(alive(x) for x in seen)), f"round {round_}: forgotten sandboxes {[x for x in seen if alive(x)]}")
            check_equal((s.names("sandboxes"), s.names("guest")), ([], []), f"round {round_}: files")
            check(poll(lambda: not groups_of(dead)), f"round {round_}: groups {groups_of(dead)}")
            p.close()


if __name__ == "__main__":
    main()
