"""The proxies that the gateway is compared with, each in an interpreter of its own, kept outside the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {"litellm": "litellm[proxy]==1.106.2", "vllm-router": "vllm-router==0.1.17"}
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size 100m; client_body_buffer_size 64k;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 1024; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 10000000;
    location / {{ proxy_pass http://engine; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
      proxy_set_header Connection ""; }} }}
}}
"""
GO = """// The standard library's reverse proxy, as one would put it before an engine.
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	engine, err := url.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(engine)
	proxy.FlushInterval = -1
	proxy.Transport = &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, DisableCompression: true}
	log.Fatal(http.ListenAndServe(os.Args[1], proxy))
}
"""
LITELLM = """
model_list:
  - model_name: bench
    litellm_params: {{ model: openai/bench, api_base: "http://127.0.0.1:{engine}/v1", api_key: none }}
litellm_settings: {{ telemetry: false, num_retries: 0, set_verbose: false }}
general_settings: {{ master_key: sk-bench }}
"""


class Missing(Exception):
    """A peer can't be had here; the text says why."""


def command_of(name: str) -> str:
    """The command of a peer's package, installed at the first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard" / "bench"
    place = cache / PACKAGES[name].replace("[", "-").replace("]", "")
    if not (place / "complete").exists():
        sys.stderr.write(f"Installing {name} (once) …\n")
        shutil.rmtree(place, ignore_errors=True)
        pip = [place / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", PACKAGES[name]]
        try:
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            subprocess.run(pip, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            last = (error.stderr or str(error)).strip().splitlines()[-1:]
            raise Missing(f"{PACKAGES[name]} can't be installed: {' '.join(last)[:200]}") from None
        (place / "complete").touch()
    return str(place / "bin" / name)


def nginx(folder: Path, engine: int, port: int) -> list[str]:
    """nginx's `proxy_pass`, one worker, nothing logged."""
    if not shutil.which("nginx"):
        raise Missing("nginx isn't installed (Debian: apt-get install nginx-light)")
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, engine=engine, port=port))
    return ["nginx", "-c", str(config), "-p", str(folder)]


def litellm(folder: Path, engine: int, port: int) -> list[str]:
    """LiteLLM's proxy, one worker, with a master key and no database."""
    config = folder / "litellm.yaml"
    config.write_text(LITELLM.format(engine=engine))
    return [command_of("litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port),
            "--num_workers", "1", "--telemetry", "False"]  # fmt: skip


def router(engine: int, port: int, metrics: int) -> list[str]:
    """vLLM's router, in Rust: no keys, no limits, no ledger."""
    return [command_of("vllm-router"), "--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin",
            "--worker-urls", f"http://127.0.0.1:{engine}", "--log-level", "error",
            "--prometheus-port", str(metrics)]  # fmt: skip


def go(folder: Path, engine: int, port: int) -> list[str]:
    """Go's `httputil.ReverseProxy` on one thread, compiled here: standard library only."""
    if not shutil.which("go"):
        raise Missing("Go isn't installed (Debian: apt-get install golang-go)")
    place = folder / "go"
    place.mkdir()
    (place / "main.go").write_text(GO)
    (place / "go.mod").write_text("module proxy\n")
    env = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOPROXY": "off", "CGO_ENABLED": "0"}
    built = subprocess.run(
        ["go", "build", "-o", "proxy", "."], check=False, cwd=place, env=env, capture_output=True, text=True
    )
    if built.returncode:
        raise Missing(f"Go's proxy can't be compiled: {built.stderr.strip()[-200:]}")
    return [str(place / "proxy"), f"127.0.0.1:{port}", f"http://127.0.0.1:{engine}"]
