"""One answer as a line of a log, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from legorec.files.json_text import parse_json
from legorec.texts.generator import GeneratedText


@dataclass(frozen=True)
class LoggedAnswer:
    """What came of one request: texts, or why there are none.

    Args:
        id: of the request: the item or user that it is for.
        template: the name of the template that the prompt was rendered from.
        texts: as they came; parsed by whoever reads them.
        failed: why there is no answer, or none that could be used; ``texts`` then hold what came of it.
        key: of the answer, see ``answer_key``.
        attempt: 0, or how often an answer that could not be used was asked for again before this one.
        generator: its identity.
        shared: the answer was asked for another id with the same prompt, and is noted for this one too.
    """

    id: str
    template: str = ""
    texts: tuple[GeneratedText, ...] = ()
    failed: str | None = None
    key: str = ""
    attempt: int = 0
    generator: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    shared: bool = False

    def to_line(self) -> bytes:
        """A line of JSON, with its end."""
        tree: dict[str, Any] = {"key": self.key, "id": self.id, "template": self.template}
        tree |= {"generator": dict(self.generator), "attempt": self.attempt}
        if self.failed is not None:
            tree["failed"] = self.failed
        if self.failed is None or self.texts:
            tree["texts"] = [asdict(text) for text in self.texts]
            tree |= {name: getattr(self, name) for name in ("prompt_tokens", "completion_tokens")}
        if self.shared:
            tree["shared"] = True
        # A lone half of a surrogate pair has no UTF-8; only escapes can hold it.
        return json.dumps(tree, separators=(",", ":"), ensure_ascii=not _is_utf8(tree)).encode() + b"\n"


def _is_utf8(tree: Mapping[str, Any]) -> bool:
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_record(line: bytes) -> LoggedAnswer:
    """The answer that a line holds.

    Raises:
        JSONDecodeError: it is no JSON, as a line is that was not written to its end.
        ValueError: it is JSON of something else.
    """
    try:
        tree = parse_json(line.decode())
    except UnicodeDecodeError as problem:
        raise json.JSONDecodeError(f"no UTF-8 at byte {problem.start}", "", 0) from None
    if not isinstance(tree, dict):
        raise ValueError("it is no JSON object")
    for name in ("key", "id"):
        if not isinstance(tree.get(name), str):
            raise ValueError(f"its `{name}` must be text, got {tree.get(name)!r}")
    texts, failed = tree.get("texts"), tree.get("failed")
    if texts is None and failed is None:
        raise ValueError("it has neither `texts` nor `failed`")
    try:
        found = tuple(GeneratedText(**each) for each in texts or ())
    except TypeError as problem:
        raise ValueError(f"its `texts` must be a list of blocks with `text` ({problem})") from None
    if not all(isinstance(each.text, str) for each in found):
        raise ValueError("the `text` of each of its `texts` must be text")
    return LoggedAnswer(
        tree["id"],
        tree.get("template", ""),
        found,
        failed,
        tree["key"],
        tree.get("attempt", 0),
        tree.get("generator", {}),
        tree.get("prompt_tokens"),
        tree.get("completion_tokens"),
        tree.get("shared", False),
    )
