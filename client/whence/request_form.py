"""A card as people write it: YAML, Markdown with a YAML head, or words; to the wire and back. Pure.

Every scalar stays a text until its field says what it is: a digest such as 12e4567 is no number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

from whence.errors import MisuseError
from whence.text import date_text, since_unix_ns
from whence_proto.v1 import request_pb2 as wire

TEXTS = (
    "title", "rationale", "project", "repository", "commit", "command", "on_behalf_of",
    "expected_outcome", "stop_criteria", "supersedes",
)  # fmt: skip
_NAMES = {
    "why": "rationale",
    "for": "on_behalf_of",
    "expect": "expected_outcome",
    "stop_when": "stop_criteria",
    "dataset": "datasets",
    "base-model": "base_model",
    "reviewer": "reviewers",
}
KNOWN = {
    *TEXTS, "datasets", "base_model", "code", "compute", "gpus", "gpu_model", "hours", "budget",
    "reviewers", "expires", "labels", "enforce",
}  # fmt: skip
_HEX = re.compile(r"(blake3:|sha256:|tree:)?[0-9a-f]{6,64}")
_COMPUTE = re.compile(
    r"(\d+)\s*[x\u00d7*]\s*(.+?)\s*[x\u00d7*,@]?\s+(?:for\s+)?~?([\d.]+)\s*h(?:ours?)?"
)
_HEAD = re.compile(r"\A---\s*\n(.*?)\n---\s*\n?(.*)\Z", re.DOTALL)
_TITLE = re.compile(r"\A\s*#\s+(.+?)\s*\n")


def read_card(text: str, now_unix_ns: int) -> wire.Card:
    """Read YAML, or Markdown whose YAML head stands between --- lines and whose body says why.

    Raises MisuseError with the field and the remedy.
    """
    head = _HEAD.match(text)
    if head is None:
        return card_of(_mapping(text), now_unix_ns)
    fields, body = dict(_mapping(head[1])), head[2]
    if (title := _TITLE.match(body)) is not None:
        fields.setdefault("title", title[1])
        body = body[title.end() :]
    if body.strip():
        fields.setdefault("rationale", body.strip())
    return card_of(fields, now_unix_ns)


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        # BaseLoader makes texts of all scalars and knows no tags: nothing is ever built or run.
        found = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 -- see above
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark is not None else ""
        raise MisuseError(f"the request is no valid YAML{place}: correct it") from None
    if not isinstance(found, dict) or not found:
        raise MisuseError("the request holds no fields: write lines such as `title: …`")
    return {str(name): value for name, value in found.items()}


def card_of(fields: Mapping[str, Any], now_unix_ns: int) -> wire.Card:
    """Build a card of fields by name; empty ones are left out. Raises MisuseError."""
    card = wire.Card()
    for given, value in fields.items():
        name = _NAMES.get(given, given.replace("-", "_"))
        if name not in KNOWN:
            raise MisuseError(f"{given!r} is no field of a request: {', '.join(sorted(KNOWN))} are")
        if value in (None, "", [], {}):
            continue
        if name in TEXTS:
            setattr(card, name, _text(given, value))
        elif name == "expires":
            card.expires_unix_ns = _moment(_text(given, value), now_unix_ns)
        else:
            _FIELDS[name](card, value)
    return card


def _text(name: str, value: object) -> str:
    if not isinstance(value, str | int | float | Decimal):
        raise MisuseError(f"{name} is a text: write it on one line or as a block")
    return str(value).strip()


def _datasets(card: wire.Card, value: Any) -> None:
    for each in value if isinstance(value, list | tuple) else [value]:
        card.datasets.append(reference(each, "datasets"))


def _base_model(card: wire.Card, value: Any) -> None:
    card.base_model.CopyFrom(reference(value, "base_model"))


def reference(value: Any, field: str) -> wire.DataRef:
    """Read "NAME@DIGEST", or a mapping of name, uri and digest. Raises MisuseError."""
    if isinstance(value, Mapping):
        unknown = set(value) - {"name", "uri", "digest"}
        if unknown:
            raise MisuseError(f"{field}: {unknown.pop()!r} is none of name, uri, digest")
        return wire.DataRef(**{name: _text(f"{field}.{name}", v) for name, v in value.items()})
    text = _text(field, value)
    name, at, digest = text.rpartition("@")
    if not at:
        name, digest = text, ""
    elif not _HEX.fullmatch(digest):
        raise MisuseError(
            f"{field}: {digest!r} is no digest: write NAME@blake3:… or 6 digits or more"
        )
    return (
        wire.DataRef(uri=name, digest=digest)
        if "/" in name
        else wire.DataRef(name=name, digest=digest)
    )


def _code(card: wire.Card, value: Any) -> None:
    if isinstance(value, Mapping):
        unknown = set(value) - {"repository", "commit"}
        if unknown:
            raise MisuseError(f"code: {unknown.pop()!r} is none of repository, commit")
        card.repository, card.commit = (
            str(value.get("repository", "")),
            str(value.get("commit", "")),
        )
        return
    card.repository, _, card.commit = _text("code", value).rpartition("@")


def _compute(card: wire.Card, value: Any) -> None:
    if isinstance(value, Mapping):
        for name, each in value.items():
            field = {"count": "gpus", "model": "gpu_model"}.get(name, str(name))
            if field not in ("gpus", "gpu_model", "hours"):
                raise MisuseError(f"compute: {name!r} is none of count, gpu_model, hours")
            _FIELDS[field](card, each)
        return
    match = _COMPUTE.fullmatch(_text("compute", value))
    if match is None:
        raise MisuseError(f"compute: {value!r} is not like '8 x H100 3.2 h': write it so")
    _gpus(card, match[1])
    _gpu_model(card, match[2])
    _hours(card, match[3])


def _gpus(card: wire.Card, value: Any) -> None:
    number = str(value).strip()
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 1 << 31):
        raise MisuseError(f"gpus: {value!r} is no number of GPUs: write 8, for example")
    card.compute.count = int(number)


def _gpu_model(card: wire.Card, value: Any) -> None:
    card.compute.gpu_model = _text("gpu_model", value)


def _hours(card: wire.Card, value: Any) -> None:
    text = str(value).strip().lstrip("~").removesuffix("hours").removesuffix("h").strip()
    card.compute.duration_s = _whole(text, 3600, "hours", "3.2")


def _budget(card: wire.Card, value: Any) -> None:
    card.budget_micro_usd = micro_usd(str(value), "budget")


def micro_usd(text: str, field: str) -> int:
    """Return "$984.00" in micro-dollars, exactly. Raises MisuseError."""
    return _whole(
        text.strip().removeprefix("$").removesuffix("USD").replace(",", "").strip(),
        1_000_000,
        field,
        "984.00",
    )


def _whole(text: str, unit: int, field: str, example: str) -> int:
    try:
        scaled = Decimal(text) * unit
    except InvalidOperation:
        scaled = Decimal(-1)
    if not (scaled.is_finite() and 0 <= scaled < 1 << 62):
        raise MisuseError(f"{field}: {text!r} is no amount: write {example}, for example")
    if field == "budget" and scaled != int(scaled):
        raise MisuseError(f"{field}: {text!r} has more than 6 decimals: that is finer than money")
    return round(scaled)


def _reviewers(card: wire.Card, value: Any) -> None:
    names = value if isinstance(value, list | tuple) else str(value).split(",")
    card.reviewers.extend(str(name).strip() for name in names if str(name).strip())


def _labels(card: wire.Card, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise MisuseError("labels: write NAME: VALUE lines")
    for name, each in value.items():
        card.labels[str(name)] = _text(f"labels.{name}", each)


def _enforce(card: wire.Card, value: Any) -> None:
    """Read `true`, a share in percent, or a mapping of at, signal and grace."""
    if isinstance(value, Mapping):
        unknown = set(value) - {"at", "signal", "grace"}
        if unknown:
            raise MisuseError(f"enforce: {unknown.pop()!r} is none of at, signal, grace")
    else:
        text = str(value).strip().lower()
        if text in ("false", "no", "off"):
            return
        value = {} if text in ("true", "yes", "on") else {"at": text}
    card.budget_end.SetInParent()
    if value.get("at"):
        card.budget_end.at_percent = _percent(value["at"])
    if value.get("signal"):
        name = _text("enforce.signal", value["signal"]).upper()
        card.budget_end.checkpoint_signal = name if name.startswith("SIG") else f"SIG{name}"
    if value.get("grace"):
        card.budget_end.grace_s = _span_s("enforce.grace", str(value["grace"]))


def _percent(value: Any) -> int:
    text = str(value).strip().removesuffix("%").strip()
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1_000):
        raise MisuseError(f"enforce: {value!r} is no share of the budget: write 100, for example")
    return int(text)


def _span_s(field: str, text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    if not (number.isascii() and number.isdigit() and int(number) < 1 << 31):
        raise MisuseError(f"{field}: {text!r} is no time: write 90s, 5m or 1h")
    return int(number) * units[unit]


def _moment(text: str, now_unix_ns: int) -> int:
    try:
        ago = since_unix_ns(text, now_unix_ns)
    except ValueError:
        raise MisuseError(f"expires: {text!r} is no time: write 7d, 12h or 2026-12-24") from None
    # "7d" is a span ahead here.
    ahead = text[:-1].isdigit() and text[-1] in "smhdw"
    return 2 * now_unix_ns - ago if ahead else ago


_FIELDS: dict[str, Callable[[wire.Card, Any], None]] = {
    "datasets": _datasets,
    "base_model": _base_model,
    "code": _code,
    "compute": _compute,
    "gpus": _gpus,
    "gpu_model": _gpu_model,
    "hours": _hours,
    "budget": _budget,
    "reviewers": _reviewers,
    "labels": _labels,
    "enforce": _enforce,
}


def merged(into: wire.Card, words: wire.Card) -> wire.Card:
    """Return a card whose fields are replaced by those that another one has."""
    card: Any = wire.Card()
    card.CopyFrom(into)
    for field, value in words.ListFields():
        if field.name == "compute":
            card.compute.MergeFrom(value)
            continue
        card.ClearField(field.name)
        part: Any = wire.Card()
        part.CopyFrom(words)
        for other, _ in words.ListFields():
            if other.name != field.name:
                part.ClearField(other.name)
        card.MergeFrom(part)
    return card  # type: ignore[no-any-return]


def write_card(card: wire.Card, remarks: Sequence[str] = ()) -> str:
    """Write a card as YAML for an editor, every field present, remarks as comments above."""
    compute = card.compute
    fields: dict[str, Any] = {
        "title": card.title,
        "rationale": card.rationale,
        "project": card.project,
        "datasets": [_reference_fields(each) for each in card.datasets],
        "base_model": _reference_fields(card.base_model),
        "code": {"repository": card.repository, "commit": card.commit},
        "command": card.command,
        "compute": {
            "count": compute.count or "",
            "gpu_model": compute.gpu_model,
            "hours": _decimal(compute.duration_s, 3600) if compute.duration_s else "",
        },
        "budget": _decimal(card.budget_micro_usd, 1_000_000) if card.budget_micro_usd else "",
        "reviewers": list(card.reviewers),
        "on_behalf_of": card.on_behalf_of,
        "expires": date_text(card.expires_unix_ns)[:16] + "+00:00" if card.expires_unix_ns else "",
        "expected_outcome": card.expected_outcome,
        "stop_criteria": card.stop_criteria,
        "supersedes": card.supersedes,
        "labels": dict(card.labels),
        "enforce": _enforce_fields(card),
    }
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=90)
    return "".join(f"# {line}\n" for line in remarks) + text


def _enforce_fields(card: wire.Card) -> Any:
    if not card.HasField("budget_end"):
        return ""
    own = card.budget_end
    return {
        "at": own.at_percent or 100,
        "signal": own.checkpoint_signal,
        "grace": f"{own.grace_s}s" if own.HasField("grace_s") else "",
    }


def _reference_fields(ref: wire.DataRef) -> dict[str, str]:
    return {"name": ref.name, "uri": ref.uri, "digest": ref.digest}


def _decimal(value: int, unit: int) -> str:
    return format((Decimal(value) / unit).normalize(), "f")
