"""The options of `manage.py jobs` and of each of its subcommands."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import CommandParser

from jobstore.api import STATES
from jobstore.conf import DAY, Setting
from jobstore.management.arguments import judged
from jobstore.management.jobs import changing, files, listing, running
from jobstore.management.jobs.context import Context
from jobstore.models import DjangoJob
from jobstore.schedules import written

Work = Callable[[Context], None]

TIMEOUT = Setting(kind="number", unit="seconds", default=3600, most=30 * DAY)
NUMBER = Setting(kind="whole", unit="times", default=10, least=1, most=1000)
LIMIT = Setting(kind="whole", unit="rows", default=20, least=1, most=100_000)
ROWS = Setting(kind="whole", unit="rows", most=10**7)
INSTANCES = Setting(kind="whole", unit="runs", least=1)
GRACE = Setting(kind="whole", unit="seconds", least=1)
KEY = Setting(kind="whole", least=1, most=2**63 - 1)

EXIT_CODES = """
exit codes:
  0  done
  1  refused, and nothing was changed but what the message names; or the run that was waited for
     did not end well
  2  the command, a schedule, an argument or an option is wrong
  3  the run that was waited for has not ended within --timeout
  4  the database does not answer
"""
SCHEDULES = """
examples of schedules:
  --crontab "0 2 * * sun"           as a line of a crontab: 0 and 7 are Sunday
  --every 10m                       90s, 10m, 1h30m, 1d, 2w
  --at "2030-01-31 08:00"           once
  --cron hour=3 --cron day=last     fields of APScheduler's cron trigger
"""


def add_subcommands(parser: CommandParser) -> None:
    """Declare all subcommands."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    group = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def command(name: str, work: Work, text: str, epilog: str = "") -> CommandParser:
        one: CommandParser = group.add_parser(
            name,
            help=text,
            description=f"{text[:1].upper()}{text[1:]}.",
            epilog=epilog + EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(work=work)
        one.add_argument("--json", action="store_true", help="print JSON, for scripts")
        one.add_argument(
            "--as",
            dest="as_user",
            metavar="USER",
            help="act with the rights of this Django user (default: all rights)",
        )
        return one

    _listing(command)
    _changing(command)
    _states(command)
    _running(command)
    _files(command)


Command = Callable[..., CommandParser]


def _listing(command: Command) -> None:
    one = command("list", listing.list_jobs, "list jobs")
    one.add_argument("text", nargs="?", help="a part of the id, the name or the function")
    one.add_argument("--state", choices=list(STATES), help="default: all in service")
    one.add_argument("--function", metavar="MODULE:NAME", help="the function that is called")
    one.add_argument("--executor", help="where it runs")
    one.add_argument(
        "--declared", action=argparse.BooleanOptionalAction, help="whether the code declares it"
    )
    one.add_argument("--edited", action="store_true", help="only what an operator has changed")
    one.add_argument(
        "--limit",
        type=judged(ROWS),
        metavar="N",
        help="rows that are shown, 0 for all (default: 200, and all as JSON)",
    )
    one = command("show", listing.show_job, "show one job, and what differs from the code")
    _id(one)
    one = command("history", listing.history, "show runs, the newest first")
    _id(one, nargs="?")
    one.add_argument("--status", help="executed, error, missed, lost, cancelled, requested, ...")
    one.add_argument("--since", type=_length, metavar="LENGTH", help="such as 90m, 24h or 7d ago")
    one.add_argument(
        "--limit", type=judged(LIMIT), default=LIMIT.default, metavar="N", help="default: 20"
    )
    one = command("next", listing.next_times, "show when a job runs next")
    _id(one)
    one.add_argument(
        "-n", dest="number", type=judged(NUMBER), default=NUMBER.default, help="default: 10"
    )


def _changing(command: Command) -> None:
    one = command("add", changing.add, "add a job of a function that the code offers", SCHEDULES)
    one.add_argument("function", help="module.function, with @schedulable or @scheduled")
    one.add_argument("--id", help="identifies the job for ever (default: made up)")
    _schedule(one, required=True)
    _arguments(one)
    _options(one)
    one.add_argument(
        "--paused", nargs="?", const="", metavar="REASON", help="do not schedule it before `resume`"
    )
    one = command("reschedule", changing.reschedule, "give a job another schedule", SCHEDULES)
    _id(one)
    _schedule(one, required=True)
    one = command("change", changing.change, "change arguments and options of a job")
    _id(one)
    _arguments(one)
    _options(one)
    one.add_argument("--next", dest="next_run_time", metavar="MOMENT", help="move the next run")
    _id(command("reset", changing.reset, "take a job back to what the code declares"))


def _states(command: Command) -> None:
    one = command("pause", changing.pause, "stop scheduling jobs")
    _ids(one)
    one.add_argument("--reason", help="why, shown wherever the job is")
    _ids(command("resume", changing.resume, "schedule paused jobs again, and try quarantined ones"))
    _ids(command("retire", changing.retire, "take jobs out of service; their history stays"))


def _running(command: Command) -> None:
    one = command("run", running.run, "ask for a run of a job, now")
    _id(one)
    _arguments(one, "for this run alone")
    _wait(one)
    one = command("rerun", running.rerun, "ask for another run with the same arguments")
    one.add_argument("run", type=judged(KEY), help="the number of a run, as in `history`")
    _wait(one)
    one = command("cancel", running.cancel, "take back runs that have not begun")
    one.add_argument("runs", nargs="+", type=judged(KEY), metavar="RUN", help="numbers of runs")


def _files(command: Command) -> None:
    one = command("export", files.export_jobs, "write jobs as YAML")
    one.add_argument("ids", nargs="*", metavar="ID", help="default: all in service")
    one.add_argument("-o", "--output", dest="file", metavar="FILE", help="default: print it")
    one = command("import", files.import_jobs, "show what a file of jobs changes, ask, and do it")
    one.add_argument("file", help="a file that `export` wrote, or that you wrote; - for the input")
    one.add_argument("--dry-run", action="store_true", help="only show it")
    one.add_argument("--yes", action="store_true", help="do not ask")


def _id(parser: CommandParser, **options: Any) -> None:
    parser.add_argument("id", metavar="ID", help="of the job", **options)


def _ids(parser: CommandParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="of the jobs")


def _schedule(parser: CommandParser, required: bool) -> None:
    group = parser.add_argument_group("schedule")
    group.add_argument("--crontab", metavar="LINE", help="five fields, counted as cron counts")
    group.add_argument("--every", metavar="LENGTH", help="an interval")
    group.add_argument("--at", metavar="MOMENT", help="one run, at this time")
    group.add_argument(
        "--cron", action="append", type=_pair, metavar="FIELD=VALUE", help="may be repeated"
    )
    group.add_argument("--timezone", metavar="ZONE", help="default: TIME_ZONE")
    group.add_argument("--jitter", type=judged(GRACE), metavar="SECONDS", help="spread the times")
    group.add_argument("--start", metavar="MOMENT", help="no run before")
    group.add_argument("--end", metavar="MOMENT", help="no run after")


def _arguments(parser: CommandParser, text: str = "may be repeated") -> None:
    parser.add_argument(
        "-a",
        "--argument",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help=f"an argument of the function, {text}",
    )


def _options(parser: CommandParser) -> None:
    group = parser.add_argument_group("options")
    group.add_argument("--name", help="what people call it")
    group.add_argument("--executor", help="where it runs")
    group.add_argument("--coalesce", action=argparse.BooleanOptionalAction, help="one for many")
    group.add_argument("--max-instances", type=judged(INSTANCES), metavar="N")
    group.add_argument(
        "--misfire-grace-time",
        type=_grace,
        metavar="SECONDS",
        help="by which a run may be late, or `unlimited`",
    )
    group.add_argument(
        "--on-lost", choices=DjangoJob.OnLost.values, help="if the process of a run dies"
    )


def _wait(parser: CommandParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait for its end")
    parser.add_argument(
        "--timeout",
        type=judged(TIMEOUT),
        default=TIMEOUT.default,
        metavar="SECONDS",
        help=f"that --wait waits at most ({TIMEOUT.default})",
    )


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip().isidentifier():
        raise argparse.ArgumentTypeError(f"{text!a}: write NAME=VALUE")
    return name.strip(), value


def _length(text: str) -> Mapping[str, float]:
    try:
        return written.lengths(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _grace(text: str) -> Any:
    return text if text == "unlimited" else judged(GRACE)(text)
