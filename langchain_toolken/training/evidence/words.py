"""TF-IDF and a linear classifier over the words of the requests: the fit of a `WordClassifier`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from langchain_toolken.toolkens.lexical import WordClassifier, words_of

# λ of the ridge; texts have length 1, so one value suits all sizes.
_RIDGE = 1.0
# More requests than this (a matrix of 64 MB) and larger classifiers than this many numbers are not fitted: with so much
# data the other sources know the words too.
MOST_REQUESTS = 4096
_MOST_NUMBERS = 1 << 24


def fit_words(texts: Sequence[str], target: Tensor, tools: int) -> WordClassifier | None:
    """Fit a classifier to n requests and the tools that they are for, (n,) int64.

    Least squares instead of a logistic regression: as many right tools on held-out requests, at a fiftieth of the time,
    since it is one solve for all tools. Returns None for more than `MOST_REQUESTS` requests, or without words.
    """
    counted = [Counter(words_of(text)) for text in texts]
    documents = Counter(word for counts in counted for word in counts)
    vocabulary = tuple(sorted(documents))
    if len(texts) > MOST_REQUESTS or not vocabulary or len(vocabulary) * tools > _MOST_NUMBERS:
        return None
    place = {word: number for number, word in enumerate(vocabulary)}
    idf = torch.tensor([(1 + len(texts)) / (1 + documents[word]) for word in vocabulary]).log() + 1
    features = torch.zeros(len(texts), len(vocabulary))
    for row, counts in enumerate(counted):
        at = torch.tensor([place[word] for word in counts], dtype=torch.int64)
        features[row, at] = 1 + torch.tensor([float(count) for count in counts.values()]).log()
    features *= idf
    features /= features.norm(dim=1, keepdim=True).clamp_min(1e-12)
    aims = torch.nn.functional.one_hot(target, tools).float()
    mean = aims.mean(dim=0)
    gram = features @ features.T + _RIDGE * torch.eye(len(texts))
    rows = features.T @ torch.linalg.solve(gram, aims - mean)
    return WordClassifier(weight=1.0, vocabulary=vocabulary, idf=idf, rows=rows, biases=mean)
