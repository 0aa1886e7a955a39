"""Waiting for a build or a rollout to be final, through restarts of the server and cut connections."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.cli.ending import Interrupted, NotDone, Unreachable
from app.cli.screen import Progress
from app.cli.text import commit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from app.cli.options import Call, Waiting
    from app.cli.stream import Event

LOOK_AGAIN_S: Final = 0.5
PATIENCE_S: Final = 60.0
RETRY_S: Final = (0.5, 1.0, 2.0, 5.0)

BUILD_RUNS: Final = frozenset({"pending", "building"})
ROLLOUT_RUNS: Final = frozenset({"pending", "applying", "converging"})


@dataclass(frozen=True, slots=True)
class Look:
    """What an answer says: a line for people, and whether it is the last word."""

    text: str
    final: bool


def look_at_image(image: Mapping[str, Any]) -> Look:
    """How an image's build stands."""
    state = str(image["build_status"])
    attempt = f", attempt {image['attempt']}" if image.get("attempt", 0) > 1 else ""
    return Look(f"{image['name']}:{image['tag']} {state}{attempt}", state not in BUILD_RUNS)


def look_at_rollout(rollout: Mapping[str, Any]) -> Look:
    """How a rollout stands."""
    state = str(rollout["state"])
    progress = f": {rollout['progress']}" if rollout.get("progress") else ""
    return Look(f"{rollout['product']} {state}{progress}", state not in ROLLOUT_RUNS)


def watch(call: Call, path: str, look: Callable[[Mapping[str, Any]], Look], waiting: Waiting) -> httpx.Response:
    """Show how it goes until it is final; the last answer. Raises ``NotDone`` when the time is over, with the last
    answer printed where JSON is wanted, and ``Unreachable`` when the server has been away for a minute,
    or for that time.
    """
    began = seen = time.monotonic()
    patience_s = min(PATIENCE_S, waiting.timeout_s or PATIENCE_S)
    with Progress() as progress:
        try:
            while True:
                try:
                    answer = call.api.get(path)
                    seen, now = time.monotonic(), look(call.api.value(answer))
                except Unreachable as error:
                    if time.monotonic() - seen > patience_s:
                        raise
                    progress.show(f"waiting for the server: {error}")
                    time.sleep(RETRY_S[1])
                    continue
                if now.final:
                    return answer
                progress.show(now.text)
                if waiting.timeout_s is not None and time.monotonic() - began > waiting.timeout_s:
                    break
                time.sleep(LOOK_AGAIN_S)
        except KeyboardInterrupt:
            raise Interrupted(f"no longer waiting; it goes on (GET /api/v1{path})") from None
    if call.screen.as_json:
        call.screen.document(answer.content)
    raise NotDone(f"{now.text} after {waiting.timeout_s} s; it goes on, but is not waited for any longer")


def follow(call: Call, path: str, write: Callable[[Event], None], **query: object) -> str:
    """Write every event of a stream until the server says ``end``; what it says then.

    A connection that breaks is made again, from behind the last event that came.
    """
    last_id, connected, failures = "", False, 0
    while True:
        try:
            for event in call.api.events(path, last_id, **query):
                connected, failures, last_id = True, 0, event.id or last_id
                if event.name == "end":
                    return event.data
                write(event)
            connected, reason = True, "the stream broke off"
        except Unreachable as error:
            if not connected:
                raise
            reason = str(error)
        if failures >= len(RETRY_S) * 3:
            raise Unreachable(reason)
        pause = RETRY_S[min(failures, len(RETRY_S) - 1)]
        failures += 1
        call.screen.say(f"tagship: {reason}; trying again in {pause:g} s")
        time.sleep(pause)


def settle_rollout(call: Call, answer: httpx.Response, waiting: Waiting) -> None:
    """Wait for the rollout of an answer unless told not to, print how it ended, and raise ``NotDone`` unless it is
    ``done``.
    """
    rollout = call.api.value(answer)
    if waiting.wait:
        answer = watch(call, f"/rollouts/{rollout['id']}", look_at_rollout, waiting)
        rollout = call.api.value(answer)
    if call.screen.as_json:
        call.screen.document(answer.content)
    if not waiting.wait:
        call.screen.say(f"rollout {rollout['id']} of {rollout['product']} is {rollout['state']}")
        return
    if rollout["state"] != "done":
        raise NotDone(failure_of(rollout))
    call.screen.say(success_of(rollout))


def success_of(rollout: Mapping[str, Any]) -> str:
    """What a rollout that is done has made true."""
    if rollout.get("kind") == "stop":
        return f"{rollout['product']} is stopped"
    what = rollout.get("image_name") or rollout.get("image")
    sha = commit(rollout.get("commit_sha"))
    replicas = rollout.get("replicas")
    count = f"{replicas} replica" if replicas == 1 else f"{replicas} replicas"
    return f"{rollout['product']} runs {what}{f' at {sha}' if sha else ''}, {count}, port {rollout.get('port')}"


def failure_of(rollout: Mapping[str, Any]) -> str:
    """Why a rollout is not done, with what its failed tasks said last."""
    lines = [f"rollout {rollout['id']} of {rollout['product']} is {rollout['state']}: {rollout.get('error') or '-'}"]
    if rollout["state"] == "superseded":
        lines[0] = f"rollout {rollout['id']} of {rollout['product']} is superseded: a newer one took over"
    for error in rollout.get("task_errors") or ():
        code = f", exit code {error['exit_code']}" if error.get("exit_code") is not None else ""
        lines.append(f"  replica {error.get('slot')} on {error.get('node')}: {error.get('error')}{code}")
        lines += [f"    {line}" for line in str(error.get("output") or "").splitlines()]
    return "\n".join(lines)
