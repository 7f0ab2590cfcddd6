"""A private PostgreSQL on a free port of the loopback interface, with its settings as they come."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import peerline


class PostgreSQL:
    """A child of this process. It does not run as root, so root lends it the account that Debian made for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.server = folder, None
        self.account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Makes the files of an empty cluster."""
        self.folder.mkdir()
        if self.account:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
        settings = ["--auth=trust", "--username=compare", "--encoding=UTF8"]
        self.run("initdb", "--pgdata", str(self.folder), *settings).check_returncode()

    def start(self) -> str:
        """Starts the server, makes an empty database, and returns its address."""
        port = peerline.free_port()
        places = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", str(port)]
        self.server = subprocess.Popen([program("postgres"), "-D", str(self.folder), *places], **self.manner())
        address = ["--host", "127.0.0.1", "--port", str(port), "--username", "compare"]
        while self.run("pg_isready", *address, "--timeout=1").returncode != 0:
            if self.server.poll() is not None:
                raise RuntimeError("PostgreSQL ended")
        self.run("createdb", *address, "compare").check_returncode()
        return f"postgresql+psycopg://compare@127.0.0.1:{port}/compare"

    def versions(self) -> dict[str, str]:
        return {"PostgreSQL": self.run("postgres", "--version").stdout.split()[2]}

    def stop(self) -> None:
        if self.server:
            peerline.end_group(self.server)

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([program(name), *arguments], **{**self.manner(), "stdout": subprocess.PIPE, "text": True})

    def manner(self) -> dict:
        """How its programs are started: not as root, and with nothing on the standard output, which is ours."""
        lent = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []} if self.account else {}
        return {"stdout": sys.stderr, "cwd": "/", "start_new_session": True, **lent}


def program(name: str) -> str:
    """Debian keeps the server's programs outside of the path."""
    places = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise FileNotFoundError(f"no {name}; on Debian and Ubuntu: apt-get install postgresql")
    return found
