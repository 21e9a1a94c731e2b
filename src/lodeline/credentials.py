"""Finding credentials in what is about to be recorded, and taking them out.

Three strengths, since what helps in free text does harm in names:

- `scrub_bytes` and `scrub` take out what has the form of a credential beyond doubt: keys and
  tokens with their issuers' prefixes, private keys, passwords in URLs. Everything that leaves a
  process passes it, names and digests too, so nothing here guesses.
- `redact_text` is for text that people or programs wrote (messages, patches, job names): also the
  value of `password=…`, and words that look drawn at random.
- `redact_value` and `redact_arguments` know which name a value goes by.

What is taken out becomes `[secret]`, which survives JSON and `repr` unchanged. Nothing is kept of
it, no digest either: a digest of a weak password can be guessed.

Left out: secrets that look like any other word and stand under a harmless name.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

MARK: Final = "[secret]"

# Two parts of a text for which a form is looked for, and the form. It is compiled when it is first
# needed: most programs never need one.
_FORMS: Final[tuple[tuple[bytes, bytes, bytes], ...]] = (
    # Amazon Web Services: identifiers of keys.
    *(
        (prefix, b"", rb"(?<![A-Za-z0-9])" + prefix + rb"[A-Z0-9]{16}(?![A-Za-z0-9])")
        for prefix in (b"AKIA", b"ASIA", b"ABIA", b"ACCA", b"AROA", b"AIDA")
    ),
    # GitHub, GitLab.
    (b"gh", b"_", rb"\bgh[pousr]_[A-Za-z0-9]{20,}"),
    (b"github_pat_", b"", rb"\bgithub_pat_\w{20,}"),
    (b"gl", b"-", rb"\bgl(?:pat|ptt|dt|rt|rtr|cbt|soat|ft|imt|agent|oas|ffct)-[\w.\-]{16,}"),
    # Slack, Stripe.
    (b"xox", b"", rb"\bxox[a-z](?:\.xox[a-z])?-[A-Za-z0-9\-]{8,}"),
    (b"xapp-", b"", rb"\bxapp-[A-Za-z0-9\-]{8,}"),
    (b"hooks.slack.com", b"", rb"(?<=hooks\.slack\.com/)[\w/]{8,}"),
    (b"k_live_", b"", rb"\b[rsp]k_live_[A-Za-z0-9]{8,}"),
    (b"k_test_", b"", rb"\b[rsp]k_test_[A-Za-z0-9]{8,}"),
    (b"whsec_", b"", rb"\bwhsec_[A-Za-z0-9+/=]{16,}"),
    # Google.
    (b"AIza", b"", rb"\bAIza[\w\-]{30,}"),
    (b"ya29.", b"", rb"\bya29\.[\w\-]{10,}"),
    (b"GOCSPX-", b"", rb"\bGOCSPX-[\w\-]{16,}"),
    # Azure.
    (b"Q~", b"", rb"(?<![\w~.\-])[\w~.\-]{3}\dQ~[\w~.\-]{28,40}"),
    (b"AccountKey=", b"", rb"(?<=AccountKey=)[A-Za-z0-9+/%=]{8,}"),
    (b"SharedAccessKey=", b"", rb"(?<=SharedAccessKey=)[A-Za-z0-9+/%=]{8,}"),
    (b"sig=", b"", rb"(?<=[?&;]sig=)[A-Za-z0-9+/%=_\-]{16,}"),
    # Signed URLs of S3 and Google Cloud Storage.
    (b"-Signature=", b"", rb"(?<=-Signature=)[A-Fa-f0-9]{16,}"),
    (b"-Security-Token=", b"", rb"(?<=-Security-Token=)[A-Za-z0-9+/%=_\-]{16,}"),
    # JSON Web Tokens.
    (b"eyJ", b"", rb"\beyJ[\w\-]{8,}\.[\w\-]{8,}(?:\.[\w\-]*){0,3}"),
    # Private keys, in lines or with their line ends escaped.
    (
        b"-----BEGIN ",
        b"PRIVATE KEY",
        (
            rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----"
            rb"(?:[A-Za-z0-9+/=\s:,]|-(?!----)|\\+[nrt])*"
            rb"(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----)?"
        ),
    ),
    (b"AGE-SECRET-KEY-1", b"", rb"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    # Others that tell their issuer.
    (b"npm_", b"", rb"\bnpm_[A-Za-z0-9]{30,}"),
    (b"pypi-", b"", rb"\bpypi-Ag[\w\-]{16,}"),
    (b"SG.", b"", rb"\bSG\.[\w\-]{16,}\.[\w\-]{16,}"),
    (b"hf_", b"", rb"\bhf_[A-Za-z0-9]{28,}"),
    (b"sk-", b"", rb"\bsk-(?:[a-z0-9]{2,8}-)*[A-Za-z0-9_\-]{20,}"),
    (b"dapi", b"", rb"\bdapi[a-f0-9]{32}\b"),
    (b"dop_v1_", b"", rb"\bdop_v1_[a-f0-9]{32,}"),
    (b"shp", b"", rb"\bshp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}"),
    (b"hvs.", b"", rb"\bhvs\.[\w\-]{20,}"),
    # Lodeline's own keys.
    (b"lodeline_", b"", rb"\blodeline_[a-f0-9]{8,}_[\w\-]{16,}"),
    # Passwords in URLs, and tokens in the place of a user's name.
    (b"://", b"@", rb"""(?<=://)[^\s/:@?#'"\\<>]*:[^\s/?#'"\\<>]+(?=@)"""),
    (b"://", b"@", rb"""(?<=://)[^\s/:@?#'"\\<>]{16,}(?=@)"""),
    # Headers.
    (b"earer ", b"", rb"(?i)(?<=bearer )(?=[^\s]*\d)[\w+/.~\-]{12,}=*"),
    (b"asic ", b"", rb"(?i)(?<=basic )(?=[^\s]*\d)[A-Za-z0-9+/]{12,}=*"),
)  # fmt: skip

_SHORT_BYTES: Final = 4096
_QUOTE: Final = b'"'
_OBJECT: Final = b'{"'
# Most of a batch of records, and no two alike.
_OF_NUMBERS: Final = b"0123456789.,"

# Words that name a secret, alone or as a pair; compared in lower case, parts of `snake_case`,
# `kebab-case` and `camelCase` names apart.
_SECRET_WORDS: Final = frozenset(
    {
        "apikey", "authorization", "cookie", "credential", "credentials", "dsn", "pass",
        "passphrase", "passwd", "password", "passwords", "pat", "pwd", "secret", "secrets", "token",
    }
)  # fmt: skip
_SECRET_PAIRS: Final = frozenset(
    {
        ("access", "key"), ("account", "key"), ("api", "key"), ("auth", "key"),
        ("connection", "string"), ("encryption", "key"), ("key", "id"), ("license", "key"),
        ("master", "key"), ("private", "key"), ("service", "key"), ("shared", "key"),
        ("signing", "key"), ("ssh", "key"), ("storage", "key"),
    }
)  # fmt: skip
# One of these is in every name above.
_HINTS: Final = (
    "auth", "cookie", "credential", "dsn", "key", "pass", "pat", "pwd", "secret", "string", "token",
)  # fmt: skip
# Of language models' vocabularies, not of anybody's account.
_PLAIN_TOKENS: Final = frozenset(
    {"bos", "cls", "eos", "mask", "next", "pad", "sep", "special", "stop", "unk"}
)
_PARTS: Final = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+"
_ASSIGNED: Final = (
    r"""(?:(?P<option>--?[A-Za-z][\w.\-]*)(?P<space>[ \t]+)"""
    r"""|(?P<name>-{0,2}[A-Za-z_][\w.\-]*)"""
    r"""(?P<between>["'\\)\]]{0,4}[ \t]*(?::=|=>|==|[=:])[ \t]*))"""
    r"""(?P<value>[rbf]{0,2}\\*"[^"\n]*"|[rbf]{0,2}\\*'[^'\n]*'|[^\s"',;&)}\]]+)"""
)
_CANDIDATE: Final = r"(?<![A-Za-z0-9+/_\-])[A-Za-z0-9+/_\-]{20,}={0,2}"
# Of git: `literal 120`, then lines of base 85 up to an empty one.
_BINARY: Final = r"(?m)^(?:literal|delta) \d+\n(?:.+\n)*"


@lru_cache(maxsize=1)
def _first_parts() -> re.Pattern[bytes]:
    """What begins a look for a form, all in one."""
    vague = {b"gh": rb"gh[pousr]_", b"gl": rb"gl[a-z]{2,5}-"}
    firsts = dict.fromkeys(first for first, _, _ in _FORMS)
    return re.compile(b"|".join(vague.get(first) or re.escape(first) for first in firsts))


@lru_cache(maxsize=len(_FORMS))
def _form(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern)


@lru_cache(maxsize=8)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def scrub_bytes(data: bytes) -> bytes:
    """Take everything out that has the form of a credential.

    Args:
        data: UTF-8 text, such as a line of JSON, which stays valid JSON.
    """
    # One search instead of forty: a journal has a line for each file that is opened. Over long
    # texts the forty are faster, and most of these are batches that repeat names and values.
    if len(data) < _SHORT_BYTES:
        if _first_parts().search(data) is None:
            return data
    elif not _may_hold_form(data):
        return data
    for first, further, pattern in _FORMS:
        if first in data and further in data:
            data = _form(pattern).sub(MARK.encode(), data)
    return data


def _may_hold_form(data: bytes) -> bool:
    """Whether the parts of some form are there. No part holds a quote, and no form crosses one.

    A long text is looked through once, without its numbers and without what it repeats; what is
    found that way is looked for again in the whole.
    """
    rest = data.translate(None, _OF_NUMBERS)
    # Whole objects first: records of one kind differ in little but numbers.
    for between in (_OBJECT, _QUOTE):
        rest = between.join(set(rest.split(between)))
    return any(
        short in rest and more in rest and first in data and further in data
        for short, more, first, further in _without_numbers()
    )


@lru_cache(maxsize=1)
def _without_numbers() -> tuple[tuple[bytes, bytes, bytes, bytes], ...]:
    return tuple(
        (first.translate(None, _OF_NUMBERS), further.translate(None, _OF_NUMBERS), first, further)
        for first, further, _ in _FORMS
    )


def scrub(text: str) -> str:
    """Take everything out of a text that has the form of a credential."""
    data = text.encode("utf-8", "surrogatepass")
    clean = scrub_bytes(data)
    return text if clean is data else clean.decode("utf-8", "surrogatepass")


def redact_text(text: str) -> str:
    """Take credentials out of free text: forms, values of secret names, words drawn at random.

    Args:
        text: a message, a patch, a name given by people; contents of git's binary hunks stay.
    """
    text = scrub(text)
    if "literal " in text or "delta " in text:
        parts: list[str] = []
        end = 0
        for found in _compiled(_BINARY).finditer(text):
            parts += (_redact(text[end : found.start()]), found[0])
            end = found.end()
        return "".join([*parts, _redact(text[end:])])
    return _redact(text)


def _redact(text: str) -> str:
    # Most texts need no pattern, and compiling one takes longer than a program's start may.
    if _may_name_secret(text):
        text = _compiled(_ASSIGNED).sub(_redact_assigned, text)
    if any(len(word) >= 20 for word in text.split()):
        text = _compiled(_CANDIDATE).sub(
            lambda found: MARK if _looks_random(found[0]) else found[0], text
        )
    return text


def _may_name_secret(text: str) -> bool:
    lower = text.lower()
    return any(hint in lower for hint in _HINTS)


def _redact_assigned(found: re.Match[str]) -> str:
    name = found["option"] or found["name"]
    between, value = found["space"] or found["between"], found["value"]
    if MARK[:-1] in value:
        return found[0]
    if not is_secret_name(name) or value in {
        "None",
        "null",
        "True",
        "False",
        "true",
        "false",
        "{",
        "[",
    }:
        return name + between + _redact_again(value)
    quote = value[-1] if value[-1] in "\"'" and len(value) > 1 else ""
    opening = value[: value.index(quote) + 1] if quote else ""
    return f"{name}{between}{opening}{MARK}{quote}"


def _redact_again(value: str) -> str:
    """What a harmless name was given may hold assignments of its own."""
    return _compiled(_ASSIGNED).sub(_redact_assigned, value) if len(value) > 3 else value


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether what goes by this name is secret: `db_password`, `--api-key`, `accessToken`."""
    if not _may_name_secret(name):
        return False
    parts = [part.lower() for part in _compiled(_PARTS).findall(name)]
    for before, part in zip(["", *parts], parts, strict=False):
        if part in _SECRET_WORDS and not (part == "token" and before in _PLAIN_TOKENS):
            return True
        if (before, part) in _SECRET_PAIRS:
            return True
    return False


def redact_value(name: str, value: Any) -> Any:
    """Take credentials out of a plain value that goes by a name, and out of what it holds.

    Args:
        name: of a parameter, a setting, a variable.
        value: a plain JSON value.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {scrub(str(key)): redact_value(str(key), member) for key, member in value.items()}
    if is_secret_name(name):
        return MARK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, list | tuple):
        return [redact_value(name, member) for member in value]
    return value


def redact_arguments(words: Sequence[str]) -> list[str]:
    """Take credentials out of a command line: `--password x`, `--token=x`, `KEY=x`, `-u a:b`."""
    kept: list[str] = []
    taken_from = ""
    for word in words:
        if taken_from and not word.startswith("-"):
            is_pair = taken_from in {"-u", "--user"}
            kept.append(word if is_pair and ":" not in word else MARK)
        else:
            kept.append(redact_text(word))
        is_option = word.startswith("-") and "=" not in word
        names_secret = is_option and (is_secret_name(word) or word in {"-u", "--user"})
        taken_from = word if names_secret else ""
    return kept


def _looks_random(word: str) -> bool:
    """Whether a word changes between capitals, small letters and digits as only chance does.

    Of two neighbours drawn from 62 letters and digits, 62 % are of different classes; in names
    and paths of mixed case it is less than a third. Digests in hexadecimal are left alone.
    """
    word = word.rstrip("=")
    kinds = ["u" if c.isupper() else "l" if c.islower() else "d" for c in word if c.isalnum()]
    counts = Counter(kinds)
    # Forty letters of base 64 are the length of AWS's secret keys: half a suspicion already.
    digits, share = (1, 0.3) if len(word) == 40 else (2, 0.42)
    if min(counts["u"], counts["l"]) < 2 or counts["d"] < digits:
        return False
    changes = sum(a != b for a, b in pairwise(kinds))
    if changes < share * (len(kinds) - 1):
        return False
    letters = Counter(word)
    entropy = -sum(n / len(word) * math.log2(n / len(word)) for n in letters.values())
    return entropy >= 3.5


__all__ = [
    "MARK",
    "is_secret_name",
    "redact_arguments",
    "redact_text",
    "redact_value",
    "scrub",
    "scrub_bytes",
]
