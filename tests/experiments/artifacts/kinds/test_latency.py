"""Table 1 and Figure 5 as artifacts: a record that is missing is measured as the command line says."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from experiments.artifacts.kinds import latency
from tests.experiments.made import compose


def test_a_missing_record_is_measured_with_the_logger_and_the_caption_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Any, ...]] = []

    def measured(cfg: DictConfig, caption: bool) -> dict[str, Any]:
        given.append((cfg.output, list(cfg.batch_sizes), cfg.logger.wandb.mode, caption))
        return {}

    monkeypatch.setattr(latency, "measured", measured)
    cfg = compose("artifact=table1", f"store={tmp_path}", "logger.wandb.mode=disabled", "caption=false", config="paper")
    assert latency.report(cfg, lambda lines: compose(*lines), lambda runs, jobs: []) == {"artifact": "table1"}
    assert given == [(str(tmp_path), [], "disabled", False)]
