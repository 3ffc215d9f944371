"""Ask a language model for texts about items and users; the log of its answers is what is made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legorec.compose import place_of
from legorec.data.store import Store
from legorec.engine.log import RunLog
from legorec.engine.progress import bar
from legorec.engine.stopping import StopRequest
from legorec.files.disk import WriteError
from legorec.files.whole import save_whole
from legorec.processes import ALONE, Processes
from legorec.recipes.inputs.devices import choose_device
from legorec.recipes.inputs.generators import generator_of, identity_of, parameters_of
from legorec.recipes.inputs.lazy_generator import LazyGenerator
from legorec.recipes.outputs.generation import report_of, told_after, told_before, told_on_the_way
from legorec.recipes.outputs.session import sealed
from legorec.settings.generators import ReplaySettings
from legorec.texts import TextGenerator, TextRequest
from legorec.texts.answer_log import AnswerLog
from legorec.texts.asking import Asking, Outcome
from legorec.texts.budget import Budget, Prices
from legorec.texts.lookup import Lookup, Survey, survey
from legorec.texts.parsing import parse_answer
from legorec.texts.rounds import Prompts, answers_in, rounds_of
from legorec.texts.schemes import template_of
from legorec.texts.secrets import secrets_of_environment, without

if TYPE_CHECKING:
    from legorec.settings import Settings
    from legorec.settings.generate import GenerateSettings

PATIENCE = 30.0  # seconds for what is under way after a signal; then it is given up, as after a second one
PARTING = "gave up what was under way; every answer until then is in the log"
Say = Callable[[str], None]


def foreseen(settings: Settings) -> str:
    """What a run would ask for, as lines. Nothing is asked and nothing is written.

    Raises:
        ValueError: something the user can mend.
    """
    asked, lines = asked_of(settings), [""]
    with lookup_of(settings, lines.append, appends=False) as (prompts, lookup):
        found = survey(prompts.all, lookup, prices_of(asked))
        return "\n".join([*lines, *told_before(found, template_of(asked.scheme), lookup.log.path)])


def is_answered(settings: Settings) -> bool:
    """Whether the log holds an answer to all that a run would ask."""
    with lookup_of(settings, lambda line: None, appends=False) as (prompts, lookup):
        return survey(prompts.all, lookup, prices_of(asked_of(settings))).to_ask == 0


def generate(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Ask for all that the log does not hold.

    There is no run folder: the log is the result, and a run that was stopped goes on by itself. Beside the
    log lie the settings and a report, those of the last run.

    Returns: the report, see ``report_of``.
    Raises:
        ValueError: something the user can mend.
        OSError: the disk is full; the message says where that is which was paid for.
        Interrupted: the process was asked to stop; what was answered is in the log.
    """
    if processes.world > 1:
        raise ValueError(
            "mode generate works in one process; start the same command several times instead: runs on one "
            "log share the work"
        )
    asked, log = asked_of(settings), RunLog()
    secrets = secrets_of(asked)

    def say(line: str) -> None:
        log(without(line, secrets))

    with (
        StopRequest(processes, patience=PATIENCE, parting=PARTING) as stop,
        lookup_of(settings, say, appends=True) as (prompts, lookup),
    ):
        template, path = template_of(asked.scheme), lookup.log.path
        found = survey(prompts.all, lookup, prices_of(asked))
        for line in told_before(found, template, path):
            say(line)
        stop.check()
        text = settings.to_yaml() + place_of(path.parent)
        save_whole(path.with_suffix(".settings.yaml"), sealed(text).encode())
        budget = Budget(**asked.budget.model_dump(exclude={"prices"}), prices=prices_of(asked))
        began, outcome = time.monotonic(), Outcome()
        try:
            _ask(prompts, lookup, budget, outcome, found, stop, say)
        except (ValueError, OSError) as problem:
            outcome.stopped = without(str(problem), secrets)
            raise
        finally:
            report = report_of(lookup, template, found, outcome, budget, time.monotonic() - began)
            for line in told_after(report):
                say(line)
            _save_report(path.with_suffix(".report.json"), report, say)
        stop.check()
    return report


def _ask(
    prompts: Prompts,
    lookup: Lookup,
    budget: Budget,
    outcome: Outcome,
    found: Survey,
    stop: StopRequest,
    say: Say,
) -> None:
    """Ask round after round, and show how far it is."""

    def detail(done: int, seconds: float) -> str:
        return told_on_the_way(budget, done, seconds)

    with bar("generate", found.to_ask, say=say, detail=detail) as show:

        def advanced() -> None:
            show(min(outcome.settled, found.to_ask), found.to_ask)

        prompts.ask(
            lambda requests: Asking(requests, lookup, budget, outcome, lambda: bool(stop), advanced).run()
        )


@contextmanager
def lookup_of(settings: Settings, say: Say, appends: bool) -> Iterator[tuple[Prompts, Lookup]]:
    """The prompts of a run, and its open log with what asks for what is not in it.

    Raises:
        ValueError: the store, the log or a checkpoint is missing or wrong.
    """
    asked = asked_of(settings)
    store, train = Store.open(Path(settings.data.store)), settings.data.splits.train

    rounds = rounds_of(asked.scheme, store, train)

    def check(request: TextRequest, text: str) -> str | None:
        return parse_answer(asked.scheme.answer, text).problem

    with (
        generator_in(settings) as generator,
        AnswerLog(Path(asked.log), say, appends, secrets_of(asked)) as log,
    ):
        lookup = Lookup(generator, parameters_of(asked.parameters), log, check, asked.attempts)
        yield Prompts(rounds, answers_in(lookup, asked.scheme)), lookup


@contextmanager
def generator_in(settings: Settings) -> Iterator[TextGenerator]:
    """The generator that the settings name; a model is loaded when it is asked, a recorded log is open."""
    named = asked_of(settings).generator
    if isinstance(named, ReplaySettings):
        path = Path(named.log)
        if not path.is_file():
            raise ValueError(f"no file {path} (exp.generate.generator.log); it is a log of answers")
        with AnswerLog(path, appends=False) as answers:
            yield generator_of(named, choose_device("cpu"), answers)
    else:
        yield LazyGenerator(identity_of(named), lambda: generator_of(named, choose_device(settings.device)))


def asked_of(settings: Settings) -> GenerateSettings:
    """The block of the mode, which the settings do not let it be without."""
    assert settings.exp.generate is not None
    return settings.exp.generate


def prices_of(asked: GenerateSettings) -> Prices | None:
    """The prices of tokens, if they are given."""
    return None if asked.budget.prices is None else Prices(**asked.budget.prices.model_dump())


def secrets_of(asked: GenerateSettings) -> tuple[str, ...]:
    """What must not be written or said, the key of the endpoint above all."""
    named = asked.generator.of if isinstance(asked.generator, ReplaySettings) else asked.generator
    key = getattr(named, "key_env", None)
    return secrets_of_environment([key] if key else [])


def _save_report(path: Path, report: dict[str, Any], say: Say) -> None:
    try:
        save_whole(path, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    except WriteError as problem:  # the answers are what counts; why the run ended is told beside this
        say(f"no report: {problem}")
