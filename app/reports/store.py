"""The reports and report_refusals tables. A report's row comes into being with its build or rollout, in the statement
that makes that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.postgres.queries import load_queries
from app.queue.lease import Beat, Lease
from app.reports.model import ClaimedReport, ReportKind

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from app.postgres.pool import Connection

SQL: Final = load_queries("reports")

TOPIC: Final = "reports"
STAGE: Final = "report"
CLAIM_LOCK: Final = 7_304_118_203


@dataclass(frozen=True, slots=True)
class Refusal:
    """Where our credentials may not report; ``repo`` is in lower case."""

    repo: str
    kind: ReportKind
    reason: str
    refused_at: datetime
    retry_at: datetime


async def configure(conn: Connection, *, enabled: bool) -> None:
    """From now on builds and rollouts are reported, or not; what was refused so far may be tried once more."""
    await conn.execute(SQL.set_reporting, enabled)
    await conn.execute(SQL.retry_refused)


async def claim(conn: Connection, *, token: UUID, lease_s: float, worker: str) -> ClaimedReport | None:
    """Take a report that is behind what is true; None when there is none that may be told now."""
    await conn.execute(SQL.lock_claims, CLAIM_LOCK)
    report_id = await conn.fetchval(SQL.claim_report, token, lease_s, worker)
    if report_id is None:
        return None
    row = await conn.fetchrow(SQL.read_report, report_id)
    assert row is not None
    special = {"lease", "kind"}
    fields = {name: row[name] for name in ClaimedReport.__slots__ if name not in special}
    return ClaimedReport(lease=Lease(STAGE, report_id, token, lease_s), kind=ReportKind(row["kind"]), **fields)


async def renew(conn: Connection, lease: Lease) -> Beat:
    held = await conn.fetchval(SQL.renew_report, lease.row_id, lease.token, lease.seconds)
    return Beat.LOST if held is None else Beat.HELD


async def note_deployment(conn: Connection, lease: Lease, deployment_id: int) -> bool:
    """Remember GitHub's id of the rollout's deployment; False when the lease was lost."""
    return await conn.fetchval(SQL.note_deployment, lease.row_id, lease.token, deployment_id) is not None


async def settle(conn: Connection, lease: Lease, told: str | None, sha: str | None, *, last: bool) -> bool:
    """GitHub knows this state of this commit now; False when the lease was lost."""
    return await conn.fetchval(SQL.settle_report, lease.row_id, lease.token, told, sha, last) is not None


async def close(conn: Connection, lease: Lease, reason: str) -> bool:
    """Nothing more is said; False when the lease was lost."""
    return await conn.fetchval(SQL.close_report, lease.row_id, lease.token, reason) is not None


async def delay(conn: Connection, lease: Lease, wait_s: float, reason: str) -> bool:
    """Let it wait so long before it is claimed again; False when the lease was lost."""
    return await conn.fetchval(SQL.delay_report, lease.row_id, lease.token, wait_s, reason) is not None


async def hand_back(conn: Connection, lease: Lease) -> bool:
    """Let another worker claim it at once. The attempt stays counted: it may have reached GitHub."""
    return await conn.fetchval(SQL.hand_back_report, lease.row_id, lease.token) is not None


async def close_stale(conn: Connection, older_s: float) -> None:
    """Close what ended longer ago than that and was not told, and what can never be told."""
    await conn.execute(SQL.close_stale_reports, older_s)


async def refuse(conn: Connection, repo: str, kind: ReportKind, reason: str, retry_s: float) -> None:
    """Nothing of this kind is told about the repository for so many seconds."""
    await conn.execute(SQL.refuse_reports, repo, kind, reason, retry_s)


async def accept(conn: Connection, repo: str, kind: ReportKind) -> bool:
    """It may be told again; whether it was refused before."""
    return await conn.fetchval(SQL.accept_reports, repo, kind) is not None


async def refusals(conn: Connection, limit: int) -> list[Refusal]:
    """Where our credentials may not report."""
    rows = await conn.fetch(SQL.refusals, limit)
    return [Refusal(**{**dict(row), "kind": ReportKind(row["kind"])}) for row in rows]
