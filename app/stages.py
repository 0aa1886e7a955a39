"""The stages that a process works on, each made of the process's services and of what the settings say about it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final

from app.builds import store as builds
from app.builds.limits import MIB, ContextLimits
from app.builds.work import BuildStage
from app.engine.credentials import registry_access
from app.engine.shape import BuildLimits
from app.notices import store as notices
from app.notices.work import NoticeStage
from app.reconcile.work import LookStage
from app.reports import store as reports
from app.reports.work import ReportStage
from app.repositories import store as repositories
from app.retention import store as chores
from app.retention.upkeep import Upkeep
from app.retention.work import ChoreStage
from app.rollouts import store as rollouts
from app.rollouts.work import RolloutStage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.api.services import Services
    from app.queue.lease import Stage
    from app.settings import Settings

ROLLOUT_CONCURRENCY: Final = 8
NOTICE_CONCURRENCY: Final = 8  # at most two of them for one channel


def stages(services: Services, secrets: Iterable[str]) -> list[tuple[str, Stage[Any]]]:
    """Every stage that this process works on, with the topic that wakes it; ``secrets`` are masked in build logs."""
    settings, worker = services.settings, f"{socket.gethostname()}:{os.getpid()}"
    found: list[tuple[str, Stage[Any]]] = [
        (builds.TOPIC, _build_stage(services, worker, secrets)),
        (rollouts.TOPIC, _rollout_stage(services, worker)),
        (notices.TOPIC, _notice_stage(services, worker)),
        (chores.TOPIC, _chore_stage(services, worker)),
    ]
    if settings.tagship_reconcile_interval_s:
        found.append((repositories.LOOKS, _look_stage(services, worker)))
    if settings.reports_to_github:
        found.append((reports.TOPIC, _report_stage(services, worker)))
    return found


def _build_stage(services: Services, worker: str, secrets: Iterable[str]) -> BuildStage:
    settings = services.settings
    return BuildStage(
        services.pool,
        services.engine,
        services.github,
        worker=worker,
        concurrency=settings.tagship_build_concurrency,
        lease_s=settings.tagship_lease_s,
        timeout_s=settings.tagship_build_timeout_s,
        spool_dir=settings.tagship_data_dir / "spool",
        github_api_url=settings.github_api_url,
        registry=registry_access(settings),
        limits=build_limits(settings),
        log_characters=settings.tagship_build_log_mb * MIB,
        context_limits=context_limits(settings),
        secrets=secrets,
        counted=services.metrics.log_stored,
    )


def build_limits(settings: Settings) -> BuildLimits:
    """What the steps of a build may use."""
    memory = settings.tagship_build_memory_mb
    return BuildLimits(
        memory_bytes=None if memory is None else memory * MIB,
        cpus=settings.tagship_build_cpus,
        network=None if settings.tagship_build_network == "default" else settings.tagship_build_network,
    )


def context_limits(settings: Settings) -> ContextLimits:
    """What the source of a build may hold."""
    return ContextLimits(
        entries=settings.tagship_context_max_entries,
        file_bytes=settings.tagship_context_max_file_mb * MIB,
        total_bytes=settings.tagship_context_max_mb * MIB,
    )


def _rollout_stage(services: Services, worker: str) -> RolloutStage:
    settings = services.settings
    return RolloutStage(
        services.pool,
        services.engine,
        services.vault,
        worker=worker,
        concurrency=ROLLOUT_CONCURRENCY,
        lease_s=settings.tagship_lease_s,
        monitor_s=settings.tagship_rollout_monitor_s,
        timeout_s=settings.tagship_rollout_timeout_s,
        registry=registry_access(settings),
        shipped=services.metrics.shipped,
    )


def _notice_stage(services: Services, worker: str) -> NoticeStage:
    settings = services.settings
    return NoticeStage(
        services.pool,
        services.sender,
        services.vault,
        settings_url=settings.slack_webhook_url,
        worker=worker,
        concurrency=NOTICE_CONCURRENCY,
        lease_s=settings.tagship_lease_s,
        public_url=settings.public_url,
        progress_s=settings.tagship_notify_progress_s,
        counted=services.metrics.notice,
    )


def _chore_stage(services: Services, worker: str) -> ChoreStage:
    settings = services.settings
    upkeep = Upkeep.of(settings, services.pool, services.engine, services.registry)
    return ChoreStage(services.pool, upkeep, worker=worker, interval_h=settings.tagship_retention_interval_h)


def _look_stage(services: Services, worker: str) -> LookStage:
    interval_s, public_url = services.settings.tagship_reconcile_interval_s, services.settings.public_url
    return LookStage(services.pool, services.github, worker=worker, interval_s=interval_s, public_url=public_url)


def _report_stage(services: Services, worker: str) -> ReportStage:
    public_url = services.settings.public_url
    return ReportStage(services.pool, services.github.reporting, worker=worker, public_url=public_url)
