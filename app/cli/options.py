"""What commands have in common: their connection, their endings, and the options that several of them take."""

from __future__ import annotations

import errno
import functools
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from app.cli.ending import Ended, Interrupted, NotDone, WrongUse
from app.cli.screen import Screen
from app.cli.text import seconds_of
from app.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.cli.api import Api

Function = TypeVar("Function", bound="Callable[..., Any]")

COMPLETION_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a command: the server it asks, and what it prints on."""

    api: Api
    screen: Screen


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whether to wait for the end, and for how many seconds at most."""

    wait: bool
    timeout_s: int | None


def client(function: Callable[..., None]) -> Callable[..., None]:
    """The command's body gets a ``Call`` first, has ``--json``, and whatever it raises becomes an exit code."""

    @click.option("--json", "as_json", is_flag=True, help="Print the API's JSON document, and nothing else, to stdout.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, **options: Any) -> None:
        screen = Screen(as_json=as_json)
        with _endings(screen):
            from app.cli.api import connect  # noqa: PLC0415 - httpx takes a fifth of a second that --help should not

            with connect(os.environ, click.get_current_context().obj) as api:
                function(Call(api, screen), *args, **options)

    return run


@contextmanager
def _endings(screen: Screen) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        ended: Ended = Interrupted("interrupted")
    except UnicodeEncodeError:  # of a request: what is printed is never refused
        ended = WrongUse("the arguments hold bytes that are no text in this locale")
    except Ended as error:
        ended = error
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read stdout has seen enough; click ends quietly
            raise
        ended = NotDone(f"the output cannot be written: {error.strerror or error}")
    else:
        return
    first, *more = ended.lines()
    screen.say("\n".join([f"tagship: {first}", *more]))
    sys.exit(ended.exit_code)


def waiting(function: Function) -> Function:
    """``--wait/--no-wait`` and ``--timeout``, given to the body as a ``Waiting``."""

    @click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is final.")
    @click.option("--timeout", type=Duration(), help="Wait this long at most, as in 90s or 5m; then exit 1.")
    @functools.wraps(function)
    def run(*args: Any, wait: bool, timeout: int | None, **options: Any) -> Any:
        return function(*args, waiting=Waiting(wait, timeout), **options)

    return run  # type: ignore[return-value] # the decorated function under its options


class Duration(click.ParamType[int]):
    """Seconds, written as ``90``, ``90s``, ``15m``, ``12h``, ``90d`` or ``4w``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds that are meant."""
        try:
            return value if isinstance(value, int) else seconds_of(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


class EnvPair(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``, or ``NAME`` alone for the value that this shell has, as with ``docker run --env``: so that a
    secret need not stand in the process list.
    """

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Name and value."""
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not name:
            self.fail("must be NAME=VALUE, or the NAME of a variable that is set here", param, ctx)
        if not equals:
            if name not in os.environ:
                self.fail(f"{name} has no value, and none in this shell: write {name}=VALUE", param, ctx)
            text = os.environ[name]
        return name, text


class Named(click.ParamType[str]):
    """The name of something that the server knows; the shell completes it by asking the server."""

    def __init__(self, name: str, path: str, fields: tuple[str, ...]) -> None:
        self.name, self._path, self._fields = name, path, fields

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """What begins like that; nothing when the server does not answer at once."""
        from app.cli.api import connect  # noqa: PLC0415

        try:
            with connect(os.environ, ctx.obj, patience_s=COMPLETION_PATIENCE_S) as api:
                found = api.value(api.get(self._path), list)
        except AppError:
            return []
        names = [":".join(str(item.get(field, "")) for field in self._fields) for item in found]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


PRODUCT = Named("product", "/products", ("slug",))
IMAGE = Named("image", "/images", ("name", "tag"))
