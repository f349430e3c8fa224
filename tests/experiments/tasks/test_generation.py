"""Generation tasks: what of a row is scored, against transformers' own loss and torch's; E2E and WebNLG."""

import math
import random

import pytest
import torch
from hydra.utils import instantiate
from torch.nn import functional

from experiments.runs.execute import run
from experiments.tasks.data import TextTable
from experiments.tasks.data_to_text import by_category
from experiments.tasks.generation import IGNORED
from experiments.tasks.schemas import SCHEMAS
from tests.experiments.made import adapted, compose, trainer_of, write
from tests.experiments.tasks.made import END, ROWS, byte_level, gpt2, make, word_level

TABLE = TextTable("made", {name: [row[name] for row in ROWS] for name in ROWS[0]})
TOKENIZERS = [word_level, byte_level]


def batch_of(tokenizer, count: int = 5, **others):
    task = make()
    rows = task.encode(TABLE, tokenizer, max_length=128)
    rows = random.Random(1).sample(rows, count)
    return task, rows, task.collate(rows, pad_token_id=0, **others)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_row_is_prompt_separator_target_end_and_only_target_and_end_are_labelled(tokenizer):
    tokenizer = tokenizer()
    row = make().encode(TABLE, tokenizer, max_length=128)[3]
    prompt, (reference,) = make().pairs(TABLE)[3]
    text = f"{prompt}{END} {reference}{END}"
    assert row["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    target = [label for label in row["labels"] if label != IGNORED]
    assert target == tokenizer(f" {reference}", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    assert row["labels"] == [IGNORED] * (len(row["labels"]) - len(target)) + target
    assert row["input_ids"][-len(target):] == target
    assert make().weight(row) == make().reference(row) == len(target)


def test_the_separator_may_be_a_text_and_must_have_a_token():
    tokenizer = word_level()
    assert make("task.separator=' ='").separator_ids(tokenizer) == tokenizer("=")["input_ids"]
    assert make().separator_ids(tokenizer) == [0]
    with pytest.raises(ValueError, match=r"task.separator ' ' has no token"):
        make("task.separator=' '").separator_ids(tokenizer)


def infix(*overrides: str, word: str = "prefix_embed") -> dict[str, int]:
    """What a prefix on GPT-2 names as the separator: its beginning of text, token 0, unless told another."""
    method = instantiate(compose(f"method={word}", *overrides).method)
    return method.resolved(gpt2(word_level(), positions=600), []).separators()


def test_the_separator_of_an_infix_is_that_of_the_task():
    tokenizer, task = word_level(), make()
    rows = task.encode(TABLE, tokenizer, 64)
    task.check_separators(rows, tokenizer, infix())
    task.check_separators(rows, tokenizer, infix("method.parts.prefix_layer.l_p=1", word="lora+prefix_layer"))
    (equals,) = tokenizer("=")["input_ids"]
    other = make("task.separator=' ='")
    message = (rf"task.separator ' =' is token {equals}, but method.separator is 0, before which the infix stands: "
               rf"set method.separator={equals}, or l_i=0")
    with pytest.raises(ValueError, match=message):
        other.check_separators(other.encode(TABLE, tokenizer, 64), tokenizer, infix())
    with pytest.raises(ValueError, match=r"method.parts.prefix_embed.separator=\d+, or l_i=0"):
        other.check_separators([], tokenizer, infix(word="lora+prefix_embed"))
    other.check_separators([], tokenizer, infix("method.l_i=0"))
    with pytest.raises(ValueError, match=r"' = =' is token \d+, \d+, but .* take a separator of one token, or l_i=0"):
        make("task.separator=' = ='").check_separators([], tokenizer, infix())


def test_a_row_whose_infix_would_stand_elsewhere_is_refused():
    tokenizer, task = word_level(), make()
    rows = task.encode(TABLE, tokenizer, 64)
    prompt, target = rows[0]["input_ids"], [label for label in rows[0]["labels"] if label != IGNORED]
    nothing = {"input_ids": prompt[-len(target) - 1:], "labels": [IGNORED, *target]}
    with pytest.raises(ValueError, match="row 1 of those encoded has an empty prompt: the infix would not stand"):
        task.check_separators([rows[0], nothing], tokenizer, infix())
    twice = {"input_ids": [5, 0, *prompt], "labels": [IGNORED, IGNORED, *rows[0]["labels"]]}
    with pytest.raises(ValueError, match=r"row 0 of those encoded has the separator \(token 0\) in its prompt, too"):
        task.check_separators([twice], tokenizer, infix())
    task.check_separators([nothing, twice], tokenizer, infix("method.l_i=0"))


def test_a_run_whose_infix_finds_no_separator_is_refused_before_its_first_step(tiny_language_run):
    lines = [line for line in tiny_language_run if not line.startswith("method")]
    sizes = ["method=prefix_embed", "method.l_p=2", "method.l_i=2"]
    with pytest.raises(ValueError, match=r"task.separator ' =' is token .* set method.separator="):
        run(compose(*lines, *sizes, "task.separator=' ='"))


@pytest.mark.parametrize("length", [11, 12, 13, 20, 64])
def test_truncation_cuts_the_prompt_from_its_left_and_never_the_target(length):
    tokenizer, task = word_level(), make()
    for short, whole in zip(task.encode(TABLE, tokenizer, length), task.encode(TABLE, tokenizer, 64), strict=True):
        assert len(short["input_ids"]) == min(length, len(whole["input_ids"]))
        assert short["input_ids"] == whole["input_ids"][-length:]
        assert task.weight(short) == task.weight(whole)
        assert short["labels"][0] == IGNORED  # the separator is there: the first target token is predicted


def test_a_target_that_does_not_fit_names_its_row():
    table = TABLE.select([1, 2])
    table["human_reference"][1] += " Cocum is a pub."
    message = r"made, row 1: a target of 14 tokens, with the separator and the end, is above trainer.max_length 12"
    with pytest.raises(ValueError, match=message):
        make().encode(table, word_level(), max_length=12)


def test_every_reference_is_a_row_of_its_own():
    lex = {"comment": ["good", "good", "bad"], "text": ["Cocum is a pub", "a pub is Cocum", "pub"]}
    entries = [{"modified_triple_sets": {"mtriple_set": [["Cocum | is | pub"]]}, "lex": lex}] * 2
    table = TextTable("made", {name: [row[name] for row in entries] for name in entries[0]})
    rows = make(task="webnlg").encode(table, word_level(), 64)
    texts = [word_level().decode([t for t in row["labels"] if t > 0]) for row in rows]
    assert texts == ["Cocum is a pub", "a pub is Cocum"] * 2


def test_padding_is_masked_and_not_labelled():
    _, rows, batch = batch_of(word_level(), pad_to_multiple_of=16)
    for row, ids, mask, labels in zip(rows, *(batch[k].tolist() for k in ("input_ids", "attention_mask", "labels")),
                                      strict=True):
        size = len(row["input_ids"])
        assert (ids[:size], labels[:size], mask[:size]) == (row["input_ids"], row["labels"], [1] * size)
        assert (set(ids[size:]), set(labels[size:]), set(mask[size:])) <= ({0}, {IGNORED}, {0})
    assert batch["input_ids"].shape[1] % 16 == 0


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_loss_is_that_of_transformers(tokenizer):
    tokenizer = tokenizer()
    task, rows, batch = batch_of(tokenizer)
    model = gpt2(tokenizer, positions=128).eval()
    with torch.no_grad():
        theirs = model(**batch).loss
        labels = batch.pop("labels")
        logits = model(**batch).logits
    weight = sum(map(task.weight, rows))
    torch.testing.assert_close(task.loss(logits, labels, 0.0) / weight, theirs)
    likelihoods = task.predictions(logits, labels)
    assert likelihoods.shape == (5,)
    torch.testing.assert_close(likelihoods.sum() / weight, theirs)
    alone = task.collate(rows[2:3], 0)  # a row's figure does not depend on its batch
    alone_labels = alone.pop("labels")
    with torch.no_grad():
        torch.testing.assert_close(task.predictions(model(**alone).logits, alone_labels), likelihoods[2:3])


def test_label_smoothing_is_that_of_torch():
    task, _, batch = batch_of(word_level())
    labels = batch["labels"]
    logits = torch.randn(*labels.shape, len(word_level()), generator=torch.Generator().manual_seed(1))
    expected = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED,
                                        label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(task.loss(logits, labels, 0.1), expected)
    assert task.loss(logits.bfloat16(), labels, 0.1).dtype == torch.float32


def test_no_prompt_token_contributes_to_the_loss():
    task, rows, batch = batch_of(word_level())
    labels, mask = batch["labels"], batch["attention_mask"]
    logits = torch.randn(*labels.shape, len(word_level()), requires_grad=True)
    task.loss(logits, labels, 0.1).backward()
    moved = (logits.grad != 0).any(-1)
    for row, positions in zip(rows, moved, strict=True):
        start = len(row["labels"]) - task.weight(row)  # where the target begins
        expected = [start - 1 <= position < len(row["labels"]) - 1 for position in range(mask.shape[1])]
        assert positions.tolist() == expected
    changed = [row | {"input_ids": [1 if label == IGNORED else token for token, label in
                                    zip(row["input_ids"], row["labels"], strict=True)]} for row in rows]
    assert torch.equal(task.collate(changed, 0)["labels"], labels)


def test_pieces_of_a_batch_give_the_gradients_of_the_whole(tiny_language_run):
    gradients, losses = [], []
    for size in ("null", "2", "3"):
        cfg = compose(*tiny_language_run, f"trainer.device_batch_size={size}", "trainer.label_smoothing=0.1",
                      "trainer.gradient_clip=null")
        trainer, _ = trainer_of(cfg, *adapted(cfg))
        found: list[torch.Tensor] = []
        parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
        trainer.optimizer.step = lambda found=found, parameters=parameters: found.extend(
            p.grad.clone() for p in parameters)
        losses.append(trainer._step(list(range(8)))[0])
        gradients.append(found)
        assert any(gradient.abs().sum() > 0 for gradient in found)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0])
    assert losses == pytest.approx([losses[0]] * 3)


def test_the_mean_loss_of_a_step_is_that_of_transformers_on_its_batch(tiny_language_run):
    cfg = compose(*tiny_language_run)
    model, groups = adapted(cfg)
    trainer, _ = trainer_of(cfg, model, groups)
    with torch.no_grad():
        theirs = model(**trainer.task.collate(trainer.train_rows[:8], 0)).loss
    assert trainer._step(list(range(8)))[0] == pytest.approx(theirs.item())


def test_loss_and_perplexity_are_per_target_token_and_leave_the_test_splits_out():
    task = make(task="webnlg")
    nats, tokens = {"dev": [3.0, 1.0], "test_seen": [6.0], "test_unseen": [8.0]}, {"dev": [1, 3], "test_seen": [3],
                                                                                 "test_unseen": [2]}
    scores = task.metrics(nats, tokens)
    assert (scores["loss"], scores["loss_dev"], scores["loss_test_seen"], scores["loss_test_unseen"]) == (1, 1, 2, 4)
    assert scores["perplexity"] == pytest.approx(math.e)
    assert scores["perplexity_test_unseen"] == pytest.approx(math.e ** 4)
    both = make("task.evaluation_splits=[validation_seen,validation_unseen]").metrics(
        {"seen": [3.0, 1.0], "unseen": [6.0]}, {"seen": [1, 3], "unseen": [1]})
    assert (both["loss"], both["loss_seen"], both["loss_unseen"]) == (2, 1, 6)  # all rows together, not 3.5


def test_a_loss_that_is_not_finite_is_a_collapse():
    assert not make().collapsed({"validation": [1.0, 1.0]})
    assert make().collapsed({"validation": [1.0, math.nan]})
    assert make().collapsed({"a": [1.0], "b": [math.inf]})


def test_development_holds_out_all_references_of_a_prompt(mirror):
    data = make("task.evaluate_on=development").load()
    kept, held = data.train["meaning_representation"], data.evaluation["development"]["meaning_representation"]
    assert list(data.evaluation) == ["development"]
    assert not set(kept) & set(held)
    assert (len(held), len(kept)) == (2, 34)  # a tenth of 18 prompts, each with both its references


def test_e2e_trains_from_the_command_lines_config_to_its_record(tiny_language_run):
    record = run(compose(*tiny_language_run, "trainer.epochs=4", "trainer.label_smoothing=0.1"))
    history = [epoch["metrics"]["loss"] for epoch in record.history]
    assert record.status == "done"
    assert record.score == record.metrics["loss"] == min(history) < math.log(22)
    assert record.best_epoch == 1 + history.index(min(history))
    assert record.metrics["perplexity"] == pytest.approx(math.exp(record.score))
    assert history[-1] < history[0]
    assert record.head == 0
    assert record.trainable == 2 * 2 * 4 * (16 + 16)
    assert record.summary()["main_metric"] == "loss"
    assert record.merge_error


def test_the_best_epoch_is_that_of_the_lowest_loss(tiny_language_run, monkeypatch):
    losses = iter([math.nan, 3.0, 2.0, 2.5])
    cfg = compose(*tiny_language_run, "trainer.epochs=4")
    trainer, log = trainer_of(cfg, *adapted(cfg))
    logged: list[dict] = []
    monkeypatch.setattr(log, "log_epoch", lambda epoch, metrics: logged.append(metrics))
    monkeypatch.setattr(trainer, "_evaluate", lambda: {"metrics": {"loss": next(losses)}, "collapsed": False})
    outcome = trainer.fit()
    assert (outcome.best_epoch, outcome.score) == (3, 2.0)
    assert logged[1]["evaluation_loss"] == 3.0
    assert logged[1]["loss"] == outcome.history[1]["loss"]  # of training: neither hides the other


def test_a_target_too_long_is_named_before_a_model_is_loaded(tiny_language_run, monkeypatch):
    monkeypatch.setattr("experiments.runs.execute.load_base", None)
    with pytest.raises(ValueError, match=r"train-.*parquet, row 0: a target of \d+ tokens"):
        run(compose(*tiny_language_run, "trainer.max_length=5"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.kind=classification", "task kind 'classification' is not one of causal_lm"),
        ("task.main_metric=acuracy", "causal_lm metric 'acuracy' is not one of loss, perplexity"),
        ("task.schema=e2", "task.schema 'e2' is not one of dart, e2e, samsum, webnlg, wikisql; did you mean 'e2e'"),
        ("task.test_splits=[validation]", "task.test_splits and task.evaluation_splits share validation"),
    ],
)
def test_a_wrong_setting_is_refused(override, message):
    with pytest.raises(Exception, match=message):
        make(override)


def test_a_task_of_classes_is_no_task_of_texts():
    with pytest.raises(Exception, match="task kind 'causal_lm' is not one of classification, regression"):
        instantiate(compose("task=mrpc", "task.kind=causal_lm", "task.main_metric=loss").task)


def test_data_without_a_known_revision_come_from_a_mirror_alone(monkeypatch):
    monkeypatch.delenv("LORA_LAB_HUB", raising=False)
    message = r"tuetschek/e2e_nlg has no pinned revision: set LORA_LAB_HUB .*e2e_nlg/default/train-\*.parquet"
    with pytest.raises(FileNotFoundError, match=message):
        make().split("train")


def test_identity_follows_the_content_of_files_without_a_revision(mirror, monkeypatch):
    file = mirror / "tuetschek/e2e_nlg/default/validation-00000-of-00001.parquet"
    before = make().identity()
    assert sorted(before["source"]["files"]) == ["train", "validation"]
    write(file, ROWS[:3])
    assert make().identity() != before
    monkeypatch.delenv("LORA_LAB_HUB")
    assert "files" not in make("task.source.revision=0123").identity()["source"]


def test_a_set_without_rows_of_a_category_is_refused():
    with pytest.raises(ValueError, match="made: no row of a category that training has not seen"):
        by_category(TextTable("made", {"category": ["Food"]}), {"Food"}, seen=False)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_has_its_task(name):
    assert (make(task=name).schema, make(task=name).kind) == (name, "causal_lm")
