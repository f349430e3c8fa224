"""Baselines without pre-training: a linear classifier on bags of words, and boosted trees on the overlap of two texts.

Open-class words of the evaluation sets do not occur in training, so bags of words cannot represent which words of two
texts recur. Overlap is therefore counted separately.
"""

from collections.abc import Sequence

import numpy as np

from experiments.tasks.base import TextTask
from experiments.tasks.world.vocabulary import function_words

SPLIT = r"\S+"


def bag_of_words(task: TextTask, columns: Sequence[str] | None = None) -> dict[str, float]:
    """The task's metrics on its evaluation sets, from the words of each text and those that occur in one of two only.

    Words absent from the evaluation sets are left out: they would only help to memorise the training set. `columns`
    are the texts to read, by default all of the task's.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    data, columns = task.load(), list(columns or task.text)
    words = [set(CountVectorizer(token_pattern=SPLIT).fit(_texts(tables, columns)).vocabulary_)
             for tables in ([data.train], list(data.evaluation.values()))]
    vectorizer = CountVectorizer(token_pattern=SPLIT, binary=True, vocabulary=sorted(words[0] & words[1]))

    def features(table):  # type: ignore[no-untyped-def]
        bags = [vectorizer.transform(table[column]).astype(np.float64) for column in columns]
        return hstack([*bags, abs(bags[0] - bags[-1])]).tocsr()

    model = Ridge() if task.kind == "regression" else LogisticRegression(max_iter=1000)
    return _metrics(task, data, model, features)


def overlap(task: TextTask) -> dict[str, float]:
    """The metrics of a pair task from counts alone: text lengths, counts of each function word, and how many of the
    other words occur in both texts, in one only, and in the same order."""
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    data, closed = task.load(), sorted(function_words())

    def features(table):  # type: ignore[no-untyped-def]
        one, other = (table[column] for column in task.text)
        return np.array([_counts(closed, *pair) for pair in zip(one, other, strict=True)])

    kind = GradientBoostingRegressor if task.kind == "regression" else GradientBoostingClassifier
    return _metrics(task, data, kind(n_estimators=60, random_state=0), features)


def _counts(closed: list[str], one: str, other: str) -> list[int]:
    first, second = one.split(), other.split()
    mine, theirs = (set(words) - set(closed) for words in (first, second))
    again = [[word for word in words if word in mine & theirs] for words in (first, second)]
    return [len(first), len(second), len(mine & theirs), len(mine - theirs), len(theirs - mine),
            len(set(first) & set(second)), again[0] == again[1], again[0] == again[1][::-1],
            *(words.count(word) for words in (first, second) for word in closed)]


def _metrics(task, data, model, features) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The task's metrics for a classifier or regressor fitted to its training rows."""
    model.fit(features(data.train), data.train[task.label])
    predictions = {name: model.predict(features(table)) for name, table in data.evaluation.items()}
    return task.metrics(predictions, {name: table[task.label] for name, table in data.evaluation.items()})


def main_scores(task: TextTask) -> tuple[float, float | None, float | None]:
    """The main metric from the words of all texts, of the second text alone, and from overlap; the last two None for
    single texts."""
    alone, both = bag_of_words(task)[task.main_metric], len(task.text) == 2
    return (alone, bag_of_words(task, task.text[1:])[task.main_metric] if both else None,
            overlap(task)[task.main_metric] if both else None)


def _texts(tables, columns):  # type: ignore[no-untyped-def]
    return [text for table in tables for column in columns for text in table[column]]
