#!/bin/bash
# Slims a folder of adapters with eight tasks, each of which takes its part of them: sbatch slurm.sh
# In the folder that it is submitted from: adapters/, val.jsonl and, if you like, a lora-slim.toml.
#SBATCH --job-name=lora-slim
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=lora-slim-%A_%a.log
set -u

code=0
lora-slim batch adapters -o slimmed --partition hash:SLURM_ARRAY_TASK_ID/SLURM_ARRAY_TASK_COUNT \
    --samples val.jsonl --chat --require-saving 20% --max-loss-increase 0.5% || code=$?

# Code 4, reading or writing, may work later: once more, twice at most. All other codes stay what they are.
if [ "$code" -eq 4 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 2 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    sleep 60
fi
exit "$code"
