"""What went wrong with the hub, told apart, each with what to do. Knows nothing of Django's part of the platform."""

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from modelyard.problems import Problem

TRANSIENT = frozenset({"hub_busy", "hub_unreachable", "hub_error"})
"""Codes that waiting may mend."""
NETWORK = (httpx2.TransportError, OfflineModeIsEnabled, LocalEntryNotFoundError, ConnectionError, TimeoutError)


def problem(error: Exception, endpoint: str, repository: str, revision: str = "", *, known: bool = False) -> Problem:
    """An error of `huggingface_hub` as a Problem. `known`: a token was sent."""
    page = f"{endpoint}/{repository}"
    if isinstance(error, GatedRepoError):
        return _gated(page, repository, known=known)
    if isinstance(error, DisabledRepoError):
        return Problem("hub_disabled", f"The hub has disabled {repository}.", f"Read why on {page}.", status=409)
    if isinstance(error, RevisionNotFoundError):
        step = f"Choose a branch, a tag or a commit from {page}/commits; empty means main."
        return Problem("hub_no_revision", f"{repository} has no revision {revision!r}.", step, status=404)
    if isinstance(error, RemoteEntryNotFoundError):
        step = "Look again: the repository may have changed."
        return Problem("hub_no_file", f"A file of {repository} isn't there any more.", step, status=404)
    if isinstance(error, HFValidationError):
        step = "Write it as owner/name, as in its address."
        return Problem("hub_invalid", f"{repository!r} is no name of a repository.", step, status=400)
    if isinstance(error, HfHubHTTPError):
        return _answered(error, endpoint, repository, known=known)
    if isinstance(error, FileMetadataError):
        step = "Check HF_ENDPOINT, and whether a proxy on the way changes answers."
        return Problem("hub_error", f"What answers at {endpoint} isn't a hub.", step, status=502)
    if isinstance(error, NETWORK):
        return unreachable(endpoint, error)
    said = " ".join(str(error).split())[:160] or type(error).__name__
    step = "Check HF_ENDPOINT, and whether a proxy on the way changes answers."
    return Problem("hub_error", f"{endpoint} answered in a way that isn't understood ({said}).", step, status=502)


def unreachable(endpoint: str, error: BaseException) -> Problem:
    """No answer at all."""
    if isinstance(error, OfflineModeIsEnabled):
        step = "Unset HF_HUB_OFFLINE, or bring the model as a zip or in a bundle."
        return Problem("hub_offline", "Downloads are switched off here (HF_HUB_OFFLINE).", step, status=503)
    said = " ".join(str(error).split())[:160] or type(error).__name__
    step = "Check this machine's network, HTTPS_PROXY and HF_ENDPOINT; without a network, import a zip or a bundle."
    return Problem("hub_unreachable", f"{endpoint} can't be reached ({said}).", step, status=503)


def _answered(error: HfHubHTTPError, endpoint: str, repository: str, *, known: bool) -> Problem:
    status = error.response.status_code
    said = error.response.headers.get("X-Error-Message", "")
    if status == 401 and (known or "Invalid credentials" in said):
        step = "Make a new token on the hub (read access is enough) and replace the connection's, then test it."
        return Problem("hub_token", "The hub doesn't accept the connection's token.", step, status=409)
    if isinstance(error, RepositoryNotFoundError) or status in {401, 404}:
        who = "with this connection" if known else "without a connection"
        step = "Check the spelling. If it is private, choose a connection whose account may read it."
        return Problem("hub_not_found", f"There is no repository {repository} to be seen {who}.", step, status=404)
    if status == 403:
        if not known:
            step = "Choose a connection whose account may read it; or see whether a proxy on the way refuses it."
            return Problem("hub_forbidden", f"{repository} may not be read without a connection.", step, status=409)
        step = "Give the token read access to this repository on the hub, or choose another connection."
        return Problem("hub_forbidden", f"The connection may not read {repository}.", step, status=409)
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        step = f"Try again in {wait} s." if wait.isdigit() else "Try again in some minutes."
        if not known:
            step += " With a connection the hub allows more."
        return Problem("hub_busy", "The hub limits how often it is asked, and that was too often.", step, status=503)
    step = "Try again in some minutes." if status >= 500 else "Check HF_ENDPOINT."
    return Problem("hub_error", f"{endpoint} answered with an error ({status}).", step, status=502)


def _gated(page: str, repository: str, *, known: bool) -> Problem:
    if known:
        message = f"The connection's account has no access to {repository} yet: its owner asks for an agreement."
        step = f"As that account, accept the conditions on {page}, wait if access is reviewed, and look again."
    else:
        message = f"{repository} is gated: its owner asks for an agreement first."
        step = f"Accept the conditions on {page}, then choose a connection of the account that did."
    return Problem("hub_gated", message, step, status=403)
