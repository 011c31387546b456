"""Runtime classes as GET /v1/runtimes lists them, and what a service has beside itself: for suites that go through all classes."""
import glob
import os

BUILT_IN = ("native", "crun", "runc", "gvisor", "qemu", "containerd", "kata", "kata-qemu", "kata-fc", "kata-clh")
# A class of the operator's: the shim in front of crun (the built-in class "containerd" has runc).
CONFIG = '[service]\nprepared = 0\n[runtime.shim]\ndriver = "containerd"\nruntime = "crun"\n'


class Runtime:
    def __init__(self, listed):
        self.name, self.driver = listed["name"], listed["driver"]
        self.limits, self.capabilities = set(listed["limits"]), set(listed["capabilities"])
        self.available, self.reason = listed["available"], f"{listed['reason']} ({listed['hint']})"
        self.built_in = self.name in BUILT_IN

    def missing(self, needs):
        """Why a case that needs this is not for the class; nothing where it is."""
        if not self.available:
            return self.reason
        without = [n for n in needs if n not in self.limits | self.capabilities]
        return f"disclaimed by the class: {', '.join(without)}" if without else ""


def config():
    """Of the service; CRETO_TEST_CONFIG names a file with more classes."""
    text, more = CONFIG, os.environ.get("CRETO_TEST_CONFIG")
    if more:
        with open(more, encoding="utf-8") as f:
            text += f.read()
    return text


def runtimes(service, only=""):
    return [r for r in map(Runtime, service.good("GET", "/v1/runtimes")["runtimes"]) if not only or r.name == only]


def leftovers(service):
    """What the service has beside itself."""
    with open("/proc/self/mounts") as f:
        mounts = [line for line in f if service.top in line]
    groups = glob.glob(f"/sys/fs/cgroup/*/creto-{service.warden}-*") + glob.glob(f"/sys/fs/cgroup/creto-{service.warden}-*")
    files = [n for d in ("sandboxes", "guest") for n in os.listdir(os.path.join(service.run_dir, d))]
    return mounts, groups, files
