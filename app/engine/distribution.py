"""Images between this engine and registries: push, pull, and what a registry has.

An HTTP 200 says nothing here either: every failure of a push, and most of a pull, is a message in the stream. Leaving
the stream, by whatever way, stops the transfer; layers that have arrived stay, so that another one goes on from them.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import aiohttp

from app.engine.client import NOT_FOUND
from app.engine.credentials import auth_header
from app.engine.shape import ImagePushed, LogText
from app.engine.transfer import TransferOutput, stood_still, transfer_failure
from app.errors import EngineRefused, SwarmUnavailable
from app.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess

CONNECT_S: Final = 5.0
IDLE_S: Final = 300.0  # layers are packed, unpacked and checked without a word in between
UNKNOWN: Final = ("manifest unknown", "not found", "name unknown", "repository name not known")


async def push_image(
    engine: Engine, access: RegistryAccess | None, reference: str, *, idle_s: float = IDLE_S
) -> AsyncGenerator[LogText | ImagePushed]:
    """Push ``registry/name:tag``, exactly that tag; the last event is ``ImagePushed``.

    A push that stands still for ``idle_s`` is given up. Pushing the same again changes nothing. Raises
    ``RegistryUnavailable``, ``RegistryRefused`` (credentials, rights, no such image) and ``EngineUnavailable``.
    """
    name, tag = _name_and_tag(reference)
    path = f"images/{quote(name, safe='/:')}/push?{urlencode({'tag': tag})}"
    output = TransferOutput(f"push {reference}")
    async with aclosing(_transfer(engine, output, path, auth_header(access, reference), idle_s)) as texts:
        async for text in texts:
            yield text
    digest = output.digest or await registry_digest(engine, access, reference)
    if digest is None:
        raise transfer_failure(f"push {reference}", "EOF: the push ended without a digest")
    yield ImagePushed(digest)


async def pull_image(engine: Engine, access: RegistryAccess | None, reference: str) -> AsyncGenerator[LogText]:
    """Make the engine have ``name:tag`` or ``name@digest`` as the registry has it.

    Raises ``RegistryUnavailable``, ``RegistryRefused`` (credentials, rights, no such image) and ``EngineUnavailable``.
    """
    if "@" in reference:
        name, _, tag = reference.partition("@")
    else:
        name, tag = _name_and_tag(reference)  # without a tag the engine would take every one
    path = f"images/create?{urlencode({'fromImage': name, 'tag': tag})}"
    output = TransferOutput(f"pull {reference}")
    async with aclosing(_transfer(engine, output, path, auth_header(access, reference))) as texts:
        async for text in texts:
            yield text


async def registry_digest(engine: Engine, access: RegistryAccess | None, reference: str) -> str | None:
    """The manifest digest that the registry has for a reference, asked by the engine; None when it has none such.

    By the engine, so that its mirrors, certificates and ``insecure-registries`` count. Raises as ``pull_image``.
    """
    action = f"look up {reference}"
    headers = auth_header(access, reference)
    with _failures(action):
        try:
            found = await engine.call(action, f"distribution/{quote(reference, safe='/:@')}/json", headers=headers)
        except EngineRefused as error:
            if error.status == NOT_FOUND or any(sign in error.message.lower() for sign in UNKNOWN):
                return None
            raise
    return str(found["Descriptor"]["digest"])


async def _transfer(
    engine: Engine, output: TransferOutput, path: str, headers: dict[str, str], idle_s: float = IDLE_S
) -> AsyncGenerator[LogText]:
    """The engine tells of a transfer several times a second; silence means that the registry takes or gives nothing."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=idle_s)
    with _failures(output.action):
        async with engine.stream(output.action, path, "POST", headers=headers, timeout=timeout) as response:
            try:
                async for chunk in response.content.iter_any():
                    for text in output.feed(chunk):
                        yield LogText(text)
            except TimeoutError:
                raise stood_still(output.action, idle_s) from None
    output.close()


@contextmanager
def _failures(action: str) -> Iterator[None]:
    """An HTTP refusal of a transfer is the registry's or about it; moby's 503 is here not about a swarm.

    ``from None``: the engine's words are repeated without what may be signatures, and the cause would bring them back.
    """
    try:
        yield
    except EngineRefused as error:
        raise transfer_failure(action, error.message) from None
    except SwarmUnavailable as error:
        words = getattr(error.__cause__, "message", "")
        raise transfer_failure(action, f"unavailable: {words}") from None


def _name_and_tag(reference: str) -> tuple[str, str]:
    tag = parse_reference(reference).tag
    return (reference.removesuffix(f":{tag}"), tag) if tag else (reference, "latest")
