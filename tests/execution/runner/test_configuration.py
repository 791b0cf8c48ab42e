"""What a runner's file may say; what it may not is refused in one line that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from execution.runner.configuration import ConfigurationRefused, read_configuration, read_key
from runner import REFUSED, main
from runner_process import shell, write_configuration

ROOT = Path(__file__).resolve().parents[3]
SERVER = "http://127.0.0.1:5000"


def test_the_example_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    found = read_configuration(ROOT / "runner.example.toml")
    assert list(found.templates) == ["count"]
    assert found.state_directory == ROOT / ".runner"
    assert Path(found.templates["count"].command[0]).is_absolute()
    assert main([str(ROOT / "runner.example.toml"), "--check"]) == 0


def template(**more: Any) -> dict[str, Any]:
    return {"templates": {"t": {**shell("true"), **more}}}


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"server_url": "http://pylon.example.org"}, "server_url='http://pylon.example.org' is refused: takes https"),
        ({"server_url": "nonsense"}, "takes a URL such as"),
        ({"server_url": "https://user@pylon.example.org"}, "takes a URL such as"),
        ({"runner_id": "a b"}, "runner_id='a b' is refused"),
        ({"capacity_kw": 0}, "capacity_kw=0 is refused"),
        ({"capacity": 3}, "capacity is no setting of a runner"),
        ({"capacity_kw": 0.5}, "templates.t.power_kw=1 is refused: the runner has no more than capacity_kw=0.5"),
        (template(command=[]), "templates.t.command=[] is refused"),
        (template(command="rm -rf"), "templates.t.command='rm -rf' is refused"),
        (template(command=["no-such-program"]), "there is no program no-such-program"),
        (template(command=["./no-such-file"]), "there is no program ./no-such-file"),
        (template(limits={}), "templates.t.limits.longest_s is missing"),
        (template(limits={"longest_s": 0}), "templates.t.limits.longest_s=0 is refused"),
        (template(limits={"longest_s": 5, "output_tail_bytes": 10**9}), "output_tail_bytes=1000000000 is refused"),
        (template(parameters={"n": {"pattern": "("}}), "is no regular expression"),
        (
            template(parameters={"n": {"pattern": "[0-9]", "default": "x"}}),
            "default='x' is refused: it does not match",
        ),
        (template(parameters={"N": {"pattern": "x"}}), "templates.t.parameters.N"),
        (template(environment={"PYLON_PARAM_N": "x"}), "is a name that the runner sets itself"),
        (template(environment={"A-B": "x"}), "templates.t.environment.A-B"),
        (template(environment={"A": "x\x00y"}), "holds a NUL"),
        ({"templates": {}}, "templates={} is refused"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: dict[str, Any], refused: str
) -> None:
    file = write_configuration(tmp_path, **{"server_url": SERVER, "templates": {"t": shell("true")}, **said})
    assert main([str(file), "--check"]) == REFUSED
    told = capsys.readouterr().err
    assert refused in told
    assert told.count("\n") == 1


def test_a_file_that_is_no_toml_or_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runner.toml").write_text("this is not it")
    with pytest.raises(ConfigurationRefused, match="is not TOML"):
        read_configuration(tmp_path / "runner.toml")
    with pytest.raises(ConfigurationRefused, match="No such file"):
        read_configuration(tmp_path / "other.toml")


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("pyl_secret\n")
    file.chmod(0o644)
    with pytest.raises(ConfigurationRefused, match="may be read by others: chmod 600"):
        read_key(file)
    file.chmod(0o600)
    assert read_key(file) == "pyl_secret"
    file.write_text("two words")
    with pytest.raises(ConfigurationRefused, match="does not hold a key alone"):
        read_key(file)
