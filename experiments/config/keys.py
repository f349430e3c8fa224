"""The keys of every command with the values that they may have: the one place that says so.

A table maps a key to its values or to the table of the keys below it; `key?` may be absent. A mapping with `_target_`
has the arguments of that class, with the values of their type hints; those of this library's methods stand here, so
that a wrong one is refused before torch is imported (a test compares them with the classes).
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from experiments.config.values import ANYTHING, FLAG, NULL, TEXT, Values, by_name, choice, list_of, number, whole

Table: TypeAlias = "dict[str, Values | Table]"

POSITIVE = number("above 0", lambda value: value > 0)
NOT_NEGATIVE = number("of at least 0", lambda value: value >= 0)
SHARE = number("of at least 0 and at most 1", lambda value: 0 <= value <= 1)
RATE = number("of at least 0 and below 1", lambda value: 0 <= value < 1)
LEVEL = number("above 0 and below 1", lambda value: 0 < value < 1)
JOBS = Values("a whole number from 1, or below 0: -1 is one a core", lambda value: whole().holds(value) and value != 0)
SEEDS = list_of(whole(0), 1) | NULL
TEXTS, NAMES = list_of(TEXT), list_of(TEXT, 1)
DEVICES, PRECISIONS = ("auto", "cpu", "cuda"), ("auto", "fp32", "bf16")  # of a training
KIND = choice("classification", "causal_lm") | NULL

SIZE, SCALE = whole(1) | by_name(whole(1)), POSITIVE | by_name(POSITIVE)
BOTTLENECK: Table = {
    "bottleneck": whole(1), "nonlinearity": choice("relu", "gelu", "swish", "tanh"),
    "init": choice("gaussian", "identity"), "init_std": POSITIVE,
}
PREFIX: Table = {"l_p": whole(0), "l_i": whole(0), "init": choice("words", "gaussian"), "separator": whole(0) | NULL}
METHODS: Mapping[str, Table] = {  # a class of lora -> its arguments, `name` apart
    "LoRA": {
        "rank": SIZE, "alpha": SCALE, "dropout": RATE, "targets": list_of(TEXT, listed=",".join),
        "init": choice("kaiming", "gaussian", "pissa"), "rank_stabilised": FLAG, "dora": FLAG,
        "learning_rate_scale_B": POSITIVE | NULL, "bias": choice("none", "sites", "all"), "layernorm": FLAG,
        "position_query": FLAG},
    "AdapterH": BOTTLENECK, "AdapterL": BOTTLENECK, "AdapterP": BOTTLENECK,
    "AdapterD": BOTTLENECK | {"dropped_layers": whole(0)},
    "PrefixEmbed": PREFIX, "PrefixLayer": PREFIX, "FullFineTuning": {}, "TopBlocks": {"blocks": whole(1)}, "BitFit": {},
    "Combined": {"parts": by_name(ANYTHING)},
}

MODEL: Table = {
    "name": TEXT, "pinned": TEXT | NULL, "path": TEXT | NULL, "package": TEXT | NULL, "revision": TEXT | NULL,
    "checksum": TEXT | NULL, "weights": choice("safetensors", "pickle"), "init": choice("pretrained", "random"),
    "pooler": choice("train", "frozen"), "attention": choice("sdpa", "eager"), "dropout": RATE | NULL,
    "classifier_dropout": RATE | NULL, "config": by_name(ANYTHING) | NULL, "preset?": TEXT | NULL,
    "pretraining?": {"tokens": whole(1), "learning_rate": POSITIVE, "precision": choice(*PRECISIONS),
                     "attention": choice("auto", "sdpa", "eager"), "curriculum?": TEXT | NULL,
                     "stages?": list_of(SHARE), "positions?": choice("sinusoidal") | NULL, "gates?": TEXTS},
}
TRAINER: Table = {
    "epochs": whole(1), "learning_rate": POSITIVE, "batch_size": whole(1), "schedule": choice("linear", "constant"),
    "warmup_ratio": SHARE | NULL, "warmup_steps": whole(0) | NULL, "weight_decay": NOT_NEGATIVE,
    "betas": list_of(RATE, 2, 2), "epsilon": POSITIVE, "gradient_clip": POSITIVE | NULL, "label_smoothing": SHARE,
    "max_length": whole(1), "bucket": FLAG, "precision": choice(*PRECISIONS),
    "frozen": choice("fp32", "bf16", "8bit", "4bit"), "device": choice(*DEVICES), "threads": whole(1) | NULL,
    "device_batch_size": whole(1) | NULL, "evaluation_batch_size": whole(1), "compile": FLAG, "log_every": whole(1),
    "save_checkpoints": FLAG, "save_adapter": FLAG,
}
LOGGER: Table = {
    "wandb": {"mode": choice("offline", "online", "disabled"), "project": TEXT, "entity": TEXT | NULL,
              "group": TEXT | NULL, "tags": TEXTS, "dir": TEXT | NULL},
}
GROUP = by_name(ANYTHING)  # of which the class that `_target_` names says more

TRAIN: Table = {
    "model": MODEL, "task": GROUP, "method": GROUP, "trainer": TRAINER, "logger": LOGGER, "seed": whole(0),
    "preset": TEXT | NULL, "init_from": TEXT | NULL, "store": TEXT, "overwrite": FLAG,
}
STUDY: Table = {
    "adapter": TEXT | NULL, "alpha": POSITIVE | NULL, "fused": NAMES | NULL, "logger": LOGGER, "output": TEXT,
}
CHOICES: Table = {
    "roles": TEXT | TEXTS, "layers": whole(0) | choice("all") | list_of(whole(0), 1), "level": LEVEL, "seed": whole(0),
    "caption": FLAG,
}
COST: Table = {
    "model": MODEL, "method": GROUP, "batch_size": whole(1), "length": whole(1),
    "precision": choice("fp32", "bf16", "fp16"), "device": choice("cpu", "cuda"), "checkpointing": FLAG, "kind": KIND,
    "num_labels": whole(1), "stored": choice("fp32", "fp16"), "adaptations": whole(0), "space_gb": NOT_NEGATIVE,
}
LATENCY: Table = {
    "model": MODEL, "lora": GROUP, "adapter_h": GROUP, "adapter_l": GROUP, "logger": LOGGER,
    "table": list_of(list_of(whole(1), 2, 2)), "widths": by_name(by_name(whole(1))), "batch_sizes": list_of(whole(1)),
    "lengths": list_of(whole(1)), "bottlenecks": list_of(whole(1)), "rank": whole(1), "warmup": whole(0),
    "trials": whole(1), "seconds": choice("auto") | NULL | POSITIVE, "least_trials": whole(1), "level": LEVEL,
    "device": choice(*DEVICES), "dtype": choice("fp32", "fp16", "bf16"), "threads": whole(1), "seed": whole(0),
    "output": TEXT,
}
PRETRAIN: Table = {
    "model": MODEL, "world": GROUP, "tokens": whole(1) | NULL, "learning_rate": POSITIVE | NULL,
    "precision": choice(*PRECISIONS) | NULL, "attention": choice("auto", "sdpa", "eager") | NULL, "seed": whole(0),
    "batch_size": whole(1), "curriculum": TEXT | NULL, "stages": list_of(SHARE), "warmup_ratio": SHARE,
    "decay_ratio": SHARE, "weight_decay": NOT_NEGATIVE, "betas": list_of(RATE, 2, 2), "epsilon": POSITIVE,
    "gradient_clip": POSITIVE, "positions": choice("sinusoidal") | NULL, "dropout": SHARE, "max_length": whole(1),
    "masking": {"content": SHARE, "function": SHARE, "answer": SHARE}, "held_out_documents": whole(1),
    "probe_count": whole(1), "probes_in_curve": whole(1), "evaluate_every": whole(1), "checkpoint_every": whole(1),
    "threads": whole(1) | NULL, "output": TEXT, "overwrite": FLAG, "check": FLAG | choice("surface"), "tasks": NAMES,
    "gates": TEXTS,
}
PAPER: Table = {
    "artifact": GROUP, "suite": GROUP, "logger": LOGGER, "store": TEXT, "train": FLAG, "jobs": JOBS, "caption": FLAG,
    "empty": FLAG, "models": NAMES | NULL, "tasks": NAMES | NULL, "methods": NAMES | NULL, "seeds": SEEDS,
}
TUNE: Table = {
    "model": MODEL, "tasks": NAMES, "preset": TEXT, "rates": by_name(list_of(POSITIVE, 1)),
    "ranks": list_of(whole(1), 1), "seed": whole(0), "store": TEXT, "train": FLAG, "jobs": JOBS, "write": FLAG,
}
MEASURED: Table = {"measure": TEXT, "rounds": whole(1), "output": TEXT}
BENCHMARKS: Mapping[str, Table] = {
    "step": MEASURED | {"model": MODEL, "method": GROUP, "variants": NAMES, "batch_size": whole(1), "length": whole(1),
                        "memory_steps": whole(1), "threads": whole(1), "precision": choice(*PRECISIONS)},
    "epoch": TRAIN | MEASURED | {"rows": whole(1)},
    "processes": MEASURED | {"models": NAMES, "batch_size": whole(1), "length": whole(1), "seconds": POSITIVE,
                             "threads": whole(1) | NULL},
    "similarity": MEASURED | {"d": whole(1), "rank1": whole(1), "rank2": whole(1), "large": whole(1),
                              "threads": whole(1), "seed": whole(0)},
    "cost": MEASURED | {"methods": NAMES, "settings": list_of(by_name(ANYTHING), 1), "memory_steps": whole(1)},
}
COMMANDS: Mapping[str, Table] = {
    "train": TRAIN, "cost": COST, "latency": LATENCY, "pretrain": PRETRAIN, "paper": PAPER, "tune": TUNE,
    "count": {"model": MODEL, "method": GROUP, "num_labels": whole(1), "kind": KIND},
    "export": {"model": MODEL, "adapter": TEXT | NULL, "output": TEXT | NULL},
    "compare": {"task?": GROUP | NULL, "method?": GROUP | NULL, "store": TEXT},
    "spectrum": STUDY | CHOICES,
    "report": STUDY | {"base": TEXT | NULL, "transposed": FLAG | NULL, "other": TEXT | NULL, "store": TEXT},
    "amplification": STUDY | CHOICES | {"base": TEXT | NULL, "full_svd": FLAG | NULL, "transposed": FLAG | NULL},
    "subspace": {key: values for key, values in (STUDY | CHOICES).items() if key != "adapter"} | {
        "a": TEXT | NULL, "b": TEXT | NULL, "which": choice("A", "B", "dW"), "samples": whole(1)},
}


def table_of(command: str, config: Mapping[str, Any]) -> Table:
    """The keys of a command: of a benchmark, those of what it measures."""
    if command != "benchmark":
        return COMMANDS[command]
    measure = str(config["measure"]).rpartition(".")[2].removesuffix("_benchmark")
    return BENCHMARKS.get(measure, dict.fromkeys(config, ANYTHING))  # a function of the user's reads any key
