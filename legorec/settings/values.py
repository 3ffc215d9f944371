"""What single values of the settings may be."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from legorec.template import parse_template


class Strict(BaseModel):
    """Frozen, no unknown keys, no conversions: ``'64'`` is not a number."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )


def _flag(value: Any) -> Any:
    """Read 0 and 1, as the published commands write them."""
    return bool(value) if type(value) is int and value in (0, 1) else value


def _safe_name(value: str) -> str:
    """Check a name that becomes part of a folder's name."""
    if not re.fullmatch(r"[\w@+=.,-]+", value) or value.startswith("."):
        raise ValueError("must be letters, digits and -_.@+=, and not begin with a dot: it names a folder")
    if len(value.encode()) > 100:  # two of them, the seed and a digest make one name; file systems end at 255
        raise ValueError(f"must be at most 100 bytes, as it names a folder; it is {len(value.encode())}")
    return value


def stage_name(value: str) -> str:
    """Check the name of a stage, which stands between the dots of references and flags."""
    if not re.fullmatch(r"[A-Za-z][\w-]*", value):
        raise ValueError(
            "a stage is named in letters, digits, _ and -, and begins with a letter, as in `sft`"
        )
    return value


def _field_name(value: str) -> str:
    if not re.fullmatch(r"[\w-]+(@[\w-]+)?", value):
        raise ValueError("a field is named like `category`, or `title@words` for one of its tokenizations")
    return value


def _part_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise ValueError("a part is named in lower-case letters, digits and _, as in `words`")
    return value


def _metric(value: str) -> str:
    from legorec.metrics import parse_metric  # numpy is not needed to refuse a misspelt flag

    return parse_metric(value).name


def _metric_sum(value: str) -> str:
    from legorec.metrics import parse_sum

    return " + ".join(each.name for each in parse_sum(value))


def _template(value: str) -> str:
    parse_template(value)
    return value


DEVICES = r"auto|cpu|mps|(cuda|xpu)(:[0-9]+)?"


def _device(value: str) -> str:
    if not re.fullmatch(DEVICES, value):
        raise ValueError("must be auto, cpu, mps, cuda, cuda:N, xpu or xpu:N")
    return value


def empty_block(value: Any) -> Any:
    """``category:`` with nothing after it is an empty block."""
    return {} if value is None else value


Flag = Annotated[bool, BeforeValidator(_flag)]
SafeName = Annotated[str, AfterValidator(_safe_name)]
Text = Annotated[str, Field(min_length=1)]
LARGEST = 1_000_000_000  # of a whole number; more than any use, and nothing is built from it in vain
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(gt=0)]
Schedule = Literal["constant", "linear", "cosine"]
MetricName = Annotated[str, AfterValidator(_metric)]
MetricSum = Annotated[str, AfterValidator(_metric_sum)]
FieldName = Annotated[str, AfterValidator(_field_name)]
PartName = Annotated[str, AfterValidator(_part_name)]
Device = Annotated[str, AfterValidator(_device)]
Template = Annotated[str, AfterValidator(_template)]
Plain = None | bool | int | float | str
