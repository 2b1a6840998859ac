"""What compose.yaml promises before anything is started."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from baking import clean_environment
from stacks import Project, docker

Services = dict[str, Any]

pytestmark = pytest.mark.containers

COMBINATIONS = list(itertools.product(("postgresql", "mariadb", "sqlite"), ("none", "caddy")))


@pytest.fixture(params=COMBINATIONS, ids="-".join)
def folder(request: pytest.FixtureRequest, project: Project) -> Path:
    """Return the project of each combination."""
    return project(*request.param)


@pytest.fixture
def services(folder: Path) -> Services:
    """Return the services as Compose understands them."""
    text = docker("compose", "config", "--format=json", cwd=folder).stdout
    return json.loads(text)["services"]  # type: ignore[no-any-return]


@pytest.fixture
def long_services(services: Services) -> Services:
    """Return the services that run for as long as the stack is up."""
    return {name: service for name, service in services.items() if name != "migrate"}


def test_file_is_valid_without_a_warning(folder: Path) -> None:
    assert docker("compose", "config", "--quiet", cwd=folder).stderr == ""


@pytest.mark.parametrize(("database", "proxy"), COMBINATIONS)
def test_every_role_has_a_service_of_its_own(database: str, proxy: str, project: Project) -> None:
    expected = {"migrate", "web", "scheduler"}
    if database != "sqlite":
        expected.add("db")
    if proxy == "caddy":
        expected.add("proxy")
    listed = docker("compose", "config", "--services", cwd=project(database, proxy)).stdout
    assert set(listed.split()) == expected


def test_long_services_are_watched_and_restarted(long_services: Services) -> None:
    for name, service in long_services.items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_long_services_get_time_to_stop(long_services: Services) -> None:
    # Longer than gunicorn's graceful_timeout of 20 s and the scheduler's drain of 30 s.
    assert long_services["web"]["stop_grace_period"] == "30s"
    assert long_services["scheduler"]["stop_grace_period"] == "40s"
    assert all("stop_grace_period" in service for service in long_services.values())


def test_no_service_can_use_up_the_host(services: Services) -> None:
    for name, service in services.items():
        assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"]), name
        assert service["logging"]["options"] == {"max-file": "3", "max-size": "10m"}, name


def test_no_service_uses_the_host_s_swap(services: Services) -> None:
    for name, service in services.items():
        limit = service["deploy"]["resources"]["limits"]["memory"]
        assert service["memswap_limit"] == limit, name


def test_proxy_and_database_are_not_on_one_network(services: Services) -> None:
    of = {name: set(service["networks"]) for name, service in services.items()}
    assert not of.get("proxy", set()) & of.get("db", set())
    assert of["web"] >= of.get("proxy", set()) | of.get("db", set())


def test_no_service_can_gain_privileges(services: Services) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_the_project_writes_to_its_volumes_alone(services: Services) -> None:
    for name in ("migrate", "web", "scheduler"):
        assert services[name]["read_only"], name
        assert services[name]["init"], name


def test_web_and_scheduler_wait_for_the_migrations(services: Services) -> None:
    for name in ("web", "scheduler"):
        condition = services[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully", name
    assert services["migrate"]["restart"] == "no"


def test_migrations_wait_for_the_database(services: Services) -> None:
    waits_for = {name: on["condition"] for name, on in services["migrate"].get("depends_on", {}).items()}
    assert waits_for == ({"db": "service_healthy"} if "db" in services else {})


def test_one_scheduler_and_room_for_more(services: Services) -> None:
    assert services["scheduler"]["deploy"]["replicas"] == 1
    # A name of its own would make `--scale` fail.
    assert not any("container_name" in service for service in services.values())


def test_nothing_but_the_proxy_is_public(services: Services) -> None:
    for name, service in services.items():
        if name != "proxy":
            assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
    assert ("ports" in services["web"]) == ("proxy" not in services)


def test_no_secret_is_in_what_compose_passes_on(folder: Path, services: Services) -> None:
    said = docker("compose", "config", cwd=folder).stdout
    for file in (folder / ".secrets").iterdir():
        assert (value := file.read_text().strip()) not in said or not value, file
    for name, service in services.items():
        assert all("/run/secrets/" in place for place in files_named_in(service).values()), name


def files_named_in(service: dict[str, Any]) -> dict[str, str]:
    """Return the variables that name a file of a secret."""
    return {name: place for name, place in service.get("environment", {}).items() if name.endswith("_FILE")}


def test_logs_are_json_unless_env_says_otherwise(folder: Path, services: Services) -> None:
    ours = [one["environment"] for name, one in services.items() if name in ("migrate", "web", "scheduler")]
    assert [environment["LOG_FORMAT"] for environment in ours] == ["json"] * 3
    chosen = clean_environment(LOG_FORMAT="line")
    text = docker("compose", "config", "--format=json", cwd=folder, env=chosen).stdout
    assert json.loads(text)["services"]["web"]["environment"]["LOG_FORMAT"] == "line"


def test_files_stay_short_enough_to_read(folder: Path) -> None:
    for name, limit in {"compose.yaml": 125, "Dockerfile": 60, "deploy/Caddyfile": 28}.items():
        if (folder / name).exists():
            assert len((folder / name).read_text().splitlines()) <= limit, name
