"""What a language model reads: words and tokens, masks, batches, positions, held-out loss and answers."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, get_linear_schedule_with_warmup

from experiments.pretraining.cloze import causal_answers, held_out_loss, log_likelihoods, masked_answers
from experiments.pretraining.language import IGNORED, Stream, masked, masking_rates
from experiments.pretraining.loop import begin_positions, trapezoid
from experiments.pretraining.tokenizer import build_tokenizer
from tests.experiments.pretraining.made import SHAPES, WORDS, Document, Probe, fresh, language, source

pytestmark = pytest.mark.usefixtures("small_corpus")
ARCHITECTURES = {"roberta": "roberta-nano", "deberta-v2": "deberta-nano", "gpt2": "gpt2-nano"}
MODELS = list(SHAPES)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_tokenizer_gives_words_back(architecture: str, tmp_path: Path):
    build_tokenizer(WORDS, architecture, 16).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "is the bird red ? | yes ."
    assert tokenizer.is_fast
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer("The BIRD is red.")["input_ids"] == tokenizer("the bird is red .")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("a wug", add_special_tokens=False)["input_ids"]) == [
        "a", tokenizer.unk_token]
    assert len(tokenizer("the " * 99, truncation=True)["input_ids"]) == 16


@pytest.mark.parametrize(("architecture", "ids", "pair"), [
    ("roberta", {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, "<s> a bird </s> </s> is <mask> </s>"),
    ("deberta-v2", {"[PAD]": 0}, "[CLS] a bird [SEP] is [MASK] [SEP]"),
    ("gpt2", {"<|endoftext|>": 0}, "a bird is"),
])
def test_special_tokens_stand_where_the_architecture_has_them(architecture: str, ids: dict[str, int], pair: str):
    tokenizer = build_tokenizer(WORDS, architecture, 16)
    encoded = tokenizer("a bird", f"is {tokenizer.mask_token or ''}")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(encoded) == pair.split()
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in ids} == ids
    cut = tokenizer("a bird", "is red " * 20, truncation="longest_first", max_length=12)["input_ids"]
    assert len(cut) == 12


@pytest.mark.parametrize(("words", "message"), [
    (["bird", "bird"], "has bird twice"), (["Bird"], "'Bird' .*not stay one token"), (["don't"], "not stay one token")])
def test_a_vocabulary_that_cannot_be_read_back_is_refused(words: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        build_tokenizer(words, "roberta", 16)


def test_an_unknown_architecture_names_the_nearest():
    with pytest.raises(ValueError, match=r"'roberto' is not one of .*did you mean 'roberta'"):
        build_tokenizer(WORDS, "roberto", 16)


@pytest.mark.parametrize("architecture", ["roberta", "deberta-v2"])
def test_words_are_masked_by_kind_and_special_tokens_never(architecture: str):
    tokenizer = build_tokenizer(WORDS, architecture, 16)
    shares = {"content": 0.25, "function": 0.08, "answer": 0.5}
    rates = masking_rates(tokenizer, source().function_words, source().answers, shares)
    ids = torch.arange(len(tokenizer)).repeat(20_000, 1)
    words = torch.arange(5, len(tokenizer))
    inputs, targets = masked(ids, rates, tokenizer.mask_token_id, words, torch.Generator().manual_seed(0))
    shares = (targets != IGNORED).float().mean(0)
    for word, i in tokenizer.get_vocab().items():
        grammatical, answer = word in {"the", "is", "a", ".", "?", "|"}, word in {"yes", "no"}
        kind = "function" if grammatical else "answer" if answer else "content"
        expected = 0.0 if i < 5 else {"content": 0.25, "function": 0.08, "answer": 0.5}[kind]
        assert shares[i].item() == pytest.approx(expected, abs=0.015), word
    assert (inputs[:, :5] == ids[:, :5]).all()
    assert (inputs[targets == IGNORED] == ids[targets == IGNORED]).all()
    chosen = targets != IGNORED
    hidden = inputs[chosen] == tokenizer.mask_token_id
    assert hidden.float().mean().item() == pytest.approx(0.8, abs=0.01)
    kept = inputs[chosen] == targets[chosen]
    assert kept.float().mean().item() == pytest.approx(0.1 + 0.1 / len(words), abs=0.01)
    assert inputs[chosen][~hidden & ~kept].min() >= 5


def test_half_of_the_pairs_are_encoded_as_pairs():
    made = language()
    documents = [Document("question", ("is the bird red ?", "yes ."))] * 400
    forms = {made.tokenizer.decode(ids) for ids in made.sequences(documents, 0)}
    assert forms == {"<s> is the bird red ? yes . </s>", "<s> is the bird red ? </s> </s> yes . </s>"}
    pairs = sum(ids.count(2) == 3 for ids in made.sequences(documents, 0))
    assert 150 < pairs < 250


def test_a_causal_model_reads_an_end_after_each_segment():
    made = language("gpt2-nano")
    documents = [Document("question", ("is the bird red ?", "yes .")), Document("facts", ("a fish .",))] * 9
    end = "<|endoftext|>"
    texts = [made.tokenizer.decode(ids) for ids in made.sequences(documents, 0)]
    assert set(texts[::2]) == {f"{end} is the bird red ? {end} yes . {end}", f"is the bird red ? {end} yes . {end}"}
    assert set(texts[1::2]) == {f"{end} a fish . {end}", f"a fish . {end}"}


@pytest.mark.parametrize("model", ["roberta-nano", "gpt2-nano"])
def test_a_batch_is_a_function_of_seed_and_step(model: str):
    one, two = Stream(language(model), 4, seed=3), Stream(language(model), 4, seed=3)
    in_order = [one.batch(step, stage=step // 20) for step in range(40)]
    for step in (35, 2):
        assert torch.equal(two.batch(step, step // 20).ids, in_order[step].ids)
        assert torch.equal(two.batch(step, step // 20).targets, in_order[step].targets)
    assert not torch.equal(in_order[0].ids, Stream(language(model), 4, seed=4).batch(0, 0).ids)
    assert not torch.equal(in_order[0].ids, two.batch(0, 1).ids)


def test_sinusoidal_positions_are_the_transformers_scaled_to_the_other_weights():
    model = fresh("roberta-nano")
    begin_positions(model, "sinusoidal")
    table = model.base_model.embeddings.position_embeddings.weight
    width, scale = table.shape[1], model.config.initializer_range * math.sqrt(2)
    for place, column in itertools.product((0, 2, 7, 200), range(width)):
        angle = place / 10_000 ** (column // 2 * 2 / width)
        expected = scale * (math.cos(angle) if column % 2 else math.sin(angle))
        assert table[place, column].item() == pytest.approx(expected, abs=1e-5)
    assert not table[model.config.pad_token_id].any()
    before = fresh("roberta-nano").state_dict()
    others = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert others == ["roberta.embeddings.position_embeddings.weight"]


def test_positions_of_a_model_without_a_table_of_them_are_refused():
    for model, place in (("deberta-nano", "deberta-v2"), ("gpt2-nano", "gpt2")):
        with pytest.raises(ValueError, match=f"positions=sinusoidal: a {place} model has no table"):
            begin_positions(fresh(model), "sinusoidal")


def test_the_learning_rate_rises_stays_and_falls():
    shares = [trapezoid(done, 0.1, 0.4) for done in (0, 0.05, 0.1, 0.3, 0.6, 0.8, 1)]
    assert shares == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0])
    linear = [trapezoid(done / 10, 0.2, 0.8) for done in range(11)]  # transformers' linear schedule with warm-up
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, 2, 10).lr_lambdas[0]
    assert linear == pytest.approx([theirs(step) for step in range(11)])


@pytest.mark.parametrize("model", MODELS)
def test_the_held_out_loss_is_transformers_own(model: str):
    made, network = language(model), fresh(model).eval()
    batches = made.held_out(20, 8)
    total, count = 0.0, 0
    for batch in batches:
        labels = torch.where(batch.ids == made.pad, IGNORED, batch.ids) if made.causal else batch.targets
        if made.causal:  # the padding is end-of-text, which must be learnt where it is real
            real = (batch.targets != IGNORED).sum(1) + 1
            labels = torch.where(torch.arange(labels.shape[1]) < real[:, None], batch.ids, IGNORED)
        theirs = network(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
        targets = int((batch.targets != IGNORED).sum())
        total, count = total + theirs.item() * targets, count + targets
    assert held_out_loss(network, batches) == pytest.approx(total / count, rel=1e-5)


def test_a_causal_answer_is_the_likeliest_text():
    made, network = language("gpt2-nano"), fresh("gpt2-nano", seed=5).eval()
    probes = [Probe("the <mask> is red .", "bird", ("bird", "fish", "tree")), Probe("<mask> .", "yes", ("yes", "no"))]
    expected = []
    for probe in probes:
        scores = []
        for word in probe.candidates:
            ids = [0, *(made.tokenizer.convert_tokens_to_ids(token) for token in
                        probe.text.replace("<mask>", word).split())]
            table = network(torch.tensor([ids])).logits[0].log_softmax(-1)
            scores.append(sum(table[place, ids[place + 1]].item() for place in range(len(ids) - 1)))
        text = probe.text.replace("<mask>", probe.candidates[0])
        assert log_likelihoods(network, made, [text, "a bird is a bird ."])[0] == pytest.approx(scores[0], rel=1e-4)
        expected.append(probe.candidates[scores.index(max(scores))])
    assert causal_answers(network, made, probes) == expected


@pytest.mark.parametrize("model", ["roberta-nano", "deberta-nano"])
def test_a_masked_answer_is_the_highest_logit_among_the_candidates(model: str):
    made, network = language(model), fresh(model, seed=5).eval()
    probes = [Probe("the <mask> is red .", "bird", ("bird", "fish", "tree")), Probe("a <mask>", "no", ("yes", "no"))]
    expected = []
    for probe in probes:
        ids = made.tokenizer(probe.text.replace("<mask>", made.tokenizer.mask_token), return_tensors="pt")["input_ids"]
        logits = network(ids).logits[ids == made.tokenizer.mask_token_id][0]
        words = made.tokenizer.convert_tokens_to_ids(list(probe.candidates))
        expected.append(probe.candidates[logits[words].argmax()])
    assert masked_answers(network, made, probes) == expected
    with pytest.raises(ValueError, match="candidate 'wug' of a probe is not a word"):
        masked_answers(network, made, [Probe("a <mask>", "wug", ("wug", "no"))])
