"""The test tools of deps/python-test.txt, in a folder of the build directory."""
import os
import subprocess
import sys

from harness import BUILD, skip

LIST = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "deps/python-test.txt")


def tool(name):
    """The path of the program; skips the test where the tools cannot be had."""
    home = os.path.join(os.path.abspath(BUILD), "python-tools")
    path, stamp = os.path.join(home, "bin", name), os.path.join(home, "made-of")
    with open(LIST) as f:
        wanted = f.read()
    if os.path.exists(stamp) and open(stamp).read() == wanted:
        return path
    for command in ([sys.executable, "-m", "venv", home], [os.path.join(home, "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "-r", LIST]):
        r = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if r.returncode != 0:
            skip(f"{name} cannot be had from PyPI: {(r.stderr or r.stdout).strip().splitlines()[-1:]}")
    with open(stamp, "w") as f:
        f.write(wanted)
    return path
