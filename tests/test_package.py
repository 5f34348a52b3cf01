"""What an installation brings: plain dependencies, extras, types and version."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import recsys
from recsys.errors import MissingExtra
from recsys.extras import EXTRA_OF, optional_packages, require

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = ("mlflow", "bentoml", "implicit", "lightfm", "optuna", "matplotlib", "apsw", "starlette")
DISTRIBUTIONS = {
    "lightfm": "lightfm-next",
    "prometheus_client": "prometheus-client",
    "yaml": "pyyaml",
}
"""Import name → name on the registry, where they differ."""


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0] for line in requirements}


def test_a_plain_installation_brings_neither_trainer_nor_service() -> None:
    plain = names(PROJECT["dependencies"])
    assert not plain & {DISTRIBUTIONS.get(name, name) for name in EXTRA_OF}
    assert {"mlflow", "bentoml"} <= names(
        [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    )


@pytest.mark.parametrize(("module", "extra"), EXTRA_OF.items())
def test_an_optional_package_is_in_the_extra_that_its_message_names(
    module: str, extra: str
) -> None:
    distribution = DISTRIBUTIONS.get(module, module)
    assert distribution in names(PROJECT["optional-dependencies"][extra])


def test_all_is_every_other_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [f"recsys[{','.join(name for name in extras if name != 'all')}]"]


@pytest.mark.parametrize("module", ["recsys", "serving.client.client", "recsys.models.registry"])
def test_importing_the_library_or_the_client_loads_no_optional_package(module: str) -> None:
    code = f"import sys, {module}; print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_the_lock_holds_every_dependency_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([A-Za-z0-9_.-]+)==", text, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    wanted = names(PROJECT["dependencies"] + extras["serve"] + extras["train"])
    assert not {name.lower() for name in wanted} - {name.lower() for name in locked}
    assert "://" not in text


def test_the_packages_say_that_they_are_typed() -> None:
    for package in ("recsys", "serving", "training"):
        assert (ROOT / package / "py.typed").is_file()


def test_the_version_is_that_of_the_metadata() -> None:
    assert recsys.__version__ == PROJECT["version"]


def test_a_missing_package_is_answered_with_the_extra_that_brings_it() -> None:
    sentence = r"fit_hybrid needs .* lightfm.*recsys\[train\]"
    with pytest.raises(MissingExtra, match=sentence), optional_packages("fit_hybrid"):
        raise ModuleNotFoundError("No module named 'lightfm'", name="lightfm")


def test_another_failed_import_is_not_blamed_on_an_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="numpy"), optional_packages("anything"):
        raise ModuleNotFoundError("No module named 'numpy.no'", name="numpy.no")


def test_a_package_that_is_there_is_not_missing() -> None:
    require("apsw", purpose="The store")


BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
sys.argv = ["recsys", "--help"]
{call}
"""


@pytest.mark.parametrize(
    ("blocked", "call", "sentence"),
    [
        (
            ("typer",),
            "from training.cli import main; main()",
            "The recsys command needs the package typer, which is not installed; "
            "install it with: pip install 'recsys[train]'",
        ),
        (("yaml",), "import serving.__main__", "The service needs the package yaml"),
    ],
)
def test_a_command_without_its_extra_ends_with_a_sentence(
    blocked: tuple[str, ...], call: str, sentence: str
) -> None:
    code = BLOCKED.format(blocked=blocked, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode != 0
    assert sentence in done.stderr
