"""What the proof asks both sides: the product's own texts for the model's task, or a person's JSONL."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelyard.problems import Problem
from modelyard.runtimes import Model, Runtime, SampleRequest

MOST_LINES = 500
MOST_BYTES = 1 << 20
GENERATED = 12  # prompts, where each answer takes seconds
GENERATED_TOKENS = 48
GENERATES = ("messages", "prompt")

TEXTS = (
    "The harbour opens at six, and the first ferry leaves twenty minutes later.",
    "How do I reset my password if I no longer have access to my e-mail?",
    "A recipe for lentil soup with cumin, lemon and roasted carrots.",
    "The quarterly report shows that revenue grew by eleven percent.",
    "Explain in two sentences why the sky looks blue at noon and red at dusk.",
    "Error: connection refused while connecting to the database server.",
    "She plays the cello in a small orchestra on Thursday evenings.",
    "Please cancel my subscription at the end of this month.",
    "The patient reported mild headaches and trouble sleeping for a week.",
    "Write a short poem about a lighthouse in winter.",
    "Der Zug nach Hamburg hat heute leider zwanzig Minuten Verspätung.",
    "The battery lasts about nine hours with the screen at half brightness.",
    "What is the capital of Australia, and how many people live there?",
    "Two goals in the last five minutes turned the match around.",
    "The contract may be ended by either side with thirty days' notice.",
    "def add(a, b): return a + b",
    "Interest rates stayed where they were, as most economists had expected.",
    "This jacket is warm, but the zip broke after two weeks.",
    "List three ways to save water at home.",
    "Volcanic soil is rich in minerals and good for growing vines.",
    "Could you send me the invoice for order number 48213 again?",
    "The museum is closed on Mondays; tickets are half price after four.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "I loved the film: wonderful actors, and an ending that nobody saw coming.",
    "Summarise the plot of a story in which a fox and a crow argue about cheese.",
    "The server answered after 250 milliseconds, twice as slow as yesterday.",
    "Il pleut depuis trois jours et la rivière monte lentement.",
    "Turn left at the church, then it is the second house on the right.",
    "The food was cold and the waiter forgot our drinks twice.",
    "How many litres are there in a gallon?",
    "The telescope found water vapour around a planet of another star.",
    "Mix the flour and the butter until the dough looks like coarse sand.",
    "Our flight was delayed, so we missed the connection in Madrid.",
    "Give me a title for a talk about bees in cities.",
    "The court found that the company had known of the fault for years.",
    "Vacuum the filter once a month to keep the machine quiet.",
    "El mercado abre los domingos de ocho a dos.",
    "A binary search halves the range in each step.",
    "The baby slept through the night for the first time.",
    "Which plants grow well on a balcony without much sun?",
    "Shares of the car maker fell after it called back sixty thousand vehicles.",
    "He has repaired clocks in the same workshop since 1974.",
    "The password must have at least twelve characters.",
    "Translate into French: the library is opposite the town hall.",
    "Glaciers in the region lost a third of their volume in forty years.",
    "Thank you so much, the support team solved it within minutes!",
    "Is it safe to take this medicine together with grapefruit juice?",
    "The old bridge carries bicycles only, since the new one was built.",
)


def parse(text: str) -> list[str | dict[str, Any]]:
    """A person's samples: a line is a JSON string, `{"text": …}`, or request fields. A Problem names the line."""
    if len(text.encode(errors="surrogatepass")) > MOST_BYTES:
        raise _invalid("The samples are too long.", f"At most {MOST_BYTES // 2**20} MiB.")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > MOST_LINES:
        raise _invalid(f"There are {len(lines)} samples.", f"At most {MOST_LINES}: take the most telling ones.")
    return [_sample(number, line) for number, line in lines]


def _sample(number: int, line: str) -> str | dict[str, Any]:
    shape = 'Each line is a JSON string, {"text": "…"}, or a JSON object of request fields.'
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise _invalid(f"Line {number} of the samples is not JSON.", shape) from None
    if isinstance(value, dict) and set(value) == {"text"}:
        value = value["text"]
    if not isinstance(value, str | dict) or not value:
        raise _invalid(f"Line {number} of the samples is neither a text nor a request.", shape)
    _sendable(number, value)
    return value


def _sendable(number: int, value: str | dict[str, Any]) -> None:
    """Python reads more than can be sent to an engine."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        step = "A lone surrogate, such as \\ud83d, is no character: write the character itself, or both halves."
        raise _invalid(f"Line {number} of the samples has half of a character.", step) from None
    except (ValueError, RecursionError):
        step = "NaN, Infinity and numbers such as 1e999 can't be sent: leave them out."
        raise _invalid(f"Line {number} of the samples has a number that isn't finite.", step) from None


def _invalid(message: str, step: str) -> Problem:
    return Problem("invalid_samples", message, step, status=400)


def requests(
    runtime: Runtime[Any], model: Model, options: Any, name: str, own: Sequence[str | Mapping[str, Any]]
) -> list[SampleRequest]:
    """The requests of a proof; the answers are the same each time, as far as the engine can."""
    if not own:
        made = [bounded(each) for each in runtime.samples(model, options, name, TEXTS)]
        return made[:GENERATED] if any(field in made[0].body for field in GENERATES) else made
    texts = [each if isinstance(each, str) else "" for each in own]
    made = list(runtime.samples(model, options, name, texts))
    return [
        bounded(one if isinstance(given, str) else replace(one, body={**one.body, **given}))
        for one, given in zip(made, own, strict=True)
    ]


def bounded(request: SampleRequest) -> SampleRequest:
    """Generation ends after a few tokens, so that a proof takes a minute and not an hour."""
    if not any(field in request.body for field in GENERATES):
        return request
    return replace(request, body={"max_tokens": GENERATED_TOKENS, **request.body, "stream": False})


def shown(request: SampleRequest) -> str:
    """A few words that tell a person which sample it was."""
    body = request.body
    for name in ("input", "query", "prompt", "text", "inputs"):
        if isinstance(body.get(name), str):
            return str(body[name])[:120]
    messages = body.get("messages")
    if isinstance(messages, list) and messages:
        return str(messages[-1].get("content", ""))[:120]
    return "tensors"
