"""Where an adapter is: a folder, a state dict, or what a run of a store kept."""

from pathlib import Path

from experiments.store.store import RunRecord, Store
from lora.errors import nearest


def locate(source: Path | str) -> Path:
    """The adapter's folder or state dict; that of a run is where its record says."""
    path = Path(source).expanduser()
    if path.is_file() and path.suffix == ".json":
        return _of_run(path.parent.parent, path.stem)
    if path.exists():
        return path
    for store in (path.parent, path.parent.parent):
        if (store / "runs" / f"{path.name}.json").is_file():
            return _of_run(store, path.name)
    runs = [file.stem for file in path.parent.glob("runs/*.json")]
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    raise FileNotFoundError(f"no adapter and no run at {source}{nearest(path.name, runs + beside)}")


def _of_run(root: Path, run: str) -> Path:
    from experiments.store.store import Store

    record = Store(root).read(run)
    if record is None or record.adapter is None:
        status = "not in the store" if record is None else record.status
        raise FileNotFoundError(f"run {run} of {root} ({status}) kept no adapter")
    if not (folder := root / record.adapter).is_dir():
        raise FileNotFoundError(f"run {run} kept its adapter in {folder}, which is not there: adapters stay where "
                                "the run was computed; run it again with overwrite=true")
    return folder


def run_of(source: str | Path) -> tuple[Store, RunRecord] | None:
    """The run that an adapter is of, where its store is known."""
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
    """What a caption calls an adapter: method, task, model and seed of a run, or the name of the file or folder."""
    if (found := run_of(source)) is None:
        return locate(source).name
    config = found[1].config
    method = config["method"]
    size = f" r = {method['rank']}" if "rank" in method else ""
    return f"{method['name']}{size} on {config['task']['name']}, {config['model']['name']}, seed {found[1].seed}"
