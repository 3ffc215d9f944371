"""What a service answers: a function for each of its places."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from legorec.service import requests
from legorec.service.gathering import Gathering
from legorec.service.requests import Limits, Refused

CHOICE = ("k", "items", "exclude", "filter", "include_history", "unknown")


class _Asked(NamedTuple):
    """What recommendations have in common that are made in one batch."""

    k: int
    items: tuple[str, ...] | None
    exclude: tuple[str, ...] | None
    filter: tuple[tuple[str, tuple[str, ...]], ...]
    include_history: bool
    unknown: str


class Answers:
    """A recommender behind the places of a service.

    Args:
        trained: what ``legorec.load`` gives.
        limits: what one request may ask for.
    """

    def __init__(self, trained: Any, limits: Limits | None = None) -> None:
        self.trained, self.limits = trained, limits or Limits()
        self.places: dict[tuple[str, str], Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            ("GET", "/health"): self.health,
            ("POST", "/recommend"): self.recommend,
            ("POST", "/score"): self.score,
            ("POST", "/similar"): self.similar,
            ("POST", "/items"): self.add_items,
        }
        self._gathering = Gathering(self._answer)

    def close(self) -> None:
        """Answer what waits, and no more."""
        self._gathering.close()

    def health(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """That it runs, and with what."""
        origin = self.trained.origin
        model = None if origin is None else origin.settings.model.name
        return {"status": "ok", "model": model, "items": self._num_items(), "legorec": version("legorec")}

    def recommend(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The best items for one history, or for several."""
        requests.take(body, ("history", "user", "histories", "users", *CHOICE))
        asked = self._asked(body)
        if requests.one_of(body, "history", "histories") == "history":
            if "users" in body:
                raise Refused(400, "'users' is for 'histories'; of one 'history' there is 'user'", "users")
            history = requests.items(body["history"], "history")
            user = requests.text(body.get("user"), "user")
            return _list(self._ask(asked, ([history], [user]), "history")[0])
        if "user" in body:
            raise Refused(400, "'user' is for one 'history'; of 'histories' there is 'users'", "user")
        histories = requests.several(body["histories"], "histories", self.limits.many)
        histories = [requests.items(each, "histories") for each in histories]
        users = body.get("users") or [None] * len(histories)
        if not isinstance(users, list) or len(users) != len(histories):
            raise Refused(400, f"'users' must be a list, one for each of {len(histories)} histories", "users")
        users = [requests.text(each, "users") for each in users]
        return {"results": [_list(each) for each in self._ask(asked, (histories, users), "histories")]}

    def score(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A score for each candidate."""
        requests.take(body, ("history", "candidates", "user"))
        for name in ("history", "candidates"):
            requests.one_of(body, name)
        history, candidates = (requests.items(body[name], name) for name in ("history", "candidates"))
        requests.several(candidates, "candidates", self.limits.many)
        user = requests.text(body.get("user"), "user")

        def scores() -> list[float]:
            found: list[float] = self.trained.score(history, candidates, user=user).tolist()
            return found

        return {"scores": [_finite(each) for each in self._ask(None, scores, "candidates")]}

    def similar(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The items that are most like each of some."""
        requests.take(body, ("items", "k", "filter", "exclude", "by"))
        asked = requests.items(requests.several(body.get("items"), "items", self.limits.many), "items")
        how: dict[str, Any] = {
            "k": requests.count(body, "k", 10, self.limits.k),
            "filter": dict(requests.categories(body)),
            "exclude": requests.ids(body, "exclude"),
            "by": requests.text(body.get("by", "cosine"), "by"),
        }
        found = self._ask(None, lambda: self.trained.similar_items(asked, **how), "items")
        return {"results": [_list(each, by=False) for each in found]}

    def add_items(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Put new items among those that are recommended, until the service ends."""
        requests.take(body, ("items", "item_id"))
        if not hasattr(self.trained, "add_items"):
            raise Refused(501, "this model takes no new items; give them by their fields in a history")
        rows = requests.several(body.get("items"), "items", self.limits.many)
        if not all(isinstance(each, dict) for each in rows):
            raise Refused(400, "'items' must be a list of objects, each with an id and its fields", "items")
        name = requests.text(body.get("item_id", "item"), "item_id") or "item"
        names = dict.fromkeys(key for row in rows for key in row)
        columns = {key: [row.get(key) for row in rows] for key in names}
        self._ask(None, lambda: self.trained.add_items(columns, item_id=name), "items")
        return {"added": len(rows), "items": self._num_items()}

    def _num_items(self) -> int:
        return int(getattr(self.trained, "num_items", self.trained.data.num_real))

    def _asked(self, body: Mapping[str, Any]) -> _Asked:
        unknown = requests.text(body.get("unknown", "error"), "unknown") or "error"
        if unknown not in ("error", "skip"):
            raise Refused(400, f"'unknown' must be 'error' or 'skip', got '{unknown}'", "unknown")
        return _Asked(
            requests.count(body, "k", 10, self.limits.k),
            requests.ids(body, "items"),
            requests.ids(body, "exclude"),
            requests.categories(body),
            requests.flag(body, "include_history"),
            unknown,
        )

    def _ask(self, key: _Asked | None, question: Any, field: str) -> Any:
        """What the recommender says, by the one thread that asks it.

        Raises:
            Refused: the recommender refuses.
        """
        alone = object()  # as a kind of its own, it is asked once and by itself
        try:
            return self._gathering.ask(alone if key is None else key, question)
        except ValueError as problem:
            raise Refused(
                400, _without_path(str(problem), self.trained), _blamed(str(problem)) or field
            ) from None

    def _answer(self, key: Any, questions: Sequence[Any]) -> Sequence[Any]:
        if not isinstance(key, _Asked):
            return [question() for question in questions]
        histories = [each for own, _ in questions for each in own]
        users = [each for _, own in questions for each in own]
        how = {**key._asdict(), "filter": {name: list(values) for name, values in key.filter}}
        found = self.trained.recommend(histories, users=users, **how)
        answers, start = [], 0
        for own, _ in questions:
            answers.append(found[start : start + len(own)])
            start += len(own)
        return answers


def _list(found: Any, by: bool = True) -> dict[str, Any]:
    items = [{"item": item, "score": _finite(score)} for item, score in found]
    if not by:
        return {"items": items}
    return {"by": found.by, "items": items} | ({"skipped": found.skipped} if found.skipped else {})


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None


def _without_path(message: str, trained: Any) -> str:
    """What a client is told says nothing of where files lie."""
    return message.replace(str(trained.data.store.path), "the store")


def _blamed(message: str) -> str | None:
    """The field that a message of the recommender begins with."""
    first = message.partition("`")[2].partition("`")[0] if message.startswith("`") else ""
    return first if first in (*CHOICE, "by", "users", "user", "history") else None
