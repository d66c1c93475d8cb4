"""What a call is charged: reserved before, settled after, written to the ledger, counted in the metrics."""

import logging
import time
from bisect import bisect_left
from typing import TYPE_CHECKING

from apps.deployments.gateway import counting
from apps.deployments.gateway.keys import Key
from apps.deployments.gateway.limits import Limits, Terms
from apps.deployments.gateway.metrics import SECONDS, Traffic

if TYPE_CHECKING:
    from apps.deployments.gateway.exchange import Exchange

logger = logging.getLogger(__name__)
CAPTURED = 64 * 1024  # bytes of an input or output that are kept
NOTHING = Limits()
LEFT = 499  # as nginx logs it: the caller left before it was answered
NO_TOKENS = (0, 0, False)


def reserve(call: "Exchange") -> bool:
    """Charge one request and the tokens it may use; False if that takes asking Redis."""
    limits, terms = call.gateway.limits, call.head.terms
    if terms is None or terms[0] != limits.generation or call.head.plan is None:
        terms = call.head.terms = (limits.generation, *_terms(call))
    _, found, text = terms
    if found is None:
        return True
    call.terms = found
    if found.tokens:
        call.reserved = _expected(call, text)
    now = call.active_at
    if limits.away_since is None and found.admit(call.reserved, now):
        call.charged_at = now
        if found.low:
            limits.refill(found)
        return True
    return False


def _terms(call: "Exchange") -> tuple[Terms | None, bool]:
    """How calls with this head are charged, and whether they make text."""
    limits, key, route = call.gateway.limits, call.key, call.route
    text = call.path in counting.TEXT_PATHS
    found = []
    if key is not None and key.limits != NOTHING:
        found.append(limits.budget(key.subject, "API key", key.limits))
    if route.limits != NOTHING:
        found.append(limits.budget(route.subject, "deployment", route.limits))
    budgets = [budget for budget in found if budget]
    tokens = text or call.path in counting.EMBEDDING_PATHS
    return Terms(budgets, tokens=tokens) if budgets else None, text


def _expected(call: "Exchange", text: bool) -> int:
    """The tokens that a request is taken to use: what it sends, and the most it asks for or what is usual here."""
    size = call.size if call.body_ended else int(call.head.length or 0) or call.size
    prompt = size // counting.BYTES_A_TOKEN + 1
    longest = call.route.context_length
    if longest and prompt > longest:
        prompt = longest
    if not text:
        return prompt
    most = counting.most(call.body)
    if most is None:
        return prompt + int(call.traffic.learned) + 1
    several = counting.prompts(call.body) if call.path == counting.COMPLETIONS else 1
    return prompt + min(most * several, counting.HIGHEST)


def release(call: "Exchange") -> None:
    """Give a charge back whole: the call never went on."""
    if call.terms and call.charged_at:
        call.terms.settle(call.reserved, 0, call.charged_at)
        call.gateway.limits.release(call.terms.budgets)
        call.charged_at = 0.0


def close(call: "Exchange") -> None:
    """A call has ended, one way or another: settle, count, write down."""
    gateway, key = call.gateway, call.key
    if key is None:
        if call.error:
            gateway.metrics.refused[call.error] += 1
        return
    ended = call.active_at if call.status == 200 else time.monotonic()
    began, first_byte_at = call.began, call.first_byte_at
    prompt, completion, estimated = _used(call) if call.sent_at else NO_TOKENS
    if call.terms and call.charged_at:
        call.terms.settle(call.reserved, prompt + completion, call.charged_at)
        if call.terms.places:
            gateway.limits.release(call.terms.budgets)
    took = ended - began
    traffic = _count(call, key, took)
    traffic.prompt_tokens += prompt
    traffic.completion_tokens += completion
    if completion and not estimated:
        traffic.learned += (completion - traffic.learned) / 16
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
        took * 1000,
        call.size,
        call.bytes_out,
        client,
    ))  # fmt: skip
    if call.captured is not None:
        _capture(call, at, key)


def _count(call: "Exchange", key: Key, took: float) -> Traffic:
    if call.counted:
        traffic = call.traffic
        traffic.open -= 1
    else:
        traffic = call.gateway.metrics.of(key.deployment_id)
    traffic.statuses[call.status] += 1
    if call.error:
        traffic.errors[call.error] += 1
    traffic.duration[bisect_left(SECONDS, took)] += 1
    traffic.duration_sum += took
    if call.first_byte_at:
        waited = call.first_byte_at - call.began
        traffic.first_byte[bisect_left(SECONDS, waited)] += 1
        traffic.first_byte_sum += waited
    return traffic


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
    try:
        body = counting.parsed(answer.tail)
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
