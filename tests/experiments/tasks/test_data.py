"""Reading rows: every format gives the same table, and every bad file an error that says what to do."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from experiments.tasks.data import FileSource, HubSource, TextTable
from tests.conftest import ROOT
from tests.experiments.made import write

ROWS = [{"text": "one, two", "label": "a"}, {"text": 'a "quoted"\nline', "label": "b"}]
MRPC = HubSource(name="nyu-mll/glue", config="mrpc", revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c")


def read(path: Path) -> TextTable:
    return FileSource(files={"train": str(path)}).load("train")


@pytest.mark.parametrize("extension", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path, extension):
    table = read(write(tmp_path / f"train{extension}", ROWS))
    assert table.columns == {"text": ["one, two", 'a "quoted"\nline'], "label": ["a", "b"]}
    assert len(table) == 2
    assert table.select([1])["label"] == ["b"]


def test_a_csv_keeps_its_cells_as_text(tmp_path):
    (tmp_path / "train.csv").write_text("\ufefftext,label\n2020-01-01,01\nNA,1\n", encoding="utf-8")
    assert read(tmp_path / "train.csv").columns == {"text": ["2020-01-01", "NA"], "label": ["01", "1"]}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("content", ['{"text": "{a}"}\r\n\r\n{"text": "\u2028b"}\r\n',
                                     '\ufeff[{"text": "{a}"},\n{"text": "\u2028b"}]'])
def test_json_is_a_list_or_an_object_a_line_under_both_extensions(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert read(tmp_path / name).columns == {"text": ["{a}", "\u2028b"]}


def test_a_cell_may_be_longer_than_the_limit_of_python(tmp_path):
    long = "word " * 50_000
    assert len(long) > 131_072  # csv.field_size_limit() of a new Python
    (tmp_path / "a.csv").write_text(f"text,label\r\n{long},y\r\nx,n\r\n", newline="")
    assert read(tmp_path / "a.csv").columns == {"text": [long, "x"], "label": ["y", "n"]}


def test_columns_without_a_name_may_be_several(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,,\nx,y,,\n")  # a spreadsheet with two empty columns at its side
    assert read(tmp_path / "a.csv")["text"] == ["x"]


def test_a_column_that_a_parquet_file_has_twice_is_named(tmp_path):
    columns = [pyarrow.array(["x"]), pyarrow.array(["y"]), pyarrow.array(["z"])]
    pyarrow.parquet.write_table(pyarrow.table(columns, names=["text", "label", "text"]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a.parquet has 'text' twice"):
        read(tmp_path / "a.parquet")


def test_a_parquet_file_has_its_own_columns_whatever_its_folder_is_called(tmp_path):
    (tmp_path / "label=good").mkdir()
    assert read(write(tmp_path / "label=good" / "a.parquet", ROWS))["label"] == ["a", "b"]


def test_shards_with_other_columns_are_named(tmp_path, monkeypatch):
    folder = tmp_path / "nyu-mll" / "glue" / "mrpc"
    write(folder / "train-00000-of-00002.parquet", ROWS)
    write(folder / "train-00001-of-00002.parquet", [{"text": "x"}])
    monkeypatch.setenv("LORA_LAB_HUB", str(tmp_path))
    message = r"train-00001-of-00002.parquet has the columns text, train-00000-of-00002.parquet has text, label"
    with pytest.raises(ValueError, match=message):
        MRPC.load("train")


def test_shards_are_read_in_order(tmp_path, monkeypatch):
    folder = tmp_path / "nyu-mll" / "glue" / "mrpc"
    for shard in (1, 0):
        write(
            folder / f"train-0000{shard}-of-00002.parquet", [{"label": 2 * shard}, {"label": 2 * shard + 1}]
        )
    monkeypatch.setenv("LORA_LAB_HUB", str(tmp_path))
    assert MRPC.load("train")["label"] == [0, 1, 2, 3]


def test_the_rows_of_a_mirror_are_in_the_identity_beside_a_pinned_revision(tmp_path, monkeypatch):
    monkeypatch.delenv("LORA_LAB_HUB", raising=False)
    pinned = MRPC.identity(["train", "validation"])
    monkeypatch.setenv("LORA_LAB_HUB", str(tmp_path))
    assert MRPC.identity(["train", "validation"]) == pinned  # there is nothing yet
    identities = [pinned]
    for rows in (1, 2):
        path = write(tmp_path / "nyu-mll" / "glue" / "mrpc" / "train-00000-of-00001.parquet", [{"label": 0}] * rows)
        identities.append(MRPC.identity(["train", "validation"]))
        assert identities[-1]["files"] == {"train": [hashlib.sha256(path.read_bytes()).hexdigest()]}
    assert identities[1] != identities[2]


@pytest.mark.parametrize("config", ["mrpc", "rte"])
def test_the_mirror_from_which_committed_runs_were_trained_is_their_revision(hub, monkeypatch, config):
    source = HubSource(name="nyu-mll/glue", config=config, revision=MRPC.revision)
    monkeypatch.delenv("LORA_LAB_HUB", raising=False)
    pinned = source.identity(["train", "validation"])
    monkeypatch.setenv("LORA_LAB_HUB", str(hub))
    assert source.identity(["train", "validation"]) == pinned


@pytest.mark.parametrize(
    ("config", "train", "validation"),
    [("cola", 8551, 1043), ("sst2", 67349, 872), ("mrpc", 3668, 408), ("rte", 2490, 277)],
)
def test_the_mirror_has_the_published_number_of_rows(hub, monkeypatch, config, train, validation):
    monkeypatch.setenv("LORA_LAB_HUB", str(hub))
    source = HubSource(name="nyu-mll/glue", config=config, revision=MRPC.revision)
    assert (len(source.load("train")), len(source.load("validation"))) == (train, validation)


def test_a_missing_column_names_the_nearest(tmp_path):
    path = write(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(ValueError, match=r"train.jsonl: column 'txt' is not one of label, text; .*'text'\?"):
        read(path)["txt"]


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path / "train.csv", ROWS)
    with pytest.raises(
        FileNotFoundError, match=r"no file .*trian.csv \(split 'train'\); did you mean 'train.csv'"
    ):
        read(tmp_path / "trian.csv")


def test_an_unset_file_names_its_key():
    with pytest.raises(
        ValueError, match=r"task.files.train is not set: give a .csv, .tsv, .json, .jsonl, .parquet file"
    ):
        FileSource(files={"train": None}).load("train")


def test_an_unknown_split_names_those_given():
    with pytest.raises(ValueError, match=r"split 'validation' is not one of train"):
        FileSource(files={"train": None}).load("validation")


def test_an_unknown_extension_names_the_known_ones(tmp_path):
    message = (
        r"extension of .*train.jsn '.jsn' is not one of .csv, .json, .jsonl, .parquet, .tsv; did you mean '.json"
    )
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "train.jsn")


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_truncated_parquet_file_is_named(tmp_path, keep):
    path = write(tmp_path / "train.parquet", ROWS)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"train.parquet is not a whole parquet file \(truncated\?\)"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"text": "x"}, {"te', r"a.json: file is not JSON \(truncated\?\)"),
        ("a.json", '{"text": "x"}', r"a.json must hold a list of JSON objects"),
        ("a.jsonl", '{"text": "x"}\n{"te', r"a.jsonl: line 2 is not JSON \(truncated\?\)"),
        ("a.csv", "text,label\nx,y\nx,y,z\n", r"a.csv, row 1: more cells than the header's 2 columns"),
        ("a.csv", 'text,label\nx,"y', r"a.csv, after line 1: not UTF-8 CSV"),
        ("a.csv", "text,label,text\nx,y,z\n", r"a.csv has 'text' twice: rename one, or leave it out"),
        ("a.tsv", "text\tlabel\ttext\tlabel\nx\ty\tx\ty\n", r"a.tsv has 'label', 'text' twice"),
        ("a.json", '[{"text": "x", "label": "y", "text": "z"}]', r"a.json has 'text' twice"),
        ("a.jsonl", '{"text": "x", "label": "y", "label": "z"}', r"a.jsonl has 'label' twice"),
        ("a.json", '{"text": "x"}\n{"te', r"a.json: line 2 is not JSON \(truncated\?\)"),
        ("a.json", '{\n "text": "x"\n}', r"a.json must hold a list of JSON objects"),
    ],
)
def test_a_broken_text_file_is_named_with_the_place(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("extension", [".csv", ".json", ".jsonl"])
def test_text_in_another_encoding_is_named(tmp_path, extension):
    (tmp_path / f"a{extension}").write_bytes("text\ncafé\n".encode("latin-1"))
    with pytest.raises(ValueError, match=rf"a{extension}.* not UTF-8"):
        read(tmp_path / f"a{extension}")


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text,label\n"), ("a.csv", ""), ("a.json", "[]")])
def test_an_empty_split_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}: split 'train' has no rows"):
        read(tmp_path / name)


def test_a_split_that_the_mirror_lacks_names_where_it_looked(tmp_path, monkeypatch):
    write(tmp_path / "nyu-mll/glue/mrpc/train-00000-of-00001.parquet", ROWS)
    monkeypatch.setenv("LORA_LAB_HUB", str(tmp_path))
    place = rf"no {tmp_path}/nyu-mll/glue/mrpc/trian-\*.parquet in LORA_LAB_HUB={tmp_path}; "
    with pytest.raises(FileNotFoundError, match=place + "splits there: train; did you mean 'train'"):
        MRPC.load("trian")


def test_an_unreachable_hub_says_to_set_a_mirror(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="experiments.tasks.data")
    monkeypatch.delenv("LORA_LAB_HUB", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = r"cannot get nyu-mll/glue \(mrpc/train-\*.parquet\) at revision bcdcba7.* set LORA_LAB_HUB to a"
    with pytest.raises(FileNotFoundError, match=message):
        MRPC.load("train")
    assert caplog.messages == ["looking for data set nyu-mll/glue (mrpc/train-*.parquet) on the hub"]


def test_the_log_is_without_the_hubs_retries():
    """The hub's library gives its logger a handler when it is imported, and warns of each retry."""
    code = f"""
import logging
from hydra.core.utils import configure_log
from omegaconf import OmegaConf
configure_log(OmegaConf.load({str(ROOT / "conf/hydra/job_logging/stderr.yaml")!r}))
import huggingface_hub.utils._http as http
http.logger.warning("Retrying in 1s")
logging.getLogger("experiments.tasks.data").info("looking for it")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.endswith("INFO looking for it\n")
    assert "Retrying" not in done.stderr
