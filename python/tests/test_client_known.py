# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Callers over TCP that say who they are, by a token or a certificate, over an encrypted connection."""

from __future__ import annotations

import asyncio
import getpass
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mounts
import numpy as np
import pytest

pytest.importorskip("grpc")

from test_client_served import LARGE, PATIENCE, Serving, serving

import modelfs
from modelfs.client_channel import Tls
from modelfs.client_errors import InferenceError

TOKEN = "0123456789abcdef0123456789abcdef"
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass
class Certificates:
    """A certificate authority that signs a server's and a client's certificate, and one that nobody trusts."""

    folder: Path

    def authority(self, name: str) -> None:
        self._openssl("-x509", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")

    def signed(self, name: str, *extensions: str) -> None:
        added = [part for extension in extensions for part in ("-addext", extension)]
        by = ["-CA", "authority.pem", "-CAkey", "authority.key"]
        self._openssl(
            "-x509", *by, *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *added
        )

    def _openssl(self, *args: str) -> None:
        made = subprocess.run(["openssl", "req", *args], cwd=self.folder, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr

    def path(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.authority("authority")
    made.authority("stranger")
    made.signed("server", "subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE")
    made.signed("camera", "extendedKeyUsage=clientAuth", "basicConstraints=critical,CA:FALSE")
    return made


@pytest.fixture(scope="module")
def point(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounts.mounted(binary, tmp_path_factory.mktemp("models")) as mount:
        yield mount.point


@pytest.fixture(scope="module")
def served(
    binary: Path, point: Path, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Serving, Serving]]:
    """A server that knows tokens, and one that has its clients show certificates."""
    folder, me = tmp_path_factory.mktemp("servers"), getpass.getuser()
    tokens = folder / "tokens"
    tokens.write_text(f"# a token and a user\n{TOKEN} {me}\n")
    tokens.chmod(0o600)
    tls = ["--tls-cert", certificates.path("server.pem"), "--tls-key", certificates.path("server.key")]
    shown = ["--client-ca", certificates.path("authority.pem"), "--client-user", f"camera={me}"]
    (folder / "1").mkdir()
    (folder / "2").mkdir()
    with (
        serving(binary, point, folder / "1", *tls, "--tokens", str(tokens)) as by_token,
        serving(binary, point, folder / "2", *tls, *shown) as by_certificate,
    ):
        for made in (by_token, by_certificate):
            with modelfs.Client(address=made.socket) as client:
                client.wait_ready(PATIENCE, "sum")
        yield by_token, by_certificate


def client_of(server: Serving, tls: Tls | None, **options: Any) -> modelfs.Client:  # noqa: ANN401
    return modelfs.Client("sum", address=server.tcp, mount=server.mount, tls=tls, **{"timeout": PATIENCE, **options})


def sums(client: modelfs.Client) -> bool:
    return bool(client.infer({"data": LARGE.ravel()})["sum"][0] == LARGE.ravel()[::4096].sum(dtype=np.int64))


def test_a_token_says_who_calls(served: tuple[Serving, Serving], certificates: Certificates) -> None:
    tls = Tls(ca=certificates.path("authority.pem"))
    with client_of(served[0], tls, token=TOKEN, by_reference="always") as client:
        assert sums(client)
        assert client.fallbacks == 0
    with client_of(served[0], tls) as client:  # nobody is known: nothing is by reference, and the call is made
        assert sums(client)
    with client_of(served[0], tls, token=TOKEN[::-1]) as client, pytest.raises(InferenceError) as refused:
        sums(client)
    assert refused.value.code == "UNAUTHENTICATED"


def test_a_certificate_says_who_calls(served: tuple[Serving, Serving], certificates: Certificates) -> None:
    tls = Tls(certificates.path("authority.pem"), certificates.path("camera.pem"), certificates.path("camera.key"))
    with client_of(served[1], tls, by_reference="always") as client:
        assert sums(client)
        assert client.fallbacks == 0
    with client_of(served[1], Tls(ca=tls.ca), timeout=1.0) as client, pytest.raises(InferenceError):
        sums(client)


def test_asyncio(served: tuple[Serving, Serving], certificates: Certificates) -> None:
    async def call() -> None:
        tls = Tls(ca=certificates.path("authority.pem"))
        options: dict[str, Any] = {"token": TOKEN, "tls": tls, "by_reference": "always", "timeout": PATIENCE}
        async with modelfs.AsyncClient("sum", address=served[0].tcp, mount=served[0].mount, **options) as client:
            assert (await client.infer({"data": np.full(8192, 7, np.uint8)}))["sum"][0] == 14

    asyncio.run(call())


def test_a_server_that_is_not_trusted(served: tuple[Serving, Serving], certificates: Certificates) -> None:
    for tls in (Tls(ca=certificates.path("stranger.pem")), None):
        with client_of(served[0], tls, timeout=1.0) as client, pytest.raises(InferenceError):
            sums(client)
