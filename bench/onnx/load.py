"""The load: `python load.py` with a JSON job on its input; connections that each wait for an answer, and ask again."""

import asyncio
import json
import sys
import time


async def connection(job: dict, number: int, end: float, taken: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", job["port"])
    bodies = [body.encode() for body in job["bodies"]]
    headers = "".join(f"{name}: {value}\r\n" for name, value in job["headers"].items())
    place = number
    while time.perf_counter() < end:
        body = bodies[place % len(bodies)]
        place += 1
        began = time.perf_counter()
        head = f"POST {job['path']} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{headers}"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        status, _, rest = answer.partition(b"\r\n")
        if b" 200 " not in status + b" ":
            raise SystemExit(f"{status.decode()} {rest.decode()}")
        length = next(int(line[15:]) for line in rest.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        taken.append(time.perf_counter() - began)
    writer.close()


async def main() -> None:
    job = json.load(sys.stdin)
    taken: list[float] = []
    began = time.perf_counter()
    end = began + job["seconds"]
    await asyncio.gather(*(connection(job, number, end, taken) for number in range(job["clients"])))
    lasted = time.perf_counter() - began
    taken.sort()
    json.dump(
        {
            "rate": len(taken) / lasted,
            "p50_ms": taken[len(taken) // 2] * 1000,
            "p95_ms": taken[int(len(taken) * 0.95)] * 1000,
            "count": len(taken),
        },
        sys.stdout,
    )


asyncio.run(main())
