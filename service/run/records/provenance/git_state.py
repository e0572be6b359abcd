"""The commit of a source tree, and what is not committed there, as git tells."""

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 10.0
MAX_DIFF_BYTES = 1024 * 1024


@dataclass(frozen=True)
class GitState:
    """The commit, and `git diff HEAD` with its sha256; both are None if nothing differs.

    `diff` is None too if it has more than MAX_DIFF_BYTES: then only its sha256 and size are known.
    """

    commit: str
    diff: bytes | None = None
    diff_sha256: str | None = None
    diff_bytes: int = 0


def git_state(tree: Path) -> GitState | None:
    """Return the state of a source tree; None if it is in no repository, or git is not there or does not answer."""
    try:
        _git(tree, "ls-files", "--error-unmatch", "--", "service/__init__.py")  # not a repository around a package
        commit = _git(tree, "rev-parse", "HEAD").decode().strip()
        diff = _git(tree, "diff", "--binary", "--no-ext-diff", "HEAD")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    if not diff:
        return GitState(commit)
    kept = diff if len(diff) <= MAX_DIFF_BYTES else None
    return GitState(commit, kept, hashlib.sha256(diff).hexdigest(), len(diff))


def _git(tree: Path, *arguments: str) -> bytes:
    """Return what git prints; never waits for a lock, a password or a pager."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat"}
    command = ["git", "-C", str(tree), *arguments]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=TIMEOUT_SECONDS
    ).stdout
