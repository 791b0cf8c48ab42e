"""Takes the pictures of the dashboard for the README and docs/dashboard.md, of a world that is invented throughout.

    .venv/bin/python docs/pictures/screenshots.py        # needs the tests' packages and Chromium; three minutes

The real servers run on a database of their own, without any source of data: every figure in the pictures is invented
or modelled, and says so. A few workloads are submitted, decided and run; then a browser looks.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).resolve().parent
BACKEND = PICTURES.parent.parent / "backend"
CHROMIUM = Path("/usr/bin/chromium")
NOWHERE = "http://127.0.0.1:9"
WIDTH, QUALITY, PATIENCE_S = 1280, 55, 240.0
WORK: list[dict[str, Any]] = [
    {"job_id": "nightly-fine-tune", "workload_type": "FINE_TUNING", "urgency": "LOW", "required_gpu_mins": 2400},
    {"job_id": "train-llm-7b", "workload_type": "TRAINING_RUN", "urgency": "LOW", "required_gpu_mins": 9600},
    {"job_id": "clean-only", "workload_type": "DATA_PROCESSING", "urgency": "MEDIUM", "carbon_cap_gco2": 1},
    {
        "job_id": "answer-questions",
        "workload_type": "INFERENCE_BATCH",
        "urgency": "CRITICAL",
        "required_gpu_mins": 12,
    },
    {"job_id": "embed-catalogue", "workload_type": "RAG_QUERY", "urgency": "CRITICAL", "required_gpu_mins": 1},
]
ENDS = "embed-catalogue"
"""The one whose whole life is shown."""

PLANNED = [{"job_id": name, **fields} for name, fields in (
    ("train-a", {"workload_type": "TRAINING_RUN", "required_gpu_mins": 9600, "deferral_window_mins": 1440}),
    ("train-b", {"workload_type": "TRAINING_RUN", "required_gpu_mins": 4800, "deferral_window_mins": 720}),
    ("tune-c", {"workload_type": "FINE_TUNING", "required_gpu_mins": 2400, "deferral_window_mins": 960}),
)]  # fmt: skip


def main() -> None:
    with ExitStack() as stack:
        ports = [_free_port() for _ in range(2)]
        url = f"http://127.0.0.1:{ports[0]}"
        stack.enter_context(servers(Path(stack.enter_context(tempfile.TemporaryDirectory())), *ports))
        _eventually(lambda: _get(f"{url}/api/v1/grid/regional")["regions"])
        home = {"host_dc_id": "DC-004", "deferral_window_mins": 720}
        for fields in WORK:
            _post(f"{url}/api/v1/workloads", home | fields)
        _eventually(lambda: _is_accounted(_get(f"{url}/api/v1/workloads/{ENDS}/life")["steps"]))
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        for name, path, height in (
            ("dashboard_now.webp", "/", 1005),
            ("dashboard_workload.webp", f"/workloads/{ENDS}", 715),
            ("dashboard_decisions.webp", "/decisions", 720),
            ("dashboard_plan.webp", f"/plan?workloads={quote(json.dumps(PLANNED))}", 800),
        ):
            page.goto(f"{url}/dashboard{path}")
            page.wait_for_selector("#connection[data-state=live]")
            (PICTURES / name).write_bytes(_picture(page, height))
        browser.close()


@contextmanager
def servers(folder: Path, api_port: int, gateway_port: int) -> Iterator[None]:
    """The API server and a gateway over an invented world in `folder`, until the end of the block."""
    sources = dict.fromkeys(("CARBON_INTENSITY_URL", "NESO_URL", "ELEXON_URL"), NOWHERE)
    ports = {"API_PORT": str(api_port), "BG_PORT": str(gateway_port)}
    own = {
        "PYLON_DATA_DIR": str(folder),
        "SUPABASE_URL": "",
        "SUPABASE_KEY": "",
        "DATABASE_URL": "",
        "GEMINI_API_KEY": "",
    }
    environment = os.environ | sources | ports | own
    subprocess.run([sys.executable, BACKEND / "pipeline.py", "--offline"], env=environment, check=True)
    running = [
        subprocess.Popen([sys.executable, BACKEND / name], env=environment) for name in ("api_server.py", "BG.py")
    ]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=60)


def _picture(page: Page, height: int) -> bytes:
    """The top of the page as WebP, which Playwright itself does not write."""
    browser = page.context.new_cdp_session(page)
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
    asked = {"format": "webp", "quality": QUALITY, "clip": clip, "captureBeyondViewport": True}
    return base64.b64decode(browser.send("Page.captureScreenshot", asked)["data"])


def _is_accounted(steps: list[dict[str, Any]]) -> bool:
    return any(step["step"] == "accounted" and step["is_done"] for step in steps)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _get(url: str) -> Any:
    with urlopen(url, timeout=30) as answer:
        return json.load(answer)


def _post(url: str, body: dict[str, Any]) -> None:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        answer.read()


def _eventually(condition: Callable[[], object]) -> None:
    """Waits until the servers answer, and what they answer is so."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except URLError:
            pass
        time.sleep(1)
    raise TimeoutError("the servers did not get so far")


if __name__ == "__main__":
    main()
