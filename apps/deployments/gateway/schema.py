"""The gateway's addresses in the OpenAPI schema: drf-spectacular only knows Django's views."""

from typing import Any

from apps.deployments import runtimes

KEY = "apiKey"
ERRORS = {
    "401": "No key, or one that opens nothing.",
    "403": "A key of another deployment, or one that isn't for this path or this address.",
    "404": "The deployment or the path doesn't exist.",
    "409": "The deployment isn't deployed.",
    "413": "The body is too large.",
    "415": "The body is compressed.",
    "429": "A limit of the key or the deployment; `Retry-After` says when to try again, `code` which limit it was.",
    "502": "The engine failed or broke off.",
    "503": "The deployment is starting; `Retry-After` says when to try again.",
    "504": "The engine sent nothing for too long.",
}
PATHS = (
    ("post", "/v1/chat/completions", "Chat completions"),
    ("post", "/v1/completions", "Completions"),
    ("post", "/v1/embeddings", "Embeddings"),
    ("get", "/v1/models", "Models"),
    ("get", "/v2/models/{model_name}", "Model metadata (Open Inference Protocol)"),
    ("get", "/v2/models/{model_name}/ready", "Model readiness (Open Inference Protocol)"),
    ("post", "/v2/models/{model_name}/infer", "Inference (Open Inference Protocol)"),
)


def add_gateway_paths(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:  # noqa: ARG001
    """The hook: adds what callers may find below a deployment's address."""
    names = ", ".join(sorted(runtimes.registry()))
    components = result.setdefault("components", {})
    components.setdefault("securitySchemes", {})[KEY] = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of the deployment: `Authorization: Bearer myk_…`",
    }
    components.setdefault("schemas", {})["GatewayError"] = _error_schema()
    for method, path, summary in PATHS:
        address = f"/d/{{deployment_id}}{path}"
        result["paths"].setdefault(address, {})[method] = _operation(method, path, summary, names)
    return result


def _operation(method: str, path: str, summary: str, names: str) -> dict[str, Any]:
    wanted = ["deployment_id", *([] if "{model_name}" not in path else ["model_name"])]
    operation: dict[str, Any] = {
        "operationId": f"gateway{path.replace('/', '_').replace('{', '').replace('}', '').replace('.', '_')}_{method}",
        "summary": summary,
        "description": f"Passed on to the engine. Which paths a deployment has depends on its runtime ({names}).",
        "tags": ["gateway"],
        "security": [{KEY: []}],
        "parameters": [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in wanted],
        "responses": {
            "200": {"description": "The engine's answer.", "content": {"application/json": {"schema": {}}}},
            **{status: _error(text) for status, text in ERRORS.items()},
        },
    }
    if method == "post":
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    return operation


def _error(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/GatewayError"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    fields = {"message": text, "type": text, "param": {"type": "string", "nullable": True}, "code": text}
    error = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}
