"""What a step is said to cost is what the real step does, for every kind of model and method."""

from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from experiments.measure.step import check_step, shadow_of, training_step
from experiments.models.load import kind_of
from experiments.store.paths import CONF
from tests.experiments.made import compose

METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
SMALL = {"bottleneck": 4, "l_p": 3, "l_i": 2}
SHAPES = {
    "roberta-base": {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                     "intermediate_size": 32},
    "gpt2": {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "bos_token_id": 0,
             "eos_token_id": 0},
    "deberta-v2-xxlarge": {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                           "intermediate_size": 32, "max_position_embeddings": 32}}


def config(model: str, method: str, **changes: Any) -> DictConfig:
    """A step of a tiny model of conf/model, without dropout, which random numbers would be kept for."""
    cfg = compose(f"model={model}", config="cost")
    OmegaConf.set_struct(cfg, False)
    cfg.method = compose(f"method={method}", config="cost").method
    drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0}
    cfg.model.config.update(SHAPES[model] | drop)
    cfg.model.attention = "eager"
    for method in (cfg.method, *cfg.method.get("parts", {}).values()):
        method.update({key: small for key, small in SMALL.items() if key in method})
    cfg.update({"batch_size": 3, "length": 8} | changes)
    return cfg


def kept_bytes(cfg: DictConfig) -> int:
    """Bytes of what autograd keeps over a real forward pass, each storage once, weights left out."""
    step = training_step(cfg, kind_of(cfg.model))
    # buffers (positions, masks) lie in the model before the pass
    outside = {tensor.untyped_storage().data_ptr() for tensor in (*step.model.parameters(), *step.model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in outside:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step.loss()
    loss.backward()
    return sum(kept.values())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", list(SHAPES))
def test_activations_are_what_autograd_keeps(model: str, method: str) -> None:
    cfg = config(model, method)
    kind = kind_of(cfg.model)
    found, kept = shadow_of(cfg, kind).activation_bytes, kept_bytes(cfg)
    batch = 8 * (cfg.batch_size * cfg.length + cfg.batch_size)  # ids and labels, which were there before
    loss = 4
    assert kept - batch <= found <= kept + loss


@pytest.mark.parametrize("method", ["ft", "lora"])
@pytest.mark.parametrize("model", list(SHAPES))
def test_flops_are_what_torch_counts_on_the_real_step(model: str, method: str) -> None:
    cfg = config(model, method)
    kind = kind_of(cfg.model)
    step = training_step(cfg, kind)
    with FlopCounterMode(display=False) as counter:
        loss = step.loss()
        forward = counter.get_total_flops()
        loss.backward()
    found = shadow_of(cfg, kind)
    assert found.forward.flops == forward
    assert found.forward.flops + found.backward.flops == counter.get_total_flops()


def test_gpt2s_forward_flops_are_those_counted_by_hand() -> None:
    tokens, d, layers, length, vocabulary = 3 * 8, 16, 2, 8, 50
    block = 12 * d * d + 2 * length * d  # weights of a block, and scores and weighted sums over `length` positions
    found = shadow_of(config("gpt2", "ft"), "causal_lm")
    assert found.forward.flops == 2 * tokens * (layers * block + vocabulary * d)
    assert found.backward.flops == 2 * found.forward.flops


def test_lora_saves_the_gradient_of_the_frozen_weights() -> None:
    tokens, d, layers, rank = 3 * 8, 16, 2, 4
    cfg = config("gpt2", "lora")
    cfg.method.rank = rank
    full, lora = (shadow_of(each, "causal_lm") for each in (config("gpt2", "ft"), cfg))
    updates = 2 * tokens * layers * 2 * (rank * d + d * rank)  # q and v: A x, and B of that
    assert lora.forward.flops - full.forward.flops == updates
    frozen = 2 * tokens * (layers * 12 * d * d + 50 * d)  # a gradient of each frozen weight, once
    below = 2 * tokens * 3 * d * d  # and none of the first block's input, which nothing trained comes before
    first = 2 * tokens * 2 * rank * d  # nor through the first block's two A
    assert full.backward.flops - lora.backward.flops == frozen + below - 2 * updates + first


@pytest.mark.parametrize("method", ["ft", "lora"])
def test_checkpointing_computes_the_blocks_once_more_and_keeps_their_inputs(method: str) -> None:
    plain, again = (shadow_of(config("gpt2", method, checkpointing=value), "causal_lm") for value in (False, True))
    head = 2 * 3 * 8 * 50 * 16  # the output layer, which is not in a block
    assert again.forward.flops == plain.forward.flops
    # of each block's last product nothing is needed again, so torch stops before it
    assert plain.forward.flops - head >= again.backward.flops - plain.backward.flops > 0
    assert again.activation_bytes < plain.activation_bytes / 2


@pytest.mark.parametrize(("model", "key"), [("gpt2", "attn_pdrop"), ("roberta-base", "attention_probs_dropout_prob")])
def test_a_gpus_fused_attention_keeps_what_it_does_without_dropout(model: str, key: str) -> None:
    costs, kept = {}, 0
    for device in ("cuda", "cpu"):
        for dropout in (0.0, 0.1):
            cfg = config(model, "lora", length=16, device=device)
            cfg.model.attention, cfg.model.config[key] = "sdpa", dropout
            costs[device, dropout] = shadow_of(cfg, kind_of(cfg.model))
            kept = kept_bytes(cfg) if dropout == 0 else kept  # of the real step, by a CPU's fused kernel
    batch, loss = 8 * (3 * 16 + 3), 4
    # GPT-2's queries are part of a wider tensor: the output of torch's fake kernel then has to be copied, the real not
    copies = 2 * 4 * 3 * 16 * 16 if model == "gpt2" else 0
    assert kept - batch <= costs["cuda", 0.1].activation_bytes - copies <= kept + loss
    assert costs["cuda", 0.1] == costs["cuda", 0.0] == costs["cpu", 0.0]
    scores = 4 * 2 * 3 * 2 * 16 * 16  # in fp32, of 2 layers, 3 rows and 2 heads
    assert costs["cpu", 0.1].activation_bytes > costs["cuda", 0.1].activation_bytes + scores


@pytest.mark.parametrize(("device", "width"), [("cuda", 1), ("cpu", 4)])
def test_dropout_keeps_a_byte_a_number_on_a_gpu_and_four_on_a_cpu(device: str, width: int) -> None:
    kept = []
    for dropout in (0.0, 0.1):
        cfg = config("gpt2", "ft", device=device)
        cfg.model.config.update({"resid_pdrop": dropout, "embd_pdrop": dropout})
        kept.append(shadow_of(cfg, "causal_lm").activation_bytes)
    assert kept[1] - kept[0] == (1 + 2 * 2) * 3 * 8 * 16 * width  # of the embeddings, and twice a block


def test_a_gpus_dropout_is_computed_again_as_it_was_and_leaves_torch_as_it_was() -> None:
    before, found = (functional.dropout, functional.scaled_dot_product_attention), []
    for checkpointing in (False, True):
        cfg = config("gpt2", "lora", checkpointing=checkpointing, device="cuda")
        cfg.model.attention = "sdpa"
        cfg.model.config.update({"resid_pdrop": 0.1, "attn_pdrop": 0.1})
        found.append(shadow_of(cfg, "causal_lm"))
    assert found[1].activation_bytes < found[0].activation_bytes / 2
    assert (functional.dropout, functional.scaled_dot_product_attention) == before


def test_half_precision_keeps_everything_in_two_bytes() -> None:
    whole, half = (shadow_of(config("gpt2", "ft", precision=name), "causal_lm") for name in ("fp32", "fp16"))
    assert 2 * half.weight_bytes == whole.weight_bytes
    assert 2 * half.gradient_bytes == whole.gradient_bytes
    assert half.forward.flops == whole.forward.flops


def test_bf16_keeps_weights_and_gradients_in_four_bytes() -> None:
    whole, cast = (shadow_of(config("gpt2", "ft", precision=name), "causal_lm") for name in ("fp32", "bf16"))
    assert (cast.weight_bytes, cast.gradient_bytes) == (whole.weight_bytes, whole.gradient_bytes)
    assert cast.forward.flops == whole.forward.flops


def test_the_real_step_trains() -> None:
    step = training_step(config("gpt2", "lora"), "causal_lm")
    before = step.loss().item()
    for _ in range(3):
        step()
    assert step.loss().item() < before


@pytest.mark.parametrize(("changes", "message"), [
    ({"precision": "fp64"}, "precision 'fp64' is not one of bf16, fp16, fp32; did you mean 'fp16'"),
    ({"device": "cud"}, "device 'cud' is not one of cpu, cuda; did you mean 'cuda'"),
    ({"batch_size": 0}, "batch_size 0 is not a whole number"),
    ({"length": 1.5}, "length 1.5 is not a whole number")])
def test_a_step_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_step(config("gpt2", "ft", **changes))


@pytest.mark.parametrize(("model", "method", "message"), [
    ("gpt2", "ft", "length 33 is above the model's 32 positions"),
    ("gpt2", "prefix_embed", "length 33 and the 5 positions of prefix_embed are above the model's 32: 27 are left"),
    ("roberta-base", "ft", "length 513 is above the model's 512 positions"),
    ("roberta-base", "prefix_embed", "length 513 and the 5 positions of prefix_embed are above the model's 512: 507")])
def test_more_tokens_than_positions_are_refused(model: str, method: str, message: str) -> None:
    cfg = config(model, method, length=int(message.split()[1]))
    for made in (training_step, shadow_of):
        with pytest.raises(ValueError, match=message):
            made(cfg, kind_of(cfg.model))


def test_relative_positions_have_no_limit() -> None:
    assert shadow_of(config("deberta-v2-xxlarge", "lora", length=33), "classification").activation_bytes > 0


def test_random_numbers_are_those_of_the_seed() -> None:
    losses = []
    for _ in range(2):
        torch.manual_seed(1)
        losses.append(training_step(config("gpt2", "ft"), "causal_lm").loss().item())
    assert losses[0] == losses[1]
