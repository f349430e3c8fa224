"""The internals of Hydra that the entry points and the console script use are there, with the arguments they pass."""

import inspect

from hydra._internal import config_loader_impl, utils
from hydra.core.plugins import Plugins
from hydra.plugins.completion_plugin import CompletionPlugin


def test_run_hydra_takes_the_parsed_command_line_and_a_function() -> None:
    parameters = inspect.signature(utils._run_hydra).parameters
    assert {"args", "args_parser", "task_function", "config_path", "config_name"} <= set(parameters)


def test_the_parser_knows_the_flags_that_are_looked_at() -> None:
    args = utils.get_args_parser().parse_intermixed_args(["seed=1", "-m", "--config-dir", "mine", "seed=2"])
    assert (args.overrides, args.multirun, args.config_dir) == (["seed=1", "seed=2"], True, "mine")
    assert (args.help, args.hydra_help, args.shell_completion) == (False, False, False)
    assert (args.config_name, args.config_path) == (None, None)


def test_the_loader_lists_a_groups_choices_under_overrides() -> None:
    loader = config_loader_impl.ConfigLoaderImpl(utils.create_config_search_path(None))
    parameters = inspect.signature(loader.get_group_options).parameters
    assert list(parameters) == ["group_name", "results_filter", "config_name", "overrides"]
    assert "basic" in loader.get_group_options("hydra/launcher")


def test_each_shell_has_a_completion_script() -> None:
    assert {"bash", "zsh", "fish"} <= {plugin.provides() for plugin in Plugins.instance().discover(CompletionPlugin)}
