"""Upload of a model folder to the Hugging Face Hub, in one commit."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import seen
from tasks.errors import ConfigError, ToolError
from tasks.hub import endpoint, quick_network, reachable, reason

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FLAG = "--push-to-hub"


def check(repo_id: str, token: str | None = None, flag: str = FLAG) -> str:
    """Whether a later push can work, asked before a training begins. Writes nothing.

    Args:
        repo_id: `name` or `namespace/name`.
        token: the access token; without one HF_TOKEN or the token of `hf auth login` serves.

    Returns:
        The full id, with the account's name in front where `repo_id` has no namespace.

    Raises:
        ConfigError: `repo_id` isn't of that form.
        ToolError: no token, no network, or a token that can't write there.
    """
    _validate(repo_id, flag)
    hint = f"mend that, or leave {flag} out and push afterwards with `tool runs push RUN --to {repo_id}`"
    with _connection(token, f"{flag} {repo_id}", hint) as api:
        account = api.whoami()
    problem = _lacks(account, repo_id)
    if problem:
        raise ToolError(f"{flag} {repo_id}: {problem}; {hint}")
    return repo_id if "/" in repo_id else f"{account['name']}/{repo_id}"


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Upload model",
    run: str | Path | None = None,
) -> str:
    """Uploads a model folder with its card (README.md) as one commit; makes the repository if need be.

    The folder is only read. A push that failed can be repeated: what already lies there isn't sent again.

    Args:
        folder: the files to upload, with those of its subfolders; hidden ones and the record of the training data stay behind.
        private: the repository is to be private; one that is already public is refused, not made private.
        revision: a branch other than the main one, made if it isn't there.
        run: how the user names the run, for the command in an error message; by default where `folder` lies.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: `repo_id` isn't `name` or `namespace/name`.
        ToolError: nothing was committed; one line with the reason and the command that repeats the push.
    """
    _validate(repo_id, FLAG)
    folder = Path(folder)
    files = _files(folder)
    again = _command(run or (folder.parent if folder.name == "model" else folder), repo_id, private, revision)
    with _connection(token, f"not pushed to {repo_id}", again) as api, _progress():
        return _upload(api, files, repo_id, private, revision, message)


def _upload(api: HfApi, files: dict[str, Path], repo_id: str, private: bool, revision: str | None, message: str) -> str:
    from huggingface_hub import CommitOperationAdd

    # None, not False: whoever doesn't ask leaves it to the organisation's own default.
    repo = api.create_repo(repo_id, private=private or None, exist_ok=True)
    if private and not api.repo_info(repo.repo_id).private:
        raise ToolError(
            "--private, but that repository is there already and public; make it private, or choose another id"
        )
    if revision:
        api.create_branch(repo.repo_id, branch=revision, exist_ok=True)
    # Not upload_folder, which may split a folder into several commits.
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
    api.create_commit(repo.repo_id, operations, commit_message=message, revision=revision)
    return str(repo)


def _files(folder: Path) -> dict[str, Path]:
    """Path in the repository -> file, sorted."""
    if not folder.is_dir():
        raise ToolError(f"{folder}: no such model folder, nothing to push; `tool runs list` shows the runs")
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    hidden = {name for name in found if any(part.startswith(".") for part in name.split("/"))}
    # Digests of the training data would tell whoever has a text whether it was among them.
    files = {name: path for name, path in found.items() if name not in hidden and path.name != seen.FILE}
    if "README.md" not in files or "config.json" not in files:
        raise ToolError(f"{folder}: no README.md or no config.json in it, so not a finished model; nothing pushed")
    return files


def _validate(repo_id: str, flag: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(
            f"{flag} {repo_id!r}: not a Hub id; it is `name` or `namespace/name`, of letters, digits, `-`, `_` and `.` "
            "(neither first nor last, nor doubled), 96 characters at most"
        ) from error


def _token(token: str | None) -> str:
    from huggingface_hub import get_token

    token = (token or get_token() or "").strip()
    if not token:
        raise ToolError("no access token; set HF_TOKEN or run `hf auth login` (a token with the right to write)")
    if not token.isascii() or any(character.isspace() for character in token):
        raise ToolError("the access token has spaces or foreign characters in it; copy it anew into HF_TOKEN")
    return token


@contextmanager
def _connection(token: str | None, what: str, hint: str) -> Iterator[HfApi]:
    """The Hub's interface under the token; an error says what failed, why, and the hint."""
    from huggingface_hub import HfApi, constants

    try:
        token = _token(token)
        if constants.HF_HUB_OFFLINE:
            raise ToolError("HF_HUB_OFFLINE is set; unset it to push")
        if not reachable():
            raise ToolError(f"can't reach the Hub ({endpoint()})")
        with quick_network(online=True):
            yield HfApi(endpoint=endpoint(), token=token, library_name="modeltool")
    except ToolError as error:
        raise ToolError(f"{what}: {error}; {hint}") from error
    # Besides its own errors the library lets through those of its transports, of many kinds.
    except Exception as error:
        raise ToolError(f"{what}: {reason(error, token)}{_mirror_hint(error)}; {hint}") from error


@contextmanager
def _progress() -> Iterator[None]:
    """Upload bars on a terminal only."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hide = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            enable_progress_bars()


def _lacks(account: dict[str, Any], repo_id: str) -> str | None:
    """What the token's account lacks for a push, as far as the Hub's answer shows it.

    A fine-grained token's rights aren't listed in a form to rely on: there only the push itself can tell.
    """
    role = account.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        return "the access token may only read; make one that may write (https://huggingface.co/settings/tokens)"
    namespaces = [account["name"], *(org["name"] for org in account.get("orgs", []))]
    namespace = repo_id.split("/")[0] if "/" in repo_id else account["name"]
    if role == "write" and namespace.lower() not in [name.lower() for name in namespaces]:
        return f"the access token is for {', '.join(namespaces)}, not for {namespace}"
    return None


def _mirror_hint(error: Exception) -> str:
    """On a mirror without Xet, the transport that the library prefers, it fails with the built-in ConnectionError."""
    from huggingface_hub.utils._runtime import is_xet_available

    if isinstance(error, ConnectionError) and os.environ.get("HF_ENDPOINT") and is_xet_available():
        return " (a mirror without Xet storage needs HF_HUB_DISABLE_XET=1)"
    return ""


def _command(run: str | Path, repo_id: str, private: bool, revision: str | None) -> str:
    words = ["tool", "runs", "push", str(run), "--to", repo_id]
    words += ["--private"] * private + (["--revision", revision] if revision else [])
    return f"the model is safe in its folder; once that is mended: {shlex.join(words)}"
