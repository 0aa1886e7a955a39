"""What Prometheus and Grafana are given: a scrape after a push, and the files below ops/ that read it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from tests.fault.process import Tagship
from tests.ports import free_port
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from app.engine.client import Engine
    from tests.world import World

OPS: Final = Path(__file__).parents[2] / "ops"
ALERTS: Final = OPS / "prometheus/alerts.yaml"
ALERTS_TEST: Final = OPS / "prometheus/alerts_test.yaml"
DASHBOARD: Final = OPS / "grafana/tagship.json"
METRIC: Final = re.compile(r"\b((?:tagship|process)_[a-z_]+)\b")
ALERT: Final = re.compile(r"^ +- alert: (\w+)$", re.MULTILINE)
MADE_BY_PROMETHEUS: Final = {"up", "ALERTS"}


async def promtool(*arguments: str, sent: str = "") -> str:
    """What promtool says; fails when it finds fault with anything."""
    if shutil.which("promtool") is None:
        pytest.fail("this test needs promtool, which comes with Prometheus: ops/test fetches it", pytrace=False)
    process = await asyncio.create_subprocess_exec(
        "promtool",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(sent.encode())
    assert process.returncode == 0, said.decode()
    return said.decode()


def value(scraped: str, name: str, **labels: str) -> float | None:
    """The sample of that name whose labels are among others these."""
    wanted = [f'{label}="{word}"' for label, word in labels.items()]
    for line in scraped.splitlines():
        sample, _, number = line.rpartition(" ")
        if sample.partition("{")[0] == name and all(one in sample for one in wanted):
            return float(number)
    return None


def without_suffix(name: str) -> str:
    """The name of a metric, where this is one of a histogram's series."""
    return re.sub(r"_(bucket|count|sum)$", "", name)


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[str]:
    """Every query of the dashboard, with Grafana's own variables filled in."""
    found = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    found += [one["expr"] for one in json.loads(DASHBOARD.read_text())["annotations"]["list"]]
    return [one.replace("$__rate_interval", "5m").replace("$job", "tagship") for one in found]


# ---------------------------------------------------------------- the story


async def test_a_push_that_ships_is_seen_in_the_next_scrape(world: World) -> None:
    product = await world.running("allianz", track="^1")
    await world.release("v1.1.0")
    await world.rollout_of(product, "pin_moved")
    await world.told_about("1 of 1 product running")

    async def told() -> str | None:
        scraped = (await world.outside.get(f"{world.url}/metrics")).text
        return scraped if value(scraped, "tagship_notices_total", event="rollout_done", outcome="sent") == 2 else None

    scraped = await until(told, "the scrape shows that people were told")
    exact = {
        ("tagship_deliveries_total", "outcome", "accepted"): 2,
        ("tagship_products", "status", "running"): 1,
        ("tagship_builds", "state", "building"): 0,
        ("tagship_build_duration_seconds_count", "outcome", "success"): 2,
        ("tagship_rollout_duration_seconds_count", "outcome", "done"): 2,
        ("tagship_queue_wait_seconds_count", "stage", "build"): 2,
        ("tagship_pool_connections", "state", "waiting"): 0,
        ("tagship_build_info", "version", "0.1.0"): 1,
        ("tagship_lead_time_seconds_count", "", ""): 1,
        ("tagship_database_up", "", ""): 1,
        ("tagship_engine_up", "", ""): 1,
        ("tagship_listener_connected", "", ""): 1,
    }
    shown = {key: value(scraped, key[0], **({key[1]: key[2]} if key[1] else {})) for key in exact}
    assert shown == exact
    seconds = value(scraped, "tagship_build_duration_seconds_sum", outcome="success")
    assert seconds
    lead = value(scraped, "tagship_lead_time_seconds_sum")
    assert lead
    assert lead > 2, "the tasks have to stay up for so long before it counts as running"
    log_lines = value(scraped, "tagship_build_log_lines_total")
    log_bytes = value(scraped, "tagship_build_log_bytes_total")
    assert log_lines
    assert log_bytes
    assert log_bytes > log_lines > 10
    age = value(scraped, "tagship_loop_turn_age_seconds", stage="build")
    assert age is not None
    assert age < 60
    for secret in (world.repo, world.image, product["slug"]):
        assert secret not in scraped, "metrics name no repository, image or product"
    await promtool("check", "metrics", sent=scraped)
    assert_known(scraped)


def assert_known(scraped: str) -> None:
    """Whatever the rules and the dashboard ask for is exported, and by the kind of metric that they take it for."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", scraped, re.MULTILINE))
    kinds |= {"tagship_github_rate_limit": "gauge", "tagship_github_rate_limit_remaining": "gauge"}  # as GitHub tells
    for asked in (*expressions(), ALERTS.read_text().split("groups:")[1]):
        for name in METRIC.findall(asked):
            assert without_suffix(name) in kinds, f"nothing exports {name}"
            counts = name.endswith(("_total", "_bucket", "_count", "_sum")) or kinds.get(name) == "counter"
            assert counts == (kinds[without_suffix(name)] in {"counter", "histogram"}), name


async def test_a_process_that_only_works_can_be_scraped_on_a_port_of_its_own(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    environment = {"DATABASE_URL": database, "TAGSHIP_DATA_DIR": str(tmp_path), "TAGSHIP_RETENTION_INTERVAL_H": "0"}
    environment |= {"DOCKER_HOST": os.environ["DOCKER_HOST"]} if "DOCKER_HOST" in os.environ else {}
    port = free_port()
    worker = Tagship.start(tmp_path / "log", environment, "worker", "--port", str(port), ready=False)
    async with worker as tagship, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

        async def scrape() -> str | None:
            assert tagship.process.returncode is None, tagship.log.read_text()
            try:
                return (await client.get("/metrics")).text
            except httpx.TransportError:
                return None

        scraped = await until(scrape, "the worker can be scraped")
        assert value(scraped, "tagship_attempts_total", stage="build", outcome="success") == 0
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/api/v1/images")).status_code == 404
        await tagship.terminate()


# ---------------------------------------------------------------- the files


async def test_every_rule_is_valid_and_fires_when_it_should_and_not_else() -> None:
    said = await promtool("check", "rules", str(ALERTS))
    names = ALERT.findall(ALERTS.read_text())
    assert f"{len(names)} rules found" in said
    await promtool("test", "rules", str(ALERTS_TEST))
    tested = ALERTS_TEST.read_text()
    for name in names:
        shown = rf'ALERTS{{alertname="{name}",alertstate="firing",'
        fires = re.search(rf"{shown}|alertname: {name}\n.*\n *exp_alerts", tested)
        assert fires, f"no test shows {name} firing"


async def test_a_rule_that_does_not_fire_fails_the_test_of_the_rules(tmp_path: Path) -> None:
    """The tests above can fail: each threshold that is moved out of reach is noticed."""
    rules = ALERTS.read_text()
    (tmp_path / ALERTS_TEST.name).write_text(ALERTS_TEST.read_text())
    for word, other in (('up{job="tagship"} == 0', 'up{job="tagship"} == 2'), ("> 900", "> 90000"), ("> 0.25", "> 9")):
        assert word in rules
        (tmp_path / ALERTS.name).write_text(rules.replace(word, other))
        with pytest.raises(AssertionError, match="FAILED"):
            await promtool("test", "rules", str(tmp_path / ALERTS_TEST.name))


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    parts = ALERT.split(ALERTS.read_text())
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        assert re.search(r"severity: (critical|warning)", text), name
        assert re.search(r"summary: \S.+\.\n", text), f"{name} has no sentence"
        assert len(text.partition("description: >-")[2].split()) > 15, f"{name} does not say what to do"


async def test_every_query_of_the_dashboard_is_valid(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions())]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    assert f"{len(rules)} rules found" in await promtool("check", "rules", str(file))


def test_the_dashboard_can_be_imported_and_every_panel_has_a_place_and_says_what_it_shows() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating"} <= set(dashboard)
    assert "id" not in dashboard, "Grafana gives it one"
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job"}
    assert set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) <= variables | {"__rate_interval"}
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]
        cells = cells_of(panel["gridPos"])
        assert not taken & cells, f"{panel['title']} lies upon another panel"
        taken |= cells
    assert max(x for x, _ in taken) == 23


def cells_of(place: Mapping[str, int]) -> set[tuple[int, int]]:
    xs: Iterable[int] = range(place["x"], place["x"] + place["w"])
    return {(x, y) for x in xs for y in range(place["y"], place["y"] + place["h"])}
