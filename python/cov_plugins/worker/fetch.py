"""What a worker keeps between tasks: programs by their digests, and the files of the guard.

Everything is written beside its place and moved there when it is whole and has been checked, so
that what stands there can be used at once, by any number of processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import stat
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any, Dict, Iterator

VARIABLE = "COV_CACHE_DIR"

_TRIES = 5
_FIRST_PAUSE_S = 0.5
_ANSWER_S = 60.0
_CHUNK_BYTES = 1024 * 1024
# Programs that nobody has used for so long are removed when another comes.
_UNUSED_S = 14 * 24 * 3600

# Programs whose bytes this process has checked.
_checked: Dict[str, float] = {}


class NotFetched(Exception):
    """A program that cannot be had, and why."""


class _OtherContent(ValueError):
    """What was fetched is not what the task names."""


def folder() -> str:
    """Where things are kept: `COV_CACHE_DIR`, or `cov` among the user's caches, or else in /tmp."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return _made(chosen)
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(caches):
        with contextlib.suppress(OSError):
            return _made(os.path.join(caches, "cov"))
    return _made(os.path.join(tempfile.gettempdir(), f"cov-{os.getuid()}"))


def _made(path: str) -> str:
    os.makedirs(path, mode=0o700, exist_ok=True)
    about = os.lstat(path)
    # In a folder that everybody can write to, it might have been somebody else.
    if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode):
        raise PermissionError(f"{path} is not a folder of this user")
    if about.st_mode & 0o022:
        os.chmod(path, 0o700)
    return path


def laid_down(kind: str, files: Dict[str, str]) -> str:
    """A folder with these files, made once for all who need the same."""
    digest = hashlib.sha256(repr(sorted(files.items())).encode("utf-8")).hexdigest()[:16]
    place = os.path.join(folder(), f"{kind}-{digest}")
    if os.path.isdir(place):
        return place
    made = tempfile.mkdtemp(prefix=f".{kind}-", dir=folder())
    for name, text in files.items():
        with open(os.path.join(made, name), "w", encoding="utf-8") as file:
            file.write(text)
    try:
        os.rename(made, place)
    except OSError:
        # Somebody was faster.
        shutil.rmtree(made, ignore_errors=True)
    return place


def program(wanted: Dict[str, Any]) -> str:
    """The path of a program, which is fetched if this worker does not have it."""
    digest = str(wanted["sha256"])
    if not digest:
        raise NotFetched(
            "The server knows no address at which a worker could fetch the program: it listens on "
            "a Unix socket, say. Set its `public_url`."
        )
    place = os.path.join(_made(os.path.join(folder(), "programs")), digest)
    if _is_there(place, digest):
        return place
    with _alone(f"{place}.lock"):
        if not _is_there(place, digest):
            _fetch(wanted, place)
            _checked[place] = os.stat(place).st_mtime
    return place


def _is_there(place: str, digest: str) -> bool:
    try:
        seen = os.stat(place).st_mtime
    except FileNotFoundError:
        return False
    if _checked.get(place) is None:
        with open(place, "rb") as file:
            found = hashlib.sha256()
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                found.update(chunk)
        if found.hexdigest() != digest:
            return False
        _checked[place] = seen
    # Its age says when it was used last; once an hour is enough.
    if time.time() - seen > 3600:
        with contextlib.suppress(OSError):
            os.utime(place)
    return True


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Keeps other tasks of this machine from fetching the same thing at the same time."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Some network file systems have no locks. Then it is fetched more than once, and no harm.
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _fetch(wanted: Dict[str, Any], place: str) -> None:
    address = str(wanted["address"])
    pause = _FIRST_PAUSE_S
    for tried in range(1, _TRIES + 1):
        try:
            _remove_unused(os.path.dirname(place))
            return _download(address, wanted, place)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429 or tried == _TRIES:
                raise NotFetched(_said(address, f"the server answered {error.code}")) from None
        except _OtherContent as error:
            # Once more: a connection that broke off looks the same.
            if tried > 1:
                raise NotFetched(_said(address, str(error))) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            if tried == _TRIES:
                raise NotFetched(_said(address, str(error))) from None
        time.sleep(pause)
        pause *= 2


def _said(address: str, why: str) -> str:
    # What follows the question mark is a permission.
    shown = address.split("?", 1)[0]
    return (
        f"The program could not be fetched from {shown}: {why}. If this worker cannot reach the "
        "server there, set the server's `public_url` to an address that it can reach."
    )


def _download(address: str, wanted: Dict[str, Any], place: str) -> None:
    fd, path = tempfile.mkstemp(prefix=".program-", dir=os.path.dirname(place))
    try:
        digest = hashlib.sha256()
        with os.fdopen(fd, "wb") as file:
            with urllib.request.urlopen(address, timeout=_ANSWER_S) as answer:
                for chunk in iter(lambda: answer.read(_CHUNK_BYTES), b""):
                    digest.update(chunk)
                    file.write(chunk)
        if digest.hexdigest() != wanted["sha256"]:
            raise _OtherContent("what came is not the program that the task names")
        os.chmod(path, 0o700)
        os.rename(path, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(path)
        raise


def _remove_unused(place: str) -> None:
    since = time.time() - _UNUSED_S
    for entry in os.scandir(place):
        with contextlib.suppress(OSError):
            if entry.stat(follow_symlinks=False).st_mtime < since:
                os.remove(entry.path)
