"""What the deployment files name is there: settings, metrics, Kubernetes' fields. `ci/containers.sh` runs them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rmt_server.metrics import Metrics
from rmt_server.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
KUSTOMIZATION = ROOT / "docker/kubernetes/kustomization.yaml"
MANIFESTS = sorted({*KUSTOMIZATION.parent.glob("*.yaml")} - {KUSTOMIZATION})
SETTINGS = {f"RMT_{name.upper()}" for name in Settings.model_fields}


class Loader(yaml.SafeLoader):
    """Compose's own tags mean nothing here."""


Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def environments(tree: Any) -> Iterator[str]:
    """Names of every variable that a compose file or a manifest gives to a container."""
    if isinstance(tree, dict):
        yield from tree.get("environment") or {}
        yield from (one["name"] for one in tree.get("env", []))
    for one in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from environments(one)


@pytest.mark.parametrize("file", [ROOT / "docker-compose.yml", ROOT / "docker/secure.yml", *MANIFESTS], ids=str)
def test_every_setting_that_a_container_is_given_exists(file: Path) -> None:
    given = {name for tree in yaml.load_all(file.read_text(), Loader) for name in environments(tree)}
    assert {name for name in given if name.startswith("RMT_")} <= SETTINGS


def test_the_image_sets_what_exists() -> None:
    named = set(re.findall(r"\bRMT_[A-Z_]+(?==)", (ROOT / "docker/Dockerfile").read_text()))
    assert named <= SETTINGS | {"RMT_CACHE_DIR"}
    assert {"RMT_HOST", "RMT_ENGINE_YIELDS"} <= named


def test_the_example_environment_lists_exactly_what_compose_takes() -> None:
    taken = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE + (ROOT / "docker/secure.yml").read_text()))
    listed = set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    assert listed == taken | {"COMPOSE_FILE"}


def test_base_images_are_pinned() -> None:
    bases = re.findall(r"^FROM (\S+)", (ROOT / "docker/Dockerfile").read_text(), re.M)
    images = [one for one in re.findall(r"^ +image: (\S+)", COMPOSE, re.M) if not one.startswith("rmt-server:")]
    for image in bases + images:
        assert re.search(r":v?\d+\.\d+\.\d+", image), image


def test_graphs_and_alerts_ask_for_metrics_that_exist() -> None:
    exposed = set(re.findall(r"^# TYPE (\w+)", Metrics().exposition().decode(), re.M))
    exposed |= {f"{name}_bucket" for name in exposed}
    dashboard = json.loads((ROOT / "docker/grafana/dashboards/rmt.json").read_text())
    rules = yaml.safe_load((ROOT / "docker/prometheus/alerts.yml").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(asked) > 20
    for expression in asked:
        assert set(re.findall(r"\brmt_\w+", expression)) <= exposed, expression


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda one: one.name)
def test_manifests_follow_the_schemas_of_kubernetes(file: Path) -> None:
    found = list(yaml.safe_load_all(file.read_text()))
    assert len(found) >= 3
    for one in found:
        kubernetes_validate.validate(one, "1.33", strict=True)


def test_no_service_of_kubernetes_becomes_a_setting() -> None:
    """A service `rmt` would set RMT_PORT in every pod of its namespace."""
    found = [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text())]
    pods = [one["spec"]["template"]["spec"] for one in found if one["kind"] in {"Deployment", "StatefulSet"}]
    assert [pod["enableServiceLinks"] for pod in pods] == [False, False]


def test_without_keys_everything_is_published_on_this_machine_only() -> None:
    published = [port for one in yaml.safe_load(COMPOSE)["services"].values() for port in one.get("ports", [])]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_kustomization_names_every_manifest() -> None:
    listed = yaml.safe_load(KUSTOMIZATION.read_text())["resources"]
    assert sorted(listed) == [one.name for one in MANIFESTS]
