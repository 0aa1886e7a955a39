"""What a notice says, as a message that any receiver can be given. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from app.notices.model import NoticeEvent, Subject
from app.receivers.message import (
    Bold,
    Code,
    Icon,
    Line,
    Link,
    Message,
    Part,
    Tone,
    log_line,
    one_line,
    shorten,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from app.notices.model import Told

LONGEST_NAME: Final = 200
MOST_LOG_LINES: Final = 20
MOST_FAILURES: Final = 10
MOST_NAMES: Final = 50
LONGEST_GATHERED: Final = 400
SHORT_SHA: Final = 12
# What ``message_of`` raises for facts that another version of Tagship wrote.
UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError)


def message_of(told: Told, public_url: str) -> Message:
    """One notice as a message. Raises one of ``UNREADABLE`` for facts that are not as this version writes them."""
    facts = told.facts
    headline: Line
    if told.subject is Subject.BUILD and "products" in facts:
        return _shipment(facts, public_url)
    match told.event:
        case NoticeEvent.BUILD_SUCCEEDED:
            count = facts["rollouts"]
            follow = "no product follows it" if count == 0 else f"{count:d} {_products(count)} rolling out"
            headline = (_image(facts), f" built in {facts['seconds']:.0f} s, {follow}")
            return _of_build(Message(Icon.PACKAGE, Tone.GOOD, headline), facts, public_url)
        case NoticeEvent.BUILD_FAILED:
            headline = (_image(facts), " could not be built: ", one_line(facts["error"]))
            return _of_build(Message(Icon.BROKEN, Tone.BAD, headline, log=_tail(facts["log_tail"])), facts, public_url)
        case NoticeEvent.ROLLOUT_DONE:
            runs: Line = (" is stopped",) if facts["kind"] == "stop" else (" runs ", _bold(facts["image"]))
            message = Message(Icon.DONE, Tone.GOOD, (_bold(facts["product"]), *runs))
            return _of_rollout(message, facts, public_url)
        case NoticeEvent.ROLLOUT_FAILED:
            headline = (_bold(facts["product"]), *_failure(facts), ": ", one_line(facts["error"]))
            message = Message(Icon.WARNING, Tone.BAD, headline, log=_output(facts["task_errors"]))
            return _of_rollout(message, facts, public_url)
        case _:
            assert_never(told.event)


def gathered(messages: Sequence[Message], public_url: str) -> Message:
    """Several messages as one that names each: its headline, and below it what it adds; logs stay behind the link."""
    lines: list[Line] = []
    for message in messages:
        lines.append(shorten((f"{message.icon.character} ", *message.headline), LONGEST_GATHERED))
        lines += [shorten(("· ", *line), LONGEST_GATHERED) for line in message.lines]
    bad = any(message.tone is Tone.BAD for message in messages)
    return Message(
        Icon.MANY,
        Tone.BAD if bad else Tone.GOOD,
        (Bold(f"{len(messages)} things happened"),),
        tuple(lines),
        link=Link("Tagship", f"{public_url}/"),
    )


def greeting(channel: str, public_url: str) -> Message:
    """A message that only says that it arrived."""
    headline = ("Tagship reaches this channel (", _bold(channel), "). This is a test.")
    return Message(Icon.HELLO, Tone.NEUTRAL, headline, link=Link("Tagship", f"{public_url}/"))


# ---------------------------------------------------------------- a build and what it set going


def _shipment(facts: Mapping[str, Any], public_url: str) -> Message:
    products: Sequence[Mapping[str, Any]] = facts["products"]
    failed = _in(products, "failed", "rolled_back")
    running = _in(products, "done")
    overtaken = _in(products, "superseded", "cancelled")
    under_way = _in(products, "pending", "applying", "converging")
    total = len(products) + facts["removed"]
    rest = [
        f"{len(failed)} failed" if failed else "",
        f"{len(overtaken)} overtaken by something newer" if overtaken else "",
        f"{facts['removed']} removed" if facts["removed"] else "",
        f"{len(under_way)} under way" if under_way else "",
    ]
    became = ", ".join([f"{len(running)} of {total} {_products(total)} running", *filter(None, rest)])
    message = Message(
        Icon.WARNING if failed else Icon.PACKAGE,
        Tone.BAD if failed else Tone.GOOD,
        (_image(facts), f" built in {facts['seconds']:.0f} s → {became}"),
        (
            *map(_failed_line, failed[:MOST_FAILURES]),
            *_named("Failed too", failed[MOST_FAILURES:]),
            *_named("Running", running),
            *_named("Overtaken by something newer", overtaken),
            *_named("Under way", under_way),
        ),
        *_first_output(failed),
    )
    return _of_build(message, facts, public_url)


def _in(products: Sequence[Mapping[str, Any]], *states: str) -> list[Mapping[str, Any]]:
    return [product for product in products if product["state"] in states]


def _failed_line(product: Mapping[str, Any]) -> Line:
    meaning = "goes on with what it ran" if product["state"] == "rolled_back" else "is not running"
    return (_bold(product["product"]), f" failed and {meaning}: ", one_line(product["error"]))


def _named(title: str, products: Sequence[Mapping[str, Any]]) -> list[Line]:
    """A line with the names of these products; none for none."""
    if not products:
        return []
    line: list[Part] = [f"{title}: "]
    for number, product in enumerate(products[:MOST_NAMES]):
        line += [", ", _bold(product["product"])] if number else [_bold(product["product"])]
    if len(products) > MOST_NAMES:
        line.append(f" and {len(products) - MOST_NAMES} more")
    return [tuple(line)]


def _first_output(failed: Sequence[Mapping[str, Any]]) -> tuple[str, tuple[str, ...]]:
    """Whose output is shown, and its last lines: of the first that left any."""
    for product in failed:
        if output := _output(product["task_errors"]):
            return f"The last output of {one_line(product['product'], LONGEST_NAME)}", output
    return "", ()


# ---------------------------------------------------------------- parts


def _of_build(message: Message, facts: Mapping[str, Any], public_url: str) -> Message:
    commit = Code(one_line(facts["commit_sha"])[:SHORT_SHA]) if facts["commit_sha"] else "unknown commit"
    return replace(
        message,
        footer=(one_line(facts["github_repo"], LONGEST_NAME), " at ", commit),
        link=Link(f"image {facts['image_id']:d}", f"{public_url}/images/{facts['image_id']:d}"),
    )


def _of_rollout(message: Message, facts: Mapping[str, Any], public_url: str) -> Message:
    count = facts["replicas"]
    footer = () if facts["kind"] == "stop" else (f"port {facts['port']:d}, {count:d} replica{'s' * (count != 1)}",)
    return replace(
        message,
        footer=footer,
        link=Link(f"product {facts['product_id']:d}", f"{public_url}/products/{facts['product_id']:d}"),
    )


def _failure(facts: Mapping[str, Any]) -> Line:
    """What could not be done, and what that means for those who use the product."""
    kept = facts["state"] == "rolled_back"
    if facts["kind"] == "stop":
        return (f" could not be stopped{' and goes on with what it ran' if kept else ''}",)
    meaning = "goes on with what it ran" if kept else "is not running"
    return (" could not be brought to ", _bold(facts["image"]), f" and {meaning}")


def _image(facts: Mapping[str, Any]) -> Bold:
    return _bold(f"{facts['name']}:{facts['tag']}")


def _bold(name: object) -> Bold:
    return Bold(one_line(name, LONGEST_NAME))


def _output(task_errors: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The last lines of what the first of these tasks wrote."""
    first: Mapping[str, Any] = next(iter(task_errors), {})
    return _tail(str(first.get("output", "")).splitlines())


def _tail(lines: Sequence[str]) -> tuple[str, ...]:
    """The last lines, without empty ones at both ends."""
    return tuple("\n".join(map(log_line, lines[-MOST_LOG_LINES:])).strip("\n").splitlines())


def _products(count: int) -> str:
    return "product" if count == 1 else "products"
