"""The place of an adapter: a folder, a state dict, or the adapter that a run of a store kept."""

from pathlib import Path

from experiments.store.store import RunRecord, Store
from lora.errors import nearest


def locate(source: Path | str) -> Path:
    """The adapter's folder or state dict; that of a run is where its record says.

    A run is given as its record's JSON file, or as its name below the store
    (results/local/mrpc-minilm-lora-seed0-1a2b3c4d).
    """
    path = Path(source).expanduser()
    if path.is_file() and path.suffix == ".json":
        return _of_run(path.parent.parent, path.stem)
    if path.exists():
        return path
    for store in (path.parent, path.parent.parent):
        if (record := Store(store).find(path.name.removesuffix(".json"))) is not None:  # perhaps by an older name
            return _of_run(store, record.stem)
    runs = [file.stem for file in path.parent.glob("runs/*.json")]
    siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    raise FileNotFoundError(f"no adapter and no run at {source}{nearest(path.name, runs + siblings)}")


def _of_run(root: Path, run: str) -> Path:
    record = Store(root).read(run)
    if record is None or record.adapter is None:
        status = "not in the store" if record is None else record.status
        raise FileNotFoundError(f"run {run} of {root} ({status}) kept no adapter")
    if not (folder := root / record.adapter).is_dir():
        raise FileNotFoundError(f"run {run} kept its adapter in {folder}, which is not there: adapters stay where "
                                "the run was computed; run it again with overwrite=true")
    return folder


def run_of(source: str | Path) -> tuple[Store, RunRecord] | None:
    """The run that trained an adapter, where its store is known."""
    folder = locate(source)
    if folder.parent.name != "adapters":
        return None
    store = Store(folder.parent.parent)
    try:
        record = store.read(folder.name)
    except ValueError:
        return None
    return None if record is None else (store, record)


def short_name(source: str | Path) -> str:
    """An adapter's name in captions: method, task, model and seed of its run, or the name of the file or folder."""
    if (run := run_of(source)) is None:
        return locate(source).name
    _, record = run
    config = record.config
    method = config["method"]
    size = f" r = {method['rank']}" if "rank" in method else ""
    return f"{method['name']}{size} on {config['task']['name']}, {config['model']['name']}, seed {record.seed}"
