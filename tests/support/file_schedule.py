"""Which worker runs which file, and which files go first: `--dist loadfile` that outlives workers.

xdist's own gives a test that ended its worker to the next worker, until none is left. It also forgets a worker whose
share is a single test, or nothing but tests that are done, and then waits for it for ever.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

FEWEST_PENDING = 2  # a worker begins a test once it knows the next

LONGEST = (
    "tests/execution/runner/test_runner.py",
    "tests/tenancy/test_matrix.py",
    "tests/dashboard/test_in_a_browser.py",
    "tests/test_pipeline.py",
    "tests/decisions/work/test_worker.py",
    "tests/test_mcp_server.py",
    "tests/execution/runner/test_at_work.py",
    "tests/database/test_schema_versions.py",
    "tests/test_BG.py",
    "tests/test_three_servers.py",
    "tests/test_BPP.py",
    "tests/test_api_server.py",
    "tests/openadr/test_clients.py",
    "tests/api/test_openapi.py",
    "tests/test_tenancy_document.py",
    "tests/gateway/test_openapi.py",
    "tests/dashboard/test_live_pages.py",
    "tests/tenancy/test_runners.py",
    "tests/negotiation/test_rounds.py",
)
"""The files of minutes go first: one that comes last keeps its worker busy when the others have nothing left."""


class FileSchedule(LoadFileScheduling):  # type: ignore[misc]  # xdist's scheduler has no types
    """Each test is begun once, each file is one worker's as long as the worker lives."""

    def remove_node(self, node: WorkerController) -> str | None:
        share = self.assigned_work[node]
        begun = next((test for file in share.values() for test, done in file.items() if not done), None)
        if begun is not None:
            share[self._split_scope(begun)][begun] = True
        for file in [file for file, tests in share.items() if all(tests.values())]:
            del share[file]
        if share:
            super().remove_node(node)
        else:
            del self.assigned_work[node]
        return begun

    def _reschedule(self, node: WorkerController) -> None:
        if node not in self.registered_collections:
            return  # it has just been started
        while self.workqueue and not node.shutting_down and self._pending(node) <= FEWEST_PENDING:
            self._assign_work_unit(node)
        if not self.workqueue and not node.shutting_down:
            node.shutdown()  # once it has run what it has

    def _pending(self, node: WorkerController) -> int:
        return sum(not done for file in self.assigned_work[node].values() for done in file.values())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileSchedule | None:
    return FileSchedule(config, log) if config.getvalue("dist") == "loadfile" else None
