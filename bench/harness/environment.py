"""The throw-away environment in bench/.env: peers from their registries, our program and the workers in Rust.

Deleting that folder undoes it all. Nothing is installed anywhere else.
"""

import hashlib
import os
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
HOME = BENCH / ".env"
VENV = HOME / "venv"
TARGET = HOME / "target"
PYTHON = VENV / "bin" / "python"
PROGRAM = ROOT / "target" / "release" / "cspnet"
LOG = HOME / "log.txt"
REQUIREMENTS = BENCH / "requirements.txt"
RUST_PEERS = BENCH / "rust-peers"


def prepare():
    """Installs and builds what is not there yet."""
    HOME.mkdir(exist_ok=True)
    LOG.write_text("")
    _install()
    _build()


def command(engine):
    """How the worker of an engine is started; its working folder is bench/."""
    if engine.rust:
        return [TARGET / "release" / engine.worker, *engine.arguments]
    return [PYTHON, "-m", "peers", engine.worker]


def run(*arguments):
    """Runs a tool, its output into the log.

    Raises SystemExit if it fails.
    """
    with LOG.open("a") as log:
        print("$", *arguments, file=log, flush=True)
        done = subprocess.run([str(a) for a in arguments], check=False, cwd=BENCH, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{arguments[0]} failed; see {LOG}")


def versions(engines):
    """The version of each engine's package."""
    locked = {p["name"]: p["version"] for p in tomllib.loads((RUST_PEERS / "Cargo.lock").read_text())["package"]}
    installed = _installed()
    return {e.label: (locked if e.rust else installed)[e.package] for e in engines}


def machine():
    """What kind of machine this is."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {"cpu": cpu, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.release()}"}


def commit():
    """The commit that is measured, with `-dirty` if files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip() or "unknown"


def _install():
    """Installs the requirements, if they are not those that were installed last."""
    mark = HOME / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == wanted:
        return
    print("installing the peers that are Python (some GB)", flush=True)
    run(sys.executable, "-m", "venv", VENV)
    run(PYTHON, "-m", "pip", "install", "--requirement", REQUIREMENTS)
    mark.write_text(wanted)


def _build():
    print("building our program and the workers that are Rust", flush=True)
    run("cargo", "build", "--release", "--manifest-path", RUST_PEERS / "Cargo.toml", "--target-dir", TARGET)
    build_program()


def build_program():
    """Builds our program."""
    HOME.mkdir(exist_ok=True)
    run("cargo", "build", "--release", "--package", "cspnet-cli", "--manifest-path", ROOT / "Cargo.toml")


def _installed():
    told = subprocess.run([PYTHON, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    return {name.lower(): version for name, _, version in (line.partition("==") for line in told.split())}
