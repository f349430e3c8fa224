"""The end of a run for people: one line, a warning where it collapsed, and a short record for programs."""

import logging
from typing import Any

from experiments.metrics import decimals
from experiments.store.store import RunRecord, Store

log = logging.getLogger(__name__)


def tell(record: RunRecord, store: Store) -> None:
    """Log a run's score and where it is kept; as a warning, with a hint, where it collapsed."""
    log.info("%s", told(record, store))
    if record.status == "collapsed":
        rate = record.config["trainer"]["learning_rate"]
        log.warning("%s collapsed with trainer.learning_rate=%g: in its best or last epoch every row got the same "
                    "prediction, or one was NaN; lower the rate, warm up longer, or try another seed", record.run, rate)


def told(record: RunRecord, store: Store) -> str:
    """Score, best epoch, parameters and places: rte-...: accuracy 94.40 (epoch 1 of 3), 8,192 parameters, ..."""
    metric = str(record.config["task"]["main_metric"])
    score = "no score" if record.score is None else f"{metric} {record.score:.{decimals(metric)}f}"
    head = f" and a head of {record.head:,}" if record.head else ""
    kept = f"kept in {store.find(record.run)}"
    adapter = f", adapter in {place}" if (place := _adapter(record, store)) else ""
    return (f"{record.run}: {score} (epoch {record.best_epoch} of {len(record.history)}), "
            f"{record.trainable or 0:,} parameters{head} trained in {record.seconds or 0:.0f} s, {kept}{adapter}")


def brief(record: RunRecord, store: Store) -> dict[str, Any]:
    """The result of a run as `experiments.train` prints it: scores with 4 decimals; `adapter` is below the store."""
    start = {} if record.init_from is None else {"init_from": record.init_from["run"] or record.init_from["sha256"]}
    return {"run": record.run, "status": record.status, "main_metric": record.config["task"]["main_metric"],
            "score": _rounded(record.score), "metrics": {key: _rounded(value) for key, value in record.metrics.items()},
            "best_epoch": record.best_epoch, "trainable": record.trainable, "head": record.head,
            "seconds": None if record.seconds is None else round(record.seconds, 1), **start,
            "record": str(store.find(record.run)),
            "adapter": record.adapter if store.has_adapter(record) else None}


def _adapter(record: RunRecord, store: Store) -> str | None:
    """The folder of a run's adapter, where it is here."""
    return str(store.root / str(record.adapter)) if store.has_adapter(record) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
