"""The synthetic micro-world: a taxonomy with facts, a grammar, a corpus, and the paper's tasks in miniature."""
