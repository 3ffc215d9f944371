"""What is said of a run that asks for texts: before it, during it, and in its report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from legorec.engine.progress import rate_text
from legorec.texts.asking import Outcome
from legorec.texts.budget import Budget
from legorec.texts.lookup import Lookup, Survey


def told_before(found: Survey, template: str, log: Path) -> list[str]:
    """Lines about what a run has to do."""
    there = f"{found.found:,} answered in {log}"
    of_no_use = f", {found.failed:,} with answers of no use there" if found.failed else ""
    lines = [f"{template}: {found.requests:,} prompts, {there}{of_no_use}, {found.to_ask:,} to ask"]
    if found.to_ask:
        money = "" if found.money is None else f", at most {found.money:,.4f} at the given prices"
        lines.append(
            f"to ask: {found.prompt_tokens:,} tokens of prompts, as the generator counts them, and at most "
            f"{found.completion_tokens:,} of answers{money}"
        )
    if found.others:
        none = "; none is to these prompts" if not found.found and found.to_ask else ""
        lines.append(
            f"{log} holds {found.others:,} other answers: of another generator, other parameters, or other "
            f"prompts{none}"
        )
    return lines


def told_on_the_way(budget: Budget, done: int, seconds: float) -> str:
    """The rate and the cost until now."""
    tokens = budget.prompt_tokens + budget.completion_tokens
    money = "" if budget.spent is None else f", {budget.spent:,.4f} spent"
    return f"{rate_text(done / max(seconds, 1e-9))} a second, {tokens:,} tokens{money}"


def told_after(report: dict[str, Any]) -> list[str]:
    """Lines about what came of a run."""
    tokens, money = report["tokens"], report["money"]
    cost = "" if money is None else f", {money:,.4f} at the given prices"
    lines = [
        f"{report['usable']:,} of {report['requests']:,} answered, {report['found']:,} of them from the log; "
        f"{report['asked']:,} asked, {tokens['prompt']:,} tokens of prompts and {tokens['completion']:,} of "
        f"answers{cost}"
    ]
    if report["estimated"]:
        lines.append(f"the generator did not say the tokens of {report['estimated']:,} answers: counted here")
    if report["cut"]:
        lines.append(f"{report['cut']:,} texts were cut at max_tokens")
    lines += [f"failed: {count:,} ({reason})" for reason, count in report["failed"].items()]
    if report["given_up"]:
        lines.append(f"{report['given_up']:,} requests under way were given up")
    if report["left"]:
        why = f"stopped, {report['stopped']}: " if report["stopped"] else ""
        lines.append(f"{why}{report['left']:,} are left; the same command goes on with them")
    return lines


def report_of(
    lookup: Lookup, template: str, found: Survey, outcome: Outcome, budget: Budget, seconds: float
) -> dict[str, Any]:
    """What a run leaves beside its log.

    Returns:
        ``requests`` of the scheme, those with a ``usable`` answer, and those of them ``found`` in the log;
        ``asked`` and ``answered`` by this run; ``failed`` by reason, of this run and before; what is
        ``left``; ``tokens`` and ``money`` of this run; ``answers`` in the log, and ``others`` in it, which
        are to other prompts, or of another generator or other parameters. The rest is as in ``Outcome``.
    """
    left = found.requests - outcome.usable - sum(outcome.failed.values())
    return {
        "template": template,
        "generator": lookup.identity,
        "parameters": asdict(lookup.parameters[0]) | {"attempts": lookup.attempts},
        "requests": found.requests,
        "usable": outcome.usable,
        "found": outcome.found,
        "asked": outcome.asked,
        "answered": outcome.answered,
        "failed": dict(outcome.failed.most_common()),
        "left": left,
        "given_up": outcome.given_up,
        "cut": outcome.cut,
        "tokens": {"prompt": budget.prompt_tokens, "completion": budget.completion_tokens},
        "estimated": outcome.estimated,
        "money": budget.spent,
        "stopped": outcome.stopped,
        "seconds": round(seconds, 3),
        "answers": len(lookup.log),
        "others": found.others,
    }
