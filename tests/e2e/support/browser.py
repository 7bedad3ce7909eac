"""Debian's Chromium without a window, told what to do by its own debugging protocol.

A driver would bring a server and a library of its own; the protocol is JSON over a WebSocket, for which aiohttp is
here already. See https://chromedevtools.github.io/devtools-protocol/.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from support.server import stop_process
from support.wait import wait_for

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One browser with one page, and everything that the page did."""

    def __init__(self) -> None:
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        assert program, "there is no Chromium; tests/e2e/install-tools installs Debian's"
        self.profile = tempfile.TemporaryDirectory(prefix="tallyd-chromium-", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.loop = asyncio.new_event_loop()
        self.events: list[dict[str, Any]] = []
        self.answers: dict[int, asyncio.Future] = {}
        self.last_id = 0
        port_file = Path(self.profile.name) / "DevToolsActivePort"
        port = wait_for("Chromium's port", lambda: port_file.exists() and port_file.read_text().split(), 30)[0]
        self.loop.run_until_complete(self._connect(int(port)))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser."""
        self.loop.run_until_complete(self._disconnect())
        self.loop.close()
        stop_process(self.process)
        self.profile.cleanup()

    async def _connect(self, port: int) -> None:
        self.session = aiohttp.ClientSession()
        async with self.session.get(f"http://127.0.0.1:{port}/json/list") as reply:
            pages = [target for target in await reply.json() if target["type"] == "page"]
        self.socket = await self.session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        self.reader = asyncio.ensure_future(self._read())

    async def _disconnect(self) -> None:
        self.reader.cancel()
        await self.socket.close()
        await self.session.close()

    async def _read(self) -> None:
        async for message in self.socket:
            told = json.loads(message.data)
            if "id" in told:
                self.answers.pop(told["id"]).set_result(told)
            else:
                self.events.append(told)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of the protocol and waits for its answer."""

        async def ask() -> dict[str, Any]:
            self.last_id += 1
            self.answers[self.last_id] = answer = self.loop.create_future()
            await self.socket.send_json({"id": self.last_id, "method": method, "params": params})
            return await asyncio.wait_for(answer, 30)

        told = self.loop.run_until_complete(ask())
        assert "error" not in told, f"{method}: {told}"
        return told["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def open(self, url: str) -> None:
        """Goes to a page and waits until it has loaded."""
        seen = len(self.events)
        self.call("Page.navigate", url=url)
        self.wait(f"{url} to load", lambda: self.saw("Page.loadEventFired", seen))

    def wait(self, what: str, probe: Callable[[], Any], seconds: float = 20) -> Any:
        """Waits for a condition while the browser's messages are read."""

        def ask() -> Any:
            self.loop.run_until_complete(asyncio.sleep(0.01))
            return probe()

        return wait_for(what, ask, seconds)

    def saw(self, method: str, since: int = 0) -> list[dict[str, Any]]:
        """The events of a kind so far."""
        return [event["params"] for event in self.events[since:] if event["method"] == method]

    def complaints(self) -> list[Any]:
        """Errors and warnings of the console, exceptions and dialogs."""
        logged = [entry["entry"] for entry in self.saw("Log.entryAdded")]
        called = [call for call in self.saw("Runtime.consoleAPICalled") if call["type"] in ("error", "warning")]
        raised = self.saw("Runtime.exceptionThrown") + self.saw("Page.javascriptDialogOpening")
        return [entry for entry in logged if entry["level"] in ("error", "warning")] + called + raised

    def requests(self) -> set[str]:
        """All addresses that were asked for something."""
        return {sent["request"]["url"] for sent in self.saw("Network.requestWillBeSent")}

    def resize(self, width: int, height: int = 800) -> None:
        """Makes the window as wide as a screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, scheme: str) -> None:
        """Makes the visitor prefer `light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key: str, code: int) -> None:
        """Presses a key."""
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Types into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        """Writes what is seen of the page."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
