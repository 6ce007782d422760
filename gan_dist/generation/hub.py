"""Exported generators on a model hub: `hf://USER/MODEL` and `hf://USER/MODEL@REVISION`, by huggingface_hub.

Its own environment variables hold: `HF_TOKEN` or `hf auth login` for what is private, `HF_ENDPOINT` for another hub,
`HF_HOME` for where what was fetched is kept, `HF_HUB_OFFLINE` for what is there alone. Two files are fetched, the
config and the weights, and nothing that could be run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gan_dist.errors import UsageError
from gan_dist.generation import exported_model

SCHEME = "hf://"
OF_DATA = f"{SCHEME}datasets/"
REFERENCE = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


class HubModel(NamedTuple):
    """A repository of a hub, `USER/MODEL`, and which state of it; None for the newest."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_on_hub(ref: str) -> bool:
    """Whether what was named is a model of a hub."""
    return ref.startswith(SCHEME) and not ref.startswith(OF_DATA)


def parse_hub(ref: str) -> HubModel:
    """The repository that is meant.

    Raises:
        UsageError: it is not of the form `hf://USER/MODEL` or `hf://USER/MODEL@REVISION`.
    """
    found = REFERENCE.fullmatch(ref.removeprefix(SCHEME))
    if not ref.startswith(SCHEME) or found is None:
        raise UsageError(f"{ref!r} names no model of a hub; write hf://USER/MODEL or hf://USER/MODEL@REVISION")
    return HubModel(found[1], found[2])


def fetch_model(ref: str) -> Path:
    """The folder with an exported generator of a hub, fetched if what is there is newer than what was fetched before.

    Raises:
        UsageError: there is no such model, it is not open to whoever asks, it was not exported by gan-dist, or the hub
            cannot be reached and it was not fetched before.
    """
    from huggingface_hub import snapshot_download

    model = parse_hub(ref)
    with _in_words(model):
        folder = Path(
            snapshot_download(
                model.repository,
                revision=model.revision,
                allow_patterns=[exported_model.CONFIG, exported_model.WEIGHTS],
            )
        )
    if not exported_model.is_exported(folder):
        raise UsageError(f"{model} holds no generator that `gan-dist export` wrote (its {exported_model.CONFIG})")
    return folder


def push_model(ref: str, files: Sequence[Path], message: str) -> str:
    """Put files into a repository of a hub, one commit; the address of its page. A repository that is not there yet is
    made, for its owner's eyes alone.

    Raises:
        UsageError: nobody is logged in, the repository belongs to others, or the hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    model, hub = parse_hub(ref), HfApi(library_name="gan-dist")
    if model.revision is not None:
        raise UsageError(f"--push {ref!r}: a push makes a new state of {model.repository}; name no revision")
    with _in_words(model):
        made = hub.create_repo(model.repository, private=True, exist_ok=True)
        additions = [CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path) for path in files]
        hub.create_commit(model.repository, additions, commit_message=message)
    return str(made)


@contextmanager
def _in_words(model: HubModel) -> Iterator[None]:
    """What a hub answers, in a line."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    login = "log in: hf auth login, or set HF_TOKEN"
    try:
        yield
    except GatedRepoError as error:
        raise UsageError(f"{model} is open to those alone whom its owner lets in: ask on its page; {login}") from error
    except RevisionNotFoundError as error:
        raise UsageError(f"{model}: {model.repository} has no revision {model.revision!r}") from error
    except RepositoryNotFoundError as error:
        raise UsageError(f"there is no {model}, or it is private; {login}") from error
    except LocalTokenNotFoundError as error:
        raise UsageError(f"{model}: nobody is logged in; {login}") from error
    except HFValidationError as error:
        raise UsageError(f"{model}: {error}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise UsageError(f"{model}: the hub cannot be reached, and it was not fetched before") from error
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        told = login if code in (401, 403) else str(error).splitlines()[0]
        raise UsageError(f"{model}: the hub refuses ({code}): {told}") from error
    except OSError as error:
        raise UsageError(f"{model}: the hub cannot be reached: {error}") from error
