"""Checks of the Hub's reachability and of its token."""

from __future__ import annotations

import os
import ssl
import time
from typing import Any

from recipes.doctor.findings import Finding, ok, stop, warn
from tasks.hub import endpoint, find, quick_network, reachable, reason

REPLY_SECONDS = 5.0
NO_TOKEN = "export HF_TOKEN=... or: hf auth login"
WITHOUT = "local files and filled caches work without it"


def hub_and_token(offline: bool) -> list[Finding]:
    """Whether the Hub answers, and whether it accepts the token. The token itself is never shown."""
    from huggingface_hub import constants, get_token

    token = get_token()
    if offline or constants.HF_HUB_OFFLINE:
        why = "--offline" if offline else "HF_HUB_OFFLINE is set"
        return [ok("hub", f"not asked ({why}); {WITHOUT}"), ok("token", "not needed without the Hub")]
    if not reachable():
        mend = f"{WITHOUT} (export HF_HUB_OFFLINE=1); behind a proxy: export HTTPS_PROXY=http://HOST:PORT"
        found = warn("hub", f"no connection to {endpoint()}", mend)
        return [found, ok("token", "there, but not tried") if token else _no_token()]
    return _ask(token)


def _ask(token: str | None) -> list[Finding]:
    from huggingface_hub.utils import build_hf_headers, get_session, httpx

    began = time.monotonic()
    try:
        with quick_network(online=True):
            # Not HfApi.whoami: it follows a mirror's redirect without the token, and then calls the token invalid.
            answer = get_session().get(
                f"{endpoint()}/api/whoami-v2",
                headers=build_hf_headers(token=token or False),
                timeout=REPLY_SECONDS,
                follow_redirects=False,
            )
    except UnicodeError:  # raised before anything is sent
        return [ok("hub", f"{endpoint()} connects"), stop("token", "it has foreign characters in it", _new_token())]
    except (httpx.HTTPError, OSError) as error:
        if find(error, ssl.SSLError):
            mend = "check the clock; behind a proxy of your firm: export SSL_CERT_FILE=its-certificates.pem"
        else:
            mend = f"try again; {WITHOUT} (export HF_HUB_OFFLINE=1)"
        found = warn("hub", f"{endpoint()} connects, but gives no answer: {reason(error, token)}", mend)
        return [found, ok("token", "there, but not tried") if token else _no_token()]
    return judge(answer.status_code, time.monotonic() - began, token is not None, _account(answer))


def judge(status: int, seconds: float, token: bool, account: str | None) -> list[Finding]:
    """By the HTTP status of the answer to "who am I"."""
    if status >= 500 or status == 407:
        hub = warn("hub", f"{endpoint()} answers with an error ({status})", f"try again later; {WITHOUT}")
    else:
        hub = ok("hub", f"{endpoint()} answers in {seconds:.1f} s")
    if not token:
        return [hub, _no_token()]
    if status == 401:
        found = f"the Hub refuses the one {_source()} (401), and with it public models too"
        return [hub, stop("token", found, _new_token())]
    if status == 200:
        return [hub, ok("token", f"accepted, for {account}" if account else "accepted")]
    return [hub, ok("token", f"there; this server doesn't say whether it is good ({status})")]


def _no_token() -> Finding:
    return warn("token", "none: gated and private models need one", NO_TOKEN)


def _source() -> str:
    return "in HF_TOKEN" if os.environ.get("HF_TOKEN") else "of `hf auth login`"


def _new_token() -> str:
    drop = "unset HF_TOKEN" if os.environ.get("HF_TOKEN") else "hf auth logout"
    return f"{drop}; or a new one (https://huggingface.co/settings/tokens): export HF_TOKEN=..."


def _account(answer: Any) -> str | None:
    try:
        return str(answer.json()["name"])
    except (ValueError, KeyError, TypeError):
        return None
