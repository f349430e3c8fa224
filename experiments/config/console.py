"""The console script `lora-lab`: lists the commands, runs one, completes a command line.

    lora-lab                             the commands, one line each
    lora-lab train model=minilm seed=1   the same as python -m experiments.train model=minilm seed=1
    lora-lab completion bash             a script that makes bash complete commands, groups, choices and keys
"""

import ast
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import CompletionPlugin

from experiments.config.entry import complain, show_version
from experiments.config.overrides import CommandLine
from experiments.config.search_path import searching
from experiments.store.paths import CONF, PACKAGES
from lora.errors import check_choice

USAGE = """\
usage: lora-lab COMMAND [group=choice ...] [key=value ...] [-m]
       lora-lab COMMAND --help
       lora-lab completion bash|zsh|fish
"""
COMPLETION = "completion"
SCRIPTS = {  # shell -> what comes before Hydra's script
    "bash": "", "zsh": "autoload -U +X bashcompinit && bashcompinit\n", "fish": "",
}


@dataclass(frozen=True)
class Command:
    """A command as its file describes it; the file is not imported."""

    module: str
    config_name: str
    purpose: str


def commands() -> dict[str, Command]:
    """The commands by name: each file directly in experiments/ or analysis/ whose `main` is an entry point."""
    described = {}
    for path in [*sorted((PACKAGES / "experiments").glob("*.py")), *sorted((PACKAGES / "analysis").glob("*.py"))]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == "main":
                purpose = (ast.get_docstring(node) or "").partition("\n")[0]
                described[path.stem] = Command(f"{path.parent.name}.{path.stem}", _config_name(node), purpose)
    return described


def _config_name(main: ast.FunctionDef) -> str:
    """`train` of `@entry("train", ...)`."""
    decorator = main.decorator_list[0]
    assert isinstance(decorator, ast.Call)
    return str(ast.literal_eval(decorator.args[0]))


def main() -> None:
    """Run the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE, *(f"  {name:<15}{command.purpose}" for name, command in commands().items()), sep="\n")
    elif name == "--version":
        show_version()
    elif name == COMPLETION:
        _print_script(arguments)
    elif name in ("-sc", "--shell-completion"):  # Hydra's scripts ask so
        print("\n".join(completions(os.environ["COMP_LINE"])))
    else:
        _run(name, arguments)


def _run(name: str, arguments: Sequence[str]) -> None:
    """Import the command's file and call its `main`, as `python -m` would."""
    try:
        check_choice("command", name, described := commands())
    except ValueError as error:
        sys.exit(complain(error, 2))
    sys.argv = [f"lora-lab {name}", *arguments]
    sys.path.insert(0, os.getcwd())  # a user's own classes
    importlib.import_module(described[name].module).main()


def _print_script(arguments: Sequence[str]) -> None:
    """Print Hydra's completion script of a shell; it asks `lora-lab -sc query=<shell>`."""
    shell = arguments[0] if arguments else "bash"
    try:
        check_choice("shell", shell, SCRIPTS)
    except ValueError as error:
        sys.exit(complain(error, 2))
    sys.argv[0] = "lora-lab"
    print(SCRIPTS[shell], end="")
    plugins = {plugin.provides(): plugin for plugin in Plugins.instance().discover(CompletionPlugin)
               if plugin.__name__ != "DefaultCompletionPlugin"}
    plugins[shell](CommandLine("train", CONF, []).loader).install()


def completions(line: str) -> list[str]:
    """The words that can end a command line whose last word is unfinished, or '' after a space."""
    _, *words, word = [*line.split(), *([""] if line.endswith(" ") else [])]
    described = commands()
    if not words:
        return [name for name in (*described, COMPLETION) if name.startswith(word)]
    if words[0] == COMPLETION:
        return [shell for shell in SCRIPTS if shell.startswith(word)]
    if words[0] not in described:
        return []
    args, _ = get_args_parser().parse_known_intermixed_args(words[1:])
    try:
        command_line = CommandLine(described[words[0]].config_name, CONF, args.overrides, args.config_dir)
        with searching(command_line.added):
            return command_line.completions(word)
    except (ValueError, HydraException):  # an earlier word is wrong; the command itself will say so
        return []


if __name__ == "__main__":
    main()
