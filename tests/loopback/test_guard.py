"""The guard of addresses that people give, over real sockets: what is judged is what is connected to."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from app.errors import NoticeNotSent
from app.receivers.client import Answer, Sender
from app.receivers.guard import AddressRefused, Guard
from tests.api_client import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAME: Final = "chat.example.org"
HELLO: Final = b'{"text": "hello"}'


class Names:
    """A name server: each question takes the next of the answers, the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), list[str]()

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Receiver:
    """A receiver of notices that says ok and remembers what it was asked for."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") -> None:
        self.connections, self.hosts, self.names = 0, list[str](), list[str | None]()
        self.port, self._answer = 0, answer

    @asynccontextmanager
    async def listening(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.hosts += [line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")]
            writer.write(self._answer)
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@asynccontextmanager
async def sender(guard: Guard) -> AsyncIterator[Sender]:
    client = Sender(guard)
    try:
        yield client
    finally:
        await client.close()


async def test_a_name_is_looked_up_once_and_what_was_judged_is_connected_to() -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    async with Receiver().listening() as receiver, sender(Guard(LOOPBACK, names)) as client:
        url = SecretStr(f"http://{NAME}:{receiver.port}/hook")
        assert await client.post(url, HELLO) == Answer(200, "ok")
        assert (names.asked, receiver.hosts) == ([NAME], [f"{NAME}:{receiver.port}"])
        with pytest.raises(NoticeNotSent, match="TAGSHIP_NOTIFY_PRIVATE_NETWORKS") as refused:
            await client.post(url, HELLO)
    assert (refused.value.permanent, refused.value.status) == (True, None)
    assert "169.254" not in str(refused.value)
    assert receiver.connections == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "127.1"])
async def test_this_machine_is_refused_however_it_is_spelled(host: str) -> None:
    async with Receiver().listening() as receiver, sender(Guard()) as client:
        url = f"http://{host}:{receiver.port}/hook"
        with pytest.raises(AddressRefused):
            await client.check(url)
        with pytest.raises(NoticeNotSent) as refused:
            await client.post(SecretStr(url), HELLO)
        assert refused.value.permanent
        assert receiver.connections == 0
        assert await client.post(SecretStr(url), HELLO, trusted=True) == Answer(200, "ok")


async def test_a_name_with_one_address_inside_is_refused() -> None:
    async with Receiver().listening() as receiver, sender(Guard((), Names(["8.8.8.8", "127.0.0.1"]))) as client:
        with pytest.raises(NoticeNotSent):
            await client.post(SecretStr(f"http://{NAME}:{receiver.port}/"), HELLO)
        with pytest.raises(AddressRefused):
            await client.check(f"http://{NAME}:{receiver.port}/")
    assert receiver.connections == 0


async def test_the_next_address_is_tried_when_the_first_takes_no_connection() -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])  # nothing listens on the first
    async with Receiver().listening() as receiver, sender(Guard(LOOPBACK, names)) as client:
        assert await client.post(SecretStr(f"http://{NAME}:{receiver.port}/"), HELLO) == Answer(200, "ok")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "a..b"])
async def test_a_name_without_an_address_may_get_one_later(host: str) -> None:
    async with sender(Guard()) as client:
        await client.check(f"https://{host}/")
        with pytest.raises(NoticeNotSent, match="cannot be reached") as refused:
            await client.post(SecretStr(f"https://{host}/"), HELLO)
    assert not refused.value.permanent


async def test_a_redirect_to_the_inside_is_not_followed() -> None:
    async with Receiver().listening() as inside:
        there = f"http://127.0.0.1:{inside.port}/"
        moved = f"HTTP/1.1 307 Moved\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode()
        async with Receiver(moved).listening() as receiver, sender(Guard(LOOPBACK)) as client:
            with pytest.raises(NoticeNotSent, match="307"):
                await client.post(SecretStr(f"http://127.0.0.1:{receiver.port}/"), HELLO)
    assert (receiver.connections, inside.connections) == (1, 0)


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver().listening() as proxy, Receiver().listening() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with sender(Guard(LOOPBACK, Names(["127.0.0.1"]))) as client:
            assert await client.post(SecretStr(f"http://{NAME}:{receiver.port}/"), HELLO) == Answer(200, "ok")
    assert (proxy.connections, receiver.connections) == (0, 1)


async def test_the_certificate_is_checked_for_the_name_and_not_for_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    context = certified(tmp_path, NAME)
    context.sni_callback = lambda _socket, name, _context: receiver.names.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    async with receiver.listening(context), sender(Guard(LOOPBACK, Names(["127.0.0.1"]))) as client:
        url = SecretStr(f"https://{NAME}:{receiver.port}/hook")
        assert await client.post(url, HELLO) == Answer(200, "ok")
        with pytest.raises(NoticeNotSent, match="cannot be reached"):
            await client.post(SecretStr(f"https://other.example.org:{receiver.port}/"), HELLO)
    assert receiver.names == [NAME, "other.example.org"]
    assert receiver.hosts == [f"{NAME}:{receiver.port}"]


def certified(folder: Path, name: str) -> ssl.SSLContext:
    """A server's context with a certificate for that name, which is in ``certificate.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate: Any = builder.sign(key, SHA256())
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
