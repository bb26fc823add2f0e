"""Open a page of `lora-slim … --report` in headless Chromium and check what only a browser can tell.

    lora-slim scan ADAPTER --base BASE --samples val.jsonl --json --report page.html > report.json
    python scripts/check/page.py page.html report.json [--screenshots FOLDER]
    python scripts/check/page.py index.html          # the page of a batch or of `compare`, which has no such JSON

On wide and narrow screens, in light and dark and in print: no request but for the page itself, nothing on the console,
nothing wider than the screen, no texts over each other in the drawings, sufficient contrast (WCAG AA), the numbers of
the JSON, drawings that can be read with the keyboard, buttons that copy with and without the clipboard's interface, and
files of tables with the numbers of the JSON; of a batch, that all rows can be reached. It prints how long the page took
until it was drawn. Needs no package; without Chromium it says so and checks nothing.
"""

import argparse
import base64
import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
WIDTHS = [1280, 390, 360]
THEMES = ["light", "dark"]
LEAST_CONTRAST = 4.5

# Functions that run in the page; each item of what they return is a complaint.
OVERFLOW = """() => [...document.querySelectorAll("body, body *")].filter(element =>
    !element.closest(".scroll, svg") && element.getBoundingClientRect().right > innerWidth + 0.5
).map(element => `${element.tagName} ${element.className} is wider than the screen`)"""

OVERLAP = """() => [...document.querySelectorAll("figure > svg")].filter(
    svg => svg.getClientRects().length
).flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    const words = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    const outside = words.filter(([, box]) => box.left < frame.left - 0.5 || box.right > frame.right + 0.5
        || box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5).map(([text]) => `"${text}" is cut off`);
    const over = words.flatMap(([one, a], index) => words.slice(index + 1).filter(([, b]) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2.5
    ).map(([other]) => `"${one}" overlaps "${other}"`));
    return [...outside, ...over];
})"""

CONTRAST = """least => {
    const numbers = color => color.match(/[\\d.]+/g).map(Number);
    const light = color => numbers(color).slice(0, 3).map(value => value / 255)
        .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = element => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            if (numbers(color)[3] !== 0) return color;
        }
        return "rgb(255, 255, 255)";
    };
    const holds = element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    return [...document.querySelectorAll("body *")].filter(element => holds(element)
            && element.getClientRects().length && !element.closest("script, title")).flatMap(element => {
        const style = getComputedStyle(element);
        const [one, other] = [light(element.closest("svg") ? style.fill : style.color), light(ground(element))];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        return ratio < least ? [`"${element.textContent.slice(0, 30)}" has a contrast of ${ratio.toFixed(2)}`] : [];
    });
}"""

NUMBERS = """id => [...document.querySelectorAll(`#${id} data`)].map(data => [data.value, data.textContent])"""

KEYBOARD = """() => [...document.querySelectorAll("figure > svg")].filter(
    svg => svg.getClientRects().length
).flatMap(svg => {
    const readout = svg.closest("figure").querySelector(".readout");
    svg.focus();
    svg.dispatchEvent(new KeyboardEvent("keydown", {key: "Home"}));
    const first = readout.textContent;
    svg.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
    const next = readout.textContent;
    svg.blur();
    const name = svg.getAttribute("aria-label");
    return first && next && first !== next ? [] : ["the arrow keys do not step through " + name];
})"""

# With the clipboard's interface, and without it, where what is to be copied is selected.
COPY = """async () => {
    const complaints = [];
    for (const without of [false, true]) {
        if (without) navigator.clipboard.writeText = () => Promise.reject();
        for (const copyable of document.querySelectorAll(".copyable")) {
            const [button, text] = [copyable.querySelector("button"), copyable.querySelector("code").textContent];
            button.click();
            await new Promise(resolve => setTimeout(resolve, 200));
            if (button.textContent !== "Copied") complaints.push(`${button.ariaLabel}: ${button.textContent}`);
            const copied = without ? getSelection().toString() : await navigator.clipboard.readText();
            if (copied.trim() !== text.trim()) complaints.push(`"${copied}" was copied instead of "${text}"`);
        }
    }
    getSelection().removeAllRanges();
    return complaints;
}"""

# The files that the buttons make, by what the buttons say.
FILES = """async () => {
    const [make, blobs] = [URL.createObjectURL, []];
    URL.createObjectURL = blob => (blobs.push(blob), make.call(URL, blob));
    const buttons = [...document.querySelectorAll(".tools .tool")];
    buttons.forEach(button => button.click());
    URL.createObjectURL = make;
    const texts = await Promise.all(blobs.map(blob => blob.text()));
    return buttons.map((button, index) => [button.ariaLabel, texts[index]]);
}"""

# Searches and sorts a batch's table, and scrolls to its end.
ROWS = """async () => {
    const table = document.querySelector("table.sortable");
    if (!table) return [];
    const [body, search] = [table.tBodies[0], document.querySelector("#filters input")];
    const data = JSON.parse(document.querySelector("#rows")?.textContent ?? "null");
    const all = data?.rows.length ?? body.rows.length;
    const name = data?.rows.at(-1)[0] ?? body.rows[all - 1].cells[0].textContent;
    const complaints = [];
    const find = text => {
        const begin = performance.now();
        search.value = text;
        search.dispatchEvent(new Event("input"));
        const took = performance.now() - begin;
        if (took > 500) complaints.push(`the search takes ${took} ms`);
    };
    find(name);
    if (body.rows[0]?.cells[0].textContent !== name) complaints.push("the search does not find the last row");
    find("");
    const number = row => Number(row.cells[3]?.querySelector("data")?.value ?? Infinity);
    table.tHead.rows[0].cells[3]?.querySelector("button").click();
    const numbers = [...body.rows].slice(0, 50).map(number);
    if (numbers.some((one, index) => one < numbers[index - 1])) complaints.push("sorting does not sort");
    for (let tries = 0; tries < 400 && body.rows.length < all; tries += 1) {
        scrollTo(0, document.body.scrollHeight);
        await new Promise(resolve => setTimeout(resolve, 50));
    }
    if (body.rows.length !== all) complaints.push(`${body.rows.length} of ${all} rows can be reached`);
    scrollTo(0, 0);
    return complaints;
}"""

# Milliseconds until the document was read and drawn.
TIMES = """async () => {
    await new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    const [load] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? performance.now();
    return [Math.round(paint), Math.round(load.loadEventStart)];
}"""

PRINTED = """() => [...document.querySelectorAll("details table")].filter(table => !table.checkVisibility())
    .map(() => "a folded table is not printed")"""


class Browser:
    """Chromium, driven over its debugging pipe."""

    def __init__(self, program: str, home: str):
        reads, self.to_browser = os.pipe()
        self.from_browser, writes = os.pipe()
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={home}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--hide-scrollbars",
            "about:blank",
        ]
        shell = ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "bash", program, *options]
        self.process = subprocess.Popen(shell, pass_fds=(reads, writes), stderr=subprocess.DEVNULL)
        os.close(reads)
        os.close(writes)
        self.numbers, self.buffer, self.events, self.session = itertools.count(1), b"", [], None

    def call(self, method: str, **parameters):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == number:
                if "error" in answer:
                    sys.exit(f"error: {method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def read(self):
        while b"\0" not in self.buffer:
            more = os.read(self.from_browser, 1 << 16)
            if not more:
                sys.exit("error: Chromium went away")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, url: str) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Network", "Runtime", "Log"]:
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def ask(self, function: str, *arguments):
        expression = f"({function})({', '.join(map(json.dumps, arguments))})"
        settings = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=expression, **settings)
        if "exceptionDetails" in answer:
            sys.exit(f"error: {answer['exceptionDetails']}")
        return answer["result"]["value"]

    def show(self, width: int, media: str, theme: str) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 640
        )
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def screenshot(self, path: Path) -> None:
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def pdf(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"]))

    def close(self) -> None:
        self.session = None
        self.call("Browser.close")
        self.process.wait(timeout=30)


def shown(text: str) -> float:
    """The number that a reader sees, without its unit."""
    return float(text.replace("−", "-").split()[0])


def compare(where: str, page: list, wanted: list) -> list[str]:
    """Complaints about numbers of the page, in full or as shown, that are not those of the JSON."""
    wanted = [value for value in wanted if value is not None]
    values = [float(value) for value, _ in page]
    if values != wanted:
        return [f"{where}: the page has {values}, the JSON {wanted}"]
    complaints = []
    for value, (_, text) in zip(wanted, page):
        if text.endswith(("B", "%")):
            units = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "%": 0.01}
            unit = units[text.split()[1]]
            fits = abs(shown(text) * unit - value) <= 0.0501 * unit
        else:
            fits = abs(shown(text) - value) <= 0.5001e-4
        complaints += [] if fits else [f"{where}: {value} is shown as {text}"]
    return complaints


def in_order_of_page(report: dict) -> dict[str, list]:
    """The numbers of the JSON, by the part of the page that shows them."""
    rows = {
        point["boundary"]: [
            point["loss"],
            point["gain_kept"],
            point["difference"],
            point["difference_at_most"],
            point["bytes"],
        ]
        for point in report["curve"]
    }
    rows |= {point["boundary"]: [point.get("difference")] for point in report.get("dropped", [])}
    changed = report.get("changed", [])
    worse = [sample for sample in changed if sample["difference"] > 0]
    samples = worse + [sample for sample in reversed(changed) if sample["difference"] <= 0]
    return {
        "boundaries": [value for boundary in sorted(rows) for value in rows[boundary]],
        "layers": [layer[field] for layer in report.get("layers", []) for field in ["norm", "bytes"]],
        "samples": [sample[field] for sample in samples for field in ["whole", "chosen", "difference"]],
    }


def noise(events: list[dict], page: str) -> list[str]:
    """Complaints about requests and about messages on the console."""
    complaints = []
    for event in events:
        method, details = event.get("method"), event.get("params", {})
        is_own = page == (url := details.get("request", {}).get("url", page)) or url.startswith("blob:")
        if method == "Network.requestWillBeSent" and not is_own:
            complaints.append(f"asks for {details['request']['url']}")
        elif method in ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"]:
            complaints.append(f"console: {json.dumps(details)[:300]}")
    return complaints


def saved_files(browser: Browser, report: dict) -> list[str]:
    """Complaints about the files that the page makes of its tables."""
    files, complaints = dict(browser.ask(FILES)), []
    for label, text in files.items():
        if label.endswith("as CSV"):
            rows = list(csv.reader(text.splitlines()))
            if len(rows) < 2 or len({len(row) for row in rows}) != 1:
                complaints.append(f"{label}: no table")
    table = list(csv.reader(files.get("Save all boundaries as CSV", "").splitlines()))[1:]
    losses = [float(row[1]) for row in table if row[0].split()[-1].isdigit() and row[1][:1].isdigit()]
    wanted = [point["loss"] for point in report.get("curve", [])]
    if table and not set(wanted) <= set(losses):
        complaints.append(f"the file of the boundaries has {losses}, the JSON {wanted}")
    markdown = files.get("Save the tables of this page as Markdown", "")
    if files and not markdown.startswith("# "):
        complaints.append("the Markdown has no heading")
    return complaints


def check(browser: Browser, page: Path, report: dict, screenshots: Path) -> list[str]:
    url = page.resolve().as_uri()
    browser.open(url)
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    browser.call("Browser.setDownloadBehavior", behavior="deny")
    drawn, complete = browser.ask(TIMES)
    print(f"{page}: {page.stat().st_size} bytes, drawn after {drawn} ms, complete after {complete} ms")
    complaints = []
    for width, theme in itertools.product(WIDTHS, THEMES):
        browser.show(width, "screen", theme)
        found = browser.ask(OVERFLOW) + browser.ask(OVERLAP) + browser.ask(CONTRAST, LEAST_CONTRAST)
        found += browser.ask(KEYBOARD)
        complaints += [f"{width} px, {theme}: {complaint}" for complaint in found]
        if screenshots:
            browser.screenshot(screenshots / f"{page.stem}-{width}-{theme}.png")
    for part, wanted in in_order_of_page(report).items() if report else []:
        complaints += compare(part, browser.ask(NUMBERS, part), wanted)
    complaints += browser.ask(COPY) + saved_files(browser, report) + browser.ask(ROWS)
    browser.show(700, "print", "dark")
    complaints += [f"print: {complaint}" for complaint in browser.ask(PRINTED) + browser.ask(CONTRAST, LEAST_CONTRAST)]
    if screenshots:
        browser.pdf(screenshots / f"{page.stem}.pdf")
    return complaints + noise(browser.events, url)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("report", type=Path, nargs="?")
    parser.add_argument("--screenshots", type=Path)
    arguments = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        print(f"skipped: none of {', '.join(BROWSERS)} is installed")
        return
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    report = json.loads(arguments.report.read_text()) if arguments.report else {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        browser = Browser(program, home)
        try:
            complaints = check(browser, arguments.page, report, arguments.screenshots)
        finally:
            browser.close()
    print(
        "\n".join(complaints) or f"{arguments.page}: good on {len(WIDTHS)} widths, in {len(THEMES)} themes and in print"
    )
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
