"""The peers: how each one is told to run a command with comparable isolation, and how everything of theirs is removed again.

Nothing here is timed. What is timed is a command line from this file, started by bench-spawner.
"""
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time

PYTHON = "/usr/bin/python3"
TRUE = "/bin/true"
PAYLOADS = {"true": [TRUE], "python": [PYTHON, "-c", "print(1)"]}
EXPECTED = {"true": b"", "python": b"1\n"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# creto-runtime's defaults, so that all peers with limits have the same ones.
MEMORY_BYTES = 512 << 20
CPU_PERIOD_US = 100000
CPU_QUOTA_US = 100000
PIDS = 256
FIRST_ID = 100000
ID_COUNT = 65536

SECCOMP_PROFILE = "/usr/share/containers/seccomp.json"
ARCHES = {"x86_64": ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
          "aarch64": ("arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])}
CGROUP_ROOT = "/sys/fs/cgroup"


class Missing(Exception):
    """This host lacks something; the message names it."""


def clean_env():
    keep = {k: v for k, v in os.environ.items() if k.startswith("CRETO_") or k == "XDG_RUNTIME_DIR"}
    return {**keep, "PATH": PATH, "LANG": "C", "HOME": os.environ.get("HOME", "/")}


def seccomp_profile():
    """podman's default profile, resolved for a container without capabilities, as podman would resolve it."""
    arch, oci = ARCHES.get(platform.machine(), (None, None))
    if not arch:
        raise Missing(f"no seccomp architecture known for {platform.machine()}")
    try:
        with open(SECCOMP_PROFILE, encoding="utf-8") as f:
            profile = json.load(f)
    except OSError:
        raise Missing(f"{SECCOMP_PROFILE} (package golang-github-containers-common)") from None
    rules = []
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if includes.get("caps") or (includes.get("arches") and arch not in includes["arches"]):
            continue
        if arch in excludes.get("arches", []):
            continue
        out = {"names": rule["names"], "action": rule["action"]}
        if rule.get("errnoRet") is not None:
            out["errnoRet"] = rule["errnoRet"]
        if rule.get("args"):
            out["args"] = rule["args"]
        rules.append(out)
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile.get("defaultErrnoRet", 38), "architectures": oci, "syscalls": rules}


def bundle_config(args, cgroups_path, hard):
    """An OCI configuration: the host's /usr read-only, every namespace, no network but loopback, no capabilities.

    hard adds what a default-deny sandbox has beyond that: a user namespace, the seccomp profile, limits.
    """
    nosuid = ["nosuid", "noexec", "nodev"]
    config = {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0}, "args": args, "env": [f"PATH={PATH}"], "cwd": "/",
            "capabilities": {k: [] for k in ("bounding", "effective", "inheritable", "permitted", "ambient")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": nosuid + ["mode=1777", "size=65536k"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmp", "options": ["nosuid", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro", "nosuid", "nodev"]},
        ],
        "linux": {
            "cgroupsPath": cgroups_path,
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                            "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    if hard:
        linux = config["linux"]
        ids = [{"containerID": 0, "hostID": FIRST_ID, "size": ID_COUNT}]
        linux["namespaces"].append({"type": "user"})
        linux.update(uidMappings=ids, gidMappings=ids, seccomp=seccomp_profile())
        linux["resources"].update(
            memory={"limit": MEMORY_BYTES, "swap": MEMORY_BYTES} if swap_accounted() else {"limit": MEMORY_BYTES},
            cpu={"quota": CPU_QUOTA_US, "period": CPU_PERIOD_US}, pids={"limit": PIDS})
    return config


def swap_accounted():
    return os.path.exists(f"{CGROUP_ROOT}/memory/memory.memsw.limit_in_bytes") or os.path.exists(f"{CGROUP_ROOT}/cgroup.controllers")


def bwrap_command(args):
    cmd = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "sbin"):
        if os.path.isdir(f"/usr/{name}"):
            cmd += ["--symlink", f"usr/{name}", f"/{name}"]
    return cmd + ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--"] + args


def streams():
    """Standard streams for an engine, which gives them to the container's user: crun 1.8 changes the owner of the host's /dev/null."""
    return tempfile.TemporaryFile()


class Peers:
    """A directory and a cgroup of our own, holding the bundles and the engines' state. A context manager: leaving removes it all."""

    def __init__(self, tools):
        self.launcher = os.path.join(tools, "bench-launcher")
        self.group = f"creto-bench-{os.getpid()}"
        self.missing = {}  # what could not run here: the reason
        self.cold = {}     # the cold commands that can, see cold_commands()
        self.leftovers = []
        self.dir = None

    def __enter__(self):
        run = "/run" if os.access("/run", os.W_OK) else None
        self.dir = tempfile.mkdtemp(prefix="creto-bench-", dir=run)
        os.chmod(self.dir, 0o755)  # the first user id of a container must be able to walk to its root
        return self

    def __exit__(self, *unused):
        self.remove_containers()
        self.remove_cgroups()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.leftovers += [d for d in [self.dir] if os.path.exists(d)] + self.cgroups()

    # Engines

    def engine(self, name, *args):
        """The command line of crun or runc, as bench-spawner runs it (crun in its own view, see view.h)."""
        return [name, "--root", f"{self.dir}/{name}", *args]

    def call(self, name, *args, **kw):
        cmd = self.engine(name, *args)
        with streams() as f:  # whatever of them is not named
            return subprocess.run([self.launcher, *cmd] if name == "crun" else cmd, env=clean_env(), **{"stdin": f, "stdout": f, "stderr": f, **kw})

    def bundle(self, name, args, hard, group=None):
        """Makes a bundle and returns its directory. Containers share one bundle only with a cgroup path of their own each."""
        path = f"{self.dir}/bundle-{name}"
        for d in ("usr", "proc", "dev", "sys", "tmp"):
            os.makedirs(f"{path}/rootfs/{d}", exist_ok=True)
        for d in ("bin", "lib", "lib64", "sbin"):
            if os.path.isdir(f"/usr/{d}") and not os.path.lexists(f"{path}/rootfs/{d}"):
                os.symlink(f"usr/{d}", f"{path}/rootfs/{d}")
        with open(f"{path}/config.json", "w", encoding="utf-8") as f:
            json.dump(bundle_config(args, f"/{self.group}/{group or name}", hard), f)
        return path

    def need_engine(self, name):
        if os.geteuid() != 0:
            raise Missing("needs root")
        if not shutil.which(name, path=PATH):
            raise Missing(f"not installed (package {name})")

    def run_command(self, engine, hard, payload):
        self.need_engine(engine)
        name = f"{engine}{'-hard' if hard else ''}-{payload}"
        return self.engine(engine, "run", "--bundle", self.bundle(name, PAYLOADS[payload], hard), name)

    def start_idle(self, engine, hard, count):
        """Starts containers that sleep; returns their names."""
        self.need_engine(engine)
        sleeper = ["/usr/bin/busybox", "sleep", "100000"] if os.path.exists("/usr/bin/busybox") else ["/usr/bin/sleep", "100000"]
        names = []
        for i in range(count):
            name = f"{engine}{'-hard' if hard else ''}-idle-{len(os.listdir(self.dir))}-{i}"
            bundle = self.bundle(name, sleeper, hard)
            with open(f"{bundle}/err", "w+", encoding="utf-8") as err:
                if self.call(engine, "run", "--detach", "--pid-file", f"{bundle}/pid", "--bundle", bundle, name, stderr=err).returncode != 0:
                    err.seek(0)
                    raise Missing(f"run --detach failed: {err.read().strip()[:200]}")
            names.append(name)
        return names

    def pid_of(self, name):
        with open(f"{self.dir}/bundle-{name}/pid", encoding="ascii") as f:
            return int(f.read())

    def delete(self, engine, names):
        for name in names:
            self.call(engine, "delete", "--force", name)

    # Removal

    def remove_containers(self):
        for engine in ("crun", "runc"):
            root = f"{self.dir}/{engine}"
            if os.path.isdir(root):
                self.delete(engine, os.listdir(root))
                left = os.listdir(root)
                self.leftovers += [f"{engine} container {n}" for n in left]

    def cgroups(self):
        if not os.path.isdir(CGROUP_ROOT):
            return []
        tops = [CGROUP_ROOT] + [f"{CGROUP_ROOT}/{d}" for d in os.listdir(CGROUP_ROOT) if not os.path.islink(f"{CGROUP_ROOT}/{d}")]
        return [g for g in (f"{t}/{self.group}" for t in tops) if os.path.isdir(g)]

    def remove_cgroups(self):
        for _ in range(20):
            for group in self.cgroups():
                for path, _dirs, _files in os.walk(group, topdown=False):
                    try:
                        os.rmdir(path)
                    except OSError:
                        pass
            if not self.cgroups():
                return
            time.sleep(0.1)


def cold_commands(peers, cli):
    """Every peer for both payloads: {name: (view, argv)}. What cannot run here goes to peers.missing with the reason."""
    out = {}
    unlimited = ["--memory", "unlimited", "--cpu", "unlimited", "--pids", "unlimited"]
    for payload, args in PAYLOADS.items():
        makers = {
            "fork+exec": lambda a=args: ("host", a),
            "bwrap": lambda a=args: ("host", bwrap_command(a)),
            "crun": lambda p=payload: ("crun", peers.run_command("crun", False, p)),
            "crun+hard": lambda p=payload: ("crun", peers.run_command("crun", True, p)),
            "runc": lambda p=payload: ("host", peers.run_command("runc", False, p)),
            "runc+hard": lambda p=payload: ("host", peers.run_command("runc", True, p)),
            "creto-runtime": lambda a=args: ("host", [cli, "run", "--runtime", "native", "--", *a]),
            "creto-runtime, no cgroup limits": lambda a=args: ("host", [cli, "run", "--runtime", "native", *unlimited, "--", *a]),
        }
        for name, make in makers.items():
            try:
                view, argv = make()
                probe(peers, view, argv, EXPECTED[payload])
                out[f"{payload}/{name}"] = (view, argv)
            except Missing as e:
                peers.missing[f"{payload}/{name}"] = str(e)
    return out


def probe(peers, view, argv, expected):
    """Runs a command once, untimed, and looks at what it says: a peer that does not do the work is not measured."""
    if not os.path.exists(argv[0]) and not shutil.which(argv[0], path=PATH):
        raise Missing(f"{os.path.basename(argv[0])} is not there")
    try:
        with streams() as f:
            done = subprocess.run([peers.launcher, *argv] if view == "crun" else argv, env=clean_env(), stdin=f, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                                  check=False)
    except subprocess.TimeoutExpired:
        raise Missing("does not end") from None
    if done.returncode != 0 or done.stdout != expected:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise Missing(f"exit {done.returncode}: {said[-1][:200] if said else 'no message'}")
