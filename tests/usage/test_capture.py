"""What is kept of inputs and outputs, and what is taken out of it."""

import json
import time

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from apps.deployments.usage import capture
from apps.deployments.usage.models import Capture
from apps.deployments.usage.redaction import redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ask anna.müller+x@mail.example.co.uk now", "ask [email] now"),
        (r"call\n0664 1234567", r"call\n[phone]"),
        ("+43 664 123 45 67 or (555) 123-4567", "[phone] or [phone]"),
        ("card 4111 1111 1111 1111.", "card [card]."),
        ("to DE89 3704 0044 0532 0130 00", "to [iban]"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: [token]"),
        (f"it is {JWT}", "it is [token]"),
        ("sk-proj-abcdefghijklmnop123", "[secret]"),
        ('{"password": "hunter22", "x": 1}', '{"password": "[secret]", "x": 1}'),
        (json.dumps(json.dumps({"api_key": "abcd1234"})), '"{\\"api_key\\": \\"[secret]\\"}"'),
    ],
)
def test_what_names_a_person_or_opens_a_door_is_taken_out(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    ["0.0123456789012345678, -0.51234567890", "2026-11-23T21:24:00Z", "550e8400-e29b-41d4-a716-446655440000",
     "192.168.100.200", '"prompt_tokens": 123456', "4111 1111 1111 1112", "AT61 1904 3002 3457 3202"],
)  # fmt: skip
def test_other_numbers_stay(text: str) -> None:
    assert redact(text) == text


def test_own_patterns_are_taken_out_too(settings: Settings) -> None:
    settings.REDACT_PATTERNS = r"EMP-\d+;;(?i)project \w+" "\n" r"x{9}"
    assert redact("EMP-12 of Project Apollo xxxxxxxxx") == "[redacted] of [redacted] [redacted]"


def test_a_wrong_pattern_is_a_finding(settings: Settings) -> None:
    settings.REDACT_PATTERNS = "fine;;(open"
    found = [message for message in run_checks(tags=["modelyard"]) if message.id == "modelyard.E009"]
    assert len(found) == 1
    assert "(open" in found[0].msg


def kept(request: bytes = b"{}", answer: bytes = b"{}", cut: bool = False) -> Capture:
    capture.write([(time.time(), "req-1", "dep_1", "acc1", "/v1/chat/completions", 200, request, answer, cut)])
    return Capture.objects.get()


@pytest.mark.django_db
def test_nothing_is_kept_while_a_pattern_is_wrong(settings: Settings) -> None:
    settings.REDACT_PATTERNS = "(open"
    capture.write([(time.time(), "r", "dep_1", "acc1", "/v1/x", 200, b"{}", b"{}", False)])
    assert not Capture.objects.exists()


@pytest.mark.django_db
def test_a_stream_is_put_together_before_it_is_redacted() -> None:
    parts = ["write to jo", "hn@ex", "ample.com, ", "please"]
    events = [{"id": "c1", "choices": [{"index": 0, "delta": {"content": part}}]} for part in parts]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    assert kept(answer=stream.encode()).response == "write to [email], please"


@pytest.mark.django_db
def test_a_long_body_is_cut_and_half_a_number_goes_with_it() -> None:
    body = b"x" * (capture.KEPT - 10) + b" 4111 1111 1111 1111"
    found = kept(body, cut=True)
    assert found.cut
    assert len(found.request) < capture.KEPT
    assert "411" not in found.request


@pytest.mark.django_db
def test_what_is_no_text_is_not_kept() -> None:
    found = kept(b"\x1f\x8b\x08\x00abc", "ümlaut\0".encode())
    assert (found.request, found.response) == ("(7 bytes that are no text)", "ümlaut")


@pytest.mark.django_db
def test_escapes_of_what_is_no_character_do_not_stop_the_others() -> None:
    found = kept(rb'{"a": "\ud800"}', rb'data: {"text": "a\u0000\udfffb"}' + b"\n\n")
    assert (found.request, found.response) == ('{"a": "?"}', "a?b")


@pytest.mark.parametrize(
    "body", [b"[" * 60_000, b"data: " + b"[" * 60_000 + b"\n\n", b"", b"data science", b"1" * 9000]
)
def test_any_body_is_shown(body: bytes) -> None:
    assert isinstance(capture.shown(body), str)
