"""The declaration of a workload's fields, held against everything that must list them itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.workloads import WorkloadSubmission
from decisions.publishing.schema import PublishedTask
from decisions.scoring.context import Task
from ontology.types import ComputeWorkload
from synthetic.world import SyntheticWorkload
from workloads.model import AmountOf, Workload, WorkloadNeeds
from workloads.reshaping import said_of

SQL = Path(__file__).resolve().parents[2] / "backend" / "database" / "sql"
LISTING = [path for path in sorted(SQL.rglob("*.sql")) if "required_memory_gb" in path.read_text(encoding="utf-8")]
# A host is shown what it has to run, and not what its customer would pay or wait for.
LEFT_OUT = {"17_own_outputs.sql": {"carbon_cap_gco2", "max_price_gbp", "deferral_window_mins"}}
AMOUNTS = {name: said_of(field) for name, field in WorkloadNeeds.model_fields.items()}


def test_every_need_says_what_it_means() -> None:
    assert all(AMOUNTS.values())


@pytest.mark.parametrize("path", LISTING, ids=lambda path: path.name)
def test_sql_that_lists_one_need_lists_them_all(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    amounts = [name for name, about in AMOUNTS.items() if isinstance(about, AmountOf)]
    missing = {name for name in amounts if not re.search(rf"\b{name}\b", text)}
    assert missing == LEFT_OUT.get(path.name, set()), f"{path.name} lists required_memory_gb and leaves these out"


def test_what_the_table_takes_is_what_the_declaration_says() -> None:
    values = (SQL / "schema" / "08_values.sql").read_text(encoding="utf-8")
    limits = {
        name: float(most)
        for name, most in re.findall(r"\('compute_workloads', '(\w+)', 0, ([0-9.e]+)\)", values)
        if name in AMOUNTS
    }
    assert limits == {name: about.most_stored for name, about in AMOUNTS.items() if isinstance(about, AmountOf)}


@pytest.mark.parametrize("model", [Task, ComputeWorkload, WorkloadSubmission, SyntheticWorkload])
def test_the_models_keep_the_declarations_order(model: type[Workload]) -> None:
    inherited = [name for name in model.model_fields if name in Workload.model_fields]
    assert inherited == list(Workload.model_fields)


def test_the_published_task_has_them_all() -> None:
    assert PublishedTask.model_fields.keys() == Workload.model_fields.keys()
