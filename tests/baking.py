"""A baked project with verbs, so that tests read as sentences."""

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"

# What the shell of a developer may hold and a project must not see.
FOREIGN = ("COMPOSE_", "DATABASE_", "DJANGO_", "JOB_", "PYTEST_", "SCHEDULER_", "WEB_")
FOREIGN_NAMES = {"FORWARDED_ALLOW_IPS", "LOG_LEVEL", "PYTHONPATH", "TIME_ZONE", "VIRTUAL_ENV"}


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without what would configure a project, plus `extra`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN) and k not in FOREIGN_NAMES}
    return kept | extra


@dataclass(frozen=True)
class Baked:
    """A project made from the template."""

    path: Path

    def files(self) -> set[str]:
        """Return the names of all files, relative to the project."""
        return {file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()}

    def read(self, name: str) -> str:
        """Return the text of a file."""
        return (self.path / name).read_text(encoding="utf-8")

    def content(self, name: str) -> bytes:
        """Return what a file holds, be it a text or not."""
        return (self.path / name).read_bytes()

    def secrets(self) -> set[str]:
        """Return the names of the files of secrets, relative to the project."""
        return {name for name in self.files() if name.startswith(".secrets/")}

    def environment(self) -> dict[str, str]:
        """Return the variables that .env sets."""
        lines = [line for line in self.read(".env").splitlines() if line and not line.startswith("#")]
        return dict(line.split("=", 1) for line in lines)

    def run(
        self, *command: str | Path, check: bool = True, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder; unless told otherwise it must succeed."""
        __tracebackhide__ = True
        done = subprocess.run(
            command,
            cwd=self.path,
            env=clean_environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def python(self, *arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        """Run the Python of the project's own environment, which `install` has made."""
        __tracebackhide__ = True
        return self.run(self.interpreter, *arguments, **options)  # type: ignore[arg-type]

    @property
    def interpreter(self) -> Path:
        """The Python of the project's environment, under the one path by which its bytecode is found.

        Several projects may share an environment, by links to it or to what it holds.
        """
        return (self.path / ".venv" / "pyvenv.cfg").resolve().parent / "bin" / "python"

    def install(self, environment: Path | None = None) -> None:
        """Make the project's environment from its own hash-pinned requirements, as README.md says.

        :param environment: the folder that .venv is to be a link to, if .venv is not to hold it all.
        """
        if environment is not None:
            environment.parent.mkdir(parents=True, exist_ok=True)
            (self.path / ".venv").symlink_to(environment)
        venv.create(environment or self.path / ".venv", with_pip=True, symlinks=True, clear=True)
        self.python(
            "-m", "pip", "install", "--quiet", "--require-hashes", *(f"-r{lock}" for lock in self.locks())
        )
        self.compile()

    def locks(self) -> list[Path]:
        """Return the files of pinned requirements."""
        return sorted((self.path / "requirements").glob("*.txt"))

    def compile(self) -> None:
        """Write bytecode as an image has it: processes that may write none would compile at each start."""
        self.python("-m", "compileall", "-q", "-x", "/tests/", "config", "jobs", "jobstore")


class Baker:
    """Bakes projects from one copy of the template."""

    def __init__(self, folder: Path) -> None:
        """Copy the template into a new folder, without what git ignores: caches never get in."""
        self.template = folder / "template"
        self.folder = folder
        self.count = 0
        self.config = folder / "cookiecutter.yaml"
        self.config.write_text(f"replay_dir: {folder / 'replay'}\ncookiecutters_dir: {folder / 'clones'}\n")
        for name in template_files():
            target = self.template / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)

    def output(self) -> Path:
        """Return a new empty folder."""
        self.count += 1
        output = self.folder / str(self.count)
        output.mkdir()
        return output

    def bake(self, output: Path, *, overwrite: bool = False, **answers: str) -> Baked:
        """Bake a project into `output`, with defaults for what is not answered."""
        path = cookiecutter(
            str(self.template),
            no_input=True,
            extra_context={question: literal(answer) for question, answer in answers.items()},
            output_dir=str(output),
            config_file=str(self.config),
            overwrite_if_exists=overwrite,
        )
        return Baked(Path(path))

    def type(self, output: Path, *answers: str) -> subprocess.CompletedProcess[str]:
        """Answer the prompts one by one, as a person would; an empty answer takes the default."""
        return subprocess.run(
            [sys.executable, "-m", "cookiecutter", str(self.template), "--config-file", str(self.config)],
            cwd=output,
            input="".join(f"{answer}\n" for answer in answers),
            capture_output=True,
            encoding="utf-8",
            env=clean_environment(PYTHONUTF8="1"),
            timeout=60,
        )


def tracked(*names: str) -> list[str]:
    """Return the files of the repository, or of these parts of it, that git tracks or would track."""
    # A checkout that belongs to another user is common in continuous integration, and only read here.
    options = ("-z", "--cached", "--others", "--exclude-standard")
    command = ("git", "-c", "safe.directory=*", "ls-files", *options, *names)
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return sorted({name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})


def template_files() -> list[str]:
    """Return the files that cookiecutter reads."""
    return tracked("cookiecutter.json", "hooks", TEMPLATE.name)


def literal(answer: str) -> str:
    """Protect an answer given without prompts, which cookiecutter takes for a Jinja template."""
    return "{% raw %}" + answer + "{% endraw %}" if "{" in answer or "#" in answer else answer
