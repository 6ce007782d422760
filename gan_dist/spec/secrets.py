"""What must not be shown: passwords and tokens in URLs, and the values of variables that hold such."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
FILES = "GAN_DIST_SECRETS"  # the variable that has the files of `environment.secrets`, as JSON: no values
LEAST = 8  # characters of a secret; shorter values would hide words of the text
# user:password@ of any URL, and a token alone before the host of a web address; `abfs://container@account` is none.
_IN_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@:?#]*:[^\s/@]+@|(?P<web>https?://)[^\s/@:?#]+@", re.IGNORECASE
)
_IN_QUERY = re.compile(
    r"([?&;][^\s=&;]*(?:key|token|secret|password|passwd|signature|credential)[^\s=&;]*=)[^\s&;'\"]+", re.IGNORECASE
)
_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE)
_PATHS = re.compile(r"_(PATH|FILE|DIR)$", re.IGNORECASE)


def holds_credentials(text: str) -> bool:
    """Whether a URL in a text holds a password or a token."""
    return _IN_URL.search(text) is not None or ("://" in text and _IN_QUERY.search(text) is not None)


def secret_files(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables whose values this process was told to read, and their files."""
    return dict(json.loads(environ.get(FILES, "{}")))


def redact(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """A text without what a log, an event or a report must not show."""
    text = _IN_URL.sub(lambda found: f"{found['scheme'] or found['web']}{HIDDEN}@", text)
    text = _IN_QUERY.sub(rf"\g<1>{HIDDEN}", text)
    told = secret_files(environ)
    for name, value in environ.items():
        if len(value) >= LEAST and (name in told or (_NAMES.search(name) and not _PATHS.search(name))):
            text = text.replace(value, HIDDEN)
    return text


def redact_values(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose texts, and lists of texts, are redacted."""
    return {key: _redacted(value) for key, value in record.items()}


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    return [redact(one) if isinstance(one, str) else one for one in value] if isinstance(value, list) else value
