"""One run: train one method on one model, task and seed, or say that it is done.

The store is asked first: a run whose record is there is not computed again. A killed run goes on from its last
finished epoch. A failed one leaves a record with its error.
"""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("train", examples=[
    "python -m experiments.train model=minilm task=mrpc method=lora method.rank=8 seed=0",
    "python -m experiments.train -m method.rank=1,2,4,8,64 'method.targets=[q],[q,v],[q,k,v,o]' seed=0,1,2",
    "python -m experiments.train task=rte-nano model=roberta-nano preset=nano init_from=results/local/mnli_nano-...",
    "python -m experiments.train task=classification task.files.train=train.csv task.files.validation=test.csv "
    "task.text='[title,body]' task.label=topic method=bitfit",
])
def main(cfg: DictConfig) -> dict[str, Any] | None:
    """Train one method on one model, task and seed; a finished run is not computed again."""
    from experiments.runs.ask import asked, is_main_process
    from experiments.runs.ending import brief

    with asked(cfg) as request:
        if not request.done:
            from experiments.runs.execute import compute  # torch

            compute(request)
    return brief(request.record, request.store) if is_main_process() else None


if __name__ == "__main__":
    main()
