"""What a call is charged: reserved before, settled after, written to the ledger, counted in the metrics."""

import logging
import time
from typing import TYPE_CHECKING

from apps.deployments.gateway import counting
from apps.deployments.gateway.limits import budget as budgets_
from apps.deployments.gateway.limits.budget import Budget, Limits
from apps.deployments.usage.ledger import Row

if TYPE_CHECKING:
    from apps.deployments.gateway.call import Call

logger = logging.getLogger(__name__)
CAPTURED = 64 * 1024  # bytes of an input or output that are kept
NOTHING = Limits()
LEFT = 499


def reserve(call: "Call") -> bool:
    """Charge one request and the tokens it may use; False if that takes asking Redis."""
    key, table = call.key, call.table
    assert key
    assert table
    limits, route = call.gateway.limits, table.route
    found = []
    if key.limits != NOTHING:
        found.append(limits.budget(key.subject, "API key", key.limits))
    if route.limits != NOTHING:
        found.append(limits.budget(route.subject, "deployment", route.limits))
    if not found:
        return True
    budgets = call.budgets = [budget for budget in found if budget]
    if any(budget.counts_tokens for budget in budgets):
        call.reserved = _expected(call)
    now = call.charged_at = time.monotonic()
    if limits.away_since is None and budgets_.admit(budgets, call.reserved, now):
        return True
    call.charged_at = 0.0
    return False


def _expected(call: "Call") -> int:
    """The tokens that a request is taken to use: what it sends, and the most it asks for or what is usual here."""
    assert call.table
    text = call.path in counting.TEXT_PATHS
    if not text and call.path not in counting.EMBEDDING_PATHS:
        return 0
    route = call.table.route
    size = int(call.head.length or 0) or call.size
    prompt = size // counting.BYTES_A_TOKEN + 1
    if route.context_length:
        prompt = min(prompt, route.context_length)
    if not text:
        return prompt
    most = counting.most(call.body)
    learned = call.gateway.metrics.of(route.deployment_id).learned
    return prompt + (int(learned) + 1 if most is None else most)


def remaining(budgets: list[Budget]) -> bytes:
    """The lines of a head that say what is left."""
    return budgets_.headers(budgets, time.monotonic())


def release(call: "Call") -> None:
    """Give a charge back whole: the call never went on."""
    if call.budgets and call.charged_at:
        budgets_.settle(call.budgets, call.reserved, 0, call.charged_at)
        call.gateway.limits.release(call.budgets)
        call.charged_at = 0.0


def close(call: "Call") -> None:
    """A call has ended, one way or another: settle, count, write down."""
    gateway, key = call.gateway, call.key
    if key is None:
        if call.error:
            gateway.metrics.refused[call.error] += 1
        return
    ended = time.monotonic()
    prompt, completion, estimated = _used(call) if call.sent_at else (0, 0, False)
    if call.budgets and call.charged_at:
        budgets_.settle(call.budgets, call.reserved, prompt + completion, call.charged_at)
        gateway.limits.release(call.budgets)
    traffic = gateway.metrics.of(key.deployment_id)
    if call.counted:
        traffic.open -= 1
    traffic.statuses[call.status] += 1
    if call.error:
        traffic.errors[call.error] += 1
    traffic.duration.observe(ended - call.began)
    if call.first_byte_at:
        traffic.first_byte.observe(call.first_byte_at - call.began)
    traffic.prompt_tokens += prompt
    traffic.completion_tokens += completion
    if completion and not estimated:
        traffic.learn(completion)
    at = gateway.epoch + call.began
    if key.id:
        gateway.last_used.note(key.id, at, call.client if gateway.addresses else "")
    gateway.recorder.add(_row(call, at, ended, prompt, completion, estimated))
    if call.captured is not None:
        _capture(call, at)


def _row(call: "Call", at: float, ended: float, prompt: int, completion: int, estimated: bool) -> Row:
    key, route = call.key, call.table.route if call.table else None
    assert key
    return (
        at,
        call.head.request_id.decode("ascii"),
        key.account,
        key.id,
        key.name,
        key.user_name,
        key.deployment_id,
        route.name if route else "",
        route.version if route else 0,
        route.model_id if route else "",
        route.model_name if route else "",
        call.path[:200],
        call.status,
        call.error,
        call.streamed,
        prompt,
        completion,
        estimated,
        (call.first_byte_at - call.began) * 1000 if call.first_byte_at else None,
        (ended - call.began) * 1000,
        call.size,
        call.bytes_out,
        call.client if call.gateway.addresses else "",
    )


def _used(call: "Call") -> tuple[int, int, bool]:
    """Prompt and completion tokens, and whether they are an estimate."""
    answer = call.answer
    found = call.usage or (answer.usage() if answer else None) or _told_by_runtime(call)
    if found:
        return *found, False
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


def _told_by_runtime(call: "Call") -> tuple[int, int] | None:
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


def _capture(call: "Call", at: float) -> None:
    assert call.key
    assert call.captured is not None
    request, response = b"".join(call.captured[:1]), b"".join(call.captured[1:])
    cut = call.size > CAPTURED or call.bytes_out > CAPTURED
    call.gateway.recorder.capture((
        at, call.head.request_id.decode("ascii"), call.key.deployment_id, call.key.account, call.path, call.status,
        request, response[:CAPTURED], cut,
    ))  # fmt: skip
