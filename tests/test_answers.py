"""Answers are data wherever they turn up, and impossible ones are refused in one sentence."""

import json
import re
from collections.abc import Callable

import pytest
from cookiecutter.exceptions import FailedHookException

from baking import Baked, Baker

Bake = Callable[..., Baked]

HOSTILE = {
    "quotes": """it's "quoted" `twice`""",
    "triple single quotes": "a ''' b",
    "triple double quotes": 'a """ b',
    "backslashes": "C:\\new\\table \\",
    "unicode": "Größe 名前 مشروع 🚀",
    "braces": "{{ cookiecutter.project_slug }} {% if x %} {# y #} ${HOME}",
    "line statement": "#% if nothing",
    "yaml": "a: [b, 'c'] # d & *e !f",
    "shell": "$(touch pwned); `touch pwned` && touch pwned",
    "python": "'''); open('pwned', 'w').close(); json.loads(r'''{}",
    "markup": "<script>alert(1)</script> & </b>",
    "long": "x" * 80,
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_comes_out_as_it_went_in(baker: Baker, name: str) -> None:
    output = baker.output()
    baked = baker.bake(output, project_name=name, project_slug="safe")
    assert baked.read("README.md").splitlines()[0] == f"# {name}"
    assert baked.read("config/site_name.txt") == f"{name}\n"
    assert [path.name for path in output.iterdir()] == ["safe"]
    assert "pwned" not in baked.files()


def test_a_name_changes_nothing_but_the_readme_and_what_the_site_is_called(bake: Bake) -> None:
    plain, hostile = (
        bake(project_name=name, project_slug="safe")
        for name in ("My Project", " ".join(HOSTILE.values())[:80])
    )
    assert plain.files() == hostile.files()
    # Fresh secrets differ anyway.
    names = plain.files() - {".env"} - plain.secrets()
    assert {name for name in names if plain.content(name) != hostile.content(name)} == {
        "README.md",
        "config/site_name.txt",
    }
    assert plain.environment().keys() == hostile.environment().keys()


def test_typed_braces_stay_braces(baker: Baker) -> None:
    output = baker.output()
    name = "{{ 7 * 7 }} {% raw %} ''' \" \\"
    done = baker.type(output, name, "typed", "jobs.example.org", "Asia/Tokyo", "3", "2", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    baked = Baked(output / "typed")
    assert baked.read("README.md").splitlines()[0] == f"# {name}"
    assert baked.environment()["TIME_ZONE"] == "Asia/Tokyo"
    assert baked.environment()["DJANGO_ALLOWED_HOSTS"] == "jobs.example.org,localhost,127.0.0.1"


def test_pressing_return_at_every_prompt_gives_the_defaults(baker: Baker, bake: Bake) -> None:
    output = baker.output()
    done = baker.type(output, *[""] * 7)
    assert done.returncode == 0, done.stdout + done.stderr
    typed, default = Baked(output / "my_project"), bake()
    assert typed.files() == default.files()
    same = typed.files() - {".env"} - typed.secrets()
    assert {name for name in same if typed.content(name) != default.content(name)} == set()


def test_the_domain_reaches_the_proxy_and_the_settings(bake: Bake) -> None:
    baked = bake(domain_name="jobs.example.org", proxy="caddy")
    assert re.search(r"^jobs\.example\.org \{$", baked.read("deploy/Caddyfile"), re.M)
    assert baked.environment()["DJANGO_ALLOWED_HOSTS"].split(",")[0] == "jobs.example.org"
    assert baked.environment()["DJANGO_HTTPS"] == "true"


def test_only_a_real_domain_tells_browsers_to_want_https_for_a_year(bake: Bake) -> None:
    assert bake(proxy="caddy").environment()["DJANGO_HSTS_SECONDS"] == "0"
    real = bake(domain_name="jobs.example.org", proxy="caddy").environment()
    assert "DJANGO_HSTS_SECONDS" not in real


@pytest.mark.parametrize(
    "name", ["My Project", "Größe 42", "3 Jobs", "a--b  c", "x" * 80, "名前", "it's — fine!", "???"]
)
def test_every_slug_made_from_a_name_is_accepted(bake: Bake, name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", bake(project_name=name).path.name)


REFUSED = {
    "project_name": [
        "",
        "   ",
        "two\nlines",
        "two\rlines",
        "bell\a",
        "nul\0",
        "line\u2028separator",
        "x" * 81,
    ],
    "project_slug": [
        *("", " ", "My_Project", "my-project", "my project", "2nd", "_x", "x_", "a__b", "größe", "x" * 41),
        *("x" * 300, "a/b", "../up", "/tmp/absolute", "..", ".", "a\\b", "a\nb", "a;b", "'''", "{{ x }}"),
        *("django", "config", "jobs", "jobstore", "tests", "test", "site", "json", "code", "class", "pytest"),
    ],
    "domain_name": [
        *("", " ", "https://example.com", "example.com:8000", "example.com/path", "Example.com", "-a.com"),
        *(
            "a-.com",
            "a..b",
            ".a",
            "a.",
            "a b",
            "a_b.com",
            "10.0.0.1",
            "größe.de",
            "x" * 64,
            "a." * 127 + "aa",
        ),
        *("example.com\nDJANGO_DEBUG=true", "a.com {\n}", "$(id)", "*"),
    ],
    "time_zone": [
        *("", "Berlin", "Europe/Atlantis", "europe/berlin", "CET", "+02:00"),
        *("../../etc/passwd", "/etc/localtime", "UTC\nDJANGO_DEBUG=true", "UTC ", "x" * 500, "zone.tab"),
    ],
}


@pytest.mark.parametrize(
    ("question", "answer"),
    [pytest.param(q, a, id=f"{q}-{ascii(a)[:40]}") for q, answers in REFUSED.items() for a in answers],
)
def test_an_impossible_answer_is_refused_in_one_sentence(
    baker: Baker, capfd: pytest.CaptureFixture[str], question: str, answer: str
) -> None:
    output = baker.output()
    with pytest.raises(FailedHookException):
        baker.bake(output, overwrite=False, **{question: answer})
    said = capfd.readouterr()
    [sentence] = (said.out + said.err).splitlines()
    assert sentence.startswith(f"ERROR: {question} must ")
    assert sentence.endswith(".")
    assert len(sentence) < 300
    assert list(output.iterdir()) == []


def test_all_impossible_answers_are_told_at_once(baker: Baker, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FailedHookException):
        baker.bake(baker.output(), project_name=" ", project_slug="", domain_name="", time_zone="")
    said = capfd.readouterr().err.splitlines()
    assert [line.split()[1] for line in said] == ["project_name", "project_slug", "domain_name", "time_zone"]


def test_a_choice_that_is_not_offered_is_refused(baker: Baker) -> None:
    output = baker.output()
    with pytest.raises(ValueError, match="oracle"):
        baker.bake(output, database="oracle")
    assert list(output.iterdir()) == []


def test_a_refusal_leaves_an_existing_project_alone(baker: Baker) -> None:
    output = baker.output()
    baked = baker.bake(output)
    before = {name: baked.content(name) for name in baked.files()}
    with pytest.raises(FailedHookException):
        baker.bake(output, overwrite=True, domain_name="not a domain")
    assert {name: baked.content(name) for name in baked.files()} == before


def test_answers_reach_the_replay_file_unchanged(baker: Baker) -> None:
    name = HOSTILE["braces"]
    baker.bake(baker.output(), project_name=name, project_slug="safe")
    [replay] = (baker.folder / "replay").glob("*.json")
    assert json.loads(replay.read_text())["cookiecutter"]["project_name"] == name
