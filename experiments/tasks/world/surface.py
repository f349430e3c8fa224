"""How far words alone solve a task: a linear classifier on bags of words, without order and without pre-training."""

import numpy as np
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from experiments.tasks.base import TextTask


def bag_of_words(task: TextTask) -> dict[str, float]:
    """The task's metrics on its evaluation sets; features are the words of each text, and those that only one has."""
    data = task.load()
    vectorizer = CountVectorizer(token_pattern=r"\S+", binary=True)
    vectorizer.fit([text for column in task.text for text in data.train[column]])

    def features(table):  # type: ignore[no-untyped-def]
        bags = [vectorizer.transform(table[column]).astype(np.float64) for column in task.text]
        return hstack([*bags, abs(bags[0] - bags[-1])]).tocsr()

    model = Ridge() if task.kind == "regression" else LogisticRegression(max_iter=1000)
    model.fit(features(data.train), data.train[task.label])
    predictions = {name: model.predict(features(table)) for name, table in data.evaluation.items()}
    return task.metrics(predictions, {name: table[task.label] for name, table in data.evaluation.items()})
