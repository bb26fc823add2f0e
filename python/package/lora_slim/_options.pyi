"""The options of the functions. Written by python/make_stubs.py from the flags of the program."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias
from typing_extensions import TypedDict

Value: TypeAlias = str | int | float | os.PathLike[str]
Samples: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Iterable[Mapping[str, Any]] | Any


class SlimOptions(TypedDict, total=False):
    stack: Value | None
    """Layer stack of the text decoder if the adapter has several, for example model.text_model.layers"""
    split: Value | None
    """Split to read of a data set that has several, for example validation"""
    chat: bool | None
    """Run prompts and completions through the model's chat template"""
    tokenizer: Value | None
    """Tokenizer folder or tokenizer.json [default: the adapter's, else the base model's]"""
    chat_template: Value | None
    """Chat template, a Jinja file, that replaces the model's own: for example the one of a training, which marks the assistant's turns with `{% generation %}`"""
    date: Value | None
    """Day that a chat template gives for today [default: 2024-07-26]"""
    assistant_only: bool | None
    """Score the assistant's turns only, also in completions of several turns (TRL's `assistant_only_loss`) [default: completions, and the assistant's turns in conversations]"""
    all_turns: bool | None
    """Score prompts and the turns of all roles, too, as TRL does by default in conversations"""
    prompt_field: Value | None
    """Field that holds the prompt"""
    completion_field: Value | None
    """Field that holds the completion"""
    own_answers: bool | None
    """Score what the whole adapter answers, greedily, in place of the answers of --samples, which may be prompts alone: the choice then keeps what the adapter does, right or wrong"""
    slice_by: Value | None
    """Field by which samples are sliced, for example domain: what is dropped has to keep the margin in each slice; all boundaries are evaluated then"""
    max_samples: Value | None
    """Use only the first N of --samples"""
    holdout: Value | None
    """Hold out this share of the samples to check the choice, for example 0.3 or 30%. They are drawn at random, and do not choose."""
    test: Samples | None
    """Samples that check the choice, in their own file, which is read like those of --samples"""
    truncate: bool | None
    """Cut samples that are longer than the model's context"""
    choose: Literal["smallest", "best", "curve"] | None
    """Rule that chooses the boundary [default: smallest]"""
    loss_only: bool | None
    """Judge by the loss alone. Otherwise no rule gives up more than the margin of the probability of the true tokens, which the loss does not show: an adapter that is less sure can have a lower loss and answer worse"""
    no_guard: bool | None
    """Let the measure of `--by` decide alone, without the guard of the probability of the true tokens"""
    margin: Value | None
    """Share of the adapter's gain over the base model that may be given up, for example 0.02 or 2%. In loss (`smallest`) and in the probability of the true tokens (every rule). [default: 2%]"""
    confidence: Value | None
    """One-sided confidence that no more than the margin is given up, from 0.5, for example 0.99 or 99% [default: 95%]"""
    one_standard_error: bool | None
    """With `--choose best`: take the smallest boundary within one standard error of the lowest loss; all boundaries are evaluated then"""
    probability: bool | None
    """Also measure the probability curve, as `--choose curve` does: the probability of the true tokens after each layer, read through the final norm and the head"""
    boundary: Value | None
    """Choose this boundary yourself: keep the layers below N"""
    max_layers: Value | None
    """Keep at most N layers"""
    max_bytes: Value | None
    """Keep at most this many bytes of tensors, for example 5MB"""
    scale: Value | None
    """Scale the kept layers by this number, or by the best one on the samples (`tune`), through alpha"""
    controls: bool | None
    """Compare with other ways to reduce the adapter: a smaller scale, the highest layers, random layers, and the layers with the largest changes"""
    search: Literal["adaptive", "exhaustive", "window", "subset", "blocks"] | None
    """How to find the boundary [default: `adaptive` for slim, `exhaustive` for scan]. Always `exhaustive` with limits and with --one-standard-error."""
    by: Literal["loss", "accuracy", "exact-match", "f1", "rouge-l", "bleu", "chrf", "scorer"] | None
    """Measure that the rule judges boundaries by: of the true tokens (loss, accuracy: how many greedy decoding gets right), or of generated answers, at the boundaries that the guard leaves [default: loss]"""
    scorer: Value | None
    """Program that scores answers, a command line of the shell: it reads a JSON object a line, with prompt, reference, answer and line, and writes a number a line, the higher the better"""
    scorer_limit: Value | None
    """With --scorer: the seconds that it may take for an answer [default: 60]"""
    metric: Literal["exact-match", "f1", "rouge-l", "bleu", "chrf"] | Iterable[Literal["exact-match", "f1", "rouge-l", "bleu", "chrf"]] | None
    """Also generate answers and score them; the scores do not choose. At the chosen boundary, the two lowest losses, for the base model and the whole adapter; on held-out samples if there are any."""
    stop: Value | Iterable[Value] | None
    """With --metric or --by: text that ends an answer where it is served, for example \\n; repeat it for several"""
    ignore_end: bool | None
    """Do not score the tokens that end answers, for an adapter that is served with --stop"""
    answers_at: Value | None
    """With --metric or --by: also score the answers at these boundaries, for example 0,16-30"""
    max_new_tokens: Value | None
    """With --metric, --by or --own-answers: the most tokens of an answer [default: 128; with --by half as many again as the longest reference has, but no more than that]"""
    with_texts: bool | None
    """With --metric or --by: write the generated answers into the JSON report"""
    minimize: Literal["bytes", "loss"] | None
    """Look for the fewest bytes that are surely as good, or for the lowest loss within --max-bytes. Any modules may be dropped, and the rank of each is reduced to what the samples need. In bf16, unless --dtype says otherwise. With --search exhaustive, sizes far from the smallest are measured too."""
    same_rank: bool | None
    """Keep all modules at one rank with --minimize, for runtimes that know no other"""
    memory: Value | None
    """Memory for the sweep, for example 700MB [default: 4GiB]"""
    device: Value | None
    """Where to compute: cpu, cuda, cuda:N or metal, if this build supports it [default: cpu]"""
    precision: Literal["auto", "f32", "bf16x2", "bf16"] | None
    """Arithmetic of matrix products; sums are always f32, and on devices other than the cpu so is everything [default: auto]"""
    dead_weight: bool | None
    """Leave out what changes nothing: embeddings and heads as in the base model (or all their rows but a few), modules whose change is zero, copies, and types wider than their values; the result is the same to the last digit"""
    rank: Value | None
    """Then reduce each module's rank by a singular value decomposition: to N, to what keeps a share of ‖ΔW‖² (energy:0.99), to singular values above the largest / N (ratio:10), or to the least of several (energy:0.99,16)"""
    dtype: Literal["bf16", "f16", "f32", "q8_0"] | None
    """Then store all floating tensors in this type"""
    require_saving: Value | None
    """Gate: at least this share of the bytes of tensors is saved, for example 0.2 or 20%"""
    max_loss_increase: Value | None
    """Gate: the loss of what is written is at most this share above the whole adapter's, for example 0.005 or 0.5%; on held-out samples if there are any"""
    min_samples: Value | None
    """Gate: at least N different samples choose; held-out ones are not counted, and those that repeat others count once"""
    min_gain: Value | None
    """Gate: the loss of what is written is at least this share below the base model's, for example 0.1 or 10%; on held-out samples if there are any"""
    better_than_base: bool | Value | None
    """Gate: with `--confidence`, the loss of what is written is below the base model's, by more than NATS per token if it is given; on held-out samples if there are any"""
    report: Value | None
    """Also write the result as an HTML page, which quotes a few samples"""
    portable: bool | None
    """Write plain LoRA with one rank and one alpha: rsLoRA, rank and alpha patterns go into lora_B, and ΔW stays the same"""
    pad_zeros: bool | Value | None
    """Write zeros for the dropped layers, too, as LoRAX, TGI and S-LoRA want it; with a number, for all layers of a base model that has so many"""
    format: Literal["peft", "gguf", "mlx"] | None
    """Format to write; gguf and mlx take names and sizes from the base model's configuration [default: peft]"""
    for_: Value | Iterable[Value] | None
    """Write nothing that one of these runtimes would not load, for example vllm,llama.cpp. Nor what it would compute differently. It is refused before any work. `lora-slim check` names all runtimes."""
    no_card: bool | None
    """Leave README.md and the header of the weights without what the adapter was made of, and what was measured"""
    force: bool | None
    """Replace OUT if it is an adapter folder, and the file of `--report` if it is a report"""
    offline: bool | None
    """Open no connection: take adapters and base models from this machine alone, as with HF_HUB_OFFLINE=1"""

class ScanOptions(TypedDict, total=False):
    stack: Value | None
    """Layer stack of the text decoder if the adapter has several, for example model.text_model.layers"""
    split: Value | None
    """Split to read of a data set that has several, for example validation"""
    chat: bool | None
    """Run prompts and completions through the model's chat template"""
    tokenizer: Value | None
    """Tokenizer folder or tokenizer.json [default: the adapter's, else the base model's]"""
    chat_template: Value | None
    """Chat template, a Jinja file, that replaces the model's own: for example the one of a training, which marks the assistant's turns with `{% generation %}`"""
    date: Value | None
    """Day that a chat template gives for today [default: 2024-07-26]"""
    assistant_only: bool | None
    """Score the assistant's turns only, also in completions of several turns (TRL's `assistant_only_loss`) [default: completions, and the assistant's turns in conversations]"""
    all_turns: bool | None
    """Score prompts and the turns of all roles, too, as TRL does by default in conversations"""
    prompt_field: Value | None
    """Field that holds the prompt"""
    completion_field: Value | None
    """Field that holds the completion"""
    own_answers: bool | None
    """Score what the whole adapter answers, greedily, in place of the answers of --samples, which may be prompts alone: the choice then keeps what the adapter does, right or wrong"""
    slice_by: Value | None
    """Field by which samples are sliced, for example domain: what is dropped has to keep the margin in each slice; all boundaries are evaluated then"""
    max_samples: Value | None
    """Use only the first N of --samples"""
    holdout: Value | None
    """Hold out this share of the samples to check the choice, for example 0.3 or 30%. They are drawn at random, and do not choose."""
    test: Samples | None
    """Samples that check the choice, in their own file, which is read like those of --samples"""
    truncate: bool | None
    """Cut samples that are longer than the model's context"""
    choose: Literal["smallest", "best", "curve"] | None
    """Rule that chooses the boundary [default: smallest]"""
    loss_only: bool | None
    """Judge by the loss alone. Otherwise no rule gives up more than the margin of the probability of the true tokens, which the loss does not show: an adapter that is less sure can have a lower loss and answer worse"""
    no_guard: bool | None
    """Let the measure of `--by` decide alone, without the guard of the probability of the true tokens"""
    margin: Value | None
    """Share of the adapter's gain over the base model that may be given up, for example 0.02 or 2%. In loss (`smallest`) and in the probability of the true tokens (every rule). [default: 2%]"""
    confidence: Value | None
    """One-sided confidence that no more than the margin is given up, from 0.5, for example 0.99 or 99% [default: 95%]"""
    one_standard_error: bool | None
    """With `--choose best`: take the smallest boundary within one standard error of the lowest loss; all boundaries are evaluated then"""
    probability: bool | None
    """Also measure the probability curve, as `--choose curve` does: the probability of the true tokens after each layer, read through the final norm and the head"""
    boundary: Value | None
    """Choose this boundary yourself: keep the layers below N"""
    max_layers: Value | None
    """Keep at most N layers"""
    max_bytes: Value | None
    """Keep at most this many bytes of tensors, for example 5MB"""
    scale: Value | None
    """Scale the kept layers by this number, or by the best one on the samples (`tune`), through alpha"""
    controls: bool | None
    """Compare with other ways to reduce the adapter: a smaller scale, the highest layers, random layers, and the layers with the largest changes"""
    search: Literal["adaptive", "exhaustive", "window", "subset", "blocks"] | None
    """How to find the boundary [default: `adaptive` for slim, `exhaustive` for scan]. Always `exhaustive` with limits and with --one-standard-error."""
    by: Literal["loss", "accuracy", "exact-match", "f1", "rouge-l", "bleu", "chrf", "scorer"] | None
    """Measure that the rule judges boundaries by: of the true tokens (loss, accuracy: how many greedy decoding gets right), or of generated answers, at the boundaries that the guard leaves [default: loss]"""
    scorer: Value | None
    """Program that scores answers, a command line of the shell: it reads a JSON object a line, with prompt, reference, answer and line, and writes a number a line, the higher the better"""
    scorer_limit: Value | None
    """With --scorer: the seconds that it may take for an answer [default: 60]"""
    metric: Literal["exact-match", "f1", "rouge-l", "bleu", "chrf"] | Iterable[Literal["exact-match", "f1", "rouge-l", "bleu", "chrf"]] | None
    """Also generate answers and score them; the scores do not choose. At the chosen boundary, the two lowest losses, for the base model and the whole adapter; on held-out samples if there are any."""
    stop: Value | Iterable[Value] | None
    """With --metric or --by: text that ends an answer where it is served, for example \\n; repeat it for several"""
    ignore_end: bool | None
    """Do not score the tokens that end answers, for an adapter that is served with --stop"""
    answers_at: Value | None
    """With --metric or --by: also score the answers at these boundaries, for example 0,16-30"""
    max_new_tokens: Value | None
    """With --metric, --by or --own-answers: the most tokens of an answer [default: 128; with --by half as many again as the longest reference has, but no more than that]"""
    with_texts: bool | None
    """With --metric or --by: write the generated answers into the JSON report"""
    minimize: Literal["bytes", "loss"] | None
    """Look for the fewest bytes that are surely as good, or for the lowest loss within --max-bytes. Any modules may be dropped, and the rank of each is reduced to what the samples need. In bf16, unless --dtype says otherwise. With --search exhaustive, sizes far from the smallest are measured too."""
    same_rank: bool | None
    """Keep all modules at one rank with --minimize, for runtimes that know no other"""
    memory: Value | None
    """Memory for the sweep, for example 700MB [default: 4GiB]"""
    device: Value | None
    """Where to compute: cpu, cuda, cuda:N or metal, if this build supports it [default: cpu]"""
    precision: Literal["auto", "f32", "bf16x2", "bf16"] | None
    """Arithmetic of matrix products; sums are always f32, and on devices other than the cpu so is everything [default: auto]"""
    dead_weight: bool | None
    """Leave out what changes nothing: embeddings and heads as in the base model (or all their rows but a few), modules whose change is zero, copies, and types wider than their values; the result is the same to the last digit"""
    rank: Value | None
    """Then reduce each module's rank by a singular value decomposition: to N, to what keeps a share of ‖ΔW‖² (energy:0.99), to singular values above the largest / N (ratio:10), or to the least of several (energy:0.99,16)"""
    dtype: Literal["bf16", "f16", "f32", "q8_0"] | None
    """Then store all floating tensors in this type"""
    require_saving: Value | None
    """Gate: at least this share of the bytes of tensors is saved, for example 0.2 or 20%"""
    max_loss_increase: Value | None
    """Gate: the loss of what is written is at most this share above the whole adapter's, for example 0.005 or 0.5%; on held-out samples if there are any"""
    min_samples: Value | None
    """Gate: at least N different samples choose; held-out ones are not counted, and those that repeat others count once"""
    min_gain: Value | None
    """Gate: the loss of what is written is at least this share below the base model's, for example 0.1 or 10%; on held-out samples if there are any"""
    better_than_base: bool | Value | None
    """Gate: with `--confidence`, the loss of what is written is below the base model's, by more than NATS per token if it is given; on held-out samples if there are any"""
    report: Value | None
    """Also write the result as an HTML page, which quotes a few samples"""
    force: bool | None
    """Replace the file of `--report` if it is a report"""
    offline: bool | None
    """Open no connection: take adapters and base models from this machine alone, as with HF_HUB_OFFLINE=1"""

class CutOptions(TypedDict, total=False):
    boundary: Value | None
    """Keep the layers below N, or all [default: all, if another flag asks for a change]"""
    keep_layers: Value | None
    """Keep these layers, for example 0-13,20"""
    scale: Value | None
    """Scale the kept layers by this number, through alpha [default: 1]"""
    dead_weight: bool | None
    """Leave out what changes nothing: embeddings and heads as in the base model (or all their rows but a few), modules whose change is zero, copies, and types wider than their values; the result is the same to the last digit"""
    rank: Value | None
    """Then reduce each module's rank by a singular value decomposition: to N, to what keeps a share of ‖ΔW‖² (energy:0.99), to singular values above the largest / N (ratio:10), or to the least of several (energy:0.99,16)"""
    dtype: Literal["bf16", "f16", "f32", "q8_0"] | None
    """Then store all floating tensors in this type"""
    portable: bool | None
    """Write plain LoRA with one rank and one alpha: rsLoRA, rank and alpha patterns go into lora_B, and ΔW stays the same"""
    pad_zeros: bool | Value | None
    """Write zeros for the dropped layers, too, as LoRAX, TGI and S-LoRA want it; with a number, for all layers of a base model that has so many"""
    format: Literal["peft", "gguf", "mlx"] | None
    """Format to write; gguf and mlx take names and sizes from the base model's configuration [default: peft]"""
    for_: Value | Iterable[Value] | None
    """Write nothing that one of these runtimes would not load, for example vllm,llama.cpp. Nor what it would compute differently. It is refused before any work. `lora-slim check` names all runtimes."""
    no_card: bool | None
    """Leave README.md and the header of the weights without what the adapter was made of, and what was measured"""
    require_saving: Value | None
    """Gate: at least this share of the bytes of tensors is saved, for example 0.2 or 20%"""
    base: Value | None
    """Base model, of which only the configuration is read: --format gguf and mlx need it, and it may decide which runtimes load the result [default: the adapter's base_model_name_or_path]"""
    stack: Value | None
    """Layer stack to cut if the adapter has several, for example model.text_model.layers"""
    force: bool | None
    """Replace OUT if it is an adapter folder"""
    dry_run: bool | None
    """Do everything except writing OUT"""
    offline: bool | None
    """Open no connection: take adapters and base models from this machine alone, as with HF_HUB_OFFLINE=1"""

class FixOptions(TypedDict, total=False):
    base: Value | None
    """Base model, whose names the adapter gets; torchtune and NeMo also need the sizes of its attention [default: the one that the adapter names, if it is on this machine]"""
    alpha: Value | None
    """Alpha of the training, where no file says it"""
    force: bool | None
    """Replace OUT if it is an adapter folder"""
    dry_run: bool | None
    """Do everything except writing OUT"""
    offline: bool | None
    """Open no connection: take adapters and base models from this machine alone, as with HF_HUB_OFFLINE=1"""

class InspectOptions(TypedDict, total=False):
    base: Value | None
    """Base model to compare saved embeddings and heads with [default: the adapter's base_model_name_or_path, if it is on this machine]"""
    stack: Value | None
    """Layer stack to show if the adapter has several"""
    offline: bool | None
    """Open no connection: take adapters and base models from this machine alone, as with HF_HUB_OFFLINE=1"""

class CheckOptions(TypedDict, total=False):
    stack: Value | None
    """Layer stack to check if the adapter has several"""
    offline: bool | None
    """Open no connection: take adapters and base models from this machine alone, as with HF_HUB_OFFLINE=1"""

class VerifyOptions(TypedDict, total=False):
    stack: Value | None
    """Layer stack that was cut if the adapter has several"""
    any_layers: bool | None
    """Allow kept layers that are not all below one boundary, and layers that keep only some of their modules (`cut --keep-layers`, `--search subset` and `blocks`)"""
    scale: Value | None
    """Expect the original scaled by this number (`--scale`) [default: 1]"""
    tolerance: Value | None
    """Allow other ranks and types if each module's ΔW differs by at most this share of its norm, for example 0.05 or 5%"""
    base: Value | None
    """After `fix`: the base model, if `fix` was given one. After `--dead-weight`: the base model that whole weights are compared with [default then: the adapter's base_model_name_or_path]"""
    alpha: Value | None
    """After `fix`: the alpha that `fix` was given"""
    offline: bool | None
    """Open no connection: take adapters and base models from this machine alone, as with HF_HUB_OFFLINE=1"""
