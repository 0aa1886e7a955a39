"""The audit log in words: what was done, and with which details. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from app.dashboard.wording import words

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_VALUE: Final = 200
MOST_DETAILS: Final = 12

# What each operation is called when somebody has done it: before the name of what it was done to.
DEEDS: Final = {
    "push_tag": "pushed the tag",
    "find_tag": "found the tag",
    "register": "registered the repository",
    "change_repository": "changed the repository",
    "ping_repository": "had GitHub ping the webhook of",
    "delete_repository": "deleted the registration of",
    "create_image": "asked for the image",
    "cancel_build": "cancelled the build of",
    "rebuild_image": "had the image rebuilt:",
    "delete_image": "deleted the image",
    "run_retention": "had old images removed:",
    "create_product": "made the product",
    "change_product": "changed the product",
    "delete_product": "deleted the product",
    "start_product": "started the product",
    "stop_product": "stopped the product",
    "redeploy_product": "redeployed the product",
    "rollback_product": "rolled back the product",
    "replay_delivery": "replayed the delivery of",
    "create_channel": "made the channel",
    "change_channel": "changed the channel",
    "delete_channel": "deleted the channel",
    "test_channel": "sent a test message to the channel",
    "create_token": "made the token",
    "revoke_token": "revoked the token",
    "sign_in": "signed in with the token",
}
DOORS: Final = {
    "api": "by the API",
    "cli": "by the command line",
    "dashboard": "by the dashboard",
    "webhook": "by GitHub's webhook",
    "reconcile": "by looking at GitHub",
}
KINDS: Final = ("image", "product", "delivery", "repository", "channel", "token", "retention")


def deed(action: str) -> str:
    """What somebody did, before the name of what it was done to.

    >>> deed("stop_product"), deed("shake_tree")
    ('stopped the product', 'shake tree:')
    """
    return DEEDS.get(action, f"{words(action)}:")


def door(via: str) -> str:
    """By which door somebody came.

    >>> door("cli"), door("pigeon")
    ('by the command line', 'by pigeon')
    """
    return DOORS.get(via, f"by {via}")


def details_of(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The details as words and values, without those that say nothing here; long ones are cut.

    >>> details_of({"guid": "72d3", "builds": [7, 8], "on_moved_tag": "ignore", "commit": None, "given": []})
    [('builds', '7, 8'), ('on moved tag', 'ignore')]
    """
    said = [(words(name), value_of(value)) for name, value in details.items() if name != "guid"]
    return [(name, value) for name, value in said if value][:MOST_DETAILS]


def value_of(value: object) -> str:
    """One value of the details, as it reads.

    >>> value_of(True), value_of({"a": 1}), value_of("x" * 300)[-2:]
    ('yes', '{"a": 1}', 'x…')
    """
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        text = ", ".join(value_of(one) for one in value[:LONGEST_VALUE])
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def link_of(subject: str, subject_id: int | None) -> str | None:
    """Where the thing is shown, below the prefix; None when it has no page, or none is left of it.

    >>> link_of("delivery", 3), link_of("image", 4), link_of("channel", 1), link_of("product", None)
    ('/deliveries/3', '/images/4', '/settings', None)
    """
    if subject in {"repository", "channel", "token"}:
        return "/settings"
    pages = {"image": "images", "product": "products", "delivery": "deliveries"}
    return f"/{pages[subject]}/{subject_id}" if subject in pages and subject_id is not None else None
