"""The commands against a small local server that says what it is told to: arguments, requests, output, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from app.__main__ import main
from app.cli.api import find_token, server_address
from app.cli.ending import WrongUse
from app.cli.products import goes_already
from app.reference import is_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

TOKEN = "canary-token-0123456789"
IMAGE = {
    "id": 5,
    "name": "bre",
    "tag": "v1",
    "commit_sha": "0123456789abcdef",
    "build_status": "success",
    "build_error": None,
    "size_bytes": 4_300_000,
    "attempt": 1,
    "built_at": "2026-11-24T12:00:00.000Z",
}
PRODUCT = {
    "id": 3,
    "slug": "allianz",
    "image_id": 5,
    "image_name": "bre:v1",
    "status": "running",
    "replicas": 2,
    "port": 8001,
    "env_vars": {"A": "********", "B": "********"},
    "updated_at": "2026-11-24T12:00:00.000Z",
}
ROLLOUT = {
    "id": 41,
    "product": "allianz",
    "kind": "deploy",
    "state": "done",
    "image_id": 5,
    "image_name": "bre:v1",
    "commit_sha": "0123456789abcdef",
    "replicas": 2,
    "port": 8001,
    "error": None,
    "task_errors": [],
}


class Server(ThreadingHTTPServer):
    """Answers each ``METHOD path?query`` with what was scripted for it: in turn, and the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.asked: list[tuple[str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, call: str, body: object, status: int = 200, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.script.setdefault(call, []).append((status, headers, raw))

    def calls(self) -> list[str]:
        return [call for call, _, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        call = f"{self.command} {self.path.removeprefix('/api/v1')}"
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append((call, dict(self.headers), json.loads(body) if body else None))
        answers = self.server.script.get(call, [(404, {}, b'{"detail": "there is nothing"}')])
        status, headers, raw = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def run(server: Server, *arguments: str, **environment: str | None) -> Result:
    env = {"TAGSHIP_URL": server.url, "TAGSHIP_TOKEN": TOKEN, "TAGSHIP_DATA_DIR": "/nonexistent"} | environment
    result = CliRunner().invoke(main, arguments, env=env, prog_name="tagship")
    assert TOKEN not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from every_command(below, (*path, name))


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("path", list(every_command(main)), ids=" ".join)
def test_every_help_shows_examples_of_its_own_command(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"], prog_name="tagship")
    assert result.exit_code == 0
    examples = result.output.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples
    if path:
        assert all(" ".join(("tagship", *path)) in line for line in examples)


@pytest.mark.parametrize("path", [(), ("deploy",), ("token", "create")], ids=" ".join)
def test_help_says_what_the_exit_codes_mean(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"]).output.partition("Exit codes:\n")[2]
    assert [int(line.split()[0]) for line in shown.splitlines()] == [0, 1, 2, 3, 4, 130]


def test_every_example_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments parse: what is wrong with them would be exit 2 and a word about usage."""
    monkeypatch.setenv("API_KEY", "canary")
    for path in every_command(main):
        command: Any = main
        for name in path:
            command = command.commands[name]
        for example in command.examples:
            words = example.partition("tagship ")[2].partition(" >")[0].partition(")")[0].split()
            context = main.make_context("tagship", words[:1], resilient_parsing=True)
            inner: click.Command = main
            while isinstance(inner, click.Group) and words:
                inner = inner.commands[words.pop(0)]
            inner.make_context("example", words, parent=context)


def test_help_needs_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys, app.__main__; print(sorted({'httpx', 'pydantic', 'starlette', 'asyncpg'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell], prog_name="tagship")
    assert result.exit_code == 0
    assert f"_TAGSHIP_COMPLETE={shell}_complete" in result.stdout


def test_the_shell_completes_commands_and_the_servers_products(server: Server) -> None:
    server.says("GET /products", [PRODUCT, PRODUCT | {"slug": "axa"}])

    def complete(*words: str) -> list[str]:
        environment = {"_TAGSHIP_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": "2"}
        return run(server, **environment).stdout.split()

    assert complete("tagship", "deploy", "al") == ["plain,allianz"]
    assert complete("tagship", "token", "c") == ["plain,create"]
    server.script["GET /products"] = [(500, {}, b"")]
    assert complete("tagship", "deploy", "al") == []


# ---------------------------------------------------------------- who asks whom


def test_the_server_can_tell_this_program_and_its_bearer(server: Server) -> None:
    server.says("GET /products", [])
    assert run(server, "ps").exit_code == 0
    _, headers, _ = server.asked[0]
    assert headers["User-Agent"].startswith("tagship-cli/0.")
    assert headers["Authorization"] == f"Bearer {TOKEN}"


def test_beside_the_server_the_administrators_token_is_found(server: Server, tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text("administrator-token\n")
    server.says("GET /products", [])
    assert run(server, "ps", TAGSHIP_TOKEN=None, TAGSHIP_DATA_DIR=str(tmp_path)).exit_code == 0
    assert server.asked[0][1]["Authorization"] == "Bearer administrator-token"


def test_the_administrators_token_never_leaves_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    path.write_text("administrator-token")
    assert find_token({}, lambda: path, local=True) == "administrator-token"
    with pytest.raises(WrongUse, match="TAGSHIP_TOKEN is not set"):
        find_token({}, lambda: path, local=False)
    assert [is_this_machine(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert not any(is_this_machine(host) for host in ("127.0.0.1.example.org", "example.org", "10.0.0.1", ""))


@pytest.mark.parametrize(
    "url",
    ["", "ftp://host", "host:8004", "http://", "http://user:pw@host", "http://h/?q=1", "http://h:99999", "http://[::1"],
)
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(WrongUse, match="TAGSHIP_URL") as error:
        server_address(url)
    assert "pw" not in str(error.value)


@pytest.mark.parametrize("token", ["canary\ntwo", "canary two", "canaryé"])
def test_what_is_no_token_is_refused_and_not_repeated(server: Server, token: str) -> None:
    result = run(server, "ps", TAGSHIP_TOKEN=token)
    assert result.exit_code == 2
    assert "canary" not in result.output
    assert not server.asked


# ---------------------------------------------------------------- exit codes


def test_no_server_is_4(server: Server) -> None:
    result = run(server, "ps", TAGSHIP_URL="http://127.0.0.1:9")
    assert result.exit_code == 4
    assert "http://127.0.0.1:9" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("answer", [(b"<html>", 200), (b'{"a": 1}', 200), (b"<html>", 502), (b"", 302), (b"[", 200)])
def test_a_server_that_is_not_tagship_is_4(server: Server, answer: tuple[bytes, int]) -> None:
    server.says("GET /products", answer[0], answer[1])
    result = run(server, "ps")
    assert (result.exit_code, result.stdout) == (4, "")


def test_a_refusal_is_3_and_names_every_field(server: Server) -> None:
    problem = {
        "detail": "two are wrong",
        "errors": [{"loc": ["env_vars", "A"], "msg": "bad\x1b[2J"}, {"loc": ["port"]}],
    }
    server.says("GET /products/3", PRODUCT)
    server.says("GET /products/3/rollouts?limit=1", [])
    server.says("PATCH /products/3", problem, 422)
    result = run(server, "deploy", "3", "--env", "A=1", "--json")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr == "tagship: refused (422): two are wrong\n  env_vars.A: bad\n  port: \n"


def test_a_wrong_token_says_where_it_comes_from(server: Server) -> None:
    server.says("GET /products", {"detail": "no"}, 401)
    assert "TAGSHIP_TOKEN" in run(server, "ps").stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["logs"], "IMAGE"),
        (["logs", "5", "--product", "allianz"], "IMAGE"),
        (["logs", "bre", "-f"], "name:tag"),
        (["logs", "5", "--tail", "1"], "--product"),
        (["logs", "--product", "allianz", "--json"], "--json"),
        (["build", "a/b", "v1", "--follow", "--no-wait"], "--no-wait"),
        (["build", "a/b", "v1", "--follow", "--timeout", "5"], "--timeout"),
        (["deploy", "allianz", "--env", "=x"], "NAME=VALUE"),
        (["deploy", "allianz", "--env", "NOT_SET_HERE"], "NOT_SET_HERE"),
        (["deploy", "allianz", "--replicas", "0"], "0"),
        (["deploy", "allianz", "--timeout", "soon"], "90d"),
        (["token", "create", "ci", "--role", "root"], "root"),
    ],
)
def test_wrong_arguments_are_2_and_ask_nothing(server: Server, arguments: list[str], says: str) -> None:
    result = run(server, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not server.asked


def test_bytes_that_are_no_text_are_2(server: Server) -> None:
    for arguments in (["deploy", "a\udcff"], ["build", "a/b", "v\udcff"], ["impact", "a\udcff:v1"]):
        assert run(server, *arguments).exit_code == 2, arguments


def test_an_unknown_product_image_or_token_is_3(server: Server) -> None:
    server.says("GET /products?slug=allianz", [PRODUCT])
    server.says("GET /products?slug=axa", [])
    server.says("GET /products?slug=9", [])
    server.says("GET /images?name=bre", [IMAGE])
    server.says("GET /tokens", [{"id": 1, "name": "ci", "revoked_at": "2026-01-01T00:00:00Z"}])
    for arguments in (["deploy", "axa"], ["deploy", "9"], ["logs", "bre:v2"], ["logs", "9"], ["token", "revoke", "ci"]):
        result = run(server, *arguments)
        assert (result.exit_code, result.stdout) == (3, ""), arguments
        assert "there is no" in result.stderr


# ---------------------------------------------------------------- lists


def test_json_is_the_servers_own_bytes(server: Server) -> None:
    raw = '[{"id":5,  "name":"größer"}]'.encode()
    server.says("GET /products", raw)
    result = run(server, "ps", "--json")
    assert result.stdout_bytes == raw + b"\n"
    assert result.stderr == ""


def test_pages_are_followed_to_the_last_at_the_address_we_know(server: Server) -> None:
    further = '<http://other.example/api/v1/images?name=bre&before=4>; rel="next"'
    server.says("GET /images?name=bre", [IMAGE, IMAGE | {"id": 4}], Link=further)
    server.says("GET /images?name=bre&before=4", [IMAGE | {"id": 1, "tag": "v0"}])
    assert [image["id"] for image in json.loads(run(server, "images", "--name", "bre", "--json").stdout)] == [5, 4, 1]
    server.says("GET /images/1/log", b"stored\n")
    assert run(server, "logs", "bre:v0").stdout == "stored\n"


def test_a_limit_ends_the_list(server: Server) -> None:
    server.says("GET /images?limit=1", [IMAGE], Link='<http://x/api/v1/images?limit=1&before=5>; rel="next"')
    lines = run(server, "images", "--limit", "1").stdout.splitlines()
    assert [line.split()[:6] for line in lines[1:]] == [["5", "bre:v1", "success", "0123456789", "4.3", "MB"]]
    assert len(server.asked) == 1


def test_a_products_tasks_are_listed(server: Server) -> None:
    server.says("GET /products?slug=allianz", [PRODUCT])
    task = {"slot": 1, "node": "n1", "state": "running", "image_name": "bre:v1", "commit_sha": "0123456789abcdef"}
    task |= {"since": datetime.now(UTC).isoformat(), "error": "", "image": f"sha256:{'0' * 64}"}
    server.says("GET /products/3/tasks", [task, task | {"image_name": None, "error": "no\nnode"}])
    lines = run(server, "ps", "allianz").stdout.splitlines()
    assert [line.split(maxsplit=6) for line in lines] == [
        ["REPLICA", "NODE", "STATE", "IMAGE", "COMMIT", "SINCE", "ERROR"],
        ["1", "n1", "running", "bre:v1", "0123456789", "0s", "-"],
        ["1", "n1", "running", "sha256:000000000000", "0123456789", "0s", "no node"],
    ]


def test_a_product_that_runs_another_image_than_its_pin_shows_both(server: Server) -> None:
    live = {"image_name": "bre:v0", "since": "2026-01-01T00:00:00Z"}
    server.says("GET /products", [PRODUCT | {"live": live}, PRODUCT | {"live": live | {"image_name": "bre:v1"}}])
    first, second = run(server, "ps").stdout.splitlines()[1:]
    assert "bre:v1 (runs bre:v0)  running" in first
    assert "runs" not in second


def test_the_impact_of_a_tag_is_told_for_every_product(server: Server) -> None:
    moves = [{"slug": "allianz", "from": "v1", "to": "v2", "runs": True}]
    stays = [{"slug": "axa", "pinned_to": "v1", "reason": "it follows no rule"}]
    server.says("GET /images/a%2Fbre/impact?tag=v2", {"moves": moves, "stays": stays})
    lines = run(server, "impact", "a/bre:v2").stdout.splitlines()
    assert [line.split(maxsplit=3) for line in lines[1:]] == [
        ["allianz", "v1", "v2", "rolls out"],
        ["axa", "v1", "v1", "stays: it follows no rule"],
    ]


# ---------------------------------------------------------------- logs


def test_a_log_that_breaks_off_is_resumed_behind_the_last_piece(server: Server) -> None:
    server.says("GET /images/5?log=false", IMAGE)
    server.says("GET /images/5/log", b"id: 7.1\r\nevent: log\r\ndata: one\r\n\r\nid: 7.2\r\nevent: log\r\ndata: tw")
    server.says("GET /images/5/log", b"", 503)
    end = b"id: 7.2\r\nevent: log\r\ndata: \x1b[31mtwo\x1b]0;x\x07\r\n\r\nevent: end\r\ndata: success\r\n\r\n"
    server.says("GET /images/5/log", end)
    result = run(server, "logs", "5", "-f")
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")
    assert "trying again" in result.stderr
    assert [headers.get("Last-Event-ID") for _, headers, _ in server.asked[1:]] == [None, "7.1", "7.1"]


@pytest.mark.parametrize(("state", "code"), [("success", 0), ("failed", 1), ("cancelled", 1)])
def test_following_a_log_ends_as_its_build(server: Server, state: str, code: int) -> None:
    server.says("GET /images?name=bre", [IMAGE])
    server.says("GET /images/5/log", f"event: end\r\ndata: {state}\r\n\r\n".encode())
    assert run(server, "logs", "bre:v1", "-f").exit_code == code


def test_a_products_output_is_printed(server: Server) -> None:
    server.says("GET /products?slug=allianz", [PRODUCT])
    server.says("GET /products/3/logs?tail=2", b"hello\rworld\x1b[2J\n")
    server.says("GET /products/3/logs?follow=true", b"event: log\ndata: live\n\nevent: end\ndata: stopped\n\n")
    assert run(server, "logs", "--product", "allianz", "--tail", "2").stdout == "hello\nworld\n"
    followed = run(server, "logs", "--product", "allianz", "-f")
    assert (followed.exit_code, followed.stdout, followed.stderr) == (0, "live\n", "allianz: stopped\n")


# ---------------------------------------------------------------- build


def test_an_image_that_exists_is_built_again_only_when_told_to(server: Server) -> None:
    server.says("POST /images", {"detail": "exists", "id": 5}, 409)
    server.says("POST /images/5/rebuild", IMAGE | {"build_status": "pending"}, 202)
    server.says("GET /images/5?log=false", IMAGE | {"build_status": "building"})
    server.says("GET /images/5?log=false", IMAGE)
    refused = run(server, "build", "a/bre", "v1")
    assert refused.exit_code == 3
    assert "image 5" in refused.stderr
    assert "--rebuild" in refused.stderr
    assert server.calls() == ["POST /images"]
    rebuilt = run(server, "build", "a/bre", "v1", "--rebuild", "--json")
    assert rebuilt.exit_code == 0
    assert json.loads(rebuilt.stdout)["build_status"] == "success"
    assert "bre:v1 building\n" in rebuilt.stderr


# ---------------------------------------------------------------- deploy


@pytest.mark.parametrize(
    ("status", "newest", "enough"),
    [
        ("deploying", {"id": 42, "state": "pending"}, True),
        ("running", {"id": 41, "state": "done"}, True),
        ("deploying", {"id": 41, "state": "converging"}, True),
        ("running", {"id": 41, "state": "rolled_back"}, False),
        ("failed", {"id": 41, "state": "done"}, False),
        ("running", {"id": 41, "state": "done", "image_id": 4}, False),
        ("stopped", {"id": 41, "state": "done", "kind": "stop"}, False),
        ("deploying", {"id": 41, "state": "applying", "kind": "stop"}, False),
    ],
)
def test_whether_a_change_needs_an_order_of_its_own(status: str, newest: dict[str, Any], enough: bool) -> None:
    assert goes_already(PRODUCT | {"status": status}, ROLLOUT | newest, 41) is enough


def test_deploy_changes_only_what_it_is_told_and_waits(server: Server) -> None:
    server.says("GET /products?slug=allianz", [PRODUCT])
    server.says("GET /images?name=bre", [IMAGE])
    server.says("GET /products/3/rollouts?limit=1", [ROLLOUT])
    server.says("GET /products/3/rollouts?limit=1", [ROLLOUT | {"id": 42}])
    server.says("PATCH /products/3", PRODUCT | {"status": "deploying"})
    converging = ROLLOUT | {"id": 42, "state": "converging", "progress": "1 of 3 run"}
    server.says("GET /rollouts/42", converging)
    server.says("GET /rollouts/42", converging)
    server.says("GET /rollouts/42", ROLLOUT | {"id": 42})
    result = run(server, "deploy", "allianz", "bre:v1", "-e", "B=x=y", "-e", "HERE", "--replicas", "3", HERE="secret")
    assert result.exit_code == 0
    assert result.stderr.count("1 of 3 run") == 1
    assert "nothing changes" not in result.stderr
    assert "\x1b" not in result.stderr
    env = {"A": "********", "B": "x=y", "HERE": "secret"}
    body = next(body for call, _, body in server.asked if call.startswith("PATCH"))
    assert body == {"image_id": 5, "env_vars": env, "replicas": 3}


def test_a_stopped_product_is_started(server: Server) -> None:
    server.says("GET /products?slug=allianz", [PRODUCT])
    server.says("GET /images/5?log=false", IMAGE)
    server.says("GET /products/3/rollouts?limit=1", [ROLLOUT | {"kind": "stop"}])
    server.says("PATCH /products/3", PRODUCT | {"status": "stopped"})
    server.says("POST /products/3/start", ROLLOUT | {"state": "pending"}, 202)
    result = run(server, "deploy", "allianz", "5", "--no-wait", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["state"] == "pending"


@pytest.mark.parametrize("state", ["failed", "rolled_back", "superseded", "cancelled"])
def test_a_rollout_that_is_not_done_is_1_and_says_why(server: Server, state: str) -> None:
    error = {
        "slot": 1,
        "node": "n1",
        "error": "task: non-zero exit (4)",
        "exit_code": 4,
        "output": "no\x1b[2J licence\n",
    }
    server.says("GET /products?slug=allianz", [PRODUCT])
    server.says("POST /products/3/redeploy", ROLLOUT | {"state": "pending"}, 202)
    server.says("GET /rollouts/41", ROLLOUT | {"state": state, "error": "crash loop", "task_errors": [error]})
    result = run(server, "deploy", "allianz", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["state"] == state
    assert "no licence" in result.stderr
    assert state in result.stderr


def test_waiting_ends_with_the_timeout(server: Server) -> None:
    server.says("GET /products?slug=allianz", [PRODUCT])
    server.says("POST /products/3/stop", ROLLOUT | {"state": "pending"}, 202)
    server.says("GET /rollouts/41", ROLLOUT | {"state": "converging"})
    result = run(server, "stop", "allianz", "--timeout", "1")
    assert result.exit_code == 1
    assert "goes on" in result.stderr


def test_a_server_that_goes_away_is_waited_for_and_no_longer_than_told(server: Server) -> None:
    server.says("GET /products?slug=allianz", [PRODUCT])
    server.says("POST /products/3/start", ROLLOUT | {"state": "pending"}, 202)
    server.says("GET /rollouts/41", b"", 503)
    server.says("GET /rollouts/41", ROLLOUT)
    assert run(server, "start", "allianz").exit_code == 0
    server.script["GET /rollouts/41"] = [(503, {}, b"")]
    gone = run(server, "start", "allianz", "--timeout", "1")
    assert gone.exit_code == 4
    assert "waiting for the server" in gone.stderr


def test_a_rollback_may_name_its_rollout(server: Server) -> None:
    server.says("GET /products?slug=allianz", [PRODUCT])
    server.says("POST /products/3/rollback", ROLLOUT, 202)
    server.says("GET /rollouts/41", ROLLOUT)
    assert run(server, "rollback", "allianz").exit_code == 0
    assert run(server, "rollback", "allianz", "--to", "40").exit_code == 0
    assert [body for call, _, body in server.asked if call.startswith("POST")] == [{}, {"to": 40}]


# ---------------------------------------------------------------- tokens


def test_a_new_token_is_all_that_is_printed(server: Server) -> None:
    made = {"id": 7, "name": "ci", "role": "deploy", "token": "tagship_new", "expires_at": "2027-01-01T00:00:00Z"}
    server.says("POST /tokens", made, 201)
    result = run(server, "token", "create", "ci", "--role", "deploy", "--expires-in", "90d")
    assert result.stdout == "tagship_new\n"
    assert "tagship_new" not in result.stderr
    body = server.asked[0][2]
    assert body["name"] == "ci"
    assert body["expires_at"].endswith("Z")


def test_tokens_are_listed_with_their_standing_and_revoked_by_name(server: Server) -> None:
    old = {"id": 1, "name": "ci", "role": "read", "revoked_at": "2026-01-01T00:00:00Z", "expires_at": None}
    late = {"id": 2, "name": "late", "role": "read", "revoked_at": None, "expires_at": "2026-01-01T00:00:00Z"}
    server.says("GET /tokens", [old | {"id": 3, "revoked_at": None}, late, old])
    server.says("DELETE /tokens/3", b"", 204)
    lines = run(server, "token", "list").stdout.splitlines()
    assert [line.split()[3] for line in lines] == ["VALID", "for", "expired", "revoked"]
    assert run(server, "token", "revoke", "ci", "--json").stdout == ""
    assert server.calls()[-1] == "DELETE /tokens/3"
