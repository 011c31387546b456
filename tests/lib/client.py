"""The command line against a running service."""
import os
import subprocess
import tempfile

from harness import CLI, check_equal


class Client:
    def __init__(self, service):
        self.env = dict(os.environ, CRETO_RUNTIME_HOST=f"unix:{service.socket}")
        self.env.pop("CRETO_RUNTIME_API_KEY", None)

    def __call__(self, *arguments, code=0, stdin=b"", env=None):
        p = subprocess.run([CLI, *arguments], input=stdin, capture_output=True, env={**self.env, **(env or {})}, timeout=60, check=False)
        check_equal(p.returncode, code, f"{' '.join(arguments)[:80]}: {p.stdout[-300:]!r} {p.stderr[-300:]!r}; exit status")
        return p

    def out(self, *arguments, **more):
        return self(*arguments, **more).stdout.decode()

    def shell(self, script):
        with tempfile.TemporaryDirectory() as d:
            os.symlink(CLI, os.path.join(d, "creto-runtime-cli"))
            p = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False,
                               env={**self.env, "PATH": d + ":" + os.environ["PATH"]})
        check_equal(p.returncode, 0, f"{script}: {p.stdout} {p.stderr}; status")
        return p.stdout
