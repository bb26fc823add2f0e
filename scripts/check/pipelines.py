"""Check the examples of contrib/pipelines, the release workflow and action.yml with the parsers and schemas of the
programs that read them, without a network.

    python scripts/check/pipelines.py [--run] [--wheel WHEEL]

Workflows and the action are checked with check-jsonschema's built-in schemas, the Job with the JSON schema of
Kubernetes 1.33 (in which unknown keys are errors), the array job with `bash -n`, the Snakefile by a dry run over two
adapters of fixtures/pico. With --run Snakemake slims and verifies these. With --wheel, the steps of the action run
with that wheel: once as they should, and once with a gate that fails.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY, FIXTURES, ROOT

PIPELINES = ROOT / "contrib" / "pipelines"
PICO = FIXTURES / "pico"
KUBERNETES = "1.33"


def call(*words, **options):
    """Run a command of this Python's environment, or of the system."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **options.pop("env", {})}
    subprocess.run([str(word) for word in words], check=True, env=environment, **options)


def check_workflows():
    for path in [PIPELINES / "github-actions.yml", ROOT / ".github" / "workflows" / "release.yml"]:
        call("check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job["steps"]:
                call("bash", "-n", "-c", step.get("run", ""))


def check_action():
    call("check-jsonschema", "--builtin-schema", "vendor.github-actions", ROOT / "action.yml")
    for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]:
        call("bash", "-n", "-c", step["run"])


def run_action(folder, **given):
    """Run the steps of the action as GitHub does. Returns the exit code, the outputs and the summary."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    inputs = {name: given.get(name, about.get("default", "")) for name, about in action["inputs"].items()}
    files = {name: folder / name for name in ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"]}
    for path in files.values():
        path.write_text("")
    code = 0
    for step in action["runs"]["steps"]:
        values = {name: inputs[re.fullmatch(r"\${{ inputs\.(.*) }}", text)[1]] for name, text in step["env"].items()}
        environment = {**os.environ, **values, **files, "RUNNER_TEMP": folder, "GITHUB_ACTION_PATH": ROOT}
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        code = code or subprocess.run(words, cwd=folder, env={k: str(v) for k, v in environment.items()}).returncode
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return code, outputs, files["GITHUB_STEP_SUMMARY"].read_text()


def check_run_of_action(wheel):
    case = PICO / "llama-llama3-rope"
    given = dict(adapter=case / "adapter", base=case / "base", samples=PICO / "samples.tokens.jsonl", package=wheel)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        code, outputs, summary = run_action(folder, **given, flags="--boundary 3\n--require-saving 20%")
        assert code == 0 and outputs["exit-code"] == "0" and (folder / "slimmed" / "adapter_config.json").is_file()
        assert Path(outputs["page"]).is_file() and "- gate require-saving passed" in summary, summary
        refused = dict(flags="--boundary 3 --require-saving 90%", output="refused")
        code, outputs, summary = run_action(folder, **given, **refused)
        assert code == 6 and outputs["exit-code"] == "6" and not (folder / "refused").exists()
        assert "- gate require-saving FAILED" in summary, summary


def check_archive():
    """What the release packs is where `cargo binstall` looks for it."""
    words = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--manifest-path", ROOT / "Cargo.toml"]
    packages = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["packages"]
    binstall = next(package["metadata"]["binstall"] for package in packages if package["name"] == "lora-slim")
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["programs"]["steps"]
    pack = next(step["run"] for step in steps if step.get("name") == "pack")
    name = "lora-slim-x86_64-unknown-linux-gnu"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"]:
            shutil.copy(ROOT / file, folder)
        (folder / "target" / "release").mkdir(parents=True)
        shutil.copy(BINARY, folder / "target" / "release")
        call("bash", "-eo", "pipefail", "-c", pack, cwd=folder, env={"NAME": name})
        fields = {"target": name.removeprefix("lora-slim-"), "bin": "lora-slim", "binary-ext": "", "version": "1"}
        filled = {
            key: re.sub(r"\{ ([\w-]+) \}", lambda field: fields.get(field[1], field[0]), text)
            for key, text in binstall.items()
        }
        archive = folder / Path(filled["pkg-url"]).name
        with tarfile.open(archive) as packed:
            members = packed.getnames()
    shells = [f"completions/lora-slim.{shell}" for shell in ["bash", "zsh", "fish", "powershell", "elvish"]]
    for path in [filled["bin-dir"], *(f"{name}/{file}" for file in ["lora-slim.1", "README.md", *shells])]:
        assert path in members, (path, members)


def check_job():
    job = yaml.safe_load((PIPELINES / "kubernetes.yaml").read_text())
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    # What the schema does not know, and the server refuses.
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed" and spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["maxFailedIndexes"] <= spec["completions"]
    names = {container["name"] for container in spec["template"]["spec"]["containers"]}
    seen = set()
    for rule in spec["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes", {"containerName": next(iter(names)), "values": []})
        assert codes["containerName"] in names and 0 not in codes["values"]
        assert codes["values"] == sorted(codes["values"]) and seen.isdisjoint(codes["values"])
        seen.update(codes["values"])
    partition = next(word for word in spec["template"]["spec"]["containers"][0]["command"] if word.startswith("hash:"))
    assert partition == f"hash:JOB_COMPLETION_INDEX/{spec['completions']}"


def check_array_job():
    call("bash", "-n", PIPELINES / "slurm.sh")


def check_snakefile(run):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in ["one", "two"]:
            shutil.copytree(PICO / "llama-llama3-rope" / "adapter", folder / "adapters" / name)
        shutil.copy(PICO / "samples.tokens.jsonl", folder / "val.jsonl")
        base = PICO / "llama-llama3-rope" / "base"
        (folder / "lora-slim.toml").write_text(f"base = '{base}'\nboundary = 3\nrequire-saving = '20%'\n")
        mode = ["--cores", "2"] if run else ["--dry-run"]
        path = {"PATH": os.pathsep.join([str(BINARY.parent), str(Path(sys.executable).parent), os.environ["PATH"]])}
        command = ["snakemake", "--snakefile", PIPELINES / "Snakefile", "--directory", folder, "--quiet", "all", *mode]
        call(*command, env=path)
        if run:
            for name in ["one", "two"]:
                verified = yaml.safe_load((folder / "verified" / f"{name}.json").read_text())
                assert verified["verified"] and verified["kept_layers"] == [0, 1, 2], verified


def main():
    parser = argparse.ArgumentParser(description="Check the examples of contrib/pipelines.")
    parser.add_argument("--run", action="store_true", help="run the Snakefile, too")
    parser.add_argument("--wheel", type=Path, help="run the action with this wheel")
    arguments = parser.parse_args()
    run, wheel = arguments.run, arguments.wheel
    for check in [check_workflows, check_action, check_job, check_array_job]:
        check()
        print(f"{check.__name__}: ok")
    if run:
        check_archive()
        print("check_archive: ok")
    if wheel:
        check_run_of_action(wheel.resolve())
        print("check_run_of_action: ok")
    check_snakefile(run)
    print(f"check_snakefile: ok{', run' if run else ''}")


if __name__ == "__main__":
    main()
