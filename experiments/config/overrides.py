"""The choices on an entry point's command line: checked before it runs, shown by --help, offered by completion.

A group is a folder of conf/ that the entry point's defaults name (model, task, ...); a key is a dotted path
in the composed config (trainer.epochs). `hydra.*` passes; `+key` and `~key` are for experiments.config.check.
"""

import functools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config.presets import presets
from experiments.config.quoting import quoted
from experiments.config.search_path import added_folders, check_added
from experiments.config.yaml_files import absent, documented_keys, is_global
from lora.errors import check_choice, nearest

NOTES = """\
-m sweeps: values with commas make one run each, and hydra/launcher=joblib runs them in parallel.
A sweeper such as hydra/sweeper=optuna is given each run's score; set hydra.sweeper.direction (maximize | minimize).
--config-dir FOLDER adds your own choices: FOLDER/method/mine.yaml is method=mine.
--cfg job prints the composed config; LORA_LAB_TRACEBACK=1 shows where an error came from."""
EXTRAS = {  # an extra of this package -> the plugins of Hydra that it installs
    "joblib": ("joblib",), "slurm": ("submitit_slurm", "submitit_local"), "ray": ("ray", "ray_aws"),
    "optuna": ("optuna",),
}
FORMER = {  # the last word of a key of earlier versions -> what may have taken its place
    "sites": ("method.targets", "roles"), "output_dir": ("output", "store"), "experiment": ("artifact",),
}
PLUGINS = ("hydra/launcher", "hydra/sweeper")  # groups whose choices plugins add


class CommandLine:
    """The overrides of one command line, against the config `config_name` in the folder `conf`."""

    def __init__(self, config_name: str, conf: Path, overrides: Sequence[str], config_dir: str | None = None) -> None:
        self.config_name, self.conf = config_name, conf
        search = create_config_search_path(str(conf))
        if config_dir is not None:
            check_added([Path(config_dir).resolve()], conf)
            search.prepend("command-line", f"file://{Path(config_dir).resolve()}", SearchPathQuery(provider="schema"))
        self.loader = ConfigLoaderImpl(search)
        parser = OverridesParser.create(self.loader)
        self.overrides = [quoted(parser, line) for line in overrides]
        self.parsed = parser.parse_overrides(self.overrides)
        self.searchpath = [str(line.input_line) for line in self.parsed if line.key_or_group == "hydra.searchpath"]
        self._load = functools.cache(self._composed)  # Hydra takes a fifth of a second for each
        self.default = self._load()
        self.added = added_folders(self.default.hydra.runtime.config_sources)
        check_added(self.added, conf)
        ours = [override for override in self.parsed if not override.is_hydra_override()]
        self.choices = [override for override in ours if self.options(override.key_or_group)]
        self.settings = [override for override in ours if override not in self.choices]

    def options(self, group: str) -> list[str]:
        """The choices of `group`; none where there is no such group."""
        folder = group.partition("@")[0]
        return sorted(self.loader.get_group_options(folder, ObjectType.CONFIG, self.config_name, self.searchpath))

    def compose(self, lines: Sequence[str]) -> tuple[dict[str, Any], dict[str, str | None]]:
        """The config under the group choices `lines`, unresolved, and the choice of each group in it.

        A group that a chosen file brings along below its own keys (world@task.source.world) is not listed.
        """
        config = self._load(*lines)
        chosen = config.hydra.runtime.choices
        groups = {group: choice for group, choice in chosen.items()
                  if not group.startswith("hydra/") and group.partition("@")[2].partition(".")[0] not in chosen}
        with_hydra = OmegaConf.to_container(config, resolve=False)
        assert isinstance(with_hydra, dict)
        return {str(key): value for key, value in with_hydra.items() if key != "hydra"}, groups

    def _composed(self, *lines: str) -> DictConfig:
        return self.loader.load_configuration(self.config_name, [*self.searchpath, *lines], RunMode.MULTIRUN)

    def checked(self) -> list[str]:
        """The overrides as hydra takes them; ValueError names a misspelt group, choice or key.

        A key below a free-form node (null or {} in the config) becomes an addition, so that
        `task.files.train=a.csv` needs no `+`. A key is right if any choice of a swept group has it: hydra
        composes each run of the sweep before the first one starts.
        """
        groups = self.compose([])[1]
        for override in self.parsed:
            self._check_plugin(override)
            if override.is_sweep_override() and not override.is_hydra_override() and not _sweeps(override):
                raise ValueError(f"{override.input_line} sweeps over no value")
        outer = [override for override in self.choices if override.get_key_element() in groups]
        for override in outer:
            self._check_choice(override, groups)
        for lines in choice_lines(outer):  # a choice may bring groups of its own
            groups |= self.compose(lines)[1]
        for override in self.choices:
            self._check_choice(override, groups)
        configs = [self.compose(lines)[0] for lines in choice_lines(self.choices)]
        changes = [override for override in self.settings if override.type is OverrideType.CHANGE]
        new = {change.input_line for change in changes if _is_addition(change.key_or_group, configs, groups)}
        for change in changes:
            self._check_swept(change)
        return [f"++{line}" if line in new else line for line in self.overrides]

    def _check_swept(self, change: Override) -> None:
        """ValueError where some choices of a swept group have a key and others lack it: Hydra would set it in all."""
        key = change.key_or_group
        for sweep in self.choices:
            group = sweep.get_key_element()
            if not sweep.is_sweep_override() or not key.startswith(f"{group}."):
                continue
            places = {choice: _find(self.compose([f"{group}={choice}"])[0], key) for choice in _values(sweep)}
            lacking = [choice for choice, place in places.items() if place == "absent"]
            having = [choice for choice in places if choice not in lacking]
            if lacking and having:
                raise ValueError(f"{group}={','.join(lacking)} has no key {key}: make two sweeps into one store, with "
                                 f"{group}={','.join(having)} {change.input_line} and with {group}={','.join(lacking)}")

    def _check_plugin(self, override: Override) -> None:
        """ValueError for a launcher or sweeper that is not installed; names the extra that has it."""
        if override.key_or_group not in PLUGINS or override.type is OverrideType.DEL:
            return
        name, installed = str(override.value()), self.options(override.key_or_group)
        for extra, plugins in EXTRAS.items():
            if name in plugins and name not in installed:
                raise ValueError(f"{override.key_or_group}={name} needs a package that is not installed: "
                                 f"pip install 'lora-lab[{extra}]'")
        check_choice(override.key_or_group, name, installed)

    def _check_choice(self, override: Override, groups: Mapping[str, str | None]) -> None:
        """ValueError unless the group is one of the entry point's `groups` and has the chosen files."""
        if override.type is OverrideType.CHANGE:
            check_choice("group", override.get_key_element(), groups)
        for choice in _values(override) if override.type is not OverrideType.DEL else []:
            folder, _, name = f"{override.key_or_group}/{choice}".rpartition("/")
            if choice != "None":
                self._check_option(override.key_or_group, name, self.options(folder))

    def _check_option(self, group: str, name: str, options: Sequence[str]) -> None:
        """ValueError unless a group has this choice; it says why a known one is absent, and how to take any model."""
        try:
            check_choice(group, name, options)
        except ValueError as error:
            if why := absent(self.conf / group).get(name):
                raise ValueError(f"{group} {name!r} {why}; there are {', '.join(options)}") from None
            if group != "model" or "local" not in options:
                raise
            raise ValueError(f"{error}; any other: model=local model.path={name}") from None

    def completions(self, word: str) -> list[str]:
        """The words that can replace `word`, an unfinished last one; keys one level at a time."""
        config, groups = self.compose(choice_lines(self.choices)[0])
        key, assigned, value = word.partition("=")
        if assigned:
            before = value[: value.rfind(",") + 1]  # of a sweep, all but the last value
            choices = presets() if key == "preset" else self.options(key)
            words = [f"{key}={before}{choice}" for choice in choices]
        else:
            names = [f"{name}=" for name in (*groups, *PLUGINS, *_dotted_keys(config))]
            ends = [name.find(".", len(word)) + 1 for name in names]
            words = [name[: end or None] for name, end in zip(names, ends, strict=True)]
        return sorted({candidate for candidate in words if candidate.startswith(word)})

    def help(self, module: str, purpose: str, examples: Sequence[str]) -> str:
        """Purpose, groups with their choices, presets, keys with the comment on their line, examples."""
        config, groups = self.compose(choice_lines(self.choices)[0])
        lines = [purpose, "", *_usage(module), "", "Groups, the chosen one first:"]
        for group, choice in groups.items():
            others = [option for option in self.options(group) if option != choice]
            text = f"{group:<10} {', '.join([choice or '(none)', *others])}"
            lines += textwrap.wrap(text, 108, initial_indent="  ", subsequent_indent=" " * 13, break_on_hyphens=False)
        if "preset" in config:
            lines += ["", f"Presets (preset=name): {', '.join(presets())}"]
        resolving = OmegaConf.create(config)
        settings = {f"{key}={_shown(resolving, key, written)}": comment
                    for key, (written, comment) in self._documented(groups).items()}
        lines += ["", "Keys:", *(f"  {setting:<42} {comment}" for setting, comment in settings.items())]
        return "\n".join([*lines, "", NOTES, "", "Examples:", *(f"  {example}" for example in examples)])

    def _documented(self, groups: Mapping[str, str | None]) -> dict[str, tuple[str, str]]:
        """By dotted key the default and the comment of every documented line, the chosen files' before their bases'."""
        documented: dict[str, tuple[str, str]] = {}
        for prefix, file in [("", f"{self.config_name}.yaml"), *map(_prefix_and_file, groups.items())]:
            for path in self._with_bases(file):
                start = "" if is_global(path) else prefix
                documented |= {start + key: (written, comment) for key, written, comment in documented_keys(path)}
        return documented

    def _with_bases(self, file: str) -> list[Path]:
        """A file of a group after those that its defaults put in its place (`base/any@_here_`)."""
        path = self._path(file)
        defaults = OmegaConf.select(OmegaConf.load(path), "defaults", default=[]) if path.is_file() else []
        texts = [line for line in defaults if isinstance(line, str)]
        names = [line.removesuffix("@_here_") for line in texts if line.endswith("@_here_")]
        folder = file.rpartition("/")[0]
        return [base for name in names for base in self._with_bases(f"{folder}/{name}.yaml")] + [path]

    def _path(self, file: str) -> Path:
        """A file of conf/ or of an added folder."""
        return next((folder / file for folder in self.added if (folder / file).is_file()), self.conf / file)


def _usage(module: str) -> list[str]:
    """Both ways to start a command of this package; another program's entry point has one."""
    arguments = "[group=choice ...] [key=value ...] [-m]"
    package, _, command = module.rpartition(".")
    if package not in ("experiments", "analysis"):
        return [f"usage: python -m {module} {arguments}"]
    return [f"usage: lora-lab {command} {arguments}", f"   or: python -m {module} {arguments}"]


def _prefix_and_file(choice: tuple[str, str | None]) -> tuple[str, str]:
    """The prefix of a group's keys and its chosen file: of method@lora=lora `lora.` and method/lora.yaml."""
    group, name = choice
    folder, _, package = group.partition("@")
    return f"{package or folder}.", f"{folder}/{name}.yaml"


def choice_lines(choices: Sequence[Override]) -> list[list[str]]:
    """Override lines that together show every choice of every swept group at least once, one row at least."""
    values = [(override.get_key_element(), _values(override)) for override in choices]
    rows = max((len(names) for _, names in values), default=1)
    return [[f"{key}={names[min(row, len(names) - 1)]}" for key, names in values] for row in range(rows)]


def _sweeps(override: Override) -> bool:
    """False for a sweep without a single value; an interval has values that a sweeper draws."""
    return override.is_interval_sweep() or any(True for _ in override.sweep_string_iterator())


def _values(override: Override) -> list[str]:
    """The values of an override as the command line writes them: one, or those of a sweep."""
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _is_addition(key: str, configs: Sequence[dict[str, Any]], groups: Mapping[str, str | None]) -> bool:
    """Whether `key` is new below a free-form node of one of the configs; ValueError if it is in none."""
    places = [_find(config, key) for config in configs]
    if "absent" not in places or "key" in places or "free" in places:
        return "key" not in places
    allowed = sorted({*groups, *_dotted_keys(configs[0])})
    last = key.rpartition(".")[2]
    namesakes = [other for other in allowed if other.rpartition(".")[2] == last]
    parent = _existing_parent(configs[0], key)
    others = [other for other in allowed if not key.startswith(f"{other}.")]
    shortest = min(namesakes, key=lambda name: name.count("."), default="")  # trainer.learning_rate, not pretraining's
    names = [shortest] if namesakes else [name for name in FORMER.get(last, ()) if name in allowed]
    hint = f"; did you mean {names[0]!r}?" if names else nearest(key, others)
    siblings = [other for other in allowed if other.rpartition(".")[0] == parent]
    raise ValueError(f"key {key!r} is not one of {', '.join(siblings)}{hint}")


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


def _shown(config: DictConfig, key: str, written: str) -> str:
    """A key's default as its file writes it; the value of an interpolation that has one, 16 for `${preset:...,16}`."""
    if "${" not in written:
        return written
    try:
        value = OmegaConf.select(config, key)
    except OmegaConfBaseException:  # the preset has no row for a method of the user's
        return written
    return "null" if value is None else str(value)
