"""How far words alone solve a task: a linear classifier on bags of words, without order and without pre-training."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from experiments.tasks.base import TextTask

SPLIT = r"\S+"


def bag_of_words(task: TextTask, columns: Sequence[str] | None = None) -> dict[str, float]:
    """The task's metrics on its evaluation sets, from the words of each text and those that only one of two has.

    Words that evaluation never says are left out: they would only teach the training set by heart. `columns` are the
    texts to read, by default all of the task's.
    """
    data, read = task.load(), list(columns or task.text)
    words = [set(CountVectorizer(token_pattern=SPLIT).fit(_texts(tables, read)).vocabulary_)
             for tables in ([data.train], list(data.evaluation.values()))]
    vectorizer = CountVectorizer(token_pattern=SPLIT, binary=True, vocabulary=sorted(words[0] & words[1]))

    def features(table):  # type: ignore[no-untyped-def]
        bags = [vectorizer.transform(table[column]).astype(np.float64) for column in read]
        return hstack([*bags, abs(bags[0] - bags[-1])]).tocsr()

    model = Ridge() if task.kind == "regression" else LogisticRegression(max_iter=1000)
    model.fit(features(data.train), data.train[task.label])
    predictions = {name: model.predict(features(table)) for name, table in data.evaluation.items()}
    return task.metrics(predictions, {name: table[task.label] for name, table in data.evaluation.items()})


def main_scores(task: TextTask) -> tuple[float, float | None]:
    """The main metric from all texts, and of a pair from the second alone, which cannot tell how they differ."""
    alone = bag_of_words(task, task.text[1:])[task.main_metric] if len(task.text) == 2 else None
    return bag_of_words(task)[task.main_metric], alone


def _texts(tables, columns):  # type: ignore[no-untyped-def]
    return [text for table in tables for column in columns for text in table[column]]
