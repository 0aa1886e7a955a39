"""A token service as registries use it (distribution/spec/auth/token.md): a password in, a signed token out."""

from __future__ import annotations

import base64
import json
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.fakes.serving import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

SERVICE: Final = "tests"
ISSUER: Final = "tests issuer"


@dataclass
class TokenService:
    """Hands out tokens for every scope asked for, to whoever knows ``username`` and ``password``."""

    username: str
    password: str
    url: str = ""
    asked: list[str] = field(default_factory=list)
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = datetime.now(UTC)
        certificate = x509.CertificateBuilder(name, name, self.key.public_key(), x509.random_serial_number())
        valid = certificate.not_valid_before(now - timedelta(minutes=1)).not_valid_after(now + timedelta(days=1))
        self.certificate = valid.sign(self.key, SHA256())

    def auth(self, folder: Path) -> dict[str, Any]:
        """The ``auth`` part of a registry that trusts these tokens."""
        bundle = folder / "tokens.pem"
        bundle.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        realm = f"{self.url}/token"
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(bundle)}}

    async def answer(self, request: Request) -> JSONResponse:
        """GET /token?service=&scope=, signed in with the password."""
        self.asked += request.query_params.getlist("scope")
        known = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {known}":
            return JSONResponse({"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}, 401)
        return JSONResponse({"token": self.token(request.query_params.getlist("scope"))})

    def token(self, scopes: list[str]) -> str:
        """A JSON web token that grants these scopes (``repository:name:pull,push``) for a minute."""
        access = []
        for kind, name, actions in (scope.split(":") for scope in scopes):
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        chain = [base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()]
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": self.username,
            "aud": SERVICE,
            "exp": now + 60,
            "nbf": now - 10,
            "iat": now - 10,
        }
        parts = ({"typ": "JWT", "alg": "RS256", "x5c": chain}, claims | {"jti": secrets.token_hex(8), "access": access})
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in parts)
        return b".".join((signed, _encoded(self.key.sign(signed, padding.PKCS1v15(), SHA256())))).decode()


@asynccontextmanager
async def token_service(username: str, password: str) -> AsyncIterator[TokenService]:
    service = TokenService(username, password)
    async with serve(Starlette(routes=[Route("/token", service.answer)])) as url:
        service.url = url
        yield service


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
