"""Check the examples of contrib/pipelines with the parsers and schemas of the programs that read them, without a
network.

    python scripts/check/pipelines.py [--run]

The workflow is checked with check-jsonschema's built-in schema of GitHub workflows, the Job with the JSON schema of
Kubernetes 1.33 (in which unknown keys are errors), the array job with `bash -n`, the Snakefile by a dry run over two
adapters of fixtures/pico. With --run Snakemake slims and verifies these.
"""

import argparse
import os
import shutil
import subprocess
import sys
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


def check_workflow():
    call("check-jsonschema", "--builtin-schema", "vendor.github-workflows", PIPELINES / "github-actions.yml")
    workflow = yaml.safe_load((PIPELINES / "github-actions.yml").read_text())
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            call("bash", "-n", "-c", step.get("run", ""))


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
    run = parser.parse_args().run
    for check in [check_workflow, check_job, check_array_job]:
        check()
        print(f"{check.__name__}: ok")
    check_snakefile(run)
    print(f"check_snakefile: ok{', run' if run else ''}")


if __name__ == "__main__":
    main()
