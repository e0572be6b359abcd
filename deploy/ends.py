"""Tests a release at one end of what it supports: an interpreter and a PyTorch, in an environment of their own.

    make ends                                            with the python3 and the PyTorch of this machine
    make ends PYTHON=python3.13 ARGS="--system-torch"    with the PyTorch that this interpreter has (as Debian's)
    make ends PYTHON=python3.12 ARGS="--torch 2.14.1"    with one that pip gets

Builds the wheel from the committed files, installs it with all extras into a new environment, trains the demonstration
to a record from an empty folder with two ranks, and runs the tests that `TESTS` and `RANK_TESTS` name. Prints a row for
docs/deployment.md ("Versions"). Outside CI, since it fetches what it installs; on Linux with x86-64, pip's PyTorch is
one for CUDA of several GB. Everything is made in a temporary folder, which is removed.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
EXTRAS = "all,export,parquet"
TESTS = (
    "tests/ddp/checkpoint", "tests/ddp/control", "tests/ddp/metrics", "tests/ddp/step", "tests/ddp/training",
    "tests/api/routes", "tests/service/config", "tests/service/run", "tests/service/store",
)  # fmt: skip
"""What depends most on Python, PyTorch, SQLite and the packages of the HTTP process; in minutes."""
RANK_TESTS = (
    "tests/ddp/behaviour/test_survivors.py", "tests/service/launcher/test_torchrun.py", "tests/service/launcher/ranks",
)  # fmt: skip
"""Ranks under this PyTorch's own torchrun, also as forks: killed, restarted, asked to leave."""
UNCLOSED = ("-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning")
"""Python 3.13 and newer warn of SQLite connections that only the interpreter closes, as tests leave some."""
DEMO = {
    "MAX_STEPS": "6", "VAL_STEP_EVERY": "3", "LOG_EVERY": "2", "CHECKPOINT_EVERY": "6", "PATCH_COUNT": "16",
    "VAL_COUNT": "2", "API_PORT": "5077",
}  # fmt: skip


def main() -> int:
    """Test one end; returns 1 if something of it fails."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--python", default=sys.executable, help="the interpreter")
    torch = options.add_mutually_exclusive_group()
    torch.add_argument("--torch", default="", help="the version of PyTorch that pip gets")
    torch.add_argument("--system-torch", action="store_true", help="take the interpreter's own")
    options.add_argument("--folder", type=Path, help="keep everything in this folder")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ends-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        python = made_environment(folder, given.python, given.torch, is_system=given.system_torch)
        has_record = trains_to_a_record(folder, python)
        counts = tested(python)
        print(row(python, counts))  # noqa: T201
    is_good = has_record and counts.get("passed", 0) > 0 and not {"failed", "errors", "error"} & counts.keys()
    return 0 if is_good else 1


def made_environment(folder: Path, interpreter: str, torch: str, *, is_system: bool) -> Path:
    """Make an environment with PyTorch, the wheel, its extras and what the tests need; returns its interpreter."""
    environment = folder / "environment"
    system = ["--system-site-packages"] if is_system else []
    run([interpreter, "-m", "venv", *system, str(environment)])
    python = environment / "bin" / "python"
    if not is_system:
        run([python, "-m", "pip", "install", "--quiet", f"torch=={torch}" if torch else "torch"])
    # What is there stays: the extras would let pip take a newer one.
    kept = folder / "kept.txt"
    kept.write_text(f"torch=={version(python, 'torch').partition('+')[0]}\n")
    run([python, "-m", "pip", "install", "--quiet", "--constraint", kept, f"{wheel(folder, python)}[{EXTRAS}]"])
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    run([python, "-m", "pip", "install", "--quiet", "--constraint", kept, *groups["test"]])
    return python


def wheel(folder: Path, python: Path) -> Path:
    """Build the wheel of the committed files."""
    source, target = folder / "source", folder / "wheel"
    source.mkdir(exist_ok=True)
    names = ["pyproject.toml", "README.md", "LICENSE", "service", "ddp", "api"]
    packed = subprocess.run(["git", "archive", "HEAD", *names], cwd=REPOSITORY, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", source], input=packed, check=True)
    run([python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, source])
    (made,) = target.iterdir()
    return made


def trains_to_a_record(folder: Path, python: Path) -> bool:
    """Run `leitstand up --demo` in an empty folder; returns whether it left its last record."""
    place = folder / "away"
    place.mkdir()
    settings = [item for name, value in DEMO.items() for item in ("--set", f"{name}={value}")]
    done = subprocess.run([python.with_name("leitstand"), "up", "--demo", *settings], cwd=place, check=False)
    return done.returncode == 0 and any(place.rglob(f"Statistik_{DEMO['MAX_STEPS']}.json"))


def tested(python: Path) -> dict[str, int]:
    """Run the tests with this interpreter; returns how many passed, were skipped, failed."""
    return dict(Counter(counted(python, "-n", "2", "-m", "not slow", *TESTS)) + Counter(counted(python, *RANK_TESTS)))


def counted(python: Path, *options: str) -> dict[str, int]:
    """Run pytest; returns how many tests passed, were skipped, failed."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *UNCLOSED, *options]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    sys.stderr.write(done.stdout[-4000:] + done.stderr[-2000:])
    last = done.stdout.strip().rpartition("\n")[2]
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", last)}


def row(python: Path, counts: dict[str, int]) -> str:
    """Return the row of the table."""
    versions = [run([python, "-c", "import platform; print(platform.python_version())"]).strip()]
    versions += [version(python, name) for name in ("torch", "numpy", "av")]
    results = ", ".join(f"{number} {word}" for word, number in counts.items())
    return f"| {datetime.datetime.now(datetime.UTC):%Y-%m-%d} | {' | '.join(versions)} | {results} |"


def version(python: Path, package: str) -> str:
    """Return the installed version of a package."""
    code = f"import json, importlib.metadata as m; print(json.dumps(m.version({package!r})))"
    return str(json.loads(run([python, "-c", code])))


def run(command: Sequence[str | Path]) -> str:
    """Run a command and return what it prints; raises `CalledProcessError` if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
