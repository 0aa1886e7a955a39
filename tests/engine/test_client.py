from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.engine.client import Engine
from app.errors import EngineRefused, EngineUnavailable
from tests.engine.yard import relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def test_refusal_carries_the_engines_words(engine: Engine) -> None:
    with pytest.raises(EngineRefused, match=r"refused to start it: .*no-such-container.* \(HTTP 404\)"):
        await engine.call("start it", "containers/no-such-container/start", "POST")


async def test_other_server_is_not_taken_for_an_engine() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Engine.open(f"tcp://127.0.0.1:{port}") as other:
            with pytest.raises(EngineUnavailable, match="does not talk like a Docker engine"):
                await other.describe()
            assert not await other.answers()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder as DOCKER_CERT_PATH wants it: one self-signed certificate that is authority, server and client."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    for file in ("ca.pem", "cert.pem"):
        (tmp_path / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return tmp_path


@pytest.fixture
async def tls_port(engine: Engine, certificates: Path) -> AsyncIterator[int]:
    """The engine behind TLS that asks for a client certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(
        lambda reader, writer: relay(engine, reader, writer, []), "127.0.0.1", 0, ssl=context
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_engine_over_tls_needs_and_gets_the_certificates(tls_port: int, certificates: Path) -> None:
    host = f"tcp://127.0.0.1:{tls_port}"
    async with Engine.open(host, tls_verify=True, cert_path=certificates) as secured:
        assert (await secured.describe()).api_version >= (1, 39)
    async with Engine.open(host) as plain:
        assert not await plain.answers()
