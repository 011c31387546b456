"""A service whose operator has runtime classes of his own, made by programs that a test writes."""
import glob
import os

from harness import IS_ROOT, check, check_equal, descendants, skip
from service import Service


def root_only():
    if not IS_ROOT:
        skip("engines need root")


class Engines(Service):
    """A service whose operator has classes of his own."""

    def __init__(self, scripts, more=('driver = "oci"', 'engine = "crun"'), config=""):
        """`scripts`: class: the program, or None for one that is not there; `more`: what else is said of each."""
        super().__init__()
        self.dir = os.path.join(self.top, "engines")
        os.mkdir(self.dir, 0o755)
        lines = ["[service]", "prepared = 0"]
        for name, script in scripts.items():
            path = os.path.join(self.dir, name)
            if script is not None:
                self.write(path, script)
            lines += [f"[runtime.{name}]", *more, f'binary = "{path}"']
        self.config = os.path.join(self.top, "config.toml")
        with open(self.config, "w") as f:
            f.write("\n".join(lines) + "\n" + config)

    @staticmethod
    def write(path, script):
        with open(path + ".new", "w") as f:
            f.write(script if script.startswith("#!") else "#!/bin/sh\n" + script)
        os.chmod(path + ".new", 0o755)
        os.rename(path + ".new", path)

    def refuses(self, runtime, *words):
        a = self.call("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": runtime}})
        check_equal((a.status, a.code), (503, "BACKEND_UNAVAILABLE"), f"{runtime}: {a.body[:300]!r}")
        text = a.body.decode()
        for word in (runtime, *words):
            check(word in text, f"'{word}' is not said: {text}")
        check(a.json["error"]["hint"] and len(text) < 900 and all(" " <= c <= "~" or c == "\n" for c in text), text)

    def left(self):
        """Groups and processes of the warden's, and files of sandboxes."""
        return (glob.glob(f"/sys/fs/cgroup/*/creto-{self.warden}-*"), len(descendants(self.warden)),
                [n for d in ("sandboxes", "guest") for n in os.listdir(os.path.join(self.run_dir, d))])


def nothing_more(left, before):
    return left[0] == before[0] and left[1] <= before[1] and left[2] == before[2]
