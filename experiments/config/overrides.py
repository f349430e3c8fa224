"""What may be chosen on an entry point's command line: checking it, and showing it for --help.

A group is a folder of conf/ that the entry point's defaults name (model, task, ...); a key is a dotted path
in the composed config (trainer.epochs). Additions (`+key=value`), deletions (`~key`) and `hydra.*` pass.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import OmegaConf

from experiments.config.presets import presets
from lora.errors import check_choice, nearest

NOTES = """\
-m sweeps: values with commas make one run each, and hydra/launcher=joblib runs them in parallel.
--cfg job prints the composed config; LORA_LAB_TRACEBACK=1 shows where an error came from."""


class CommandLine:
    """The overrides of one command line, against the config `config_name` in the folder `conf`."""

    def __init__(self, config_name: str, conf: Path, overrides: Sequence[str]) -> None:
        self.config_name, self.conf, self.overrides = config_name, conf, list(overrides)
        self.loader = ConfigLoaderImpl(create_config_search_path(str(conf)))
        parsed = OverridesParser.create(self.loader).parse_overrides(self.overrides)
        own = [override for override in parsed if not override.is_hydra_override()]
        self.choices = [override for override in own if self.options(override.key_or_group)]
        self.settings = [override for override in own if override not in self.choices]
        self.extends_search_path = any(override.key_or_group == "hydra.searchpath" for override in parsed)

    def options(self, group: str) -> list[str]:
        """What can be chosen in `group`; none where there is no such group."""
        return sorted(self.loader.get_group_options(group, ObjectType.CONFIG))

    def compose(self, lines: Sequence[str]) -> tuple[dict[str, Any], dict[str, str | None]]:
        """The config under the group choices `lines`, unresolved, and the choice of each group in it."""
        config = self.loader.load_configuration(self.config_name, list(lines), RunMode.MULTIRUN)
        chosen = config.hydra.runtime.choices.items()
        groups = {group: choice for group, choice in chosen if not group.startswith("hydra/")}
        with_hydra = OmegaConf.to_container(config, resolve=False)
        assert isinstance(with_hydra, dict)
        return {str(key): value for key, value in with_hydra.items() if key != "hydra"}, groups

    def checked(self) -> list[str]:
        """The overrides as hydra takes them; ValueError names a misspelt group, choice or key.

        A key below a free-form node (null or {} in the config) becomes an addition, so that
        `task.files.train=a.csv` needs no `+`. A key is right if any choice of a swept group has it: hydra
        composes each run of the sweep before the first one starts.
        """
        if self.extends_search_path:  # its groups and keys cannot be seen from here
            return self.overrides
        _, groups = self.compose([])
        for override in self.choices:
            self._check_choice(override, groups)
        configs = [self.compose(lines)[0] for lines in choice_lines(self.choices)]
        changes = [override for override in self.settings if override.type is OverrideType.CHANGE]
        new = {change.input_line for change in changes if _is_addition(change.key_or_group, configs, groups)}
        return [f"++{line}" if line in new else line for line in self.overrides]

    def _check_choice(self, override: Override, groups: Mapping[str, str | None]) -> None:
        """ValueError unless the group is one of the entry point's `groups` and has what is chosen."""
        if override.type is OverrideType.CHANGE:
            check_choice("group", override.get_key_element(), groups)
        for choice in _values(override) if override.type is not OverrideType.DEL else []:
            folder, _, name = f"{override.key_or_group}/{choice}".rpartition("/")
            if choice != "None":
                self._check_option(override.key_or_group, name, self.options(folder))

    def _check_option(self, group: str, name: str, options: Sequence[str]) -> None:
        """ValueError unless a group has this choice; of a model it says how to take any other."""
        try:
            check_choice(group, name, options)
        except ValueError as error:
            if group != "model":
                raise
            raise ValueError(f"{error}; any other: model=local model.path={name}") from None

    def help(self, module: str, purpose: str, examples: Sequence[str]) -> str:
        """Purpose, groups with their choices, presets, keys with the comment on their line, examples."""
        config, groups = self.compose(choice_lines(self.choices)[0])
        lines = [purpose, "", f"usage: python -m {module} [group=choice ...] [key=value ...] [-m]"]
        lines += ["", "Groups, the chosen one first:"]
        for group, choice in groups.items():
            others = [option for option in self.options(group) if option != choice]
            text = f"{group:<10} {', '.join([choice or '(none)', *others])}"
            lines += textwrap.wrap(text, 108, initial_indent="  ", subsequent_indent=" " * 13)
        if "preset" in config:
            lines += ["", f"Presets (preset=name): {', '.join(presets())}"]
        files = [("", self.conf / f"{self.config_name}.yaml")]
        for group, choice in groups.items():
            files += [(f"{group}.", file) for file in _with_bases(self.conf / group / f"{choice}.yaml")]
        documented = {prefix + key: (written, comment) for prefix, file in files
                      for key, written, comment in _documented_keys(file)}
        settings = {f"{key}={_shown(config, key, written)}": comment for key, (written, comment) in documented.items()}
        lines += ["", "Keys:", *(f"  {setting:<42} {comment}" for setting, comment in settings.items())]
        return "\n".join([*lines, "", NOTES, "", "Examples:", *(f"  {example}" for example in examples)])


def choice_lines(choices: Sequence[Override]) -> list[list[str]]:
    """Override lines that together show every choice of every swept group at least once, one row at least."""
    values = [(override.get_key_element(), _values(override)) for override in choices]
    rows = max((len(names) for _, names in values), default=1)
    return [[f"{key}={names[min(row, len(names) - 1)]}" for key, names in values] for row in range(rows)]


def _values(override: Override) -> list[str]:
    """The values of an override as the command line writes them: one, or those of a sweep."""
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _is_addition(key: str, configs: Sequence[dict[str, Any]], groups: Mapping[str, str | None]) -> bool:
    """Whether `key` is new below a free-form node of one of the configs; ValueError if it is in none."""
    found = [_find(config, key) for config in configs]
    if "absent" not in found or "key" in found or "free" in found:
        return "key" not in found
    known = sorted({*groups, *_dotted_keys(configs[0])})
    last = key.rpartition(".")[2]
    namesakes = [other for other in known if other.rpartition(".")[2] == last]
    parent = _existing_parent(configs[0], key)
    others = [other for other in known if not key.startswith(f"{other}.")]
    shortest = min(namesakes, key=lambda name: name.count("."), default="")  # trainer.learning_rate, not pretraining's
    hint = f"; did you mean {shortest!r}?" if namesakes else nearest(key, others)
    beside = [other for other in known if other.rpartition(".")[0] == parent]
    raise ValueError(f"key {key!r} is not one of {', '.join(beside)}{hint}")


def _find(config: dict[str, Any], key: str) -> str:
    """'key' where `key` exists, 'free' where it lies below null or {}, 'absent' elsewhere."""
    node: Any = config
    for part in key.split("."):
        if isinstance(node, list):
            return "key"  # an index: hydra says whether the list has it
        if node is None or node == {}:
            return "free"
        if not isinstance(node, dict) or part not in node:
            return "absent"
        node = node[part]
    return "key"


def _existing_parent(config: dict[str, Any], key: str) -> str:
    """The longest proper prefix of `key` that the config has, '' for its root."""
    parent = key.rpartition(".")[0]
    while parent and _find(config, parent) == "absent":
        parent = parent.rpartition(".")[0]
    return parent


def _dotted_keys(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _dotted_keys(value, f"{prefix}{name}.")


def _shown(config: dict[str, Any], key: str, written: str) -> str:
    """A key's default as its file writes it; an interpolation as what it gives, `${preset:...,16}` as 16."""
    if "${" not in written:
        return written
    value = OmegaConf.select(OmegaConf.create(config), key)
    return "null" if value is None else str(value)


def _with_bases(file: Path) -> list[Path]:
    """A file of a group after those that its defaults put in its place (`base/any@_here_`)."""
    defaults = OmegaConf.load(file).get("defaults", []) if file.is_file() else []
    names = [line.removesuffix("@_here_") for line in defaults if isinstance(line, str) and line.endswith("@_here_")]
    return [base for name in names for base in _with_bases(file.parent / f"{name}.yaml")] + [file]


def _documented_keys(file: Path) -> Iterator[tuple[str, str, str]]:
    """(key, default, comment) of each line of a YAML file that carries all: `key: default  # comment`."""
    path: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        if match := re.match(r"( *)(\w+):(?: +(\S.*?))?(?: +# (.*))?$", line):
            indent, key, default, comment = match.groups()
            path[len(indent) // 2 :] = [key]
            if default and comment:
                yield ".".join(path), default.strip(), comment
