"""What a call is charged: reserved before, settled after, written to the ledger, counted in the metrics."""

import logging
import time
from typing import TYPE_CHECKING

from apps.deployments.gateway import counting
from apps.deployments.gateway.keys import Key
from apps.deployments.gateway.limits import Keeper
from apps.deployments.gateway.limits import budget as budgets_
from apps.deployments.gateway.limits.budget import Budget, Limits
from apps.deployments.routing import Route

if TYPE_CHECKING:
    from apps.deployments.gateway.exchange import Exchange

logger = logging.getLogger(__name__)
CAPTURED = 64 * 1024  # bytes of an input or output that are kept
NOTHING = Limits()
LEFT = 499
NO_TOKENS = (0, 0, False)


class Terms:
    """How calls with one head are charged: whose budgets, and whether tokens are reserved."""

    __slots__ = ("budgets", "counts", "generation", "text")

    def __init__(self, key: Key, route: Route, path: str, limits: Keeper) -> None:
        self.text = path in counting.TEXT_PATHS
        found = []
        if key.limits != NOTHING:
            found.append(limits.budget(key.subject, "API key", key.limits))
        if route.limits != NOTHING:
            found.append(limits.budget(route.subject, "deployment", route.limits))
        self.budgets = [budget for budget in found if budget]
        tokens = self.text or path in counting.EMBEDDING_PATHS
        self.counts = tokens and any(budget.counts_tokens for budget in self.budgets)
        self.generation = limits.generation


def reserve(call: "Exchange") -> bool:
    """Charge one request and the tokens it may use; False if that takes asking Redis."""
    limits, key, table, traffic = call.gateway.limits, call.key, call.table, call.traffic
    if key is None or table is None or traffic is None:
        return True  # nothing is known of it yet: it doesn't get here
    route = table.route
    terms: Terms | None = call.head.terms
    if terms is None or terms.generation != limits.generation or call.head.plan is None:
        terms = call.head.terms = Terms(key, route, call.path, limits)
    if not terms.budgets:
        return True
    call.budgets = terms.budgets
    if terms.counts:
        call.reserved = _expected(call, route, terms.text, traffic.learned)
    now = time.monotonic()
    if limits.away_since is None and budgets_.admit(terms.budgets, call.reserved, now):
        call.charged_at = now
        return True
    return False


def _expected(call: "Exchange", route: Route, text: bool, learned: float) -> int:
    """The tokens that a request is taken to use: what it sends, and the most it asks for or what is usual here."""
    size = call.size if call.body_ended else int(call.head.length or 0) or call.size
    prompt = size // counting.BYTES_A_TOKEN + 1
    if route.context_length and prompt > route.context_length:
        prompt = route.context_length
    if not text:
        return prompt
    most = counting.most(call.body)
    return prompt + (int(learned) + 1 if most is None else most)


def remaining(budgets: list[Budget]) -> bytes:
    """The lines of a head that say what is left."""
    return budgets_.headers(budgets, time.monotonic())


def release(call: "Exchange") -> None:
    """Give a charge back whole: the call never went on."""
    if call.budgets and call.charged_at:
        budgets_.settle(call.budgets, call.reserved, 0, call.charged_at)
        call.gateway.limits.release(call.budgets)
        call.charged_at = 0.0


def close(call: "Exchange") -> None:
    """A call has ended, one way or another: settle, count, write down."""
    gateway, key = call.gateway, call.key
    if key is None:
        if call.error:
            gateway.metrics.refused[call.error] += 1
        return
    ended = time.monotonic()
    began, first_byte_at = call.began, call.first_byte_at
    prompt, completion, estimated = _used(call) if call.sent_at else NO_TOKENS
    if call.charged_at:
        budgets_.settle(call.budgets, call.reserved, prompt + completion, call.charged_at)
        gateway.limits.release(call.budgets)
    traffic = call.traffic or gateway.metrics.of(key.deployment_id)
    if call.counted:
        traffic.open -= 1
    traffic.statuses[call.status] += 1
    if call.error:
        traffic.errors[call.error] += 1
    traffic.duration.observe(ended - began)
    if first_byte_at:
        traffic.first_byte.observe(first_byte_at - began)
    if completion and not estimated:
        traffic.learned += (completion - traffic.learned) / 16
    traffic.prompt_tokens += prompt
    traffic.completion_tokens += completion
    at = gateway.epoch + began
    client = call.client if gateway.addresses else ""
    if key.id:
        gateway.last_used.note(key.id, at, client)
    route = call.table.route if call.table else None
    gateway.recorder.add((
        at,
        call.request_id.decode("ascii"),
        key.account,
        key.id,
        key.name,
        key.user_name,
        key.deployment_id,
        *(route.ledger if route else ("", 0, "", "")),
        call.path,
        call.status,
        call.error,
        call.streamed,
        prompt,
        completion,
        estimated,
        (first_byte_at - began) * 1000 if first_byte_at else None,
        (ended - began) * 1000,
        call.size,
        call.bytes_out,
        client,
    ))  # fmt: skip
    if call.captured is not None:
        _capture(call, at, key)


def _used(call: "Exchange") -> tuple[int, int, bool]:
    """Prompt and completion tokens, and whether they are an estimate."""
    answer, found = call.answer, call.usage
    if found is None:
        found = (answer.usage() if answer else None) or _told_by_runtime(call)
    if found:
        return found[0], found[1], False
    text = call.path in counting.TEXT_PATHS
    if call.status >= 400 and (call.status != LEFT or call.error):
        return 0, 0, False
    if not text and call.path not in counting.EMBEDDING_PATHS:
        return 0, 0, False
    prompt = call.size // counting.BYTES_A_TOKEN
    length = call.table.route.context_length if call.table else None
    prompt = min(prompt, length) if length else prompt
    if not text:
        return prompt, 0, True
    return prompt, answer.events if answer and call.streamed else call.bytes_out // counting.BYTES_A_TOKEN, True


def _told_by_runtime(call: "Exchange") -> tuple[int, int] | None:
    usage_of = call.table.route.usage_of if call.table else None
    answer = call.answer
    if usage_of is None or answer is None or not answer.whole or call.streamed:
        return None
    body = counting.parsed(answer.tail)
    try:
        usage = usage_of(call.path, body) if body else None
    except Exception:
        logger.exception("a runtime failed to tell usage")
        return None
    return (usage.prompt_tokens, usage.completion_tokens) if usage else None


def _capture(call: "Exchange", at: float, key: Key) -> None:
    kept = call.captured or []
    request, response = b"".join(kept[:1]), b"".join(kept[1:])
    cut = call.size > CAPTURED or call.bytes_out > CAPTURED
    call.gateway.recorder.capture((
        at, call.request_id.decode("ascii"), key.deployment_id, key.account, call.path, call.status,
        request, response[:CAPTURED], cut,
    ))  # fmt: skip
