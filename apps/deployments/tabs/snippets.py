"""Code that calls a deployment and works as pasted: cURL, Python, JavaScript and OpenAI's SDK, for its real task."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pprint import pformat
from typing import Any

from apps.deployments import operations
from apps.deployments.models import Deployment
from modelyard.problems import Problem
from modelyard.runtimes import SampleRequest

KEY = "MODELYARD_API_KEY"
HOLDER = f"${KEY}"
ANSWERS: Mapping[str, tuple[str, str]] = {
    "/v1/chat/completions": ('answer["choices"][0]["message"]["content"]', "answer.choices[0].message.content"),
    "/v1/completions": ('answer["choices"][0]["text"]', "answer.choices[0].text"),
    "/v1/embeddings": ('len(answer["data"][0]["embedding"])', "answer.data[0].embedding.length"),
}
"""What of an answer is printed, in Python and in JavaScript; of others all of it."""
PIECES: Mapping[str, tuple[str, str, str]] = {
    "/v1/chat/completions": (
        '(piece["choices"] or [{}])[0].get("delta", {}).get("content")',
        "piece.choices?.[0]?.delta?.content",
        "piece.choices[0].delta.content",
    ),
    "/v1/completions": (
        '(piece["choices"] or [{}])[0].get("text")',
        "piece.choices?.[0]?.text",
        "piece.choices[0].text",
    ),
}
"""The text in one event of a stream: in Python, in JavaScript and with the SDK."""
CALLS: Mapping[str, str] = {
    "/v1/chat/completions": "chat.completions.create",
    "/v1/completions": "completions.create",
    "/v1/embeddings": "embeddings.create",
}


@dataclass(frozen=True)
class Snippet:
    """One way to call it; `streamed` is empty where it doesn't stream."""

    name: str
    title: str
    whole: str
    streamed: str = ""


def snippets(deployment: Deployment, base_url: str) -> list[Snippet]:
    """Each with the key in MODELYARD_API_KEY; a Problem where the runtime can't say what answers."""
    sample = operations.sample_of(deployment)
    url = f"{base_url.rstrip('/')}/d/{deployment.pk}{sample.path}"
    streams = sample.path in PIECES
    curl = [operations.curl(deployment, HOLDER, base_url, stream=stream) for stream in (False, True)]
    found = [
        Snippet("curl", "cURL", curl[0], curl[1] if streams else ""),
        Snippet("python", "Python", _python(sample, url), _python_stream(sample, url) if streams else ""),
        Snippet(
            "javascript", "JavaScript", _javascript(sample, url), _javascript_stream(sample, url) if streams else ""
        ),
    ]
    if sample.path.startswith("/v1/") and sample.method == "POST":
        base = f"{base_url.rstrip('/')}/d/{deployment.pk}/v1"
        found.append(Snippet("openai", "OpenAI SDK", _sdk(sample, base), _sdk_stream(sample, base) if streams else ""))
    return found


def offered(deployment: Deployment, base_url: str) -> tuple[list[Snippet], str]:
    """The snippets, or why there are none."""
    try:
        return snippets(deployment, base_url), ""
    except Problem as problem:
        return [], str(problem)


def _literal(value: Any, indent: int = 0) -> str:
    text = pformat(value, width=100, sort_dicts=False)
    return text.replace("\n", "\n" + " " * indent)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n    ")


def _request(sample: SampleRequest, url: str, body: Mapping[str, Any]) -> str:
    has_body = sample.method == "POST"
    lines = ["import json", "import os", "import urllib.request", ""]
    if has_body:
        lines += [f"body = {_literal(dict(body), 7)}"]
    lines += [
        "request = urllib.request.Request(",
        f"    {url!r},",
        *(["    data=json.dumps(body).encode(),"] if has_body else []),
        "    headers={",
        f'        "Authorization": f"Bearer {{os.environ[\'{KEY}\']}}",',
        *(['        "Content-Type": "application/json",'] if has_body else []),
        "    },",
        f"    method={sample.method!r},",
        ")",
    ]
    return "\n".join(lines)


def _python(sample: SampleRequest, url: str) -> str:
    shown = ANSWERS.get(sample.path, ("json.dumps(answer, indent=2)", ""))[0]
    read = f"with urllib.request.urlopen(request) as response:\n    answer = json.load(response)\nprint({shown})"
    return f"{_request(sample, url, sample.body)}\n{read}"


def _python_stream(sample: SampleRequest, url: str) -> str:
    return f"""{_request(sample, url, {**sample.body, "stream": True})}
with urllib.request.urlopen(request) as response:
    for line in response:
        if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
            piece = json.loads(line[6:])
            print({PIECES[sample.path][0]} or "", end="", flush=True)
print()"""


def _fetch(sample: SampleRequest, url: str, body: Mapping[str, Any]) -> str:
    has_body = sample.method == "POST"
    more = ['      "Content-Type": "application/json",'] if has_body else []
    send = [f"    body: JSON.stringify({_json(dict(body))}),"] if has_body else []
    return "\n".join([
        f"  const response = await fetch({json.dumps(url)}, {{",
        f"    method: {json.dumps(sample.method)},",
        "    headers: {",
        f"      Authorization: `Bearer ${{process.env.{KEY}}}`,",
        *more,
        "    },",
        *send,
        "  });",
        "  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);",
    ])  # fmt: skip


def _javascript(sample: SampleRequest, url: str) -> str:
    shown = ANSWERS.get(sample.path, ("", "JSON.stringify(answer, null, 2)"))[1]
    return f"""async function main() {{
{_fetch(sample, url, sample.body)}
  const answer = await response.json();
  console.log({shown});
}}

main();"""


def _javascript_stream(sample: SampleRequest, url: str) -> str:
    return f"""async function main() {{
{_fetch(sample, url, {**sample.body, "stream": True})}
  const decoder = new TextDecoder();
  let waiting = "";
  for await (const bytes of response.body) {{
    const lines = (waiting + decoder.decode(bytes, {{ stream: true }})).split("\\n");
    waiting = lines.pop();
    for (const line of lines) {{
      if (!line.startsWith("data: ") || line.trim() === "data: [DONE]") continue;
      const piece = JSON.parse(line.slice(6));
      process.stdout.write({PIECES[sample.path][1]} ?? "");
    }}
  }}
  console.log();
}}

main();"""


def _client(base: str) -> str:
    return f"""import os

from openai import OpenAI

client = OpenAI(base_url={base!r}, api_key=os.environ["{KEY}"])"""


def _sdk(sample: SampleRequest, base: str) -> str:
    if sample.path not in CALLS:
        path = sample.path.removeprefix("/v1")
        return f"""{_client(base)}
answer = client.post({path!r}, cast_to=object, body={_literal(dict(sample.body), 50)})
print(answer)"""
    shown = {"/v1/embeddings": "len(answer.data[0].embedding)"}.get(sample.path, ANSWERS[sample.path][1])
    return f"""{_client(base)}
answer = client.{CALLS[sample.path]}(
{_arguments(sample.body)}
)
print({shown})"""


def _sdk_stream(sample: SampleRequest, base: str) -> str:
    return f"""{_client(base)}
stream = client.{CALLS[sample.path]}(
{_arguments({**sample.body, "stream": True})}
)
for piece in stream:
    if piece.choices:
        print({PIECES[sample.path][2]} or "", end="", flush=True)
print()"""


def _arguments(body: Mapping[str, Any]) -> str:
    """The body as the SDK takes it; what it has no argument for goes into `extra_body`."""
    known = {"model", "messages", "prompt", "input", "stream", "max_tokens", "temperature", "top_p", "stop", "seed",
             "encoding_format", "dimensions", "max_completion_tokens"}  # fmt: skip
    named = [f"    {name}={_literal(value, 8)}," for name, value in body.items() if name in known]
    more = {name: value for name, value in body.items() if name not in known}
    return "\n".join([*named, *([f"    extra_body={_literal(more, 15)},"] if more else [])])
