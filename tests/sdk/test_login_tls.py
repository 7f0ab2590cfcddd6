"""TLS from files: the SDK speaks it, and a renewed certificate counts without a restart."""

from __future__ import annotations

import datetime
import os
import socket
import subprocess
from pathlib import Path

import pytest
from test_login import ALWAYS, RUN, first_token, header_for, sdk

pytestmark = pytest.mark.own_server


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1, by the program that every system has."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return cert, key


class TlsServer:
    """Where a server is reached that speaks TLS."""

    def __init__(self, server) -> None:
        self.host, self.port = f"https://{server.host}", server.port
        self.url = f"https://{server.host}:{server.port}"


@pytest.fixture
def encrypted(spawn_server, tmp_path, monkeypatch):
    cert, key = certificate(tmp_path, "first")
    own = spawn_server(
        start=False, options=(*ALWAYS, "--tls-cert", str(cert), "--tls-key", str(key))
    )
    own.data_dir.mkdir(parents=True, mode=0o700)
    admin = first_token(own)
    import harness

    monkeypatch.setattr(harness, "ADDRESS", harness.re.compile(r"https://([^\s:/]+):(\d+)"))
    return own.start(), admin, cert, key


def test_the_sdk_speaks_tls(encrypted, tmp_path):
    own, admin, cert, _ = encrypted
    done = sdk(
        TlsServer(own),
        RUN,
        tmp_path / "sdk",
        COVALENT_EXTRA_HEADERS=header_for(admin),
        REQUESTS_CA_BUNDLE=str(cert),
    )
    assert done.stdout.strip().endswith("COMPLETED [0, 2, 4]"), done.stdout + done.stderr[-3000:]


def peer_certificate(own, cert: Path) -> bytes:
    import ssl

    context = ssl.create_default_context(cafile=str(cert))
    with socket.create_connection((own.host, own.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as stream:
            return stream.getpeercert(binary_form=True)


def test_a_renewed_certificate_counts_without_a_restart(encrypted, tmp_path):
    import ssl

    own, _, cert, key = encrypted
    first = peer_certificate(own, cert)
    new_cert, new_key = certificate(tmp_path, "second")
    cert.write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        for _ in range(1000):
            peer_certificate(own, new_cert)
    os.replace(new_key, key)
    os.replace(new_cert, cert)
    deadline = datetime.datetime.now() + datetime.timedelta(seconds=20)
    while datetime.datetime.now() < deadline:
        try:
            second = peer_certificate(own, cert)
            break
        except ssl.SSLError:
            continue
    assert second != first


def test_plain_words_at_an_encrypted_port_are_cut_off(encrypted):
    own, *_ = encrypted
    with socket.create_connection((own.host, own.port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in plain.recv(100)
